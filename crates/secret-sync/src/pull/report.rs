//! What a run came to: what exit codes, notices and printed results are made of. Names only, never
//! values.

use crate::failure::{Error, Failure};
use bailee_crypto::clock::to_millis;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use std::{fmt, time::SystemTime};

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// The name of the replication.
    pub replication: String,
    /// Stands for this run; a UUID.
    pub run: String,
    /// When it began.
    #[serde(serialize_with = "as_millis")]
    pub started_at: SystemTime,
    /// When it ended.
    #[serde(serialize_with = "as_millis")]
    pub ended_at: SystemTime,
    /// The account at the destination; empty where it was not to be learnt.
    pub account: String,
    /// The region at the destination; empty where there is none.
    pub region: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a run has one of it")]
pub enum Outcome {
    /// It went through all secrets; some may have failed.
    Done(Results),
    /// It ended before it changed anything.
    NotBegun(SetupFailure),
}

/// What became of the secrets, by their names at the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Results {
    /// Made.
    pub created: Vec<String>,
    /// Written anew.
    pub updated: Vec<String>,
    /// Made by others before, and ours from now on.
    pub adopted: Vec<String>,
    /// The value was there: tags, key or replicas alone were written.
    pub aspects: Vec<String>,
    /// Tagged as orphans.
    pub orphaned: Vec<String>,
    /// Scheduled for deletion.
    pub scheduled: Vec<String>,
    /// Deleted.
    pub deleted: Vec<String>,
    /// How many stayed as they were.
    pub unchanged: u64,
    /// Failed, each with a sentence.
    pub failed: Vec<FailedSecret>,
    /// Not done, or not known to be done, when the time was over: the next run goes on there.
    pub not_done: Vec<String>,
    /// Sentences about what went well and could go better, such as a permission that is missing.
    pub notes: Vec<String>,
}

/// A secret that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedSecret {
    /// Its name at the destination; where it has none, its path at the source.
    pub name: String,
    /// What kind of failure it is.
    pub failure: Failure,
    /// What happened.
    pub message: String,
}

/// Why a run ended before it changed anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupFailure {
    /// Where.
    pub stage: Stage,
    /// What kind of failure it is.
    pub failure: Failure,
    /// What happened.
    pub message: String,
}

/// The parts of a run before its first effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading the configuration, and the connection secret.
    Configuration,
    /// Keeping other runs out.
    Lock,
    /// Logging in at the source.
    Login,
    /// Listing the source.
    Source,
    /// Listing the destination.
    Destination,
    /// It would have deleted more than it may.
    Guard,
    /// Its time was over before it knew what is to be done.
    Time,
}

impl RunReport {
    /// Whether everything is as it shall be.
    pub fn is_ok(&self) -> bool {
        match &self.outcome {
            Outcome::Done(results) => results.is_whole(),
            Outcome::NotBegun(_) => false,
        }
    }

    /// Whether it ended because its time was over.
    pub fn is_cut_off(&self) -> bool {
        match &self.outcome {
            Outcome::Done(results) => !results.not_done.is_empty(),
            Outcome::NotBegun(failure) => failure.stage == Stage::Time,
        }
    }

    /// One sentence for people.
    pub fn sentence(&self) -> String {
        match &self.outcome {
            Outcome::Done(results) => results.sentence(),
            Outcome::NotBegun(failure) => failure.to_string(),
        }
    }

    /// The result as the published Lambda sample returns it.
    pub fn as_sample(&self) -> Value {
        match &self.outcome {
            Outcome::Done(results) if results.is_whole() => {
                let (created, updated) = (results.created.len(), results.written_anew());
                json!({
                    "status": "OK",
                    "results": format!("Secrets created: {created}, Secrets updated: {updated}"),
                })
            }
            Outcome::Done(results) => {
                json!({ "status": "ERROR", "message": results.failures_as_sample() })
            }
            Outcome::NotBegun(failure) => json!({
                "status": "ERROR",
                "err": { "stage": failure.stage, "failure": failure.failure },
                "message": failure.message,
            }),
        }
    }

