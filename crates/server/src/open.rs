//! What is answered without a token and while sealed: init, unseal, status, health. These answers
//! have no envelope.

use crate::{
    input,
    wire::{self, Reply},
};
use bailee_kernel::{Core, Initialize, WrittenShares};
use bailee_sdk::Error;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Shortest and longest share in bytes: a key of 16 or 32 bytes and what splitting adds.
const SHARE_BYTES_MIN: usize = 16;
const SHARE_BYTES_MAX: usize = 33;

/// The codes of `sys/health` that a client may choose. Some are of states this server is never in.
const HEALTH_CODES: [&str; 8] = [
    "activecode",
    "standbycode",
    "sealedcode",
    "uninitcode",
    "drsecondarycode",
    "performancestandbycode",
    "haunhealthycode",
    "removedcode",
];

/// Serves reads of this family, and refuses its wrong verbs; `None` for all else.
pub(crate) async fn try_serve(
    core: &Arc<Core>,
    path: &str,
    method: &Method,
    query: Option<&str>,
) -> Option<Reply> {
    let is_read = method == Method::GET;
    let is_write = method == Method::PUT || method == Method::POST;
    let refused = || Some(wire::errors(StatusCode::METHOD_NOT_ALLOWED, &[]));
    let listed = query.is_some_and(|query| query.contains("list=true"));
    match path {
        "sys/init" if is_read && !listed => Some(or_error(init_status(core).await)),
        "sys/seal-status" if is_read => Some(or_error(seal_status(core).await)),
        "sys/leader" if is_read => Some(or_error(leader(core).await)),
        "sys/health" if is_read || method == Method::HEAD => {
            Some(health(core, &input::query(query.unwrap_or_default())).await)
        }
        "sys/init" | "sys/unseal" | "sys/seal" | "sys/step-down" if !is_write => refused(),
        "sys/health" | "sys/seal-status" | "sys/leader" => refused(),
        path if is_bare(path) && (listed || !takes_verb(path, method)) => refused(),
        _ => None,
    }
}

/// Whether answers of this path have no envelope: what holders of shares do, and its progress.
pub(crate) fn is_bare(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    matches!(
        path,
        "sys/rekey/init"
            | "sys/rekey/update"
            | "sys/rekey/verify"
            | "sys/rekey-recovery-key/init"
            | "sys/rekey-recovery-key/update"
            | "sys/rekey-recovery-key/verify"
            | "sys/generate-root"
            | "sys/generate-root/attempt"
            | "sys/generate-root/update"
    )
}

/// Whether a path without envelope has this verb: shares can only be given.
fn takes_verb(path: &str, method: &Method) -> bool {
    match method {
        &Method::PUT | &Method::POST => true,
        &Method::GET | &Method::DELETE => !path.trim_end_matches('/').ends_with("/update"),
        _ => false,
    }
}

/// Whether a write without a body is refused as such.
pub(crate) fn needs_body(path: &str) -> bool {
    is_bare(path) && !matches!(path, "sys/generate-root" | "sys/generate-root/attempt")
}

/// The text for a body that is not there.
pub(crate) fn no_body() -> Error {
    Error::invalid("EOF")
}

/// Whether a write to this path is served by [`serve_with_body`].
pub(crate) fn takes_body(path: &str) -> bool {
    matches!(path, "sys/init" | "sys/unseal")
}

/// Whether this is the path that seals.
pub(crate) fn is_seal(path: &str) -> bool {
    path == "sys/seal"
}

/// Serves writes of this family.
pub(crate) async fn serve_with_body(
    core: &Arc<Core>,
    path: &str,
    body: &[u8],
) -> Result<Reply, Error> {
    if body.is_empty() {
        return Err(no_body());
    }
    let fields = input::open_fields(body)?;
    match path {
        "sys/init" => initialize(core, &fields).await,
        _ => unseal(core, &fields).await,
    }
}

fn or_error(reply: Result<Reply, Error>) -> Reply {
    reply.unwrap_or_else(|error| wire::failure("", &error))
}

async fn init_status(core: &Arc<Core>) -> Result<Reply, Error> {
    let initialized = core.is_initialized().await?;
    Ok(wire::json_reply(StatusCode::OK, &json!({ "initialized": initialized })))
}

async fn seal_status(core: &Arc<Core>) -> Result<Reply, Error> {
    Ok(wire::json_reply(StatusCode::OK, &core.seal_status().await?))
}

async fn leader(core: &Arc<Core>) -> Result<Reply, Error> {
    Ok(wire::json_reply(StatusCode::OK, &core.leader().await?))
}

