//! Sources as they are stored, and what their last runs came to. Per namespace, beside what `store`
//! keeps:
//!
//! ```text
//! source/…               named tree: <name>  →  StoredSource
//! source-run/<source>    SourceRuns: how the last run went
//! ```

use crate::{
    destination::Ownership,
    pull::{
        report::{FailedSecret, Outcome, Results, RunReport, SetupFailure},
        sources::vault::Part,
        spec::{Compare, Removals, Spec},
    },
    registry::{Details, Drift, Network},
    store::Store,
};
use bailee_crypto::clock::{from_millis, to_millis};
use bailee_notation::schedule::Schedule;
use bailee_storage::Error;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// Sources of one namespace.
pub(crate) const SOURCES_MAX: usize = 64;
/// Failures of one run that are kept.
const FAILURES_MAX: usize = 100;
/// Sentences of one run that are kept.
const NOTES_MAX: usize = 20;
/// How far a clock is put right without anybody noticing.
const CLOCK_DRIFT_MAX: Duration = Duration::from_secs(60);
/// What is kept of a message, or of a name, in characters.
const MESSAGE_CHARS_MAX: usize = 400;

/// Types that stand for a server that speaks Vault's API.
pub(crate) const VAULTS: [&str; 3] = ["vault", "openbao", "bailee"];
/// The type of AWS Secrets Manager.
pub(crate) const AWS: &str = "aws-sm";

/// A text of a source: how it is reached, and as whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceField {
    /// Its name in the API.
    pub(crate) name: &'static str,
    /// Whether it is never shown again.
    pub(crate) secret: bool,
    /// Whether it says whom the secrets are sent to: when it changes, they are given again.
    pub(crate) leads: bool,
    /// Whether it is one of AWS, not of a server that speaks Vault's API.
    pub(crate) aws: bool,
    /// The longest text, in bytes.
    pub(crate) bytes_max: usize,
}

const fn plain(name: &'static str) -> SourceField {
    SourceField { name, secret: false, leads: false, aws: false, bytes_max: 4096 }
}

const fn leading(name: &'static str, bytes_max: usize) -> SourceField {
    SourceField { leads: true, bytes_max, ..plain(name) }
}

const fn secret(name: &'static str, bytes_max: usize) -> SourceField {
    SourceField { secret: true, bytes_max, ..plain(name) }
}

const fn of_aws(field: SourceField) -> SourceField {
    SourceField { aws: true, ..field }
}

/// All texts that sources have.
pub(crate) const FIELDS: &[SourceField] = &[
    leading("address", 2048),
    leading("ca_cert", 64 << 10),
    leading("tls_server_name", 253),
    plain("namespace"),
    plain("auth"),
    plain("auth_mount"),
    plain("auth_role"),
    plain("auth_region"),
    plain("auth_header_value"),
    plain("role_id"),
    secret("token", 16 << 10),
    secret("secret_id", 4096),
    secret("jwt", 16 << 10),
    of_aws(plain("region")),
    of_aws(plain("role_arn")),
    of_aws(plain("external_id")),
    of_aws(plain("source_prefix")),
    of_aws(secret("access_key_id", 4096)),
    of_aws(secret("secret_access_key", 4096)),
];

/// A source as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredSource {
    /// Its name.
    pub(crate) name: String,
    /// Another one when it was deleted and made again.
    pub(crate) id: String,
    /// Its type.
    pub(crate) kind: String,
    /// Its texts, secret ones among them.
    pub(crate) details: Details,
    /// Whole mounts.
    pub(crate) mounts: Vec<String>,
    /// Folders of mounts that are not taken whole, each as `<mount>:<folder>/`.
    pub(crate) folders: Vec<String>,
    /// Versions of mounts, where the server shall not be asked.
    pub(crate) mount_versions: BTreeMap<String, String>,
    /// Where its connections may go.
    pub(crate) network: Network,
    /// Type of the destination.
    pub(crate) destination_type: String,
    /// Name of the destination.
    pub(crate) destination_name: String,
    /// How all names begin; a template stands in its place.
    pub(crate) prefix: Option<String>,
    /// The name template.
    pub(crate) template: Option<String>,
    /// How a change is seen.
    pub(crate) compare: Compare,
    /// What is done with secrets of others.
    pub(crate) ownership: Ownership,
    /// What is done about changes of others.
    pub(crate) drift: Drift,
    /// What becomes of what the source has no more.
    pub(crate) removals: Removals,
    /// The share that one run may remove.
    pub(crate) deletion_share_max: f64,
    /// Tags beside those of the destination.
    pub(crate) custom_tags: BTreeMap<String, String>,
    /// When runs begin by themselves.
    pub(crate) schedule: Option<String>,
    /// Whether nothing runs.
    pub(crate) paused: bool,
}

