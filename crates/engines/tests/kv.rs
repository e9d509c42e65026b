//! The KV engine's behaviour, one sentence a test.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_engines::secret::kv;
use bailee_sdk::{
    Body, Code, EngineKind, Error, Operation, Reply,
    testing::{EngineHarness, data, setup},
};
use bailee_storage::{memory::Memory, testing::Faulty};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

async fn store() -> EngineHarness {
    EngineHarness::mount(&kv::kind(), &[("version", "2")]).await
}

trait Calls {
    async fn read(&self, path: &str, input: Value) -> Result<Reply, Error>;
    async fn update(&self, path: &str, input: Value) -> Result<Reply, Error>;
    async fn patch(&self, path: &str, input: Value) -> Result<Reply, Error>;
    async fn delete(&self, path: &str) -> Result<Reply, Error>;
    async fn list(&self, path: &str, input: Value) -> Result<Value, Error>;
    /// What a read gives that must succeed.
    async fn show(&self, path: &str) -> Value;
    /// A write that must succeed; gives the number of the version.
    async fn put(&self, secret: &str, value: Value) -> u64;
}

impl Calls for EngineHarness {
    async fn read(&self, path: &str, input: Value) -> Result<Reply, Error> {
        self.call(Operation::Read, path, input).await
    }
    async fn update(&self, path: &str, input: Value) -> Result<Reply, Error> {
        self.call(Operation::Update, path, input).await
    }
    async fn patch(&self, path: &str, input: Value) -> Result<Reply, Error> {
        self.call(Operation::Patch, path, input).await
    }
    async fn delete(&self, path: &str) -> Result<Reply, Error> {
        self.call(Operation::Delete, path, json!({})).await
    }
    async fn list(&self, path: &str, input: Value) -> Result<Value, Error> {
        let reply = self.call(Operation::List, path, input).await?;
        Ok(data(&reply)["keys"].clone())
    }
    async fn show(&self, path: &str) -> Value {
        let reply = self.read(path, json!({})).await.unwrap();
        assert!(!reply.missing, "{path} is there");
        data(&reply)
    }
    async fn put(&self, secret: &str, value: Value) -> u64 {
        let reply = self.update(&format!("data/{secret}"), json!({ "data": value })).await.unwrap();
        data(&reply)["version"].as_u64().unwrap()
    }
}

/// The code and the sentence of an expected failure.
fn failure(outcome: Result<Reply, Error>) -> (Code, String) {
    let error = outcome.expect_err("it must fail");
    (error.code, error.to_string())
}

fn invalid(text: &str) -> (Code, String) {
    (Code::InvalidRequest, text.to_owned())
}

/// Data of a reply that is answered as missing.
fn missing(outcome: Result<Reply, Error>) -> Value {
    let reply = outcome.unwrap();
    assert!(reply.missing, "{reply:?}");
    data(&reply)
}

#[test]
fn a_mount_is_of_version_1_or_2() {
    let make = |kind: EngineKind, version: Option<&str>| {
        let options: Vec<_> = version.map(|version| ("version", version)).into_iter().collect();
        (kind.make)(&setup(&options)).err().map(|error| error.to_string())
    };
    for version in [None, Some(""), Some("1"), Some("2")] {
        assert_eq!(make(kv::kind(), version), None);
    }
    assert!(make(kv::kind(), Some("3")).unwrap().contains("must be 1 or 2"));
    assert_eq!(make(kv::generic(), None), None);
    assert!(make(kv::generic(), Some("2")).unwrap().contains("always of version 1"));
}

#[tokio::test]
async fn a_written_secret_is_read_with_its_metadata() {
    let kv = store().await;
    let reply = kv.update("data/a", json!({"data": {"user": "bob", "n": [1, 2]}})).await.unwrap();
    let written = data(&reply);
    assert_eq!(
        written,
        json!({
            "created_time": written["created_time"],
            "custom_metadata": null,
            "deletion_time": "",
            "destroyed": false,
            "version": 1,
        })
    );
    assert!(written["created_time"].as_str().unwrap().starts_with("2023-11-14T22:13:2"));
    let read = kv.show("data/a").await;
    assert_eq!(read, json!({"data": {"user": "bob", "n": [1, 2]}, "metadata": written}));
}

#[tokio::test]
async fn numbers_come_back_letter_by_letter() {
    let kv = store().await;
    let text = r#"{"a":1.10,"b":1.5e+400,"c":12345678901234567890123,"d":-0}"#;
    let value: Value = serde_json::from_str(text).unwrap();
    kv.put("a", value).await;
    let reply = kv.read("data/a", json!({})).await.unwrap();
    let bailee_sdk::Body::Data(json) = &reply.body else { panic!("{reply:?}") };
    let read = std::str::from_utf8(json.bytes()).unwrap();
    assert!(read.starts_with(&format!("{{\"data\":{text},\"metadata\":{{")), "{read}");
    kv.patch("data/a", json!({"data": {"f": 1}})).await.unwrap();
    let patched = kv.show("data/a").await;
    assert_eq!(patched["data"].to_string(), text.replace('}', ",\"f\":1}"));
}

