//! `role/`: what may log in as what.

use super::{AppRole, ROLE_ID_BYTES_MAX, ROLE_NAME_BYTES_MAX, tidy};
use crate::{
    auth::token_fields::{
        OldInput, TokenFields, TokenInput, check_count, present, with_token_fields,
    },
    listing::ListNames,
};
use bailee_crypto::random;
use bailee_sdk::{
    Body, Cidr, Code, Error, Names, Reply, Request, View,
    field::{CommaList, Flag, Integer, Ttl},
};
use bailee_storage::Revision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A role, as stored. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Role {
    /// Random: what belongs to the role is kept under it.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) role_id: String,
    pub(super) bind_secret_id: bool,
    /// `None` where nobody said.
    pub(super) secret_id_bound_cidrs: Option<Vec<String>>,
    /// 0 for any number.
    pub(super) secret_id_num_uses: u64,
    /// 0 for ever.
    pub(super) secret_id_ttl: u64,
    pub(super) local_secret_ids: bool,
    pub(super) tokens: TokenFields,
}

/// Changes to a role; what is left out stays.
#[derive(Default)]
pub(super) struct RoleChange {
    pub(super) bind_secret_id: Option<Flag>,
    pub(super) secret_id_bound_cidrs: Option<CommaList>,
    pub(super) secret_id_num_uses: Option<Integer>,
    pub(super) secret_id_ttl: Option<Ttl>,
    pub(super) tokens: TokenInput,
    pub(super) old: OldInput,
}

impl Role {
    fn new(name: &str) -> Role {
        Role {
            id: random::uuid().to_string(),
            name: name.to_owned(),
            role_id: String::new(),
            bind_secret_id: true,
            secret_id_bound_cidrs: None,
            secret_id_num_uses: 0,
            secret_id_ttl: 0,
            local_secret_ids: false,
            tokens: TokenFields::default(),
        }
    }

    pub(super) fn apply(&mut self, change: RoleChange) -> Result<(), Error> {
        if let Some(Flag(bind)) = change.bind_secret_id {
            self.bind_secret_id = bind;
        }
        if let Some(CommaList(blocks)) = change.secret_id_bound_cidrs {
            check_blocks(&blocks)?;
            self.secret_id_bound_cidrs = Some(blocks).filter(|blocks| !blocks.is_empty());
        }
        if let Some(Integer(uses)) = change.secret_id_num_uses {
            self.secret_id_num_uses = u64::try_from(uses)
                .map_err(|_| Error::invalid("secret_id_num_uses cannot be negative"))?;
        }
        if let Some(Ttl(ttl)) = change.secret_id_ttl {
            self.secret_id_ttl = ttl.as_secs();
        }
        self.tokens.apply(change.tokens, change.old)?;
        let bound = self.secret_id_bound_cidrs.is_some() || !self.tokens.bound_cidrs.is_empty();
        if !self.bind_secret_id && !bound {
            return Err(Error::invalid("at least one constraint should be enabled on the role"));
        }
        Ok(())
    }

    /// As clients see it.
    pub(super) fn shown(&self) -> Map<String, Value> {
        let mut shown = Map::new();
        let fields = json!({
            "bind_secret_id": self.bind_secret_id,
            "local_secret_ids": self.local_secret_ids,
            "secret_id_bound_cidrs": self.secret_id_bound_cidrs,
            "secret_id_num_uses": self.secret_id_num_uses,
            "secret_id_ttl": self.secret_id_ttl,
        });
        if let Value::Object(fields) = fields {
            shown.extend(fields);
        }
        self.tokens.show(&mut shown);
        shown
    }
}

pub(super) fn check_blocks(blocks: &[String]) -> Result<(), Error> {
    check_count(blocks)?;
    match blocks.iter().find(|block| block.parse::<Cidr>().is_err()) {
        Some(bad) => Err(Error::invalid(format!(
            "failed to validate CIDR blocks: invalid CIDR address: {bad}"
        ))),
        None => Ok(()),
    }
}

fn names(view: &View) -> Names {
    view.names("role")
}

/// Where the name of the role with this role id is kept.
fn role_id_key(view: &View, role_id: &str) -> String {
    format!("role-id/{}", names(view).id(role_id))
}

fn normal(name: &str) -> Result<String, Error> {
    if name.len() > ROLE_NAME_BYTES_MAX {
        let message = format!("field \"role_name\" has more than {ROLE_NAME_BYTES_MAX} bytes");
        return Err(Error::invalid(message));
    }
    Ok(name.to_lowercase())
}

/// The role of a name.
pub(super) async fn find(view: &View, name: &str) -> Result<Option<Role>, Error> {
    Ok(names(view).get(&normal(name)?).await?)
}

