//! Logins: one that is repeated is answered with the token that it gave before.
//!
//! Only the server knows whether a login may be repeated: a secret id may be good for one use, and may have been
//! destroyed since. So a login that is repeated for the first time, or for the first time after a while, goes to the
//! server, too. What the server refuses is refused. What it takes is answered with the first token, where that holds
//! on with the same rights, and the token that it made for the question is given back at once.

use super::{
    Proxy,
    ask::Whole,
    cache::{Kept, State},
    kind::Kind,
    question::{Key, Question, Token},
    renew::in_namespace,
};
use crate::listeners::answer::{self, Answer};
use bailee_client::{Method, Outgoing, Response};
use bailee_crypto::Sensitive;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Fields that only logins of machines have: a secret id and a signed token can be shown again. A password stands for
/// a person, who may be asked for more than is in the request.
const PROOFS: [&str; 2] = ["role_id", "jwt"];
/// How long the server is asked about a token, or to take one back.
const ASK_TIME_MAX: Duration = Duration::from_secs(5);

/// Where somebody logs in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Door {
    /// The namespace, to which tokens from there belong.
    pub(super) namespace: String,
    /// The mount with its namespace, and a slash at its end.
    pub(super) mount: String,
}

/// What a path is a door of, namespace included: `auth/MOUNT/login`, or `auth/MOUNT/login/NAME`.
pub(super) fn door(path: &str) -> Option<Door> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let auth = parts.iter().position(|part| *part == "auth")?;
    let at = parts.iter().rposition(|part| *part == "login")?;
    let joined = |to: usize| parts.get(..to).unwrap_or_default().join("/");
    let is_door = auth + 1 < at && at + 2 >= parts.len();
    is_door.then(|| Door { namespace: joined(auth), mount: format!("{}/", joined(at)) })
}

impl Question {
    /// Whether it is a login whose answer may be kept.
    pub(super) fn is_login(&self) -> bool {
        let shows = |name: &&str| self.field(name).is_some_and(|proof| !proof.expose().is_empty());
        // A second factor in a header is good for one time.
        let at_door = !self.is_read() && door(&self.path).is_some() && !self.has_factor();
        at_door && PROOFS.iter().any(shows)
    }
}

/// What a login gave.
pub(super) struct Entered {
    pub(super) token: Sensitive<String>,
    pub(super) kind: Kind,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    auth: Auth<'a>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    client_token: Sensitive<String>,
    /// As it is written, so that its place in the answer is known.
    #[serde(borrow)]
    lease_duration: &'a RawValue,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    num_uses: i64,
}

/// What a token is good for, as far as an answer to a login tells.
#[derive(Default, Deserialize, PartialEq)]
#[serde(default)]
struct Rights {
    policies: Option<BTreeSet<String>>,
    token_policies: Option<BTreeSet<String>>,
    identity_policies: Option<BTreeSet<String>>,
    metadata: Option<BTreeMap<String, Value>>,
    entity_id: String,
    token_type: String,
    orphan: bool,
}

/// Whether two answers to a login give the same rights: a role, or who somebody is, may have changed in between.
fn same_rights(before: &[u8], now: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        auth: Rights,
    }
    let rights = |body| serde_json::from_slice(body).ok().map(|Answer { auth }| auth);
    rights(before).is_some_and(|before| rights(now) == Some(before))
}

/// What an answer to a login holds; `None` where it is not to be kept: there is no token, it has no end, or is good
/// for so many uses, which callers would take from each other.
pub(super) fn entered(body: &[u8]) -> Option<Entered> {
    let Envelope { auth } = serde_json::from_slice(body).ok()?;
    let seconds: u64 = auth.lease_duration.get().parse().ok()?;
    if auth.client_token.expose().is_empty() || seconds == 0 || auth.num_uses != 0 {
        return None;
    }
    let duration = Duration::from_secs(seconds);
    let kind = Kind::Login { duration, renewable: auth.renewable, taken_at: None };
    Some(Entered { token: auth.client_token, kind })
}

