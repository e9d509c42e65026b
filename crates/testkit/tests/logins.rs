//! From credentials to a token and to its end, over HTTP, with the real server.

use bailee_testkit::{Answer, Api, Ask, Options, Storage, TestServer, Watch};
use serde_json::{Value, json};

const POLICY: &str = r#"path "secret/data/app" { capabilities = ["read"] }"#;
const READS: &str = "secret/data/app";

/// A server with a policy, a secret that it lets read, and both auth methods.
async fn server(options: Options) -> TestServer {
    let server = TestServer::start_with(options).await;
    let api = server.api();
    api.write("app", json!({ "v": 1 })).await;
    api.put("sys/policies/acl/app", json!({ "policy": POLICY })).await.done();
    for kind in ["userpass", "approle"] {
        api.post(&format!("sys/auth/{kind}"), json!({ "type": kind })).await.done();
    }
    server
}

async fn in_memory() -> TestServer {
    server(Options { storage: Storage::Memory, ..Options::default() }).await
}

async fn user(api: &Api, name: &str, input: Value) {
    api.post(&format!("auth/userpass/users/{name}"), input).await.done();
}

async fn password(api: &Api, name: &str, password: &str) -> Answer {
    let path = format!("auth/userpass/login/{name}");
    api.anonymous().post(&path, json!({ "password": password })).await
}

/// Makes a role; gives its role id.
async fn role(api: &Api, name: &str, input: Value) -> String {
    api.post(&format!("auth/approle/role/{name}"), input).await.done();
    api.get(&format!("auth/approle/role/{name}/role-id")).await.ok().text("/data/role_id")
}

async fn secret_id(api: &Api, role: &str) -> String {
    let made = api.post(&format!("auth/approle/role/{role}/secret-id"), json!({})).await.ok();
    made.text("/data/secret_id")
}

async fn approle(api: &Api, role_id: &str, secret_id: &str) -> Answer {
    let input = json!({ "role_id": role_id, "secret_id": secret_id });
    api.anonymous().post("auth/approle/login", input).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_works_renews_and_is_gone() {
    let server = in_memory().await;
    let api = server.api();
    let input = json!({ "password": "pw", "token_policies": "app", "token_ttl": "10m" });
    user(api, "Al", input).await;
    let login = password(api, "al", "pw").await.ok();
    assert_eq!(login.at("/auth/token_policies"), json!(["app", "default"]));
    assert_eq!(login.at("/auth/metadata"), json!({ "username": "al" }));
    assert_eq!(login.at("/auth/lease_duration"), json!(600));
    assert_eq!(login.at("/data"), Value::Null);
    let own = api.with_token(&login.text("/auth/client_token"));
    own.get(READS).await.done();
    own.get("secret/data/other").await.refused(403, "permission denied");
    let shown = own.get("auth/token/lookup-self").await.ok();
    assert_eq!(shown.text("/data/path"), "auth/userpass/login/al");
    own.post("auth/token/renew-self", json!({})).await.done();
    password(api, "al", "wrong").await.refused(400, "invalid username or password");
    password(api, "nobody", "pw").await.refused(400, "invalid username or password");
    own.post("auth/token/revoke-self", json!({})).await.done();
    own.get(READS).await.refused(403, "permission denied");
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_its_secret_id_wrapped_and_uses_it_once() {
    let server = in_memory().await;
    let api = server.api();
    let role_id =
        role(api, "ci", json!({ "token_policies": "app", "secret_id_num_uses": 1 })).await;
    let ask = Ask::new("POST", "auth/approle/role/ci/secret-id").json(&json!({}));
    let wrapped = api.send(ask.header("x-vault-wrap-ttl", "60s")).await.ok();
    let wrapping = api.with_token(&wrapped.text("/wrap_info/token"));
    let secret = wrapping.post("sys/wrapping/unwrap", json!({})).await.ok().text("/data/secret_id");
    let racers = (0..6).map(|_| approle(api, &role_id, &secret));
    let answers = futures(racers).await;
    let winners: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.errors().as_str()), (400, "invalid role or secret ID"));
    }
    let token = winners.first().map(|winner| winner.text("/auth/client_token"));
    api.with_token(&token.unwrap_or_default()).get(READS).await.done();
    server.assert_no_panic();
}

