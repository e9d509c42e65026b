//! A server's API through the agent.

pub(in crate::listeners) mod fake;
mod login;

use super::{AgentToken, Proxy, Vault};
use crate::listeners::{
    Listeners,
    guard::Guard,
    settings::{Guard as GuardSettings, Interface, Limits, Settings},
    tests::{Hands, Stage, forward, wire},
};
use bailee_client::{Client, Session, login::Login};
use bailee_crypto::Sensitive;
use bytes::Bytes;
use fake::{FakeVault, Fares};
use http::{Request, request::Parts};
use http_body_util::BodyExt;
use std::{sync::Arc, time::Duration};

/// A proxy in front of a fake, without a socket of its own.
struct Front {
    fake: Arc<FakeVault>,
    proxy: Proxy,
}

struct Got {
    status: u16,
    cache: Option<String>,
    age: Option<String>,
    warning: Option<String>,
    body: String,
}

impl Got {
    fn brief(&self) -> (u16, &str) {
        (self.status, self.cache.as_deref().unwrap_or_default())
    }
}

pub(in crate::listeners) fn session(fake: &FakeVault, clock: Arc<Hands>) -> Arc<Session> {
    let mut settings = bailee_client::Settings::new(fake.url().parse().unwrap());
    settings.retries = 0;
    let login = Login::Token(Sensitive::from("canary-agent"));
    Arc::new(Session::new(Client::new(settings).unwrap(), login, clock))
}

impl Front {
    async fn new() -> Front {
        Front::with(|vault| vault).await
    }

    async fn with(change: impl FnOnce(Vault) -> Vault) -> Front {
        let (fake, clock) = (FakeVault::start().await, Hands::new());
        let vault = Vault::new(session(&fake, clock));
        let vault = change(vault.cache_ttl(Duration::from_secs(60)).unwrap());
        let guard = Guard::new(GuardSettings::default(), None).unwrap();
        let proxy = Proxy::new(vault, guard, Stage::new().surroundings());
        Front { fake, proxy }
    }

