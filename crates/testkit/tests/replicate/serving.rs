//! Runs by schedule, beside each other, and cut off.

use crate::world::{World, counts};
use bailee_fake_clouds::aws::Fault;
use bailee_testkit::eventually;
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_told_what_failed_in_the_words_of_the_sample_and_that_a_run_did_not_begin() {
    let mut world = World::connected().await;
    let topic = world.aws.create_topic("failures");
    world.configure(&format!("notify \"sns\" {{ topic_arn = {topic:?} }}"));
    let printed = world.replicate(&["policy", "-config=replicate.hcl"]).await;
    world.key = world.aws.create_user("replicator", &[&printed.out]);
    world.write("a", json!({ "n": 1 })).await;
    world.runs().await;
    assert_eq!(world.aws.messages(&topic), []);
    world.write("large", json!({ "x": "x".repeat(65_530) })).await;
    assert_eq!(world.run().await.code, 2);
    let text = |at: usize| world.aws.messages(&topic)[at].text.clone();
    let start = "Account: 123456789012, Region: us-east-1. Failed to create/update the following \
                 secrets: [{\"secretName\":\"apps/large\",\"error\":\"the value is 65538 bytes";
    assert!(text(0).starts_with(start), "{}", text(0));
    assert!(text(0).ends_with("}] "), "{}", text(0));
    world.server.api().put("sys/seal", json!({})).await.done();
    assert_eq!(world.run().await.code, 2);
    assert!(text(1).contains("did not begin") && text(1).contains("sealed"), "{}", text(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_runs_at_once_and_ends_when_it_is_told_to() {
    let world = World::connected().await;
    world.write("a", json!({ "n": 1 })).await;
    let mut serving = world.command(&["serve", "-config=replicate.hcl", "-schedule=12h"]);
    let mut serving = serving.stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("the first run", async || world.value("apps/a").is_some()).await;
    let pid = serving.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(serving.wait().await.unwrap().success());
    let wrong = world.replicate(&["serve", "-config=replicate.hcl", "-schedule=sometimes"]).await;
    assert!(wrong.code == 1 && wrong.err.contains("schedule"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beside_another_of_the_same_file_does_nothing() {
    let world = World::connected().await;
    world.write("a", json!({ "n": 1 })).await;
    let held = std::fs::File::open(world.folder.path().join("replicate.hcl")).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let second = world.run().await;
    assert!(second.code == 2 && second.out.contains("another run holds the lock"), "{second:?}");
    assert!(world.value("apps/a").is_none());
    drop(held);
    world.runs().await;
}

/// A program that serves, and where it tells of itself.
async fn serving(world: &World, more: &[&str]) -> (Child, String) {
    let mut arguments =
        vec!["serve", "-config=replicate.hcl", "-schedule=12h", "-listen=127.0.0.1:0"];
    arguments.extend(more);
    let mut command = world.command(&arguments);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some((_, rest)) = line.split_once("http://") {
            let (address, _) = rest.split_once('/').unwrap();
            return (child, format!("http://{address}"));
        }
    }
}

async fn told(address: &str, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{address}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_tells_its_health_and_counts_what_it_did_without_names() {
    let world = World::connected().await;
    world.write("canary", json!({ "n": 1 })).await;
    world.write("large", json!({ "x": "x".repeat(65_530) })).await;
    let (_child, address) = serving(&world, &[]).await;
    eventually("a run has ended", async || {
        told(&address, "/metrics").await.1.contains("runs{outcome=\"failed\"} 1")
    })
    .await;
    let (status, health) = told(&address, "/health").await;
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["last_run"]["outcome"]), (200, &json!("failed")));
    assert!(health["next_run_at"].is_string() && health["last_success_at"].is_null(), "{health}");
    let (status, metrics) = told(&address, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "vault_secrets_replication_secrets{outcome=\"created\"} 1",
        "vault_secrets_replication_last_run_secrets{outcome=\"failed\"} 1",
        "vault_secrets_replication_healthy 1",
        "vault_secrets_sync_calls{type=\"aws-sm\",call=\"put\",outcome=\"ok\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    for secret in ["canary", "large", &world.token] {
        assert!(!metrics.contains(secret) && !health.to_string().contains(secret), "{secret}");
    }
    assert_eq!(told(&address, "/v1/sys/health").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_is_unhealthy_when_the_last_success_is_too_long_ago() {
    let world = World::connected().await;
    let (_child, address) = serving(&world, &["-healthy-for=1s"]).await;
    eventually("it is unhealthy", async || told(&address, "/health").await.0 == 503).await;
    assert!(told(&address, "/metrics").await.1.contains("vault_secrets_replication_healthy 0"));
    let taken = address.trim_start_matches("http://");
    let config = "-config=replicate.hcl";
    let second =
        world.replicate(&["serve", config, "-schedule=12h", &format!("-listen={taken}")]).await;
    assert!(second.code == 1 && second.err.contains("listen"), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_between_value_and_tags_is_finished_by_the_next_with_one_version() {
    let world = World::connected().await;
    world.write("a", json!({ "n": 1 })).await;
    world.runs().await;
    world.write("a", json!({ "n": 2 })).await;
    // The value lands, and the tags wait for longer than the program lives.
    world.aws.inject(Fault::delay("secretsmanager:TagResource", Duration::from_secs(3600)));
    let mut command = world.command(&["run", "-config=replicate.hcl"]);
    let mut running = command.stdout(Stdio::null()).spawn().unwrap();
    eventually("the tags are on their way", async || {
        world.aws.faults_fired("secretsmanager:TagResource") == 1
    })
    .await;
    running.kill().await.unwrap();
    let half = world.aws.secret("apps/a").unwrap();
    assert_eq!(world.value("apps/a"), Some(json!({ "n": 2 })));
    assert_eq!((half.tags["version"].as_str(), half.versions.len()), ("1", 2));
    world.aws.clear_faults();
    let planned = world.replicate(&["plan", "-config=replicate.hcl"]).await;
    assert!(planned.code == 2 && planned.out.contains("retag"), "{planned:?}");
    world.calls();
    assert!(world.runs().await.contains("retagged apps/a"));
    let calls = counts(&[("GetSecretValue", 1), ("ListSecrets", 1), ("TagResource", 1)]);
    assert_eq!(world.calls(), calls);
    let whole = world.aws.secret("apps/a").unwrap();
    assert_eq!((whole.tags["version"].as_str(), whole.versions.len()), ("2", 2));
    assert!(world.runs().await.contains("1 unchanged"));
}
