use std::time::Duration;

use bailee_fake_clouds::FakeAws;
use serde_json::{Value, json};

use crate::client::{Client, token};

const DAY: Duration = Duration::from_secs(86_400);

async fn start() -> (FakeAws, Client) {
    let aws = FakeAws::start().await;
    aws.put_secret("a", "v");
    let client = Client::new(&aws);
    (aws, client)
}

fn creation() -> Value {
    json!({ "Name": "a", "SecretString": "new", "ClientRequestToken": token() })
}

#[tokio::test]
async fn a_secret_marked_for_deletion_can_only_be_described_and_restored() {
    let (aws, client) = start().await;
    let body = json!({ "SecretId": "a", "RecoveryWindowInDays": 7 });
    client.secrets("DeleteSecret", body).await.ok();
    for (operation, body) in [
        ("GetSecretValue", json!({ "SecretId": "a" })),
        (
            "PutSecretValue",
            json!({ "SecretId": "a", "SecretString": "x", "ClientRequestToken": token() }),
        ),
        ("UpdateSecret", json!({ "SecretId": "a", "Description": "x" })),
        ("TagResource", json!({ "SecretId": "a", "Tags": [] })),
        ("UntagResource", json!({ "SecretId": "a", "TagKeys": ["x"] })),
        ("CreateSecret", creation()),
        ("DeleteSecret", json!({ "SecretId": "a" })),
    ] {
        client.secrets(operation, body).await.refused("InvalidRequestException");
    }
    let reply = client.secrets("CreateSecret", creation()).await;
    assert!(reply.message().ends_with("is already scheduled for deletion."));
    let described = client.secrets("DescribeSecret", json!({ "SecretId": "a" })).await.ok();
    assert!(described["DeletedDate"].is_number());
    client.secrets("RestoreSecret", json!({ "SecretId": "a" })).await.ok();
    let reply = client.secrets("GetSecretValue", json!({ "SecretId": "a" })).await.ok();
    assert_eq!(reply["SecretString"], "v");
    assert_eq!(aws.secret("a").unwrap().deleted_at, None);
}

#[tokio::test]
async fn the_recovery_window_runs_out() {
    let (aws, client) = start().await;
    let body = json!({ "SecretId": "a", "RecoveryWindowInDays": 7 });
    client.secrets("DeleteSecret", body).await.ok();
    aws.advance(6 * DAY);
    assert!(aws.secret("a").is_some());
    aws.advance(DAY);
    assert!(aws.secret("a").is_none());
    client.secrets("CreateSecret", creation()).await.ok();
}

#[tokio::test]
async fn windows_have_bounds_and_exclude_force() {
    let (aws, client) = start().await;
    for body in [
        json!({ "SecretId": "a", "RecoveryWindowInDays": 6 }),
        json!({ "SecretId": "a", "RecoveryWindowInDays": 31 }),
        json!({ "SecretId": "a", "RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": true }),
    ] {
        client.secrets("DeleteSecret", body).await.refused("InvalidParameterException");
    }
    client.secrets("DeleteSecret", json!({ "SecretId": "a" })).await.ok();
    let secret = aws.secret("a").unwrap();
    let window = secret.deleted_for_good_at.unwrap().duration_since(secret.deleted_at.unwrap());
    assert_eq!(window.unwrap(), 30 * DAY);
}

#[tokio::test]
async fn deleting_by_force_also_succeeds_on_nothing() {
    let (aws, client) = start().await;
    let body = json!({ "SecretId": "a", "ForceDeleteWithoutRecovery": true });
    client.secrets("DeleteSecret", body.clone()).await.ok();
    assert!(aws.secret("a").is_none());
    client.secrets("DeleteSecret", body).await.ok();
    let body = json!({ "SecretId": "a" });
    client.secrets("DeleteSecret", body).await.refused("ResourceNotFoundException");
    client.secrets("CreateSecret", creation()).await.ok();
}

#[tokio::test]
async fn a_name_deleted_by_force_may_still_be_occupied() {
    let (aws, client) = start().await;
    aws.set_force_delete_delay(Duration::from_secs(300));
    let body = json!({ "SecretId": "a", "ForceDeleteWithoutRecovery": true });
    client.secrets("DeleteSecret", body).await.ok();
    client.secrets("CreateSecret", creation()).await.refused("InvalidRequestException");
    aws.advance(Duration::from_secs(301));
    client.secrets("CreateSecret", creation()).await.ok();
}

#[tokio::test]
async fn a_replicated_secret_is_deleted_only_after_its_replicas() {
    let (aws, client) = start().await;
    let body = json!({ "SecretId": "a", "AddReplicaRegions": [{ "Region": "eu-west-1" }] });
    let reply = client.secrets("ReplicateSecretToRegions", body).await.ok();
    assert_eq!(reply["ReplicationStatus"][0]["Status"], "InSync");
    aws.put_secret("b", "unrelated");
    let put = json!({ "SecretId": "a", "SecretString": "v2", "ClientRequestToken": token() });
    client.secrets("PutSecretValue", put.clone()).await.ok();
    let replica = aws.secret_in("eu-west-1", "a").unwrap();
    assert_eq!(replica.value.as_deref(), Some("v2"));
    assert_eq!(replica.primary_region.as_deref(), Some("us-east-1"));
    let west = client.clone().region("eu-west-1");
    west.secrets("PutSecretValue", put).await.refused("InvalidRequestException");
    let delete = json!({ "SecretId": "a" });
    client.secrets("DeleteSecret", delete.clone()).await.refused("InvalidRequestException");
    let body = json!({ "SecretId": "a", "RemoveReplicaRegions": ["eu-west-1"] });
    client.secrets("RemoveRegionsFromReplication", body).await.ok();
    assert!(aws.secret_in("eu-west-1", "a").is_none());
    client.secrets("DeleteSecret", delete).await.ok();
}

#[tokio::test]
async fn a_replica_does_not_overwrite_unless_told() {
    let (aws, client) = start().await;
    aws.put_secret_in("eu-west-1", "a", "theirs");
    let mut body = json!({ "SecretId": "a", "AddReplicaRegions": [{ "Region": "eu-west-1" }] });
    let reply = client.secrets("ReplicateSecretToRegions", body.clone()).await.ok();
    assert_eq!(reply["ReplicationStatus"][0]["Status"], "Failed");
    assert_eq!(aws.secret_in("eu-west-1", "a").unwrap().value.as_deref(), Some("theirs"));
    body["ForceOverwriteReplicaSecret"] = json!(true);
    client.secrets("ReplicateSecretToRegions", body).await.ok();
    assert_eq!(aws.secret_in("eu-west-1", "a").unwrap().value.as_deref(), Some("v"));
}
