//! `auth/token/…` as clients see it.

use super::{World, world::DAY};
use bailee_sdk::{Body, Code, Error, Namespace, Operation, Reply, Sensitive, request::Issued};
use serde_json::{Value, json};
use std::time::Duration;

const UPDATE: Operation = Operation::Update;

fn issued(reply: Reply) -> (Issued, Vec<String>) {
    match reply.body {
        Body::Token(issued) => (*issued, reply.warnings),
        body => panic!("{body:?}"),
    }
}

fn data(reply: &Reply) -> Value {
    match &reply.body {
        Body::Data(json) => serde_json::from_slice(json.bytes()).unwrap(),
        body => panic!("{body:?}"),
    }
}

impl World {
    async fn update(
        &self,
        secret: &Sensitive<String>,
        path: &str,
        input: Value,
    ) -> Result<Reply, Error> {
        self.call(secret, UPDATE, &format!("auth/token/{path}"), input).await
    }

    async fn create(&self, secret: &Sensitive<String>, input: Value) -> Issued {
        issued(self.update(secret, "create", input).await.unwrap()).0
    }

    async fn refusal(&self, secret: &Sensitive<String>, path: &str, input: Value) -> String {
        let error = self.update(secret, path, input).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidRequest, "{error}");
        error.to_string()
    }

    async fn look_up(&self, secret: &Sensitive<String>) -> Value {
        let path = "auth/token/lookup-self";
        data(&self.call(secret, Operation::Read, path, json!({})).await.unwrap())
    }
}

async fn world() -> World {
    let world = World::new().await;
    let text = r#"path "auth/token/*" { capabilities = ["create", "update", "read"] }"#;
    world.write_policy("p", text).await;
    world
}

#[tokio::test]
async fn what_root_creates_has_the_fields_of_the_recordings() {
    let world = world().await;
    let root = &world.root;
    let eternal = world.create(root, json!({})).await;
    assert_eq!(eternal.policies, ["root"]);
    assert!(!eternal.renewable && !eternal.orphan && eternal.ttl.is_zero());
    let shown = world.look_up(&eternal.client_token).await;
    assert_eq!(shown["expire_time"], Value::Null);
    assert_eq!(shown["renewable"], false);
    let input = json!({
        "policies": ["p", "Default", "p"], "meta": {"team": "a", "n": "1"}, "ttl": "1h",
        "explicit_max_ttl": "2h", "display_name": "My Tok!", "num_uses": 5,
        "renewable": true, "no_default_policy": false
    });
    let full = world.create(root, input).await;
    assert_eq!(full.policies, ["default", "p"]);
    assert_eq!((full.ttl, full.num_uses), (Duration::from_secs(3600), 5));
    let input = json!({ "token": full.client_token.expose() });
    let shown = data(&world.update(root, "lookup", input).await.unwrap());
    let created = world.tokens.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(
        shown,
        json!({
            "accessor": full.accessor, "creation_time": created.as_secs(), "creation_ttl": 3600,
            "display_name": "token-My-Tok", "entity_id": "",
            "expire_time": "2023-11-14T23:13:20Z", "explicit_max_ttl": 7200,
            "id": full.client_token.expose(), "issue_time": "2023-11-14T22:13:20Z",
            "meta": {"n": "1", "team": "a"}, "num_uses": 5, "orphan": false,
            "path": "auth/token/create", "policies": ["default", "p"], "renewable": true,
            "ttl": 3600, "type": "service"
        })
    );
    let shown = world.look_up(root).await;
    assert_eq!(shown["id"], root.expose().as_str());
    assert_eq!((&shown["orphan"], &shown["meta"]), (&json!(true), &Value::Null));
    assert!(shown.get("issue_time").is_none() && shown.get("renewable").is_none());
}

