//! A whole server and its `aws` engine, from the first command to the last key that stops working.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

use bailee_fake_clouds::{FakeAws, aws::Fault};
use bailee_testkit::{Options, TestServer, eventually};
use serde_json::json;
use std::time::Duration;

const EC2: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:*"],"Resource":["*"]}]}"#;

/// A server whose operator lets the engine reach the fake, with the engine mounted.
async fn start(aws: &FakeAws) -> TestServer {
    let config = format!(
        "aws {{ allowed_ipv4_addresses = [\"127.0.0.0/8\"]\n allowed_ports = [\"{}\"] }}",
        aws.port()
    );
    let options = Options { aws_endpoint: Some(aws.endpoint()), config, ..Options::default() };
    let server = TestServer::start_with(options).await;
    server.api().post("sys/mounts/aws", json!({ "type": "aws" })).await.done();
    server
}

/// Configures the engine as a user who has no more rights than the engine itself says it needs.
async fn configure(server: &TestServer, aws: &FakeAws) {
    let policy = server.api().get("aws/root-policy?credential_type=iam_user").await.ok().data();
    let key = aws.create_user("engine", &[policy["policy_document"].as_str().unwrap()]);
    let root = json!({
        "access_key": key.access_key_id, "secret_key": key.secret_access_key,
        "region": "us-east-1", "iam_endpoint": aws.endpoint(), "sts_endpoint": aws.endpoint(),
    });
    server.api().post("aws/config/root", root).await.done();
    let role = json!({ "credential_type": "iam_user", "policy_document": EC2 });
    server.api().post("aws/roles/my-role", role).await.done();
}

