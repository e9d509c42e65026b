//! A server made for one test.

use super::engine;
use crate::{
    Answer, AuditDevice, Call, Content, Core, Host, Initialize, LogLevel, Node, Parts, Settings,
};
use bailee_crypto::{Sensitive, SystemClock, random};
use bailee_sdk::{Code, Error, Headers, Operation};
use bailee_storage::{Backend, memory::Memory};
use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

pub(super) struct World {
    pub(super) core: Arc<Core>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) keys: Vec<Zeroizing<Vec<u8>>>,
    pub(super) root: String,
}

pub(crate) fn settings() -> Settings {
    Settings {
        cluster_name: "test".to_owned(),
        version: "2.2.0",
        build_date: "2026-01-01T00:00:00Z",
        default_lease_ttl: Duration::from_secs(2_764_800),
        max_lease_ttl: Duration::from_secs(2_764_800),
        api_addr: None,
        node: Node { storage_type: "inmem".to_owned(), ..Node::default() },
        host: Arc::new(NoHost),
        own_files: Vec::new(),
        scratch: std::env::temp_dir(),
        render_metrics: Arc::new(|| "# metrics\n".to_owned()),
    }
}

pub(super) fn core(backend: &Arc<dyn Backend>, audit: Vec<Arc<dyn AuditDevice>>) -> Arc<Core> {
    Core::new(Parts {
        backend: backend.clone(),
        clock: Arc::new(SystemClock),
        kinds: engine::kinds(),
        system: Vec::new(),
        audit,
        settings: settings(),
    })
}

/// A process that knows nothing of its machine, and logs one part.
struct NoHost;

impl Host for NoHost {
    fn info(&self) -> Map<String, Value> {
        Map::new()
    }

    fn configuration(&self) -> Map<String, Value> {
        Map::new()
    }

    fn log_levels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("core".to_owned(), "info".to_owned())])
    }

    fn set_log_level(&self, part: Option<&str>, _level: Option<LogLevel>) -> bool {
        part.is_none_or(|part| part == "core")
    }

    fn reload(&self, part: &str) -> Option<Result<(), String>> {
        (part == "tls").then_some(Ok(()))
    }
}

impl World {
    /// Unsealed, with boxes mounted at `boxes/`.
    pub(super) async fn new() -> World {
        World::with(Arc::new(Memory::default()), Vec::new()).await
    }

    pub(super) async fn with(backend: Arc<dyn Backend>, audit: Vec<Arc<dyn AuditDevice>>) -> World {
        let core = core(&backend, audit);
        let made = core.initialize(Initialize { shares: 3, threshold: 2 }).await.unwrap();
        let root = made.root_token.expose().clone();
        let world = World { core, backend, keys: made.keys, root };
        world.unseal().await;
        world.write("sys/mounts/boxes", r#"{"type":"boxes"}"#).await.unwrap();
        world
    }

    /// The same storage under a new server, unsealed.
    pub(super) async fn restart(&self) -> World {
        let world = World {
            core: core(&self.backend, Vec::new()),
            backend: self.backend.clone(),
            keys: self.keys.clone(),
            root: self.root.clone(),
        };
        world.unseal().await;
        world
    }

    pub(super) async fn unseal(&self) {
        for key in &self.keys[..2] {
            self.core.unseal(key).await.unwrap();
        }
        assert!(!self.core.seal_status().await.unwrap().sealed);
    }

    pub(super) async fn read(&self, path: &str) -> Result<Value, Error> {
        let call = call(Operation::Read, path, "{}", Some(&self.root));
        self.core.handle(call).await.map(|answer| data(&answer))
    }

    pub(super) async fn write(&self, path: &str, input: &str) -> Result<Answer, Error> {
        self.core.handle(call(Operation::Update, path, input, Some(&self.root))).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Answer, Error> {
        self.core.handle(call(Operation::Delete, path, "{}", Some(&self.root))).await
    }

    pub(super) async fn list(&self, path: &str) -> Result<Value, Error> {
        let call = call(Operation::List, path, "{}", Some(&self.root));
        self.core.handle(call).await.map(|answer| data(&answer)["keys"].clone())
    }

    pub(super) async fn read_by(&self, token: &str, path: &str) -> Result<Value, Error> {
        let call = call(Operation::Read, path, "{}", Some(token));
        self.core.handle(call).await.map(|answer| data(&answer))
    }

    /// A policy and a token that has it.
    pub(super) async fn token_with(&self, rules: &str) -> String {
        let name = format!("p{}", random::alphanumeric(8).to_lowercase());
        let input = serde_json::json!({ "policy": rules }).to_string();
        self.write(&format!("sys/policies/acl/{name}"), &input).await.unwrap();
        let input = format!(r#"{{"policies":["{name}"]}}"#);
        let made = self.write("auth/token/create", &input).await.unwrap();
        made.auth.unwrap().client_token.expose().clone()
    }
}

pub(super) fn call(operation: Operation, path: &str, input: &str, token: Option<&str>) -> Call {
    let input: Map<String, Value> = serde_json::from_str(input).unwrap();
    Call {
        id: random::uuid().to_string(),
        namespace: String::new(),
        path: path.to_owned(),
        operation,
        input,
        token: token.map(Sensitive::from),
        wrap_ttl: None,
        remote: None,
        headers: Headers::default(),
    }
}

pub(super) fn data(answer: &Answer) -> Value {
    match &answer.content {
        Content::Data(data) => serde_json::from_slice(data.bytes()).unwrap(),
        Content::Raw { bytes, .. } => String::from_utf8(bytes.clone()).unwrap().into(),
        Content::Empty | Content::Answer(_) | Content::Stream { .. } => Value::Null,
    }
}

/// Code and text of a refusal.
pub(super) fn refused<T>(outcome: Result<T, Error>) -> (Code, String) {
    match outcome {
        Ok(_) => panic!("expected a refusal"),
        Err(error) => (error.code, error.to_string()),
    }
}

/// An audit device that remembers, and fails when told to.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(super) lines: Mutex<Vec<Value>>,
    pub(crate) fails: Mutex<bool>,
}

impl AuditDevice for Recorder {
    fn name(&self) -> &str {
        "recorder/"
    }

    fn write(&self, _time: SystemTime, line: &[u8]) -> BoxFuture<'static, io::Result<()>> {
        let outcome = if *self.fails.lock() {
            Err(io::Error::other("told to fail"))
        } else {
            self.lines.lock().push(serde_json::from_slice(line).unwrap());
            Ok(())
        };
        std::future::ready(outcome).boxed()
    }
}

impl Recorder {
    pub(crate) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.lines.lock())
    }
}
