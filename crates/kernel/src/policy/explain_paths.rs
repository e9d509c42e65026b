//! `sys/policies/explain`: what someone may do to a path and why; and who may do what to it.

use super::{
    Needs, PolicyStore, explain,
    explain::Question,
    parse::Policy,
    subject::{self, Subject},
};
use crate::{
    registry::{Builtin, Place, Registry},
    target,
    token::TokenStore,
};
use bailee_sdk::{
    Code, Engine, Error, Operation, Path, Reply, Request,
    field::{CommaList, Flag, Ttl},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{fmt, sync::Arc};

/// Policies that are looked through for one path.
const POLICIES_MAX: usize = 10_000;
/// Tokens that are looked through for one path.
const TOKENS_MAX: usize = 10_000;
/// Policies or tokens that are looked at between two times that others may run.
const STEPS: usize = 16;
/// Policies that can be named in a question.
const NAMED_MAX: usize = 100;

/// What is served about explanations, relative to the mount of the system.
///
/// The answer's shape: `capabilities` is a list as `sys/capabilities` gives it; `operations` has one
/// entry for each operation, with `allowed`, `reason` (a sentence) and `rule` (the pattern that
/// decides, or null); `rules` has one entry for each such pattern, with what all policies together
/// say about it, `from` (policy, path as written, line, capabilities) and `outranked` (the same, and
/// `because`); `left_out` lists rules whose templates stand for nothing here; `subject` says who was
/// asked about. With `who`, there are `policies` (by name: capabilities, rule, line) and `tokens`
/// (accessor, display name, entity, policies, capabilities) instead, and `complete` tells whether
/// all of them were looked at.
pub(crate) struct ExplainPaths {
    policies: Arc<PolicyStore>,
    tokens: Arc<TokenStore>,
    registry: Arc<Registry>,
    builtin: Arc<Builtin>,
}

#[derive(Deserialize, JsonSchema)]
struct Explain {
    /// The path within the namespace; a list ends in `/`.
    path: String,
    /// Operations that are asked about: create, read, update, patch, delete, list, scan. All, unless
    /// said otherwise.
    #[serde(default)]
    operations: CommaList,
    /// The accessor of the token that is asked about.
    #[serde(default)]
    accessor: String,
    /// The id of the entity that is asked about.
    #[serde(default)]
    entity_id: String,
    /// Names of policies that are asked about, instead of a token's.
    #[serde(default)]
    policies: CommaList,
    /// Parameters of the request, held against the rules' lists.
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    /// For how long the answer is to be wrapped.
    #[serde(default)]
    wrap_ttl: Option<Ttl>,
    /// Lists the policies and tokens that give rights on the path.
    #[serde(default)]
    who: Flag,
}

impl Engine for ExplainPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("policies/explain")
                .on(
                    Operation::Update,
                    &self,
                    "Tell what someone may do to a path and why, or who may do what to it.",
                    Self::explain,
                )
                .sudo(),
        ]
    }
}

impl ExplainPaths {
    pub(crate) fn new(
        policies: Arc<PolicyStore>,
        tokens: Arc<TokenStore>,
        registry: Arc<Registry>,
        builtin: Arc<Builtin>,
    ) -> ExplainPaths {
        ExplainPaths { policies, tokens, registry, builtin }
    }

    /// What the endpoint behind a path asks of rules in which `prefix` stands before the path.
    fn needs(&self, place: &Place, prefix: &str, path: &str, operation: Operation) -> Needs {
        let endpoint = || {
            let (mounted, rest) = place.find(path)?;
            let served = self.builtin.served(mounted).ok()?;
            let in_root = place.namespace.is_root();
            let (index, _) = target::declared(&served, in_root, &rest, operation).ok()?;
            let mount = format!("{prefix}{}", mounted.mount.path);
            Some(Needs::of(served.paths.get(index)?, &mount))
        };
        endpoint().unwrap_or_default()
    }

