//! What a replication shall do, checked.

use super::{ledger::OWN, source::Listed, target::Target};
use crate::{
    destination::Ownership,
    destinations,
    failure::{Error, Failure},
    naming::{Subject, check_template, external_name},
    registry::Drift,
};
use bailee_sdk::{Mount, Namespace};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Placeholders that only this server's own mounts have.
const UNKNOWN_HERE: [&str; 2] = ["MountAccessor", "NamespaceID"];
/// The share of what was delivered that one run may remove where nobody says otherwise.
pub const DELETION_SHARE_MAX: f64 = 0.25;

/// What a replication shall do.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its name: a part of the marks of what it delivers.
    pub name: String,
    /// The name template.
    pub template: String,
    /// The namespace of the source, for templates.
    pub namespace: String,
    /// How it is seen that a secret changed.
    pub compare: Compare,
    /// What becomes of secrets that the source no longer has.
    pub removals: Removals,
    /// The share of what was delivered that one run may remove, from 0 to 1.
    pub deletion_share_max: f64,
    /// What is done with secrets of others that have a name we want.
    pub ownership: Ownership,
    /// What is done about changes of others.
    pub drift: Drift,
    /// Whether what the published Lambda sample made is taken over: it has a `version` tag and no mark.
    pub adopts_sample: bool,
    /// Names that are never written, such as that of the connection secret.
    pub reserved: BTreeSet<String>,
    /// Tags beside our own.
    pub custom_tags: BTreeMap<String, String>,
}

/// How it is seen that a secret changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// By its version and when it was made.
    #[default]
    Version,
    /// By when it was last updated.
    Updated,
    /// By version first; where that says changed, by a keyed digest of the value. What is equal is not
    /// written again.
    Hash,
}

/// What becomes of secrets that the source no longer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Removals {
    /// They stay.
    #[default]
    Keep,
    /// They stay, with a tag that says since when they are orphans.
    Orphan,
    /// They are scheduled for deletion in so many days.
    Schedule {
        /// Days, 7 to 30.
        days: u32,
    },
    /// They are deleted at once.
    Delete,
}

impl Spec {
    /// The default for this name prefix: names are the prefix, a slash, and the path.
    pub fn below(name: impl Into<String>, prefix: &str) -> Spec {
        Spec {
            name: name.into(),
            template: format!("{}/{{{{ .SecretPath }}}}", prefix.trim_end_matches('/')),
            namespace: String::new(),
            compare: Compare::default(),
            removals: Removals::default(),
            deletion_share_max: DELETION_SHARE_MAX,
            ownership: Ownership::Refuse,
            drift: Drift::Repair,
            adopts_sample: false,
            reserved: BTreeSet::new(),
            custom_tags: BTreeMap::new(),
        }
    }

    /// Whether the template can be used with this destination, and the tags.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&mut self, target: &Target) -> Result<(), Error> {
        let wrong = |message: String| Error::new(Failure::Invalid, message);
        if let Some(unknown) = UNKNOWN_HERE.iter().find(|name| self.template.contains(**name)) {
            return Err(wrong(format!(
                "names: {unknown} is not known of another server; use MountPath and SecretPath"
            )));
        }
        let granularity = crate::naming::Granularity::SecretPath;
        check_template(&self.template, target.names(), granularity).map_err(wrong)?;
        if let Some(rule) = target.tag_rule() {
            self.custom_tags = rule.normalise(&self.custom_tags).map_err(wrong)?;
            let (count, most) = (self.custom_tags.len(), rule.tags_max.saturating_sub(OWN.len()));
            if count > most {
                return Err(wrong(format!(
                    "custom_tags has {count} tags, at most {most} fit beside those of replication"
                )));
            }
        }
        if let Some(own) = self.custom_tags.keys().find(|key| super::ledger::is_own(key)) {
            return Err(wrong(format!("custom_tags: key {own:?} is a tag of replication itself")));
        }
        Ok(())
    }

    /// The name of a secret at the destination; the error says what is wrong with it.
    pub(super) fn name_of(&self, secret: &Listed, target: &Target) -> Result<String, String> {
        let namespace = Namespace { id: String::new(), path: self.namespace.clone() };
        let mount = Mount {
            path: secret.mount.clone(),
            uuid: String::new(),
            accessor: String::new(),
            kind: "kv".to_owned(),
            options: BTreeMap::new(),
        };
        let subject = Subject {
            destination_type: target.kind(),
            destination_name: &self.name,
            namespace: &namespace,
            mount: &mount,
            secret: &secret.path,
            key: None,
        };
        external_name(&self.template, target.names(), &subject)
    }

    /// How all names begin.
    pub fn fixed_start(&self, target: &Target) -> String {
        target.names().normalise(self.template_start())
    }

    /// How all names begin at a destination of this type.
    pub fn start_at(&self, kind: &str) -> String {
        let known = destinations::all().into_iter().find(|known| known.name == kind);
        let start = self.template_start();
        known.map_or_else(|| start.to_owned(), |kind| kind.names.normalise(start))
    }

    /// How the template begins.
    fn template_start(&self) -> &str {
        self.template.split_once("{{").map_or(&self.template, |(fixed, _)| fixed)
    }
}
