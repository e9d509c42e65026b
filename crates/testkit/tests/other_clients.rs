//! Clients that nobody here wrote, unchanged, against whole servers. `xtask test --all` builds them
//! and says where they are.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_fake_clouds::{FakeAws, aws::Key};
use bailee_testkit::{Options, Storage, TestServer, binary, other_client, search_path, workspace};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Output, Stdio},
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

/// Files of hvac's suite that are about what this server has.
const HVAC_FILES: &[&str] = &[
    "api/secrets_engines/test_kv_v1.py",
    "api/secrets_engines/test_kv_v2.py",
    "api/secrets_engines/test_identity.py",
    "api/auth_methods/test_approle.py",
    "api/auth_methods/test_aws.py",
    "api/auth_methods/test_token.py",
    "api/system_backend",
    "v1",
];

async fn server() -> TestServer {
    let options = Options { storage: Storage::Memory, ..Options::default() };
    TestServer::start_with(options).await
}

/// Runs a client, with the root token on its standard input.
async fn run(server: &TestServer, mut client: Command) -> Output {
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let token = format!("{}\n", server.api().token());
    client.stdin.take().unwrap().write_all(token.as_bytes()).await.unwrap();
    client.wait_with_output().await.unwrap()
}

/// Runs a client, which must be content.
async fn walk(client: Command) {
    let server = server().await;
    let mut client = client;
    client.arg(server.api().base());
    let output = run(&server, client).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("is content"), "{out}{err}");
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_client_of_vault_is_content() {
    let mut client = Command::new(other_client("BAILEE_TEST_GO_CLIENTS"));
    client.arg("vault");
    walk(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_client_of_openbao_is_content() {
    let mut client = Command::new(other_client("BAILEE_TEST_GO_CLIENTS"));
    client.arg("openbao");
    walk(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_vault_is_content() {
    let mut client = Command::new("node");
    client.arg(other_client("BAILEE_TEST_NODE_CLIENT").join("walk.js"));
    walk(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vaultrs_is_content() {
    walk(Command::new(other_client("BAILEE_TEST_VAULTRS"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spring_vault_is_content() {
    let folder = other_client("BAILEE_TEST_SPRING_VAULT");
    let mut client = Command::new("java");
    let classes = format!("{0}/classes:{0}/lib/*", folder.display());
    client.args(["-cp", &classes, "bailee.Walk"]);
    walk(client).await;
}

/// hvac starts servers itself: our binary, named as it expects, on its path.
#[tokio::test(flavor = "multi_thread")]
async fn hvac_s_own_suite_fails_only_where_it_is_known_to() {
    let suite = other_client("BAILEE_TEST_HVAC_SUITE");
    let folder = TempDir::with_prefix("bailee-hvac-").unwrap();
    std::os::unix::fs::symlink(binary(), folder.path().join("vault")).unwrap();
    let mut tests = Command::new(suite.join("venv/bin/python"));
    tests.current_dir(&suite).env("PATH", format!("{}:{}", folder.path().display(), search_path()));
    tests.env_remove("VAULT_ADDR").env_remove("VAULT_TOKEN").env("HOME", folder.path());
    tests.args(["-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", "-q", "-rfEs"]);
    tests.arg("--tb=line");
    tests.args(HVAC_FILES.iter().map(|file| format!("tests/integration_tests/{file}")));
    let output = tests.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default().to_owned();
    println!("hvac: {last}");
    let failed: BTreeSet<String> = text.lines().filter_map(failed_test).collect();
    let known = known_failures(&workspace().join("tests/clients/hvac_suite.txt"));
    let new: Vec<&String> = failed.iter().filter(|test| !known.contains_key(*test)).collect();
    assert!(new.is_empty(), "hvac's tests that fail: {new:#?}\n{text}");
    let mended: Vec<&String> = known.keys().filter(|test| !failed.contains(*test)).collect();
    assert!(mended.is_empty(), "these pass now, take them off the list: {mended:#?}");
    assert!(last.contains(" passed"), "hvac's suite did not run:\n{text}");
}

/// hvac signs for `sts.amazonaws.com`, whatever else is configured; the fake checks what it signed.
#[tokio::test(flavor = "multi_thread")]
async fn hvac_logs_in_as_a_user_and_as_a_role_of_aws() {
    const PROGRAM: &str = "\
import sys, hvac
address, endpoint, root, bob, ci = sys.stdin.read().split('\\n')[:5]
client = hvac.Client(address, token=root)
client.sys.enable_auth_method('aws')
client.auth.aws.configure(sts_endpoint=endpoint, iam_server_id_header_value='vault.example')
arns = ['arn:aws:iam::123456789012:user/bob', 'arn:aws:iam::123456789012:role/ci']
client.auth.aws.create_role('dev', auth_type='iam', bound_iam_principal_arn=arns,
    resolve_aws_unique_ids=False, ttl='10m', policies='app')
for keys in (bob, ci):
    keys = keys.split(' ')
    guest = hvac.Client(address)
    auth = guest.auth.aws.iam_login(*keys, role='dev', header_value='vault.example')['auth']
    assert auth['policies'] == ['app', 'default'] and auth['lease_duration'] == 600, auth
    assert guest.is_authenticated()
try:
    hvac.Client(address).auth.aws.iam_login(bob.split(' ')[0], 'wrong', role='dev',
        header_value='vault.example')
except hvac.exceptions.InvalidRequest as refused:
    assert 'SignatureDoesNotMatch' in str(refused), refused
else:
    raise SystemExit('a wrong key was let in')
print('hvac is content')
";
    let aws = FakeAws::start().await;
    let bob = aws.create_user("bob", &[]);
    aws.create_role("ci", "{\"Version\": \"2012-10-17\", \"Statement\": []}", &[]);
    let ci = aws.role_session("ci", "s-1", std::time::Duration::from_secs(900), None);
    let config = format!(
        "aws {{\n  allowed_ipv4_addresses = [\"127.0.0.1/32\"]\n  allowed_ports = [{}]\n}}\n",
        aws.port()
    );
    let options = Options { storage: Storage::Memory, config, ..Options::default() };
    let server = TestServer::start_with(options).await;
    let suite = other_client("BAILEE_TEST_HVAC_SUITE");
    let mut client = Command::new(suite.join("venv/bin/python"));
    client.args(["-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.stderr(Stdio::piped()).spawn().unwrap();
    let keys = |key: &Key| {
        let token = key.session_token.clone().unwrap_or_default();
        format!("{} {} {token}", key.access_key_id, key.secret_access_key).trim().to_owned()
    };
    let (base, root) = (server.api().base(), server.api().token());
    let told = format!("{base}\n{}\n{root}\n{}\n{}\n", aws.endpoint(), keys(&bob), keys(&ci));
    client.stdin.take().unwrap().write_all(told.as_bytes()).await.unwrap();
    let output = client.wait_with_output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(text(&output.stdout).contains("is content"), "{}", text(&output.stderr));
    server.assert_no_panic();
}

/// The name of a test in a line such as `FAILED tests/…/test_x.py::TestX::test_y - text`.
fn failed_test(line: &str) -> Option<String> {
    let rest = line.strip_prefix("FAILED ").or_else(|| line.strip_prefix("ERROR "))?;
    let name = rest.split(" - ").next()?.trim();
    Some(name.trim_start_matches("tests/integration_tests/").to_owned())
}

/// Lines `test | reason`.
fn known_failures(file: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let split = |line: &str| {
        let (test, reason) = line.split_once('|').unwrap();
        (test.trim().to_owned(), reason.trim().to_owned())
    };
    lines.map(split).collect()
}

/// Operations that end the server or the token that asks, let its input name files, or answer without an
/// end.
const NOT_FUZZED: &str = "^/sys/(seal|step-down|audit/\\{path\\}|storage/raft/snapshot.*|\
                          rekey.*|generate-root.*|config/reload.*|sync/events)$|^/auth/token/revoke-self$";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_schemathesis_sends_there_is_no_500() {
    let server = server().await;
    let api = server.api();
    for (path, kind) in [("auth/userpass", "userpass"), ("auth/approle", "approle")] {
        api.post(&format!("sys/{path}"), serde_json::json!({ "type": kind })).await.done();
    }
    api.post("sys/mounts/plain", serde_json::json!({ "type": "kv" })).await.done();
    let document = api.get("sys/internal/specs/openapi").await.ok();
    let file = server.folder().join("openapi.json");
    fs::write(&file, &document.body).unwrap();
    let mut fuzz = Command::new(other_client("BAILEE_TEST_SCHEMATHESIS"));
    fuzz.current_dir(server.folder()).arg("run").arg(&file);
    fuzz.args(["--url", &format!("{}/v1", api.base())]);
    fuzz.args(["--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing"]);
    fuzz.args(["--exclude-path-regex", NOT_FUZZED, "--seed", "4", "--max-examples", "15"]);
    fuzz.args(["--header", &format!("X-Vault-Token: {}", api.token())]);
    fuzz.args(["--suppress-health-check", "all", "--warnings", "off"]);
    let output = fuzz.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = server.log();
    let internal: Vec<&str> = log.lines().filter(|line| line.contains("panicked")).collect();
    assert!(output.status.success(), "{text}\n{internal:?}");
    server.assert_no_panic();
    // The token lived to the end: the answers were not all refusals.
    api.get("auth/token/lookup-self").await.done();
}
