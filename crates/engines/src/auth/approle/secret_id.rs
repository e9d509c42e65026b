//! Secret ids as they are kept.

use super::{SECRET_ID_BYTES_MAX, role::Role};
use bailee_crypto::clock::{from_millis, to_millis};
use bailee_sdk::{Error, Names, View};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::SystemTime};

/// Longest text that may be an accessor, in bytes.
const ACCESSOR_BYTES_MAX: usize = 64;

/// What is kept of a secret id. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SecretId {
    /// Name of the role.
    pub(super) role: String,
    pub(super) accessor: String,
    /// Logins it is still good for; 0 for any number.
    pub(super) num_uses: u64,
    /// How long it was to last, in seconds; 0 for ever.
    pub(super) ttl: u64,
    pub(super) created: u64,
    pub(super) updated: u64,
    /// `None` for never.
    pub(super) expires: Option<u64>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) cidr_list: Vec<String>,
    pub(super) token_bound_cidrs: Vec<String>,
}

impl SecretId {
    pub(super) fn is_alive(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|at| from_millis(at) > now)
    }
}

/// Where one secret id is kept.
pub(super) struct Place<'a> {
    view: &'a View,
    /// The role's own id.
    role: &'a str,
    key: String,
}

impl<'a> Place<'a> {
    /// The place of a secret id of a role; `None` for a text that is none.
    pub(super) fn of(view: &'a View, role: &'a Role, secret: &str) -> Option<Place<'a>> {
        if secret.is_empty() || secret.len() > SECRET_ID_BYTES_MAX {
            return None;
        }
        // The code is keyed, and another one for the same text in another role.
        let code = view.names("secret-id").id(&format!("{}/{secret}", role.id));
        Some(Place { view, role: &role.id, key: format!("{}{code}", prefix(&role.id)) })
    }

    /// The place of the secret id with an accessor.
    pub(super) async fn with_accessor(
        view: &'a View,
        role: &'a Role,
        accessor: &str,
    ) -> Result<Option<Place<'a>>, Error> {
        if accessor.len() > ACCESSOR_BYTES_MAX || accessor.contains('/') {
            return Ok(None);
        }
        let key: Option<String> = accessors(view, &role.id).get(accessor).await?;
        Ok(key.map(|key| Place { view, role: &role.id, key }))
    }

    /// Keeps other requests from using or removing it until this one is done.
    pub(super) async fn lock(&self) {
        self.view.lock(&self.key).await;
    }

    /// What is kept here, as it is until the unit of work lands.
    pub(super) async fn get(&self) -> Result<Option<SecretId>, Error> {
        let found = self.view.get_at(&self.key).await?;
        if let Some((_, Some(revision))) = &found {
            self.view.expect(&self.key, *revision);
        }
        Ok(found.map(|(secret, _)| secret))
    }

    /// Keeps a new secret id with its accessor.
    pub(super) async fn create(&self, secret: &SecretId) -> Result<(), Error> {
        self.view.expect_absent(&self.key);
        self.view.put(&self.key, secret);
        Ok(accessors(self.view, self.role).put(&secret.accessor, &self.key).await?)
    }

    pub(super) async fn remove(&self, secret: &SecretId) -> Result<(), Error> {
        self.view.delete(&self.key);
        accessors(self.view, self.role).delete(&secret.accessor).await?;
        Ok(())
    }

    /// Takes one use off.
    pub(super) async fn spend(&self, secret: &SecretId, now: SystemTime) -> Result<(), Error> {
        match secret.num_uses {
            0 => Ok(()),
            1 => self.remove(secret).await,
            uses => {
                let rest =
                    SecretId { num_uses: uses - 1, updated: to_millis(now), ..secret.clone() };
                self.view.put(&self.key, &rest);
                Ok(())
            }
        }
    }
}

/// Where the secret ids of a role are, by its own id.
pub(super) fn prefix(role: &str) -> String {
    format!("{ALL}{role}/")
}

/// Where the secret ids of all roles are.
pub(super) const ALL: &str = "secret-id/";

/// The accessors of a role's secret ids: each stands for the key of one.
pub(super) fn accessors(view: &View, role: &str) -> Names {
    view.names(&format!("accessor/{role}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What storage holds since the first release. A new form is added beside it, never instead.
    #[test]
    fn what_is_stored_keeps_its_form() {
        let stored = json!({
            "role": "ci", "accessor": "5a3c0b86-0000-4000-8000-000000000001", "num_uses": 1,
            "ttl": 2, "created": 3, "updated": 4, "expires": 5, "metadata": { "a": "b" },
            "cidr_list": ["10.0.0.0/8"], "token_bound_cidrs": ["10.1.0.0/16"],
        });
        let secret: SecretId = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&secret).unwrap(), stored);
    }
}
