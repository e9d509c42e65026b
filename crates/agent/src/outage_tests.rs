//! An hour without the place, with a restart in the middle.

use crate::{
    disk::DiskCache,
    failure::Cause,
    manager::{Material, Wanted},
    private_file,
    store::{Freshness, Patience, Place, Store},
    testing::{FakeManager, TokioClock},
};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::time::sleep;

const SECRETS: [&str; 5] = ["db", "queue", "api", "mail", "search"];
const MINUTE: u32 = 60;

struct Agent {
    store: Arc<Store>,
    cache: Arc<DiskCache>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Agent {
    /// As the program starts: what was kept is taken back, then it is kept fresh and written.
    async fn start(
        manager: &Arc<FakeManager>,
        clock: &Arc<TokioClock>,
        cache: &Arc<DiskCache>,
    ) -> Agent {
        let place = Place::new("m", manager.clone(), Patience::default());
        let entries_max = NonZeroUsize::new(100).unwrap();
        let store = Arc::new(Store::new([place], entries_max, clock.clone()));
        store.restore(cache.load().unwrap()).await;
        for id in SECRETS {
            store.pin("m", &Wanted::current(id)).unwrap();
        }
        let keeping = store.clone();
        let tasks = vec![
            tokio::spawn(async move { keeping.keep_fresh().await }),
            tokio::spawn(cache.clone().keep(store.clone())),
        ];
        Agent { store, cache: cache.clone(), tasks }
    }

    async fn asks(&self, id: &str) -> String {
        let held = self.store.get("m", &Wanted::current(id), Freshness::Kept).await;
        let Material::Text(text) = &held.unwrap().fetched.material else { panic!("no text") };
        text.expose().clone()
    }

    /// It is killed: nothing is written on the way out.
    fn kill(self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_outage_with_a_restart_in_the_middle_is_noticed_by_nobody() {
    for cause in [Cause::Unavailable, Cause::Throttled, Cause::Credentials, Cause::Denied] {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        private_file::replace(&key, &[3; 32]).unwrap();
        let cache = Arc::new(
            DiskCache::new(&folder.path().join("cache"), &key, private_file::Rule::OWN).unwrap(),
        );
        let (manager, clock) = (FakeManager::with(&[]), TokioClock::new());
        for id in SECRETS {
            manager.set(id, "before");
        }
        let mut agent = Agent::start(&manager, &clock, &cache).await;
        for second in 0..120 * MINUTE {
            match second {
                // Written long enough before the outage to be on the disk.
                _ if second == 20 * MINUTE => manager.set("db", "rotated"),
                _ if second == 30 * MINUTE => manager.fail(Some(cause)),
                _ if second == 60 * MINUTE => {
                    agent.kill();
                    agent = Agent::start(&manager, &clock, &cache).await;
                }
                _ if second == 90 * MINUTE => {
                    manager.fail(None);
                    SECRETS.iter().for_each(|id| manager.set(id, "after"));
                }
                _ => {}
            }
            for id in SECRETS {
                let value = agent.asks(id).await;
                let known = match (id, second) {
                    // Within the time of refreshing either will do.
                    ("db", _) if (20 * MINUTE..26 * MINUTE).contains(&second) => true,
                    (_, _) if (90 * MINUTE..96 * MINUTE).contains(&second) => true,
                    (_, _) if second >= 96 * MINUTE => value == "after",
                    ("db", _) if second >= 26 * MINUTE => value == "rotated",
                    _ => value == "before",
                };
                assert!(known, "{cause:?}: {id} is {value} at second {second}");
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(agent.cache.load().unwrap().secrets.len(), SECRETS.len());
        agent.kill();
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_encrypted_cache_a_restart_in_an_outage_is_an_outage() {
    let (manager, clock) = (FakeManager::with(&[("db", "v")]), TokioClock::new());
    manager.fail(Some(Cause::Unavailable));
    let place = Place::new("m", manager, Patience::default());
    let store = Store::new([place], NonZeroUsize::new(100).unwrap(), clock);
    let failure = store.get("m", &Wanted::current("db"), Freshness::Kept).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unavailable);
}
