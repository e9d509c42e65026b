//! A webhook, signed in the form of the Standard Webhooks specification: HMAC-SHA256 over the id, the
//! time and the body, so that whoever receives it knows that it comes from us, is new and is whole.

use super::{Notify, Runs};
use crate::{
    destinations::aws_secrets_manager::errors::failed,
    failure::{Error, Failure},
    pull::report::{Outcome, Results, RunReport},
};
use async_trait::async_trait;
use bailee_cloud::{CloudError, query::Transport};
use bailee_crypto::{Clock, Sensitive, mac::MacKey};
use base64::{Engine, prelude::BASE64_STANDARD as STANDARD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use serde_json::{Value, json};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// Entries of a list in the body; a number says how many more there are.
const ENTRIES_MAX: usize = 500;
/// A key's bytes, as the specification bounds them.
const KEY_BYTES_MIN: usize = 24;
const KEY_BYTES_MAX: usize = 64;
/// Keys that sign at once, while one takes the place of another.
const KEYS_MAX: usize = 3;

/// Why there is no webhook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhook {
    /// The URL is none to send to.
    #[error(
        "the URL of the webhook must begin with https:// (http:// only for this machine), without \
         credentials in it"
    )]
    Url,
    /// The key is none to sign with.
    #[error(
        "a key of the webhook is whsec_ and the base64 of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} random \
         bytes, such as of `openssl rand -base64 32`; at most {KEYS_MAX} keys, separated by spaces"
    )]
    Key,
}

/// The keys that sign: one, or while it is replaced, the new and the old.
pub struct WebhookKeys(Vec<MacKey>);

impl WebhookKeys {
    /// Reads `whsec_…`, several separated by spaces.
    ///
    /// # Errors
    /// What a key looks like, without what was given.
    pub fn parse(text: &Sensitive<String>) -> Result<WebhookKeys, InvalidWebhook> {
        let mut keys = Vec::new();
        for word in text.expose().split_whitespace() {
            let bytes = word.strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
            let bytes = Zeroizing::new(bytes.ok_or(InvalidWebhook::Key)?);
            if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len()) {
                return Err(InvalidWebhook::Key);
            }
            keys.push(MacKey::new(&bytes));
        }
        if (1..=KEYS_MAX).contains(&keys.len()) {
            Ok(WebhookKeys(keys))
        } else {
            Err(InvalidWebhook::Key)
        }
    }

    fn signatures(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        let signature = |key: &MacKey| format!("v1,{}", STANDARD.encode(key.sign(&parts)));
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for WebhookKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookKeys({})", self.0.len())
    }
}

