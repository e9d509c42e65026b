//! The same delivery, seen by AWS's own SDK in another fake that we did not write.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_testkit::{Options, Program, Storage, TestServer, eventually, python};
use serde_json::json;

/// The secret as boto3 reads it; empty when there is none.
async fn read(moto: &Program, name: &str) -> String {
    const PROGRAM: &str = "\
import sys, boto3
aws = boto3.client('secretsmanager', region_name='us-east-1', endpoint_url=sys.argv[1],
    aws_access_key_id='AKIAMOTO', aws_secret_access_key='moto')
try:
    held = aws.get_secret_value(SecretId=sys.argv[2])
    tags = aws.describe_secret(SecretId=sys.argv[2])['Tags']
    print(held['SecretString'], [(tag['Key'], tag['Value']) for tag in tags], end='')
except aws.exceptions.ResourceNotFoundException:
    pass
";
    let mut command = tokio::process::Command::new(python());
    let output = command.args(["-c", PROGRAM, &moto.url(), name]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_reads_from_moto_what_was_written_here() {
    let moto = Program::moto().await;
    let options =
        Options { storage: Storage::Memory, aws_endpoint: Some(moto.url()), ..Options::default() };
    let server = TestServer::start_with(options).await;
    let (api, sync) = (server.api(), server.sync());
    sync.activate().await;
    let fields = json!({
        "access_key_id": "AKIAMOTO",
        "secret_access_key": "moto",
        "region": "us-east-1",
        "custom_tags": { "team": "payments" },
        "allowed_ipv4_addresses": "127.0.0.0/8",
        "allowed_ports": [moto.port()],
    });
    sync.destination_with("moto", fields).await.done();
    let accessor = api.get("sys/mounts").await.ok().text("/data/secret~1/accessor");
    let name = format!("vault/{accessor}/app/db");

    api.write("app/db", json!({ "username": "app", "password": "päss\nword" })).await;
    sync.set("moto", "app/db").await.done();
    sync.until("moto", "app/db", "SYNCED").await;
    let held = read(&moto, &name).await;
    let value: serde_json::Value = serde_json::from_str(held.split(" [").next().unwrap()).unwrap();
    assert_eq!(value, json!({ "username": "app", "password": "päss\nword" }));
    assert!(held.contains("('hashicorp:vault', '')"), "{held}");
    assert!(held.contains("('team', 'payments')"), "{held}");

    api.write("app/db", json!({ "password": "second" })).await;
    eventually("the update", async || read(&moto, &name).await.contains("second")).await;
    api.delete("secret/metadata/app/db").await.done();
    eventually("the removal", async || read(&moto, &name).await.is_empty()).await;
    server.assert_no_panic();
}
