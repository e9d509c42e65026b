use std::collections::BTreeSet;
use std::time::Duration;

use bailee_fake_clouds::FakeAws;
use serde_json::{Value, json};

use crate::client::{Client, token};

async fn names(client: &Client, body: Value) -> Vec<String> {
    let reply = client.secrets("ListSecrets", body).await.ok();
    let entries = reply["SecretList"].as_array().unwrap();
    entries.iter().map(|entry| entry["Name"].as_str().unwrap().to_owned()).collect()
}

fn filter(key: &str, values: &[&str]) -> Value {
    json!({ "Filters": [{ "Key": key, "Values": values }] })
}

async fn start() -> (FakeAws, Client) {
    let aws = FakeAws::start().await;
    for name in ["vault/a", "vault/b", "prod/a"] {
        aws.put_secret(name, "v");
    }
    aws.set_secret_tag("vault/a", "env", Some("prod"));
    aws.set_secret_tag("vault/b", "env", Some("test"));
    let client = Client::new(&aws);
    (aws, client)
}

#[tokio::test]
async fn filters_match_prefixes_and_may_be_negated() {
    let (_aws, client) = start().await;
    for (body, expected) in [
        (json!({}), vec!["vault/a", "vault/b", "prod/a"]),
        (filter("name", &["vault/"]), vec!["vault/a", "vault/b"]),
        (filter("name", &["VAULT/"]), vec![]),
        (filter("name", &["vault/b", "prod"]), vec!["vault/b", "prod/a"]),
        (filter("name", &["!vault/"]), vec!["prod/a"]),
        (filter("name", &["vault/", "!vault/b"]), vec!["vault/a"]),
        (filter("tag-key", &["en"]), vec!["vault/a", "vault/b"]),
        (filter("tag-value", &["prod"]), vec!["vault/a"]),
        (filter("tag-value", &["!prod"]), vec!["vault/b", "prod/a"]),
        (filter("all", &["PROD"]), vec!["vault/a", "prod/a"]),
        (
            json!({ "Filters": [{ "Key": "name", "Values": ["vault/"] }, { "Key": "tag-value", "Values": ["test"] }] }),
            vec!["vault/b"],
        ),
        (json!({ "SortBy": "name" }), vec!["prod/a", "vault/a", "vault/b"]),
        (json!({ "SortOrder": "desc" }), vec!["prod/a", "vault/b", "vault/a"]),
    ] {
        assert_eq!(names(&client, body.clone()).await, expected, "{body}");
    }
}

#[tokio::test]
async fn bad_filters_are_refused() {
    let (_aws, client) = start().await;
    let long = "x".repeat(513);
    let eleven = ["x"; 11];
    for body in [
        filter("owner", &["x"]),
        filter("name", &["a*"]),
        filter("name", &[&long]),
        filter("name", &eleven),
        json!({ "MaxResults": 101 }),
        json!({ "MaxResults": 0 }),
        json!({ "SortBy": "size" }),
    ] {
        client.secrets("ListSecrets", body).await.refused("ValidationException");
    }
    let reply = client.secrets("ListSecrets", filter("name", &[])).await;
    reply.refused("InvalidParameterException");
}

#[tokio::test]
async fn pages_cover_everything_once() {
    let (aws, client) = start().await;
    for number in 0..250 {
        aws.put_secret(&format!("many/{number}"), "v");
    }
    for sort_by in [Value::Null, json!("name")] {
        let mut seen = BTreeSet::new();
        let (mut next, mut pages) = (Value::Null, 0);
        loop {
            let body = json!({ "NextToken": next, "Filters": [{ "Key": "name", "Values": ["many/"] }], "SortBy": sort_by });
            let reply = client.secrets("ListSecrets", body).await.ok();
            for entry in reply["SecretList"].as_array().unwrap() {
                assert!(seen.insert(entry["Name"].as_str().unwrap().to_owned()));
            }
            pages += 1;
            next = reply["NextToken"].clone();
            if next.is_null() {
                break;
            }
        }
        assert_eq!((seen.len(), pages), (250, 3));
    }
    let body = json!({ "NextToken": "made-up" });
    client.secrets("ListSecrets", body).await.refused("InvalidNextTokenException");
}

#[tokio::test]
async fn deletions_are_listed_only_when_asked_for() {
    let (aws, client) = start().await;
    assert!(aws.schedule_deletion("vault/a", 7));
    assert_eq!(names(&client, json!({})).await, ["vault/b", "prod/a"]);
    let body = json!({ "IncludePlannedDeletion": true });
    let reply = client.secrets("ListSecrets", body).await.ok();
    assert!(reply["SecretList"][0]["DeletedDate"].is_number());
}

#[tokio::test]
async fn entries_show_versions_and_tags_but_no_values() {
    let (aws, client) = start().await;
    let reply = client.secrets("ListSecrets", filter("name", &["vault/a"])).await.ok();
    let entry = &reply["SecretList"][0];
    let version = aws.secret("vault/a").unwrap().current_version().unwrap().to_owned();
    assert_eq!(entry["SecretVersionsToStages"], json!({ version: ["AWSCURRENT"] }));
    assert_eq!(entry["Tags"], json!([{ "Key": "env", "Value": "prod" }]));
    assert_eq!((&entry["SecretString"], &entry["KmsKeyId"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_listing_may_lag_while_describing_does_not() {
    let (aws, client) = start().await;
    aws.set_list_lag(Duration::from_secs(300));
    aws.advance(Duration::from_secs(1));
    let body = json!({ "Name": "vault/c", "SecretString": "v", "ClientRequestToken": token() });
    client.secrets("CreateSecret", body).await.ok();
    aws.delete_secret("vault/a");
    let body = json!({ "SecretId": "vault/b", "Description": "new" });
    client.secrets("UpdateSecret", body).await.ok();
    client.secrets("DescribeSecret", json!({ "SecretId": "vault/c" })).await.ok();
    assert_eq!(names(&client, json!({})).await, ["vault/a", "vault/b", "prod/a"]);
    assert!(names(&client, filter("description", &["new"])).await.is_empty());
    aws.advance(Duration::from_secs(301));
    assert_eq!(names(&client, json!({})).await, ["vault/b", "prod/a", "vault/c"]);
    assert_eq!(names(&client, filter("description", &["NEW"])).await, ["vault/b"]);
}

#[tokio::test]
async fn a_new_secret_may_be_unknown_for_a_while() {
    let (aws, client) = start().await;
    aws.set_read_lag(Duration::from_secs(300));
    let body = json!({ "Name": "vault/c", "SecretString": "v", "ClientRequestToken": token() });
    client.secrets("CreateSecret", body).await.ok();
    let read = json!({ "SecretId": "vault/c" });
    client.secrets("GetSecretValue", read.clone()).await.refused("ResourceNotFoundException");
    aws.advance(Duration::from_secs(301));
    client.secrets("GetSecretValue", read).await.ok();
}
