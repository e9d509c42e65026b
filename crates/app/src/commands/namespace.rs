//! `namespace`: servers within the server.

use crate::{arguments, context::Context, failure::Failure, output::Order, value};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Creates, lists, changes, locks and deletes namespaces.
#[derive(Subcommand, Debug)]
pub(crate) enum Namespace {
    Create(Create),
    List(List),
    Lookup(Lookup),
    Patch(Patch),
    Delete(Delete),
    Lock(Lock),
    Unlock(Unlock),
}

/// Creates a namespace below the current one.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// A note that is kept with it; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::pair)]
    custom_metadata: Vec<(String, String)>,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Lists the namespaces below the current one.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Show what is known of each.
    #[arg(long)]
    detailed: bool,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Shows a namespace.
#[derive(Args, Debug)]
pub(crate) struct Lookup {
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Changes the notes that are kept with a namespace.
#[derive(Args, Debug)]
pub(crate) struct Patch {
    /// A note that is set; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::pair)]
    custom_metadata: Vec<(String, String)>,
    /// A note that is removed; may be repeated.
    #[arg(long, value_name = "KEY")]
    remove_custom_metadata: Vec<String>,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Deletes a namespace below the current one, with all it holds.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Locks a namespace, the current one by default: its API refuses requests until it is unlocked.
#[derive(Args, Debug)]
pub(crate) struct Lock {
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Unlocks a namespace, the current one by default.
#[derive(Args, Debug)]
pub(crate) struct Unlock {
    /// The key that locking gave; `-` reads it from standard input. Root tokens need none.
    #[arg(long, value_name = "KEY")]
    unlock_key: Option<String>,
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl Namespace {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Namespace::Create(arguments) => arguments.run(context).await,
            Namespace::List(arguments) => arguments.run(context).await,
            Namespace::Lookup(Lookup { arguments }) => {
                let [path] = arguments::exactly(&arguments)?;
                let outgoing = Outgoing::new(Method::Get, at(path));
                let found = context.find("Error looking up namespace", outgoing).await?;
                let found = found.ok_or_else(|| Failure::refused("Namespace not found"))?;
                context.output.secret(&found, None)
            }
            Namespace::Patch(arguments) => arguments.run(context).await,
            Namespace::Delete(Delete { arguments }) => {
                let [path] = arguments::exactly(&arguments)?;
                let outgoing = Outgoing::new(Method::Delete, at(path));
                let answer = context.send("Error deleting namespace", outgoing).await?;
                let path = path.trim_matches('/');
                context.output.line(&format!("Success! Namespace deleted at: {path}/"))?;
                context.output.warnings(&answer)
            }
            Namespace::Lock(Lock { arguments }) => {
                let path = arguments::optional(&arguments)?;
                let outgoing = Outgoing::new(Method::Put, locking("lock", path)).json(&json!({}));
                let locked = context.send("Error locking namespace", outgoing).await?;
                context.output.secret(&locked, None)
            }
            Namespace::Unlock(arguments) => arguments.run(context).await,
        }
    }
}

fn at(path: &str) -> String {
    format!("sys/namespaces/{}", path.trim_matches('/'))
}

fn locking(word: &str, path: Option<&String>) -> String {
    let path = path.map_or("", |path| path.trim_matches('/'));
    format!("sys/namespaces/api-lock/{word}/{path}").trim_end_matches('/').to_owned()
}

fn notes(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect()
}

impl Create {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let body = match self.custom_metadata.as_slice() {
            [] => json!({}),
            given => json!({ "custom_metadata": notes(given) }),
        };
        let outgoing = Outgoing::new(Method::Put, at(path)).json(&body);
        let made = context.send("Error creating namespace", outgoing).await?;
        context.show_written(&made, None, &at(path))
    }
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let outgoing = Outgoing::new(Method::List, "sys/namespaces");
        let found = context.find("Error listing namespaces", outgoing).await?;
        let known = found.as_ref().and_then(|found| found.data()?.get("key_info"));
        if let (true, Some(known)) = (self.detailed, known) {
            return context.output.document(known, &Order::SORTED);
        }
        context.show_names(found.as_ref(), "No namespaces found")
    }
}

impl Patch {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let mut changed = notes(&self.custom_metadata);
        changed.extend(self.remove_custom_metadata.into_iter().map(|key| (key, Value::Null)));
        if changed.is_empty() {
            return Err(Failure::usage(
                "Nothing to change: give -custom-metadata or -remove-custom-metadata",
            ));
        }
        let body = json!({ "custom_metadata": changed });
        let outgoing = Outgoing::new(Method::Patch, at(path)).json(&body);
        let patched = context.send("Error patching namespace", outgoing).await?;
        context.show_written(&patched, None, &at(path))
    }
}

impl Unlock {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let path = arguments::optional(&self.arguments)?;
        let body = match self.unlock_key.as_deref() {
            Some("-") => {
                json!({ "unlock_key": context.input.hidden("Unlock Key")?.expose().as_str() })
            }
            Some(key) => json!({ "unlock_key": key }),
            None => json!({}),
        };
        let outgoing = Outgoing::new(Method::Put, locking("unlock", path)).json(&body);
        context.send("Error unlocking namespace", outgoing).await?;
        let path = path.map_or("", |path| path.trim_matches('/'));
        context.output.line(&format!("Success! Namespace unlocked: {path}/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, input::Input, output::Format};

    #[tokio::test]
    async fn notes_are_set_and_removed() {
        let (mut context, _, _, asked) =
            testing::context(Format::Table, vec![(200, json!({"data": {"id": "x"}}))]).await;
        let patch = Patch {
            custom_metadata: vec![("a".to_owned(), "1".to_owned())],
            remove_custom_metadata: vec!["b".to_owned()],
            arguments: vec!["ns1/".to_owned()],
        };
        patch.run(&mut context).await.unwrap();
        let expected =
            "PATCH /v1/sys/namespaces/ns1 {\"custom_metadata\":{\"a\":\"1\",\"b\":null}}\n";
        assert_eq!(asked.text(), expected);
    }

    #[tokio::test]
    async fn the_key_that_unlocks_need_not_be_an_argument() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(204, Value::Null)]).await;
        context.input = Input::from_text("key\n");
        let arguments = vec!["ns1".to_owned()];
        let unlock = Unlock { unlock_key: Some("-".to_owned()), arguments };
        unlock.run(&mut context).await.unwrap();
        let expected = "PUT /v1/sys/namespaces/api-lock/unlock/ns1 {\"unlock_key\":\"key\"}\n";
        assert_eq!(asked.text(), expected);
        assert_eq!(out.text(), "Success! Namespace unlocked: ns1/\n");
    }
}
