//! Plans: what they say is what runs, and they change nothing.

use super::world::{NAME, World};
use crate::{
    destination::{Deletion, Delivery, Destination, Extent, Ownership},
    naming::Granularity,
    source::Payload,
    tags::OwnerMark,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use zeroize::Zeroizing;

/// Longer than a list of a destination may lag, so that all that was delivered is judged by it.
const OLD: Duration = Duration::from_secs(1300);
/// A comparison by itself, and the calls that follow.
const ROUND: Duration = Duration::from_secs(620);

impl World {
    async fn plan(&self, input: Value) -> Value {
        self.post("sync/destinations/in-mem/d1/plan", input).await.unwrap()
    }

    /// Deliveries and removals so far, by secret.
    fn done(&self) -> BTreeMap<(&'static str, String), usize> {
        let mut done = BTreeMap::new();
        for (what, _, path) in self.local.lines.lock().iter() {
            let kind = match what.as_str() {
                "delivered" => "put",
                "removed" => "delete",
                _ => continue,
            };
            *done.entry((kind, path.clone())).or_default() += 1;
        }
        done
    }

    /// Somebody else makes an object, or overwrites one.
    async fn meddle(&self, name: &str, number: u64) {
        let delivery = Delivery {
            name: name.to_owned(),
            payload: Payload {
                bytes: Zeroizing::new(b"theirs".to_vec()),
                version: 1,
                expires_at: None,
            },
            token: format!("00000000-0000-4000-9000-{number:012}"),
            tags: BTreeMap::new(),
            previous: None,
            extent: Extent::Value,
            ownership: Ownership::Overwrite,
            mark: OwnerMark::default(),
        };
        self.cloud.put(&delivery).await.unwrap();
    }
}

fn rows<'a>(plan: &'a Value, action: &str) -> Vec<&'a Value> {
    plan["rows"].as_array().unwrap().iter().filter(|row| row["action"] == action).collect()
}

fn names(plan: &Value, action: &str) -> Vec<String> {
    let name = |row: &Value| row["external_name"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = rows(plan, action).into_iter().map(name).collect();
    names.sort();
    names
}

/// Secrets as the plan takes them up, then those it has no row of: of two that would have the same
/// name, the first one gets it.
fn in_order<'a>(plan: &Value, secrets: &[&'a str]) -> Vec<&'a str> {
    let rows = plan["rows"].as_array().unwrap();
    let place = |secret: &str| rows.iter().position(|row| row["secret_name"] == secret);
    let mut secrets = secrets.to_vec();
    secrets.sort_by_key(|secret| place(secret).unwrap_or(usize::MAX));
    secrets
}

fn candidate(secret: &str) -> Value {
    json!({ "mount": "kv", "secret_name": secret })
}

