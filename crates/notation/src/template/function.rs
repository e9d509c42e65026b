//! The functions that templates can call.

use std::borrow::Cow;

use aws_lc_rs::digest;

use super::OUTPUT_BYTES_MAX;

/// A function; texts are its arguments when it is called, a number is part of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Uppercase,
    Lowercase,
    Replace,
    TrimPrefix,
    TrimSuffix,
    /// Holds the length, in bytes.
    Truncate(usize),
    Sha256,
}

const ALL: [Function; 7] = [
    Function::Uppercase,
    Function::Lowercase,
    Function::Replace,
    Function::TrimPrefix,
    Function::TrimSuffix,
    Function::Truncate(0),
    Function::Sha256,
];

impl Function {
    pub(super) fn named(name: &str) -> Option<Function> {
        ALL.into_iter().find(|function| function.name() == name)
    }

    pub(super) fn names() -> [&'static str; ALL.len()] {
        ALL.map(Function::name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Function::Uppercase => "uppercase",
            Function::Lowercase => "lowercase",
            Function::Replace => "replace",
            Function::TrimPrefix => "trimPrefix",
            Function::TrimSuffix => "trimSuffix",
            Function::Truncate(_) => "truncate",
            Function::Sha256 => "sha256",
        }
    }

    /// The names of the parameters in order, the number of `truncate` among them.
    pub(super) fn parameters(self) -> &'static [&'static str] {
        match self {
            Function::Uppercase | Function::Lowercase | Function::Sha256 => &["value"],
            Function::Replace => &["old", "new", "value"],
            Function::TrimPrefix => &["prefix", "value"],
            Function::TrimSuffix => &["suffix", "value"],
            Function::Truncate(_) => &["length", "value"],
        }
    }

    /// Whether a parameter is a number.
    pub(super) fn takes_number(self, parameter: &str) -> bool {
        matches!(self, Function::Truncate(_)) && parameter == "length"
    }

    /// Calls the function with its texts; `None` when the result would be too long.
    pub(super) fn call(self, texts: &[Cow<'_, str>]) -> Option<String> {
        let text = |at: usize| texts.get(at).map(Cow::as_ref).unwrap_or_default();
        match self {
            Function::Uppercase => Some(text(0).chars().map(upper).collect()),
            Function::Lowercase => Some(text(0).chars().map(lower).collect()),
            Function::Replace => replace(text(0), text(1), text(2), OUTPUT_BYTES_MAX),
            Function::TrimPrefix => {
                Some(text(1).strip_prefix(text(0)).unwrap_or(text(1)).to_owned())
            }
            Function::TrimSuffix => {
                Some(text(1).strip_suffix(text(0)).unwrap_or(text(1)).to_owned())
            }
            Function::Truncate(length) => {
                let end = text(0).floor_char_boundary(length);
                Some(text(0).get(..end).unwrap_or_default().to_owned())
            }
            Function::Sha256 => {
                Some(hex::encode(digest::digest(&digest::SHA256, text(0).as_bytes())))
            }
        }
    }
}

/// `None` when the result would be too long.
pub(super) fn replace(old: &str, new: &str, value: &str, bytes_max: usize) -> Option<String> {
    // Counted first, so that no long text is ever made.
    let count = value.matches(old).count();
    let added = count.checked_mul(new.len())?;
    let length = value.len().checked_add(added)?.checked_sub(count * old.len())?;
    (length <= bytes_max).then(|| value.replace(old, new))
}

/// Go maps one letter to one letter, and keeps those that have no single counterpart.
pub(super) fn upper(letter: char) -> char {
    let mut mapped = letter.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(upper), None) => upper,
        _ => letter,
    }
}

pub(super) fn lower(letter: char) -> char {
    let mut mapped = letter.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(lower), None) => lower,
        _ => letter,
    }
}
