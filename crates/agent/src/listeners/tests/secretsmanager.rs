//! The documented requests of AWS's agent.

use super::{ARN, Stage, TOKEN, app, forward};
use crate::{
    failure::{Cause, Failure},
    manager::{Material, Wanted, Which},
};

const DOCUMENT: &str = r#"{"ARN":"arn:aws:secretsmanager:us-east-1:123456789012:secret:app-AbCdEf","Name":"app","VersionId":"5d1d2f3a-0000-4000-8000-000000000001","SecretString":"canary-value","VersionStages":["AWSCURRENT"],"CreatedDate":"1700000000.25"}"#;

#[tokio::test]
async fn a_secret_is_given_by_name_and_arn_in_both_forms_with_awss_headers_and_body() {
    let stage = Stage::new();
    stage.shelf.put(Wanted::current(ARN), Ok(app(Material::text("canary-value"))));
    let running = stage.start();
    let encoded = ARN.replace(':', "%3A");
    for target in [
        "/secretsmanager/get?secretId=app".to_owned(),
        "/secretsmanager/get?secretId=app&refreshNow=false".to_owned(),
        "/v1/app".to_owned(),
        format!("/secretsmanager/get?secretId={ARN}"),
        format!("/secretsmanager/get?secretId={encoded}"),
        format!("/v1/{ARN}"),
    ] {
        let answer = running.get(&target).await;
        assert_eq!(answer.brief(), (200, DOCUMENT), "{target}");
        assert_eq!(answer.header_names(), ["content-length", "date"]);
    }
    // What has two names is one entry.
    assert_eq!(stage.shelf.asked(), [Wanted::current("app")]);
}

#[tokio::test]
async fn versions_and_stages_reach_the_place() {
    let stage = Stage::new();
    let running = stage.start();
    let (id, at) = ("v1".to_owned(), "AWSPREVIOUS".to_owned());
    for (parameters, version) in [
        ("versionId=v1", Which::Id(id.clone())),
        ("versionStage=AWSPREVIOUS", Which::Stage(at.clone())),
        ("versionId=v1&versionStage=AWSPREVIOUS", Which::IdAtStage { id, stage: at }),
    ] {
        let wanted = Wanted { id: "app".to_owned(), version };
        stage.shelf.put(wanted.clone(), Ok(app(Material::binary(*b"\x00\xff"))));
        let answer = running.get(&format!("/secretsmanager/get?secretId=app&{parameters}")).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains(r#","SecretBinary":"AP8=","VersionStages""#));
        assert_eq!(running.get(&format!("/v1/app?{parameters}")).await.body, answer.body);
        assert_eq!(stage.shelf.asked(), [wanted]);
    }
}

#[tokio::test]
async fn refresh_now_asks_the_place_and_what_is_kept_serves_otherwise() {
    let stage = Stage::new();
    let running = stage.start();
    for (target, asked) in [
        ("/v1/app", 1),
        ("/v1/app", 0),
        ("/v1/app?refreshNow=true", 1),
        ("/secretsmanager/get?secretId=app&refreshNow=1", 1),
        ("/v1/app?refreshNow=0", 0),
    ] {
        assert_eq!(running.get(target).await.status, 200);
        assert_eq!(stage.shelf.asked().len(), asked, "{target}");
    }
}

#[tokio::test]
async fn errors_have_the_status_and_the_text_of_awss_agent() {
    let stage = Stage::new();
    let running = stage.start();
    let missing = r#"{"__type":"ResourceNotFoundException","message":"Secrets Manager can't find the specified secret."}"#;
    let long = format!("/secretsmanager/get?secretId={}", "a".repeat(9_000));
    for (target, status, body) in [
        ("/secretsmanager/get?secretId=none", 400, missing),
        ("/v1/none", 400, missing),
        ("/secretsmanager/get", 400, "missing parameter secretId"),
        ("/secretsmanager/get?secretId=app&x=1", 400, "unknown parameter: x"),
        ("/secretsmanager/get?secretId=app&refreshNow=x", 400, "invalid refreshNow value"),
        ("/v1/", 400, "missing secret ID"),
        ("/", 404, "Not found"),
        ("/secretsmanager/put?secretId=app", 404, "Not found"),
        ("/v1/a%zz", 400, "secret ID: a percent sign is followed by two hexadecimal digits"),
        (&long, 400, "path and query are longer than 8192 bytes"),
    ] {
        let answer = running.get(target).await;
        assert_eq!(answer.brief(), (status, body), "{target}");
    }
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let headers = [("X-Aws-Parameters-Secrets-Token", TOKEN)];
        let answer = running.ask(method, "/v1/app", &headers).await;
        let body = if method == "HEAD" { "" } else { "Not allowed" };
        assert_eq!(answer.brief(), (405, body), "{method}");
    }
}

