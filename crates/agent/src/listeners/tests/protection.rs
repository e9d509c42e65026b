//! Who is refused, and how much of a listener somebody gets.

use super::{Stage, TOKEN, wire::Connection};
use crate::listeners::{
    Listeners,
    bind::tcp_socket,
    settings::{Endpoint, Hosts, Limits, Settings, TokenFile, TokenHeaders},
};
use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::Duration,
};
use tokio::net::{TcpStream, UnixStream};

fn refusal(stage: &Stage, settings: Settings) -> String {
    Listeners::bind(vec![settings], &stage.surroundings()).unwrap_err().to_string()
}

fn socket(stage: &Stage, mode: u32) -> Settings {
    let path = stage.folder.path().join("agent.sock");
    let mut settings = stage.settings();
    settings.endpoint = Endpoint::Unix(Endpoint::unix(path, mode).unwrap());
    settings.guard.token_file = None;
    settings
}

#[tokio::test]
async fn a_request_without_the_token_is_refused_before_anything_is_read_of_it() {
    let stage = Stage::new();
    let running = stage.start();
    let header = "X-Aws-Parameters-Secrets-Token";
    for headers in [
        vec![],
        vec![(header, "")],
        vec![(header, "canary-token-of-the-agenT")],
        vec![(header, "canary-token-of-the-agent2")],
        vec![("Authorization", TOKEN)],
    ] {
        for target in ["/v1/app", "/secretsmanager/get?x=1", "/nowhere"] {
            let answer = running.ask("POST", target, &headers).await;
            assert_eq!(answer.brief(), (403, "Bad Token"), "{headers:?}");
        }
    }
    assert!(stage.shelf.asked().is_empty());
    for name in [header, "x-aws-parameters-secrets-token", "X-Vault-Token"] {
        assert_eq!(running.ask("GET", "/v1/app", &[(name, TOKEN)]).await.status, 200);
    }
    // One that fits is enough, as with AWS's agent.
    let both = [(header, "wrong"), ("X-Vault-Token", TOKEN)];
    assert_eq!(running.ask("GET", "/v1/app", &both).await.status, 200);
}

#[tokio::test]
async fn the_headers_that_hold_the_token_are_the_configured_ones() {
    let stage = Stage::new();
    let mut settings = stage.settings();
    settings.guard.token_headers = TokenHeaders::new(["X-Mine", "Authorization"]).unwrap();
    let running = stage.run(settings);
    assert_eq!(running.get("/v1/app").await.status, 403);
    assert_eq!(running.ask("GET", "/v1/app", &[("x-mine", TOKEN)]).await.status, 200);
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(running.ask("GET", "/v1/app", &[("Authorization", &bearer)]).await.status, 200);
}

#[tokio::test]
async fn what_was_forwarded_is_refused_even_with_the_token() {
    let stage = Stage::new();
    let running = stage.start();
    let headers = [("X-Aws-Parameters-Secrets-Token", TOKEN), ("X-Forwarded-For", "10.0.0.1")];
    let answer = running.ask("GET", "/v1/app", &headers).await;
    assert_eq!(answer.brief(), (400, "Forwarded"));
    assert_eq!(running.ask("GET", "/ping", &headers).await.status, 200);
}

#[tokio::test]
async fn a_page_whose_name_leads_to_this_machine_is_refused() {
    let stage = Stage::new();
    let mut settings = stage.settings();
    settings.guard.hosts = Hosts::new(["agent.internal"]).unwrap();
    let running = stage.run(settings);
    let ask = async |target: &str, host: &str| {
        let headers = [("Host", host), ("X-Aws-Parameters-Secrets-Token", TOKEN)];
        running.ask("GET", target, &headers).await
    };
    for host in ["evil.example", "evil.example:2773", "localhost.evil.example", "10.1.2.3"] {
        assert_eq!(ask("/v1/app", host).await.brief(), (403, "Bad Host"), "{host}");
    }
    for host in ["localhost", "127.0.0.1:2773", "[::1]:2773", "agent.internal:80"] {
        assert_eq!(ask("/v1/app", host).await.status, 200, "{host}");
    }
    // Nor does a whole URL as target change whom it is meant for.
    assert_eq!(ask("http://evil.example/v1/app", "localhost").await.status, 403);
    let mut connection = Connection::open(running.address()).await;
    let head = format!("X-Vault-Token: {TOKEN}\r\n\r\n");
    connection.send(&format!("GET /v1/app HTTP/1.0\r\n{head}")).await;
    assert_eq!(connection.read(false).await.unwrap().brief(), (403, "Bad Host"));
}

