//! Periodic work of the engines, each mount for itself.

use crate::{
    event,
    intents::{Reach, Undo},
    registry::{Mounted, Registry},
};
use bailee_barrier::Barrier;
use bailee_crypto::Clock;
use bailee_sdk::Error;
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// Time between two turns of a mount.
const TURN: Duration = Duration::from_secs(60);
/// How long one turn of a mount may take.
const TURN_MAX: Duration = Duration::from_secs(600);
/// Mounts that work at once.
const MOUNTS_AT_ONCE: usize = 32;

/// Gives every mount its turn, until it is dropped. A slow one holds up no other.
pub(crate) async fn run(barrier: Arc<Barrier>, registry: Arc<Registry>, clock: Arc<dyn Clock>) {
    let mut busy: HashSet<String> = HashSet::new();
    let mut turns = FuturesUnordered::new();
    let mut waiting: Vec<Arc<Mounted>> = Vec::new();
    loop {
        if waiting.is_empty() {
            let places = registry.places();
            let mounts = places.iter().flat_map(|place| place.mounts.values());
            waiting.extend(mounts.filter(|mounted| mounted.served.is_some()).cloned());
        }
        let sleep = tokio::time::sleep(TURN);
        tokio::pin!(sleep);
        loop {
            while turns.len() < MOUNTS_AT_ONCE
                && let Some(mounted) = waiting.pop()
            {
                if busy.insert(mounted.mount.uuid.clone()) {
                    turns.push(turn(&barrier, &clock, mounted));
                }
            }
            tokio::select! {
                // What is finished makes room for the next turn.
                biased;
                Some((uuid, outcome)) = turns.next(), if !turns.is_empty() => {
                    let (uuid, outcome): (String, Result<(), Error>) = (uuid, outcome);
                    busy.remove(&uuid);
                    if let Err(error) = outcome {
                        event::pass_failed("periodic work of a mount", &error);
                    }
                }
                () = &mut sleep => break,
            }
        }
    }
}

async fn turn(
    barrier: &Arc<Barrier>,
    clock: &Arc<dyn Clock>,
    mounted: Arc<Mounted>,
) -> (String, Result<(), Error>) {
    let work = async {
        let Some(served) = &mounted.served else { return Ok(()) };
        let undone = Undo { barrier, mounted: &mounted, clock }.run(Reach::Due).await;
        undone.unwrap_or_else(|error| event::pass_failed("undoing unfinished requests", &error));
        let view = barrier.view(&mounted.prefix);
        // What an engine commits ahead of its turn's batch holds under the same condition.
        mounted.guard.iter().for_each(|guard| view.guard(guard.clone()));
        served.engine.tick(&view, clock.now()).await?;
        view.commit().await?;
        Ok(())
    };
    let outcome = tokio::time::timeout(TURN_MAX, work).await;
    let outcome = outcome.unwrap_or_else(|_| Err(Error::internal("a turn took too long")));
    (mounted.mount.uuid.clone(), outcome)
}
