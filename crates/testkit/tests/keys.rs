//! Key shares: replaced, verified, and used for a new root token, on a whole server.

use bailee_testkit::{Api, Ask, Options, TestServer};
use serde_json::{Value, json};

async fn shared() -> TestServer {
    TestServer::start_with(Options { shares: (5, 3), ..Options::default() }).await
}

/// Gives shares to an operation; the last answer.
async fn give(api: &Api, path: &str, nonce: &str, keys: &[String]) -> Value {
    let mut last = Value::Null;
    for key in keys {
        last = api.put(path, json!({ "key": key, "nonce": nonce })).await.ok().json;
    }
    last
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

async fn unseal(api: &Api, keys: &[String]) -> bool {
    let mut sealed = Value::Null;
    for key in keys {
        sealed = api.put("sys/unseal", json!({ "key": key })).await.at("/sealed");
    }
    sealed == Value::Bool(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn new_shares_outlast_a_kill_and_the_old_ones_are_void() {
    let mut server = shared().await;
    server.api().write("app", json!({ "a": 1 })).await;
    let anyone = server.api().anonymous();
    let wish = json!({ "secret_shares": 3, "secret_threshold": 2 });
    let started = anyone.put("sys/rekey/init", wish).await.ok();
    assert_eq!(started.at("/required"), 3);
    assert_eq!(started.at("/request_id"), Value::Null, "no envelope");
    let nonce = started.text("/nonce");
    let done = give(&anyone, "sys/rekey/update", &nonce, &server.keys()[..3]).await;
    let new = texts(&done["keys"]);
    assert_eq!((new.len(), &done["complete"]), (3, &json!(true)));
    let old = server.keys().to_vec();
    server.start_again().await;
    let status = anyone.get("sys/seal-status").await.ok();
    assert_eq!((status.at("/t"), status.at("/n")), (json!(2), json!(3)));
    assert!(!unseal(&anyone, &old[..2]).await);
    assert!(unseal(&anyone, &new[1..]).await);
    assert_eq!(server.api().get("secret/data/app").await.ok().at("/data/data/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_the_verification_leaves_the_old_shares_good() {
    let mut server = shared().await;
    let anyone = server.api().anonymous();
    let wish = json!({ "secret_shares": 2, "secret_threshold": 2, "require_verification": true });
    let nonce = anyone.put("sys/rekey/init", wish).await.ok().text("/nonce");
    let done = give(&anyone, "sys/rekey/update", &nonce, &server.keys()[..3]).await;
    assert_eq!(done["verification_required"], true);
    let verification = done["verification_nonce"].as_str().expect("a nonce").to_owned();
    give(&anyone, "sys/rekey/verify", &verification, &texts(&done["keys"])[..1]).await;
    server.restart().await;
    assert_eq!(anyone.get("sys/rekey/init").await.ok().at("/started"), false);
    anyone.get("sys/rekey/verify").await.refused(400, "no rekey configuration found");
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_make_a_root_token_without_any_other() {
    let server = shared().await;
    let anyone = server.api().anonymous();
    let started = anyone.send(Ask::new("PUT", "sys/generate-root/attempt")).await.ok();
    let (nonce, otp) = (started.text("/nonce"), started.text("/otp"));
    let done = give(&anyone, "sys/generate-root/update", &nonce, &server.keys()[2..]).await;
    let decode = json!({ "encoded_token": done["encoded_token"], "otp": otp });
    let token = anyone.put("sys/decode-token", decode).await.ok().text("/data/token");
    assert_eq!(token.len(), 28);
    let root = anyone.with_token(&token);
    let own = root.get("auth/token/lookup-self").await.ok();
    assert_eq!(own.at("/data/policies"), json!(["root"]));
    assert_eq!(own.at("/data/expire_time"), Value::Null);
    assert!(!server.log().contains(&token) && !server.log().contains(&otp));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_works_with_shares_while_it_is_sealed_and_wrong_verbs_are_told() {
    let server = shared().await;
    let anyone = server.api().anonymous();
    for path in ["sys/rekey/init", "sys/rekey/update", "sys/rekey/verify"] {
        anyone.send(Ask::new("PUT", path)).await.refused(400, "EOF");
        assert_eq!(anyone.list(path).await.status, 405);
        let elsewhere = anyone.in_namespace("none");
        assert!(elsewhere.put(path, json!({})).await.status >= 400);
    }
    anyone.get("sys/rekey/backup").await.refused(403, "permission denied");
    server.api().get("sys/rekey/backup").await.refused(400, "no backed-up keys found");
    anyone.get("sys/rekey-recovery-key/init").await.refused(400, "not supported");
    server.api().put("sys/seal", json!({})).await.done();
    anyone.get("sys/rekey/init").await.refused(503, "sealed");
    anyone.get("sys/generate-root/attempt").await.refused(503, "sealed");
}
