//! `secrets` and `auth`: what is mounted where. The two differ in words and in a few settings.

mod auth;
mod change;
mod list;
mod relocate;
mod secrets;
mod settings;

pub(crate) use auth::Auth;
pub(crate) use change::tune;
pub(crate) use secrets::Secrets;

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Secrets engines.
    Secrets,
    /// Auth methods.
    Auth,
}

impl Family {
    /// The path of the API under which they are mounted.
    fn endpoint(self, path: &str) -> String {
        match self {
            Family::Secrets => format!("sys/mounts/{path}"),
            Family::Auth => format!("sys/auth/{path}"),
        }
    }

    /// What one of them is called.
    fn noun(self) -> &'static str {
        match self {
            Family::Secrets => "secrets engine",
            Family::Auth => "auth method",
        }
    }

    /// What precedes the path where both share one space of paths.
    fn prefix(self) -> &'static str {
        match self {
            Family::Secrets => "",
            Family::Auth => "auth/",
        }
    }
}
