//! `sys/auth`: auth methods.

use super::{
    Nothing, System,
    mounts::{AtPath, Enable},
};
use bailee_sdk::{Operation, Path, Reply, Request, engine::Class};
use std::sync::Arc;

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    vec![
        Path::new("auth").on(
            Operation::Read,
            system,
            "List the auth methods that are enabled.",
            |system: Arc<System>, request: Request<Nothing>| async move {
                Ok(Reply::data(&system.list(&request, Class::Auth)))
            },
        ),
        Path::new("auth/{path...}")
            .on(
                Operation::Read,
                system,
                "Read one auth method.",
                |system: Arc<System>, request: Request<AtPath>| async move {
                    system.read(&request, Class::Auth)
                },
            )
            .on(
                Operation::Update,
                system,
                "Enable an auth method.",
                |system: Arc<System>, request: Request<Enable>| async move {
                    system.enable(request, Class::Auth).await
                },
            )
            .on(
                Operation::Delete,
                system,
                "Disable an auth method and remove all it holds.",
                |system: Arc<System>, request: Request<AtPath>| async move {
                    system.disable(request, Class::Auth).await
                },
            )
            .sudo(),
    ]
}