#[tokio::test]
async fn each_write_makes_a_version_and_old_ones_stay_readable() {
    let kv = store().await;
    assert_eq!(kv.put("a", json!({"v": 1})).await, 1);
    assert_eq!(kv.put("a", json!({"v": 2})).await, 2);
    for (version, value) in
        [(json!(1), 1), (json!("1"), 1), (json!(0), 2), (json!(-1), 2), (json!(2), 2)]
    {
        let reply = kv.read("data/a", json!({"version": version})).await.unwrap();
        assert_eq!(data(&reply)["data"], json!({"v": value}));
    }
    let unknown = kv.read("data/a", json!({"version": 99})).await;
    assert_eq!(failure(unknown), (Code::NotFound, String::new()));
    let bad = kv.read("data/a", json!({"version": "abc"})).await;
    assert_eq!(
        failure(bad),
        invalid(
            "Field validation failed: error converting input for field \"version\": '' cannot parse value as 'int': strconv.ParseInt: invalid syntax"
        )
    );
    assert_eq!(failure(kv.read("data/b", json!({})).await), (Code::NotFound, String::new()));
}

#[tokio::test]
async fn a_write_needs_data_that_is_an_object_or_null() {
    let kv = store().await;
    for input in [json!({}), json!({"user": "x"}), json!({"options": {}})] {
        assert_eq!(failure(kv.update("data/a", input).await), invalid("no data provided"));
    }
    for (value, place, kind) in [
        (json!("text"), "", "string"),
        (json!([1]), "[0]", "string"),
        (json!([{}, [true]]), "[1]", "slice"),
        (json!([{}]), "", "slice"),
        (json!(1), "", "string"),
        (json!(true), "", "bool"),
    ] {
        let outcome = kv.update("data/a", json!({"data": value})).await;
        assert_eq!(
            failure(outcome),
            invalid(&format!(
                "error converting input for field \"data\": '{place}' expected a map, got '{kind}'"
            ))
        );
    }
    assert_eq!(kv.put("nul", json!(null)).await, 1);
    assert_eq!(kv.show("data/nul").await["data"], json!(null));
    assert_eq!(kv.put("empty", json!({})).await, 1);
    assert_eq!(kv.show("data/empty").await["data"], json!({}));
    // What others fail on: a merge into null starts from nothing.
    kv.patch("data/nul", json!({"data": {"a": 1, "b": null}})).await.unwrap();
    assert_eq!(kv.show("data/nul").await["data"], json!({"a": 1}));
}

#[tokio::test]
async fn unknown_fields_are_warned_about() {
    let kv = store().await;
    let reply = kv.update("data/a", json!({"data": {}, "foo": 1})).await.unwrap();
    assert_eq!(reply.warnings, ["Endpoint ignored these unrecognized parameters: [foo]"]);
}

#[tokio::test]
async fn check_and_set_admits_only_the_newest_number() {
    let kv = store().await;
    let write =
        async |cas: Value| kv.update("data/a", json!({"data": {}, "options": {"cas": cas}})).await;
    let wrong = invalid("check-and-set parameter did not match the current version");
    assert_eq!(failure(write(json!(1)).await), wrong);
    write(json!(0)).await.unwrap();
    assert_eq!(failure(write(json!(0)).await), wrong);
    assert_eq!(failure(write(json!(null)).await), wrong);
    assert_eq!(failure(write(json!(-1)).await), wrong);
    write(json!("1")).await.unwrap();
    let unreadable = invalid("error parsing check-and-set parameter");
    assert_eq!(failure(write(json!("x")).await), unreadable);
    assert_eq!(failure(write(json!(2.0)).await), unreadable);
    let outcome = kv.update("data/a", json!({"data": {}, "options": "x"})).await;
    assert_eq!(
        failure(outcome),
        invalid("error converting input for field \"options\": '' expected a map, got 'string'")
    );
    assert_eq!(kv.show("metadata/a").await["current_version"], json!(2));
}

#[tokio::test]
async fn mount_or_secret_can_require_check_and_set() {
    let kv = store().await;
    let required = invalid("check-and-set parameter required for this call");
    kv.update("metadata/a", json!({"cas_required": "true"})).await.unwrap();
    assert_eq!(failure(kv.update("data/a", json!({"data": {}})).await), required);
    kv.update("data/a", json!({"data": {}, "options": {"cas": 0}})).await.unwrap();
    assert_eq!(failure(kv.patch("data/a", json!({"data": {}})).await), required);
    kv.put("b", json!({})).await;
    kv.update("config", json!({"cas_required": true})).await.unwrap();
    assert_eq!(failure(kv.update("data/b", json!({"data": {}})).await), required);
}

#[tokio::test]
async fn a_patch_merges_into_the_newest_version() {
    let kv = store().await;
    kv.put("p", json!({"o": {"x": 1, "y": {"z": 2}}, "l": [1, 2]})).await;
    let patch = json!({"data": {"o": {"y": {"z": null, "w": 3}}, "l": [9]}});
    assert_eq!(data(&kv.patch("data/p", patch).await.unwrap())["version"], json!(2));
    assert_eq!(kv.show("data/p").await["data"], json!({"l": [9], "o": {"x": 1, "y": {"w": 3}}}));
    let cas = |cas: u64| json!({"data": {"a": 1}, "options": {"cas": cas}});
    let wrong = invalid("check-and-set parameter did not match the current version");
    assert_eq!(failure(kv.patch("data/p", cas(1)).await), wrong);
    kv.patch("data/p", cas(2)).await.unwrap();
    let no_data = kv.patch("data/p", json!({"options": {"cas": 3}})).await;
    assert_eq!(failure(no_data), invalid("no data provided"));
    assert!(kv.patch("data/p", json!({"data": null})).await.is_err());
}

