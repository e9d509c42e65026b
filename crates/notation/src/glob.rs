//! Path patterns of policies, and globs for values.
//!
//! A [`Pattern`] is a path in which
//! * a last `*` stands for any rest, also an empty one and one with slashes: `kv/data/*`,
//!   `kv/data/app-*`;
//! * a segment that is `+` stands for any one segment: `kv/+/app`, `+/config`, `kv/+/app/*`;
//! * everything else stands for itself, also a `*` or a `+` in other places.
//!
//! One leading slash is dropped. `+*` is refused. Where several patterns match a path, one wins;
//! [`Pattern::precedence`] has the rules, and [`PatternSet`] finds the winner without trying all.
//!
//! [`matches_glob`] is for lists of allowed values: there every `*` stands for any text.

mod set;

use std::cmp::Ordering;
use std::fmt;

pub use set::PatternSet;

/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4096;

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It has `+*`, which could mean two things. Holds the pattern.
    Wildcards(String),
    /// It is longer than [`PATTERN_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Wildcards(path) => {
                write!(f, "path \"{path}\": invalid use of wildcards ('+*' is forbidden)")
            }
            Error::TooLong => write!(f, "path is longer than {PATTERN_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for Error {}

/// A path of a policy, possibly with wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    /// Where the first `+` segment or the last `*` is, in bytes; `None` when there is neither.
    first_wildcard: Option<usize>,
    /// How many segments are `+`.
    wildcard_segments: usize,
    ends_with_star: bool,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `+*` in it, or too long.
    pub fn parse(path: &str) -> Result<Pattern, Error> {
        if path.len() > PATTERN_BYTES_MAX {
            return Err(Error::TooLong);
        }
        if path.contains("+*") {
            return Err(Error::Wildcards(path.to_owned()));
        }
        let text = path.strip_prefix('/').unwrap_or(path);
        let mut first_wildcard = None;
        let mut wildcard_segments = 0;
        let mut offset = 0;
        for segment in text.split('/') {
            if segment == "+" {
                first_wildcard.get_or_insert(offset);
                wildcard_segments += 1;
            }
            offset += segment.len() + 1;
        }
        let ends_with_star = text.ends_with('*');
        if ends_with_star {
            first_wildcard.get_or_insert(text.len() - 1);
        }
        Ok(Pattern { text: text.to_owned(), first_wildcard, wildcard_segments, ends_with_star })
    }

    /// The pattern as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches one path only.
    pub fn is_exact(&self) -> bool {
        self.first_wildcard.is_none()
    }

    /// Where its first wildcard is, in bytes; `None` for an exact path.
    pub fn first_wildcard(&self) -> Option<usize> {
        self.first_wildcard
    }

    /// Whether it matches a path. The path has no leading slash.
    pub fn matches(&self, path: &str) -> bool {
        if self.is_exact() {
            return self.text == path;
        }
        let (_, stem) = self.split();
        let Some(path) = self.literal_head().and_then(|head| path.strip_prefix(head)) else {
            return false;
        };
        let mut rest = Some(path);
        let mut segments = stem.split('/').peekable();
        while let Some(segment) = segments.next() {
            let Some(remaining) = rest else { return false };
            if self.ends_with_star && segments.peek().is_none() {
                return remaining.starts_with(segment);
            }
            let (first, after) = split_segment(remaining);
            if segment != "+" && segment != first {
                return false;
            }
            rest = after;
        }
        rest.is_none()
    }

    /// Which of two patterns that match the same path decides: the greater.
    ///
    /// Lower is, by the first of these that differs: the one whose first wildcard comes earlier
    /// (an exact path has none and is above all), that ends with `*`, that has more `+` segments,
    /// that is shorter, that is lexicographically smaller.
    pub fn precedence(&self, other: &Pattern) -> Ordering {
        let wildcard = |pattern: &Pattern| pattern.first_wildcard.unwrap_or(usize::MAX);
        wildcard(self)
            .cmp(&wildcard(other))
            .then_with(|| other.ends_with_star.cmp(&self.ends_with_star))
            .then_with(|| other.wildcard_segments.cmp(&self.wildcard_segments))
            .then_with(|| self.text.len().cmp(&other.text.len()))
            .then_with(|| self.text.cmp(&other.text))
    }

    /// The text before the first wildcard.
    fn literal_head(&self) -> Option<&str> {
        self.text.get(..self.first_wildcard?)
    }

    /// The literal head, and what follows it without the last star.
    fn split(&self) -> (&str, &str) {
        let at = self.first_wildcard.unwrap_or(self.text.len());
        let (head, tail) = self.text.split_at_checked(at).unwrap_or((&self.text, ""));
        (head, if self.ends_with_star { tail.strip_suffix('*').unwrap_or(tail) } else { tail })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a value matches a glob, in which every `*` stands for any text, also an empty one.
pub fn matches_glob(glob: &str, value: &str) -> bool {
    let Some((first, others)) = glob.split_once('*') else { return glob == value };
    let Some(mut rest) = value.strip_prefix(first) else { return false };
    let (middle, last) = others.rsplit_once('*').unwrap_or(("", others));
    for piece in middle.split('*') {
        // The earliest place leaves the most for what follows.
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// The first segment, and what follows its slash.
fn split_segment(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_matches_what_its_wildcards_allow() {
        for (text, yes, no) in [
            ("kv/a", vec!["kv/a"], vec!["kv/a/", "kv/ab", "kv", "/kv/a"]),
            ("/kv/a", vec!["kv/a"], vec!["/kv/a"]),
            ("kv/*", vec!["kv/", "kv/a", "kv/a/b"], vec!["kv", "kvx/a"]),
            ("kv/ap*", vec!["kv/ap", "kv/app/x"], vec!["kv/a"]),
            ("*", vec!["", "a", "a/b"], vec![]),
            ("kv/+/x", vec!["kv/a/x", "kv//x"], vec!["kv/x", "kv/a/b/x", "kv/a/x/", "kv/a/y"]),
            ("kv/+", vec!["kv/a", "kv/"], vec!["kv", "kv/a/", "kv/a/b"]),
            ("+", vec!["a", ""], vec!["a/", "a/b"]),
            ("+/+", vec!["a/b", "/"], vec!["a", "a/b/c"]),
            ("+/config", vec!["kv/config"], vec!["config", "a/b/config"]),
            ("kv/+/x/*", vec!["kv/a/x/", "kv/a/x/y/z"], vec!["kv/a/x", "kv/a/b/x/y"]),
            ("kv/+/ap*", vec!["kv/a/ap", "kv/a/apple/pie"], vec!["kv/a", "kv/a/a", "kv/a/b/ap"]),
            ("kv/+/+/*", vec!["kv/a/b/"], vec!["kv/a/b", "kv/a/"]),
            ("a/*/b", vec!["a/*/b"], vec!["a/x/b"]),
            ("a/+b", vec!["a/+b"], vec!["a/xb", "a/b"]),
            ("a/b+/*", vec!["a/b+/x"], vec!["a/bb/x"]),
            ("**", vec!["*", "*a"], vec!["a"]),
        ] {
            for path in yes {
                assert!(pattern(text).matches(path), "{text} should match {path}");
            }
            for path in no {
                assert!(!pattern(text).matches(path), "{text} should not match {path}");
            }
        }
    }

    #[test]
    fn a_plus_before_a_star_is_refused() {
        for path in ["a/+*", "+*", "a/+*/b", "a/b+*"] {
            assert_eq!(
                Pattern::parse(path).unwrap_err().to_string(),
                format!("path \"{path}\": invalid use of wildcards ('+*' is forbidden)"),
            );
        }
        assert_eq!(Pattern::parse(&"a".repeat(4097)), Err(Error::TooLong));
    }

    #[test]
    fn precedence_follows_the_five_rules_in_order() {
        for (lower, greater) in [
            // exact above all
            ("kv/a*", "kv/a"),
            ("kv/+", "kv/a"),
            // the first wildcard comes earlier
            ("kv/*", "kv/a*"),
            ("kv/+/x", "kv/a*"),
            ("+/a/b", "kv/*"),
            // ends with a star
            ("kv/*", "kv/+"),
            ("kv/+/*", "kv/+/x"),
            // more wildcard segments
            ("kv/+/+/x", "kv/+/b/x"),
            ("kv/+/b*", "kv/*"),
            // shorter
            ("kv/+/b*", "kv/+/b/c*"),
            // lexicographically smaller
            ("kv/+/a", "kv/+/b"),
        ] {
            assert_eq!(pattern(lower).precedence(&pattern(greater)), Ordering::Less, "{lower}");
            assert_eq!(pattern(greater).precedence(&pattern(lower)), Ordering::Greater, "{lower}");
        }
        assert_eq!(pattern("a/+").precedence(&pattern("/a/+")), Ordering::Equal);
    }

    #[test]
    fn a_value_glob_takes_stars_anywhere() {
        for (glob, yes, no) in [
            ("prod", vec!["prod"], vec!["prods", ""]),
            ("*", vec!["", "a"], vec![]),
            ("prod-*", vec!["prod-", "prod-a"], vec!["prod", "xprod-"]),
            ("*-prod", vec!["-prod", "a-prod"], vec!["prod", "a-prods"]),
            ("a*b*c", vec!["abc", "axbxbxc"], vec!["ac", "abcx", "acb"]),
            ("a*a", vec!["aa", "aba"], vec!["a"]),
            ("*ab*ab*", vec!["abab", "xabyabz"], vec!["ab", "aab"]),
            ("a**b", vec!["ab", "axb"], vec!["a"]),
            ("**", vec!["", "a"], vec![]),
        ] {
            for value in yes {
                assert!(matches_glob(glob, value), "{glob} should match {value}");
            }
            for value in no {
                assert!(!matches_glob(glob, value), "{glob} should not match {value}");
            }
        }
    }

    /// The glob's meaning, slowly.
    fn matches_glob_slowly(glob: &[u8], value: &[u8]) -> bool {
        match (glob.split_first(), value.split_first()) {
            (None, None) => true,
            (Some((b'*', glob_rest)), _) => {
                (0..=value.len()).any(|skip| matches_glob_slowly(glob_rest, &value[skip..]))
            }
            (Some((g, glob_rest)), Some((v, value_rest))) if g == v => {
                matches_glob_slowly(glob_rest, value_rest)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn value_globs_mean_what_the_slow_form_means(glob in "[ab*]{0,8}", value in "[ab]{0,8}") {
            prop_assert_eq!(
                matches_glob(&glob, &value),
                matches_glob_slowly(glob.as_bytes(), value.as_bytes()),
                "{} {}", glob, value
            );
        }

        #[test]
        fn no_text_makes_a_pattern_panic(text in "[a/+*é]{0,12}", path in "[a/+*é]{0,12}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                pattern.matches(&path);
            }
        }
    }
}
