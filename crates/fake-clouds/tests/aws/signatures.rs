use bailee_fake_clouds::FakeAws;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::client::{Client, Unsigned};

fn list_secrets() -> Unsigned {
    Unsigned {
        service: "secretsmanager",
        headers: vec![
            ("content-type", "application/x-amz-json-1.1".into()),
            ("x-amz-target", "secretsmanager.ListSecrets".into()),
        ],
        body: "{}".into(),
    }
}

#[tokio::test]
async fn a_signed_request_is_answered_and_carries_a_date() {
    let aws = FakeAws::start().await;
    let reply = Client::new(&aws).secrets("ListSecrets", json!({})).await;
    assert!(reply.date.ends_with("GMT"));
    assert_eq!(reply.ok(), json!({ "SecretList": [] }));
}

#[tokio::test]
async fn an_unsigned_request_is_refused() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    let request = Request::post(aws.endpoint())
        .header("x-amz-target", "secretsmanager.ListSecrets")
        .body(Full::new(Bytes::from("{}")))
        .unwrap();
    client.send(request).await.unwrap().refused("MissingAuthenticationTokenException");
    let request = Request::post(aws.endpoint())
        .body(Full::new(Bytes::from("Action=GetCallerIdentity&Version=2011-06-15")))
        .unwrap();
    client.send(request).await.unwrap().refused_with(403, "MissingAuthenticationToken");
}

#[tokio::test]
async fn an_unknown_key_is_refused() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws).key(|key| key.access_key_id = "AKIAUNKNOWN".into());
    let reply = client.secrets("ListSecrets", json!({})).await;
    assert_eq!(
        reply.refused("UnrecognizedClientException"),
        "The security token included in the request is invalid."
    );
    client.sts("GetCallerIdentity", &[]).await.refused_with(403, "InvalidClientTokenId");
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws).key(|key| key.secret_access_key.push('x'));
    client.secrets("ListSecrets", json!({})).await.refused("InvalidSignatureException");
    client.sts("GetCallerIdentity", &[]).await.refused_with(403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_changed_body_is_refused() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    let (parts, _) = client.sign(list_secrets()).into_parts();
    let request = Request::from_parts(parts, Full::new(Bytes::from(r#"{"MaxResults":1}"#)));
    client.send(request).await.unwrap().refused("InvalidSignatureException");
}

#[tokio::test]
async fn an_added_amazon_header_is_refused() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    let mut request = client.sign(list_secrets());
    request.headers_mut().insert("x-amz-security-token", "x".parse().unwrap());
    // The token is wrong for a long-lived key, too, so the key is what AWS complains of.
    client.send(request).await.unwrap().refused("UnrecognizedClientException");
    let mut request = client.sign(list_secrets());
    request.headers_mut().insert("x-amz-meta-other", "x".parse().unwrap());
    let reply = client.send(request).await.unwrap();
    assert!(reply.refused("InvalidSignatureException").contains("'x-amz-meta-other'"));
}

#[tokio::test]
async fn a_signature_for_another_service_is_refused() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    let request = client.sign(Unsigned { service: "kms", ..list_secrets() });
    let reply = client.send(request).await.unwrap();
    assert!(reply.refused("InvalidSignatureException").contains("correct service"));
}

#[tokio::test]
async fn an_old_signature_is_refused() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    let request = client.sign_at(list_secrets(), "20260101T000000Z");
    let reply = client.send(request).await.unwrap();
    assert!(reply.refused("InvalidSignatureException").starts_with("Signature expired"));
}

#[tokio::test]
async fn a_server_with_a_wrong_clock_refuses_and_shows_its_date() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    aws.set_clock_skew(4 * 60 * 1000);
    client.secrets("ListSecrets", json!({})).await.ok();
    aws.set_clock_skew(-6 * 60 * 1000);
    let reply = client.secrets("ListSecrets", json!({})).await;
    assert!(reply.refused("InvalidSignatureException").starts_with("Signature not yet current"));
    aws.set_clock_skew(365 * 86_400_000);
    let reply = client.secrets("ListSecrets", json!({})).await;
    assert!(reply.refused("InvalidSignatureException").starts_with("Signature expired"));
    let next_year = jiff::Timestamp::now().strftime("%Y").to_string().parse::<i32>().unwrap() + 1;
    assert!(reply.date.contains(&next_year.to_string()), "{}", reply.date);
}

#[tokio::test]
async fn without_verification_any_key_is_the_account() {
    let aws = FakeAws::start().await;
    aws.verify_signatures(false);
    let client = Client::new(&aws).key(|key| key.access_key_id = "anything".into());
    let reply = client.sts("GetCallerIdentity", &[]).await;
    assert_eq!(reply.element("Arn"), "arn:aws:iam::123456789012:root");
}

#[tokio::test]
async fn an_unknown_operation_is_refused() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    client.secrets("InventSecret", json!({})).await.refused("UnknownOperationException");
    client.sts("InventToken", &[]).await.refused("InvalidAction");
    let target = ("x-amz-target", "AmazonSSM.GetParameter".into());
    let kind = ("content-type", "application/x-amz-json-1.1".into());
    let other = Unsigned { service: "ssm", headers: vec![kind, target], body: "{}".into() };
    let reply = client.send(client.sign(other)).await.unwrap();
    reply.refused("UnknownOperationException");
}

#[tokio::test]
async fn a_stopped_fake_answers_no_more() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    client.secrets("ListSecrets", json!({})).await.ok();
    drop(aws);
    while client.try_secrets("ListSecrets", json!({})).await.is_some() {
        tokio::task::yield_now().await;
    }
}
