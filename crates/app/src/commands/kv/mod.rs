//! `kv`: the key-value engine, with versions and without.

mod delete;
mod get;
mod list;
mod metadata;
mod patch;
mod put;
mod rollback;
mod show;

use crate::{context::Context, failure::Failure};
use bailee_client::kv::KvMount;
use clap::{Args, Subcommand};

/// Reads and writes secrets of the key-value engine.
#[derive(Subcommand, Debug)]
pub(crate) enum Kv {
    Get(get::Get),
    Put(put::Put),
    Patch(patch::Patch),
    Delete(delete::Delete),
    Undelete(delete::Undelete),
    Destroy(delete::Destroy),
    List(list::List),
    Rollback(rollback::Rollback),
    #[command(subcommand)]
    Metadata(metadata::Metadata),
    EnableVersioning(metadata::EnableVersioning),
}

impl Kv {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Kv::Get(arguments) => arguments.run(context).await,
            Kv::Put(arguments) => arguments.run(context).await,
            Kv::Patch(arguments) => arguments.run(context).await,
            Kv::Delete(arguments) => arguments.run(context).await,
            Kv::Undelete(arguments) => arguments.run(context).await,
            Kv::Destroy(arguments) => arguments.run(context).await,
            Kv::List(arguments) => arguments.run(context).await,
            Kv::Rollback(arguments) => arguments.run(context).await,
            Kv::Metadata(arguments) => arguments.run(context).await,
            Kv::EnableVersioning(arguments) => arguments.run(context).await,
        }
    }
}

/// Where the mount is, when the path shall not tell.
#[derive(Args, Clone, Debug, Default)]
struct MountFlag {
    /// Path of the mount; PATH is then the path in it.
    #[arg(long, value_name = "PATH")]
    mount: Option<String>,
}

/// The versions a command is about.
#[derive(Args, Clone, Debug, Default)]
struct Versions {
    /// The versions, separated by commas.
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    versions: Vec<u64>,
}

impl Versions {
    fn needed(&self, what_for: &str) -> Result<&[u64], Failure> {
        if self.versions.is_empty() {
            return Err(Failure::usage(format!(
                "No versions provided, use the \"-versions\" flag to specify the version to {what_for}."
            )));
        }
        Ok(&self.versions)
    }
}

/// A secret's place: the mount and the path with the mount in front.
struct Place {
    mount: KvMount,
    path: String,
}

impl Place {
    /// Asks the server which mount serves the path.
    async fn of(context: &Context, flag: &MountFlag, path: &str) -> Result<Place, Failure> {
        let asked = flag.mount.as_deref().unwrap_or(path);
        let mount = KvMount::of(context.client(), asked.trim_matches('/')).await;
        let mount = mount.map_err(|error| context.failure("", &error))?;
        let path = match flag.mount {
            Some(_) => format!("{}{}", mount.path, path.trim_start_matches('/')),
            None => path.trim_start_matches('/').to_owned(),
        };
        Ok(Place { mount, path })
    }

    /// The path of the API, with `segment` in it where there are versions.
    fn api_path(&self, segment: &str) -> String {
        self.mount.api_path(segment, &self.path).trim_end_matches('/').to_owned()
    }

    /// Refuses a mount that keeps no versions.
    fn needs_versions(&self, text: &str, exit: u8) -> Result<(), Failure> {
        if self.mount.versioned { Ok(()) } else { Err(Failure { exit, message: text.to_owned() }) }
    }
}

#[cfg(test)]
mod testing {
    use serde_json::{Value, json};

    /// The answer to the question which mount serves a path.
    pub(super) fn mount(version: &str) -> (u16, Value) {
        (200, json!({"data": {"path": "secret/", "type": "kv", "options": {"version": version}}}))
    }

    pub(super) fn words(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|&text| text.to_owned()).collect()
    }
}
