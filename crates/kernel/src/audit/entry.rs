//! What a line says.

use super::{
    Audited, Trace,
    hash::{Hasher, Numbers},
};
use crate::{
    Answer, Call, Content, Wrapped,
    mount::SYSTEM_KIND,
    registry::Mounted,
    token::{self, Token},
};
use bailee_crypto::hash::sha256;
use bailee_notation::json;
use bailee_sdk::{Error, engine::Class, request::Issued};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::SystemTime};
use zeroize::Zeroizing;

type Fields = Map<String, Value>;

/// What is the same for all devices.
pub(super) struct Around<'a> {
    pub(super) audited: &'a Audited,
    /// The version of all engines.
    pub(super) version: &'a str,
}

/// The line before the effect.
pub(super) fn request(
    trace: &Trace,
    call: &Call,
    refusal: Option<&Error>,
    around: &Around<'_>,
    hasher: &Hasher,
) -> Zeroizing<Vec<u8>> {
    let mut line = beginning("request", caller(trace, hasher), trace);
    line.insert("request".to_owned(), asked(trace, call, around, hasher).into());
    put_error(&mut line, refusal);
    written(line)
}

/// The line on the way out.
pub(super) fn response(
    trace: &Trace,
    call: &Call,
    outcome: &Result<Answer, Error>,
    around: &Around<'_>,
    hasher: &Hasher,
) -> Zeroizing<Vec<u8>> {
    let auth = match outcome {
        // Whoever logs in is known from here on.
        Ok(Answer { auth: Some(issued), .. }) if trace.token.is_none() => {
            issued_fields(issued, hasher)
        }
        _ => caller(trace, hasher),
    };
    let mut line = beginning("response", auth, trace);
    line.insert("request".to_owned(), asked(trace, call, around, hasher).into());
    let response = match outcome {
        Ok(answer) => answered(trace, answer, around, hasher),
        Err(error) => failed(trace, error, around, hasher),
    };
    line.insert("response".to_owned(), response.into());
    put_error(&mut line, outcome.as_ref().err());
    written(line)
}

/// An effect of the system outside.
pub(super) fn effect(
    trace: &Trace,
    call: &Call,
    what: &str,
    detail: &Fields,
    around: &Around<'_>,
    hasher: &Hasher,
) -> Zeroizing<Vec<u8>> {
    let mut line = beginning("request", caller(trace, hasher), trace);
    let mut request = asked(trace, call, around, hasher);
    put(&mut request, "operation", what);
    put(&mut request, "path", hasher.text(&call.path));
    put(&mut request, "data", hasher.fields(detail, &[], Numbers::Coded));
    line.insert("request".to_owned(), request.into());
    written(line)
}

fn beginning(kind: &str, auth: Fields, trace: &Trace) -> Fields {
    let mut line = Map::new();
    put(&mut line, "time", time(trace.time));
    put(&mut line, "type", kind);
    put(&mut line, "auth", auth);
    line
}

fn written(line: Fields) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(serde_json::to_vec(&line).expect("texts and numbers encode"))
}

/// Who asks.
fn caller(trace: &Trace, hasher: &Hasher) -> Fields {
    let mut auth = Map::new();
    if let Some(system) = &trace.system {
        put(&mut auth, "display_name", system.as_str());
        put(&mut auth, "token_type", "system");
    } else if let Some(token) = &trace.token {
        put_token(&mut auth, token, &trace.identity_policies, hasher);
        if token.num_uses > 0 || trace.is_last_use() {
            put(&mut auth, "remaining_uses", token.num_uses);
        }
    } else {
        put(&mut auth, "token_type", "default");
    }
    if let Some(verdict) = &trace.verdict {
        let mut results = Map::new();
        put(&mut results, "allowed", verdict.allowed);
        if !verdict.granting.is_empty() {
            let token = trace.token.as_ref();
            let namespace = token.map_or(&trace.namespace, |token| &token.namespace);
            let granting = verdict.granting.iter().map(|name| {
                let mut policy = Map::new();
                put(&mut policy, "name", name.as_str());
                put(&mut policy, "namespace_id", namespace.id.as_str());
                if !namespace.is_root() {
                    put(&mut policy, "namespace_path", namespace.path.as_str());
                }
                put(&mut policy, "type", "acl");
                Value::Object(policy)
            });
            put(&mut results, "granting_policies", granting.collect::<Value>());
        }
        put(&mut auth, "policy_results", results);
    }
    auth
}

fn put_token(auth: &mut Fields, token: &Token, identity_policies: &[String], hasher: &Hasher) {
    put(auth, "accessor", hasher.accessor(&token.accessor));
    put(auth, "display_name", token.display_name.as_str());
    put(auth, "policies", json!(token::joined(&token.policies, identity_policies)));
    put(auth, "token_policies", json!(token.policies));
    if !identity_policies.is_empty() {
        put(auth, "identity_policies", json!(identity_policies));
    }
    put(auth, "token_type", token.kind.name());
    put(auth, "token_issue_time", time(token.created));
    if !token.creation_ttl.is_zero() {
        put(auth, "token_ttl", token.creation_ttl.as_secs());
    }
    if !token.meta.is_empty() {
        put(auth, "metadata", json!(token.meta));
    }
    if let Some(entity) = &token.entity_id {
        put(auth, "entity_id", entity.as_str());
    }
}

