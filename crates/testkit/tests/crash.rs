//! The server dies at any moment, AWS fails in every way: nothing acknowledged is lost, AWS ends at
//! the newest value and never shows an older one after a newer.

#![expect(clippy::print_stdout, reason = "a test that panics is a test that fails")]

use bailee_fake_clouds::{FakeAws, aws::Fault};
use bailee_testkit::{Api, Ask, Dice, Sync, TestServer, eventually, is_slow};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// Seeds of a quick run and of a slow one.
const SEEDS: u64 = 4;
const SEEDS_SLOW: u64 = 50;
/// Secrets, and clients that write each of them.
const SECRETS: [&str; 3] = ["app/db", "app/api/key", "web"];
const CLIENTS: u64 = 2;

/// What a client was told: secret, version, value.
type Acknowledged = Vec<(&'static str, u64, Value)>;

/// A client that writes until told to stop; unanswered writes are repeated with another value, as
/// nobody knows what became of them.
fn client(
    api: Api,
    secret: &'static str,
    number: u64,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> JoinHandle<Acknowledged> {
    tokio::spawn(async move {
        let mut told = Vec::new();
        let mut turn = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            turn += 1;
            let value = json!({ "client": number, "turn": turn });
            let ask = Ask::new("PUT", &format!("secret/data/{secret}"));
            let answer = api.try_send(ask.json(&json!({ "data": value }))).await;
            match answer {
                Ok(answer) if answer.status == 200 => {
                    let version = answer.at("/data/version").as_u64().expect("a version");
                    told.push((secret, version, value));
                    count.fetch_add(1, Ordering::Relaxed);
                }
                // Dead, sealed, or its disk is full.
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        told
    })
}

/// Every version that the server holds of a secret, and its newest.
async fn versions(api: &Api, secret: &str) -> BTreeMap<u64, Value> {
    let metadata = api.get(&format!("secret/metadata/{secret}")).await.ok();
    let newest = metadata.at("/data/current_version").as_u64().expect("a newest version");
    let mut found = BTreeMap::new();
    for version in 1..=newest {
        let answer = api.get(&format!("secret/data/{secret}?version={version}")).await.ok();
        found.insert(version, answer.at("/data/data"));
    }
    found
}

/// Checks what was written against what is stored, and what is stored against AWS.
async fn check(seed: u64, server: &TestServer, aws: &FakeAws, told: &Acknowledged) {
    for secret in SECRETS {
        let stored = versions(server.api(), secret).await;
        for (_, version, value) in told.iter().filter(|(path, ..)| *path == secret) {
            let kept = stored.get(version);
            assert_eq!(
                kept,
                Some(value),
                "seed {seed}: {secret} version {version} was acknowledged"
            );
        }
        let newest = stored.values().next_back().cloned().expect("at least one version");
        let name = format!("vault/{secret}");
        let held = || aws.secret(&name).and_then(|held| held.value);
        eventually(&format!("seed {seed}: AWS holds the newest {secret}, {newest}"), async || {
            held().and_then(|text| serde_json::from_str::<Value>(&text).ok()).as_ref()
                == Some(&newest)
        })
        .await;
        let order: BTreeMap<String, u64> =
            stored.iter().map(|(version, value)| (value.to_string(), *version)).collect();
        let history = aws.secret(&name).expect("it is there").versions;
        let shown: Vec<u64> = history
            .iter()
            .map(|version| {
                let text = version.text.clone().unwrap_or_default();
                let value: Value = serde_json::from_str(&text).expect("JSON is delivered");
                *order.get(&value.to_string()).expect("AWS holds only what is stored here")
            })
            .collect();
        assert!(shown.is_sorted(), "seed {seed}: {secret} went back in AWS: {shown:?}");
        server.sync().until("fake", secret, "SYNCED").await;
    }
    server.assert_no_panic();
}

/// AWS as it is on a bad day, drawn from the seed.
fn trouble(aws: &FakeAws, seed: u64) {
    aws.set_version_quota(100_000);
    aws.seed_faults(seed);
    aws.inject(Fault::delay_between(
        "secretsmanager:*",
        Duration::from_millis(1),
        Duration::from_millis(1 + seed % 12),
    ));
    // Every second seed is mild: then more versions arrive, whose order is what is looked at.
    let rare = if seed.is_multiple_of(2) { 6 } else { 1 };
    aws.inject(Fault::throttle("secretsmanager:*").one_in(6 * rare));
    aws.inject(Fault::lose_reply("secretsmanager:*Secret*").one_in(5 * rare));
    aws.inject(Fault::lose_request("secretsmanager:*").one_in(9 * rare));
}

/// Waits until clients are told of some writes and AWS is called some times.
async fn get_on(seed: u64, aws: &FakeAws, count: &AtomicU64) {
    let (written, called) = (count.load(Ordering::Relaxed), aws.calls().len());
    eventually(&format!("seed {seed}: writes and deliveries get on"), async || {
        count.load(Ordering::Relaxed) > written + 5 && aws.calls().len() > called + 8
    })
    .await;
}

/// Lets clients write while the server dies `kills` times.
async fn burst(seed: u64, kills: u64) {
    let mut dice = Dice::new(seed);
    let aws = FakeAws::start().await;
    let mut server = TestServer::delivering_to(&aws).await;
    server.sync().destination_with("fake", Sync::fields(&aws)).await.done();
    for secret in SECRETS {
        let keep_all = json!({ "max_versions": 4096 });
        server.api().put(&format!("secret/metadata/{secret}"), keep_all).await.done();
        server.api().write(secret, json!({ "client": 0, "turn": 0 })).await;
        server.sync().set("fake", secret).await.done();
    }
    trouble(&aws, seed);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = Vec::new();
    for secret in SECRETS {
        for number in 1..=CLIENTS {
            let api = server.api().clone();
            clients.push(client(api, secret, number, stop.clone(), count.clone()));
        }
    }
    for _ in 0..kills {
        get_on(seed, &aws, &count).await;
        tokio::time::sleep(Duration::from_micros(dice.below(150_000))).await;
        server.kill();
        server.restart().await;
    }
    get_on(seed, &aws, &count).await;
    stop.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for client in clients {
        told.extend(client.await.expect("a client does not fail"));
    }
    let operations = ["CreateSecret", "UpdateSecret", "TagResource", "ListSecrets"];
    let struck = operations.map(|name| aws.faults_fired(&format!("secretsmanager:{name}")));
    let (written, struck) = (told.len(), struck.iter().sum::<u64>());
    let versions: usize = aws.secrets().iter().map(|secret| secret.versions.len()).sum();
    println!(
        "seed {seed}: {written} writes acknowledged, {versions} versions in AWS, {struck} faults"
    );
    aws.clear_faults();
    check(seed, &server, &aws, &told).await;
}

fn seeds() -> u64 {
    if is_slow() { SEEDS_SLOW } else { SEEDS }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed_in_a_burst() {
    for seed in 1..=seeds() {
        burst(seed, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_disk_refuses_was_not_acknowledged() {
    for seed in 1..=seeds().div_ceil(4) {
        let mut dice = Dice::new(seed);
        let aws = FakeAws::start().await;
        let mut server = TestServer::delivering_to(&aws).await;
        server.sync().destination_with("fake", Sync::fields(&aws)).await.done();
        let mut told = Acknowledged::new();
        for secret in SECRETS {
            server
                .api()
                .put(&format!("secret/metadata/{secret}"), json!({ "max_versions": 4096 }))
                .await
                .done();
            let value = json!({ "client": 0, "turn": 0 });
            told.push((secret, server.api().write(secret, value.clone()).await, value));
            server.sync().set("fake", secret).await.done();
        }
        // No file may grow beyond this; the signal that would say so is ignored, so that writes fail
        // as they do on a full disk.
        let blocks = 500 + dice.below(1500);
        server.options_mut().shell = Some(format!("trap '' XFSZ; ulimit -f {blocks}"));
        server.restart().await;
        let filling = "x".repeat(20_000);
        let mut refused = 0;
        for turn in 1..400_u64 {
            let secret = SECRETS[usize::try_from(turn % 3).unwrap()];
            let value = json!({ "client": 1, "turn": turn, "filling": filling });
            let ask = Ask::new("PUT", &format!("secret/data/{secret}"));
            let answer = server.api().try_send(ask.json(&json!({ "data": value }))).await;
            match answer {
                Ok(answer) if answer.status == 200 => {
                    let version = answer.at("/data/version").as_u64().expect("a version");
                    told.push((secret, version, value));
                }
                Ok(answer) => {
                    assert!(answer.status >= 500, "seed {seed}: {answer:?}");
                    refused += 1;
                }
                Err(_) => refused += 1,
            }
            if refused > 3 {
                break;
            }
        }
        assert!(refused > 0, "seed {seed}: the disk was never full");
        server.kill();
        server.options_mut().shell = None;
        server.restart().await;
        check(seed, &server, &aws, &told).await;
    }
}
