//! A real server as the place: logins, KV, dynamic credentials and their leases.

use crate::world::Agent;
use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Options, TestServer, eventually};
use rustix::process::Signal;
use serde_json::json;

const CONFIGURATION: &str = r#"
secret_manager "kv" {
  type    = "bailee"
  address = "SERVER"
  auth "approle" {
    role_id        = "ROLE_ID"
    secret_id_file = "{folder}/secret-id"
  }
  refresh = "1s"
}
exec {
  command = ["/bin/sh", "-c", "printf '%s' \"$PASSWORD\" > {folder}/given; printf '%s' \"$KEY\" > {folder}/key-given; exec sleep 3600"]
  environment = ENVIRONMENT
}
"#;

/// A server with a role for the agent, whose policy is this.
pub(crate) async fn role(server: &TestServer, policy: &str) -> (String, String) {
    let api = server.api();
    api.put("sys/policies/acl/app", json!({ "policy": policy })).await.done();
    api.post("sys/auth/approle", json!({ "type": "approle" })).await.done();
    let role = json!({ "token_policies": "app", "token_ttl": "4s", "token_max_ttl": "1h" });
    api.post("auth/approle/role/app", role).await.done();
    let id = api.get("auth/approle/role/app/role-id").await.ok().text("/data/role_id");
    let secret = api.post("auth/approle/role/app/secret-id", json!({})).await.ok();
    (id, secret.text("/data/secret_id"))
}

fn configured(server: &TestServer, role_id: &str, environment: &str) -> String {
    CONFIGURATION
        .replace("SERVER", server.api().base().trim_end_matches("/v1/").trim_end_matches('/'))
        .replace("ROLE_ID", role_id)
        .replace("ENVIRONMENT", environment)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_follows_a_secret_of_a_server_and_outlives_its_outage() {
    let mut server = TestServer::start().await;
    let policy = "path \"secret/data/app\" { capabilities = [\"read\"] }\n\
                  path \"sys/internal/ui/mounts/*\" { capabilities = [\"read\"] }";
    let (role_id, secret_id) = role(&server, policy).await;
    server.api().write("app", json!({ "password": "canary-first" })).await;
    // The path without data/, as people know it.
    let environment = "{ PASSWORD = \"secret/app#password\" }";
    let mut agent = Agent::new(&configured(&server, &role_id, environment));
    agent.private("secret-id", &secret_id);
    agent.started().await;
    agent.until("given", "canary-first").await;
    server.api().write("app", json!({ "password": "canary-second" })).await;
    agent.until("given", "canary-second").await;

    server.kill();
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    agent.until("given", "canary-second").await;
    server.start_again().await;
    server.unseal().await;
    server.api().write("app", json!({ "password": "canary-third" })).await;
    agent.until("given", "canary-third").await;
    agent.assert_told_nothing(&["canary-first", "canary-second", "canary-third", &secret_id]);
    agent.signal(Signal::TERM);
    assert_eq!(agent.code().await, Some(143));
}

/// A server that makes keys of AWS under leases of so long.
async fn issuer(aws: &FakeAws, lease: &str) -> TestServer {
    let config = format!(
        "aws {{ allowed_ipv4_addresses = [\"127.0.0.0/8\"]\n allowed_ports = [\"{}\"] }}",
        aws.port()
    );
    let options = Options { config, ..Options::delivering_to(aws) };
    let server = TestServer::start_with(options).await;
    let api = server.api();
    let key = aws.administrator();
    api.post("sys/mounts/aws", json!({ "type": "aws" })).await.done();
    let root = json!({
        "access_key": key.access_key_id, "secret_key": key.secret_access_key,
        "region": "us-east-1", "iam_endpoint": aws.endpoint(), "sts_endpoint": aws.endpoint(),
    });
    api.post("aws/config/root", root).await.done();
    api.post("aws/config/lease", json!({ "lease": lease, "lease_max": "1h" })).await.done();
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]});
    let made = json!({ "credential_type": "iam_user", "policy_document": document.to_string() });
    api.post("aws/roles/app", made).await.done();
    server
}

