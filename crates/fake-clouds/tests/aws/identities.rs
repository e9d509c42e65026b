use std::time::Duration;

use bailee_fake_clouds::FakeAws;
use bailee_fake_clouds::aws::Key;
use serde_json::json;

use crate::client::{Client, Reply};

const LIST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:ListSecrets","Resource":"*"}]}"#;

async fn start() -> (FakeAws, Client) {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    (aws, client)
}

fn key(reply: &Reply) -> Key {
    assert_eq!(reply.status, 200, "{}", reply.text);
    Key {
        access_key_id: reply.element("AccessKeyId").into(),
        secret_access_key: reply.element("SecretAccessKey").into(),
        session_token: None,
    }
}

#[tokio::test]
async fn a_user_made_through_the_api_can_call() {
    let (aws, client) = start().await;
    let bob = ("UserName", "bob");
    client.iam("CreateUser", &[bob, ("Path", "/vault/")]).await;
    client.iam("CreateUser", &[("UserName", "BOB")]).await.refused_with(409, "EntityAlreadyExists");
    let user = Client::with_key(&aws, key(&client.iam("CreateAccessKey", &[bob]).await));
    let reply = user.sts("GetCallerIdentity", &[]).await;
    assert_eq!(reply.element("Arn"), "arn:aws:iam::123456789012:user/vault/bob");
    user.secrets("ListSecrets", json!({})).await.refused("AccessDeniedException");
    let policy = [bob, ("PolicyName", "list"), ("PolicyDocument", LIST)];
    client.iam("PutUserPolicy", &policy).await;
    user.secrets("ListSecrets", json!({})).await.ok();
    let bad = [bob, ("PolicyName", "bad"), ("PolicyDocument", "{bad")];
    client.iam("PutUserPolicy", &bad).await.refused("MalformedPolicyDocument");
}

#[tokio::test]
async fn keys_are_limited_deactivated_and_deleted() {
    let (aws, client) = start().await;
    let bob = ("UserName", "bob");
    client.iam("CreateUser", &[bob]).await;
    let first = key(&client.iam("CreateAccessKey", &[bob]).await);
    client.iam("CreateAccessKey", &[bob]).await;
    client.iam("CreateAccessKey", &[bob]).await.refused_with(409, "LimitExceeded");
    let user = Client::with_key(&aws, first.clone());
    let id = ("AccessKeyId", first.access_key_id.as_str());
    assert_eq!(user.sts("GetCallerIdentity", &[]).await.status, 200);
    client.iam("UpdateAccessKey", &[bob, id, ("Status", "Inactive")]).await;
    user.sts("GetCallerIdentity", &[]).await.refused_with(403, "InvalidClientTokenId");
    client.iam("UpdateAccessKey", &[bob, id, ("Status", "Active")]).await;
    assert_eq!(user.sts("GetCallerIdentity", &[]).await.status, 200);
    assert_eq!(client.iam("DeleteAccessKey", &[bob, id]).await.status, 200);
    user.sts("GetCallerIdentity", &[]).await.refused_with(403, "InvalidClientTokenId");
    client.iam("DeleteAccessKey", &[bob, id]).await.refused_with(404, "NoSuchEntity");
}

#[tokio::test]
async fn a_new_key_may_be_unknown_for_a_while() {
    let (aws, client) = start().await;
    aws.set_new_key_delay(Duration::from_secs(300));
    client.iam("CreateUser", &[("UserName", "bob")]).await;
    let bob = key(&client.iam("CreateAccessKey", &[("UserName", "bob")]).await);
    let user = Client::with_key(&aws, bob);
    user.sts("GetCallerIdentity", &[]).await.refused_with(403, "InvalidClientTokenId");
    aws.advance(Duration::from_secs(301));
    assert_eq!(user.sts("GetCallerIdentity", &[]).await.status, 200);
}

#[tokio::test]
async fn a_user_is_deleted_only_when_bare() {
    let (_aws, client) = start().await;
    let (bob, group) = (("UserName", "bob"), ("GroupName", "g"));
    client.iam("CreateUser", &[bob]).await;
    client.iam("CreateGroup", &[group]).await;
    client.iam("AddUserToGroup", &[bob, group]).await;
    client.iam("PutUserPolicy", &[bob, ("PolicyName", "p"), ("PolicyDocument", LIST)]).await;
    let arn = ("PolicyArn", "arn:aws:iam::aws:policy/ReadOnlyAccess");
    client.iam("AttachUserPolicy", &[bob, arn]).await;
    let made = key(&client.iam("CreateAccessKey", &[bob]).await);
    let id = ("AccessKeyId", made.access_key_id.as_str());
    for (operation, parameters) in [
        ("RemoveUserFromGroup", vec![bob, group]),
        ("DetachUserPolicy", vec![bob, arn]),
        ("DeleteUserPolicy", vec![bob, ("PolicyName", "p")]),
        ("DeleteAccessKey", vec![bob, id]),
    ] {
        client.iam("DeleteUser", &[bob]).await.refused_with(409, "DeleteConflict");
        assert_eq!(client.iam(operation, &parameters).await.status, 200);
    }
    assert_eq!(client.iam("DeleteUser", &[bob]).await.status, 200);
    client.iam("GetUser", &[bob]).await.refused_with(404, "NoSuchEntity");
}

