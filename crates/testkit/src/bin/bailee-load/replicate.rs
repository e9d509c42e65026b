//! `bailee replicate run` as a process: time and memory of a run that finds nothing to do.

use crate::{Effort, median, process, tell};
use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Options, Storage, TestServer, binary};
use serde_json::{Map, Value, json};
use std::{
    io::Seek as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Who writes at one time.
const WRITERS: u64 = 16;
/// Runs whose median counts.
const RUNS: usize = 5;
/// Time between two looks at a run's memory.
const LOOK: Duration = Duration::from_millis(2);

/// What one run took.
struct Run {
    seconds: f64,
    peak_kib: u64,
    report: Value,
}

/// Measures runs over as many secrets: the first one, then those that find all as it is.
pub(crate) async fn measure(effort: Effort) -> Value {
    let secrets = effort.replicated;
    tell(&format!("a server with {secrets} secrets"));
    let aws = FakeAws::start().await;
    let server =
        TestServer::start_with(Options { storage: Storage::Memory, ..Options::default() }).await;
    server.enable_kv("apps").await;
    let writers = (0..WRITERS).map(|writer| {
        let api = server.api().clone();
        tokio::spawn(async move {
            for number in (writer..secrets).step_by(WRITERS as usize) {
                let path = format!("apps/data/team-{}/app-{number}", number % 100);
                let data = json!({ "user": format!("user-{number}"), "password": "x".repeat(32) });
                api.put(&path, json!({ "data": data })).await.done();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer does not fail");
    }
    let folder = tempfile::tempdir().expect("there is a folder for a while");
    let configuration = "prefix = \"apps\"\nsource \"bailee\" { mounts = [\"apps\"] }\n\
                         destination \"aws-sm\" { region = \"us-east-1\" }\n";
    std::fs::write(folder.path().join("replicate.hcl"), configuration).expect("it is written");
    let command = |arguments: &[&str]| {
        let key = aws.administrator();
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().env("HOME", folder.path()).current_dir(folder.path());
        command.env("VAULT_ADDR", server.api().base()).env("VAULT_TOKEN", server.api().token());
        command.env("AWS_ENDPOINT_URL", aws.endpoint()).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", &key.access_key_id);
        command.env("AWS_SECRET_ACCESS_KEY", &key.secret_access_key);
        command
    };
    let run = || run(command(&["replicate", "run", "-config=replicate.hcl", "-format=json"]));
    let mut figures = Map::new();
    figures.insert("secrets".to_owned(), json!(secrets));
    tell("the program alone");
    let alone = tokio::task::block_in_place(|| self::run(command(&["version"])));
    figures.insert("program_kib".to_owned(), json!(alone.peak_kib));
    tell("the first run, at the pace that AWS allows");
    let first = tokio::task::block_in_place(run);
    figures.insert("first_seconds".to_owned(), json!(first.seconds));
    figures.insert("first_kib".to_owned(), json!(first.peak_kib));
    let created = first.report.pointer("/outcome/done/created").and_then(Value::as_array);
    figures.insert("created".to_owned(), json!(created.map(Vec::len)));
    tell("runs that find all as it is");
    aws.clear_calls();
    let (mut seconds, mut peaks) = (Vec::new(), Vec::new());
    let mut unchanged = Vec::new();
    for _ in 0..RUNS {
        let again = tokio::task::block_in_place(run);
        unchanged.push(again.report.pointer("/outcome/done/unchanged").cloned());
        seconds.push(again.seconds);
        peaks.push(again.peak_kib as f64);
    }
    let calls: u64 = aws.call_counts().values().sum();
    figures.insert("unchanged_seconds".to_owned(), json!(median(&mut seconds)));
    figures.insert("unchanged_kib".to_owned(), json!(crate::quantile(&mut peaks, 1.0)));
    assert!(unchanged.iter().all(|one| *one == Some(json!(secrets))), "all stay: {unchanged:?}");
    figures.insert("unchanged_calls".to_owned(), json!(calls / RUNS as u64));
    Value::Object(figures)
}

/// Runs a program to its end; what it prints goes through a file, as a pipe would have to be read meanwhile.
fn run(mut command: Command) -> Run {
    let printed = tempfile::tempfile().expect("there is a file for a while");
    let output = printed.try_clone().expect("a file is opened twice");
    let began = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(output).spawn();
    let mut child = child.expect("the program starts");
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(process::peak_kib(child.id()));
        match child.try_wait().expect("it is our child") {
            Some(status) => break status,
            None => std::thread::sleep(LOOK),
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    assert!(status.success(), "the program ended with {status}");
    let mut printed = printed;
    printed.rewind().expect("a file is read from its start");
    let report = serde_json::from_reader(printed).unwrap_or_default();
    Run { seconds, peak_kib, report }
}
