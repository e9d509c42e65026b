//! Lists of associations: totals, pages, and what rests.

use super::world::World;
use bailee_sdk::{Code, Operation};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OF_D1: &str = "sync/destinations/in-mem/d1/associations";

#[tokio::test(start_paused = true)]
async fn pages_hold_each_association_once() {
    let world = World::new().await;
    let all: BTreeSet<String> = (0..7).map(|n| format!("app/{n}")).collect();
    for secret in &all {
        world.write(secret, json!({ "v": 1 })).await.unwrap();
        world.set(secret).await.unwrap();
    }
    let whole = world.get(OF_D1).await.unwrap();
    assert_eq!(whole["total_associations"], 7);
    let (mut found, mut after, mut pages) = (BTreeSet::new(), Value::Null, 0);
    loop {
        let mut asked = json!({ "limit": "3" });
        if !after.is_null() {
            asked["after"] = after;
        }
        let page = world.call(Operation::Read, OF_D1, asked).await.unwrap();
        pages += 1;
        for entry in page["associated_secrets"].as_object().unwrap().values() {
            assert_eq!(entry["sync_status"], "SYNCED");
            assert!(found.insert(entry["secret_name"].as_str().unwrap().to_owned()));
        }
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!((found, pages), (all, 3));
    for (input, reason) in [
        (json!({ "limit": 0 }), "limit is not valid"),
        (json!({ "limit": 1001 }), "limit is not valid"),
        (json!({ "limit": "many" }), "\"limit\""),
        (json!({ "after": "x/y" }), "after is not valid"),
        (json!({ "after": "x".repeat(200) }), "after is not valid"),
    ] {
        let error = world.call(Operation::Read, OF_D1, input).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidRequest);
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_configuration_is_checked_patched_and_reset() {
    let world = World::new().await;
    let path = "sync/config";
    let fresh = json!({ "disabled": false, "queue_capacity": 1_000_000, "held": false });
    assert_eq!(world.get(path).await.unwrap(), fresh);
    for (input, reason) in [
        (json!({ "queue_capacity": 0 }), "queue_capacity is not valid"),
        (json!({ "queue_capacity": 10_000_000_000_i64 }), "queue_capacity is not valid"),
        (json!({ "queue_capacity": "many" }), "\"queue_capacity\""),
        (json!({ "disabled": "maybe" }), "\"disabled\""),
    ] {
        let error = world.call(Operation::Patch, path, input).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(world.get(path).await.unwrap(), fresh);
    }
    let change = json!({ "disabled": "true", "queue_capacity": "5" });
    let shown = world.call(Operation::Patch, path, change).await.unwrap();
    assert_eq!(shown, json!({ "disabled": true, "queue_capacity": 5, "held": false }));
    let shown = world.call(Operation::Patch, path, json!({ "disabled": null })).await.unwrap();
    assert_eq!(shown, json!({ "disabled": false, "queue_capacity": 5, "held": false }));
    let shown = world.call(Operation::Delete, path, json!({})).await.unwrap();
    assert_eq!(shown, fresh);
}

#[tokio::test(start_paused = true)]
async fn whoever_associates_while_nothing_goes_out_is_told() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.post("sync/config", json!({ "disabled": true })).await.unwrap();
    let ask = json!({ "mount": "kv", "secret_name": "app/db" });
    for what in ["set", "remove"] {
        let path = format!("{OF_D1}/{what}");
        let reply = world.reply(Operation::Update, &path, ask.clone()).await.unwrap();
        let told = reply.warnings.iter().any(|text| text.contains("secrets sync is disabled"));
        assert!(told, "{what}: {:?}", reply.warnings);
    }
    let of_secret =
        world.call(Operation::Read, "sync/associations/destinations", ask).await.unwrap();
    assert_eq!(of_secret["total_destinations"], 1);
}
