//! `kv put`.

use super::{MountFlag, Place, show};
use crate::{arguments, context::Context, failure::Failure, output::Secret, value};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Value, json};

/// Writes a secret; all of it.
///
/// Values are KEY=VALUE, KEY=@FILE, KEY=- (standard input); @FILE.json or - give all of them as JSON.
#[derive(Args, Debug)]
pub(crate) struct Put {
    #[command(flatten)]
    mount: MountFlag,
    /// Write only when the newest version is this one; 0 when there is none.
    #[arg(long, value_name = "N")]
    cas: Option<u64>,
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "PATH KEY=VALUE…")]
    arguments: Vec<String>,
}

impl Put {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let (path, values) = arguments::first(&self.arguments)?;
        if values.is_empty() {
            return Err(Failure::usage("Must supply data"));
        }
        let data = value::body(values, &mut context.input)?;
        let place = Place::of(context, &self.mount, path).await?;
        let body = match (place.mount.versioned, self.cas) {
            (false, None) => Value::Object(data),
            (false, Some(_)) => {
                return Err(Failure::usage("this mount keeps no versions: leave out -cas"));
            }
            (true, None) => json!({ "data": data, "options": {} }),
            (true, Some(cas)) => json!({ "data": data, "options": { "cas": cas } }),
        };
        let path = place.api_path("data");
        let outgoing = Outgoing::new(Method::Put, &path).json(&body);
        let answer = context.send(&format!("Error writing data to {path}"), outgoing).await?;
        show_version(context, &answer, self.field.as_deref(), &path)
    }
}

/// Shows the version that was written.
pub(super) fn show_version(
    context: &mut Context,
    answer: &Secret,
    field: Option<&str>,
    path: &str,
) -> Result<(), Failure> {
    let table = context.output.is_table() && field.is_none() && answer.wrapping().is_none();
    let Some(version) = answer.data().filter(|version| table && !version.is_empty()) else {
        return context.show_written(answer, field, path);
    };
    show::path(&mut context.output, "Secret Path", path)?;
    show::block(&mut context.output, "Metadata", version)?;
    context.output.warnings(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::kv::testing::{mount, words},
        context::testing,
        output::Format,
    };

    fn put(cas: Option<u64>, arguments: &[&str]) -> Put {
        Put { mount: MountFlag::default(), cas, field: None, arguments: words(arguments) }
    }

    #[tokio::test]
    async fn data_goes_into_the_versioned_form_with_its_check() {
        let answers = vec![mount("2"), (200, json!({"data": {"version": 1}}))];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        put(Some(0), &["secret/app", "a=1"]).run(&mut context).await.unwrap();
        let body = asked.text().lines().last().unwrap().to_owned();
        assert_eq!(body, r#"PUT /v1/secret/data/app {"data":{"a":"1"},"options":{"cas":0}}"#);
        assert!(out.text().starts_with("= Secret Path =\nsecret/data/app\n\n"), "{}", out.text());
    }

    #[tokio::test]
    async fn mounts_without_versions_get_the_data_itself() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![mount("1"), (204, Value::Null)]).await;
        put(None, &["secret/x", "a=1"]).run(&mut context).await.unwrap();
        assert!(asked.text().ends_with("PUT /v1/secret/x {\"a\":\"1\"}\n"));
        assert_eq!(out.text(), "Success! Data written to: secret/x\n");
    }

    #[tokio::test]
    async fn data_is_needed() {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let failure = put(None, &["secret/app"]).run(&mut context).await.unwrap_err();
        assert_eq!(failure, Failure::usage("Must supply data"));
        let failure = put(None, &[]).run(&mut context).await.unwrap_err();
        assert_eq!(failure, Failure::usage("Not enough arguments (expected >1, got 0)"));
    }
}
