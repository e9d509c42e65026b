//! Password policies: what generated passwords look like. Pure but for the randomness.

use super::parse::refuse;
use bailee_crypto::random;
use bailee_notation::hcl::{self, Body, Value};
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// Shortest password.
const LENGTH_MIN: usize = 4;
/// Longest password.
const LENGTH_MAX: usize = 1024;
/// Letters that one charset may have.
const CHARSET_MAX: usize = 4096;
/// Rules that one policy may have.
const RULES_MAX: usize = 64;
/// Random texts that are tried before one is put together from what the rules ask for.
const TRIES_MAX: usize = 64;

/// What passwords must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PasswordPolicy {
    length: usize,
    rules: Vec<Charset>,
    /// All letters of all rules, each once.
    letters: Vec<char>,
}

/// At least so many letters out of these.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Charset {
    letters: Vec<char>,
    min: usize,
}

impl PasswordPolicy {
    /// Reads a policy in HCL or JSON; the error is what the writer reads. A policy that is read can
    /// be met.
    pub(crate) fn parse(text: &str) -> Result<PasswordPolicy, String> {
        let body = hcl::parse(text).map_err(|error| format!("unable to decode: {error}"))?;
        let mut problems = Vec::new();
        let mut length = None;
        for item in &body.items {
            match item.key().value.as_str() {
                "length" => length = item.value.value.as_integer(),
                "rule" => {}
                other => problems.push(format!(
                    "invalid key {other:?} on line {}, use length and rule",
                    item.key().line
                )),
            }
        }
        let mut rules = Vec::new();
        match body.labelled("rule") {
            Err(error) => problems.push(error.to_string()),
            Ok(blocks) => {
                for block in blocks {
                    match block.label.value.as_str() {
                        "charset" => match charset(block.body) {
                            Ok(rule) => rules.push(rule),
                            Err(problem) => problems.push(problem),
                        },
                        other => problems.push(format!("unrecognized rule type {other}")),
                    }
                }
            }
        }
        let letters: BTreeSet<char> =
            rules.iter().flat_map(|rule| rule.letters.iter().copied()).collect();
        if letters.is_empty() {
            problems.push("no charset specified".to_owned());
        }
        if rules.len() > RULES_MAX {
            problems.push(format!("more than {RULES_MAX} rules"));
        }
        let length = length.unwrap_or(0);
        if length < 1 {
            problems.push("length must be > 0".to_owned());
        }
        refuse(&problems)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
            return Err(format!(
                "passwords must be between {LENGTH_MIN} and {LENGTH_MAX} characters"
            ));
        }
        let needed = rules.iter().fold(0_usize, |sum, rule| sum.saturating_add(rule.min));
        if needed > length {
            refuse(&[format!(
                "specified rules require at least {needed} characters but {length} is specified"
            )])?;
        }
        Ok(PasswordPolicy { length, rules, letters: letters.into_iter().collect() })
    }

    /// A new password. Every text that fits is as likely as any other, unless few do: then one is
    /// put together from what each rule asks for, which always fits.
    pub(crate) fn generate(&self) -> Zeroizing<String> {
        for _ in 0..TRIES_MAX {
            let letters = self.pick(&self.letters, self.length);
            if self.rules.iter().all(|rule| rule.is_met(&letters)) {
                return Zeroizing::new(letters.iter().collect());
            }
        }
        let mut letters = Zeroizing::new(Vec::with_capacity(self.length));
        for rule in &self.rules {
            letters.extend_from_slice(&self.pick(&rule.letters, rule.min));
        }
        let rest = self.length.saturating_sub(letters.len());
        letters.extend_from_slice(&self.pick(&self.letters, rest));
        for last in (1..letters.len()).rev() {
            letters.swap(last, random::index(last + 1));
        }
        Zeroizing::new(letters.iter().collect())
    }

    fn pick(&self, from: &[char], count: usize) -> Zeroizing<Vec<char>> {
        let mut picked = Zeroizing::new(Vec::with_capacity(self.length));
        picked.extend((0..count).filter_map(|_| from.get(random::index(from.len()))));
        picked
    }
}