#[tokio::test]
async fn inputs_are_read_as_clients_write_them() {
    let world = world().await;
    let root = &world.root;
    for (ttl, seconds) in [(json!(60), 60), (json!("90"), 90), (json!("1d"), 86400)] {
        let made = world.create(root, json!({ "policies": ["p"], "ttl": ttl })).await;
        assert_eq!(made.ttl.as_secs(), seconds);
    }
    assert_eq!(
        world.create(root, json!({"policies": "p", "lease": "10m"})).await.ttl.as_secs(),
        600
    );
    let made = world.create(root, json!({"policies": ["p"], "num_uses": "2"})).await;
    assert_eq!(made.num_uses, 2);
    let made = world.create(root, json!({"policies": ["p"], "no_default_policy": true})).await;
    assert_eq!(made.policies, ["p"]);
    assert!(world.create(root, json!({"policies": ["p"], "no_parent": true})).await.orphan);
    assert_eq!(world.create(root, json!({"policies": ["root", "p"]})).await.policies, ["root"]);
    let made = world.create(root, json!({"policies": ["root"], "ttl": "1h"})).await;
    assert!(made.renewable && made.ttl.as_secs() == 3600);
    let (made, warnings) =
        issued(world.update(root, "create", json!({"policies": 5})).await.unwrap());
    assert_eq!(made.policies, ["5", "default"]);
    assert_eq!(warnings, ["Policy \"5\" does not exist"]);
    let made = world.create(root, json!({"policies": ["p"], "display_name": "Zoë & co"})).await;
    let shown = world.look_up(&made.client_token).await;
    assert_eq!(shown["display_name"], "token-Zo----co");
    let input = json!({"policies": ["p"], "ttl": "100000h"});
    let (made, warnings) = issued(world.update(root, "create", input).await.unwrap());
    assert_eq!(made.ttl, DAY * 32);
    assert_eq!(
        warnings,
        ["TTL of \"100000h0m0s\" exceeded the effective max_ttl of \"768h0m0s\"; TTL value is \
          capped accordingly"]
    );
    let input = json!({"policies": ["p"], "period": "30m", "explicit_max_ttl": "1h"});
    assert_eq!(world.create(root, input).await.ttl.as_secs(), 1800);
    let input = json!({"policies": ["p"], "foo": "bar"});
    let (_, warnings) = issued(world.update(root, "create", input).await.unwrap());
    assert_eq!(warnings, ["Endpoint ignored these unrecognized parameters: [foo]"]);
}

#[tokio::test]
async fn refusals_of_creation_have_the_texts_that_clients_know() {
    let world = world().await;
    let root = &world.root;
    world.create(root, json!({"id": "custom", "policies": ["p"]})).await;
    for (input, expected) in [
        (json!({"ttl": "soon"}), "time: invalid duration \"soon\""),
        (json!({"ttl": "-1h"}), "ttl must be positive"),
        (json!({"explicit_max_ttl": "-1h"}), "explicit_max_ttl must be positive"),
        (json!({"num_uses": -1}), "number of uses cannot be negative"),
        (json!({"id": "custom"}), "cannot create a token with a duplicate ID"),
        (json!({"id": "a.b"}), "custom token ID cannot have a '.' in the value"),
        (json!({"id": "hvs.x"}), "custom token ID cannot have the 'hvs.' prefix"),
        (json!({"id": "s.x"}), "custom token ID cannot have the 's.' prefix"),
        (json!({"type": "weird"}), "invalid 'token_type' value"),
        (json!({"type": "batch", "num_uses": 3}), "batch tokens cannot have \"num_uses\" set"),
        (json!({"type": "batch"}), "batch tokens cannot be root tokens"),
        (
            json!({"type": "batch", "policies": ["p"], "period": "1h"}),
            "batch tokens cannot have \"period\" set",
        ),
        (
            json!({"entity_alias": "alice"}),
            "'entity_alias' is only allowed in combination with token role",
        ),
    ] {
        assert_eq!(world.refusal(root, "create", input.clone()).await, expected, "{input}");
    }
    let limited = world.create(root, json!({"policies": ["p"], "num_uses": 3})).await;
    assert_eq!(
        world.refusal(&limited.client_token, "create", json!({})).await,
        "restricted use token cannot generate child tokens"
    );
    let expiring = world.create(root, json!({"policies": ["root"], "ttl": "1h"})).await;
    assert_eq!(
        world.refusal(&expiring.client_token, "create", json!({})).await,
        "expiring root tokens cannot create non-expiring root tokens"
    );
}

#[tokio::test]
async fn a_child_has_no_more_rights_than_its_parent_unless_that_has_sudo() {
    let world = world().await;
    let plain = world.create(&world.root, json!({"policies": ["p"]})).await.client_token;
    for (input, expected) in [
        (json!({"policies": ["other"]}), "child policies must be subset of parent"),
        (json!({"policies": ["root"]}), "child policies must be subset of parent"),
        (json!({"period": "1h"}), "root or sudo privileges required to create periodic token"),
        (json!({"no_parent": true}), "root or sudo privileges required to create orphan token"),
        (json!({"id": "x"}), "root or sudo privileges required to specify token id"),
    ] {
        assert_eq!(world.refusal(&plain, "create", input).await, expected);
    }
    let child = world.create(&plain, json!({})).await;
    assert_eq!(child.policies, ["default", "p"]);
    assert_eq!(world.create(&plain, json!({"policies": ["p"]})).await.policies, ["default", "p"]);
    let orphan = world.update(&plain, "create-orphan", json!({})).await.unwrap();
    assert!(issued(orphan).0.orphan);
    let text = r#"path "auth/token/create" { capabilities = ["update", "sudo"] }"#;
    world.write_policy("s", text).await;
    let input = json!({"policies": ["s"], "no_default_policy": true});
    let sudo = world.create(&world.root, input).await.client_token;
    assert_eq!(world.create(&sudo, json!({})).await.policies, ["s"]);
    let made = world.create(&sudo, json!({"policies": ["p"], "no_parent": true})).await;
    assert_eq!(made.policies, ["default", "p"]);
    assert_eq!(
        world.refusal(&sudo, "create", json!({"policies": ["root"]})).await,
        "root tokens may not be created without parent token being root"
    );
}

