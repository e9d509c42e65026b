//! A server that pulls from another one into the fake of AWS.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Answer, Api, Options, Storage, TestServer, binary, eventually_some};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::fs;
use tokio::process::Command;

/// In every value at the source, and in credentials for it.
const CANARY: &str = "canary-8d11fe02";

/// A server that delivers to the fake of AWS, another one that has secrets, and a way from one to the other.
struct World {
    aws: FakeAws,
    server: TestServer,
    other: TestServer,
    role_id: String,
    secret_id: String,
}

impl World {
    async fn new() -> World {
        let aws = FakeAws::start().await;
        let server = TestServer::delivering_to(&aws).await;
        server.sync().destination(&aws, "fake").await;
        let options = Options { storage: Storage::Memory, ..Options::default() };
        let other = TestServer::start_with(options).await;
        other.enable_kv("apps").await;
        let api = other.api();
        let policy = r#"path "apps/*" { capabilities = ["read", "list"] }"#;
        api.put("sys/policies/acl/apps", json!({ "policy": policy })).await.done();
        api.post("sys/auth/approle", json!({ "type": "approle" })).await.done();
        api.post("auth/approle/role/puller", json!({ "token_policies": "apps" })).await.done();
        let role = api.get("auth/approle/role/puller/role-id").await.ok().text("/data/role_id");
        let made = api.post("auth/approle/role/puller/secret-id", json!({})).await.ok();
        let secret_id = made.text("/data/secret_id");
        World { aws, server, other, role_id: role, secret_id }
    }

    fn fields(&self) -> Value {
        json!({
            "type": "bailee",
            "address": self.other.api().base(),
            "role_id": self.role_id,
            "secret_id": self.secret_id,
            "mounts": "apps",
            "destination": "aws-sm/fake",
            "prefix": "pulled",
            "deletion": "delete",
            "allowed_ipv4_addresses": "127.0.0.0/8",
            "allowed_ports": self.other.port(),
        })
    }

    async fn write(&self, path: &str, data: Value) {
        let api = self.other.api();
        api.put(&format!("apps/data/{path}"), json!({ "data": data })).await.done();
    }

    fn value(&self, name: &str) -> Option<Value> {
        let held = self.aws.secret(name).filter(|secret| secret.deleted_at.is_none())?;
        serde_json::from_str(&held.value?).ok()
    }

    fn tag(&self, name: &str, key: &str) -> Option<String> {
        self.aws.secret(name)?.tags.get(key).cloned()
    }
}

