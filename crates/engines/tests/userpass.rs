//! Users and their passwords, one sentence a test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics is a test that fails")]

use bailee_engines::auth::userpass;
use bailee_sdk::{
    Body, Code, Error, Login, Operation, Reply, TokenType,
    testing::{EngineHarness, data},
};
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use std::time::Duration;

async fn method() -> EngineHarness {
    EngineHarness::mount(&userpass::kind(), &[]).await
}

async fn update(method: &EngineHarness, path: &str, input: Value) -> Result<Reply, Error> {
    method.call(Operation::Update, path, input).await
}

async fn log_in(method: &EngineHarness, user: &str, password: &str) -> Result<Login, Error> {
    let reply = update(method, &format!("login/{user}"), json!({ "password": password })).await?;
    let Body::Login(login) = reply.body else { panic!("{reply:?}") };
    Ok(*login)
}

fn failure<T: std::fmt::Debug>(outcome: Result<T, Error>) -> (Code, String) {
    let error = outcome.unwrap_err();
    (error.code, error.to_string())
}

#[tokio::test]
async fn a_user_logs_in_with_the_password() {
    let method = method().await;
    let input = json!({
        "password": "pw", "token_policies": "dev,ops", "token_ttl": "10m", "token_max_ttl": "1h",
        "token_type": "service",
    });
    update(&method, "users/Alice", input).await.unwrap();
    let login = log_in(&method, "aLiCe", "pw").await.unwrap();
    assert_eq!(login.display_name, "alice");
    assert_eq!(login.policies, ["dev", "ops"]);
    assert_eq!(login.metadata, [("username".to_owned(), "alice".to_owned())].into());
    assert_eq!(login.alias.as_ref().unwrap().name, "alice");
    assert_eq!((login.ttl, login.max_ttl), (Duration::from_secs(600), Duration::from_secs(3600)));
    assert_eq!((login.token_type, login.renewable), (TokenType::Service, true));
}

#[tokio::test]
async fn whoever_cannot_log_in_is_not_told_why() {
    let method = method().await;
    update(&method, "users/al", json!({"password": "pw"})).await.unwrap();
    let refused = "invalid username or password".to_owned();
    let wrong = failure(log_in(&method, "al", "PW").await);
    assert_eq!(wrong, (Code::BadCredentials, refused.clone()));
    assert_eq!(failure(log_in(&method, "bo", "pw").await), (Code::UnknownUser, refused));
    let missing = (Code::InvalidRequest, "missing password".to_owned());
    assert_eq!(failure(log_in(&method, "al", "").await), missing);
    assert_eq!(failure(update(&method, "login/bo", json!({})).await), missing);
}

#[tokio::test]
async fn a_user_is_shown_without_the_password_and_listed() {
    let method = method().await;
    let list = || method.call(Operation::List, "users", json!({}));
    assert_eq!(failure(list().await).0, Code::NotFound);
    let input = json!({"password": "canary", "policies": "a", "ttl": 60, "max_ttl": "2m"});
    update(&method, "users/al", input).await.unwrap();
    update(&method, "users/bo", json!({"password": "pw"})).await.unwrap();
    let shown = data(&method.call(Operation::Read, "users/al", json!({})).await.unwrap());
    assert_eq!(
        shown,
        json!({
            "policies": ["a"], "ttl": 60, "max_ttl": 120, "token_bound_cidrs": [],
            "token_explicit_max_ttl": 0, "token_max_ttl": 120, "token_no_default_policy": false,
            "token_num_uses": 0, "token_period": 0, "token_policies": ["a"], "token_ttl": 60,
            "token_type": "default",
        })
    );
    assert_eq!(data(&list().await.unwrap()), json!({"keys": ["al", "bo"]}));
    assert_eq!(method.exists("users/AL", json!({})).await.unwrap().ok(), Some(true));
    method.call(Operation::Delete, "users/al", json!({})).await.unwrap();
    method.call(Operation::Delete, "users/al", json!({})).await.unwrap();
    assert_eq!(data(&list().await.unwrap()), json!({"keys": ["bo"]}));
    assert_eq!(failure(log_in(&method, "al", "canary").await).0, Code::UnknownUser);
}