    async fn explain(self: Arc<Self>, request: Request<Explain>) -> Result<Reply, Error> {
        let input = &request.input;
        let path = input.path.strip_prefix('/').unwrap_or(&input.path);
        if path.is_empty() {
            return Err(Error::invalid("path must be supplied"));
        }
        let told = if input.who.0 {
            self.who(&request, path).await?
        } else {
            self.why(&request, path).await?
        };
        Ok(Reply::data(&told))
    }

    async fn why(
        &self,
        request: &Request<Explain>,
        path: &str,
    ) -> Result<Map<String, Value>, Error> {
        let input = &request.input;
        let operations = operations(&input.operations.0)?;
        let (subject, shown) = self.subject(request).await?;
        let mut told = Map::new();
        told.insert("path".to_owned(), path.into());
        told.insert("namespace".to_owned(), request.namespace.path.as_str().into());
        told.insert("subject".to_owned(), shown);
        if subject.policies.iter().any(|name| name == "root") {
            told.insert("capabilities".to_owned(), json!(["root"]));
            let root = || json!({ "allowed": true, "reason": "granted by root", "rule": null });
            let asked = if operations.is_empty() { &explain::OPERATIONS } else { &*operations };
            let operations: Map<String, Value> =
                asked.iter().map(|operation| (operation.name().to_owned(), root())).collect();
            told.insert("operations".to_owned(), operations.into());
            told.insert("rules".to_owned(), json!({}));
            told.insert("left_out".to_owned(), json!([]));
            return Ok(told);
        }
        let mut parsed: Vec<(String, Arc<Policy>)> = Vec::new();
        for name in &subject.policies {
            let policy = self.policies.policy(&subject.namespace, name).await?;
            parsed.push((name.clone(), policy));
        }
        // As a request for the path would be routed: it may name a namespace below.
        let places = self.registry.places();
        let routed = places.resolve(&request.namespace.path, path);
        let list_path = format!("{}{}/", subject.prefix, path.trim_end_matches('/'));
        let needs = |operation: Operation| {
            let Some((place, rest)) = &routed else { return Needs::default() };
            let below = place.namespace.path.strip_prefix(&request.namespace.path);
            let prefix = format!("{}{}", subject.prefix, below.unwrap_or_default());
            // A write that creates is served like an update.
            let served = if operation == Operation::Create { Operation::Update } else { operation };
            let rest = rest.trim_end_matches('/');
            let rest = if operation.is_listing() { format!("{rest}/") } else { rest.to_owned() };
            self.needs(place, &prefix, &rest, served)
        };
        let full = format!("{}{path}", subject.prefix);
        let question = Question {
            path: &full,
            list_path: &list_path,
            needs: &needs,
            operations: &operations,
            input: input.parameters.as_ref(),
            wrap_ttl: input.wrap_ttl.map(|ttl| ttl.0),
        };
        told.extend(explain::explain(&parsed, &subject.facts, &question));
        Ok(told)
    }

