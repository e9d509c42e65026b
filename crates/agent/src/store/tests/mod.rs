mod leases;

use crate::{
    failure::Cause,
    manager::{Lease, Wanted},
    store::{Freshness, Held, Patience, Place, REFRESH_WAIT_MAX, Store},
    testing::{FakeManager, JumpingClock, TokioClock, store_over},
};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::time::{advance, sleep};

async fn get(store: &Store, id: &str) -> Result<String, Cause> {
    read(store, id, Freshness::Kept).await
}

async fn read(store: &Store, id: &str, freshness: Freshness) -> Result<String, Cause> {
    let held = store.get("m", &Wanted::current(id), freshness).await;
    held.map(|held| text(&held)).map_err(|failure| failure.cause)
}

fn text(held: &Held) -> String {
    String::from_utf8(held.fetched.material.bytes().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_fetched_once_and_again_when_its_time_is_over() {
    let manager = FakeManager::with(&[("a", "one")]);
    let store = store_over(manager.clone());
    for _ in 0..3 {
        assert_eq!(get(&store, "a").await.unwrap(), "one");
    }
    manager.set("a", "two");
    assert_eq!(get(&store, "a").await.unwrap(), "one");
    assert_eq!(manager.calls(), ["fetch a"]);
    advance(Duration::from_secs(61)).await;
    assert_eq!(get(&store, "a").await.unwrap(), "two");
    manager.set("a", "three");
    assert_eq!(read(&store, "a", Freshness::Now).await.unwrap(), "three");
    assert_eq!(manager.calls(), ["fetch a", "fetch a"]);
}

#[tokio::test(start_paused = true)]
async fn many_who_wait_for_one_secret_cost_one_call() {
    let manager = FakeManager::with(&[("a", "one")]);
    let store = store_over(manager.clone());
    let waiting = (0..50).map(|_| get(&store, "a"));
    let got = futures_util::future::join_all(waiting).await;
    assert!(got.iter().all(|got| got.as_deref() == Ok("one")));
    assert_eq!(manager.calls(), ["fetch a"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_place_is_away_the_old_value_serves_to_its_limit_and_no_longer() {
    for cause in [Cause::Unavailable, Cause::Throttled, Cause::Credentials, Cause::Denied] {
        let manager = FakeManager::with(&[("a", "one")]);
        let store = store_over(manager.clone());
        get(&store, "a").await.unwrap();
        manager.fail(Some(cause));
        for _ in 0..35 {
            advance(Duration::from_secs(100)).await;
            assert_eq!(get(&store, "a").await.unwrap(), "one", "{cause:?}");
            assert_eq!(read(&store, "a", Freshness::Now).await.unwrap(), "one", "{cause:?}");
        }
        advance(Duration::from_secs(200)).await;
        assert_eq!(get(&store, "a").await.unwrap_err(), cause);
        manager.fail(None);
        advance(Duration::from_secs(2)).await;
        assert_eq!(get(&store, "a").await.unwrap(), "one");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_at_its_place_is_let_go_at_once() {
    let manager = FakeManager::with(&[("a", "one")]);
    let store = store_over(manager.clone());
    get(&store, "a").await.unwrap();
    let changes = store.changes();
    manager.remove("a");
    advance(Duration::from_secs(61)).await;
    assert_eq!(get(&store, "a").await.unwrap_err(), Cause::NotFound);
    assert!(changes.has_changed().unwrap());
    // Nor does it come back while the place is away.
    manager.fail(Some(Cause::Unavailable));
    advance(Duration::from_secs(2)).await;
    assert_eq!(get(&store, "a").await.unwrap_err(), Cause::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_away_is_asked_less_and_less_often() {
    let manager = FakeManager::with(&[("a", "one"), ("b", "two")]);
    let store = store_over(manager.clone());
    get(&store, "a").await.unwrap();
    get(&store, "b").await.unwrap();
    manager.fail(Some(Cause::Unavailable));
    advance(Duration::from_secs(61)).await;
    manager.calls();
    for _ in 0..600 {
        get(&store, "a").await.unwrap();
        get(&store, "b").await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    let calls = manager.calls().len();
    assert!((10..=30).contains(&calls), "{calls} calls in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_does_not_answer_keeps_nobody_waiting_who_can_be_served() {
    let manager = FakeManager::with(&[("a", "one")]);
    let store = store_over(manager.clone());
    get(&store, "a").await.unwrap();
    manager.hang(true);
    advance(Duration::from_secs(61)).await;
    let began = tokio::time::Instant::now();
    assert_eq!(get(&store, "a").await.unwrap(), "one");
    assert!(began.elapsed() <= REFRESH_WAIT_MAX);
    let began = tokio::time::Instant::now();
    assert_eq!(get(&store, "a").await.unwrap(), "one");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_used_or_pinned_is_fetched_ahead_in_one_batch_and_nothing_else() {
    let manager = FakeManager::with(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    let store = store_over(manager.clone());
    store.pin("m", &Wanted::current("a")).unwrap();
    for id in ["a", "b", "b", "c"] {
        get(&store, id).await.unwrap();
    }
    manager.calls();
    let keeper = tokio::spawn({
        let store = store.clone();
        async move { store.keep_fresh().await }
    });
    for _ in 0..59 {
        sleep(Duration::from_secs(1)).await;
    }
    let calls = manager.calls();
    let mut asked: Vec<String> =
        calls.iter().flat_map(|call| call.split(' ').skip(1)).map(str::to_owned).collect();
    asked.sort();
    assert_eq!(asked, ["a", "b"], "{calls:?}");
    manager.set("a", "new");
    let mut changes = store.changes();
    changes.mark_unchanged();
    changes.changed().await.unwrap();
    assert_eq!(get(&store, "a").await.unwrap(), "new");
    keeper.abort();
}

#[tokio::test(start_paused = true)]
async fn secrets_that_carry_the_tags_are_kept_without_being_asked_for() {
    let manager = FakeManager::with(&[("a", "1"), ("b", "2")]);
    let place = Place::new("m", manager.clone(), Patience::default())
        .keeping(vec![[("app".to_owned(), "orders".to_owned())].into()]);
    let store = Store::new([place], NonZeroUsize::new(10).unwrap(), TokioClock::new());
    store.refresh_due().await;
    assert_eq!(manager.calls(), ["tagged"]);
    assert_eq!(get(&store, "b").await.unwrap(), "2");
    assert!(manager.calls().is_empty());
    advance(Duration::from_secs(220)).await;
    store.refresh_due().await;
    assert_eq!(manager.calls(), ["tagged"]);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_does_not_answer_keeps_nobody_from_ending_and_nothing_from_another() {
    let (silent, manager) = (FakeManager::with(&[("a", "1")]), FakeManager::with(&[("b", "1")]));
    for (manager, id) in [(&silent, "l"), (&manager, "m")] {
        let lease = Lease { id: id.to_owned(), duration: Duration::from_secs(90), renewable: true };
        manager.lease(Some(lease), None);
    }
    let places = [("silent", silent.clone()), ("m", manager.clone())];
    let places = places.map(|(name, manager)| Place::new(name, manager, Patience::default()));
    let store = Store::new(places, NonZeroUsize::new(10).unwrap(), TokioClock::new());
    for (place, id) in [("silent", "a"), ("m", "b")] {
        store.get(place, &Wanted::current(id), Freshness::Kept).await.unwrap();
    }
    silent.hang(true);
    let began = tokio::time::Instant::now();
    store.close().await;
    assert_eq!(began.elapsed(), Duration::from_secs(15));
    assert_eq!(silent.calls(), ["fetch a", "revoke l", "leave"]);
    assert_eq!(manager.calls(), ["fetch b", "revoke m", "leave"]);
}

#[tokio::test(start_paused = true)]
async fn what_outputs_stand_on_stays_however_much_else_is_asked_for() {
    let manager = FakeManager::with(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    let place = Place::new("m", manager.clone(), Patience::default());
    let store = Store::new([place], NonZeroUsize::new(2).unwrap(), TokioClock::new());
    store.pin("m", &Wanted::current("a")).unwrap();
    for id in ["a", "b", "c", "d", "a"] {
        get(&store, id).await.unwrap();
    }
    assert_eq!(manager.calls(), ["fetch a", "fetch b", "fetch c", "fetch d"]);
    assert_eq!(store.status().secrets.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_manager_and_a_wrong_id_are_refused_without_a_call() {
    let manager = FakeManager::with(&[]);
    let store = store_over(Arc::clone(&manager));
    let failure = store.get("n", &Wanted::current("a"), Freshness::Kept).await.unwrap_err();
    assert_eq!(failure.to_string(), "there is no secret manager \"n\": the configuration has m");
    assert_eq!(get(&store, "").await.unwrap_err(), Cause::Invalid);
    assert!(manager.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_what_was_kept_serves_while_the_place_is_away() {
    let manager = FakeManager::with(&[("a", "one")]);
    let before = store_over(manager.clone());
    get(&before, "a").await.unwrap();
    let memory = before.memory(false).await;
    manager.calls();
    manager.fail(Some(Cause::Unavailable));
    let after = store_over(manager.clone());
    assert_eq!(after.restore(memory.clone()).await, 1);
    assert_eq!(get(&after, "a").await.unwrap(), "one");
    // It is old, so its place is asked first.
    assert_eq!(manager.calls(), ["fetch a"]);
    manager.fail(None);
    manager.set("a", "two");
    advance(Duration::from_secs(2)).await;
    assert_eq!(get(&after, "a").await.unwrap(), "two");
    // What another identity fetched is not for this one.
    let mut foreign = memory;
    foreign.secrets.iter_mut().for_each(|keepsake| keepsake.place = "fake/here/other".to_owned());
    assert_eq!(store_over(manager).restore(foreign).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_refused_is_asked_for_less_and_less_often() {
    let manager = FakeManager::with(&[("a", "one")]);
    let store = store_over(manager.clone());
    store.pin("m", &Wanted::current("a")).unwrap();
    get(&store, "a").await.unwrap();
    manager.fail(Some(Cause::Denied));
    advance(Duration::from_secs(61)).await;
    manager.calls();
    for _ in 0..600 {
        store.refresh_due().await;
        get(&store, "a").await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    let calls = manager.calls().len();
    assert!((10..=20).contains(&calls), "{calls} calls in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_makes_nothing_old_and_nothing_young() {
    let manager = FakeManager::with(&[("a", "one")]);
    let clock = JumpingClock::new();
    let patience =
        Patience { refresh: Duration::from_secs(60), stale_max: Duration::from_secs(3_600) };
    let place = Place::new("m", manager.clone(), patience);
    let store = Store::new([place], NonZeroUsize::new(10).unwrap(), clock.clone());
    get(&store, "a").await.unwrap();
    manager.calls();
    for jump in [86_400 * 30, -86_400 * 60] {
        clock.jump(jump);
        assert_eq!(get(&store, "a").await.unwrap(), "one");
        assert!(manager.calls().is_empty(), "nothing was fetched");
    }
    manager.fail(Some(Cause::Unavailable));
    advance(Duration::from_secs(61)).await;
    clock.jump(86_400 * 365);
    assert_eq!(get(&store, "a").await.unwrap(), "one");
    advance(Duration::from_secs(3_600)).await;
    clock.jump(-86_400 * 365);
    assert_eq!(get(&store, "a").await.unwrap_err(), Cause::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn what_is_made_at_each_call_is_not_made_twice_at_the_start() {
    let manager = FakeManager::with(&[("creds", "user-1")]);
    manager.slow(Duration::from_secs(2));
    let store = store_over(manager.clone());
    store.pin("m", &Wanted::current("creds")).unwrap();
    let (got, ()) = tokio::join!(get(&store, "creds"), async {
        sleep(Duration::from_secs(1)).await;
        store.refresh_due().await;
    });
    assert_eq!(got.unwrap(), "user-1");
    store.refresh_due().await;
    assert_eq!(manager.calls(), ["fetch creds"]);
    // Nor the other way round.
    let store = store_over(manager.clone());
    store.pin("m", &Wanted::current("creds")).unwrap();
    let (_, got) = tokio::join!(store.refresh_due(), async {
        sleep(Duration::from_secs(1)).await;
        get(&store, "creds").await
    });
    assert_eq!(got.unwrap(), "user-1");
    assert_eq!(manager.calls(), ["batch creds"]);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_does_not_answer_keeps_no_lease_of_another_from_being_renewed() {
    let (silent, manager) =
        (FakeManager::with(&[("a", "1")]), FakeManager::with(&[("creds", "u")]));
    silent.hang(true);
    let lease = Lease { id: "l".to_owned(), duration: Duration::from_secs(10), renewable: true };
    manager.lease(Some(lease), Some(Duration::from_secs(10)));
    let tags = vec![[("app".to_owned(), "orders".to_owned())].into()];
    let places = [
        Place::new("silent", silent, Patience::default()).keeping(tags),
        Place::new("m", manager.clone(), Patience::default()),
    ];
    let store = Arc::new(Store::new(places, NonZeroUsize::new(10).unwrap(), TokioClock::new()));
    store.pin("m", &Wanted::current("creds")).unwrap();
    let keeper = tokio::spawn({
        let store = store.clone();
        async move { store.keep_fresh().await }
    });
    sleep(Duration::from_secs(60)).await;
    let calls = manager.calls();
    assert_eq!(calls.first().map(String::as_str), Some("batch creds"));
    assert!(calls.len() >= 8 && calls[1..].iter().all(|call| call == "renew l"), "{calls:?}");
    keeper.abort();
}

#[tokio::test(start_paused = true)]
async fn what_was_found_by_its_tags_serves_by_name_and_by_arn() {
    let manager = FakeManager::with(&[("a", "1")]);
    manager.name_by_arns();
    let place = Place::new("m", manager.clone(), Patience::default())
        .keeping(vec![[("app".to_owned(), "orders".to_owned())].into()]);
    let store = Store::new([place], NonZeroUsize::new(10).unwrap(), TokioClock::new());
    store.refresh_due().await;
    manager.fail(Some(Cause::Unavailable));
    assert_eq!(get(&store, "a").await.unwrap(), "1");
    assert_eq!(get(&store, "arn:a").await.unwrap(), "1");
    assert_eq!(manager.calls(), ["tagged"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_in_an_outage_it_serves_by_name_and_by_arn() {
    let manager = FakeManager::with(&[("a", "one")]);
    manager.name_by_arns();
    let before = store_over(manager.clone());
    get(&before, "a").await.unwrap();
    get(&before, "arn:a").await.unwrap();
    manager.fail(Some(Cause::Unavailable));
    let after = store_over(manager);
    after.restore(before.memory(false).await).await;
    assert_eq!(get(&after, "arn:a").await.unwrap(), "one");
    assert_eq!(get(&after, "a").await.unwrap(), "one");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_not_answered_keeps_nobody_waiting_who_can_be_served() {
    let manager = FakeManager::with(&[("a", "one")]);
    let store = store_over(manager.clone());
    store.pin("m", &Wanted::current("a")).unwrap();
    get(&store, "a").await.unwrap();
    manager.hang(true);
    advance(Duration::from_secs(61)).await;
    let refreshing = store.refresh_due();
    let asking = async {
        sleep(Duration::from_millis(10)).await;
        for (freshness, wait) in [
            (Freshness::Kept, REFRESH_WAIT_MAX),
            (Freshness::Kept, Duration::ZERO),
            (Freshness::Now, REFRESH_WAIT_MAX),
        ] {
            let began = tokio::time::Instant::now();
            assert_eq!(read(&store, "a", freshness).await.unwrap(), "one");
            assert_eq!(began.elapsed().as_secs(), wait.as_secs(), "{freshness:?}");
        }
    };
    tokio::join!(refreshing, asking);
}
