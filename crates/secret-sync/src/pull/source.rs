//! Where secrets are pulled from.

use crate::{failure::Error, source::Payload};
use async_trait::async_trait;

/// Another server, and the part of it that is replicated.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// All secrets of that part, each with its version where that can be told without its value.
    ///
    /// # Errors
    /// The part as a whole cannot be listed. What cannot be looked into within it is in the listing.
    async fn list(&self) -> Result<Listing, Error>;

    /// The value of a secret at the version that was listed; `None` when that is gone.
    async fn read(&self, secret: &Listed) -> Result<Option<Payload>, Error>;

    /// Nothing more is read: what was got for that alone is given back.
    async fn leave(&self) {}
}

/// What a source has.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Its secrets.
    pub secrets: Vec<Listed>,
    /// Paths of folders and secrets that could not be looked into.
    pub failed: Vec<(String, Error)>,
}

/// A secret of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The mount it is in, with a final `/`; empty where the source has no mounts.
    pub mount: String,
    /// Its path in there.
    pub path: String,
    /// What is known of its value.
    pub revision: Revision,
}

/// What is known of a secret's value without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// It has this version.
    Version(Version),
    /// A keyed digest of it.
    Content(String),
    /// No version lives.
    Gone,
    /// The source does not tell.
    Untold,
}

/// The version of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Its number, or the source's own name for it.
    pub label: String,
    /// When the secret was made: another time says that it was removed and made again.
    pub created: String,
    /// When anything about the secret changed last.
    pub updated: String,
}

impl Listed {
    /// Mount and path.
    pub fn full_path(&self) -> String {
        format!("{}{}", self.mount, self.path)
    }
}
