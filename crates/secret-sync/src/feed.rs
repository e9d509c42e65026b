//! What happens, told to whoever listens. Nobody waits for a listener: one that is too slow is told
//! how much it missed. There is room for so many, and neither one client nor one namespace has all of it.

use crate::{association::Association, failure::Status};
use bailee_crypto::clock::to_millis;
use bailee_sdk::Namespace;
use parking_lot::Mutex;
use serde_json::Value;
use std::{collections::HashMap, sync::Arc, time::SystemTime};
use tokio::sync::broadcast;

/// Events that wait for listeners.
const EVENTS_MAX: usize = 4096;
/// Listeners at one time.
const LISTENERS_MAX: usize = 256;
/// Those of one namespace.
const NAMESPACE_LISTENERS_MAX: usize = 192;
/// Those of one client: of an entity, or of a token that has none.
const CLIENT_LISTENERS_MAX: usize = 16;

/// Something that happened to a secret at a destination, or to a destination.
#[derive(Debug)]
pub(crate) struct Event {
    /// When, in milliseconds since 1970.
    pub(crate) time: u64,
    /// What.
    pub(crate) event: &'static str,
    /// Id of the namespace.
    pub(crate) namespace: String,
    /// Type of the destination.
    pub(crate) kind: String,
    /// Name of the destination.
    pub(crate) name: String,
    /// The secret; none where it is about the destination as a whole.
    pub(crate) secret: Option<Secret>,
    /// The object's name at the destination.
    pub(crate) external_name: Option<String>,
    /// The status that follows.
    pub(crate) status: Option<Status>,
    /// What failed, as answers show it, or what others changed.
    pub(crate) detail: Option<(&'static str, Value)>,
}

/// A secret, or a key of it.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    pub(crate) accessor: String,
    pub(crate) mount: String,
    pub(crate) name: String,
    pub(crate) sub_key: Option<String>,
}

impl Event {
    /// An event of a secret, without its details.
    pub(crate) fn of(
        event: &'static str,
        namespace: &Namespace,
        association: &Association,
        now: SystemTime,
    ) -> Event {
        let secret = Secret {
            accessor: association.accessor.clone(),
            mount: association.mount_path.clone(),
            name: association.secret_name.clone(),
            sub_key: None,
        };
        let destination = (&*association.destination_type, &*association.destination_name);
        Event { secret: Some(secret), ..Event::of_destination(event, namespace, destination, now) }
    }

    /// An event of a destination as a whole.
    pub(crate) fn of_destination(
        event: &'static str,
        namespace: &Namespace,
        (kind, name): (&str, &str),
        now: SystemTime,
    ) -> Event {
        Event {
            time: to_millis(now),
            event,
            namespace: namespace.id.clone(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            secret: None,
            external_name: None,
            status: None,
            detail: None,
        }
    }
}

/// The events of one session; it ends with it.
pub(crate) struct Feed {
    sender: broadcast::Sender<Arc<Event>>,
    seats: Arc<Seats>,
}

/// Who listens: how many of each client of each namespace.
type Seats = Mutex<HashMap<(String, String), usize>>;

/// Somebody who listens, and the room that takes.
pub(crate) struct Listening {
    pub(crate) events: broadcast::Receiver<Arc<Event>>,
    seats: Arc<Seats>,
    seat: (String, String),
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut seats = self.seats.lock();
        if let Some(taken) = seats.get_mut(&self.seat) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.seat);
            }
        }
    }
}

/// Whose room is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// The client's own.
    Client,
    /// That of the namespace.
    Namespace,
    /// All of it.
    Server,
}

impl Crowded {
    /// What is said to whoever asks.
    pub(crate) fn message(self) -> String {
        const WHAT: &str = "listeners at sys/sync/events already";
        match self {
            Crowded::Client => format!(
                "this client has {CLIENT_LISTENERS_MAX} {WHAT}: end one of them, or share one stream"
            ),
            Crowded::Namespace => format!(
                "this namespace has {NAMESPACE_LISTENERS_MAX} {WHAT}: ask again when one has ended"
            ),
            Crowded::Server => {
                format!("this server has {LISTENERS_MAX} {WHAT}: ask again when one has ended")
            }
        }
    }
}

impl Default for Feed {
    fn default() -> Feed {
        Feed { sender: broadcast::Sender::new(EVENTS_MAX), seats: Arc::default() }
    }
}

impl Feed {
    /// Tells what happened, which is only put together where somebody listens.
    pub(crate) fn tell(&self, events: impl FnOnce() -> Vec<Event>) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        for event in events() {
            // The last listener may just have gone.
            self.sender.send(Arc::new(event)).ok();
        }
    }

    /// What happens from now on, for a client of a namespace.
    pub(crate) fn listen(&self, namespace: &str, client: &str) -> Result<Listening, Crowded> {
        let seat = (namespace.to_owned(), client.to_owned());
        let mut seats = self.seats.lock();
        let of_client = seats.get(&seat).copied().unwrap_or_default();
        let of_namespace = seats.iter().filter(|((of, _), _)| of == namespace);
        let of_namespace: usize = of_namespace.map(|(_, taken)| taken).sum();
        let of_all: usize = seats.values().sum();
        for (taken, max, crowded) in [
            (of_client, CLIENT_LISTENERS_MAX, Crowded::Client),
            (of_namespace, NAMESPACE_LISTENERS_MAX, Crowded::Namespace),
            (of_all, LISTENERS_MAX, Crowded::Server),
        ] {
            if taken >= max {
                return Err(crowded);
            }
        }
        seats.insert(seat.clone(), of_client + 1);
        drop(seats);
        Ok(Listening { events: self.sender.subscribe(), seats: self.seats.clone(), seat })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_client_nor_a_namespace_shuts_out_others() {
        let feed = Feed::default();
        let crowded = |namespace: &str, client: &str| feed.listen(namespace, client).err();
        let mut busy: Vec<Listening> =
            (0..CLIENT_LISTENERS_MAX).map(|_| feed.listen("n1", "c0").ok().unwrap()).collect();
        assert_eq!(crowded("n1", "c0"), Some(Crowded::Client));
        assert_eq!((crowded("n1", "c1"), crowded("n2", "c0")), (None, None));
        while busy.len() < NAMESPACE_LISTENERS_MAX {
            busy.push(feed.listen("n1", &format!("c{}", busy.len())).ok().unwrap());
        }
        assert_eq!(crowded("n1", "new"), Some(Crowded::Namespace));
        while busy.len() < LISTENERS_MAX {
            busy.push(feed.listen(&format!("n{}", busy.len()), "c0").ok().unwrap());
        }
        assert_eq!(crowded("new", "c0"), Some(Crowded::Server));
        // Whoever ends makes room.
        busy.truncate(CLIENT_LISTENERS_MAX - 1);
        assert_eq!(crowded("n1", "c0"), None);
        busy.clear();
        assert!(feed.seats.lock().is_empty());
    }
}