#[tokio::test]
async fn a_token_file_that_others_may_read_is_refused_with_what_to_do() {
    let stage = Stage::new();
    for (mode, group_may_read, fine) in [
        (0o600, false, true),
        (0o400, false, true),
        (0o640, false, false),
        (0o644, false, false),
        (0o640, true, true),
        (0o660, true, false),
        (0o604, true, false),
    ] {
        let mut settings = stage.settings();
        let path = stage.token_file(TOKEN, mode);
        let file = TokenFile { path: path.clone(), create: false, group_may_read, owner: None };
        settings.guard.token_file = Some(file);
        if fine {
            Listeners::bind(vec![settings], &stage.surroundings()).unwrap();
            continue;
        }
        let most = if group_may_read { "0640" } else { "0600" };
        let told = refusal(&stage, settings);
        let path = path.display();
        assert_eq!(
            told,
            format!(
                "listener 127.0.0.1:0: token_file {path}: has mode {mode:04o}, so others may use it: run chmod {most} {path}"
            )
        );
    }
    for (text, told) in [
        ("", "holds no token: write one a line"),
        ("\n \n", "holds no token: write one a line"),
        ("0123456789abcdef\nshort\n", "line 2: the token is shorter than 16 characters"),
        ("0123456789 abcdef", "line 1: the token has characters that no header can hold"),
    ] {
        let settings = stage.settings();
        stage.token_file(text, 0o600);
        let refused = refusal(&stage, settings);
        assert!(refused.contains(told), "{refused}");
        assert!(!refused.contains("0123456789"));
    }
    let mut settings = stage.settings();
    settings.guard.token_file = None;
    assert!(refusal(&stage, settings).contains("token_file is missing"));
}

#[tokio::test]
async fn a_token_file_is_made_once_where_that_is_wanted() {
    let stage = Stage::new();
    let path = stage.folder.path().join("made");
    let mut settings = stage.settings();
    settings.guard.token_file =
        Some(TokenFile { path: path.clone(), create: true, group_may_read: false, owner: None });
    let running = stage.run(settings.clone());
    let token = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(token.trim().len(), 48);
    let headers = [("X-Vault-Token", token.trim())];
    assert_eq!(running.ask("GET", "/v1/app", &headers).await.status, 200);
    stage.run(settings);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), token);
}

#[tokio::test(start_paused = true)]
async fn tokens_change_with_their_file_and_a_bad_file_changes_nothing() {
    let stage = Stage::new();
    let path = stage.token_file("first-token-of-all\n", 0o600);
    let file = TokenFile { path: path.clone(), create: false, group_may_read: false, owner: None };
    let tokens = crate::listeners::tokens::Tokens::open(file).unwrap();
    let admitted = || {
        ["first-token-of-all", "second-token-of-all"].map(|token| tokens.admit(token.as_bytes()))
    };
    let later = || tokio::time::advance(Duration::from_secs(2));
    assert_eq!(admitted(), [true, false]);
    // Both serve while applications change from one to the other.
    stage.token_file("first-token-of-all\nsecond-token-of-all\n", 0o600);
    later().await;
    assert_eq!(admitted(), [true, true]);
    stage.token_file("second-token-of-all\n", 0o600);
    later().await;
    assert_eq!(admitted(), [false, true]);
    for (text, mode) in [("", 0o600), ("first-token-of-all", 0o644)] {
        stage.token_file(text, mode);
        later().await;
        assert_eq!(admitted(), [false, true]);
    }
    std::fs::remove_file(&path).unwrap();
    later().await;
    assert_eq!(admitted(), [false, true]);
    stage.token_file("first-token-of-all\n", 0o600);
    later().await;
    assert_eq!(admitted(), [true, false]);
}

#[tokio::test]
async fn packets_of_a_local_listener_pass_no_router() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = tcp_socket(address.parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let hops = if address.starts_with('[') {
            u32::from(rustix::net::sockopt::ipv6_unicast_hops(&accepted).unwrap())
        } else {
            accepted.ttl().unwrap()
        };
        assert_eq!(hops, 1, "{address}");
        drop(client);
    }
}

