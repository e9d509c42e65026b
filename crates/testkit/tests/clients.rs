//! Clients that were made for other servers, unchanged.

use bailee_testkit::{Options, Storage, TestServer, python};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread")]
async fn hvac_reads_writes_and_manages_tokens_as_it_does_elsewhere() {
    let options = Options { storage: Storage::Memory, ..Options::default() };
    let server = TestServer::start_with(options).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/hvac_core.py");
    let mut client = tokio::process::Command::new(python())
        .args([script, server.api().base()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let token = format!("{}\n", server.api().token());
    client.stdin.take().unwrap().write_all(token.as_bytes()).await.unwrap();
    let output = client.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.assert_no_panic();
}
