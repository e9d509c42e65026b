//! `operator`: bringing a server up, closing it, and its keys.

mod cluster;
mod generate_root;
mod init;
mod keys;
mod pgp;
mod raft;
mod rekey;
mod share;
mod unseal;
mod usage;

use crate::{context::Context, failure::Failure};
use clap::Subcommand;

/// Initializes, unseals and seals the server, and looks after its keys.
#[derive(Subcommand, Debug)]
pub(crate) enum Operator {
    Init(init::Init),
    Unseal(unseal::Unseal),
    Seal(unseal::Seal),
    KeyStatus(keys::KeyStatus),
    Rotate(keys::Rotate),
    Rekey(Box<rekey::Rekey>),
    GenerateRoot(Box<generate_root::GenerateRoot>),
    Members(cluster::Members),
    StepDown(cluster::StepDown),
    Usage(usage::Usage),
    #[command(subcommand)]
    Raft(raft::Raft),
}

impl Operator {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Operator::Init(arguments) if arguments.status => arguments.status(context).await,
            Operator::Init(arguments) => arguments.run(context).await,
            Operator::Unseal(arguments) => arguments.run(context).await,
            Operator::Seal(arguments) => arguments.run(context).await,
            Operator::KeyStatus(arguments) => arguments.run(context).await,
            Operator::Rotate(arguments) => arguments.run(context).await,
            Operator::Rekey(arguments) => arguments.run(context).await,
            Operator::GenerateRoot(arguments) => arguments.run(context).await,
            Operator::Members(arguments) => arguments.run(context).await,
            Operator::StepDown(arguments) => arguments.run(context).await,
            Operator::Usage(arguments) => arguments.run(context).await,
            Operator::Raft(arguments) => arguments.run(context).await,
        }
    }
}