fn users(aws: &FakeAws) -> Vec<String> {
    aws.users().into_iter().filter(|name| name.starts_with("vault-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_work_when_they_arrive_and_stop_when_they_are_revoked() {
    let aws = FakeAws::start().await;
    let server = start(&aws).await;
    configure(&server, &aws).await;
    aws.set_new_key_delay(Duration::from_secs(1));
    aws.set_new_key_delay_spread(Duration::from_secs(2));
    let given = server.api().get("aws/creds/my-role").await.ok();
    assert_eq!(given.json["lease_duration"], 2_764_800);
    assert!(given.json["warnings"].is_null(), "{}", given.json);
    let key = given.data()["access_key"].as_str().unwrap().to_owned();
    assert!(aws.key_works(&key), "it works at the moment it arrives");
    assert_eq!(users(&aws).len(), 1);
    let lease = json!({ "lease_id": given.text("/lease_id") });
    server.api().put("sys/leases/revoke", lease).await.done();
    assert!(!aws.key_works(&key) && users(&aws).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_lease_ends_by_itself() {
    let aws = FakeAws::start().await;
    let server = start(&aws).await;
    configure(&server, &aws).await;
    let short = json!({ "lease": "4s", "lease_max": "8s" });
    server.api().post("aws/config/lease", short).await.done();
    let given = server.api().get("aws/creds/my-role").await.ok();
    let key = given.data()["access_key"].as_str().unwrap().to_owned();
    assert!(aws.key_works(&key));
    eventually("the key is gone", async || !aws.key_works(&key)).await;
    eventually("the user is gone", async || users(&aws).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_on_which_things_hang_goes_all_the_same() {
    let aws = FakeAws::start().await;
    let server = start(&aws).await;
    configure(&server, &aws).await;
    aws.set_gateway_errors(true);
    let given = server.api().get("aws/creds/my-role").await.ok();
    let name = users(&aws).remove(0);
    assert!(aws.hang_everything_on(&name));
    let lease = json!({ "lease_id": given.text("/lease_id") });
    server.api().put("sys/leases/revoke", lease).await.done();
    assert!(users(&aws).is_empty(), "{:?}", aws.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_while_it_makes_users_loses_none_of_them() {
    let aws = FakeAws::start().await;
    let mut server = start(&aws).await;
    configure(&server, &aws).await;
    aws.inject(Fault::delay("iam:PutUserPolicy", Duration::from_secs(3)));
    let (api, asked) = (server.api().clone(), "aws/creds/my-role");
    let request =
        tokio::spawn(async move { api.try_send(bailee_testkit::Ask::new("GET", asked)).await });
    eventually("the user is made", async || !users(&aws).is_empty()).await;
    server.kill();
    assert!(request.await.unwrap().is_err());
    aws.clear_faults();
    server.restart().await;
    // The mount cannot go before its unfinished request is undone; asked to go, it is at once.
    server.api().delete("sys/mounts/aws").await.done();
    assert!(users(&aws).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_configures_a_mount_reaches_no_address_that_the_operator_did_not_open() {
    let aws = FakeAws::start().await;
    let server = TestServer::start().await;
    server.api().post("sys/mounts/aws", json!({ "type": "aws" })).await.done();
    let role = json!({ "credential_type": "iam_user", "policy_document": EC2 });
    server.api().post("aws/roles/my-role", role).await.done();
    server.api().get("aws/creds/my-role").await.refused(400, "no AWS credentials");
    let root = json!({
        "access_key": "AKIAX", "secret_key": "s", "iam_endpoint": aws.endpoint(),
        "sts_endpoint": "http://169.254.169.254",
    });
    server.api().post("aws/config/root", root).await.done();
    let refused =
        server.api().get("aws/creds/my-role").await.refused(400, "Error creating IAM user");
    assert!(refused.errors().contains("prohibited port"), "{}", refused.errors());
    assert_eq!(aws.calls().len(), 0);
}

/// All that a role of users can do, and all that others can hang on a user.
async fn live(server: &TestServer, aws: &FakeAws) -> Result<(), String> {
    let given = server.api().get("aws/creds/full").await;
    if given.status != 200 || !given.json["warnings"].is_null() {
        return Err(format!("{}", given.json));
    }
    let lease = given.text("/lease_id");
    aws.hang_everything_on(&users(aws)[0]);
    // Then the engine has to look whose user it is.
    aws.delete_access_key(given.data()["access_key"].as_str().unwrap());
    let revoked = server.api().put("sys/leases/revoke", json!({ "lease_id": lease })).await;
    if revoked.status == 204 { Ok(()) } else { Err(format!("{}", revoked.json)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_that_is_printed_is_enough_and_nothing_can_be_left_out() {
    let aws = FakeAws::start().await;
    let server = start(&aws).await;
    configure(&server, &aws).await;
    let api = server.api();
    api.post("aws/config/root", json!({ "wait_until_usable": false, "max_retries": 0 }))
        .await
        .done();
    aws.create_group("staff");
    let role = json!({
        "credential_type": "iam_user", "policy_document": EC2, "iam_groups": "staff",
        "policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess",
    });
    api.post("aws/roles/full", role).await.done();
    let policy = api.get("aws/root-policy").await.ok().data()["policy"].clone();
    aws.set_user_policies("engine", &[&policy.to_string()]);
    live(&server, &aws).await.unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let mut tried = 0;
    for (at, statement) in statements.iter().enumerate() {
        if statement["Sid"] == "RotateOwnKey" {
            continue;
        }
        for action in statement["Action"].as_array().unwrap() {
            let mut less = policy.clone();
            let kept = less["Statement"][at]["Action"].as_array_mut().unwrap();
            kept.retain(|kept| kept != action);
            // A statement must name something.
            kept.push(json!("none:None"));
            aws.set_user_policies("engine", &[&less.to_string()]);
            let outcome = live(&server, &aws).await;
            assert!(outcome.is_err(), "{action} of {} can be left out", statement["Sid"]);
            aws.set_user_policies("engine", &[&policy.to_string()]);
            api.put("sys/leases/revoke-prefix/aws", json!({ "sync": true })).await;
            tried += 1;
        }
    }
    assert!(tried > 20);
}
