//! What happens, told to whoever listens. Nobody waits for a listener: one that is too slow is told
//! how much it missed.

use crate::{association::Association, failure::Status};
use bailee_crypto::clock::to_millis;
use bailee_sdk::Namespace;
use serde_json::Value;
use std::{sync::Arc, time::SystemTime};
use tokio::sync::broadcast;

/// Events that wait for listeners.
const EVENTS_MAX: usize = 4096;
/// Listeners at one time.
const LISTENERS_MAX: usize = 256;

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
pub(crate) struct Feed(broadcast::Sender<Arc<Event>>);

impl Default for Feed {
    fn default() -> Feed {
        Feed(broadcast::Sender::new(EVENTS_MAX))
    }
}

impl Feed {
    /// Tells what happened, which is only put together where somebody listens.
    pub(crate) fn tell(&self, events: impl FnOnce() -> Vec<Event>) {
        if self.0.receiver_count() == 0 {
            return;
        }
        for event in events() {
            // The last listener may just have gone.
            self.0.send(Arc::new(event)).ok();
        }
    }

    /// What happens from now on; `None` when too many listen already.
    pub(crate) fn listen(&self) -> Option<broadcast::Receiver<Arc<Event>>> {
        (self.0.receiver_count() < LISTENERS_MAX).then(|| self.0.subscribe())
    }
}
