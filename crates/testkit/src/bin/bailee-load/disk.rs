//! The anchor of durable writes: a file that grows by a page and is flushed, one after another.

use crate::quantile;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// What one append writes: as much as a small commit to the storage.
const PAGE: [u8; 4096] = [7; 4096];

pub(crate) fn measure(folder: &Path, time: Duration) -> Value {
    let mut file = File::create(folder.join("append")).expect("the folder takes a file");
    let mut latencies = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let sent = Instant::now();
        file.write_all(&PAGE).and_then(|()| file.sync_data()).expect("the disk takes a page");
        latencies.push(sent.elapsed().as_secs_f64() * 1000.0);
    }
    let seconds = started.elapsed().as_secs_f64();
    json!({
        "per_second": latencies.len() as f64 / seconds,
        "p50_ms": quantile(&mut latencies, 0.5),
        "p99_ms": quantile(&mut latencies, 0.99),
    })
}
