//! What `replicate serve` tells whoever watches it, over HTTP: health and metrics. Numbers, times and
//! classes of failures only; no names, and nothing that a source or a destination said.

use bailee_crypto::{Clock, SystemClock, clock::to_millis};
use bailee_notation::schedule::Schedule;
use bailee_secret_sync::pull::report::{Outcome, Results, RunReport};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

/// Connections at once.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may last: one question and its answer.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// The wait after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a run may take before one that should have succeeded is missed.
const RUN_TIME: Duration = Duration::from_secs(15 * 60);

/// How runs went and when the next one begins.
pub(crate) struct Told {
    state: Mutex<State>,
    metrics: PrometheusHandle,
    schedule: Schedule,
    healthy_for: Option<Duration>,
}

#[derive(Debug)]
struct State {
    since: SystemTime,
    running: bool,
    last: Option<Last>,
    last_success: Option<SystemTime>,
    next_run: Option<SystemTime>,
}

#[derive(Debug)]
struct Last {
    outcome: &'static str,
    started_at: SystemTime,
    ended_at: SystemTime,
}

impl Told {
    /// Nothing has run yet. It is healthy for so long after a success; where that is not said, until two
    /// runs in a row have not succeeded.
    pub(crate) fn new(
        metrics: PrometheusHandle,
        schedule: Schedule,
        healthy_for: Option<Duration>,
        now: SystemTime,
    ) -> Told {
        let (last, last_success, next_run) = (None, None, None);
        let state = State { since: now, running: false, last, last_success, next_run };
        Told { state: Mutex::new(state), metrics, schedule, healthy_for }
    }

    /// A run begins.
    pub(crate) fn begins(&self) {
        let mut state = self.state.lock();
        (state.running, state.next_run) = (true, None);
    }

    /// A run has ended.
    pub(crate) fn ended(&self, report: &RunReport, next_run: Option<SystemTime>) {
        let outcome = outcome(report);
        let RunReport { started_at, ended_at, .. } = *report;
        {
            let mut state = self.state.lock();
            (state.running, state.next_run) = (false, next_run);
            state.last = Some(Last { outcome, started_at, ended_at });
            if report.is_ok() {
                state.last_success = Some(ended_at);
            }
        }
        metrics::counter!("vault_secrets_replication_runs", "outcome" => outcome).increment(1);
        let took = ended_at.duration_since(started_at).unwrap_or_default();
        metrics::histogram!("vault_secrets_replication_run_seconds").record(took.as_secs_f64());
        if let Outcome::Done(results) = &report.outcome {
            for (outcome, count) in counts(results) {
                metrics::counter!("vault_secrets_replication_secrets", "outcome" => outcome)
                    .increment(count);
                #[expect(clippy::cast_precision_loss, reason = "a count of secrets is small")]
                metrics::gauge!("vault_secrets_replication_last_run_secrets", "outcome" => outcome)
                    .set(count as f64);
            }
        }
    }

    /// Whether it is healthy, and what that is concluded from.
    fn health(&self, now: SystemTime) -> (bool, Value) {
        let state = self.state.lock();
        let healthy = self.is_healthy(&state, now);
        let time = |time: Option<SystemTime>| {
            time.and_then(|time| jiff::Timestamp::try_from(time).ok())
                .map(|time| format!("{time:.3}"))
        };
        let last = state.last.as_ref().map(|last| {
            json!({
                "outcome": last.outcome,
                "started_at": time(Some(last.started_at)),
                "ended_at": time(Some(last.ended_at)),
            })
        });
        let told = json!({
            "healthy": healthy,
            "running": state.running,
            "last_run": last,
            "last_success_at": time(state.last_success),
            "next_run_at": time(state.next_run),
        });
        (healthy, told)
    }

    fn is_healthy(&self, state: &State, now: SystemTime) -> bool {
        let since = state.last_success.unwrap_or(state.since);
        let end = match self.healthy_for {
            Some(time) => Some(since + time),
            None => {
                let next = self.schedule.next_after(since);
                let second = next.and_then(|next| self.schedule.next_after(next));
                second.map(|second| second + RUN_TIME)
            }
        };
        end.is_none_or(|end| now <= end)
    }