impl StoredSource {
    /// Whether it is AWS Secrets Manager.
    pub(crate) fn is_aws(&self) -> bool {
        self.kind == AWS
    }

    /// Type and name of the destination.
    pub(crate) fn destination(&self) -> String {
        format!("{}/{}", self.destination_type, self.destination_name)
    }

    /// What is read of a server.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let mut parts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for mount in &self.mounts {
            parts.insert(mount, vec![String::new()]);
        }
        for (mount, folder) in self.folders.iter().filter_map(|text| text.split_once(':')) {
            parts.entry(mount).or_default().push(folder.to_owned());
        }
        let version = |mount: &str| self.mount_versions.get(mount)?.parse().ok();
        let part = |(mount, folders): (&str, Vec<String>)| Part {
            mount: mount.to_owned(),
            folders,
            version: version(mount),
        };
        parts.into_iter().map(part).collect()
    }

    /// What a run shall do; tags of the destination included.
    pub(crate) fn spec(&self, tags: &BTreeMap<String, String>) -> Spec {
        let mut spec = Spec::below(&self.name, self.prefix.as_deref().unwrap_or_default());
        if let Some(template) = &self.template {
            spec.template.clone_from(template);
        }
        spec.namespace = self.details.text("namespace").unwrap_or_default();
        spec.compare = self.compare;
        spec.ownership = self.ownership;
        spec.drift = self.drift;
        spec.removals = self.removals;
        spec.deletion_share_max = self.deletion_share_max;
        spec.custom_tags = tags.clone();
        spec.custom_tags.extend(self.custom_tags.clone());
        spec
    }

    /// When it is to run next by itself: at once where it never ran.
    pub(crate) fn next_run(
        &self,
        runs: Option<&SourceRuns>,
        now: SystemTime,
    ) -> Option<SystemTime> {
        let schedule = self.schedule.as_deref().filter(|_| !self.paused)?;
        let schedule = Schedule::parse(schedule).ok()?;
        match runs.filter(|runs| runs.source == self.id) {
            Some(runs) => {
                let started_at = from_millis(runs.last.started_at);
                // The clock was put back by more than it ever drifts: that must not keep it waiting.
                if started_at > now + CLOCK_DRIFT_MAX {
                    return Some(now);
                }
                schedule.next_after(started_at)
            }
            None => Some(now),
        }
    }
}

/// What is kept of the runs of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceRuns {
    /// The source's id.
    pub(crate) source: String,
    /// The last run that ended.
    pub(crate) last: LastRun,
    /// When the last one without any failure ended, in milliseconds since 1970.
    pub(crate) succeeded_at: Option<u64>,
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LastRun {
    /// Stands for it.
    pub(crate) run: String,
    /// When it began, in milliseconds since 1970.
    pub(crate) started_at: u64,
    /// When it ended, likewise.
    pub(crate) ended_at: u64,
    /// One sentence.
    pub(crate) summary: String,
    /// Why it did not begin, or was cut off.
    pub(crate) not_begun: Option<SetupFailure>,
    /// How many secrets met with what.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The first failures.
    pub(crate) failures: Vec<FailedSecret>,
    /// Sentences about what could go better.
    pub(crate) notes: Vec<String>,
}

