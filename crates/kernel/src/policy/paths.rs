//! `sys/policies/acl`, its older form `sys/policy`, and `sys/capabilities`.

use super::{Acl, Facts, PolicyStore};
use crate::{
    identity::Resolved,
    token::{Token, TokenId, TokenStore},
};
use bailee_sdk::{
    Engine, Error, Nothing, Operation, Path, Reply, Request, Sensitive, field::CommaList,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{fmt, sync::Arc};

/// Paths that one request asks about.
const PATHS_MAX: usize = 10_000;

/// What is served about policies, relative to the mount of the system.
pub(crate) struct PolicyPaths {
    policies: Arc<PolicyStore>,
    tokens: Arc<TokenStore>,
}

#[derive(Deserialize, JsonSchema)]
struct Named {
    /// Name of the policy; case does not matter.
    name: String,
}

#[derive(Deserialize, JsonSchema)]
struct Write {
    /// Name of the policy; case does not matter.
    name: String,
    /// The rules, in HCL or JSON, also as base64.
    #[serde(default)]
    policy: String,
}

#[derive(Deserialize, JsonSchema)]
struct LegacyWrite {
    /// Name of the policy; case does not matter.
    name: String,
    /// The rules, in HCL or JSON, also as base64.
    #[serde(default)]
    policy: String,
    /// The older name of `policy`.
    #[serde(default)]
    rules: String,
}

#[derive(Deserialize, JsonSchema)]
struct Asked {
    /// Paths whose capabilities are asked for.
    #[serde(default)]
    paths: CommaList,
    /// The older name of `paths`.
    #[serde(default)]
    path: CommaList,
    /// The token that is asked about.
    #[serde(default)]
    #[schemars(with = "String")]
    token: Sensitive<String>,
    /// The accessor of the token that is asked about.
    #[serde(default)]
    accessor: String,
}

impl Engine for PolicyPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("policies/acl").on(Operation::List, &self, "List the policies.", Self::list),
            Path::new("policies/acl/{name...}")
                .ignores_case()
                .on(Operation::Read, &self, "Read a policy.", Self::read)
                .on(Operation::Update, &self, "Write a policy.", Self::write)
                .on(Operation::Delete, &self, "Delete a policy.", Self::delete),
            Path::new("policy")
                .on(Operation::List, &self, "List the policies.", Self::list_legacy)
                .on(Operation::Read, &self, "List the policies.", Self::list_legacy),
            Path::new("policy/{name...}")
                .ignores_case()
                .on(Operation::Read, &self, "Read a policy.", Self::read_legacy)
                .on(Operation::Update, &self, "Write a policy.", Self::write_legacy)
                .on(Operation::Delete, &self, "Delete a policy.", Self::delete),
            Path::new("capabilities").on(
                Operation::Update,
                &self,
                "Tell what a token may do to some paths.",
                Self::capabilities,
            ),
            Path::new("capabilities-self").on(
                Operation::Update,
                &self,
                "Tell what the caller may do to some paths.",
                Self::capabilities_self,
            ),
            Path::new("capabilities-accessor").on(
                Operation::Update,
                &self,
                "Tell what the token of an accessor may do to some paths.",
                Self::capabilities_accessor,
            ),
        ]
    }
}

impl PolicyPaths {
    pub(crate) fn new(policies: Arc<PolicyStore>, tokens: Arc<TokenStore>) -> PolicyPaths {
        PolicyPaths { policies, tokens }
    }

    async fn list(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        Reply::keys(&self.policies.names(&request.namespace, "", usize::MAX).await?)
    }

    async fn list_legacy(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        let names = self.policies.names(&request.namespace, "", usize::MAX).await?;
        Ok(Reply::data(&json!({ "keys": names, "policies": names })))
    }

    async fn read(self: Arc<Self>, request: Request<Named>) -> Result<Reply, Error> {
        self.read_as(request, "policy").await
    }

    async fn read_legacy(self: Arc<Self>, request: Request<Named>) -> Result<Reply, Error> {
        self.read_as(request, "rules").await
    }

    async fn read_as(&self, request: Request<Named>, field: &str) -> Result<Reply, Error> {
        let name = request.input.name.to_lowercase();
        match self.policies.read(&request.namespace, &name).await? {
            Some(text) => Ok(Reply::data(&json!({ "name": name, field: text }))),
            None => Err(Error::not_found()),
        }
    }

    async fn write(self: Arc<Self>, request: Request<Write>) -> Result<Reply, Error> {
        let (Write { name, policy }, request) = request.take_input();
        self.save(&request, &name, &policy).await
    }

    async fn write_legacy(self: Arc<Self>, request: Request<LegacyWrite>) -> Result<Reply, Error> {
        let (LegacyWrite { name, policy, rules }, request) = request.take_input();
        if policy.is_empty() && !rules.is_empty() {
            let reply = self.save(&request, &name, &rules).await?;
            return Ok(reply.warn("'rules' is deprecated, please use 'policy' instead"));
        }
        self.save(&request, &name, &policy).await
    }

    /// Lands at once: what was compiled is forgotten in the same breath.
    async fn save(&self, request: &Request<()>, name: &str, text: &str) -> Result<Reply, Error> {
        if text.is_empty() {
            return Err(Error::invalid("'policy' parameter not supplied or empty"));
        }
        let view = request.view.fresh();
        let text = decoded(text);
        let warnings = self.policies.write(&view, &request.namespace, name, &text).await?;
        self.policies.land(view, &request.namespace, name).await?;
        let mut reply = warnings.into_iter().fold(Reply::empty(), Reply::warn);
        let lower = name.to_lowercase();
        if lower != name {
            reply = reply.warn(format!("policy name was converted to {lower}"));
        }
        Ok(reply)
    }

