//! The engine at `auth/token`.

use super::{
    NewToken, Renewed, Token, TokenId, TokenStore,
    role::Role,
    role_paths,
    show::{Shown, issued},
    store::ACCESSORS_MAX,
    wishes::{Asked, Wishes},
};
use crate::{
    identity::User,
    policy::{self, PolicyStore},
};
use bailee_sdk::{
    Body, Engine, Error, Nothing, Operation, Path, Reply, Request, Sensitive,
    error::Code,
    field::{Flag, Integer, KeyValues, Ttl},
    request::{Issued, LoginAlias},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Makes, shows, prolongs and revokes tokens.
pub(crate) struct TokenPaths {
    pub(super) tokens: Arc<TokenStore>,
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
struct OneToken {
    /// The token.
    #[serde(default)]
    #[schemars(with = "String")]
    token: Sensitive<String>,
}

#[derive(Deserialize, JsonSchema)]
struct OneAccessor {
    /// The accessor of the token.
    #[serde(default)]
    accessor: String,
}

#[derive(Deserialize, JsonSchema)]
struct RenewToken {
    /// The token.
    #[serde(default)]
    #[schemars(with = "String")]
    token: Sensitive<String>,
    /// How long it is to last from now on; the same as before when zero.
    #[serde(default)]
    #[schemars(with = "Ttl")]
    increment: Value,
}

#[derive(Deserialize, JsonSchema)]
struct RenewAccessor {
    /// The accessor of the token.
    #[serde(default)]
    accessor: String,
    /// How long it is to last from now on; the same as before when zero.
    #[serde(default)]
    #[schemars(with = "Ttl")]
    increment: Value,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Create {
    /// Policies of the token; those of the caller when empty.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    policies: Value,
    /// How long it is to last.
    #[serde(default)]
    #[schemars(with = "String")]
    ttl: Value,
    /// The older name of `ttl`.
    #[serde(default)]
    #[schemars(with = "String")]
    lease: Value,
    /// Longest life, renewals included.
    #[serde(default)]
    #[schemars(with = "String")]
    explicit_max_ttl: Value,
    /// Renewable for ever, each time for this long.
    #[serde(default)]
    #[schemars(with = "String")]
    period: Value,
    /// Uses it is good for; 0 for no limit.
    #[serde(default)]
    num_uses: Integer,
    /// Name for logs and lists.
    #[serde(default)]
    display_name: String,
    /// The text of the token; needs sudo.
    #[serde(default)]
    #[schemars(with = "String")]
    id: Sensitive<String>,
    /// Shown with the token.
    #[serde(default)]
    meta: KeyValues,
    /// Whether it outlives the caller's token; needs sudo.
    #[serde(default)]
    no_parent: Flag,
    /// Whether `default` is left out.
    #[serde(default)]
    no_default_policy: Flag,
    /// Whether it can be prolonged.
    #[serde(default)]
    renewable: Option<Flag>,
    /// `service` or `batch`.
    #[serde(default, rename = "type")]
    kind: String,
    /// Only with roles.
    #[serde(default)]
    entity_alias: String,
}

impl Engine for TokenPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        let update = Operation::Update;
        let mut paths = vec![
            Path::new("create").on(update, &self, "Make a token.", Self::create),
            Path::new("create-orphan").on(
                update,
                &self,
                "Make a token that outlives the caller's.",
                Self::create_orphan,
            ),
            Path::new("lookup").on(update, &self, "Show a token.", Self::lookup).on(
                Operation::Read,
                &self,
                "Show a token.",
                Self::lookup,
            ),
            Path::new("lookup-self")
                .on(update, &self, "Show the caller's token.", Self::lookup_self)
                .on(Operation::Read, &self, "Show the caller's token.", Self::lookup_self),
            Path::new("lookup-accessor").on(
                update,
                &self,
                "Show the token of an accessor.",
                Self::lookup_accessor,
            ),
            Path::new("renew").on(update, &self, "Prolong a token.", Self::renew),
            Path::new("renew-self").on(
                update,
                &self,
                "Prolong the caller's token.",
                Self::renew_self,
            ),
            Path::new("renew-accessor").on(
                update,
                &self,
                "Prolong the token of an accessor.",
                Self::renew_accessor,
            ),
            Path::new("revoke").on(update, &self, "Revoke a token and all it made.", Self::revoke),
            Path::new("revoke-self").on(
                update,
                &self,
                "Revoke the caller's token and all it made.",
                Self::revoke_self,
            ),
            Path::new("revoke-accessor").on(
                update,
                &self,
                "Revoke the token of an accessor and all it made.",
                Self::revoke_accessor,
            ),
            Path::new("revoke-orphan").sudo().on(
                update,
                &self,
                "Revoke a token; those it made live on.",
                Self::revoke_orphan,
            ),
            Path::new("accessors").sudo().on(
                Operation::List,
                &self,
                "List the accessors of all tokens.",
                Self::accessors,
            ),
            Path::new("tidy").sudo().on(
                update,
                &self,
                "Clear away what is left of tokens that have ended.",
                Self::tidy,
            ),
        ];
        paths.extend(role_paths::paths(&self));
        paths
    }
}

impl TokenPaths {
    pub(crate) fn new(tokens: Arc<TokenStore>, policies: Arc<PolicyStore>) -> TokenPaths {
        TokenPaths { tokens, policies }
    }

    async fn create(self: Arc<Self>, request: Request<Create>) -> Result<Reply, Error> {
        self.make(request, false, None).await
    }

    async fn create_orphan(self: Arc<Self>, request: Request<Create>) -> Result<Reply, Error> {
        self.make(request, true, None).await
    }

    pub(super) async fn make(
        &self,
        request: Request<Create>,
        orphan: bool,
        role: Option<(String, Role)>,
    ) -> Result<Reply, Error> {
        let (input, request) = request.take_input();
        let missing = || Error::invalid("parent token lookup failed: no parent found");
        let parent = self.of_caller(&request).await?.ok_or_else(missing)?;
        let path = format!("{}{}", request.mount.path, request.path.trim_end_matches('/'));
        let (acl, prefix) = policy::rights(&self.policies, &parent, &request.namespace).await?;
        let wishes = input.wishes()?;
        let has_sudo = acl.has_sudo(&format!("{prefix}{path}"));
        let path = match &role {
            Some((_, role)) if !role.path_suffix.is_empty() => {
                format!("{path}/{}", role.path_suffix)
            }
            _ => path,
        };
        let alias = wishes.entity_alias.to_lowercase();
        let mut new = wishes.granted(Asked {
            parent: &parent,
            has_sudo,
            orphan,
            role: role.as_ref(),
            namespace: &request.namespace,
            path,
            now: request.now,
        })?;
        new.limits = Some(self.tokens.limits_in(&request.namespace.id));
        if !alias.is_empty() {
            new.entity_id = Some(self.entity_of(&request, alias).await?);
        }
        let mut warnings = self.unknown_policies(&new).await?;
        let made = self.tokens.create(&request.view, new).await?;
        warnings.extend(made.warnings);
        let ttl = made.token.ttl;
        let issued = issued(&made.token, made.secret, ttl);
        let body = Body::Token(Box::new(self.with_identity(issued, &made.token).await?));
        Ok(Reply { warnings, ..body.into() })
    }

    /// The entity with this alias of the token mount, made with the token when it is new.
    async fn entity_of(&self, request: &Request<()>, name: String) -> Result<String, Error> {
        let alias = LoginAlias { name, ..LoginAlias::default() };
        let user = User { alias: &alias, groups: &[], mount: &request.mount, local: false };
        let identity = self.policies.identity();
        let found = identity.log_in(&request.view, &request.namespace, user, request.now).await?;
        Ok(found.entity_id)
    }

    async fn unknown_policies(&self, new: &NewToken) -> Result<Vec<String>, Error> {
        let mut warnings = Vec::new();
        for name in &new.policies {
            if self.policies.read(&new.namespace, name).await?.is_none() {
                warnings.push(format!("Policy {name:?} does not exist"));
            }
        }
        Ok(warnings)
    }

    async fn lookup(self: Arc<Self>, request: Request<OneToken>) -> Result<Reply, Error> {
        let bad = || Error::new(Code::PermissionDenied, "bad token");
        let secret = request.input.token.clone();
        let token = self.named(&request, &secret).await?.ok_or_else(bad)?;
        self.show(&token, secret.expose(), request.now).await
    }

    async fn lookup_self(self: Arc<Self>, request: Request<OneToken>) -> Result<Reply, Error> {
        let token = self.of_caller(&request).await?.ok_or_else(Error::permission_denied)?;
        self.show(&token, request.input.token.expose(), request.now).await
    }

    async fn lookup_accessor(
        self: Arc<Self>,
        request: Request<OneAccessor>,
    ) -> Result<Reply, Error> {
        let token =
            self.by_accessor(&request, &request.input.accessor).await?.ok_or_else(bad_accessor)?;
        self.show(&token, "", request.now).await
    }

    async fn renew(self: Arc<Self>, request: Request<RenewToken>) -> Result<Reply, Error> {
        let secret = request.input.token.clone();
        if secret.expose().is_empty() {
            return Err(Error::invalid("missing token ID"));
        }
        let missing = || Error::invalid("token not found");
        let token = self.named(&request, &secret).await?.ok_or_else(missing)?;
        let renewed =
            self.tokens.renew(&token.id, increment(&request.input.increment)?, request.now).await?;
        self.prolonged(renewed, secret).await
    }

    async fn renew_self(self: Arc<Self>, request: Request<RenewToken>) -> Result<Reply, Error> {
        let secret = request.input.token.clone();
        let token = self.of_caller(&request).await?.ok_or_else(Error::permission_denied)?;
        let renewed =
            self.tokens.renew(&token.id, increment(&request.input.increment)?, request.now).await?;
        self.prolonged(renewed, secret).await
    }

    async fn renew_accessor(
        self: Arc<Self>,
        request: Request<RenewAccessor>,
    ) -> Result<Reply, Error> {
        let token =
            self.by_accessor(&request, &request.input.accessor).await?.ok_or_else(bad_accessor)?;
        let renewed =
            self.tokens.renew(&token.id, increment(&request.input.increment)?, request.now).await?;
        self.prolonged(renewed, Sensitive::default()).await
    }

    async fn revoke(self: Arc<Self>, request: Request<OneToken>) -> Result<Reply, Error> {
        if request.input.token.expose().is_empty() {
            return Err(Error::invalid("missing token ID"));
        }
        // Also of a token that is dead already: what is left of it is cleared away.
        let id = self.tokens.id_of(&request.input.token);
        if let Some(id) = id.filter(|id| self.tokens.is_below(id, &request.namespace)) {
            check_revocable(&id)?;
            self.tokens.revoke_tree(&id).await?;
        }
        Ok(Reply::empty())
    }

    async fn revoke_self(self: Arc<Self>, request: Request<OneToken>) -> Result<Reply, Error> {
        let token = self.of_caller(&request).await?.ok_or_else(Error::permission_denied)?;
        check_revocable(&token.id)?;
        self.tokens.revoke_tree(&token.id).await?;
        Ok(Reply::empty())
    }

    async fn revoke_accessor(
        self: Arc<Self>,
        request: Request<OneAccessor>,
    ) -> Result<Reply, Error> {
        let Some(token) = self.by_accessor(&request, &request.input.accessor).await? else {
            return Ok(Reply::empty().warn("No token found with this accessor"));
        };
        self.tokens.revoke_tree(&token.id).await?;
        Ok(Reply::empty())
    }

    async fn revoke_orphan(self: Arc<Self>, request: Request<OneToken>) -> Result<Reply, Error> {
        if request.input.token.expose().is_empty() {
            return Err(Error::invalid("missing token ID"));
        }
        let missing = || Error::invalid("token to revoke not found");
        let token = self.named(&request, &request.input.token).await?.ok_or_else(missing)?;
        check_revocable(&token.id)?;
        self.tokens.revoke_orphan(&token.id).await?;
        Ok(Reply::empty())
    }

    async fn accessors(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        let accessors = self.tokens.accessors(&request.namespace).await?;
        let reply = Reply::keys(&accessors)?;
        if accessors.len() == ACCESSORS_MAX {
            return Ok(reply.warn(format!("only {ACCESSORS_MAX} accessors are listed")));
        }
        Ok(reply)
    }

    async fn show(&self, token: &Token, id: &str, now: SystemTime) -> Result<Reply, Error> {
        let policies = self.identity_policies(token).await?;
        Ok(Reply::data(&Shown::of(token, id, now).with_identity(&policies)))
    }

    async fn prolonged(&self, renewed: Renewed, secret: Sensitive<String>) -> Result<Reply, Error> {
        let issued = issued(&renewed.token, secret, renewed.ttl);
        let body = Body::Token(Box::new(self.with_identity(issued, &renewed.token).await?));
        Ok(Reply { warnings: renewed.warnings, ..body.into() })
    }

    /// The same with the policies that the entity behind the token adds.
    async fn with_identity(&self, mut issued: Issued, token: &Token) -> Result<Issued, Error> {
        issued.identity_policies = self.identity_policies(token).await?;
        issued.policies = super::joined(&token.policies, &issued.identity_policies);
        Ok(issued)
    }

    /// Policies that the entity behind a token adds.
    async fn identity_policies(&self, token: &Token) -> Result<Vec<String>, Error> {
        let Some(id) = &token.entity_id else { return Ok(Vec::new()) };
        let known = self.policies.identity().resolve(&token.namespace, id).await?;
        Ok(known.map(|known| known.policies().to_vec()).unwrap_or_default())
    }

    /// Wakes the pass that clears away; it has done so before, and would again.
    async fn tidy(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        self.tokens.tidy.notify_one();
        let started = Reply::empty().warn(
            "Tidy operation successfully started. Any information from the operation will be printed \
             to Vault's server logs.",
        );
        Ok(started.as_accepted())
    }

    /// The caller's own token, also while its last use is made.
    async fn of_caller<I>(&self, request: &Request<I>) -> Result<Option<Arc<Token>>, Error> {
        let Some(caller) = &request.caller else { return Ok(None) };
        if caller.token_id.is_empty() {
            return Ok(None);
        }
        self.tokens.find(&TokenId::from_text(&caller.token_id)).await
    }

    /// The live token with this text; the caller's own also while its last use is made.
    async fn named<I>(
        &self,
        request: &Request<I>,
        secret: &Sensitive<String>,
    ) -> Result<Option<Arc<Token>>, Error> {
        let id = self.tokens.id_of(secret);
        let is_own = id.is_some_and(|id| {
            request.caller.as_ref().is_some_and(|caller| caller.token_id == id.as_str())
        });
        if is_own {
            return self.of_caller(request).await;
        }
        Ok(within(request, self.tokens.authenticate(secret).await?))
    }

    async fn by_accessor<I>(
        &self,
        request: &Request<I>,
        accessor: &str,
    ) -> Result<Option<Arc<Token>>, Error> {
        if accessor.is_empty() {
            return Err(Error::invalid("1 error occurred:\n\t* missing accessor\n\n"));
        }
        Ok(within(request, self.tokens.find_by_accessor(accessor).await?))
    }
}

impl Create {
    fn wishes(self) -> Result<Wishes, Error> {
        let ttl = if is_blank(&self.ttl) { &self.lease } else { &self.ttl };
        Ok(Wishes {
            ttl: super::wishes::span("ttl", ttl)?,
            explicit_max_ttl: super::wishes::span("explicit_max_ttl", &self.explicit_max_ttl)?,
            period: super::wishes::span("period", &self.period)?,
            policies: super::wishes::policies(&self.policies)?,
            num_uses: self.num_uses.0,
            display_name: self.display_name,
            id: (!self.id.expose().is_empty()).then_some(self.id),
            meta: self.meta.0,
            no_parent: self.no_parent.0,
            no_default_policy: self.no_default_policy.0,
            renewable: self.renewable.is_none_or(|flag| flag.0),
            kind: self.kind,
            entity_alias: self.entity_alias,
        })
    }
}

/// A token of the request's namespace or one below; others are not there for it.
fn within<I>(request: &Request<I>, token: Option<Arc<Token>>) -> Option<Arc<Token>> {
    token.filter(|token| token.is_within(&request.namespace))
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// How much longer a token is to last, in the words clients know when it cannot be read.
fn increment(value: &Value) -> Result<Duration, Error> {
    if is_blank(value) {
        return Ok(Duration::ZERO);
    }
    super::wishes::span("increment", value).map_err(|error| match value {
        Value::String(_) | Value::Number(_) => Error::invalid(format!(
            "Field validation failed: error converting input for field \"increment\": {error}"
        )),
        _ => error,
    })
}

/// Nothing is stored of a batch token that could be taken away.
fn check_revocable(id: &TokenId) -> Result<(), Error> {
    if id.is_batch() {
        return Err(Error::invalid("batch tokens cannot be revoked"));
    }
    Ok(())
}

fn bad_accessor() -> Error {
    Error::invalid("1 error occurred:\n\t* invalid accessor\n\n")
}

impl fmt::Debug for TokenPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenPaths(..)")
    }
}
