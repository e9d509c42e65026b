use bailee_fake_clouds::FakeAws;
use serde_json::{Value, json};

use crate::client::{Client, token};

const SECRETS_ONLY: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":"secretsmanager:*","Resource":"*"}]}"#;

async fn start() -> (FakeAws, Client) {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    (aws, client)
}

fn creation(key: &str) -> Value {
    json!({ "Name": "a", "SecretString": "v", "KmsKeyId": key, "ClientRequestToken": token() })
}

#[tokio::test]
async fn what_is_encrypted_can_be_decrypted_in_the_same_context_only() {
    let (_aws, client) = start().await;
    let key = client.kms("CreateKey", json!({ "Description": "d" })).await.ok();
    let id = &key["KeyMetadata"]["KeyId"];
    let body = json!({ "KeyId": id, "Plaintext": "aGk=", "EncryptionContext": { "a": "b" } });
    let sealed = client.kms("Encrypt", body).await.ok()["CiphertextBlob"].clone();
    let open = |context: Value| json!({ "CiphertextBlob": sealed, "EncryptionContext": context });
    let opened = client.kms("Decrypt", open(json!({ "a": "b" }))).await.ok();
    assert_eq!(opened["Plaintext"], "aGk=");
    let reply = client.kms("Decrypt", open(json!({ "a": "c" }))).await;
    reply.refused("InvalidCiphertextException");
    let other = client.kms("CreateKey", json!({})).await.ok()["KeyMetadata"]["Arn"].clone();
    let mut body = open(json!({ "a": "b" }));
    body["KeyId"] = other;
    client.kms("Decrypt", body).await.refused("IncorrectKeyException");
    let body = json!({ "KeyId": id, "KeySpec": "AES_256" });
    let data_key = client.kms("GenerateDataKey", body).await.ok();
    let body = json!({ "CiphertextBlob": data_key["CiphertextBlob"] });
    assert_eq!(client.kms("Decrypt", body).await.ok()["Plaintext"], data_key["Plaintext"]);
    let body = json!({ "KeyId": "alias/none" });
    client.kms("DescribeKey", body).await.refused("NotFoundException");
}

#[tokio::test]
async fn a_disabled_key_stops_writing_and_reading() {
    let (aws, client) = start().await;
    let key = aws.create_kms_key();
    client.secrets("CreateSecret", creation(&key)).await.ok();
    assert_eq!(aws.secret("a").unwrap().kms_key_arn.as_deref(), Some(key.as_str()));
    client.kms("DisableKey", json!({ "KeyId": key })).await.ok();
    let body = json!({ "KeyId": key, "Plaintext": "aGk=" });
    client.kms("Encrypt", body).await.refused("DisabledException");
    let read = json!({ "SecretId": "a" });
    client.secrets("GetSecretValue", read.clone()).await.refused("DecryptionFailure");
    let write = json!({ "SecretId": "a", "SecretString": "w", "ClientRequestToken": token() });
    client.secrets("PutSecretValue", write.clone()).await.refused("EncryptionFailure");
    // A new key re-encrypts the labelled versions, which needs the old one.
    let body = json!({ "SecretId": "a", "KmsKeyId": "alias/aws/secretsmanager" });
    client.secrets("UpdateSecret", body.clone()).await.refused("DecryptionFailure");
    client.secrets("DescribeSecret", read.clone()).await.ok();
    assert!(aws.set_kms_key_enabled(&key, true));
    client.secrets("UpdateSecret", body).await.ok();
    assert!(aws.set_kms_key_enabled(&key, false));
    client.secrets("GetSecretValue", read).await.ok();
    assert_eq!(aws.secret("a").unwrap().kms_key_arn, None);
}

#[tokio::test]
async fn a_missing_key_is_named_as_not_found() {
    let (aws, client) = start().await;
    let reply = client.secrets("CreateSecret", creation("alias/none")).await;
    assert!(reply.refused("ResourceNotFoundException").contains("KMS key"));
    assert!(aws.secret("a").is_none());
}

