//! `quickstart`: from an empty server to one whose secrets can be replicated.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_testkit::{Options, Storage, TestServer, binary};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

async fn new_server() -> (TestServer, TempDir) {
    let options = Options { storage: Storage::Embedded, ..Options::default() };
    (TestServer::start_uninitialized(options).await, tempfile::tempdir().unwrap())
}

fn command(server: &TestServer, folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().env("HOME", folder).env("VAULT_ADDR", server.api().base());
    command.current_dir(folder).arg("quickstart");
    command
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

fn keys(folder: &Path) -> Value {
    serde_json::from_str(&text(folder, "quickstart-keys.json")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_gets_keys_engines_policy_and_a_token_that_reads_one_engine_alone() {
    let (server, folder) = new_server().await;
    let folder = folder.path();
    let run = ["-samples", "-key-shares=3", "-key-threshold=2"];
    let output = command(&server, folder).args(run).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    for file in ["quickstart-keys.json", "quickstart-token"] {
        let mode = fs::metadata(folder.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let (keys, token) = (keys(folder), text(folder, "quickstart-token"));
    assert_eq!(keys["keys_base64"].as_array().unwrap().len(), 3);
    let root = keys["root_token"].as_str().unwrap();
    let shown = out(&output) + &err(&output);
    for secret in
        keys["keys_base64"].as_array().unwrap().iter().chain(keys["keys"].as_array().unwrap())
    {
        assert!(!shown.contains(secret.as_str().unwrap()), "a key is shown");
    }
    assert!(!shown.contains(root) && !shown.contains(&token), "a token is shown");
    assert!(shown.contains(&format!("{}/ui", server.api().base())), "{shown}");

    let api = server.api().with_token(&token);
    let first = api.get("hybrid-aws-secrets/data/first-secret-for-replication").await.ok();
    assert_eq!(first.at("/data/data"), json!({"foo": "bar", "secrets": "manager"}));
    let listed = api.list("hybrid-aws-secrets/metadata").await.ok();
    let names = json!(["first-secret-for-replication", "second-secret-for-replication"]);
    assert_eq!(listed.at("/data/keys"), names);
    assert_eq!(api.get("super-secret-engine/data/super-secret").await.status, 403);
    assert_eq!(api.list("super-secret-engine/metadata").await.status, 403);
    let body = json!({"data": {"a": 1}});
    assert_eq!(api.post("hybrid-aws-secrets/data/new", body).await.status, 403);
    assert_eq!(api.get("sys/mounts").await.status, 403);
    let renewed = api.post("auth/token/renew-self", json!({})).await.ok();
    assert_eq!(renewed.at("/auth/lease_duration"), json!(168 * 3600));
    let about = api.get("auth/token/lookup-self").await.ok();
    assert_eq!(about.at("/data/period"), json!(168 * 3600));
    assert_eq!(about.at("/data/policies"), json!(["aws-replication-read-only"]));
    // It does not end with the root token.
    let as_root = server.api().with_token(root);
    as_root.post("auth/token/revoke-self", json!({})).await.done();
    assert_eq!(api.get("auth/token/lookup-self").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_changes_nothing_and_unseals_what_was_restarted() {
    let (mut server, folder) = new_server().await;
    let folder = folder.path();
    assert!(command(&server, folder).arg("-samples").status().unwrap().success());
    let files = [text(folder, "quickstart-keys.json"), text(folder, "quickstart-token")];
    let root = keys(folder)["root_token"].as_str().unwrap().to_owned();
    let api = server.api().with_token(&root);
    let changed = json!({"data": {"foo": "changed"}});
    let written = api.post("hybrid-aws-secrets/data/first-secret-for-replication", changed).await;
    assert_eq!(written.status, 200);

    server.start_again().await;
    let again = ["-samples", "-format=json"];
    let output = command(&server, folder).args(again).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told["made"], json!(["the server unsealed"]));
    assert_eq!(told["there"].as_array().unwrap().len(), 8, "{told}");
    assert_eq!(files, [text(folder, "quickstart-keys.json"), text(folder, "quickstart-token")]);
    let kept = api.get("hybrid-aws-secrets/data/first-secret-for-replication").await.ok();
    assert_eq!(kept.at("/data/data"), json!({"foo": "changed"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_somebody_else_is_prepared_with_the_token_of_the_caller() {
    let (mut server, folder) = new_server().await;
    let folder = folder.path();
    server.initialize().await;
    let output = command(&server, folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("the server is sealed"), "{}", err(&output));
    server.unseal().await;
    let run = ["-prefix=/team/replicated/", "-control=other", "-policy=p", "-period=2h"];
    let output = command(&server, folder)
        .env("VAULT_TOKEN", server.api().token())
        .args(run)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", err(&output));
    assert!(!folder.join("quickstart-keys.json").exists());
    let api = server.api().with_token(&text(folder, "quickstart-token"));
    assert_eq!(api.list("team/replicated/metadata").await.status, 404);
    assert_eq!(api.list("other/metadata").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_never_written_over() {
    let (mut server, folder) = new_server().await;
    let folder = folder.path();
    fs::write(folder.join("quickstart-keys.json"), "the keys of another server").unwrap();
    let output = command(&server, folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("quickstart-keys.json exists"), "{}", err(&output));
    assert_eq!(text(folder, "quickstart-keys.json"), "the keys of another server");
    let state = server.api().get("sys/init").await.ok();
    assert_eq!(state.at("/initialized"), json!(false), "nothing was initialized");

    fs::remove_file(folder.join("quickstart-keys.json")).unwrap();
    server.initialize().await;
    server.unseal().await;
    let theirs = json!({"policy": "path \"a\" { capabilities = [\"read\"] }"});
    let api = server.api();
    api.put("sys/policies/acl/aws-replication-read-only", theirs).await.done();
    let run = || {
        let mut command = command(&server, folder);
        command.env("VAULT_TOKEN", api.token());
        command
    };
    let output = run().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("says something else"), "{}", err(&output));
    fs::write(folder.join("quickstart-token"), "another token").unwrap();
    let output = run().arg("-policy=ours").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(folder, "quickstart-token"), "another token");
    api.delete("sys/mounts/super-secret-engine").await.done();
    api.post("sys/mounts/super-secret-engine", json!({"type": "kv"})).await.done();
    let output = run().output().unwrap();
    assert!(err(&output).contains("is not KV version 2"), "{}", err(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_no_file_takes_are_shown_instead_of_lost() {
    let (server, folder) = new_server().await;
    let folder = folder.path();
    // Files may have no byte; the shell's child is not killed for it but told.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" quickstart";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(binary())
        .env_clear()
        .env("HOME", folder)
        .env("VAULT_ADDR", server.api().base())
        .current_dir(folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("The keys exist only here"), "{}", err(&output));
    let shown: Value = serde_json::from_str(&out(&output)).unwrap();
    let key = shown["keys"][0].as_str().unwrap();
    let status = server.api().put("sys/unseal", json!({"key": key})).await.ok();
    assert_eq!(status.at("/sealed"), json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_contradict_are_refused_before_anything_is_asked() {
    let (server, folder) = new_server().await;
    let folder = folder.path();
    for (flags, words) in [
        (vec!["-prefix=a", "-control=/a/"], "must not be the same mount"),
        (vec!["-output-curl-string"], "do not go with it"),
        (vec!["-period=soon"], "invalid duration"),
        (vec!["-prefix=/"], "must not be empty"),
    ] {
        let output = command(&server, folder).args(&flags).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        assert!(err(&output).contains(words), "{flags:?}: {}", err(&output));
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}
