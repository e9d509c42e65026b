//! The interface of AWS's agent over the store.

use super::{
    Surroundings,
    answer::{self, Answer},
    document,
    guard::Guard,
    operations, query,
    settings::SecretsManager as Settings,
};
use crate::{
    failure::{Cause, Failure},
    store::Held,
};
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, header::WARNING, request::Parts};
use std::{pin::pin, sync::Arc, time::Duration};

/// Says that an answer is old, as its place is away.
const STALE: HeaderValue = HeaderValue::from_static("110 - \"Response is Stale\"");

/// Answers as AWS's agent does.
pub(crate) struct SecretsManager {
    surroundings: Surroundings,
    settings: Settings,
    guard: Guard,
    request_time_max: Duration,
}

impl SecretsManager {
    pub(crate) fn new(
        surroundings: Surroundings,
        settings: Settings,
        guard: Guard,
        request_time_max: Duration,
    ) -> SecretsManager {
        SecretsManager { surroundings, settings, guard, request_time_max }
    }

    /// Answers a request. `crowded` says that there are more connections than there may be.
    pub(crate) async fn answer(&self, head: &Parts, crowded: bool) -> Answer {
        let path = head.uri.path();
        let told = path == "/ping" || path == "/health";
        if crowded && !told {
            return answer::bare(StatusCode::TOO_MANY_REQUESTS, "Connection limit exceeded");
        }
        if !told && let Err(refused) = self.guard.check(&head.uri, &head.headers) {
            return *refused;
        }
        if head.method != Method::GET {
            return answer::bare(StatusCode::METHOD_NOT_ALLOWED, "Not allowed");
        }
        let query = head.uri.query().unwrap_or_default();
        if path.len() + query.len() > query::TARGET_BYTES_MAX {
            let told = format!("path and query are longer than {} bytes", query::TARGET_BYTES_MAX);
            return answer::bare(StatusCode::BAD_REQUEST, told);
        }
        let ask = match path {
            "/ping" => return answer::bare(StatusCode::OK, "healthy"),
            "/secretsmanager/get" => query::of_query(query),
            _ => {
                if let Some(answer) = operations::answer(&self.surroundings, path).await {
                    return answer;
                }
                if !path.starts_with(self.settings.path_prefix.as_str()) {
                    return answer::bare(StatusCode::NOT_FOUND, "Not found");
                }
                query::of_path(&self.settings, path, query)
            }
        };
        match ask {
            Ok(ask) => self.secret(ask).await,
            Err(told) => answer::bare(StatusCode::BAD_REQUEST, told),
        }
    }

    async fn secret(&self, ask: query::Ask) -> Answer {
        let manager = match &ask.role {
            None => &self.settings.manager,
            Some(role) => match self.settings.roles.get(role) {
                Some(manager) => manager,
                None => return unknown_role(role),
            },
        };
        let mut held = pin!(self.surroundings.store.get(manager, &ask.wanted, ask.freshness));
        // What is kept is there at once: it needs no timer.
        let held = match held.as_mut().now_or_never() {
            Some(held) => held,
            None => match tokio::time::timeout(self.request_time_max, held).await {
                Ok(held) => held,
                Err(_) => return told(StatusCode::GATEWAY_TIMEOUT, "TimeoutError", "Timeout"),
            },
        };
        match held {
            Ok(held) => self.given(manager, &held),
            Err(failure) => failed(&failure),
        }
    }

    fn given(&self, manager: &str, held: &Arc<Held>) -> Answer {
        let body = held.shown(|fetched| answer::wiped(document::of_secret(fetched)));
        let mut answer = answer::bare(StatusCode::OK, body);
        if self.is_stale(manager, held) {
            answer.headers_mut().insert(WARNING, STALE);
        }
        answer
    }

    fn is_stale(&self, manager: &str, held: &Held) -> bool {
        let Ok(place) = self.surroundings.store.place(manager) else { return false };
        let serves =
            held.fetched.lease.as_ref().map_or(place.patience.refresh, |lease| lease.duration);
        held.age() > serves
    }
}

fn unknown_role(role: &str) -> Answer {
    let message = format!(
        "roleArn {role:?}: no secret manager of this listener assumes it; add one to the configuration"
    );
    told(StatusCode::BAD_REQUEST, "InvalidParameterException", &message)
}

/// A failure with the status and code that the place gave, or that AWS's agent gives where there is none.
pub(crate) fn failed(failure: &Failure) -> Answer {
    if let Some(status) = failure.status.and_then(|status| StatusCode::from_u16(status).ok())
        && !failure.code.is_empty()
        && (status.is_client_error() || status.is_server_error())
    {
        return told(status, &failure.code, &failure.message);
    }
    let (status, code) = match failure.cause {
        Cause::NotFound => (StatusCode::BAD_REQUEST, "ResourceNotFoundException"),
        Cause::Invalid => (StatusCode::BAD_REQUEST, "InvalidParameterException"),
        Cause::Denied => (StatusCode::BAD_REQUEST, "AccessDeniedException"),
        Cause::Decryption => (StatusCode::BAD_REQUEST, "DecryptionFailure"),
        Cause::Throttled => (StatusCode::BAD_REQUEST, "ThrottlingException"),
        Cause::Credentials => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
        Cause::Unavailable => (StatusCode::BAD_GATEWAY, "ConnectionError"),
    };
    told(status, code, &failure.message)
}

/// An error as AWS's agent 2.1 writes it.
pub(crate) fn told(status: StatusCode, code: &str, message: &str) -> Answer {
    let (code, message) = (serde_json::json!(code), serde_json::json!(message));
    let body = format!("{{\"__type\":{code},\"message\":{message}}}");
    answer::bare(status, body)
}