#[tokio::test]
async fn groups_lend_their_policies() {
    let (aws, client) = start().await;
    let user = Client::with_key(&aws, aws.create_user("bob", &[]));
    let group = ("GroupName", "g");
    client.iam("CreateGroup", &[group]).await;
    client.iam("PutGroupPolicy", &[group, ("PolicyName", "p"), ("PolicyDocument", LIST)]).await;
    user.secrets("ListSecrets", json!({})).await.refused("AccessDeniedException");
    client.iam("AddUserToGroup", &[group, ("UserName", "bob")]).await;
    user.secrets("ListSecrets", json!({})).await.ok();
}

#[tokio::test]
async fn identity_calls_need_permission_on_what_they_change() {
    let (aws, _) = start().await;
    let own = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::*:user/vault-*"}]}"#;
    let engine = Client::with_key(&aws, aws.create_user("engine", &[own]));
    assert_eq!(engine.iam("CreateUser", &[("UserName", "vault-1")]).await.status, 200);
    let reply = engine.iam("CreateUser", &[("UserName", "other")]).await;
    assert!(reply.refused_with(403, "AccessDenied").contains("iam:CreateUser"));
    engine.iam("DeleteUser", &[("UserName", "admin")]).await.refused_with(403, "AccessDenied");
    assert_eq!(engine.iam("DeleteUser", &[("UserName", "vault-1")]).await.status, 200);
}

#[tokio::test]
async fn whatever_hangs_on_a_user_keeps_it_from_being_deleted() {
    let (_aws, client) = start().await;
    let bob = ("UserName", "bob");
    client.iam("CreateUser", &[bob]).await;
    let device = ("SerialNumber", "GAHT12345678");
    let made = [
        client.iam("CreateLoginProfile", &[bob, ("Password", "x")]).await,
        client.iam("EnableMFADevice", &[bob, device]).await,
        client.iam("UploadSigningCertificate", &[bob, ("CertificateBody", "x")]).await,
        client.iam("UploadSSHPublicKey", &[bob, ("SSHPublicKeyBody", "x")]).await,
        client.iam("CreateServiceSpecificCredential", &[bob, ("ServiceName", "x")]).await,
    ];
    assert!(made.iter().all(|reply| reply.status == 200));
    let id = |place: usize, name: &str| made[place].element(name).to_owned();
    let (certificate, key) = (id(2, "CertificateId"), id(3, "SSHPublicKeyId"));
    let credential = id(4, "ServiceSpecificCredentialId");
    for (operation, parameter) in [
        ("DeleteLoginProfile", None),
        ("DeactivateMFADevice", Some(device)),
        ("DeleteSigningCertificate", Some(("CertificateId", certificate.as_str()))),
        ("DeleteSSHPublicKey", Some(("SSHPublicKeyId", key.as_str()))),
        (
            "DeleteServiceSpecificCredential",
            Some(("ServiceSpecificCredentialId", credential.as_str())),
        ),
    ] {
        client.iam("DeleteUser", &[bob]).await.refused_with(409, "DeleteConflict");
        let mut parameters = vec![bob];
        parameters.extend(parameter);
        assert_eq!(client.iam(operation, &parameters).await.status, 200, "{operation}");
        client.iam(operation, &parameters).await.refused_with(404, "NoSuchEntity");
    }
    assert_eq!(client.iam("DeleteUser", &[bob]).await.status, 200);
}

#[tokio::test]
async fn the_policies_of_a_new_user_may_take_effect_later_than_its_key() {
    let (aws, client) = start().await;
    aws.set_new_policy_delay(Duration::from_secs(300));
    let bob = ("UserName", "bob");
    client.iam("CreateUser", &[bob]).await;
    client.iam("PutUserPolicy", &[bob, ("PolicyName", "p"), ("PolicyDocument", LIST)]).await;
    let user = Client::with_key(&aws, key(&client.iam("CreateAccessKey", &[bob]).await));
    assert_eq!(user.sts("GetCallerIdentity", &[]).await.status, 200);
    user.secrets("ListSecrets", json!({})).await.refused("AccessDeniedException");
    aws.advance(Duration::from_secs(301));
    user.secrets("ListSecrets", json!({})).await.ok();
}

#[tokio::test]
async fn errors_can_come_in_the_shape_of_a_gateway() {
    let (aws, client) = start().await;
    aws.set_gateway_errors(true);
    let reply = client.iam("GetUser", &[("UserName", "nobody")]).await;
    assert!(
        reply.text.starts_with("<Response><Errors><Error><Code>NoSuchEntity"),
        "{}",
        reply.text
    );
}