    async fn ask(&self, verb: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let mut request = Request::builder().method(verb).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()): (Parts, ()) = request.body(()).unwrap().into_parts();
        let answer = match self.proxy.admitted(&head) {
            Ok(()) => self.proxy.spoken(&head, Bytes::from(body.to_owned())).await,
            Err(refused) => *refused,
        };
        let text = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (status, cache) = (answer.status().as_u16(), text("x-cache"));
        let (age, warning) = (text("age"), text("warning"));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Got { status, cache, age, warning, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn get(&self, path: &str) -> Got {
        self.as_token("canary-own", path).await
    }

    async fn as_token(&self, token: &str, path: &str) -> Got {
        self.ask("GET", &format!("/v1/{path}"), &[("X-Vault-Token", token)], "").await
    }

    async fn put(&self, path: &str, body: &str) -> u16 {
        let headers = [("X-Vault-Token", "canary-own")];
        self.ask("PUT", &format!("/v1/{path}"), &headers, body).await.status
    }
}

#[tokio::test]
async fn a_secret_is_read_once_and_again_when_its_time_is_over() {
    let front = Front::new().await;
    let first = front.get("secret/data/app").await;
    assert_eq!(first.brief(), (200, "MISS"));
    assert_eq!(first.age, None);
    front.fake.set("app", "new");
    forward(59).await;
    let kept = front.get("secret/data/app").await;
    assert_eq!((kept.brief(), kept.age.as_deref()), ((200, "HIT"), Some("59")));
    assert_eq!(kept.body, first.body);
    assert_eq!(front.fake.asked(), ["GET secret/data/app canary-own"]);
    forward(1).await;
    let again = front.get("secret/data/app").await;
    assert_eq!(again.brief(), (200, "MISS"));
    assert!(again.body.contains("\"new\""));
}

#[tokio::test]
async fn answers_belong_to_one_token_namespace_path_and_query() {
    let front = Front::new().await;
    let own = ("X-Vault-Token", "a");
    let asks: [(&str, &[(&str, &str)]); 5] = [
        ("/v1/secret/data/app", &[own]),
        ("/v1/secret/data/app", &[("X-Vault-Token", "b")]),
        ("/v1/secret/data/app", &[own, ("X-Vault-Namespace", "ns")]),
        ("/v1/secret/data/app?version=1", &[own]),
        ("/v1/secret/data/app", &[("Authorization", "Bearer c")]),
    ];
    for cache in ["MISS", "HIT"] {
        for (target, headers) in asks {
            let got = front.ask("GET", target, headers, "").await;
            assert_eq!(got.brief(), (200, cache), "{target} {headers:?}");
        }
    }
    assert_eq!(
        front.fake.asked(),
        [
            "GET secret/data/app a",
            "GET secret/data/app b",
            "GET secret/data/app a ns",
            "GET secret/data/app?version=1 a",
            "GET secret/data/app c",
        ]
    );
    // Whoever says so gets an answer of the server.
    let anew = [own, ("Cache-Control", "no-cache")];
    assert_eq!(front.ask("GET", "/v1/secret/data/app", &anew, "").await.brief(), (200, "MISS"));
}

#[tokio::test]
async fn errors_lists_wrapped_answers_and_what_is_no_secret_are_not_kept() {
    let front = Front::new().await;
    for _ in 0..2 {
        for (path, status) in [
            ("secret/data/none", 404),
            ("secret/metadata/?list=true", 200),
            ("sys/health", 200),
            ("auth/token/lookup-self", 200),
        ] {
            assert_eq!(front.get(path).await.brief(), (status, "MISS"), "{path}");
        }
        assert_eq!(front.as_token("refused", "secret/data/app").await.brief(), (403, "MISS"));
        let wrapping = [("X-Vault-Token", "t"), ("X-Vault-Wrap-TTL", "60")];
        let got = front.ask("GET", "/v1/secret/data/app", &wrapping, "").await;
        assert_eq!(got.brief(), (200, "MISS"));
    }
    assert_eq!(front.fake.asked().len(), 12);
}

#[tokio::test]
async fn what_is_written_through_the_agent_is_new_at_once_for_everybody() {
    let front = Front::new().await;
    for (verb, path) in [
        ("PUT", "secret/data/app"),
        ("POST", "secret/data/app"),
        ("PATCH", "secret/data/app"),
        ("POST", "secret/undelete/app"),
        ("POST", "secret/destroy/app"),
        ("DELETE", "secret/data/app"),
        ("DELETE", "secret/metadata/app"),
        ("PUT", "secret//data/app"),
        ("PUT", "secret%2Fdata%2Fapp"),
    ] {
        front.fake.set("app", "before");
        front.fake.set("other", "before");
        for token in ["a", "b"] {
            front.as_token(token, "secret/data/app").await;
        }
        front.as_token("a", "secret/data/other").await;
        let headers = [("X-Vault-Token", "writer")];
        let got = front.ask(verb, &format!("/v1/{path}"), &headers, "{}").await;
        assert!(got.status < 300);
        front.fake.asked();
        for token in ["a", "b"] {
            let got = front.as_token(token, "secret/data/app").await;
            assert_eq!(got.cache.as_deref(), Some("MISS"), "{verb} {path}");
        }
        // Others stay.
        assert_eq!(front.as_token("a", "secret/data/other").await.brief(), (200, "HIT"));
    }
}

#[tokio::test]
async fn a_write_that_is_refused_throws_nothing_away() {
    let front = Front::new().await;
    front.get("secret/data/app").await;
    let headers = [("X-Vault-Token", "refused")];
    let got = front.ask("PUT", "/v1/secret/data/app", &headers, "{}").await;
    assert_eq!(got.status, 403);
    assert_eq!(front.get("secret/data/app").await.brief(), (200, "HIT"));
}

#[tokio::test]
async fn while_the_server_is_away_what_is_kept_serves_to_its_limit() {
    for fares in [Fares::Gone, Fares::Says(502), Fares::Says(503), Fares::Says(504)] {
        let front = Front::with(|vault| Vault { stale_max: Duration::from_secs(3_600), ..vault });
        let front = front.await;
        front.get("secret/data/app").await;
        front.fake.fares(fares);
        front.fake.asked();
        for _ in 0..36 {
            forward(100).await;
            let got = front.get("secret/data/app").await;
            assert_eq!(got.brief(), (200, "HIT"), "{fares:?}");
            assert!(got.warning.is_some() && got.age.is_some());
            // Who comes right after that does not wait for the server again.
            front.get("secret/data/app").await;
        }
        assert_eq!(front.fake.asked().len(), 36);
        forward(100).await;
        let got = front.get("secret/data/app").await;
        let status = if let Fares::Says(status) = fares { status } else { 502 };
        assert_eq!(got.status, status);
        assert!(got.body.contains("errors"));
        front.fake.fares(Fares::Well);
        assert_eq!(front.get("secret/data/app").await.brief(), (200, "MISS"));
    }
}

#[tokio::test]
async fn a_write_that_may_have_been_made_has_what_is_kept_asked_for_again() {
    let front = Front::new().await;
    front.get("secret/data/app").await;
    front.fake.fares(Fares::Gone);
    assert_eq!(front.put("secret/data/app", "{}").await, 502);
    // The server is away: what is kept serves, with a warning.
    let got = front.get("secret/data/app").await;
    assert_eq!(got.brief(), (200, "HIT"));
    assert!(got.warning.is_some());
    front.fake.fares(Fares::Well);
    forward(6).await;
    assert_eq!(front.get("secret/data/app").await.brief(), (200, "MISS"));
}

#[tokio::test]
async fn a_server_that_is_busy_or_in_trouble_takes_nothing_away() {
    for status in [429, 500] {
        let front = Front::new().await;
        front.get("secret/data/app").await;
        forward(61).await;
        front.fake.fares(Fares::Says(status));
        for _ in 0..2 {
            let got = front.get("secret/data/app").await;
            assert_eq!(got.brief(), (200, "HIT"), "{status}");
            assert!(got.warning.is_some());
        }
        assert_eq!(front.get("secret/data/other").await.status, status);
        front.fake.fares(Fares::Well);
        assert_eq!(front.get("secret/data/app").await.brief(), (200, "MISS"));
    }
}

#[tokio::test]
async fn what_the_server_says_is_gone_or_denied_does_not_serve() {
    for (fares, status) in [(Fares::Says(404), 404), (Fares::Says(403), 403)] {
        let front = Front::new().await;
        front.get("secret/data/app").await;
        forward(61).await;
        front.fake.fares(fares);
        assert_eq!(front.get("secret/data/app").await.status, status);
        front.fake.fares(Fares::Gone);
        assert_eq!(front.get("secret/data/app").await.status, 502);
    }
}

#[tokio::test]
async fn a_leased_secret_is_made_once_renewed_and_made_anew_at_its_end() {
    let front = Front::new().await;
    front.fake.state.lock().renewals = Some(100);
    let first = front.get("aws/creds/app").await;
    assert_eq!(first.brief(), (200, "MISS"));
    front.fake.asked();
    for _ in 0..5 {
        forward(70).await;
        front.proxy.renew_due().await;
        assert_eq!(front.fake.asked(), ["PUT sys/leases/renew canary-own"]);
        let kept = front.get("aws/creds/app").await;
        assert_eq!((kept.brief(), &kept.body), ((200, "HIT"), &first.body));
    }
    // The lease comes to its end: it is renewed for less and less.
    front.fake.state.lock().renewals = Some(40);
    forward(70).await;
    front.proxy.renew_due().await;
    assert_eq!(front.get("aws/creds/app").await.brief(), (200, "HIT"));
    forward(36).await;
    front.fake.asked();
    front.proxy.renew_due().await;
    assert!(front.fake.asked().is_empty());
    let anew = front.get("aws/creds/app").await;
    assert_eq!(anew.brief(), (200, "MISS"));
    assert_ne!(anew.body, first.body);
}

#[tokio::test]
async fn a_lease_that_the_server_does_not_know_any_more_is_let_go() {
    let front = Front::new().await;
    front.get("aws/creds/app").await;
    forward(70).await;
    // While the server is away it serves as long as it holds.
    front.fake.fares(Fares::Gone);
    front.proxy.renew_due().await;
    assert_eq!(front.get("aws/creds/app").await.brief(), (200, "HIT"));
    front.fake.fares(Fares::Well);
    front.proxy.renew_due().await;
    assert_eq!(front.get("aws/creds/app").await.brief(), (200, "MISS"));
}

#[tokio::test]
async fn what_is_revoked_through_the_agent_is_let_go() {
    let front = Front::new().await;
    for (path, body, cache) in [
        ("sys/leases/revoke", r#"{"lease_id": "aws/creds/app/N"}"#, "MISS"),
        ("sys/leases/revoke", r#"{"lease_id": "aws/creds/app/other"}"#, "HIT"),
        ("sys/leases/revoke-prefix/aws/creds", "{}", "MISS"),
        ("sys/leases/revoke-force/aws/creds/app", "{}", "MISS"),
        ("sys/leases/revoke-prefix/db", "{}", "HIT"),
        ("auth/token/revoke-self", "{}", "MISS"),
        ("auth/token/revoke", r#"{"token": "canary-own"}"#, "MISS"),
        ("auth/token/revoke", r#"{"token": "other"}"#, "HIT"),
        ("auth/token/revoke-accessor", r#"{"accessor": "x"}"#, "MISS"),
        ("sys/mounts/aws", "{}", "MISS"),
        ("sys/leases/lookup", "{}", "HIT"),
    ] {
        let made = front.get("aws/creds/app").await.body;
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let number = made["lease_id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        front.put(path, &body.replace("/N", &format!("/{number}"))).await;
        let got = front.get("aws/creds/app").await;
        assert_eq!(got.brief(), (200, cache), "{path} {body}");
    }
}

#[tokio::test]
async fn with_a_token_goes_what_its_children_asked_for() {
    let front = Front::new().await;
    front.put("auth/token/create", "{}").await;
    for token in ["child", "stranger"] {
        front.as_token(token, "secret/data/app").await;
    }
    front.put("auth/token/revoke-self", "{}").await;
    assert_eq!(front.as_token("child", "secret/data/app").await.brief(), (200, "MISS"));
    assert_eq!(front.as_token("stranger", "secret/data/app").await.brief(), (200, "HIT"));
}

#[tokio::test]
async fn the_agents_token_is_lent_but_neither_shown_nor_ended() {
    let front = Front::with(|vault| Vault { agent_token: AgentToken::WhereAbsent, ..vault }).await;
    for cache in ["MISS", "HIT"] {
        let got = front.ask("GET", "/v1/secret/data/app", &[], "").await;
        assert_eq!(got.brief(), (200, cache));
    }
    let asked = front.fake.asked();
    assert_eq!(asked.last().unwrap(), "GET secret/data/app canary-agent");
    let got = front.ask("GET", "/v1/auth/token/lookup-self", &[], "").await;
    assert_eq!(got.status, 200);
    assert!(got.body.contains("policies") && !got.body.contains("canary"), "{}", got.body);
    let got = front.ask("POST", "/v1/auth/token/revoke-self", &[], "").await;
    assert_eq!(got.status, 403);
    // Who brings a token uses that.
    front.fake.asked();
    assert_eq!(front.get("secret/data/app").await.brief(), (200, "MISS"));
    assert_eq!(front.fake.asked(), ["GET secret/data/app canary-own"]);
    let off = Front::new().await;
    off.ask("GET", "/v1/secret/data/app", &[], "").await;
    assert_eq!(off.fake.asked(), ["GET secret/data/app"]);
}

#[tokio::test]
async fn a_request_without_the_header_is_refused_where_it_is_required() {
    let require = |vault| Vault { require_request_header: true, ..vault };
    let front = Front::with(require).await;
    let got = front.get("secret/data/app").await;
    assert_eq!(got.status, 412);
    assert_eq!(got.body, r#"{"errors":["missing \"X-Vault-Request\" header"]}"#);
    assert!(front.fake.asked().is_empty());
    let headers = [("X-Vault-Token", "t"), ("X-Vault-Request", "true")];
    assert_eq!(front.ask("GET", "/v1/secret/data/app", &headers, "").await.status, 200);
}

#[tokio::test]
async fn what_is_kept_is_cleared_by_path_lease_token_or_all() {
    let front = Front::new().await;
    for (body, status, cache) in [
        (r#"{"type": "all"}"#, 200, ["MISS", "MISS"]),
        (r#"{"type": "request_path", "value": "/v1/secret/data/app"}"#, 200, ["MISS", "HIT"]),
        (r#"{"type": "request_path", "value": "aws/"}"#, 200, ["HIT", "MISS"]),
        (r#"{"type": "token", "value": "canary-own"}"#, 200, ["MISS", "MISS"]),
        (r#"{"type": "token_accessor", "value": "x"}"#, 200, ["MISS", "MISS"]),
        (r#"{"type": "lease", "value": "x"}"#, 200, ["HIT", "HIT"]),
        (r#"{"type": "lease"}"#, 400, ["HIT", "HIT"]),
        (r#"{"type": "some", "value": "x"}"#, 400, ["HIT", "HIT"]),
        ("nothing", 400, ["HIT", "HIT"]),
    ] {
        for path in ["secret/data/app", "aws/creds/app"] {
            front.get(path).await;
        }
        let got = front.ask("POST", "/agent/v1/cache-clear", &[], body).await;
        assert_eq!(got.status, status, "{body}");
        for (path, cache) in ["secret/data/app", "aws/creds/app"].into_iter().zip(cache) {
            assert_eq!(front.get(path).await.brief(), (200, cache), "{body} {path}");
        }
    }
    assert_eq!(front.ask("GET", "/agent/v1/cache-clear", &[], "").await.status, 405);
    assert_eq!(front.ask("POST", "/agent/v1/quit", &[], "").await.status, 405);
    assert_eq!(front.ask("GET", "/agent/v1/quit", &[], "").await.status, 404);
    let metrics = front.ask("GET", "/agent/v1/metrics", &[], "").await;
    assert_eq!((metrics.status, metrics.body.as_str()), (200, "up 1\n"));
}

#[tokio::test]
async fn many_who_ask_at_once_cost_one_request() {
    let front = Front::new().await;
    let asking = (0..20).map(|_| front.get("aws/creds/app"));
    let got = futures_util::future::join_all(asking).await;
    assert!(got.iter().all(|one| one.status == 200 && one.body == got[0].body));
    assert_eq!(front.fake.asked().len(), 1);
}

#[tokio::test]
async fn what_was_on_its_way_when_a_write_was_made_is_not_kept() {
    let front = Front::new().await;
    let (read, _) = tokio::join!(front.get("secret/data/app"), async {
        // The write ends while the read is under way.
        front.proxy.cache.throw(&super::effect::Effect::Nothing);
    });
    assert_eq!(read.brief(), (200, "MISS"));
    assert_eq!(front.get("secret/data/app").await.brief(), (200, "MISS"));
}

#[tokio::test]
async fn what_has_no_end_is_passed_on_as_it_comes() {
    let front = Front::new().await;
    let (head, ()) = Request::get("/v1/sys/monitor").body(()).unwrap().into_parts();
    for _ in 0..2 {
        let mut answer = front.proxy.spoken(&head, Bytes::new()).await.into_body();
        let first = answer.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "line\n");
    }
}

#[tokio::test]
async fn paths_that_cannot_be_passed_on_are_refused() {
    let front = Front::new().await;
    let long = format!("/v1/{}", "a".repeat(5_000));
    for (target, status) in [
        ("/v1/secret/../sys/seal", 400),
        ("/v1/secret/%2e%2e/sys/seal", 400),
        ("/v1/secret/./data/app", 400),
        ("/v1/a%ff", 400),
        ("/ui/", 404),
        (&long, 400),
    ] {
        assert_eq!(front.ask("GET", target, &[], "").await.status, status, "{target}");
    }
    assert_eq!(front.ask("TRACE", "/v1/secret/data/a", &[], "").await.status, 405);
    assert!(front.fake.asked().is_empty());
}

#[tokio::test]
async fn over_a_socket_it_is_bounded_and_guarded_as_every_listener() {
    let stage = Stage::new();
    let fake = FakeVault::start().await;
    let settings = |vault: Vault| Settings {
        interface: Interface::Vault(Box::new(vault)),
        guard: GuardSettings::default(),
        limits: Limits::default(),
        ..stage.settings()
    };
    let vault = Vault::new(session(&fake, stage.clock.clone()));
    let lent = Vault { agent_token: AgentToken::WhereAbsent, ..vault.clone() };
    let refused = Listeners::bind(vec![settings(lent)], &stage.surroundings()).unwrap_err();
    assert!(refused.to_string().contains("require_request_header"), "{refused}");
    let running = stage.run(settings(vault));
    let mut connection = wire::Connection::open(running.address()).await;
    let token = ("X-Vault-Token", "t");
    for cache in ["MISS", "HIT"] {
        let got = connection.ask("GET", "/v1/secret/data/app", &[token]).await;
        assert_eq!((got.status, got.header("x-cache")), (200, Some(cache)));
        assert!(got.body.contains("canary-value"));
        assert_eq!(got.header("content-type"), Some("application/json"));
    }
    let got = connection.ask("LIST", "/v1/secret/metadata/", &[token]).await;
    assert_eq!(got.status, 200);
    let asked = fake.asked();
    assert_eq!(asked.last().unwrap(), "GET secret/metadata/?list=true t");
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
    let got = connection.ask_with("POST", "/v1/secret/data/app", &[token], &body).await;
    assert_eq!(got.status, 200);
    let forwarded = [token, ("X-Forwarded-For", "10.0.0.1")];
    assert_eq!(connection.ask("GET", "/v1/secret/data/app", &forwarded).await.status, 400);
    assert_eq!(connection.ask("GET", "/health", &[]).await.status, 200);
    assert_eq!(connection.ask("GET", "/agent/status", &[]).await.status, 404);
    // The listener's own token is not the server's.
    let mut guarded = settings(Vault::new(session(&fake, stage.clock.clone())));
    guarded.guard = stage.settings().guard;
    let guarded = stage.run(guarded);
    let as_server = [("X-Vault-Token", super::super::tests::TOKEN)];
    assert_eq!(guarded.ask("GET", "/v1/secret/data/app", &as_server).await.status, 403);
    let both = [("X-Aws-Parameters-Secrets-Token", super::super::tests::TOKEN), token];
    assert_eq!(guarded.ask("GET", "/v1/secret/data/app", &both).await.status, 200);
    assert_eq!(guarded.ask("GET", "/agent/status", &both).await.status, 200);
    let elsewhere = [token, ("Host", "evil.example")];
    assert_eq!(connection.ask("GET", "/v1/secret/data/app", &elsewhere).await.status, 403);
}
