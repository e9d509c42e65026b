//! What sync tells in metrics, and that no secret is named there.

use super::world::{NAME, World};
use crate::{
    failure::{Error, Failure},
    testing::Fault,
};
use metrics::{
    Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;

/// Names and labels that were used, and the last value of each gauge.
#[derive(Clone, Default)]
struct Used(Arc<Mutex<BTreeMap<String, f64>>>);

impl Used {
    fn note(&self, key: &Key) -> String {
        let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
        let name = format!("{}{{{}}}", key.name(), labels.collect::<Vec<_>>().join(","));
        self.0.lock().entry(name.clone()).or_default();
        name
    }
}

struct Value(Used, String);

impl GaugeFn for Value {
    fn increment(&self, value: f64) {
        *self.0.0.lock().entry(self.1.clone()).or_default() += value;
    }

    fn decrement(&self, value: f64) {
        self.increment(-value);
    }

    fn set(&self, value: f64) {
        self.0.0.lock().insert(self.1.clone(), value);
    }
}

impl Recorder for Used {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let name = self.note(key);
        Gauge::from_arc(Arc::new(Value(self.clone(), name)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note(key);
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn figures_are_exposed_by_type_and_name_no_secret() {
    let used = Used::default();
    let _guard = metrics::set_default_local_recorder(&used);
    let world = World::new().await;
    world.write("app/db", json!({ "v": 1 })).await.unwrap();
    world.set("app/db").await.unwrap();
    world.cloud.fail([Fault::Refuse(Error::new(Failure::Unavailable, "down"))]);
    world.write("app/db", json!({ "v": 2 })).await.unwrap();
    sleep(Duration::from_secs(601)).await;
    world.cloud.lose(NAME);
    sleep(Duration::from_secs(1_202)).await;
    world.post("sync/config", json!({ "disabled": true })).await.unwrap();
    world.write("app/db", json!({ "v": 3 })).await.unwrap();
    sleep(Duration::from_secs(95)).await;
    let found = used.0.lock().clone();
    for name in [
        "vault_secrets_sync_associations_count{type=in-mem}",
        "vault_secrets_sync_backlog{type=in-mem}",
        "vault_secrets_sync_budget_concurrency{type=in-mem,namespace=root,destination=d1}",
        "vault_secrets_sync_budget_rest_seconds{type=in-mem,namespace=root,destination=d1}",
        "vault_secrets_sync_budget_writes_per_second{type=in-mem,namespace=root,destination=d1}",
        "vault_secrets_sync_call_seconds{type=in-mem,call=put}",
        "vault_secrets_sync_calls{type=in-mem,call=list,outcome=ok}",
        "vault_secrets_sync_calls{type=in-mem,call=look,outcome=ok}",
        "vault_secrets_sync_calls{type=in-mem,call=put,outcome=ok}",
        "vault_secrets_sync_calls{type=in-mem,call=put,outcome=unavailable}",
        "vault_secrets_sync_destinations_count{type=in-mem}",
        "vault_secrets_sync_drift_found{type=in-mem,drift=missing}",
        "vault_secrets_sync_drift_repaired{type=in-mem}",
        "vault_secrets_sync_lag_seconds{type=in-mem}",
        "vault_secrets_sync_oldest_change_seconds{type=in-mem}",
        "vault_secrets_sync_operations{type=in-mem,outcome=delivered}",
        "vault_secrets_sync_queue_depth{}",
        "vault_secrets_sync_retries{type=in-mem}",
    ] {
        assert!(found.contains_key(name), "{name} in {found:#?}");
    }
    let value = |name: &str| found[&format!("vault_secrets_sync_{name}{{type=in-mem}}")];
    assert_eq!((value("destinations_count"), value("associations_count")), (1.0, 1.0));
    assert_eq!(value("backlog"), 1.0);
    let age = value("oldest_change_seconds");
    assert!((60.0..=95.0).contains(&age), "{age}");
    assert!(found.keys().all(|name| !name.contains("app")), "{found:?}");
}
