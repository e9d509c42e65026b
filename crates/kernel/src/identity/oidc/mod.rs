//! `identity/oidc`: tokens that tell other services who an entity is, and the keys to verify them.
//!
//! **Invariant:** private keys leave the storage only to sign.
//! **Invariant:** whoever changes keys or roles holds one lock of the namespace.

mod config;
mod discovery;
mod introspect;
mod key;
mod role;
mod template;
mod token;
mod workload;

pub(crate) use key::rotation_pass;
pub use workload::Workload;
pub(crate) use workload::{MountIssuer, sign as sign_workload};

use super::{IdentityPaths, store::Place};
use bailee_barrier::Names;
use bailee_sdk::{Namespace, Operation, Path};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The lock of keys and roles.
const LOCK: &str = "oidc";
/// Keys or roles of a namespace.
const NAMED_MAX: usize = 1000;
/// Media type of what is answered outside the envelope.
const JSON: &str = "application/json";

/// Settings of a namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Config {
    /// Scheme and authority that tokens name as their issuer; empty for those of the server.
    issuer: String,
}

impl Config {
    /// What tokens of a namespace name as their issuer; without an address where none is known.
    fn issuer(&self, api_addr: Option<&str>, namespace: &Namespace) -> String {
        let base = match self.issuer.as_str() {
            "" => api_addr.unwrap_or_default().trim_end_matches('/'),
            issuer => issuer,
        };
        format!("{base}/v1/{}identity/oidc", namespace.path)
    }
}

impl Place {
    async fn lock_oidc(&self) {
        self.view().lock(LOCK).await;
    }

    /// Signing keys by name.
    fn keys(&self) -> Names {
        self.view().names("oidc-key")
    }

    /// Roles by name.
    fn roles(&self) -> Names {
        self.view().names("oidc-role")
    }
}

impl IdentityPaths {
    /// What tokens of this namespace name as their issuer.
    fn issuer(&self, config: &Config, namespace: &Namespace) -> String {
        config.issuer(self.api_addr.as_deref(), namespace)
    }

    pub(super) fn oidc_paths(self: &Arc<Self>) -> Vec<Path> {
        let mut paths = self.oidc_named_paths();
        paths.extend([
            Path::new("oidc/config")
                .on(Operation::Read, self, "Read the settings of tokens.", Self::read_oidc_config)
                .on(
                    Operation::Update,
                    self,
                    "Change the settings of tokens.",
                    Self::write_oidc_config,
                ),
            Path::new("oidc/token/{name}").on(
                Operation::Read,
                self,
                "Make a token that tells who the caller is.",
                Self::make_oidc_token,
            ),
            Path::new("oidc/introspect").on(
                Operation::Update,
                self,
                "Tell whether a token is valid.",
                Self::introspect_oidc_token,
            ),
            Path::new("oidc/.well-known/openid-configuration").unauthenticated().on(
                Operation::Read,
                self,
                "Tell where and how tokens are verified.",
                Self::oidc_discovery,
            ),
            Path::new("oidc/.well-known/keys").unauthenticated().on(
                Operation::Read,
                self,
                "Show the public keys that verify tokens.",
                Self::oidc_public_keys,
            ),
            Path::new("oidc/secrets-sync/.well-known/openid-configuration").unauthenticated().on(
                Operation::Read,
                self,
                "Tell where and how tokens of secrets sync are verified.",
                Self::destination_discovery,
            ),
            Path::new("oidc/secrets-sync/.well-known/keys").unauthenticated().on(
                Operation::Read,
                self,
                "Show the public keys that verify tokens of secrets sync.",
                Self::oidc_public_keys,
            ),
            Path::new("oidc/plugins/.well-known/openid-configuration").unauthenticated().on(
                Operation::Read,
                self,
                "Tell where and how tokens of mounts are verified.",
                Self::mount_discovery,
            ),
            Path::new("oidc/plugins/.well-known/keys").unauthenticated().on(
                Operation::Read,
                self,
                "Show the public keys that verify tokens of mounts.",
                Self::oidc_public_keys,
            ),
        ]);
        paths
    }

    fn oidc_named_paths(self: &Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("oidc/key").on(
                Operation::List,
                self,
                "List the signing keys.",
                Self::list_oidc_keys,
            ),
            Path::new("oidc/key/{name}")
                .on(Operation::Read, self, "Read a signing key.", Self::read_oidc_key)
                .on(
                    Operation::Update,
                    self,
                    "Create or change a signing key.",
                    Self::write_oidc_key,
                )
                .exists(self, Self::oidc_key_exists)
                .on(Operation::Delete, self, "Delete a signing key.", Self::delete_oidc_key),
            Path::new("oidc/key/{name}/rotate").on(
                Operation::Update,
                self,
                "Let the next key sign.",
                Self::rotate_oidc_key,
            ),
            Path::new("oidc/role").on(
                Operation::List,
                self,
                "List the roles of tokens.",
                Self::list_oidc_roles,
            ),
            Path::new("oidc/role/{name}")
                .on(Operation::Read, self, "Read a role of tokens.", Self::read_oidc_role)
                .on(
                    Operation::Update,
                    self,
                    "Create or change a role of tokens.",
                    Self::write_oidc_role,
                )
                .exists(self, Self::oidc_role_exists)
                .on(Operation::Delete, self, "Delete a role of tokens.", Self::delete_oidc_role),
        ]
    }
}