#[tokio::test]
async fn renewal_answers_as_recorded() {
    let world = world().await;
    let root = &world.root;
    let made = world.create(root, json!({"policies": ["default"]})).await;
    let (secret, accessor) = (made.client_token, made.accessor);
    world.clock.advance(Duration::from_secs(1));
    let (renewed, warnings) = issued(world.update(&secret, "renew-self", json!({})).await.unwrap());
    assert_eq!(renewed.ttl.as_secs(), 2764799);
    assert_eq!(renewed.client_token, secret);
    assert_eq!(
        warnings,
        ["TTL of \"768h0m0s\" exceeded the effective max_ttl of \"767h59m59s\"; TTL value is \
          capped accordingly"]
    );
    for (input, seconds) in [(json!({"increment": 120}), 120), (json!({}), 120)] {
        let (renewed, _) = issued(world.update(&secret, "renew-self", input).await.unwrap());
        assert_eq!(renewed.ttl.as_secs(), seconds);
    }
    let input = json!({"token": secret.expose(), "increment": "2h"});
    assert_eq!(issued(world.update(root, "renew", input).await.unwrap()).0.ttl.as_secs(), 7200);
    let input = json!({"accessor": accessor, "increment": "1h"});
    let (renewed, _) = issued(world.update(root, "renew-accessor", input).await.unwrap());
    assert_eq!(renewed.client_token.expose(), "");
    let shown = world.look_up(&secret).await;
    assert_eq!(shown["last_renewal_time"], 1_700_000_001);
    let periodic = world.create(root, json!({"policies": ["p"], "period": "30m"})).await;
    let input = json!({"token": periodic.client_token.expose(), "increment": "10h"});
    assert_eq!(issued(world.update(root, "renew", input).await.unwrap()).0.ttl.as_secs(), 1800);
    let fixed = world.create(root, json!({"policies": ["p"], "renewable": false})).await;
    assert_eq!(
        world.refusal(&fixed.client_token, "renew-self", json!({})).await,
        "lease is not renewable"
    );
    for (path, input, expected) in [
        ("renew-self", json!({}), "invalid lease ID"),
        ("renew", json!({}), "missing token ID"),
        ("renew", json!({"token": "hvs.nope"}), "token not found"),
        (
            "renew-accessor",
            json!({"accessor": "nope"}),
            "1 error occurred:\n\t* invalid accessor\n\n",
        ),
        ("renew-accessor", json!({}), "1 error occurred:\n\t* missing accessor\n\n"),
        ("lookup-accessor", json!({}), "1 error occurred:\n\t* missing accessor\n\n"),
        ("revoke", json!({}), "missing token ID"),
        ("revoke-orphan", json!({}), "missing token ID"),
        ("revoke-orphan", json!({"token": "hvs.nope"}), "token to revoke not found"),
    ] {
        assert_eq!(world.refusal(root, path, input).await, expected, "{path}");
    }
    let error = world.update(root, "lookup", json!({"token": "hvs.nope"})).await.unwrap_err();
    assert_eq!((error.code, error.to_string().as_str()), (Code::PermissionDenied, "bad token"));
}

#[tokio::test]
async fn the_last_use_still_sees_its_token() {
    let world = world().await;
    let input = json!({"policies": ["default"], "num_uses": 2});
    let made = world.create(&world.root, input).await;
    assert_eq!(world.look_up(&made.client_token).await["num_uses"], 1);
    assert_eq!(world.look_up(&made.client_token).await["num_uses"], -1);
    let path = "auth/token/lookup-self";
    let error = world.call(&made.client_token, Operation::Read, path, json!({})).await.unwrap_err();
    assert_eq!(error.code, Code::PermissionDenied);
}

