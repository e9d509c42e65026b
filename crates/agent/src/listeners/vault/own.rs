//! The paths of the agent's own: clearing what is kept, as with Vault's agent, and how the agent fares.

use super::{Proxy, effect::Effect, question::refusal};
use crate::listeners::{
    answer::{self, Answer},
    operations,
};
use bailee_crypto::Sensitive;
use http::{Method, StatusCode};
use serde::Deserialize;

/// What is to be cleared.
#[derive(Deserialize)]
struct Clear {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    value: Sensitive<String>,
    #[serde(default)]
    namespace: String,
}

impl Proxy {
    /// Answers at a path below `/agent/`.
    pub(super) async fn own(&self, method: &Method, path: &str, body: &[u8]) -> Answer {
        let of_agent = match path {
            "v1/cache-clear" => return self.clear(method, body),
            "v1/metrics" => "/metrics",
            // It names secrets, so not for whoever is on this machine.
            "status" if self.guard.is_closed() => "/agent/status",
            _ => "",
        };
        if method != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation");
        }
        let answer = operations::answer(&self.surroundings, of_agent).await;
        answer.unwrap_or_else(|| {
            let told = "there is nothing but cache-clear and metrics below /agent/v1/";
            refusal(StatusCode::NOT_FOUND, told)
        })
    }

    fn clear(&self, method: &Method, body: &[u8]) -> Answer {
        if method != Method::POST && method != Method::PUT {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation");
        }
        let Ok(clear) = serde_json::from_slice::<Clear>(body) else {
            return refusal(StatusCode::BAD_REQUEST, "failed to parse JSON input");
        };
        match clear.effect() {
            Ok(effect) => {
                self.cache.throw(&effect);
                answer::bare(StatusCode::OK, "")
            }
            Err(reason) => refusal(StatusCode::BAD_REQUEST, &reason),
        }
    }
}

impl Clear {
    fn effect(self) -> Result<Effect, String> {
        if self.kind != "all" && self.value.expose().is_empty() {
            return Err("value: is missing".to_owned());
        }
        let value = || self.value.expose().clone();
        Ok(match self.kind.as_str() {
            "all" => Effect::All,
            "lease" => Effect::Lease(value()),
            "token" => Effect::Token(self.value.clone()),
            // Whose accessor it is, nobody here knows.
            "token_accessor" => Effect::All,
            "request_path" => {
                let path = self.value.expose().trim_matches('/');
                let path = path.strip_prefix("v1/").unwrap_or(path);
                match self.namespace.trim_matches('/') {
                    "" => Effect::Below(path.to_owned()),
                    namespace => Effect::Below(format!("{namespace}/{path}")),
                }
            }
            _ => {
                return Err(
                    "type: is one of all, request_path, lease, token and token_accessor".to_owned()
                );
            }
        })
    }
}
