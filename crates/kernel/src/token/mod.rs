//! Tokens: who is calling.
//!
//! **Invariant:** the text of a token is nowhere in storage; a token is found by a keyed code of it.
//! **Invariant:** a token is alive only while it and all its ancestors are: unexpired by the clock,
//! not used up and not revoked. What is in storage beyond that is cleared away later.

mod batch;
mod belongings;
mod cache;
mod create;
mod kind;
mod origin;
mod paths;
mod record;
mod renew;
mod revoke;
mod role;
mod role_paths;
mod show;
mod store;
mod ttl;
mod wishes;

pub(crate) use belongings::kept_key;
pub(crate) use kind::Kind;
pub(crate) use paths::{TokenPaths, complete_input};
pub(crate) use show::issued;
pub(crate) use store::TokenStore;
pub(crate) use ttl::{Bounds, granted};

use bailee_sdk::{Cidr, Namespace, Sensitive};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A keyed code of a token's text; for namespaces other than root it ends in `.` and their id. It
/// says nothing to who lacks the storage keys. The kernel gives it to engines as `Caller::token_id`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TokenId(Arc<str>);

impl TokenId {
    /// The id with this text, as `Caller::token_id` carries it.
    pub(crate) fn from_text(text: &str) -> TokenId {
        TokenId(text.into())
    }

    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn new(code: &str, namespace_id: &str) -> TokenId {
        if namespace_id == ROOT_ID {
            TokenId(code.into())
        } else {
            TokenId(format!("{code}.{namespace_id}").into())
        }
    }

    /// The id of a batch token with this code.
    fn batch(code: &str, namespace_id: &str) -> TokenId {
        TokenId::new(&format!("{BATCH_MARK}{code}"), namespace_id)
    }

    /// Whether it is that of a batch token, of which nothing is stored.
    pub(crate) fn is_batch(&self) -> bool {
        self.0.starts_with(BATCH_MARK)
    }

    /// The code without the namespace.
    pub(crate) fn code(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(code, _)| code)
    }

    /// The id as it is shown among leases: the code as hexadecimal digits.
    pub(crate) fn shown(&self) -> String {
        let code = BASE64_URL_SAFE_NO_PAD.decode(self.code()).unwrap_or_default();
        match self.0.split_once('.') {
            Some((_, namespace)) => format!("{}.{namespace}", hex::encode(code)),
            None => hex::encode(code),
        }
    }

    /// The id that is shown so among leases.
    pub(crate) fn from_shown(text: &str) -> Option<TokenId> {
        let (digits, namespace) = match text.split_once('.') {
            Some((digits, namespace)) => (digits, namespace),
            None => (text, ROOT_ID),
        };
        let code = hex::decode(digits).ok().filter(|code| code.len() == 32)?;
        Some(TokenId::new(&BASE64_URL_SAFE_NO_PAD.encode(code), namespace))
    }

    /// The id of its namespace.
    pub(crate) fn namespace_id(&self) -> &str {
        self.0.split_once('.').map_or(ROOT_ID, |(_, namespace)| namespace)
    }

    /// The storage prefix of its namespace.
    pub(crate) fn namespace_prefix(&self) -> String {
        prefix(self.namespace_id())
    }

    /// The storage prefix of the tokens of its namespace.
    fn place(&self) -> String {
        place(self.namespace_id())
    }
}

/// First letter of the ids of batch tokens; codes have no such letter.
const BATCH_MARK: char = '~';

/// Id of the root namespace, which tokens and accessors do not show.
const ROOT_ID: &str = "root";

/// The storage prefix of the tokens of a namespace.
fn place(namespace_id: &str) -> String {
    format!("{}token/", prefix(namespace_id))
}

fn prefix(namespace_id: &str) -> String {
    Namespace { id: namespace_id.to_owned(), path: String::new() }.prefix()
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenId(..)")
    }
}

/// A token as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// Its code.
    pub(crate) id: TokenId,
    /// Whether it is stored or sealed into its own text.
    pub(crate) kind: Kind,
    /// The namespace it belongs to.
    pub(crate) namespace: Namespace,
    /// Its public handle.
    pub(crate) accessor: String,
    /// Names of its policies, sorted.
    pub(crate) policies: Vec<String>,
    /// The token that made it, and with which it ends; none for an orphan.
    pub(crate) parent: Option<TokenId>,
    /// Name for logs and lists.
    pub(crate) display_name: String,
    /// The full path of the request that made it.
    pub(crate) path: String,
    /// Shown with the token.
    pub(crate) meta: BTreeMap<String, String>,
    /// When it was made.
    pub(crate) created: SystemTime,
    /// How long it was to last when it was made; zero for ever.
    pub(crate) creation_ttl: Duration,
    /// How long it was given when it was made or last prolonged; zero for ever.
    pub(crate) ttl: Duration,
    /// When it ends; none for never.
    pub(crate) expires: Option<SystemTime>,
    /// When it was last prolonged.
    pub(crate) last_renewal: Option<SystemTime>,
    /// Longest life, renewals included; zero for the limit of the system.
    pub(crate) explicit_max_ttl: Duration,
    /// Renewable for ever, each time for this long; zero when not periodic.
    pub(crate) period: Duration,
    /// Uses that are left; 0 for no limit.
    pub(crate) num_uses: u64,
    /// Whether its last use is being made: it authenticates no more.
    pub(crate) used_up: bool,
    /// Whether it can be prolonged.
    pub(crate) renewable: bool,
    /// Whether it was made without a parent or lost it.
    pub(crate) orphan: bool,
    /// The entity behind it.
    pub(crate) entity_id: Option<String>,
    /// What an auth method wants back when the token is renewed.
    pub(crate) internal: Option<Sensitive<String>>,
    /// The role it was made with.
    pub(crate) role: Option<String>,
    /// The id of the auth mount whose login it is: it ends with that.
    pub(crate) mount: Option<String>,
    /// Blocks of addresses from which it can be used; none for all.
    pub(crate) bound_cidrs: Vec<Cidr>,
}

