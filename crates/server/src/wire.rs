//! The envelope: answers and errors as JSON that clients of this API know.

use crate::{event, status::status};
use bailee_kernel::{Answer, Content};
use bailee_sdk::{Error, request::Issued};
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY},
};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Map, Value, json};

pub(crate) type Reply = Response<Full<Bytes>>;

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
pub(crate) fn answer(answer: Answer) -> Reply {
    let Answer { id, content, leased, auth, warnings, missing, mount_kind, data_at_top } = answer;
    let data = match content {
        Content::Raw { content_type, bytes } => {
            return reply(StatusCode::OK, HeaderValue::from_static(content_type), bytes);
        }
        Content::Empty if auth.is_none() && warnings.is_empty() && leased.is_none() => {
            return empty(if missing { StatusCode::NOT_FOUND } else { StatusCode::NO_CONTENT });
        }
        Content::Empty => None,
        Content::Data(data) => Some(data),
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
    put(&mut bytes, "wrap_info", b"null");
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
    reply(if missing { StatusCode::NOT_FOUND } else { StatusCode::OK }, JSON, bytes)
}

/// A failed request. What only the log may show goes there.
pub(crate) fn failure(id: &str, error: &Error) -> Reply {
    let status = status(error.code);
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        event::failed(id, error);
    }
    errors(status, &error.messages)
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
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = status;
    common_headers(&mut reply);
    // Also of an answer without a body: clients of this API are used to it.
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

pub(crate) fn reply(status: StatusCode, media: HeaderValue, bytes: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(bytes)));
    *reply.status_mut() = status;
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
