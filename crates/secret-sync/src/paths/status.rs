//! How far associations have come, as answers and events show it: Vault's fields, and beside them
//! what failed, in words.

use crate::{
    association::{Association, DriftFound, Object, Problem, State},
    destination::Note,
    failure::Status,
};
use bailee_crypto::clock::from_millis;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// One line of a status: a secret, or a key of it.
pub(crate) struct Line {
    /// `<accessor>/<secret>` or `<accessor>/<secret>/<key>`.
    pub(crate) key: String,
    /// What the API calls it.
    pub(crate) status: Status,
    /// Its fields.
    pub(crate) fields: Map<String, Value>,
}

/// A time as answers show it.
pub(crate) fn time(millis: u64) -> String {
    Timestamp::try_from(from_millis(millis)).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// The lines of an association. `dirty` says that something is waiting to be delivered.
pub(crate) fn lines(association: &Association, dirty: bool, wishes: &[Note]) -> Vec<Line> {
    let staying = association.objects.iter().filter(|object| !object.leaving);
    let mut lines: Vec<Line> =
        staying.map(|object| line(association, Some(object), dirty, wishes)).collect();
    for object in association.objects.iter().filter(|object| object.leaving) {
        let key = key(association, object.sub_key.as_deref());
        match lines.iter_mut().find(|line| line.key == key) {
            Some(line) => add_former(line, object),
            None => lines.push(line(association, Some(object), dirty, wishes)),
        }
    }
    if lines.is_empty() {
        lines.push(line(association, None, dirty, wishes));
    }
    lines
}

fn line(association: &Association, object: Option<&Object>, dirty: bool, wishes: &[Note]) -> Line {
    let state = state(association, object);
    let status = status(state, dirty);
    let sub_key = object.and_then(|object| object.sub_key.as_deref());
    let mut fields = Map::from_iter([
        ("accessor".to_owned(), json!(association.accessor)),
        ("secret_name".to_owned(), json!(association.secret_name)),
        ("sync_status".to_owned(), json!(status.name())),
        ("updated_at".to_owned(), json!(time(state.updated_at))),
    ]);
    if let Some(sub_key) = sub_key {
        fields.insert("sub_key".to_owned(), json!(sub_key));
    }
    if let Some(object) = object {
        describe(object, &mut fields);
    }
    if let Some(problem) = &state.problem {
        fields.insert("error".to_owned(), error(problem));
    }
    let notes: Vec<&Note> = state.notes.iter().chain(wishes).collect();
    if !notes.is_empty() {
        fields.insert("notes".to_owned(), json!(notes));
    }
    Line { key: key(association, sub_key), status, fields }
}

fn describe(object: &Object, fields: &mut Map<String, Value>) {
    if !object.name.is_empty() {
        fields.insert("external_name".to_owned(), json!(object.name));
    }
    if let Some(delivered) = &object.delivered {
        fields.insert("external_version".to_owned(), json!(delivered.version_id));
        fields.insert("source_version".to_owned(), json!(delivered.source_version));
        fields.insert("delivered_at".to_owned(), json!(time(delivered.at)));
    }
    if let Some(until) = object.waits_until {
        let message = if object.leaving {
            "it was removed; a call that was sent before may still land: that is looked at again then"
        } else {
            "the destination keeps a bounded number of versions within a day: the newest value is \
             written when the next one is allowed"
        };
        fields.insert("waiting".to_owned(), json!({ "until": time(until), "message": message }));
    }
    if let Some(DriftFound { kind, since }) = object.drift {
        let drift = json!({ "kind": kind.name(), "since": time(since) });
        fields.insert("drift".to_owned(), drift);
    }
}

/// A name that is to go, on the line of what replaces it.
fn add_former(line: &mut Line, object: &Object) {
    let former = json!({
        "external_name": object.name,
        "error": object.state.problem.as_ref().map(error),
    });
    let names = line.fields.entry("former_names").or_insert_with(|| json!([]));
    if let Value::Array(names) = names {
        names.push(former);
    }
}

/// What concerns the secret as a whole goes before what concerns one object.
fn state<'a>(association: &'a Association, object: Option<&'a Object>) -> &'a State {
    match object {
        Some(object) if association.state.problem.is_none() => &object.state,
        _ => &association.state,
    }
}

/// A success is outdated as soon as something waits.
fn status(state: &State, dirty: bool) -> Status {
    match state.status {
        Status::Synced | Status::Unsynced if dirty => Status::Pending,
        status => status,
    }
}

fn key(association: &Association, sub_key: Option<&str>) -> String {
    let Association { accessor, secret_name, .. } = association;
    match sub_key {
        None => format!("{accessor}/{secret_name}"),
        Some(sub_key) => format!("{accessor}/{secret_name}/{sub_key}"),
    }
}

/// What failed, and what helps.
pub(crate) fn error(problem: &Problem) -> Value {
    json!({
        "class": problem.failure.name(),
        "code": problem.provider_code,
        "message": problem.message,
        "next_action": problem.failure.next_action(),
        "missing_permission": problem.missing_permission,
        "since": time(problem.since),
        "attempts": problem.attempts,
        "next_attempt": problem.next_attempt.map(time),
    })
}
