//! `secrets`: which engines are mounted where.

use super::{
    Family,
    change::{Disable, EnableSecrets, TuneSecrets},
    list::List,
    relocate::Move,
};
use crate::{context::Context, failure::Failure};
use clap::Subcommand;

/// Enables, lists, moves, tunes and disables secrets engines.
#[derive(Subcommand, Debug)]
pub(crate) enum Secrets {
    /// Enables a secrets engine at a path; by default at its type's name.
    Enable(Box<EnableSecrets>),
    /// Lists the secrets engines.
    List(List),
    /// Moves a secrets engine, with all it holds, to another path.
    Move(Move),
    /// Changes the settings of a secrets engine.
    Tune(Box<TuneSecrets>),
    /// Disables a secrets engine and deletes all it holds.
    Disable(Disable),
}

impl Secrets {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Secrets::Enable(arguments) => arguments.run(context).await,
            Secrets::List(arguments) => arguments.run(Family::Secrets, context).await,
            Secrets::Move(arguments) => arguments.run(Family::Secrets, context).await,
            Secrets::Tune(arguments) => arguments.run(context).await,
            Secrets::Disable(arguments) => arguments.run(Family::Secrets, context).await,
        }
    }
}
