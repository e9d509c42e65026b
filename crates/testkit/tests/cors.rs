//! Browsers: which pages may call, and what they are sent.

use bailee_testkit::{Ask, TestServer};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_call_only_when_they_are_named() {
    let mut server = TestServer::start().await;
    let from = |origin: &str| Ask::new("GET", "sys/health").header("origin", origin);
    let plain = server.api().send(from("https://a.example")).await.ok();
    assert!(plain.headers.get("access-control-allow-origin").is_none());

    let rules = json!({ "allowed_origins": ["https://a.example"], "allowed_headers": "X-Extra" });
    server.api().post("sys/config/cors", rules).await.done();
    // What is stored holds after a restart, too.
    server.restart().await;
    let api = server.api().clone();
    let allowed = api.send(from("https://a.example")).await.ok();
    assert_eq!(allowed.headers["access-control-allow-origin"], "https://a.example");
    assert_eq!(allowed.headers["vary"], "Origin");
    api.send(from("https://evil.example")).await.refused(403, "origin not allowed");
    let asked = Ask::new("OPTIONS", "secret/data/x")
        .header("origin", "https://a.example")
        .header("access-control-request-method", "POST");
    let told = api.anonymous().send(asked).await.ok();
    let headers = told.headers["access-control-allow-headers"].to_str().unwrap();
    assert!(headers.contains("X-Vault-Token") && headers.ends_with("X-Extra"), "{headers}");
    assert!(told.headers["access-control-allow-methods"].to_str().unwrap().contains("LIST"));

    for (rules, part) in [
        (json!({}), "at least one origin"),
        (json!({ "allowed_origins": ["*", "https://a"] }), "must be the only value"),
        (json!({ "allowed_origins": "https://a", "allowed_headers": "a b" }), "name of a header"),
    ] {
        api.post("sys/config/cors", rules).await.refused(400, part);
    }
    api.delete("sys/config/cors").await.done();
    api.send(from("https://evil.example")).await.done();
    assert_eq!(api.get("sys/config/cors").await.ok().data(), json!({ "enabled": false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_web_pages_are_kept_and_sent() {
    let server = TestServer::start().await;
    let api = server.api();
    api.list("sys/config/ui/headers").await.refused(404, "");
    let values = json!({ "values": ["one", "two"] });
    api.post("sys/config/ui/headers/x-custom", values.clone()).await.done();
    api.post("sys/config/ui/headers/X-Vault-Any", values).await.refused(400, "cannot be set");
    let line = json!({ "values": ["a\r\nb"] });
    api.post("sys/config/ui/headers/X-Other", line).await.refused(400, "printable");
    let listed = api.list("sys/config/ui/headers").await.ok();
    assert_eq!(listed.at("/data/keys"), json!(["X-Custom"]));
    let read = api.get("sys/config/ui/headers/X-Custom?multivalue=true").await.ok();
    assert_eq!(read.at("/data/values"), json!(["one", "two"]));
    let page = reqwest::get(format!("{}/ui/", api.base())).await.unwrap();
    let sent: Vec<_> = page.headers().get_all("x-custom").iter().collect();
    assert_eq!(sent, ["one", "two"]);
    api.delete("sys/config/ui/headers/x-custom").await.done();
    api.get("sys/config/ui/headers/X-Custom").await.refused(404, "");
}
