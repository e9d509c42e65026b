//! The agent beside AWS's own: the same requests, one after the other, on the same fake of AWS.
//!
//! Both must give the same answers before anything is measured.

use crate::{
    Effort,
    connection::{Answer, Connection},
    process, quantile, tell,
};
use bailee_fake_clouds::FakeAws;
use serde_json::{Map, Value, json};
use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Connections at one time.
const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// The token of both agents.
const TOKEN: &str = "a-token-that-is-long-enough-for-both";
/// The secret that is asked for.
const SECRET: &str = "prod/orders-db";
/// Longest wait for an agent to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Times that the agents take turns.
const TURNS: usize = 3;

/// An agent that runs.
struct Agent {
    name: &'static str,
    port: u16,
    child: Child,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Measures this agent, and AWS's where its program is given.
pub(crate) async fn measure(ours: &Path, theirs: Option<&Path>, effort: Effort) -> Value {
    let aws = FakeAws::start().await;
    aws.put_secret(SECRET, &json!({"user": "orders", "password": "x".repeat(32)}).to_string());
    let folder = tempfile::tempdir().expect("there is a folder for a while");
    let mut agents = vec![start_ours(ours, &aws, folder.path())];
    if let Some(theirs) = theirs {
        agents.push(start_theirs(theirs, &aws, folder.path(), Logs::Off));
    }
    let mut figures = Map::new();
    for agent in &agents {
        wait(agent).await;
        let idle = process::memory_kib(agent.child.id());
        figures.insert(format!("{}_memory_idle_kib", agent.name), json!(idle));
    }
    figures.insert("differences".to_owned(), json!(differences(&agents).await));
    // What is measured for comparison alone comes behind the agents themselves.
    let count = agents.len();
    if let Some(theirs) = theirs {
        agents.push(start_theirs(theirs, &aws, folder.path(), Logs::AsItComes));
    }
    agents.push(start_floor());
    for agent in agents.iter().skip(count) {
        wait(agent).await;
    }
    for connections in CONNECTIONS {
        let mut turns: Vec<Vec<Turn>> = agents.iter().map(|_| Vec::new()).collect();
        for _ in 0..TURNS {
            for (agent, turns) in agents.iter().zip(&mut turns) {
                tell(&format!("{} over {connections} connections", agent.name));
                turns.push(turn(agent, connections, effort).await);
            }
        }
        for (agent, turns) in agents.iter().zip(turns) {
            figures.insert(format!("{}_{connections}", agent.name), figure(turns));
        }
    }
    for agent in agents.iter().take(count) {
        let loaded = process::memory_kib(agent.child.id());
        figures.insert(format!("{}_memory_loaded_kib", agent.name), json!(loaded));
        let own = process::own_kib(agent.child.id());
        figures.insert(format!("{}_memory_own_kib", agent.name), json!(own));
    }
    Value::Object(figures)
}

/// What one turn of an agent gave.
struct Turn {
    latencies: Vec<f64>,
    errors: u64,
    seconds: f64,
    cpu_us: f64,
}

async fn turn(agent: &Agent, connections: usize, effort: Effort) -> Turn {
    load(agent.port, connections, effort.warm_up).await;
    let cpu_before = process::cpu_us(agent.child.id());
    let started = Instant::now();
    let (latencies, errors) = load(agent.port, connections, effort.measure).await;
    let seconds = started.elapsed().as_secs_f64();
    let cpu_us = process::cpu_us(agent.child.id()) - cpu_before;
    Turn { latencies, errors, seconds, cpu_us }
}

fn figure(turns: Vec<Turn>) -> Value {
    let (mut latencies, mut errors, mut seconds, mut cpu_us) = (Vec::new(), 0, 0.0, 0.0);
    for turn in turns {
        latencies.extend(turn.latencies);
        errors += turn.errors;
        seconds += turn.seconds;
        cpu_us += turn.cpu_us;
    }
    let count = latencies.len() as f64;
    json!({
        "requests_per_second": count / seconds,
        "cpu_us": cpu_us / count.max(1.0),
        "p50_ms": quantile(&mut latencies, 0.5),
        "p99_ms": quantile(&mut latencies, 0.99),
        "errors": errors,
    })
}

async fn load(port: u16, connections: usize, time: Duration) -> (Vec<f64>, u64) {
    let until = Instant::now() + time;
    let asked = request("GET", &format!("/secretsmanager/get?secretId={SECRET}"), Some(TOKEN), "");
    let tasks = (0..connections).map(|_| {
        let asked = asked.clone();
        tokio::spawn(async move {
            let mut connection = Connection::open(port).await.expect("the agent listens");
            let (mut latencies, mut errors) = (Vec::new(), 0_u64);
            while Instant::now() < until {
                let sent = Instant::now();
                match connection.ask(&asked).await {
                    Ok(200) => latencies.push(sent.elapsed().as_secs_f64() * 1000.0),
                    Ok(_) => errors += 1,
                    // AWS's agent ends each connection after a minute.
                    Err(_) => {
                        errors += 1;
                        connection = Connection::open(port).await.expect("the agent listens");
                    }
                }
            }
            (latencies, errors)
        })
    });
    let (mut all, mut errors) = (Vec::new(), 0);
    for task in tasks.collect::<Vec<_>>() {
        let (latencies, failed) = task.await.expect("a client does not fail");
        all.extend(latencies);
        errors += failed;
    }
    (all, errors)
}

fn request(method: &str, target: &str, token: Option<&str>, header: &str) -> Vec<u8> {
    let token = token.map(|token| format!("x-aws-parameters-secrets-token: {token}\r\n"));
    let token = token.unwrap_or_default();
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{token}{header}\r\n").into_bytes()
}

/// The documented requests that the agents answer differently; the first agent is measured by the second.
async fn differences(agents: &[Agent]) -> Vec<String> {
    let [ours, theirs] = agents else { return Vec::new() };
    let mut found = Vec::new();
    let arn = arn(ours.port).await;
    for (method, target, token, header) in documented(&arn) {
        let asked = request(method, &target, token, header);
        let (own, other) = (whole(ours.port, &asked).await, whole(theirs.port, &asked).await);
        if own != other {
            found.push(format!("{method} {target} {header}: {own:?} instead of {other:?}"));
        }
    }
    found
}

/// A request: its verb, its target, the token and one more header.
type Asked = (&'static str, String, Option<&'static str>, &'static str);

fn documented(arn: &str) -> Vec<Asked> {
    let get = |target: &str| ("GET", target.to_owned(), Some(TOKEN), "");
    let secret = |rest: &str| get(&format!("/secretsmanager/get?{rest}"));
    vec![
        secret(&format!("secretId={SECRET}")),
        secret("secretId=prod%2Forders-db"),
        secret(&format!("secretId={arn}")),
        secret(&format!("secretId={SECRET}&versionStage=AWSCURRENT")),
        secret(&format!("secretId={SECRET}&refreshNow=true")),
        secret(&format!("secretId={SECRET}&refreshNow=0")),
        secret("secretId=none"),
        secret(&format!("secretId={SECRET}&versionStage=NONE")),
        secret(&format!("secretId={SECRET}&refreshNow=maybe")),
        secret(&format!("secretId={SECRET}&other=1")),
        secret(""),
        get(&format!("/v1/{SECRET}")),
        get(&format!("/v1/{arn}")),
        get(&format!("/v1/{SECRET}?versionStage=AWSCURRENT")),
        get("/v1/none"),
        get("/v1/"),
        get("/nowhere"),
        ("GET", "/ping".to_owned(), None, ""),
        ("GET", format!("/v1/{SECRET}"), None, ""),
        ("GET", format!("/v1/{SECRET}"), Some("wrong"), ""),
        ("GET", format!("/v1/{SECRET}"), None, "X-Vault-Token: wrong\r\n"),
        ("GET", format!("/v1/{SECRET}"), Some(TOKEN), "X-Forwarded-For: 10.0.0.1\r\n"),
        ("POST", format!("/v1/{SECRET}"), Some(TOKEN), ""),
        ("DELETE", "/ping".to_owned(), None, ""),
    ]
}

/// The secret's ARN, as the first agent tells it.
async fn arn(port: u16) -> String {
    let answer = whole(port, &request("GET", &format!("/v1/{SECRET}"), Some(TOKEN), "")).await;
    let document: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    document.get("ARN").and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn whole(port: u16, asked: &[u8]) -> Answer {
    let mut connection = Connection::open(port).await.expect("the agent listens");
    connection.whole(asked).await.expect("the agent answers")
}

async fn wait(agent: &Agent) {
    let until = Instant::now() + PATIENCE;
    let ping = request("GET", "/ping", None, "");
    loop {
        if let Ok(mut connection) = Connection::open(agent.port).await
            && matches!(connection.ask(&ping).await, Ok(200))
        {
            return;
        }
        assert!(Instant::now() < until, "the agent {} does not answer", agent.name);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn start_ours(program: &Path, aws: &FakeAws, folder: &Path) -> Agent {
    let (port, token) = (free_port(), private(folder, "ours-token", TOKEN));
    let key = aws.administrator();
    let secret_key = private(folder, "secret-key", &key.secret_access_key);
    let configuration = format!(
        "secret_manager \"bench\" {{\n  type = \"aws-sm\"\n  authentication = \"access-key\"\n  \
         region = \"us-east-1\"\n  access_key_id = \"{}\"\n  secret_access_key_file = \"{}\"\n  \
         endpoint = \"{}\"\n}}\nlistener \"secretsmanager\" {{\n  address = \"127.0.0.1:{port}\"\n  \
         token_file = \"{}\"\n}}\nlog_level = \"error\"\n",
        key.access_key_id,
        secret_key.display(),
        aws.endpoint(),
        token.display(),
    );
    let file = private(folder, "agent.hcl", &configuration);
    let mut command = Command::new(program);
    command.args(["agent", "run"]).arg(format!("-config={}", file.display()));
    Agent { name: "ours", port, child: spawn(&mut command) }
}

/// What AWS's agent writes down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Logs {
    /// Nothing, for a fair comparison: ours writes no line a request.
    Off,
    /// A line for each request, as it does when nothing else is asked.
    AsItComes,
}

fn start_theirs(program: &Path, aws: &FakeAws, folder: &Path, logs: Logs) -> Agent {
    let (name, logging) = match logs {
        Logs::Off => ("theirs", "log_level = \"none\"\nlog_to_file = false\n"),
        Logs::AsItComes => ("theirs_logging", ""),
    };
    let folder = folder.join(name);
    fs::create_dir(&folder).expect("the folder takes a folder");
    let (port, token) = (free_port(), private(&folder, "token", TOKEN));
    let configuration = format!("http_port = {port}\nregion = \"us-east-1\"\n{logging}");
    let file = private(&folder, "agent.toml", &configuration);
    let key = aws.administrator();
    let mut command = Command::new(program);
    command.arg("--config").arg(file).current_dir(&folder);
    command.env("AWS_TOKEN", format!("file://{}", token.display()));
    command.env("AWS_ENDPOINT_URL", aws.endpoint());
    command.env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", &key.access_key_id);
    command.env("AWS_SECRET_ACCESS_KEY", &key.secret_access_key);
    Agent { name, port, child: spawn(&mut command) }
}

/// What the system alone takes, in turns with the agents.
fn start_floor() -> Agent {
    let port = free_port();
    let mut command = Command::new(std::env::current_exe().expect("a running program has a path"));
    command.arg("--floor").arg(port.to_string());
    Agent { name: "floor", port, child: spawn(&mut command) }
}

fn spawn(command: &mut Command) -> Child {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    quiet.spawn().expect("the agent starts")
}

fn private(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
    written.expect("the folder takes a file");
    path
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}
