//! `sys/leases`, and the older forms `sys/renew` and `sys/revoke`.

use super::{
    listing::left,
    record::Record,
    revoke::Failing,
    store::{LeaseStore, Stored},
};
use crate::{
    registry::{Place, Registry},
    token::Token,
};
use bailee_crypto::clock::from_millis;
use bailee_sdk::{
    Body, Engine, Error, Nothing, Operation, Path, Reply, Request,
    field::{Flag, Ttl},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

/// Names that one list shows.
const NAMES_MAX: usize = 100_000;
/// Irrevocable leases that are shown when no limit is named.
const SHOWN_DEFAULT: usize = 10_000;

/// What is served about leases, relative to the mount of the system.
pub(crate) struct LeasePaths {
    leases: Arc<LeaseStore>,
    registry: Arc<Registry>,
}

#[derive(Deserialize, JsonSchema)]
struct OneLease {
    /// The id of the lease.
    #[serde(default)]
    lease_id: String,
}

#[derive(Deserialize, JsonSchema)]
struct Renew {
    /// The id of the lease.
    #[serde(default)]
    lease_id: String,
    /// The id of the lease, as part of the path.
    #[serde(default)]
    url_lease_id: String,
    /// How long it is to last from now on, in seconds or as text such as `1h`.
    #[serde(default)]
    increment: Ttl,
}

#[derive(Deserialize, JsonSchema)]
struct Revoke {
    /// The id of the lease.
    #[serde(default)]
    lease_id: String,
    /// The id of the lease, as part of the path.
    #[serde(default)]
    url_lease_id: String,
    /// Whether to wait until it is revoked; the default.
    #[serde(default)]
    sync: Option<Flag>,
}

#[derive(Deserialize, JsonSchema)]
struct RevokeBelow {
    /// Leases below this path.
    prefix: String,
    /// Whether to wait until they are revoked; the default.
    #[serde(default)]
    sync: Option<Flag>,
}

#[derive(Deserialize, JsonSchema)]
struct Below {
    /// Leases below this path; all when left out.
    #[serde(default)]
    prefix: String,
}

#[derive(Deserialize, JsonSchema)]
struct Counted {
    /// `irrevocable` for those that could not be revoked; all when left out.
    #[serde(default, rename = "type")]
    kind: String,
    /// Whether namespaces below count, too.
    #[serde(default)]
    include_child_namespaces: Flag,
}

#[derive(Deserialize, JsonSchema)]
struct Listed {
    /// `irrevocable` for those that could not be revoked; all when left out.
    #[serde(default, rename = "type")]
    kind: String,
    /// Whether namespaces below are shown, too.
    #[serde(default)]
    include_child_namespaces: Flag,
    /// How many are shown: a number, or `none` for all.
    #[serde(default)]
    #[schemars(with = "String")]
    limit: Value,
}

impl Engine for LeasePaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        let update = Operation::Update;
        let renew = |pattern| Path::new(pattern).on(update, &self, "Prolong a lease.", Self::renew);
        let revoke =
            |pattern| Path::new(pattern).on(update, &self, "Revoke a lease.", Self::revoke);
        let below = |pattern| {
            let summary = "Revoke all leases below a path.";
            Path::new(pattern).sudo().on(update, &self, summary, Self::revoke_below)
        };
        let force = |pattern| {
            let summary = "Give up all leases below a path, whatever their engine says.";
            Path::new(pattern).sudo().on(update, &self, summary, Self::give_up_below)
        };
        vec![
            Path::new("leases").sudo().on(
                Operation::Read,
                &self,
                "List leases that could not be revoked.",
                Self::list_told,
            ),
            Path::new("leases/count").on(Operation::Read, &self, "Count leases.", Self::count),
            Path::new("leases/tidy").on(
                update,
                &self,
                "Try again at once what could not be revoked, and end leases without a token.",
                Self::tidy,
            ),
            Path::new("leases/lookup").on(update, &self, "Show a lease.", Self::lookup),
            Path::new("leases/lookup/{prefix...?}").sudo().on(
                Operation::List,
                &self,
                "List leases and folders below a path.",
                Self::list,
            ),
            renew("leases/renew"),
            renew("leases/renew/{url_lease_id...}"),
            renew("renew"),
            renew("renew/{url_lease_id...}"),
            revoke("leases/revoke"),
            revoke("leases/revoke/{url_lease_id...}"),
            revoke("revoke"),
            revoke("revoke/{url_lease_id...}"),
            below("leases/revoke-prefix/{prefix...}"),
            below("revoke-prefix/{prefix...}"),
            force("leases/revoke-force/{prefix...}"),
            force("revoke-force/{prefix...}"),
        ]
    }
}

impl LeasePaths {
    pub(crate) fn new(leases: Arc<LeaseStore>, registry: Arc<Registry>) -> LeasePaths {
        LeasePaths { leases, registry }
    }