/// How the run that is asked for now went.
async fn ran(api: &Api, name: &str) -> Value {
    let path = format!("sys/sync/sources/{name}");
    let before = api.get(&format!("{path}/status")).await.ok().at("/data/last_run/run");
    let asked = api.post(&format!("{path}/run"), json!({})).await.ok();
    assert_eq!(asked.at("/data/accepted"), true);
    eventually_some(&format!("a run of {name} ends"), async || {
        let last = api.get(&format!("{path}/status")).await.ok().at("/data/last_run");
        (last["run"].is_string() && last["run"] != before).then_some(last)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_another_server_are_made_updated_and_removed() {
    let world = World::new().await;
    let api = world.server.api();
    let log = world.server.folder().join("audit.log");
    let device = json!({ "type": "file", "options": { "file_path": log } });
    api.put("sys/audit/file", device).await.done();
    world.write("team/db", json!({ "password": CANARY })).await;
    world.write("web", json!({ "n": 1 })).await;
    let path = "sys/sync/sources/x";
    let mut answers = vec![api.post(path, world.fields()).await.ok()];
    let planned = api.post(&format!("{path}/plan"), json!({})).await.ok();
    assert_eq!(planned.at("/data/total_changes"), 2);
    assert_eq!(planned.at("/data/changes/0/name"), "pulled/team/db");
    assert!(world.aws.secrets().is_empty());
    answers.push(planned);

    let first = ran(api, "x").await;
    assert_eq!((&first["outcome"], &first["created"]), (&json!("succeeded"), &json!(2)), "{first}");
    assert_eq!(world.value("pulled/team/db"), Some(json!({ "password": CANARY })));
    assert_eq!(world.tag("pulled/team/db", "version").as_deref(), Some("1"));
    assert_eq!(world.tag("pulled/web", "hashicorp:vault").as_deref(), Some(""));
    assert_eq!(ran(api, "x").await["unchanged"], 2);
    world.write("web", json!({ "n": 2 })).await;
    assert_eq!(ran(api, "x").await["updated"], 1);
    assert_eq!(world.value("pulled/web"), Some(json!({ "n": 2 })));
    assert_eq!(world.tag("pulled/web", "version").as_deref(), Some("2"));
    world.other.api().delete("apps/metadata/web").await.done();
    assert_eq!(ran(api, "x").await["deleted"], 1);
    assert_eq!(world.value("pulled/web"), None);

    // Tokens that runs got are given back.
    let held = world.other.api().list("auth/token/accessors").await.ok();
    assert_eq!(held.at("/data/keys").as_array().unwrap().len(), 1, "{held:?}");

    // Nothing secret is answered, recorded or logged, nor lies in storage as it is.
    answers.push(api.get(path).await.ok());
    answers.push(api.get(&format!("{path}/status")).await.ok());
    answers.push(api.list("sys/sync/sources").await.ok());
    let told: String = answers.iter().map(Answer::body_text).collect();
    let recorded = fs::read_to_string(&log).unwrap();
    for (what, text) in
        [("answers", told), ("audit", recorded.clone()), ("log", world.server.log())]
    {
        for secret in [CANARY, world.secret_id.as_str()] {
            assert!(!text.contains(secret), "{secret} is in the {what}: {text}");
        }
    }
    for what in ["deliver", "delivered", "remove", "removed"] {
        assert!(recorded.contains(&format!("\"{what}\"")), "{what} is not recorded");
    }
    let metrics = api.get("sys/metrics?format=prometheus").await.body_text();
    assert!(metrics.contains("vault_secrets_sync_source_runs"), "{metrics}");
    world.server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_sealed_is_told_and_the_next_run_mends() {
    let world = World::new().await;
    let api = world.server.api();
    world.write("a", json!({ "n": 1 })).await;
    api.post("sys/sync/sources/x", world.fields()).await.done();
    ran(api, "x").await;
    world.other.api().put("sys/seal", json!({})).await.done();
    let last = ran(api, "x").await;
    assert_eq!(last["outcome"], "not_begun", "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("sealed"), "{last}");
    assert_eq!(world.value("pulled/a"), Some(json!({ "n": 1 })));
    let status = api.get("sys/sync/sources/x/status").await.ok();
    assert!(status.at("/data/last_success").is_string(), "{status:?}");
    world.other.unseal().await;
    world.write("a", json!({ "n": 2 })).await;
    assert_eq!(ran(api, "x").await["updated"], 1);
    assert_eq!(world.value("pulled/a"), Some(json!({ "n": 2 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_nobody_permitted_are_not_dialled() {
    let world = World::new().await;
    let api = world.server.api();
    world.write("a", json!({ "n": 1 })).await;
    for (field, said) in
        [("allowed_ipv4_addresses", "127.0.0.1"), ("allowed_ports", "prohibited port")]
    {
        let mut fields = world.fields();
        fields.as_object_mut().unwrap().remove(field);
        api.post("sys/sync/sources/x", fields).await.done();
        let last = ran(api, "x").await;
        assert_eq!(last["error"]["class"], "refused", "{last}");
        assert!(last["error"]["message"].to_string().contains(said), "{last}");
    }
    // What is permitted to the destination is not to the source.
    api.patch("sys/sync/sources/x", json!({ "allowed_ports": world.other.port() })).await.done();
    assert_eq!(ran(api, "x").await["created"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_namespace_has_its_own_sources_and_rights_are_those_of_policies() {
    let world = World::new().await;
    let root = world.server.api();
    world.write("a", json!({ "n": 1 })).await;
    root.put("sys/namespaces/team", json!({})).await.done();
    let team = root.in_namespace("team");
    let path = "sys/sync/sources/x";
    team.post(path, world.fields()).await.refused(400, "aws-sm/fake does not exist");
    let mut fields = bailee_testkit::Sync::fields(&world.aws);
    fields["secret_name_template"] = json!("team/{{ .SecretPath }}");
    team.put("sys/sync/destinations/aws-sm/fake", fields).await.done();
    let mut fields = world.fields();
    fields["prefix"] = json!("team");
    team.post(path, fields).await.done();
    assert_eq!(ran(&team, "x").await["created"], 1);
    assert_eq!(world.value("team/a"), Some(json!({ "n": 1 })));
    root.get(path).await.refused(404, "");
    root.list("sys/sync/sources").await.refused(404, "");
    let listed = team.list("sys/sync/sources").await.ok();
    assert_eq!(listed.at("/data/key_info/x/last_outcome"), "succeeded");
    // Credentials of this machine are not for tenants.
    let aws = json!({ "role_id": "", "secret_id": "", "auth": "aws" });
    team.patch(path, aws).await.refused(400, "root namespace");

    let policy = r#"
        path "sys/sync/sources/x" { capabilities = ["read"] }
        path "sys/sync/sources/x/status" { capabilities = ["read"] }
    "#;
    team.put("sys/policies/acl/watcher", json!({ "policy": policy })).await.done();
    let made = team.post("auth/token/create", json!({ "policies": ["watcher"] })).await.ok();
    let watcher = team.with_token(&made.text("/auth/client_token"));
    drop(watcher.get(&format!("{path}/status")).await.ok());
    watcher.post(path, world.fields()).await.refused(403, "permission denied");
    watcher.post(&format!("{path}/run"), json!({})).await.refused(403, "permission denied");
    watcher.post(&format!("{path}/plan"), json!({})).await.refused(403, "permission denied");
    watcher.delete(path).await.refused(403, "permission denied");
    team.delete("sys/sync/destinations/aws-sm/fake").await.refused(400, "sources deliver to: x");
    team.delete(path).await.done();
    team.get(path).await.refused(404, "");
    assert_eq!(world.value("team/a"), Some(json!({ "n": 1 })), "what was delivered stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_goes_on_after_a_restart() {
    let mut world = World::new().await;
    world.write("a", json!({ "n": 1 })).await;
    let mut fields = world.fields();
    fields["schedule"] = json!("1h");
    let api = world.server.api().clone();
    api.post("sys/sync/sources/x", fields).await.done();
    let status = eventually_some("the first run ends", async || {
        let status = api.get("sys/sync/sources/x/status").await.ok();
        (status.at("/data/last_run/outcome") == "succeeded").then_some(status)
    })
    .await;
    assert_eq!(world.value("pulled/a"), Some(json!({ "n": 1 })));
    let next = status.at("/data/next_run");
    assert!(next.is_string(), "{status:?}");
    world.server.restart().await;
    let again = world.server.api().get("sys/sync/sources/x/status").await.ok();
    assert_eq!(again.at("/data/next_run"), next);
    assert_eq!(again.at("/data/last_run/created"), 1);
}

/// An authority, and a certificate of it for one name.
fn authority(name: &str) -> (String, String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (pem, params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_over_tls_is_trusted_by_the_authority_and_the_name_that_are_given() {
    let (pem, certificate, key) = authority("vault.example");
    let folder = tempfile::tempdir().unwrap();
    let (certificate_file, key_file) =
        (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&certificate_file, certificate).unwrap();
    fs::write(&key_file, key).unwrap();
    let listener = format!("tls_cert_file = {certificate_file:?}\n  tls_key_file = {key_file:?}");
    let options = Options { storage: Storage::Memory, listener, ..Options::default() };
    let mut other = TestServer::start_uninitialized(options).await;
    let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let place = std::net::SocketAddr::from(([127, 0, 0, 1], other.port()));
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]);
    let client = client.resolve("vault.example", place).build().unwrap();
    let base = format!("https://vault.example:{}", other.port());
    other.set_api(Api::with_client(&base, client));
    other.initialize().await;
    other.unseal().await;
    other.enable_kv("apps").await;
    let secret = json!({ "data": { "n": 1 } });
    other.api().put("apps/data/a", secret).await.done();

    let aws = FakeAws::start().await;
    let server = TestServer::delivering_to(&aws).await;
    server.sync().destination(&aws, "fake").await;
    let api = server.api();
    let fields = json!({
        "type": "bailee", "address": format!("https://127.0.0.1:{}", other.port()),
        "token": other.api().token(), "mounts": "apps", "destination": "aws-sm/fake", "prefix": "p",
        "ca_cert": pem, "tls_server_name": "vault.example",
        "allowed_ipv4_addresses": "127.0.0.1/32", "allowed_ports": other.port(),
    });
    api.post("sys/sync/sources/x", fields.clone()).await.done();
    assert_eq!(ran(api, "x").await["created"], 1);
    for field in ["ca_cert", "tls_server_name"] {
        let mut fields = fields.clone();
        fields.as_object_mut().unwrap().remove(field);
        api.post("sys/sync/sources/y", fields).await.done();
        let last = ran(api, "y").await;
        assert_eq!(last["outcome"], "not_begun", "without {field}: {last}");
        assert!(last["error"]["message"].to_string().contains("TLS"), "{last}");
        api.delete("sys/sync/sources/y").await.done();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_part_of_aws_is_a_source_too() {
    let aws = FakeAws::start().await;
    let server = TestServer::delivering_to(&aws).await;
    server.sync().destination(&aws, "fake").await;
    aws.put_secret("legacy/db", "{\"n\":1}");
    aws.put_secret("other", "x");
    let key = aws.administrator().clone();
    let fields = json!({
        "type": "aws-sm", "region": "us-east-1", "access_key_id": key.access_key_id,
        "secret_access_key": key.secret_access_key, "source_prefix": "legacy/",
        "destination": "aws-sm/fake", "prefix": "new",
        "allowed_ipv4_addresses": "127.0.0.0/8", "allowed_ports": aws.port(),
    });
    let api = server.api();
    let made = api.post("sys/sync/sources/x", fields).await.ok();
    assert_eq!(made.at("/data/secret_access_key"), "*****");
    assert_eq!(ran(api, "x").await["created"], 1);
    assert_eq!(aws.secret("new/legacy/db").unwrap().value.as_deref(), Some("{\"n\":1}"));
    assert_eq!(aws.secrets().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_written_and_read_by_the_command_line() {
    let world = World::new().await;
    world.write("a", json!({ "n": 1 })).await;
    let api = world.server.api();
    let bailee = async |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.env_clear().env("VAULT_ADDR", api.base()).env("VAULT_TOKEN", api.token());
        command.env("HOME", world.server.folder());
        let output = command.args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let address = format!("address={}", world.other.api().base());
    let (role, secret) =
        (format!("role_id={}", world.role_id), format!("secret_id={}", world.secret_id));
    let port = format!("allowed_ports={}", world.other.port());
    bailee(&[
        "write",
        "sys/sync/sources/x",
        "type=bailee",
        &address,
        &role,
        &secret,
        "mounts=apps",
        "destination=aws-sm/fake",
        "prefix=cli",
        "allowed_ipv4_addresses=127.0.0.0/8",
        &port,
    ])
    .await;
    bailee(&["write", "-f", "sys/sync/sources/x/run"]).await;
    eventually_some("the secret arrives", async || world.value("cli/a")).await;
    let shown = bailee(&["read", "sys/sync/sources/x"]).await;
    assert!(shown.contains("*****") && !shown.contains(&world.secret_id), "{shown}");
    assert!(bailee(&["read", "sys/sync/sources/x/status"]).await.contains("last_run"));
    assert!(bailee(&["list", "sys/sync/sources"]).await.contains('x'));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_aws_lets_in_and_an_engine_without_versions_is_compared_by_digest() {
    let aws = FakeAws::start().await;
    let port = aws.port();
    let config = format!(
        "aws {{\n  allowed_ipv4_addresses = [\"127.0.0.1/32\"]\n  allowed_ports = [{port}]\n}}\n"
    );
    let options = Options { config, storage: Storage::Memory, ..Options::default() };
    let other = TestServer::start_with(options).await;
    let api = other.api();
    api.post("sys/mounts/old", json!({ "type": "kv" })).await.done();
    api.put("old/a", json!({ "n": 1 })).await.done();
    let policy = r#"path "old/*" { capabilities = ["read", "list"] }"#;
    api.put("sys/policies/acl/old", json!({ "policy": policy })).await.done();
    api.post("sys/auth/aws", json!({ "type": "aws" })).await.done();
    let admin = aws.administrator().clone();
    let client = json!({
        "sts_endpoint": aws.endpoint(), "iam_endpoint": aws.endpoint(),
        "access_key": admin.access_key_id, "secret_key": admin.secret_access_key,
    });
    api.post("auth/aws/config/client", client).await.done();
    let key = aws.create_user("puller", &[]);
    let role = json!({
        "bound_iam_principal_arn": "arn:aws:iam::123456789012:user/puller",
        "token_policies": "old",
    });
    api.post("auth/aws/role/puller", role).await.done();

    let mut options = Options::delivering_to(&aws);
    options.config = "sync {\n  ambient_credentials = true\n}".to_owned();
    options.environment.push(("AWS_ACCESS_KEY_ID".to_owned(), key.access_key_id));
    options.environment.push(("AWS_SECRET_ACCESS_KEY".to_owned(), key.secret_access_key));
    let server = TestServer::start_with(options).await;
    server.sync().activate().await;
    server.sync().destination(&aws, "fake").await;
    let fields = json!({
        "type": "vault", "address": api.base(), "auth": "aws", "auth_role": "puller",
        "mounts": "old", "destination": "aws-sm/fake", "prefix": "p",
        "allowed_ipv4_addresses": "127.0.0.0/8", "allowed_ports": other.port(),
    });
    server.api().post("sys/sync/sources/x", fields).await.done();
    let first = ran(server.api(), "x").await;
    assert_eq!(first["created"], 1, "{first}");
    assert_eq!(aws.secret("p/a").unwrap().value.as_deref(), Some(r#"{"n":1}"#));
    assert_eq!(ran(server.api(), "x").await["unchanged"], 1);
    api.put("old/a", json!({ "n": 2 })).await.done();
    assert_eq!(ran(server.api(), "x").await["updated"], 1);
    assert_eq!(aws.secret("p/a").unwrap().value.as_deref(), Some(r#"{"n":2}"#));
}
