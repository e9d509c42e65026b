//! `sys/policies/password`.

use super::{password::PasswordPolicy, paths::decoded};
use bailee_barrier::Names;
use bailee_sdk::{Code, Engine, Error, Nothing, Operation, Path, Reply, Request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// Longest name of a policy, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// Longest text of a policy, in bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Policies that one namespace lists.
const LIST_MAX: usize = 100_000;

/// What is served about password policies, relative to the mount of the system.
#[derive(Debug)]
pub(crate) struct PasswordPaths;

#[derive(Serialize, Deserialize)]
struct Stored {
    policy: String,
}

#[derive(Deserialize, JsonSchema)]
struct Named {
    /// Name of the password policy.
    name: String,
}

#[derive(Deserialize, JsonSchema)]
struct Write {
    /// Name of the password policy.
    name: String,
    /// The rules, in HCL or JSON, also as base64.
    #[serde(default)]
    policy: String,
    /// Where randomness comes from: `platform`.
    #[serde(default)]
    entropy_source: String,
}

impl Engine for PasswordPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("policies/password").on(
                Operation::List,
                &self,
                "List the password policies.",
                Self::list,
            ),
            Path::new("policies/password/{name}/generate").on(
                Operation::Read,
                &self,
                "Generate a password.",
                Self::generate,
            ),
            Path::new("policies/password/{name}")
                .on(Operation::Read, &self, "Read a password policy.", Self::read)
                .on(Operation::Update, &self, "Write a password policy.", Self::write)
                .on(Operation::Delete, &self, "Delete a password policy.", Self::delete),
        ]
    }
}

impl PasswordPaths {
    async fn list(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        Reply::keys(&names(&request).list("", "", LIST_MAX).await?)
    }

    async fn read(self: Arc<Self>, request: Request<Named>) -> Result<Reply, Error> {
        let stored = find(&request).await?;
        Ok(Reply::data(&json!({ "policy": stored.policy })))
    }

    async fn write(self: Arc<Self>, request: Request<Write>) -> Result<Reply, Error> {
        let Write { name, policy, entropy_source } = &request.input;
        if name.len() > NAME_BYTES_MAX {
            let message = format!("name has more than {NAME_BYTES_MAX} bytes");
            return Err(Error::invalid(message));
        }
        if policy.is_empty() {
            return Err(multi("missing policy"));
        }
        if !matches!(entropy_source.as_str(), "" | "platform") {
            return Err(Error::invalid(
                "entropy_source must be \"platform\" or left out: there is no other here",
            ));
        }
        let policy = decoded(policy);
        if policy.len() > TEXT_BYTES_MAX {
            let message = format!("policy has more than {TEXT_BYTES_MAX} bytes");
            return Err(Error::invalid(message));
        }
        PasswordPolicy::parse(&policy)
            .map_err(|reason| multi(&format!("invalid password policy: {reason}")))?;
        names(&request).put(name, &Stored { policy }).await?;
        Ok(Reply::empty())
    }

    async fn delete(self: Arc<Self>, request: Request<Named>) -> Result<Reply, Error> {
        names(&request).delete(&request.input.name).await?;
        Ok(Reply::empty())
    }

    async fn generate(self: Arc<Self>, request: Request<Named>) -> Result<Reply, Error> {
        let stored = find(&request).await?;
        let policy = PasswordPolicy::parse(&stored.policy).map_err(Error::internal)?;
        Ok(Reply::data(&json!({ "password": *policy.generate() })))
    }
}

fn names<I>(request: &Request<I>) -> Names {
    request.view.at(&format!("{}sys/", request.namespace.prefix())).names("password")
}

async fn find(request: &Request<Named>) -> Result<Stored, Error> {
    let stored = names(request).get(&request.input.name).await?;
    let missing = "1 error occurred:\n\t* policy does not exist\n\n";
    stored.ok_or_else(|| Error::new(Code::NotFound, missing))
}

fn multi(text: &str) -> Error {
    Error::invalid(format!("1 error occurred:\n\t* {text}\n\n"))
}
