//! Logins that are repeated.

use super::{Fares, Front, Got, Vault};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

use crate::listeners::tests::forward;

const LOGIN: &str = "POST auth/approle/login";
const LOOK: &str = "GET auth/token/lookup-self canary-login-1";

impl Front {
    async fn login(&self, secret_id: &str) -> Got {
        let body = json!({"role_id": "r", "secret_id": secret_id});
        self.ask("POST", "/v1/auth/approle/login", &[], &body.to_string()).await
    }

    /// One that is kept, and that the server took twice.
    async fn twice(&self) {
        for _ in 0..2 {
            assert_eq!(token(&self.login("s").await), "canary-login-1");
        }
        self.fake.asked();
    }
}

fn told(got: &Got) -> Value {
    assert_eq!(got.status, 200, "{}", got.body);
    serde_json::from_str(&got.body).unwrap()
}

fn token(got: &Got) -> String {
    told(got)["auth"]["client_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_login_that_is_repeated_gives_the_same_token_and_the_server_is_asked_once_more() {
    let front = Front::new().await;
    assert_eq!(front.login("s").await.brief(), (200, "MISS"));
    // Maybe it was good for one time: the server takes it again, and gets back what it made for the question.
    let again = front.login("s").await;
    assert_eq!((again.brief(), token(&again)), ((200, "HIT"), "canary-login-1".to_owned()));
    let leave = "POST auth/token/revoke-self canary-login-2";
    assert_eq!(front.fake.asked(), [LOGIN, LOGIN, LOOK, leave]);
    for _ in 0..3 {
        assert_eq!(token(&front.login("s").await), "canary-login-1");
    }
    assert_eq!(front.fake.asked(), Vec::<String>::new());
    // After a while it is asked whether that is so still.
    front.fake.state.lock().lease = 1_000;
    forward(60).await;
    assert_eq!(token(&front.login("s").await), "canary-login-1");
    assert_eq!(front.fake.asked().len(), 3);
    assert_eq!(token(&front.login("other").await), "canary-login-4");
}

#[tokio::test]
async fn a_secret_id_that_is_good_for_one_login_lets_nobody_in_twice() {
    let front = Front::new().await;
    front.fake.state.lock().secret_ids.insert("once".to_owned(), 1);
    assert_eq!(token(&front.login("once").await), "canary-login-1");
    for fares in [Fares::Well, Fares::Gone] {
        front.fake.fares(fares);
        for _ in 0..2 {
            let refused = front.login("once").await;
            assert_ne!(refused.status, 200);
            assert!(!refused.body.contains("canary"));
        }
    }
    // Whoever was let in stays in: the token is renewed.
    front.fake.fares(Fares::Well);
    front.fake.state.lock().renewals = Some(100);
    front.fake.asked();
    forward(70).await;
    front.proxy.renew_due().await;
    assert_eq!(front.fake.asked(), ["PUT auth/token/renew-self canary-login-1"]);
}

#[tokio::test]
async fn a_secret_id_that_was_destroyed_elsewhere_serves_no_longer_than_a_secret_does() {
    let front = Front::new().await;
    front.twice().await;
    front.fake.state.lock().secret_ids.insert("s".to_owned(), 0);
    front.fake.state.lock().renewals = Some(1_000);
    forward(59).await;
    assert_eq!(front.login("s").await.brief(), (200, "HIT"));
    forward(1).await;
    for _ in 0..2 {
        assert_eq!(front.login("s").await.status, 400);
    }
    front.fake.fares(Fares::Gone);
    assert_eq!(front.login("s").await.status, 502);
}

#[tokio::test]
async fn the_token_is_renewed_and_the_answer_says_how_long_it_holds() {
    let front = Front::new().await;
    front.twice().await;
    let left = async || told(&front.login("s").await)["auth"]["lease_duration"].as_u64().unwrap();
    forward(40).await;
    let seconds = left().await;
    assert!((59..=60).contains(&seconds), "{seconds}");
    front.fake.state.lock().renewals = Some(100);
    forward(27).await;
    front.fake.asked();
    front.proxy.renew_due().await;
    assert_eq!(front.fake.asked(), ["PUT auth/token/renew-self canary-login-1"]);
    assert!(left().await >= 99);
    // It comes to its end.
    front.fake.state.lock().renewals = Some(10);
    forward(70).await;
    front.proxy.renew_due().await;
    forward(10).await;
    assert_ne!(token(&front.login("s").await), "canary-login-1");
}

#[tokio::test]
async fn a_token_that_ended_elsewhere_is_not_given_again_once_somebody_was_refused_with_it() {
    let front = Front::new().await;
    front.twice().await;
    front.fake.state.lock().ended.insert("canary-login-1".to_owned());
    assert_eq!(front.as_token("canary-login-1", "secret/data/app").await.status, 403);
    assert_eq!(token(&front.login("s").await), "canary-login-3");
    // A refusal for lack of a right is no end.
    assert_eq!(token(&front.login("s").await), "canary-login-3");
    front.fake.fares(Fares::Says(403));
    assert_eq!(front.as_token("canary-login-3", "secret/data/other").await.status, 403);
    front.fake.fares(Fares::Well);
    assert_eq!(token(&front.login("s").await), "canary-login-3");
}

#[tokio::test]
async fn who_logs_in_after_the_rights_changed_gets_a_token_with_the_new_ones() {
    let front = Front::new().await;
    front.twice().await;
    for (policies, given) in [(vec!["less"], 3), (vec!["less"], 3), (vec!["less", "more"], 5)] {
        front.fake.state.lock().policies = policies;
        front.fake.state.lock().lease = 1_000;
        forward(60).await;
        assert_eq!(token(&front.login("s").await), format!("canary-login-{given}"));
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_keeps_nobody_waiting_for_one_after_another() {
    let front = Front::new().await;
    front.login("s").await;
    front.fake.fares(Fares::Hangs);
    let began = Instant::now();
    tokio::time::pause();
    let got = futures_util::future::join_all((0..8).map(|_| front.login("s"))).await;
    assert!(got.iter().all(|got| got.status == 502));
    assert!(began.elapsed() < Duration::from_secs(200), "{:?}", began.elapsed());
}

#[tokio::test]
async fn with_its_token_or_its_mount_a_login_is_let_go() {
    for (verb, path, as_token, kept) in [
        ("POST", "auth/token/revoke-self", "canary-login-1", false),
        ("POST", "auth/token/revoke-self", "other", true),
        ("POST", "auth/approle/role/app", "other", false),
        ("DELETE", "auth/approle/role/app", "other", false),
        ("POST", "auth/approle/role/app/secret-id/destroy", "other", false),
        ("POST", "auth/jwt/role/app", "other", true),
        ("POST", "sys/leases/revoke-prefix/auth/approle/login", "other", false),
        ("POST", "sys/leases/revoke-prefix/auth/approle/login/h1", "other", false),
        ("POST", "sys/leases/revoke-prefix/auth/jwt", "other", true),
        ("PUT", "sys/leases/revoke/auth/approle/login/h1", "other", false),
        ("PUT", "sys/leases/revoke/auth/jwt/login/h1", "other", true),
        ("POST", "auth/token/create", "other", true),
        ("DELETE", "sys/auth/approle", "other", false),
    ] {
        let front = Front::new().await;
        front.twice().await;
        let headers = [("X-Vault-Token", as_token)];
        assert!(front.ask(verb, &format!("/v1/{path}"), &headers, "{}").await.status < 300);
        let same = token(&front.login("s").await) == "canary-login-1";
        assert_eq!(same, kept, "{verb} {path}");
    }
}

#[tokio::test]
async fn with_the_token_of_a_login_goes_what_was_asked_for_with_it() {
    let front = Front::new().await;
    front.twice().await;
    assert_eq!(front.as_token("canary-login-1", "aws/creds/app").await.brief(), (200, "MISS"));
    assert_eq!(front.as_token("canary-login-1", "aws/creds/app").await.brief(), (200, "HIT"));
    let headers = [("X-Vault-Token", "canary-login-1")];
    front.ask("PUT", "/v1/auth/token/revoke-self", &headers, "{}").await;
    assert_eq!(front.as_token("canary-login-1", "aws/creds/app").await.status, 403);
}

#[tokio::test]
async fn in_an_outage_a_login_that_was_taken_twice_serves_with_what_is_kept_for_its_token() {
    let front = Front::new().await;
    front.fake.state.lock().lease = 7_200;
    front.twice().await;
    front.as_token("canary-login-1", "secret/data/app").await;
    front.fake.fares(Fares::Gone);
    forward(600).await;
    for _ in 0..2 {
        let got = front.login("s").await;
        assert_eq!((got.brief(), token(&got)), ((200, "HIT"), "canary-login-1".to_owned()));
        assert!(got.warning.is_some());
        assert_eq!(front.as_token("canary-login-1", "secret/data/app").await.brief(), (200, "HIT"));
    }
    assert_eq!(front.login("other").await.status, 502);
    // No longer than its token.
    forward(6_000).await;
    assert_eq!(front.login("s").await.status, 502);
}

/// A path, headers and a body.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Value);

#[tokio::test]
async fn logins_that_must_be_answered_anew_are() {
    let front = Front::new().await;
    let machine = json!({"role_id": "r", "secret_id": "s"});
    let cases: [Case<'_>; 6] = [
        ("auth/userpass/login/me", &[], json!({"password": "p"})),
        ("auth/aws/login", &[], json!({"iam_request_headers": "h"})),
        ("auth/approle/login", &[("X-Vault-MFA", "m:1")], machine.clone()),
        ("auth/approle/login", &[("X-Vault-Wrap-TTL", "60")], machine.clone()),
        ("auth/approle/login", &[("Cache-Control", "no-cache")], machine.clone()),
        ("auth/approle/login", &[], json!({"role_id": "r", "num_uses": 3})),
    ];
    for (path, headers, body) in cases {
        front.fake.asked();
        for _ in 0..3 {
            let got = front.ask("POST", &format!("/v1/{path}"), headers, &body.to_string()).await;
            assert_eq!(got.brief(), (200, "MISS"), "{path} {headers:?}");
        }
        let asked = front.fake.asked();
        assert_eq!(asked.len(), 3, "{asked:?}");
    }
    for change in [
        |vault: Vault| Vault { keep_logins: false, ..vault },
        |vault: Vault| vault.cache_ttl(Duration::ZERO).unwrap(),
    ] {
        let front = Front::with(change).await;
        let given = [front.login("s").await, front.login("s").await].map(|got| token(&got));
        assert_eq!(given, ["canary-login-1", "canary-login-2"]);
    }
}
