//! What is logged, and how that is changed while the server runs.

use crate::config::Config;
use anyhow::{Context, Result};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use tracing::{Level, Subscriber};
use tracing_subscriber::{
    Layer, Registry,
    filter::{FilterExt, Targets, filter_fn},
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

/// Parts of the server that log, and where in the program they are.
const PARTS: [(&str, &str); 14] = [
    ("audit", "bailee_kernel::audit"),
    ("auth", "bailee_engines::auth"),
    ("barrier", "bailee_barrier"),
    ("core", "bailee_kernel"),
    ("expiration", "bailee_kernel::lease"),
    ("identity", "bailee_kernel::identity"),
    ("policy", "bailee_kernel::policy"),
    ("quotas", "bailee_kernel::quota"),
    ("secrets", "bailee_engines::secret"),
    ("server", "bailee_server"),
    ("storage", "bailee_storage"),
    ("sync", "bailee_secret_sync"),
    ("system", "bailee_kernel::system"),
    ("token", "bailee_kernel::token"),
];
const LEVELS: [Level; 5] = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];

/// The log, once it is started.
pub struct Logs {
    /// As configured.
    configured: String,
    changed: Mutex<Changed>,
    apply: Box<dyn Fn(Targets) + Send + Sync>,
}

/// What was changed since the start.
#[derive(Default)]
struct Changed {
    all: Option<&'static str>,
    parts: BTreeMap<&'static str, &'static str>,
}

impl Logs {
    /// Starts logging.
    pub fn start(config: &Config) -> Result<Arc<Logs>> {
        let handle = write(&config.log_level, config.log_json)?;
        Ok(Arc::new(Logs {
            configured: config.log_level.clone(),
            changed: Mutex::default(),
            apply: Box::new(move |chosen| drop(handle.reload(chosen))),
        }))
    }

    /// The least severe level of each part.
    pub fn levels(&self) -> BTreeMap<String, String> {
        let chosen = self.chosen(&self.changed.lock());
        let level = |target: &str| {
            let first = LEVELS.iter().find(|level| chosen.would_enable(target, level));
            first.map_or_else(|| "off".to_owned(), |level| level.as_str().to_lowercase())
        };
        PARTS.iter().map(|(name, target)| ((*name).to_owned(), level(target))).collect()
    }

    /// Sets the level of a part, or of all; `None` is as configured. `false` when there is no such
    /// part.
    pub fn set(&self, part: Option<&str>, level: Option<&'static str>) -> bool {
        let mut changed = self.changed.lock();
        match part {
            None => *changed = Changed { all: level, parts: BTreeMap::new() },
            Some(part) => {
                let Some((_, target)) = PARTS.iter().find(|(name, _)| *name == part) else {
                    return false;
                };
                match level {
                    Some(level) => changed.parts.insert(*target, level),
                    None => changed.parts.remove(*target),
                };
            }
        }
        (self.apply)(self.chosen(&changed));
        true
    }

    fn chosen(&self, changed: &Changed) -> Targets {
        let mut text = changed.all.unwrap_or(&self.configured).to_owned();
        for (target, level) in &changed.parts {
            text.push_str(&format!(",{target}={level}"));
        }
        text.parse().unwrap_or_default()
    }
}

/// Starts writing log lines of a level, or of directives such as `info,bailee_secret_sync=debug`; the handle changes
/// them later.
pub(crate) fn write(level: &str, json: bool) -> Result<reload::Handle<Targets, Registry>> {
    let chosen: Targets = level.parse().with_context(|| format!("log level {level:?}"))?;
    let (chosen, handle) = reload::Layer::new(chosen);
    tracing_subscriber::registry()
        .with(lines(json).with_filter(chosen.and(ours())))
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    Ok(handle)
}

fn lines<S>(json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    if json { lines.json().boxed() } else { lines.boxed() }
}

/// Libraries below us write requests and credentials at their finer levels.
fn ours() -> tracing_subscriber::filter::FilterFn {
    filter_fn(|event| event.target().starts_with("bailee") || *event.level() <= Level::WARN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_set_and_set_back() {
        let logs = Logs {
            configured: "info,bailee_secret_sync=warn".to_owned(),
            changed: Mutex::default(),
            apply: Box::new(|_| {}),
        };
        assert_eq!((&*logs.levels()["core"], &*logs.levels()["sync"]), ("info", "warn"));
        assert!(logs.set(Some("sync"), Some("trace")));
        assert!(!logs.set(Some("nothing"), Some("trace")));
        assert_eq!(logs.levels()["sync"], "trace");
        assert!(logs.set(None, Some("error")));
        assert_eq!((&*logs.levels()["core"], &*logs.levels()["sync"]), ("error", "error"));
        assert!(logs.set(None, None));
        assert_eq!(logs.levels()["sync"], "warn");
    }
}
