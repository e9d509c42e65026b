//! Secrets that were put in are searched for everywhere they must not come out.

use bailee_fake_clouds::{FakeAws, aws::Fault};
use bailee_testkit::{Api, Ask, Options, Sync, TestServer, Watch, files};
use rustix::process::Signal;
use serde_json::json;
use std::fs;

/// A secret's value, the beginning of its name, credentials: nowhere but where they belong.
const VALUE: &str = "canary-value-8c1f7e5a";
const NAME: &str = "canary-name-51d0b3c7";
const KEY_ID: &str = "AKIACANARY2E8B41D9F0";
const KEY: &str = "canary-credential-77aa02c9";
const FIELD: &str = "canary-field-19be44d2";

/// Requests that go wrong with the canary in them. Their answers must not repeat it.
async fn provoke(api: &Api, watch: &mut Watch) {
    let secret = format!("secret/data/{NAME}/app");
    let body = json!({ "data": { FIELD: VALUE }, "options": { "cas": 99 } });
    let words = [VALUE, KEY_ID, KEY];
    watch.answer(&api.put(&secret, body).await.refused(400, ""), &words);
    for body in [
        format!("{{\"data\":{{\"{FIELD}\":\"{VALUE}\""),
        format!("{{\"data\":\"{VALUE}\"}}"),
        format!("[\"{VALUE}\"]"),
        format!("{{\"data\":{{}},\"options\":\"{VALUE}\"}}"),
        format!("{{\"data\":{{}},\"options\":{{\"cas\":\"{VALUE}\"}}}}"),
        format!("{{\"unknown\":\"{VALUE}\",\"data\":{{\"a\":1}}}}"),
        VALUE.to_owned(),
    ] {
        let ask = Ask::new("PUT", &secret).header("content-type", "application/json");
        watch.answer(&api.send(ask.body(body)).await, &words);
    }
    let ask = Ask::new("PATCH", &secret).header("content-type", "text/plain");
    watch.answer(&api.send(ask.body(VALUE)).await, &words);
    watch.answer(&api.put(&format!("nowhere/{NAME}"), json!({ "v": VALUE })).await, &words);
    watch.answer(&api.put("sys/unseal", json!({ "key": VALUE })).await, &words);
    watch.answer(&api.put("auth/token/lookup", json!({ "token": VALUE })).await, &words);
    watch.answer(&api.put("sys/policies/acl/p", json!({ "policy": VALUE })).await, &words);
    watch.answer(&api.with_token(VALUE).get("secret/data/x").await, &words);
    watch.answer(&api.with_token(VALUE).get("auth/token/lookup-self").await, &words);
    let bad = json!({
        "access_key_id": KEY_ID, "secret_access_key": KEY, "region": "us-east-1",
        "secret_name_template": "{{ .Nope }}",
    });
    watch.answer(&api.put("sys/sync/destinations/aws-sm/bad", bad).await.refused(400, ""), &words);
    let half = json!({ "secret_access_key": KEY, "region": "us-east-1" });
    watch.answer(&api.put("sys/sync/destinations/aws-sm/half", half).await, &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_appears_nowhere_but_in_answers_that_are_asked_for_it() {
    let aws = FakeAws::start_with(bailee_fake_clouds::aws::Options {
        access_key: Some((KEY_ID.to_owned(), KEY.to_owned())),
        ..Default::default()
    })
    .await
    .unwrap();
    let options = Options {
        log_level: "trace",
        shell: Some("ulimit -c unlimited".to_owned()),
        ..Options::delivering_to(&aws)
    };
    let mut server = TestServer::start_with(options).await;
    server.sync().activate().await;
    let (api, sync) = (server.api().clone(), server.sync());
    let mut watch = Watch::default();

    // The way it is meant.
    let path = format!("{NAME}/app");
    api.write(&path, json!({ FIELD: VALUE })).await;
    api.write(&format!("{NAME}/other"), json!({ FIELD: VALUE })).await;
    assert!(api.get(&format!("secret/data/{path}")).await.ok().body_text().contains(VALUE));
    let secrets = [VALUE, KEY_ID, KEY, FIELD];
    let made = sync.destination_with("fake", Sync::fields(&aws)).await.ok();
    watch.answer(&made, &secrets);
    watch.answer(&sync.set("fake", &path).await.ok(), &secrets);
    sync.until("fake", &path, "SYNCED").await;
    assert!(aws.secret(&format!("vault/{path}")).unwrap().value.unwrap().contains(VALUE));

    // Every way it goes wrong, here and at AWS.
    provoke(&api, &mut watch).await;
    for fault in [
        Fault::lose_reply("secretsmanager:*").times(1),
        Fault::lose_request("secretsmanager:*").times(1),
        Fault::throttle("secretsmanager:*").times(1),
        Fault::error("secretsmanager:*", 500, "InternalServiceError", "oh").times(1),
        Fault::error("secretsmanager:*", 400, "InvalidParameterException", "no").times(1),
    ] {
        aws.inject(fault);
        api.write(&path, json!({ FIELD: VALUE, "more": VALUE })).await;
        watch.answer(&sync.set("fake", &path).await.ok(), &secrets);
    }
    aws.enforce_policies(true);
    aws.delete_access_key(KEY_ID);
    watch.answer(&sync.set("fake", &path).await.ok(), &secrets);

    // What may be read by those who watch and not by those who read secrets.
    for read in [
        "sys/health",
        "sys/seal-status",
        "sys/leader",
        "sys/metrics?format=prometheus",
        "sys/mounts",
        "sys/sync/destinations/aws-sm/fake",
        "sys/sync/destinations/aws-sm/fake/associations",
        "sys/sync/associations?list=true",
        "sys/sync/config",
        "sys/internal/ui/mounts",
        "auth/token/lookup-self",
    ] {
        let answer = api.get(read).await;
        assert!(answer.status < 500, "{answer:?}");
        watch.answer(&answer, &secrets);
        if read.starts_with("sys/metrics") {
            watch.answer(&answer, &[NAME]);
        }
    }
    let metadata = api.get(&format!("secret/metadata/{path}")).await.ok();
    watch.answer(&metadata, &secrets);

    // The process, as others on the machine see it.
    let root = api.token().to_owned();
    let shares = server.keys().to_vec();
    let mut private: Vec<&str> = vec![VALUE, NAME, KEY_ID, KEY, FIELD, &root];
    private.extend(shares.iter().map(String::as_str));
    for file in ["cmdline", "environ", "status", "comm"] {
        let bytes = fs::read(format!("/proc/{}/{file}", server.pid())).unwrap_or_default();
        watch.search(&format!("/proc/…/{file}"), &bytes, &private);
    }

    // What is at rest: names are hidden too. The write-ahead log is part of it.
    watch.storage(&server, &private);

    // It crashes, and leaves no core behind.
    server.signal(Signal::ABORT);
    server.ended().await;
    let core = files(server.folder()).into_iter().find(|file| {
        file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core"))
    });
    assert_eq!(core, None, "a core file was written");
    watch.storage(&server, &private);
    let log = server.log();
    assert!(log.contains("secret delivered"), "the log tells what was done:\n{log}");
    watch.search("the log", log.as_bytes(), &private);
    assert!(watch.found.is_empty(), "{}", watch.found.join("\n"));
}
