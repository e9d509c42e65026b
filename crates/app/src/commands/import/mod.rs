//! `import`: what another server keeps, copied into this one.
//!
//! Nothing is written at the source, and nothing at the destination is written over: what is there and
//! is the same is passed over, what is there and differs is told and left. So a run that was
//! interrupted is started again, and goes on where it was.

mod aws;
mod end;
mod mounts;
mod report;
mod rights;
mod secrets;
mod versions;

use crate::{arguments, context::Context, failure::Failure};
use bailee_client::{Address, Error, Settings};
use bailee_crypto::Sensitive;
use clap::Args;
use end::End;
use report::Report;
use std::path::PathBuf;

/// Times a request to either server is tried again.
const RETRIES: u32 = 3;

/// Copies KV engines, policies and roles of another Vault, OpenBao or bailee into this server.
///
/// The server of the common flags is written to; -from is only read. KV secrets come with their
/// versions, numbers and metadata; AppRole, userpass and AWS methods with their roles and users. What
/// cannot be read there (values of deleted versions, passwords, secret ids, keys) is told. What is here
/// already is never written over. Look first with -plan; after an interruption, run it again.
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// Address of the server to copy from.
    #[arg(long, value_name = "URL")]
    from: Option<Address>,
    /// File with a token for it; asked for when absent.
    #[arg(long, value_name = "FILE")]
    from_token_file: Option<PathBuf>,
    /// Namespace to copy from.
    #[arg(long, value_name = "PATH", default_value = "")]
    from_namespace: String,
    /// File with the authority that signed its certificate.
    #[arg(long, value_name = "FILE")]
    from_ca_cert: Option<PathBuf>,
    /// Copy this KV engine only, and no policies or logins; may be repeated.
    #[arg(long, value_name = "PATH")]
    mount: Vec<String>,
    /// Only show what would be copied.
    #[arg(long)]
    plan: bool,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// What a copy works with.
struct Copy {
    from: End,
    to: End,
    /// Whether anything is written.
    writes: bool,
    report: Report,
}

impl Import {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        if !context.is_sending() {
            return Err(Failure::usage(
                "import sends requests that depend on the answers before: -output-curl-string and \
                 -output-policy do not go with it",
            ));
        }
        let from = self.source(context)?;
        let mut to = context.client().settings().clone();
        to.retries = RETRIES;
        if to.address.to_string() == from.address.to_string() && to.namespace == from.namespace {
            return Err(Failure::usage("-from is the server that is written to"));
        }
        let mut copy = Copy {
            from: End::at(from)?,
            to: End::at(to)?,
            writes: !self.plan,
            report: Report::default(),
        };
        let only: Vec<String> =
            self.mount.iter().map(|path| format!("{}/", path.trim_matches('/'))).collect();
        let outcome = copy.all(&only).await;
        copy.report.show(context, copy.writes)?;
        outcome.map_err(|error| {
            let failure = context.failure("", &error);
            if matches!(error, Error::Login { .. } | Error::Setting { .. }) {
                return failure;
            }
            Failure::refused(format!(
                "{}\n\nThe copy stopped there. Run it again: it goes on where it was.",
                failure.message.trim_start()
            ))
        })?;
        if copy.report.is_whole() { Ok(()) } else { Err(Failure::shown(crate::failure::REFUSED)) }
    }

    fn source(&self, context: &mut Context) -> Result<Settings, Failure> {
        let address = self.from.clone();
        let address =
            address.ok_or_else(|| Failure::usage("give -from: the server to copy from"))?;
        let mut settings = Settings::new(address);
        settings.namespace = self.from_namespace.trim_matches('/').to_owned();
        settings.authorities = self.from_ca_cert.iter().cloned().collect();
        settings.retries = RETRIES;
        let token = match &self.from_token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text =
                    text.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
                Sensitive::from(text.trim())
            }
            None => context.input.hidden("Token of the server to copy from")?,
        };
        if token.expose().is_empty() {
            return Err(Failure::usage("the token of the server to copy from is empty"));
        }
        settings.token = Some(token);
        Ok(settings)
    }
}

impl Copy {
    /// Policies first: what is logged in as names them. An error ends the copy; what concerns one
    /// thing alone is in the report.
    async fn all(&mut self, only: &[String]) -> Result<(), Error> {
        if only.is_empty() {
            self.policies().await?;
        }
        for engine in self.engines(only).await? {
            self.secrets(&engine).await?;
        }
        if only.is_empty() {
            self.logins().await?;
        }
        Ok(())
    }
}