#[tokio::test]
async fn a_ping_needs_no_token() {
    let stage = Stage::new();
    let running = stage.start();
    let answer = running.ask("GET", "/ping", &[]).await;
    assert_eq!(answer.brief(), (200, "healthy"));
    assert_eq!(answer.header_names(), ["content-length", "date"]);
    assert_eq!(running.ask("POST", "/ping", &[]).await.brief(), (405, "Not allowed"));
}

#[tokio::test]
async fn failures_of_a_place_have_its_code_or_the_one_of_awss_agent() {
    let told = |code: &str, status, cause| Failure {
        code: code.to_owned(),
        status: Some(status),
        ..Failure::new(cause, "text \"quoted\"")
    };
    let stage = Stage::new();
    let running = stage.start();
    for (nth, (failure, status, code)) in [
        (told("AccessDeniedException", 400, Cause::Denied), 400, "AccessDeniedException"),
        (told("InternalServiceError", 500, Cause::Unavailable), 500, "InternalServiceError"),
        (Failure::new(Cause::Unavailable, "text \"quoted\""), 502, "ConnectionError"),
        (Failure::new(Cause::Credentials, "text \"quoted\""), 500, "InternalFailure"),
        (Failure::new(Cause::Throttled, "text \"quoted\""), 400, "ThrottlingException"),
        (Failure::new(Cause::Invalid, "text \"quoted\""), 400, "InvalidParameterException"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("s{nth}");
        stage.shelf.put(Wanted::current(&id), Err(failure));
        let answer = running.get(&format!("/v1/{id}")).await;
        let body = format!(r#"{{"__type":"{code}","message":"text \"quoted\""}}"#);
        assert_eq!(answer.brief(), (status, body.as_str()));
    }
}

#[tokio::test]
async fn while_the_place_is_away_the_old_value_is_given_with_a_warning() {
    let stage = Stage::new();
    let running = stage.start();
    assert_eq!(running.get("/v1/app").await.header("warning"), None);
    *stage.shelf.away.lock() = Some(Failure::new(Cause::Unavailable, "away"));
    for (seconds, target) in [(3_000, "/v1/app"), (10, "/v1/app?refreshNow=true")] {
        forward(seconds).await;
        let answer = running.get(target).await;
        assert_eq!(answer.brief(), (200, DOCUMENT));
        assert_eq!(answer.header("warning"), Some("110 - \"Response is Stale\""));
    }
    forward(3_600).await;
    assert_eq!(running.get("/v1/app").await.status, 502);
}

#[tokio::test]
async fn a_role_is_served_by_the_secret_manager_that_assumes_it() {
    let stage = Stage::new();
    let running = stage.start();
    let role = "arn:aws:iam::123456789012:role/app";
    let answer = running.get(&format!("/secretsmanager/get?secretId=app&roleArn={role}")).await;
    assert_eq!(answer.brief(), (200, DOCUMENT));
    assert_eq!(stage.store.status().secrets[0].manager, "other");
    let answer = running.get("/v1/app?roleArn=arn:aws:iam::1:role/x").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("arn:aws:iam::1:role/x"), "{}", answer.body);
}

#[tokio::test]
async fn a_place_that_does_not_answer_is_not_waited_for_without_end() {
    let stage = Stage::new();
    *stage.shelf.hangs.lock() = true;
    let mut settings = stage.settings();
    settings.limits.request_time_max = std::time::Duration::from_millis(20);
    let running = stage.run(settings);
    let body = r#"{"__type":"TimeoutError","message":"Timeout"}"#;
    assert_eq!(running.get("/v1/app").await.brief(), (504, body));
}
