//! From the answer of a write until the fake AWS holds the value.

use crate::quantile;
use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Options, Sync, TestServer};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Time between two looks at the fake.
const LOOK: Duration = Duration::from_micros(200);
/// Pause between writes: AWS takes fifty a second, and so does the destination.
const PAUSE: Duration = Duration::from_millis(25);
/// Longest wait for a delivery.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn measure(count: u64) -> Value {
    let aws = FakeAws::start().await;
    aws.set_version_quota(usize::MAX);
    let server = TestServer::start_with(Options::delivering_to(&aws)).await;
    let sync = server.sync();
    sync.activate().await;
    sync.destination_with("fake", Sync::fields(&aws)).await.done();
    server.api().write("app", json!({ "n": 0 })).await;
    sync.set("fake", "app").await.done();
    let (mut latencies, mut lost) = (Vec::new(), 0_u64);
    for number in 1..=count {
        server.api().write("app", json!({ "n": number })).await;
        let acknowledged = Instant::now();
        match tokio::task::block_in_place(|| arrived(&aws, number)) {
            true => latencies.push(acknowledged.elapsed().as_secs_f64() * 1000.0),
            false => lost += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
    json!({
        "p50_ms": quantile(&mut latencies, 0.5),
        "p99_ms": quantile(&mut latencies, 0.99),
        "lost": lost,
    })
}

fn arrived(aws: &FakeAws, number: u64) -> bool {
    let wanted = json!({ "n": number }).to_string();
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if aws.secret("vault/app").and_then(|secret| secret.value).as_ref() == Some(&wanted) {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
}
