//! What a line says.

use super::{Hasher, Trace};
use crate::{Answer, Call, Content, Wrapped, token};
use bailee_notation::json;
use bailee_sdk::{Error, engine::Class, request::Issued};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::time::SystemTime;

/// The line before the effect.
pub(super) fn request(
    trace: &Trace,
    call: &Call,
    refusal: Option<&Error>,
    hasher: &Hasher,
) -> Value {
    let mut line = beginning("request", trace, call, hasher);
    put_error(&mut line, refusal);
    Value::Object(line)
}

/// The line on the way out.
pub(super) fn response(
    trace: &Trace,
    call: &Call,
    outcome: &Result<Answer, Error>,
    hasher: &Hasher,
) -> Value {
    let mut line = beginning("response", trace, call, hasher);
    match outcome {
        Ok(answer) => {
            line.insert("response".to_owned(), answered(trace, answer, hasher));
        }
        Err(error) => put_error(&mut line, Some(error)),
    }
    Value::Object(line)
}

/// An effect of the system outside.
pub(super) fn effect(
    trace: &Trace,
    call: &Call,
    what: &str,
    detail: &Map<String, Value>,
    hasher: &Hasher,
) -> Value {
    let mut line = beginning("request", trace, call, hasher);
    if let Some(Value::Object(request)) = line.get_mut("request") {
        request.insert("operation".to_owned(), what.into());
        request.insert("path".to_owned(), hasher.text(&call.path).into());
        request.insert("data".to_owned(), hasher.fields(detail, &[]));
    }
    Value::Object(line)
}

fn beginning(kind: &str, trace: &Trace, call: &Call, hasher: &Hasher) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("time".to_owned(), time(trace.time).into());
    line.insert("type".to_owned(), kind.into());
    line.insert("auth".to_owned(), caller(trace, hasher));
    line.insert("request".to_owned(), asked(trace, call, hasher));
    line
}

fn caller(trace: &Trace, hasher: &Hasher) -> Value {
    let mut auth = Map::new();
    if let Some(system) = &trace.system {
        auth.insert("display_name".to_owned(), system.as_str().into());
        auth.insert("token_type".to_owned(), "system".into());
    } else if let Some(token) = &trace.token {
        auth.insert("accessor".to_owned(), hasher.text(&token.accessor).into());
        auth.insert("display_name".to_owned(), token.display_name.as_str().into());
        let all = token::joined(&token.policies, &trace.identity_policies);
        auth.insert("policies".to_owned(), serde_json::json!(all));
        auth.insert("token_policies".to_owned(), serde_json::json!(token.policies));
        if !trace.identity_policies.is_empty() {
            let policies = serde_json::json!(trace.identity_policies);
            auth.insert("identity_policies".to_owned(), policies);
        }
        auth.insert("token_type".to_owned(), "service".into());
        auth.insert("token_issue_time".to_owned(), time(token.created).into());
        if !token.creation_ttl.is_zero() {
            auth.insert("token_ttl".to_owned(), token.creation_ttl.as_secs().into());
        }
        if let Some(entity) = &token.entity_id {
            auth.insert("entity_id".to_owned(), entity.as_str().into());
        }
        if token.num_uses > 0 || trace.last_use.is_some() {
            auth.insert("remaining_uses".to_owned(), token.num_uses.into());
        }
    } else {
        auth.insert("token_type".to_owned(), "default".into());
    }
    if let Some(verdict) = &trace.verdict {
        let mut results = serde_json::json!({ "allowed": verdict.allowed });
        if !verdict.granting.is_empty() {
            let granting = |name: &String| serde_json::json!({ "name": name, "namespace_id": trace.namespace.id, "type": "acl" });
            let granting: Vec<Value> = verdict.granting.iter().map(granting).collect();
            results
                .as_object_mut()
                .expect("made as an object")
                .insert("granting_policies".to_owned(), granting.into());
        }
        auth.insert("policy_results".to_owned(), results);
    }
    Value::Object(auth)
}

