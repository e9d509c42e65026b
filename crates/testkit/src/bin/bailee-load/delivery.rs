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
/// Writes of one secret: fewer than the versions of a day that go through without a wait.
const WRITES: u64 = 25;
/// Longest wait for a delivery.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn measure(count: u64) -> Value {
    let aws = FakeAws::start().await;
    aws.set_version_quota(usize::MAX);
    let server = TestServer::start_with(Options::delivering_to(&aws)).await;
    let sync = server.sync();
    sync.activate().await;
    sync.destination_with("fake", Sync::fields(&aws)).await.done();
    let (mut latencies, mut lost) = (Vec::new(), 0_u64);
    for number in 1..=count {
        let secret = format!("app-{}", number / WRITES);
        if number == 1 || number % WRITES == 0 {
            server.api().write(&secret, json!({ "n": 0 })).await;
            sync.set("fake", &secret).await.done();
        }
        server.api().write(&secret, json!({ "n": number })).await;
        let acknowledged = Instant::now();
        match tokio::task::block_in_place(|| arrived(&aws, &secret, number)) {
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

fn arrived(aws: &FakeAws, secret: &str, number: u64) -> bool {
    let name = format!("vault/{secret}");
    let wanted = json!({ "n": number }).to_string();
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if aws.secret(&name).and_then(|secret| secret.value).as_ref() == Some(&wanted) {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
}
