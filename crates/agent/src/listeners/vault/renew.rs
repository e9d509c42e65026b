//! Keeping leases, and tokens of logins, alive until they come to their end.

use super::{
    Proxy,
    cache::Kept,
    kind::Kind,
    question::{Key, Token},
};
use bailee_client::{Error, Method, Outgoing, Response};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// The time between two looks at what is due.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// The share of its duration below which a renewed lease has come to its end.
const RENEWED_SHARE_MIN: f64 = 0.5;

/// What was renewed: a token tells of itself in `auth`, a lease beside it.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(flatten)]
    lease: Renewed,
    #[serde(default)]
    auth: Option<Renewed>,
}

#[derive(Default, Deserialize)]
struct Renewed {
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

/// The request in the namespace of what it is about.
pub(super) fn in_namespace(outgoing: Outgoing, namespace: &str) -> Outgoing {
    if namespace.is_empty() {
        return outgoing;
    }
    outgoing.header("X-Vault-Namespace", namespace.to_owned())
}

impl Proxy {
    /// Renews what is due, for ever: drop it to end.
    pub(crate) async fn keep_leases(&self) {
        loop {
            tokio::time::sleep(LOOK_TIME).await;
            self.renew_due().await;
        }
    }

    /// Renews what is due, once. What the server does not know any more is thrown away.
    pub(super) async fn renew_due(&self) {
        for (key, kept) in self.cache.due(Instant::now()) {
            let (outgoing, duration) = match &kept.kind {
                Kind::Kv => continue,
                Kind::Leased { id, duration, .. } => {
                    let body = json!({"lease_id": id, "increment": duration.as_secs()});
                    (Outgoing::new(Method::Put, "sys/leases/renew").json(&body), *duration)
                }
                Kind::Login { duration, .. } => {
                    let body = json!({"increment": duration.as_secs()});
                    (Outgoing::new(Method::Put, "auth/token/renew-self").json(&body), *duration)
                }
            };
            match self.renewed(&kept, outgoing).await {
                Ok(response) => self.holds(&key, duration, &response),
                // Nobody knows it, or the token that it hangs on has ended.
                Err(Error::Refused { response, .. }) if (400..=404).contains(&response.status) => {
                    self.cache.remove(&key);
                }
                // Another time; it serves as long as it holds.
                Err(_) => {}
            }
        }
    }

    async fn renewed(&self, kept: &Kept, outgoing: Outgoing) -> Result<Response, Error> {
        let session = &self.settings.session;
        let outgoing = in_namespace(outgoing, &kept.namespace);
        match &kept.token {
            Token::Own(token) => {
                session.client().clone().with_token(Some(token.clone())).send(outgoing).await
            }
            Token::Agent | Token::None => session.send(outgoing).await,
        }
    }

    fn holds(&self, key: &Key, duration: Duration, response: &Response) {
        let answer: Answer = serde_json::from_slice(response.bytes()).unwrap_or_default();
        let Renewed { lease_duration, renewable } = answer.auth.unwrap_or(answer.lease);
        let holds = Duration::from_secs(lease_duration);
        let lasts = holds.as_secs_f64() >= duration.as_secs_f64() * RENEWED_SHARE_MIN;
        self.cache.renewed(key, Instant::now(), holds, renewable && lasts);
    }
}
