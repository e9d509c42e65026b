//! Values and tokens are in answers and nowhere else.

use super::{Stage, TOKEN, forward};
use crate::{
    failure::{Cause, Failure},
    listeners::{
        settings::{Guard, Interface},
        vault::{AgentToken, Vault, tests::fake::FakeVault, tests::session},
    },
};
use parking_lot::Mutex;
use std::{io, sync::Arc};
use tracing::subscriber;

/// All that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_value_and_no_token_is_in_the_log_or_in_an_error() {
    let log = Log::default();
    let writer = log.clone();
    let to_log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // With one subscriber alone, lines that other tests' threads reach first would be switched off for all.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _logging = subscriber::set_default(to_log);
    let stage = Stage::new();
    let running = stage.start();
    for target in ["/v1/app", "/connections/orders", "/agent/status", "/v1/none", "/v1/%zz"] {
        let answer = running.get(target).await;
        assert_eq!(
            answer.body.contains("canary"),
            answer.status == 200 && target != "/agent/status"
        );
    }
    let wrong = format!("{TOKEN}x");
    for headers in [[("X-Vault-Token", wrong.as_str())], [("X-Forwarded-For", TOKEN)]] {
        assert!(!running.ask("GET", "/v1/app", &headers).await.body.contains("canary"));
    }
    forward(100).await;
    *stage.shelf.away.lock() = Some(Failure::new(Cause::Unavailable, "away"));
    running.get("/v1/app").await;
    let fake = FakeVault::start().await;
    let mut vault = Vault::new(session(&fake, stage.clock.clone()));
    let mut settings = stage.settings();
    (vault.agent_token, vault.require_request_header) = (AgentToken::WhereAbsent, true);
    settings.interface = Interface::Vault(Box::new(vault));
    settings.guard = Guard::default();
    let proxy = stage.run(settings);
    let marked = ("X-Vault-Request", "true");
    for headers in [vec![marked], vec![marked, ("X-Vault-Token", "canary-own")], vec![]] {
        proxy.ask("GET", "/v1/secret/data/app", &headers).await;
        proxy.ask("GET", "/v1/aws/creds/app", &headers).await;
        proxy.ask("GET", "/v1/secret/data/none", &headers).await;
    }
    fake.fares(crate::listeners::vault::tests::fake::Fares::Gone);
    let got = proxy.ask("GET", "/v1/secret/data/other", &[marked]).await;
    assert!(got.status == 502 && !got.body.contains("canary"));
    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(log.contains("listening") && log.contains("a request was refused"), "{log}");
    for line in log.lines() {
        assert!(!line.contains("canary"), "{line}");
    }
}