    /// The notice that the published Lambda sample sends, final space and all; `None` where there is
    /// nothing to tell. Of a run that did not begin the sample sends none, and we do.
    pub fn notice_as_sample(&self) -> Option<String> {
        let (account, region) = (&self.account, &self.region);
        let place = format!("Account: {account}, Region: {region}.");
        match &self.outcome {
            Outcome::Done(results) if results.is_whole() => None,
            Outcome::Done(results) => {
                let mut parts = vec![place];
                if !results.not_done.is_empty() {
                    parts.push(format!("Replication was cut off: {}.", results.sentence()));
                }
                if !results.failed.is_empty() {
                    let failed = entries(&results.failed);
                    let what = "Failed to create/update the following secrets";
                    parts.push(format!("{what}: {failed}"));
                }
                Some(parts.join(" ") + " ")
            }
            Outcome::NotBegun(failure) => {
                let what = if self.is_cut_off() { "was cut off" } else { "did not begin" };
                Some(format!("{place} Replication {what}: {} ", failure.message))
            }
        }
    }
}

impl Results {
    /// How many values were written over others.
    pub fn written_anew(&self) -> usize {
        self.updated.len() + self.adopted.len()
    }

    /// Whether everything is as it shall be.
    pub fn is_whole(&self) -> bool {
        self.failed.is_empty() && self.not_done.is_empty()
    }

    fn sentence(&self) -> String {
        let Results { created, updated, adopted, aspects, orphaned, .. } = self;
        let mut parts = Vec::new();
        for (names, what) in [
            (created, "created"),
            (updated, "updated"),
            (adopted, "adopted"),
            (aspects, "retagged"),
            (orphaned, "tagged as orphans"),
            (&self.scheduled, "scheduled for deletion"),
            (&self.deleted, "deleted"),
        ] {
            if !names.is_empty() {
                parts.push(format!("{} {what}", names.len()));
            }
        }
        parts.push(format!("{} unchanged", self.unchanged));
        if !self.failed.is_empty() {
            parts.push(format!("{} failed", self.failed.len()));
        }
        if !self.not_done.is_empty() {
            let count = self.not_done.len();
            parts.push(format!("{count} not done in time, which the next run does"));
        }
        parts.join(", ")
    }

    /// All that is not as it shall be, as the sample lists what failed.
    fn failures_as_sample(&self) -> String {
        let not_done = self.not_done.iter().map(|name| FailedSecret {
            name: name.clone(),
            failure: Failure::Unavailable,
            message: "not done in time: the next run does it".to_owned(),
        });
        let all: Vec<FailedSecret> = self.failed.iter().cloned().chain(not_done).collect();
        entries(&all)
    }
}

/// A list as the sample writes it: one text, names and reasons.
fn entries(failed: &[FailedSecret]) -> String {
    let entry = |failed: &FailedSecret| {
        // The sample's order of keys, which a map of ours would not keep.
        let text = |text: &str| Value::from(text).to_string();
        format!("{{\"secretName\":{},\"error\":{}}}", text(&failed.name), text(&failed.message))
    };
    let entries: Vec<String> = failed.iter().map(entry).collect();
    format!("[{}]", entries.join(","))
}

impl SetupFailure {
    /// Out of the failure of a call.
    pub fn new(stage: Stage, error: Error) -> SetupFailure {
        SetupFailure { stage, failure: error.failure, message: error.message }
    }

    /// The time was over before anything was changed.
    pub fn time_is_over() -> SetupFailure {
        SetupFailure {
            stage: Stage::Time,
            failure: Failure::Unavailable,
            message:
                "the time was over before it was known what is to be done; nothing was changed"
                    .to_owned(),
        }
    }
}

impl fmt::Display for SetupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage.name(), self.message)
    }
}

impl Stage {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Configuration => "configuration",
            Stage::Lock => "lock",
            Stage::Login => "login",
            Stage::Source => "source",
            Stage::Destination => "destination",
            Stage::Guard => "guard",
            Stage::Time => "time",
        }
    }
}

