//! What a destination does with drift, with what is not its own, and with what is to go.

use super::given::Given;
use crate::{
    destination::{Deletion, Ownership, RECOVERY_DAYS, RECOVERY_DAYS_DEFAULT},
    naming::Granularity,
    registry::{Drift, StoredDestination},
};
use bailee_sdk::{Error, field::Integer};
use serde_json::{Map, Value, json};

const GRANULARITIES: &[(&str, Granularity)] =
    &[("secret-path", Granularity::SecretPath), ("secret-key", Granularity::SecretKey)];
const DRIFTS: &[(&str, Drift)] =
    &[("off", Drift::Off), ("report", Drift::Report), ("repair", Drift::Repair)];
const OWNERSHIPS: &[(&str, Ownership)] = &[
    ("overwrite", Ownership::Overwrite),
    ("adopt", Ownership::Adopt),
    ("refuse", Ownership::Refuse),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Delete,
    Schedule,
    Retain,
}

const WAYS: &[(&str, Way)] =
    &[("delete", Way::Delete), ("schedule", Way::Schedule), ("retain", Way::Retain)];

/// The policies of a destination as they are written; [`super::write`] documents the fields.
pub(super) struct GivenPolicies {
    pub(super) granularity: Given<String>,
    pub(super) drift: Given<String>,
    pub(super) ownership: Given<String>,
    pub(super) deletion: Given<String>,
    pub(super) recovery_window_days: Given<Integer>,
}

impl GivenPolicies {
    /// Writes them into a destination.
    pub(super) fn apply(self, destination: &mut StoredDestination) -> Result<(), Error> {
        let granularity = chosen("granularity", &self.granularity, GRANULARITIES)?;
        match granularity {
            Choice::Kept => {}
            Choice::Default => destination.granularity = None,
            Choice::One(one) => destination.granularity = Some(one),
        }
        chosen("drift", &self.drift, DRIFTS)?.onto(&mut destination.drift);
        chosen("ownership", &self.ownership, OWNERSHIPS)?.onto(&mut destination.ownership);
        destination.deletion = self.deletion(destination.deletion)?;
        Ok(())
    }

    fn deletion(&self, before: Deletion) -> Result<Deletion, Error> {
        let way = match (chosen("deletion", &self.deletion, WAYS)?, before) {
            (Choice::One(way), _) => way,
            (Choice::Default, _) | (Choice::Kept, Deletion::Delete) => Way::Delete,
            (Choice::Kept, Deletion::Schedule { .. }) => Way::Schedule,
            (Choice::Kept, Deletion::Retain) => Way::Retain,
        };
        let days = match (&self.recovery_window_days, before) {
            (Given::Value(Integer(days)), _) => {
                if way != Way::Schedule {
                    return Err(Error::invalid(
                        "recovery_window_days is for deletion=schedule alone: set deletion to \
                         schedule, or leave it out",
                    ));
                }
                let fits = u32::try_from(*days).ok().filter(|days| RECOVERY_DAYS.contains(days));
                fits.ok_or_else(|| {
                    Error::invalid(format!(
                        "recovery_window_days is not valid: want {} to {} days",
                        RECOVERY_DAYS.start(),
                        RECOVERY_DAYS.end()
                    ))
                })?
            }
            (Given::Absent, Deletion::Schedule { days }) => days,
            (Given::Absent | Given::Null, _) => RECOVERY_DAYS_DEFAULT,
        };
        Ok(match way {
            Way::Delete => Deletion::Delete,
            Way::Schedule => Deletion::Schedule { days },
            Way::Retain => Deletion::Retain,
        })
    }
}

/// What differs from the default, as answers show it.
pub(super) fn shown(destination: &StoredDestination, options: &mut Map<String, Value>) {
    if destination.drift != Drift::default() {
        options.insert("drift".to_owned(), json!(destination.drift));
    }
    if destination.ownership != Ownership::default() {
        options.insert("ownership".to_owned(), json!(destination.ownership));
    }
    match destination.deletion {
        Deletion::Delete => {}
        Deletion::Retain => {
            options.insert("deletion".to_owned(), json!("retain"));
        }
        Deletion::Schedule { days } => {
            options.insert("deletion".to_owned(), json!("schedule"));
            options.insert("recovery_window_days".to_owned(), json!(days));
        }
    }
}

/// The granularity that a request names.
pub(crate) fn granularity(text: &str) -> Result<Option<Granularity>, Error> {
    let given = Given::Value(text.to_owned());
    Ok(match chosen("granularity", &given, GRANULARITIES)? {
        Choice::One(one) => Some(one),
        Choice::Kept | Choice::Default => None,
    })
}

enum Choice<T> {
    Kept,
    Default,
    One(T),
}

impl<T: Default> Choice<T> {
    fn onto(self, place: &mut T) {
        match self {
            Choice::Kept => {}
            Choice::Default => *place = T::default(),
            Choice::One(one) => *place = one,
        }
    }
}

/// One of a few words.
fn chosen<T: Copy>(
    field: &str,
    given: &Given<String>,
    words: &[(&str, T)],
) -> Result<Choice<T>, Error> {
    let text = match given {
        Given::Absent => return Ok(Choice::Kept),
        Given::Null => return Ok(Choice::Default),
        Given::Value(text) if text.is_empty() => return Ok(Choice::Default),
        Given::Value(text) => text,
    };
    let found = words.iter().find(|(word, _)| word == text);
    found.map(|(_, value)| Choice::One(*value)).ok_or_else(|| {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let (last, first) = all.split_last().unwrap_or((&"", &[]));
        Error::invalid(format!("{field} is not valid: want {} or {last}", first.join(", ")))
    })
}