impl Charset {
    fn is_met(&self, letters: &[char]) -> bool {
        letters.iter().filter(|letter| self.letters.contains(letter)).count() >= self.min
    }
}

fn charset(body: &Body) -> Result<Charset, String> {
    let mut letters = BTreeSet::new();
    let mut min = 0;
    for item in &body.items {
        match (item.key().value.as_str(), &item.value.value) {
            ("charset", Value::String(text)) => letters.extend(text.chars()),
            ("charset", other) => {
                return Err(format!("charset must be a string, not {}", other.describe()));
            }
            ("min-chars" | "min_chars", value) => {
                let number = value.as_integer().and_then(|number| usize::try_from(number).ok());
                min = number.ok_or("min-chars must be a whole number, not below 0")?;
            }
            (other, _) => {
                let line = item.key().line;
                return Err(format!("invalid key {other:?} on line {line} of a charset rule"));
            }
        }
    }
    if letters.is_empty() {
        return Err("charset must not be empty".to_owned());
    }
    if letters.len() > CHARSET_MAX {
        return Err(format!("charset has more than {CHARSET_MAX} letters"));
    }
    if letters.iter().any(|letter| letter.is_control()) {
        return Err("non-printable character in charset".to_owned());
    }
    Ok(Charset { letters: letters.into_iter().collect(), min })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        length = 20
        rule "charset" { charset = "abcde" min-chars = 2 }
        rule "charset" { charset = "01" min-chars = 1 }
        rule "charset" { charset = "!" }
    "#;

    #[test]
    fn a_password_has_its_length_and_what_each_rule_asks_for() {
        let policy = PasswordPolicy::parse(TEXT).unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let password = policy.generate();
            assert_eq!(password.chars().count(), 20);
            assert!(password.chars().all(|letter| "abcde01!".contains(letter)));
            assert!(password.chars().filter(|letter| "abcde".contains(*letter)).count() >= 2);
            assert!(password.contains(['0', '1']));
            seen.insert(password.to_string());
        }
        assert_eq!(seen.len(), 200);
    }

    #[test]
    fn a_policy_that_few_texts_meet_is_met_at_once() {
        let mut text = "length = 26\n".to_owned();
        for letter in 'a'..='z' {
            text.push_str(&format!(
                "rule \"charset\" {{ charset = \"{letter}\" min-chars = 1 }}\n"
            ));
        }
        let password = PasswordPolicy::parse(&text).unwrap().generate();
        let letters: BTreeSet<char> = password.chars().collect();
        assert_eq!(letters.len(), 26);
        assert_ne!(*password, ('a'..='z').collect::<String>());
    }

    #[test]
    fn what_cannot_be_met_or_read_is_refused() {
        for (text, expected) in [
            ("length = 2", "no charset specified"),
            ("rule \"charset\" { charset = \"ab\" }", "length must be > 0"),
            ("length = 3\nrule \"charset\" { charset = \"ab\" }", "must be between 4 and 1024"),
            ("length = 9999\nrule \"charset\" { charset = \"ab\" }", "must be between 4 and 1024"),
            (
                "length = 5\nrule \"charset\" { charset = \"ab\" min-chars = 6 }",
                "specified rules require at least 6 characters but 5 is specified",
            ),
            ("length = 5\nrule \"charset\" { charset = \"\" }", "charset must not be empty"),
            ("length = 5\nrule \"words\" { }", "unrecognized rule type words"),
            ("length = 5\nrule \"charset\" { charset = \"a\\n\" }", "non-printable"),
            ("length = 5\nrule \"charset\" { charset = 7 }", "charset must be a string"),
            ("length = 5\nlenght = 7", "invalid key \"lenght\""),
            ("length = {", "unable to decode"),
        ] {
            let error = PasswordPolicy::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