fn as_millis<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(to_millis(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome) -> RunReport {
        RunReport {
            replication: "main".to_owned(),
            run: "00000000-0000-4000-8000-000000000000".to_owned(),
            started_at: SystemTime::UNIX_EPOCH,
            ended_at: SystemTime::UNIX_EPOCH,
            account: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            outcome,
        }
    }

    fn failing() -> RunReport {
        let failed = |name: &str, message: &str| FailedSecret {
            name: name.to_owned(),
            failure: Failure::Invalid,
            message: message.to_owned(),
        };
        let failed = vec![failed("p/a", "bad \"name\""), failed("p/b", "no")];
        let created = vec!["p/c".to_owned()];
        report(Outcome::Done(Results { created, failed, ..Results::default() }))
    }

    #[test]
    fn a_good_run_is_told_as_the_sample_tells_it() {
        let results = Results {
            created: vec!["p/a".to_owned()],
            updated: vec!["p/b".to_owned()],
            adopted: vec!["p/c".to_owned()],
            unchanged: 7,
            ..Results::default()
        };
        let report = report(Outcome::Done(results));
        assert!(report.is_ok());
        assert_eq!(
            report.as_sample(),
            json!({ "status": "OK", "results": "Secrets created: 1, Secrets updated: 2" })
        );
        assert_eq!(report.notice_as_sample(), None);
        assert_eq!(report.sentence(), "1 created, 1 updated, 1 adopted, 7 unchanged");
    }

    #[test]
    fn failures_are_told_in_the_words_of_the_sample() {
        let list =
            r#"[{"secretName":"p/a","error":"bad \"name\""},{"secretName":"p/b","error":"no"}]"#;
        assert!(!failing().is_ok());
        assert_eq!(failing().as_sample(), json!({ "status": "ERROR", "message": list }));
        assert_eq!(
            failing().notice_as_sample().unwrap(),
            format!(
                "Account: 123456789012, Region: eu-west-1. Failed to create/update the following \
                 secrets: {list} "
            )
        );
    }

    #[test]
    fn a_run_that_was_cut_off_is_told_with_what_it_did_and_what_it_did_not() {
        let mut cut = failing();
        let Outcome::Done(results) = &mut cut.outcome else { panic!("it ran") };
        results.not_done = vec!["p/d".to_owned(), "p/e".to_owned()];
        assert!(!cut.is_ok() && cut.is_cut_off());
        let told = cut.notice_as_sample().unwrap();
        let start = "Account: 123456789012, Region: eu-west-1. Replication was cut off: 1 created, 0 \
                     unchanged, 2 failed, 2 not done in time, which the next run does. Failed to \
                     create/update the following secrets: [{\"secretName\":\"p/a\"";
        assert!(told.starts_with(start) && told.ends_with("}] "), "{told}");
        assert!(cut.as_sample()["message"].as_str().unwrap().contains("\"p/e\""));
        let Outcome::Done(results) = &mut cut.outcome else { panic!("it ran") };
        results.failed.clear();
        assert!(cut.notice_as_sample().unwrap().ends_with("which the next run does. "));
        assert_eq!(cut.as_sample()["status"], json!("ERROR"));
    }

    #[test]
    fn a_run_that_did_not_begin_is_told_too() {
        let failure = SetupFailure {
            stage: Stage::Source,
            failure: Failure::Unavailable,
            message: "the server is sealed".to_owned(),
        };
        let report = report(Outcome::NotBegun(failure));
        assert!(!report.is_ok());
        let sample = report.as_sample();
        assert_eq!(
            (&sample["status"], &sample["message"]),
            (&json!("ERROR"), &json!("the server is sealed"))
        );
        assert!(
            report.notice_as_sample().unwrap().ends_with("did not begin: the server is sealed ")
        );
        assert_eq!(report.sentence(), "source: the server is sealed");
    }
}
