//! A token as it is stored.
//!
//! Below `n/<namespace>/token/`: `id/<code>` holds what never changes but for revocation and the
//! loss of the parent, `state/<code>` what renewal and use change, `accessor/<code>` leads from an
//! accessor to its token, `child/<parent>/<id>` from a token to those it made,
//! `login/<mount>/<code>` from an auth mount to its logins, and `due/<milliseconds>.<code>` tells the
//! order in which they end.

use super::{Token, TokenId, kind::Kind};
use bailee_barrier::{Error, Revision, View};
use bailee_crypto::clock::{from_millis, to_millis};
use bailee_sdk::{Cidr, Namespace, Sensitive, cidr};
use serde::{Deserialize, Serialize, Serializer};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// What of a token does not change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) accessor: String,
    pub(crate) policies: Vec<String>,
    pub(crate) parent: Option<String>,
    pub(crate) depth: u32,
    pub(crate) namespace_path: String,
    pub(crate) display_name: String,
    pub(crate) path: String,
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) created: u64,
    pub(crate) creation_ttl: u64,
    pub(crate) explicit_max_ttl: u64,
    pub(crate) max_ttl: u64,
    pub(crate) period: u64,
    pub(crate) renewable: bool,
    pub(crate) entity_id: Option<String>,
    #[serde(serialize_with = "exposed")]
    pub(crate) internal: Option<Sensitive<String>>,
    #[serde(default, skip_serializing_if = "Origin::is_plain")]
    pub(crate) origin: Origin,
    /// Revoked or expired: it and all below it are dead, and wait to be cleared away.
    pub(crate) ended: bool,
}

/// What made a token, if not just another token, and where it may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The role it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// The id of the auth mount whose login it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mount: Option<String>,
    /// Blocks of addresses from which it can be used; none for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) bound_cidrs: Vec<String>,
}

impl Origin {
    pub(crate) fn of(role: Option<String>, mount: Option<String>, blocks: &[Cidr]) -> Origin {
        Origin { role, mount, bound_cidrs: blocks.iter().map(Cidr::to_string).collect() }
    }

    pub(crate) fn is_plain(&self) -> bool {
        *self == Origin::default()
    }

    /// The blocks of addresses.
    pub(crate) fn blocks(&self) -> Result<Vec<Cidr>, Error> {
        // One that does not parse must not be left out: the token could be used everywhere.
        cidr::parse_all(&self.bound_cidrs)
            .map_err(|_| Error::Corrupt("a token's blocks of addresses do not parse".to_owned()))
    }
}

/// What of a token changes. Times are milliseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) expires: Option<u64>,
    pub(crate) ttl: u64,
    pub(crate) last_renewal: Option<u64>,
    pub(crate) num_uses: u64,
    pub(crate) used_up: bool,
    /// When what is left of it is cleared away, if that is before its end.
    pub(crate) cleared: Option<u64>,
}

/// Where an accessor leads.
#[derive(Serialize, Deserialize)]
pub(crate) struct Accessor {
    pub(crate) accessor: String,
    pub(crate) token: String,
}

/// Both parts of a token, and the commits that wrote them.
pub(crate) struct Stored {
    pub(crate) record: Record,
    pub(crate) record_revision: Option<Revision>,
    pub(crate) state: State,
    pub(crate) state_revision: Option<Revision>,
}

impl Stored {
    /// Reads a token; `view` may be on any place.
    pub(crate) async fn read(view: &View, id: &TokenId) -> Result<Option<Stored>, Error> {
        let view = view.at(&id.place());
        let Some((record, record_revision)) = view.get_at(&record_key(id)).await? else {
            return Ok(None);
        };
        let Some((state, state_revision)) = view.get_at(&state_key(id)).await? else {
            return Ok(None);
        };
        Ok(Some(Stored { record, record_revision, state, state_revision }))
    }

