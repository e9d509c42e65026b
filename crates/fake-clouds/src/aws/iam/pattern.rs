//! Texts of policies: `*` and `?` wildcards, and variables such as `${aws:username}`.

use super::evaluate::Context;

/// Whether `pattern` with `*` and `?` covers the whole of `text`.
pub(crate) fn wildcard(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let pattern: Vec<Piece> = pattern.chars().map(Piece::of).collect();
    covers(&pattern, text)
}

/// As [`wildcard`], letters compared without case.
pub(crate) fn wildcard_ignoring_case(pattern: &str, text: &str) -> bool {
    wildcard(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

/// As [`wildcard`] after filling in variables; `None` when a variable has no value in `context`.
pub(crate) fn wildcard_with_variables(
    pattern: &str,
    text: &str,
    context: &Context,
) -> Option<bool> {
    Some(covers(&pieces(pattern, context)?, text))
}

/// `pattern` with its variables filled in, wildcards kept as plain characters.
pub(crate) fn fill_in(pattern: &str, context: &Context) -> Option<String> {
    if !pattern.contains("${") {
        return Some(pattern.to_owned());
    }
    let filled = pieces(pattern, context)?;
    Some(
        filled
            .into_iter()
            .map(|piece| match piece {
                Piece::Exact(character) => character,
                Piece::One => '?',
                Piece::Many => '*',
            })
            .collect(),
    )
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Exact(char),
    One,
    Many,
}

impl Piece {
    fn of(character: char) -> Self {
        match character {
            '*' => Self::Many,
            '?' => Self::One,
            other => Self::Exact(other),
        }
    }
}

fn pieces(pattern: &str, context: &Context) -> Option<Vec<Piece>> {
    let mut pieces = Vec::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("${") {
        pieces.extend(before.chars().map(Piece::of));
        let (name, tail) = after.split_once('}')?;
        match name {
            "*" | "?" | "$" => pieces.extend(name.chars().map(Piece::Exact)),
            _ => pieces.extend(variable(name, context)?.chars().map(Piece::Exact)),
        }
        rest = tail;
    }
    pieces.extend(rest.chars().map(Piece::of));
    Some(pieces)
}

/// The value of `aws:username` or of `aws:PrincipalTag/team, 'nobody'` (with a default).
fn variable(expression: &str, context: &Context) -> Option<String> {
    let (name, default) = match expression.split_once(',') {
        Some((name, default)) => (name.trim(), Some(default.trim().trim_matches('\''))),
        None => (expression.trim(), None),
    };
    match context.values(name) {
        Some([value]) => Some(value.clone()),
        Some(_) => None,
        None => default.map(str::to_owned),
    }
}

fn covers(pattern: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut seen) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(character) = text.get(seen) {
        match pattern.get(at) {
            Some(Piece::Many) => {
                retry = Some((at, seen));
                at += 1;
            }
            Some(Piece::One) => {
                at += 1;
                seen += 1;
            }
            Some(Piece::Exact(expected)) if expected == character => {
                at += 1;
                seen += 1;
            }
            Some(Piece::Exact(_)) | None => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    at = star + 1;
                    seen = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|piece| *piece == Piece::Many))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_whole_texts() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("secret:vault/*-??????", "secret:vault/a-b-AbCdEf", true),
            ("secret:vault/*", "secret:vault", false),
            ("*a*b*", "xxaxxbxx", true),
            ("abc", "ABC", false),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} over {text}");
        }
    }

    #[test]
    fn variables_are_literal_and_must_have_a_value() {
        let context = Context::new().with("aws:username", ["a*"]);
        assert_eq!(
            wildcard_with_variables("user/${aws:username}", "user/a*", &context),
            Some(true)
        );
        assert_eq!(
            wildcard_with_variables("user/${aws:username}", "user/ab", &context),
            Some(false)
        );
        assert_eq!(wildcard_with_variables("${aws:userid}", "x", &context), None);
        assert_eq!(wildcard_with_variables("${aws:userid, 'x'}", "x", &context), Some(true));
        assert_eq!(wildcard_with_variables("a${*}", "a*", &context), Some(true));
        assert_eq!(wildcard_with_variables("a${*}", "ab", &context), Some(false));
    }
}
