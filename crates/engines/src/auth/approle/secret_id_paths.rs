//! `role/<name>/secret-id` and what is beside it: making secret ids, looking at them, removing them.

use super::{
    AppRole, METADATA_BYTES_MAX, SECRET_ID_BYTES_MAX,
    role::{self, Role, check_blocks},
    secret_id::{Place, SecretId, accessors},
};
use crate::{auth::token_fields::present, listing::Page, time::time_text};
use bailee_crypto::{clock::to_millis, random};
use bailee_sdk::{
    Cidr, Code, Error,
    Operation::{Delete, List, Update},
    Path, Reply, Request, Sensitive, cidr,
    field::{CommaList, Integer, Ttl},
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

pub(super) fn paths(engine: &Arc<AppRole>) -> Vec<Path> {
    vec![
        Path::new("role/{role_name}/secret-id")
            .on(List, engine, "List the accessors of a role's secret ids", list)
            .on(Update, engine, "Make a secret id", generate),
        Path::new("role/{role_name}/custom-secret-id").on(
            Update,
            engine,
            "Take a secret id that was made elsewhere",
            take_custom,
        ),
        Path::new("role/{role_name}/secret-id/lookup").on(
            Update,
            engine,
            "Look at what is known of a secret id",
            look_up,
        ),
        Path::new("role/{role_name}/secret-id/destroy")
            .on(Update, engine, "Remove a secret id", destroy)
            .on(Delete, engine, "Remove a secret id", destroy),
        Path::new("role/{role_name}/secret-id-accessor/lookup").on(
            Update,
            engine,
            "Look at what is known of a secret id, by its accessor",
            look_up_accessor,
        ),
        Path::new("role/{role_name}/secret-id-accessor/destroy")
            .on(Update, engine, "Remove a secret id by its accessor", destroy_accessor)
            .on(Delete, engine, "Remove a secret id by its accessor", destroy_accessor),
    ]
}

macro_rules! new_secret_id {
    ($(#[$about:meta])* struct $name:ident { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(Deserialize, JsonSchema)]
        struct $name {
            /// Name of the role.
            role_name: String,
            $($own)*
            /// Texts under names that are kept with the secret id and shown with its tokens: a JSON
            /// object in a text.
            #[serde(default)]
            metadata: String,
            /// Blocks of addresses from which one can log in with it; within those of the role.
            #[serde(default)]
            cidr_list: CommaList,
            /// Blocks of addresses from which its tokens can be used; within those of the role.
            #[serde(default)]
            token_bound_cidrs: CommaList,
            /// Logins it is good for; not more than the role says. 0 for any number.
            #[serde(default, deserialize_with = "present")]
            num_uses: Option<Integer>,
            /// How long it lasts; not longer than the role says. 0 for ever.
            #[serde(default, deserialize_with = "present")]
            ttl: Option<Ttl>,
        }

        impl From<$name> for Wish {
            fn from(input: $name) -> Wish {
                let $name { metadata, cidr_list, token_bound_cidrs, num_uses, ttl, .. } = input;
                Wish { metadata, cidr_list: cidr_list.0, token_bound_cidrs: token_bound_cidrs.0, num_uses, ttl }
            }
        }
    };
}

new_secret_id! {
    /// A secret id to make.
    struct Generate {}
}

new_secret_id! {
    /// A secret id to take.
    struct TakeCustom {
        /// The secret id.
        #[serde(default)]
        #[schemars(with = "String")]
        secret_id: Sensitive<String>,
    }
}

/// What is asked of a new secret id.
struct Wish {
    metadata: String,
    cidr_list: Vec<String>,
    token_bound_cidrs: Vec<String>,
    num_uses: Option<Integer>,
    ttl: Option<Ttl>,
}

async fn generate(_: Arc<AppRole>, request: Request<Generate>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    let name = input.role_name.clone();
    let secret = Sensitive::new(random::uuid().to_string());
    create(&request, &name, &secret, input.into()).await
}

async fn take_custom(_: Arc<AppRole>, request: Request<TakeCustom>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    let (name, secret) = (input.role_name.clone(), input.secret_id.clone());
    if secret.expose().is_empty() {
        return Err(Error::invalid("missing secret_id"));
    }
    create(&request, &name, &secret, input.into()).await
}

async fn create(
    request: &Request<()>,
    role_name: &str,
    secret: &Sensitive<String>,
    wish: Wish,
) -> Result<Reply, Error> {
    let view = &request.view;
    let role = role::existing(view, role_name).await?;
    if !role.bind_secret_id {
        return Err(Error::invalid("bind_secret_id is not set on the role"));
    }
    let record = wished(&role, wish, to_millis(request.now))?;
    let too_long = || {
        let message = format!("field \"secret_id\" has more than {SECRET_ID_BYTES_MAX} bytes");
        Error::invalid(message)
    };
    let place = Place::of(view, &role, secret.expose()).ok_or_else(too_long)?;
    place.lock().await;
    if place.get().await?.is_some() {
        return Err(Error::invalid("failed to store secret_id: SecretID is already registered"));
    }
    place.create(&record).await?;
    Ok(Reply::data(&json!({
        "secret_id": secret.expose(),
        "secret_id_accessor": record.accessor,
        "secret_id_num_uses": record.num_uses,
        "secret_id_ttl": record.ttl,
    })))
}

/// The secret id that is wished for, within what the role allows.
fn wished(role: &Role, wish: Wish, now: u64) -> Result<SecretId, Error> {
    let num_uses = match wish.num_uses {
        None => role.secret_id_num_uses,
        Some(Integer(uses)) => {
            u64::try_from(uses).map_err(|_| Error::invalid("num_uses cannot be negative"))?
        }
    };
    if exceeds(num_uses, role.secret_id_num_uses) {
        let message = "num_uses cannot be higher than the role's secret_id_num_uses";
        return Err(Error::invalid(message));
    }
    let ttl = wish.ttl.map_or(role.secret_id_ttl, |Ttl(ttl)| ttl.as_secs());
    if exceeds(ttl, role.secret_id_ttl) {
        return Err(Error::invalid("ttl cannot be longer than the role's secret_id_ttl"));
    }
    let role_blocks = role.secret_id_bound_cidrs.as_deref().unwrap_or_default();
    check_within(&wish.cidr_list, role_blocks)?;
    check_within(&wish.token_bound_cidrs, &role.tokens.bound_cidrs)?;
    let lasts = Some(ttl).filter(|ttl| *ttl > 0);
    Ok(SecretId {
        role: role.name.clone(),
        accessor: random::uuid().to_string(),
        num_uses,
        ttl,
        created: now,
        updated: now,
        expires: lasts.map(|ttl| now.saturating_add(ttl.saturating_mul(1000))),
        metadata: metadata(&wish.metadata)?,
        cidr_list: wish.cidr_list,
        token_bound_cidrs: wish.token_bound_cidrs,
    })
}

/// Zero is without bound.
fn exceeds(wished: u64, allowed: u64) -> bool {
    allowed > 0 && (wished == 0 || wished > allowed)
}

fn check_within(blocks: &[String], allowed: &[String]) -> Result<(), Error> {
    check_blocks(blocks)?;
    let parse = |blocks: &[String]| {
        cidr::parse_all(blocks).map_err(|_| Error::internal("a stored block does not parse"))
    };
    let (blocks, allowed) = (parse(blocks)?, parse(allowed)?);
    let is_within = |block: &Cidr| allowed.iter().any(|outer| outer.covers(block));
    if allowed.is_empty() || blocks.iter().all(is_within) {
        return Ok(());
    }
    Err(Error::invalid(
        "failed to verify subset relationship between CIDR blocks on the role and CIDR blocks on \
         the secret ID: each block of the secret ID must be within one of the role's",
    ))
}

/// Reads a JSON object, also in base64, or `name=value` pairs with commas between.
fn metadata(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let failed = |why: &str| Error::invalid(format!("failed to parse metadata: {why}"));
    if text.len() > METADATA_BYTES_MAX {
        return Err(failed(&format!("it has more than {METADATA_BYTES_MAX} bytes")));
    }
    let text = text.trim();
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let decoded = BASE64_STANDARD.decode(text).unwrap_or_default();
    for json in [text.as_bytes(), &decoded] {
        if let Ok(pairs) = serde_json::from_slice(json) {
            return Ok(pairs);
        }
    }
    let pairs = text.split(',').map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    });
    pairs
        .collect::<Option<_>>()
        .ok_or_else(|| failed("failed to parse the input: invalid <key,value> format"))
}

