//! The envelope: answers and errors as JSON that clients of this API know.

use crate::{
    body::{Body, Live},
    event,
    status::status,
};
use bailee_kernel::{Allowance, Answer, Content, SnapshotBytes, Wrapped};
use bailee_sdk::{Error, Json, request::Issued};
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, STRICT_TRANSPORT_SECURITY},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use zeroize::Zeroizing;

pub(crate) type Reply = Response<Body>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The fields around the data, in the order in which clients are used to see them.
#[derive(Serialize)]
struct Lead<'a> {
    request_id: &'a str,
    lease_id: &'a str,
    renewable: bool,
    lease_duration: u64,
}

/// An answer of the kernel.
pub(crate) fn answer(answer: Answer, stop: &watch::Receiver<bool>) -> Reply {
    let answer = match answer.content {
        Content::Stream { content_type, pieces } => {
            let body = Body::Live(Live::new(pieces, stop.clone()));
            return streamed(HeaderValue::from_static(content_type), body);
        }
        content => Answer { content, ..answer },
    };
    whole(answer)
}

/// An answer that is at hand.
fn whole(answer: Answer) -> Reply {
    let status = match (answer.missing, answer.accepted) {
        (true, _) => StatusCode::NOT_FOUND,
        (false, true) => StatusCode::ACCEPTED,
        (false, false) if answer.says_something() => StatusCode::OK,
        (false, false) => StatusCode::NO_CONTENT,
    };
    if !answer.says_something() {
        return empty(status);
    }
    match answer.content {
        Content::Raw { content_type, bytes } => {
            let status = if answer.refused { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            reply(status, HeaderValue::from_static(content_type), bytes)
        }
        Content::Empty | Content::Data(_) | Content::Answer(_) | Content::Stream { .. } => {
            reply(status, JSON, envelope(answer))
        }
    }
}

/// An answer in its envelope.
fn envelope(answer: Answer) -> Vec<u8> {
    let Answer { id, content, leased, auth, warnings, wrapped, mount_kind, data_at_top, .. } =
        answer;
    let data = match content {
        Content::Data(data) => Some(data),
        Content::Answer(inside) => {
            let inside = Zeroizing::new(envelope(*inside));
            let text = String::from_utf8_lossy(&inside);
            Some(Json::of(&json!({ "response": text.trim_end() })))
        }
        Content::Empty | Content::Raw { .. } | Content::Stream { .. } => None,
    };
    let leased = leased.as_ref();
    let lead = Lead {
        request_id: &id,
        lease_id: leased.map_or("", |leased| leased.id.as_str()),
        renewable: leased.is_some_and(|leased| leased.renewable),
        lease_duration: leased.map_or(0, |leased| leased.ttl.as_secs()),
    };
    let mut bytes = serde_json::to_vec(&lead).expect("texts and numbers encode");
    bytes.pop();
    let data = data.as_ref().map_or(b"null".as_slice(), |data| data.bytes());
    put(&mut bytes, "data", data);
    put(&mut bytes, "wrap_info", &encode(&wrapped.as_deref().map(wrap_info)));
    let warnings = (!warnings.is_empty()).then_some(warnings);
    put(&mut bytes, "warnings", &encode(&warnings));
    put(&mut bytes, "auth", &encode(&auth.as_deref().map(auth_fields)));
    put(&mut bytes, "mount_type", &encode(&mount_kind));
    if data_at_top {
        // Old clients look for these fields beside the envelope's own.
        if let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(data) {
            for (name, value) in fields.iter().filter(|(name, _)| !is_envelope(name)) {
                put(&mut bytes, name, &encode(value));
            }
        }
    }
    bytes.extend_from_slice(b"}\n");
    bytes
}

/// An answer of the kernel without its envelope.
pub(crate) fn bare(answer: Answer) -> Reply {
    match answer.content {
        Content::Data(data) => {
            let mut bytes = data.bytes().to_vec();
            bytes.push(b'\n');
            reply(StatusCode::OK, JSON, bytes)
        }
        Content::Empty | Content::Raw { .. } | Content::Answer(_) | Content::Stream { .. } => {
            whole(answer)
        }
    }
}

/// A failed request. What only the log may show goes there.
pub(crate) fn failure(id: &str, error: &Error) -> Reply {
    let status = status(error.code);
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        event::failed(id, error);
    }
    errors(status, &error.messages)
}