/// What is asked.
fn asked(trace: &Trace, call: &Call, around: &Around<'_>, hasher: &Hasher) -> Fields {
    let mut request = Map::new();
    let namespace = &trace.namespace;
    put(&mut request, "id", call.id.as_str());
    put(&mut request, "operation", trace.operation.name());
    if let Some(secret) = &call.token {
        put(&mut request, "client_token", hasher.text(secret.expose()));
    }
    if let Some(token) = &trace.token {
        put(&mut request, "client_id", client_id(token));
        put(&mut request, "client_token_accessor", hasher.accessor(&token.accessor));
    }
    if let Some(mounted) = &trace.mounted {
        put_mount(&mut request, mounted);
        put(&mut request, "mount_running_version", around.version);
    }
    let mut place = Map::new();
    put(&mut place, "id", namespace.id.as_str());
    if !namespace.is_root() {
        put(&mut place, "path", namespace.path.as_str());
    }
    put(&mut request, "namespace", place);
    put(&mut request, "path", trace.path.as_str());
    if !call.input.is_empty() {
        let mounted = trace.mounted.as_ref();
        let clear = mounted.map(|mounted| &*mounted.entry.config.audit_non_hmac_request_keys);
        let data = if has_shares(trace) {
            hasher.never_clear(&call.input)
        } else {
            hasher.fields(&call.input, clear.unwrap_or_default(), Numbers::Coded)
        };
        put(&mut request, "data", data);
    }
    let headers = headers(call, around.audited, hasher);
    if !headers.is_empty() {
        put(&mut request, "headers", json!(headers));
    }
    if let Some(remote) = call.remote {
        put(&mut request, "remote_address", remote.ip().to_string());
        put(&mut request, "remote_port", remote.port());
    }
    if let Some(ttl) = call.wrap_ttl {
        put(&mut request, "wrap_ttl", ttl.as_secs());
    }
    request
}

fn headers<'a>(
    call: &'a Call,
    audited: &Audited,
    hasher: &Hasher,
) -> BTreeMap<&'a str, Vec<String>> {
    let mut shown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in call.headers.0.iter() {
        let Some(header) = audited.find(name) else { continue };
        let value = if header.hmac { hasher.text(value) } else { value.clone() };
        shown.entry(name).or_default().push(value);
    }
    shown
}

/// What was answered.
fn answered(trace: &Trace, answer: &Answer, around: &Around<'_>, hasher: &Hasher) -> Fields {
    let mut response = served_by(trace, around);
    if let Some(wrapped) = &answer.wrapped {
        put(&mut response, "wrap_info", put_away(wrapped, hasher));
    }
    match &answer.content {
        Content::Empty => {}
        Content::Data(data) => {
            // An engine's reply is an object; anything else is not worth a line of its own.
            if let Ok(Value::Object(data)) = json::parse(data.bytes(), &json::Limits::stored()) {
                put(&mut response, "data", shown_data(trace, data, hasher));
            }
        }
        Content::Answer(inside) => {
            put(&mut response, "data", answered(trace, inside, around, hasher));
        }
        Content::Raw { content_type, .. } | Content::Stream { content_type, .. } => {
            put(&mut response, "data", json!({ "content_type": content_type }));
        }
    }
    if let Some(auth) = &answer.auth {
        put(&mut response, "auth", issued_fields(auth, hasher));
    }
    if let Some(leased) = &answer.leased
        && !leased.id.is_empty()
    {
        put(&mut response, "secret", json!({ "lease_id": leased.id }));
    }
    if !answer.warnings.is_empty() {
        let warnings = answer.warnings.iter().map(|warning| hasher.text(warning));
        put(&mut response, "warnings", warnings.collect::<Vec<_>>());
    }
    response
}

/// An answer that was put away under a token of its own.
fn put_away(wrapped: &Wrapped, hasher: &Hasher) -> Fields {
    let mut info = Map::new();
    put(&mut info, "ttl", wrapped.ttl.as_secs());
    put(&mut info, "token", hasher.text(wrapped.token.expose()));
    put(&mut info, "accessor", hasher.accessor(&wrapped.accessor));
    put(&mut info, "creation_time", time(wrapped.created));
    put(&mut info, "creation_path", wrapped.path.as_str());
    if !wrapped.accessor_inside.is_empty() {
        put(&mut info, "wrapped_accessor", hasher.accessor(&wrapped.accessor_inside));
    }
    info
}

