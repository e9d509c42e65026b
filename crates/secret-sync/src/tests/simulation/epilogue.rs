//! After a run: storage is restored to what it was, or a copy of it runs beside the original.

use super::{
    account::Account,
    model::{Model, SECRETS, Version},
    quiet, still,
    story::{Story, open},
    users::{Act, perform},
    verify::{self, Wrong},
};
use crate::{registry::Drift, tags::MARK_TAG};
use bailee_barrier::RESTORE_KEY;
use bailee_storage::{Backend, Batch, Write, memory::Memory, testing::Life};
use futures_util::StreamExt;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;

/// Longer than a comparison takes to come round.
const HELD: Duration = Duration::from_secs(1_300);

/// Authors from this one on are sessions of a copy.
const COPY: u32 = 1_000_000;

/// Storage as it was, and what was wanted then.
pub(super) struct Snapshot {
    memory: Arc<Memory>,
    model: Model,
}

impl Snapshot {
    /// A copy, with the mark of a restoration.
    pub(super) async fn take(story: &Story) -> Snapshot {
        let copy = Arc::new(Memory::default());
        let mut batch = Batch::default();
        let mut entries = story.memory.scan("", "");
        while let Some(entry) = entries.next().await {
            let (key, entry) = entry.expect("storage works");
            batch.writes.push(Write::Put(key, entry.bytes));
        }
        batch.writes.push(Write::Put(RESTORE_KEY.to_owned(), b"restored".to_vec()));
        copy.commit(&batch).await.expect("storage works");
        Snapshot { memory: copy, model: story.model.clone() }
    }
}

/// What follows in some of the runs.
pub(super) async fn after(story: &mut Story, earlier: Snapshot) -> Wrong {
    match story.dice.below(8) {
        0 => restored(story, earlier).await,
        1 => beside_a_copy(story).await,
        _ => Wrong::new(),
    }
}

/// The server is brought back to what it was: it holds until it takes over.
async fn restored(story: &mut Story, earlier: Snapshot) -> Wrong {
    story.log.add("restored to an earlier snapshot");
    story.faults.restored += 1;
    story.memory = earlier.memory;
    story.model = Model { restored: true, ..earlier.model };
    for account in story.accounts.values() {
        let mut books = account.books();
        books.left_behind = books.service.objects().keys().cloned().collect();
        // Tags that were set since then are in no ledger.
        let there: Vec<String> = books.left_behind.clone();
        books.unanswered.extend(there);
    }
    story.settle_down().await;
    let before = super::counts(story);
    sleep(HELD).await;
    if super::counts(story) != before {
        return vec!["a restored server works before it takes over".to_owned()];
    }
    story.log.add("taken over");
    story.session.world.post("sync/takeover", json!({})).await.expect("it may take over");
    let mut wrong = quiet(story).await;
    wrong.extend(still(story).await);
    wrong
}

/// A copy of the server runs beside it, holds, takes over; then both go on with what they want.
async fn beside_a_copy(story: &mut Story) -> Wrong {
    story.log.add("a copy runs beside");
    story.faults.clones += 1;
    let Snapshot { memory, model } = Snapshot::take(story).await;
    let mut model = Model { restored: true, ..model };
    let life = Life::new(COPY, None);
    let copy = open(&memory, &story.accounts, &life, &story.clock).await;
    let before = by_the_copy(story);
    story.write().await;
    sleep(HELD).await;
    if by_the_copy(story) != before {
        return vec!["a copy works before it takes over".to_owned()];
    }
    story.log.add("the copy takes over");
    copy.world.post("sync/takeover", json!({})).await.expect("it may take over");
    // The server it was taken from finds that out by looking, which it does where drift is not off.
    sleep(HELD + HELD).await;
    let looks = |name: &&'static str| model.destinations[*name].options.drift != Drift::Off;
    let names: Vec<&'static str> =
        story.accounts.keys().filter(|name| looks(name)).copied().collect();
    let since: Vec<usize> =
        names.iter().map(|name| story.accounts[name].books().service.effects().len()).collect();
    story.log.add("both go on");
    for _ in SECRETS {
        story.write().await;
        story.delete().await;
        let name = story.some_destination();
        story.remove(name).await;
        let secret = story.dice.pick(&SECRETS);
        if let Some(head) = model.head(secret).cloned() {
            let version = Version { keys: head, deleted: false };
            model.secrets.entry(secret).or_default().push(version);
            let kept = perform(&copy.world, &model, &Act::Keep(secret)).await;
            kept.expect("the copy can be written");
        }
        sleep(Duration::from_secs(20)).await;
    }
    sleep(HELD + HELD).await;
    let mut wrong = Wrong::new();
    let mut accounts: BTreeMap<&'static str, Arc<Account>> = BTreeMap::new();
    for (name, since) in names.into_iter().zip(since) {
        let account = story.accounts[name].clone();
        let mut books = account.books();
        let mut met = Vec::new();
        for effect in &books.service.effects()[since..] {
            let before = effect.before.as_ref().filter(|before| before.writer >= COPY);
            let Some(before) = before.filter(|_| effect.by < COPY) else { continue };
            if before.tags.contains_key(MARK_TAG) {
                wrong.push(format!("{name}: the copy's object was touched: {:?}", effect.call));
            } else {
                // Both wrote what nobody had marked: a mark follows the value. The last one has it.
                met.extend(effect.call.name().map(str::to_owned));
            }
        }
        for name in met {
            books.tampered.entry(name).or_default().contested = true;
        }
        // What the other server made for itself.
        let objects = books.service.objects().iter();
        let left = objects.filter(|(_, object)| object.writer < COPY);
        let left: Vec<String> = left.map(|(name, _)| name.clone()).collect();
        books.left_behind.extend(left);
        drop(books);
        accounts.insert(name, account);
    }
    wrong.extend(verify::compare(&copy.world, &model, &accounts).await);
    story.log.add("still, side by side");
    let before = super::counts(story);
    sleep(HELD).await;
    let after = super::counts(story);
    if before.iter().zip(&after).any(|(before, after)| before.0 != after.0) {
        wrong.push(format!("they fight: {before:?}, then {after:?}"));
    }
    copy.life.die();
    copy.world.kill().await;
    wrong
}

fn by_the_copy(story: &Story) -> usize {
    let accounts = story.accounts.values();
    accounts
        .map(|account| {
            let books = account.books();
            books.service.effects().iter().filter(|effect| effect.by >= COPY).count()
        })
        .sum()
}
