//! The engine at `auth/token`.

use super::TokenStore;
use crate::policy::PolicyStore;
use bailee_sdk::{Engine, Error, Operation, Path, Reply, Request, Sensitive};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};

/// Makes, shows, prolongs and revokes tokens.
pub(crate) struct TokenPaths {
    tokens: Arc<TokenStore>,
    #[expect(dead_code, reason = "for creation, which comes next")]
    policies: Arc<PolicyStore>,
}

/// Completes the input of a request to the token engine with the caller's own token, which handlers
/// do not see otherwise: always for `…-self`, and for a `lookup` that names none. `path` is relative
/// to the mount. The kernel calls this before it dispatches to `auth/token/`.
pub(crate) fn complete_input(
    path: &str,
    input: &mut Map<String, Value>,
    secret: &Sensitive<String>,
) {
    let named = input.get("token").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let completes = match path.trim_end_matches('/') {
        "lookup-self" | "renew-self" | "revoke-self" => true,
        "lookup" => !named,
        _ => false,
    };
    if completes {
        input.insert("token".to_owned(), secret.expose().clone().into());
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
struct OneToken {
    /// The token.
    #[schemars(with = "String")]
    token: Sensitive<String>,
}

impl TokenPaths {
    pub(crate) fn new(tokens: Arc<TokenStore>, policies: Arc<PolicyStore>) -> TokenPaths {
        TokenPaths { tokens, policies }
    }

    async fn revoke(self: Arc<Self>, request: Request<OneToken>) -> Result<Reply, Error> {
        if let Some(token) = self.tokens.authenticate(&request.input.token).await? {
            self.tokens.revoke_tree(&token.id).await?;
        }
        Ok(Reply::empty())
    }
}

impl Engine for TokenPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("revoke-self").on(
                Operation::Update,
                &self,
                "Revoke the token of the caller and those it made.",
                TokenPaths::revoke,
            ),
            Path::new("revoke").on(
                Operation::Update,
                &self,
                "Revoke a token and those it made.",
                TokenPaths::revoke,
            ),
        ]
    }
}

impl fmt::Debug for TokenPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenPaths(..)")
    }
}
