//! Sync as a client sees it.

use crate::{Answer, Api, eventually_some};
use bailee_fake_clouds::{FakeAws, aws::Key};
use serde_json::{Value, json};

/// The sync paths of a server.
#[derive(Clone, Debug)]
pub struct Sync {
    api: Api,
}

impl Sync {
    pub(crate) fn new(api: Api) -> Sync {
        Sync { api }
    }

    /// Switches the feature on.
    pub async fn activate(&self) {
        self.api.put("sys/activation-flags/secrets-sync/activate", json!({})).await.done();
    }

    /// Fields of a destination at a fake, as its administrator, with names like `vault/app/db`.
    pub fn fields(aws: &FakeAws) -> Value {
        Sync::fields_of(aws, aws.administrator())
    }

    /// Fields of a destination at a fake, with a key of it.
    pub fn fields_of(aws: &FakeAws, key: &Key) -> Value {
        json!({
            "access_key_id": key.access_key_id,
            "secret_access_key": key.secret_access_key,
            "region": "us-east-1",
            "secret_name_template": "vault/{{ .SecretPath }}",
            "allowed_ipv4_addresses": ["127.0.0.0/8"],
            "allowed_ports": [aws.port()],
        })
    }

    /// Makes the destination `aws-sm/<name>` at a fake.
    pub async fn destination(&self, aws: &FakeAws, name: &str) {
        self.destination_with(name, Sync::fields(aws)).await.done();
    }

    /// Makes a destination with these fields.
    pub async fn destination_with(&self, name: &str, fields: Value) -> Answer {
        self.api.put(&format!("sys/sync/destinations/aws-sm/{name}"), fields).await
    }

    /// Associates a secret of the mount `secret`.
    pub async fn set(&self, destination: &str, secret: &str) -> Answer {
        self.change("set", destination, secret).await
    }

    /// Dissociates a secret of the mount `secret`.
    pub async fn remove(&self, destination: &str, secret: &str) -> Answer {
        self.change("remove", destination, secret).await
    }

    async fn change(&self, what: &str, destination: &str, secret: &str) -> Answer {
        let path = format!("sys/sync/destinations/aws-sm/{destination}/associations/{what}");
        self.api.put(&path, json!({ "mount": "secret", "secret_name": secret })).await
    }

    /// What the API says about an association; `None` when there is none.
    pub async fn association(&self, destination: &str, secret: &str) -> Option<Value> {
        let path = format!("sys/sync/destinations/aws-sm/{destination}/associations");
        let answer = self.api.get(&path).await.ok();
        let all = answer.at("/data/associated_secrets");
        let mut each = all.as_object().into_iter().flat_map(|all| all.values());
        each.find(|one| one.get("secret_name").and_then(Value::as_str) == Some(secret)).cloned()
    }

    /// Waits until an association has a status, and gives all the API says about it.
    pub async fn until(&self, destination: &str, secret: &str, status: &str) -> Value {
        let mut last = String::new();
        let what = format!("{secret} becomes {status} at {destination}");
        eventually_some(&what, async || {
            let association = self.association(destination, secret).await;
            let shown = format!("{association:?}");
            if shown != last {
                last = shown;
            }
            association.filter(|one| one.get("sync_status").and_then(Value::as_str) == Some(status))
        })
        .await
    }
}
