//! A mount that is being taken away gives out no more leases.
//!
//! Whoever gives one out goes through the gate and stays until the batch has landed. Whoever closes a
//! mount waits for those inside; what they gave out is there to be revoked.

use bailee_sdk::Error;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock};

/// The gate of all mounts.
#[derive(Debug)]
pub(crate) struct Gate {
    inside: Arc<RwLock<()>>,
    /// Tells who revokes that there is a new end to wait for.
    wake: Arc<Notify>,
    /// How many keep each mount closed.
    closed: Arc<Mutex<HashMap<String, usize>>>,
}

/// Someone who gives out a lease.
#[derive(Debug)]
pub(crate) struct Entered {
    _inside: OwnedRwLockReadGuard<()>,
    wake: Arc<Notify>,
}

/// Mounts that give out nothing until this is dropped.
#[derive(Debug)]
pub(crate) struct Closed {
    mounts: Vec<String>,
    closed: Arc<Mutex<HashMap<String, usize>>>,
}

impl Gate {
    pub(crate) fn new(wake: Arc<Notify>) -> Gate {
        Gate { inside: Arc::default(), wake, closed: Arc::default() }
    }

    /// Goes in, unless the mount is closed.
    pub(crate) async fn enter(&self, mount: &str) -> Result<Entered, Error> {
        let inside = self.inside.clone().read_owned().await;
        if self.closed.lock().contains_key(mount) {
            return Err(Error::invalid(
                "this mount is being taken away and gives out no more leases",
            ));
        }
        Ok(Entered { _inside: inside, wake: self.wake.clone() })
    }

    /// Closes some mounts; when it returns nobody is inside who came before.
    pub(crate) async fn close(&self, mounts: Vec<String>) -> Closed {
        {
            let mut closed = self.closed.lock();
            for mount in &mounts {
                *closed.entry(mount.clone()).or_default() += 1;
            }
        }
        // Opens them again also if nobody waits for this any more.
        let guard = Closed { mounts, closed: self.closed.clone() };
        drop(self.inside.write().await);
        guard
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        let mut closed = self.closed.lock();
        for mount in &self.mounts {
            match closed.get_mut(mount) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    closed.remove(mount);
                }
            }
        }
    }
}