async fn futures(asked: impl Iterator<Item = impl Future<Output = Answer>>) -> Vec<Answer> {
    let mut waiting: Vec<_> = asked.map(Box::pin).collect();
    let mut answers = Vec::new();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|asked| match asked.as_mut().poll(context) {
            std::task::Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_come_from_where_they_may_and_outlive_a_restart() {
    let mut server = server(Options::default()).await;
    let api = server.api().clone();
    user(&api, "far", json!({ "password": "pw", "token_bound_cidrs": "192.0.2.0/24" })).await;
    password(&api, "far", "pw").await.refused(403, "permission denied");
    user(&api, "near", json!({ "password": "pw", "token_bound_cidrs": "127.0.0.0/8" })).await;
    let far = role(&api, "far", json!({ "secret_id_bound_cidrs": "192.0.2.0/24" })).await;
    let secret = secret_id(&api, "far").await;
    approle(&api, &far, &secret).await.refused(400, "unauthorized by CIDR restrictions");
    let near = role(&api, "near", json!({ "secret_id_ttl": "1h", "token_policies": "app" })).await;
    let secret = secret_id(&api, "near").await;
    let token = approle(&api, &near, &secret).await.ok().text("/auth/client_token");
    server.restart().await;
    let api = server.api();
    password(api, "near", "pw").await.done();
    approle(api, &near, &secret).await.done();
    api.with_token(&token).get(READS).await.done();
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_versions_gets_them_at_once() {
    let server = in_memory().await;
    let api = server.api();
    api.post("sys/mounts/plain", json!({ "type": "kv" })).await.done();
    api.post("plain/team/app", json!({ "path": "a field", "ttl": "1h" })).await.done();
    let read = api.get("plain/team/app").await.ok();
    assert_eq!(read.data(), json!({ "path": "a field", "ttl": "1h" }));
    assert_eq!(read.at("/lease_duration"), json!(3600));
    api.post("sys/mounts/plain/tune", json!({ "options": { "version": "2" } })).await.done();
    let read = api.get("plain/data/team/app").await.ok();
    assert_eq!(read.at("/data/data"), json!({ "path": "a field", "ttl": "1h" }));
    assert_eq!(read.at("/data/metadata/version"), json!(1));
    assert_eq!(api.list("plain/metadata").await.ok().data(), json!({ "keys": ["team/"] }));
    let scan = api.send(Ask::new("SCAN", "plain/metadata/")).await.ok();
    assert_eq!(scan.data(), json!({ "keys": ["team/app"] }));
    let down = json!({ "options": { "version": "1" } });
    api.post("sys/mounts/plain/tune", down).await.refused(400, "cannot downgrade");
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_appear_nowhere_but_where_they_are_asked_for() {
    let options = Options { log_level: "trace", ..Options::default() };
    let mut server = server(options).await;
    let api = server.api().clone();
    let mut watch = Watch::default();
    let audit = server.folder().join("audit.log");
    let device = json!({ "type": "file", "options": { "file_path": audit } });
    api.put("sys/audit/file", device).await.done();
    const PASSWORD: &str = "canary-password-6f2d90b1";
    const USER: &str = "canary-user-c07be5a3";
    const ROLE: &str = "canary-role-93d1f8e6";
    user(&api, USER, json!({ "password": PASSWORD, "token_policies": "app" })).await;
    let role_id = role(&api, ROLE, json!({ "token_policies": "app" })).await;
    let secret = secret_id(&api, ROLE).await;
    let mut tokens = Vec::new();
    for login in
        [password(&api, USER, PASSWORD).await.ok(), approle(&api, &role_id, &secret).await.ok()]
    {
        watch.answer(&login, &[PASSWORD, &secret]);
        tokens.push(login.text("/auth/client_token"));
    }
    // What goes wrong does not repeat what it was given.
    let users = format!("auth/userpass/users/{USER}");
    let roles = format!("auth/approle/role/{ROLE}");
    for (path, input) in [
        (format!("auth/userpass/login/x{USER}"), json!({ "password": PASSWORD })),
        (format!("auth/userpass/login/{USER}"), json!({ "password": [PASSWORD] })),
        (users.clone(), json!({ "password_hash": PASSWORD })),
        (users.clone(), json!({ "password": PASSWORD.repeat(9) })),
        (users, json!({ "password": PASSWORD, "token_type": "weird" })),
        ("auth/approle/login".to_owned(), json!({ "role_id": "x", "secret_id": secret })),
        ("auth/approle/login".to_owned(), json!({ "role_id": role_id, "secret_id": [secret] })),
        (format!("{roles}/custom-secret-id"), json!({ "secret_id": secret })),
        (format!("{roles}/custom-secret-id"), json!({ "secret_id": secret, "ttl": "never" })),
    ] {
        let answer = api.post(&path, input).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        watch.answer(&answer, &[PASSWORD, &secret]);
    }
    for read in [format!("auth/userpass/users/{USER}"), format!("auth/approle/role/{ROLE}")] {
        watch.answer(&api.get(&read).await.ok(), &[PASSWORD, &secret]);
    }
    let input = json!({ "secret_id": secret });
    watch.answer(&api.post(&format!("{roles}/secret-id/lookup"), input).await.ok(), &[&secret]);
    api.post(&format!("{roles}/secret-id/destroy"), json!({ "secret_id": secret })).await.done();
    let mut private = vec![PASSWORD, USER, ROLE, &role_id, &secret];
    private.extend(tokens.iter().map(String::as_str));
    watch.storage(&server, &private);
    server.kill();
    let log = server.log();
    let mut private = vec![PASSWORD, secret.as_str()];
    private.extend(tokens.iter().map(String::as_str));
    watch.search("the log", log.as_bytes(), &private);
    let audited = std::fs::read(&audit).unwrap_or_default();
    assert!(audited.windows(18).any(|part| part == b"auth/approle/login"), "logins are audited");
    watch.search("the audit file", &audited, &private);
    assert!(watch.found.is_empty(), "{}", watch.found.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_of_a_user_or_role_holds_for_all_its_spellings() {
    let server = in_memory().await;
    let api = server.api();
    user(api, "ann", json!({ "password": "pw" })).await;
    role(api, "ci", json!({})).await;
    let rules = r#"
        path "auth/userpass/users/*" { capabilities = ["update", "read", "delete"] }
        path "auth/userpass/users/ann*" { capabilities = ["deny"] }
        path "auth/approle/role/*" { capabilities = ["update", "read", "delete"] }
        path "auth/approle/role/ci/secret-id" { capabilities = ["deny"] }"#;
    api.put("sys/policies/acl/warden", json!({ "policy": rules })).await.done();
    let made = api.post("auth/token/create", json!({ "policies": ["warden"] })).await.ok();
    let warden = api.with_token(&made.text("/auth/client_token"));
    for name in ["ann", "ANN", "aNn"] {
        let path = format!("auth/userpass/users/{name}");
        let password = json!({ "password": "mine" });
        warden.post(&format!("{path}/password"), password.clone()).await.refused(403, "denied");
        warden.post(&path, password).await.refused(403, "denied");
        warden.delete(&path).await.refused(403, "denied");
    }
    for name in ["ci", "CI"] {
        let path = format!("auth/approle/role/{name}/secret-id");
        warden.post(&path, json!({})).await.refused(403, "denied");
        warden.get(&format!("auth/approle/role/{name}")).await.done();
    }
    password(api, "ann", "pw").await.done();
    // Who is given one spelling has it, though others are given less.
    let rules = r#"path "auth/approle/*" { capabilities = ["read"] }
        path "auth/approle/role/CI/secret-id" { capabilities = ["update"] }"#;
    api.put("sys/policies/acl/capital", json!({ "policy": rules })).await.done();
    let made = api.post("auth/token/create", json!({ "policies": ["capital"] })).await.ok();
    let capital = api.with_token(&made.text("/auth/client_token"));
    capital.post("auth/approle/role/CI/secret-id", json!({})).await.done();
}
