//! Speed and memory of the server, for `cargo xtask bench`: prints one JSON object of figures.
//!
//! Machines differ and are shared; so every run also measures anchors (a health request, a raw
//! flushed append), and the figures that count are ratios to them.

mod agent;
mod connection;
mod delivery;
mod disk;
mod floor;
mod load;
mod process;
mod replicate;

use bailee_testkit::{Options, TestServer};
use serde_json::{Map, Value, json};
use std::{
    ffi::OsString,
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Connections at one time.
const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// Secrets that are read and written, at random.
const SECRETS: u64 = 1000;
/// Starts whose median counts.
const STARTS: usize = 5;
/// The policy of the ordinary token, beside `default`.
const POLICY: &str =
    r#"path "secret/*" { capabilities = ["create", "read", "update", "delete", "list"] }"#;

/// How long and how often.
#[derive(Clone, Copy)]
struct Effort {
    warm_up: Duration,
    measure: Duration,
    deliveries: u64,
    replicated: u64,
}

const FULL: Effort = Effort {
    warm_up: Duration::from_millis(700),
    measure: Duration::from_secs(5),
    deliveries: 400,
    replicated: 10_000,
};
const QUICK: Effort = Effort {
    warm_up: Duration::from_millis(200),
    measure: Duration::from_millis(1200),
    deliveries: 60,
    replicated: 500,
};

fn main() -> ExitCode {
    if let Some(port) = behind("--floor").and_then(|port| port.to_str()?.parse().ok()) {
        return floor::serve(port);
    }
    let given = |option: &str| std::env::args().any(|argument| argument == option);
    let effort = if given("--quick") { QUICK } else { FULL };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("the runtime starts");
    let figures = match behind("--agent").map(PathBuf::from) {
        // The agent alone, beside AWS's where that is given.
        Some(ours) => {
            let theirs = behind("--beside").map(PathBuf::from);
            runtime.block_on(agent::measure(&ours, theirs.as_deref(), effort))
        }
        None if given("--replicate") => runtime.block_on(replicate::measure(effort)),
        None => runtime.block_on(measure(effort)),
    };
    let printed = writeln!(std::io::stdout(), "{figures}");
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is given behind an option.
fn behind(option: &str) -> Option<OsString> {
    std::env::args_os().skip_while(|argument| argument != option).nth(1)
}

/// Says on standard error what is being measured.
fn tell(text: &str) {
    drop(writeln!(std::io::stderr(), "    {text}"));
}

async fn measure(effort: Effort) -> Value {
    let mut figures = Map::new();
    tell("a server on embedded storage, with 1,000 secrets");
    let mut server = TestServer::start_with(Options::default()).await;
    figures.insert("memory_idle_kib".to_owned(), json!(process::memory_kib(server.pid())));
    let token = ordinary_token(&server).await;
    for number in 0..SECRETS {
        server
            .api()
            .write(&format!("app/{number}"), json!({ "n": 0, "filler": "x".repeat(100) }))
            .await;
    }
    tell("raw flushed appends on the same disk");
    figures.insert("append".to_owned(), disk::measure(server.folder(), effort.measure));
    for connections in CONNECTIONS {
        for kind in [load::Kind::Health, load::Kind::Read, load::Kind::Write] {
            tell(&format!("{} over {connections} connections", kind.name()));
            let figure = load::measure(&server, &token, kind, connections, effort).await;
            figures.insert(format!("{}_{connections}", kind.name()), figure);
        }
    }
    figures.insert("memory_loaded_kib".to_owned(), json!(process::memory_kib(server.pid())));
    tell("starts");
    figures.insert("start".to_owned(), starts(&mut server).await);
    tell("deliveries to the fake");
    figures.insert("delivery".to_owned(), delivery::measure(effort.deliveries).await);
    Value::Object(figures)
}

async fn ordinary_token(server: &TestServer) -> String {
    let api = server.api();
    api.put("sys/policies/acl/load", json!({ "policy": POLICY })).await.done();
    let made = api.post("auth/token/create", json!({ "policies": ["load"], "ttl": "2h" })).await;
    made.ok().text("/auth/client_token")
}

/// From the start of the process until it answers, and until it is unsealed; on data that a killed
/// server left.
async fn starts(server: &mut TestServer) -> Value {
    let (mut answering, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        server.kill();
        let started = Instant::now();
        server.start_again().await;
        answering.push(started.elapsed().as_secs_f64() * 1000.0);
        server.unseal().await;
        ready.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    json!({ "answering_ms": median(&mut answering), "unsealed_ms": median(&mut ready) })
}

fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies; sorts them.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or_default()
}