    async fn delete(self: Arc<Self>, request: Request<Named>) -> Result<Reply, Error> {
        let view = request.view.fresh();
        let name = &request.input.name;
        self.policies.delete(&view, &request.namespace, name).await?;
        self.policies.land(view, &request.namespace, name).await?;
        Ok(Reply::empty())
    }

    async fn capabilities(self: Arc<Self>, request: Request<Asked>) -> Result<Reply, Error> {
        let paths = request.input.all_paths()?;
        let secret = &request.input.token;
        if secret.expose().is_empty() {
            return Err(Error::invalid("1 error occurred:\n\t* no token found\n\n"));
        }
        let token = self.tokens.authenticate(secret).await?;
        let token =
            token.ok_or_else(|| Error::invalid("1 error occurred:\n\t* invalid token\n\n"))?;
        self.answer(&request, &token, paths).await
    }

    async fn capabilities_self(self: Arc<Self>, request: Request<Asked>) -> Result<Reply, Error> {
        let paths = request.input.all_paths()?;
        let caller = request.caller.as_ref().ok_or_else(Error::permission_denied)?;
        let token = self.tokens.find(&TokenId::from_text(&caller.token_id)).await?;
        let token = token.ok_or_else(Error::permission_denied)?;
        self.answer(&request, &token, paths).await
    }

    async fn capabilities_accessor(
        self: Arc<Self>,
        request: Request<Asked>,
    ) -> Result<Reply, Error> {
        if request.input.accessor.is_empty() {
            return Err(Error::invalid("missing accessor"));
        }
        let paths = request.input.all_paths()?;
        let token = self.tokens.find_by_accessor(&request.input.accessor).await?;
        let token = token.filter(|token| token.is_within(&request.namespace));
        let token =
            token.ok_or_else(|| Error::invalid("1 error occurred:\n\t* invalid accessor\n\n"))?;
        self.answer(&request, &token, paths).await
    }

    async fn answer(
        &self,
        request: &Request<Asked>,
        token: &Token,
        paths: Vec<String>,
    ) -> Result<Reply, Error> {
        let (acl, prefix) = rights(&self.policies, token, &request.namespace).await?;
        let mut found: Map<String, Value> = Map::new();
        for path in &paths {
            let full = format!("{prefix}{}", path.strip_prefix('/').unwrap_or(path));
            found.insert(path.clone(), json!(acl.capabilities(&full)));
        }
        if let [only] = paths.as_slice() {
            let capabilities = found.get(only).cloned().unwrap_or_default();
            found.insert("capabilities".to_owned(), capabilities);
        }
        Ok(Reply::data(&found))
    }
}

/// What a caller may, and whose policies say so.
#[derive(Clone)]
pub(crate) struct Rights {
    /// What its policies and those of the entity give together.
    pub(crate) acl: Arc<Acl>,
    /// What is known of the entity behind it.
    pub(crate) identity: Option<Arc<Resolved>>,
}

impl Rights {
    /// Policies that the entity adds, sorted.
    pub(crate) fn identity_policies(&self) -> &[String] {
        self.identity.as_ref().map_or(&[], |identity| identity.policies())
    }
}

/// The rights of a token in its own namespace. One whose entity is disabled or gone is refused.
pub(crate) async fn full_rights(policies: &PolicyStore, token: &Token) -> Result<Rights, Error> {
    let identity = identity(policies, token).await?;
    let acl = match &identity {
        Some(identity) => policies.acl(&token.namespace, &token.policies, &identity.facts).await?,
        None => policies.acl(&token.namespace, &token.policies, &Facts::default()).await?,
    };
    Ok(Rights { acl, identity })
}

/// What is known of the entity behind a token, if there is one; refused when it is disabled or gone.
async fn identity(policies: &PolicyStore, token: &Token) -> Result<Option<Arc<Resolved>>, Error> {
    let Some(id) = &token.entity_id else { return Ok(None) };
    let known = policies.identity().resolve(&token.namespace, id).await?;
    match known {
        Some(known) if !known.disabled => Ok(Some(known)),
        Some(_) | None => Err(Error::permission_denied()),
    }
}

/// The rights of a token, and what stands before paths of this namespace in its policies. A token
/// has none outside its namespace and those below.
pub(crate) async fn rights(
    policies: &PolicyStore,
    token: &Token,
    namespace: &bailee_sdk::Namespace,
) -> Result<(Arc<Acl>, String), Error> {
    let Some(prefix) = namespace.path.strip_prefix(&token.namespace.path) else {
        let nothing = policies.acl(&token.namespace, &[], &Facts::default()).await?;
        return Ok((nothing, String::new()));
    };
    Ok((full_rights(policies, token).await?.acl, prefix.to_owned()))
}

impl Asked {
    fn all_paths(&self) -> Result<Vec<String>, Error> {
        let paths = [self.paths.0.as_slice(), &self.path.0].concat();
        if paths.is_empty() {
            return Err(Error::invalid("paths must be supplied"));
        }
        if paths.len() > PATHS_MAX {
            return Err(Error::invalid(format!("more than {PATHS_MAX} paths")));
        }
        Ok(paths)
    }
}

/// The text itself, or what it is the base64 of. No policy reads as base64.
pub(super) fn decoded(text: &str) -> String {
    let bytes = BASE64_STANDARD.decode(text.trim()).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| text.to_owned())
}

impl fmt::Debug for PolicyPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyPaths(..)")
    }
}
