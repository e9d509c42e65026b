use bailee_fake_clouds::FakeAws;
use serde_json::{Value, json};

use crate::client::{Client, Reply, token};

fn policy(statements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)
}

/// A client whose user has one policy of these statements.
async fn user(statements: &str) -> (FakeAws, Client) {
    let aws = FakeAws::start().await;
    let key = aws.create_user("sync", &[&policy(statements)]);
    let client = Client::with_key(&aws, key);
    (aws, client)
}

fn creation(name: &str, more: &Value) -> Value {
    let mut body = json!({ "Name": name, "SecretString": "v", "ClientRequestToken": token() });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

fn denied(reply: &Reply, action: &str) {
    let message = reply.refused("AccessDeniedException");
    assert!(message.contains(&format!("is not authorized to perform: {action} on")), "{message}");
}

#[tokio::test]
async fn a_refusal_names_who_what_and_why() {
    let (aws, client) =
        user(r#"{"Effect":"Allow","Action":"secretsmanager:CreateSecret","Resource":"*"}"#).await;
    let tagged = creation("vault/a", &json!({ "Tags": [{ "Key": "k", "Value": "v" }] }));
    let reply = client.secrets("CreateSecret", tagged).await;
    assert_eq!(
        reply.refused("AccessDeniedException"),
        "User: arn:aws:iam::123456789012:user/sync is not authorized to perform: \
         secretsmanager:TagResource on resource: vault/a because no identity-based policy allows \
         the secretsmanager:TagResource action"
    );
    assert!(aws.secret("vault/a").is_none());
    client.secrets("CreateSecret", creation("vault/a", &json!({}))).await.ok();
    assert_eq!(aws.calls()[0].error.as_deref(), Some("AccessDeniedException"));
}

/// The policy that Vault's documentation asks for.
const DOCUMENTED: &str = r#"{"Effect":"Allow","Action":["secretsmanager:Create*","secretsmanager:Update*","secretsmanager:Delete*","secretsmanager:TagResource"],"Resource":"arn:aws:secretsmanager:*:*:secret:vault*"}"#;

#[tokio::test]
async fn the_documented_policy_allows_creating_updating_and_deleting_under_its_prefix() {
    let (_aws, client) = user(DOCUMENTED).await;
    let tags = json!({ "Tags": [{ "Key": "hashicorp:vault", "Value": "" }] });
    client.secrets("CreateSecret", creation("vault/a", &tags)).await.ok();
    let write =
        json!({ "SecretId": "vault/a", "SecretString": "w", "ClientRequestToken": token() });
    client.secrets("UpdateSecret", write.clone()).await.ok();
    for (operation, body) in [
        ("PutSecretValue", write),
        ("GetSecretValue", json!({ "SecretId": "vault/a" })),
        ("DescribeSecret", json!({ "SecretId": "vault/a" })),
        ("RestoreSecret", json!({ "SecretId": "vault/a" })),
        ("UntagResource", json!({ "SecretId": "vault/a", "TagKeys": ["k"] })),
        ("ListSecrets", json!({})),
        ("BatchGetSecretValue", json!({ "SecretIdList": ["vault/a"] })),
        ("GetRandomPassword", json!({})),
    ] {
        denied(&client.secrets(operation, body).await, &format!("secretsmanager:{operation}"));
    }
    denied(
        &client.secrets("CreateSecret", creation("prod/a", &json!({}))).await,
        "secretsmanager:CreateSecret",
    );
    client.secrets("DeleteSecret", json!({ "SecretId": "vault/a" })).await.ok();
}

#[tokio::test]
async fn a_missing_secret_is_not_told_from_a_forbidden_one() {
    let (_aws, client) = user(DOCUMENTED).await;
    let missing = json!({ "SecretId": "vault/none", "Description": "d" });
    client.secrets("UpdateSecret", missing).await.refused("ResourceNotFoundException");
    let forbidden = json!({ "SecretId": "prod/none", "Description": "d" });
    denied(&client.secrets("UpdateSecret", forbidden).await, "secretsmanager:UpdateSecret");
}

#[tokio::test]
async fn replicas_need_their_own_permission() {
    let (_aws, client) = user(DOCUMENTED).await;
    let replicas = json!({ "AddReplicaRegions": [{ "Region": "eu-west-1" }] });
    denied(
        &client.secrets("CreateSecret", creation("vault/a", &replicas)).await,
        "secretsmanager:ReplicateSecretToRegions",
    );
}

#[tokio::test]
async fn a_mark_decides_who_may_change_a_secret() {
    let (aws, client) = user(
        r#"{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Condition":{"StringEquals":{"secretsmanager:ResourceTag/hashicorp:vault":""}}}"#,
    )
    .await;
    // A tag of the resource cannot allow creation: there is no resource yet.
    let tags = json!({ "Tags": [{ "Key": "hashicorp:vault", "Value": "" }] });
    denied(
        &client.secrets("CreateSecret", creation("a", &tags)).await,
        "secretsmanager:CreateSecret",
    );
    aws.put_secret("ours", "v");
    aws.set_secret_tag("ours", "hashicorp:vault", Some(""));
    aws.put_secret("theirs", "v");
    client.secrets("GetSecretValue", json!({ "SecretId": "ours" })).await.ok();
    let theirs = client.secrets("GetSecretValue", json!({ "SecretId": "theirs" })).await;
    denied(&theirs, "secretsmanager:GetSecretValue");
}

#[tokio::test]
async fn creation_can_be_bound_to_tags_and_names() {
    let (_aws, client) = user(
        r#"{"Effect":"Allow","Action":["secretsmanager:CreateSecret","secretsmanager:TagResource"],"Resource":"*","Condition":{"Null":{"aws:RequestTag/owner":"false"},"ForAllValues:StringEquals":{"aws:TagKeys":["owner","env"]}}},
           {"Effect":"Deny","Action":"secretsmanager:CreateSecret","Resource":"*","Condition":{"StringNotLike":{"secretsmanager:Name":"vault/*"}}}"#,
    )
    .await;
    let tags = |keys: &[&str]| {
        let tags: Vec<Value> = keys.iter().map(|key| json!({ "Key": key, "Value": "x" })).collect();
        json!({ "Tags": tags })
    };
    let create = async |name: &str, keys: &[&str]| {
        client.secrets("CreateSecret", creation(name, &tags(keys))).await
    };
    create("vault/a", &["owner", "env"]).await.ok();
    denied(&create("vault/b", &["env"]).await, "secretsmanager:CreateSecret");
    denied(&create("vault/b", &["owner", "other"]).await, "secretsmanager:CreateSecret");
    let reply = create("prod/b", &["owner"]).await;
    assert!(
        reply
            .refused("AccessDeniedException")
            .ends_with("with an explicit deny in an identity-based policy")
    );
}

#[tokio::test]
async fn deletion_can_be_bound_to_how() {
    let (aws, client) = user(
        r#"{"Effect":"Allow","Action":"secretsmanager:DeleteSecret","Resource":"*","Condition":{"NumericGreaterThanEquals":{"secretsmanager:RecoveryWindowInDays":"14"}}},
           {"Effect":"Deny","Action":"secretsmanager:DeleteSecret","Resource":"*","Condition":{"Bool":{"secretsmanager:ForceDeleteWithoutRecovery":"true"}}}"#,
    )
    .await;
    aws.put_secret("a", "v");
    let body = json!({ "SecretId": "a", "ForceDeleteWithoutRecovery": true });
    denied(&client.secrets("DeleteSecret", body).await, "secretsmanager:DeleteSecret");
    let body = json!({ "SecretId": "a", "RecoveryWindowInDays": 7 });
    denied(&client.secrets("DeleteSecret", body).await, "secretsmanager:DeleteSecret");
    let body = json!({ "SecretId": "a", "RecoveryWindowInDays": 14 });
    client.secrets("DeleteSecret", body).await.ok();
}

#[tokio::test]
async fn the_callers_address_can_be_a_condition() {
    let (aws, client) = user(
        r#"{"Effect":"Allow","Action":"secretsmanager:ListSecrets","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}"#,
    )
    .await;
    denied(&client.secrets("ListSecrets", json!({})).await, "secretsmanager:ListSecrets");
    aws.set_source_ip("10.1.2.3");
    client.secrets("ListSecrets", json!({})).await.ok();
}

#[tokio::test]
async fn a_batch_needs_permission_for_itself_and_each_secret() {
    let (aws, client) = user(
        r#"{"Effect":"Allow","Action":"secretsmanager:BatchGetSecretValue","Resource":"*"},
           {"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:vault/*"}"#,
    )
    .await;
    aws.put_secret("vault/a", "v");
    aws.put_secret("prod/a", "v");
    let body = json!({ "SecretIdList": ["vault/a", "prod/a"] });
    let reply = client.secrets("BatchGetSecretValue", body).await.ok();
    assert_eq!(reply["SecretValues"][0]["Name"], "vault/a");
    assert_eq!(reply["Errors"][0]["ErrorCode"], "AccessDeniedException");
    let body = json!({ "Filters": [{ "Key": "name", "Values": ["vault"] }] });
    denied(&client.secrets("BatchGetSecretValue", body).await, "secretsmanager:ListSecrets");
}

#[tokio::test]
async fn a_boundary_limits_what_policies_allow() {
    let (aws, client) = user(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#).await;
    client.secrets("ListSecrets", json!({})).await.ok();
    let boundary = policy(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#);
    assert!(aws.set_user_boundary("sync", &boundary));
    let reply = client.secrets("ListSecrets", json!({})).await;
    assert!(reply.refused("AccessDeniedException").contains("because no permissions boundary"));
}

#[tokio::test]
async fn a_resource_policy_allows_and_denies() {
    let (aws, client) = user(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#).await;
    let admin = Client::new(&aws);
    aws.put_secret("a", "v");
    let read = json!({ "SecretId": "a" });
    client.secrets("GetSecretValue", read.clone()).await.refused("AccessDeniedException");
    let allow = policy(
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/sync"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}"#,
    );
    let body = json!({ "SecretId": "a", "ResourcePolicy": allow, "BlockPublicPolicy": true });
    admin.secrets("PutResourcePolicy", body).await.ok();
    client.secrets("GetSecretValue", read.clone()).await.ok();
    let reply = admin.secrets("GetResourcePolicy", read.clone()).await.ok();
    assert_eq!(reply["ResourcePolicy"], json!(allow));
    let public =
        policy(r#"{"Effect":"Allow","Principal":"*","Action":"secretsmanager:*","Resource":"*"}"#);
    let body = json!({ "SecretId": "a", "ResourcePolicy": public, "BlockPublicPolicy": true });
    admin.secrets("PutResourcePolicy", body).await.refused("PublicPolicyException");
    let body = json!({ "SecretId": "a", "ResourcePolicy": "{bad" });
    admin.secrets("PutResourcePolicy", body).await.refused("MalformedPolicyDocumentException");
    let body = json!({ "ResourcePolicy": public });
    let reply = admin.secrets("ValidateResourcePolicy", body).await.ok();
    assert_eq!(reply["PolicyValidationPassed"], false);
    let deny = policy(
        r#"{"Effect":"Deny","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}"#,
    );
    let body = json!({ "SecretId": "a", "ResourcePolicy": deny });
    admin.secrets("PutResourcePolicy", body).await.ok();
    let reply = admin.secrets("GetSecretValue", read.clone()).await;
    assert!(
        reply
            .refused("AccessDeniedException")
            .ends_with("with an explicit deny in a resource-based policy")
    );
    admin.secrets("DeleteResourcePolicy", read.clone()).await.ok();
    admin.secrets("GetSecretValue", read).await.ok();
}

#[tokio::test]
async fn another_account_needs_both_sides_and_a_customers_key() {
    let (aws, admin) = user(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#).await;
    let all = policy(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#);
    let far = Client::with_key(&aws, aws.create_user_in("210987654321", "far", &[&all]));
    let key = aws.create_kms_key();
    let created =
        admin.secrets("CreateSecret", creation("a", &json!({ "KmsKeyId": key }))).await.ok();
    let read = json!({ "SecretId": created["ARN"] });
    let reply = far.secrets("GetSecretValue", read.clone()).await;
    assert!(reply.refused("AccessDeniedException").contains("because no resource-based policy"));
    let allow = policy(
        r#"{"Effect":"Allow","Principal":{"AWS":"210987654321"},"Action":"*","Resource":"*"}"#,
    );
    let body = json!({ "SecretId": "a", "ResourcePolicy": allow });
    admin.secrets("PutResourcePolicy", body).await.ok();
    let reply = far.secrets("GetSecretValue", read.clone()).await;
    assert_eq!(reply.refused("AccessDeniedException"), "Access to KMS is not allowed");
    let both = allow.replace(r#""210987654321""#, r#"["210987654321","123456789012"]"#);
    aws.set_kms_key_policy(&key, &both);
    far.secrets("GetSecretValue", read.clone()).await.ok();
    // By name, the caller's own account is meant.
    let by_name = json!({ "SecretId": "a" });
    far.secrets("GetSecretValue", by_name).await.refused("ResourceNotFoundException");
    let body = json!({ "SecretId": "a", "KmsKeyId": "" });
    admin.secrets("UpdateSecret", body).await.ok();
    far.secrets("GetSecretValue", read).await.refused("InvalidRequestException");
}

#[tokio::test]
async fn without_enforcement_anything_goes() {
    let (aws, client) = user(r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#).await;
    client.secrets("ListSecrets", json!({})).await.refused("AccessDeniedException");
    aws.enforce_policies(false);
    client.secrets("ListSecrets", json!({})).await.ok();
}
