//! `sys/sync/events`: what happens, as it happens. One JSON document a line, or server-sent events
//! for whoever asks for them.

use super::{Paths, status::time};
use crate::{
    failure::{Failure, Status},
    feed::{Event, Listening, Secret},
};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Body, Caller, Code, Error, Operation, Pieces, Reply, Request};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Interval, MissedTickBehavior, interval},
};

/// How long a client hears nothing at most.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const SERVER_SENT: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const STATUSES: [Status; 7] = [
    Status::Unknown,
    Status::Pending,
    Status::Synced,
    Status::Unsynced,
    Status::InternalVaultError,
    Status::ClientSideError,
    Status::ExternalServiceError,
];

/// Which events are wanted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// Type of the destination; all types where it is left out.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Name of the destination; all destinations where it is left out.
    name: Option<String>,
    /// Path of the mount that holds the secret; all mounts where it is left out.
    mount: Option<String>,
    /// The status that follows from the event, such as `CLIENT_SIDE_ERROR`; all where it is left out.
    status: Option<String>,
}

/// One client that listens.
struct Listener {
    wanted: Wanted,
    events: Listening,
    caller: Arc<Caller>,
    namespace: String,
    sync: Arc<crate::SecretSync>,
    server_sent: bool,
    keep_alive: Interval,
    /// Events of secrets that the caller may not read, since they were last told.
    hidden: u64,
}

impl Paths {
    pub(super) async fn listen(self: Arc<Self>, request: Request<Wanted>) -> Result<Reply, Error> {
        self.store(&request).await?;
        request.input.check()?;
        if let Some(kind) = &request.input.kind {
            self.kind(kind)?;
        }
        let caller = request.caller.clone().ok_or_else(Error::permission_denied)?;
        let board = self.board().ok_or_else(|| {
            Error::new(Code::Standby, "secrets sync does not run here yet: ask again in a moment")
        })?;
        let client = caller.entity_id.as_ref().unwrap_or(&caller.token_id);
        let listening = board.feed.listen(&request.namespace.id, client);
        let events =
            listening.map_err(|crowded| Error::new(Code::RateLimited, crowded.message()))?;
        let accepted = |value: &str| value.to_lowercase().contains(SERVER_SENT);
        let server_sent = request.headers.values("accept").any(accepted);
        let mut keep_alive = interval(KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let namespace = request.namespace.id.clone();
        let listener = Listener {
            wanted: request.input,
            events,
            caller,
            namespace,
            sync: self.sync.clone(),
            server_sent,
            keep_alive,
            hidden: 0,
        };
        let pieces = Pieces::new(stream::unfold(listener, |mut listener| async move {
            let piece = listener.next().await?;
            Some((piece, listener))
        }));
        let content_type = if server_sent { SERVER_SENT } else { LINES };
        Ok(Body::Stream { content_type, pieces }.into())
    }
}

impl Wanted {
    fn check(&self) -> Result<(), Error> {
        let Some(wanted) = &self.status else { return Ok(()) };
        let names: Vec<&str> = STATUSES.iter().map(|status| status.name()).collect();
        if names.contains(&wanted.as_str()) {
            return Ok(());
        }
        Err(Error::invalid(format!("status is not valid: want one of {}", names.join(", "))))
    }

    fn matches(&self, event: &Event) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let mount = |wanted: &String| {
            let found = event.secret.as_ref().map(|secret| secret.mount.trim_end_matches('/'));
            found == Some(wanted.trim_matches('/'))
        };
        is(&self.kind, &event.kind)
            && is(&self.name, &event.name)
            && self.mount.as_ref().is_none_or(mount)
            && is(&self.status, event.status.map_or("", Status::name))
    }
}

impl Listener {
    /// The next piece; none when the session has ended.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            tokio::select! {
                biased;
                received = self.events.events.recv() => match received {
                    Ok(event) => {
                        if let Some(piece) = self.heard(&event) {
                            return Some(piece);
                        }
                    }
                    Err(RecvError::Lagged(count)) => return Some(self.counted("missed", count)),
                    Err(RecvError::Closed) => return None,
                },
                _ = self.keep_alive.tick() => {
                    let hidden = std::mem::take(&mut self.hidden);
                    return Some(if hidden > 0 {
                        self.counted("hidden", hidden)
                    } else if self.server_sent {
                        b": keep-alive\n\n".to_vec()
                    } else {
                        self.plain("keep_alive", Map::new())
                    });
                }
            }
        }
    }

    fn heard(&mut self, event: &Event) -> Option<Vec<u8>> {
        if event.namespace != self.namespace || !self.wanted.matches(event) {
            return None;
        }
        let readable = |secret: &Secret| {
            let path = format!("{}data/{}", secret.mount, secret.name);
            (self.caller.may)(Operation::Read, &path)
        };
        if !event.secret.as_ref().is_none_or(readable) {
            self.hidden += 1;
            return None;
        }
        Some(self.piece(event.event, shown(event)))
    }

    fn counted(&self, event: &'static str, count: u64) -> Vec<u8> {
        self.plain(event, Map::from_iter([("count".to_owned(), json!(count))]))
    }

    fn plain(&self, event: &'static str, mut fields: Map<String, Value>) -> Vec<u8> {
        fields.insert("event".to_owned(), json!(event));
        fields.insert("time".to_owned(), json!(time(to_millis(self.sync.clock.now()))));
        self.piece(event, fields)
    }

    fn piece(&self, event: &str, fields: Map<String, Value>) -> Vec<u8> {
        let text = Value::Object(fields).to_string();
        let text = if self.server_sent {
            format!("event: {event}\ndata: {text}\n\n")
        } else {
            text + "\n"
        };
        text.into_bytes()
    }
}

fn shown(event: &Event) -> Map<String, Value> {
    let mut fields = Map::from_iter([
        ("time".to_owned(), json!(time(event.time))),
        ("event".to_owned(), json!(event.event)),
        ("type".to_owned(), json!(event.kind)),
        ("name".to_owned(), json!(event.name)),
    ]);
    if let Some(secret) = &event.secret {
        fields.insert("accessor".to_owned(), json!(secret.accessor));
        fields.insert("mount".to_owned(), json!(secret.mount));
        fields.insert("secret_name".to_owned(), json!(secret.name));
        if let Some(sub_key) = &secret.sub_key {
            fields.insert("sub_key".to_owned(), json!(sub_key));
        }
    }
    if let Some(name) = &event.external_name {
        fields.insert("external_name".to_owned(), json!(name));
    }
    if let Some(status) = event.status {
        fields.insert("status".to_owned(), json!(status.name()));
    }
    if let Some((name, detail)) = &event.detail {
        fields.insert((*name).to_owned(), told(detail));
    }
    fields
}

/// The detail, without the secret that has a name already: the listener may not be permitted to read
/// that one.
fn told(detail: &Value) -> Value {
    let mut detail = detail.clone();
    let class = detail.get("class").and_then(Value::as_str);
    if class == Some(Failure::NameTaken.name())
        && let Some(message) = detail.get_mut("message")
    {
        *message = json!("another secret has the name at this destination; the status names it");
    }
    detail
}
