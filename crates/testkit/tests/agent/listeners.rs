//! The listeners of a running agent, asked by clients of others.

use crate::{
    server::{role, tokens},
    world::Agent,
};
use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Options, Storage, TestServer, eventually, free_port, python};
use rustix::process::Signal;
use serde_json::json;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;

const CACHING: &str = r#"
secret_manager "kv" {
  type    = "bailee"
  address = "SERVER"
  auth "token_file" { path = "{folder}/vault-token" }
}
listener "vault" {
  manager                = "kv"
  address                = "127.0.0.1:PORT"
  use_auto_auth_token    = true
  require_request_header = true
  cache_ttl              = "5m"
}
"#;

const OF_AWS: &str = r#"
secret_manager "prod" {
  type                   = "aws-sm"
  authentication         = "access-key"
  region                 = "us-east-1"
  access_key_id          = "KEY_ID"
  secret_access_key_file = "{folder}/secret-key"
  endpoint               = "AWS_ADDRESS"
}
connection "orders" {
  properties = { host = "db.example" }
  secret "password" { id = "prod/orders"  key = "password" }
}
listener "secretsmanager" {
  address    = "127.0.0.1:PORT"
  token_file = "{folder}/token"
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn hvac_is_content_with_a_server_through_the_agent() {
    let options = Options { storage: Storage::Memory, ..Options::default() };
    let mut server = TestServer::start_with(options).await;
    let port = free_port();
    let text = CACHING.replace("SERVER", server.api().base()).replace("PORT", &port.to_string());
    let mut agent = Agent::new(&text);
    agent.private("vault-token", server.api().token());
    agent.started().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/hvac_core.py");
    let mut client = tokio::process::Command::new(python());
    client.args([script, &format!("http://127.0.0.1:{port}")]).stdin(Stdio::piped());
    let mut client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let token = format!("{}\n", server.api().token());
    client.stdin.take().unwrap().write_all(token.as_bytes()).await.unwrap();
    let output = client.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What was read is kept, and outlives the server.
    let http = reqwest::Client::new();
    let read = async || {
        let url = format!("http://127.0.0.1:{port}/v1/secret/data/app/db");
        http.get(url).header("X-Vault-Request", "true").send().await.unwrap()
    };
    assert_eq!(read().await.status(), 200);
    server.kill();
    let kept = read().await;
    assert_eq!(kept.status().as_u16(), 200);
    assert_eq!(kept.headers()["x-cache"], "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_repeated_shares_a_token_unless_its_secret_id_is_good_for_one() {
    let server = TestServer::start().await;
    let api = server.api();
    let policy = "path \"secret/data/app\" { capabilities = [\"read\"] }";
    let (role_id, many) = role(&server, policy).await;
    api.post("auth/approle/role/app", json!({ "token_ttl": "1h" })).await.done();
    let once = api.post("auth/approle/role/app/secret-id", json!({ "num_uses": 1 })).await.ok();
    let once = once.text("/data/secret_id");
    api.write("app", json!({ "password": "canary" })).await;
    let port = free_port();
    let text = CACHING.replace("SERVER", api.base()).replace("PORT", &port.to_string());
    let mut agent = Agent::new(&text);
    agent.private("vault-token", api.token());
    agent.started().await;
    let http = reqwest::Client::new();
    let send = async |path: &str, body: &serde_json::Value, token: &str| {
        let request = http.post(format!("http://127.0.0.1:{port}/v1/{path}")).json(body);
        let request = request.header("X-Vault-Request", "true").header("X-Vault-Token", token);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let login = async |secret_id: &str| {
        let body = json!({ "role_id": role_id, "secret_id": secret_id });
        let (status, answer) = send("auth/approle/login", &body, "").await;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        (status, answer["auth"]["client_token"].as_str().unwrap_or_default().to_owned())
    };
    let (_, first) = login(&many).await;
    for _ in 0..3 {
        assert_eq!(login(&many).await, (200, first.clone()));
    }
    assert_eq!(tokens(&server).await, 1, "what was made to ask is given back");
    assert_eq!(login(&once).await.0, 200);
    for _ in 0..2 {
        assert_eq!(login(&once).await, (400, String::new()));
    }
    // Ended elsewhere: whoever is refused with it gets another by the same login.
    api.post("auth/token/revoke", json!({ "token": first })).await.done();
    assert_eq!(send("auth/token/lookup-self", &json!({}), &first).await.0, 403);
    let (status, second) = login(&many).await;
    assert!(status == 200 && second != first);
    assert_eq!(send("auth/token/revoke-self", &json!({}), &second).await.0, 204);
    let (status, third) = login(&many).await;
    assert!(status == 200 && third != second);
    agent.assert_told_nothing(&[&first, &second, &third, &many, &once, "canary"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_awss_agent_is_answered_by_ours_and_status_tells_how_it_fares() {
    let aws = FakeAws::start().await;
    aws.put_secret("prod/orders", r#"{"password":"canary"}"#);
    let key = aws.administrator().clone();
    let port = free_port();
    let text = OF_AWS
        .replace("KEY_ID", &key.access_key_id)
        .replace("AWS_ADDRESS", &aws.endpoint())
        .replace("PORT", &port.to_string());
    let mut agent = Agent::new(&text);
    agent.private("secret-key", &key.secret_access_key);
    agent.private("token", "0123456789abcdef");
    agent.started().await;
    let http = reqwest::Client::new();
    let ask = async |target: &str, token: &str| {
        let request = http.get(format!("http://127.0.0.1:{port}{target}"));
        let answer = request.header("X-Aws-Parameters-Secrets-Token", token).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let good = "0123456789abcdef";
    let (status, secret) = ask("/secretsmanager/get?secretId=prod/orders", good).await;
    assert_eq!(status, 200, "{secret}");
    let secret: serde_json::Value = serde_json::from_str(&secret).unwrap();
    assert_eq!(secret["Name"], "prod/orders");
    assert_eq!(secret["SecretString"], r#"{"password":"canary"}"#);
    assert!(secret["CreatedDate"].is_string());
    let (status, missing) = ask("/v1/none", good).await;
    assert_eq!(status, 400);
    let begins = r#"{"__type":"ResourceNotFoundException","message":""#;
    assert!(missing.starts_with(begins), "{missing}");
    assert_eq!(ask("/v1/prod/orders", "wrong").await, (403, "Bad Token".to_owned()));
    let (status, orders) = ask("/connections/orders", good).await;
    assert_eq!((status, &*orders), (200, r#"{"host":"db.example","password":"canary"}"#));

    // It would be fetched again after five minutes; told to, the agent does so at once.
    aws.put_secret("prod/orders", r#"{"password":"canary-second"}"#);
    assert!(ask("/v1/prod/orders", good).await.1.contains(r#"canary\""#));
    agent.signal(Signal::HUP);
    eventually("what changed is fetched", async || {
        ask("/v1/prod/orders", good).await.1.contains("canary-second")
    })
    .await;

    let told = agent.ends("status").await;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("prod/orders") && told.out.contains("fresh"), "{}", told.out);
    assert!(!told.out.contains("canary"), "{}", told.out);
    let metrics = ask("/metrics", good).await.1;
    assert!(metrics.contains("bailee_agent_fetched_total{manager=\"prod\"}"), "{metrics}");
    assert!(!metrics.contains("canary"), "{metrics}");
    agent.assert_told_nothing(&["canary", good, &key.secret_access_key]);
}
