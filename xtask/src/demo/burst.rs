//! Writes as fast as the command line goes, and the server's death among them.

use super::{shell::Shell, view::Seen};
use anyhow::Result;
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::task::JoinHandle;

/// A writer of one secret: the numbers 1, 2, 3, … until told to stop or refused.
pub(super) struct Writer {
    pub(super) path: String,
    task: JoinHandle<Vec<(u64, f64)>>,
}

/// All writers of a burst.
pub(super) struct Burst {
    writers: Vec<Writer>,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// What one writer was told.
pub(super) struct Written {
    pub(super) path: String,
    /// Numbers with the time at which the command ended well.
    pub(super) acknowledged: Vec<(u64, f64)>,
}

impl Burst {
    /// Starts a writer a secret, each beginning after `from`.
    pub(super) fn start(shell: &Shell, paths: &[&str], from: u64) -> Burst {
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let writers = paths.iter().map(|path| {
            let (shell, path) = (shell.clone(), (*path).to_owned());
            let (count, stop) = (acknowledged.clone(), stop.clone());
            let secret = format!("secret/{path}");
            let task = tokio::spawn(async move {
                let mut done = Vec::new();
                let mut number = from;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let field = format!("n={number}");
                    let put = shell.quietly(&["kv", "put", &secret, &field], "").await;
                    // Refused, or cut off: nobody was told that it is stored.
                    let Ok(ran) = put else { break };
                    count.fetch_add(1, Ordering::Relaxed);
                    done.push((number, ran.ended));
                }
                done
            });
            Writer { path, task }
        });
        Burst { writers: writers.collect(), acknowledged, stop }
    }

    /// How many writes were acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Whether any writer still writes.
    pub(super) fn is_running(&self) -> bool {
        self.writers.iter().any(|writer| !writer.task.is_finished())
    }

    /// Lets every writer finish what it is at.
    pub(super) async fn end(self) -> Result<Vec<Written>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for writer in self.writers {
            all.push(Written { path: writer.path, acknowledged: writer.task.await? });
        }
        Ok(all)
    }
}

/// The number in a value such as `{"n":"7"}`; 0 for anything else.
pub(super) fn number(value: Option<&str>) -> u64 {
    let document: Option<Value> = value.and_then(|text| serde_json::from_str(text).ok());
    let number = document.as_ref().and_then(|document| document.get("n"));
    match number {
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        Some(other) => other.as_u64().unwrap_or(0),
        None => 0,
    }
}

/// Whether what was seen of each name never went back.
pub(super) fn never_went_back(seen: &Seen) -> bool {
    seen.values().all(|states| {
        let numbers: Vec<u64> = states.iter().map(|(_, value)| number(value.as_deref())).collect();
        numbers.is_sorted()
    })
}

/// Seconds from each acknowledgement until that number, or a later one, was seen; sorted.
pub(super) fn latencies(
    written: &[Written],
    seen: &Seen,
    name: impl Fn(&str) -> String,
) -> Vec<f64> {
    let mut all = Vec::new();
    for writer in written {
        let states = seen.get(&name(&writer.path)).map(Vec::as_slice).unwrap_or_default();
        for (wanted, ended) in &writer.acknowledged {
            let arrived = states.iter().find(|(_, value)| number(value.as_deref()) >= *wanted);
            if let Some((at, _)) = arrived {
                all.push((at - ended).max(0.0));
            }
        }
    }
    all.sort_by(f64::total_cmp);
    all
}