    async fn lookup(self: Arc<Self>, request: Request<OneLease>) -> Result<Reply, Error> {
        let id = named(&request.input.lease_id, "")?;
        let (view, namespace) = (&request.view, &request.namespace);
        if let Some(token) = self.leases.token(namespace, id).await? {
            return Ok(Reply::data(&shown_token(id, &token, request.now)));
        }
        let stored = self.leases.find(view, namespace, id).await?;
        let Stored { at, record, .. } = stored.ok_or_else(|| Error::invalid("invalid lease"))?;
        let mut shown = shown(id, &record, request.now);
        if !at.namespace.is_root() {
            shown.insert("namespace_path".to_owned(), at.namespace.path.as_str().into());
        }
        Ok(Reply::data(&shown))
    }

    async fn list(self: Arc<Self>, request: Request<Below>) -> Result<Reply, Error> {
        let place = self.place(&request)?;
        let prefix = folder(&request.input.prefix);
        let mut names = self.leases.names_below(&place, &prefix, NAMES_MAX).await?;
        let tokens = self.leases.token_names_below(&place.namespace, &prefix, NAMES_MAX).await?;
        names.extend(tokens);
        let is_cut = names.len() >= NAMES_MAX;
        let names: Vec<String> = names.into_iter().take(NAMES_MAX).collect();
        let reply = Reply::keys(&names)?;
        if is_cut {
            return Ok(reply.warn(format!("only {NAMES_MAX} names are listed")));
        }
        Ok(reply)
    }

    async fn renew(self: Arc<Self>, request: Request<Renew>) -> Result<Reply, Error> {
        let input = &request.input;
        let id = named(&input.lease_id, &input.url_lease_id)?;
        let (view, namespace) = (&request.view, &request.namespace);
        if self.leases.token(namespace, id).await?.is_some() {
            return Err(Error::invalid("tokens cannot be renewed through this endpoint"));
        }
        let (leased, warnings) =
            self.leases.renew(view, namespace, id, input.increment.0, request.now).await?;
        let (lease_id, ttl, renewable) = (leased.id, leased.ttl, leased.renewable);
        Ok(Reply { warnings, ..Body::Prolonged { lease_id, ttl, renewable }.into() })
    }

    async fn revoke(self: Arc<Self>, request: Request<Revoke>) -> Result<Reply, Error> {
        let input = &request.input;
        let id = named(&input.lease_id, &input.url_lease_id)?;
        let (view, namespace) = (&request.view, &request.namespace);
        if let Some(token) = self.leases.token(namespace, id).await? {
            self.leases.tokens.revoke_tree(&token.id).await?;
            return Ok(done(input.sync.as_ref()));
        }
        let Some(stored) = self.leases.find(view, namespace, id).await? else {
            return Ok(done(input.sync.as_ref()));
        };
        self.leases.mark(std::slice::from_ref(&stored.at)).await?;
        if !waits(input.sync.as_ref()) {
            self.leases.wake.notify_one();
        } else if let Some(failure) = self.leases.revoke(&stored.at, Failing::Keeps).await? {
            let text = format!("failed to revoke lease, it is tried again: {failure}");
            return Err(Error { messages: vec![text], ..failure });
        }
        Ok(done(input.sync.as_ref()))
    }

    async fn revoke_below(self: Arc<Self>, request: Request<RevokeBelow>) -> Result<Reply, Error> {
        let place = self.place(&request)?;
        let prefix = folder(&request.input.prefix);
        let sync = request.input.sync.as_ref();
        self.leases.tokens.revoke_made_below(&place.namespace, &prefix).await?;
        let found = self.leases.below(&place, &prefix).await?;
        if waits(sync) {
            self.leases.revoke_all(found).await?;
        } else {
            self.leases.mark(&found).await?;
            self.leases.wake.notify_one();
        }
        Ok(done(sync))
    }

    async fn give_up_below(self: Arc<Self>, request: Request<Below>) -> Result<Reply, Error> {
        let place = self.place(&request)?;
        let prefix = folder(&request.input.prefix);
        self.leases.tokens.revoke_made_below(&place.namespace, &prefix).await?;
        let found = self.leases.below(&place, &prefix).await?;
        self.leases.give_up(found).await?;
        self.leases.give_up_unfinished(&place, &prefix).await?;
        Ok(Reply::empty())
    }

    async fn tidy(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        for place in self.places(&request, true)? {
            self.leases.tidy(&place).await?;
        }
        let text = "Tidy operation successfully started. What cannot be revoked is shown by \
                    sys/leases with the reason.";
        Ok(Reply::empty().warn(text).as_accepted())
    }

