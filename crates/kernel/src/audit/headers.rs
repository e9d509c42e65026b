//! Which headers of requests appear in lines.

use bailee_sdk::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Headers that can be audited.
const HEADERS_MAX: usize = 100;
/// Bytes of a header's name.
const NAME_BYTES_MAX: usize = 256;
/// Shown from the start: they tell requests apart and hold no secrets.
const FIRST: [&str; 3] = ["correlation-id", "user-agent", "x-correlation-id"];
/// Never shown in clear: they prove who the caller is.
const SECRET: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-vault-token"];

/// The audited headers, names in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Audited(BTreeMap<String, AuditedHeader>);

/// How a header appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditedHeader {
    /// As a code.
    pub(crate) hmac: bool,
}

impl Default for Audited {
    fn default() -> Audited {
        let clear = AuditedHeader { hmac: false };
        Audited(FIRST.iter().map(|name| ((*name).to_owned(), clear)).collect())
    }
}

impl Audited {
    /// A header, named in any case.
    pub(crate) fn find(&self, name: &str) -> Option<AuditedHeader> {
        self.0.get(&name.to_lowercase()).copied()
    }

    /// Adds a header or changes how it appears.
    pub(crate) fn put(&mut self, name: &str, hmac: bool) -> Result<(), Error> {
        let name = name.to_lowercase();
        let is_letter =
            |letter: u8| letter.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&letter);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_letter) {
            return Err(Error::invalid(format!("{name:?} is no name of a header")));
        }
        if !hmac && SECRET.contains(&name.as_str()) {
            return Err(Error::invalid(format!(
                "the header {name:?} holds credentials and is audited with \"hmac\" set to true only"
            )));
        }
        if self.0.len() >= HEADERS_MAX && !self.0.contains_key(&name) {
            return Err(Error::invalid(format!("at most {HEADERS_MAX} headers can be audited")));
        }
        self.0.insert(name, AuditedHeader { hmac });
        Ok(())
    }

    /// Removes a header; whether it was there.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.0.remove(&name.to_lowercase()).is_some()
    }

    /// The names of all.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}
