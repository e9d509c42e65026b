//! Tags that delivered objects carry: the mark that says whose they are, and the user's own.

use std::{collections::BTreeMap, fmt};

/// Tags of an object that are not the user's.
pub const OWN_TAGS: usize = 2;
/// The tag that marks what secrets sync owns; its value is empty.
pub const OWNERSHIP_TAG: &str = "hashicorp:vault";

/// The tag that says which server owns an object; see [`OwnerMark`].
pub const MARK_TAG: &str = "bailee:owner";

/// How the epoch begins in marks of what a server's sources deliver.
const PULLED: &str = "pull-";

/// The keyed mark of an object: `<epoch>.<code>`. Nobody without our keys can make the code, which
/// depends on the destination and the name; the epoch tells servers with the same keys apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerMark {
    /// The epoch of the server's storage: another one after a snapshot was restored and taken over.
    pub epoch: String,
    /// Keyed digest of destination and name, in hexadecimal.
    pub code: String,
    /// Epochs that were taken over: what carries them is ours too.
    pub former: Vec<String>,
}

impl OwnerMark {
    /// The mark in a tag's value.
    pub fn parse(text: &str) -> Option<OwnerMark> {
        let (epoch, code) = text.split_once('.')?;
        let known = !epoch.is_empty() && !code.is_empty();
        known.then(|| OwnerMark {
            epoch: epoch.to_owned(),
            code: code.to_owned(),
            former: Vec::new(),
        })
    }

    /// The mark of what a source inside this server delivers, out of one of that server.
    #[must_use]
    pub fn pulled(self) -> OwnerMark {
        let of_source = |epoch: String| format!("{PULLED}{epoch}");
        let former = self.former.into_iter().map(of_source).collect();
        OwnerMark { epoch: of_source(self.epoch), code: self.code, former }
    }

    /// Whether this very server keeps an object with the mark `found` for another purpose: a source, or
    /// beside one. Between those nobody takes anything over.
    pub(crate) fn is_sibling_of(&self, found: &OwnerMark) -> bool {
        let server = |epoch: &str| epoch.strip_prefix(PULLED).unwrap_or(epoch).to_owned();
        let pulled = [self, found].iter().any(|mark| mark.epoch.starts_with(PULLED));
        let theirs = server(&found.epoch);
        let mut ours = std::iter::once(&self.epoch).chain(&self.former);
        pulled && self.code != found.code && ours.any(|epoch| server(epoch) == theirs)
    }

    /// Whether an object with the mark `found` is ours.
    pub fn covers(&self, found: &OwnerMark) -> bool {
        self.code == found.code && (self.epoch == found.epoch || self.former.contains(&found.epoch))
    }
}

impl fmt::Display for OwnerMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.code)
    }
}

/// What a destination's tags may look like.
#[derive(Clone, Copy, Debug)]
pub struct TagRule {
    /// Most tags an object may carry, the mark included.
    pub tags_max: usize,
    /// Longest key in characters.
    pub key_characters_max: usize,
    /// Longest value in characters.
    pub value_characters_max: usize,
    /// Characters beside letters, digits and spaces.
    pub punctuation: &'static str,
    /// A prefix that the vendor keeps for itself.
    pub reserved_prefix: &'static str,
}

/// The tags of an object: the marks and the user's own.
pub fn marked(custom: &BTreeMap<String, String>, mark: &OwnerMark) -> BTreeMap<String, String> {
    let mut tags = custom.clone();
    tags.insert(OWNERSHIP_TAG.to_owned(), String::new());
    tags.insert(MARK_TAG.to_owned(), mark.to_string());
    tags
}

impl TagRule {
    /// The tags as the destination takes them; the error says which cannot be made to fit.
    pub fn normalise(
        &self,
        custom: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, String> {
        if custom.len() > self.custom_max() {
            return Err(format!(
                "custom_tags has {} tags, the destination takes {} beside its own",
                custom.len(),
                self.custom_max()
            ));
        }
        let mut tags = BTreeMap::new();
        for (key, value) in custom {
            let normal = self.text(key);
            self.check_key(key, &normal)?;
            let value = self.text(value);
            if value.chars().count() > self.value_characters_max {
                return Err(format!(
                    "custom_tags: the value of {key:?} is longer than {} characters",
                    self.value_characters_max
                ));
            }
            if tags.insert(normal.clone(), value).is_some() {
                return Err(format!("custom_tags: more than one key becomes {normal:?}"));
            }
        }
        Ok(tags)
    }

    /// Most tags that users may add to an object.
    pub fn custom_max(&self) -> usize {
        self.tags_max.saturating_sub(OWN_TAGS)
    }

    fn check_key(&self, key: &str, normal: &str) -> Result<(), String> {
        let lower = normal.to_lowercase();
        if normal.is_empty() {
            return Err("custom_tags: a key is empty".to_owned());
        }
        if normal.chars().count() > self.key_characters_max {
            return Err(format!(
                "custom_tags: key {key:?} is longer than {} characters",
                self.key_characters_max
            ));
        }
        if !self.reserved_prefix.is_empty() && lower.starts_with(self.reserved_prefix) {
            return Err(format!(
                "custom_tags: key {key:?} starts with {:?}, which is reserved",
                self.reserved_prefix
            ));
        }
        if lower == OWNERSHIP_TAG || lower == MARK_TAG {
            return Err(format!("custom_tags: key {key:?} is the mark of secrets sync itself"));
        }
        Ok(())
    }

    fn text(&self, text: &str) -> String {
        text.trim()
            .chars()
            .map(|character| match character {
                character if character.is_alphanumeric() => character,
                character if character.is_whitespace() => ' ',
                character if self.punctuation.contains(character) => character,
                _ => '-',
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: TagRule = TagRule {
        tags_max: 4,
        key_characters_max: 10,
        value_characters_max: 5,
        punctuation: "_.:/=+-@",
        reserved_prefix: "aws:",
    };

    fn normalise(key: &str, value: &str) -> Result<BTreeMap<String, String>, String> {
        RULE.normalise(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn recoverable_tags_are_made_to_fit() {
        let tags = normalise(" te*am\t1 ", "a,b").unwrap();
        assert_eq!(tags, BTreeMap::from([("te-am 1".to_owned(), "a-b".to_owned())]));
    }

    #[test]
    fn irrecoverable_tags_are_refused_by_name() {
        for (key, value, reason) in [
            ("", "x", "empty"),
            ("AWS:x", "x", "reserved"),
            ("waytoolong1", "x", "longer than 10"),
            ("k", "123456", "longer than 5"),
            ("Hashicorp:Vault", "x", "longer"),
        ] {
            assert!(normalise(key, value).unwrap_err().contains(reason), "{key}");
        }
        let many: BTreeMap<_, _> = (0..3).map(|n| (n.to_string(), String::new())).collect();
        assert!(RULE.normalise(&many).unwrap_err().contains("3 tags"));
        let two = BTreeMap::from(["a*", "a,"].map(|key| (key.to_owned(), String::new())));
        assert!(RULE.normalise(&two).unwrap_err().contains("more than one"));
    }

    #[test]
    fn every_object_carries_the_mark() {
        let mark = OwnerMark::parse("e.c").unwrap();
        let tags = marked(&BTreeMap::new(), &mark);
        assert_eq!(tags.get(OWNERSHIP_TAG), Some(&String::new()));
        assert_eq!(tags.get(MARK_TAG).and_then(|text| OwnerMark::parse(text)), Some(mark));
    }
}