/// Whether shares of the root key, or a root token under its pad, are in what is asked and answered:
/// they open everything, and no device shows them.
fn has_shares(trace: &Trace) -> bool {
    const FAMILIES: [&str; 3] = ["sys/rekey", "sys/generate-root", "sys/decode-token"];
    FAMILIES.iter().any(|family| trace.path.starts_with(family))
}

fn shown_data(trace: &Trace, mut data: Fields, hasher: &Hasher) -> Value {
    if has_shares(trace) {
        return hasher.never_clear(&data);
    }
    let mounted = trace.mounted.as_ref();
    let clear = mounted.map(|mounted| &*mounted.entry.config.audit_non_hmac_response_keys);
    let mut elided = Vec::new();
    if hasher.style().elide_lists && trace.operation.is_listing() {
        for name in ["keys", "key_info"] {
            let count = match data.get(name) {
                Some(Value::Array(items)) => items.len(),
                Some(Value::Object(fields)) => fields.len(),
                _ => continue,
            };
            data.remove(name);
            elided.push((name, count));
        }
    }
    let mut shown = hasher.fields(&data, clear.unwrap_or_default(), numbers(trace));
    if let Value::Object(fields) = &mut shown {
        for (name, count) in elided {
            put(fields, name, count);
        }
    }
    shown
}

/// Numbers that the system and auth methods answer with are times and counts. Those of a secrets
/// engine may be secrets, and so may those of an answer that was put away.
fn numbers(trace: &Trace) -> Numbers {
    let mounted = trace.mounted.as_ref();
    match mounted.map(|mounted| (mounted.entry.class, mounted.entry.kind.as_str())) {
        Some((Class::Secret, SYSTEM_KIND)) if trace.path.starts_with("sys/wrapping/") => {
            Numbers::Coded
        }
        Some((Class::Auth, _) | (Class::Secret, SYSTEM_KIND)) => Numbers::Clear,
        Some((Class::Secret, _)) | None => Numbers::Coded,
    }
}

fn failed(trace: &Trace, error: &Error, around: &Around<'_>, hasher: &Hasher) -> Fields {
    let mut response = served_by(trace, around);
    if !error.messages.is_empty() {
        put(&mut response, "data", json!({ "error": hasher.text(&error.to_string()) }));
    }
    response
}

fn served_by(trace: &Trace, around: &Around<'_>) -> Fields {
    let mut response = Map::new();
    if let Some(mounted) = &trace.mounted {
        put_mount(&mut response, mounted);
        put(&mut response, "mount_running_plugin_version", around.version);
    }
    response
}

/// A token that is given out.
fn issued_fields(auth: &Issued, hasher: &Hasher) -> Fields {
    let mut shown = Map::new();
    let secret = auth.client_token.expose();
    if !secret.is_empty() {
        put(&mut shown, "client_token", hasher.text(secret));
    }
    put(&mut shown, "accessor", hasher.accessor(&auth.accessor));
    put(&mut shown, "policies", json!(auth.policies));
    put(&mut shown, "token_policies", json!(auth.token_policies));
    if !auth.identity_policies.is_empty() {
        put(&mut shown, "identity_policies", json!(auth.identity_policies));
    }
    if !auth.metadata.is_empty() {
        put(&mut shown, "metadata", json!(auth.metadata));
    }
    if !auth.entity_id.is_empty() {
        put(&mut shown, "entity_id", auth.entity_id.as_str());
    }
    if auth.num_uses > 0 {
        put(&mut shown, "num_uses", auth.num_uses);
    }
    put(&mut shown, "token_type", auth.token_type);
    if !auth.ttl.is_zero() {
        put(&mut shown, "token_ttl", auth.ttl.as_secs());
    }
    shown
}

fn put_mount(fields: &mut Fields, mounted: &Mounted) {
    put(fields, "mount_point", mounted.entry.path.as_str());
    put(fields, "mount_type", mounted.entry.kind.as_str());
    put(fields, "mount_accessor", mounted.entry.accessor.as_str());
    let class = match mounted.entry.class {
        Class::Secret => "secret",
        Class::Auth => "auth",
    };
    put(fields, "mount_class", class);
}

/// Nothing there is an answer, not an error.
fn put_error(line: &mut Fields, error: Option<&Error>) {
    if let Some(error) = error.filter(|error| !error.messages.is_empty()) {
        put(line, "error", error.to_string());
    }
}

fn put(fields: &mut Fields, name: &str, value: impl Into<Value>) {
    fields.insert(name.to_owned(), value.into());
}

/// Who is counted as one client: the entity, or all tokens with the same policies.
fn client_id(token: &Token) -> String {
    if let Some(entity) = &token.entity_id {
        return entity.clone();
    }
    let text = format!("{}\0{}", token.policies.join("\u{7f}"), token.namespace.id);
    BASE64_STANDARD.encode(sha256(text.as_bytes()))
}

fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| format!("{time:.9}")).unwrap_or_default()
}
