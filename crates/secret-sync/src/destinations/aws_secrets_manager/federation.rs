//! Workload identity: a role is taken on with a token that this server signs, so that no key of AWS
//! is stored anywhere.

use super::details::Federation;
use crate::{
    failure::{Error, Failure},
    registry::{Blueprint, Surroundings},
    source::IdentityToken,
};
use async_trait::async_trait;
use bailee_cloud::aws::{TokenFailure, WebIdentity};
use bailee_sdk::{Namespace, Sensitive};
use std::{fmt, sync::Arc};

/// The tokens of one destination; each is signed when it is asked for.
struct Tokens {
    surroundings: Arc<Surroundings>,
    namespace: Namespace,
    wanted: IdentityToken,
}

/// The source of a destination's tokens.
pub(super) fn tokens(blueprint: &Blueprint, federation: &Federation) -> Arc<dyn WebIdentity> {
    let Blueprint { namespace, kind, name, surroundings, .. } = blueprint;
    let path = namespace.path.trim_end_matches('/');
    let path = if namespace.is_root() { "root" } else { path };
    Arc::new(Tokens {
        surroundings: surroundings.clone(),
        namespace: namespace.clone(),
        wanted: IdentityToken {
            subject: format!("secrets-sync:{path}:{kind}:{name}"),
            audience: federation.audience.clone(),
            key: federation.key.clone(),
            ttl: federation.ttl,
        },
    })
}

#[async_trait]
impl WebIdentity for Tokens {
    async fn token(&self) -> Result<Sensitive<String>, TokenFailure> {
        let local = self.surroundings.local.read().clone();
        let Some(local) = local else {
            return Err(TokenFailure {
                message: "this server is sealed and signs no identity token".to_owned(),
                passes: true,
            });
        };
        local.identity_token(&self.namespace, &self.wanted).await.map_err(told)
    }
}

fn told(error: Error) -> TokenFailure {
    TokenFailure { passes: error.failure != Failure::Invalid, message: error.message }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.wanted.subject)
    }
}
