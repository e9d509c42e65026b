//! Who changed a secret. It is kept beside the secret, so that reading the secret does not read it.

use super::store::Place;
use bailee_crypto::hash::sha256;
use bailee_sdk::{Caller, Error, Request};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Letters of a caller's name that are kept.
const ACTOR_LETTERS_MAX: usize = 256;
/// What is kept about one secret, in bytes: who changed the oldest versions is forgotten first.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Who did something to a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct By {
    /// Display name of the token.
    actor: String,
    /// Id of the entity behind it; without one, a code of the token's accessor.
    client_id: String,
    operation: String,
}

impl By {
    fn new(caller: &Caller, operation: &str) -> By {
        let code = || BASE64_STANDARD.encode(sha256(caller.accessor.as_bytes()));
        By {
            actor: caller.display_name.chars().take(ACTOR_LETTERS_MAX).collect(),
            client_id: caller.entity_id.clone().unwrap_or_else(code),
            operation: operation.to_owned(),
        }
    }
}

/// Who changed a secret, as stored. Secrets of before this was kept have none.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attributions {
    pub(super) updated: Option<By>,
    pub(super) versions: BTreeMap<u64, VersionBy>,
}

/// Who made and who deleted a version.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionBy {
    pub(super) created: Option<By>,
    pub(super) deleted: Option<By>,
}

/// What was done to versions.
pub(super) enum Done<'a> {
    /// This one was made; those before it are kept no more.
    Created(u64, &'a [u64]),
    /// These were deleted.
    Deleted(&'a [u64]),
    /// These were restored.
    Restored(&'a [u64]),
    /// Nothing that is told version by version.
    Other,
}

/// Writes down with the request's batch that its caller did this.
pub(super) async fn note<I>(
    request: &Request<I>,
    place: &Place<'_>,
    operation: &str,
    done: Done<'_>,
) -> Result<(), Error> {
    let Some(caller) = request.caller.as_deref() else { return Ok(()) };
    let by = By::new(caller, operation);
    let mut kept = place.attributions().await?;
    match done {
        Done::Created(number, pruned) => {
            for old in pruned {
                kept.versions.remove(old);
            }
            kept.versions.insert(number, VersionBy { created: Some(by.clone()), deleted: None });
        }
        Done::Deleted(numbers) => {
            for number in numbers {
                kept.versions.entry(*number).or_default().deleted = Some(by.clone());
            }
        }
        Done::Restored(numbers) => {
            for number in numbers {
                kept.versions.entry(*number).or_default().deleted = None;
            }
        }
        Done::Other => {}
    }
    kept.updated = Some(by);
    place.put_attributions(kept.bounded());
    Ok(())
}

impl Attributions {
    /// As it is stored: no write of a secret may fail for what is kept beside it.
    fn bounded(mut self) -> Zeroizing<Vec<u8>> {
        loop {
            let json = serde_json::to_vec(&self).map(Zeroizing::new);
            let json = json.expect("texts and numbers always encode");
            if json.len() <= KEPT_BYTES_MAX || self.versions.is_empty() {
                return json;
            }
            // Some more than must be, so that not every write has to forget.
            for _ in 0..self.versions.len().div_ceil(8) {
                self.versions.pop_first();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_kept_has_a_bound_and_the_newest_stays() {
        let by =
            || Some(By { actor: "é".repeat(256), client_id: "c".into(), operation: "o".into() });
        let mut kept = Attributions { updated: by(), ..Attributions::default() };
        for number in 1..=1024 {
            kept.versions.insert(number, VersionBy { created: by(), deleted: by() });
        }
        let json = kept.bounded();
        assert!(json.len() <= KEPT_BYTES_MAX && json.len() > KEPT_BYTES_MAX / 2);
        let kept: Attributions = serde_json::from_slice(&json).unwrap();
        assert_eq!(kept.versions.keys().next_back(), Some(&1024));
        assert!(kept.versions.len() > 100);
    }

    /// What storage holds since the first release. A new form is added beside it, never instead.
    #[test]
    fn what_is_stored_keeps_its_form() {
        let by = json!({ "actor": "root", "client_id": "id", "operation": "update" });
        let stored = json!({
            "updated": by,
            "versions": { "1": { "created": by, "deleted": null } },
        });
        let kept: Attributions = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&kept).unwrap(), stored);
    }
}
