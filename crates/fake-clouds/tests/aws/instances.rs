use std::time::Duration;

use bailee_fake_clouds::aws::Key;
use bailee_fake_clouds::{FakeAws, FakeInstance};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::client::Client;

const TTL: (&str, &str) = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
const TOKEN: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

async fn instance() -> (FakeAws, FakeInstance) {
    let aws = FakeAws::start().await;
    aws.create_role("app", TRUST, &[]);
    let instance = FakeInstance::start(&aws, "app").await;
    (aws, instance)
}

async fn ask(method: &str, url: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::default()).unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn metadata(instance: &FakeInstance, path: &str, token: &str) -> (StatusCode, String) {
    let url = format!("{}{path}", instance.metadata_endpoint());
    ask("GET", &url, &[("x-aws-ec2-metadata-token", token)]).await
}

async fn token(instance: &FakeInstance, headers: &[(&str, &str)]) -> (StatusCode, String) {
    ask("PUT", &format!("{}{TOKEN}", instance.metadata_endpoint()), headers).await
}

/// Whom the credentials of an answer are, as the fake's STS says it.
async fn whose(aws: &FakeAws, answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let part = |name: &str| answer[name].as_str().unwrap().to_owned();
    let key = Key {
        access_key_id: part("AccessKeyId"),
        secret_access_key: part("SecretAccessKey"),
        session_token: Some(part("Token")),
    };
    let reply = Client::with_key(aws, key).sts("GetCallerIdentity", &[]).await;
    reply.element("Arn").to_owned()
}

#[tokio::test]
async fn metadata_want_a_token_which_ends_and_none_is_given_through_a_proxy() {
    let (aws, instance) = instance().await;
    assert_eq!(metadata(&instance, ROLES, "").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(token(&instance, &[]).await.0, StatusCode::BAD_REQUEST);
    let proxied = [TTL, ("x-forwarded-for", "192.0.2.1")];
    assert_eq!(token(&instance, &proxied).await.0, StatusCode::FORBIDDEN);
    let (status, token) = token(&instance, &[TTL]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(metadata(&instance, ROLES, &token).await, (StatusCode::OK, "app".to_owned()));
    assert_eq!(
        metadata(&instance, &format!("{ROLES}other"), &token).await.0,
        StatusCode::NOT_FOUND
    );
    aws.advance(Duration::from_secs(61));
    assert_eq!(metadata(&instance, ROLES, &token).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn instances_and_containers_have_sessions_that_aws_knows_until_they_are_rotated() {
    let (aws, instance) = instance().await;
    let token = token(&instance, &[TTL]).await.1;
    let path = format!("{ROLES}app");
    let first = metadata(&instance, &path, &token).await.1;
    let session = "arn:aws:sts::123456789012:assumed-role/app/i-0123456789abcdef0";
    assert_eq!(whose(&aws, &first).await, session);
    let key = |answer: &str| -> String {
        let answer: Value = serde_json::from_str(answer).unwrap();
        answer["AccessKeyId"].as_str().unwrap().to_owned()
    };
    assert_eq!(key(&metadata(&instance, &path, &token).await.1), key(&first));
    instance.rotate();
    assert_ne!(key(&metadata(&instance, &path, &token).await.1), key(&first));

    let uri = instance.credentials_uri();
    assert_eq!(ask("GET", &uri, &[]).await.0, StatusCode::UNAUTHORIZED);
    let authorized = [("authorization", instance.authorization_token())];
    assert_eq!(whose(&aws, &ask("GET", &uri, &authorized).await.1).await, session);
    instance.set_role(None);
    assert_eq!(ask("GET", &uri, &authorized).await.0, StatusCode::NOT_FOUND);
    instance.set_away(true);
    assert_eq!(ask("GET", &uri, &authorized).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn hosts_of_aws_take_signatures_for_their_own_region_alone() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    let at = |host: &str| client.clone().at_host(host);
    assert_eq!(at("sts.amazonaws.com").sts("GetCallerIdentity", &[]).await.status, 200);
    assert_eq!(at("sts.us-east-1.amazonaws.com").sts("GetCallerIdentity", &[]).await.status, 200);
    let refused = at("sts.us-east-2.amazonaws.com").sts("GetCallerIdentity", &[]).await;
    let message = refused.refused_with(403, "SignatureDoesNotMatch");
    assert!(message.starts_with("Credential should be scoped to a valid region"), "{message}");
}
