use super::*;
use crate::RootKey;
use bailee_storage::{
    Backend,
    memory::Memory,
    testing::{Faulty, LastCommit},
};

async fn barrier_on(backend: Arc<dyn Backend>) -> Arc<Barrier> {
    Barrier::create(backend, &RootKey::generate(), Vec::new()).await.unwrap()
}

async fn barrier() -> (Arc<dyn Backend>, Arc<Barrier>) {
    let backend: Arc<dyn Backend> = Arc::new(Memory::default());
    (backend.clone(), barrier_on(backend).await)
}

#[tokio::test]
async fn a_unit_reads_its_own_writes_and_lands_at_once() {
    let (_, barrier) = barrier().await;
    let view = barrier.view("a/");
    let beside = view.at("b/");
    view.put("x", &1);
    beside.put("y", &2);
    assert_eq!(view.get::<i32>("x").await.unwrap(), Some(1));
    assert_eq!(view.get_at::<i32>("x").await.unwrap(), Some((1, None)));
    assert_eq!(barrier.view("a/").get::<i32>("x").await.unwrap(), None);
    let revision = view.commit().await.unwrap().unwrap();
    let (x, y) = (barrier.view("a/"), barrier.view("b/"));
    assert_eq!(x.get_at::<i32>("x").await.unwrap(), Some((1, Some(revision))));
    assert_eq!(y.get_at::<i32>("y").await.unwrap(), Some((2, Some(revision))));
    view.delete("x");
    assert_eq!(view.get::<i32>("x").await.unwrap(), None);
    assert_eq!(x.get::<i32>("x").await.unwrap(), Some(1));
    view.commit().await.unwrap();
    assert_eq!(x.get::<i32>("x").await.unwrap(), None);
    // Nothing left to do.
    assert_eq!(view.commit().await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_unit_leaves_nothing() {
    let (_, barrier) = barrier().await;
    let view = barrier.view("a/");
    view.put("x", &1);
    drop(view);
    assert_eq!(barrier.view("a/").get::<i32>("x").await.unwrap(), None);
}

#[tokio::test]
async fn expectations_guard_the_whole_unit() {
    let (_, barrier) = barrier().await;
    let first = barrier.view("a/");
    first.put("x", &1);
    let revision = first.commit().await.unwrap().unwrap();
    let late = barrier.view("a/");
    late.expect("x", revision);
    late.put("y", &1);
    let second = barrier.view("a/");
    second.expect("x", revision);
    second.expect_absent("z");
    second.put("x", &2);
    second.commit().await.unwrap();
    assert!(matches!(late.commit().await, Err(Error::Conflict)));
    assert_eq!(late.get::<i32>("y").await.unwrap(), None);
    let third = barrier.view("a/");
    third.expect_absent("x");
    third.put("y", &1);
    assert!(matches!(third.commit().await, Err(Error::Conflict)));
}

#[tokio::test]
async fn entries_cannot_be_swapped() {
    let (backend, barrier) = barrier().await;
    let view = barrier.view("a/");
    view.put("x", "of x");
    view.put("y", "of y");
    view.commit().await.unwrap();
    let bytes = backend.get("a/x").await.unwrap().unwrap().bytes;
    let writes = vec![Write::Put("a/y".to_owned(), bytes)];
    backend.commit(&Batch { expects: Vec::new(), writes }).await.unwrap();
    assert!(matches!(barrier.view("a/").get::<String>("y").await, Err(Error::Corrupt(_))));
    let scanned: Vec<_> = barrier.view("a/").scan("").collect().await;
    assert!(scanned.iter().any(Result::is_err));
    assert_eq!(barrier.view("a/").get::<String>("x").await.unwrap().unwrap(), "of x");
}

#[tokio::test]
async fn an_error_about_a_value_does_not_repeat_it() {
    let (_, barrier) = barrier().await;
    let view = barrier.view("a/");
    view.put("x", "canary-7c1f");
    view.commit().await.unwrap();
    let error = view.get::<u64>("x").await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    assert!(!format!("{view:?}").contains("canary"));
}

#[tokio::test]
async fn a_lock_keeps_others_out_until_the_unit_ends() {
    let (_, barrier) = barrier().await;
    let first = barrier.view("a/");
    first.lock("x").await;
    first.lock("x").await;
    let second = barrier.view("a/");
    second.lock("y").await;
    let blocked = tokio::time::timeout(std::time::Duration::from_millis(5), second.lock("x"));
    assert!(blocked.await.is_err());
    first.put("x", &1);
    first.commit().await.unwrap();
    second.lock("x").await;
    let third = barrier.view("a/");
    drop(second);
    third.lock("x").await;
    drop(third);
    assert!(barrier.locks.0.lock().is_empty());
}

#[tokio::test]
async fn racing_units_under_a_lock_lose_no_count() {
    let (_, barrier) = barrier().await;
    let racers = (0..20).map(|_| {
        let view = barrier.view("a/");
        tokio::spawn(async move {
            view.lock("count").await;
            let count: u64 = view.get("count").await.unwrap().unwrap_or(0);
            tokio::task::yield_now().await;
            view.put("count", &(count + 1));
            view.commit().await.unwrap();
        })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await.unwrap();
    }
    assert_eq!(barrier.view("a/").get::<u64>("count").await.unwrap(), Some(20));
}

#[tokio::test]
async fn a_commit_that_failed_but_landed_does_not_leave_an_old_listing() {
    for last in [LastCommit::Lost, LastCommit::Landed] {
        let faulty = Arc::new(Faulty::new(Arc::new(Memory::default())));
        let barrier = barrier_on(faulty.clone()).await;
        let view = barrier.view("a/");
        view.names("n").put("one", &1).await.unwrap();
        view.commit().await.unwrap();
        assert_eq!(view.names("n").list("", "", 10).await.unwrap(), ["one"]);
        faulty.go_down_after(0, last);
        view.names("n").put("two", &1).await.unwrap();
        assert!(view.commit().await.is_err());
        faulty.heal();
        let expected: &[&str] = match last {
            LastCommit::Lost => &["one"],
            LastCommit::Landed => &["one", "two"],
        };
        assert_eq!(view.names("n").list("", "", 10).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn work_after_a_commit_runs_once_and_only_then() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (_, barrier) = barrier().await;
    let ran = Arc::new(AtomicUsize::new(0));
    let count = |view: &View| {
        let ran = ran.clone();
        view.after_commit(move || {
            ran.fetch_add(1, Ordering::SeqCst);
        });
    };
    let view = barrier.view("a/");
    count(&view);
    drop(view);
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    let view = barrier.view("a/");
    view.put("x", &1);
    count(&view.at("b/"));
    view.commit().await.unwrap();
    view.commit().await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    // Also when the commit fails: it may have landed all the same.
    view.put("x", &2);
    view.expect_absent("x");
    count(&view);
    assert!(view.commit().await.is_err());
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_lands_before_its_lock_and_its_work_are_let_go() {
    use futures_util::FutureExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    let (_, barrier) = barrier().await;
    let view = barrier.view("a/");
    view.names("n").put("one", &1).await.unwrap();
    view.commit().await.unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    view.lock("x").await;
    view.names("n").put("two", &1).await.unwrap();
    let done = ran.clone();
    view.after_commit(move || done.store(true, Ordering::SeqCst));
    // As when a client goes away.
    assert!(view.commit().now_or_never().is_none());
    drop(view);
    assert!(!ran.load(Ordering::SeqCst));
    let next = barrier.view("a/");
    assert_eq!(next.names("n").list("", "", 10).await.unwrap(), ["one"]);
    next.lock("x").await;
    assert!(ran.load(Ordering::SeqCst));
    assert_eq!(next.names("n").list("", "", 10).await.unwrap(), ["one", "two"]);
}
