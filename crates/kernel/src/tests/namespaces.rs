use super::world::{World, call, data, refused};
use crate::{
    mount,
    registry::{self, NamespaceEntry},
};
use bailee_sdk::{Code, Namespace, Operation};
use futures_util::StreamExt;
use serde_json::json;

async fn with_tenants() -> World {
    let world = World::new().await;
    for path in ["a", "b", "a/deep"] {
        world.write(&format!("sys/namespaces/{path}"), "{}").await.unwrap();
        world.write(&format!("{path}/sys/mounts/boxes2"), r#"{"type":"boxes"}"#).await.unwrap();
    }
    world
}

#[tokio::test]
async fn namespaces_are_made_read_listed_and_changed() {
    let world = World::new().await;
    assert_eq!(refused(world.list("sys/namespaces/").await).0, Code::NotFound);
    let input = r#"{"custom_metadata":{"team":"a"}}"#;
    let made = data(&world.write("sys/namespaces/a", input).await.unwrap());
    assert_eq!(made["path"], "a/");
    assert_eq!(made["custom_metadata"], json!({ "team": "a" }));
    let again = data(&world.write("sys/namespaces/a", input).await.unwrap());
    assert_eq!(again["id"], made["id"]);
    world.write("a/sys/namespaces/deep", "{}").await.unwrap();
    let patch = r#"{"custom_metadata":{"team":null,"cost":"7"}}"#;
    let patch = call(Operation::Patch, "sys/namespaces/a", patch, Some(&world.root));
    world.core.handle(patch).await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.list("sys/namespaces/").await.unwrap(), json!(["a/"]));
    assert_eq!(world.list("a/sys/namespaces/").await.unwrap(), json!(["deep/"]));
    let read = world.read("sys/namespaces/a").await.unwrap();
    assert_eq!(read["custom_metadata"], json!({ "cost": "7" }));
    assert_eq!(world.read("sys/namespaces/a/deep").await.unwrap()["path"], "a/deep/");
    assert_eq!(world.read("a/sys/namespaces/deep").await.unwrap()["path"], "deep/");
    assert_eq!(refused(world.read("sys/namespaces/nope").await).0, Code::NotFound);
    for (path, text) in [
        ("nope/deep", "parent namespace \"nope/\" does not exist, create it first"),
        ("sys", "\"sys\" is a reserved name, choose another"),
        ("root", "\"root\" is a reserved name, choose another"),
        ("boxes", "path is already in use at boxes/"),
    ] {
        assert_eq!(refused(world.write(&format!("sys/namespaces/{path}"), "{}").await).1, text);
    }
    let text = refused(world.write("sys/mounts/a/x", r#"{"type":"boxes"}"#).await).1;
    assert_eq!(text, "path is already in use at a/");
}

#[tokio::test]
async fn tenants_share_nothing() {
    let world = with_tenants().await;
    world.write("a/boxes2/box/x", r#"{"value":"of a"}"#).await.unwrap();
    assert_eq!(world.read("a/boxes2/box/x").await.unwrap()["value"], "of a");
    for elsewhere in ["b/boxes2/box/x", "a/deep/boxes2/box/x"] {
        assert_eq!(refused(world.read(elsewhere).await).0, Code::NotFound);
    }
    assert!(refused(world.read("boxes2/box/x").await).1.starts_with("no handler for route"));
    // The header and the path say the same.
    for (header, path) in [
        ("a", "boxes2/box/x"),
        ("a/", "boxes2/box/x"),
        ("/a/", "boxes2/box/x"),
        ("", "a/boxes2/box/x"),
    ] {
        let mut call = call(Operation::Read, path, "{}", Some(&world.root));
        call.namespace = header.to_owned();
        assert_eq!(data(&world.core.handle(call).await.unwrap())["value"], "of a");
    }
    let mut unknown = call(Operation::Read, "boxes/box/x", "{}", Some(&world.root));
    unknown.namespace = "nope".to_owned();
    assert_eq!(refused(world.core.handle(unknown).await).0, Code::NotFound);
    let told = world.read("a/boxes2/whoami/x").await.unwrap();
    assert_eq!((&told["namespace"], &told["mounts"]), (&json!("a/"), &json!(["boxes2/"])));
}

#[tokio::test]
async fn a_token_is_good_in_its_namespace_and_below() {
    let world = with_tenants().await;
    let rules = r#"{"policy":"path \"*\" { capabilities = [\"read\"] }"}"#;
    world.write("a/sys/policies/acl/all", rules).await.unwrap();
    let made = world.write("a/auth/token/create", r#"{"policies":["all"]}"#).await.unwrap();
    let token = made.auth.unwrap().client_token.expose().clone();
    for path in ["a/sys/mounts", "a/deep/sys/mounts"] {
        world.read_by(&token, path).await.unwrap();
    }
    for path in ["sys/mounts", "b/sys/mounts"] {
        assert_eq!(refused(world.read_by(&token, path).await).0, Code::PermissionDenied);
    }
    // Policies of the root namespace name paths of others with their prefix.
    let token = world.token_with(r#"path "b/sys/mounts" { capabilities = ["read"] }"#).await;
    world.read_by(&token, "b/sys/mounts").await.unwrap();
    assert_eq!(refused(world.read_by(&token, "a/sys/mounts").await).0, Code::PermissionDenied);
    assert_eq!(refused(world.read_by(&token, "sys/mounts").await).0, Code::PermissionDenied);
}

#[tokio::test]
async fn a_token_is_not_revoked_from_a_namespace_below_its_own() {
    let world = with_tenants().await;
    let made = world.write("auth/token/create", r#"{"policies":["default"]}"#).await.unwrap();
    let token = made.auth.unwrap().client_token.expose().clone();
    let input = format!(r#"{{"token":"{token}"}}"#);
    world.write("a/auth/token/revoke", &input).await.unwrap();
    world.read_by(&token, "auth/token/lookup-self").await.unwrap();
    world.write("auth/token/revoke", &input).await.unwrap();
    assert!(world.read_by(&token, "auth/token/lookup-self").await.is_err());
}

#[tokio::test]
async fn what_is_for_the_root_namespace_is_nowhere_else() {
    let world = with_tenants().await;
    world.read("boxes/root-only/x").await.unwrap();
    for path in ["a/boxes2/root-only/x", "a/sys/metrics", "a/sys/key-status"] {
        let expected = (Code::NotFound, "1 error occurred:\n\t* unsupported path\n\n".to_owned());
        assert_eq!(refused(world.read(path).await), expected, "{path}");
    }
    assert_eq!(refused(world.write("a/sys/seal", "{}").await).0, Code::NotFound);
    assert!(!world.core.seal_status().await.unwrap().sealed);
}

#[tokio::test]
async fn a_deleted_namespace_leaves_nothing_behind() {
    let world = with_tenants().await;
    for number in 0..150 {
        world.write(&format!("b/boxes2/box/{number}"), r#"{"value":1}"#).await.unwrap();
    }
    let made = world.write("b/auth/token/create", r#"{"policies":["default"]}"#).await.unwrap();
    let token = made.auth.unwrap().client_token.expose().clone();
    let input = r#"{"policies":["default"],"type":"batch","no_parent":true}"#;
    let made = world.write("b/auth/token/create", input).await.unwrap();
    let batch = format!(r#"{{"token":"{}"}}"#, made.auth.unwrap().client_token.expose());
    world.write("auth/token/lookup", &batch).await.unwrap();
    let id = world.read("sys/namespaces/b").await.unwrap()["id"].as_str().unwrap().to_owned();
    let text = refused(world.delete("sys/namespaces/a").await).1;
    assert!(text.contains("contains namespaces"), "{text}");
    world.delete("sys/namespaces/b").await.unwrap();
    assert_eq!(refused(world.read("sys/namespaces/b").await).0, Code::NotFound);
    assert_eq!(refused(world.read("b/boxes2/box/1").await).0, Code::NotFound);
    let lookup = world.read_by(&token, "b/auth/token/lookup-self").await;
    assert_eq!(refused(lookup).0, Code::PermissionDenied);
    let all = world.backend.scan("", "").collect::<Vec<_>>().await;
    let left: Vec<_> = all
        .iter()
        .map(|entry| &entry.as_ref().unwrap().0)
        .filter(|key| key.contains(&format!("/{id}")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // A new one of the same name is another one.
    world.write("sys/namespaces/b", "{}").await.unwrap();
    assert_eq!(refused(world.write("auth/token/lookup", &batch).await).1, "bad token");
    assert_ne!(world.read("sys/namespaces/b").await.unwrap()["id"], json!(id));
    assert_eq!(refused(world.read("b/boxes2/box/1").await).0, Code::NotFound);
    let session = world.core.sessions().borrow().clone().unwrap();
    let paths: Vec<_> =
        session.namespaces().await.unwrap().into_iter().map(|namespace| namespace.path).collect();
    assert_eq!(paths, ["", "a/", "a/deep/", "b/"]);
}

#[tokio::test]
async fn the_system_reads_exactly_one_path() {
    let world = with_tenants().await;
    world.write("a/boxes2/box/x", r#"{"value":1}"#).await.unwrap();
    let session = world.core.sessions().borrow().clone().unwrap();
    let all = session.namespaces().await.unwrap();
    let a = all.iter().find(|namespace| namespace.path == "a/").unwrap();
    let answer = session
        .read_as_system("sync/one", a, "boxes2/box/x", serde_json::Map::new())
        .await
        .unwrap();
    assert_eq!(data(&answer), json!({ "value": 1 }));
    let root = Namespace::root();
    let outcome =
        session.read_as_system("sync/one", &root, "boxes2/box/x", serde_json::Map::new()).await;
    assert_eq!(refused(outcome).0, Code::NotFound);
    let told = session
        .read_as_system("sync/one", a, "boxes2/whoami/boxes2/box/x", serde_json::Map::new())
        .await
        .unwrap();
    assert_eq!(data(&told)["read"], false);
    let gone = Namespace { id: "gone".to_owned(), path: "gone/".to_owned() };
    assert_eq!(
        refused(session.read_as_system("s", &gone, "x", serde_json::Map::new()).await).0,
        Code::NotFound
    );
    assert!(session.mounts(&gone).0.is_empty());
}

#[tokio::test]
async fn nothing_is_mounted_over_a_namespace_that_is_not_routed_yet() {
    let world = World::new().await;
    let session = world.core.sessions().borrow().clone().unwrap();
    let view = session.barrier().view("");
    let entry = NamespaceEntry {
        id: "abc123".to_owned(),
        path: "new/".to_owned(),
        uuid: "u".to_owned(),
        custom_metadata: Default::default(),
        deleting: false,
        lock: None,
    };
    registry::put_namespace(&view, &entry);
    mount::put_builtin(&view, &Namespace { id: entry.id.clone(), path: entry.path.clone() });
    view.commit().await.unwrap();
    for path in ["new", "new/below"] {
        let text =
            refused(world.write(&format!("sys/mounts/{path}"), r#"{"type":"boxes"}"#).await).1;
        assert_eq!(text, "path is already in use at new/");
    }
    world.write("sys/mounts/newer", r#"{"type":"boxes"}"#).await.unwrap();
}

#[tokio::test]
async fn no_policy_is_written_into_a_namespace_that_is_being_removed() {
    let world = with_tenants().await;
    let session = world.core.sessions().borrow().clone().unwrap();
    let view = session.barrier().view("");
    let id = world.read("sys/namespaces/b").await.unwrap()["id"].as_str().unwrap().to_owned();
    let entry = registry::namespace_entry(&view, &id).await.unwrap().unwrap();
    let entry = NamespaceEntry { deleting: true, ..entry };
    registry::put_namespace(&view, &entry);
    view.commit().await.unwrap();
    let stored = async || world.backend.scan(&format!("n/{id}/policy/"), "").count().await;
    let policy = r#"{"policy":"path \"x\" {}"}"#;
    assert!(world.write("b/sys/policies/acl/p", policy).await.is_err());
    assert_eq!(stored().await, 0);
    world.write("a/sys/policies/acl/p", policy).await.unwrap();
}

#[tokio::test]
async fn what_is_said_about_a_namespace_is_bounded_in_bytes() {
    let world = World::new().await;
    let long = json!({ "custom_metadata": { "k": "v".repeat(513) } }).to_string();
    let text = refused(world.write("sys/namespaces/a", &long).await).1;
    assert_eq!(text, "invalid custom_metadata: a value is longer than 512 bytes");
    world.write("sys/namespaces/a", "{}").await.unwrap();
    let patch = call(Operation::Patch, "sys/namespaces/a", &long, Some(&world.root));
    assert_eq!(refused(world.core.handle(patch).await).0, Code::InvalidRequest);
}

#[tokio::test]
async fn first_mounts_that_a_namespace_lacks_are_added_when_it_is_unsealed() {
    let world = with_tenants().await;
    let barrier = world.core.sessions().borrow().clone().unwrap().barrier();
    let view = barrier.view("");
    let id = world.read("sys/namespaces/a").await.unwrap()["id"].as_str().unwrap().to_owned();
    for namespace in [Namespace::root(), Namespace { id, path: "a/".to_owned() }] {
        for (entry, _) in mount::load(&view, &namespace).await.unwrap() {
            if [mount::IDENTITY_KIND, mount::CUBBYHOLE_KIND].contains(&entry.kind.as_str()) {
                mount::remove(&view, &namespace, &entry.uuid);
            }
        }
    }
    view.commit().await.unwrap();
    drop(barrier);
    let world = world.restart().await;
    for namespace in ["", "a/", "b/", "a/deep/"] {
        world.write(&format!("{namespace}identity/entity/name/ann"), "{}").await.unwrap();
    }
    world.write("cubbyhole/x", r#"{"value":1}"#).await.unwrap();
    let mounts = world.read("a/sys/mounts").await.unwrap();
    assert_eq!(mounts.as_object().unwrap().len(), 4, "{mounts}");
    let again = world.restart().await;
    assert_eq!(again.read("a/sys/mounts").await.unwrap(), mounts);
    again.read("a/identity/entity/name/ann").await.unwrap();
}

#[tokio::test]
async fn an_explanation_knows_what_the_endpoint_asks_for() {
    let world = with_tenants().await;
    let rules = r#"path "a/sys/auth/*" { capabilities = ["update", "read"] }
        path "a/boxes2/box/*" { capabilities = ["list"] }
        path "a/identity/entity/name/*" { capabilities = ["read"] }
        path "a/identity/entity/name/Ann" { capabilities = ["deny"] }"#;
    let input = json!({ "policy": rules }).to_string();
    world.write("sys/policies/acl/p", &input).await.unwrap();
    let told = async |path: &str, operation: &str| {
        let input = json!({ "path": path, "policies": "p", "operations": operation });
        let told = data(&world.write("sys/policies/explain", &input.to_string()).await.unwrap());
        let told = &told["operations"][operation];
        (told["allowed"].as_bool().unwrap(), told["reason"].as_str().unwrap().to_owned())
    };
    let refusal = "the rule for \"a/sys/auth/*\" decides and does not grant sudo";
    assert_eq!(told("a/sys/auth/door", "update").await, (false, refusal.to_owned()));
    assert!(told("a/boxes2/box", "list").await.0, "a list is asked with its slash");
    assert!(told("a/identity/entity/name/bob", "read").await.0);
    let refusal =
        "the rule for \"a/identity/entity/name/Ann\", which means the same path, refuses it";
    assert_eq!(told("a/identity/entity/name/ANN", "read").await, (false, refusal.to_owned()));
}
