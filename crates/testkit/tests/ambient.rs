//! The machine's own credentials, where the operator lets engines use them.

use bailee_fake_clouds::{FakeAws, aws::Fault};
use bailee_testkit::{Options, TestServer};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_aws_calls_expired_are_looked_up_again_and_the_request_succeeds() {
    let aws = FakeAws::start().await;
    let config = format!(
        "aws {{\n  ambient_credentials = true\n  allowed_ipv4_addresses = [\"127.0.0.1/32\"]\n  \
         allowed_ports = [{}]\n}}\n",
        aws.port()
    );
    let environment = [
        ("AWS_ACCESS_KEY_ID", aws.access_key_id()),
        ("AWS_SECRET_ACCESS_KEY", aws.secret_access_key()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let server =
        TestServer::start_with(Options { config, environment, ..Options::default() }).await;
    let api = server.api();
    api.post("sys/mounts/aws", json!({ "type": "aws" })).await.done();
    let root = json!({
        "iam_endpoint": aws.endpoint(), "sts_endpoint": aws.endpoint(), "max_retries": 0,
    });
    api.post("aws/config/root", root).await.done();
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#;
    let role = json!({ "credential_type": "iam_user", "policy_document": document });
    api.post("aws/roles/ci", role).await.done();
    api.get("aws/creds/ci").await.done();
    let expired = |times| {
        Fault::error("iam:CreateUser", 403, "ExpiredToken", "The token is expired").times(times)
    };
    aws.inject(expired(1));
    api.get("aws/creds/ci").await.done();
    // Those that were found again are no better: that is told, and not tried for ever.
    aws.inject(expired(2));
    let refused = api.get("aws/creds/ci").await;
    assert!(refused.status >= 400 && refused.body_text().contains("ExpiredToken"), "{refused:?}");
    let key = api.get("aws/creds/ci").await.ok().text("/data/access_key");
    assert!(aws.key_works(&key));
    assert!(!server.log().contains(aws.secret_access_key()));
    server.assert_no_panic();
}