#[tokio::test]
async fn a_customers_key_needs_permissions_of_its_own() {
    let (aws, client) = start().await;
    let user = Client::with_key(&aws, aws.create_user("sync", &[SECRETS_ONLY]));
    let key = aws.create_kms_key();
    let reply = user.secrets("CreateSecret", creation(&key)).await;
    assert_eq!(reply.refused("AccessDeniedException"), "Access to KMS is not allowed");
    client.secrets("CreateSecret", creation(&key)).await.ok();
    let read = json!({ "SecretId": "a" });
    user.secrets("GetSecretValue", read.clone()).await.refused("AccessDeniedException");
    let via = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:Decrypt","kms:GenerateDataKey"],"Resource":"*",
        "Condition":{"StringEquals":{"kms:ViaService":"secretsmanager.us-east-1.amazonaws.com"}}}]}"#;
    aws.set_user_policies("sync", &[SECRETS_ONLY, via]);
    user.secrets("GetSecretValue", read.clone()).await.ok();
    let write = json!({ "SecretId": "a", "SecretString": "w", "ClientRequestToken": token() });
    user.secrets("PutSecretValue", write).await.ok();
    // The permission holds only through Secrets Manager.
    let body = json!({ "KeyId": key, "KeySpec": "AES_256" });
    user.kms("GenerateDataKey", body).await.refused("AccessDeniedException");
    // The key's own policy must take part.
    aws.set_kms_key_policy(
        &key,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/admin"},"Action":"kms:*","Resource":"*"}]}"#,
    );
    user.secrets("GetSecretValue", read.clone()).await.refused("AccessDeniedException");
    client.secrets("GetSecretValue", read).await.ok();
}

#[tokio::test]
async fn a_new_key_that_may_not_encrypt_is_for_new_versions_only() {
    let (aws, client) = start().await;
    client.secrets("CreateSecret", creation("")).await.ok();
    let key = aws.create_kms_key();
    let writes = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:GenerateDataKey","kms:Decrypt"],"Resource":"*"}]}"#;
    let user = Client::with_key(&aws, aws.create_user("sync", &[SECRETS_ONLY, writes]));
    let body = json!({ "SecretId": "a", "KmsKeyId": key });
    user.secrets("UpdateSecret", body).await.ok();
    aws.set_kms_key_enabled(&key, false);
    let read = json!({ "SecretId": "a" });
    user.secrets("GetSecretValue", read).await.ok();
    let write = json!({ "SecretId": "a", "SecretString": "w", "ClientRequestToken": token() });
    user.secrets("PutSecretValue", write).await.refused("EncryptionFailure");
}

#[tokio::test]
async fn a_replica_with_a_customers_key_needs_permission_to_encrypt() {
    let (aws, client) = start().await;
    aws.put_secret("a", "v");
    let west = client.clone().region("eu-west-1");
    let key = west.kms("CreateKey", json!({})).await.ok()["KeyMetadata"]["Arn"].clone();
    let user = Client::with_key(&aws, aws.create_user("sync", &[SECRETS_ONLY]));
    let replicas = json!([{ "Region": "eu-west-1", "KmsKeyId": key }]);
    let mut made = creation("");
    made["Name"] = json!("b");
    made["AddReplicaRegions"] = replicas.clone();
    user.secrets("CreateSecret", made).await.refused("AccessDeniedException");
    assert!(aws.secret("b").is_none());
    let body = json!({ "SecretId": "a", "AddReplicaRegions": replicas });
    let reply = user.secrets("ReplicateSecretToRegions", body.clone()).await;
    reply.refused("AccessDeniedException");
    assert!(aws.secret("a").unwrap().replica_regions.is_empty());
    client.secrets("ReplicateSecretToRegions", body).await.ok();
    let replica = aws.secret_in("eu-west-1", "a").unwrap();
    assert_eq!(replica.kms_key_arn.as_deref(), key.as_str());
}

#[tokio::test]
async fn keys_are_found_by_alias_and_deleted_after_a_window() {
    let (aws, client) = start().await;
    let key = aws.create_kms_key();
    let body = json!({ "AliasName": "alias/vault", "TargetKeyId": key });
    client.kms("CreateAlias", body.clone()).await.ok();
    client.kms("CreateAlias", body).await.refused("AlreadyExistsException");
    client.secrets("CreateSecret", creation("alias/vault")).await.ok();
    let body = json!({ "KeyId": "alias/vault", "PendingWindowInDays": 7 });
    client.kms("ScheduleKeyDeletion", body).await.ok();
    let read = json!({ "SecretId": "a" });
    client.secrets("GetSecretValue", read).await.refused("DecryptionFailure");
    client.kms("EnableKey", json!({ "KeyId": key })).await.refused("KMSInvalidStateException");
    aws.advance(std::time::Duration::from_secs(8 * 86_400));
    client.kms("DescribeKey", json!({ "KeyId": key })).await.refused("NotFoundException");
}