#[tokio::test]
async fn a_patch_of_what_is_absent_or_deleted_is_missing() {
    let kv = store().await;
    assert_eq!(missing(kv.patch("data/nope", json!({"data": {"a": 1}})).await), json!(null));
    kv.put("a", json!({})).await;
    kv.delete("data/a").await.unwrap();
    let shown = missing(kv.patch("data/a", json!({"data": {"a": 1}})).await);
    assert_eq!(shown["version"], json!(1));
    assert_ne!(shown["deletion_time"], json!(""));
    assert_eq!(kv.show("metadata/a").await["current_version"], json!(1));
}

#[tokio::test]
async fn a_deleted_version_is_missing_with_its_metadata_until_it_is_restored() {
    let kv = store().await;
    kv.put("a", json!({"v": 1})).await;
    kv.put("a", json!({"v": 2})).await;
    kv.delete("data/a").await.unwrap();
    let shown = missing(kv.read("data/a", json!({})).await);
    assert_eq!(shown["data"], json!(null));
    assert_ne!(shown["metadata"]["deletion_time"], json!(""));
    assert_eq!(shown["metadata"]["version"], json!(2));
    assert_eq!(
        data(&kv.read("data/a", json!({"version": 1})).await.unwrap())["data"],
        json!({"v": 1})
    );
    let shown = missing(kv.read("subkeys/a", json!({})).await);
    assert_eq!(shown["subkeys"], json!(null));
    kv.delete("data/a").await.unwrap();
    kv.update("undelete/a", json!({"versions": [2]})).await.unwrap();
    assert_eq!(kv.show("data/a").await["data"], json!({"v": 2}));
    assert_eq!(kv.show("data/a").await["metadata"]["deletion_time"], json!(""));
}

#[tokio::test]
async fn versions_are_named_by_numbers_texts_or_one_text_with_commas() {
    let kv = store().await;
    kv.put("a", json!({})).await;
    kv.put("a", json!({})).await;
    for versions in [json!([1, 2]), json!(["1", 2]), json!("1,2"), json!([2, 1, 99, -1])] {
        kv.update("delete/a", json!({"versions": versions})).await.unwrap();
        missing(kv.read("data/a", json!({"version": 1})).await);
        missing(kv.read("data/a", json!({})).await);
        kv.update("undelete/a", json!({"versions": versions})).await.unwrap();
        kv.show("data/a").await;
    }
    for (family, text) in [
        ("delete", "No version number provided"),
        ("undelete", "No version number provided"),
        ("destroy", "no version number provided"),
    ] {
        for input in [json!({}), json!({"versions": []}), json!({"versions": ""})] {
            assert_eq!(failure(kv.update(&format!("{family}/a"), input).await), invalid(text));
        }
        let bad = kv.update(&format!("{family}/a"), json!({"versions": "x"})).await;
        assert_eq!(
            failure(bad),
            invalid(
                "Field validation failed: error converting input for field \"versions\": decoding failed due to the following error(s):\n\n'[0]' cannot parse value as 'int': strconv.ParseInt: invalid syntax"
            )
        );
        kv.update(&format!("{family}/nope"), json!({"versions": [1]})).await.unwrap();
    }
    kv.delete("data/nope").await.unwrap();
    assert!(kv.read("metadata/nope", json!({})).await.is_err());
}

#[tokio::test]
async fn a_destroyed_version_never_comes_back_and_its_value_is_gone() {
    let kv = store().await;
    kv.put("a", json!({"v": 1})).await;
    kv.put("a", json!({"v": 2})).await;
    kv.update("destroy/a", json!({"versions": [2]})).await.unwrap();
    let shown = missing(kv.read("data/a", json!({})).await);
    assert_eq!(shown["metadata"]["destroyed"], json!(true));
    assert_eq!(shown["metadata"]["deletion_time"], json!(""));
    kv.update("undelete/a", json!({"versions": [2]})).await.unwrap();
    missing(kv.read("data/a", json!({})).await);
    let id = kv.view().names("secret").id("a");
    assert_eq!(kv.view().list(&format!("version/{id}/"), "", 9).await.unwrap(), ["1"]);
    let write = json!({"data": {"v": 3}, "options": {"cas": 2}});
    assert_eq!(data(&kv.update("data/a", write).await.unwrap())["version"], json!(3));
}

