//! Lists of associations: totals, pages, and what rests.

use super::world::World;
use crate::{orphan::Orphan, store::Store};
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

/// What two destinations that are no more left behind: five objects each.
async fn with_orphans() -> World {
    let world = World::new().await;
    let store = Store::open(&world.barrier, &world.namespace);
    for name in ["gone-1", "gone-2"] {
        for number in 0..5 {
            let orphan = Orphan {
                destination_type: "in-mem".to_owned(),
                destination_name: name.to_owned(),
                external_name: format!("vault/app/{number}"),
                mount: "kv/".to_owned(),
                secret_name: format!("app/{number}"),
                sub_key: None,
                problem: None,
                since: 0,
            };
            store.put_orphan(&store.destination_id("in-mem", name), &orphan);
        }
    }
    store.view.commit().await.unwrap();
    world
}

/// All pages of a list: what each holds.
async fn pages(
    world: &World,
    (operation, path): (Operation, &str),
    of: impl Fn(&Value) -> Vec<String>,
) -> Vec<Vec<String>> {
    let (mut after, mut pages) = (String::new(), Vec::new());
    loop {
        let asked = json!({ "limit": "3", "after": after });
        let page = world.call(operation, path, asked).await.unwrap();
        assert!(page.get("total_orphans").is_none(), "of a part no total is known: {page}");
        pages.push(of(&page));
        let Some(next) = page["next"].as_str() else { return pages };
        after = next.to_owned();
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_orphans_hold_each_once() {
    let world = with_orphans().await;
    let names = |orphans: &Value| -> Vec<String> {
        let name = |orphan: &Value| orphan["external_name"].as_str().unwrap().to_owned();
        orphans.as_array().unwrap().iter().map(name).collect()
    };
    let all = (0..5).map(|number| format!("vault/app/{number}")).collect::<BTreeSet<_>>();
    let of_one = (Operation::Read, "sync/orphans/in-mem/gone-1");
    let found = pages(&world, of_one, |page| names(&page["orphans"])).await;
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(found.concat().into_iter().collect::<BTreeSet<_>>(), all);
    let of_all = |page: &Value| -> Vec<String> {
        let info = page["key_info"].as_object().unwrap();
        let keys: Vec<&Value> = page["keys"].as_array().unwrap().iter().collect();
        assert_eq!(keys, info.keys().collect::<Vec<_>>());
        let named = |key: &String, found: &Value| {
            names(found).into_iter().map(|name| format!("{key} {name}")).collect::<Vec<_>>()
        };
        info.iter().flat_map(|(key, found)| named(key, found)).collect()
    };
    for operation in [Operation::List, Operation::Read] {
        let found = pages(&world, (operation, "sync/orphans"), of_all).await;
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        assert_eq!(found.concat().into_iter().collect::<BTreeSet<_>>().len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_orphans_is_whole_unless_a_part_is_asked_for() {
    let world = with_orphans().await;
    let list = async |input| world.call(Operation::List, "sync/orphans", input).await;
    for input in [json!({}), json!({ "limit": 0 }), json!({ "limit": -1 })] {
        let whole = list(input).await.unwrap();
        assert_eq!(whole["total_orphans"], 10);
        assert_eq!(whole["keys"], json!(["in-mem/gone-1", "in-mem/gone-2"]));
        assert!(whole.get("next").is_none(), "{whole}");
    }
    // Behind a destination come the others, whichever was first.
    let first = list(json!({ "limit": 5 })).await.unwrap()["keys"][0].clone();
    let rest = list(json!({ "after": first })).await.unwrap();
    assert_eq!(rest["keys"].as_array().unwrap().len(), 1);
    assert_ne!(rest["keys"][0], first);
    assert_eq!(rest["key_info"][rest["keys"][0].as_str().unwrap()].as_array().unwrap().len(), 5);
    assert_eq!(rest["next"], Value::Null);
    let last = rest["keys"][0].clone();
    assert_eq!(list(json!({ "after": last })).await.unwrap_err().code, Code::NotFound);
    for (input, reason) in
        [(json!({ "after": "x" }), "after is not valid"), (json!({ "limit": "many" }), "\"limit\"")]
    {
        let error = list(input).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidRequest);
        assert!(error.to_string().contains(reason), "{error}");
    }
}
