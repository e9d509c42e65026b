//! Names and passwords.
//!
//! A user is one entry in the tree of names, with what is kept of the password and what the user's
//! tokens are like. Names do not tell upper from lower case.

mod login;
mod password;
mod users;

use bailee_sdk::{
    Engine, EngineKind, Error, Login, Names,
    Operation::{Delete, List, Read, Update},
    Path, Setup, View,
    engine::{Class, Renewal},
};
use std::sync::Arc;

/// Longest name of a user, in bytes.
pub const USERNAME_BYTES_MAX: usize = 512;

/// The kind `userpass`.
pub fn kind() -> EngineKind {
    EngineKind { name: "userpass", class: Class::Auth, make: Arc::new(make) }
}

/// The auth method of names and passwords.
#[derive(Debug)]
pub struct Userpass;

fn make(_: &Setup) -> Result<Arc<dyn Engine>, Error> {
    Ok(Arc::new(Userpass))
}

#[async_trait::async_trait]
impl Engine for Userpass {
    fn paths(self: Arc<Userpass>) -> Vec<Path> {
        vec![
            Path::new("login/{username}")
                .unauthenticated()
                .login_alias(|input| Some(input.get("username")?.as_str()?.to_lowercase()))
                .on(Update, &self, "Log in with a password", login::login),
            Path::new("users").on(List, &self, "List the names of users", users::list),
            Path::new("users/{username}")
                .ignores_case()
                .on(Read, &self, "Read a user's settings", users::read)
                .on(Update, &self, "Create a user, or change one", users::write)
                .on(Delete, &self, "Remove a user", users::delete)
                .exists(&self, users::exists),
            Path::new("users/{username}/password").ignores_case().on(
                Update,
                &self,
                "Change a user's password",
                users::write_password,
            ),
            Path::new("users/{username}/policies").ignores_case().on(
                Update,
                &self,
                "Change the policies of a user",
                users::write_policies,
            ),
        ]
    }

    async fn renew_login(&self, view: &View, renewal: &Renewal) -> Result<Option<Login>, Error> {
        login::renew(view, renewal).await.map(Some)
    }
}

fn names(view: &View) -> Names {
    view.names("user")
}
