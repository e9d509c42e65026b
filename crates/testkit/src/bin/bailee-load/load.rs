//! Requests as fast as some connections carry them.

use crate::{
    Effort, SECRETS,
    connection::{Connection, request},
    process, quantile,
};
use bailee_testkit::{Dice, TestServer};
use serde_json::{Value, json};
use std::time::Instant;

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Health,
    Read,
    Write,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Health => "health",
            Kind::Read => "read",
            Kind::Write => "write",
        }
    }

    fn request(self, token: &str, dice: &mut Dice) -> Vec<u8> {
        let secret = format!("secret/data/app/{}", dice.below(SECRETS));
        match self {
            Kind::Health => request("GET", "sys/health", "", ""),
            Kind::Read => request("GET", &secret, token, ""),
            Kind::Write => {
                let body =
                    json!({ "data": { "n": dice.below(1 << 40), "filler": "x".repeat(100) } });
                request("PUT", &secret, token, &body.to_string())
            }
        }
    }
}

/// Requests a second, latencies, and the server's CPU time a request.
pub(crate) async fn measure(
    server: &TestServer,
    token: &str,
    kind: Kind,
    connections: usize,
    effort: Effort,
) -> Value {
    run(server, token, kind, connections, effort.warm_up).await;
    let cpu_before = process::cpu_us(server.pid());
    let started = Instant::now();
    let (mut latencies, errors) = run(server, token, kind, connections, effort.measure).await;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = process::cpu_us(server.pid()) - cpu_before;
    let count = latencies.len() as f64;
    json!({
        "requests_per_second": count / seconds,
        "cpu_us": cpu / count.max(1.0),
        "p50_ms": quantile(&mut latencies, 0.5),
        "p99_ms": quantile(&mut latencies, 0.99),
        "errors": errors,
    })
}

async fn run(
    server: &TestServer,
    token: &str,
    kind: Kind,
    connections: usize,
    time: std::time::Duration,
) -> (Vec<f64>, u64) {
    let until = Instant::now() + time;
    let tasks = (0..connections).map(|number| {
        let (port, token) = (server.port(), token.to_owned());
        tokio::spawn(async move {
            let mut dice = Dice::new(number as u64 + 1);
            let mut connection = Connection::open(port).await.expect("the server listens");
            let (mut latencies, mut errors) = (Vec::new(), 0_u64);
            while Instant::now() < until {
                let request = kind.request(&token, &mut dice);
                let sent = Instant::now();
                match connection.ask(&request).await {
                    Ok(200) => latencies.push(sent.elapsed().as_secs_f64() * 1000.0),
                    Ok(_) => errors += 1,
                    Err(_) => {
                        errors += 1;
                        connection = Connection::open(port).await.expect("the server listens");
                    }
                }
            }
            (latencies, errors)
        })
    });
    let (mut all, mut errors) = (Vec::new(), 0);
    for task in tasks.collect::<Vec<_>>() {
        let (latencies, failed) = task.await.expect("a client does not fail");
        all.extend(latencies);
        errors += failed;
    }
    (all, errors)
}
