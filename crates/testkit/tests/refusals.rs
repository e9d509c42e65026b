//! Every endpoint refuses who may not use it. The endpoints come from the server's own OpenAPI
//! document, so that a new one is tested by being declared.

use bailee_testkit::{Api, Ask, Options, Storage, TestServer};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Endpoints that need no token. A new one is added here by a person who thought about it.
const OPEN: &[&str] = &[
    // Where tokens come from.
    "auth/approle/login",
    "auth/userpass/login/{username}",
    "sys/wrapping/lookup",
    // What rests on key shares.
    "sys/decode-token",
    "sys/generate-root",
    "sys/generate-root/attempt",
    "sys/generate-root/update",
    "sys/rekey-recovery-key/init",
    "sys/rekey-recovery-key/update",
    "sys/rekey-recovery-key/verify",
    "sys/rekey/init",
    "sys/rekey/update",
    "sys/rekey/verify",
    // Public facts, and what a page shows before anyone has logged in: what is marked as visible.
    "identity/oidc/.well-known/keys",
    "identity/oidc/.well-known/openid-configuration",
    "identity/oidc/plugins/.well-known/keys",
    "identity/oidc/plugins/.well-known/openid-configuration",
    "identity/oidc/secrets-sync/.well-known/keys",
    "identity/oidc/secrets-sync/.well-known/openid-configuration",
    "sys/activation-flags",
    "sys/internal/specs/openapi",
    "sys/internal/ui/default-auth-methods",
    "sys/internal/ui/feature-flags",
    "sys/internal/ui/mounts",
    "sys/internal/ui/mounts/{path}",
    "sys/internal/ui/namespaces",
    "sys/internal/ui/unauthenticated-messages",
    "sys/replication/dr/status",
    "sys/replication/performance/status",
    "sys/replication/status",
];

/// Endpoints that judge a wrapping token before they ask who calls: a caller without one gets nothing,
/// and is told that its token stands for nothing.
const FOR_WRAPPING_TOKENS: &[&str] = &["sys/wrapping/rewrap", "sys/wrapping/unwrap"];

/// Endpoints that are there before anyone asks for help: the server answers no other verb.
const ONLY_WRITTEN: &[&str] = &["sys/seal", "sys/step-down"];

/// An operation of an endpoint.
#[derive(Debug)]
struct Endpoint {
    /// Path as declared, below `/v1/`.
    declared: String,
    /// The path with something in place of each capture.
    path: String,
    method: &'static str,
    open: bool,
}

/// A server with everything mounted that can be, and a namespace beside.
async fn server() -> TestServer {
    let options = Options { storage: Storage::Memory, ..Options::default() };
    let server = TestServer::start_with(options).await;
    let api = server.api();
    api.post("sys/mounts/plain", json!({ "type": "kv" })).await.done();
    for kind in ["userpass", "approle"] {
        api.post(&format!("sys/auth/{kind}"), json!({ "type": kind })).await.done();
    }
    api.post("sys/namespaces/other", json!({})).await.done();
    server
}

async fn endpoints(api: &Api) -> Vec<Endpoint> {
    let document = api.get("sys/internal/specs/openapi").await.ok();
    let paths = document.at("/paths");
    let mut endpoints = Vec::new();
    for (declared, item) in paths.as_object().into_iter().flatten() {
        let open = item.get("x-vault-unauthenticated") == Some(&Value::Bool(true));
        for (verb, operation) in item.as_object().into_iter().flatten() {
            let parameters = operation.get("parameters").and_then(Value::as_array);
            let lists = parameters.is_some_and(|all| all.iter().any(|one| one["name"] == "list"));
            let method = match verb.as_str() {
                "get" if lists => "LIST",
                "get" => "GET",
                "post" => "POST",
                "patch" => "PATCH",
                "delete" => "DELETE",
                _ => continue,
            };
            let declared = declared.trim_start_matches('/').to_owned();
            let path = filled(&declared);
            if method == "LIST" {
                // The document has no word for it.
                let (declared, path) = (declared.clone(), path.clone());
                endpoints.push(Endpoint { declared, path, method: "SCAN", open });
            }
            endpoints.push(Endpoint { declared, path, method, open });
        }
    }
    assert!(endpoints.len() > 250, "the document has only {} operations", endpoints.len());
    endpoints
}

/// A path with a name in place of each `{capture}`.
fn filled(declared: &str) -> String {
    let segments = declared.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    segments.collect::<Vec<_>>().join("/")
}

impl Endpoint {
    fn ask(&self) -> Ask {
        let ask = Ask::new(self.method, &self.path);
        match self.method {
            "POST" => ask.json(&json!({})),
            "PATCH" => ask.header("content-type", "application/merge-patch+json").body("{}"),
            _ => ask,
        }
    }
}

/// A token of `api`'s namespace with one policy of its own.
async fn token(api: &Api, name: &str, rules: &str) -> String {
    api.put(&format!("sys/policies/acl/{name}"), json!({ "policy": rules })).await.done();
    let wish = json!({ "policies": [name], "no_default_policy": true });
    api.post("auth/token/create", wish).await.ok().text("/auth/client_token")
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_through_without_the_right() {
    let server = server().await;
    let root = server.api();
    let all =
        r#"capabilities = ["create", "read", "update", "patch", "delete", "list", "scan", "sudo"]"#;
    let powerless =
        token(root, "powerless", r#"path "nothing/at/all" { capabilities = ["read"] }"#).await;
    let foreign =
        token(&root.in_namespace("other"), "mighty", &format!("path \"*\" {{ {all} }}")).await;
    for endpoint in endpoints(root).await.iter().filter(|endpoint| !endpoint.open) {
        // The path is one that this server knows: else each refusal would prove nothing.
        let help = root.get(&format!("{}?help=1", endpoint.path)).await;
        let known = help.status == 200 || ONLY_WRITTEN.contains(&endpoint.path.as_str());
        assert!(known, "{endpoint:?} is not known: {help:?}");
        let denied = format!(
            "path \"*\" {{ {all} }}\npath \"{}*\" {{ capabilities = [\"deny\"] }}",
            endpoint.path
        );
        let denied = token(root, "denied", &denied).await;
        for (who, api) in [
            ("no token", root.anonymous()),
            ("a wrong token", root.with_token("hvs.wrong")),
            ("no right", root.with_token(&powerless)),
            ("a denial", root.with_token(&denied)),
            ("a token of another namespace", root.with_token(&foreign)),
        ] {
            let answer = api.send(endpoint.ask()).await;
            if FOR_WRAPPING_TOKENS.contains(&endpoint.declared.as_str()) {
                answer.refused(400, "wrapping token");
                continue;
            }
            assert_eq!(answer.status, 403, "{who}: {endpoint:?}: {answer:?}");
            assert!(
                answer.errors().contains("permission denied"),
                "{who}: {endpoint:?}: {answer:?}"
            );
        }
    }
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_token_was_thought_about() {
    let server = server().await;
    let endpoints = endpoints(server.api()).await;
    let open = endpoints.iter().filter(|endpoint| endpoint.open);
    let open: BTreeSet<&str> = open.map(|endpoint| endpoint.declared.as_str()).collect();
    let known: BTreeSet<&str> = OPEN.iter().copied().collect();
    assert_eq!(open, known);
}
