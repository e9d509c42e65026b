//! `auth/token/roles` and `auth/token/create/<role>`.

use super::{
    paths::{Create, TokenPaths},
    role::{ROLES_MAX, Role},
};
use bailee_sdk::{
    Error, Operation, Path, Reply, Request, TokenType,
    field::{CommaList, Flag, Integer, Ttl},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Deserialize, JsonSchema)]
struct NoInput {}

#[derive(Deserialize, JsonSchema)]
struct OneRole {
    /// Name of the role.
    role_name: String,
}

/// A field that is not given stays as it is.
#[derive(Deserialize, JsonSchema)]
struct WriteRole {
    /// Name of the role.
    role_name: String,
    /// Policies that its tokens may have; with none and no globs those of the caller.
    allowed_policies: Option<CommaList>,
    /// The same with `*` for any text.
    allowed_policies_glob: Option<CommaList>,
    /// Policies that its tokens may not have.
    disallowed_policies: Option<CommaList>,
    /// The same with `*` for any text.
    disallowed_policies_glob: Option<CommaList>,
    /// Aliases for which tokens may be made, with `*` for any text.
    allowed_entity_aliases: Option<CommaList>,
    /// Whether its tokens outlive the caller's.
    orphan: Option<Flag>,
    /// Whether its tokens can be prolonged.
    renewable: Option<Flag>,
    /// The end of the path of its tokens: revoking by that prefix finds them.
    path_suffix: Option<String>,
    /// The older name of `token_period`.
    period: Option<Ttl>,
    /// The older name of `token_explicit_max_ttl`.
    explicit_max_ttl: Option<Ttl>,
    /// The older name of `token_bound_cidrs`.
    bound_cidrs: Option<CommaList>,
    /// Its tokens are renewable for ever, each time for this long.
    token_period: Option<Ttl>,
    /// Longest life of its tokens, renewals included.
    token_explicit_max_ttl: Option<Ttl>,
    /// Blocks of addresses from which its tokens can be used.
    token_bound_cidrs: Option<CommaList>,
    /// Whether `default` is left out.
    token_no_default_policy: Option<Flag>,
    /// Uses its tokens are good for; 0 for no limit.
    token_num_uses: Option<Integer>,
    /// `service`, `batch`, `default-service` or `default-batch`.
    token_type: Option<String>,
}

pub(super) fn paths(engine: &Arc<TokenPaths>) -> Vec<Path> {
    vec![
        Path::new("create/{role_name}").on(
            Operation::Update,
            engine,
            "Make a token as a role has it.",
            TokenPaths::create_with_role,
        ),
        Path::new("roles").on(Operation::List, engine, "List the roles.", TokenPaths::list_roles),
        Path::new("roles/{role_name}")
            .on(Operation::Read, engine, "Show a role.", TokenPaths::read_role)
            .on(Operation::Update, engine, "Write a role.", TokenPaths::write_role)
            .on(Operation::Delete, engine, "Remove a role.", TokenPaths::delete_role)
            .exists(engine, TokenPaths::role_exists),
    ]
}

impl TokenPaths {
    async fn create_with_role(self: Arc<Self>, request: Request<Create>) -> Result<Reply, Error> {
        // The input is that of the path without a role, of which this one's name is no part.
        let name = request.path.trim_end_matches('/').strip_prefix("create/").unwrap_or_default();
        let name = name.to_owned();
        let role = self.stored_role(&request, &name).await?;
        let role = role.ok_or_else(|| Error::invalid(format!("unknown role {name}")))?;
        self.make(request, false, Some((name, role))).await
    }

    async fn list_roles(self: Arc<Self>, request: Request<NoInput>) -> Result<Reply, Error> {
        let names = self.tokens.roles(&request.view, &request.namespace.id).await?;
        let reply = Reply::keys(&names)?;
        if names.len() == ROLES_MAX {
            return Ok(reply.warn(format!("only {ROLES_MAX} roles are listed")));
        }
        Ok(reply)
    }

    async fn read_role(self: Arc<Self>, request: Request<OneRole>) -> Result<Reply, Error> {
        let name = &request.input.role_name;
        let role = self.stored_role(&request, name).await?.ok_or_else(Error::not_found)?;
        Ok(Reply::data(&shown(name, &role)))
    }

    async fn role_exists(self: Arc<Self>, request: Request<OneRole>) -> Result<bool, Error> {
        Ok(self.stored_role(&request, &request.input.role_name).await?.is_some())
    }

    async fn write_role(self: Arc<Self>, request: Request<WriteRole>) -> Result<Reply, Error> {
        let (input, request) = request.take_input();
        let name = input.role_name.clone();
        let namespace = &request.namespace.id;
        let view = &request.view;
        let role = self.stored_role(&request, &name).await?.unwrap_or_default();
        let role = input.onto(role)?;
        self.tokens.put_role(view, namespace, &name, &role).await?;
        let max = self.tokens.limits.max;
        let reply = Reply::empty();
        if role.explicit_max_ttl() > max {
            return Ok(reply.warn(format!(
                "Given explicit max TTL of {} seconds is greater than system/mount allowed value of \
                 {} seconds; tokens of this role will not last longer than that",
                role.explicit_max_ttl().as_secs(),
                max.as_secs()
            )));
        }
        Ok(reply)
    }

