//! What the server tells about itself and the machine: `sys/host-info`, `sys/metrics`,
//! `sys/loggers`, `sys/in-flight-req` and the like.

use super::{Nothing, System, exposition};
use bailee_barrier::Barrier;
use bailee_crypto::clock;
use bailee_sdk::{Body, Code, Error, Operation, Path, Reply, Request};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Where it is kept which version served the storage first when.
const VERSIONS: &str = "core/versions/";
/// Versions that are told.
const VERSIONS_MAX: usize = 1000;

/// What the process knows and the kernel does not: the machine, the configuration, the log.
pub trait Host: Send + Sync {
    /// Facts about the machine, in sections.
    fn info(&self) -> Map<String, Value>;
    /// The configuration, without anything secret.
    fn configuration(&self) -> Map<String, Value>;
    /// The least severe level each part of the server logs at.
    fn log_levels(&self) -> BTreeMap<String, String>;
    /// Sets the level of one part, or of all; `None` is the configured one. `false` when there is
    /// no such part.
    fn set_log_level(&self, part: Option<&str>, level: Option<LogLevel>) -> bool;
    /// Reads a part of the configuration anew; `None` when there is no such part.
    fn reload(&self, part: &str) -> Option<Result<(), String>>;
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What helps to find faults.
    Debug,
    /// What happens.
    Info,
    /// What should be looked at.
    Warn,
    /// What failed.
    Error,
}

impl LogLevel {
    /// The level with a name, whatever its case.
    fn named(name: &str) -> Option<LogLevel> {
        match name.to_ascii_lowercase().as_str() {
            "trace" => Some(LogLevel::Trace),
            "debug" => Some(LogLevel::Debug),
            "info" | "notice" => Some(LogLevel::Info),
            "warn" | "warning" => Some(LogLevel::Warn),
            "error" | "err" => Some(LogLevel::Error),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }
}

/// A version that has served this storage.
#[derive(Serialize, Deserialize)]
struct Version {
    version: String,
    build_date: String,
    /// Milliseconds since 1970.
    installed: u64,
}

/// Notes the version that serves from now on, if it is new to this storage.
pub(crate) async fn note_version(
    barrier: &Arc<Barrier>,
    version: &str,
    build_date: &str,
    now: SystemTime,
) -> Result<(), Error> {
    let view = barrier.view(VERSIONS);
    if view.get::<Version>(version).await?.is_some() {
        return Ok(());
    }
    let noted = Version {
        version: version.to_owned(),
        build_date: build_date.to_owned(),
        installed: clock::to_millis(now),
    };
    view.put(version, &noted);
    view.commit().await?;
    Ok(())
}

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    let mut paths = fact_paths(system);
    paths.extend(log_paths(system));
    paths
}

fn fact_paths(system: &Arc<System>) -> Vec<Path> {
    let read = Operation::Read;
    let off = "Tell how replication is; there is none.";
    vec![
        Path::new("metrics")
            .on(read, system, "All metrics, as JSON or in Prometheus' format.", System::metrics)
            .root_only(),
        Path::new("host-info")
            .on(read, system, "Tell about the machine.", System::host_info)
            .root_only(),
        Path::new("in-flight-req")
            .on(read, system, "List the requests under way.", System::in_flight)
            .sudo()
            .root_only(),
        Path::new("version-history")
            .on(Operation::List, system, "List the versions that served.", System::versions)
            .root_only(),
        Path::new("config/state/sanitized")
            .on(read, system, "Read the configuration, without secrets.", System::configuration)
            .root_only(),
        Path::new("config/reload/{subsystem}")
            .on(
                Operation::Update,
                system,
                "Read a part of the configuration anew: `tls`.",
                System::reload,
            )
            .sudo()
            .root_only(),
        Path::new("replication/status")
            .on(read, system, off, System::replication)
            .unauthenticated(),
        Path::new("replication/performance/status")
            .on(read, system, off, System::replication)
            .unauthenticated(),
        Path::new("replication/dr/status")
            .on(read, system, off, System::replication)
            .unauthenticated(),
        Path::new("license/status")
            .on(read, system, "Tell about the license; none is needed.", System::license)
            .root_only(),
    ]
}

fn log_paths(system: &Arc<System>) -> Vec<Path> {
    vec![
        Path::new("loggers")
            .on(Operation::Read, system, "Tell what is logged.", System::log_levels)
            .on(Operation::Update, system, "Set how much is logged.", System::set_log_level)
            .on(Operation::Delete, system, "Log as configured.", System::reset_log_level)
            .root_only(),
        Path::new("loggers/{name}")
            .on(Operation::Read, system, "Tell what a part logs.", System::log_level)
            .on(Operation::Update, system, "Set how much a part logs.", System::set_log_level)
            .on(Operation::Delete, system, "Log as configured.", System::reset_log_level)
            .root_only(),
    ]
}

