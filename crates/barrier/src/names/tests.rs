use crate::{Barrier, NAMED_DEPTH_MAX, RootKey, View};
use async_trait::async_trait;
use bailee_storage::{Backend, Batch, Change, Entry, Error, Revision, memory::Memory};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

async fn fresh() -> (Arc<dyn Backend>, Arc<Barrier>) {
    let backend: Arc<dyn Backend> = Arc::new(Memory::default());
    let barrier = Barrier::create(backend.clone(), &RootKey::generate(), Vec::new()).await;
    (backend, barrier.unwrap())
}

async fn put(view: &View, path: &str, value: u64) {
    view.names("n").put(path, &value).await.unwrap();
    view.commit().await.unwrap();
}

async fn delete(view: &View, path: &str) -> bool {
    let was_there = view.names("n").delete(path).await.unwrap();
    view.commit().await.unwrap();
    was_there
}

async fn list(view: &View, folder: &str) -> Vec<String> {
    view.names("n").list(folder, "", usize::MAX).await.unwrap()
}

/// Every path that can be reached by listing from the top, and folders in which nothing is.
async fn walk(view: &View) -> (BTreeSet<String>, Vec<String>) {
    let (mut found, mut empty) = (BTreeSet::new(), Vec::new());
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let names = list(view, &folder).await;
        if names.is_empty() && !folder.is_empty() {
            empty.push(folder.clone());
        }
        for name in names {
            let path = format!("{folder}{name}");
            if path.ends_with('/') {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    (found, empty)
}

async fn entries_under(backend: &Arc<dyn Backend>, prefix: &str) -> usize {
    backend.scan(prefix, "").count().await
}

#[tokio::test]
async fn names_are_listed_sorted_and_by_page() {
    let (_, barrier) = fresh().await;
    let view = barrier.view("m/");
    for path in ["b", "a", "a/x", "a/y/z", "c/d", "é", "a b"] {
        put(&view, path, 1).await;
    }
    assert_eq!(list(&view, "").await, ["a", "a b", "a/", "b", "c/", "é"]);
    assert_eq!(list(&view, "a/").await, ["x", "y/"]);
    assert_eq!(list(&view, "a/y/").await, ["z"]);
    assert_eq!(list(&view, "nothing/").await, [""; 0]);
    let names = view.names("n");
    assert_eq!(names.list("", "a", 2).await.unwrap(), ["a b", "a/"]);
    assert_eq!(names.list("", "a/", 10).await.unwrap(), ["b", "c/", "é"]);
    assert_eq!(names.list("", "zz", 10).await.unwrap(), ["é"]);
    assert_eq!(names.get::<u64>("a").await.unwrap(), Some(1));
    assert_eq!(names.get::<u64>("a/y").await.unwrap(), None);
}

#[tokio::test]
async fn folders_vanish_with_their_last_name() {
    let (backend, barrier) = fresh().await;
    let view = barrier.view("m/");
    for path in ["a/b/c/d", "a/b/e", "a/f"] {
        put(&view, path, 1).await;
    }
    assert!(!delete(&view, "a/b/c").await);
    assert!(delete(&view, "a/b/c/d").await);
    assert_eq!(list(&view, "a/b/").await, ["e"]);
    assert!(delete(&view, "a/b/e").await);
    assert_eq!(list(&view, "a/").await, ["f"]);
    assert!(delete(&view, "a/f").await);
    assert_eq!(list(&view, "").await, [""; 0]);
    assert_eq!(entries_under(&backend, "m/").await, 0);
}

#[tokio::test]
async fn several_names_removed_in_one_unit_leave_no_folder() {
    let (backend, barrier) = fresh().await;
    let view = barrier.view("m/");
    for path in ["a/1", "a/2", "a/b/3"] {
        put(&view, path, 1).await;
    }
    let names = view.names("n");
    for path in ["a/1", "a/b/3", "a/2"] {
        assert!(names.delete(path).await.unwrap());
    }
    view.commit().await.unwrap();
    assert_eq!(entries_under(&backend, "m/").await, 0);
    // Moved within one unit.
    put(&view, "a/old", 1).await;
    names.delete("a/old").await.unwrap();
    names.put("a/new", &2).await.unwrap();
    view.commit().await.unwrap();
    assert_eq!(list(&view, "a/").await, ["new"]);
    assert_eq!(list(&view, "").await, ["a/"]);
}

#[tokio::test]
async fn no_text_that_a_user_chose_is_readable_in_storage() {
    let (backend, barrier) = fresh().await;
    let view = barrier.view("m/");
    let names = view.names("n");
    names.put("canary-folder/canary-name", &"canary-value").await.unwrap();
    view.put(&format!("data/{}", names.id("canary-folder/canary-name")), "canary-data");
    view.commit().await.unwrap();
    let mut entries = backend.scan("", "");
    let mut seen = 0;
    while let Some(entry) = entries.next().await {
        let (key, entry) = entry.unwrap();
        seen += 1;
        for text in ["canary", "folder", "name", "value"] {
            assert!(!key.contains(text) || key == "core/keyring", "{key}");
            let found = entry.bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{text} is in the value of {key}");
        }
    }
    assert_eq!(seen, 5);
}

#[tokio::test]
async fn codes_of_a_path_belong_to_its_place() {
    let (_, barrier) = fresh().await;
    let (one, other) = (barrier.view("m/"), barrier.view("o/"));
    let id = one.names("n").id("a/b");
    assert_eq!(one.names("other").id("a/b"), id);
    assert_ne!(other.names("n").id("a/b"), id);
    assert_ne!(one.names("n").id("a/c"), id);
    assert_ne!(one.names("n").id("a"), one.names("n").id("a/"));
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
}

#[tokio::test]
async fn a_path_that_is_too_deep_is_refused() {
    let (_, barrier) = fresh().await;
    let names = barrier.view("m/").names("n");
    let deep = vec!["a"; NAMED_DEPTH_MAX + 1].join("/");
    assert!(matches!(names.put(&deep, &1).await, Err(Error::TooLarge { .. })));
    assert!(matches!(names.get::<u64>(&deep).await, Err(Error::TooLarge { .. })));
    assert!(matches!(names.list(&format!("{deep}/"), "", 1).await, Err(Error::TooLarge { .. })));
    let deepest = vec!["a"; NAMED_DEPTH_MAX].join("/");
    names.put(&deepest, &1).await.unwrap();
}

#[tokio::test]
async fn a_value_put_on_a_name_that_goes_away_meanwhile_conflicts() {
    let (_, barrier) = fresh().await;
    let view = barrier.view("m/");
    put(&view, "f/a", 1).await;
    let late = barrier.view("m/");
    late.names("n").put("f/a", &2).await.unwrap();
    delete(&view, "f/a").await;
    assert!(matches!(late.commit().await, Err(Error::Conflict)));
    assert_eq!(walk(&view).await, (BTreeSet::new(), Vec::new()));
}

#[tokio::test]
async fn a_listing_read_before_a_commit_is_not_kept_after_it() {
    let (_, barrier) = fresh().await;
    let view = barrier.view("m/");
    for round in 0..40_u64 {
        let reader = barrier.view("m/");
        let reading = tokio::spawn(async move { list(&reader, "f/").await });
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
        put(&view, &format!("f/{round:03}"), round).await;
        reading.await.unwrap();
        assert_eq!(list(&view, "f/").await.len() as u64, round + 1);
    }
}

/// Memory that lets others go first at each call, so that racers meet in the middle.
#[derive(Default)]
struct Polite(Memory);

#[async_trait]
impl Backend for Polite {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        tokio::task::yield_now().await;
        self.0.get(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        tokio::task::yield_now().await;
        self.0.list(prefix, after, limit).await
    }

    fn scan(&self, prefix: &str, after: &str) -> BoxStream<'_, Result<(String, Entry), Error>> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        stream::once(async move {
            tokio::task::yield_now().await;
            let found: Vec<_> = self.0.scan(&prefix, &after).collect().await;
            tokio::task::yield_now().await;
            stream::iter(found)
        })
        .flatten()
        .boxed()
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, Error> {
        tokio::task::yield_now().await;
        let outcome = self.0.commit(batch).await;
        tokio::task::yield_now().await;
        outcome
    }

    fn changes(&self) -> BoxStream<'static, Result<Change, Error>> {
        self.0.changes()
    }

    async fn backup(
        &self,
        into: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    ) -> Result<(), Error> {
        self.0.backup(into).await
    }

    async fn restore(&self, entries: bailee_storage::Entries<'_>) -> Result<Revision, Error> {
        self.0.restore(entries).await
    }
}

