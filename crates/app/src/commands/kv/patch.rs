//! `kv patch`.

use super::{MountFlag, Place, put::show_version};
use crate::{
    arguments,
    commands::logical::missing,
    context::Context,
    failure::{Failure, REFUSED},
    output::Secret,
    value,
};
use bailee_client::{Error, Method, Outgoing};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

/// Changes some fields of a secret and leaves the others.
#[derive(Args, Debug)]
pub(crate) struct Patch {
    #[command(flatten)]
    mount: MountFlag,
    /// Write only when the newest version is this one.
    #[arg(long, value_name = "N")]
    cas: Option<u64>,
    /// patch: one request, needs the patch right; rw: read, then write. By default patch, and rw
    /// where patch is not allowed.
    #[arg(long, value_enum, value_name = "METHOD")]
    method: Option<How>,
    /// A field that is removed; may be repeated.
    #[arg(long, value_name = "NAME")]
    remove_data: Vec<String>,
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "PATH KEY=VALUE…")]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    Patch,
    Rw,
}

impl Patch {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let (path, values) = arguments::first(&self.arguments)?;
        if values.is_empty() && self.remove_data.is_empty() {
            return Err(Failure::usage("Must supply data"));
        }
        let mut changes = value::body(values, &mut context.input)?;
        changes.extend(self.remove_data.iter().map(|name| (name.clone(), Value::Null)));
        let place = Place::of(context, &self.mount, path).await?;
        place.needs_versions("K/V engine mount must be version 2 for patch support", REFUSED)?;
        let path = place.api_path("data");
        let answer = match self.method {
            Some(How::Rw) => self.read_then_write(context, &path, changes).await?,
            Some(How::Patch) => self.patch(context, &path, &changes).await??,
            None => match self.patch(context, &path, &changes).await? {
                Ok(answer) => answer,
                Err(_) => {
                    let answer = self.read_then_write(context, &path, changes).await?;
                    context.output.warn(
                        "The secret was read and written as a whole; a policy that grants \"patch\" \
                         lets it be changed in one request.",
                    )?;
                    answer
                }
            },
        };
        show_version(context, &answer, self.field.as_deref(), &path)
    }

    /// One request. The inner failure is that patching is not allowed or not known.
    async fn patch(
        &self,
        context: &mut Context,
        path: &str,
        changes: &Map<String, Value>,
    ) -> Result<Result<Secret, Failure>, Failure> {
        let options = self.cas.map_or_else(|| json!({}), |cas| json!({ "cas": cas }));
        let body = json!({ "data": changes, "options": options });
        let outgoing = Outgoing::new(Method::Patch, path).json(&body);
        match context.attempt(outgoing).await? {
            Ok(response) => Ok(Ok(Secret::of(&response))),
            Err(error) => {
                let failure = context.failure(&format!("Error writing data to {path}"), &error);
                if refuses_patch(&error) { Ok(Err(failure)) } else { Err(failure) }
            }
        }
    }

    async fn read_then_write(
        &self,
        context: &mut Context,
        path: &str,
        changes: Map<String, Value>,
    ) -> Result<Secret, Failure> {
        let attempt = format!("Error doing pre-read at {path}");
        let found = context.find(&attempt, Outgoing::new(Method::Get, path)).await?;
        let found = found.ok_or_else(|| missing(path))?;
        let part = |name: &str| found.data().and_then(|data| data.get(name));
        let mut data =
            part("data").and_then(Value::as_object).cloned().ok_or_else(|| missing(path))?;
        for (name, value) in changes {
            if value.is_null() && self.remove_data.contains(&name) {
                data.remove(&name);
            } else {
                data.insert(name, value);
            }
        }
        // What somebody else wrote meanwhile must not be lost.
        let read = part("metadata").and_then(|metadata| metadata.get("version")).cloned();
        let cas = self.cas.map(Value::from).or(read).unwrap_or_default();
        let body = json!({ "data": data, "options": { "cas": cas } });
        let outgoing = Outgoing::new(Method::Put, path).json(&body);
        context.send(&format!("Error writing data to {path}"), outgoing).await
    }
}

/// Whether reading and writing may succeed where patching does not.
fn refuses_patch(error: &Error) -> bool {
    matches!(error.status(), Some(403 | 405))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::kv::testing::{mount, words},
        context::testing,
        output::Format,
    };

    fn patch(method: Option<How>, remove: &[&str], arguments: &[&str]) -> Patch {
        let remove_data = words(remove);
        let arguments = words(arguments);
        Patch {
            mount: MountFlag::default(),
            cas: None,
            method,
            remove_data,
            field: None,
            arguments,
        }
    }

    #[tokio::test]
    async fn fields_are_changed_and_removed_in_one_request() {
        let answers = vec![mount("2"), (200, json!({"data": {"version": 5}}))];
        let (mut context, _, _, asked) = testing::context(Format::Table, answers).await;
        patch(None, &["old"], &["secret/app", "b=1"]).run(&mut context).await.unwrap();
        let request = asked.text().lines().last().unwrap().to_owned();
        assert_eq!(
            request,
            r#"PATCH /v1/secret/data/app {"data":{"b":"1","old":null},"options":{}}"#
        );
    }

    #[tokio::test]
    async fn where_patching_is_not_allowed_the_secret_is_read_and_written() {
        let read = json!({"data": {"data": {"a": "1", "old": "x"}, "metadata": {"version": 4}}});
        let denied = json!({"errors": ["permission denied"]});
        let answers =
            vec![mount("2"), (403, denied), (200, read), (200, json!({"data": {"version": 5}}))];
        let (mut context, _, err, asked) = testing::context(Format::Table, answers).await;
        patch(None, &["old"], &["secret/app", "b=1"]).run(&mut context).await.unwrap();
        let request = asked.text().lines().last().unwrap().to_owned();
        assert_eq!(
            request,
            r#"PUT /v1/secret/data/app {"data":{"a":"1","b":"1"},"options":{"cas":4}}"#
        );
        assert!(err.text().contains("read and written as a whole"));
    }

    #[tokio::test]
    async fn mounts_without_versions_cannot_be_patched() {
        let (mut context, ..) = testing::context(Format::Table, vec![mount("1")]).await;
        let failure = patch(None, &[], &["secret/x", "a=1"]).run(&mut context).await.unwrap_err();
        assert_eq!(
            failure,
            Failure::refused("K/V engine mount must be version 2 for patch support")
        );
    }
}
