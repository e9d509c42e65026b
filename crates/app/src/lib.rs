//! bailee: a secrets manager, server and command line in one binary.
//!
//! `config` reads what the user configured, `assemble` builds a server of it, `commands` is what
//! people type.

mod adapters;
mod agent;
mod arguments;
pub mod assemble;
mod commands;
mod common;
mod completion;
pub mod config;
mod context;
mod dev;
mod examples;
mod failure;
mod help;
pub mod host;
mod input;
mod lambda;
pub mod logs;
mod output;
pub mod replicate;
mod token_file;
mod unsent;
mod value;

use arguments::Typed;
use clap::{CommandFactory, FromArgMatches};
use commands::CommandLine;
use failure::{Failure, UNKNOWN_COMMAND};
use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

/// The version of the API that is served, as clients compare it.
pub const VERSION: &str = "2.2.0";

/// Runs a command line, the program's name first, and says how it ended: 0 well, 1 typed wrong,
/// 2 refused, 127 no such command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let failure = match command_line(arguments) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    if !failure.message.is_empty() {
        // When standard error is gone there is nobody left to tell.
        writeln!(io::stderr(), "{}", failure.message).ok();
    }
    ExitCode::from(failure.exit)
}

fn command_line(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let mut arguments = arguments.into_iter();
    let called = arguments.next();
    if is_called(called.as_deref(), "bootstrap")
        && let Some(environment) = config::env::LambdaEnvironment::read()
    {
        return lambda::run(&environment);
    }
    let arguments: Vec<OsString> = arguments.collect();
    if let [agent, launch, pid, words @ ..] = arguments.as_slice()
        && agent == "agent"
        && launch == agent::LAUNCH
    {
        // Not typed by people: the words are the application's, and so are its flags.
        return Err(agent::launch(pid, words));
    }
    let arguments = arguments.into_iter();
    let program = program(called);
    let mut root = CommandLine::command().name(program);
    root.build();
    if let Some((line, point)) = config::env::completed_line() {
        let words = completion::candidates(&root, &line, point);
        return Ok(io::stdout().write_all(lines(&words).as_bytes())?);
    }
    let arguments: Result<Vec<String>, OsString> = arguments.map(OsString::into_string).collect();
    let arguments = arguments.map_err(|_| Failure::usage("arguments must be UTF-8"))?;
    let (arguments, late) = match arguments::understand(&root, &arguments)? {
        Typed::Run { arguments, late } => (arguments, late),
        Typed::Help(text) => return Ok(writeln!(io::stdout(), "{text}")?),
        Typed::Version => return Ok(writeln!(io::stdout(), "{}", version_line(program))?),
        Typed::Install(wanted) => {
            let told = commands::completion::install(program, wanted)?;
            return Ok(writeln!(io::stdout(), "{told}")?);
        }
        Typed::Unknown(help) => return Err(Failure { exit: UNKNOWN_COMMAND, message: help }),
    };
    if !late.is_empty() {
        let late = late.join(" ");
        writeln!(
            io::stderr(),
            "Flags go before other arguments; these are taken as they are: {late}"
        )?;
    }
    let matches = root.try_get_matches_from(arguments).map_err(|error| arguments::fault(&error))?;
    let parsed = CommandLine::from_arg_matches(&matches);
    parsed.map_err(|error| arguments::fault(&error))?.run(program)
}

/// The name this program was called by. Where it stands in for `vault` it answers as that.
fn program(called: Option<OsString>) -> &'static str {
    if is_called(called.as_deref(), "vault") { "vault" } else { "bailee" }
}

fn is_called(called: Option<&OsStr>, name: &str) -> bool {
    called.map(Path::new).and_then(Path::file_stem).is_some_and(|stem| stem == name)
}

fn lines(words: &[String]) -> String {
    words.iter().map(|word| format!("{word}\n")).collect()
}

/// The second word is a version: as `vault` that of the API, which clients compare.
fn version_line(program: &str) -> String {
    let own = env!("CARGO_PKG_VERSION");
    match program {
        "vault" => format!("Vault v{VERSION} (bailee {own})"),
        _ => format!("Bailee v{own} (API of Vault v{VERSION})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(arguments: &[&str]) -> Failure {
        let arguments = ["bailee"].iter().chain(arguments).map(OsString::from);
        command_line(arguments).unwrap_err()
    }

    #[test]
    fn the_version_is_the_one_that_clients_compare() {
        let line = version_line(program(Some("/usr/bin/vault".into())));
        assert!(line.starts_with("Vault v2.2.0 (bailee "), "{line}");
        let line = version_line(program(Some("./bailee".into())));
        assert!(line.starts_with("Bailee v") && line.ends_with(" (API of Vault v2.2.0)"), "{line}");
    }

    #[test]
    fn unknown_commands_exit_with_127_and_bad_flags_with_1() {
        assert_eq!(ended(&["nope"]).exit, 127);
        assert_eq!(ended(&[]).exit, 127);
        assert_eq!(ended(&["kv"]).exit, 1);
        let text = "flag provided but not defined: -nope";
        assert_eq!(ended(&["kv", "get", "-nope", "x"]), Failure::usage(text));
        let text = "invalid value \"abc\" for flag -ttl: time: invalid duration \"abc\"";
        assert_eq!(ended(&["token", "create", "-ttl=abc"]), Failure::usage(text));
    }
}