#[tokio::test(start_paused = true)]
async fn candidates_are_planned_and_nothing_is_written() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.write("app/web/tls", json!({ "v": 22 })).await.unwrap();
    world.write("other", json!({ "v": 3 })).await.unwrap();
    let plan = world.plan(json!({ "associate": [candidate("app/")] })).await;
    assert_eq!(plan["summary"]["create"], 2, "{plan}");
    assert_eq!(names(&plan, "create"), [NAME, "vault/kv_1234/app/web/tls"]);
    let row = rows(&plan, "create").into_iter().find(|row| row["secret_name"] == "app/db").unwrap();
    assert_eq!(
        *row,
        json!({ "action": "create", "reason": "new", "mount": "kv/", "secret_name": "app/db",
            "external_name": NAME, "bytes": 7 })
    );
    assert_eq!(plan["survey"], "full");
    assert_eq!(plan["estimate"]["api_calls"], json!({ "put": 2 }));
    assert_eq!(plan["estimate"]["new_clients"], 2);
    assert_eq!(plan["next"], Value::Null);
    assert!(world.cloud.names().is_empty() && world.entry("app/db").await.is_null());
    // Values are read as the system, and that is recorded.
    let lines = world.local.lines.lock().clone();
    let read = lines.iter().find(|(what, _, path)| what == "read" && path == "kv/app/db").unwrap();
    assert!(read.1.starts_with("sync-plan/"), "{read:?}");
    assert!(!plan.to_string().contains("\"v\""), "no value is shown");
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_may_not_read_is_counted_and_not_named() {
    let world = World::new().await;
    for secret in ["app/db", "app/secret-name"] {
        world.write(secret, json!({ "v": 1 })).await.unwrap();
        world.set(secret).await.unwrap();
        world.write(secret, json!({ "v": 2 })).await.unwrap();
    }
    world
        .call(bailee_sdk::Operation::Patch, "sync/config", json!({ "disabled": true }))
        .await
        .unwrap();
    *world.readable.lock() = Some("kv/data/app/db".to_owned());
    let plan = world.plan(json!({})).await;
    assert_eq!(plan["summary"]["hidden"], 1, "{plan}");
    assert!(!plan.to_string().contains("secret-name"), "{plan}");
    assert_eq!(plan["estimate"]["objects"], 2);
    let refused = world
        .post("sync/destinations/in-mem/d1/plan", json!({ "associate": [candidate("app/*")] }));
    let refused = refused.await.unwrap_err().to_string();
    assert!(refused.contains("permission denied to list the secrets of kv/app/"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn problems_are_foreseen_in_words() {
    let world = World::new().await;
    world.write("big", json!({ "v": "x".repeat(70_000) })).await.unwrap();
    world.write(&"long/".repeat(110), json!({ "v": 1 })).await.ok();
    let long = format!("long/{}", "n".repeat(600));
    world.write(&long, json!({ "v": 1 })).await.unwrap();
    world.write("a/x", json!({ "v": 1 })).await.unwrap();
    world.write("b/x", json!({ "v": 2 })).await.unwrap();
    let plan = world
        .plan(json!({
            "secret_name_template": "{{ .SecretBaseName }}",
            "associate": [candidate("big"), candidate(&long), candidate("a/x"), candidate("b/x")],
        }))
        .await;
    assert_eq!(plan["summary"]["create"], 1, "{plan}");
    assert_eq!(plan["summary"]["failing"], 3, "{plan}");
    let reasons: std::collections::BTreeSet<&str> =
        rows(&plan, "failing").iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["invalid", "name_taken", "too_large"].into());
    for row in rows(&plan, "failing") {
        assert!(row["problem"].is_string() && row["next_action"].is_string(), "{row}");
    }
    let limits: BTreeMap<&str, (u64, u64)> = plan["limits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|limit| {
            let number = |field: &str| limit[field].as_u64().unwrap();
            (limit["limit"].as_str().unwrap(), (number("value"), number("max")))
        })
        .collect();
    let expected = [("name_characters", (600, 512)), ("value_bytes", (70_008, 65_536))];
    assert_eq!(limits, expected.into());
}

#[tokio::test(start_paused = true)]
async fn objects_of_others_are_adopted_or_refused_as_the_settings_say() {
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.meddle(NAME, 1).await;
    for (ownership, action) in [
        (Ownership::Overwrite, "adopt"),
        (Ownership::Adopt, "adopt"),
        (Ownership::Refuse, "refuse"),
    ] {
        world.configure(|stored| stored.ownership = ownership).await;
        let plan = world.plan(json!({ "associate": [candidate("app/db")] })).await;
        assert_eq!(names(&plan, action), [NAME], "{plan}");
    }
    let plan = world.plan(json!({ "associate": [candidate("app/db")] })).await;
    let row = &rows(&plan, "refuse")[0];
    assert!(row["problem"].as_str().unwrap().contains("made by somebody else"), "{row}");
}

#[tokio::test(start_paused = true)]
async fn bad_input_is_refused_by_name_and_nothing_is_called() {
    let world = World::new().await;
    for (input, text) in [
        (json!({ "secret_name_template": "{{" }), "template"),
        (json!({ "secret_name_template": { "a": 1 } }), "secret_name_template"),
        (json!({ "associate": [{ "mount": "kv" }] }), "secret_name"),
        (json!({ "associate": [{ "mount": "nope", "secret_name": "a" }] }), "nope"),
        (json!({ "associate": [{ "mount": "old", "secret_name": "a" }] }), "not a KV version 2"),
        (json!({ "dissociate": [{ "mount": "kv", "secret_name": "a//b" }] }), "secret_name"),
        (json!({ "custom_tags": { "": "x" } }), "custom_tags"),
    ] {
        let error =
            world.post("sync/destinations/in-mem/d1/plan", input.clone()).await.unwrap_err();
        assert!(error.to_string().contains(text), "{input}: {error}");
    }
    let missing = world.post("sync/destinations/in-mem/none/plan", json!({})).await.unwrap_err();
    assert_eq!(missing.code, bailee_sdk::Code::NotFound);
    assert_eq!(world.cloud.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn names_that_become_free_are_handed_on() {
    let world = World::new().await;
    world.configure(|stored| stored.template = Some("{{ .SecretPath }}".to_owned())).await;
    world.write("x", json!({ "v": 1 })).await.unwrap();
    world.write("a/x", json!({ "v": 2 })).await.unwrap();
    world.set("x").await.unwrap();
    // The name of the first goes to the second.
    let input = json!({
        "secret_name_template": "{{ .SecretBaseName }}",
        "associate": [candidate("a/x")],
        "dissociate": [candidate("x")],
    });
    let plan = world.plan(input).await;
    assert_eq!(plan["summary"]["delete"], 1, "{plan}");
    assert_eq!(plan["summary"]["failing"], 0, "{plan}");
    assert_eq!(
        plan["summary"]["create"].as_u64().unwrap()
            + plan["summary"]["adopt"].as_u64().unwrap()
            + plan["summary"]["update"].as_u64().unwrap(),
        1,
        "{plan}"
    );
}

/// A world with a past: secrets written, associated, changed and gone, and strangers at work.
struct Random {
    world: World,
    state: u64,
}

const SECRETS: [&str; 6] = ["x", "a/x", "b/x", "a/y", "b/z", "c"];

impl Random {
    async fn new(seed: u64) -> Random {
        let world = World::new().await;
        let mut random = Random { world, state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 };
        let granularity =
            if random.below(3) == 0 { Granularity::SecretKey } else { Granularity::SecretPath };
        random
            .world
            .configure(|stored| {
                stored.granularity = Some(granularity);
                stored.template = Some(template(granularity, true).to_owned());
            })
            .await;
        for secret in SECRETS {
            if random.below(6) > 0 {
                random.write(secret).await;
            }
            if random.below(3) > 0 {
                random.world.set(secret).await.unwrap();
            }
        }
        random.world.settle().await;
        tokio::time::sleep(OLD).await;
        random
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % bound
    }

    async fn write(&mut self, secret: &str) {
        let keys = ["k", "l", "m"];
        let count = 1 + self.below(3) as usize;
        let mut value = serde_json::Map::new();
        for key in &keys[..count] {
            let length = if self.below(12) == 0 { 70_000 } else { 5 };
            value.insert(
                (*key).to_owned(),
                json!(format!("{}{}", self.below(9), "v".repeat(length))),
            );
        }
        self.world.write(secret, Value::Object(value)).await.unwrap();
    }

    async fn meddle(&mut self) {
        for name in self.world.cloud.names() {
            match self.below(5) {
                0 => self.world.cloud.lose(&name),
                1 => {
                    let number = self.below(1_000_000);
                    self.world.meddle(&name, number).await;
                }
                _ => {}
            }
        }
    }

    /// Compares what the plan says with what `execute` sets off.
    async fn check(&mut self, seed: u64, input: Value, execute: impl AsyncFnOnce(&World, &Value)) {
        let before = self.world.cloud.names();
        let plan = self.world.plan(input.clone()).await;
        assert_eq!(self.world.cloud.names(), before, "a plan writes nothing");
        let done = self.world.done();
        execute(&self.world, &plan).await;
        tokio::time::sleep(ROUND).await;
        let mut expected = done;
        for row in plan["rows"].as_array().unwrap() {
            let kind = match row["action"].as_str().unwrap() {
                "create" | "update" | "adopt" => "put",
                "delete" => "delete",
                _ => continue,
            };
            let path = format!(
                "{}{}",
                row["mount"].as_str().unwrap(),
                row["secret_name"].as_str().unwrap()
            );
            *expected.entry((kind, path)).or_default() += 1;
        }
        assert_eq!(self.world.done(), expected, "seed {seed}, {input}: {plan}");
        let mut there: std::collections::BTreeSet<String> = before.into_iter().collect();
        for name in names(&plan, "delete") {
            there.remove(&name);
        }
        for action in ["create", "adopt", "update"] {
            there.extend(names(&plan, action));
        }
        assert_eq!(
            self.world.cloud.names(),
            there.into_iter().collect::<Vec<_>>(),
            "seed {seed}, {input}: {plan}"
        );
        let again = self.world.plan(json!({})).await;
        for action in ["create", "adopt", "update", "delete"] {
            assert_eq!(again["summary"][action], 0, "seed {seed}: nothing is left: {again}");
        }
    }
}

fn template(granularity: Granularity, whole: bool) -> &'static str {
    match (granularity, whole) {
        (Granularity::SecretPath, true) => "{{ .SecretPath }}",
        (Granularity::SecretPath, false) => "{{ .SecretBaseName }}",
        (Granularity::SecretKey, true) => "{{ .SecretPath }}/{{ .SecretKey }}",
        (Granularity::SecretKey, false) => "{{ .SecretBaseName }}/{{ .SecretKey }}",
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_plan_says_of_changes_by_others_is_what_a_comparison_does() {
    for seed in 1..60 {
        let mut random = Random::new(seed).await;
        random.meddle().await;
        random.check(seed, json!({}), async |_, _| {}).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_plan_says_of_new_secrets_is_what_setting_them_does() {
    for seed in 100..160 {
        let mut random = Random::new(seed).await;
        let joining: Vec<&str> = SECRETS.into_iter().filter(|_| random.below(2) == 0).collect();
        let input =
            json!({ "associate": joining.iter().map(|s| candidate(s)).collect::<Vec<_>>() });
        random
            .check(seed, input, async |world: &World, plan: &Value| {
                for secret in in_order(plan, &joining) {
                    world.set(secret).await.unwrap();
                }
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_plan_says_of_leaving_secrets_is_what_removing_them_does() {
    for seed in 200..240 {
        let mut random = Random::new(seed).await;
        if random.below(2) == 0 {
            random.world.configure(|stored| stored.deletion = Deletion::Schedule { days: 7 }).await;
        }
        let leaving: Vec<&str> = SECRETS.into_iter().filter(|_| random.below(2) == 0).collect();
        let input =
            json!({ "dissociate": leaving.iter().map(|s| candidate(s)).collect::<Vec<_>>() });
        random
            .check(seed, input, async |world: &World, plan: &Value| {
                for secret in in_order(plan, &leaving) {
                    world.remove(secret).await.unwrap();
                }
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_plan_says_of_other_settings_is_what_they_do_once_all_is_set_again() {
    for seed in 300..360 {
        let mut random = Random::new(seed).await;
        let data = random.world.get("sync/destinations/in-mem/d1/associations").await.unwrap();
        let secrets: std::collections::BTreeSet<String> = data["associated_secrets"]
            .as_object()
            .unwrap()
            .values()
            .map(|line| line["secret_name"].as_str().unwrap().to_owned())
            .collect();
        let mut input = json!({ "custom_tags": { "team": "blue" } });
        let renames = random.below(2) == 0;
        if renames {
            // Both at once would be tagged by the change and delivered by the setting.
            input = json!({});
        }
        if renames {
            let data = random.world.get("sync/destinations/in-mem/d1").await.unwrap();
            let by_key = data["options"]["granularity_level"] == "secret-key";
            let granularity = if by_key { Granularity::SecretKey } else { Granularity::SecretPath };
            input["secret_name_template"] = json!(template(granularity, false));
        }
        let settings = input.clone();
        random
            .check(seed, input, async |world: &World, plan: &Value| {
                let path = "sync/destinations/in-mem/d1";
                world.call(bailee_sdk::Operation::Patch, path, settings).await.unwrap();
                world.settle().await;
                let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
                for secret in in_order(plan, &secrets).into_iter().filter(|_| renames) {
                    world.set(secret).await.unwrap();
                }
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_ten_thousand_secrets_is_answered_in_pages_that_add_up() {
    let world = World::new().await;
    for number in 0..10_000 {
        world.write(&format!("bulk/{number:05}"), json!({ "v": number })).await.unwrap();
    }
    let all = world.plan(json!({ "associate": [candidate("bulk/")] })).await;
    assert_eq!(all["summary"]["create"], 10_000);
    assert_eq!(all["estimate"]["seconds"], 200.0);
    assert_eq!(all["survey"], "partial", "2,000 names are looked at one by one");
    let (mut after, mut created, mut pages) = (String::new(), 0, 0);
    loop {
        let input = json!({ "associate": [candidate("bulk/")], "after": after, "limit": 3000 });
        let page = world.plan(input).await;
        created += page["summary"]["create"].as_u64().unwrap();
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        after = next.to_owned();
    }
    assert_eq!((created, pages), (10_000, 4));
}