impl LastRun {
    /// What is kept of a report.
    pub(crate) fn of(report: &RunReport) -> LastRun {
        let mut last = LastRun {
            run: report.run.clone(),
            started_at: to_millis(report.started_at),
            ended_at: to_millis(report.ended_at),
            summary: shortened(&report.sentence()),
            not_begun: None,
            counts: BTreeMap::new(),
            failures: Vec::new(),
            notes: Vec::new(),
        };
        match &report.outcome {
            Outcome::NotBegun(failure) => {
                let message = shortened(&failure.message);
                last.not_begun = Some(SetupFailure { message, ..failure.clone() });
            }
            Outcome::Done(results) => {
                let counted = counts(results).map(|(name, count)| (name.to_owned(), count));
                last.counts = counted.into_iter().collect();
                let kept = results.failed.iter().take(FAILURES_MAX);
                last.failures = kept
                    .map(|failed| FailedSecret {
                        // It may be a path, as long as the source likes.
                        name: shortened(&failed.name),
                        failure: failed.failure,
                        message: shortened(&failed.message),
                    })
                    .collect();
                last.notes = results.notes.iter().take(NOTES_MAX).map(|it| shortened(it)).collect();
            }
        }
        last
    }

    /// Whether all is as it shall be.
    pub(crate) fn is_ok(&self) -> bool {
        let left = self.counts.get("not_done").copied().unwrap_or_default();
        self.not_begun.is_none() && self.failures.is_empty() && left == 0
    }

    /// The word for how it went.
    pub(crate) fn outcome(&self) -> &'static str {
        match (&self.not_begun, self.is_ok()) {
            (Some(_), _) => "not_begun",
            (None, false) => "failed",
            (None, true) => "succeeded",
        }
    }
}

/// How many secrets met with what.
pub(crate) fn counts(results: &Results) -> [(&'static str, u64); 10] {
    let count = |names: &Vec<String>| names.len() as u64;
    [
        ("created", count(&results.created)),
        ("updated", count(&results.updated)),
        ("adopted", count(&results.adopted)),
        ("retagged", count(&results.aspects)),
        ("orphaned", count(&results.orphaned)),
        ("scheduled", count(&results.scheduled)),
        ("deleted", count(&results.deleted)),
        ("unchanged", results.unchanged),
        ("failed", results.failed.len() as u64),
        ("not_done", count(&results.not_done)),
    ]
}

fn shortened(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

impl Store {
    /// The source of that name.
    pub(crate) async fn source(&self, name: &str) -> Result<Option<StoredSource>, Error> {
        self.view.names("source").get(name).await
    }

    pub(crate) async fn put_source(&self, source: &StoredSource) -> Result<(), Error> {
        self.view.names("source").put(&source.name, source).await
    }

    pub(crate) async fn delete_source(&self, name: &str) -> Result<bool, Error> {
        self.view.delete(&self.source_runs_key(name));
        self.view.names("source").delete(name).await
    }

    /// Names of all sources.
    pub(crate) async fn source_names(&self) -> Result<Vec<String>, Error> {
        self.view.names("source").list("", "", SOURCES_MAX).await
    }

    /// Keeps others from changing sources until this unit has ended.
    pub(crate) async fn lock_sources(&self) {
        self.view.lock("lock/sources").await;
    }

    pub(crate) async fn source_runs(&self, name: &str) -> Result<Option<SourceRuns>, Error> {
        self.view.get(&self.source_runs_key(name)).await
    }

    pub(crate) fn put_source_runs(&self, name: &str, runs: &SourceRuns) {
        self.view.put(&self.source_runs_key(name), runs);
    }

    fn source_runs_key(&self, name: &str) -> String {
        format!("source-run/{}", self.view.names("source").id(name))
    }

    /// Names of the sources that deliver to a destination.
    pub(crate) async fn sources_of(&self, kind: &str, name: &str) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for source in self.source_names().await? {
            let stored = self.source(&source).await?;
            let delivers = |stored: &StoredSource| {
                stored.destination_type == kind && stored.destination_name == name
            };
            if stored.as_ref().is_some_and(delivers) {
                found.push(source);
            }
        }
        Ok(found)
    }
}
