//! Written to bailee, delivered to AWS, handed to a process.

use crate::world::Agent;
use bailee_testkit::{Options, Program, Storage, TestServer, eventually};
use rustix::process::Signal;
use serde_json::json;
use std::time::Instant;

/// An application that writes down what it was given, whenever it is started.
const APPLICATION: &str = r#"
secret_manager "aws" {
  type              = "aws-sm"
  authentication    = "access-key"
  region            = "us-east-1"
  endpoint          = "AWS_ADDRESS"
  access_key_id     = "AKIAMOTO000000000000"
  secret_access_key = "moto"
  refresh           = "1s"
}
connection "orders" {
  properties = { host = "db.example" }
  secret "password" { id = "SECRET_NAME"  key = "password" }
}
exec {
  command = ["/bin/sh", "-c", "printf '%s' \"$DB_HOST $DB_PASSWORD\" > {folder}/given; exec sleep 3600"]
  environment = { DB_HOST = "connection.orders.host", DB_PASSWORD = "connection.orders.password" }
}
cache { path = "{folder}/cache"  key_file = "{folder}/key" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_bailee_reaches_the_process_through_aws() {
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
        "secret_name_template": "orders/{{ .SecretPath }}",
        "allowed_ipv4_addresses": "127.0.0.0/8",
        "allowed_ports": [moto.port()],
    });
    sync.destination_with("moto", fields).await.done();
    api.write("db", json!({ "password": "canary-first" })).await;
    sync.set("moto", "db").await.done();
    sync.until("moto", "db", "SYNCED").await;

    let text = APPLICATION.replace("AWS_ADDRESS", &moto.url()).replace("SECRET_NAME", "orders/db");
    let mut agent = Agent::new(&text);
    agent.private("key", &"k".repeat(32));
    agent.started().await;
    agent.until("given", "db.example canary-first").await;
    let written = Instant::now();
    api.write("db", json!({ "password": "canary-second" })).await;
    agent.until("given", "db.example canary-second").await;
    println!("from the write to the process: {:?}", written.elapsed());
    agent.assert_told_nothing(&["canary-first", "canary-second"]);

    // Neither is AWS needed to start again.
    eventually("the cache is written", async || agent.path("cache").exists()).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    agent.kill().await;
    drop(moto);
    std::fs::remove_file(agent.path("given")).unwrap();
    agent.started().await;
    agent.until("given", "db.example canary-second").await;
    agent.signal(Signal::TERM);
    assert_eq!(agent.code().await, Some(143), "as the process ended");
    agent.assert_told_nothing(&["canary-first", "canary-second"]);
    server.assert_no_panic();
}
