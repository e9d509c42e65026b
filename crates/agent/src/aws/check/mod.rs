//! Whether a secret manager works, step by step, and what to add where it does not. Nothing is changed, and no value is
//! kept.

mod statements;
mod steps;

pub use statements::{Addition, PolicyKind, Statement};

use super::{InvalidField, Settings, Surroundings};
use crate::manager::Wanted;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// What is to be checked.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The secrets that are read.
    pub secrets: Vec<Wanted>,
    /// The tags that secrets are prefetched by.
    pub tags: Vec<BTreeMap<String, String>>,
}

/// What was found.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Report {
    /// The place: type, region, identity.
    pub place: String,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// A step of the way to a secret's value.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Step {
    /// Which one.
    pub name: Name,
    /// What it is about, such as a secret's id; empty where there is only one thing.
    pub subject: String,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, or AWS's own words.
    pub detail: String,
    /// The call of AWS that it stands on, as `sts:AssumeRole`; empty where there was none.
    pub call: String,
    /// The permission that is missing.
    pub missing: Option<String>,
    /// What to add, and where.
    pub additions: Vec<Addition>,
    /// What to do where no statement helps.
    pub advice: Option<String>,
}

/// The steps.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// There are credentials.
    Credentials,
    /// AWS knows whose they are.
    Identity,
    /// The role is taken on.
    AssumeRole,
    /// Secrets are found by tag.
    List,
    /// Many secrets are read in one call.
    Batch,
    /// A secret is read.
    Get,
    /// Its value is decrypted.
    Decrypt,
    /// Its copy in `failover_region` is read.
    Failover,
}

/// How a step went.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Well.
    Ok,
    /// Not, and secrets can be read all the same.
    Warning,
    /// Not.
    Failed,
    /// It was not tried, as something before it failed or nothing asks for it.
    Skipped,
}

/// Checks the way to the secrets, from credentials to values.
///
/// # Errors
/// The settings themselves do not do.
pub async fn check(
    settings: &Settings,
    surroundings: &Surroundings,
    wishes: &Wishes,
) -> Result<Report, InvalidField> {
    Box::pin(steps::walk(settings, surroundings, wishes)).await
}

impl Report {
    /// Whether all secrets that are asked for can be read.
    pub fn is_ok(&self) -> bool {
        self.steps.iter().all(|step| step.outcome != Outcome::Failed)
    }
}

impl Name {
    fn as_str(self) -> &'static str {
        match self {
            Name::Credentials => "credentials",
            Name::Identity => "identity",
            Name::AssumeRole => "assume role",
            Name::List => "list",
            Name::Batch => "batch",
            Name::Get => "get",
            Name::Decrypt => "decrypt",
            Name::Failover => "failover",
        }
    }
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.place)?;
        self.steps.iter().try_for_each(|step| write!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = match self.subject.as_str() {
            "" => self.name.as_str().to_owned(),
            subject => format!("{} {subject}", self.name.as_str()),
        };
        writeln!(f, "  {:<8} {about}: {}", self.outcome.as_str(), self.detail)?;
        if let Some(permission) = &self.missing {
            writeln!(f, "           missing: {permission}")?;
        }
        if let Some(advice) = &self.advice {
            writeln!(f, "           {advice}")?;
        }
        for addition in &self.additions {
            writeln!(f, "           add to {}:", addition.to)?;
            let statement = serde_json::to_string_pretty(&addition.statement).unwrap_or_default();
            for line in statement.lines() {
                writeln!(f, "             {line}")?;
            }
        }
        Ok(())
    }
}
