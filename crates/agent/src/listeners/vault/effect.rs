//! What a request that changes something makes old of what is kept.

use super::{
    login,
    question::{Question, Token},
};
use bailee_crypto::Sensitive;

/// The parts of a KV engine of version 2 that show one secret.
const SHOWN_AT: [&str; 6] = ["data", "metadata", "subkeys", "delete", "undelete", "destroy"];
/// Below `sys/`, what changes nothing that is kept.
const HARMLESS: [&str; 9] = [
    "leases/renew",
    "leases/lookup",
    "renew",
    "wrapping/",
    "capabilities",
    "tools/",
    "audit-hash/",
    "internal/",
    "sync/",
];

/// What a change makes old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Nothing,
    /// What was read at these paths, namespaces included.
    Paths(Vec<String>),
    /// All that was asked for at paths that begin so.
    Below(String),
    /// What is under this lease.
    Lease(String),
    /// What is under leases that begin so.
    Leases(String),
    /// What was asked for with this token, or with one that it made, and the login that gave it.
    Token(Sensitive<String>),
    /// Logins at the mount that this path is below.
    Logins(String),
    /// Everything.
    All,
}

/// What a request changes.
pub(crate) fn of(question: &Question) -> Effect {
    if question.is_read() {
        return Effect::Nothing;
    }
    let full = question.full_path();
    let parts: Vec<&str> = full.split('/').collect();
    let kv = parts.iter().position(|part| SHOWN_AT.contains(part));
    let of_server = parts.iter().position(|part| *part == "sys" || *part == "auth");
    match of_server {
        // A folder of a KV engine may be called so, too.
        Some(at) if kv.is_none_or(|kv| at < kv) => {
            let rest = parts.get(at + 1..).unwrap_or_default().join("/");
            match parts.get(at) {
                Some(&"sys") => of_sys(question, &rest),
                _ => of_auth(question, &full, &rest),
            }
        }
        _ => Effect::Paths(paths(&parts)),
    }
}

/// All paths that show what is changed at one.
fn paths(parts: &[&str]) -> Vec<String> {
    let mut paths = vec![parts.join("/")];
    for (at, part) in parts.iter().enumerate() {
        if !SHOWN_AT.contains(part) {
            continue;
        }
        for other in SHOWN_AT.iter().filter(|other| *other != part) {
            let mut parts = parts.to_vec();
            if let Some(place) = parts.get_mut(at) {
                *place = other;
            }
            paths.push(parts.join("/"));
        }
    }
    paths
}

fn of_sys(question: &Question, rest: &str) -> Effect {
    let below = rest.strip_prefix("leases/").unwrap_or(rest);
    for prefix in ["revoke-prefix/", "revoke-force/"] {
        if let Some(leases) = below.strip_prefix(prefix) {
            return Effect::Leases(leases.to_owned());
        }
    }
    if below == "revoke" || below.starts_with("revoke/") {
        let in_path = below.strip_prefix("revoke/").map(str::to_owned);
        let lease = in_path.or_else(|| question.field("lease_id").map(|id| id.expose().clone()));
        return lease.map_or(Effect::Nothing, Effect::Lease);
    }
    if HARMLESS.iter().any(|harmless| rest.starts_with(harmless)) {
        return Effect::Nothing;
    }
    Effect::All
}

fn of_auth(question: &Question, full: &str, rest: &str) -> Effect {
    match rest {
        "token/revoke-self" => match &question.token {
            Token::Own(token) => Effect::Token(token.clone()),
            Token::Agent | Token::None => Effect::All,
        },
        "token/revoke" | "token/revoke-orphan" => {
            question.field("token").map_or(Effect::Nothing, Effect::Token)
        }
        // Whose accessor it is, nobody here knows.
        "token/revoke-accessor" => Effect::All,
        _ if rest.starts_with("token/") || login::door(full).is_some() => Effect::Nothing,
        // As where a role, a password or a secret id is changed.
        _ => Effect::Logins(full.to_owned()),
    }
}
