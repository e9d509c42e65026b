//! Names that secrets would get.

use super::world::World;
use bailee_sdk::{Code, Operation};
use serde_json::{Value, json};

const OF_D1: &str = "sync/destinations/in-mem/d1/preview";

fn names(preview: &Value) -> Vec<&str> {
    let lines = preview["names"].as_array().unwrap();
    lines.iter().map(|line| line["external_name"].as_str().unwrap_or("-")).collect()
}

#[tokio::test(start_paused = true)]
async fn names_are_shown_before_and_after_they_are_made_legal() {
    let world = World::new().await;
    let asked = json!({ "mount": "kv", "secret_name": "app/a b" });
    let shown = world.post(OF_D1, asked).await.unwrap();
    assert_eq!(shown["granularity_level"], "secret-path");
    let line = &shown["names"][0];
    assert_eq!(line["rendered"], "vault/kv_1234/app/a b");
    assert_eq!(line["external_name"], "vault/kv_1234/app/a-b");
    assert!(line["warnings"][0].as_str().unwrap().contains("became '-'"), "{line}");
    let asked = json!({ "granularity": "secret-key", "keys": "user,pass" });
    let shown = world.post(OF_D1, asked).await.unwrap();
    let expected = ["vault/kv_12345678/app/secret/user", "vault/kv_12345678/app/secret/pass"];
    assert_eq!(names(&shown), expected);
    let asked = json!({
        "type": "aws-sm", "secret_name_template": "{{ .SecretBaseName }}", "secret_name": "x-abc123",
    });
    let shown = world.post("sync/preview", asked).await.unwrap();
    assert_eq!(names(&shown), ["x-abc123"]);
    let warning = shown["names"][0]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("a hyphen and six characters"), "{warning}");
    assert_eq!(world.cloud.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn keys_are_those_of_the_secret_for_whoever_may_read_it() {
    let world = World::new().await;
    world
        .write("app/db", json!({ "user": "canary", "pa ss": "canary", "pa*ss": 1 }))
        .await
        .unwrap();
    let asked = json!({ "mount": "kv", "secret_name": "app/db", "granularity": "secret-key" });
    let shown = world.post(OF_D1, asked.clone()).await.unwrap();
    let prefix = "vault/kv_1234/app/db";
    let expected = ["pa-ss", "pa-ss", "user"].map(|key| format!("{prefix}/{key}"));
    assert_eq!(names(&shown), expected);
    let both = shown["names"][0]["warnings"].to_string();
    assert!(both.contains("another key of the secret gets the same name"), "{both}");
    assert!(!shown.to_string().contains("canary"));
    *world.readable.lock() = Some("kv/data/other".to_owned());
    let reply = world.reply(Operation::Update, OF_D1, asked).await.unwrap();
    assert!(reply.warnings.iter().any(|text| text.contains("you may not read kv/app/db")));
    let bailee_sdk::Body::Data(data) = reply.body else { panic!("no data") };
    assert!(!String::from_utf8_lossy(data.bytes()).contains("user"));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_held_is_told_and_its_holder_only_to_readers() {
    let world = World::new().await;
    world.write("app/a b", json!({ "v": 1 })).await.unwrap();
    world.set("app/a b").await.unwrap();
    let ask = |secret: &str| json!({ "mount": "kv", "secret_name": secret });
    let own = world.post(OF_D1, ask("app/a b")).await.unwrap();
    assert!(!own.to_string().contains("has the name already"), "{own}");
    let other = world.post(OF_D1, ask("app/a*b")).await.unwrap().to_string();
    assert!(other.contains("secret kv/app/a b has the name already"), "{other}");
    *world.readable.lock() = Some("kv/data/app/a*b".to_owned());
    let other = world.post(OF_D1, ask("app/a*b")).await.unwrap().to_string();
    assert!(other.contains("another secret has the name already"), "{other}");
    assert!(!other.contains("a b"), "{other}");
}

#[tokio::test(start_paused = true)]
async fn wrong_questions_are_refused_by_field() {
    let world = World::new().await;
    let long = "k".repeat(1025);
    let many: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
    for (input, reason) in [
        (json!({ "granularity": "key" }), "granularity is not valid"),
        (json!({ "secret_name_template": "{{ .Nope }}" }), "template is invalid"),
        (
            json!({ "secret_name_template": "x", "granularity": "secret-key" }),
            "reference to the secret key",
        ),
        (json!({ "mount": "nope" }), "no secrets engine"),
        (json!({ "secret_name": "a/" }), "full path"),
        (json!({ "secret_name": long }), "secret_name is longer"),
        (json!({ "granularity": "secret-key", "keys": [long] }), "keys: a name is longer"),
        (json!({ "granularity": "secret-key", "keys": many }), "keys has 1001 names"),
    ] {
        let error = world.post(OF_D1, input).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidRequest);
        assert!(error.to_string().contains(reason), "{error} does not say {reason}");
    }
    let absent = world.post("sync/destinations/in-mem/nope/preview", json!({})).await;
    assert_eq!(absent.unwrap_err().code, Code::NotFound);
    let unknown = world.post("sync/preview", json!({ "type": "nope" })).await;
    assert_eq!(unknown.unwrap_err().code, Code::NotFound);
    // A name too long for the destination is the answer, not a refusal.
    let asked = json!({ "secret_name": "s".repeat(600) });
    let shown = world.post(OF_D1, asked).await.unwrap();
    let error = shown["names"][0]["error"].as_str().unwrap();
    assert!(error.contains("the destination takes 512"), "{error}");
}
