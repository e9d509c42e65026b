//! What any client meets: health, seal, namespaces, verbs, media types, TLS, stopping, tokens.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_testkit::{Api, Ask, Options, Storage, TestServer, eventually};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::fs;

async fn in_memory() -> TestServer {
    TestServer::start_with(Options { storage: Storage::Memory, ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_by_its_code_what_the_server_is() {
    let options = Options { shares: (3, 2), ..Options::default() };
    let mut server = TestServer::start_uninitialized(options).await;
    let health = async |server: &TestServer, query: &str| {
        server.api().anonymous().get(&format!("sys/health{query}")).await
    };
    assert_eq!(health(&server, "").await.status, 501);
    assert_eq!(health(&server, "?uninitcode=299").await.status, 299);
    server.api().get("secret/data/x").await.refused(503, "sealed");
    server.initialize().await;
    assert_eq!(health(&server, "").await.status, 503);
    assert_eq!(health(&server, "?sealedcode=204").await.status, 204);
    server
        .api()
        .put("sys/init", json!({ "secret_shares": 1, "secret_threshold": 1 }))
        .await
        .refused(400, "already initialized");

    // One share is progress, reset forgets it, two unseal.
    let key = server.keys()[0].clone();
    let api = server.api().anonymous();
    let one = api.put("sys/unseal", json!({ "key": key })).await.ok();
    assert_eq!((one.at("/progress"), one.at("/t"), one.at("/n")), (json!(1), json!(2), json!(3)));
    let none = api.put("sys/unseal", json!({ "reset": true })).await.ok();
    assert_eq!(none.at("/progress"), 0);
    api.put("sys/unseal", json!({ "key": "zz" })).await.refused(400, "hex or base64");
    server.unseal().await;
    let well = health(&server, "").await;
    assert_eq!(well.status, 200);
    assert_eq!(well.at("/version"), "2.2.0");
    assert_eq!(well.at("/sealed"), false);
    assert_eq!(server.api().send(Ask::new("HEAD", "sys/health")).await.status, 200);

    server.enable_kv("secret").await;
    server.api().write("app", json!({ "n": 1 })).await;
    assert_eq!(server.api().put("sys/seal", json!({})).await.status, 204);
    assert_eq!(health(&server, "").await.status, 503);
    server.api().get("secret/data/app").await.refused(503, "sealed");
    server.unseal().await;
    let read = server.api().get("secret/data/app").await.ok();
    assert_eq!(read.at("/data/data/n"), 1);
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_seal_do() {
    let server = in_memory().await;
    server.api().anonymous().put("sys/seal", json!({})).await.refused(403, "permission denied");
    let made =
        server.api().post("auth/token/create", json!({ "policies": ["default"] })).await.ok();
    let ordinary = server.api().with_token(&made.text("/auth/client_token"));
    ordinary.put("sys/seal", json!({})).await.refused(403, "permission denied");
    assert_eq!(server.api().get("sys/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_apart_by_header_and_by_path() {
    let server = in_memory().await;
    let api = server.api();
    api.put("sys/namespaces/team", json!({})).await.done();
    let team = api.in_namespace("team");
    team.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.done();
    team.put("secret/data/app", json!({ "data": { "whose": "team" } })).await.done();
    api.write("app", json!({ "whose": "root" })).await;
    let by_header = team.get("secret/data/app").await.ok();
    let by_path = api.get("team/secret/data/app").await.ok();
    let in_root = api.get("secret/data/app").await.ok();
    assert_eq!(by_header.at("/data/data/whose"), "team");
    assert_eq!(by_path.at("/data/data/whose"), "team");
    assert_eq!(in_root.at("/data/data/whose"), "root");
    // A token of the namespace has no power outside it.
    let made = team.post("auth/token/create", json!({ "policies": ["default"] })).await.ok();
    let token = made.text("/auth/client_token");
    assert!(
        token.starts_with("hvs.") && token.matches('.').count() == 2,
        "no namespace id at the end"
    );
    api.with_token(&token).get("secret/data/app").await.refused(403, "permission denied");
    let listed = api.list("sys/namespaces").await.ok();
    assert_eq!(listed.at("/data/keys"), json!(["team/"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_asked_for_in_each_of_the_usual_ways() {
    let server = in_memory().await;
    let api = server.api();
    api.write("b", json!({ "n": 1 })).await;
    api.write("a/x", json!({ "n": 1 })).await;
    let wanted = json!(["a/", "b"]);
    for answer in [
        api.list("secret/metadata").await,
        api.list("secret/metadata/").await,
        api.get("secret/metadata?list=true").await,
        api.get("secret/metadata/?list=true").await,
    ] {
        assert_eq!(answer.clone().ok().at("/data/keys"), wanted, "{answer:?}");
    }
    api.list("secret/metadata/empty").await.refused(404, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_needs_its_media_type() {
    let server = in_memory().await;
    let api = server.api();
    api.write("app", json!({ "keep": 1, "change": 1, "drop": 1 })).await;
    let body = json!({ "data": { "change": 2, "drop": null } });
    let wrong = Ask::new("PATCH", "secret/data/app").json(&body);
    api.send(wrong).await.refused(415, "merge-patch+json");
    api.patch("secret/data/app", body).await.done();
    let read = api.get("secret/data/app").await.ok();
    assert_eq!(read.at("/data/data"), json!({ "keep": 1, "change": 2 }));
    api.send(Ask::new("BREW", "secret/data/app")).await.refused(405, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_and_errors_have_the_shape_that_clients_know() {
    let server = in_memory().await;
    let api = server.api();
    api.write("app", json!({ "n": 1 })).await;
    let read = api.get("secret/data/app").await.ok();
    for field in [
        "request_id",
        "lease_id",
        "renewable",
        "lease_duration",
        "data",
        "wrap_info",
        "warnings",
        "auth",
    ] {
        assert!(read.json.get(field).is_some(), "{field} is missing: {read:?}");
    }
    assert_eq!(read.at("/mount_type"), "kv");
    assert_eq!(api.get("secret/data/absent").await.json, json!({ "errors": [] }));
    api.get("nowhere/x").await.refused(404, "no handler for route");
    api.anonymous().get("secret/data/app").await.refused(403, "permission denied");
    api.with_token("hvs.wrong").get("secret/data/app").await.refused(403, "permission denied");
    let bearer = Ask::new("GET", "secret/data/app")
        .header("authorization", &format!("Bearer {}", api.token()));
    api.anonymous().send(bearer).await.done();
    let mounts = api.anonymous().get("sys/internal/ui/mounts").await;
    assert_eq!(mounts.status, 200, "{mounts:?}");
    let metrics = api.get("sys/metrics?format=prometheus").await.ok();
    assert!(metrics.body_text().contains("# TYPE"), "{metrics:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_allow_what_they_say_and_nothing_else() {
    let server = in_memory().await;
    let api = server.api();
    let policy = r#"
        path "secret/data/team/*" { capabilities = ["create", "read", "update"] }
        path "secret/data/team/closed" { capabilities = ["deny"] }
        path "secret/metadata/+/list/*" { capabilities = ["list"] }
    "#;
    api.put("sys/policies/acl/team", json!({ "policy": policy })).await.done();
    let made =
        api.post("auth/token/create", json!({ "policies": ["team"], "ttl": "1h" })).await.ok();
    assert_eq!(made.at("/auth/token_policies"), json!(["default", "team"]));
    let team = api.with_token(&made.text("/auth/client_token"));
    team.put("secret/data/team/a", json!({ "data": { "n": 1 } })).await.done();
    team.get("secret/data/team/a").await.done();
    team.delete("secret/data/team/a").await.refused(403, "permission denied");
    team.get("secret/data/team/closed").await.refused(403, "permission denied");
    team.get("secret/data/other").await.refused(403, "permission denied");
    // Changed rights hold for the next request.
    api.put(
        "sys/policies/acl/team",
        json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" }),
    )
    .await
    .done();
    team.put("secret/data/team/a", json!({ "data": { "n": 2 } }))
        .await
        .refused(403, "permission denied");
    api.put("sys/policies/acl/bad", json!({ "policy": "path {" })).await.refused(400, "parse");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_also_over_a_restart() {
    let mut server = TestServer::start().await;
    let api = server.api().clone();
    let made = async |body: Value| {
        api.post("auth/token/create", body).await.ok().text("/auth/client_token")
    };
    let short = made(json!({ "policies": ["default"], "ttl": "3s", "no_parent": true })).await;
    let long = made(json!({ "policies": ["default"], "ttl": "1h" })).await;
    let once = made(json!({ "policies": ["default"], "num_uses": 1 })).await;
    let parent = made(json!({ "policies": ["root"] })).await;
    let child = api.with_token(&parent).post("auth/token/create", json!({})).await.ok();
    let child = child.text("/auth/client_token");
    let works =
        async |token: &str| api.with_token(token).get("auth/token/lookup-self").await.status == 200;
    assert!(works(&once).await);
    assert!(!works(&once).await, "its one use was spent");
    server.kill();
    server.restart().await;
    assert!(works(&long).await);
    assert!(!works(&once).await);
    assert!(works(&child).await);
    eventually("the short one expires", async || !works(&short).await).await;
    api.put("auth/token/revoke", json!({ "token": parent })).await.done();
    assert!(!works(&parent).await);
    assert!(!works(&child).await, "a child ends with its parent");
    assert!(works(&long).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_finishes_what_runs() {
    let mut server = TestServer::start().await;
    let api = server.api().clone();
    // A request whose body is still on its way when the server is told to stop.
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let (port, token) = (server.port(), api.token().to_owned());
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let body = r#"{"data":{"n":1}}"#;
            let head = format!(
                "PUT /v1/secret/data/late HTTP/1.1\r\nhost: x\r\nx-vault-token: {token}\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{}",
                body.len(),
                &body[..4]
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            receiver.await.unwrap();
            stream.write_all(&body.as_bytes()[4..]).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    });
    // The head has arrived when a later request of another connection is answered.
    for _ in 0..3 {
        api.get("sys/health").await.done();
    }
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    server.ask_to_stop();
    eventually("it takes no more connections", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.is_err()
    })
    .await;
    sender.send(()).unwrap();
    let answer = running.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let status = server.ended().await;
    assert!(status.success(), "{status}");
    server.restart().await;
    assert_eq!(server.api().get("secret/data/late").await.ok().at("/data/data/n"), 1);
    server.assert_no_panic();
}

struct Authority {
    pem: String,
    certificate: String,
    key: String,
}

/// An authority, and a certificate of it for 127.0.0.1; made anew for each test.
fn authority() -> Authority {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let params =
        CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    Authority { pem, certificate, key: key.serialize_pem() }
}

async fn tls_server(extra: &str, folder: &tempfile::TempDir, authority: &Authority) -> TestServer {
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let certificate = write("tls.crt", &authority.certificate);
    let key = write("tls.key", &authority.key);
    let listener = format!("tls_cert_file = {certificate:?}\n  tls_key_file = {key:?}\n  {extra}");
    TestServer::start_uninitialized(Options {
        storage: Storage::Memory,
        listener,
        ..Options::default()
    })
    .await
}

fn tls_client(
    server: &TestServer,
    authority: &Authority,
    only: Option<reqwest::tls::Version>,
) -> Api {
    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
    if let Some(version) = only {
        builder = builder.tls_version_min(version).tls_version_max(version);
    }
    Api::with_client(&format!("https://127.0.0.1:{}", server.port()), builder.build().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_1_3_are_spoken_and_1_2_can_be_switched_off() {
    use reqwest::tls::Version;
    let folder = tempfile::tempdir().unwrap();
    let authority = authority();
    let mut server = tls_server("", &folder, &authority).await;
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        let api = tls_client(&server, &authority, Some(version));
        assert_eq!(api.get("sys/health").await.status, 501, "{version:?}");
    }
    server.set_api(tls_client(&server, &authority, None));
    server.initialize().await;
    server.unseal().await;
    server.enable_kv("secret").await;
    server.api().write("app", json!({ "n": 1 })).await;
    // Plain HTTP on the TLS port gets nothing done.
    let plain = Api::new(&format!("http://127.0.0.1:{}", server.port()));
    let answer = plain.try_send(Ask::new("GET", "sys/health")).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 400));
    server.assert_no_panic();

    let strict = tls_server("tls_min_version = \"tls13\"", &folder, &authority).await;
    let old = tls_client(&strict, &authority, Some(Version::TLS_1_2));
    assert!(old.try_send(Ask::new("GET", "sys/health")).await.is_err());
    let new = tls_client(&strict, &authority, Some(Version::TLS_1_3));
    assert_eq!(new.get("sys/health").await.status, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_holds_another_servers_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir_all(data.join("raft")).unwrap();
    fs::write(data.join("vault.db"), "not ours").unwrap();
    let config = folder.path().join("bailee.hcl");
    let text = format!(
        "storage \"raft\" {{ path = {data:?} }}\nlistener \"tcp\" {{ address = \"127.0.0.1:0\"\n tls_disable = true }}\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = tokio::process::Command::new(bailee_testkit::binary());
    let output =
        command.arg("server").arg(format!("-config={}", config.display())).output().await.unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("data"), "{errors}");
    assert_eq!(fs::read_to_string(data.join("vault.db")).unwrap(), "not ours");
}
