//! Cubbyholes and wrapped answers over HTTP.

use bailee_testkit::{Ask, TestServer};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_answer_is_fetched_once() {
    let server = TestServer::start().await;
    let api = server.api();
    api.write("app", json!({ "password": "hunter2" })).await;
    let read = Ask::new("GET", "secret/data/app").header("x-vault-wrap-ttl", "5m");
    let wrapped = api.send(read).await.ok();
    assert_eq!(wrapped.at("/request_id"), "");
    assert_eq!(wrapped.at("/data"), Value::Null);
    assert_eq!(wrapped.at("/wrap_info/ttl"), 300);
    assert_eq!(wrapped.at("/wrap_info/creation_path"), "secret/data/app");
    assert!(!wrapped.body_text().contains("hunter2"));
    let token = wrapped.text("/wrap_info/token");

    let asked = json!({ "token": token });
    let told = api.anonymous().post("sys/wrapping/lookup", asked.clone()).await.ok();
    assert_eq!(told.data()["creation_ttl"], 300);
    let holder = api.with_token(&token);
    holder.get("secret/data/app").await.refused(403, "permission denied");
    // That was its only use.
    holder.post("sys/wrapping/unwrap", json!({})).await.refused(400, "wrapping token is not valid");

    let read = || Ask::new("GET", "secret/data/app").header("x-vault-wrap-ttl", "60");
    let token = api.send(read()).await.ok().text("/wrap_info/token");
    let answer = api.with_token(&token).post("sys/wrapping/unwrap", json!({})).await.ok();
    assert_eq!(answer.data()["data"]["password"], "hunter2");
    assert_ne!(answer.text("/request_id"), "");
    let again = api.post("sys/wrapping/unwrap", json!({ "token": token })).await;
    again.refused(400, "wrapping token is not valid or does not exist");

    // The form of old clients: the whole answer as text.
    let token = api.send(read()).await.ok().text("/wrap_info/token");
    let answer = api.with_token(&token).get("cubbyhole/response").await.ok();
    let inside: Value = serde_json::from_str(&answer.text("/data/response")).expect("JSON");
    assert_eq!(inside["data"]["data"]["password"], "hunter2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_keeps_is_its_own() {
    let server = TestServer::start().await;
    let api = server.api();
    let made = api.post("auth/token/create", json!({ "policies": ["default"] })).await.ok();
    let own = api.with_token(&made.text("/auth/client_token"));
    own.post("cubbyhole/a/b", json!({ "x": 1 })).await.done();
    assert_eq!(own.list("cubbyhole/a").await.ok().data()["keys"], json!(["b"]));
    api.get("cubbyhole/a/b").await.refused(404, "");
    own.post("cubbyhole/a", json!({})).await.refused(400, "missing data fields");
    own.delete("cubbyhole/a/b").await.done();
    own.get("cubbyhole/a/b").await.refused(404, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_found_and_revoked_as_leases() {
    let server = TestServer::start().await;
    let api = server.api();
    let made = api.post("auth/token/create", json!({ "policies": ["default"] })).await.ok();
    let names = api.list("sys/leases/lookup/auth/token/create").await.ok().data()["keys"].clone();
    let id = format!("auth/token/create/{}", names[0].as_str().expect("a name"));
    let shown = api.put("sys/leases/lookup", json!({ "lease_id": id })).await.ok();
    assert_eq!(shown.data()["id"], json!(id));
    let renewal = api.put("sys/leases/renew", json!({ "lease_id": id })).await;
    renewal.refused(400, "tokens cannot be renewed through this endpoint");
    api.put("sys/leases/revoke-prefix/auth/token/create", json!({})).await.done();
    let own = api.with_token(&made.text("/auth/client_token"));
    own.get("auth/token/lookup-self").await.refused(403, "");
    api.put("sys/leases/lookup", json!({ "lease_id": id })).await.refused(400, "invalid lease");
    let later = json!({ "lease_id": id, "sync": false });
    assert_eq!(api.put("sys/leases/revoke", later).await.status, 202);
    assert_eq!(api.put("sys/leases/tidy", json!({})).await.status, 202);
    assert_eq!(api.get("sys/leases/count").await.ok().data()["lease_count"], 0);
}