    /// Whom the question is about, and how that is shown.
    async fn subject(&self, request: &Request<Explain>) -> Result<(Subject, Value), Error> {
        let input = &request.input;
        let given =
            [!input.accessor.is_empty(), !input.entity_id.is_empty(), !input.policies.0.is_empty()];
        match given {
            [false, true, false] => {
                let found =
                    subject::of_entity(&self.policies, &input.entity_id, &request.namespace);
                let subject =
                    found.await?.ok_or_else(|| Error::invalid("no entity has this id"))?;
                let shown = json!({ "entity_id": input.entity_id, "policies": subject.policies });
                Ok((subject, shown))
            }
            [true, false, false] => {
                let token = self.tokens.find_by_accessor(&input.accessor).await?;
                let token = token.filter(|token| token.is_within(&request.namespace));
                let token = token
                    .ok_or_else(|| Error::invalid("1 error occurred:\n\t* invalid accessor\n\n"))?;
                let subject = subject::of_token(&self.policies, &token, &request.namespace).await?;
                let shown = json!({
                    "accessor": token.accessor,
                    "display_name": token.display_name,
                    "entity_id": token.entity_id,
                    "policies": subject.policies,
                });
                Ok((subject, shown))
            }
            [false, false, true] if input.policies.0.len() > NAMED_MAX => {
                Err(Error::invalid(format!("policies has more than {NAMED_MAX} entries")))
            }
            [false, false, true] => {
                let names = input.policies.0.iter().map(|name| name.to_lowercase()).collect();
                let subject = Subject::named(&request.namespace, names);
                let shown = json!({ "policies": subject.policies });
                Ok((subject, shown))
            }
            _ => Err(Error::invalid(
                "name whom it is about: one of accessor, entity_id and policies; or set who to \
                 list all",
            )),
        }
    }

    /// Policies of the namespace that give something on a path, and the tokens that have rights on
    /// it. Tokens of namespaces above are not told here: ask there, with the namespace in the path.
    async fn who(
        &self,
        request: &Request<Explain>,
        path: &str,
    ) -> Result<Map<String, Value>, Error> {
        let namespace = &request.namespace;
        let names = self.policies.names(namespace, "", POLICIES_MAX + 1).await?;
        let mut complete = names.len() <= POLICIES_MAX;
        let mut granting = Map::new();
        for (at, name) in names.iter().take(POLICIES_MAX).enumerate() {
            give_way(at).await;
            if name == "root" {
                granting.insert(name.clone(), json!({ "capabilities": ["root"] }));
                continue;
            }
            let policy = self.policies.policy(namespace, name).await?;
            granting
                .extend(explain::grants(name, &policy, path).map(|given| (name.clone(), given)));
        }
        let mut accessors = self.tokens.accessors(namespace).await?;
        complete &= accessors.len() <= TOKENS_MAX;
        accessors.truncate(TOKENS_MAX);
        let mut holding = Vec::new();
        for (at, accessor) in accessors.into_iter().enumerate() {
            give_way(at).await;
            let Some(token) = self.tokens.find_by_accessor(&accessor).await? else { continue };
            let (acl, prefix) = match super::rights(&self.policies, &token, namespace).await {
                Ok(rights) => rights,
                // Its entity is disabled or gone.
                Err(error) if error.code == Code::PermissionDenied => continue,
                Err(error) => return Err(error),
            };
            let capabilities = acl.capabilities(&format!("{prefix}{path}"));
            if capabilities != ["deny"] {
                holding.push(json!({
                    "accessor": token.accessor,
                    "display_name": token.display_name,
                    "entity_id": token.entity_id,
                    "policies": token.policies,
                    "capabilities": capabilities,
                }));
            }
        }
        let mut told = Map::new();
        told.insert("path".to_owned(), path.into());
        told.insert("namespace".to_owned(), namespace.path.as_str().into());
        told.insert("policies".to_owned(), granting.into());
        told.insert("tokens".to_owned(), holding.into());
        told.insert("complete".to_owned(), complete.into());
        Ok(told)
    }
}

/// Lets other requests run now and then: compiling thousands of policies takes long.
async fn give_way(at: usize) {
    if at % STEPS == STEPS - 1 {
        tokio::task::yield_now().await;
    }
}

fn operations(names: &[String]) -> Result<Vec<Operation>, Error> {
    names
        .iter()
        .map(|name| {
            let known = explain::OPERATIONS.iter().find(|operation| operation.name() == name);
            known.copied().ok_or_else(|| {
                Error::invalid(format!(
                    "unknown operation {name:?}, use create, read, update, patch, delete, list or \
                     scan"
                ))
            })
        })
        .collect()
}

impl fmt::Debug for ExplainPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExplainPaths(..)")
    }
}