    /// The metrics of this program, in the text format of Prometheus.
    fn exposition(&self, now: SystemTime) -> String {
        let gauge = |name: &'static str, value: f64| metrics::gauge!(name).set(value);
        {
            let state = self.state.lock();
            let flag = |flag: bool| if flag { 1.0 } else { 0.0 };
            gauge("vault_secrets_replication_healthy", flag(self.is_healthy(&state, now)));
            gauge("vault_secrets_replication_running", flag(state.running));
            for (name, time) in [
                (
                    "vault_secrets_replication_last_run_timestamp_seconds",
                    state.last.as_ref().map(|last| last.ended_at),
                ),
                ("vault_secrets_replication_last_success_timestamp_seconds", state.last_success),
                ("vault_secrets_replication_next_run_timestamp_seconds", state.next_run),
            ] {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
                gauge(name, time.map_or(0.0, |time| to_millis(time) as f64 / 1000.0));
            }
            if let Some(at) = state.last_success {
                let age = now.duration_since(at).unwrap_or_default();
                gauge("vault_secrets_replication_last_success_age_seconds", age.as_secs_f64());
            }
        }
        self.metrics.render()
    }

    fn answer(&self, method: &Method, path: &str, now: SystemTime) -> Response<Full<Bytes>> {
        let (status, media, body) = match (method, path) {
            (&Method::GET | &Method::HEAD, "/metrics") => {
                (StatusCode::OK, "text/plain; version=0.0.4", self.exposition(now))
            }
            (&Method::GET | &Method::HEAD, "/health") => {
                let (healthy, told) = self.health(now);
                let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                (status, "application/json", format!("{told}\n"))
            }
            (&Method::GET | &Method::HEAD, _) => {
                (StatusCode::NOT_FOUND, "text/plain", "/health or /metrics\n".to_owned())
            }
            _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET alone\n".to_owned()),
        };
        let mut answer = Response::new(Full::new(Bytes::from(body)));
        *answer.status_mut() = status;
        answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media));
        answer
    }
}

/// How a run ended, in a word.
fn outcome(report: &RunReport) -> &'static str {
    match &report.outcome {
        _ if report.is_cut_off() => "cut_off",
        _ if report.is_ok() => "succeeded",
        Outcome::Done(_) => "failed",
        Outcome::NotBegun(_) => "not_begun",
    }
}

