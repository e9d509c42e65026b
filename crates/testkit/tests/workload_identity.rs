//! Mounts that hold no key: a whole server signs who they are, and a fake of AWS verifies it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Options, TestServer};
use serde_json::{Value, json};

const AUDIENCE: &str = "sts.amazonaws.com";
const ISSUER: &str = "bailee.test:8200/v1/identity/oidc/plugins";

/// A server whose engines may reach a fake, and which has an address to name in tokens.
async fn beside(aws: &FakeAws) -> TestServer {
    let port = aws.port();
    let config = format!(
        "aws {{\n  allowed_ipv4_addresses = [\"127.0.0.1/32\"]\n  allowed_ports = [{port}]\n}}\n"
    );
    let server = TestServer::start_with(Options { config, ..Options::default() }).await;
    server.api().post("sys/mounts/aws", json!({ "type": "aws" })).await.done();
    server.api().post("sys/auth/aws", json!({ "type": "aws" })).await.done();
    server
}

/// A role that is given to whom tokens of this subject are about.
fn role_for(aws: &FakeAws, name: &str, subject: &str, policy: &Value) -> String {
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {
            "Federated": format!("arn:aws:iam::{}:oidc-provider/{ISSUER}", aws.account_id()),
        },
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": { "StringEquals": {
            format!("{ISSUER}:aud"): AUDIENCE,
            format!("{ISSUER}:sub"): subject,
        } },
    }] });
    aws.create_role(name, &trust.to_string(), &[&policy.to_string()])
}

async fn trust_the_issuer(aws: &FakeAws, server: &TestServer) {
    let well_known = "identity/oidc/plugins/.well-known";
    let anybody = server.api().anonymous();
    let document = anybody.get(&format!("{well_known}/openid-configuration")).await.ok().json;
    let issuer = format!("https://{ISSUER}");
    assert_eq!(document["issuer"], issuer);
    assert_eq!(document["jwks_uri"], format!("{issuer}/.well-known/keys"));
    let keys = anybody.get(&format!("{well_known}/keys")).await.ok().json;
    aws.create_oidc_provider(&issuer, &[AUDIENCE], keys);
}

async fn accessor(server: &TestServer, mounts: &str) -> String {
    let mounts = server.api().get(mounts).await.ok().data();
    mounts["aws/"]["accessor"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_keys_makes_users_with_a_role_that_trusts_its_mount_alone() {
    let aws = FakeAws::start().await;
    let server = beside(&aws).await;
    let api = server.api();
    let subject = format!("plugin-identity:root:secret:{}", accessor(&server, "sys/mounts").await);
    let policy = api.get("aws/root-policy?credential_type=iam_user").await.ok().data();
    let role = role_for(&aws, "engine", &subject, &policy["policy"]);
    let root = json!({
        "role_arn": role,
        "identity_token_audience": AUDIENCE,
        "identity_token_ttl": "15m",
        "sts_endpoint": aws.endpoint(),
        "iam_endpoint": aws.endpoint(),
        "region": "us-east-1",
    });
    // Nobody could verify a token that names no address: that is told when it is set.
    api.post("aws/config/root", root.clone()).await.refused(400, "identity/oidc/config");
    let config = json!({ "issuer": "https://bailee.test:8200" });
    assert_eq!(api.post("identity/oidc/config", config).await.status, 200);
    api.post("aws/config/root", root.clone()).await.done();
    let shown = api.get("aws/config/root").await.ok().data();
    assert_eq!(shown["identity_token_audience"], AUDIENCE);
    assert_eq!(shown["identity_token_ttl"], 900);
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#;
    let ci = json!({ "credential_type": "iam_user", "policy_document": document });
    api.post("aws/roles/ci", ci).await.done();
    // The account does not know the issuer yet.
    api.get("aws/creds/ci").await.refused(400, "InvalidIdentityToken");
    trust_the_issuer(&aws, &server).await;
    let creds = api.get("aws/creds/ci").await.ok();
    let key = creds.text("/data/access_key");
    assert!(aws.key_works(&key));
    api.post("sys/leases/revoke", json!({ "lease_id": creds.text("/lease_id"), "sync": true }))
        .await
        .done();
    assert!(!aws.key_works(&key));
    // Another mount is another subject, which the role does not trust.
    api.post("sys/mounts/other", json!({ "type": "aws" })).await.done();
    api.post("other/config/root", root.clone()).await.done();
    api.post("other/roles/ci", json!({ "credential_type": "iam_user" })).await.done();
    api.get("other/creds/ci").await.refused(400, "AssumeRoleWithWebIdentity");
    // The mount's own key, which has to list the audience.
    let key = json!({ "algorithm": "ES256", "allowed_client_ids": "else" });
    api.post("identity/oidc/key/cloud", key).await.done();
    api.post("sys/mounts/aws/tune", json!({ "identity_token_key": "cloud" })).await.done();
    api.post("aws/config/root", root).await.refused(400, "allowed_client_ids");
    assert!(!server.log().contains("eyJ"), "no token in the log");
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_looks_users_up_with_a_role_that_trusts_its_mount_alone() {
    let aws = FakeAws::start().await;
    let server = beside(&aws).await;
    let api = server.api();
    let config = json!({ "issuer": "https://bailee.test:8200" });
    assert_eq!(api.post("identity/oidc/config", config).await.status, 200);
    let subject = format!("plugin-identity:root:auth:{}", accessor(&server, "sys/auth").await);
    let look = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["iam:GetUser", "iam:GetRole"], "Resource": "*",
    }] });
    let client = json!({
        "role_arn": role_for(&aws, "login", &subject, &look),
        "identity_token_audience": AUDIENCE,
        "sts_endpoint": aws.endpoint(),
        "iam_endpoint": aws.endpoint(),
    });
    api.post("auth/aws/config/client", client.clone()).await.done();
    trust_the_issuer(&aws, &server).await;
    aws.create_user("alice", &[]);
    let alice = format!("arn:aws:iam::{}:user/alice", aws.account_id());
    let bound = json!({ "auth_type": "iam", "bound_iam_principal_arn": alice });
    api.post("auth/aws/role/dev", bound).await.done();
    assert_eq!(aws.call_count("sts:AssumeRoleWithWebIdentity"), 1);
    let role = api.get("auth/aws/role/dev").await.ok().data();
    assert!(role.to_string().contains("AIDA"), "the user's id is known: {role}");
    let mut both = client;
    both["access_key"] = json!("AKIAEXAMPLE");
    both["secret_key"] = json!("s");
    api.post("auth/aws/config/client", both).await.refused(400, "only one of 'access_key'");
    server.assert_no_panic();
}
