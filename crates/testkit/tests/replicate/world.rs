//! A server, the fake of AWS, and the program between them.

use bailee_fake_clouds::{FakeAws, aws::Key};
use bailee_testkit::{TestServer, binary};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tempfile::TempDir;
use tokio::process::Command;

pub(crate) const CONNECTION: &str = "apps/vault-connection-secret";

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) struct World {
    pub(crate) aws: FakeAws,
    pub(crate) server: TestServer,
    pub(crate) folder: TempDir,
    pub(crate) key: Key,
    pub(crate) token: String,
}

impl World {
    pub(crate) async fn new() -> World {
        let aws = FakeAws::start().await;
        let server = TestServer::start().await;
        server.enable_kv("apps").await;
        server.enable_kv("other").await;
        let key = aws.administrator().clone();
        let token = server.api().token().to_owned();
        World { aws, server, folder: tempfile::tempdir().unwrap(), key, token }
    }

    /// A world with a connection secret whose token reads the one mount alone.
    pub(crate) async fn connected() -> World {
        let mut world = World::new().await;
        world.token = world.reader("apps").await;
        world.configure("");
        let connected = world.replicate(&["connect", "-config=replicate.hcl"]).await;
        assert_eq!(connected.code, 0, "{connected:?}");
        world.aws.clear_calls();
        world
    }

    /// The token of the sample's policy: read and list, of one mount.
    pub(crate) async fn reader(&self, mount: &str) -> String {
        let api = self.server.api();
        let policy = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"list\"] }}");
        api.put(&format!("sys/policies/acl/{mount}"), json!({ "policy": policy })).await.done();
        let made = api.post("auth/token/create", json!({ "policies": [mount] })).await.ok();
        made.text("/auth/client_token")
    }

    pub(crate) fn configure(&self, more: &str) {
        let text = format!(
            "prefix = \"apps\"\n\
             source \"bailee\" {{ mounts = [\"apps\"] }}\n\
             destination \"aws-sm\" {{ region = \"us-east-1\" }}\n\
             connection_secret = {CONNECTION:?}\n{more}\n"
        );
        self.file("replicate.hcl", &text);
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    pub(crate) async fn write(&self, path: &str, data: Value) {
        let api = self.server.api();
        api.put(&format!("apps/data/{path}"), json!({ "data": data })).await.done();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.env("VAULT_ADDR", self.server.api().base()).env("VAULT_TOKEN", &self.token);
        command.env("AWS_ENDPOINT_URL", self.aws.endpoint());
        command.env("AWS_ACCESS_KEY_ID", &self.key.access_key_id);
        command.env("AWS_SECRET_ACCESS_KEY", &self.key.secret_access_key);
        command.env("AWS_REGION", "us-east-1").arg("replicate").args(arguments);
        command
    }

    pub(crate) async fn replicate(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().await.unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) async fn run(&self) -> Ended {
        self.replicate(&["run", "-config=replicate.hcl"]).await
    }

    /// A run in which all is well.
    pub(crate) async fn runs(&self) -> String {
        let ended = self.run().await;
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.out
    }

    pub(crate) fn value(&self, name: &str) -> Option<Value> {
        let held = self.aws.secret(name).filter(|secret| secret.deleted_at.is_none())?;
        serde_json::from_str(&held.value?).ok()
    }

    pub(crate) fn tag(&self, name: &str, key: &str) -> Option<String> {
        self.aws.secret(name)?.tags.get(key).cloned()
    }

    pub(crate) fn calls(&self) -> BTreeMap<String, u64> {
        let calls = self.aws.call_counts();
        self.aws.clear_calls();
        let short = |name: &str| name.trim_start_matches("secretsmanager:").to_owned();
        calls.into_iter().map(|(name, count)| (short(&name), count)).collect()
    }
}

pub(crate) fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}
