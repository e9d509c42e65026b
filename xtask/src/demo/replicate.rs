//! Replication, watched from outside: `demo replicate`. Every line about AWS comes from boto3.
//!
//! `SOURCE_ADDR` and `SOURCE_TOKEN` point it at a Vault or OpenBao of one's own, where it mounts two KV
//! engines and leaves them; without, a bailee is started.

use super::{
    report::Report,
    shell::{Shell, note},
    stage::{Stage, member},
};
use crate::tools;
use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

const PREFIX: &str = "hybrid-aws-secrets";
const FIRST: &str = "first-secret-for-replication";
const SECOND: &str = "second-secret-for-replication";
/// More than AWS takes as a value.
const TOO_LARGE: usize = 65_537;

/// What boto3 is asked.
const SCRIPT: &str = r#"
import boto3, json, sys

what, prefix = sys.argv[1], sys.argv[2]
if what == "topic":
    sns, sqs = boto3.client("sns"), boto3.client("sqs")
    topic = sns.create_topic(Name="failed-replication")["TopicArn"]
    queue = sqs.create_queue(QueueName="failed-replication")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    arn = arn["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    print(topic)
elif what == "messages":
    sqs = boto3.client("sqs")
    queue = sqs.get_queue_url(QueueName="failed-replication")["QueueUrl"]
    for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
        print(json.loads(message["Body"])["Message"])
else:
    secrets = boto3.client("secretsmanager")
    pages = secrets.get_paginator("list_secrets").paginate(IncludePlannedDeletion=True)
    found = {}
    for page in pages:
        for secret in page["SecretList"]:
            name = secret["Name"]
            if not name.startswith(prefix + "/") or name.endswith("connection-secret"):
                continue
            tags = {tag["Key"]: tag["Value"] for tag in secret.get("Tags", [])}
            shown = {"version": tags.get("version")}
            if "bailee:orphan" in tags:
                shown["orphan"] = tags["bailee:orphan"]
            if secret.get("DeletedDate"):
                shown["scheduled for deletion"] = str(secret["DeletedDate"].date())
            else:
                shown["value"] = secrets.get_secret_value(SecretId=name)["SecretString"]
            found[name] = shown
    print(json.dumps(found, indent=1, sort_keys=True))
"#;

/// What the demo works with.
struct Scene<'a> {
    stage: &'a Stage,
    report: &'a mut Report,
    shell: Shell,
    script: PathBuf,
    config: String,
    topic: String,
    address: String,
}

/// Everything from an empty AWS to one that the source has left.
pub(super) async fn tell(stage: &mut Stage, report: &mut Report) -> Result<()> {
    report.step("AWS, and a source");
    stage.start_aws().await?;
    let own = tools::environment("SOURCE_ADDR");
    if own.is_none() {
        stage.write_files()?;
        stage.start_server().await?;
    }
    let address = own.clone().unwrap_or_else(|| stage.address());
    note(&format!("{}; the source is {address}", stage.aws_name()));
    let mut shell = Shell::new(stage.bailee(), stage.folder(), &address);
    for (name, value) in stage.aws_environment() {
        shell.set(&name, &value);
    }
    if let Some(token) = tools::environment("SOURCE_TOKEN").filter(|_| own.is_some()) {
        shell.set("VAULT_TOKEN", &token);
    }
    let script = stage.folder().join("look.py");
    std::fs::write(&script, SCRIPT)?;
    let config = stage.folder().join("replicate.hcl").display().to_string();
    let mut scene = Scene { stage, report, shell, script, config, topic: String::new(), address };
    scene.prepare().await?;
    scene.create().await?;
    scene.update().await?;
    scene.remove().await?;
    scene.fail().await
}