/// One step of one worker.
#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    Delete(usize),
    List(usize),
}

const PATHS: [&str; 7] = ["a", "f/a", "f/b", "f/g/a", "f/g/b", "f/g/h/a", "g/a"];
const FOLDERS: [&str; 5] = ["", "f/", "f/g/", "f/g/h/", "g/"];

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (0..3, any::<prop::sample::Index>()).prop_map(|(kind, index)| match kind {
        0 => Step::Put(index.index(PATHS.len())),
        1 => Step::Delete(index.index(PATHS.len())),
        _ => Step::List(index.index(FOLDERS.len())),
    });
    proptest::collection::vec(proptest::collection::vec(step, 1..14), 2..5)
}

/// Runs a step as the kernel does: anew after a conflict.
async fn run(barrier: &Arc<Barrier>, step: &Step, pauses: u64) {
    for _ in 0..1000 {
        let view = barrier.view("m/");
        let names = view.names("n");
        match step {
            Step::Put(path) => names.put(PATHS[*path], &1_u64).await.unwrap(),
            Step::Delete(path) => {
                names.delete(PATHS[*path]).await.unwrap();
            }
            Step::List(folder) => {
                names.list(FOLDERS[*folder], "", 100).await.unwrap();
            }
        }
        for _ in 0..pauses {
            tokio::task::yield_now().await;
        }
        match view.commit().await {
            Ok(_) => return,
            Err(Error::Conflict) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a step never got through");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn racing_workers_lose_no_name_and_leave_no_empty_folder(
        workers in steps(),
        pauses in proptest::collection::vec(0_u64..4, 5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let backend: Arc<dyn Backend> = Arc::new(Polite::default());
            let root = RootKey::generate();
            let barrier = Barrier::create(backend.clone(), &root, Vec::new()).await.unwrap();
            let tasks: Vec<_> = workers
                .into_iter()
                .zip(pauses)
                .map(|(steps, pauses)| {
                    let barrier = barrier.clone();
                    tokio::spawn(async move {
                        for step in &steps {
                            run(&barrier, step, pauses).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let view = barrier.view("m/");
            let mut there = BTreeSet::new();
            for path in PATHS {
                if view.names("n").get::<u64>(path).await.unwrap().is_some() {
                    there.insert(path.to_owned());
                }
            }
            let (listed, empty) = walk(&view).await;
            assert_eq!(listed, there);
            assert_eq!(empty, Vec::<String>::new());
            // What the cache says is what storage says.
            let folders: BTreeMap<_, _> = listed
                .iter()
                .flat_map(|path| path.rmatch_indices('/').map(|(end, _)| (path[..end].to_owned(), ())))
                .collect();
            assert_eq!(entries_under(&backend, "m/").await, listed.len() + folders.len());
        });
    }

    #[test]
    fn names_behave_like_a_sorted_map(
        steps in proptest::collection::vec(("[ab]{1,2}(/[ab]{1,2}){0,2}", any::<bool>()), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_, barrier) = fresh().await;
            let view = barrier.view("m/");
            let mut model = BTreeMap::new();
            for (number, (path, puts)) in (0..).zip(steps) {
                if puts {
                    put(&view, &path, number).await;
                    model.insert(path.clone(), number);
                } else {
                    assert_eq!(delete(&view, &path).await, model.remove(&path).is_some());
                }
                let (listed, empty) = walk(&view).await;
                assert!(empty.is_empty());
                assert_eq!(listed, model.keys().cloned().collect());
                let value = view.names("n").get::<u64>(&path).await.unwrap();
                assert_eq!(value, model.get(&path).copied());
            }
        });
    }
}

#[test]
fn kept_names_are_bounded_in_bytes() {
    use super::{LISTING_BYTES_MAX, LISTINGS_BYTES_MAX, Listings};
    let listings = Listings::default();
    let keep = |place: &str, bytes: usize| {
        let ticket = listings.look_up(place).unwrap_err();
        listings.keep(place, ticket, &Arc::new(vec!["x".repeat(bytes)]));
    };
    keep("wide/", LISTING_BYTES_MAX);
    assert!(listings.look_up("wide/").is_err());
    for number in 0..40 {
        keep(&format!("{number}/"), LISTING_BYTES_MAX - 1000);
        let kept = listings.0.lock();
        let sum: usize = kept.listings.iter().map(|(_, listing)| listing.bytes()).sum();
        assert_eq!(kept.bytes, sum);
        assert!(sum <= LISTINGS_BYTES_MAX);
    }
    assert!(listings.look_up("39/").is_ok());
    assert!(listings.look_up("0/").is_err());
    listings.clear();
    assert_eq!(listings.0.lock().bytes, 0);
}

#[tokio::test]
async fn keys_of_names_are_kept_for_so_many_places_and_made_again_for_others() {
    let (_, barrier) = fresh().await;
    let id = |place: usize| barrier.view(&format!("{place}/")).names("n").id("a");
    let first = id(0);
    for place in 0..2 * crate::NAME_KEYS_MAX {
        id(place);
        assert!(barrier.name_keys.read().len() <= crate::NAME_KEYS_MAX);
    }
    assert_eq!(id(0), first);
    barrier.wipe();
    assert!(barrier.name_keys.read().is_empty());
}
