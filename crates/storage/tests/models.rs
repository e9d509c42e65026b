//! Random batches on every backend, against a model small enough to be seen to be right.

use bailee_storage::{
    Backend, Batch, Entry, Error, Expect, Revision, Write, embedded::Embedded, memory::Memory,
};
use futures_util::TryStreamExt;
use proptest::{collection::vec, prelude::*, sample::select};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Commit {
        expects: Vec<Guard>,
        writes: Vec<(String, Option<Vec<u8>>)>,
    },
    List {
        prefix: String,
        after: String,
        limit: usize,
    },
    Scan {
        prefix: String,
        after: String,
    },
    Get(String),
    /// Ends and opens storage that outlives the process.
    Reopen,
}

#[derive(Clone, Debug)]
enum Guard {
    Absent(String),
    /// At the revision that the key has.
    Current(String),
    /// At the one that this many commits ago gave.
    Earlier(String, usize),
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<String, Entry>,
    revisions: Vec<Revision>,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn memory_does_what_the_model_does(steps in vec(step(), 1..60)) {
        let steps: Vec<Step> =
            steps.into_iter().filter(|step| !matches!(step, Step::Reopen)).collect();
        runtime().block_on(async {
            let (memory, mut model) = (Memory::default(), Model::default());
            for step in steps {
                model.check(&memory, step).await;
            }
        });
    }

    #[test]
    fn embedded_does_what_the_model_does(steps in vec(step(), 1..60)) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        runtime().block_on(async {
            let mut storage = Embedded::open(folder.path()).expect("opens");
            let mut model = Model::default();
            for step in steps {
                if matches!(step, Step::Reopen) {
                    storage.close().await;
                    storage = Embedded::open(folder.path()).expect("opens again");
                } else {
                    model.check(&storage, step).await;
                }
            }
        });
    }
}

impl Model {
    async fn check(&mut self, backend: &dyn Backend, step: Step) {
        match step {
            Step::Commit { expects, writes } => self.commit(backend, expects, writes).await,
            Step::List { prefix, after, limit } => {
                let found = backend.list(&prefix, &after, limit).await.expect("list");
                assert_eq!(found, self.children(&prefix, &after, limit));
            }
            Step::Scan { prefix, after } => {
                let found: Vec<(String, Entry)> =
                    backend.scan(&prefix, &after).try_collect().await.expect("scan");
                let wanted: Vec<_> = self
                    .entries
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix) && **key > after)
                    .map(|(key, entry)| (key.clone(), entry.clone()))
                    .collect();
                assert_eq!(found, wanted);
            }
            Step::Get(key) => {
                let found = backend.get(&key).await.expect("get");
                assert_eq!(found.as_ref(), self.entries.get(&key));
            }
            Step::Reopen => {}
        }
    }

    async fn commit(
        &mut self,
        backend: &dyn Backend,
        expects: Vec<Guard>,
        writes: Vec<(String, Option<Vec<u8>>)>,
    ) {
        let expects: Vec<Expect> = expects.into_iter().map(|guard| self.expect(guard)).collect();
        let holds = expects.iter().all(|expect| match expect {
            Expect::Absent(key) => !self.entries.contains_key(key),
            Expect::At(key, revision) => {
                self.entries.get(key).is_some_and(|entry| entry.revision == *revision)
            }
        });
        // A batch names a key at most once.
        let writes: BTreeMap<String, Option<Vec<u8>>> = writes.into_iter().collect();
        let changes = writes.clone().into_iter().map(|(key, value)| match value {
            Some(value) => Write::Put(key, value),
            None => Write::Delete(key),
        });
        let batch = Batch { expects, writes: changes.collect() };
        match backend.commit(&batch).await {
            Ok(revision) => {
                assert!(holds, "{batch:?} should have been refused");
                assert!(self.revisions.iter().all(|earlier| *earlier < revision));
                self.revisions.push(revision);
                for (key, value) in writes {
                    match value {
                        Some(bytes) => self.entries.insert(key, Entry { bytes, revision }),
                        None => self.entries.remove(&key),
                    };
                }
            }
            Err(error) => {
                assert!(matches!(error, Error::Conflict), "{error}");
                assert!(!holds, "{batch:?} should have landed");
            }
        }
    }

    fn expect(&self, guard: Guard) -> Expect {
        match guard {
            Guard::Absent(key) => Expect::Absent(key),
            Guard::Current(key) => match self.entries.get(&key) {
                Some(entry) => Expect::At(key, entry.revision),
                None => Expect::Absent(key),
            },
            Guard::Earlier(key, back) => {
                let revision = self.revisions.iter().rev().nth(back).copied();
                Expect::At(key, revision.unwrap_or(Revision(0)))
            }
        }
    }

    fn children(&self, prefix: &str, after: &str, limit: usize) -> Vec<String> {
        let children: BTreeSet<String> = self
            .entries
            .keys()
            .filter_map(|key| key.strip_prefix(prefix))
            .map(|rest| match rest.split_once('/') {
                Some((folder, _)) => format!("{folder}/"),
                None => rest.to_owned(),
            })
            .collect();
        children.into_iter().filter(|child| child.as_str() > after).take(limit).collect()
    }
}

/// Few parts, so that keys meet; those around '/' in byte order among them.
fn key() -> impl Strategy<Value = String> {
    vec(select(vec!["a", "a.", "a0", "b", "é", "-"]), 1..4).prop_map(|parts| parts.join("/"))
}

fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), key().prop_map(|key| key + "/")]
}

fn after() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), key(), key().prop_map(|key| key + "/")]
}

fn guard() -> impl Strategy<Value = Guard> {
    prop_oneof![
        2 => key().prop_map(Guard::Absent),
        5 => key().prop_map(Guard::Current),
        1 => (key(), 0..5_usize).prop_map(|(key, back)| Guard::Earlier(key, back)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        6 => vec(any::<u8>(), 0..40).prop_map(Some),
        1 => vec(any::<u8>(), 9000..9001).prop_map(Some),
        3 => Just(None),
    ];
    let commit = (vec(guard(), 0..3), vec((key(), value), 0..5))
        .prop_map(|(expects, writes)| Step::Commit { expects, writes });
    prop_oneof![
        12 => commit,
        3 => (prefix(), after(), 0..6_usize)
            .prop_map(|(prefix, after, limit)| Step::List { prefix, after, limit }),
        3 => (prefix(), after()).prop_map(|(prefix, after)| Step::Scan { prefix, after }),
        3 => key().prop_map(Step::Get),
        1 => Just(Step::Reopen),
    ]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
