//! AWS through boto3, in a Python process of its own.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

const PROGRAM: &str = include_str!("aws_view.py");
/// Longest wait for AWS to show what it should.
const PATIENCE: Duration = Duration::from_secs(20);

/// Variables that would lead somewhere else than the demo says.
pub(super) const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"];

/// The eyes on AWS.
pub(super) struct View {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// A secret as boto3 shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Held {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) versions: u64,
    pub(super) tags: Vec<String>,
}

/// What a wait came to.
#[derive(Debug, Deserialize)]
pub(super) struct Awaited {
    pub(super) came: bool,
    /// Seconds since 1970.
    pub(super) at: f64,
    pub(super) value: Option<String>,
}

/// Every state of a name that polling met: when, and what.
pub(super) type Seen = BTreeMap<String, Vec<(f64, Option<String>)>>;

impl View {
    /// Opens it; the environment says which AWS.
    pub(super) fn open(
        python: &Path,
        environment: &[(String, String)],
        poll: Duration,
    ) -> Result<View> {
        let mut command = Command::new(python);
        command.arg("-c").arg(PROGRAM).arg(poll.as_secs_f64().to_string());
        for name in ENDPOINTS {
            command.env_remove(name);
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).process_group(0);
        let mut process = command.spawn().context("the Python with boto3 does not start")?;
        let input = process.stdin.take().context("no standard input")?;
        let output = process.stdout.take().context("no standard output")?;
        let output = BufReader::new(output).lines();
        Ok(View { input, output, _process: process })
    }

    async fn ask(&mut self, ask: Value) -> Result<Value> {
        self.input.write_all(format!("{ask}\n").as_bytes()).await.context("boto3 has ended")?;
        let line = self.output.next_line().await?.context("boto3 has ended")?;
        let answer: Value = serde_json::from_str(&line).context("boto3's answer")?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => bail!("boto3: {error}"),
            None => Ok(answer),
        }
    }

    /// Every secret below a prefix.
    pub(super) async fn list(&mut self, prefix: &str) -> Result<Vec<Held>> {
        let answer = self.ask(json!({ "do": "list", "prefix": prefix })).await?;
        part(answer, "secrets")
    }

    /// Looks at these names from now on.
    pub(super) async fn watch(&mut self, names: &[String]) -> Result<()> {
        self.ask(json!({ "do": "watch", "names": names })).await.map(drop)
    }

    /// Waits until a watched name holds this JSON, or is gone.
    pub(super) async fn wait_for(&mut self, name: &str, value: Option<&str>) -> Result<Awaited> {
        let seconds = PATIENCE.as_secs();
        let ask = json!({ "do": "await", "name": name, "value": value, "seconds": seconds });
        Ok(serde_json::from_value(self.ask(ask).await?)?)
    }

    /// Overwrites one name and deletes another, as somebody with access to AWS does.
    pub(super) async fn meddle(&mut self, write: &str, value: &str, delete: &str) -> Result<()> {
        let ask = json!({ "do": "meddle", "write": write, "value": value, "delete": delete });
        self.ask(ask).await.map(drop)
    }

    /// Stops looking; gives all that was seen.
    pub(super) async fn unwatch(&mut self) -> Result<Seen> {
        part(self.ask(json!({ "do": "unwatch" })).await?, "seen")
    }

    /// Deletes these names, and every secret below a prefix; how many there were.
    pub(super) async fn erase(&mut self, prefix: &str, names: &[String]) -> Result<u64> {
        part(self.ask(json!({ "do": "erase", "prefix": prefix, "names": names })).await?, "erased")
    }
}

fn part<T: serde::de::DeserializeOwned>(mut answer: Value, name: &str) -> Result<T> {
    let part = answer.get_mut(name).map(Value::take).unwrap_or_default();
    serde_json::from_value(part).with_context(|| format!("boto3's answer: {name}"))
}
