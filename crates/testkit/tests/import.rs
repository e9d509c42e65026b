//! `import`: what another server keeps, copied into this one.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_testkit::{Api, Options, Storage, TestServer, binary, eventually};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

async fn server() -> TestServer {
    TestServer::start_with(Options { storage: Storage::Memory, ..Options::default() }).await
}

fn import(from: &TestServer, to: &TestServer, folder: &Path) -> Command {
    fs::write(folder.join("token"), from.api().token()).unwrap();
    let mut command = Command::new(binary());
    command.env_clear().env("HOME", folder).env("VAULT_ADDR", to.api().base());
    command.env("VAULT_TOKEN", to.api().token()).current_dir(folder).arg("import");
    command.arg(format!("-from={}", from.api().base())).arg("-from-token-file=token");
    command
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it and gives its report.
fn report(command: &mut Command, exit: i32) -> Value {
    let output = command.arg("-format=json").output().unwrap();
    assert_eq!(output.status.code(), Some(exit), "{}{}", out(&output), err(&output));
    serde_json::from_str(&out(&output)).unwrap()
}

/// A secret with a value that lives, one deleted, one destroyed, and one that lives.
async fn write_versions(api: &Api, path: &str) {
    for number in 1..=4 {
        api.write(path, json!({ "number": number, "large": 12345678901234567890_u64 })).await;
    }
    api.post(&format!("secret/delete/{path}"), json!({ "versions": [2] })).await.done();
    api.post(&format!("secret/destroy/{path}"), json!({ "versions": [3] })).await.done();
    let settings = json!({ "custom_metadata": { "owner": "anna" }, "max_versions": 7,
        "cas_required": true });
    api.post(&format!("secret/metadata/{path}"), settings).await.done();
}

/// What two servers must agree on.
async fn state(api: &Api, path: &str) -> Value {
    let metadata = api.get(&format!("secret/metadata/{path}")).await.ok();
    let mut versions = Vec::new();
    for number in 1..=metadata.at("/data/current_version").as_u64().unwrap() {
        let value = api.get(&format!("secret/data/{path}?version={number}")).await;
        let about = metadata.at(&format!("/data/versions/{number}"));
        let deleted =
            about.get("deletion_time").and_then(Value::as_str).is_some_and(|time| !time.is_empty());
        versions.push(json!([value.at("/data/data"), deleted, about.get("destroyed")]));
    }
    let settings = ["custom_metadata", "max_versions", "cas_required", "current_version"];
    json!([settings.map(|name| metadata.at(&format!("/data/{name}"))), versions])
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_come_with_versions_numbers_states_and_settings() {
    let (from, to, folder) = (server().await, server().await, tempfile::tempdir().unwrap());
    let (source, target) = (from.api(), to.api());
    write_versions(source, "app/db").await;
    source.write("top", json!({ "a": { "b": [1, 2.50] } })).await;
    // The first five of these are too old to be kept.
    for number in 0..15 {
        source.write("often", json!({ "number": number })).await;
    }
    source.post("sys/mounts/old", json!({ "type": "kv", "description": "v1" })).await.done();
    source.post("old/x/y", json!({ "k": "v" })).await.done();

    let planned = report(import(&from, &to, folder.path()).arg("-plan"), 0);
    assert_eq!(planned["copied"]["secrets"], 4, "{planned}");
    assert_eq!(target.list("secret/metadata").await.status, 404, "a plan writes nothing");
    assert_eq!(target.get("sys/mounts").await.at("/data/old~1"), Value::Null);

    let copied = report(&mut import(&from, &to, folder.path()), 0);
    assert_eq!(copied["copied"], planned["copied"], "what the plan says is what is done");
    assert_eq!(copied["versions"], planned["versions"]);
    for path in ["app/db", "top", "often"] {
        assert_eq!(state(target, path).await, state(source, path).await, "{path}");
    }
    assert_eq!(target.get("old/x/y").await.ok().at("/data"), json!({ "k": "v" }));
    assert_eq!(target.get("sys/mounts").await.at("/data/old~1/description"), "v1");
    let notes = copied["notes"].to_string();
    assert!(notes.contains("1 deleted versions whose values cannot be read"), "{notes}");

    let again = report(&mut import(&from, &to, folder.path()), 0);
    assert_eq!((&again["copied"], &again["there"]["secrets"]), (&json!({}), &json!(4)), "{again}");
    // What is new there comes with the next run.
    let newer = json!({ "data": { "number": 5 }, "options": { "cas": 4 } });
    source.post("secret/data/app/db", newer).await.done();
    let later = report(&mut import(&from, &to, folder.path()), 0);
    assert_eq!((&later["copied"]["secrets"], &later["versions"]), (&json!(1), &json!(1)));
    assert_eq!(state(target, "app/db").await, state(source, "app/db").await);
    to.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_roles_and_users_come_as_far_as_they_can_be_read() {
    let (from, to, folder) = (server().await, server().await, tempfile::tempdir().unwrap());
    let (source, target) = (from.api(), to.api());
    let policy = json!({ "policy": "path \"secret/data/app/*\" { capabilities = [\"read\"] }" });
    source.put("sys/policies/acl/app", policy.clone()).await.done();
    source.post("sys/auth/ci", json!({ "type": "approle", "description": "CI" })).await.done();
    source.post("sys/auth/people", json!({ "type": "userpass" })).await.done();
    let role = json!({ "token_policies": "app", "token_ttl": "10m", "secret_id_num_uses": 3 });
    source.post("auth/ci/role/build", role).await.done();
    let user = json!({ "password": "canary-password", "token_policies": "app" });
    source.post("auth/people/users/anna", user).await.done();
    source.post("sys/mounts/cloud", json!({ "type": "aws" })).await.done();

    let copied = report(&mut import(&from, &to, folder.path()), 0);
    assert_eq!(copied["copied"]["policies"], 1, "{copied}");
    assert_eq!(copied["copied"]["auth_methods"], 2);
    assert_eq!(copied["copied"]["roles_and_users"], 2);
    let notes = copied["notes"].to_string();
    for words in ["engine of type aws", "secret ids cannot be read", "password cannot be read"] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    let text =
        |api: Api| async move { api.get("sys/policies/acl/app").await.ok().at("/data/policy") };
    assert_eq!(text(target.clone()).await, text(source.clone()).await);
    for place in ["auth/ci/role/build", "auth/ci/role/build/role-id", "auth/people/users/anna"] {
        let (theirs, ours) = (source.get(place).await.ok(), target.get(place).await.ok());
        assert_eq!(ours.at("/data"), theirs.at("/data"), "{place}");
    }
    // The role works: with its id of before, and a secret id that is new.
    let role_id = source.get("auth/ci/role/build/role-id").await.ok().at("/data/role_id");
    let secret_id = target.post("auth/ci/role/build/secret-id", json!({})).await.ok();
    let login = json!({ "role_id": role_id, "secret_id": secret_id.at("/data/secret_id") });
    let token = target.anonymous().post("auth/ci/login", login).await.ok();
    assert_eq!(token.at("/auth/token_policies"), json!(["app", "default"]));
    let login = json!({ "password": "canary-password" });
    assert_eq!(target.anonymous().post("auth/people/login/anna", login).await.status, 400);

    let again = report(&mut import(&from, &to, folder.path()), 0);
    assert_eq!(again["copied"], json!({}), "{again}");
    assert!(!to.log().contains("canary-password"));
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_of_aws_come_without_their_keys() {
    let (from, to, folder) = (server().await, server().await, tempfile::tempdir().unwrap());
    let (source, target) = (from.api(), to.api());
    source.post("sys/auth/aws", json!({ "type": "aws" })).await.done();
    let client = json!({ "access_key": "AKIACANARY", "secret_key": "canary-key",
        "iam_server_id_header_value": "vault.example.com", "sts_region": "eu-west-3" });
    source.put("auth/aws/config/client", client).await.done();
    let identity = json!({ "iam_alias": "unique_id", "iam_metadata": ["account_id"] });
    source.put("auth/aws/config/identity", identity).await.done();
    let account = json!({ "sts_role": "arn:aws:iam::210987654321:role/look", "external_id": "x" });
    source.put("auth/aws/config/sts/210987654321", account).await.done();
    let arn = "arn:aws:iam::123456789012:role/ci";
    let role = json!({ "auth_type": "iam", "bound_iam_principal_arn": [arn], "token_ttl": "1h",
        "resolve_aws_unique_ids": false, "token_policies": ["ci"] });
    source.put("auth/aws/role/ci", role).await.done();

    let planned = report(import(&from, &to, folder.path()).arg("-plan"), 0);
    assert_eq!(planned["copied"], json!({ "auth_methods": 1, "roles_and_users": 1 }), "{planned}");
    assert_eq!(
        target.get("sys/auth").await.at("/data/aws~1"),
        Value::Null,
        "a plan writes nothing"
    );
    let copied = report(&mut import(&from, &to, folder.path()), 0);
    assert_eq!(copied["copied"], planned["copied"]);
    let notes = copied["notes"].to_string();
    assert!(notes.contains("keys cannot be read") && !notes.contains("canary"), "{notes}");
    for place in ["config/identity", "config/sts/210987654321", "config/client", "role/ci"] {
        let place = format!("auth/aws/{place}");
        let of = async |api: &Api| {
            let mut data = api.get(&place).await.ok().at("/data");
            for own in ["role_id", "access_key"] {
                data.as_object_mut().unwrap().remove(own);
            }
            data
        };
        assert_eq!(of(target).await, of(source).await, "{place}");
    }
    let again = report(&mut import(&from, &to, folder.path()), 0);
    assert_eq!(again["copied"], json!({}), "{again}");
    let other = json!({ "sts_region": "eu-west-1" });
    target.put("auth/aws/config/client", other).await.done();
    let left = report(&mut import(&from, &to, folder.path()), 2);
    assert_eq!(left["left"][0]["name"], "auth/aws/config/client", "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_is_never_written_over() {
    let (from, to, folder) = (server().await, server().await, tempfile::tempdir().unwrap());
    let (source, target) = (from.api(), to.api());
    source.write("both", json!({ "whose": "theirs" })).await;
    target.write("both", json!({ "whose": "ours" })).await;
    source.write("more", json!({ "v": 1 })).await;
    target.write("more", json!({ "v": 1 })).await;
    target.write("more", json!({ "v": 2 })).await;
    source.write("fine", json!({ "v": 1 })).await;
    let theirs = json!({ "policy": "path \"y\" { capabilities = [\"read\"] }" });
    source.put("sys/policies/acl/p", theirs).await.done();
    let ours = json!({ "policy": "path \"x\" { capabilities = [\"read\"] }" });
    target.put("sys/policies/acl/p", ours).await.done();
    source.post("sys/mounts/place", json!({ "type": "kv" })).await.done();
    target.post("sys/mounts/place", json!({ "type": "aws" })).await.done();

    let copied = report(&mut import(&from, &to, folder.path()), 2);
    let left: Vec<&str> =
        copied["left"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(left, ["policy p", "place/", "secret/both", "secret/more"], "{copied}");
    assert_eq!(target.get("secret/data/both").await.at("/data/data/whose"), "ours");
    assert_eq!(target.get("secret/data/fine").await.at("/data/data/v"), 1);
    // Named engines alone, and nothing else.
    let one = report(import(&from, &to, folder.path()).arg("-mount=place"), 2);
    assert_eq!(one["left"].as_array().unwrap().len(), 1);
    let missing = report(import(&from, &to, folder.path()).arg("-mount=nowhere"), 2);
    assert_eq!(missing["failed"][0]["name"], "nowhere/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_cut_by_a_crash_goes_on_where_it_was() {
    let (from, folder) = (server().await, tempfile::tempdir().unwrap());
    let mut to = TestServer::start().await;
    let source = from.api();
    for number in 0..150 {
        source.write(&format!("s/{number:03}"), json!({ "number": number })).await;
    }
    for number in 0..10 {
        write_versions(source, &format!("v/{number}")).await;
    }
    let mut running = import(&from, &to, folder.path());
    let running = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("some are copied", async || to.api().get("secret/data/s/010").await.status == 200)
        .await;
    to.kill();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", out(&output));
    assert!(err(&output).contains("it goes on where it was"), "{}", err(&output));

    to.restart().await;
    let copied = report(&mut import(&from, &to, folder.path()), 0);
    let count = |which: &str| copied[which]["secrets"].as_u64().unwrap_or_default();
    assert_eq!(count("copied") + count("there"), 160, "{copied}");
    assert!(count("there") > 0 && count("copied") > 0, "{copied}");
    for path in (0..150).map(|n| format!("s/{n:03}")).chain((0..10).map(|n| format!("v/{n}"))) {
        assert_eq!(state(to.api(), &path).await, state(source, &path).await, "{path}");
    }
    to.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named_and_nothing_is_copied() {
    let (from, to, folder) = (server().await, server().await, tempfile::tempdir().unwrap());
    from.api().write("a", json!({ "canary": "canary-value" })).await;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.env_clear().env("HOME", folder.path()).env("VAULT_ADDR", to.api().base());
        command.env("VAULT_TOKEN", to.api().token()).current_dir(folder.path());
        command.arg("import").args(arguments).stdin(Stdio::null()).output().unwrap()
    };
    let there = format!("-from={}", from.api().base());
    let here = format!("-from={}", to.api().base());
    fs::write(folder.path().join("empty"), "\n").unwrap();
    fs::write(folder.path().join("wrong"), "hvs.canary-token").unwrap();
    fs::write(folder.path().join("right"), from.api().token()).unwrap();
    for (arguments, exit, words) in [
        (vec!["-plan"], 1, "give -from"),
        (vec!["-from=ftp://x"], 1, "-from"),
        (vec![&there, "-from-token-file=missing"], 1, "missing: No such file"),
        (vec![&there, "-from-token-file=empty"], 1, "token of the server to copy from is empty"),
        (vec![&here, "-from-token-file=right"], 1, "-from is the server that is written to"),
        (vec![&there, "-from-token-file=wrong"], 2, "the server refuses the token"),
        (vec![&there, "-from-token-file=right", "-from-ca-cert=missing.pem"], 1, "missing.pem"),
        (vec![&there, "-from-token-file=right", "-output-policy"], 1, "do not go with it"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(words), "{arguments:?}: {}", err(&output));
        assert!(!err(&output).contains("canary"), "{}", err(&output));
    }
    assert_eq!(to.api().list("secret/metadata").await.status, 404);
}