/// Tells how much of a quota is left.
pub(crate) fn show_allowance(reply: &mut Reply, allowance: &Allowance) {
    let Allowance { limit, remaining, reset } = *allowance;
    let reset = reset.as_secs() + u64::from(reset.subsec_nanos() > 0);
    let is_refused = reply.status() == StatusCode::TOO_MANY_REQUESTS;
    let headers = reply.headers_mut();
    headers.insert("x-ratelimit-limit", limit.into());
    headers.insert("x-ratelimit-remaining", remaining.into());
    headers.insert("x-ratelimit-reset", reset.into());
    if is_refused {
        headers.insert(RETRY_AFTER, reset.into());
    }
}

/// Errors in the API's shape.
pub(crate) fn errors(status: StatusCode, messages: &[String]) -> Reply {
    json_reply(status, &json!({ "errors": messages }))
}

/// A document outside the envelope.
pub(crate) fn json_reply<T: Serialize>(status: StatusCode, document: &T) -> Reply {
    let mut bytes = encode(document);
    bytes.push(b'\n');
    reply(status, JSON, bytes)
}

/// A status and nothing else.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::Whole(None));
    *reply.status_mut() = status;
    common_headers(&mut reply);
    // Also of an answer without a body: clients of this API are used to it.
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

pub(crate) fn reply(status: StatusCode, media: HeaderValue, bytes: Vec<u8>) -> Reply {
    let mut reply = Response::new(Body::from(Bytes::from(bytes)));
    *reply.status_mut() = status;
    common_headers(&mut reply);
    reply.headers_mut().insert(CONTENT_TYPE, media);
    reply
}

/// A document that is made while it is sent.
pub(crate) fn stream(media: HeaderValue, pieces: SnapshotBytes) -> Reply {
    streamed(media, Body::Stream(pieces))
}

fn streamed(media: HeaderValue, body: Body) -> Reply {
    let mut reply = Response::new(body);
    common_headers(&mut reply);
    reply.headers_mut().insert(CONTENT_TYPE, media);
    reply
}

fn common_headers(reply: &mut Reply) {
    const KEEP_NOWHERE: HeaderValue = HeaderValue::from_static("no-store");
    const TLS_ALWAYS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
    reply.headers_mut().insert(CACHE_CONTROL, KEEP_NOWHERE);
    reply.headers_mut().insert(STRICT_TRANSPORT_SECURITY, TLS_ALWAYS);
}

fn put(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.push(b',');
    bytes.extend_from_slice(&encode(name));
    bytes.push(b':');
    bytes.extend_from_slice(value);
}

fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("answers always encode")
}

fn is_envelope(name: &str) -> bool {
    matches!(
        name,
        "request_id"
            | "lease_id"
            | "renewable"
            | "lease_duration"
            | "data"
            | "wrap_info"
            | "warnings"
            | "auth"
            | "mount_type"
    )
}

fn wrap_info(wrapped: &Wrapped) -> Value {
    let created = jiff::Timestamp::try_from(wrapped.created);
    let mut info = json!({
        "token": wrapped.token.expose(),
        "accessor": wrapped.accessor,
        "ttl": wrapped.ttl.as_secs(),
        "creation_time": created.map(|time| format!("{time:.9}")).unwrap_or_default(),
        "creation_path": wrapped.path,
    });
    if let (Value::Object(fields), false) = (&mut info, wrapped.accessor_inside.is_empty()) {
        fields.insert("wrapped_accessor".to_owned(), wrapped.accessor_inside.as_str().into());
    }
    info
}

fn auth_fields(auth: &Issued) -> Value {
    json!({
        "client_token": auth.client_token.expose(),
        "accessor": auth.accessor,
        "policies": auth.policies,
        "token_policies": auth.token_policies,
        "identity_policies": (!auth.identity_policies.is_empty()).then_some(&auth.identity_policies),
        "metadata": (!auth.metadata.is_empty()).then_some(&auth.metadata),
        "lease_duration": auth.ttl.as_secs(),
        "renewable": auth.renewable,
        "entity_id": auth.entity_id,
        "token_type": auth.token_type,
        "orphan": auth.orphan,
        "mfa_requirement": null,
        "num_uses": auth.num_uses,
    })
}