/// The answer with the time that its token has now: whoever gets it goes by that.
pub(super) fn with_time_left(body: &Bytes, left: Duration) -> Bytes {
    let Ok(Envelope { auth }) = serde_json::from_slice(body) else { return body.clone() };
    let written = auth.lease_duration.get();
    let at = (written.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
    let (Some(before), Some(after)) = (body.get(..at), body.get(at + written.len()..)) else {
        return body.clone();
    };
    let left = left.as_secs().to_string();
    let mut whole = Zeroizing::new(Vec::with_capacity(body.len() + left.len()));
    whole.extend_from_slice(before);
    whole.extend_from_slice(left.as_bytes());
    whole.extend_from_slice(after);
    answer::wiped(whole)
}

impl Proxy {
    /// Answers a login that was repeated and that the server took again: with the token from before where that
    /// holds on and gives the rights that a login gives now, else with the new one.
    pub(super) async fn repeated(
        &self,
        question: &Question,
        key: Key,
        kept: &Kept,
        answered: Whole,
        thrown: u64,
    ) -> Answer {
        let Some(fresh) = entered(answered.body()) else {
            self.cache.refused(&key);
            return answered.given(question);
        };
        let look = Outgoing::new(Method::Get, "auth/token/lookup-self");
        let holds_on = match &kept.token {
            Token::Own(token) if same_rights(&kept.body, answered.body()) => {
                self.told(token, &kept.namespace, look).await.is_some()
            }
            Token::Own(_) | Token::Agent | Token::None => false,
        };
        if !holds_on {
            self.note(question, key, None, &answered, thrown);
            return answered.given(question);
        }
        let leave = Outgoing::new(Method::Post, "auth/token/revoke-self").json(&json!({}));
        // Where that fails it ends by itself.
        drop(self.told(&fresh.token, &kept.namespace, leave).await);
        self.cache.taken(&key, Instant::now());
        self.given(kept, State::Fresh)
    }

    /// What the server answers about a token of a login, where it does in time.
    async fn told(
        &self,
        token: &Sensitive<String>,
        namespace: &str,
        outgoing: Outgoing,
    ) -> Option<Response> {
        let client = self.settings.session.client().clone().with_token(Some(token.clone()));
        let asking = client.send(in_namespace(outgoing, namespace));
        tokio::time::timeout(ASK_TIME_MAX, asking).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_told_from_what_only_has_such_a_name() {
        for (path, door_is) in [
            ("auth/approle/login", Some(("", "auth/approle/"))),
            ("auth/team/jwt/login", Some(("", "auth/team/jwt/"))),
            ("/a/b/auth/ldap//login/me", Some(("a/b", "a/b/auth/ldap/"))),
            ("auth/approle/role/login/secret-id/destroy", None),
            ("auth/login", None),
            ("auth/oidc/oidc/callback", None),
            ("secret/data/login", None),
            ("auth/token/create", None),
        ] {
            let found = door(path);
            let found = found.as_ref().map(|door| (door.namespace.as_str(), door.mount.as_str()));
            assert_eq!(found, door_is, "{path}");
        }
    }

    #[test]
    fn an_answer_tells_the_time_that_is_left_and_is_the_same_otherwise() {
        let body = r#"{"lease_duration":0,"auth":{"client_token":"t","lease_duration": 3600,"renewable":true}}"#;
        let told = with_time_left(&Bytes::from(body), Duration::from_millis(59_900));
        assert_eq!(told, body.replace("3600", "59"));
        for other in ["", "no json", r#"{"auth":null}"#] {
            assert_eq!(with_time_left(&Bytes::from(other), Duration::ZERO), other);
        }
    }

    #[test]
    fn what_is_no_token_with_an_end_is_not_kept() {
        let auth = |fields: &str| format!(r#"{{"auth":{{{fields}}}}}"#);
        assert!(entered(auth(r#""client_token":"t","lease_duration":60"#).as_bytes()).is_some());
        for fields in [
            r#""client_token":"","lease_duration":60,"mfa_requirement":{}"#,
            r#""client_token":"t","lease_duration":0"#,
            r#""client_token":"t","lease_duration":60,"num_uses":2"#,
        ] {
            assert!(entered(auth(fields).as_bytes()).is_none(), "{fields}");
        }
        assert!(entered(br#"{"auth":null,"wrap_info":{"token":"t"}}"#).is_none());
    }
}
