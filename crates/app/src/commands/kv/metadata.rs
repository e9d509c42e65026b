//! `kv metadata`, `kv enable-versioning`.

use super::{MountFlag, Place, show};
use crate::{
    arguments,
    commands::{
        logical::missing,
        mounts::{self, Family},
    },
    context::Context,
    failure::{Failure, USAGE},
    value,
};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Reads and writes what is known about a secret.
#[derive(Subcommand, Debug)]
pub(crate) enum Metadata {
    Get(Get),
    Put(Put),
    Patch(Patch),
    Delete(Delete),
}

/// Shows what is known about a secret and its versions.
#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    mount: MountFlag,
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Writes the settings of a secret; custom metadata as a whole.
#[derive(Args, Debug)]
pub(crate) struct Put {
    #[command(flatten)]
    mount: MountFlag,
    #[command(flatten)]
    settings: Settings,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Changes some settings of a secret and leaves the others.
#[derive(Args, Debug)]
pub(crate) struct Patch {
    #[command(flatten)]
    mount: MountFlag,
    #[command(flatten)]
    settings: Settings,
    /// A field of custom metadata that is removed; may be repeated.
    #[arg(long, value_name = "NAME")]
    remove_custom_metadata: Vec<String>,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Deletes a secret with all its versions, for good.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    #[command(flatten)]
    mount: MountFlag,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Makes a mount without versions keep them from now on.
#[derive(Args, Debug)]
pub(crate) struct EnableVersioning {
    #[arg(value_name = "MOUNT")]
    arguments: Vec<String>,
}

#[derive(Args, Debug, Default)]
struct Settings {
    /// How many versions are kept.
    #[arg(long, value_name = "N")]
    max_versions: Option<u64>,
    /// Whether every write must say which version it follows.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    cas_required: Option<bool>,
    /// How long after it was written a version is deleted.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    delete_version_after: Option<String>,
    /// A note that is kept with the secret; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::pair)]
    custom_metadata: Vec<(String, String)>,
}

impl Settings {
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        let mut add = |name: &str, value: Value| body.insert(name.to_owned(), value);
        if let Some(count) = self.max_versions {
            add("max_versions", count.into());
        }
        if let Some(required) = self.cas_required {
            add("cas_required", required.into());
        }
        if let Some(after) = &self.delete_version_after {
            add("delete_version_after", after.as_str().into());
        }
        if !self.custom_metadata.is_empty() {
            let notes = self.custom_metadata.iter();
            let notes = notes.map(|(key, value)| (key.clone(), value.as_str().into()));
            add("custom_metadata", Value::Object(notes.collect()));
        }
        body
    }
}

impl Metadata {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Metadata::Get(arguments) => arguments.run(context).await,
            Metadata::Put(arguments) => {
                let path = path(context, &arguments.mount, &arguments.arguments).await?;
                write(context, Method::Put, &path, arguments.settings.body()).await
            }
            Metadata::Patch(arguments) => {
                let path = path(context, &arguments.mount, &arguments.arguments).await?;
                let mut body = arguments.settings.body();
                if !arguments.remove_custom_metadata.is_empty() {
                    let removed = arguments.remove_custom_metadata.into_iter();
                    let removed = removed.map(|name| (name, Value::Null));
                    match body.entry("custom_metadata").or_insert_with(|| json!({})) {
                        Value::Object(notes) => notes.extend(removed),
                        other => *other = Value::Object(removed.collect()),
                    }
                }
                write(context, Method::Patch, &path, body).await
            }
            Metadata::Delete(arguments) => {
                let path = path(context, &arguments.mount, &arguments.arguments).await?;
                let outgoing = Outgoing::new(Method::Delete, &path);
                context.send(&format!("Error deleting {path}"), outgoing).await?;
                context.output.line(&format!("Success! Data deleted (if it existed) at: {path}"))
            }
        }
    }
}

async fn path(
    context: &Context,
    mount: &MountFlag,
    arguments: &[String],
) -> Result<String, Failure> {
    let [path] = arguments::exactly(arguments)?;
    let place = Place::of(context, mount, path).await?;
    place.needs_versions("Metadata not supported on KV Version 1", USAGE)?;
    Ok(place.api_path("metadata"))
}

async fn write(
    context: &mut Context,
    method: Method,
    path: &str,
    body: Map<String, Value>,
) -> Result<(), Failure> {
    let outgoing = Outgoing::new(method, path).json(&Value::Object(body));
    let answer = context.send(&format!("Error writing data to {path}"), outgoing).await?;
    context.show_written(&answer, None, path)
}

impl Get {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let path = path(context, &self.mount, &self.arguments).await?;
        let outgoing = Outgoing::new(Method::Get, &path);
        let found = context.find(&format!("Error reading {path}"), outgoing).await?;
        let found = found.ok_or_else(|| missing(&path))?;
        let table = context.output.is_table() && self.field.is_none();
        let Some(data) = found.data().filter(|_| table && found.wrapping().is_none()) else {
            return context.output.secret(&found, self.field.as_deref());
        };
        let mut data = data.clone();
        let versions = data.remove("versions").unwrap_or_default();
        show::path(&mut context.output, "Metadata Path", &path)?;
        show::block(&mut context.output, "Metadata", &data)?;
        let versions = versions.as_object().into_iter().flatten();
        let mut versions: Vec<(u64, &Value)> = versions
            .filter_map(|(number, version)| Some((number.parse().ok()?, version)))
            .collect();
        versions.sort_by_key(|(number, _)| *number);
        for (number, version) in versions {
            context.output.line("")?;
            let version = version.as_object().cloned().unwrap_or_default();
            show::block(&mut context.output, &format!("Version {number}"), &version)?;
        }
        context.output.warnings(&found)
    }
}

impl EnableVersioning {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let body = Map::from_iter([("options".to_owned(), json!({ "version": "2" }))]);
        mounts::tune(Family::Secrets, context, path, body).await
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

    #[tokio::test]
    async fn versions_follow_the_metadata_in_their_order() {
        let data = json!({"current_version": 10, "versions": {"10": {"destroyed": false}, "9": {"destroyed": true}}});
        let answers = vec![mount("2"), (200, json!({"data": data}))];
        let (mut context, out, ..) = testing::context(Format::Table, answers).await;
        let (mount, arguments) = (MountFlag::default(), words(&["secret/app"]));
        Get { mount, field: None, arguments }.run(&mut context).await.unwrap();
        let (ninth, tenth) = (out.text().find("Version 9 "), out.text().find("Version 10 "));
        assert!(ninth.unwrap() < tenth.unwrap(), "{}", out.text());
        assert!(out.text().starts_with("== Metadata Path ==\nsecret/metadata/app\n\n"));
    }

    #[tokio::test]
    async fn a_patch_removes_custom_metadata_by_null() {
        let (mut context, _, _, asked) =
            testing::context(Format::Table, vec![mount("2"), (204, Value::Null)]).await;
        let settings =
            Settings { custom_metadata: vec![("a".into(), "1".into())], ..Settings::default() };
        let (mount, arguments) = (MountFlag::default(), words(&["secret/app"]));
        let patch = Patch { mount, settings, remove_custom_metadata: words(&["b"]), arguments };
        Metadata::Patch(patch).run(&mut context).await.unwrap();
        let request = asked.text().lines().last().unwrap().to_owned();
        assert_eq!(
            request,
            r#"PATCH /v1/secret/metadata/app {"custom_metadata":{"a":"1","b":null}}"#
        );
    }
}