/// A secret id to look at or to remove.
#[derive(Deserialize, JsonSchema)]
struct OneSecretId {
    /// Name of the role.
    role_name: String,
    /// The secret id.
    #[serde(default)]
    #[schemars(with = "String")]
    secret_id: Sensitive<String>,
}

async fn look_up(_: Arc<AppRole>, request: Request<OneSecretId>) -> Result<Reply, Error> {
    let OneSecretId { role_name, secret_id } = &request.input;
    if secret_id.expose().is_empty() {
        return Err(Error::invalid("missing secret_id"));
    }
    let role = role::existing(&request.view, role_name).await?;
    let Some(place) = Place::of(&request.view, &role, secret_id.expose()) else {
        return Ok(Reply::empty());
    };
    let secret = place.get().await?.filter(|secret| secret.is_alive(request.now));
    Ok(secret.map_or_else(Reply::empty, |secret| shown(&secret)))
}

async fn destroy(_: Arc<AppRole>, request: Request<OneSecretId>) -> Result<Reply, Error> {
    let OneSecretId { role_name, secret_id } = &request.input;
    if secret_id.expose().is_empty() {
        return Err(Error::invalid("missing secret_id"));
    }
    let role = role::existing(&request.view, role_name).await?;
    if let Some(place) = Place::of(&request.view, &role, secret_id.expose()) {
        remove(&place).await?;
    }
    Ok(Reply::empty())
}