#[tokio::test]
async fn revocation_by_every_path() {
    let world = world().await;
    let root = &world.root;
    let make = || world.create(root, json!({"policies": ["p"]}));
    let made = make().await;
    world.update(&made.client_token, "revoke-self", json!({})).await.unwrap();
    assert!(!world.is_alive(&made.client_token).await);
    let made = make().await;
    let input = json!({"token": made.client_token.expose()});
    world.update(root, "revoke", input.clone()).await.unwrap();
    assert!(!world.is_alive(&made.client_token).await);
    world.update(root, "revoke", input).await.unwrap();
    let made = make().await;
    world.update(root, "revoke-accessor", json!({"accessor": made.accessor})).await.unwrap();
    assert!(!world.is_alive(&made.client_token).await);
    let reply = world.update(root, "revoke-accessor", json!({"accessor": "nope"})).await.unwrap();
    assert_eq!(reply.warnings, ["No token found with this accessor"]);
    let parent = make().await;
    let child = world.create(&parent.client_token, json!({})).await;
    let input = json!({"token": parent.client_token.expose()});
    world.update(root, "revoke-orphan", input).await.unwrap();
    assert!(!world.is_alive(&parent.client_token).await);
    assert_eq!(world.look_up(&child.client_token).await["orphan"], true);
    let path = "auth/token/accessors";
    let keys = data(&world.call(root, Operation::List, path, json!({})).await.unwrap());
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    // Without sudo neither is open.
    for (operation, path) in [(Operation::List, path), (UPDATE, "auth/token/revoke-orphan")] {
        let error = world.call(&child.client_token, operation, path, json!({})).await.unwrap_err();
        assert_eq!(error.code, Code::PermissionDenied);
    }
}

#[tokio::test]
async fn rights_do_not_travel_between_namespaces_by_the_names_of_policies() {
    let world = world().await;
    let team = Namespace { id: "t1".to_owned(), path: "team/".to_owned() };
    let text = r#"path "team/auth/token/create" { capabilities = ["update"] }"#;
    world.write_policy("maker", text).await;
    let maker = world.create(&world.root, json!({"policies": ["maker"]})).await.client_token;
    let call = |secret: &Sensitive<String>, input: Value| {
        let (world, team, secret) = (&world, &team, secret.clone());
        async move { world.call_in(team, &secret, UPDATE, "auth/token/create", input).await }
    };
    let error = call(&maker, json!({"policies": ["maker"]})).await.unwrap_err();
    assert_eq!(error.to_string(), "child policies must be subset of parent");
    assert!(issued(call(&maker, json!({})).await.unwrap()).0.policies.is_empty());
    let error = call(&world.root, json!({"policies": ["root"]})).await.unwrap_err();
    assert_eq!(error.to_string(), "root tokens may not be created from a non-root namespace");
    let (made, _) = issued(call(&world.root, json!({"policies": ["default"]})).await.unwrap());
    assert!(made.client_token.expose().ends_with(".t1") && !made.ttl.is_zero());
    // Not to be seen from beside, nor by its accessor.
    let other = Namespace { id: "o1".to_owned(), path: "other/".to_owned() };
    let input = json!({"accessor": made.accessor});
    let path = "auth/token/lookup-accessor";
    let error = world.call_in(&other, &world.root, UPDATE, path, input.clone()).await.unwrap_err();
    assert!(error.to_string().contains("invalid accessor"));
    let asked = json!({"accessor": made.accessor, "paths": ["a"]});
    let rights = "sys/capabilities-accessor";
    let error = world.call_in(&other, &world.root, UPDATE, rights, asked.clone()).await;
    assert!(error.unwrap_err().to_string().contains("invalid accessor"));
    world.call_in(&team, &world.root, UPDATE, rights, asked).await.unwrap();
    let shown = data(&world.call_in(&team, &world.root, UPDATE, path, input).await.unwrap());
    assert_eq!(shown["namespace_path"], "team/");
}

#[tokio::test]
async fn meta_is_bounded_and_a_token_with_much_of_it_works_all_the_same() {
    let world = world().await;
    let input = |bytes: usize| json!({ "meta": { "note": "x".repeat(bytes) } });
    let text = world.refusal(&world.root, "create", input(64 << 10)).await;
    assert!(text.starts_with("'meta' has 65540 bytes"), "{text}");
    let big = world.create(&world.root, input((64 << 10) - 4)).await;
    for _ in 0..2 {
        let shown = world.look_up(&big.client_token).await;
        assert_eq!(shown["meta"]["note"].as_str().unwrap().len(), (64 << 10) - 4);
    }
    world.update(&big.client_token, "revoke-self", json!({})).await.unwrap();
    assert!(!world.is_alive(&big.client_token).await);
}
