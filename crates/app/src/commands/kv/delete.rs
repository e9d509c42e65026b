//! `kv delete`, `kv undelete`, `kv destroy`.

use super::{MountFlag, Place, Versions};
use crate::{
    arguments,
    context::Context,
    failure::{Failure, USAGE},
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::json;

/// Deletes a secret's newest version, or those given; `kv undelete` brings them back.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    #[command(flatten)]
    mount: MountFlag,
    #[command(flatten)]
    versions: Versions,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Brings deleted versions back.
#[derive(Args, Debug)]
pub(crate) struct Undelete {
    #[command(flatten)]
    mount: MountFlag,
    #[command(flatten)]
    versions: Versions,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Deletes versions for good.
#[derive(Args, Debug)]
pub(crate) struct Destroy {
    #[command(flatten)]
    mount: MountFlag,
    #[command(flatten)]
    versions: Versions,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl Delete {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let place = Place::of(context, &self.mount, path).await?;
        let shown = place.api_path("data");
        let versions = &self.versions.versions;
        let outgoing = if versions.is_empty() {
            Outgoing::new(Method::Delete, &shown)
        } else {
            place.needs_versions("this mount keeps no versions: leave out -versions", USAGE)?;
            let body = json!({ "versions": versions });
            Outgoing::new(Method::Put, place.api_path("delete")).json(&body)
        };
        context.send(&format!("Error deleting {shown}"), outgoing).await?;
        if !context.output.is_table() {
            return Ok(());
        }
        context.output.line(&format!("Success! Data deleted (if it existed) at: {shown}"))
    }
}

impl Undelete {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let versions = self.versions.needed("undelete")?;
        let place = Place::of(context, &self.mount, path).await?;
        place.needs_versions("Undelete not supported on KV Version 1", USAGE)?;
        write(context, &place.api_path("undelete"), versions).await
    }
}

impl Destroy {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let versions = self.versions.needed("destroy")?;
        let place = Place::of(context, &self.mount, path).await?;
        place.needs_versions("Destroy not supported on KV Version 1", USAGE)?;
        write(context, &place.api_path("destroy"), versions).await
    }
}

async fn write(context: &mut Context, path: &str, versions: &[u64]) -> Result<(), Failure> {
    let outgoing = Outgoing::new(Method::Put, path).json(&json!({ "versions": versions }));
    let answer = context.send(&format!("Error writing data to {path}"), outgoing).await?;
    context.show_written(&answer, None, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::kv::testing::{mount, words},
        context::testing,
        output::Format,
    };
    use serde_json::Value;

    fn versions(versions: &[u64]) -> Versions {
        Versions { versions: versions.to_vec() }
    }

    #[tokio::test]
    async fn given_versions_are_deleted_by_a_write() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![mount("2"), (204, Value::Null)]).await;
        let (mount, arguments) = (MountFlag::default(), words(&["secret/app"]));
        Delete { mount, versions: versions(&[1, 2]), arguments }.run(&mut context).await.unwrap();
        assert!(asked.text().ends_with("PUT /v1/secret/delete/app {\"versions\":[1,2]}\n"));
        assert_eq!(out.text(), "Success! Data deleted (if it existed) at: secret/data/app\n");
    }

    #[tokio::test]
    async fn bringing_back_needs_versions() {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let (mount, arguments) = (MountFlag::default(), words(&["secret/app"]));
        let undelete = Undelete { mount, versions: versions(&[]), arguments };
        let failure = undelete.run(&mut context).await.unwrap_err();
        let text =
            "No versions provided, use the \"-versions\" flag to specify the version to undelete.";
        assert_eq!(failure, Failure::usage(text));
    }
}
