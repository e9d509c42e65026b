//! Secrets under leases: renewed, made anew, kept over a restart.

use super::get;
use crate::{
    failure::Cause,
    manager::{Lease, Wanted},
    store::{Patience, Place, Store},
    testing::{FakeManager, TokioClock, store_over},
};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::time::advance;

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_until_it_cannot_be_and_then_another_secret_is_fetched() {
    let manager = FakeManager::with(&[("creds", "user-1")]);
    let lease = Lease { id: "l".to_owned(), duration: Duration::from_secs(90), renewable: true };
    manager.lease(Some(lease), Some(Duration::from_secs(90)));
    let store = store_over(manager.clone());
    store.pin("m", &Wanted::current("creds")).unwrap();
    get(&store, "creds").await.unwrap();
    manager.calls();
    for _ in 0..3 {
        advance(Duration::from_secs(61)).await;
        store.refresh_due().await;
        assert_eq!(manager.calls(), ["renew l"]);
        assert_eq!(get(&store, "creds").await.unwrap(), "user-1");
    }
    // The last renewal is short: the lease has come to its end.
    manager.lease(
        Some(Lease { id: "m".to_owned(), duration: Duration::from_secs(90), renewable: true }),
        Some(Duration::from_secs(20)),
    );
    manager.set("creds", "user-2");
    advance(Duration::from_secs(61)).await;
    store.refresh_due().await;
    assert_eq!(manager.calls(), ["renew l", "batch creds"]);
    assert_eq!(get(&store, "creds").await.unwrap(), "user-2");
    store.close().await;
    assert_eq!(manager.calls(), ["revoke m", "leave"]);
}

