//! What a path stands for: namespace, mount, engine, declared path.

use crate::{
    kernel::Kernel,
    registry::{Mounted, Place, Served},
};
use bailee_sdk::{Code, Error, Operation, Path, path::Captures};
use std::sync::Arc;

/// Families below `sys/` whose old clients read the data at the top level as well.
const DATA_AT_TOP: [&str; 13] = [
    "audit",
    "audit-hash",
    "auth",
    "config/cors",
    "config/auditing/request-headers",
    "capabilities",
    "capabilities-self",
    "capabilities-accessor",
    "ha-status",
    "key-status",
    "mounts",
    "policy",
    "remount",
];

/// What a request is for: an operation of a path of an engine of a mount of a namespace.
pub(crate) struct Target {
    pub(crate) place: Arc<Place>,
    pub(crate) mounted: Arc<Mounted>,
    served: Arc<Served>,
    /// Position of the path in the engine's table of contents.
    index: usize,
    pub(crate) captures: Captures,
    /// The path within the mount.
    pub(crate) path: String,
}

impl Target {
    pub(crate) fn declared(&self) -> &Path {
        self.served.paths.get(self.index).expect("the index came from this table")
    }

    /// Whether the system itself answers.
    pub(crate) fn is_system(&self) -> bool {
        self.mounted.entry.kind == crate::mount::SYSTEM_KIND
    }

    /// Whether its writes change what requests are routed by.
    pub(crate) fn changes_registry(&self) -> bool {
        let family = self.path.split('/').next().unwrap_or_default();
        self.is_system() && matches!(family, "mounts" | "auth" | "namespaces" | "remount")
    }

    pub(crate) fn has_data_at_top(&self) -> bool {
        let family = |family: &&str| {
            self.path
                .strip_prefix(*family)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.is_system() && DATA_AT_TOP.iter().any(family)
    }

    /// The kind of the mount that answers; what the system tells to everyone names none.
    pub(crate) fn shown_kind(&self) -> &str {
        if self.is_system() && self.declared().unauthenticated {
            return "";
        }
        &self.mounted.entry.kind
    }

    /// The path within the namespace.
    pub(crate) fn full_path(&self) -> String {
        format!("{}{}", self.mounted.mount.path, self.path)
    }
}

impl Kernel {
    /// What a path within a namespace stands for.
    pub(crate) fn find(
        &self,
        place: &Arc<Place>,
        path: &str,
        operation: Operation,
    ) -> Result<Target, Error> {
        let (mounted, rest) = place.find(path).ok_or_else(|| no_handler(path))?;
        let served = self.builtin.served(mounted)?;
        let (index, captures) = declared(&served, place.namespace.is_root(), &rest, operation)?;
        let (place, mounted) = (place.clone(), mounted.clone());
        Ok(Target { place, mounted, served, index, captures, path: rest })
    }
}

/// The declared path that serves an operation on a path of a mount: its place in the engine's table
/// of contents, and what it takes from the path.
pub(crate) fn declared(
    served: &Served,
    in_root: bool,
    rest: &str,
    operation: Operation,
) -> Result<(usize, Captures), Error> {
    let mut listed = false;
    for (index, declared) in served.paths.iter().enumerate() {
        if declared.root_only && !in_root {
            continue;
        }
        let Some(captures) = declared.matches(rest) else { continue };
        let serves = declared.endpoints.contains_key(&operation);
        let takes_folders = ["...}", "...?}"].iter().any(|end| declared.pattern.ends_with(end));
        let folder = rest.ends_with('/') && !takes_folders;
        if folder && !(serves && operation.is_listing()) {
            // What is not a folder has no name with a slash; what is one can only be listed.
            listed |= declared.endpoints.keys().any(|operation| operation.is_listing());
            continue;
        }
        // The first that matches is meant: what comes behind it is more general.
        return if serves { Ok((index, captures)) } else { Err(unsupported_operation()) };
    }
    Err(if listed { unsupported_operation() } else { unsupported_path() })
}

pub(crate) fn no_namespace() -> Error {
    Error::new(Code::NotFound, "namespace not found")
}

pub(crate) fn no_handler(path: &str) -> Error {
    let message = format!("no handler for route {path:?}. route entry not found.");
    Error::new(Code::NotFound, message)
}

pub(crate) fn unsupported_path() -> Error {
    Error::new(Code::NotFound, "1 error occurred:\n\t* unsupported path\n\n")
}

pub(crate) fn unsupported_operation() -> Error {
    Error::new(Code::Unsupported, "1 error occurred:\n\t* unsupported operation\n\n")
}