    async fn delete_role(self: Arc<Self>, request: Request<OneRole>) -> Result<Reply, Error> {
        let name = &request.input.role_name;
        self.tokens.delete_role(&request.view, &request.namespace.id, name).await?;
        Ok(Reply::empty())
    }

    async fn stored_role<I>(
        &self,
        request: &Request<I>,
        name: &str,
    ) -> Result<Option<Role>, Error> {
        self.tokens.role(&request.view, &request.namespace.id, name).await
    }
}

impl WriteRole {
    fn onto(self, mut role: Role) -> Result<Role, Error> {
        let put = |field: &mut Vec<String>, given: Option<CommaList>| {
            if let Some(given) = given {
                *field = given.0;
            }
        };
        put(&mut role.allowed_policies, self.allowed_policies.map(lowered));
        put(&mut role.allowed_policies_glob, self.allowed_policies_glob.map(lowered));
        put(&mut role.disallowed_policies, self.disallowed_policies.map(lowered));
        put(&mut role.disallowed_policies_glob, self.disallowed_policies_glob.map(lowered));
        put(&mut role.allowed_entity_aliases, self.allowed_entity_aliases);
        let seconds = |span: Option<Ttl>| span.map(|span| span.0.as_secs());
        renamed(
            &mut role.period,
            &mut role.token_period,
            seconds(self.period),
            seconds(self.token_period),
        );
        renamed(
            &mut role.explicit_max_ttl,
            &mut role.token_explicit_max_ttl,
            seconds(self.explicit_max_ttl),
            seconds(self.token_explicit_max_ttl),
        );
        renamed(
            &mut role.bound_cidrs,
            &mut role.token_bound_cidrs,
            self.bound_cidrs.map(|blocks| blocks.0),
            self.token_bound_cidrs.map(|blocks| blocks.0),
        );
        role.orphan = self.orphan.map_or(role.orphan, |flag| flag.0);
        role.renewable = self.renewable.map_or(role.renewable, |flag| flag.0);
        role.path_suffix = self.path_suffix.unwrap_or(role.path_suffix);
        let no_default = self.token_no_default_policy.map(|flag| flag.0);
        role.token_no_default_policy = no_default.unwrap_or(role.token_no_default_policy);
        if let Some(Integer(uses)) = self.token_num_uses {
            role.token_num_uses = u64::try_from(uses)
                .map_err(|_| Error::invalid("'token_num_uses' cannot be negative"))?;
        }
        if let Some(kind) = &self.token_type {
            role.token_type = token_type(kind)?;
        }
        Ok(role)
    }
}

/// Writes a field that has an older name. Both show what was given under the older one; what is
/// given under the newer one counts, and the older shows it only if it was named as well.
fn renamed<T: Clone + Default>(older: &mut T, newer: &mut T, old: Option<T>, new: Option<T>) {
    match (old, new) {
        (None, None) => {}
        (Some(old), None) => {
            *older = old.clone();
            *newer = old;
        }
        (old, Some(new)) => {
            *older = if old.is_some() { new.clone() } else { T::default() };
            *newer = new;
        }
    }
}

fn lowered(names: CommaList) -> CommaList {
    let mut names: Vec<String> = names.0.iter().map(|name| name.to_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    CommaList(names)
}

fn token_type(text: &str) -> Result<TokenType, Error> {
    match text {
        "" | "default" | "default-service" => Ok(TokenType::DefaultService),
        "default-batch" => Ok(TokenType::DefaultBatch),
        "service" => Ok(TokenType::Service),
        "batch" => Ok(TokenType::Batch),
        _ => Err(Error::invalid(format!("invalid 'token_type' value {text:?}"))),
    }
}

fn shown(name: &str, role: &Role) -> serde_json::Value {
    let aliases = Some(&role.allowed_entity_aliases).filter(|aliases| !aliases.is_empty());
    let mut shown = json!({
        "allowed_entity_aliases": aliases,
        "allowed_policies": role.allowed_policies,
        "allowed_policies_glob": role.allowed_policies_glob,
        "disallowed_policies": role.disallowed_policies,
        "disallowed_policies_glob": role.disallowed_policies_glob,
        "explicit_max_ttl": role.explicit_max_ttl,
        "name": name,
        "orphan": role.orphan,
        "path_suffix": role.path_suffix,
        "period": role.period,
        "renewable": role.renewable,
        "token_explicit_max_ttl": role.token_explicit_max_ttl,
        "token_no_default_policy": role.token_no_default_policy,
        "token_period": role.token_period,
        "token_type": role.token_type,
    });
    if let Some(fields) = shown.as_object_mut() {
        if !role.bound_cidrs.is_empty() {
            fields.insert("bound_cidrs".to_owned(), json!(role.bound_cidrs));
        }
        if !role.token_bound_cidrs.is_empty() {
            fields.insert("token_bound_cidrs".to_owned(), json!(role.token_bound_cidrs));
        }
        if role.token_num_uses > 0 {
            fields.insert("token_num_uses".to_owned(), json!(role.token_num_uses));
        }
    }
    shown
}
