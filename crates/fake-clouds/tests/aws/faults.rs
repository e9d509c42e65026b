use std::time::Duration;

use bailee_fake_clouds::FakeAws;
use bailee_fake_clouds::aws::Fault;
use serde_json::{Value, json};

use crate::client::{Client, token};

fn put(value: &str) -> Value {
    json!({ "SecretId": "a", "SecretString": value, "ClientRequestToken": token() })
}

async fn start() -> (FakeAws, Client) {
    let aws = FakeAws::start().await;
    aws.put_secret("a", "v");
    let client = Client::new(&aws);
    (aws, client)
}

#[tokio::test]
async fn the_next_calls_are_throttled() {
    let (aws, client) = start().await;
    aws.inject(Fault::throttle("secretsmanager:Put*").times(2));
    aws.inject(Fault::throttle("sts:*").times(1));
    for _ in 0..2 {
        client.secrets("PutSecretValue", put("x")).await.refused("ThrottlingException");
    }
    client.secrets("PutSecretValue", put("x")).await.ok();
    client.sts("GetCallerIdentity", &[]).await.refused("Throttling");
    assert_eq!(aws.faults_fired("secretsmanager:PutSecretValue"), 2);
}

#[tokio::test]
async fn any_error_can_be_answered() {
    let (aws, client) = start().await;
    aws.inject(
        Fault::error("secretsmanager:*", 500, "InternalServiceError", "sorry").after(1).times(1),
    );
    client.secrets("PutSecretValue", put("x")).await.ok();
    let reply = client.secrets("PutSecretValue", put("y")).await;
    assert_eq!(reply.refused_with(500, "InternalServiceError"), "sorry");
    client.secrets("PutSecretValue", put("z")).await.ok();
    aws.inject(Fault::error("secretsmanager:*", 503, "ServiceUnavailable", ""));
    client.secrets("ListSecrets", json!({})).await.refused_with(503, "ServiceUnavailable");
    aws.clear_faults();
    client.secrets("ListSecrets", json!({})).await.ok();
}

#[tokio::test]
async fn a_lost_request_changes_nothing() {
    let (aws, client) = start().await;
    aws.inject(Fault::lose_request("secretsmanager:PutSecretValue").times(1));
    assert!(client.try_secrets("PutSecretValue", put("x")).await.is_none());
    assert_eq!(aws.secret("a").unwrap().value.as_deref(), Some("v"));
    client.secrets("PutSecretValue", put("x")).await.ok();
}

#[tokio::test]
async fn a_lost_reply_has_taken_effect() {
    let (aws, client) = start().await;
    aws.inject(Fault::lose_reply("secretsmanager:PutSecretValue").times(1));
    let body = put("x");
    assert!(client.try_secrets("PutSecretValue", body.clone()).await.is_none());
    assert_eq!(aws.secret("a").unwrap().value.as_deref(), Some("x"));
    // The retry finds its own version and makes no second one.
    client.secrets("PutSecretValue", body).await.ok();
    assert_eq!(aws.secret("a").unwrap().versions.len(), 2);
    assert_eq!(aws.call_count("secretsmanager:PutSecretValue"), 2);
}

#[tokio::test]
async fn calls_can_be_slow() {
    let (aws, client) = start().await;
    aws.seed_faults(7);
    let wait = Duration::from_millis(20);
    aws.inject(Fault::delay("secretsmanager:DescribeSecret", wait));
    aws.inject(Fault::delay_between("secretsmanager:DescribeSecret", wait, 2 * wait));
    let before = std::time::Instant::now();
    client.secrets("DescribeSecret", json!({ "SecretId": "a" })).await.ok();
    assert!(before.elapsed() >= 2 * wait);
}

#[tokio::test]
async fn a_rate_is_shared_by_its_operations() {
    let (aws, client) = start().await;
    let operations = ["secretsmanager:PutSecretValue", "secretsmanager:UpdateSecret"];
    aws.limit_rate(&operations, 0.001, 3.0);
    client.secrets("PutSecretValue", put("1")).await.ok();
    client.secrets("UpdateSecret", put("2")).await.ok();
    client.secrets("PutSecretValue", put("3")).await.ok();
    client.secrets("UpdateSecret", put("4")).await.refused("ThrottlingException");
    client.secrets("GetSecretValue", json!({ "SecretId": "a" })).await.ok();
}

#[tokio::test]
async fn aws_quotas_throttle_a_flood_of_writes() {
    let (aws, client) = start().await;
    aws.set_version_quota(1000);
    aws.limit_to_aws_quotas();
    let mut throttled = false;
    for number in 0..2000 {
        let reply = client.secrets("PutSecretValue", put(&number.to_string())).await;
        if reply.status == 400 {
            reply.refused("ThrottlingException");
            throttled = true;
            break;
        }
    }
    assert!(throttled);
}

#[tokio::test]
async fn some_calls_fail_by_a_repeatable_chance() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (aws, client) = start().await;
        aws.seed_faults(42);
        aws.inject(Fault::throttle("secretsmanager:ListSecrets").one_in(3));
        let mut fates = Vec::new();
        for _ in 0..40 {
            fates.push(client.secrets("ListSecrets", json!({})).await.status);
        }
        runs.push(fates);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].contains(&400) && runs[0].contains(&200));
}

#[tokio::test]
async fn calls_are_recorded_without_values() {
    let (aws, client) = start().await;
    client.secrets("PutSecretValue", put("canary-1")).await.ok();
    let binary =
        json!({ "SecretId": "a", "SecretBinary": "Y2FuYXJ5", "ClientRequestToken": token() });
    client.secrets("PutSecretValue", binary).await.ok();
    client.secrets("GetSecretValue", json!({ "SecretId": "missing" })).await;
    let calls = aws.calls();
    let text = format!("{calls:?}");
    assert!(!text.contains("canary-1") && !text.contains("Y2FuYXJ5"), "{text}");
    assert_eq!(calls[0].parameters["SecretId"], "a");
    assert_eq!(calls[0].principal_arn, "arn:aws:iam::123456789012:user/admin");
    assert_eq!((calls[0].status, calls[0].region.as_str()), (200, "us-east-1"));
    assert_eq!(calls[2].error.as_deref(), Some("ResourceNotFoundException"));
    assert_eq!(aws.call_counts()["secretsmanager:PutSecretValue"], 2);
    assert_eq!(
        aws.last_call("secretsmanager:GetSecretValue"),
        Some(json!({ "SecretId": "missing" }))
    );
    let shown = format!("{aws:?} {:?}", aws.administrator());
    assert!(!shown.contains(aws.secret_access_key()) && !shown.contains("canary-1"));
    aws.clear_calls();
    assert!(aws.calls().is_empty());
}
