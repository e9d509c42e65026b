//! Which path made which token: all tokens of an auth method can be found, listed and revoked.
//!
//! `origin/<code of the first two segments of the path>/<code of the token>` holds the path. Tokens
//! that never end stand in no such list.

use super::{TokenId, place, record::Record, store::TokenStore};
use bailee_sdk::{Error, Namespace};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

/// Tokens that are found at once.
const FOUND_AT_ONCE: usize = 1000;

#[derive(Serialize, Deserialize)]
pub(super) struct MadeBy {
    pub(super) path: String,
}

impl TokenStore {
    /// Below the place of the token.
    pub(super) fn origin_key(&self, path: &str, id: &TokenId) -> String {
        let (group, _) = group(path);
        format!("{}{}", self.group_key(&group), id.code())
    }

    fn group_key(&self, group: &str) -> String {
        let code = self.barrier.fingerprint("token origin", group.as_bytes());
        format!("origin/{}/", BASE64_URL_SAFE_NO_PAD.encode(code))
    }

    /// Tokens of a namespace that were made below a prefix, which ends in `/` or is empty, with the
    /// paths that made them; at most `max`.
    pub(crate) async fn made_below(
        &self,
        namespace: &Namespace,
        prefix: &str,
        max: usize,
    ) -> Result<Vec<(String, TokenId)>, Error> {
        let view = self.barrier.view(&place(&namespace.id));
        let (group, is_whole) = group(prefix);
        let searched = if is_whole { self.group_key(&group) } else { "origin/".to_owned() };
        let mut entries = view.scan(&searched);
        let mut found = Vec::new();
        while let Some(entry) = entries.next().await
            && found.len() < max
        {
            let (key, bytes) = entry?;
            let origin: MadeBy = serde_json::from_slice(&bytes).map_err(Error::internal)?;
            let code = key.rsplit('/').next().unwrap_or_default();
            if format!("{}/", origin.path).starts_with(prefix) {
                found.push((origin.path, TokenId::new(code, &namespace.id)));
            }
        }
        Ok(found)
    }

    /// Ends all tokens of a namespace that were made below a prefix.
    pub(crate) async fn revoke_made_below(
        &self,
        namespace: &Namespace,
        prefix: &str,
    ) -> Result<(), Error> {
        let mut before = Vec::new();
        loop {
            let found = self.made_below(namespace, prefix, FOUND_AT_ONCE).await?;
            if found.is_empty() {
                return Ok(());
            }
            if found == before {
                return Err(Error::internal("tokens that were revoked are still listed"));
            }
            for (_, id) in &found {
                self.revoke_tree(id).await?;
            }
            before = found;
        }
    }

    /// Whether a token is stored and not revoked, whatever its time.
    pub(crate) async fn is_kept(&self, id: &TokenId) -> Result<bool, Error> {
        let key = super::record::record_key(id);
        let record: Option<Record> = self.barrier.view(&id.place()).get(&key).await?;
        Ok(record.is_some_and(|record| !record.ended))
    }
}

/// The first two segments of a path, and whether they are there whole.
fn group(path: &str) -> (String, bool) {
    let mut segments = path.split('/');
    let first = segments.next().unwrap_or_default();
    let second = segments.next().unwrap_or_default();
    (format!("{first}/{second}"), segments.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::group;

    #[test]
    fn paths_and_prefixes_below_one_mount_have_the_same_group() {
        assert_eq!(group("auth/userpass/login/x"), ("auth/userpass".to_owned(), true));
        assert_eq!(group("auth/userpass/"), ("auth/userpass".to_owned(), true));
        assert_eq!(group("auth/"), ("auth/".to_owned(), false));
        assert_eq!(group(""), ("/".to_owned(), false));
    }
}
