//! Undoing what requests that never finished have left outside.

use crate::{event, registry::Mounted};
use bailee_barrier::{Barrier, View};
use bailee_crypto::{
    Clock,
    clock::{from_millis, to_millis},
};
use bailee_sdk::{
    Code, Error,
    intent::{GATE, Stored},
};
use futures_util::{StreamExt, stream};
use std::{sync::Arc, time::Duration};

/// Intents of a mount that are listed at once.
const INTENTS_AT_ONCE: usize = 1000;
/// Failures after which a turn leaves the rest to the next one.
const FAILURES_MAX: usize = 8;
/// Intents of a mount that are undone at the same time.
const UNDONE_AT_ONCE: usize = 4;
/// How long an engine may take to undo one.
const UNDO_TIME_MAX: Duration = Duration::from_secs(60);
/// How long to wait for a request that is still under way, where nobody waits for the outcome.
const LOCK_WAIT: Duration = Duration::from_millis(100);
/// How long to wait for it where somebody does.
const LOCK_WAIT_ASKED: Duration = Duration::from_secs(60);
/// Pause after the first failure; each further one doubles it.
const BACKOFF_MIN: Duration = Duration::from_secs(60);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(3600);
/// Bytes that are kept of a failure's text.
const FAILURE_BYTES_MAX: usize = 1024;

/// Which intents are meant, and what happens to those that cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those that are due; what fails is tried again later.
    Due,
    /// All: the mount is to go away.
    All,
    /// All, and what cannot be undone is forgotten: an operator said so.
    GivesUp,
}

/// A mount whose intents are undone.
#[derive(Clone, Copy)]
pub(crate) struct Undo<'a> {
    pub(crate) barrier: &'a Arc<Barrier>,
    pub(crate) mounted: &'a Mounted,
    pub(crate) clock: &'a Arc<dyn Clock>,
}

/// What became of one intent.
enum Outcome {
    Done,
    /// Not due, or its request is still under way.
    Kept,
    Failed(Error),
}

/// What became of them all.
#[derive(Default)]
struct Told {
    left: usize,
    failures: usize,
    failure: Option<Error>,
}

