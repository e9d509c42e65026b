//! `sys/policies/acl`, `sys/policy` and `sys/capabilities…` as clients see them.

use crate::{policy::Facts, token::tests::World};
use bailee_sdk::{Body, Code, Namespace, Operation, Reply, Sensitive};
use serde_json::{Value, json};

const RULES: &str = r#"path "secret/*" { capabilities = ["read", "list"] }"#;

fn data(reply: &Reply) -> Value {
    match &reply.body {
        Body::Data(json) => serde_json::from_slice(json.bytes()).unwrap(),
        body => panic!("{body:?}"),
    }
}

impl World {
    async fn sys(
        &self,
        operation: Operation,
        path: &str,
        input: Value,
    ) -> Result<Reply, bailee_sdk::Error> {
        self.call(&self.root, operation, &format!("sys/{path}"), input).await
    }

    async fn sys_data(&self, operation: Operation, path: &str, input: Value) -> Value {
        data(&self.sys(operation, path, input).await.unwrap())
    }

    async fn put(&self, path: &str, policy: &str) -> Result<Reply, bailee_sdk::Error> {
        self.sys(Operation::Update, path, json!({ "policy": policy })).await
    }

    async fn token_with(&self, policy: &str) -> Sensitive<String> {
        let policies = vec!["default".to_owned(), policy.to_owned()];
        let day = std::time::Duration::from_secs(86400);
        let new = crate::token::NewToken { policies, ..self.plain(day) };
        self.made(new).await.secret
    }
}

#[tokio::test]
async fn policies_are_written_read_listed_and_deleted() {
    let world = World::new().await;
    let (read, list) = (Operation::Read, Operation::List);
    assert_eq!(
        world.sys_data(list, "policies/acl", json!({})).await,
        json!({"keys": ["default", "root"]})
    );
    for name in ["px", "team/one", "café", "p1"] {
        world.put(&format!("policies/acl/{name}"), RULES).await.unwrap();
    }
    let warned = world.put("policies/acl/UPPER", RULES).await.unwrap();
    assert_eq!(warned.warnings, ["policy name was converted to upper"]);
    let keys = json!(["café", "default", "p1", "px", "upper", "team/one", "root"]);
    assert_eq!(world.sys_data(list, "policies/acl/", json!({})).await["keys"], keys);
    let legacy = world.sys_data(read, "policy", json!({})).await;
    assert_eq!((&legacy["keys"], &legacy["policies"]), (&keys, &keys));
    assert_eq!(
        world.sys_data(read, "policies/acl/team/one", json!({})).await,
        json!({"name": "team/one", "policy": RULES})
    );
    assert_eq!(
        world.sys_data(read, "policy/UPPER", json!({})).await,
        json!({"name": "upper", "rules": RULES})
    );
    let input = json!({ "rules": RULES });
    let warned = world.sys(Operation::Update, "policy/p3", input.clone()).await.unwrap();
    assert_eq!(warned.warnings, ["'rules' is deprecated, please use 'policy' instead"]);
    let error = world.sys(Operation::Update, "policies/acl/p4", input).await.unwrap_err();
    assert_eq!(error.to_string(), "'policy' parameter not supplied or empty");
    let encoded = "cGF0aCAic2VjcmV0LyoiIHsgY2FwYWJpbGl0aWVzID0gWyJyZWFkIiwgImxpc3QiXSB9";
    world.put("policies/acl/pb", encoded).await.unwrap();
    assert_eq!(world.sys_data(read, "policies/acl/pb", json!({})).await["policy"], RULES);
    for _ in 0..2 {
        world.sys(Operation::Delete, "policies/acl/pb", json!({})).await.unwrap();
    }
    let error = world.sys(read, "policies/acl/pb", json!({})).await.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
}

