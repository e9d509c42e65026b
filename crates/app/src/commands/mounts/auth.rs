//! `auth`: which auth methods are mounted where.

use super::{
    Family,
    change::{Disable, EnableAuth, TuneAuth},
    list::List,
    relocate::Move,
};
use crate::{arguments, context::Context, failure::Failure};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::Value;

/// Enables, lists, moves, tunes and disables auth methods.
#[derive(Subcommand, Debug)]
pub(crate) enum Auth {
    /// Enables an auth method at a path; by default at its type's name.
    Enable(Box<EnableAuth>),
    /// Lists the auth methods.
    List(List),
    /// Moves an auth method, with all it holds, to another path.
    Move(Move),
    /// Changes the settings of an auth method.
    Tune(Box<TuneAuth>),
    /// Disables an auth method and revokes the tokens it gave.
    Disable(Disable),
    /// Tells how to log in by a method: one of its types, or where it is mounted.
    Help(MethodHelp),
}

/// `auth help`.
#[derive(Args, Debug)]
pub(crate) struct MethodHelp {
    #[arg(value_name = "TYPE | PATH")]
    arguments: Vec<String>,
}

impl Auth {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Auth::Enable(arguments) => arguments.run(context).await,
            Auth::List(arguments) => arguments.run(Family::Auth, context).await,
            Auth::Move(arguments) => arguments.run(Family::Auth, context).await,
            Auth::Tune(arguments) => arguments.run(context).await,
            Auth::Disable(arguments) => arguments.run(Family::Auth, context).await,
            Auth::Help(arguments) => arguments.run(context).await,
        }
    }
}

impl MethodHelp {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [typed] = arguments::exactly(&self.arguments)?;
        let path = typed.trim_matches('/');
        let (program, known) = (context.program, how_to_log_in(context.program, path, path));
        if let Some(text) = known {
            return context.output.line(&text);
        }
        let outgoing = Outgoing::new(Method::Get, "sys/auth");
        let found = context.send("Error listing enabled authentications", outgoing).await?;
        let mount = found.data().and_then(|mounts| mounts.get(&format!("{path}/")));
        let kind = mount.and_then(|mount| mount.get("type")).and_then(Value::as_str);
        let kind = kind.ok_or_else(|| {
            Failure::refused(format!("No auth method is mounted at {path}/, nor is it a type"))
        })?;
        let text = how_to_log_in(program, kind, path).unwrap_or_else(|| {
            format!("Log in by writing to auth/{path}/login, or what `{program} path-help auth/{path}` tells.")
        });
        context.output.line(&text)
    }
}

/// How to log in by a method of this type that is mounted at this path.
fn how_to_log_in(program: &str, kind: &str, path: &str) -> Option<String> {
    let at = if kind == path { String::new() } else { format!(" -path={path}") };
    let (needs, example) = match kind {
        "token" => ("a token, which is asked for when it is not given", String::new()),
        "userpass" | "ldap" => (
            "username=NAME, and password=…, which is asked for when it is not given",
            format!(" -method={kind}{at} username=anna"),
        ),
        "approle" => (
            "role_id=ID, and secret_id=… where the role wants one; `secret_id=-` reads it from standard input",
            format!(" -method=approle{at} role_id=ID secret_id=-"),
        ),
        "cert" => (
            "a client certificate (-client-cert, -client-key)",
            format!(" -method=cert{at} -client-cert=me.pem -client-key=me.key"),
        ),
        _ => return None,
    };
    Some(format!("Logging in needs {needs}.\n\n    {program} login{example}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use serde_json::json;

    fn help(typed: &str) -> MethodHelp {
        MethodHelp { arguments: vec![typed.to_owned()] }
    }

    #[tokio::test]
    async fn help_is_found_by_type_and_by_path() {
        let mounts = json!({"data": {"people/": {"type": "userpass"}}});
        let answers = vec![(200, mounts.clone()), (200, mounts)];
        let (mut context, out, ..) = testing::context(Format::Table, answers).await;
        help("userpass").run(&mut context).await.unwrap();
        help("people/").run(&mut context).await.unwrap();
        assert!(out.text().contains("bailee login -method=userpass username=anna\n"));
        assert!(out.text().contains("bailee login -method=userpass -path=people username=anna\n"));
        assert_eq!(help("nope").run(&mut context).await.unwrap_err().exit, 2);
    }
}
