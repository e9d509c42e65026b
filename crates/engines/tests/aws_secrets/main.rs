//! The engine `aws` against a fake that checks signatures and judges policies as IAM does.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

mod policies;
mod roles;

use bailee_cloud::{EgressRules, HttpOptions};
use bailee_engines::{aws::Surroundings, secret::aws};
use bailee_fake_clouds::{FakeAws, aws::Key};
use bailee_sdk::{
    Clock, Error, Operation, Reply,
    testing::{EngineHarness, TestClock, data},
};
use serde_json::{Value, json};
use std::sync::Arc;

const ACCOUNT: &str = "123456789012";
const OTHER_ACCOUNT: &str = "210987654321";
const ALL: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*",
    "Resource": "*"}]}"#;

/// A mount in front of a fake whose signatures are checked at the mount's time.
struct World {
    aws: FakeAws,
    mount: EngineHarness,
}

impl World {
    async fn new() -> World {
        let aws = FakeAws::start().await;
        let clock = Arc::new(TestClock::default());
        let loopback = ["127.0.0.1/32".to_owned()];
        let rules = EgressRules::parse(false, &loopback, &[], &[aws.port().to_string()]).unwrap();
        let http = HttpOptions { rules, ..HttpOptions::default() };
        let surroundings = Surroundings::new(clock.clone(), http, false);
        let mount = EngineHarness::mount(&aws::kind(&surroundings), &[]).await.with_clock(clock);
        let theirs = bailee_crypto::SystemClock.now();
        let behind = theirs.duration_since(mount.now()).unwrap().as_millis();
        aws.set_clock_skew(-i64::try_from(behind).unwrap());
        World { aws, mount }
    }

    /// The mount works as the user `engine`, who has this policy; `more` goes on top.
    async fn as_user(policy: &str, more: Value) -> World {
        let world = World::new().await;
        let key = world.aws.create_user("engine", &[policy]);
        world.configure(&key, more).await;
        world
    }

    async fn configure(&self, key: &Key, more: Value) {
        let mut root = json!({
            "access_key": key.access_key_id,
            "secret_key": key.secret_access_key,
            "iam_endpoint": self.aws.endpoint(),
            "sts_endpoint": self.aws.endpoint(),
            "max_retries": 0,
            "wait_until_usable": false,
        });
        for (name, value) in more.as_object().unwrap() {
            root[name] = value.clone();
        }
        self.write("config/root", root).await.unwrap();
    }

    async fn write(&self, path: &str, input: Value) -> Result<Reply, Error> {
        self.mount.call(Operation::Update, path, input).await
    }

    async fn read(&self, path: &str) -> Result<Value, Error> {
        self.mount.call(Operation::Read, path, json!({})).await.map(|reply| data(&reply))
    }

    async fn delete(&self, path: &str) -> Result<Reply, Error> {
        self.mount.call(Operation::Delete, path, json!({})).await
    }

    /// The policy that the mount prints.
    async fn policy(&self, asked: Value) -> Value {
        let reply = self.mount.call(Operation::Read, "root-policy", asked).await.unwrap();
        data(&reply)["policy"].clone()
    }
}

/// A trust policy: whoever of an account has the permission may take on the role.
fn trusting(account: &str) -> String {
    json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": { "AWS": format!("arn:aws:iam::{account}:root") },
        "Action": "sts:AssumeRole",
    }] })
    .to_string()
}