fn counts(results: &Results) -> [(&'static str, u64); 10] {
    let count = |names: &[String]| u64::try_from(names.len()).unwrap_or(u64::MAX);
    [
        ("created", count(&results.created)),
        ("updated", count(&results.updated)),
        ("adopted", count(&results.adopted)),
        ("retagged", count(&results.aspects)),
        ("orphaned", count(&results.orphaned)),
        ("scheduled", count(&results.scheduled)),
        ("deleted", count(&results.deleted)),
        ("unchanged", results.unchanged),
        ("failed", u64::try_from(results.failed.len()).unwrap_or(u64::MAX)),
        ("not_done", count(&results.not_done)),
    ]
}

/// Where it is told.
#[derive(Debug)]
pub(crate) struct Listener(TcpListener);

impl Listener {
    /// Listens there; port 0 is a free one.
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Listener> {
        TcpListener::bind(address).await.map(Listener)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers for as long as it is polled.
    pub(crate) async fn serve(self, told: Arc<Told>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = self.0.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let told = told.clone();
            tokio::spawn(async move {
                let _permit = permit;
                let answer = service_fn(|request: Request<Incoming>| {
                    let path = request.uri().path();
                    let answer = told.answer(request.method(), path, SystemClock.now());
                    std::future::ready(Ok::<_, Infallible>(answer))
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                // Who asked and went away needs no answer.
                timeout(CONNECTION_TIME_MAX, connection).await.ok();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailee_secret_sync::{
        failure::Failure,
        pull::report::{FailedSecret, SetupFailure, Stage},
    };
    use metrics_exporter_prometheus::PrometheusBuilder;

    const START: u64 = 1_800_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(START + seconds)
    }

    fn report(ended: u64, outcome: Outcome) -> RunReport {
        RunReport {
            replication: "canary".to_owned(),
            run: "r".to_owned(),
            started_at: at(ended.saturating_sub(2)),
            ended_at: at(ended),
            account: "canary".to_owned(),
            region: "canary".to_owned(),
            outcome,
        }
    }

    fn good() -> Outcome {
        let created = vec!["canary".to_owned()];
        Outcome::Done(Results { created, unchanged: 3, ..Results::default() })
    }

    fn failed() -> Outcome {
        let failed = FailedSecret {
            name: "canary".to_owned(),
            failure: Failure::Invalid,
            message: "canary".to_owned(),
        };
        Outcome::Done(Results { failed: vec![failed], ..Results::default() })
    }

    fn told(
        healthy_for: Option<Duration>,
    ) -> (Told, metrics_exporter_prometheus::PrometheusRecorder) {
        let recorder = PrometheusBuilder::new().build_recorder();
        let schedule = Schedule::parse("rate(1 hour)").unwrap();
        (Told::new(recorder.handle(), schedule, healthy_for, at(0)), recorder)
    }

    fn status(told: &Told, seconds: u64) -> u16 {
        told.answer(&Method::GET, "/health", at(seconds)).status().as_u16()
    }

    #[test]
    fn it_is_unhealthy_when_the_last_success_is_too_long_ago() {
        let (told, _recorder) = told(Some(Duration::from_secs(100)));
        assert_eq!((status(&told, 100), status(&told, 101)), (200, 503));
        told.ended(&report(50, good()), Some(at(3600)));
        told.ended(&report(120, failed()), Some(at(3600)));
        assert_eq!((status(&told, 150), status(&told, 151)), (200, 503));
    }

    #[test]
    fn where_nothing_is_said_two_runs_in_a_row_may_not_be_missed() {
        let (told, _recorder) = told(None);
        told.ended(&report(0, good()), Some(at(3600)));
        let end = 7200 + RUN_TIME.as_secs();
        assert_eq!((status(&told, end), status(&told, end + 1)), (200, 503));
    }

    #[test]
    fn what_is_told_counts_runs_and_secrets_and_names_nothing() {
        let (told, recorder) = told(None);
        let (health, text) = metrics::with_local_recorder(&recorder, || {
            told.begins();
            assert!(told.health(at(1)).1["running"].as_bool().unwrap());
            told.ended(&report(10, good()), Some(at(3600)));
            told.ended(&report(20, failed()), Some(at(3600)));
            let failure = SetupFailure {
                stage: Stage::Source,
                failure: Failure::Unavailable,
                message: "canary".to_owned(),
            };
            told.ended(&report(30, Outcome::NotBegun(failure)), Some(at(3600)));
            (told.health(at(40)).1, told.exposition(at(40)))
        });
        assert_eq!(
            health,
            json!({
                "healthy": true, "running": false,
                "last_run": {
                    "outcome": "not_begun", "started_at": "2027-01-15T08:00:28.000Z",
                    "ended_at": "2027-01-15T08:00:30.000Z",
                },
                "last_success_at": "2027-01-15T08:00:10.000Z",
                "next_run_at": "2027-01-15T09:00:00.000Z",
            })
        );
        for line in [
            "vault_secrets_replication_runs{outcome=\"succeeded\"} 1",
            "vault_secrets_replication_runs{outcome=\"failed\"} 1",
            "vault_secrets_replication_runs{outcome=\"not_begun\"} 1",
            "vault_secrets_replication_secrets{outcome=\"created\"} 1",
            "vault_secrets_replication_secrets{outcome=\"unchanged\"} 3",
            "vault_secrets_replication_last_run_secrets{outcome=\"failed\"} 1",
            "vault_secrets_replication_healthy 1",
            "vault_secrets_replication_last_success_age_seconds 30",
            "vault_secrets_replication_last_run_timestamp_seconds 1800000030",
            "vault_secrets_replication_next_run_timestamp_seconds 1800003600",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!text.contains("canary") && !health.to_string().contains("canary"));
    }

    #[test]
    fn other_paths_and_other_verbs_are_refused() {
        let (told, _recorder) = told(None);
        assert_eq!(told.answer(&Method::GET, "/", at(0)).status(), StatusCode::NOT_FOUND);
        let posted = told.answer(&Method::POST, "/health", at(0));
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