#[tokio::test(start_paused = true)]
async fn leases_that_hung_on_a_token_that_is_gone_are_made_anew() {
    let manager = FakeManager::with(&[("creds", "user-1"), ("asked", "one"), ("plain", "x")]);
    let hour = Duration::from_secs(3600);
    let lease = Lease { id: "l".to_owned(), duration: hour, renewable: true };
    manager.lease(Some(lease.clone()), Some(hour));
    manager.token("first");
    let store = store_over(manager.clone());
    store.pin("m", &Wanted::current("creds")).unwrap();
    store.refresh_due().await;
    get(&store, "asked").await.unwrap();
    manager.lease(None, None);
    get(&store, "plain").await.unwrap();
    manager.calls();
    // As long as it is the same token, nothing is due.
    advance(Duration::from_secs(20)).await;
    store.refresh_due().await;
    assert!(manager.calls().is_empty());
    manager.token("second");
    manager.lease(Some(lease), Some(hour));
    manager.set("creds", "user-2");
    manager.set("asked", "two");
    store.refresh_due().await;
    assert_eq!(manager.calls(), ["batch creds"], "none is renewed by the other token");
    assert_eq!(get(&store, "creds").await.unwrap(), "user-2");
    assert_eq!(get(&store, "asked").await.unwrap(), "two", "it serves nobody else");
    assert_eq!(get(&store, "plain").await.unwrap(), "x");
    assert_eq!(manager.calls(), ["fetch asked"], "what has no lease stays as it is");
    // While the place is away, what was given serves.
    manager.fail(Some(Cause::Unavailable));
    manager.token("third");
    store.refresh_due().await;
    assert_eq!(get(&store, "creds").await.unwrap(), "user-2");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_took_once_is_renewed_to_its_end_and_no_other_is_made() {
    let manager = FakeManager::with(&[("creds", "user-1")]);
    let seconds = Duration::from_secs;
    let lease = Lease { id: "l".to_owned(), duration: seconds(90), renewable: true };
    manager.lease(Some(lease), Some(seconds(90)));
    let store = store_over(manager.clone());
    get(&store, "creds").await.unwrap();
    manager.calls();
    for _ in 0..3 {
        advance(seconds(61)).await;
        store.refresh_due().await;
        assert_eq!(manager.calls(), ["renew l"]);
    }
    // It may fail for a while.
    advance(seconds(61)).await;
    manager.fail(Some(Cause::Unavailable));
    store.refresh_due().await;
    manager.fail(None);
    advance(seconds(2)).await;
    store.refresh_due().await;
    assert_eq!(manager.calls(), ["renew l", "renew l"]);
    let lease = Lease { id: "m".to_owned(), duration: seconds(90), renewable: true };
    manager.lease(Some(lease), Some(seconds(20)));
    for _ in 0..3 {
        advance(seconds(61)).await;
        store.refresh_due().await;
    }
    assert_eq!(manager.calls(), ["renew l"]);
    get(&store, "creds").await.unwrap();
    assert_eq!(manager.calls(), ["fetch creds"]);
}

/// A store that went on, and the calls of it, after the last one ended so many seconds ago.
async fn after_restart(
    manager: &Arc<FakeManager>,
    (leases, seconds): (bool, u64),
) -> (Arc<Store>, usize) {
    let clock = TokioClock::new();
    let start = || {
        let patience =
            Patience { refresh: Duration::from_secs(60), stale_max: Duration::from_secs(3_600) };
        let place = Place::new("m", manager.clone(), patience);
        Arc::new(Store::new([place], NonZeroUsize::new(10).unwrap(), clock.clone()))
    };
    let before = start();
    assert_eq!(get(&before, "creds").await.unwrap(), "user-1");
    let memory = before.memory(leases).await;
    manager.set("creds", "user-2");
    manager.calls();
    advance(Duration::from_secs(seconds)).await;
    let after = start();
    let taken = after.restore(memory).await;
    (after, taken)
}

fn leased(renewable: bool, renewals: Option<u64>) -> Arc<FakeManager> {
    let manager = FakeManager::with(&[("creds", "user-1")]);
    let lease = Lease { id: "l".to_owned(), duration: Duration::from_secs(90), renewable };
    manager.lease(Some(lease), renewals.map(Duration::from_secs));
    manager
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_kept_lease_is_renewed_and_nothing_is_made_anew() {
    let manager = leased(true, Some(90));
    let (store, taken) = after_restart(&manager, (true, 80)).await;
    assert_eq!(taken, 1);
    for _ in 0..3 {
        assert_eq!(get(&store, "creds").await.unwrap(), "user-1");
    }
    assert_eq!(manager.calls(), ["renew l"]);
    advance(Duration::from_secs(61)).await;
    store.refresh_due().await;
    assert_eq!(manager.calls(), ["renew l"]);
    store.close().await;
    assert_eq!(manager.calls(), ["revoke l", "leave"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_an_outage_keeps_what_is_under_a_kept_lease() {
    for cause in [Cause::Unavailable, Cause::Throttled, Cause::Credentials] {
        let manager = leased(true, Some(90));
        let long = Duration::from_secs(900);
        let lease = Lease { id: "l".to_owned(), duration: long, renewable: true };
        manager.lease(Some(lease), Some(long));
        let (store, _) = after_restart(&manager, (true, 10)).await;
        manager.fail(Some(cause));
        for _ in 0..600 {
            assert_eq!(get(&store, "creds").await.unwrap(), "user-1", "{cause:?}");
            advance(Duration::from_secs(1)).await;
            store.refresh_due().await;
        }
        manager.fail(None);
        advance(Duration::from_secs(60)).await;
        manager.calls();
        assert_eq!(get(&store, "creds").await.unwrap(), "user-1", "{cause:?}");
        assert_eq!(manager.calls(), ["renew l"], "{cause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_over_gone_or_was_not_kept_has_another_made() {
    // Over, not kept, and one that the place does not know any more.
    for (kept, renewals, calls) in [
        ((true, 91), Some(90), vec!["fetch creds"]),
        ((false, 10), Some(90), vec!["fetch creds"]),
        ((true, 10), None, vec!["renew l", "fetch creds"]),
    ] {
        let manager = leased(true, renewals);
        let (store, taken) = after_restart(&manager, kept).await;
        assert_eq!(taken, usize::from(renewals.is_none()), "{kept:?}");
        assert_eq!(get(&store, "creds").await.unwrap(), "user-2", "{kept:?}");
        assert_eq!(manager.calls(), calls, "{kept:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_lease_that_cannot_be_renewed_serves_as_long_as_it_would_have() {
    let manager = leased(false, None);
    let (store, _) = after_restart(&manager, (true, 30)).await;
    store.pin("m", &Wanted::current("creds")).unwrap();
    for _ in 0..2 {
        store.refresh_due().await;
        assert_eq!(get(&store, "creds").await.unwrap(), "user-1");
        assert_eq!(manager.calls(), Vec::<String>::new());
        advance(Duration::from_secs(14)).await;
    }
    advance(Duration::from_secs(3)).await;
    store.refresh_due().await;
    assert_eq!(manager.calls(), ["batch creds"]);
    assert_eq!(get(&store, "creds").await.unwrap(), "user-2");
}

#[tokio::test(start_paused = true)]
async fn a_kept_lease_whose_age_nobody_knows_serves_only_where_no_other_can_be_made() {
    for (ahead, away, serves) in
        [(3, false, "user-1"), (3_000, false, "user-2"), (3_000, true, "user-1")]
    {
        let manager = leased(false, None);
        let before = store_over(manager.clone());
        get(&before, "creds").await.unwrap();
        let mut memory = before.memory(true).await;
        memory.secrets[0].at += Duration::from_secs(ahead);
        manager.set("creds", "user-2");
        let store = store_over(manager.clone());
        assert_eq!(store.restore(memory).await, 1);
        manager.fail(away.then_some(Cause::Unavailable));
        assert_eq!(get(&store, "creds").await.unwrap(), serves, "{ahead} {away}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_lease_that_nobody_asks_for_is_renewed_to_its_end_and_no_other_is_made() {
    let manager = leased(true, Some(90));
    let (store, _) = after_restart(&manager, (true, 10)).await;
    store.refresh_due().await;
    assert_eq!(manager.calls(), ["renew l"]);
    manager.lease(None, Some(Duration::from_secs(20)));
    for _ in 0..3 {
        advance(Duration::from_secs(61)).await;
        store.refresh_due().await;
    }
    assert_eq!(manager.calls(), ["renew l"]);
}
