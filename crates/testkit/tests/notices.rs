//! Notices of replication, as a webhook receives them from the program.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Options, Storage, TestServer, binary, python};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Output};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// Random bytes of this test.
const KEY: &str = "whsec_dGhpcyBrZXkgaXMga25vd24gdG8gZXZlcnlib2R5";

/// Takes one request, answers with a status, and gives the request as text.
async fn receiver(status: u16) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.unwrap();
            bytes.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
            });
            if body.len() == length.unwrap() {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 6\r\n\r\ncanary");
                stream.write_all(answer.as_bytes()).await.unwrap();
                return text;
            }
        }
    });
    (address, received)
}

/// Whether a signature is right, said by a program that does not know ours.
async fn is_signed(request: &str) -> bool {
    const VERIFY: &str = "\
import sys, base64, hashlib, hmac
head, body = sys.stdin.read().replace('\\r\\n', '\\n').split('\\n\\n', 1)
headers = dict(line.lower().split(': ', 1) for line in head.split('\\n')[1:]
    if not line.lower().startswith('webhook-signature'))
given = [line.split(': ', 1)[1] for line in head.split('\\n') if line.lower().startswith('webhook-signature')]
key = base64.b64decode(sys.argv[1].removeprefix('whsec_'))
signed = '.'.join([headers['webhook-id'], headers['webhook-timestamp'], body])
code = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
print(given == ['v1,' + code], end='')
";
    let mut command = tokio::process::Command::new(python());
    command.args(["-c", VERIFY, KEY]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(request.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    String::from_utf8_lossy(&output.stdout) == "True"
}

async fn run(aws: &FakeAws, server: &TestServer, hook: &str, folder: &Path) -> Output {
    let configuration = format!(
        "prefix = \"secret\"\nsource \"bailee\" {{\n  address = {:?}\n  mounts = [\"secret\"]\n  \
         auth \"token_file\" {{ path = \"token\" }}\n}}\ndestination \"aws-sm\" {{ region = \
         \"us-east-1\" }}\nnotify \"webhook\" {{\n  url = \"http://{hook}/path-of-its-own\"\n  \
         key_file = \"key\"\n  runs = \"all\"\n}}\n",
        server.api().base()
    );
    fs::write(folder.join("replicate.hcl"), configuration).unwrap();
    fs::write(folder.join("token"), server.api().token()).unwrap();
    fs::write(folder.join("key"), KEY).unwrap();
    let key = aws.administrator();
    let mut command = tokio::process::Command::new(binary());
    command.env_clear().env("HOME", folder).env("AWS_ENDPOINT_URL", aws.endpoint());
    command.env("AWS_ACCESS_KEY_ID", &key.access_key_id);
    command.env("AWS_SECRET_ACCESS_KEY", &key.secret_access_key).current_dir(folder);
    command.args(["replicate", "run", "-config=replicate.hcl"]).output().await.unwrap()
}

async fn world() -> (FakeAws, TestServer, tempfile::TempDir) {
    let options = Options { storage: Storage::Memory, ..Options::default() };
    let server = TestServer::start_with(options).await;
    server.api().write("db", json!({ "password": "canary-value" })).await;
    (FakeAws::start().await, server, tempfile::tempdir().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_could_not_begin_reaches_a_webhook_signed_and_without_values() {
    let (aws, server, folder) = world().await;
    server.api().put("sys/seal", json!({})).await.done();
    let (hook, received) = receiver(200).await;
    let output = run(&aws, &server, &hook, folder.path()).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let request = received.await.unwrap();
    assert!(request.starts_with("POST /path-of-its-own HTTP/1.1\r\n"), "{request}");
    assert!(is_signed(&request).await, "{request}");
    assert!(!is_signed(&request.replace("sealed", "fine")).await);
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["type"], "replication.not_begun", "{body}");
    assert!(body["data"]["error"]["message"].to_string().contains("sealed"), "{body}");
    assert!(!request.contains(server.api().token()), "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_told_does_not_hide_what_a_run_came_to() {
    let (aws, server, folder) = world().await;
    let (hook, received) = receiver(410).await;
    let output = run(&aws, &server, &hook, folder.path()).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!("webhook at {hook} was not told: it answered 410");
    assert!(told.contains(&expected) && !told.contains("canary"), "{told}");
    assert!(!told.contains("path-of-its-own"), "the path may be a secret: {told}");
    assert!(aws.secret("secret/db").is_some());
    let request = received.await.unwrap();
    assert!(request.contains("\"replication.succeeded\"") && !request.contains("canary-value"));
}
