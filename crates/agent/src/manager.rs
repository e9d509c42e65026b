//! Places that keep secrets, as the agent sees them.

use crate::failure::Failure;
use async_trait::async_trait;
use bailee_client::Pass;
use bailee_crypto::Sensitive;
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Something that keeps secrets: AWS Secrets Manager as one identity in one region, or a server that speaks
/// Vault's API as one token in one namespace.
#[async_trait]
pub trait SecretManager: Send + Sync + 'static {
    /// What tells this place and identity from others in keys of the cache, such as
    /// `aws-sm/us-east-2/arn:aws:iam::123456789012:role/app`. No secret is in it.
    fn place(&self) -> String;

    /// Checks what somebody asks for, without a call, and gives it the form that equal wishes share: the id
    /// trimmed, the default stage put in.
    ///
    /// # Errors
    /// The id or version can be none of this place; the message names the characters or the region.
    fn normal(&self, wanted: &Wanted) -> Result<Wanted, Failure>;

    /// Fetches one secret.
    async fn fetch(&self, wanted: &Wanted) -> Result<Fetched, Failure>;

    /// Fetches many, in as few calls as the place allows; the answers are in the order of the wishes.
    async fn fetch_many(&self, wanted: &[Wanted]) -> Vec<Result<Fetched, Failure>> {
        let mut fetched = Vec::with_capacity(wanted.len());
        for one in wanted {
            fetched.push(self.fetch(one).await);
        }
        fetched
    }

    /// All secrets that carry these tags, with their values where the place gives both at once. Places without
    /// tags refuse.
    async fn fetch_tagged(&self, tags: &BTreeMap<String, String>) -> Result<Vec<Fetched>, Failure>;

    /// Renews a lease of a fetched secret; gives how long it holds now.
    async fn renew(&self, lease: &Lease) -> Result<Duration, Failure>;

    /// Keeps what leases hang on alive, such as the agent's token; gives how long that lasts, `None` where nothing
    /// needs it. Called again by then.
    async fn tend(&self) -> Option<Duration> {
        None
    }

    /// The newest versions that the place itself gave, where something older might be taken for current later.
    fn newest(&self) -> Vec<Newest> {
        Vec::new()
    }

    /// Takes back what an earlier run said of that; what is known now goes before.
    fn remember(&self, _: Vec<Newest>) {}

    /// What leases hang on, such as the token of a login, for the next run.
    async fn pass(&self) -> Option<Pass> {
        None
    }

    /// Goes on with what an earlier run had, so that its leases live on.
    async fn resume(&self, _: Pass) {}

    /// Gives a lease back, as when the agent ends.
    async fn revoke(&self, lease: &Lease) -> Result<(), Failure>;

    /// Gives back what the agent was let in with, where it got that by itself. What comes of it is not told: it ends
    /// by itself, too.
    async fn leave(&self) {}
}

/// A secret that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wanted {
    /// Its name or ARN at AWS; its API path, such as `secret/data/app`, at a server.
    pub id: String,
    /// Which version of it.
    pub version: Which,
}

/// Which version of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    /// The current one.
    #[default]
    Current,
    /// The one with this staging label, such as `AWSPREVIOUS`.
    Stage(String),
    /// The one with this id (AWS), or number (KV).
    Id(String),
    /// The one with this id, which must carry this label, too.
    IdAtStage {
        /// The version's id.
        id: String,
        /// Its label.
        stage: String,
    },
}

/// A secret as it was fetched.
#[derive(Clone)]
pub struct Fetched {
    /// What the place calls it for good: the full ARN at AWS, the API path at a server.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The version's id or number; empty where there are no versions.
    pub version: String,
    /// Its staging labels; empty where there are none.
    pub stages: Vec<String>,
    /// When the version was made.
    pub created: Option<SystemTime>,
    /// The value.
    pub material: Material,
    /// Whether the value is what a versioned KV engine answers: the secret is its `data`, beside `metadata`.
    pub versioned: bool,
    /// The lease it is under.
    pub lease: Option<Lease>,
}

/// The newest version of a secret that a place gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// What the place calls the secret.
    pub id: String,
    /// The version's id.
    pub version: String,
    /// When it was made.
    pub created: SystemTime,
}

/// The value of a secret. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// A text: JSON or not.
    Text(Arc<Sensitive<String>>),
    /// Bytes.
    Binary(Arc<Sensitive<Vec<u8>>>),
}

/// A lease of a secret that was made for the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// How long it holds from the time it was fetched or renewed.
    pub duration: Duration,
    /// Whether it can be renewed.
    pub renewable: bool,
}

impl Wanted {
    /// The current version of a secret.
    pub fn current(id: impl Into<String>) -> Wanted {
        Wanted { id: id.into(), version: Which::Current }
    }
}

impl Material {
    /// A text.
    pub fn text(text: impl Into<String>) -> Material {
        Material::Text(Arc::new(Sensitive::new(text.into())))
    }

    /// Bytes.
    pub fn binary(bytes: impl Into<Vec<u8>>) -> Material {
        Material::Binary(Arc::new(Sensitive::new(bytes.into())))
    }

    /// Its bytes, whichever kind it is.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Material::Text(text) => text.expose().as_bytes(),
            Material::Binary(bytes) => bytes.expose(),
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(..)")
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetched({} at {})", self.id, self.version)
    }
}
