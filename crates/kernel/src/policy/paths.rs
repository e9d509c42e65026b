//! `sys/policies/acl`, its older form `sys/policy`, and `sys/capabilities`.

use super::PolicyStore;
use crate::token::TokenStore;
use bailee_sdk::{Engine, Error, Operation, Path, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::{fmt, sync::Arc};

/// What is served about policies, relative to the mount of the system.
pub(crate) struct PolicyPaths {
    policies: Arc<PolicyStore>,
    #[expect(dead_code, reason = "for sys/capabilities, which comes next")]
    tokens: Arc<TokenStore>,
}

#[derive(Deserialize, JsonSchema)]
struct Named {
    /// Name of the policy.
    name: String,
}

impl PolicyPaths {
    pub(crate) fn new(policies: Arc<PolicyStore>, tokens: Arc<TokenStore>) -> PolicyPaths {
        PolicyPaths { policies, tokens }
    }

    async fn read(self: Arc<Self>, request: Request<Named>) -> Result<Reply, Error> {
        let name = request.input.name.to_lowercase();
        match self.policies.read(&request.namespace, &name).await? {
            Some(text) => Ok(Reply::data(&json!({ "name": name, "policy": text }))),
            None => Err(Error::not_found()),
        }
    }
}

impl Engine for PolicyPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![Path::new("policies/acl/{name}").on(
            Operation::Read,
            &self,
            "Read a policy.",
            PolicyPaths::read,
        )]
    }
}

impl fmt::Debug for PolicyPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyPaths(..)")
    }
}
