//! The engine over an IAM of the tests' own: no network, and time passes when nobody works.

mod iam;
mod life;
mod roles;
mod rotation;
mod simulation;

use crate::aws::Surroundings;
use bailee_cloud::HttpOptions;
use bailee_sdk::{
    Error,
    Operation::{Read, Update},
    Reply,
    testing::{EngineHarness, TestClock, data},
};
use iam::TestIam;
use serde_json::{Value, json};
use std::sync::Arc;

/// A mount with its cloud.
struct World {
    mount: EngineHarness,
    iam: Arc<TestIam>,
}

impl World {
    /// A mount that is configured, with a role `ci` of users.
    async fn new() -> World {
        let clock = Arc::new(TestClock::default());
        let iam = Arc::new(TestIam::new(clock.clone()));
        let settings = Surroundings::new(clock.clone(), HttpOptions::default(), false);
        let kind = super::kind(&settings.over(iam.clone()));
        let mount = EngineHarness::mount(&kind, &[]).await.with_clock(clock);
        let world = World { mount, iam };
        let root = json!({ "access_key": "AKIAROOT", "secret_key": "s", "region": "eu-west-1" });
        world.write("config/root", root).await.unwrap();
        let role = json!({
            "credential_type": "iam_user",
            "policy_document": "{\"Version\":\"2012-10-17\",\"Statement\":[]}",
            "policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess",
            "iam_groups": "staff",
        });
        world.write("roles/ci", role).await.unwrap();
        world
    }

    async fn write(&self, path: &str, input: Value) -> Result<Reply, Error> {
        self.mount.call(Update, path, input).await
    }

    async fn read(&self, path: &str) -> Result<Value, Error> {
        self.mount.call(Read, path, Value::Null).await.map(|reply| data(&reply))
    }

    async fn refusal(&self, path: &str, input: Value) -> String {
        self.write(path, input).await.unwrap_err().to_string()
    }
}
