//! `read`, `write`, `list`, `delete`, `unwrap`: any path of the API.

use crate::{arguments, context::Context, failure::Failure, value};
use bailee_client::{Method, Outgoing};
use bailee_crypto::Sensitive;
use clap::Args;
use serde_json::{Value, json};

/// Reads a path.
#[derive(Args, Debug)]
pub(crate) struct Read {
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// The path, and parameters as KEY=VALUE.
    #[arg(value_name = "PATH [KEY=VALUE…]")]
    arguments: Vec<String>,
}

/// Writes to a path.
///
/// Values are KEY=VALUE, KEY=@FILE, KEY=- (standard input); @FILE.json or - give all of them as JSON.
#[derive(Args, Debug)]
pub(crate) struct Write {
    /// Show this field of the answer only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Write without any value.
    #[arg(long, alias = "f")]
    force: bool,
    /// The path and the values.
    #[arg(value_name = "PATH [KEY=VALUE…]")]
    arguments: Vec<String>,
}

/// Changes a part of what is at a path, and leaves the rest.
///
/// Values as for `write`.
#[derive(Args, Debug)]
pub(crate) struct Patch {
    /// Show this field of the answer only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Send it without any value.
    #[arg(long, alias = "f")]
    force: bool,
    /// The path and the values.
    #[arg(value_name = "PATH [KEY=VALUE…]")]
    arguments: Vec<String>,
}

/// Lists what is below a path.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// The path.
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// Deletes what is at a path.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The path, and parameters as KEY=VALUE.
    #[arg(value_name = "PATH [KEY=VALUE…]")]
    arguments: Vec<String>,
}

/// Takes the answer out of a wrapping token.
#[derive(Args, Debug)]
pub(crate) struct Unwrap {
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// The wrapping token; the own token when absent.
    #[arg(value_name = "TOKEN")]
    arguments: Vec<String>,
}

impl Read {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let (path, parameters) = path_and_parameters(&self.arguments)?;
        let mut outgoing = Outgoing::new(Method::Get, path);
        outgoing.query = parameters;
        let found = context.find(&format!("Error reading {path}"), outgoing).await?;
        let found = found.ok_or_else(|| missing(path))?;
        context.output.secret(&found, self.field.as_deref())
    }
}

impl Write {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let (path, body) = path_and_body(&self.arguments, self.force, context)?;
        let outgoing = Outgoing::new(Method::Put, &path).json(&body);
        let answer = context.send(&format!("Error writing data to {path}"), outgoing).await?;
        context.show_written(&answer, self.field.as_deref(), &path)
    }
}

impl Patch {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let (path, body) = path_and_body(&self.arguments, self.force, context)?;
        let outgoing = Outgoing::new(Method::Patch, &path).json(&body);
        let answer = context.send(&format!("Error patching data at {path}"), outgoing).await?;
        context.show_written(&answer, self.field.as_deref(), &path)
    }
}

impl List {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let path = path.trim_matches('/');
        let outgoing = Outgoing::new(Method::List, path);
        let found = context.find(&format!("Error listing {path}"), outgoing).await?;
        context.show_names(found.as_ref(), &missing(path).message)
    }
}

impl Delete {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let (path, parameters) = path_and_parameters(&self.arguments)?;
        let mut outgoing = Outgoing::new(Method::Delete, path);
        outgoing.query = parameters;
        let answer = context.send(&format!("Error deleting {path}"), outgoing).await?;
        if !context.output.is_table() {
            return Ok(());
        }
        context.output.line(&format!("Success! Data deleted (if it existed) at: {path}"))?;
        context.output.warnings(&answer)
    }
}

impl Unwrap {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let token = match arguments::optional(&self.arguments)?.map(String::as_str) {
            Some("-") => Some(context.input.hidden("Wrapping token")?),
            Some(token) => Some(Sensitive::from(token.trim())),
            None => None,
        };
        let own = context.client().settings().token.is_some();
        let body = match token {
            Some(token) if own => json!({ "token": token.expose().as_str() }),
            // Nobody's request but the wrapping token's own.
            Some(token) => {
                context.use_token(token);
                json!({})
            }
            None => json!({}),
        };
        let outgoing = Outgoing::new(Method::Put, "sys/wrapping/unwrap").json(&body);
        let answer = context.send("Error unwrapping", outgoing).await?;
        if answer.is_empty() {
            return Err(Failure::refused("The wrapped answer holds nothing"));
        }
        context.output.secret(&answer, self.field.as_deref())
    }
}

/// What is told when there is nothing at a path.
pub(super) fn missing(path: &str) -> Failure {
    Failure::refused(format!("No value found at {path}"))
}

fn path_and_body(
    arguments: &[String],
    force: bool,
    context: &mut Context,
) -> Result<(String, Value), Failure> {
    let (path, values) = arguments::first(arguments)
        .map_err(|_| Failure::usage("Not enough arguments (expected 1, got 0)"))?;
    if values.is_empty() && !force {
        return Err(Failure::usage("Must supply data or use -force"));
    }
    let body = value::body(values, &mut context.input)?;
    Ok((path.trim_start_matches('/').to_owned(), Value::Object(body)))
}

type Parameters = Vec<(String, String)>;

fn path_and_parameters(arguments: &[String]) -> Result<(&str, Parameters), Failure> {
    let (path, parameters) = arguments::first(arguments)
        .map_err(|_| Failure::usage("Not enough arguments (expected 1, got 0)"))?;
    Ok((path.trim_start_matches('/'), value::query(parameters)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    fn words(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|&text| text.to_owned()).collect()
    }

    #[tokio::test]
    async fn a_read_of_nothing_exits_with_2() {
        let (mut context, ..) =
            testing::context(Format::Table, vec![(404, json!({"errors": []}))]).await;
        let read = Read { field: None, arguments: words(&["v1/nope"]) };
        assert_eq!(
            read.run(&mut context).await,
            Err(Failure::refused("No value found at v1/nope"))
        );
    }

    #[tokio::test]
    async fn writes_send_their_values_and_say_where_to() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(204, Value::Null)]).await;
        let write = Write { field: None, force: false, arguments: words(&["/v1/w", "a=1"]) };
        write.run(&mut context).await.unwrap();
        assert_eq!(asked.text(), "PUT /v1/v1/w {\"a\":\"1\"}\n");
        assert_eq!(out.text(), "Success! Data written to: v1/w\n");
    }

    #[tokio::test]
    async fn a_write_without_values_needs_force() {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let write = Write { field: None, force: false, arguments: words(&["v1/w"]) };
        let failure = write.run(&mut context).await.unwrap_err();
        assert_eq!(failure, Failure::usage("Must supply data or use -force"));
    }

    #[tokio::test]
    async fn lists_are_names_and_an_empty_json_list_is_an_object() {
        let answers =
            vec![(200, json!({"data": {"keys": ["a", "b/"]}})), (404, json!({"errors": []}))];
        let (mut context, out, _, asked) = testing::context(Format::Json, answers).await;
        let list = || List { arguments: words(&["v1/"]) };
        list().run(&mut context).await.unwrap();
        assert_eq!(asked.text(), "GET /v1/v1?list=true\n");
        assert_eq!(list().run(&mut context).await, Err(Failure::shown(2)));
        assert_eq!(out.text(), "[\n  \"a\",\n  \"b/\"\n]\n{}\n");
    }
}
