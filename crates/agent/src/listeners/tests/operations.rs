//! What the agent says of itself.

use super::Stage;
use crate::manager::Wanted;

#[tokio::test]
async fn a_connection_is_given_whole_or_not_at_all() {
    let stage = Stage::new();
    let running = stage.start();
    let answer = running.get("/connections/orders").await;
    assert_eq!(answer.brief(), (200, r#"{"host":"db.example","password":"canary-value"}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let answer = running.get("/connections/none").await;
    assert_eq!(answer.status, 404);
    let answer = running.get("/connections/broken").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains(r#"connection \"broken\": property \"password\""#));
    let answer = running.ask("GET", "/connections/orders", &[]).await;
    assert_eq!(answer.brief(), (403, "Bad Token"));
}

#[tokio::test]
async fn health_tells_whether_what_outputs_stand_on_is_there() {
    let stage = Stage::new();
    let running = stage.start();
    let answer = running.ask("GET", "/health", &[]).await;
    assert_eq!(answer.brief(), (200, r#"{"healthy":true,"missing":0}"#));
    stage.store.pin("m", &Wanted::current("app")).unwrap();
    let answer = running.ask("GET", "/health", &[]).await;
    assert_eq!(answer.brief(), (503, r#"{"healthy":false,"missing":1}"#));
    running.get("/v1/app").await;
    assert_eq!(running.ask("GET", "/health", &[]).await.status, 200);
}

#[tokio::test]
async fn status_and_metrics_need_the_token_and_hold_no_value() {
    let stage = Stage::new();
    let running = stage.start();
    for target in ["/agent/status", "/metrics"] {
        assert_eq!(running.ask("GET", target, &[]).await.status, 403, "{target}");
    }
    running.get("/v1/app").await;
    let status = running.get("/agent/status").await;
    assert_eq!(status.status, 200);
    let read: serde_json::Value = serde_json::from_str(&status.body).unwrap();
    assert_eq!(read["secrets"][0]["id"], "app");
    assert!(!status.body.contains("canary"));
    let metrics = running.get("/metrics").await;
    assert_eq!(metrics.brief(), (200, "up 1\n"));
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4"));
}
