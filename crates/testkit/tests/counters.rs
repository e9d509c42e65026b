//! Counting clients.

use bailee_testkit::{Api, TestServer, eventually};
use serde_json::{Value, json};

const MONTHLY: &str = "sys/internal/counters/activity/monthly";

async fn client(api: &Api, policy: &str) -> Api {
    let made = api.post("auth/token/create", json!({ "policies": [policy] })).await.ok();
    api.with_token(&made.text("/auth/client_token"))
}

async fn count(api: &Api) -> Value {
    api.get(MONTHLY).await.ok().at("/data/clients")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_counts_once_a_month_also_after_a_restart() {
    let mut server = TestServer::start().await;
    let api = server.api().clone();
    let config = api.get("sys/internal/counters/config").await.ok();
    assert_eq!(config.at("/data/enabled"), "default-disabled");
    // Nothing is counted before someone says so.
    let first = client(&api, "one").await;
    first.get("auth/token/lookup-self").await.done();
    api.post("sys/internal/counters/config", json!({ "enabled": "enable" })).await.done();
    api.post("sys/internal/counters/config", json!({ "enabled": "x" }))
        .await
        .refused(400, "one of");

    // Tokens with the same policies and no entity are one client; a root token is none.
    let same = client(&api, "one").await;
    let other = client(&api, "two").await;
    for token in [&first, &same, &other, &first] {
        token.get("auth/token/lookup-self").await.done();
    }
    eventually("two clients are counted", async || count(&api).await == 2).await;
    let told = api.get(MONTHLY).await.ok();
    assert_eq!(told.at("/data/non_entity_clients"), 2);
    assert_eq!(told.at("/data/secret_syncs"), 0);
    let mount = &told.at("/data/by_namespace/0/mounts/0");
    assert_eq!(mount["mount_path"], "auth/token/");

    server.restart().await;
    let api = server.api().clone();
    let (again, third) = (api.with_token(first.token()), client(&api, "three").await);
    again.get("auth/token/lookup-self").await.done();
    third.get("auth/token/lookup-self").await.done();
    eventually("three clients are counted", async || count(&api).await == 3).await;

    // The month is not over: what is told of past months has nothing.
    let past = api.get("sys/internal/counters/activity").await.ok();
    assert_eq!(past.at("/data/total/clients"), 0);
    assert!(past.text("/warnings/0").contains("end of the previous month"));
    let exported = api.get("sys/internal/counters/activity/export").await.ok().body_text();
    assert_eq!(exported.lines().count(), 3, "{exported}");
    let line: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    assert_eq!(line["client_type"], "non-entity-token");
    let table = api.get("sys/internal/counters/activity/export?format=csv").await.ok().body_text();
    assert_eq!(table.lines().count(), 4, "{table}");
    api.get("sys/internal/counters/activity?start_time=x").await.refused(400, "start_time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_is_one_client_whatever_its_tokens() {
    let server = TestServer::start().await;
    let api = server.api();
    api.post("sys/internal/counters/config", json!({ "enabled": "enable" })).await.done();
    api.post("sys/auth/userpass", json!({ "type": "userpass" })).await.done();
    api.post("auth/userpass/users/ann", json!({ "password": "long enough" })).await.done();
    for _ in 0..2 {
        let login = json!({ "password": "long enough" });
        let made = api.anonymous().post("auth/userpass/login/ann", login).await.ok();
        let ann = api.with_token(&made.text("/auth/client_token"));
        ann.get("auth/token/lookup-self").await.done();
    }
    eventually("ann is counted", async || count(api).await == 1).await;
    let told = api.get(MONTHLY).await.ok();
    assert_eq!(told.at("/data/entity_clients"), 1);
    assert_eq!(told.at("/data/by_namespace/0/mounts/0/mount_path"), "auth/userpass/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synced_secret_counts_once_a_month_however_many_destinations_have_it() {
    let mut server = TestServer::start().await;
    let api = server.api().clone();
    api.post("sys/internal/counters/config", json!({ "enabled": "enable" })).await.done();
    api.post("sys/mounts/kv", json!({ "type": "kv", "options": { "version": "2" } })).await.done();
    drop(api.post("sys/activation-flags/secrets-sync/activate", json!({})).await.ok());
    for destination in ["one", "two"] {
        let path = format!("sys/sync/destinations/aws-sm/{destination}");
        let details = json!({
            "access_key_id": "AKIAEXAMPLE", "secret_access_key": "x", "region": "eu-west-1",
            // Nowhere: whether it is delivered does not matter, only that it is associated.
            "allowed_ports": "9",
        });
        drop(api.post(&path, details).await.ok());
        for secret in ["a", "b"] {
            let input = json!({ "mount": "kv", "secret_name": secret });
            drop(api.post(&format!("{path}/associations/set"), input).await.ok());
        }
    }
    // Counted by the pass at the start of a session.
    for _ in 0..2 {
        server.restart().await;
        let api = server.api().clone();
        let synced = async || api.get(MONTHLY).await.ok().at("/data/secret_syncs") == 2;
        eventually("both secrets are counted", synced).await;
        let told = api.get(MONTHLY).await.ok();
        assert_eq!(told.at("/data/clients"), 2);
        let mount = told.at("/data/by_namespace/0/mounts/0");
        assert_eq!(
            (&mount["mount_path"], &mount["counts"]["secret_syncs"]),
            (&json!("kv/"), &json!(2))
        );
        assert_eq!(told.at("/data/months/0/counts/secret_syncs"), 2);
    }
}
