//! Roles, role ids and secret ids, one sentence a test.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]

use bailee_engines::auth::approle;
use bailee_sdk::{
    Body, Code, Error, Login, Operation, Reply,
    testing::{EngineHarness, data},
};
use futures_util::{TryStreamExt, future::join_all};
use serde_json::{Value, json};
use std::time::Duration;

const REFUSED: &str = "invalid role or secret ID";

async fn method() -> EngineHarness {
    EngineHarness::mount(&approle::kind(), &[]).await
}

async fn update(method: &EngineHarness, path: &str, input: Value) -> Result<Reply, Error> {
    method.call(Operation::Update, path, input).await
}

async fn read(method: &EngineHarness, path: &str) -> Result<Value, Error> {
    method.call(Operation::Read, path, json!({})).await.map(|reply| data(&reply))
}

async fn delete(method: &EngineHarness, path: &str) {
    method.call(Operation::Delete, path, json!({})).await.unwrap();
}

/// Makes a role; gives its role id.
async fn role(method: &EngineHarness, name: &str, input: Value) -> String {
    update(method, &format!("role/{name}"), input).await.unwrap();
    let shown = read(method, &format!("role/{name}/role-id")).await.unwrap();
    shown["role_id"].as_str().unwrap().to_owned()
}

/// Makes a secret id; gives it and its accessor.
async fn secret_id(method: &EngineHarness, role: &str, input: Value) -> (String, String) {
    let made = data(&update(method, &format!("role/{role}/secret-id"), input).await.unwrap());
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("secret_id"), text("secret_id_accessor"))
}

async fn log_in(method: &EngineHarness, role_id: &str, secret: &str) -> Result<Login, Error> {
    let input = json!({ "role_id": role_id, "secret_id": secret });
    let reply = update(method, "login", input).await?;
    let Body::Login(login) = reply.body else { panic!("{reply:?}") };
    Ok(*login)
}

fn failure<T: std::fmt::Debug>(outcome: Result<T, Error>) -> (Code, String) {
    let error = outcome.unwrap_err();
    (error.code, error.to_string())
}

async fn stored(method: &EngineHarness) -> Vec<(String, Vec<u8>)> {
    let entries: Vec<_> = method.backend().scan("", "").try_collect().await.unwrap();
    entries.into_iter().map(|(key, entry)| (key, entry.bytes.to_vec())).collect()
}