fn asked(trace: &Trace, call: &Call, hasher: &Hasher) -> Value {
    let mut request = Map::new();
    let namespace = &trace.namespace;
    request.insert("id".to_owned(), call.id.as_str().into());
    request.insert("operation".to_owned(), trace.operation.name().into());
    if let Some(secret) = &call.token {
        request.insert("client_token".to_owned(), hasher.text(secret.expose()).into());
    }
    if let Some(token) = &trace.token {
        let accessor = hasher.text(&token.accessor);
        request.insert("client_token_accessor".to_owned(), accessor.into());
    }
    put_mount(&mut request, trace);
    request.insert(
        "namespace".to_owned(),
        if namespace.is_root() {
            serde_json::json!({ "id": namespace.id })
        } else {
            serde_json::json!({ "id": namespace.id, "path": namespace.path })
        },
    );
    request.insert("path".to_owned(), trace.path.as_str().into());
    if !call.input.is_empty() {
        let clear = trace
            .mounted
            .as_ref()
            .map(|mounted| mounted.entry.config.audit_non_hmac_request_keys.as_slice());
        let data = hasher.fields(&call.input, clear.unwrap_or_default());
        request.insert("data".to_owned(), data);
    }
    if let Some(remote) = call.remote {
        request.insert("remote_address".to_owned(), remote.ip().to_string().into());
        request.insert("remote_port".to_owned(), remote.port().into());
    }
    if let Some(ttl) = call.wrap_ttl {
        request.insert("wrap_ttl".to_owned(), ttl.as_secs().into());
    }
    Value::Object(request)
}

fn answered(trace: &Trace, answer: &Answer, hasher: &Hasher) -> Value {
    let mut response = Map::new();
    put_mount(&mut response, trace);
    if let Some(wrapped) = &answer.wrapped {
        response.insert("wrap_info".to_owned(), put_away(wrapped, hasher));
    }
    match &answer.content {
        Content::Empty => {}
        Content::Data(data) => {
            let clear = trace
                .mounted
                .as_ref()
                .map(|mounted| mounted.entry.config.audit_non_hmac_response_keys.as_slice());
            // An engine's reply is an object; anything else is not worth a line of its own.
            let data = match json::parse(data.bytes(), &json::Limits::stored()) {
                Ok(Value::Object(data)) => data,
                _ => Map::new(),
            };
            response.insert("data".to_owned(), hasher.fields(&data, clear.unwrap_or_default()));
        }
        Content::Answer(inside) => {
            response.insert("data".to_owned(), answered(trace, inside, hasher));
        }
        Content::Raw { content_type, .. } => {
            response.insert("data".to_owned(), serde_json::json!({ "content_type": content_type }));
        }
    }
    if let Some(auth) = &answer.auth {
        response.insert("auth".to_owned(), issued(auth, hasher));
    }
    if let Some(leased) = &answer.leased
        && !leased.id.is_empty()
    {
        response.insert("secret".to_owned(), serde_json::json!({ "lease_id": leased.id }));
    }
    if !answer.warnings.is_empty() {
        let warnings: Vec<String> =
            answer.warnings.iter().map(|warning| hasher.text(warning)).collect();
        response.insert("warnings".to_owned(), serde_json::json!(warnings));
    }
    Value::Object(response)
}

fn put_away(wrapped: &Wrapped, hasher: &Hasher) -> Value {
    let mut info = serde_json::json!({
        "ttl": wrapped.ttl.as_secs(),
        "token": hasher.text(wrapped.token.expose()),
        "accessor": hasher.text(&wrapped.accessor),
        "creation_time": time(wrapped.created),
        "creation_path": wrapped.path,
    });
    if let (Value::Object(fields), false) = (&mut info, wrapped.accessor_inside.is_empty()) {
        fields.insert("wrapped_accessor".to_owned(), hasher.text(&wrapped.accessor_inside).into());
    }
    info
}

fn issued(auth: &Issued, hasher: &Hasher) -> Value {
    serde_json::json!({
        "client_token": hasher.text(auth.client_token.expose()),
        "accessor": hasher.text(&auth.accessor),
        "policies": auth.policies,
        "token_policies": auth.token_policies,
        "identity_policies": auth.identity_policies,
        "token_type": auth.token_type,
        "token_ttl": auth.ttl.as_secs(),
        "entity_id": auth.entity_id,
        "num_uses": auth.num_uses,
    })
}

fn put_mount(fields: &mut Map<String, Value>, trace: &Trace) {
    let Some(mounted) = &trace.mounted else { return };
    fields.insert("mount_point".to_owned(), mounted.entry.path.as_str().into());
    fields.insert("mount_type".to_owned(), mounted.entry.kind.as_str().into());
    fields.insert("mount_accessor".to_owned(), mounted.entry.accessor.as_str().into());
    let class = match mounted.entry.class {
        Class::Secret => "secret",
        Class::Auth => "auth",
    };
    fields.insert("mount_class".to_owned(), class.into());
}

fn put_error(line: &mut Map<String, Value>, error: Option<&Error>) {
    if let Some(error) = error {
        let text =
            if error.messages.is_empty() { "not found".to_owned() } else { error.to_string() };
        line.insert("error".to_owned(), text.into());
    }
}

fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| format!("{time:.9}")).unwrap_or_default()
}