impl Token {
    /// The stored token with which ends what it asks for: itself, or the parent of a batch token.
    pub(crate) fn owner(&self) -> Option<&TokenId> {
        if self.id.is_batch() { self.parent.as_ref() } else { Some(&self.id) }
    }

    /// Whether `root` is among its policies.
    pub(crate) fn is_root(&self) -> bool {
        self.policies.iter().any(|policy| policy == "root")
    }

    /// Whether it belongs to this namespace or one below; others are not there for who asks in it.
    pub(crate) fn is_within(&self, namespace: &Namespace) -> bool {
        self.namespace.path.starts_with(&namespace.path)
    }

    /// Bytes of all its texts, to bound what is kept of tokens.
    pub(crate) fn text_bytes(&self) -> usize {
        let own = [&self.namespace.path, &self.accessor, &self.display_name, &self.path];
        let meta = self.meta.iter().flat_map(|(name, value)| [name, value]);
        let texts = own.into_iter().chain(&self.policies).chain(meta).map(String::len);
        let internal = self.internal.as_ref().map_or(0, |internal| internal.expose().len());
        let blocks = self.bound_cidrs.len() * size_of::<Cidr>();
        texts.sum::<usize>() + internal + blocks
    }

    /// How long it lasts from `now` on; `None` for ever.
    pub(crate) fn remaining(&self, now: SystemTime) -> Option<Duration> {
        self.expires.map(|expires| expires.duration_since(now).unwrap_or_default())
    }
}

/// The policies of a token and those of its entity: sorted, each once.
pub(crate) fn joined(own: &[String], identity: &[String]) -> Vec<String> {
    let mut all = own.to_vec();
    if !identity.is_empty() {
        all.extend_from_slice(identity);
        all.sort_unstable();
        all.dedup();
    }
    all
}

/// Default and longest life of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TtlLimits {
    /// For tokens that name no TTL.
    pub(crate) default: Duration,
    /// The longest, renewals included.
    pub(crate) max: Duration,
}

/// A token to be made. Policies are final: sorted, `default` included where it belongs.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    /// The namespace it belongs to.
    pub(crate) namespace: Namespace,
    /// The token it ends with; none for an orphan.
    pub(crate) parent: Option<TokenId>,
    /// Names of its policies.
    pub(crate) policies: Vec<String>,
    /// Name for logs and lists, such as `token-ci` or `approle`.
    pub(crate) display_name: String,
    /// The full path of the request that makes it, such as `auth/approle/login`.
    pub(crate) path: String,
    /// Shown with the token.
    pub(crate) meta: BTreeMap<String, String>,
    /// How long it is to last; zero for the default of `limits`. Cut to what the limits allow.
    pub(crate) ttl: Duration,
    /// Longest life, renewals included; zero for the limit.
    pub(crate) explicit_max_ttl: Duration,
    /// Renewable for ever, each time for this long; zero when not periodic.
    pub(crate) period: Duration,
    /// Uses it is good for; 0 for no limit.
    pub(crate) num_uses: u64,
    /// Whether it can be prolonged.
    pub(crate) renewable: bool,
    /// The entity behind it.
    pub(crate) entity_id: Option<String>,
    /// What an auth method wants back when the token is renewed.
    pub(crate) internal: Option<Sensitive<String>>,
    /// The text of the token, when the maker chose it.
    pub(crate) id: Option<Sensitive<String>>,
    /// Limits of the mount it comes from; the store's own when none.
    pub(crate) limits: Option<TtlLimits>,
    /// Never expires: only the first root token and children of such tokens.
    pub(crate) eternal: bool,
    /// When it is made.
    pub(crate) now: SystemTime,
    /// Whether it is stored or sealed into its own text.
    pub(crate) kind: Kind,
    /// The role it is made with.
    pub(crate) role: Option<String>,
    /// The id of the auth mount whose login it is.
    pub(crate) mount: Option<String>,
    /// Blocks of addresses from which it can be used; none for all.
    pub(crate) bound_cidrs: Vec<Cidr>,
}

impl NewToken {
    /// A service token without a parent, a policy or a limit of its own.
    pub(crate) fn new(namespace: Namespace, path: String, now: SystemTime) -> NewToken {
        NewToken {
            namespace,
            parent: None,
            policies: Vec::new(),
            display_name: String::new(),
            path,
            meta: BTreeMap::new(),
            ttl: Duration::ZERO,
            explicit_max_ttl: Duration::ZERO,
            period: Duration::ZERO,
            num_uses: 0,
            renewable: false,
            entity_id: None,
            internal: None,
            id: None,
            limits: None,
            eternal: false,
            now,
            kind: Kind::Service,
            role: None,
            mount: None,
            bound_cidrs: Vec::new(),
        }
    }
}

/// A token that was made, with its text: the only time it is known.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The token.
    pub(crate) token: Arc<Token>,
    /// Its text.
    pub(crate) secret: Sensitive<String>,
    /// Sentences for the user, such as that the TTL was cut.
    pub(crate) warnings: Vec<String>,
}

/// A token that was prolonged.
#[derive(Clone, Debug)]
pub(crate) struct Renewed {
    /// The token as it is now.
    pub(crate) token: Arc<Token>,
    /// How long it lasts from now on.
    pub(crate) ttl: Duration,
    /// Sentences for the user, such as that the TTL was cut.
    pub(crate) warnings: Vec<String>,
}

#[cfg(test)]
pub(crate) mod tests;
