//! Memory does not grow with the number of associations.

use super::many::{external, secret};
use crate::{
    IdentityToken, LocalSource, Payload, SecretSync, Settings, SyncSession, Tenure,
    association::{Association, Object, State},
    destination::{
        Checked, Cursor, Delivered, Delivery, Destination, Names, Receipt, Remote, Removal, Survey,
    },
    epoch::Epoch,
    failure::{Error, Status},
    limits::Limits,
    naming::Granularity,
    registry::StoredDestination,
    store::{Claim, Mark, Store},
    tags::marked,
    testing::FakeCloud,
};
use async_trait::async_trait;
use bailee_barrier::Barrier;
use bailee_sdk::{
    Clock, Mount, Mounts, Namespace, Sensitive,
    testing::{TestClock, is_alone, resident},
};
use bailee_storage::embedded::Embedded;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;
use zeroize::Zeroizing;

const COUNT: usize = if cfg!(feature = "slow-tests") { 1_000_000 } else { 20_000 };
/// What a million associations may take, and what a process takes that has few of them.
const PER_ASSOCIATION_BYTES_MAX: usize = 600;
const FIXED_BYTES_MAX: usize = 100 << 20;
/// Associations that one batch stores.
const BATCH: usize = 5_000;
const VALUE: &[u8] = br#"{"password":"0123456789abcdef0123456789abcdef"}"#;

/// A destination that holds all of it and remembers nothing.
struct Hollow(Limits);

#[async_trait]
impl Destination for Hollow {
    fn limits(&self) -> &Limits {
        &self.0
    }

    async fn check(&self) -> Result<Checked, Error> {
        Ok(Checked::default())
    }

    async fn survey(&self, _: &Names, after: Option<Cursor>) -> Result<Survey, Error> {
        let first: usize = after.map_or(0, |cursor| cursor.0.parse().unwrap());
        let last = COUNT.min(first + 100);
        let remote = Remote { version_id: Some("v".to_owned()), ..Remote::default() };
        let objects = (first..last).map(|number| (external(number), remote.clone())).collect();
        Ok(Survey { objects, next: (last < COUNT).then(|| Cursor(last.to_string())) })
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        panic!("nothing is to be delivered: {}", delivery.name);
    }

    async fn delete(&self, removal: &Removal) -> Result<(), Error> {
        panic!("nothing is to be removed: {}", removal.name);
    }
}

/// A server whose every secret has the same value.
#[derive(Default)]
struct Same {
    reads: AtomicUsize,
}

fn mount() -> Arc<Mount> {
    Arc::new(Mount {
        path: "kv/".to_owned(),
        uuid: "1234".to_owned(),
        accessor: "kv_1234".to_owned(),
        kind: "kv".to_owned(),
        options: BTreeMap::from([("version".to_owned(), "2".to_owned())]),
    })
}

#[async_trait]
impl LocalSource for Same {
    async fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        Ok(vec![Namespace::root()])
    }

    fn mounts(&self, _: &Namespace) -> Mounts {
        Mounts(Arc::new(vec![mount()]))
    }

    async fn read(
        &self,
        _: &str,
        _: &Namespace,
        _: &Mount,
        _: &str,
    ) -> Result<Option<Payload>, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let bytes = Zeroizing::new(VALUE.to_vec());
        Ok(Some(Payload { bytes, version: 1, expires_at: None }))
    }

    async fn list(&self, _: &str, _: &Namespace, _: &Mount, _: &str) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    async fn identity_token(
        &self,
        _: &Namespace,
        _: &IdentityToken,
    ) -> Result<Sensitive<String>, Error> {
        Ok(Sensitive::new(String::new()))
    }

    async fn audit(
        &self,
        _: &str,
        _: &Namespace,
        _: &str,
        _: &str,
        _: &Map<String, Value>,
    ) -> Result<(), Error> {
        Ok(())
    }
}

