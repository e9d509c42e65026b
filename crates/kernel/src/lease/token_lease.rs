//! Tokens seen as leases: each that ends stands as `<path>/h<code>` under the path that made it.

use super::store::LeaseStore;
use crate::token::{Token, TokenId};
use bailee_sdk::{Error, Namespace};
use std::{collections::BTreeSet, sync::Arc};

impl LeaseStore {
    /// The token that a lease id stands for, if it belongs to this namespace or one below.
    pub(crate) async fn token(
        &self,
        namespace: &Namespace,
        id: &str,
    ) -> Result<Option<Arc<Token>>, Error> {
        let Some((path, last)) = id.rsplit_once('/') else { return Ok(None) };
        let Some(token) = last.strip_prefix('h').and_then(TokenId::from_shown) else {
            return Ok(None);
        };
        let found = self.tokens.find(&token).await?;
        Ok(found.filter(|token| {
            token.path == path && token.expires.is_some() && token.is_within(namespace)
        }))
    }

    /// Names of tokens and folders directly below a prefix, which ends in `/` or is empty.
    pub(crate) async fn token_names_below(
        &self,
        namespace: &Namespace,
        prefix: &str,
        max: usize,
    ) -> Result<BTreeSet<String>, Error> {
        let mut shown = BTreeSet::new();
        let tokens = self.tokens.made_below(namespace, prefix, max).await?;
        for (path, token) in tokens {
            let path = format!("{path}/{}", shown_name(&token));
            let rest = path.strip_prefix(prefix).unwrap_or_default();
            shown.extend(rest.split_inclusive('/').next().map(str::to_owned));
        }
        Ok(shown)
    }
}

/// The name of a token among leases.
pub(crate) fn shown_name(token: &TokenId) -> String {
    format!("h{}", token.shown())
}