#[derive(Deserialize, JsonSchema)]
struct Metrics {
    /// `prometheus`, or `json`, which is the default.
    #[serde(default)]
    format: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Reload {
    /// `tls` reads the listeners' certificates anew.
    subsystem: String,
}

#[derive(Deserialize, JsonSchema)]
struct LogLevelOf {
    /// A part of the server, such as `audit`.
    #[serde(default)]
    name: Option<String>,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    #[serde(default)]
    level: String,
}

impl System {
    async fn metrics(self: Arc<Self>, request: Request<Metrics>) -> Result<Reply, Error> {
        let text = (self.settings.render_metrics)();
        let accepts = |kind| request.headers.values("accept").any(|text| text.contains(kind));
        let wanted = request.input.format.as_deref().unwrap_or_default();
        let (content_type, bytes) = match wanted {
            "" if !accepts("application/openmetrics-text") => {
                ("application/json", exposition::json(&text, request.now).into_bytes())
            }
            "json" => ("application/json", exposition::json(&text, request.now).into_bytes()),
            "prometheus" | "" => ("text/plain; version=0.0.4; charset=utf-8", text.into_bytes()),
            other => {
                let bytes = format!("metric response format {other:?} unknown").into_bytes();
                return Ok(
                    Reply::from(Body::Raw { content_type: "text/plain", bytes }).as_refused()
                );
            }
        };
        Ok(Body::Raw { content_type, bytes }.into())
    }

    async fn host_info(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        let host = self.settings.host.clone();
        // Reading about disks may wait for them.
        let told = tokio::task::spawn_blocking(move || host.info());
        let mut told = told.await.map_err(Error::internal)?;
        told.insert("timestamp".to_owned(), time(request.now).into());
        Ok(Reply::data(&told))
    }

    async fn in_flight(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let bytes = Value::Object(self.running.shown()).to_string().into_bytes();
        Ok(Body::Raw { content_type: "application/json", bytes }.into())
    }

    async fn versions(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let view = self.barrier.view(VERSIONS);
        let mut all = Vec::new();
        for name in view.list("", "", VERSIONS_MAX).await? {
            all.extend(view.get::<Version>(&name).await?);
        }
        all.sort_by_key(|one| one.installed);
        let mut keys = Vec::new();
        let mut info = Map::new();
        let mut previous = Value::Null;
        for one in all {
            let installed = time(clock::from_millis(one.installed));
            info.insert(
                one.version.clone(),
                json!({
                    "build_date": one.build_date,
                    "previous_version": previous,
                    "timestamp_installed": installed,
                }),
            );
            previous = one.version.as_str().into();
            keys.push(one.version);
        }
        Ok(Reply::data(&json!({ "keys": keys, "key_info": info })))
    }

    async fn configuration(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        Ok(Reply::data(&self.settings.host.configuration()))
    }

    async fn reload(self: Arc<Self>, request: Request<Reload>) -> Result<Reply, Error> {
        match self.settings.host.reload(&request.input.subsystem) {
            Some(Ok(())) => Ok(Reply::empty()),
            Some(Err(reason)) => Err(Error::invalid(format!("not read anew: {reason}"))),
            None => Err(Error::new(
                Code::NotFound,
                format!("there is no subsystem {:?} to reload, use tls", request.input.subsystem),
            )),
        }
    }

    async fn replication(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        Ok(Reply::data(&json!({ "mode": "disabled" })))
    }

    async fn license(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        Err(Error::new(Code::NotFound, "enterprise-only feature"))
    }

    async fn log_levels(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        Ok(Reply::data(&self.settings.host.log_levels()))
    }

    async fn log_level(self: Arc<Self>, request: Request<LogLevelOf>) -> Result<Reply, Error> {
        let name = request.input.name.unwrap_or_default();
        let mut levels = self.settings.host.log_levels();
        let level = levels.remove(&name).ok_or_else(|| no_logger(&name))?;
        Ok(Reply::data(&json!({ name: level })))
    }

    async fn set_log_level(self: Arc<Self>, request: Request<LogLevelOf>) -> Result<Reply, Error> {
        let LogLevelOf { name, level } = &request.input;
        if level.is_empty() {
            return Err(Error::invalid("level is required"));
        }
        let known = LogLevel::named(level).ok_or_else(|| {
            Error::invalid(format!("invalid level provided: unknown log level: {level}"))
        })?;
        self.log_at(name.as_deref(), Some(known))
    }

    async fn reset_log_level(
        self: Arc<Self>,
        request: Request<LogLevelOf>,
    ) -> Result<Reply, Error> {
        self.log_at(request.input.name.as_deref(), None)
    }

    fn log_at(&self, name: Option<&str>, level: Option<LogLevel>) -> Result<Reply, Error> {
        if self.settings.host.set_log_level(name, level) {
            return Ok(Reply::empty());
        }
        Err(no_logger(name.unwrap_or_default()))
    }
}

fn no_logger(name: &str) -> Error {
    Error::new(Code::NotFound, format!("logger {name:?} not found"))
}

/// A moment as RFC 3339 writes it.
pub(crate) fn time(at: SystemTime) -> String {
    let whole = Duration::from_millis(clock::to_millis(at));
    let at = SystemTime::UNIX_EPOCH.checked_add(whole).unwrap_or(at);
    Timestamp::try_from(at).map(|time| time.to_string()).unwrap_or_default()
}