/// Associations that were delivered long ago; every tenth is marked dirty.
async fn associate(barrier: &Arc<Barrier>) {
    let namespace = Namespace::root();
    let epoch = Epoch::begin(barrier).await.unwrap();
    let store = Store::open(barrier, &namespace);
    let stored: StoredDestination = serde_json::from_value(json!({
        "kind": "in-mem", "name": "d1", "details": {}, "template": null, "custom_tags": {},
        "network": {
            "disable_strict_networking": false, "allowed_ipv4_addresses": [],
            "allowed_ipv6_addresses": [], "allowed_ports": [],
        },
        "purge": null,
    }))
    .unwrap();
    store.put_destination(&stored).await.unwrap();
    store.view.commit().await.unwrap();
    let id = store.destination_id("in-mem", "d1");
    let content_mark = hex::encode(barrier.fingerprint("sync-content", VALUE));
    for first in (0..COUNT).step_by(BATCH) {
        let store = Store::open(barrier, &namespace);
        for number in first..COUNT.min(first + BATCH) {
            let code = store.secret_id("1234", &secret(number));
            let mark = epoch.mark(barrier, &namespace, ("in-mem", "d1"), &external(number));
            let delivered = Delivered {
                version_id: "v".to_owned(),
                identity: None,
                source_version: 1,
                generation: 1,
                content_mark: content_mark.clone(),
                tags: marked(&BTreeMap::new(), &mark),
                placement: String::new(),
                at: 0,
            };
            let association = association(number, delivered);
            store.put_association(&id, &code, &association);
            let claim = Claim { secret: code.clone(), sub_key: None };
            store.claim_name(&id, &external(number), &claim);
            if number % 10 == 0 {
                store.mark_dirty(&id, &code, Mark::default());
            }
        }
        store.view.commit().await.unwrap();
    }
}

fn association(number: usize, delivered: Delivered) -> Association {
    let synced = State { status: Status::Synced, ..State::default() };
    let mut association = Association {
        mount: "1234".to_owned(),
        mount_path: "kv/".to_owned(),
        accessor: "kv_1234".to_owned(),
        secret_name: secret(number),
        destination_type: "in-mem".to_owned(),
        destination_name: "d1".to_owned(),
        template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}".to_owned(),
        granularity: Granularity::SecretPath,
        generation: 1,
        removing: false,
        objects: Vec::new(),
        state: synced.clone(),
    };
    let object: &mut Object = association.object_mut(&None, &external(number));
    object.begun = true;
    object.delivered = Some(delivered);
    object.state = synced;
    association
}

/// Looks at the memory while something runs: the most that was seen.
fn watch_memory(over: &Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    let over = over.clone();
    std::thread::spawn(move || {
        let mut most = 0;
        while !over.load(Ordering::Relaxed) {
            most = most.max(resident());
            std::thread::sleep(Duration::from_millis(20));
        }
        most
    })
}

#[test]
fn a_pass_over_many_associations_stays_small() {
    const NAME: &str = "tests::scale::a_pass_over_many_associations_stays_small";
    if !is_alone(NAME) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measured());
}

async fn measured() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Arc::new(Embedded::open(folder.path()).unwrap());
    let barrier = super::world::barrier(backend).await.unwrap();
    let start = Instant::now();
    associate(&barrier).await;
    let written = start.elapsed();
    let before = resident();
    let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
    let hollow = crate::registry::DestinationKind {
        build: Arc::new(|_| {
            let limits = Limits { lists_per_second: 1_000, ..Limits::default() };
            let hollow: Arc<dyn Destination> = Arc::new(Hollow(limits));
            Box::pin(async move { Ok(hollow) })
        }),
        ..Arc::new(FakeCloud::default()).kind()
    };
    let sync = SecretSync::with_kinds(Settings::default(), clock, vec![hollow]);
    let local = Arc::new(Same::default());
    let changed = watch::Sender::new(());
    let over = Arc::new(AtomicBool::new(false));
    let watching = watch_memory(&over);
    let start = Instant::now();
    let session = SyncSession {
        barrier: barrier.clone(),
        local: local.clone(),
        changed: changed.subscribe(),
        tenure: Tenure::unlimited(),
    };
    let running = sync.start(session);
    finished(&barrier, &local).await;
    let took = start.elapsed();
    over.store(true, Ordering::Relaxed);
    let most = watching.join().unwrap();
    running.stop().await;
    let mib = |bytes: usize| bytes / (1 << 20);
    println!(
        "{COUNT} associations, written in {written:.0?}: {} MiB before, at most {} MiB in a pass with {} \
         reads, {took:.0?}",
        mib(before),
        mib(most),
        local.reads.load(Ordering::Relaxed)
    );
    let max = FIXED_BYTES_MAX + PER_ASSOCIATION_BYTES_MAX * COUNT;
    assert!(most <= max, "{} MiB of {} MiB", mib(most), mib(max));
}

/// Waits until every association was compared, no mark is left, and the survey has seen all.
async fn finished(barrier: &Arc<Barrier>, local: &Same) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let store = Store::open(barrier, &Namespace::root());
        let id = store.destination_id("in-mem", "d1");
        let looked = store.surveyed(&id).await.unwrap().map(|surveyed| surveyed.looked as usize);
        let dirty = !store.dirty_page(&id, "").await.unwrap().is_empty();
        if local.reads.load(Ordering::Relaxed) >= COUNT && !dirty && looked == Some(COUNT) {
            return;
        }
    }
}