#[tokio::test]
async fn a_socket_has_its_mode_needs_no_token_and_goes_with_the_agent() {
    let stage = Stage::new();
    let path = stage.folder.path().join("agent.sock");
    for mode in [0o600, 0o660] {
        let running = stage.run(socket(&stage, mode));
        let there = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(there.permissions().mode() & 0o7777, mode);
        let mut connection = Connection::over(UnixStream::connect(&path).await.unwrap());
        assert_eq!(connection.ask("GET", "/v1/app", &[]).await.status, 200);
        let forwarded = [("X-Forwarded-For", "x")];
        assert_eq!(connection.ask("GET", "/v1/app", &forwarded).await.status, 400);
        running.stop.send(true).unwrap();
        running.ended.await.unwrap();
        assert!(!path.exists());
    }
    let left: Vec<_> = std::fs::read_dir(stage.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn a_left_over_socket_is_replaced_and_nothing_else_is() {
    let stage = Stage::new();
    let path = stage.folder.path().join("agent.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let running = stage.run(socket(&stage, 0o600));
    assert!(refusal(&stage, socket(&stage, 0o600)).contains("another process listens there"));
    running.stop.send(true).unwrap();
    running.ended.await.unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(refusal(&stage, socket(&stage, 0o600)).contains("something else than a socket"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_socket_may_ask_for_the_token_all_the_same() {
    let stage = Stage::new();
    let mut settings = socket(&stage, 0o660);
    settings.guard = stage.settings().guard;
    let _running = stage.run(settings);
    let path = stage.folder.path().join("agent.sock");
    let mut connection = Connection::over(UnixStream::connect(&path).await.unwrap());
    assert_eq!(connection.ask("GET", "/v1/app", &[]).await.status, 403);
    assert_eq!(connection.ask("GET", "/v1/app", &[("X-Vault-Token", TOKEN)]).await.status, 200);
}

#[tokio::test]
async fn who_comes_when_all_connections_are_taken_is_told_so() {
    let stage = Stage::new();
    let mut settings = stage.settings();
    settings.limits = Limits::of(1).unwrap();
    let running = stage.run(settings);
    let headers = [("X-Vault-Token", TOKEN)];
    let mut first = Connection::open(running.address()).await;
    assert_eq!(first.ask("GET", "/v1/app", &headers).await.status, 200);
    let mut second = Connection::open(running.address()).await;
    let answer = second.ask("GET", "/v1/app", &headers).await;
    assert_eq!(answer.brief(), (429, "Connection limit exceeded"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(second.read(false).await.is_none());
    assert_eq!(running.ask("GET", "/ping", &[]).await.brief(), (200, "healthy"));
    assert_eq!(first.ask("GET", "/v1/app", &headers).await.status, 200);
    drop(first);
    loop {
        let mut third = Connection::open(running.address()).await;
        if third.ask("GET", "/v1/app", &headers).await.status == 200 {
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_say_what_it_wants_is_let_go() {
    let stage = Stage::new();
    let mut settings = stage.settings();
    settings.limits.header_time_max = Duration::from_millis(30);
    let running = stage.run(settings);
    let mut slow = Connection::open(running.address()).await;
    slow.send("GET /v1/app HTTP/1.1\r\nHost: local").await;
    let end = slow.read(false).await;
    assert!(end.is_none_or(|answer| answer.status == 408));
    // So is one that keeps a connection without using it.
    let mut idle = Connection::open(running.address()).await;
    assert_eq!(idle.ask("GET", "/ping", &[]).await.status, 200);
    assert!(idle.read(false).await.is_none());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let stage = Stage::new();
    let running = stage.start();
    let large = "a".repeat(100 << 10);
    let mut connection = Connection::open(running.address()).await;
    connection.send(&format!("GET /ping HTTP/1.1\r\nHost: localhost\r\nX: {large}\r\n")).await;
    assert_eq!(connection.read(false).await.unwrap().status, 431);
    let many: String = (0..100).map(|nth| format!("X-{nth}: 1\r\n")).collect();
    let mut connection = Connection::open(running.address()).await;
    connection.send(&format!("GET /ping HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")).await;
    assert_eq!(connection.read(false).await.unwrap().status, 431);
}

#[tokio::test]
async fn requests_that_run_are_answered_when_the_agent_ends() {
    let stage = Stage::new();
    *stage.shelf.hangs.lock() = true;
    let mut settings = stage.settings();
    settings.limits.request_time_max = Duration::from_millis(100);
    let running = stage.run(settings);
    let mut idle = Connection::open(running.address()).await;
    assert_eq!(idle.ask("GET", "/ping", &[]).await.status, 200);
    let mut busy = Connection::open(running.address()).await;
    busy.send(&format!(
        "GET /v1/app HTTP/1.1\r\nHost: localhost\r\nX-Vault-Token: {TOKEN}\r\n\r\n"
    ))
    .await;
    while stage.shelf.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    running.stop.send(true).unwrap();
    assert_eq!(busy.read(false).await.unwrap().status, 504);
    assert!(idle.read(false).await.is_none());
    running.ended.await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_and_an_unknown_manager_are_named() {
    let stage = Stage::new();
    let running = stage.start();
    let mut settings = stage.settings();
    settings.endpoint = Endpoint::tcp(running.address(), false).unwrap();
    let told = refusal(&stage, settings);
    assert!(told.starts_with(&format!("listener {}: ", running.address())), "{told}");
    let mut settings = stage.settings();
    let interface = crate::listeners::settings::SecretsManager::new("none", "/v1/").unwrap();
    settings.interface = crate::listeners::settings::Interface::SecretsManager(interface);
    assert!(refusal(&stage, settings).contains("there is no secret manager \"none\""));
}

#[tokio::test]
async fn what_the_agent_makes_belongs_to_whom_it_becomes() {
    let folder = tempfile::tempdir().unwrap();
    // Only root can become somebody else.
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let owner = if own.0 == 0 { (65_534, 65_534) } else { own };
    let path = folder.path().join("token");
    let file =
        TokenFile { path: path.clone(), create: true, group_may_read: false, owner: Some(owner) };
    for _ in ["made", "found at the next start"] {
        crate::listeners::tokens::Tokens::open(file.clone()).unwrap();
        let made = std::fs::metadata(&path).unwrap();
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (owner.0, owner.1, 0o600));
    }
}