#[tokio::test]
async fn metadata_tells_settings_and_versions() {
    let kv = store().await;
    for n in 1..=3 {
        kv.put("a", json!({"n": n})).await;
    }
    kv.update("delete/a", json!({"versions": [1]})).await.unwrap();
    kv.update("destroy/a", json!({"versions": [2]})).await.unwrap();
    let shown = kv.show("metadata/a").await;
    let time = |value: &Value| value.as_str().unwrap().starts_with("2023-11-14T");
    assert!(time(&shown["created_time"]) && time(&shown["updated_time"]));
    assert_eq!(shown["current_version"], json!(3));
    assert_eq!(shown["oldest_version"], json!(0));
    assert_eq!(shown["cas_required"], json!(false));
    assert_eq!(shown["max_versions"], json!(0));
    assert_eq!(shown["delete_version_after"], json!("0s"));
    assert_eq!(shown["custom_metadata"], json!(null));
    let versions = &shown["versions"];
    assert!(time(&versions["1"]["deletion_time"]));
    assert_eq!(versions["2"]["destroyed"], json!(true));
    assert_eq!(versions["3"]["deletion_time"], json!(""));
    assert_eq!(versions.as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn the_oldest_versions_are_pruned_beyond_the_maximum() {
    let kv = store().await;
    for n in 1..=12 {
        kv.put("a", json!({"n": n})).await;
    }
    assert_eq!(kv.show("metadata/a").await["oldest_version"], json!(3));
    assert!(kv.read("data/a", json!({"version": 2})).await.is_err());
    kv.update("config", json!({"max_versions": "2"})).await.unwrap();
    // A lower maximum holds from the next write on.
    assert_eq!(kv.show("metadata/a").await["oldest_version"], json!(3));
    kv.put("a", json!({"n": 13})).await;
    assert_eq!(kv.show("metadata/a").await["oldest_version"], json!(12));
    let id = kv.view().names("secret").id("a");
    assert_eq!(kv.view().list(&format!("version/{id}/"), "", 99).await.unwrap(), ["12", "13"]);
    kv.update("metadata/a", json!({"max_versions": 3})).await.unwrap();
    kv.put("a", json!({"n": 14})).await;
    kv.put("a", json!({"n": 15})).await;
    assert_eq!(kv.show("metadata/a").await["oldest_version"], json!(13));
}

#[tokio::test]
async fn the_number_of_versions_has_bounds() {
    let kv = store().await;
    for max in [json!(kv::VERSIONS_MAX + 1)] {
        for path in ["config", "metadata/a"] {
            let (code, text) = failure(kv.update(path, json!({"max_versions": max})).await);
            assert_eq!(code, Code::InvalidRequest);
            assert!(text.contains("\"max_versions\" must be at most 4096"), "{text}");
        }
    }
    assert!(kv.read("metadata/a", json!({})).await.is_err());
    // Below zero is how some write "all of them".
    for path in ["config", "metadata/b"] {
        kv.update(path, json!({"max_versions": -1})).await.unwrap();
        assert_eq!(kv.show(path).await["max_versions"], json!(kv::VERSIONS_MAX));
    }
}

#[tokio::test]
async fn config_keeps_what_a_write_leaves_out() {
    let kv = store().await;
    let fresh = json!({"cas_required": false, "delete_version_after": "0s", "max_versions": 0});
    assert_eq!(kv.show("config").await, fresh);
    kv.update(
        "config",
        json!({"max_versions": 2, "cas_required": true, "delete_version_after": "1h"}),
    )
    .await
    .unwrap();
    kv.update("config", json!({"cas_required": false})).await.unwrap();
    kv.update("config", json!({})).await.unwrap();
    let changed =
        json!({"cas_required": false, "delete_version_after": "1h0m0s", "max_versions": 2});
    assert_eq!(kv.show("config").await, changed);
    assert_eq!(kv.restarted().await.show("config").await, changed);
    kv.update("config", json!({"delete_version_after": "-1s"})).await.unwrap();
    assert_eq!(kv.show("config").await["delete_version_after"], json!("-1s"));
    for duration in ["abc", "-", "--1s", "1x"] {
        let outcome = kv.update("config", json!({"delete_version_after": duration})).await;
        let (_, text) = failure(outcome);
        assert!(text.contains("\"delete_version_after\": expected a duration"), "{text}");
    }
    let (code, _) = failure(kv.delete("config").await);
    assert_eq!(code, Code::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn a_version_lives_until_its_deletion_time() {
    let kv = store().await;
    kv.update("config", json!({"delete_version_after": "30s"})).await.unwrap();
    kv.put("a", json!({"v": 1})).await;
    let read = kv.show("data/a").await;
    assert_eq!(read["metadata"]["created_time"], json!("2023-11-14T22:13:20.000Z"));
    assert_eq!(read["metadata"]["deletion_time"], json!("2023-11-14T22:13:50.000Z"));
    tokio::time::advance(Duration::from_secs(29)).await;
    kv.show("data/a").await;
    tokio::time::advance(Duration::from_secs(1)).await;
    missing(kv.read("data/a", json!({})).await);
    missing(kv.patch("data/a", json!({"data": {}})).await);
    kv.update("undelete/a", json!({"versions": [1]})).await.unwrap();
    tokio::time::advance(Duration::from_secs(3600)).await;
    kv.show("data/a").await;
}

#[tokio::test(start_paused = true)]
async fn the_shorter_life_counts_and_a_negative_one_turns_both_off() {
    let kv = store().await;
    for (mount, key, lives) in [
        ("30s", "0s", Some("2023-11-14T22:13:50.000Z")),
        ("0s", "20s", Some("2023-11-14T22:13:40.000Z")),
        ("30s", "20s", Some("2023-11-14T22:13:40.000Z")),
        ("30s", "40s", Some("2023-11-14T22:13:50.000Z")),
        ("-1s", "20s", None),
        ("30s", "-1s", None),
        ("0s", "0s", None),
    ] {
        kv.update("config", json!({"delete_version_after": mount})).await.unwrap();
        kv.update("metadata/a", json!({"delete_version_after": key})).await.unwrap();
        kv.put("a", json!({})).await;
        let shown = kv.show("data/a").await;
        assert_eq!(shown["metadata"]["deletion_time"], json!(lives.unwrap_or_default()));
    }
}

#[tokio::test]
async fn deleting_a_version_that_was_to_die_later_deletes_it_now() {
    let kv = store().await;
    kv.update("config", json!({"delete_version_after": "59s"})).await.unwrap();
    kv.put("a", json!({})).await;
    kv.put("a", json!({})).await;
    kv.delete("data/a").await.unwrap();
    missing(kv.read("data/a", json!({})).await);
    kv.update("delete/a", json!({"versions": [1]})).await.unwrap();
    missing(kv.read("data/a", json!({"version": 1})).await);
}

#[tokio::test]
async fn custom_metadata_is_replaced_by_a_write_and_merged_by_a_patch() {
    let kv = store().await;
    kv.update("metadata/a", json!({"custom_metadata": {"owner": "ops", "n": 1}})).await.unwrap();
    kv.put("a", json!({})).await;
    let shown = |value: Value| value["custom_metadata"].clone();
    assert_eq!(shown(kv.show("metadata/a").await), json!({"owner": "ops", "n": "1"}));
    assert_eq!(
        shown(kv.show("data/a").await["metadata"].clone()),
        json!({"owner": "ops", "n": "1"})
    );
    kv.patch("metadata/a", json!({"custom_metadata": {"n": null, "tier": "1"}})).await.unwrap();
    assert_eq!(shown(kv.show("metadata/a").await), json!({"owner": "ops", "tier": "1"}));
    kv.update("metadata/a", json!({"custom_metadata": {"x": "y"}})).await.unwrap();
    assert_eq!(shown(kv.show("metadata/a").await), json!({"x": "y"}));
    kv.patch("metadata/a", json!({"custom_metadata": null, "max_versions": 4})).await.unwrap();
    assert_eq!(shown(kv.show("metadata/a").await), json!(null));
    kv.patch("metadata/a", json!({"max_versions": null})).await.unwrap();
    assert_eq!(kv.show("metadata/a").await["max_versions"], json!(0));
}

#[tokio::test]
async fn custom_metadata_is_small_and_printable() {
    let kv = store().await;
    let many: serde_json::Map<_, _> = (0..65).map(|n| (n.to_string(), json!("x"))).collect();
    for custom in [
        json!("text"),
        json!([1]),
        json!({"a": {}}),
        json!({"a": true}),
        json!({"": "x"}),
        json!({"a": "line\nline"}),
        json!({"a\u{7}": "x"}),
        json!({"k".repeat(129): "x"}),
        json!({"a": "v".repeat(513)}),
        Value::Object(many.clone()),
    ] {
        let (code, text) =
            failure(kv.update("metadata/a", json!({"custom_metadata": custom})).await);
        assert_eq!(code, Code::InvalidRequest);
        assert!(text.starts_with("custom_metadata validation failed: "), "{text}");
        assert!(text.len() < 200, "{text}");
    }
    let (most, _) = many
        .iter()
        .take(64)
        .map(|(k, v)| (k.clone(), v.clone()))
        .partition::<serde_json::Map<_, _>, _>(|_| true);
    kv.update("metadata/a", json!({"custom_metadata": most})).await.unwrap();
    assert!(kv.patch("metadata/a", json!({"custom_metadata": {"one more": "x"}})).await.is_err());
    let fits = json!({"k".repeat(128): "v".repeat(512)});
    kv.update("metadata/b", json!({"custom_metadata": fits})).await.unwrap();
}

#[tokio::test]
async fn metadata_is_made_by_a_write_with_settings_only() {
    let kv = store().await;
    kv.update("metadata/a", json!({})).await.unwrap();
    assert_eq!(failure(kv.read("metadata/a", json!({})).await).0, Code::NotFound);
    assert_eq!(missing(kv.patch("metadata/a", json!({"max_versions": 1})).await), json!(null));
    kv.update("metadata/a", json!({"max_versions": 3})).await.unwrap();
    let shown = kv.show("metadata/a").await;
    assert_eq!((&shown["max_versions"], &shown["versions"]), (&json!(3), &json!({})));
    assert_eq!(failure(kv.read("data/a", json!({})).await).0, Code::NotFound);
    assert_eq!(kv.put("a", json!({})).await, 1);
}

#[tokio::test]
async fn removing_metadata_leaves_nothing_of_the_secret() {
    let kv = store().await;
    kv.put("f/a", json!({"v": 1})).await;
    kv.put("f/a", json!({"v": 2})).await;
    kv.update("destroy/f/a", json!({"versions": [1]})).await.unwrap();
    kv.delete("metadata/f/a").await.unwrap();
    assert_eq!(failure(kv.read("data/f/a", json!({})).await).0, Code::NotFound);
    assert_eq!(kv.list("metadata/", json!({})).await.unwrap_err().code, Code::NotFound);
    assert_eq!(kv.view().list("version/", "", 9).await.unwrap(), Vec::<String>::new());
    assert_eq!(kv.view().list("secret/", "", 9).await.unwrap(), Vec::<String>::new());
    kv.delete("metadata/f/a").await.unwrap();
    assert_eq!(kv.put("f/a", json!({})).await, 1);
}

#[tokio::test]
async fn names_are_listed_by_folder_and_in_pages() {
    let kv = store().await;
    for path in ["a", "b", "d/e", "d/f/g", "日本/x y"] {
        kv.put(path, json!({})).await;
    }
    assert_eq!(kv.list("metadata/", json!({})).await.unwrap(), json!(["a", "b", "d/", "日本/"]));
    for folder in ["metadata/d/", "metadata/d"] {
        assert_eq!(kv.list(folder, json!({})).await.unwrap(), json!(["e", "f/"]));
    }
    assert_eq!(kv.list("metadata", json!({"limit": "2"})).await.unwrap(), json!(["a", "b"]));
    let page = kv.list("metadata/", json!({"after": "b", "limit": 1})).await.unwrap();
    assert_eq!(page, json!(["d/"]));
    assert_eq!(kv.list("metadata/a/", json!({})).await.unwrap_err().code, Code::NotFound);
    assert_eq!(kv.show("data/日本/x y").await["data"], json!({}));
    kv.delete("data/a").await.unwrap();
    let alive = kv.list("metadata/", json!({"exclude_deleted": true, "limit": 2})).await.unwrap();
    assert_eq!(alive, json!(["b", "d/"]));
}

#[tokio::test]
async fn subkeys_show_names_without_values() {
    let kv = store().await;
    kv.put("p", json!({"l": [1], "o": {"x": 1, "y": {"z": "canary"}}})).await;
    kv.put("p", json!({"new": 1})).await;
    for (input, expected) in [
        (json!({}), json!({"new": null})),
        (json!({"version": 1}), json!({"l": null, "o": {"x": null, "y": {"z": null}}})),
        (json!({"version": 1, "depth": 1}), json!({"l": null, "o": null})),
        (json!({"version": 1, "depth": "2"}), json!({"l": null, "o": {"x": null, "y": null}})),
    ] {
        let shown = data(&kv.read("subkeys/p", input).await.unwrap());
        assert_eq!(shown["subkeys"], expected);
        assert!(shown["metadata"]["version"].is_u64());
    }
    assert!(kv.read("subkeys/p", json!({"depth": "x"})).await.is_err());
    assert_eq!(failure(kv.read("subkeys/nope", json!({})).await).0, Code::NotFound);
    assert_eq!(failure(kv.update("subkeys/p", json!({"a": 1})).await).0, Code::Unsupported);
}

#[tokio::test]
async fn paths_of_an_unversioned_store_are_explained() {
    let kv = store().await;
    for (operation, path, command) in [
        (Operation::Read, "a", "get"),
        (Operation::Read, "", "get"),
        (Operation::Read, "data/a/", "get"),
        (Operation::Update, "a", "put"),
        (Operation::Delete, "a", "delete"),
        (Operation::Patch, "a", "patch"),
        (Operation::List, "data/", "list"),
        (Operation::List, "data/a/", "list"),
        (Operation::List, "", "list"),
    ] {
        let reply = kv.call(operation, path, json!({"some": "field"})).await.unwrap();
        assert!(reply.missing);
        let [warning] = reply.warnings.as_slice() else { panic!("{reply:?}") };
        assert!(warning.starts_with("Invalid path for a versioned K/V secrets engine"));
        assert!(warning.contains(&format!("kv {command}")));
    }
    let reply = kv.read("data", json!({})).await.unwrap();
    assert!(reply.missing && reply.warnings.iter().any(|text| text.contains("on the root")));
    for path in ["delete/a", "undelete/a", "destroy/a"] {
        assert_eq!(failure(kv.read(path, json!({})).await).0, Code::Unsupported);
    }
}

#[tokio::test]
async fn a_write_creates_only_where_the_secret_has_no_entry() {
    let kv = store().await;
    for path in ["data/a", "metadata/a"] {
        assert!(!kv.exists(path, json!({"data": {}})).await.unwrap().unwrap());
    }
    kv.put("a", json!({})).await;
    kv.delete("data/a").await.unwrap();
    for path in ["data/a", "metadata/a"] {
        assert!(kv.exists(path, json!({})).await.unwrap().unwrap());
    }
    assert!(!kv.exists("metadata/", json!({})).await.unwrap().unwrap());
    assert!(kv.exists("delete/a", json!({})).await.is_none());
}

#[tokio::test]
async fn a_secret_of_one_mebibyte_fits_and_a_larger_one_is_refused_whole() {
    let kv = store().await;
    let sized = |bytes: usize| json!({"k": "x".repeat(bytes - r#"{"k":""}"#.len())});
    assert_eq!(kv.put("big", sized(kv::SECRET_BYTES_MAX)).await, 1);
    let outcome = kv.update("data/big", json!({"data": sized(kv::SECRET_BYTES_MAX + 1)})).await;
    let (code, text) = failure(outcome);
    assert_eq!(code, Code::TooLarge);
    assert!(text.contains("limit of 1 MiB"), "{text}");
    let outcome = kv.patch("data/big", json!({"data": {"more": 1}})).await;
    assert_eq!(failure(outcome).0, Code::TooLarge);
    assert_eq!(kv.show("metadata/big").await["current_version"], json!(1));
}

#[tokio::test]
async fn a_full_list_of_versions_still_fits_into_storage() {
    let kv = store().await;
    let custom: serde_json::Map<_, _> =
        (0..64).map(|n| (format!("{n:\"<128}"), json!("\"".repeat(512)))).collect();
    kv.update("metadata/a", json!({"custom_metadata": custom})).await.unwrap();
    // The same bytes as 4096 writes and deletes would leave.
    let names = kv.view().names("secret");
    let mut entry: Value = names.get("a").await.unwrap().unwrap();
    let version = json!({"created": 9_999_999_999_999_u64, "deleted": 9_999_999_999_999_u64, "destroyed": true});
    let versions = (10_000_000..).take(4096).map(|n: u64| (n.to_string(), version.clone()));
    entry["versions"] = Value::Object(versions.collect());
    entry["current"] = json!(10_004_095);
    entry["max_versions"] = json!(4096);
    let view = kv.view();
    view.names("secret").put("a", &entry).await.unwrap();
    view.commit().await.unwrap();
    assert_eq!(kv.put("a", json!({})).await, 10_004_096);
    assert_eq!(kv.show("metadata/a").await["oldest_version"], json!(10_000_001));
}

#[tokio::test]
async fn paths_that_no_secret_can_have_are_refused() {
    let kv = store().await;
    let deep = format!("data/{}", ["a"; 257].join("/"));
    let (code, text) = failure(kv.update(&deep, json!({"data": {}})).await);
    assert_eq!(code, Code::InvalidRequest);
    assert!(text.contains("256 segments"), "{text}");
    assert_eq!(
        failure(kv.update("metadata/", json!({"max_versions": 1})).await).0,
        Code::InvalidRequest
    );
    assert_eq!(failure(kv.read("metadata/", json!({})).await).0, Code::NotFound);
}

#[tokio::test]
async fn every_change_of_what_the_newest_version_is_leaves_a_note() {
    let kv = store().await;
    let noted = async |paths: &[&str]| {
        let changed: Vec<String> = kv.changed().await.into_iter().collect();
        assert_eq!(changed, paths);
        kv.take_up_changes().await;
    };
    kv.put("a/b", json!({})).await;
    kv.put("c", json!({})).await;
    noted(&["a/b", "c"]).await;
    kv.patch("data/c", json!({"data": {"x": 1}})).await.unwrap();
    noted(&["c"]).await;
    kv.delete("data/c").await.unwrap();
    noted(&["c"]).await;
    kv.update("undelete/c", json!({"versions": [2]})).await.unwrap();
    noted(&["c"]).await;
    kv.update("delete/c", json!({"versions": [2]})).await.unwrap();
    noted(&["c"]).await;
    kv.update("destroy/c", json!({"versions": [1]})).await.unwrap();
    noted(&["c"]).await;
    kv.delete("metadata/c").await.unwrap();
    noted(&["c"]).await;
}

#[tokio::test]
async fn what_changes_no_value_leaves_no_note() {
    let kv = store().await;
    kv.put("a", json!({})).await;
    kv.delete("data/a").await.unwrap();
    kv.take_up_changes().await;
    kv.delete("data/a").await.unwrap();
    kv.delete("data/nope").await.unwrap();
    kv.delete("metadata/nope").await.unwrap();
    kv.update("undelete/a", json!({"versions": [9]})).await.unwrap();
    kv.update("metadata/a", json!({"max_versions": 3})).await.unwrap();
    kv.update("config", json!({"max_versions": 3})).await.unwrap();
    kv.read("data/a", json!({})).await.unwrap();
    let refused = kv.update("data/a", json!({"data": {}, "options": {"cas": 9}})).await;
    assert!(refused.is_err());
    assert!(kv.changed().await.is_empty());
}

#[tokio::test]
async fn a_read_costs_two_reads_of_storage_and_no_commit() {
    let faulty = Arc::new(Faulty::new(Arc::new(Memory::default())));
    let kv = EngineHarness::mount_on(faulty.clone(), &kv::kind(), &[("version", "2")]).await;
    kv.put("a/b/c", json!({})).await;
    let before = faulty.calls();
    kv.show("data/a/b/c").await;
    let after = faulty.calls();
    assert_eq!((after.reads - before.reads, after.commits - before.commits), (2, 0));
}

#[tokio::test]
async fn names_and_values_are_not_readable_in_storage() {
    use futures_util::TryStreamExt;
    let kv = store().await;
    kv.update("metadata/folder-7c1f/name-7c1f", json!({"custom_metadata": {"meta-7c1f": "x"}}))
        .await
        .unwrap();
    kv.put("folder-7c1f/name-7c1f", json!({"key-7c1f": "canary-7c1f"})).await;
    let entries: Vec<_> = kv.backend().scan("", "").try_collect().await.unwrap();
    assert!(entries.len() > 4);
    for (key, entry) in entries {
        assert!(!key.contains("7c1f"), "{key}");
        assert!(!entry.bytes.windows(4).any(|bytes| bytes == b"7c1f"), "{key}");
    }
}

#[tokio::test]
async fn an_error_never_repeats_a_secret() {
    let kv = store().await;
    for input in [
        json!({"data": "canary-7c1f"}),
        json!({"data": ["canary-7c1f"]}),
        json!({"data": {"k": "canary-7c1f"}, "options": "canary-7c1f"}),
        json!({"data": {"k": "canary-7c1f"}, "options": {"cas": "canary-7c1f"}}),
        json!({"data": {"k": "canary-7c1f"}, "options": {"cas": 7}}),
        json!({"data": {"k": format!("canary-7c1f{}", "x".repeat(kv::SECRET_BYTES_MAX))}}),
    ] {
        let error = kv.update("data/a", input).await.err().unwrap();
        assert!(!format!("{error} {error:?}").contains("7c1f"), "{error:?}");
    }
}

#[tokio::test]
async fn a_secret_as_deep_as_a_body_may_be_is_patched_and_its_names_are_shown() {
    let kv = store().await;
    let deep = (0..290).fold(json!("x"), |inner, _| json!({ "a": inner }));
    kv.put("deep", deep).await;
    kv.patch("data/deep", json!({"data": {"b": 1}})).await.unwrap();
    for (path, shown) in [("data/deep", r#""b":1"#), ("subkeys/deep", r#""b":null"#)] {
        let reply = kv.read(path, json!({})).await.unwrap();
        let Body::Data(bytes) = reply.body else { panic!("{path}") };
        assert!(String::from_utf8_lossy(bytes.bytes()).contains(shown), "{path}");
    }
}

#[tokio::test]
async fn all_below_a_folder_is_scanned_in_pages() {
    let kv = store().await;
    for secret in ["a", "dir/b", "dir/sub/c", "dir-x", "gone"] {
        kv.put(secret, json!({"v": 1})).await;
    }
    kv.delete("data/gone").await.unwrap();
    let scan = async |path: &str, input: Value| {
        data(&kv.call(Operation::Scan, path, input).await.unwrap())["keys"].clone()
    };
    let all = json!(["a", "dir-x", "dir/b", "dir/sub/c", "gone"]);
    assert_eq!(scan("metadata/", json!({})).await, all);
    assert_eq!(scan("metadata/dir", json!({})).await, json!(["b", "sub/c"]));
    let page = json!({"after": "dir/b", "limit": 1});
    assert_eq!(scan("metadata/", page).await, json!(["dir/sub/c"]));
    let alive = json!({"exclude_deleted": true, "after": "dir/sub"});
    assert_eq!(scan("metadata/", alive).await, json!(["dir/sub/c"]));
    let outcome = kv.call(Operation::Scan, "metadata/none/", json!({})).await;
    assert_eq!(failure(outcome).0, Code::NotFound);
}

#[tokio::test]
async fn a_list_tells_on_demand_what_is_known_of_each_secret() {
    let kv = store().await;
    kv.put("a", json!({"v": 1})).await;
    kv.put("dir/b", json!({"v": 1})).await;
    kv.update("metadata/a", json!({"custom_metadata": {"owner": "ops"}})).await.unwrap();
    let list = data(&kv.call(Operation::List, "detailed-metadata/", json!({})).await.unwrap());
    assert_eq!(list["keys"], json!(["a", "dir/"]));
    assert_eq!(list["key_info"], json!({ "a": kv.show("metadata/a").await }));
    assert_eq!(list["key_info"]["a"]["custom_metadata"], json!({"owner": "ops"}));
    let scan = data(&kv.call(Operation::Scan, "detailed-metadata/", json!({})).await.unwrap());
    assert_eq!(scan["keys"], json!(["a", "dir/b"]));
    assert_eq!(scan["key_info"]["dir/b"], kv.show("metadata/dir/b").await);
    let outcome = kv.call(Operation::List, "detailed-metadata/none", json!({})).await;
    assert_eq!(failure(outcome).0, Code::NotFound);
}

#[tokio::test]
async fn metadata_tell_who_did_what() {
    let kv = store().await;
    kv.put("a", json!({"v": 1})).await;
    kv.put("a", json!({"v": 2})).await;
    kv.patch("data/a", json!({"data": {"w": 1}})).await.unwrap();
    kv.update("delete/a", json!({"versions": [1, 2]})).await.unwrap();
    kv.update("undelete/a", json!({"versions": [2]})).await.unwrap();
    let shown = kv.show("metadata/a").await;
    let versions = &shown["versions"];
    let operation = |by: &Value| {
        assert!(by.is_null() || by["actor"] == "test" && by["client_id"].is_string(), "{by}");
        by["operation"].as_str().map(str::to_owned)
    };
    for (number, created, deleted) in
        [("1", "create", Some("delete")), ("2", "update", None), ("3", "patch", None)]
    {
        assert_eq!(operation(&versions[number]["created_by"]).as_deref(), Some(created));
        assert_eq!(operation(&versions[number]["deleted_by"]).as_deref(), deleted);
    }
    assert_eq!(operation(&shown["last_updated_by"]).as_deref(), Some("undelete"));
    assert!(!shown.to_string().contains("test-accessor"), "{shown}");
}
