//! Whole deliveries to fakes of AWS that we did not write, through a proxy that makes calls fail as
//! AWS's do: afterwards everything is as it should be, and no older value followed a newer one.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_testkit::{Options, Program, Storage, TestServer, eventually};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// The fake itself, past the proxy and past our own client.
#[derive(Clone)]
struct Account {
    http: reqwest::Client,
    url: String,
}

impl Account {
    fn of(program: &Program) -> Account {
        Account { http: reqwest::Client::new(), url: program.url() }
    }

    async fn ask(&self, operation: &str, input: Value) -> Option<Value> {
        // Neither of the fakes looks at signatures; they want to see for which service one is.
        let signed = "AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/us-east-1/secretsmanager/\
                      aws4_request, SignedHeaders=host, Signature=00";
        let request = self
            .http
            .post(&self.url)
            .header("authorization", signed)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("secretsmanager.{operation}"))
            .body(input.to_string());
        // A fake may close a connection that we were about to use.
        let (mut answered, mut tries) = (None, 0);
        while answered.is_none() {
            assert!(tries < 5, "{} does not answer", self.url);
            tries += 1;
            let Ok(answer) = request.try_clone().unwrap().send().await else { continue };
            let good = answer.status().is_success();
            answered = answer.text().await.ok().map(|text| (good, text));
        }
        let (good, text) = answered.unwrap();
        good.then(|| serde_json::from_str(&text).unwrap())
    }

    /// The number in the value of a secret; `None` when it is not there.
    async fn number(&self, name: &str) -> Option<u64> {
        let held = self.ask("GetSecretValue", json!({ "SecretId": name })).await?;
        let value: Value = serde_json::from_str(held["SecretString"].as_str()?).unwrap();
        value["n"].as_u64()
    }

    async fn tags(&self, name: &str) -> Value {
        let shown = self.ask("DescribeSecret", json!({ "SecretId": name })).await.unwrap();
        shown["Tags"].clone()
    }
}

/// A server that delivers to a fake through the proxy.
struct Bench {
    server: TestServer,
    account: Account,
    proxy: Program,
    /// Whether the fake takes a repeated update for what it is; one of them fails for good.
    takes_repeats: bool,
    _fake: Program,
}

impl Bench {
    async fn with(fake: Program, takes_repeats: bool) -> Bench {
        let proxy = Program::microburst(&fake).await;
        let options = Options {
            storage: Storage::Memory,
            aws_endpoint: Some(proxy.url()),
            ..Options::default()
        };
        let server = TestServer::start_with(options).await;
        server.sync().activate().await;
        let fields = json!({
            "access_key_id": "AKIATEST",
            "secret_access_key": "test",
            "region": "us-east-1",
            "secret_name_template": "vault/{{ .SecretPath }}",
            "allowed_ipv4_addresses": "127.0.0.0/8",
            "allowed_ports": [proxy.port()],
        });
        server.sync().destination_with("d", fields).await.done();
        Bench { server, account: Account::of(&fake), proxy, takes_repeats, _fake: fake }
    }

