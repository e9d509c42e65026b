//! The record of calls, for tests to look at.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use serde_json::Value;

/// One call as it was received. Secret values are left out of the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedCall {
    /// Service and operation, as `secretsmanager:PutSecretValue`.
    pub operation: String,
    /// Region of the request's signature.
    pub region: String,
    /// Identifier of the key that signed, empty when nothing did.
    pub access_key_id: String,
    /// Who called, empty when that was not established.
    pub principal_arn: String,
    /// Members of the request; values of secrets, keys and tokens are replaced by `"…"`.
    pub parameters: Value,
    /// HTTP status of the reply (of the lost one too); 0 when the request was lost.
    pub status: u16,
    /// Error code of the reply, `None` on success.
    pub error: Option<String>,
}

/// How many calls are kept whole; counts go on without limit.
const CALLS_KEPT_MAX: usize = 20_000;

const HIDDEN: &[&str] = &[
    "SecretString",
    "SecretBinary",
    "Plaintext",
    "CiphertextBlob",
    "WebIdentityToken",
    "TokenCode",
    "RotationToken",
    "Password",
];

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<RecordedCall>,
    counts: BTreeMap<String, u64>,
}

/// All calls since the start or since they were cleared.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<State>);

impl Calls {
    pub(crate) fn record(&self, call: RecordedCall) {
        let mut state = self.0.lock();
        match state.counts.get_mut(&call.operation) {
            Some(count) => *count += 1,
            None => {
                state.counts.insert(call.operation.clone(), 1);
            }
        }
        if state.kept.len() == CALLS_KEPT_MAX {
            state.kept.pop_front();
        }
        state.kept.push_back(call);
    }

    pub(crate) fn all(&self) -> Vec<RecordedCall> {
        self.0.lock().kept.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().counts.clone()
    }

    pub(crate) fn count(&self, operation: &str) -> u64 {
        self.0.lock().counts.get(operation).copied().unwrap_or(0)
    }

    pub(crate) fn clear(&self) {
        *self.0.lock() = State::default();
    }
}

/// A copy of the parameters without secret values.
pub(crate) fn without_values(parameters: &Value) -> Value {
    match parameters {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| {
                    let hidden = HIDDEN.contains(&name.as_str());
                    (name.clone(), if hidden { "…".into() } else { without_values(value) })
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_values).collect()),
        other => other.clone(),
    }
}