    async fn count(self: Arc<Self>, request: Request<Counted>) -> Result<Reply, Error> {
        let wanted = wanted(&request.input.kind)?;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for place in self.places(&request, request.input.include_child_namespaces.0)? {
            let below = place.namespace.path.strip_prefix(&request.namespace.path);
            let below = below.unwrap_or_default();
            for (mount, count) in self.leases.count(&place, wanted).await? {
                *counts.entry(format!("{below}{mount}")).or_default() += count;
            }
        }
        let total: u64 = counts.values().sum();
        Ok(Reply::data(&json!({ "lease_count": total, "counts": counts })))
    }

    async fn list_told(self: Arc<Self>, request: Request<Listed>) -> Result<Reply, Error> {
        let wanted = wanted(&request.input.kind)?;
        let max = limit(&request.input.limit)?;
        let mut shown = Vec::new();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut is_cut = false;
        for place in self.places(&request, request.input.include_child_namespaces.0)? {
            let room = max.saturating_sub(shown.len()).saturating_add(1);
            for told in self.leases.told(&place, room, wanted).await? {
                if shown.len() == max {
                    is_cut = true;
                    break;
                }
                *counts.entry(told.mount_path).or_default() += 1;
                let error = told.record.failure.unwrap_or_default();
                shown.push(json!({ "lease_id": told.id, "error": error }));
            }
        }
        let reply =
            Reply::data(&json!({ "lease_count": shown.len(), "counts": counts, "leases": shown }));
        if is_cut {
            let text = format!("only {max} leases are shown; ask with limit=none for all");
            return Ok(reply.warn(text));
        }
        Ok(reply)
    }

    fn place<I>(&self, request: &Request<I>) -> Result<Arc<Place>, Error> {
        let places = self.registry.places();
        places.with_id(&request.namespace.id).cloned().ok_or_else(Error::not_found)
    }

    /// The namespace of a request, and those below if they are wanted.
    fn places<I>(&self, request: &Request<I>, below: bool) -> Result<Vec<Arc<Place>>, Error> {
        if !below {
            return Ok(vec![self.place(request)?]);
        }
        let places = self.registry.places();
        let own = &request.namespace.path;
        Ok(places.iter().filter(|place| place.namespace.path.starts_with(own)).cloned().collect())
    }
}

impl fmt::Debug for LeasePaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeasePaths(..)")
    }
}

fn named<'a>(field: &'a str, in_path: &'a str) -> Result<&'a str, Error> {
    let id = if field.is_empty() { in_path } else { field };
    match id.trim_matches('/') {
        "" => Err(Error::invalid("lease_id must be specified")),
        id => Ok(id),
    }
}

/// A prefix as the path of a folder.
fn folder(prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}

fn waits(sync: Option<&Flag>) -> bool {
    sync.is_none_or(|sync| sync.0)
}

fn done(sync: Option<&Flag>) -> Reply {
    if waits(sync) { Reply::empty() } else { Reply::empty().as_accepted() }
}

fn wanted(kind: &str) -> Result<fn(&Record) -> bool, Error> {
    match kind.to_lowercase().as_str() {
        "" => Ok(|_| true),
        "irrevocable" => Ok(|record| record.irrevocable),
        _ => Err(Error::invalid("'type' must be irrevocable, or left out")),
    }
}

fn limit(limit: &Value) -> Result<usize, Error> {
    let text = match limit {
        Value::Null => return Ok(SHOWN_DEFAULT),
        Value::String(text) if text.is_empty() => return Ok(SHOWN_DEFAULT),
        Value::String(text) if text == "none" => return Ok(usize::MAX),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    let limit = text.parse().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| Error::invalid("limit must be 'none' or a positive integer"))
}

fn shown(id: &str, record: &Record, now: SystemTime) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("id".to_owned(), id.into());
    shown.insert("issue_time".to_owned(), text(from_millis(record.issued)).into());
    shown.insert("expire_time".to_owned(), text(from_millis(record.expires)).into());
    let renewed = record.last_renewal.map(|time| text(from_millis(time)));
    shown.insert("last_renewal".to_owned(), renewed.into());
    shown.insert("renewable".to_owned(), record.renewable.into());
    shown.insert("ttl".to_owned(), left(record, now).as_secs().into());
    if let Some(failure) = &record.failure {
        shown.insert("revoke_error".to_owned(), failure.as_str().into());
        shown.insert("irrevocable".to_owned(), record.irrevocable.into());
    }
    shown
}

fn shown_token(id: &str, token: &Token, now: SystemTime) -> Value {
    json!({
        "id": id,
        "issue_time": text(token.created),
        "expire_time": token.expires.map(text),
        "last_renewal": token.last_renewal.map(text),
        "renewable": token.renewable,
        "ttl": token.remaining(now).unwrap_or_default().as_secs(),
    })
}

fn text(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default()
}
