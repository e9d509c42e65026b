//! The KV engine against a small model of it, against racers, and against storage that breaks.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_engines::secret::kv;
use bailee_sdk::{
    Code, Operation,
    testing::{EngineHarness, data},
};
use bailee_storage::{
    memory::Memory,
    testing::{Faulty, LastCommit},
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Clone, Debug)]
enum Step {
    Write { cas: Option<u64> },
    Patch,
    Delete,
    DeleteVersions(Vec<u64>),
    Undelete(Vec<u64>),
    Destroy(Vec<u64>),
    Remove,
    KeyMax(u64),
    MountMax(u64),
    KeyCas(bool),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let numbers = || vec(0..12_u64, 1..4);
    let step = prop_oneof![
        6 => prop_oneof![Just(None), (0..8_u64).prop_map(Some)].prop_map(|cas| Step::Write { cas }),
        2 => Just(Step::Patch),
        2 => Just(Step::Delete),
        2 => numbers().prop_map(Step::DeleteVersions),
        2 => numbers().prop_map(Step::Undelete),
        2 => numbers().prop_map(Step::Destroy),
        1 => Just(Step::Remove),
        1 => (0..4_u64).prop_map(Step::KeyMax),
        1 => (0..4_u64).prop_map(Step::MountMax),
        1 => any::<bool>().prop_map(Step::KeyCas),
        1 => Just(Step::Restart),
    ];
    vec(step, 1..40)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Alive,
    Deleted,
    Destroyed { was_deleted: bool },
}

#[derive(Debug, Default)]
struct Model {
    secret: Option<Secret>,
    mount_max: u64,
}

#[derive(Debug, Default)]
struct Secret {
    current: u64,
    max: u64,
    cas_required: bool,
    versions: BTreeMap<u64, (Value, State)>,
}

impl Model {
    fn write(&mut self, value: Value) -> u64 {
        let secret = self.secret.get_or_insert_default();
        secret.current += 1;
        secret.versions.insert(secret.current, (value, State::Alive));
        let max = [secret.max, self.mount_max, 10].into_iter().find(|max| *max > 0).unwrap();
        while secret.versions.len() as u64 > max {
            secret.versions.pop_first();
        }
        secret.current
    }

    fn admits(&self, cas: Option<u64>) -> bool {
        let (current, required) =
            self.secret.as_ref().map_or((0, false), |secret| (secret.current, secret.cas_required));
        cas.map_or(!required, |cas| cas == current)
    }

    fn newest(&self) -> Option<&(Value, State)> {
        let secret = self.secret.as_ref()?;
        secret.versions.get(&secret.current)
    }

    fn set(&mut self, numbers: &[u64], change: impl Fn(State) -> State) {
        for number in numbers {
            if let Some(secret) = &mut self.secret
                && let Some((_, state)) = secret.versions.get_mut(number)
            {
                *state = change(*state);
            }
        }
    }
}

fn deleted(state: State) -> State {
    if state == State::Alive { State::Deleted } else { state }
}

/// What was done to the secret while the mount was of version 1: written or deleted.
async fn run(before: Vec<bool>, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let kv = EngineHarness::mount(&kv::kind(), &[("version", "1")]).await;
    let mut model = Model::default();
    for (turn, writes) in before.into_iter().enumerate() {
        model.secret = None;
        if writes {
            let value = json!({ "before": turn });
            kv.call(Operation::Update, "s", value.clone()).await.unwrap();
            model.write(value);
        } else {
            kv.call(Operation::Delete, "s", json!({})).await.unwrap();
        }
    }
    let mut kv = kv.tuned(&kv::kind(), &[("version", "2")]);
    compare(&kv, &model).await?;
    for (turn, step) in steps.into_iter().enumerate() {
        let value = json!({ "turn": turn });
        match step {
            Step::Write { cas } => {
                let options = cas.map_or(json!({}), |cas| json!({ "cas": cas }));
                let input = json!({ "data": value, "options": options });
                let outcome = kv.call(Operation::Update, "data/s", input).await;
                prop_assert_eq!(outcome.is_ok(), model.admits(cas));
                if let Ok(reply) = outcome {
                    prop_assert_eq!(&data(&reply)["version"], &json!(model.write(value)));
                }
            }
            Step::Patch => {
                let input = json!({ "data": { "patched": turn } });
                let outcome = kv.call(Operation::Patch, "data/s", input).await;
                let newest = model.newest().cloned();
                match newest {
                    Some(_) if !model.admits(None) => prop_assert!(outcome.is_err()),
                    Some((mut value, State::Alive)) => {
                        prop_assert!(!outcome.unwrap().missing);
                        value["patched"] = json!(turn);
                        model.write(value);
                    }
                    _ => prop_assert!(outcome.unwrap().missing),
                }
            }
            Step::Delete => {
                kv.call(Operation::Delete, "data/s", json!({})).await.unwrap();
                let current = model.secret.as_ref().map_or(0, |secret| secret.current);
                model.set(&[current], deleted);
            }
            Step::DeleteVersions(numbers) => {
                let input = json!({ "versions": numbers });
                kv.call(Operation::Update, "delete/s", input).await.unwrap();
                model.set(&numbers, deleted);
            }
            Step::Undelete(numbers) => {
                let input = json!({ "versions": numbers });
                kv.call(Operation::Update, "undelete/s", input).await.unwrap();
                model.set(
                    &numbers,
                    |state| {
                        if state == State::Deleted { State::Alive } else { state }
                    },
                );
            }
            Step::Destroy(numbers) => {
                let input = json!({ "versions": numbers });
                kv.call(Operation::Update, "destroy/s", input).await.unwrap();
                model.set(&numbers, |state| match state {
                    State::Destroyed { .. } => state,
                    state => State::Destroyed { was_deleted: state == State::Deleted },
                });
            }
            Step::Remove => {
                kv.call(Operation::Delete, "metadata/s", json!({})).await.unwrap();
                model.secret = None;
            }
            Step::KeyMax(max) => {
                let input = json!({ "max_versions": max });
                kv.call(Operation::Update, "metadata/s", input).await.unwrap();
                model.secret.get_or_insert_default().max = max;
            }
            Step::MountMax(max) => {
                kv.call(Operation::Update, "config", json!({ "max_versions": max })).await.unwrap();
                model.mount_max = max;
            }
            Step::KeyCas(required) => {
                let input = json!({ "cas_required": required });
                kv.call(Operation::Update, "metadata/s", input).await.unwrap();
                model.secret.get_or_insert_default().cas_required = required;
            }
            Step::Restart => kv = kv.restarted().await,
        }
        compare(&kv, &model).await?;
    }
    Ok(())
}

