//! Tokens as they are shown.

use super::Token;
use bailee_sdk::{Cidr, Sensitive, request::Issued};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// What a lookup shows.
#[derive(Serialize)]
pub(crate) struct Shown<'a> {
    accessor: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_cidrs: Option<Vec<String>>,
    creation_time: u64,
    creation_ttl: u64,
    display_name: &'a str,
    entity_id: &'a str,
    expire_time: Option<String>,
    explicit_max_ttl: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_namespace_policies: Option<BTreeMap<&'a str, &'a [String]>>,
    id: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    identity_policies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    issue_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_renewal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_renewal_time: Option<u64>,
    meta: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_path: Option<&'a str>,
    num_uses: i64,
    orphan: bool,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    policies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    renewable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    ttl: u64,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl<'a> Shown<'a> {
    /// `id`: the token's text, empty where it is not known.
    pub(crate) fn of(token: &'a Token, id: &'a str, now: SystemTime) -> Shown<'a> {
        // The first root token stands for no lease: nothing can be said of one.
        let leased = token.path != "auth/token/root";
        let left = i64::try_from(token.num_uses).unwrap_or(i64::MAX);
        Shown {
            accessor: &token.accessor,
            bound_cidrs: (!token.bound_cidrs.is_empty())
                .then(|| token.bound_cidrs.iter().map(Cidr::to_string).collect()),
            creation_time: unix(token.created),
            creation_ttl: token.creation_ttl.as_secs(),
            display_name: &token.display_name,
            entity_id: token.entity_id.as_deref().unwrap_or_default(),
            expire_time: token.expires.map(text),
            explicit_max_ttl: token.explicit_max_ttl.as_secs(),
            external_namespace_policies: None,
            id,
            identity_policies: &[],
            issue_time: leased.then(|| text(token.created)),
            last_renewal: token.last_renewal.map(text),
            last_renewal_time: token.last_renewal.map(unix),
            meta: (!token.meta.is_empty()).then_some(&token.meta),
            namespace_path: (!token.namespace.is_root()).then_some(token.namespace.path.as_str()),
            num_uses: if token.used_up { -1 } else { left },
            orphan: token.orphan,
            path: &token.path,
            period: (!token.period.is_zero()).then_some(token.period.as_secs()),
            policies: &token.policies,
            renewable: leased.then_some(token.renewable),
            role: token.role.as_deref(),
            ttl: token.remaining(now).unwrap_or_default().as_secs(),
            kind: token.kind.name(),
        }
    }

    /// The same with the policies that the entity behind the token adds.
    pub(crate) fn with_identity(mut self, policies: &'a [String]) -> Shown<'a> {
        self.identity_policies = policies;
        // Entities have no policies outside their own namespace.
        self.external_namespace_policies = (!policies.is_empty()).then(BTreeMap::new);
        self
    }
}

/// A token as its owner sees it when it is made or prolonged.
pub(crate) fn issued(token: &Token, secret: Sensitive<String>, ttl: Duration) -> Issued {
    Issued {
        client_token: secret,
        accessor: token.accessor.clone(),
        policies: token.policies.clone(),
        token_policies: token.policies.clone(),
        identity_policies: Vec::new(),
        metadata: token.meta.clone(),
        ttl,
        renewable: token.renewable,
        entity_id: token.entity_id.clone().unwrap_or_default(),
        token_type: token.kind.name(),
        orphan: token.orphan,
        num_uses: token.num_uses,
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The form of RFC 3339; empty for a time no calendar holds.
fn text(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default()
}
