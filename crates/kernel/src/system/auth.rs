//! `sys/auth`: auth methods.

use super::{
    Nothing, System,
    mounts::{AtPath, Enable, Tune, tune_path},
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
        Path::new("auth/{path...}/tune")
            .on(
                Operation::Read,
                system,
                "Read the settings of an auth method that can be tuned.",
                |system: Arc<System>, request: Request<AtPath>| async move {
                    let path = tune_path(&request.input.path, Class::Auth);
                    system.read_tuning(&request, &path)
                },
            )
            .on(
                Operation::Update,
                system,
                "Tune an auth method.",
                |system: Arc<System>, request: Request<Tune>| async move {
                    let path = tune_path(&request.input.path, Class::Auth);
                    system.tune(request, path).await
                },
            )
            .sudo(),
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