#[tokio::test]
async fn what_every_namespace_has_cannot_be_taken_away() {
    let world = World::new().await;
    let root = world.sys_data(Operation::Read, "policies/acl/root", json!({})).await;
    assert_eq!(root, json!({"name": "root", "policy": ""}));
    for name in ["root", "response-wrapping", "control-group"] {
        let error = world.put(&format!("policies/acl/{name}"), RULES).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot update \"{name}\" policy"));
    }
    for (path, expected) in [
        ("policies/acl/root", "cannot delete \"root\" policy"),
        ("policies/acl/default", "cannot delete default policy"),
        ("policy/default", "cannot delete default policy"),
    ] {
        let error = world.sys(Operation::Delete, path, json!({})).await.unwrap_err();
        assert_eq!((error.code, error.to_string().as_str()), (Code::InvalidRequest, expected));
    }
    world.put("policies/acl/default", RULES).await.unwrap();
    let text = world.policies.read(&Namespace::root(), "Default").await.unwrap();
    assert_eq!(text.as_deref(), Some(RULES));
}

#[tokio::test]
async fn a_bad_policy_changes_nothing() {
    let world = World::new().await;
    world.put("policies/acl/p", RULES).await.unwrap();
    for text in [r#"path "a" { capabilities = ["fly"] }"#, "{{{{", r#"path "a/+*" {}"#] {
        let error = world.put("policies/acl/p", text).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidRequest);
        assert!(error.to_string().starts_with("failed to parse policy: "), "{error}");
    }
    let text = world.policies.read(&Namespace::root(), "p").await.unwrap();
    assert_eq!(text.as_deref(), Some(RULES));
}

#[tokio::test]
async fn the_default_policy_grants_what_a_token_needs_for_itself() {
    let world = World::new().await;
    let names = ["default".to_owned()];
    let acl = |facts| {
        let (policies, names) = (world.policies.clone(), names.clone());
        async move { policies.acl(&Namespace::root(), &names, &facts).await.unwrap() }
    };
    let nobody = acl(Facts::default()).await;
    for (operation, path) in [
        (Operation::Read, "auth/token/lookup-self"),
        (Operation::Update, "auth/token/renew-self"),
        (Operation::Update, "auth/token/revoke-self"),
        (Operation::Update, "sys/capabilities-self"),
        (Operation::Read, "sys/internal/ui/resultant-acl"),
        (Operation::Update, "sys/leases/renew"),
        (Operation::Create, "cubbyhole/a/b"),
        (Operation::List, "cubbyhole/"),
        (Operation::Update, "sys/wrapping/unwrap"),
        (Operation::Update, "sys/tools/hash/sha2-256"),
    ] {
        assert!(nobody.may(operation, path), "{path}");
    }
    for (operation, path) in [
        (Operation::Update, "auth/token/create"),
        (Operation::Read, "secret/data/a"),
        (Operation::Read, "sys/policies/acl/default"),
        (Operation::Read, "identity/entity/id/e1"),
    ] {
        assert!(!nobody.may(operation, path), "{path}");
    }
    let someone = acl(Facts { entity_id: Some("e1".to_owned()), ..Facts::default() }).await;
    assert!(someone.may(Operation::Read, "identity/entity/id/e1"));
    assert!(!someone.may(Operation::Read, "identity/entity/id/e2"));
}

#[tokio::test]
async fn a_wrapping_token_may_fetch_what_was_wrapped_and_no_more() {
    let world = World::new().await;
    let names = ["response-wrapping".to_owned()];
    let acl = world.policies.acl(&Namespace::root(), &names, &Facts::default()).await.unwrap();
    assert!(acl.may(Operation::Read, "cubbyhole/response"));
    assert!(acl.may(Operation::Update, "sys/wrapping/unwrap"));
    assert!(!acl.may(Operation::Update, "sys/wrapping/wrap"));
    assert!(!acl.may(Operation::Read, "cubbyhole/other"));
}

