//! What is keyed: marks that say whose a secret is, digests of contents, and tokens of deliveries.

use crate::tags::OwnerMark;
use bailee_crypto::{Sensitive, mac, mac::MacKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// The epoch in marks that are made with a secret key.
const KEYED: &str = "pull";
/// The epoch in marks that anyone can make, for want of a key.
const OPEN: &str = "open";
/// Bytes of a token.
const TOKEN_BYTES: usize = 16;
/// Characters that stand for one tag among those that were written.
pub(super) const TAG_CHARACTERS: usize = 6;

/// The keys of a replication, derived from one text.
#[derive(Clone, Debug)]
pub struct Keys {
    secret: Option<Derived>,
    open: Derived,
    /// What is a part of every mark: the replication, and where it delivers to.
    scope: String,
    /// The epochs of the server that pulls, where one does.
    server: Option<OwnerMark>,
}

#[derive(Clone, Debug)]
struct Derived {
    mark: MacKey,
    content: MacKey,
    token: MacKey,
    tag: MacKey,
}

impl Derived {
    fn of(key: &[u8]) -> Derived {
        let of =
            |purpose: &[u8]| MacKey::new(mac::derive(key, &[b"replicate", purpose]).as_slice());
        Derived { mark: of(b"mark"), content: of(b"content"), token: of(b"token"), tag: of(b"tag") }
    }
}

impl Keys {
    /// Keys out of `contentHashKey`. Without one, marks can be made by anyone who may tag secrets at
    /// the destination, and contents cannot be compared.
    pub fn new(key: Option<&Sensitive<String>>, replication: &str, place: &str) -> Keys {
        Keys {
            secret: key.map(|key| Derived::of(key.expose().as_bytes())),
            open: Derived::of(b""),
            scope: format!("{replication}\0{place}"),
            server: None,
        }
    }

    /// Keys of a source inside a server. Marks carry the epoch of its storage, so that of two servers
    /// with the same keys only one goes on; `server` is a mark of that one.
    pub(crate) fn of_server(
        key: &Sensitive<String>,
        server: OwnerMark,
        replication: &str,
        place: &str,
    ) -> Keys {
        Keys { server: Some(server.pulled()), ..Keys::new(Some(key), replication, place) }
    }

    /// Whether there is a secret key.
    pub fn are_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// The mark of the secret with this name.
    pub(super) fn mark(&self, name: &str) -> OwnerMark {
        match &self.secret {
            Some(keys) => self.marked(keys, KEYED, name),
            None => self.marked(&self.open, OPEN, name),
        }
    }

    /// The mark that it had before there was a key; `None` where there is none now.
    pub(super) fn open_mark(&self, name: &str) -> Option<OwnerMark> {
        let keyed = self.secret.as_ref().filter(|_| self.server.is_none());
        keyed.map(|_| self.marked(&self.open, OPEN, name))
    }

    /// Whether a mark is the one that this replication gives a name, or gave it.
    pub(super) fn wrote(&self, name: &str, found: &OwnerMark) -> bool {
        self.mark(name).covers(found) || self.open_mark(name).is_some_and(|open| open.covers(found))
    }

    fn marked(&self, keys: &Derived, epoch: &str, name: &str) -> OwnerMark {
        let code = keys.mark.sign(&[self.scope.as_bytes(), b"\0", name.as_bytes()]);
        let code = hex::encode(code);
        match &self.server {
            Some(server) => OwnerMark { code, ..server.clone() },
            None => OwnerMark { epoch: epoch.to_owned(), code, former: Vec::new() },
        }
    }

    /// A keyed digest of a value under a name.
    pub(super) fn content(&self, name: &str, value: &[u8]) -> String {
        let keys = self.secret.as_ref().unwrap_or(&self.open);
        let parts = [self.scope.as_bytes(), b"\0", name.as_bytes(), b"\0", value];
        hex::encode(keys.content.sign(&parts))
    }

    /// What stands for a tag of one's own that was written to the secret with this name.
    pub(super) fn tag(&self, name: &str, key: &str, value: &str) -> String {
        let keys = self.secret.as_ref().unwrap_or(&self.open);
        let parts = [self.scope.as_bytes(), name.as_bytes(), key.as_bytes(), value.as_bytes()];
        let parts = parts.map(|part| [part, b"\0"]).concat();
        let code = BASE64_URL_SAFE_NO_PAD.encode(keys.tag.sign(&parts));
        code.chars().take(TAG_CHARACTERS).collect()
    }

    /// What stands for the delivery of a version over what is there; UUID-shaped. The same each time it
    /// is tried, whoever tries, and never used before: `base` is what stands for the delivery before it.
    pub(super) fn token(&self, name: &str, base: &str, version: &str) -> String {
        let keys = self.secret.as_ref().unwrap_or(&self.open);
        let code = keys.token.sign(&[
            self.scope.as_bytes(),
            b"\0",
            name.as_bytes(),
            b"\0",
            base.as_bytes(),
            b"\0",
            version.as_bytes(),
        ]);
        let code = hex::encode(code.get(..TOKEN_BYTES).unwrap_or(&code));
        let mut token = String::new();
        for (at, digit) in code.chars().enumerate() {
            if matches!(at, 8 | 12 | 16 | 20) {
                token.push('-');
            }
            token.push(digit);
        }
        token
    }
}

/// Whether two version ids stand for the same delivery: over what somebody else made it goes under a
/// token that differs in one bit; see [`crate::destination::Delivery::over_what_exists`].
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let split = |id: &str| {
        let at = id.char_indices().last()?.0;
        let (rest, last) = id.split_at_checked(at)?;
        Some((rest.to_owned(), last.chars().next()?.to_digit(16)? & 7))
    };
    one == other || (split(one).is_some() && split(one) == split(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_same_for_the_same_delivery_and_differ_for_every_other() {
        let keys = Keys::new(Some(&Sensitive::from("k")), "r", "place");
        let token = keys.token("n", "base", "1");
        assert_eq!(token.len(), 36);
        assert_eq!(token, keys.token("n", "base", "1"));
        for (name, base, version) in [("m", "base", "1"), ("n", "bas", "1"), ("n", "base", "2")] {
            assert_ne!(token, keys.token(name, base, version));
        }
        let mut twin = token.clone();
        let last = twin.pop().unwrap().to_digit(16).unwrap();
        twin.extend(char::from_digit(last ^ 8, 16));
        assert!(is_same(&token, &twin) && token != twin);
        twin.pop();
        twin.extend(char::from_digit(last ^ 1, 16));
        assert!(!is_same(&token, &twin));
        assert!(!is_same("", &token) && is_same("", ""));
    }

    #[test]
    fn marks_depend_on_key_replication_place_and_name() {
        let key = Sensitive::from("k");
        let mark = |key: Option<&Sensitive<String>>, replication, place, name| {
            Keys::new(key, replication, place).mark(name)
        };
        let first = mark(Some(&key), "r", "p", "n");
        assert_eq!(first, mark(Some(&key), "r", "p", "n"));
        for other in [
            mark(None, "r", "p", "n"),
            mark(Some(&Sensitive::from("l")), "r", "p", "n"),
            mark(Some(&key), "q", "p", "n"),
            mark(Some(&key), "r", "q", "n"),
            mark(Some(&key), "r", "p", "m"),
        ] {
            assert_ne!(first.code, other.code);
        }
        let keyed = Keys::new(Some(&key), "r", "p");
        assert_eq!(keyed.open_mark("n"), Some(mark(None, "r", "p", "n")));
        assert_eq!(Keys::new(None, "r", "p").open_mark("n"), None);
    }
}