async fn remove(place: &Place<'_>) -> Result<(), Error> {
    place.lock().await;
    match place.get().await? {
        Some(secret) => place.remove(&secret).await,
        None => Ok(()),
    }
}

/// An accessor of a secret id.
#[derive(Deserialize, JsonSchema)]
struct OneAccessor {
    /// Name of the role.
    role_name: String,
    /// The accessor.
    #[serde(default)]
    secret_id_accessor: String,
}

async fn look_up_accessor(_: Arc<AppRole>, request: Request<OneAccessor>) -> Result<Reply, Error> {
    let OneAccessor { role_name, secret_id_accessor: accessor } = &request.input;
    check_given(accessor)?;
    let role = role::existing(&request.view, role_name).await?;
    let secret = match Place::with_accessor(&request.view, &role, accessor).await? {
        Some(place) => place.get().await?,
        None => None,
    };
    Ok(match secret.filter(|secret| secret.is_alive(request.now)) {
        Some(secret) => shown(&secret),
        None => Reply::data(&json!({ "error": no_accessor(accessor) })).as_missing(),
    })
}

async fn destroy_accessor(_: Arc<AppRole>, request: Request<OneAccessor>) -> Result<Reply, Error> {
    let OneAccessor { role_name, secret_id_accessor: accessor } = &request.input;
    check_given(accessor)?;
    let role = role::existing(&request.view, role_name).await?;
    let place = Place::with_accessor(&request.view, &role, accessor).await?;
    let place = place.ok_or_else(|| Error::new(Code::NotFound, no_accessor(accessor)))?;
    remove(&place).await?;
    Ok(Reply::empty())
}

fn check_given(accessor: &str) -> Result<(), Error> {
    if accessor.is_empty() { Err(Error::invalid("missing secret_id_accessor")) } else { Ok(()) }
}

fn no_accessor(accessor: &str) -> String {
    format!("failed to find accessor entry for secret_id_accessor: {accessor:?}")
}

fn shown(secret: &SecretId) -> Reply {
    // What other servers of this API say for "never".
    let never = || "0001-01-01T00:00:00Z".to_owned();
    Reply::data(&json!({
        "cidr_list": secret.cidr_list,
        "creation_time": time_text(secret.created),
        "expiration_time": secret.expires.map_or_else(never, time_text),
        "last_updated_time": time_text(secret.updated),
        "metadata": secret.metadata,
        "secret_id_accessor": secret.accessor,
        "secret_id_num_uses": secret.num_uses,
        "secret_id_ttl": secret.ttl,
        "token_bound_cidrs": secret.token_bound_cidrs,
    }))
}

/// Which accessors to list.
#[derive(Deserialize, JsonSchema)]
struct ListAccessors {
    /// Name of the role.
    role_name: String,
    /// Accessor after which the list begins.
    #[serde(default)]
    after: String,
    /// Accessors to give at most; 0 for all.
    #[serde(default)]
    limit: Integer,
}

async fn list(_: Arc<AppRole>, request: Request<ListAccessors>) -> Result<Reply, Error> {
    let ListAccessors { role_name, after, limit } = &request.input;
    let role = role::existing(&request.view, role_name).await?;
    let page = Page::new(after, *limit);
    Reply::keys(&accessors(&request.view, &role.id).list("", page.after, page.limit).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_an_object_or_pairs() {
        let expected: BTreeMap<_, _> = [("a".to_owned(), "b".to_owned())].into();
        for text in [r#"{"a":"b"}"#, "eyJhIjoiYiJ9", "a=b", " a = b "] {
            assert_eq!(metadata(text).unwrap(), expected, "{text}");
        }
        assert_eq!(metadata("").unwrap(), BTreeMap::new());
        for text in ["nope", r#"{"a":{}}"#, "[1]"] {
            let error = metadata(text).unwrap_err().to_string();
            assert!(error.ends_with("invalid <key,value> format"), "{error}");
        }
        assert!(metadata(&"x".repeat(METADATA_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn nothing_exceeds_what_has_no_bound() {
        assert!(!exceeds(0, 0) && !exceeds(9, 0) && !exceeds(3, 3));
        assert!(exceeds(0, 3) && exceeds(4, 3));
    }
}