/// Health as a status code: load balancers read nothing else, and may choose the codes.
async fn health(core: &Arc<Core>, query: &Map<String, Value>) -> Reply {
    let health = core.health().await;
    let (name, code) = match (health.initialized, health.sealed, health.standby) {
        (false, _, _) => ("uninitcode", 501),
        (true, true, _) => ("sealedcode", 503),
        (true, false, true) if query.get("standbyok").is_some_and(|ok| ok != "false") => {
            ("activecode", 200)
        }
        (true, false, true) => ("standbycode", 429),
        (true, false, false) => ("activecode", 200),
    };
    let codes = query.iter().filter(|(name, _)| HEALTH_CODES.contains(&name.as_str()));
    for (_, value) in codes {
        if chosen(value).is_none() {
            return wire::errors(StatusCode::BAD_REQUEST, &[]);
        }
    }
    let chosen = query.get(name).and_then(chosen);
    let status = chosen.or_else(|| StatusCode::from_u16(code).ok()).unwrap_or_default();
    wire::json_reply(status, &health)
}

/// A code that the client chose; of several the first.
fn chosen(value: &Value) -> Option<StatusCode> {
    let value = value.as_array().map_or(Some(value), |values| values.first())?;
    let code = value.as_str()?.parse().ok().filter(|code| (200..1000).contains(code))?;
    StatusCode::from_u16(code).ok()
}

async fn initialize(core: &Arc<Core>, fields: &Map<String, Value>) -> Result<Reply, Error> {
    let outside = ["recovery_shares", "recovery_threshold", "recovery_pgp_keys"]
        .into_iter()
        .filter(|name| fields.get(*name).is_some_and(|value| !is_zero(value)));
    let outside: Vec<&str> = outside.collect();
    if !outside.is_empty() {
        let text = format!("parameters {} not applicable to seal type shamir", outside.join(","));
        return Err(Error::invalid(text));
    }
    if let Some(keys) = fields.get("pgp_keys").and_then(Value::as_array)
        && !keys.is_empty()
        && fields.get("secret_shares").and_then(Value::as_u64) != u64::try_from(keys.len()).ok()
    {
        return Err(Error::invalid("incorrect number of PGP keys"));
    }
    for name in ["pgp_keys", "root_token_pgp_key"] {
        if fields.get(name).is_some_and(|value| !is_zero(value)) {
            let text =
                format!("{name}: encrypting the result with PGP is not supported; leave it out");
            return Err(Error::invalid(text));
        }
    }
    let request = Initialize {
        shares: number(fields, "InitRequest", "secret_shares")?,
        threshold: number(fields, "InitRequest", "secret_threshold")?,
    };
    let made = core.initialize(request).await?;
    let written = WrittenShares::of(&made.keys);
    Ok(wire::json_reply(
        StatusCode::OK,
        &json!({
            "keys": written.hex(),
            "keys_base64": written.base64(),
            "root_token": made.root_token.expose(),
        }),
    ))
}

async fn unseal(core: &Arc<Core>, fields: &Map<String, Value>) -> Result<Reply, Error> {
    let is_set = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(value) => Err(wrong_type(value, "UnsealRequest", name, "bool")),
    };
    if is_set("migrate")? {
        return Err(Error::invalid("can't perform a seal migration, no migration seal found"));
    }
    if is_set("reset")? {
        return Ok(wire::json_reply(StatusCode::OK, &core.reset_unseal().await?));
    }
    let key = match fields.get("key") {
        None | Some(Value::Null) => "",
        Some(Value::String(key)) => key.as_str(),
        Some(value) => return Err(wrong_type(value, "UnsealRequest", "Key", "string")),
    };
    if key.is_empty() {
        return Err(Error::invalid(
            "'key' must be specified in request body as JSON, or 'reset' set to true",
        ));
    }
    let share = hex::decode(key).or_else(|_| BASE64_STANDARD.decode(key)).map(Zeroizing::new);
    let share = share.map_err(|_| Error::invalid("'key' must be a valid hex or base64 string"))?;
    if core.is_initialized().await? {
        if share.len() < SHARE_BYTES_MIN {
            return Err(Error::invalid("invalid key: key is shorter than minimum 16 bytes"));
        }
        if share.len() > SHARE_BYTES_MAX {
            return Err(Error::invalid("invalid key: key is longer than maximum 33 bytes"));
        }
    }
    Ok(wire::json_reply(StatusCode::OK, &core.unseal(&share).await?))
}

fn number(fields: &Map<String, Value>, input: &str, name: &str) -> Result<i64, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value.as_i64().ok_or_else(|| wrong_type(value, input, name, "int")),
    }
}

/// The text that tools made for this API know for a field of another type.
fn wrong_type(value: &Value, input: &str, field: &str, wanted: &str) -> Error {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "number with a fraction",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Error::invalid(format!(
        "failed to parse JSON input: json: cannot unmarshal {found} into Go struct field \
         {input}.{field} of type {wanted}"
    ))
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Object(_) => false,
    }
}
