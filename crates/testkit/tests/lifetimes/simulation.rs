//! Ten thousand stories of credentials. Users of the API ask for keys, renew, revoke and go away; calls
//! of IAM are throttled, lost on their way there or back, refused; the server ends at any numbered
//! commit and call, before or after its effect, and another begins on what is stored.
//!
//! At every step: what was given out and has not ended works; what has ended is gone, or shown with the
//! reason. When quiet comes: no user without a lease, no lease without its user, nothing past its end.

use super::{story::Story, way::Seen, world::HOUR};
use bailee_sdk::testing::simulate;
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::sleep;

const RUNS: u64 = if cfg!(feature = "slow-tests") { 10_000 } else { 200 };
/// One backoff of the kernel, and the look that follows it.
const QUIET: Duration = Duration::from_secs(3600 + 120);
/// By then whatever a mount had stored is removed.
const PURGED: Duration = Duration::from_secs(700);

#[test]
fn no_user_is_without_a_lease_no_key_outlives_its_end_and_no_lease_is_lost() {
    let again = "cargo test -p bailee-testkit --test lifetimes simulation";
    let all = simulate(RUNS, again, story);
    let total = all.iter().fold(Seen::default(), |total, seen| total + *seen);
    println!("{} runs: {total:?}", all.len());
}

#[test]
fn a_seed_tells_the_same_story_again() {
    let told = || {
        let story = async |seed| {
            let mut story = Story::begin(seed).await;
            let wrong = lived(&mut story).await.err();
            Ok(story.told(&wrong.unwrap_or_default()))
        };
        simulate(8, "cargo test -p bailee-testkit --test lifetimes again", story)
    };
    for (once, again) in told().iter().zip(told()) {
        for (once, again) in once.lines().zip(again.lines()) {
            assert_eq!(once, again);
        }
    }
}

async fn story(seed: u64) -> Result<Seen, String> {
    let mut story = Story::begin(seed).await;
    match lived(&mut story).await {
        Ok(()) => Ok(story.seen()),
        Err(wrong) => Err(story.told(&wrong)),
    }
}

async fn lived(story: &mut Story) -> Result<(), String> {
    let steps = 6 + story.dice.below(20);
    for _ in 0..steps {
        story.step().await;
        story.check().await?;
    }
    quiet(story).await?;
    end(story).await
}

/// How long it takes at most that a user goes, call by call at the slowest pace.
const ON_ITS_WAY: Duration = Duration::from_secs(180);

/// IAM works again: within one backoff all is as it should be.
async fn quiet(story: &mut Story) -> Result<(), String> {
    story.calm_down().await;
    sleep(QUIET).await;
    story.check().await?;
    story.nothing_outlives_its_end()?;
    if agreed(story).await.is_ok() {
        return Ok(());
    }
    // Something may just have been on its way out.
    sleep(ON_ITS_WAY).await;
    agreed(story).await
}

/// Users, keys, leases and what is stored of them are the same.
async fn agreed(story: &Story) -> Result<(), String> {
    let world = &story.world;
    let leases = world.leases().await;
    let (users, leased): (BTreeSet<_>, BTreeSet<_>) = (
        world.users().into_iter().collect(),
        leases.iter().map(|lease| lease.user.clone()).collect(),
    );
    if users != leased {
        let (intents, _) = world.noted().await;
        return Err(format!("users {users:?}, leases of {leased:?}, {intents} intents"));
    }
    if let Some(lease) = leases.iter().find(|lease| !world.aws().key_works(&lease.access_key)) {
        return Err(format!("a lease stands for a key that is gone: {lease:?}"));
    }
    match world.noted().await {
        (0, records) if records == leases.len() => Ok(()),
        noted => Err(format!("{} leases, intents and records {noted:?}", leases.len())),
    }
}

/// Everything ends: by an operator's word, with the mount, or by itself.
async fn end(story: &mut Story) -> Result<(), String> {
    match story.dice.below(3) {
        0 => {
            story.log.add("revoke-prefix");
            let revoked =
                story.world.write("sys/leases/revoke-prefix/aws", json!({ "sync": true }));
            revoked.await.map_err(|error| format!("revoke-prefix: {error}"))?;
        }
        1 => {
            story.log.add("unmount");
            story.world.unmount("aws").await.map_err(|error| format!("unmount: {error}"))?;
            sleep(PURGED).await;
        }
        _ => sleep(story.longest + HOUR).await,
    }
    let world = &story.world;
    let (users, leases) = (world.users(), world.stored("lease/").await);
    let noted = world.noted().await;
    if !users.is_empty() || !leases.is_empty() || noted != (0, 0) {
        return Err(format!("in the end: {users:?}, {leases:?}, {noted:?}"));
    }
    Ok(())
}
