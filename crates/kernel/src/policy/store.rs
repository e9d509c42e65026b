//! Policies at rest.

use super::{Acl, Facts};
use bailee_barrier::{Barrier, Names, View};
use bailee_sdk::{Error, Namespace};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// The policies of all namespaces.
pub(crate) struct PolicyStore {
    barrier: Arc<Barrier>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    text: String,
}

impl PolicyStore {
    pub(crate) fn new(barrier: Arc<Barrier>) -> PolicyStore {
        PolicyStore { barrier }
    }

    /// A policy's text.
    pub(crate) async fn read(
        &self,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<String>, Error> {
        let stored: Option<Stored> =
            named(&self.barrier.view(""), namespace).get(&name.to_lowercase()).await?;
        Ok(stored.map(|stored| stored.text))
    }

    /// Sorted names of policies after `after`, at most `limit`.
    pub(crate) async fn names(
        &self,
        namespace: &Namespace,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        Ok(named(&self.barrier.view(""), namespace).list("", after, limit).await?)
    }

    /// Stores a policy when the unit of `view` commits.
    pub(crate) async fn write(
        &self,
        view: &View,
        namespace: &Namespace,
        name: &str,
        text: &str,
    ) -> Result<(), Error> {
        let stored = Stored { text: text.to_owned() };
        Ok(named(view, namespace).put(&name.to_lowercase(), &stored).await?)
    }

    /// Removes a policy when the unit of `view` commits; an absent one is fine.
    pub(crate) async fn delete(
        &self,
        view: &View,
        namespace: &Namespace,
        name: &str,
    ) -> Result<(), Error> {
        named(view, namespace).delete(&name.to_lowercase()).await?;
        Ok(())
    }

    /// Forgets what was compiled from a policy; called after the commit that changed it.
    pub(crate) fn forget(&self, _namespace: &Namespace, _name: &str) {}

    /// The rights that these policies give together.
    pub(crate) async fn acl(
        &self,
        _namespace: &Namespace,
        names: &[String],
        _facts: &Facts,
    ) -> Result<Arc<Acl>, Error> {
        Ok(Arc::new(Acl { root: names.iter().any(|name| name == "root") }))
    }
}

impl fmt::Debug for PolicyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyStore(..)")
    }
}

fn named(view: &View, namespace: &Namespace) -> Names {
    view.at(&format!("{}policy/", namespace.prefix())).names("acl")
}