/// A webhook that is told of runs.
pub struct Webhook {
    url: Uri,
    keys: WebhookKeys,
    runs: Runs,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// A webhook; nothing is called. `transport` is the guarded client.
    ///
    /// # Errors
    /// The URL is none to send to.
    pub fn new(
        url: &str,
        keys: WebhookKeys,
        runs: Runs,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Webhook, InvalidWebhook> {
        let url: Uri = url.parse().map_err(|_| InvalidWebhook::Url)?;
        let authority = url.authority().ok_or(InvalidWebhook::Url)?;
        let loopback = is_loopback(authority.host());
        match url.scheme_str() {
            Some("https") => {}
            Some("http") if loopback => {}
            _ => return Err(InvalidWebhook::Url),
        }
        if authority.as_str().contains('@') {
            return Err(InvalidWebhook::Url);
        }
        Ok(Webhook { url, keys, runs, transport, clock })
    }

    fn request(&self, report: &RunReport) -> Result<Request<Bytes>, Error> {
        let body = event(report).to_string().into_bytes();
        // One run is one message, however often it is sent.
        let id = format!("msg_{}", report.run);
        let now = self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let timestamp = now.as_secs().to_string();
        let signatures = self.keys.signatures(&id, &timestamp, &body);
        Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("bailee/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures)
            .body(Bytes::from(body))
            .map_err(|_| Error::new(Failure::Internal, "the notice cannot be written down"))
    }
}

#[async_trait]
impl Notify for Webhook {
    /// Without the path: webhooks of chat services have their secret in it.
    fn name(&self) -> String {
        format!("webhook at {}", self.url.authority().map_or("", |authority| authority.as_str()))
    }

    fn wants(&self, report: &RunReport) -> bool {
        self.runs.has(report)
    }

    async fn tell(&self, report: &RunReport) -> Result<(), Error> {
        let answer = self.transport.send(self.request(report)?).await;
        read(&answer.map_err(|error| failed("POST", CloudError::from(&error)))?)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Nothing of the body of an answer is shown: it is somebody else's.
fn read(answer: &Response<Bytes>) -> Result<(), Error> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let failure = match status {
        StatusCode::TOO_MANY_REQUESTS => Failure::Throttled,
        StatusCode::REQUEST_TIMEOUT => Failure::Unavailable,
        _ if status.is_server_error() => Failure::Unavailable,
        StatusCode::UNAUTHORIZED => Failure::Unauthenticated,
        StatusCode::FORBIDDEN => Failure::Forbidden,
        _ => Failure::Invalid,
    };
    let more = if status.is_redirection() { ": redirects are not followed" } else { "" };
    let error = Error::new(failure, format!("it answered {}{more}", status.as_u16()));
    let asked = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    match asked.and_then(|seconds| seconds.trim().parse().ok()) {
        Some(seconds) => Err(error.after(Duration::from_secs(seconds))),
        None => Err(error),
    }
}

/// What is sent.
fn event(report: &RunReport) -> Value {
    let RunReport { replication, run, account, region, .. } = report;
    let mut data = json!({
        "replication": replication,
        "run": run,
        "account": account,
        "region": region,
        "started_at": time(report.started_at),
        "ended_at": time(report.ended_at),
        "summary": report.sentence(),
    });
    let (kind, more) = match &report.outcome {
        Outcome::Done(results) if report.is_cut_off() => ("cut_off", counts(results)),
        Outcome::Done(results) if report.is_ok() => ("succeeded", counts(results)),
        Outcome::Done(results) => ("failed", counts(results)),
        Outcome::NotBegun(failure) if report.is_cut_off() => {
            ("cut_off", json!({ "error": failure }))
        }
        Outcome::NotBegun(failure) => ("not_begun", json!({ "error": failure })),
    };
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    json!({
        "type": format!("replication.{kind}"),
        "timestamp": time(report.ended_at),
        "data": data,
    })
}

fn counts(results: &Results) -> Value {
    let failed: Vec<Value> = results.failed.iter().take(ENTRIES_MAX).map(|it| json!(it)).collect();
    json!({
        "created": results.created.len(),
        "updated": results.updated.len(),
        "adopted": results.adopted.len(),
        "retagged": results.aspects.len(),
        "orphaned": results.orphaned.len(),
        "scheduled": results.scheduled.len(),
        "deleted": results.deleted.len(),
        "unchanged": results.unchanged,
        "failed": results.failed.len(),
        "not_done": results.not_done.len(),
        "failures": failed,
    })
}

fn time(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::testing::{failed as failed_run, not_begun};
    use bailee_cloud::{EgressRules, HttpClient, HttpError, HttpOptions};
    use bailee_sdk::testing::TestClock;
    use parking_lot::Mutex;

    /// A service in place of the network.
    #[derive(Default)]
    struct Receiver {
        answers: Mutex<Vec<Response<Bytes>>>,
        received: Mutex<Vec<Request<Bytes>>>,
    }

    #[async_trait]
    impl Transport for Receiver {
        async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
            self.received.lock().push(request);
            Ok(self.answers.lock().pop().unwrap_or_else(|| Response::new(Bytes::new())))
        }
    }

    /// The example of the specification's own libraries.
    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn keys(text: &str) -> Result<WebhookKeys, InvalidWebhook> {
        WebhookKeys::parse(&Sensitive::from(text))
    }

    fn webhook(receiver: &Arc<Receiver>) -> Webhook {
        let clock = Arc::new(TestClock::default());
        let url = "https://hooks.example.com/services/T0/secret";
        Webhook::new(url, keys(KEY).unwrap(), Runs::Failed, receiver.clone(), clock).unwrap()
    }

    #[test]
    fn signatures_are_those_of_the_specification() {
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signature = keys(KEY).unwrap().signatures(id, "1614265330", b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[tokio::test]
    async fn a_notice_is_signed_names_what_failed_and_comes_with_one_id() {
        let receiver = Arc::new(Receiver::default());
        let webhook = webhook(&receiver);
        let report = failed_run((0..600).map(|number| format!("p/{number}")));
        webhook.tell(&report).await.unwrap();
        webhook.tell(&report).await.unwrap();
        let received = receiver.received.lock();
        let header = |name: &str| received[0].headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("webhook-id"), format!("msg_{}", report.run));
        assert_eq!(header("webhook-timestamp"), "1700000000");
        let signed =
            keys(KEY).unwrap().signatures(&header("webhook-id"), "1700000000", received[0].body());
        assert_eq!(header("webhook-signature"), signed);
        assert_eq!(received[1].headers()["webhook-id"].to_str().unwrap(), header("webhook-id"));
        let body: Value = serde_json::from_slice(received[0].body()).unwrap();
        assert_eq!(body["type"], "replication.failed");
        assert_eq!(body["timestamp"], "2027-01-15T08:00:05.000Z");
        let data = &body["data"];
        assert_eq!((&data["created"], &data["failed"]), (&json!(1), &json!(600)));
        assert_eq!(data["failures"].as_array().unwrap().len(), ENTRIES_MAX);
        assert_eq!(data["failures"][0]["name"], "p/0");
    }

    #[tokio::test]
    async fn a_run_that_did_not_begin_is_told_with_its_reason() {
        let receiver = Arc::new(Receiver::default());
        webhook(&receiver).tell(&not_begun("the token has expired")).await.unwrap();
        let body: Value = serde_json::from_slice(receiver.received.lock()[0].body()).unwrap();
        assert_eq!(body["type"], "replication.not_begun");
        assert_eq!(body["data"]["error"]["message"], "the token has expired");
        assert_eq!(body["data"]["error"]["stage"], "login");
    }

    #[tokio::test]
    async fn an_answer_that_is_no_success_is_told_without_what_it_says() {
        for (status, failure, after) in [
            (500, Failure::Unavailable, None),
            (429, Failure::Throttled, Some("7")),
            (302, Failure::Invalid, None),
            (410, Failure::Invalid, None),
            (401, Failure::Unauthenticated, None),
        ] {
            let receiver = Arc::new(Receiver::default());
            let mut answer = Response::builder().status(status);
            if let Some(after) = after {
                answer = answer.header("retry-after", after);
            }
            receiver.answers.lock().push(answer.body(Bytes::from("canary")).unwrap());
            let error = webhook(&receiver).tell(&not_begun("no")).await.unwrap_err();
            assert_eq!(error.failure, failure, "{status}");
            assert_eq!(error.retry_after.map(|wait| wait.as_secs().to_string()).as_deref(), after);
            assert!(
                !error.message.contains("canary") && error.message.contains(&status.to_string())
            );
        }
    }

    #[tokio::test]
    async fn the_way_out_is_guarded() {
        let clock = Arc::new(TestClock::default());
        let http = HttpClient::new(HttpOptions {
            rules: EgressRules::default(),
            ..HttpOptions::default()
        });
        let url = "http://127.0.0.1/hook";
        let webhook =
            Webhook::new(url, keys(KEY).unwrap(), Runs::All, Arc::new(http), clock).unwrap();
        let error = webhook.tell(&not_begun("no")).await.unwrap_err();
        assert_eq!(error.failure, Failure::Refused);
    }

    #[test]
    fn what_is_no_webhook_is_refused_without_repeating_the_key() {
        for key in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_!",
            "whsec_c2hvcnQ=",
            &format!("{KEY} {KEY} {KEY} {KEY}"),
        ] {
            assert_eq!(keys(key).unwrap_err(), InvalidWebhook::Key, "{key}");
        }
        let two = keys(&format!("{KEY} {KEY}")).unwrap();
        assert_eq!(two.signatures("a", "1", b"").split(' ').count(), 2);
        for url in [
            "",
            "hooks",
            "http://hooks.example.com/x",
            "ftp://127.0.0.1/",
            "https://user:password@hooks.example.com/",
        ] {
            let receiver: Arc<Receiver> = Arc::default();
            let clock = Arc::new(TestClock::default());
            let made = Webhook::new(url, keys(KEY).unwrap(), Runs::All, receiver, clock);
            assert_eq!(made.err(), Some(InvalidWebhook::Url), "{url}");
        }
        let name = webhook(&Arc::default()).name();
        assert_eq!(name, "webhook at hooks.example.com");
    }
}