#[tokio::test]
async fn password_and_policies_change_alone() {
    let method = method().await;
    update(&method, "users/al", json!({"password": "old", "token_ttl": 9})).await.unwrap();
    update(&method, "users/al/password", json!({"password": "new"})).await.unwrap();
    update(&method, "users/al/policies", json!({"policies": ["p"]})).await.unwrap();
    assert_eq!(failure(log_in(&method, "al", "old").await).0, Code::BadCredentials);
    let login = log_in(&method, "al", "new").await.unwrap();
    assert_eq!((login.policies, login.ttl), (vec!["p".to_owned()], Duration::from_secs(9)));
    // A change of something else leaves the password.
    update(&method, "users/al", json!({"token_ttl": 8})).await.unwrap();
    log_in(&method, "al", "new").await.unwrap();
    let unknown = (Code::InvalidRequest, "username does not exist".to_owned());
    for path in ["users/bo/password", "users/bo/policies"] {
        let input = json!({"password": "pw", "token_policies": "p"});
        assert_eq!(failure(update(&method, path, input).await), unknown);
    }
}

#[tokio::test]
async fn a_hash_made_elsewhere_stands_for_the_password() {
    let method = method().await;
    let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    update(&method, "users/al", json!({"password_hash": hash})).await.unwrap();
    log_in(&method, "al", "U*U").await.unwrap();
    for input in
        [json!({"password_hash": "canary"}), json!({"password_hash": hash, "password": "x"})]
    {
        let (code, text) = failure(update(&method, "users/bo", input).await);
        assert_eq!(code, Code::InvalidRequest);
        assert!(text.contains("password_hash") && !text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn what_makes_no_user_is_refused() {
    let method = method().await;
    for (input, text) in [
        (json!({}), "missing password"),
        (json!({"password": "x".repeat(73)}), "at most 72 bytes"),
        (json!({"password": "x", "token_type": "weird"}), "invalid 'token_type'"),
        (json!({"password": "x", "token_bound_cidrs": "nope"}), "nope"),
        (json!({"password": ["canary"]}), "'' expected type 'string'"),
    ] {
        let (code, said) = failure(update(&method, "users/al", input).await);
        assert_eq!(code, Code::InvalidRequest);
        assert!(said.contains(text) && !said.contains("canary"), "{said}");
    }
    let long = format!("users/{}", "x".repeat(userpass::USERNAME_BYTES_MAX + 1));
    assert_eq!(
        failure(update(&method, &long, json!({"password": "x"})).await).0,
        Code::InvalidRequest
    );
    assert_eq!(
        method.call(Operation::List, "users", json!({})).await.unwrap_err().code,
        Code::NotFound
    );
}

#[tokio::test]
async fn a_login_says_from_where_its_tokens_may_be_used() {
    let method = method().await;
    let input = json!({"password": "pw", "token_bound_cidrs": ["10.0.0.0/8", "127.0.0.1/32"]});
    update(&method, "users/al", input).await.unwrap();
    let login = log_in(&method, "al", "pw").await.unwrap();
    assert_eq!(login.bound_cidrs, ["10.0.0.0/8", "127.0.0.1"]);
}

#[tokio::test]
async fn a_token_is_prolonged_while_the_user_is_there_with_the_same_policies() {
    let method = method().await;
    update(&method, "users/al", json!({"password": "pw", "policies": "P"})).await.unwrap();
    let mut login = log_in(&method, "al", "pw").await.unwrap();
    // The kernel keeps policies in lower case.
    login.policies = vec!["p".to_owned()];
    update(&method, "users/al", json!({"token_ttl": 5})).await.unwrap();
    let renewed = method.renew_login(&login).await.unwrap().unwrap();
    assert_eq!(renewed.ttl, Duration::from_secs(5));
    update(&method, "users/al", json!({"policies": "p,q"})).await.unwrap();
    let (code, text) = failure(method.renew_login(&login).await);
    assert_eq!(
        (code, text.as_str()),
        (Code::InvalidRequest, "policies have changed, not renewing")
    );
    method.call(Operation::Delete, "users/al", json!({})).await.unwrap();
    assert_eq!(failure(method.renew_login(&login).await).0, Code::InvalidRequest);
}

#[tokio::test]
async fn storage_shows_neither_users_nor_passwords() {
    let method = method().await;
    update(&method, "users/canary-user", json!({"password": "canary-password"})).await.unwrap();
    log_in(&method, "canary-user", "canary-password").await.unwrap();
    let entries: Vec<_> = method.backend().scan("", "").try_collect().await.unwrap();
    for (key, entry) in entries {
        let bytes = String::from_utf8_lossy(&entry.bytes).into_owned();
        assert!(!key.contains("canary") && !bytes.contains("canary"), "{key}");
        assert!(!bytes.contains("$2b$"), "{key}");
    }
}
