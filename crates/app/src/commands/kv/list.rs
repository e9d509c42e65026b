//! `kv list`.

use super::{MountFlag, Place};
use crate::{arguments, commands::logical::missing, context::Context, failure::Failure};
use bailee_client::{Method, Outgoing};
use clap::Args;

/// Lists the secrets and folders below a path.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    mount: MountFlag,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl List {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let path = arguments::optional(&self.arguments)?.map_or("", String::as_str);
        if path.is_empty() && self.mount.mount.is_none() {
            return Err(Failure::usage("Not enough arguments (expected 1, got 0)"));
        }
        let place = Place::of(context, &self.mount, path).await?;
        let path = place.api_path("metadata");
        let outgoing = Outgoing::new(Method::List, &path);
        let found = context.find(&format!("Error listing {path}"), outgoing).await?;
        context.show_names(found.as_ref(), &missing(&path).message)
    }
}
