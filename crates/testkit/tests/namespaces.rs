//! Tenants on one server: nothing of one is anything to another.

use bailee_testkit::{Api, Ask, Options, Storage, TestServer};
use serde_json::{Value, json};

async fn in_memory() -> TestServer {
    TestServer::start_with(Options { storage: Storage::Memory, ..Options::default() }).await
}

/// A namespace with an admin of its own, who may do everything in it.
struct Tenant {
    path: &'static str,
    root: Api,
    admin: Api,
    accessor: String,
}

impl Tenant {
    async fn new(server: &TestServer, path: &'static str) -> Tenant {
        let api = server.api();
        api.post(&format!("sys/namespaces/{path}"), json!({})).await.done();
        let root = api.in_namespace(path);
        let everything = r#"path "*" { capabilities = ["create", "read", "update", "patch",
            "delete", "list", "sudo"] }"#;
        root.put("sys/policies/acl/admin", json!({ "policy": everything })).await.done();
        let made = root.post("auth/token/create", json!({ "policies": ["admin"] })).await.ok();
        let admin = root.with_token(&made.text("/auth/client_token"));
        Tenant { path, root, admin, accessor: made.text("/auth/accessor") }
    }

    /// This tenant's admin, knocking on another door.
    fn at(&self, other: &str) -> Api {
        self.admin.in_namespace(other)
    }
}

