//! `?help=1`: what a path takes, told instead of reading it.

use crate::{
    Answer, Call, Content,
    kernel::Kernel,
    policy::Acl,
    registry::Place,
    target::{no_handler, unsupported_path},
};
use bailee_sdk::{Error, Operation, field::Flag, help, openapi};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Whether a request asks for help on its path. It must not run what the path stands for.
pub(crate) fn is_asked(call: &Call) -> bool {
    let asked = || call.input.get("help").map(Flag::deserialize);
    call.operation == Operation::Read && asked().is_some_and(|flag| flag.is_ok_and(|flag| flag.0))
}

/// Who may do something to a path may know what it takes.
pub(crate) fn is_allowed(acl: &Acl, path: &str) -> bool {
    acl.capabilities(path) != ["deny"]
}

impl Kernel {
    /// Help on a path of a namespace: on the engine itself when the path is that of its mount.
    pub(crate) fn help(
        &self,
        call: &Call,
        place: &Arc<Place>,
        path: &str,
    ) -> Result<Answer, Error> {
        let (mounted, rest) = place.find(path).ok_or_else(|| no_handler(path))?;
        let served = self.builtin.served(mounted)?;
        let is_here = |root_only: bool| !root_only || place.namespace.is_root();
        let mut shown = served.paths.iter().filter(|path| !path.hidden && is_here(path.root_only));
        let (text, paths) = match shown.find(|declared| declared.matches(&rest).is_some()) {
            Some(declared) if !rest.is_empty() => (help::of_path(declared), vec![declared.clone()]),
            _ if rest.is_empty() => (help::of_engine(&served.paths), served.paths.clone()),
            _ => return Err(unsupported_path()),
        };
        let mount = mounted.entry.path.clone();
        let document = openapi::document(self.settings.version, &[(mount, paths)], false);
        let shown = json!({ "help": text, "see_also": null, "openapi": document });
        let bytes = shown.to_string().into_bytes();
        Ok(Answer {
            content: Content::Raw { content_type: "application/json", bytes },
            ..Answer::empty(&call.id, &mounted.entry.kind)
        })
    }
}
