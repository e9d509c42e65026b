//! A dry run of the work on one association: the secret is read and the plan made by the code that
//! delivers, and nothing is done.

use super::{Task, Worker, desire::Unnamed};
use crate::{
    association::Association,
    board::{Key, Manner},
    destination::Remote,
    epoch::Epoch,
    failure::Error,
    plan::{Desired, Plan},
    registry::Configured,
    tags::OwnerMark,
};
use std::collections::{BTreeMap, BTreeSet};

/// What an association wants, without the values.
pub(crate) struct Foreseen {
    /// Which association.
    pub(crate) key: Key,
    /// The association, as it is or would be.
    pub(crate) association: Association,
    /// Objects that shall be there, and the sizes of their values in bytes.
    pub(crate) objects: Vec<(Desired, usize)>,
    /// Keys for which there is no name.
    pub(crate) failed: Vec<Unnamed>,
    /// Whether the secret has a version that lives; an error means that nothing would be done.
    pub(crate) live: Result<bool, Error>,
}

impl Worker {
    /// Reads the secret as the worker would, under the name of a plan, and forgets the value.
    pub(crate) async fn foresee(
        &self,
        key: Key,
        association: Association,
        configured: &Configured,
        epoch: &Epoch,
    ) -> Foreseen {
        let mut task = Task::new(&key, &association, configured, epoch);
        task.caller = format!("sync-plan/{key}");
        let wanted = self.wanted(&task).await;
        let mut foreseen = Foreseen {
            objects: Vec::new(),
            failed: Vec::new(),
            live: wanted.as_ref().map(Option::is_some).map_err(Error::clone),
            key,
            association,
        };
        if let Ok(Some(wanted)) = wanted {
            let sized = wanted.objects.into_iter();
            foreseen.objects =
                sized.map(|(desired, payload)| (desired, payload.bytes.len())).collect();
            foreseen.failed = wanted.failed;
        }
        foreseen
    }

    /// The plan that the worker would make of it; nothing where the secret cannot be read.
    pub(crate) fn foreseen_plan(
        &self,
        foreseen: &Foreseen,
        configured: &Configured,
        epoch: &Epoch,
        found: Option<&BTreeMap<String, Remote>>,
    ) -> Plan {
        if foreseen.live.is_err() {
            return Plan::default();
        }
        let task = Task::new(&foreseen.key, &foreseen.association, configured, epoch);
        let desired: Vec<Desired> =
            foreseen.objects.iter().map(|(desired, _)| desired.clone()).collect();
        let unnamed: BTreeSet<Option<String>> =
            foreseen.failed.iter().map(|failed| failed.sub_key.clone()).collect();
        self.planned(&task, &desired, &unnamed, found, Manner::default())
    }

    /// The mark that an object of the association has.
    pub(crate) fn foreseen_mark(
        &self,
        foreseen: &Foreseen,
        configured: &Configured,
        epoch: &Epoch,
        name: &str,
    ) -> OwnerMark {
        Task::new(&foreseen.key, &foreseen.association, configured, epoch).mark(&self.barrier, name)
    }
}