impl Undo<'_> {
    /// Undoes the intents that are meant. What is left is told as an error unless only those that were
    /// due were meant.
    pub(crate) async fn run(self, reach: Reach) -> Result<(), Error> {
        let mut told = Told::default();
        let mut after = String::new();
        loop {
            // Those that wait for their next attempt must not keep later ones out.
            let names = self.view().list(&format!("{GATE}/"), &after, INTENTS_AT_ONCE).await?;
            let last = names.last().filter(|_| names.len() == INTENTS_AT_ONCE).cloned();
            let goes_on = self.page(names, reach, &mut told).await?;
            match last {
                Some(last) if goes_on => after = last,
                _ => break,
            }
        }
        match reach {
            Reach::Due | Reach::GivesUp => Ok(()),
            Reach::All if told.left == 0 => Ok(()),
            Reach::All => Err(not_all(told.left, told.failure)),
        }
    }

    /// Whether it makes sense to go on after these.
    async fn page(self, names: Vec<String>, reach: Reach, told: &mut Told) -> Result<bool, Error> {
        let mut outcomes = stream::iter(names)
            .map(|name| async move { self.one(&format!("{GATE}/{name}"), reach).await })
            .buffer_unordered(UNDONE_AT_ONCE);
        while let Some(outcome) = outcomes.next().await {
            match outcome? {
                Outcome::Done => {}
                Outcome::Kept => told.left += 1,
                Outcome::Failed(error) => {
                    told.left += 1;
                    told.failures += 1;
                    let refused = error.code == Code::RateLimited || told.failures >= FAILURES_MAX;
                    told.failure = Some(error);
                    if refused && reach == Reach::Due {
                        // The next turn goes on: other work of the mount waits for this one.
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Closes the gate for new intents; it stays closed until the result is dropped. Fails while there
    /// are intents that cannot be undone.
    pub(crate) async fn close(self) -> Result<View, Error> {
        loop {
            self.run(Reach::All).await?;
            let gate = self.view();
            gate.lock(GATE).await;
            // One may have come in before the gate was closed.
            if gate.list(&format!("{GATE}/"), "", 1).await?.is_empty() {
                return Ok(gate);
            }
        }
    }

    fn view(&self) -> View {
        self.barrier.view(&self.mounted.prefix)
    }

    async fn one(&self, key: &str, reach: Reach) -> Result<Outcome, Error> {
        let now = self.clock.now();
        let view = self.view();
        if reach == Reach::Due {
            let stored: Option<Stored> = view.get(key).await?;
            let Some(stored) = stored else { return Ok(Outcome::Done) };
            if stored.due > to_millis(now) {
                return Ok(Outcome::Kept);
            }
        }
        // Whose request is under way holds the lock until its batch has landed.
        let patience = if reach == Reach::Due { LOCK_WAIT } else { LOCK_WAIT_ASKED };
        if tokio::time::timeout(patience, view.lock(key)).await.is_err() {
            return Ok(Outcome::Kept);
        }
        let found = view.get_at::<Stored>(key).await?;
        let Some((stored, Some(revision))) = found else { return Ok(Outcome::Done) };
        let outcome = self.undo(&view, &stored).await;
        let (unit, failure) = match outcome {
            Ok(()) => {
                view.delete(key);
                event::intent_undone(from_millis(stored.made));
                (view, None)
            }
            Err(error) if reach == Reach::GivesUp => {
                event::intent_given_up(&error);
                let unit = view.fresh();
                unit.delete(key);
                (unit, None)
            }
            Err(error) => {
                event::intent_failed(&error);
                // What it wrote before it failed is not wanted.
                let unit = view.fresh();
                unit.put(key, &later(stored, &error, to_millis(now)));
                (unit, Some(error))
            }
        };
        unit.expect(key, revision);
        if let Some(guard) = &self.mounted.guard {
            unit.guard(guard.clone());
        }
        match unit.commit().await {
            // Whoever was faster has accounted for it, or the next turn does.
            Ok(_) | Err(bailee_barrier::Error::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(failure.map_or(Outcome::Done, Outcome::Failed))
    }

    async fn undo(&self, view: &View, stored: &Stored) -> Result<(), Error> {
        let served = self.mounted.served.as_ref();
        let served = served.ok_or_else(|| crate::lease::no_engine(self.mounted))?;
        let work = served.engine.roll_back(view, &stored.body);
        tokio::time::timeout(UNDO_TIME_MAX, work).await.unwrap_or_else(|_| {
            let text = format!("the engine did not answer in {} s", UNDO_TIME_MAX.as_secs());
            Err(Error::new(Code::Upstream, text))
        })
    }
}

/// The intent after another failure.
fn later(stored: Stored, error: &Error, now: u64) -> Stored {
    let doublings = stored.tries.min(16);
    let pause = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    let counts = error.code != Code::RateLimited;
    let mut failure = error.to_string();
    failure.truncate(failure.floor_char_boundary(FAILURE_BYTES_MAX));
    let pause = if counts { pause } else { BACKOFF_MIN };
    let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    Stored {
        due: now.saturating_add(pause),
        tries: stored.tries.saturating_add(u32::from(counts)),
        failure: Some(failure),
        ..stored
    }
}

fn not_all(left: usize, failure: Option<Error>) -> Error {
    let things = if left == 1 {
        "request that never finished is"
    } else {
        "requests that never finished are"
    };
    let text = match failure {
        Some(reason) => format!(
            "{left} {things} not undone yet, the last failure was: {reason}. It is tried again; \
             sys/leases/revoke-force gives them up"
        ),
        None => format!("{left} {things} not undone yet: ask again later"),
    };
    Error::new(Code::InvalidRequest, text)
}