    /// The commit fails unless the token is still as it was read.
    pub(crate) fn guard(&self, view: &View, id: &TokenId) {
        let view = view.at(&id.place());
        if let Some(revision) = self.record_revision {
            view.expect(&record_key(id), revision);
        }
        if let Some(revision) = self.state_revision {
            view.expect(&state_key(id), revision);
        }
    }

    /// Replaces the state, and its place in the order of ends.
    pub(crate) fn change_state(&self, view: &View, id: &TokenId, state: &State) {
        let view = view.at(&id.place());
        if let Some(key) = self.state.due_key(id) {
            view.delete(&key);
        }
        put_state(&view, id, state);
    }

    /// The token in the form that requests carry.
    pub(crate) fn token(self, id: &TokenId) -> Result<Token, Error> {
        let Stored { record, state, .. } = self;
        let namespace_id = id.namespace_id().to_owned();
        let bound_cidrs = record.origin.blocks()?;
        Ok(Token {
            id: id.clone(),
            kind: Kind::Service,
            namespace: Namespace { id: namespace_id, path: record.namespace_path },
            accessor: record.accessor,
            policies: record.policies,
            orphan: record.parent.is_none(),
            parent: record.parent.as_deref().map(TokenId::from_text),
            display_name: record.display_name,
            path: record.path,
            meta: record.meta,
            created: from_millis(record.created),
            creation_ttl: Duration::from_millis(record.creation_ttl),
            ttl: Duration::from_millis(state.ttl),
            expires: state.expires.map(from_millis),
            last_renewal: state.last_renewal.map(from_millis),
            explicit_max_ttl: Duration::from_millis(record.explicit_max_ttl),
            period: Duration::from_millis(record.period),
            num_uses: state.num_uses,
            used_up: state.used_up,
            renewable: record.renewable,
            entity_id: record.entity_id,
            internal: record.internal,
            role: record.origin.role,
            mount: record.origin.mount,
            bound_cidrs,
        })
    }
}

impl State {
    /// Its place in the order of ends; none for a token that lasts for ever.
    pub(crate) fn due_key(&self, id: &TokenId) -> Option<String> {
        let due = self.cleared.or(self.expires)?;
        Some(format!("due/{:016}.{}", due.min(9_999_999_999_999_999), id.code()))
    }

    /// Whether it is over at `now`, in milliseconds.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// When an entry of `due/` is due, and the code of its token.
pub(crate) fn parse_due(name: &str) -> Option<(u64, &str)> {
    let (due, code) = name.split_once('.')?;
    Some((due.parse().ok()?, code))
}

/// Stores a state; the place it had before is not touched. `view` is on the token's place.
pub(crate) fn put_state(view: &View, id: &TokenId, state: &State) {
    view.put(&state_key(id), state);
    if let Some(key) = state.due_key(id) {
        view.put(&key, &());
    }
}

pub(crate) fn record_key(id: &TokenId) -> String {
    format!("id/{}", id.code())
}

pub(crate) fn state_key(id: &TokenId) -> String {
    format!("state/{}", id.code())
}

/// Below the parent's place.
pub(crate) fn child_key(parent: &TokenId, child: &TokenId) -> String {
    format!("child/{}/{}", parent.code(), child.as_str())
}

/// Below the token's own place: the tokens that the logins of an auth mount are.
pub(crate) fn login_key(mount: &str, id: &TokenId) -> String {
    format!("login/{mount}/{}", id.code())
}

/// A time span as it is stored: milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// When a span that begins at `start` ends, not before it has passed whole.
pub(crate) fn end_of(start: SystemTime, span: Duration) -> u64 {
    let begun = u64::from(from_millis(to_millis(start)) < start);
    to_millis(start).saturating_add(begun).saturating_add(millis(span))
}

fn exposed<S: Serializer>(
    secret: &Option<Sensitive<String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|secret| secret.expose().as_str()).serialize(serializer)
}