/// Fills a tenant with one of each thing, all under names that the other one uses too.
async fn furnish(tenant: &Tenant) -> String {
    let api = &tenant.admin;
    api.post("sys/mounts/kv", json!({ "type": "kv-v2" })).await.done();
    api.post("kv/data/app", json!({ "data": { "of": tenant.path } })).await.done();
    let only = r#"path "kv/data/app" { capabilities = ["read"] }"#;
    api.put("sys/policies/acl/reader", json!({ "policy": only })).await.done();
    let rules = "length = 12\nrule \"charset\" { charset = \"abc\" }";
    api.put("sys/policies/password/pw", json!({ "policy": rules })).await.done();
    let wrap = Ask::new("GET", "kv/data/app").header("x-vault-wrap-ttl", "60");
    api.send(wrap).await.ok().text("/wrap_info/token")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_one_tenant_is_anything_to_a_sibling_or_a_parent() {
    let server = in_memory().await;
    let (one, two) = (Tenant::new(&server, "one").await, Tenant::new(&server, "two").await);
    let (wrapped, _) = (furnish(&one).await, furnish(&two).await);
    let own = one.admin.get("kv/data/app").await.ok();
    assert_eq!(own.at("/data/data/of"), "one");

    // A token is nothing to the sibling, to the parent, and by the path instead of the header.
    for elsewhere in ["two", ""] {
        let api = one.at(elsewhere);
        for path in
            ["kv/data/app", "sys/mounts", "sys/policies/acl/reader", "auth/token/lookup-self"]
        {
            api.get(path).await.refused(403, "permission denied");
        }
        api.put("sys/policies/acl/reader", json!({ "policy": "" })).await.refused(403, "denied");
        api.delete("sys/mounts/kv").await.refused(403, "permission denied");
    }
    let by_path = one.at("");
    by_path.get("two/kv/data/app").await.refused(403, "permission denied");
    by_path.get("one/kv/data/app").await.done();

    // An accessor, a token and a wrapped answer are looked up in vain from next door.
    let looks = json!({ "accessor": one.accessor });
    one.admin.post("auth/token/lookup-accessor", looks.clone()).await.done();
    two.admin.post("auth/token/lookup-accessor", looks.clone()).await.refused(400, "accessor");
    let asked = json!({ "accessor": one.accessor, "paths": ["kv/data/app"] });
    two.admin.post("sys/capabilities-accessor", asked).await.refused(400, "invalid accessor");
    let explained = json!({ "accessor": one.accessor, "path": "kv/data/app" });
    two.admin.post("sys/policies/explain", explained.clone()).await.refused(400, "accessor");
    one.admin.post("sys/policies/explain", explained).await.done();
    two.admin.post("auth/token/revoke-accessor", looks).await;
    one.admin.get("auth/token/lookup-self").await.done();
    let asked = json!({ "token": one.admin.token(), "paths": ["kv/data/app"] });
    let told = two.admin.post("sys/capabilities", asked).await;
    assert!(told.status == 400 || told.at("/data/capabilities") == json!(["deny"]), "{told:?}");
    let listed = two.admin.list("auth/token/accessors").await.ok();
    let listed = listed.at("/data/keys").as_array().unwrap().clone();
    assert!(!listed.contains(&Value::from(one.accessor.clone())), "{listed:?}");
    two.admin.post("sys/wrapping/unwrap", json!({ "token": wrapped })).await.refused(400, "");
    let unwrapped = one.admin.post("sys/wrapping/unwrap", json!({ "token": wrapped })).await.ok();
    assert_eq!(unwrapped.at("/data/data/of"), "one");

    // What one removes, the other keeps.
    one.admin.delete("sys/policies/acl/reader").await.done();
    one.admin.delete("sys/policies/password/pw").await.done();
    one.admin.delete("sys/mounts/kv").await.done();
    two.admin.get("sys/policies/acl/reader").await.done();
    two.admin.get("sys/policies/password/pw/generate").await.done();
    assert_eq!(two.admin.get("kv/data/app").await.ok().at("/data/data/of"), "two");
    let mounts = server.api().get("sys/mounts").await.ok();
    assert_eq!(mounts.at("/data/kv~1"), Value::Null);
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_parent_reaches_down_by_the_names_its_policies_use() {
    let server = in_memory().await;
    let parent = Tenant::new(&server, "top").await;
    parent.admin.post("sys/namespaces/sub", json!({})).await.done();
    let sub = parent.at("top/sub");
    sub.post("sys/mounts/kv", json!({ "type": "kv-v2" })).await.done();
    sub.post("kv/data/app", json!({ "data": { "a": 1 } })).await.done();
    let only = r#"path "sub/kv/data/app" { capabilities = ["read"] }"#;
    parent.admin.put("sys/policies/acl/down", json!({ "policy": only })).await.done();
    let made = parent.admin.post("auth/token/create", json!({ "policies": ["down"] })).await.ok();
    let reader = parent.admin.with_token(&made.text("/auth/client_token"));
    reader.in_namespace("top/sub").get("kv/data/app").await.done();
    reader.get("sub/kv/data/app").await.done();
    reader.in_namespace("").get("top/sub/kv/data/app").await.done();
    reader.in_namespace("top/sub").get("sys/mounts").await.refused(403, "denied");
    // A child's token reaches nothing above.
    let policy = json!({ "policy": r#"path "*" { capabilities = ["read", "list"] }"# });
    sub.put("sys/policies/acl/all", policy).await.done();
    let made = sub.post("auth/token/create", json!({ "policies": ["all"] })).await.ok();
    let child = sub.with_token(&made.text("/auth/client_token"));
    child.get("kv/data/app").await.done();
    child.in_namespace("top").get("sys/mounts").await.refused(403, "denied");
    child.in_namespace("").get("sys/mounts").await.refused(403, "denied");
    server.api().in_namespace("nowhere").get("sys/mounts").await.refused(404, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_namespace_serves_nobody_until_it_is_unlocked() {
    let server = in_memory().await;
    let tenant = Tenant::new(&server, "team").await;
    tenant.admin.post("sys/namespaces/sub", json!({})).await.done();
    let api = server.api();
    let locked = api.post("sys/namespaces/api-lock/lock/team", json!({})).await.ok();
    let key = locked.text("/data/unlock_key");
    let text = "API access to this namespace has been locked by an administrator - \"team/\"";
    tenant.admin.get("sys/mounts").await.refused(503, text);
    tenant.root.get("sys/mounts").await.refused(503, text);
    tenant.at("team/sub").get("sys/mounts").await.refused(503, text);
    tenant.root.anonymous().get("sys/internal/ui/mounts").await.refused(503, text);
    api.get("sys/mounts").await.done();
    let shown = api.get("sys/namespaces/team").await.ok();
    assert_eq!(shown.at("/data/locked"), true);
    api.post("sys/namespaces/api-lock/lock/team", json!({})).await.refused(400, "already locked");
    api.post("sys/namespaces/api-lock/lock", json!({})).await.refused(400, "root namespace");

    // The key opens it for who may unlock; a root token needs none.
    let wrong = json!({ "unlock_key": "wrong" });
    tenant.admin.post("sys/namespaces/api-lock/unlock", wrong).await.refused(400, "incorrect");
    let right = json!({ "unlock_key": key });
    tenant.admin.post("sys/namespaces/api-lock/unlock", right.clone()).await.done();
    tenant.admin.get("sys/mounts").await.done();
    tenant.admin.post("sys/namespaces/api-lock/unlock", right).await.refused(400, "not locked");
    api.post("sys/namespaces/api-lock/lock/team", json!({})).await.done();
    api.post("sys/namespaces/api-lock/unlock/team", json!({})).await.done();
    tenant.admin.get("sys/mounts").await.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_deleted_with_all_it_holds() {
    let server = in_memory().await;
    let tenant = Tenant::new(&server, "gone").await;
    furnish(&tenant).await;
    server.api().delete("sys/namespaces/gone").await.done();
    tenant.admin.get("kv/data/app").await.refused(404, "");
    server.api().get("sys/namespaces/gone").await.refused(404, "");
    // One of the same name begins with nothing, and the old token opens nothing in it.
    let again = Tenant::new(&server, "gone").await;
    tenant.admin.get("sys/mounts").await.refused(403, "permission denied");
    again.admin.get("sys/policies/acl/reader").await.refused(404, "");
    again.admin.get("sys/policies/password/pw").await.refused(404, "");
    let mounts = again.admin.get("sys/mounts").await.ok();
    assert_eq!(mounts.at("/data/kv~1"), Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_who_in_one_tenant_is_unknown_to_another() {
    let server = in_memory().await;
    let (one, two) = (Tenant::new(&server, "one").await, Tenant::new(&server, "two").await);
    let mut accessors = Vec::new();
    for tenant in [&one, &two] {
        let api = &tenant.admin;
        api.post("sys/auth/userpass", json!({ "type": "userpass" })).await.done();
        let tune = json!({ "listing_visibility": "unauth" });
        api.post("sys/auth/userpass/tune", tune).await.done();
        accessors.push(api.get("sys/auth/userpass").await.ok().text("/data/accessor"));
    }
    let (api, other) = (&one.admin, &two.admin);
    let entity = api.post("identity/entity", json!({ "name": "ann" })).await.ok().text("/data/id");
    let input = json!({ "name": "team", "member_entity_ids": [entity] });
    let group = api.post("identity/group", input).await.ok().text("/data/id");
    let input = json!({ "name": "a", "mount_accessor": accessors[0], "canonical_id": entity });
    let alias = api.post("identity/entity-alias", input).await.ok().text("/data/id");

    // Read, list, look up, take in, merge and explain: it is not there.
    for path in [
        format!("identity/entity/id/{entity}"),
        format!("identity/group/id/{group}"),
        format!("identity/entity-alias/id/{alias}"),
        "identity/entity/name/ann".to_owned(),
        "identity/group/name/team".to_owned(),
    ] {
        api.get(&path).await.done();
        other.get(&path).await.refused(404, "");
        other.delete(&path).await.done();
        api.get(&path).await.done();
    }
    other.list("identity/entity/id").await.refused(404, "");
    for known in [json!({ "id": entity }), json!({ "alias_id": alias }), json!({ "name": "ann" })] {
        assert_eq!(api.post("identity/lookup/entity", known.clone()).await.status, 200);
        assert_eq!(other.post("identity/lookup/entity", known).await.status, 204);
    }
    let own = other.post("identity/entity", json!({ "name": "ann" })).await.ok().text("/data/id");
    for (path, input) in [
        ("identity/group", json!({ "member_entity_ids": [entity] })),
        ("identity/group", json!({ "member_group_ids": [group] })),
        ("identity/entity/merge", json!({ "from_entity_ids": [entity], "to_entity_id": own })),
        ("identity/entity-alias", json!({ "id": alias, "canonical_id": own })),
        (
            "identity/entity-alias",
            json!({ "name": "a", "mount_accessor": accessors[0], "canonical_id": own }),
        ),
        ("sys/policies/explain", json!({ "path": "x", "entity_id": entity })),
    ] {
        other.post(path, input).await.refused(400, "");
    }

    // Users who are locked out, and mounts that pages show.
    api.post("auth/userpass/users/u", json!({ "password": "pw" })).await.done();
    for _ in 0..5 {
        let wrong = json!({ "password": "no" });
        api.anonymous().post("auth/userpass/login/u", wrong).await;
    }
    assert_eq!(api.get("sys/locked-users").await.ok().at("/data/total"), 1);
    assert_eq!(other.get("sys/locked-users").await.ok().at("/data/total"), 0);
    let unlock = format!("sys/locked-users/{}/unlock/u", accessors[0]);
    other.post(&unlock, json!({})).await.refused(400, "no auth mount");
    assert_eq!(server.api().get("sys/locked-users").await.ok().at("/data/total"), 1);
    one.at("two").get("sys/locked-users").await.refused(403, "denied");
    let told = one.at("two").get("sys/internal/ui/mounts").await.ok();
    let public = other.anonymous().get("sys/internal/ui/mounts").await.ok();
    assert_eq!(told.at("/data"), public.at("/data"), "a stranger's token is none");
    for path in ["sys/quotas/rate-limit/q", "sys/internal/counters/config"] {
        other.post(path, json!({ "rate": 1 })).await.refused(404, "");
    }
    let counted = other.get("sys/internal/counters/entities").await.ok();
    assert_eq!(counted.at("/data/counters/entities/total"), 1);
    server.assert_no_panic();
}