/// The role of a name that must be there, until the unit of work lands.
pub(super) async fn existing(view: &View, name: &str) -> Result<Role, Error> {
    let found: Option<(Role, _)> = names(view).get_at(&normal(name)?).await?;
    let (role, revision) = found.ok_or_else(|| missing(name))?;
    unchanged(view, &role, revision)?;
    Ok(role)
}

/// The role with a role id, as it is until the unit of work lands.
pub(super) async fn with_role_id(view: &View, role_id: &str) -> Result<Option<Role>, Error> {
    if role_id.len() > ROLE_ID_BYTES_MAX {
        return Ok(None);
    }
    let name: Option<String> = view.get(&role_id_key(view, role_id)).await?;
    let Some(name) = name else { return Ok(None) };
    let found: Option<(Role, _)> = names(view).get_at(&name).await?;
    let Some((role, revision)) = found.filter(|(role, _)| role.role_id == role_id) else {
        return Ok(None);
    };
    unchanged(view, &role, revision)?;
    Ok(Some(role))
}

fn unchanged(view: &View, role: &Role, revision: Option<Revision>) -> Result<(), Error> {
    if let Some(revision) = revision {
        names(view).expect(&role.name, revision)?;
    }
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::new(Code::NotFound, format!("role {name:?} does not exist"))
}

/// Changes a role that must be there.
pub(super) async fn change(
    view: &View,
    name: &str,
    change: impl AsyncFnOnce(&mut Role) -> Result<(), Error>,
) -> Result<Reply, Error> {
    let name = normal(name)?;
    lock(view, &name).await;
    let mut role = find(view, &name).await?.ok_or_else(|| missing(&name))?;
    change(&mut role).await?;
    names(view).put(&name, &role).await?;
    Ok(Reply::empty())
}

async fn lock(view: &View, name: &str) {
    view.lock(&format!("role/{}", names(view).id(name))).await;
}

/// Gives the role a role id that no other role has.
async fn set_role_id(view: &View, role: &mut Role, role_id: &str) -> Result<(), Error> {
    if role_id.len() > ROLE_ID_BYTES_MAX {
        let message = format!("field \"role_id\" has more than {ROLE_ID_BYTES_MAX} bytes");
        return Err(Error::invalid(message));
    }
    if role.role_id == role_id {
        return Ok(());
    }
    let key = role_id_key(view, role_id);
    if view.get::<String>(&key).await?.is_some() {
        return Err(Error::invalid("role_id already in use"));
    }
    view.expect_absent(&key);
    view.put(&key, &role.name);
    if !role.role_id.is_empty() {
        view.delete(&role_id_key(view, &role.role_id));
    }
    role_id.clone_into(&mut role.role_id);
    Ok(())
}

/// A role to look at or to remove.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OneRole {
    /// Name of the role.
    pub(super) role_name: String,
}

pub(super) async fn read(_: Arc<AppRole>, request: Request<OneRole>) -> Result<Reply, Error> {
    let role = find(&request.view, &request.input.role_name).await?;
    Ok(Reply::data(&role.ok_or_else(Error::not_found)?.shown()))
}

pub(super) async fn exists(_: Arc<AppRole>, request: Request<OneRole>) -> Result<bool, Error> {
    Ok(find(&request.view, &request.input.role_name).await?.is_some())
}

pub(super) async fn delete(_: Arc<AppRole>, request: Request<OneRole>) -> Result<Reply, Error> {
    let name = normal(&request.input.role_name)?;
    lock(&request.view, &name).await;
    let role = find(&request.view, &name).await?;
    let Some(role) = role else { return Ok(Reply::empty()) };
    request.view.delete(&role_id_key(&request.view, &role.role_id));
    names(&request.view).delete(&name).await?;
    let view = request.view.fresh();
    Ok(Body::After(Box::pin(async move {
        // The role is gone, and nobody reaches its secret ids: what fails here is for tidying.
        tidy::clear(&view, &role.id).await.unwrap_or_default();
        Ok(Reply::empty())
    }))
    .into())
}

