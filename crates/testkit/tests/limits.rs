//! Too large, malformed, of the wrong type, out of place: refused with the API's own words, nothing
//! changed, nobody panics.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Api, Ask, Options, Storage, Sync, TestServer};
use serde_json::{Value, json};

async fn in_memory() -> TestServer {
    TestServer::start_with(Options { storage: Storage::Memory, ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_too_large_for_aws_is_stored_and_its_association_says_so() {
    let aws = FakeAws::start().await;
    let server = TestServer::delivering_to(&aws).await;
    let (api, sync) = (server.api(), server.sync());
    sync.destination(&aws, "fake").await;
    api.write("fits", json!({ "v": "x".repeat(65_536 - 8) })).await;
    sync.set("fake", "fits").await.done();
    sync.until("fake", "fits", "SYNCED").await;
    for bytes in [65_537 - 8, 100_000, 1_000_000] {
        let value = "x".repeat(bytes);
        api.write("big", json!({ "v": value })).await;
        let kept = api.get("secret/data/big").await.ok();
        assert_eq!(kept.at("/data/data/v").as_str().map(str::len), Some(bytes));
        sync.set("fake", "big").await.done();
        let status = sync.until("fake", "big", "CLIENT_SIDE_ERROR").await.to_string();
        assert!(status.contains("65,536") || status.contains("65536"), "{status}");
        assert!(aws.secret("vault/big").is_none());
    }
    // Small again, delivered again.
    api.write("big", json!({ "v": "small" })).await;
    sync.until("fake", "big", "SYNCED").await;
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_are_refused_and_change_nothing() {
    let server = in_memory().await;
    let api = server.api();
    api.write("app", json!({ "n": 1 })).await;
    let many = format!("[{}]", "[".repeat(5_000));
    for body in [
        "{",
        "{\"data\":{\"n\":2}",
        "[]",
        "\"text\"",
        "{\"data\":{\"n\":2}}{",
        "nul",
        "\u{0}",
        &many,
    ] {
        let ask = Ask::new("PUT", "secret/data/app").header("content-type", "application/json");
        let answer = api.send(ask.body(body.to_owned())).await;
        assert_eq!(answer.status, 400, "{body:.40}: {answer:?}");
        assert!(!answer.errors().is_empty(), "{body:.40}: {answer:?}");
    }
    let not_utf8 = Ask::new("PUT", "secret/data/app").body(vec![b'{', 0xff, 0xfe, b'}']);
    api.send(not_utf8).await.refused(400, "");
    let now = api.get("secret/data/app").await.ok();
    assert_eq!(now.at("/data/metadata/version"), 1);
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_types_are_refused_by_the_name_of_the_field() {
    let server = in_memory().await;
    let api = server.api();
    api.write("app", json!({ "n": 1 })).await;
    let cases: [(&str, Value, &str); 6] = [
        ("secret/data/app", json!({ "data": 5 }), "data"),
        (
            "secret/data/app",
            json!({ "data": { "n": 2 }, "options": { "cas": "x" } }),
            "check-and-set",
        ),
        ("secret/metadata/app", json!({ "max_versions": "many" }), "max_versions"),
        ("secret/metadata/app", json!({ "delete_version_after": "soon" }), "delete_version_after"),
        ("auth/token/create", json!({ "ttl": "eternal" }), "duration"),
        ("auth/token/create", json!({ "num_uses": {} }), "num_uses"),
    ];
    for (path, body, field) in cases {
        api.put(path, body).await.refused(400, field);
    }
    api.put("secret/data/app", json!({})).await.refused(400, "no data provided");
    let now = api.get("secret/data/app").await.ok();
    assert_eq!(now.at("/data/metadata/version"), 1);
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_32_mib_is_refused_with_413() {
    let server = in_memory().await;
    let api = server.api();
    let huge = format!("{{\"data\":{{\"v\":\"{}\"}}}}", "x".repeat(33 << 20));
    let answer = api.try_send(Ask::new("PUT", "secret/data/huge").body(huge)).await;
    // The server may answer before all is sent, and then the client may meet a closed connection.
    if let Ok(answer) = answer {
        answer.refused(413, "too large");
    }
    api.get("secret/data/huge").await.refused(404, "");
    api.get("sys/health").await.done();
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_cannot_climb() {
    let server = in_memory().await;
    let api = server.api();
    api.write("app", json!({ "n": 1 })).await;
    let paths = [
        "/v1/secret/data/../data/app",
        "/v1/secret/data/%2e%2e/data/app",
        "/v1/secret/data/a/../app",
        "/v1/../v1/secret/data/app",
        "/v1/secret/data/..",
        "/v1/secret/data/app\u{7f}",
    ];
    for path in paths {
        let answer = api.send_verbatim("PUT", path, r#"{"data":{"n":2}}"#).await;
        assert!((300..500).contains(&answer.status), "{path}: {answer:?}");
    }
    let now = api.get("secret/data/app").await.ok();
    assert_eq!(now.at("/data/metadata/version"), 1);
    api.put("secret/data/folder/", json!({ "data": { "n": 1 } })).await.refused(400, "/");
    server.assert_no_panic();
}

async fn with_sync() -> (FakeAws, TestServer) {
    let aws = FakeAws::start().await;
    let options = Options { storage: Storage::Memory, ..Options::delivering_to(&aws) };
    let server = TestServer::start_with(options).await;
    server.sync().activate().await;
    (aws, server)
}

async fn refused_destination(api: &Api, aws: &FakeAws, change: Value, part: &str) {
    let mut fields = Sync::fields(aws);
    for (name, value) in change.as_object().unwrap() {
        fields[name] = value.clone();
    }
    api.put("sys/sync/destinations/aws-sm/bad", fields).await.refused(400, part);
    api.get("sys/sync/destinations/aws-sm/bad").await.refused(404, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn illegal_templates_and_networks_make_no_destination() {
    let (aws, server) = with_sync().await;
    let api = server.api();
    for template in
        ["{{ .Nope }}", "{{ .SecretPath", "{{ SecretPath }}", "{{ .SecretPath | launch }}"]
    {
        refused_destination(api, &aws, json!({ "secret_name_template": template }), "template")
            .await;
    }
    refused_destination(api, &aws, json!({ "granularity": "secret-word" }), "granularity").await;
    refused_destination(api, &aws, json!({ "allowed_ipv4_addresses": ["10.0.0.0/40"] }), "CIDR")
        .await;
    refused_destination(api, &aws, json!({ "allowed_ports": [70_000] }), "port").await;
    refused_destination(api, &aws, json!({ "custom_tags": { "aws:x": "y" } }), "tag").await;
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_types_names_and_mounts_are_named() {
    let (aws, server) = with_sync().await;
    let (api, sync) = (server.api(), server.sync());
    let unknown = api.put("sys/sync/destinations/floppy/a", json!({})).await;
    assert!(matches!(unknown.status, 400 | 404), "{unknown:?}");
    api.list("sys/sync/destinations").await.refused(404, "");
    sync.set("absent", "app").await.refused(404, "");
    sync.destination(&aws, "fake").await;
    let path = "sys/sync/destinations/aws-sm/fake/associations/set";
    let nowhere = api.put(path, json!({ "mount": "nowhere", "secret_name": "app" })).await;
    assert!((400..500).contains(&nowhere.status), "{nowhere:?}");
    assert!(nowhere.errors().contains("nowhere"), "{nowhere:?}");
    // A secret that is not there yet may be associated: the answer says what that means.
    let absent = sync.set("fake", "app/absent").await.ok();
    assert!(absent.at("/warnings").to_string().contains("app/absent"), "{absent:?}");
    assert!(absent.body_text().contains("UNSYNCED"), "{absent:?}");
    api.put(path, json!({ "mount": "secret" })).await.refused(400, "secret_name");
    assert!(aws.secrets().is_empty());
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_of_a_body_are_a_warning() {
    let (aws, server) = with_sync().await;
    let mut fields = Sync::fields(&aws);
    fields["colour"] = json!("crimson");
    let made = server.sync().destination_with("fake", fields).await.ok();
    let warnings = made.at("/warnings").to_string();
    assert!(warnings.contains("colour") && warnings.contains("unrecognized"), "{made:?}");
    assert!(!made.body_text().contains("crimson"), "{made:?}");
}
