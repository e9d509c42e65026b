//! `kv rollback`.

use super::{MountFlag, Place};
use crate::{
    arguments,
    commands::logical::missing,
    context::Context,
    failure::{Failure, REFUSED},
    output::Secret,
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Value, json};

/// Writes an earlier version of a secret as its newest.
#[derive(Args, Debug)]
pub(crate) struct Rollback {
    #[command(flatten)]
    mount: MountFlag,
    /// The version that is written again.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl Rollback {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let version = self.version.filter(|version| *version > 0);
        let version = version.ok_or_else(|| Failure::usage("Version flag must be specified"))?;
        let place = Place::of(context, &self.mount, path).await?;
        place.needs_versions("K/V engine mount must be version 2 for rollback support", REFUSED)?;
        let path = place.api_path("data");
        let newest = read(context, &path, None).await?;
        let newest = newest.data().and_then(|data| data.get("metadata"));
        let newest = newest.and_then(|metadata| metadata.get("version")).cloned();
        let newest = newest.ok_or_else(|| missing(&path))?;
        let found = read(context, &path, Some(version)).await?;
        let data = found.data().and_then(|data| data.get("data")).filter(|data| data.is_object());
        let Some(data) = data.cloned() else {
            let reason =
                format!("No value found at {path}: version {version} is deleted or destroyed");
            return Err(Failure::refused(reason));
        };
        let body: Value = json!({ "data": data, "options": { "cas": newest } });
        let outgoing = Outgoing::new(Method::Put, &path).json(&body);
        let answer = context.send(&format!("Error writing data to {path}"), outgoing).await?;
        context.show_written(&answer, None, &path)
    }
}

async fn read(context: &mut Context, path: &str, version: Option<u64>) -> Result<Secret, Failure> {
    let mut outgoing = Outgoing::new(Method::Get, path);
    if let Some(version) = version {
        outgoing = outgoing.query("version", version.to_string());
    }
    let found = context.find(&format!("Error doing pre-read at {path}"), outgoing).await?;
    found.ok_or_else(|| missing(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::kv::testing::{mount, words},
        context::testing,
        output::Format,
    };

    fn rollback(version: Option<u64>) -> Rollback {
        Rollback { mount: MountFlag::default(), version, arguments: words(&["secret/app"]) }
    }

    #[tokio::test]
    async fn an_old_version_is_written_over_the_newest_that_was_seen() {
        let version = |number: u64, data: Value| json!({"data": {"data": data, "metadata": {"version": number}}});
        let answers = vec![
            mount("2"),
            (404, version(5, Value::Null)),
            (200, version(3, json!({"a": 1}))),
            (200, json!({"data": {"version": 6}})),
        ];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        rollback(Some(3)).run(&mut context).await.unwrap();
        let request = asked.text().lines().last().unwrap().to_owned();
        assert_eq!(request, r#"PUT /v1/secret/data/app {"data":{"a":1},"options":{"cas":5}}"#);
        assert!(out.text().contains("version    6"));
    }

    #[tokio::test]
    async fn the_version_is_needed() {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let failure = rollback(None).run(&mut context).await.unwrap_err();
        assert_eq!(failure, Failure::usage("Version flag must be specified"));
    }
}
