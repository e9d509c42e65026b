//! Who is behind a token, seen from outside: policies that follow the user, and tokens for others.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_testkit::{Api, TestServer, python};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

/// A user who logs in by password; what came of it.
async fn log_in(server: &TestServer, user: &str) -> (Api, String) {
    let path = format!("auth/userpass/login/{user}");
    let made = server.api().anonymous().post(&path, json!({ "password": "pw" })).await.ok();
    (server.api().with_token(&made.text("/auth/client_token")), made.text("/auth/entity_id"))
}

/// The claims of a token, verified by a library that is not ours with what anyone may read.
async fn verified(server: &TestServer, token: &str) -> Value {
    let jwks = server.api().anonymous().get("identity/oidc/.well-known/keys").await.ok().json;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/verify_jwt.py");
    let mut verifier = tokio::process::Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = json!({ "jwks": jwks, "token": token }).to_string();
    verifier.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = verifier.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_secrets_are_their_own_and_others_believe_who_they_are() {
    let mut server = TestServer::start().await;
    let api = server.api().clone();
    api.post("sys/auth/userpass", json!({ "type": "userpass" })).await.done();
    for user in ["ann", "bob"] {
        let path = format!("auth/userpass/users/{user}");
        api.post(&path, json!({ "password": "pw" })).await.done();
    }
    let rules = r#"path "secret/data/{{identity.entity.name}}/*" {
            capabilities = ["create", "update", "read"]
        }
        path "identity/oidc/token/*" { capabilities = ["read"] }"#;
    api.put("sys/policies/acl/own", json!({ "policy": rules })).await.done();
    let mut entities = Vec::new();
    for user in ["ann", "bob"] {
        let (_, entity) = log_in(&server, user).await;
        let input = json!({ "name": user, "metadata": { "team": "red" } });
        api.post(&format!("identity/entity/id/{entity}"), input).await.done();
        entities.push(entity);
    }
    let group = json!({ "name": "staff", "policies": "own", "member_entity_ids": entities });
    api.post("identity/group", group).await.done();
    let (ann, entity) = log_in(&server, "ann").await;
    let (bob, _) = log_in(&server, "bob").await;
    ann.write("ann/x", json!({ "n": 1 })).await;
    let _ = bob.get("secret/data/ann/x").await.refused(403, "permission denied");

    for algorithm in ["RS256", "ES256", "ES384", "ES512", "EdDSA"] {
        let input = json!({ "algorithm": algorithm, "allowed_client_ids": "*" });
        api.post(&format!("identity/oidc/key/{algorithm}"), input).await.done();
        let template = r#"{"team": {{identity.entity.metadata.team}}}"#;
        let input = json!({ "key": algorithm, "client_id": "app", "template": template });
        api.post(&format!("identity/oidc/role/{algorithm}"), input).await.done();
        let made = ann.get(&format!("identity/oidc/token/{algorithm}")).await.ok();
        let claims = verified(&server, &made.text("/data/token")).await;
        assert_eq!((&claims["sub"], &claims["team"]), (&json!(entity), &json!("red")));
    }
    let made = ann.get("identity/oidc/token/ES256").await.ok().text("/data/token");

    // All of it is there after a restart.
    server.restart().await;
    let api = server.api().clone();
    let ann = api.with_token(ann.token());
    assert_eq!(ann.get("secret/data/ann/x").await.ok().at("/data/data/n"), 1);
    assert_eq!(verified(&server, &made).await["aud"], "app");
    assert_eq!(log_in(&server, "ann").await.1, entity);
    api.post("identity/entity/name/ann", json!({ "disabled": true })).await.done();
    let _ = ann.get("secret/data/ann/x").await.refused(403, "permission denied");
    let told = api.post("identity/oidc/introspect", json!({ "token": made })).await.ok();
    assert_eq!(told.at("/active"), false);
    server.assert_no_panic();
}