with_token_fields! {
    /// A new role, or changes to one.
    pub(super) struct WriteRole {
        /// Name of the role.
        role_name: String,
        /// The role id, instead of a random one.
        #[serde(default)]
        role_id: Option<String>,
        /// Whether a login needs a secret id.
        #[serde(default)]
        bind_secret_id: Option<Flag>,
        /// Blocks of addresses from which one can log in; none for all.
        #[serde(default, deserialize_with = "present")]
        secret_id_bound_cidrs: Option<CommaList>,
        /// Older name of `secret_id_bound_cidrs`.
        #[serde(default, deserialize_with = "present")]
        bound_cidr_list: Option<CommaList>,
        /// Logins a secret id is good for; 0 for any number.
        #[serde(default, deserialize_with = "present")]
        secret_id_num_uses: Option<Integer>,
        /// How long a secret id lasts; 0 for ever.
        #[serde(default, deserialize_with = "present")]
        secret_id_ttl: Option<Ttl>,
        /// Kept as given when the role is made: means nothing on one cluster.
        #[serde(default)]
        local_secret_ids: Option<Flag>,
        /// Older name of `token_policies`.
        #[serde(default, deserialize_with = "present")]
        policies: Option<CommaList>,
        /// Older name of `token_period`.
        #[serde(default, deserialize_with = "present")]
        period: Option<Ttl>,
    }
}

pub(super) async fn write(_: Arc<AppRole>, request: Request<WriteRole>) -> Result<Reply, Error> {
    let (mut input, request) = request.take_input();
    let view = &request.view;
    let name = normal(&input.role_name)?;
    lock(view, &name).await;
    let found = find(view, &name).await?;
    let is_new = found.is_none();
    let mut role = found.unwrap_or_else(|| Role::new(&name));
    let local = input.local_secret_ids.map_or(role.local_secret_ids, |local| local.0);
    if !is_new && local != role.local_secret_ids {
        let message = "local_secret_ids can only be modified during role creation";
        return Err(Error::invalid(message));
    }
    role.local_secret_ids = local;
    role.apply(RoleChange {
        tokens: input.take_token_fields(),
        bind_secret_id: input.bind_secret_id,
        secret_id_bound_cidrs: input.secret_id_bound_cidrs.or(input.bound_cidr_list),
        secret_id_num_uses: input.secret_id_num_uses,
        secret_id_ttl: input.secret_id_ttl,
        old: OldInput { policies: input.policies, period: input.period, ..OldInput::default() },
    })?;
    match input.role_id.filter(|role_id| !role_id.is_empty()) {
        Some(role_id) => set_role_id(view, &mut role, &role_id).await?,
        None if is_new => set_role_id(view, &mut role, &random::uuid().to_string()).await?,
        None => {}
    }
    names(view).put(&name, &role).await?;
    Ok(Reply::empty())
}

pub(super) async fn read_role_id(
    _: Arc<AppRole>,
    request: Request<OneRole>,
) -> Result<Reply, Error> {
    let role = find(&request.view, &request.input.role_name).await?;
    let role = role.ok_or_else(Error::not_found)?;
    Ok(Reply::data(&json!({ "role_id": role.role_id })))
}

/// Another role id.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteRoleId {
    /// Name of the role.
    role_name: String,
    /// The role id.
    #[serde(default)]
    role_id: String,
}

pub(super) async fn write_role_id(
    _: Arc<AppRole>,
    request: Request<WriteRoleId>,
) -> Result<Reply, Error> {
    let WriteRoleId { role_name, role_id } = &request.input;
    if role_id.is_empty() {
        return Err(Error::invalid("missing role_id"));
    }
    let view = &request.view;
    change(view, role_name, async |role| set_role_id(view, role, role_id).await).await
}

pub(super) async fn list(_: Arc<AppRole>, request: Request<ListNames>) -> Result<Reply, Error> {
    request.input.of(&names(&request.view)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_addresses_are_as_many_as_a_login_can_go_through() {
        let blocks = |count| Some(CommaList(vec!["10.0.0.0/8".to_owned(); count]));
        let mut role = Role::new("ci");
        let on_login =
            |count| RoleChange { secret_id_bound_cidrs: blocks(count), ..RoleChange::default() };
        let on_tokens = |count| {
            let tokens = TokenInput { bound_cidrs: blocks(count), ..TokenInput::default() };
            RoleChange { tokens, ..RoleChange::default() }
        };
        for change in [on_login(1000), on_tokens(1000)] {
            role.apply(change).unwrap();
        }
        for change in [on_login(1001), on_tokens(1001)] {
            assert!(role.apply(change).is_err());
        }
    }

    /// What storage holds since the first release. A new form is added beside it, never instead.
    #[test]
    fn what_is_stored_keeps_its_form() {
        let stored = json!({
            "id": "5a3c0b86-0000-4000-8000-000000000001", "name": "ci", "role_id": "ci-1",
            "bind_secret_id": true, "secret_id_bound_cidrs": ["10.0.0.0/8"],
            "secret_id_num_uses": 1, "secret_id_ttl": 2, "local_secret_ids": false,
            "tokens": serde_json::to_value(TokenFields::default()).unwrap(),
        });
        let role: Role = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&role).unwrap(), stored);
    }
}
