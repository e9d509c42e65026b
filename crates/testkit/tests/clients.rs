//! Clients that were made for other servers, unchanged.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Options, Storage, TestServer, python};
use std::process::{Output, Stdio};
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread")]
async fn hvac_reads_writes_and_manages_tokens_as_it_does_elsewhere() {
    let options = Options { storage: Storage::Memory, ..Options::default() };
    let server = TestServer::start_with(options).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/hvac_core.py");
    let token = format!("{}\n", server.api().token());
    let output = run(&[script, server.api().base()], &token).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn hvac_drives_secrets_sync_by_raw_calls() {
    let aws = FakeAws::start().await;
    let server = TestServer::start_with(Options::delivering_to(&aws)).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/hvac_sync.py");
    let key = aws.administrator();
    let lines =
        format!("{}\n{}\n{}\n", server.api().token(), key.access_key_id, key.secret_access_key);
    let output = run(&[script, server.api().base(), &aws.port().to_string()], &lines).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.assert_no_panic();
}

/// Runs a script to its end; what is secret goes in by standard input.
async fn run(args: &[&str], input: &str) -> Output {
    let mut client = tokio::process::Command::new(python())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    client.wait_with_output().await.unwrap()
}