    /// From now on the proxy does this, and nothing else.
    async fn rule(&self, rules: Value) {
        let request = self.account.http.post(format!("{}/_microburst/rules", self.proxy.url()));
        let answer = request
            .header("content-type", "application/json")
            .body(rules.to_string())
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn heal(&self) {
        self.rule(json!([])).await;
    }

    async fn write(&self, secret: &str, number: u64) {
        self.server.api().write(secret, json!({ "n": number })).await;
    }

    async fn set(&self, secret: &str) {
        self.server.sync().set("d", secret).await.done();
    }

    /// Waits until the fake holds the number and the status says so.
    async fn converges(&self, secret: &str, number: u64) {
        let name = format!("vault/{secret}");
        eventually(&format!("{secret} becomes {number}"), async || {
            self.account.number(&name).await == Some(number)
        })
        .await;
        self.server.sync().until("d", secret, "SYNCED").await;
        assert_eq!(self.account.number(&name).await, Some(number));
    }
}

fn on(operation: &str, what: Value) -> Value {
    let mut rule = json!({ "service": "secretsmanager", "operation": operation });
    rule.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
    rule
}

fn denied(operation: &str) -> Value {
    let message = format!(
        "User: arn:aws:iam::123456789012:user/sync is not authorized to perform: \
         secretsmanager:{operation} on resource: vault/app because no identity-based policy allows \
         the secretsmanager:{operation} action"
    );
    let error = json!({ "code": "AccessDeniedException", "status": 400, "message": message });
    json!([on(operation, json!({ "error": error }))])
}

fn throttled(operation: &str, times: u64) -> Value {
    let error = json!({ "code": "ThrottlingException", "status": 400, "message": "Rate exceeded" });
    json!([on(operation, json!({ "times": times, "error": error }))])
}

/// The fake has done it, and the answer breaks off.
fn lost(operation: &str) -> Value {
    json!([on(operation, json!({ "times": 1, "response": { "abort_frac": 0.3 } }))])
}

fn reset(operation: &str) -> Value {
    json!([on(operation, json!({ "times": 1, "reset": true }))])
}

/// Watches a secret until told to stop: a number that is lower than one before is a failure.
struct Watch {
    task: tokio::task::JoinHandle<()>,
    seen: Arc<Mutex<Vec<u64>>>,
}

impl Watch {
    fn over(account: Account, name: &'static str) -> Watch {
        let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
        let kept = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                if let Some(number) = account.number(name).await {
                    let mut seen = kept.lock().unwrap();
                    if seen.last() != Some(&number) {
                        seen.push(number);
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Watch { task, seen }
    }

    fn end(self) -> Vec<u64> {
        self.task.abort();
        let seen = self.seen.lock().unwrap().clone();
        assert!(seen.is_sorted(), "an older value followed a newer one: {seen:?}");
        seen
    }
}

async fn whatever_fails_everything_converges(bench: Bench) {
    let mut number = 1;
    // The first delivery: throttled twice, then lost after it had its effect.
    bench.rule(throttled("CreateSecret", 2)).await;
    bench.write("app", number).await;
    bench.set("app").await;
    bench.converges("app", number).await;
    let watch = Watch::over(bench.account.clone(), "vault/app");
    bench.rule(lost("CreateSecret")).await;
    bench.write("other", number).await;
    bench.set("other").await;
    bench.converges("other", number).await;
    let tags = bench.account.tags("vault/other").await.to_string();
    assert!(tags.contains("hashicorp:vault") && tags.contains("bailee:owner"), "{tags}");

    let mut faults = vec![
        throttled("UpdateSecret", 2),
        reset("UpdateSecret"),
        json!([on(
            "UpdateSecret",
            json!({
                "times": 1, "error": { "code": "InternalServiceError", "status": 500 },
            })
        )]),
    ];
    if bench.takes_repeats {
        faults.push(lost("UpdateSecret"));
    }
    for fault in faults {
        bench.rule(fault).await;
        number += 1;
        bench.write("app", number).await;
        bench.converges("app", number).await;
    }
    // A missing permission is told, and goes on once it is granted.
    bench.rule(denied("UpdateSecret")).await;
    number += 1;
    bench.write("app", number).await;
    let status = bench.server.sync().until("d", "app", "CLIENT_SIDE_ERROR").await;
    assert_eq!(status["error"]["missing_permission"], "secretsmanager:UpdateSecret", "{status}");
    assert_eq!(bench.account.number("vault/app").await, Some(number - 1));
    bench.heal().await;
    bench.set("app").await;
    bench.converges("app", number).await;

    // Many writes while a third of the calls goes wrong in one way or another.
    let mut rules = vec![json!({ "error": { "code": "ThrottlingException", "status": 400 } })];
    if bench.takes_repeats {
        rules.push(json!({ "response": { "abort_frac": 0.3 } }));
    }
    let rules = rules.into_iter().map(|mut rule| {
        rule["probability"] = json!(0.2);
        on("UpdateSecret", rule)
    });
    bench.rule(rules.collect()).await;
    for _ in 0..12 {
        number += 1;
        bench.write("app", number).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    bench.heal().await;
    bench.converges("app", number).await;
    watch.end();

    // Removals: throttled, lost, denied.
    bench.rule(throttled("DeleteSecret", 2)).await;
    bench.server.sync().remove("d", "other").await.done();
    eventually("the removal", async || bench.account.number("vault/other").await.is_none()).await;
    bench.rule(denied("DeleteSecret")).await;
    bench.server.sync().remove("d", "app").await.done();
    let status = bench.server.sync().until("d", "app", "CLIENT_SIDE_ERROR").await;
    assert_eq!(status["error"]["missing_permission"], "secretsmanager:DeleteSecret", "{status}");
    bench.rule(lost("DeleteSecret")).await;
    bench.server.sync().remove("d", "app").await.done();
    eventually("nothing is left", async || {
        bench.account.number("vault/app").await.is_none()
            && bench.server.sync().association("d", "app").await.is_none()
    })
    .await;
    bench.server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_at_moto_everything_converges() {
    whatever_fails_everything_converges(Bench::with(Program::moto().await, true).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_at_roto_everything_converges() {
    whatever_fails_everything_converges(Bench::with(Program::roto().await, false).await).await;
}