impl Scene<'_> {
    async fn prepare(&mut self) -> Result<()> {
        self.report
            .step("quickstart: two engines, three example secrets, a token that reads one engine");
        let keys = self.stage.folder().join("quickstart-keys.json");
        let token = self.stage.folder().join("quickstart-token");
        let keys_file = format!("-keys-file={}", keys.display());
        let token_file = format!("-token-file={}", token.display());
        self.shell.run(&["quickstart", "-samples", &keys_file, &token_file]).await?;
        if let Ok(made) = std::fs::read_to_string(&keys) {
            let root = member(&made, "/root_token")?;
            self.shell.set("VAULT_TOKEN", root.as_str().context("the root token is a text")?);
        }
        self.topic = self.boto("topic")?.trim().to_owned();
        self.configure("keep", "")?;
        self.report.step("connect, with that token: the connection secret");
        let mut reader = self.shell.clone();
        reader.set("VAULT_TOKEN", std::fs::read_to_string(&token)?.trim());
        note("$ export VAULT_TOKEN=$(cat quickstart-token)");
        let config = format!("-config={}", self.config);
        reader.run(&["replicate", "connect", &config]).await?;
        self.report.step("That token cannot read the other engine");
        let denied =
            reader.run_to_exit(&["kv", "get", "super-secret-engine/super-secret"], 2).await;
        self.report.add("the other engine is unreadable", denied.is_ok(), "nothing", "");
        denied.map(drop)
    }

    fn configure(&self, deletion: &str, more: &str) -> Result<()> {
        let text = format!(
            "prefix = \"{PREFIX}\"\n\
             source \"vault\" {{\n  address = \"{}\"\n  mounts  = [\"{PREFIX}\"]\n}}\n\
             destination \"aws-sm\" {{ region = \"us-east-1\" }}\n\
             connection_secret = \"{PREFIX}/vault-connection-secret\"\n\
             deletion = \"{deletion}\"\n{more}\n\
             notify \"sns\" {{ topic_arn = \"{}\" }}\n",
            self.address, self.topic
        );
        Ok(std::fs::write(Path::new(&self.config), text)?)
    }

    async fn create(&mut self) -> Result<()> {
        let config = format!("-config={}", self.config);
        self.report.step("Plan before anything is written: 2 says that there is something to do");
        self.shell.run_to_exit(&["replicate", "plan", &config], 2).await?;
        self.report.step("Run: AWS has two secrets, and nothing of the other engine");
        self.shell.run(&["replicate", "run", &config]).await?;
        let held = self.look()?;
        let two = held.matches("\"version\": \"1\"").count() == 2 && !held.contains("super");
        self.report.add("two secrets are created", two, "2 secrets, version 1", "");
        self.report.step("Run again, told as the Lambda sample tells it: nothing to do");
        self.shell.run(&["replicate", "run", &config, "-output=sample"]).await?;
        Ok(())
    }

    async fn update(&mut self) -> Result<()> {
        let config = format!("-config={}", self.config);
        self.report.step("A new version at the source: AWS follows, tag and all");
        let path = format!("{PREFIX}/{FIRST}");
        self.shell.run(&["kv", "put", &path, "foo=changed"]).await?;
        self.shell.run(&["replicate", "run", &config]).await?;
        let held = self.look()?;
        let seen = held.contains("\"version\": \"2\"") && held.contains("changed");
        self.report.add("an update", seen, "version 2", "");
        Ok(())
    }

    async fn remove(&mut self) -> Result<()> {
        let config = format!("-config={}", self.config);
        let path = format!("{PREFIX}/{SECOND}");
        self.shell.quietly(&["kv", "metadata", "delete", &path], "").await?;
        note(&format!("\n    $ bailee kv metadata delete {path}"));
        for (deletion, more, wanted, told) in [
            ("keep", "", "\"value\"", "it stays"),
            ("orphan", "", "\"orphan\"", "tagged as an orphan"),
            ("schedule", "recovery_window_days = 7", "scheduled for deletion", "scheduled"),
        ] {
            self.report.step(&format!("deletion = \"{deletion}\""));
            self.configure(deletion, more)?;
            self.shell.run(&["replicate", "run", &config]).await?;
            let held = self.look()?;
            let second = held.split(SECOND).nth(1).unwrap_or_default();
            self.report.add(&format!("deletion: {deletion}"), second.contains(wanted), told, "");
        }
        self.report.step(
            "It comes back at the source: the deletion is taken back; then deletion = \"delete\"",
        );
        self.shell.run(&["kv", "put", &path, "back=again"]).await?;
        self.shell.run(&["replicate", "run", &config]).await?;
        let back = self.look()?.contains("again");
        self.report.add("a deletion is taken back", back, "the new value", "");
        self.shell.quietly(&["kv", "metadata", "delete", &path], "").await?;
        self.configure("delete", "")?;
        self.shell.run(&["replicate", "run", &config]).await?;
        let gone = !self.look()?.contains(SECOND);
        self.report.add("deletion: delete", gone, "1 secret", "");
        Ok(())
    }

    async fn fail(&mut self) -> Result<()> {
        let config = format!("-config={}", self.config);
        self.report.step("A value larger than AWS takes: told by exit code and on the topic");
        let path = format!("{PREFIX}/too-large");
        let value = "x".repeat(TOO_LARGE);
        let put = ["kv", "put", path.as_str(), "value=-"];
        self.shell.show(&put, " < large.txt");
        self.shell.quietly(&put, &value).await?;
        self.shell.run_to_exit(&["replicate", "run", &config], 2).await?;
        let told = self.boto("messages")?;
        note(&format!(
            "boto3, from a queue that is subscribed to the topic:\n     {}",
            told.trim_end()
        ));
        let start =
            "Account: 123456789012, Region: us-east-1. Failed to create/update the following";
        let good = told.starts_with(start) && told.contains("too-large");
        self.report.add("a failure is told on the topic", good, "one message", "");
        self.shell.quietly(&["kv", "metadata", "delete", &path], "").await?;
        Ok(())
    }

    /// What AWS holds below the prefix, shown.
    fn look(&self) -> Result<String> {
        let held = self.boto("secrets")?;
        note("boto3:");
        for line in held.lines().filter(|line| line.len() > 1) {
            note(&format!("  {line}"));
        }
        Ok(held)
    }

    fn boto(&self, what: &str) -> Result<String> {
        let mut command = Command::new(self.stage.python());
        command.arg(&self.script).args([what, PREFIX]).envs(self.stage.aws_environment());
        let output = command.output().context("python does not start")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "boto3, {what}: {errors}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
