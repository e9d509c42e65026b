use bailee_fake_clouds::FakeAws;
use serde_json::{Value, json};

use crate::client::{Client, token};

async fn start() -> (FakeAws, Client) {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    (aws, client)
}

async fn create(client: &Client, name: &str, value: &str) -> String {
    let body = json!({ "Name": name, "SecretString": value, "ClientRequestToken": token() });
    client.secrets("CreateSecret", body).await.ok()["VersionId"].as_str().unwrap().to_owned()
}

async fn put(client: &Client, name: &str, value: &str) -> String {
    let body = json!({ "SecretId": name, "SecretString": value, "ClientRequestToken": token() });
    client.secrets("PutSecretValue", body).await.ok()["VersionId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_token_becomes_the_version() {
    let (aws, client) = start().await;
    let token = token();
    let reply = client
        .secrets(
            "CreateSecret",
            json!({ "Name": "a/b", "SecretString": "v", "ClientRequestToken": token, "Tags": [{"Key": "k", "Value": ""}] }),
        )
        .await
        .ok();
    assert_eq!(reply["VersionId"], json!(token));
    let arn = reply["ARN"].as_str().unwrap();
    let start = "arn:aws:secretsmanager:us-east-1:123456789012:secret:a/b-";
    assert_eq!((arn.strip_prefix(start).unwrap().len(), &reply["Name"]), (6, &json!("a/b")));
    let secret = aws.secret("a/b").unwrap();
    assert_eq!(secret.value.as_deref(), Some("v"));
    assert_eq!(secret.current_version(), Some(token.as_str()));
    assert_eq!(secret.tags.get("k").map(String::as_str), Some(""));
}

#[tokio::test]
async fn a_token_must_be_sent_and_have_32_to_64_characters() {
    let (_aws, client) = start().await;
    let reply = client.secrets("CreateSecret", json!({ "Name": "a", "SecretString": "v" })).await;
    assert!(reply.refused("InvalidRequestException").contains("ClientRequestToken"));
    let short = json!({ "Name": "a", "SecretString": "v", "ClientRequestToken": "short" });
    client.secrets("CreateSecret", short).await.refused("ValidationException");
    let first = create(&client, "a", "v").await;
    for operation in ["PutSecretValue", "UpdateSecret"] {
        let body = json!({ "SecretId": "a", "SecretString": "w" });
        client.secrets(operation, body).await.refused("InvalidRequestException");
    }
    // An update of metadata alone makes no version, so it needs no token.
    client.secrets("UpdateSecret", json!({ "SecretId": "a", "Description": "d" })).await.ok();
    let described = client.secrets("DescribeSecret", json!({ "SecretId": "a" })).await.ok();
    assert_eq!(described["Description"], "d");
    assert_eq!(described["VersionIdsToStages"], json!({ first: ["AWSCURRENT"] }));
}

#[tokio::test]
async fn creating_again_with_the_same_token_and_value_changes_nothing() {
    let (aws, client) = start().await;
    let body = |value: &str, token: &str| json!({ "Name": "a", "SecretString": value, "ClientRequestToken": token });
    let token = token();
    let first = client.secrets("CreateSecret", body("v", &token)).await.ok();
    assert_eq!(client.secrets("CreateSecret", body("v", &token)).await.ok(), first);
    client.secrets("CreateSecret", body("w", &token)).await.refused("ResourceExistsException");
    let other = crate::client::token();
    client.secrets("CreateSecret", body("v", &other)).await.refused("ResourceExistsException");
    assert_eq!(aws.secret("a").unwrap().versions.len(), 1);
}

#[tokio::test]
async fn putting_again_with_the_same_token_and_value_changes_nothing() {
    let (aws, client) = start().await;
    create(&client, "a", "v1").await;
    let second = put(&client, "a", "v2").await;
    put(&client, "a", "v3").await;
    let body = |value: &str| json!({ "SecretId": "a", "SecretString": value, "ClientRequestToken": second });
    let again = client.secrets("PutSecretValue", body("v2")).await.ok();
    // Nothing is done, so the label does not move back either.
    assert_eq!(again["VersionStages"], json!(["AWSPREVIOUS"]));
    assert_eq!(aws.secret("a").unwrap().value.as_deref(), Some("v3"));
    client.secrets("PutSecretValue", body("x")).await.refused("ResourceExistsException");
}

#[tokio::test]
async fn updating_with_an_existing_token_is_refused() {
    let (aws, client) = start().await;
    let first = create(&client, "a", "v1").await;
    for value in ["v1", "v2"] {
        let body = json!({ "SecretId": "a", "SecretString": value, "ClientRequestToken": first, "Description": "no" });
        client.secrets("UpdateSecret", body).await.refused("ResourceExistsException");
    }
    assert_eq!(aws.secret("a").unwrap().description, None);
    let body = json!({ "SecretId": "a", "SecretString": "v2", "ClientRequestToken": token() });
    client.secrets("UpdateSecret", body).await.ok();
    assert_eq!(aws.secret("a").unwrap().value.as_deref(), Some("v2"));
}

#[tokio::test]
async fn labels_follow_new_versions() {
    let (_aws, client) = start().await;
    let first = create(&client, "a", "v1").await;
    let second = put(&client, "a", "v2").await;
    let third = put(&client, "a", "v3").await;
    let pending = client
        .secrets("PutSecretValue", json!({ "SecretId": "a", "SecretString": "p", "ClientRequestToken": token(), "VersionStages": ["AWSPENDING"] }))
        .await
        .ok()["VersionId"].as_str().unwrap().to_owned();
    let described = client.secrets("DescribeSecret", json!({ "SecretId": "a" })).await.ok();
    assert_eq!(
        described["VersionIdsToStages"],
        json!({ second.clone(): ["AWSPREVIOUS"], third.clone(): ["AWSCURRENT"], pending: ["AWSPENDING"] })
    );
    for (body, value) in [
        (json!({ "SecretId": "a" }), "v3"),
        (json!({ "SecretId": "a", "VersionStage": "AWSPREVIOUS" }), "v2"),
        (json!({ "SecretId": "a", "VersionStage": "AWSPENDING" }), "p"),
        (json!({ "SecretId": "a", "VersionId": first }), "v1"),
    ] {
        assert_eq!(client.secrets("GetSecretValue", body).await.ok()["SecretString"], value);
    }
    let body = json!({ "SecretId": "a", "VersionStage": "NONE" });
    client.secrets("GetSecretValue", body).await.refused("ResourceNotFoundException");
    let body = json!({ "SecretId": "a", "VersionId": third, "VersionStage": "AWSPREVIOUS" });
    client.secrets("GetSecretValue", body).await.refused("InvalidRequestException");
    let versions = client.secrets("ListSecretVersionIds", json!({ "SecretId": "a" })).await.ok();
    assert_eq!(versions["Versions"].as_array().unwrap().len(), 3);
    let all = json!({ "SecretId": "a", "IncludeDeprecated": true });
    let versions = client.secrets("ListSecretVersionIds", all).await.ok();
    assert_eq!(versions["Versions"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_label_is_moved_only_from_where_it_is() {
    let (aws, client) = start().await;
    let first = create(&client, "a", "v1").await;
    let second = put(&client, "a", "v2").await;
    let stage = |to: Option<&str>, from: Option<&str>| json!({ "SecretId": "a", "VersionStage": "AWSCURRENT", "MoveToVersionId": to, "RemoveFromVersionId": from });
    let operation = "UpdateSecretVersionStage";
    for body in [
        stage(Some(&first), None),
        stage(Some(&first), Some(&first)),
        stage(None, Some(&second)),
        stage(None, None),
    ] {
        client.secrets(operation, body).await.refused("InvalidParameterException");
    }
    client.secrets(operation, stage(Some(&first), Some(&second))).await.ok();
    let secret = aws.secret("a").unwrap();
    assert_eq!(secret.value.as_deref(), Some("v1"));
    assert_eq!(secret.versions[1].stages, ["AWSPREVIOUS"]);
}

#[tokio::test]
async fn values_and_names_have_bounds() {
    let (_aws, client) = start().await;
    let create = async |body: Value| {
        let mut body = body;
        body["ClientRequestToken"] = json!(token());
        client.secrets("CreateSecret", body).await
    };
    for name in ["bad name", "bad*", "é", ""] {
        create(json!({ "Name": name, "SecretString": "v" })).await.refused("ValidationException");
    }
    let long = "n".repeat(513);
    create(json!({ "Name": long, "SecretString": "v" })).await.refused("ValidationException");
    create(json!({ "Name": "n".repeat(512), "SecretString": "v" })).await.ok();
    create(json!({ "Name": "empty", "SecretString": "" })).await.refused("ValidationException");
    let big = json!({ "Name": "big", "SecretString": "x".repeat(65_537) });
    create(big).await.refused("ValidationException");
    // Bytes count, not characters.
    let wide = json!({ "Name": "wide", "SecretString": "é".repeat(32_769) });
    create(wide).await.refused("ValidationException");
    create(json!({ "Name": "full", "SecretString": "x".repeat(65_536) })).await.ok();
    let both = json!({ "Name": "both", "SecretString": "x", "SecretBinary": "eA==" });
    create(both).await.refused("InvalidParameterException");
    create(json!({ "Name": "binary", "SecretBinary": "AAE=" })).await.ok();
    let reply = client.secrets("GetSecretValue", json!({ "SecretId": "binary" })).await.ok();
    assert_eq!((&reply["SecretBinary"], &reply["SecretString"]), (&json!("AAE="), &Value::Null));
}

#[tokio::test]
async fn a_secret_without_a_value_cannot_be_read() {
    let (_aws, client) = start().await;
    let body = json!({ "Name": "a", "ClientRequestToken": token() });
    let created = client.secrets("CreateSecret", body.clone()).await.ok();
    assert_eq!(created["VersionId"], Value::Null);
    assert_eq!(client.secrets("CreateSecret", body).await.ok(), created);
    let reply = client.secrets("GetSecretValue", json!({ "SecretId": "a" })).await;
    assert_eq!(
        reply.refused("ResourceNotFoundException"),
        "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"
    );
    client.secrets("DescribeSecret", json!({ "SecretId": "a" })).await.ok();
    let pending = json!({ "SecretId": "a", "SecretString": "p", "ClientRequestToken": token(), "VersionStages": ["AWSPENDING"] });
    let reply = client.secrets("PutSecretValue", pending).await.ok();
    assert_eq!(reply["VersionStages"], json!(["AWSCURRENT", "AWSPENDING"]));
}

#[tokio::test]
async fn tags_have_bounds() {
    let (aws, client) = start().await;
    create(&client, "a", "v").await;
    let tag = |tags: Value| json!({ "SecretId": "a", "Tags": tags });
    let many: Vec<Value> =
        (0..50).map(|number| json!({ "Key": format!("k{number}"), "Value": "" })).collect();
    client.secrets("TagResource", tag(json!(many))).await.ok();
    let one_more = tag(json!([{ "Key": "more", "Value": "" }]));
    client.secrets("TagResource", one_more).await.refused("InvalidParameterException");
    client.secrets("TagResource", tag(json!([{ "Key": "k1", "Value": "new" }]))).await.ok();
    for tags in [
        json!([{ "Key": "aws:x", "Value": "" }]),
        json!([{ "Key": "k", "Value": "1" }, { "Key": "k", "Value": "2" }]),
    ] {
        client.secrets("TagResource", tag(tags)).await.refused("InvalidParameterException");
    }
    let long = tag(json!([{ "Key": "k", "Value": "v".repeat(257) }]));
    client.secrets("TagResource", long).await.refused("ValidationException");
    let keys: Vec<String> = (2..50).map(|number| format!("k{number}")).collect();
    let body = json!({ "SecretId": "a", "TagKeys": keys });
    client.secrets("UntagResource", body.clone()).await.ok();
    client.secrets("UntagResource", body).await.ok();
    let tags = aws.secret("a").unwrap().tags;
    assert_eq!(
        tags.into_iter().collect::<Vec<_>>(),
        [("k0".into(), "".into()), ("k1".into(), "new".into())]
    );
}

#[tokio::test]
async fn versions_are_limited_and_young_ones_are_kept() {
    let (aws, client) = start().await;
    aws.set_version_quota(3);
    create(&client, "a", "v1").await;
    put(&client, "a", "v2").await;
    put(&client, "a", "v3").await;
    let body = json!({ "SecretId": "a", "SecretString": "v4", "ClientRequestToken": token() });
    client.secrets("PutSecretValue", body.clone()).await.refused("LimitExceededException");
    client.secrets("UpdateSecret", body).await.refused("LimitExceededException");
    assert_eq!(aws.secret("a").unwrap().value.as_deref(), Some("v3"));
    aws.advance(std::time::Duration::from_secs(25 * 3600));
    put(&client, "a", "v4").await;
    let texts: Vec<_> =
        aws.secret("a").unwrap().versions.into_iter().filter_map(|version| version.text).collect();
    assert_eq!(texts, ["v2", "v3", "v4"]);
}

#[tokio::test]
async fn a_batch_reports_each_failure() {
    let (_aws, client) = start().await;
    create(&client, "a", "v").await;
    let body = json!({ "SecretIdList": ["a", "missing"] });
    let reply = client.secrets("BatchGetSecretValue", body).await.ok();
    assert_eq!(reply["SecretValues"][0]["SecretString"], "v");
    assert_eq!(reply["Errors"][0]["SecretId"], "missing");
    assert_eq!(reply["Errors"][0]["ErrorCode"], "ResourceNotFoundException");
    let many: Vec<String> = (0..21).map(|number| format!("s{number}")).collect();
    let body = json!({ "SecretIdList": many });
    client.secrets("BatchGetSecretValue", body).await.refused("ValidationException");
    for body in [
        json!({}),
        json!({ "SecretIdList": ["a"], "Filters": [{ "Key": "name", "Values": ["a"] }] }),
        json!({ "SecretIdList": ["a"], "MaxResults": 2 }),
    ] {
        client.secrets("BatchGetSecretValue", body).await.refused("InvalidParameterException");
    }
    let body = json!({ "Filters": [{ "Key": "name", "Values": ["a"] }] });
    let reply = client.secrets("BatchGetSecretValue", body).await.ok();
    assert_eq!(reply["SecretValues"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn regions_are_apart() {
    let (aws, client) = start().await;
    create(&client, "a", "v").await;
    let west = client.clone().region("eu-west-1");
    let body = json!({ "SecretId": "a" });
    west.secrets("GetSecretValue", body).await.refused("ResourceNotFoundException");
    create(&west, "a", "w").await;
    assert_eq!(aws.secret("a").unwrap().value.as_deref(), Some("v"));
    assert_eq!(aws.secret_in("eu-west-1", "a").unwrap().value.as_deref(), Some("w"));
}

#[tokio::test]
async fn a_wrong_type_is_refused() {
    let (_aws, client) = start().await;
    let body = json!({ "Name": 1, "ClientRequestToken": token() });
    client.secrets("CreateSecret", body).await.refused("SerializationException");
    client.secrets("DescribeSecret", json!({})).await.refused("ValidationException");
}

#[tokio::test]
async fn writes_behind_everyones_back_are_seen() {
    let (aws, client) = start().await;
    let first = create(&client, "a", "v").await;
    let second = aws.put_secret("a", "changed");
    let reply = client.secrets("GetSecretValue", json!({ "SecretId": "a" })).await.ok();
    assert_eq!((&reply["SecretString"], &reply["VersionId"]), (&json!("changed"), &json!(second)));
    let list = client.secrets("ListSecrets", json!({})).await.ok();
    assert_eq!(
        list["SecretList"][0]["SecretVersionsToStages"],
        json!({ first: ["AWSPREVIOUS"], second: ["AWSCURRENT"] })
    );
    assert!(aws.set_secret_tag("a", "k", Some("v")));
    assert!(aws.delete_secret("a"));
    assert!(aws.secret("a").is_none());
}
