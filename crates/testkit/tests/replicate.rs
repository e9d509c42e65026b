//! Replication by the program itself: from a real server to the fake of AWS.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_fake_clouds::{
    FakeAws,
    aws::{Fault, Key},
};
use bailee_testkit::{Options, TestServer, binary, eventually};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};
use tempfile::TempDir;
use tokio::process::Command;

const CONNECTION: &str = "apps/vault-connection-secret";

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

struct World {
    aws: FakeAws,
    server: TestServer,
    folder: TempDir,
    key: Key,
    token: String,
}

impl World {
    async fn new() -> World {
        let aws = FakeAws::start().await;
        let server = TestServer::start().await;
        server.enable_kv("apps").await;
        server.enable_kv("other").await;
        let key = aws.administrator().clone();
        let token = server.api().token().to_owned();
        World { aws, server, folder: tempfile::tempdir().unwrap(), key, token }
    }

    /// A world with a connection secret whose token reads the one mount alone.
    async fn connected() -> World {
        let mut world = World::new().await;
        world.token = world.reader("apps").await;
        world.configure("");
        let connected = world.replicate(&["connect", "-config=replicate.hcl"]).await;
        assert_eq!(connected.code, 0, "{connected:?}");
        world.aws.clear_calls();
        world
    }

    /// The token of the sample's policy: read and list, of one mount.
    async fn reader(&self, mount: &str) -> String {
        let api = self.server.api();
        let policy = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"list\"] }}");
        api.put(&format!("sys/policies/acl/{mount}"), json!({ "policy": policy })).await.done();
        let made = api.post("auth/token/create", json!({ "policies": [mount] })).await.ok();
        made.text("/auth/client_token")
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "prefix = \"apps\"\n\
             source \"bailee\" {{ mounts = [\"apps\"] }}\n\
             destination \"aws-sm\" {{ region = \"us-east-1\" }}\n\
             connection_secret = {CONNECTION:?}\n{more}\n"
        );
        self.file("replicate.hcl", &text);
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    async fn write(&self, path: &str, data: Value) {
        let api = self.server.api();
        api.put(&format!("apps/data/{path}"), json!({ "data": data })).await.done();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.env("VAULT_ADDR", self.server.api().base()).env("VAULT_TOKEN", &self.token);
        command.env("AWS_ENDPOINT_URL", self.aws.endpoint());
        command.env("AWS_ACCESS_KEY_ID", &self.key.access_key_id);
        command.env("AWS_SECRET_ACCESS_KEY", &self.key.secret_access_key);
        command.env("AWS_REGION", "us-east-1").arg("replicate").args(arguments);
        command
    }

    async fn replicate(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().await.unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    async fn run(&self) -> Ended {
        self.replicate(&["run", "-config=replicate.hcl"]).await
    }

    /// A run in which all is well.
    async fn runs(&self) -> String {
        let ended = self.run().await;
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.out
    }

    fn value(&self, name: &str) -> Option<Value> {
        let held = self.aws.secret(name).filter(|secret| secret.deleted_at.is_none())?;
        serde_json::from_str(&held.value?).ok()
    }

    fn tag(&self, name: &str, key: &str) -> Option<String> {
        self.aws.secret(name)?.tags.get(key).cloned()
    }

    fn calls(&self) -> BTreeMap<String, u64> {
        let calls = self.aws.call_counts();
        self.aws.clear_calls();
        let short = |name: &str| name.trim_start_matches("secretsmanager:").to_owned();
        calls.into_iter().map(|(name, count)| (short(&name), count)).collect()
    }
}

fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_planned_made_updated_and_left_alone() {
    let world = World::connected().await;
    world.write("first", json!({ "foo": "bar", "n": 1.5, "html": "<&>" })).await;
    world.write("team/blue/second", json!({ "foo2": "bar2" })).await;
    let other = json!({ "data": { "super": "secret" } });
    world.server.api().put("other/data/hidden", other).await.done();

    let planned = world.replicate(&["plan", "-config=replicate.hcl"]).await;
    assert_eq!(planned.code, 2, "{planned:?}");
    for part in ["create", "apps/first", "apps/team/blue/second", "2 to change, 0 unchanged"] {
        assert!(planned.out.contains(part), "{part}: {planned:?}");
    }
    assert_eq!(world.calls(), counts(&[("GetSecretValue", 1), ("ListSecrets", 1)]));

    let ran = world.replicate(&["run", "-config=replicate.hcl", "-output=sample"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&ran.out).unwrap(),
        json!({ "status": "OK", "results": "Secrets created: 2, Secrets updated: 0" })
    );
    let first = world.aws.secret("apps/first").unwrap();
    // Compact, and what the source holds.
    assert_eq!(first.value.as_deref(), Some(r#"{"foo":"bar","html":"<&>","n":1.5}"#));
    assert_eq!(world.tag("apps/first", "version").as_deref(), Some("1"));
    assert_eq!(world.value("apps/team/blue/second"), Some(json!({ "foo2": "bar2" })));
    assert!(!world.aws.secrets().iter().any(|secret| secret.name.contains("hidden")));
    world.calls();

    assert!(world.runs().await.contains("2 unchanged"));
    assert_eq!(world.calls(), counts(&[("GetSecretValue", 1), ("ListSecrets", 1)]));
    assert_eq!(world.replicate(&["plan", "-config=replicate.hcl"]).await.code, 0);
    world.calls();

    world.write("first", json!({ "foo": "changed" })).await;
    assert!(world.runs().await.contains("updated apps/first"));
    assert_eq!(world.value("apps/first"), Some(json!({ "foo": "changed" })));
    assert_eq!(world.tag("apps/first", "version").as_deref(), Some("2"));
    // The newest version goes: the newest that lives takes its place.
    world.server.api().delete("apps/data/first").await.done();
    world.runs().await;
    assert_eq!(world.tag("apps/first", "version").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_removal_does_what_it_says() {
    let world = World::connected().await;
    for path in ["a", "b", "c", "d", "e"] {
        world.write(path, json!({ "n": 1 })).await;
    }
    world.runs().await;
    let remove = async |path: &str| {
        world.server.api().delete(&format!("apps/metadata/{path}")).await.done();
    };
    remove("a").await;
    assert!(world.runs().await.contains("4 unchanged"));
    assert!(world.value("apps/a").is_some() && world.tag("apps/a", "bailee:orphan").is_none());
    world.configure("deletion = \"orphan\"");
    assert!(world.runs().await.contains("tagged as orphan apps/a"));
    assert!(world.value("apps/a").is_some() && world.tag("apps/a", "bailee:orphan").is_some());
    world.configure("deletion = \"schedule\"\nrecovery_window_days = 7");
    assert!(world.runs().await.contains("scheduled for deletion apps/a"));
    assert!(world.aws.secret("apps/a").unwrap().deleted_at.is_some());
    world.write("a", json!({ "n": "again" })).await;
    world.runs().await;
    assert_eq!(world.value("apps/a"), Some(json!({ "n": "again" })));
    world.configure("deletion = \"delete\"");
    remove("a").await;
    assert!(world.runs().await.contains("deleted apps/a"));
    assert!(world.aws.secret("apps/a").is_none());
    for path in ["b", "c", "d"] {
        remove(path).await;
    }
    let stopped = world.run().await;
    assert_eq!(stopped.code, 2, "{stopped:?}");
    assert!(stopped.out.contains("guard: 3 of 4 secrets would be removed"), "{stopped:?}");
    assert!(world.value("apps/b").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_sealed_and_a_token_that_has_ended_are_told() {
    let mut world = World::connected().await;
    world.write("a", json!({ "n": 1 })).await;
    world.runs().await;
    let api = world.server.api().clone();
    api.with_token(&world.token).post("auth/token/revoke-self", json!({})).await.done();
    let ended = world.replicate(&["run", "-config=replicate.hcl", "-output=sample"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        (&told["status"], &told["err"]["failure"]),
        (&json!("ERROR"), &json!("unauthenticated"))
    );
    assert!(told["message"].as_str().unwrap().contains("expired, or was revoked"), "{told}");
    assert!(!ended.out.contains(&world.token) && !ended.err.contains(&world.token));

    world.token = world.reader("apps").await;
    world.replicate(&["connect", "-config=replicate.hcl"]).await;
    assert!(world.runs().await.contains("1 unchanged"));
    api.put("sys/seal", json!({})).await.done();
    let ended = world.run().await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.out.contains("sealed"), "{ended:?}");
    world.server.unseal().await;
    assert!(world.runs().await.contains("1 unchanged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_told_by_name_and_the_rest_arrives() {
    let world = World::connected().await;
    world.write("large", json!({ "x": "x".repeat(65_530) })).await;
    world.write("fits", json!({ "x": "x".repeat(65_528) })).await;
    world.write("vault-connection-secret", json!({ "vaultToken": "evil" })).await;
    world.aws.put_secret("apps/taken", "somebody's");
    world.write("taken", json!({ "n": 1 })).await;
    world.aws.inject(Fault::throttle("secretsmanager:CreateSecret").times(2));
    let ended = world.replicate(&["run", "-config=replicate.hcl", "-format=json"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["account"], json!("123456789012"));
    let done = &report["outcome"]["done"];
    assert_eq!(done["created"], json!(["apps/fits"]));
    let failed: Vec<(&str, &str)> = done["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["failure"].as_str().unwrap()))
        .collect();
    assert_eq!(
        failed,
        [("apps/large", "too_large"), ("apps/taken", "not_ours"), (CONNECTION, "name_taken")]
    );
    assert_eq!(world.aws.secret("apps/taken").unwrap().value.as_deref(), Some("somebody's"));
    assert!(!world.aws.secret(CONNECTION).unwrap().value.unwrap().contains("evil"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_told_by_line_and_nothing_is_called() {
    let world = World::connected().await;
    for (more, line) in [
        ("colour = \"blue\"", "line 5: unknown key \"colour\""),
        ("schedule = \"cron(x * * * ? *)\"", "line 5: schedule"),
        ("deletion = 7", "line 5: deletion"),
    ] {
        world.configure(more);
        let ended = world.replicate(&["run", "-config=replicate.hcl"]).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains(line), "{ended:?}");
    }
    for command in ["plan", "serve", "connect", "policy"] {
        assert_eq!(world.replicate(&[command, "-config=replicate.hcl"]).await.code, 1, "{command}");
    }
    let ended = world.replicate(&["run", "-config=absent.hcl"]).await;
    assert!(ended.code == 1 && ended.err.contains("cannot be read"), "{ended:?}");
    assert_eq!(world.calls(), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_namespaces_folders_and_engines_without_versions_are_served() {
    let world = World::connected().await;
    let api = world.server.api();
    api.put("sys/namespaces/team", json!({})).await.done();
    let team = api.in_namespace("team");
    team.put("sys/mounts/kv2", json!({ "type": "kv", "options": { "version": "2" } })).await.done();
    team.put("sys/mounts/kv1", json!({ "type": "kv" })).await.done();
    for path in ["in/a", "in/deep/b", "out/c"] {
        team.put(&format!("kv2/data/{path}"), json!({ "data": { "n": path } })).await.done();
    }
    team.put("kv1/old/d", json!({ "n": "one" })).await.done();
    team.put("sys/auth/approle", json!({ "type": "approle" })).await.done();
    let policy = "path \"kv2/*\" { capabilities = [\"read\", \"list\", \"scan\"] }\n\
                  path \"kv1/*\" { capabilities = [\"read\", \"list\"] }";
    team.put("sys/policies/acl/reader", json!({ "policy": policy })).await.done();
    let role = json!({ "token_policies": "reader", "token_ttl": "5m" });
    team.put("auth/approle/role/replicate", role).await.done();
    let role_id = team.get("auth/approle/role/replicate/role-id").await.ok();
    let secret_id = team.put("auth/approle/role/replicate/secret-id", json!({})).await.ok();
    world.file("secret-id", &secret_id.text("/data/secret_id"));
    world.file("key", "a key for digests");
    world.file(
        "team.yaml",
        &format!(
            "names: 'team/{{{{ .MountPath }}}}/{{{{ .SecretPath }}}}'\n\
             source:\n  bailee:\n    address: {}\n    namespace: team\n\
             \x20   mounts: [kv1]\n    mount:\n      kv2:\n        folders: [in]\n\
             \x20   auth:\n      approle:\n        role_id: {}\n        secret_id_file: secret-id\n\
             destination:\n  aws-sm:\n    region: us-east-1\n\
             content_hash_key_file: key\n",
            api.base(),
            role_id.text("/data/role_id"),
        ),
    );
    let run = async || world.replicate(&["run", "-config=team.yaml"]).await;
    let ran = run().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.value("team/kv2/in/deep/b"), Some(json!({ "n": "in/deep/b" })));
    assert_eq!(world.value("team/kv1/old/d"), Some(json!({ "n": "one" })));
    assert!(world.value("team/kv2/out/c").is_none());
    assert!(run().await.out.contains("3 unchanged"));
    team.put("kv1/old/d", json!({ "n": "two" })).await.done();
    assert!(run().await.out.contains("updated team/kv1/old/d"));
    assert_eq!(world.value("team/kv1/old/d"), Some(json!({ "n": "two" })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_own_file_takes_over_what_the_sample_made() {
    let world = World::new().await;
    let key = world.aws.create_kms_key();
    let connection =
        json!({ "vaultAddress": world.server.api().base(), "vaultToken": world.token });
    world.aws.put_secret(CONNECTION, &connection.to_string());
    for (name, version) in [("apps/kept", "1"), ("apps/stale", "1"), ("apps/orphan", "3")] {
        world.aws.put_secret(name, "{\"by\":\"the sample\"}");
        world.aws.set_secret_tag(name, "version", Some(version));
    }
    world.write("kept", json!({ "n": 1 })).await;
    world.write("stale", json!({ "n": 1 })).await;
    world.write("stale", json!({ "n": 2 })).await;
    world.write("new", json!({ "n": 1 })).await;
    let cdk = json!({
        "app": "x",
        "context": { "configuration": {
            "secretsPrefix": "apps", "lambdaCronSchedule": "cron(0,30 * * * ? *)",
            "deployHCPVaultOnEC2": true, "notificationEmail": "",
            "hcpvaultInboundIPCidr": "", "optionalExternalVaultAddress": "",
        } },
    });
    world.file("cdk.json", &cdk.to_string());
    let without_key = world.replicate(&["run", "-config=cdk.json"]).await;
    assert!(without_key.code == 2 && without_key.out.contains("KMS key"), "{without_key:?}");
    // The key of its stack has this alias.
    world.aws.create_kms_alias("alias/apps-encryption-key", &key);
    let ran = world.replicate(&["run", "-config=cdk.json", "-output=sample"]).await;
    let expected = json!({ "status": "OK", "results": "Secrets created: 1, Secrets updated: 2" });
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), expected);
    assert_eq!(world.aws.secret("apps/new").unwrap().kms_key_arn.as_ref(), Some(&key));
    assert_eq!(world.value("apps/stale"), Some(json!({ "n": 2 })));
    assert_eq!(world.tag("apps/stale", "version").as_deref(), Some("2"));
    assert_eq!(world.value("apps/orphan"), Some(json!({ "by": "the sample" })));
    assert_eq!(world.value(CONNECTION), Some(connection));
    let again = world.replicate(&["run", "-config=cdk.json"]).await;
    assert!(again.out.contains("3 unchanged"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_policy_is_enough_and_a_permission_that_is_missing_is_named() {
    let mut world = World::connected().await;
    let kms = world.aws.create_kms_key();
    let configure = |world: &World, deletion: &str| {
        let text = format!(
            "prefix = \"apps\"\nsource \"bailee\" {{ mounts = [\"apps\"] }}\n\
             destination \"aws-sm\" {{\n  region = \"us-east-1\"\n  kms_key_id = {kms:?}\n}}\n\
             connection_secret = {CONNECTION:?}\ndeletion = {deletion:?}\n\
             deletion_share_max = \"1\"\n"
        );
        world.file("replicate.hcl", &text);
    };
    configure(&world, "delete");
    let printed = world.replicate(&["policy", "-config=replicate.hcl"]).await;
    assert_eq!(printed.code, 0, "{printed:?}");
    let policy = printed.out;
    world.key = world.aws.create_user("replicator", &[&policy]);
    world.write("a", json!({ "n": 1 })).await;
    world.write("b", json!({ "n": 1 })).await;
    world.runs().await;
    world.write("a", json!({ "n": 2 })).await;
    world.server.api().delete("apps/metadata/b").await.done();
    let told = world.runs().await;
    assert!(told.contains("updated apps/a") && told.contains("deleted apps/b"), "{told}");

    // It can write neither the connection nor what is not its own, whatever it is told to do.
    let connection = world.replicate(&["connect", "-config=replicate.hcl"]).await;
    assert!(connection.code == 2 && connection.err.contains("PutSecretValue"), "{connection:?}");
    world.aws.put_secret("apps/theirs", "theirs");
    world.write("theirs", json!({ "n": 1 })).await;
    let own = std::fs::read_to_string(world.folder.path().join("replicate.hcl")).unwrap();
    world.file("replicate.hcl", &format!("{own}ownership = \"overwrite\"\n"));
    let ended = world.run().await;
    assert!(ended.code == 2 && ended.out.contains("! apps/theirs: "), "{ended:?}");
    assert_eq!(world.aws.secret("apps/theirs").unwrap().value.as_deref(), Some("theirs"));
    world.file("replicate.hcl", &own);
    world.server.api().delete("apps/metadata/theirs").await.done();
    let whole: Value = serde_json::from_str(&policy).unwrap();
    for action in ["CreateSecret", "UpdateSecret", "TagResource", "DeleteSecret"] {
        let mut less = whole.clone();
        let actions =
            less.pointer_mut("/Statement/0/Action").and_then(Value::as_array_mut).unwrap();
        actions.retain(|one| one != &json!(format!("secretsmanager:{action}")));
        world.aws.set_user_policies("replicator", &[&policy]);
        world.write("a", json!({ "n": action })).await;
        world.write("gone", json!({ "n": 1 })).await;
        world.runs().await;
        world.write("a", json!({ "n": format!("{action} again") })).await;
        world.write(&format!("new-{action}"), json!({ "n": 1 })).await;
        world.server.api().delete("apps/metadata/gone").await.done();
        world.aws.set_user_policies("replicator", &[&less.to_string()]);
        let ended = world.run().await;
        assert_eq!(ended.code, 2, "{action}: {ended:?}");
        assert!(ended.out.contains(&format!("secretsmanager:{action}")), "{action}: {ended:?}");
        world.aws.set_user_policies("replicator", &[&policy]);
        world.runs().await;
        assert_eq!(world.value("apps/a"), Some(json!({ "n": format!("{action} again") })));
    }

    consumers_read_what_is_replicated_and_nothing_else(&mut world).await;
}

async fn consumers_read_what_is_replicated_and_nothing_else(world: &mut World) {
    let arn = "arn:aws:iam::123456789012:user/consumer";
    let printed =
        world.replicate(&["policy", "-config=replicate.hcl", &format!("-consumer={arn}")]).await;
    let policies: Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(policies["key_policy_statement"]["Principal"]["AWS"], json!(arn));
    let identity = policies["identity_policy"].to_string();
    world.key = world.aws.create_user("consumer", &[&identity]);
    // Who reads is played by a replication with AWS as its source.
    world.file(
        "consumer.hcl",
        "names = \"copy/{{ .SecretPath }}\"\n\
         source \"aws-sm\" {\n  region = \"us-east-1\"\n  prefix = \"apps/\"\n}\n\
         destination \"aws-sm\" { region = \"eu-west-1\" }\n",
    );
    let ended = world.replicate(&["run", "-config=consumer.hcl"]).await;
    assert!(ended.code == 2 && ended.out.contains("ListSecrets"), "{ended:?}");
    let lists = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["secretsmanager:ListSecrets", "secretsmanager:CreateSecret", "secretsmanager:TagResource"],
        "Resource": "*",
    }] });
    world.aws.set_user_policies("consumer", &[&identity, &lists.to_string()]);
    let ended = world.replicate(&["run", "-config=consumer.hcl"]).await;
    let copied = |name: &str| world.aws.secret_in("eu-west-1", &format!("copy/{name}"));
    assert_eq!(
        copied("apps/a").and_then(|copy| copy.value),
        world.aws.secret("apps/a").unwrap().value
    );
    assert!(copied(CONNECTION).is_none());
    assert!(ended.code == 2 && ended.out.contains(CONNECTION), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_another_region_are_brought_and_kept_up_to_date() {
    let world = World::new().await;
    world.aws.put_secret_in("eu-west-1", "from/a", "{\"n\":1}");
    world.aws.put_secret_in("eu-west-1", "else/b", "{\"n\":1}");
    world.file(
        "regions.hcl",
        "names = \"to/{{ .SecretPath }}\"\n\
         source \"aws-sm\" {\n  region = \"eu-west-1\"\n  prefix = \"from/\"\n}\n\
         destination \"aws-sm\" { region = \"us-east-1\" }\n",
    );
    let run = async || world.replicate(&["run", "-config=regions.hcl"]).await;
    let ran = run().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.value("to/from/a"), Some(json!({ "n": 1 })));
    assert!(world.aws.secret("to/else/b").is_none());
    world.calls();
    assert!(run().await.out.contains("1 unchanged"));
    assert_eq!(world.calls(), counts(&[("ListSecrets", 2)]));
    world.aws.put_secret_in("eu-west-1", "from/a", "{\"n\":2}");
    assert!(run().await.out.contains("updated to/from/a"));
    assert_eq!(world.value("to/from/a"), Some(json!({ "n": 2 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_not_read_again_where_both_ends_are_one_place() {
    let world = World::new().await;
    world.aws.put_secret("from/a", "{\"n\":1}");
    let configure = |start: &str, names: &str| {
        world.file(
            "one.hcl",
            &format!(
                "names = \"{names}/{{{{ .SecretPath }}}}\"\n\
                 source \"aws-sm\" {{ prefix = {start:?} }}\n\
                 destination \"aws-sm\" {{ region = \"us-east-1\" }}\n"
            ),
        );
    };
    for (start, names) in [("", "to"), ("from/", "from/copy"), ("from/copy/", "from")] {
        configure(start, names);
        let refused = world.replicate(&["run", "-config=one.hcl"]).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.out.contains("would be read again"), "{refused:?}");
    }
    configure("from/", "to");
    for told in ["1 created", "1 unchanged"] {
        let ran = world.replicate(&["run", "-config=one.hcl"]).await;
        assert!(ran.code == 0 && ran.out.contains(told), "{ran:?}");
    }
    assert_eq!(world.value("to/from/a"), Some(json!({ "n": 1 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_alone_are_enough() {
    let world = World::connected().await;
    world.write("a", json!({ "n": 1 })).await;
    let arguments = ["run", "-mount=apps", "-prefix=by-flags", "-region=us-east-1"];
    let ran = world.replicate(&arguments).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.value("by-flags/a"), Some(json!({ "n": 1 })));
    let both = world.replicate(&["run", "-config=replicate.hcl", "-mount=apps"]).await;
    assert!(both.code == 1 && both.err.contains("exclude"), "{both:?}");
    assert!(Path::new(world.folder.path()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_told_what_failed_in_the_words_of_the_sample_and_that_a_run_did_not_begin() {
    let mut world = World::connected().await;
    let topic = world.aws.create_topic("failures");
    world.configure(&format!("notify \"sns\" {{ topic_arn = {topic:?} }}"));
    let printed = world.replicate(&["policy", "-config=replicate.hcl"]).await;
    world.key = world.aws.create_user("replicator", &[&printed.out]);
    world.write("a", json!({ "n": 1 })).await;
    world.runs().await;
    assert_eq!(world.aws.messages(&topic), []);
    world.write("large", json!({ "x": "x".repeat(65_530) })).await;
    assert_eq!(world.run().await.code, 2);
    let text = |at: usize| world.aws.messages(&topic)[at].text.clone();
    let start = "Account: 123456789012, Region: us-east-1. Failed to create/update the following \
                 secrets: [{\"secretName\":\"apps/large\",\"error\":\"the value is 65538 bytes";
    assert!(text(0).starts_with(start), "{}", text(0));
    assert!(text(0).ends_with("}] "), "{}", text(0));
    world.server.api().put("sys/seal", json!({})).await.done();
    assert_eq!(world.run().await.code, 2);
    assert!(text(1).contains("did not begin") && text(1).contains("sealed"), "{}", text(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_aws_is_enough_at_both_ends() {
    let aws = FakeAws::start().await;
    let config = format!(
        "aws {{\n  allowed_ipv4_addresses = [\"127.0.0.1/32\"]\n  allowed_ports = [{}]\n}}\n",
        aws.port()
    );
    let server = TestServer::start_with(Options { config, ..Options::default() }).await;
    server.enable_kv("apps").await;
    let api = server.api().clone();
    api.put("apps/data/a", json!({ "data": { "n": 1 } })).await.done();
    api.put(
        "sys/policies/acl/apps",
        json!({ "policy": "path \"apps/*\" { capabilities = [\"read\", \"list\"] }" }),
    )
    .await
    .done();
    api.post("sys/auth/aws", json!({ "type": "aws" })).await.done();
    let admin = aws.administrator().clone();
    let client = json!({
        "sts_endpoint": aws.endpoint(), "iam_endpoint": aws.endpoint(),
        "access_key": admin.access_key_id, "secret_key": admin.secret_access_key,
    });
    api.post("auth/aws/config/client", client).await.done();
    let key = aws.create_user("replicator", &[]);
    let role = json!({
        "bound_iam_principal_arn": "arn:aws:iam::123456789012:user/replicator",
        "token_policies": "apps", "token_ttl": "10m",
    });
    api.post("auth/aws/role/replicator", role).await.done();
    let folder = tempfile::tempdir().unwrap();
    let token = String::new();
    let world = World { aws, server, folder, key, token };
    world.file(
        "replicate.hcl",
        &format!(
            "prefix = \"apps\"\n\
             source \"bailee\" {{\n  address = {:?}\n  mounts = [\"apps\"]\n\
             auth \"aws\" {{ role = \"replicator\"  sts_endpoint = {:?} }}\n}}\n\
             destination \"aws-sm\" {{ region = \"us-east-1\" }}\n",
            api.base(),
            world.aws.endpoint(),
        ),
    );
    let printed = world.replicate(&["policy", "-config=replicate.hcl"]).await;
    world.aws.set_user_policies("replicator", &[&printed.out]);
    assert!(world.runs().await.contains("created apps/a"));
    assert_eq!(world.value("apps/a"), Some(json!({ "n": 1 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_runs_at_once_and_ends_when_it_is_told_to() {
    let world = World::connected().await;
    world.write("a", json!({ "n": 1 })).await;
    let mut serving = world.command(&["serve", "-config=replicate.hcl", "-schedule=12h"]);
    let mut serving = serving.stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("the first run", async || world.value("apps/a").is_some()).await;
    let pid = serving.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(serving.wait().await.unwrap().success());
    let wrong = world.replicate(&["serve", "-config=replicate.hcl", "-schedule=sometimes"]).await;
    assert!(wrong.code == 1 && wrong.err.contains("schedule"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beside_another_of_the_same_file_does_nothing() {
    let world = World::connected().await;
    world.write("a", json!({ "n": 1 })).await;
    let held = std::fs::File::open(world.folder.path().join("replicate.hcl")).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let second = world.run().await;
    assert!(second.code == 2 && second.out.contains("another run holds the lock"), "{second:?}");
    assert!(world.value("apps/a").is_none());
    drop(held);
    world.runs().await;
}
