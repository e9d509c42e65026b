//! The commands, one file or folder for each family.

mod about;
mod agent;
mod audit;
mod aws;
pub(crate) mod completion;
mod import;
mod kv;
mod lease;
mod logical;
mod login;
mod login_aws;
mod mounts;
mod namespace;
mod operator;
mod plugin;
mod policy;
mod quickstart;
mod replicate;
pub(crate) mod server;
mod status;
mod sync;
mod token;

use crate::{
    common::Common,
    context::Context,
    failure::Failure,
    output::{Format, Output},
};
use clap::{Parser, Subcommand};

/// Keeps secrets, and delivers them to where they are used.
#[derive(Parser, Debug)]
#[command(name = "bailee", disable_help_flag = true, disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Server(Box<server::Server>),
    Status(status::Status),
    #[command(subcommand)]
    Operator(operator::Operator),
    Login(login::Login),
    #[command(subcommand)]
    Kv(kv::Kv),
    Read(logical::Read),
    Write(logical::Write),
    Patch(logical::Patch),
    List(logical::List),
    Delete(logical::Delete),
    Unwrap(logical::Unwrap),
    #[command(subcommand)]
    Auth(mounts::Auth),
    #[command(subcommand)]
    Secrets(mounts::Secrets),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Lease(lease::Lease),
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    #[command(subcommand)]
    Policy(policy::Policy),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Sync(sync::Sync),
    #[command(subcommand)]
    Replicate(replicate::Replicate),
    #[command(subcommand)]
    Agent(agent::Agent),
    #[command(subcommand)]
    Aws(aws::Aws),
    Quickstart(quickstart::Quickstart),
    Import(import::Import),
    #[command(subcommand)]
    Namespace(namespace::Namespace),
    #[command(subcommand)]
    Print(token::Print),
    PathHelp(about::PathHelp),
    VersionHistory(about::VersionHistory),
    Completion(completion::Completion),
    /// Shows the version.
    Version,
}

impl CommandLine {
    /// Runs the command to its end.
    pub(crate) fn run(self, program: &'static str) -> Result<(), Failure> {
        // These ask nobody, so that no address and no token can stand in their way.
        match &self.command {
            Command::Server(arguments) => {
                return server::run(arguments)
                    .map_err(|error| Failure::usage(format!("{error:#}")));
            }
            Command::Agent(agent::Agent::Run(arguments)) => return arguments.run(),
            Command::Completion(arguments) => {
                return arguments.run(program, &mut Output::standard(Format::Table));
            }
            Command::Version => {
                return Output::standard(Format::Table).line(&crate::version_line(program));
            }
            _ => {}
        }
        let context = Context::new(program, self.common)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(Box::pin(ask(self.command, context)))
    }
}

async fn ask(command: Command, mut context: Context) -> Result<(), Failure> {
    let context = &mut context;
    match command {
        // Ran before.
        Command::Server(_) | Command::Completion(_) | Command::Version => Ok(()),
        Command::Status(arguments) => arguments.run(context).await,
        Command::Operator(arguments) => arguments.run(context).await,
        Command::Login(arguments) => arguments.run(context).await,
        Command::Kv(arguments) => arguments.run(context).await,
        Command::Read(arguments) => arguments.run(context).await,
        Command::Write(arguments) => arguments.run(context).await,
        Command::Patch(arguments) => arguments.run(context).await,
        Command::List(arguments) => arguments.run(context).await,
        Command::Delete(arguments) => arguments.run(context).await,
        Command::Unwrap(arguments) => arguments.run(context).await,
        Command::Auth(arguments) => arguments.run(context).await,
        Command::Secrets(arguments) => arguments.run(context).await,
        Command::Audit(arguments) => arguments.run(context).await,
        Command::Lease(arguments) => arguments.run(context).await,
        Command::Plugin(arguments) => arguments.run(context).await,
        Command::Policy(arguments) => arguments.run(context).await,
        Command::Token(arguments) => arguments.run(context).await,
        Command::Sync(arguments) => arguments.run(context).await,
        Command::Replicate(arguments) => arguments.run(context).await,
        Command::Agent(arguments) => arguments.run(context).await,
        Command::Aws(arguments) => arguments.run(context).await,
        Command::Import(arguments) => arguments.run(context).await,
        Command::Quickstart(arguments) => arguments.run(context).await,
        Command::Namespace(arguments) => arguments.run(context).await,
        Command::Print(arguments) => arguments.run(context),
        Command::PathHelp(arguments) => arguments.run(context).await,
        Command::VersionHistory(arguments) => arguments.run(context).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_declared_without_contradiction() {
        CommandLine::command().debug_assert();
    }
}