#[tokio::test]
async fn a_changed_policy_holds_from_the_next_request_on() {
    let world = World::new().await;
    let names = ["p".to_owned()];
    let facts = Facts::default();
    let root = Namespace::root();
    let may = || async {
        let acl = world.policies.acl(&root, &names, &facts).await.unwrap();
        acl.may(Operation::Read, "secret/a")
    };
    assert!(!may().await);
    world.put("policies/acl/P", RULES).await.unwrap();
    assert!(may().await);
    let same = world.policies.acl(&root, &names, &facts).await.unwrap();
    let again = world.policies.acl(&root, &names, &facts).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&same, &again), "compiled once");
    world.put("policies/acl/p", r#"path "secret/*" { capabilities = ["deny"] }"#).await.unwrap();
    assert!(!may().await);
    world.put("policies/acl/p", RULES).await.unwrap();
    assert!(may().await);
    world.sys(Operation::Delete, "policies/acl/p", json!({})).await.unwrap();
    assert!(!may().await);
    // The same name elsewhere is another policy.
    world.put("policies/acl/p", RULES).await.unwrap();
    let other = Namespace { id: "n1".to_owned(), path: "team/".to_owned() };
    let acl = world.policies.acl(&other, &names, &facts).await.unwrap();
    assert!(!acl.may(Operation::Read, "secret/a"));
}

#[tokio::test]
async fn names_and_texts_of_policies_are_not_readable_in_storage() {
    let world = World::new().await;
    world.put("policies/acl/canary-name", RULES).await.unwrap();
    for (key, bytes) in world.backend.all().await {
        let text = String::from_utf8_lossy(&bytes).into_owned() + &key;
        assert!(!text.contains("canary-name") && !text.contains("secret/*"), "{key}");
    }
}

#[tokio::test]
async fn capabilities_are_told_for_a_token_an_accessor_and_oneself() {
    let world = World::new().await;
    let text = r#"
        path "kv/*" { capabilities = ["create","read","update"] }
        path "kv/secret" { capabilities = ["deny"] }
        path "sys/capabilities*" { capabilities = ["update"] }"#;
    world.put("policies/acl/capp", text).await.unwrap();
    let secret = world.token_with("capp").await;
    let accessor = world.tokens.authenticate(&secret).await.unwrap().unwrap().accessor.clone();
    let update = Operation::Update;
    let ask = |path: &'static str, input: Value| {
        let (world, secret) = (&world, &secret);
        async move { world.call(secret, update, &format!("sys/{path}"), input).await }
    };
    let reply = ask("capabilities-self", json!({"paths": ["kv/a", "kv/secret"]})).await.unwrap();
    assert_eq!(data(&reply), json!({"kv/a": ["create", "read", "update"], "kv/secret": ["deny"]}));
    let one = json!({"kv/a": ["create", "read", "update"],
        "capabilities": ["create", "read", "update"]});
    assert_eq!(data(&ask("capabilities-self", json!({"path": "kv/a"})).await.unwrap()), one);
    let input = json!({"token": secret.expose(), "paths": "kv/a"});
    assert_eq!(world.sys_data(update, "capabilities", input).await, one);
    let input = json!({"token": world.root.expose(), "paths": ["kv/a"]});
    assert_eq!(world.sys_data(update, "capabilities", input).await["kv/a"], json!(["root"]));
    let input = json!({"accessor": accessor, "paths": ["kv/a"]});
    assert_eq!(world.sys_data(update, "capabilities-accessor", input).await, one);
    for (path, input, expected) in [
        ("capabilities-self", json!({}), "paths must be supplied"),
        ("capabilities-self", json!({"paths": []}), "paths must be supplied"),
        ("capabilities-self", json!({"paths": vec!["a"; 10_001]}), "more than 10000 paths"),
        ("capabilities", json!({"paths": "a"}), "1 error occurred:\n\t* no token found\n\n"),
        (
            "capabilities",
            json!({"paths": "a", "token": "hvs.nope"}),
            "1 error occurred:\n\t* invalid token\n\n",
        ),
        ("capabilities-accessor", json!({"paths": "a"}), "missing accessor"),
        (
            "capabilities-accessor",
            json!({"paths": "a", "accessor": "nope"}),
            "1 error occurred:\n\t* invalid accessor\n\n",
        ),
    ] {
        let error = ask(path, input).await.unwrap_err();
        assert_eq!((error.code, error.to_string().as_str()), (Code::InvalidRequest, expected));
    }
}
