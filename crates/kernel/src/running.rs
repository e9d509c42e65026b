//! Requests under way.

use crate::Call;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::Arc,
    time::SystemTime,
};

use super::system::time;

/// Parts of the table: requests seldom meet in one.
const PARTS: usize = 32;
/// Requests that a part shows; more are served and not shown.
const PART_MAX: usize = 1024;

/// The requests under way, for who asks what the server is doing.
pub(crate) struct Running {
    parts: Vec<Mutex<HashMap<Arc<str>, Shown>>>,
    hasher: RandomState,
}

struct Shown {
    since: SystemTime,
    remote: Option<SocketAddr>,
    path: Box<str>,
    method: &'static str,
}

/// Keeps a request in the table until it is dropped.
pub(crate) struct Entered {
    running: Arc<Running>,
    id: Arc<str>,
}

impl Running {
    pub(crate) fn new() -> Arc<Running> {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Arc::new(Running { parts, hasher: RandomState::new() })
    }

    /// Shows a request until the answer is dropped.
    pub(crate) fn enter(self: &Arc<Self>, call: &Call, since: SystemTime) -> Entered {
        let shown = Shown {
            since,
            remote: call.remote,
            path: call.path.as_str().into(),
            method: call.operation.name(),
        };
        let id: Arc<str> = call.id.as_str().into();
        if let Some(part) = self.part(&id) {
            let mut part = part.lock();
            if part.len() < PART_MAX {
                part.insert(id.clone(), shown);
            }
        }
        Entered { running: self.clone(), id }
    }

    /// All of them, by id.
    pub(crate) fn shown(&self) -> Map<String, Value> {
        let mut all = Map::new();
        for part in &self.parts {
            for (id, shown) in &*part.lock() {
                let remote = shown.remote.map(|remote| remote.to_string()).unwrap_or_default();
                let value = json!({
                    "start_time": time(shown.since),
                    "client_remote_address": remote,
                    "request_path": format!("/v1/{}", shown.path),
                    "request_method": shown.method,
                    "client_id": "",
                });
                all.insert(id.to_string(), value);
            }
        }
        all
    }

    fn part(&self, id: &str) -> Option<&Mutex<HashMap<Arc<str>, Shown>>> {
        let hash = usize::try_from(self.hasher.hash_one(id) % PARTS as u64).unwrap_or(0);
        self.parts.get(hash)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(part) = self.running.part(&self.id) {
            part.lock().remove(&self.id);
        }
    }
}
