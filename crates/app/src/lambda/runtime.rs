//! The runtime API of Lambda: next, response, error, init error.

use bailee_cloud::{EgressRules, HttpClient, HttpLimits, HttpOptions};
use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

const VERSION: &str = "2018-06-01";
/// Between two invocations the function is asleep, for as long as Lambda likes.
const SLEEP_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// What Lambda sends, and what it takes.
const EVENT_BYTES_MAX: usize = 7 << 20;
/// What is told of a failure.
const MESSAGE_BYTES_MAX: usize = 200 << 10;

/// The runtime API at the address that Lambda gave.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeApi {
    http: HttpClient,
    base: String,
}

/// One invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    id: String,
    /// When Lambda ends it.
    pub(crate) deadline: SystemTime,
    /// What it was invoked with.
    pub(crate) event: Value,
}

/// A failed invocation, as Lambda and its metrics see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Its class.
    pub(crate) kind: &'static str,
    /// What happened.
    pub(crate) message: String,
}

/// The runtime API cannot be asked: the function cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the runtime API of Lambda: {0}")]
pub(crate) struct Unusable(String);

/// Answers invocations until the runtime API fails.
pub(crate) async fn serve(
    api: &RuntimeApi,
    mut answer: impl AsyncFnMut(Invocation) -> Result<Value, Fault>,
) -> Unusable {
    loop {
        let invocation = match api.next().await {
            Ok(invocation) => invocation,
            Err(unusable) => return unusable,
        };
        let id = invocation.id.clone();
        let told = match answer(invocation).await {
            Ok(result) => api.respond(&id, &result).await,
            Err(fault) => api.fail(&id, &fault).await,
        };
        if let Err(unusable) = told {
            return unusable;
        }
    }
}

impl RuntimeApi {
    /// At a host and port, which Lambda's environment names: as with the credentials of a machine,
    /// the rules for what leaves do not concern it.
    pub(crate) fn at(address: &str) -> RuntimeApi {
        let rules = EgressRules { disable_strict_networking: true, ..EgressRules::default() };
        let limits = HttpLimits {
            header_timeout: SLEEP_MAX,
            total_timeout: SLEEP_MAX,
            response_bytes_max: EVENT_BYTES_MAX,
            ..HttpLimits::default()
        };
        let http = HttpClient::new(HttpOptions { rules, limits, ..HttpOptions::default() });
        RuntimeApi { http, base: format!("http://{address}/{VERSION}/runtime") }
    }

    async fn next(&self) -> Result<Invocation, Unusable> {
        let answer = self.send(Method::GET, "invocation/next", Bytes::new(), None).await?;
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let id = header("lambda-runtime-aws-request-id").filter(|id| is_id(id));
        let id = id.ok_or_else(|| Unusable("an invocation has no request id".to_owned()))?;
        let deadline = header("lambda-runtime-deadline-ms").and_then(|time| time.parse().ok());
        Ok(Invocation {
            id: id.to_owned(),
            deadline: bailee_crypto::clock::from_millis(deadline.unwrap_or(u64::MAX / 2_000_000)),
            // What it is invoked with says nothing to us: the schedule's event, or a test's.
            event: serde_json::from_slice(answer.body()).unwrap_or_default(),
        })
    }

    async fn respond(&self, id: &str, result: &Value) -> Result<(), Unusable> {
        let body = Bytes::from(result.to_string());
        self.send(Method::POST, &format!("invocation/{id}/response"), body, None).await.map(drop)
    }

    async fn fail(&self, id: &str, fault: &Fault) -> Result<(), Unusable> {
        self.tell(&format!("invocation/{id}/error"), fault).await
    }

    /// Tells that the function cannot be started at all.
    pub(crate) async fn fail_at_start(&self, fault: &Fault) -> Result<(), Unusable> {
        self.tell("init/error", fault).await
    }

    async fn tell(&self, path: &str, fault: &Fault) -> Result<(), Unusable> {
        let end = fault.message.floor_char_boundary(MESSAGE_BYTES_MAX);
        let body = json!({
            "errorType": fault.kind,
            "errorMessage": fault.message.get(..end).unwrap_or_default(),
            "stackTrace": [],
        });
        self.send(Method::POST, path, Bytes::from(body.to_string()), Some(fault.kind))
            .await
            .map(drop)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        fault: Option<&str>,
    ) -> Result<Response<Bytes>, Unusable> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/{path}", self.base))
            .header("content-type", "application/json");
        if let Some(kind) = fault {
            request = request.header("lambda-runtime-function-error-type", kind);
        }
        let request = request.body(body).map_err(|error| Unusable(error.to_string()))?;
        let answer = self.http.send(request).await.map_err(|error| Unusable(error.to_string()))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(Unusable(format!("{path}: it answered {}", status.as_u16()))),
        }
    }
}

/// It becomes a part of a path.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing;
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[tokio::test]
    async fn an_api_that_fails_ends_the_loop() {
        let (address, asked) = testing::server(vec![(500, Value::Null)]).await;
        let api = RuntimeApi::at(address.trim_start_matches("http://"));
        let unusable = serve(&api, async |_| Ok(Value::Null)).await;
        assert!(unusable.to_string().contains("it answered 500"), "{unusable}");
        assert_eq!(asked.text(), "GET /2018-06-01/runtime/invocation/next\n");
    }

    #[tokio::test]
    async fn a_request_id_that_leads_elsewhere_is_not_followed() {
        assert!(is_id("8476a536-e9f4-11e8-9739-2dfe598c3fcd"));
        assert!(!is_id("") && !is_id("a/../b"));
        let (address, _) = testing::server(vec![(200, json!({}))]).await;
        let api = RuntimeApi::at(address.trim_start_matches("http://"));
        let answered = Arc::new(Mutex::new(0));
        let count = answered.clone();
        let unusable = serve(&api, async move |_| {
            *count.lock() += 1;
            Ok(Value::Null)
        })
        .await;
        assert!(unusable.to_string().contains("no request id"), "{unusable}");
        assert_eq!(*answered.lock(), 0);
    }

    #[tokio::test]
    async fn a_function_that_cannot_start_says_so() {
        let (address, asked) = testing::server(vec![(202, Value::Null)]).await;
        let api = RuntimeApi::at(address.trim_start_matches("http://"));
        let message = "\u{e4}".repeat(MESSAGE_BYTES_MAX);
        let fault = Fault { kind: "Configuration", message };
        api.fail_at_start(&fault).await.unwrap();
        let asked = asked.text();
        assert!(asked.starts_with("POST /2018-06-01/runtime/init/error {\"errorMessage\":\""));
        assert!(asked.len() < MESSAGE_BYTES_MAX + 200, "{}", asked.len());
    }
}
