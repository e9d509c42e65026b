//! `kv get`.

use super::{MountFlag, Place, show};
use crate::{
    arguments, commands::logical::missing, context::Context, failure::Failure, output::Secret,
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::Value;

/// Shows a secret; its newest version by default.
#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    mount: MountFlag,
    /// The version.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl Get {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let place = Place::of(context, &self.mount, path).await?;
        let path = place.api_path("data");
        let mut outgoing = Outgoing::new(Method::Get, &path);
        if let Some(version) = self.version {
            if !place.mount.versioned {
                return Err(Failure::usage("this mount keeps no versions: leave out -version"));
            }
            outgoing = outgoing.query("version", version.to_string());
        }
        let found = context.find(&format!("Error reading {path}"), outgoing).await?;
        let found = found.ok_or_else(|| missing(&path))?;
        if found.wrapping().is_some() {
            if self.field.is_some() {
                return Err(Failure::refused(format!("No data found at {path}")));
            }
            return context.output.secret(&found, None);
        }
        if place.mount.versioned {
            return self.versioned(context, &found, &path);
        }
        if self.field.is_some() || !context.output.is_table() {
            return context.output.secret(&found, self.field.as_deref());
        }
        show::block(&mut context.output, "Data", found.data().unwrap_or(&Default::default()))
    }

    fn versioned(&self, context: &mut Context, found: &Secret, path: &str) -> Result<(), Failure> {
        let part = |name: &str| found.data().and_then(|data| data.get(name));
        if let Some(field) = &self.field {
            let data = part("data").and_then(Value::as_object);
            let data = data.ok_or_else(|| Failure::refused(format!("No data found at {path}")))?;
            return context.output.field(data.get(field), field);
        }
        if !context.output.is_table() {
            return context.output.secret(found, None);
        }
        show::path(&mut context.output, "Secret Path", path)?;
        if let Some(Value::Object(metadata)) = part("metadata") {
            show::block(&mut context.output, "Metadata", metadata)?;
            context.output.line("")?;
        }
        if let Some(Value::Object(data)) = part("data") {
            show::block(&mut context.output, "Data", data)?;
        }
        context.output.warnings(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::kv::testing::{mount, words},
        context::testing,
        output::Format,
    };
    use serde_json::json;

    fn get(field: Option<&str>, path: &str) -> Get {
        let field = field.map(str::to_owned);
        Get { mount: MountFlag::default(), version: None, field, arguments: words(&[path]) }
    }

    fn secret() -> Value {
        let metadata = json!({"created_time": "t", "custom_metadata": null, "deletion_time": "", "destroyed": false, "version": 2});
        json!({"data": {"data": {"user": "eve"}, "metadata": metadata}})
    }

    #[tokio::test]
    async fn a_secret_is_shown_with_path_metadata_and_data() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![mount("2"), (200, secret())]).await;
        get(None, "secret/app").run(&mut context).await.unwrap();
        let expected = "= Secret Path =\nsecret/data/app\n\n\
            ======= Metadata =======\nKey                Value\n---                -----\n\
            created_time       t\ncustom_metadata    <nil>\ndeletion_time      n/a\n\
            destroyed          false\nversion            2\n\n\
            ==== Data ====\nKey     Value\n---     -----\nuser    eve\n";
        assert_eq!(out.text(), expected);
        let expected = "GET /v1/sys/internal/ui/mounts/secret/app\nGET /v1/secret/data/app\n";
        assert_eq!(asked.text(), expected);
    }

    #[tokio::test]
    async fn a_field_is_printed_alone_and_a_missing_one_exits_with_1() {
        let answers = vec![mount("2"), (200, secret()), mount("2"), (200, secret())];
        let (mut context, out, ..) = testing::context(Format::Table, answers).await;
        get(Some("user"), "secret/app").run(&mut context).await.unwrap();
        assert_eq!(out.text(), "eve");
        assert_eq!(get(Some("nope"), "secret/app").run(&mut context).await.unwrap_err().exit, 1);
    }

    #[tokio::test]
    async fn mounts_without_versions_show_data_alone_and_take_no_version() {
        let answers = vec![mount("1"), (200, json!({"data": {"a": "1"}})), mount("1")];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        get(None, "secret/x").run(&mut context).await.unwrap();
        assert_eq!(out.text(), "== Data ==\nKey    Value\n---    -----\na      1\n");
        assert!(asked.text().ends_with("GET /v1/secret/x\n"));
        let get = Get { version: Some(1), ..get(None, "secret/x") };
        assert_eq!(get.run(&mut context).await.unwrap_err().exit, 1);
    }

    #[tokio::test]
    async fn a_deleted_version_shows_its_metadata_and_exits_with_0() {
        let deleted = json!({"data": {"data": null, "metadata": {"version": 5}}});
        let (mut context, out, ..) =
            testing::context(Format::Table, vec![mount("2"), (404, deleted)]).await;
        get(None, "secret/app").run(&mut context).await.unwrap();
        assert!(out.text().ends_with("version    5\n\n"), "{}", out.text());
    }

    #[tokio::test]
    async fn the_mount_can_be_given_apart_from_the_path() {
        let (mut context, _, _, asked) =
            testing::context(Format::Table, vec![mount("2"), (404, json!({"errors": []}))]).await;
        let get =
            Get { mount: MountFlag { mount: Some("secret/".to_owned()) }, ..get(None, "app") };
        let failure = get.run(&mut context).await.unwrap_err();
        assert_eq!(failure, Failure::refused("No value found at secret/data/app"));
        assert!(asked.text().starts_with("GET /v1/sys/internal/ui/mounts/secret\n"));
    }
}
