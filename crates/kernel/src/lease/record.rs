//! A lease as it is stored.
//!
//! Below `n/<namespace>/lease/`: `id/<code>` holds the lease, `due/<mount>/<milliseconds>.<code>` the
//! order in which those of a mount end or are tried again, `path/<mount>/` their names, and, in the
//! namespace of the token, `token/<code of the token>/<code>[.<namespace>]` what a token asked for.

use crate::token::TokenId;
use bailee_barrier::{Barrier, Names, View};
use bailee_crypto::random;
use bailee_sdk::{Error, Lease, Namespace};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Random letters and digits of a lease id, as long as clients expect.
const LETTERS: usize = 24;

/// A lease. Times are milliseconds since 1970.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Id of the mount.
    pub(crate) mount: String,
    /// Where it was mounted when the lease was given out.
    pub(crate) mount_path: String,
    /// The path of the request within the mount.
    pub(crate) path: String,
    /// The random end of the lease id.
    pub(crate) letters: String,
    /// The token that asked; none when it cannot be revoked.
    pub(crate) token: Option<String>,
    pub(crate) issued: u64,
    pub(crate) expires: u64,
    /// How long it was given when it was given out or last prolonged.
    pub(crate) ttl: u64,
    pub(crate) last_renewal: Option<u64>,
    pub(crate) renewable: bool,
    /// What the engine needs.
    pub(crate) data: Value,
    /// When it ends or is tried again: its place in the order.
    pub(crate) due: u64,
    /// Its end was asked for, whatever its time.
    pub(crate) revoked: bool,
    /// Failed attempts to take it back.
    pub(crate) tries: u32,
    /// Why the last attempt failed.
    pub(crate) failure: Option<String>,
    /// It failed so often that someone has to look at it.
    pub(crate) irrevocable: bool,
}

/// The random end of a new lease id.
pub(crate) fn new_letters() -> String {
    random::alphanumeric(LETTERS)
}

/// The code under which a lease is stored. Its random letters alone tell it from all others.
pub(crate) fn code_of(barrier: &Barrier, letters: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(barrier.fingerprint("lease", letters.as_bytes()))
}

/// The storage prefix of the leases of a namespace.
pub(crate) fn place(namespace_id: &str) -> String {
    let namespace = Namespace { id: namespace_id.to_owned(), path: String::new() };
    format!("{}lease/", namespace.prefix())
}

pub(crate) fn id_key(code: &str) -> String {
    format!("id/{code}")
}

pub(crate) fn due_key(mount: &str, due: u64, code: &str) -> String {
    format!("due/{mount}/{:016}.{code}", due.min(9_999_999_999_999_999))
}

/// When an entry of the order is due, and the code of its lease.
pub(crate) fn parse_due(name: &str) -> Option<(u64, &str)> {
    let (due, code) = name.split_once('.')?;
    Some((due.parse().ok()?, code))
}

/// Where the leases of a token are noted: a full storage prefix.
pub(crate) fn token_prefix(token: &TokenId) -> String {
    format!("{}token/{}/", place(token.namespace_id()), token.code())
}

/// The name under which a lease is noted with its token.
pub(crate) fn noted_name(code: &str, namespace_id: &str) -> String {
    if namespace_id == Namespace::root().id {
        code.to_owned()
    } else {
        format!("{code}.{namespace_id}")
    }
}

/// The code and the namespace of a noted lease.
pub(crate) fn parse_noted(name: &str) -> (&str, String) {
    match name.split_once('.') {
        Some((code, namespace_id)) => (code, namespace_id.to_owned()),
        None => (name, Namespace::root().id),
    }
}

/// What lease ids of a namespace end in.
pub(crate) fn suffix(namespace: &Namespace) -> String {
    if namespace.is_root() { String::new() } else { format!(".{}", namespace.id) }
}

impl Record {
    /// Its id, as it was given out.
    pub(crate) fn id(&self, namespace: &Namespace) -> String {
        format!("{}{}{}", self.mount_path, self.name(), suffix(namespace))
    }

    /// Its name within the mount.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.path, self.letters)
    }

    /// What the engine sees of it.
    pub(crate) fn lease(&self) -> Lease {
        Lease {
            ttl: Duration::from_millis(self.ttl),
            renewable: self.renewable,
            data: self.data.clone(),
        }
    }

    /// Whether it is over at `now`, in milliseconds.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        self.revoked || self.expires <= now
    }

    /// Stores it anew, with its place in the order. `view` is on the place of its namespace.
    pub(crate) fn change(&self, view: &View, code: &str, now: &Record) {
        if now.due != self.due {
            view.delete(&due_key(&self.mount, self.due, code));
        }
        now.put(view, code);
    }

    /// Stores it, with its place in the order.
    pub(crate) fn put(&self, view: &View, code: &str) {
        view.put(&id_key(code), self);
        view.put(&due_key(&self.mount, self.due, code), &());
    }

    /// Removes all that is stored of it.
    pub(crate) async fn remove(
        &self,
        view: &View,
        code: &str,
        namespace: &Namespace,
    ) -> Result<(), Error> {
        view.delete(&id_key(code));
        view.delete(&due_key(&self.mount, self.due, code));
        if let Some(token) = self.token.as_deref().map(TokenId::from_text) {
            view.at(&token_prefix(&token)).delete(&noted_name(code, &namespace.id));
        }
        names(view, &self.mount).delete(&self.name()).await?;
        Ok(())
    }
}

/// The names of the leases of a mount.
pub(crate) fn names(view: &View, mount: &str) -> Names {
    view.names(&format!("path/{mount}"))
}
