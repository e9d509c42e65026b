//! `namespace`: servers within the server.

use crate::{arguments, context::Context, failure::Failure};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};

/// Creates, lists and deletes namespaces.
#[derive(Subcommand, Debug)]
pub(crate) enum Namespace {
    Create(Create),
    List(List),
    Delete(Delete),
}

/// Creates a namespace below the current one.
#[derive(Args, Debug)]
pub(crate) struct Create {
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Lists the namespaces below the current one.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Deletes a namespace below the current one.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl Namespace {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Namespace::Create(Create { arguments }) => {
                let [path] = arguments::exactly(&arguments)?;
                let outgoing = Outgoing::new(Method::Put, at(path)).json(&serde_json::json!({}));
                let made = context.send("Error creating namespace", outgoing).await?;
                context.show_written(&made, None, &at(path))
            }
            Namespace::List(List { rest }) => {
                let [] = arguments::exactly::<0>(&rest)?;
                let outgoing = Outgoing::new(Method::List, "sys/namespaces");
                let found = context.find("Error listing namespaces", outgoing).await?;
                context.show_names(found.as_ref(), "No namespaces found")
            }
            Namespace::Delete(Delete { arguments }) => {
                let [path] = arguments::exactly(&arguments)?;
                let outgoing = Outgoing::new(Method::Delete, at(path));
                context.send("Error deleting namespace", outgoing).await?;
                let path = path.trim_matches('/');
                context.output.line(&format!("Success! Namespace deleted at: {path}/"))
            }
        }
    }
}

fn at(path: &str) -> String {
    format!("sys/namespaces/{}", path.trim_matches('/'))
}
