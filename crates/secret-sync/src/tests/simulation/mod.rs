//! The whole of sync in a made-up world, ten thousand times over.
//!
//! A run is a story that follows from a number: users write, associate and configure; strangers meddle
//! at the destinations; calls are slow, lost, throttled, refused; sessions end at any numbered commit
//! and call, before or after its effect, and others begin on what is stored. Everything between the
//! request and the calls of the destination is the real thing; clock, chance, storage and the accounts
//! are not. When quiet comes the destinations must hold what [`model`] says, which shares no code with
//! the product.
//!
//! A run that fails prints its story and the command that repeats it:
//! `BAILEE_SIMULATION_SEED=7 cargo test -p bailee-secret-sync --lib simulation`.
//!
//! **Of a session that was killed**, calls that were sent may land up to five seconds later, as a
//! request that left the machine does. They do not land once the session after it has changed the
//! same object: services of this kind take writes unconditionally, so nothing on our side could tell
//! the late one apart, and a start takes longer than a request that is under way to a healthy service.
//!
//! **A deposed session** works beside its successor in some runs: its lease was not renewed, and the
//! successor waited until it had run out. Storage refuses its commits from then on, as a backend for
//! several nodes shall; that it makes no call any more is for the product to see to.

mod account;
mod epilogue;
mod model;
mod story;
mod strangers;
mod users;
mod verify;

use account::Faults;
use bailee_sdk::testing::simulate;
use std::time::Duration;
use story::Story;
use tokio::time::sleep;

/// Runs of the quick suite.
const RUNS: u64 = 1_000;
/// Runs of the slow one.
const RUNS_SLOW: u64 = 10_000;
/// Long enough for every retry, and for the lists to be believed.
const QUIET: Duration = Duration::from_secs(1_900);
/// A comparison comes round.
const STILL: Duration = Duration::from_secs(700);

#[test]
fn whatever_happens_destinations_end_as_they_shall() {
    let runs = if cfg!(feature = "slow-tests") { RUNS_SLOW } else { RUNS };
    let again = "cargo test -p bailee-secret-sync --lib simulation";
    let mut total = Faults::default();
    simulate(runs, again, told).into_iter().for_each(|faults| total.add(faults));
    println!("{total:?}");
}

async fn told(seed: u64) -> Result<Faults, String> {
    let mut story = Story::begin(seed).await;
    let steps = 8 + story.dice.below(32);
    let middle = story.dice.below(steps);
    story.go_on(middle).await;
    let earlier = epilogue::Snapshot::take(&story).await;
    story.go_on(steps - middle).await;
    let mut wrong = quiet(&mut story).await;
    for account in story.accounts.values() {
        wrong.extend(verify::order(&story.heads, account.books().service.effects()));
    }
    if wrong.is_empty() {
        wrong = epilogue::after(&mut story, earlier).await;
    }
    let mut faults = story.faults;
    for account in story.accounts.values() {
        faults.add(account.books().faults);
    }
    let ledger = if wrong.is_empty() { String::new() } else { story.ledger().await };
    story.session.world.kill().await;
    if wrong.is_empty() {
        return Ok(faults);
    }
    Err(format!("{}\n{ledger}\n  {}", story.log.text(), wrong.join("\n  ")))
}

/// Nothing goes wrong any more, and time goes by.
async fn quiet(story: &mut Story) -> verify::Wrong {
    story.log.add("quiet");
    for account in story.accounts.values() {
        account.calm();
    }
    story.settle_down().await;
    story.resume().await;
    sleep(QUIET).await;
    story.end_purges().await;
    sleep(STILL).await;
    story.look_after_purges().await;
    still(story).await
}

/// Nothing is left to do: nothing is changed, nor looked at but in lists.
async fn still(story: &mut Story) -> verify::Wrong {
    story.log.add("still");
    let before = counts(story);
    sleep(STILL).await;
    let mut wrong = verify::Wrong::new();
    let after = counts(story);
    for ((name, account), (before, after)) in story.accounts.iter().zip(before.iter().zip(&after)) {
        // What is in doubt, contested, or reported and left, is looked at every time.
        let looks = after.1 - before.1;
        // So is what a restored ledger has of names that cannot go yet.
        let of_before =
            if story.model.restored { account.books().service.objects().len() } else { 0 };
        if before.0 != after.0 || looks > 8 * (account.doubts() + of_before) {
            wrong.push(format!("{name} does not rest: {before:?}, then {after:?}"));
        }
    }
    wrong.extend(verify::compare(&story.session.world, &story.model, &story.accounts).await);
    wrong
}

fn counts(story: &Story) -> Vec<(usize, usize)> {
    let count = |account: &std::sync::Arc<account::Account>| {
        let books = account.books();
        (books.service.effects().len(), books.looks)
    };
    story.accounts.values().map(count).collect()
}
