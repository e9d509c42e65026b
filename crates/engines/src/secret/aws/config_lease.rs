//! `config/lease`: how long keys of users last.

use super::Aws;
use bailee_notation::duration;
use bailee_sdk::{Error, Nothing, Reply, Request, Term, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const KEY: &str = "config/lease";

#[derive(Serialize, Deserialize)]
struct Stored {
    lease_secs: u64,
    lease_max_secs: u64,
}

/// How long a key lasts; zero for what the mount says.
pub(super) async fn term(view: &View) -> Result<Term, Error> {
    let stored: Option<Stored> = view.get(KEY).await?;
    Ok(stored.map_or_else(Term::default, |stored| Term {
        ttl: Duration::from_secs(stored.lease_secs),
        max_ttl: Duration::from_secs(stored.lease_max_secs),
    }))
}

pub(super) async fn read(_: Arc<Aws>, request: Request<Nothing>) -> Result<Reply, Error> {
    let stored: Option<Stored> = request.view.get(KEY).await?;
    let stored = stored.ok_or_else(Error::not_found)?;
    Ok(Reply::data(&json!({
        "lease": duration::format_go(Duration::from_secs(stored.lease_secs)),
        "lease_max": duration::format_go(Duration::from_secs(stored.lease_max_secs)),
    })))
}

/// How long keys of users last.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteLease {
    /// How long a key lasts unless it is renewed, such as 30m.
    #[serde(default)]
    lease: Value,
    /// How long it lasts at most, renewals included.
    #[serde(default)]
    lease_max: Value,
}

pub(super) async fn write(_: Arc<Aws>, request: Request<WriteLease>) -> Result<Reply, Error> {
    let lease = span("lease", &request.input.lease)?;
    let lease_max = span("lease_max", &request.input.lease_max)?;
    let lease_secs = parsed("lease", &lease)?.as_secs();
    let lease_max_secs = parsed("lease_max", &lease_max)?.as_secs();
    request.view.put(KEY, &Stored { lease_secs, lease_max_secs });
    Ok(Reply::empty())
}

fn span(field: &str, value: &Value) -> Result<String, Error> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(seconds) => seconds.to_string(),
        _ => String::new(),
    };
    if text.is_empty() {
        return Err(Error::invalid(format!("'{field}' is a required parameter")));
    }
    Ok(text)
}

fn parsed(field: &str, text: &str) -> Result<Duration, Error> {
    duration::parse(text)
        .map_err(|_| Error::invalid(format!("Invalid {field}: time: invalid duration {text:?}")))
}