async fn compare(kv: &EngineHarness, model: &Model) -> Result<(), TestCaseError> {
    let metadata = kv.call(Operation::Read, "metadata/s", json!({})).await;
    let listed = kv.call(Operation::List, "metadata/", json!({})).await;
    let Some(secret) = &model.secret else {
        prop_assert_eq!(metadata.err().unwrap().code, Code::NotFound);
        prop_assert_eq!(listed.err().unwrap().code, Code::NotFound);
        prop_assert!(kv.view().list("version/", "", 1).await.unwrap().is_empty());
        return Ok(());
    };
    prop_assert_eq!(data(&listed.unwrap()), json!({ "keys": ["s"] }));
    let metadata = data(&metadata.unwrap());
    prop_assert_eq!(&metadata["current_version"], &json!(secret.current));
    prop_assert_eq!(metadata["versions"].as_object().unwrap().len(), secret.versions.len());
    for number in 1..=secret.current {
        let read = kv.call(Operation::Read, "data/s", json!({ "version": number })).await;
        let Some((value, state)) = secret.versions.get(&number) else {
            prop_assert_eq!(read.err().unwrap().code, Code::NotFound);
            continue;
        };
        let reply = read.unwrap();
        prop_assert_eq!(reply.missing, *state != State::Alive);
        let shown = data(&reply);
        let expected = if *state == State::Alive { value } else { &Value::Null };
        prop_assert_eq!(&shown["data"], expected);
        let was_deleted = matches!(state, State::Deleted | State::Destroyed { was_deleted: true });
        prop_assert_eq!(shown["metadata"]["deletion_time"] != json!(""), was_deleted);
        let destroyed = matches!(state, State::Destroyed { .. });
        prop_assert_eq!(&shown["metadata"]["destroyed"], &json!(destroyed));
    }
    let alive = |(_, state): &&(Value, State)| !matches!(state, State::Destroyed { .. });
    let id = kv.view().names("secret").id("s");
    let values = kv.view().list(&format!("version/{id}/"), "", 99).await.unwrap();
    prop_assert_eq!(values.len(), secret.versions.values().filter(alive).count());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_requests_leaves_what_the_model_says(
        before in vec(any::<bool>(), 0..4),
        steps in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(before, steps))?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_racers_with_the_same_check_and_set_exactly_one_wins() {
    let kv = Arc::new(EngineHarness::mount(&kv::kind(), &[("version", "2")]).await);
    for round in 0..20 {
        let racers: Vec<_> = (0..16)
            .map(|racer| {
                let kv = kv.clone();
                let input = json!({ "data": { "racer": racer }, "options": { "cas": round } });
                tokio::spawn(
                    async move { (racer, kv.call(Operation::Update, "data/f/s", input).await) },
                )
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            match racer.await.unwrap() {
                (racer, Ok(reply)) => {
                    assert_eq!(data(&reply)["version"], json!(round + 1));
                    winners.push(racer);
                }
                (_, Err(error)) => assert_eq!(
                    error.to_string(),
                    "check-and-set parameter did not match the current version"
                ),
            }
        }
        let read = kv.call(Operation::Read, "data/f/s", json!({})).await.unwrap();
        assert_eq!([data(&read)["data"]["racer"].as_i64().unwrap()], winners.as_slice());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racers_that_write_prune_and_remove_never_show_half_a_secret() {
    let kv = Arc::new(EngineHarness::mount(&kv::kind(), &[("version", "2")]).await);
    kv.call(Operation::Update, "config", json!({ "max_versions": 1 })).await.unwrap();
    let tasks: Vec<_> = (0..4)
        .flat_map(|task| {
            let (writer, reader) = (kv.clone(), kv.clone());
            [
                tokio::spawn(async move {
                    for turn in 0..150 {
                        let input = json!({ "data": { "turn": turn } });
                        writer.call(Operation::Update, "data/s", input).await.unwrap();
                        if turn % 10 == task {
                            let remove = writer.call(Operation::Delete, "metadata/s", json!({}));
                            remove.await.unwrap();
                        }
                    }
                }),
                tokio::spawn(async move {
                    for _ in 0..300 {
                        match reader.call(Operation::Read, "data/s", json!({})).await {
                            Ok(reply) => assert!(!reply.missing),
                            Err(error) => assert_eq!(error.code, Code::NotFound, "{error:?}"),
                        }
                    }
                }),
            ]
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// What a request that was cut short may leave: all of it or nothing.
async fn state(kv: &EngineHarness) -> Value {
    let mut state = json!({ "notes": kv.changed().await });
    for version in 0..=4 {
        let read = kv.call(Operation::Read, "data/f/s", json!({ "version": version })).await;
        state[version.to_string()] = match &read {
            Ok(reply) => {
                let read = data(reply);
                let metadata = &read["metadata"];
                json!([read["data"], reply.missing, metadata["destroyed"], metadata["version"]])
            }
            Err(error) => {
                assert_eq!(error.code, Code::NotFound, "a torn secret: {error:?}");
                json!("none")
            }
        };
    }
    let listed = kv.call(Operation::List, "metadata/f/", json!({})).await;
    state["listed"] = listed.map_or(json!("none"), |reply| data(&reply));
    state
}

#[tokio::test]
async fn a_request_cut_short_at_its_commit_lands_whole_or_not_at_all() {
    let requests = [
        (Operation::Update, "config", json!({ "max_versions": 2 })),
        (Operation::Update, "data/f/s", json!({ "data": { "v": 1 } })),
        (Operation::Update, "data/f/s", json!({ "data": { "v": 2 } })),
        (Operation::Patch, "data/f/s", json!({ "data": { "p": 3 } })),
        (Operation::Delete, "data/f/s", json!({})),
        (Operation::Update, "undelete/f/s", json!({ "versions": [3] })),
        (Operation::Update, "destroy/f/s", json!({ "versions": [2, 3] })),
        (Operation::Update, "data/f/s", json!({ "data": { "v": 4 } })),
        (Operation::Delete, "metadata/f/s", json!({})),
    ];
    for cut in 0..requests.len() {
        for last in [LastCommit::Lost, LastCommit::Landed] {
            let disk = Arc::new(Memory::default());
            let faulty = Arc::new(Faulty::new(disk.clone()));
            let kind = kv::kind();
            let kv = EngineHarness::mount_on(faulty.clone(), &kind, &[("version", "2")]).await;
            let whole = EngineHarness::mount(&kind, &[("version", "2")]).await;
            for (operation, path, input) in &requests[..cut] {
                kv.call(*operation, path, input.clone()).await.unwrap();
                whole.call(*operation, path, input.clone()).await.unwrap();
            }
            faulty.go_down_after(0, last);
            let (operation, path, input) = &requests[cut];
            kv.call(*operation, path, input.clone()).await.unwrap_err();
            if last == LastCommit::Landed {
                whole.call(*operation, path, input.clone()).await.unwrap();
            }
            let after = kv.restarted_on(disk).await;
            assert_eq!(state(&after).await, state(&whole).await, "request {cut}, {last:?}");
            // The same process goes on where storage is.
            faulty.heal();
            assert_eq!(state(&kv).await, state(&whole).await, "request {cut}, {last:?}");
        }
    }
}

#[tokio::test]
async fn storage_that_fails_now_and_then_never_leaves_half_a_secret() {
    for seed in 1..=20 {
        let faulty = Arc::new(Faulty::new(Arc::new(Memory::default())));
        let kind = kv::kind();
        let kv = EngineHarness::mount_on(faulty.clone(), &kind, &[("version", "2")]).await;
        kv.call(Operation::Update, "config", json!({ "max_versions": 3 })).await.unwrap();
        for turn in 0..40_u64 {
            let (operation, path, input) = match (turn * seed) % 7 {
                0 => (Operation::Delete, "data/f/s", json!({})),
                1 => (Operation::Update, "undelete/f/s", json!({ "versions": "1,2,3,4" })),
                2 => (Operation::Update, "destroy/f/s", json!({ "versions": [turn / 3] })),
                3 => (Operation::Delete, "metadata/f/s", json!({})),
                4 => (Operation::Patch, "data/f/s", json!({ "data": { "p": turn } })),
                _ => (Operation::Update, "data/f/s", json!({ "data": { "v": turn } })),
            };
            faulty.fail_randomly(seed * 1000 + turn, 25);
            let outcome = kv.call(operation, path, input).await;
            faulty.heal();
            if let Err(error) = outcome {
                assert_eq!(error.code, Code::Internal);
            }
            state(&kv).await;
        }
    }
}