/// The leases of the keys that it made.
async fn leases(server: &TestServer) -> Vec<String> {
    let listed = server.api().list("sys/leases/lookup/aws/creds/app").await;
    serde_json::from_value(listed.at("/data/keys")).unwrap_or_default()
}

const KEYS: &str = "path \"aws/creds/app\" { capabilities = [\"read\"] }";
const KEY: &str = "{ KEY = \"aws/creds/app#access_key\" }";

#[tokio::test(flavor = "multi_thread")]
async fn dynamic_credentials_are_renewed_and_given_back_at_the_end() {
    let aws = FakeAws::start().await;
    let server = issuer(&aws, "6s").await;
    let (role_id, secret_id) = role(&server, KEYS).await;
    let mut agent = Agent::new(&configured(&server, &role_id, KEY));
    agent.private("secret-id", &secret_id);
    agent.started().await;
    eventually("a key is given", async || agent.content("key-given").len() > 10).await;
    let given = agent.content("key-given");
    // Longer than the lease: it was renewed, and the key is the same one.
    tokio::time::sleep(std::time::Duration::from_secs(15)).await;
    assert_eq!(agent.content("key-given"), given);
    assert_eq!(leases(&server).await.len(), 1);
    agent.signal(Signal::TERM);
    assert_eq!(agent.code().await, Some(143));
    eventually("the lease is given back", async || leases(&server).await.is_empty()).await;
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamic_credentials_outlive_a_restart_where_that_is_said_in_an_outage_too() {
    let aws = FakeAws::start().await;
    let mut server = issuer(&aws, "30m").await;
    let (role_id, secret_id) = role(&server, KEYS).await;
    let lasting = json!({ "token_ttl": "1h" });
    server.api().post("auth/approle/role/app", lasting).await.done();
    let basis = configured(&server, &role_id, KEY);
    let cache =
        "cache { path = \"{folder}/cache\"  key_file = \"{folder}/key\"  keep_leases = KEPT }";
    let keeping = |kept: &str| format!("{basis}{}\n", cache.replace("KEPT", kept));
    let mut agent = Agent::new(&keeping("true"));
    agent.private("secret-id", &secret_id);
    agent.private("key", &"k".repeat(32));
    agent.started().await;
    eventually("a key is given", async || agent.content("key-given").len() > 10).await;
    let given = agent.content("key-given");
    let lease = leases(&server).await;
    assert_eq!(lease.len(), 1);

    let again = async |agent: &mut Agent| {
        agent.signal(Signal::TERM);
        assert_eq!(agent.code().await, Some(143));
        std::fs::remove_file(agent.path("key-given")).unwrap();
        agent.started().await;
        agent.until("key-given", &given).await;
    };
    again(&mut agent).await;
    let id = json!({ "lease_id": format!("aws/creds/app/{}", lease[0]) });
    let api = server.api();
    eventually("the lease is renewed", async || {
        !api.post("sys/leases/lookup", id.clone()).await.ok().at("/data/last_renewal").is_null()
    })
    .await;
    assert_eq!((leases(&server).await, tokens(&server).await), (lease.clone(), 1));

    server.kill();
    again(&mut agent).await;
    server.start_again().await;
    server.unseal().await;
    assert_eq!((leases(&server).await, tokens(&server).await), (lease.clone(), 1));
    let sealed = std::fs::read(agent.path("cache")).unwrap();
    assert!(!sealed.windows(given.len()).any(|part| part == given.as_bytes()));

    // Who does not say so any more gives back what an earlier run kept.
    agent.configure(&keeping("false"));
    again(&mut agent).await;
    agent.assert_told_nothing(&[&secret_id]);
    agent.signal(Signal::TERM);
    assert_eq!(agent.code().await, Some(143));
    eventually("the lease is given back", async || leases(&server).await.is_empty()).await;
    assert_eq!(tokens(&server).await, 0);
    server.assert_no_panic();
}

/// How many tokens the server knows, but for the one that asks.
pub(crate) async fn tokens(server: &TestServer) -> usize {
    let listed = server.api().list("auth/token/accessors").await.ok();
    listed.at("/data/keys").as_array().unwrap().len() - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_logins_are_given_back_at_the_end_and_the_operators_stays() {
    let server = TestServer::start().await;
    let api = server.api();
    let policy = "path \"secret/data/app\" { capabilities = [\"read\"] }";
    let (role_id, secret_id) = role(&server, policy).await;
    // So that none ends by itself meanwhile.
    api.post("auth/approle/role/app", json!({ "token_ttl": "1h" })).await.done();
    // A key that is called as what a versioned engine puts around a secret.
    api.write("app", json!({ "password": "canary", "data": "inner" })).await;
    let environment = "{ PASSWORD = \"secret/data/app#password\", KEY = \"secret/data/app#data\" }";
    let configured = configured(&server, &role_id, environment);

    let mut agent = Agent::new(&configured);
    agent.private("secret-id", &secret_id);
    assert_eq!(agent.ends("check").await.code, 0);
    assert_eq!(tokens(&server).await, 0, "a check leaves a token behind");
    agent.started().await;
    agent.until("given", "canary").await;
    agent.until("key-given", "inner").await;
    assert_eq!(tokens(&server).await, 1);
    agent.signal(Signal::TERM);
    assert_eq!(agent.code().await, Some(143));
    assert_eq!(tokens(&server).await, 0, "a run leaves a token behind");

    let given = json!({ "policies": ["app"], "ttl": "1h" });
    let given = api.post("auth/token/create", given).await.ok().text("/auth/client_token");
    let (before, after) = configured.split_once("auth \"approle\" {").unwrap();
    let (_, after) = after.split_once("refresh").unwrap();
    let auth = "auth \"token_file\" { path = \"{folder}/token\" }";
    let mut agent = Agent::new(&format!("{before}{auth}\n  refresh{after}"));
    agent.private("token", &given);
    assert_eq!(agent.ends("check").await.code, 0);
    agent.started().await;
    agent.until("given", "canary").await;
    agent.signal(Signal::TERM);
    assert_eq!(agent.code().await, Some(143));
    assert_eq!(api.with_token(&given).get("auth/token/lookup-self").await.status, 200);
    agent.assert_told_nothing(&["canary", &given, &secret_id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_path_that_a_policy_lacks() {
    let server = TestServer::start().await;
    let policy = "path \"secret/data/other\" { capabilities = [\"read\"] }";
    let (role_id, secret_id) = role(&server, policy).await;
    server.api().write("other", json!({ "password": "canary" })).await;
    let environment =
        "{ PASSWORD = \"secret/data/app#password\", KEY = \"secret/data/other#password\" }";
    let agent = Agent::new(&configured(&server, &role_id, environment));
    agent.private("secret-id", &secret_id);
    let checked = agent.ends("check").await;
    assert_eq!(checked.code, 2, "{checked:?}");
    let needs = "the token's policies need: path \"secret/data/app\" { capabilities = [\"read\"] }";
    assert!(checked.out.contains("FAILED   read secret/data/app"), "{}", checked.out);
    assert!(checked.out.contains(needs), "{}", checked.out);
    assert!(checked.out.contains("ok       read secret/data/other: version 1"), "{}", checked.out);
    assert!(!checked.out.contains("canary") && checked.err.is_empty(), "{checked:?}");
    agent.private("secret-id", "wrong");
    let checked = agent.ends("check").await;
    assert!(checked.out.contains("FAILED   a token: "), "{}", checked.out);
    assert!(checked.out.contains("skipped  read secret/data/app"), "{}", checked.out);
}