#[tokio::test]
async fn a_role_logs_in_with_role_id_and_secret_id() {
    let method = method().await;
    let input = json!({"token_policies": ["p"], "token_ttl": "10m", "token_max_ttl": "30m"});
    let role_id = role(&method, "CI", input).await;
    let (secret, _) = secret_id(&method, "ci", json!({"metadata": r#"{"k":"v"}"#})).await;
    let login = log_in(&method, &role_id, &secret).await.unwrap();
    assert_eq!(login.policies, ["p"]);
    assert_eq!(
        login.metadata,
        [("k", "v"), ("role_name", "ci")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    );
    assert_eq!(login.alias.as_ref().unwrap().name, role_id);
    assert_eq!((login.ttl, login.max_ttl), (Duration::from_secs(600), Duration::from_secs(1800)));
}

#[tokio::test]
async fn whoever_cannot_log_in_is_not_told_why() {
    let method = method().await;
    let role_id = role(&method, "r", json!({})).await;
    let other_id = role(&method, "other", json!({})).await;
    let (secret, _) = secret_id(&method, "r", json!({})).await;
    let unknown = failure(log_in(&method, "nobody", &secret).await);
    assert_eq!(unknown, (Code::UnknownUser, REFUSED.to_owned()));
    for (role_id, secret) in [(&role_id, "wrong"), (&other_id, secret.as_str())] {
        let wrong = failure(log_in(&method, role_id, secret).await);
        assert_eq!(wrong, (Code::BadCredentials, REFUSED.to_owned()));
    }
    assert_eq!(failure(log_in(&method, "", &secret).await).1, "missing role_id");
    assert_eq!(failure(log_in(&method, &role_id, "").await).1, "missing secret_id");
}

#[tokio::test]
async fn metadata_makes_up_no_other_role() {
    let method = method().await;
    let role_id = role(&method, "r", json!({})).await;
    let (secret, _) = secret_id(&method, "r", json!({"metadata": "role_name=admin"})).await;
    let login = log_in(&method, &role_id, &secret).await.unwrap();
    assert_eq!(login.metadata["role_name"], "r");
}

#[tokio::test]
async fn a_secret_id_for_one_use_lets_exactly_one_in() {
    let method = method().await;
    let role_id = role(&method, "r", json!({"secret_id_num_uses": 1})).await;
    for _ in 0..8 {
        let (secret, accessor) = secret_id(&method, "r", json!({})).await;
        let racers = (0..8).map(|_| log_in(&method, &role_id, &secret));
        let outcomes = join_all(racers).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert_eq!(failure(outcome), (Code::BadCredentials, REFUSED.to_owned()));
        }
        let input = json!({ "secret_id_accessor": accessor });
        let found = update(&method, "role/r/secret-id-accessor/lookup", input).await.unwrap();
        assert!(found.missing, "nothing is left of it");
    }
}

#[tokio::test]
async fn a_secret_id_counts_its_uses_under_racers() {
    let method = method().await;
    let role_id = role(&method, "r", json!({"secret_id_num_uses": 5})).await;
    let (secret, _) = secret_id(&method, "r", json!({})).await;
    let outcomes = join_all((0..12).map(|_| log_in(&method, &role_id, &secret))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_secret_id_ends_with_its_time_and_is_tidied_away() {
    let method = method().await;
    let role_id = role(&method, "r", json!({"secret_id_ttl": "1h"})).await;
    let before = stored(&method).await.len();
    let (secret, accessor) = secret_id(&method, "r", json!({"ttl": "5m"})).await;
    log_in(&method, &role_id, &secret).await.unwrap();
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!(failure(log_in(&method, &role_id, &secret).await).1, REFUSED);
    let looked = update(&method, "role/r/secret-id/lookup", json!({ "secret_id": secret })).await;
    assert!(matches!(looked.unwrap().body, Body::Empty));
    let input = json!({ "secret_id_accessor": accessor });
    assert!(update(&method, "role/r/secret-id-accessor/lookup", input).await.unwrap().missing);
    let (alive, _) = secret_id(&method, "r", json!({})).await;
    update(&method, "tidy/secret-id", json!({})).await.unwrap();
    assert_eq!(stored(&method).await.len(), before + 2, "the living one and its accessor");
    log_in(&method, &role_id, &alive).await.unwrap();
}

#[tokio::test]
async fn with_the_role_go_its_ids_for_good() {
    let method = method().await;
    let before = stored(&method).await;
    let role_id = role(&method, "r", json!({"role_id": "fixed"})).await;
    let mut secret = String::new();
    for _ in 0..120 {
        secret = secret_id(&method, "r", json!({})).await.0;
    }
    let login = log_in(&method, &role_id, &secret).await.unwrap();
    delete(&method, "role/r").await;
    delete(&method, "role/r").await;
    let keys = |entries: Vec<(String, Vec<u8>)>| -> Vec<String> {
        entries.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(stored(&method).await), keys(before), "all of it is cleared away");
    // A later role of the same name with the same role id is another one.
    role(&method, "r", json!({"role_id": "fixed"})).await;
    assert_eq!(failure(log_in(&method, "fixed", &secret).await).1, REFUSED);
    let (code, text) = failure(method.renew_login(&login).await);
    assert_eq!(code, Code::InvalidRequest);
    assert!(text.contains("does not exist during renewal"), "{text}");
}

#[tokio::test]
async fn a_token_is_prolonged_by_what_the_role_says_now() {
    let method = method().await;
    let role_id = role(&method, "r", json!({"token_ttl": 60})).await;
    let (secret, _) = secret_id(&method, "r", json!({})).await;
    let login = log_in(&method, &role_id, &secret).await.unwrap();
    update(&method, "role/r", json!({"token_ttl": 30})).await.unwrap();
    let renewed = method.renew_login(&login).await.unwrap().unwrap();
    assert_eq!(renewed.ttl, Duration::from_secs(30));
}

#[tokio::test]
async fn a_role_id_names_one_role() {
    let method = method().await;
    let first = role(&method, "a", json!({})).await;
    role(&method, "b", json!({})).await;
    update(&method, "role/a/role-id", json!({"role_id": "mine"})).await.unwrap();
    let (code, text) = failure(update(&method, "role/b/role-id", json!({"role_id": "mine"})).await);
    assert_eq!((code, text.as_str()), (Code::InvalidRequest, "role_id already in use"));
    let (secret, _) = secret_id(&method, "a", json!({})).await;
    assert_eq!(failure(log_in(&method, &first, &secret).await).1, REFUSED);
    log_in(&method, "mine", &secret).await.unwrap();
    // The one that was given up is free again.
    update(&method, "role/b/role-id", json!({ "role_id": first })).await.unwrap();
    assert_eq!(failure(update(&method, "role/a/role-id", json!({})).await).1, "missing role_id");
}

#[tokio::test]
async fn a_role_is_shown_listed_and_changed_field_by_field() {
    let method = method().await;
    role(
        &method,
        "r",
        json!({"policies": "a,b", "period": "1h", "bound_cidr_list": "127.0.0.1/32"}),
    )
    .await;
    assert_eq!(
        read(&method, "role/R").await.unwrap(),
        json!({
            "bind_secret_id": true, "local_secret_ids": false, "period": 3600,
            "policies": ["a", "b"], "secret_id_bound_cidrs": ["127.0.0.1/32"],
            "secret_id_num_uses": 0, "secret_id_ttl": 0, "token_bound_cidrs": [],
            "token_explicit_max_ttl": 0, "token_max_ttl": 0, "token_no_default_policy": false,
            "token_num_uses": 0, "token_period": 3600, "token_policies": ["a", "b"],
            "token_ttl": 0, "token_type": "default",
        })
    );
    let listed = method.call(Operation::List, "role", json!({})).await.unwrap();
    assert_eq!(data(&listed), json!({"keys": ["r"]}));
    for (field, name, value, zero) in [
        ("policies", "token_policies", json!(["x"]), json!([])),
        ("period", "token_period", json!(9), json!(0)),
        ("token-ttl", "token_ttl", json!(8), json!(0)),
        ("token-max-ttl", "token_max_ttl", json!(9), json!(0)),
        ("token-num-uses", "token_num_uses", json!(3), json!(0)),
        ("token-bound-cidrs", "token_bound_cidrs", json!(["10.0.0.0/8"]), json!([])),
        ("bind-secret-id", "bind_secret_id", json!(false), json!(true)),
        ("secret-id-bound-cidrs", "secret_id_bound_cidrs", json!(["10.0.0.0/8"]), json!(null)),
        ("bound-cidr-list", "bound_cidr_list", json!(["10.0.0.0/8"]), json!(null)),
        ("secret-id-num-uses", "secret_id_num_uses", json!(3), json!(0)),
        ("secret-id-ttl", "secret_id_ttl", json!(3), json!(0)),
    ] {
        let path = format!("role/r/{field}");
        update(&method, &path, json!({ name: value })).await.unwrap();
        assert_eq!(read(&method, &path).await.unwrap(), json!({ name: value }), "{field}");
        let missing = failure(update(&method, &path, json!({})).await);
        assert_eq!(missing, (Code::InvalidRequest, format!("missing {name}")));
        delete(&method, &path).await;
        assert_eq!(read(&method, &path).await.unwrap(), json!({ name: zero }), "{field}");
    }
    assert_eq!(
        read(&method, "role/r/local-secret-ids").await.unwrap(),
        json!({"local_secret_ids": false})
    );
    assert_eq!(failure(read(&method, "role/nope/token-ttl").await).0, Code::NotFound);
    let missing = failure(update(&method, "role/nope/token-ttl", json!({"token_ttl": 1})).await);
    assert_eq!(missing, (Code::NotFound, "role \"nope\" does not exist".to_owned()));
}

#[tokio::test]
async fn a_role_without_secret_id_is_bound_otherwise() {
    let method = method().await;
    let (_, text) = failure(update(&method, "role/r", json!({"bind_secret_id": false})).await);
    assert_eq!(text, "at least one constraint should be enabled on the role");
    let input = json!({"bind_secret_id": false, "token_bound_cidrs": "127.0.0.1/32"});
    let role_id = role(&method, "r", input).await;
    let (_, text) = failure(update(&method, "role/r/secret-id", json!({})).await);
    assert_eq!(text, "bind_secret_id is not set on the role");
    let (_, text) = failure(
        update(&method, "role/r/token-bound-cidrs", json!({"token_bound_cidrs": []})).await,
    );
    assert_eq!(text, "at least one constraint should be enabled on the role");
    assert_eq!(log_in(&method, &role_id, "").await.unwrap().bound_cidrs, ["127.0.0.1"]);
}

#[tokio::test]
async fn addresses_bind_logins_and_tokens() {
    let method = method().await.from_address([10, 1, 0, 1].into());
    let input = json!({"secret_id_bound_cidrs": "10.0.0.0/8", "token_bound_cidrs": "10.0.0.0/8"});
    let role_id = role(&method, "r", input).await;
    let (_, text) =
        failure(update(&method, "role/r/secret-id", json!({"cidr_list": ["11.0.0.0/8"]})).await);
    assert!(text.contains("subset"), "{text}");
    let input = json!({"cidr_list": ["10.1.0.0/16"], "token_bound_cidrs": ["10.1.0.0/24"]});
    let (secret, _) = secret_id(&method, "r", input).await;
    assert_eq!(log_in(&method, &role_id, &secret).await.unwrap().bound_cidrs, ["10.1.0.0/24"]);
    let method = method.from_address([10, 2, 0, 1].into());
    let (code, text) = failure(log_in(&method, &role_id, &secret).await);
    assert_eq!(code, Code::InvalidRequest);
    assert!(text.starts_with("source address \"10.2.0.1\" unauthorized through CIDR"), "{text}");
    let (secret, _) = secret_id(&method, "r", json!({})).await;
    let method = method.from_address([192, 0, 2, 1].into());
    let (_, text) = failure(log_in(&method, &role_id, &secret).await);
    assert!(text.contains("CIDR restrictions on the role"), "{text}");
}

#[tokio::test]
async fn secret_ids_are_looked_up_listed_and_destroyed() {
    let method = method().await;
    let role_id = role(&method, "r", json!({"secret_id_ttl": "1h", "secret_id_num_uses": 3})).await;
    let (secret, accessor) = secret_id(&method, "r", json!({"metadata": "a=b"})).await;
    let by_secret = json!({ "secret_id": secret });
    let by_accessor = json!({ "secret_id_accessor": accessor });
    let shown = data(&update(&method, "role/r/secret-id/lookup", by_secret.clone()).await.unwrap());
    let path = "role/r/secret-id-accessor/lookup";
    assert_eq!(shown, data(&update(&method, path, by_accessor.clone()).await.unwrap()));
    assert_eq!(shown["secret_id_accessor"], accessor.as_str());
    assert_eq!((&shown["secret_id_num_uses"], &shown["secret_id_ttl"]), (&json!(3), &json!(3600)));
    assert_eq!(shown["metadata"], json!({"a": "b"}));
    assert!(!shown.to_string().contains(&secret));
    let listed = method.call(Operation::List, "role/r/secret-id", json!({})).await.unwrap();
    assert_eq!(data(&listed), json!({ "keys": [accessor] }));
    for _ in 0..2 {
        update(&method, "role/r/secret-id/destroy", by_secret.clone()).await.unwrap();
    }
    assert_eq!(failure(log_in(&method, &role_id, &secret).await).1, REFUSED);
    let (code, text) =
        failure(update(&method, "role/r/secret-id-accessor/destroy", by_accessor).await);
    assert_eq!(code, Code::NotFound);
    assert!(text.starts_with("failed to find accessor entry"), "{text}");
    let (secret, accessor) = secret_id(&method, "r", json!({})).await;
    let input = json!({ "secret_id_accessor": accessor });
    method.call(Operation::Delete, "role/r/secret-id-accessor/destroy", input).await.unwrap();
    assert_eq!(failure(log_in(&method, &role_id, &secret).await).1, REFUSED);
    for (path, text) in [
        ("role/r/secret-id/lookup", "missing secret_id"),
        ("role/r/secret-id/destroy", "missing secret_id"),
        ("role/r/secret-id-accessor/lookup", "missing secret_id_accessor"),
    ] {
        assert_eq!(
            failure(update(&method, path, json!({})).await),
            (Code::InvalidRequest, text.to_owned())
        );
    }
}

#[tokio::test]
async fn a_new_secret_id_keeps_within_what_the_role_allows() {
    let method = method().await;
    role(&method, "r", json!({"secret_id_ttl": "1h", "secret_id_num_uses": 3})).await;
    for (input, text) in [
        (json!({"ttl": "5h"}), "ttl cannot be longer than the role's secret_id_ttl"),
        (json!({"ttl": 0}), "ttl cannot be longer than the role's secret_id_ttl"),
        (json!({"num_uses": 4}), "num_uses cannot be higher than the role's secret_id_num_uses"),
        (json!({"num_uses": 0}), "num_uses cannot be higher than the role's secret_id_num_uses"),
        (json!({"num_uses": -1}), "num_uses cannot be negative"),
        (json!({"cidr_list": "x"}), "failed to validate CIDR blocks: invalid CIDR address: x"),
        (
            json!({"metadata": "nope"}),
            "failed to parse metadata: failed to parse the input: invalid <key,value> format",
        ),
    ] {
        let outcome = failure(update(&method, "role/r/secret-id", input).await);
        assert_eq!(outcome, (Code::InvalidRequest, text.to_owned()));
    }
    let missing = failure(update(&method, "role/nope/secret-id", json!({})).await);
    assert_eq!(missing, (Code::NotFound, "role \"nope\" does not exist".to_owned()));
}

#[tokio::test]
async fn a_secret_id_made_elsewhere_is_taken_once() {
    let method = method().await;
    let role_id = role(&method, "r", json!({})).await;
    let path = "role/r/custom-secret-id";
    let input = json!({"secret_id": "my/own/secret", "num_uses": 2});
    let made = data(&update(&method, path, input.clone()).await.unwrap());
    assert_eq!(
        (&made["secret_id"], &made["secret_id_num_uses"]),
        (&json!("my/own/secret"), &json!(2))
    );
    assert!(failure(update(&method, path, input).await).1.ends_with("already registered"));
    assert_eq!(failure(update(&method, path, json!({})).await).1, "missing secret_id");
    let long = json!({"secret_id": "x".repeat(approle::SECRET_ID_BYTES_MAX + 1)});
    assert_eq!(failure(update(&method, path, long).await).0, Code::InvalidRequest);
    log_in(&method, &role_id, "my/own/secret").await.unwrap();
}

#[tokio::test]
async fn storage_shows_neither_roles_nor_their_ids() {
    let method = method().await;
    let role_id = role(&method, "canary-role", json!({"role_id": "canary-role-id"})).await;
    let (secret, accessor) =
        secret_id(&method, "canary-role", json!({"metadata": "canary=1"})).await;
    let input = json!({"secret_id": "canary-secret"});
    update(&method, "role/canary-role/custom-secret-id", input).await.unwrap();
    log_in(&method, &role_id, &secret).await.unwrap();
    for (key, bytes) in stored(&method).await {
        let bytes = String::from_utf8_lossy(&bytes).into_owned();
        for word in ["canary", &secret, &accessor] {
            assert!(!key.contains(word) && !bytes.contains(word), "{key}");
        }
    }
}
