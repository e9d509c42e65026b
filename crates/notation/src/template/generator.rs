//! Templates that make new names, such as `vault-ci-1700000000-f3Qs…`: what Vault's engines take as
//! `username_template`.
//!
//! To the language of names of secrets ([`super`]) they add `if`, `else if`, `else` and `end`, and the
//! functions `printf` (`%s`, `%d`, `%v`), `eq`, `ne`, `not`, `random n`, `unix_time`,
//! `unix_time_millis`, `uuid`, `base64` and `truncate_sha256 n value`. Variables are not there.

use super::{
    Error, OUTPUT_BYTES_MAX, TEXT_BYTES_MAX,
    scan::{self, Kind, Piece, Token},
};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{fmt::Write as _, iter::Peekable, vec::IntoIter};

/// The deepest nesting of parentheses and conditions.
const DEPTH_MAX: usize = 16;
/// The longest random part, in characters.
const RANDOM_MAX: i64 = 256;

/// A checked template.
#[derive(Clone, Debug)]
pub struct Generator(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Text(String),
    Emit(Call),
    /// The first branch whose condition holds; the last has none when there is an `else`.
    Branches(Vec<(Option<Call>, Vec<Step>)>),
}

/// An operand, or a function with its arguments.
#[derive(Clone, Debug)]
enum Call {
    Value(Value),
    Placeholder(String),
    Function(Function, Vec<Call>, u32),
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Printf,
    Eq,
    Ne,
    Not,
    Random,
    UnixTime,
    UnixTimeMillis,
    Uuid,
    Base64,
    TruncateSha256,
    Truncate,
    Uppercase,
    Lowercase,
    Replace,
    Sha256,
}

/// Names and numbers of arguments, at least and at most.
const FUNCTIONS: &[(&str, Function, usize, usize)] = &[
    ("printf", Function::Printf, 1, 16),
    ("eq", Function::Eq, 2, 2),
    ("ne", Function::Ne, 2, 2),
    ("not", Function::Not, 1, 1),
    ("random", Function::Random, 1, 1),
    ("unix_time", Function::UnixTime, 0, 0),
    ("unix_time_millis", Function::UnixTimeMillis, 0, 0),
    ("uuid", Function::Uuid, 0, 0),
    ("base64", Function::Base64, 1, 1),
    ("truncate_sha256", Function::TruncateSha256, 2, 2),
    ("truncate", Function::Truncate, 2, 2),
    ("uppercase", Function::Uppercase, 1, 1),
    ("lowercase", Function::Lowercase, 1, 1),
    ("replace", Function::Replace, 3, 3),
    ("sha256", Function::Sha256, 1, 1),
];

/// What makes each name another one.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The value of a placeholder, by its name without the dot.
    pub value: &'a dyn Fn(&str) -> Option<String>,
    /// So many random letters and digits.
    pub random: &'a dyn Fn(usize) -> String,
    /// A new UUID.
    pub uuid: &'a dyn Fn() -> String,
    /// Milliseconds since 1970.
    pub unix_millis: u64,
}

impl Generator {
    /// Reads a template that may use the `allowed` placeholders (names without the dot).
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str, allowed: &[&str]) -> Result<Generator, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::new(1, format!("longer than {TEXT_BYTES_MAX} bytes")));
        }
        let mut pieces = scan::pieces(text)?.into_iter().peekable();
        let reader = Reader { allowed };
        let (steps, end) = reader.steps(&mut pieces, 0)?;
        match end {
            End::Text => Ok(Generator(steps)),
            End::Else(_, line) | End::Word(line) => {
                Err(Error::new(line, "end or else without an if before it"))
            }
        }
    }

    /// Makes a name.
    ///
    /// # Errors
    /// A placeholder without a value, an argument of the wrong kind, or a result that is too long.
    pub fn render(&self, sources: &Sources<'_>) -> Result<String, Error> {
        let mut text = String::new();
        emit(&self.0, sources, &mut text)?;
        Ok(text)
    }
}

/// How a run of steps ends.
enum End {
    Text,
    Else(Vec<Token>, u32),
    Word(u32),
}

struct Reader<'a> {
    allowed: &'a [&'a str],
}

type Pieces<'p> = Peekable<IntoIter<Piece<'p>>>;
type Tokens = Peekable<IntoIter<Token>>;

impl Reader<'_> {
    fn steps(&self, pieces: &mut Pieces<'_>, depth: usize) -> Result<(Vec<Step>, End), Error> {
        let mut steps = Vec::new();
        while let Some(piece) = pieces.next() {
            let (mut tokens, line) = match piece {
                Piece::Text(text) => {
                    steps.push(Step::Text(text.to_owned()));
                    continue;
                }
                Piece::Action(tokens, line) => (tokens, line),
            };
            let word = match tokens.first().map(|token| &token.kind) {
                Some(Kind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            match word.as_str() {
                "end" if tokens.len() == 1 => return Ok((steps, End::Word(line))),
                "else" => return Ok((steps, End::Else(tokens.split_off(1), line))),
                "if" => {
                    let condition = self.pipeline(tokens.split_off(1), line)?;
                    steps.push(self.branches(condition, pieces, line, depth + 1)?);
                }
                _ => steps.push(Step::Emit(self.pipeline(tokens, line)?)),
            }
        }
        Ok((steps, End::Text))
    }

    fn branches(
        &self,
        condition: Call,
        pieces: &mut Pieces<'_>,
        line: u32,
        depth: usize,
    ) -> Result<Step, Error> {
        if depth > DEPTH_MAX {
            return Err(Error::new(line, "conditions are nested too deeply"));
        }
        let mut branches = Vec::new();
        let mut condition = Some(condition);
        loop {
            let (steps, end) = self.steps(pieces, depth)?;
            let is_last = condition.is_none();
            branches.push((condition, steps));
            match end {
                End::Word(_) => return Ok(Step::Branches(branches)),
                End::Text => return Err(Error::new(line, "if without an end")),
                End::Else(_, line) if is_last => {
                    return Err(Error::new(line, "else after the last else"));
                }
                End::Else(tokens, _) if tokens.is_empty() => condition = None,
                End::Else(mut tokens, line) => match tokens.first().map(|token| &token.kind) {
                    Some(Kind::Word(word)) if word == "if" => {
                        condition = Some(self.pipeline(tokens.split_off(1), line)?);
                    }
                    _ => return Err(Error::new(line, "else takes nothing but an if")),
                },
            }
        }
    }

    fn pipeline(&self, tokens: Vec<Token>, line: u32) -> Result<Call, Error> {
        let mut tokens = tokens.into_iter().peekable();
        let call = self.piped(&mut tokens, line, 0)?;
        match tokens.next() {
            None => Ok(call),
            Some(token) => Err(Error::new(token.line, "unexpected ) in an action")),
        }
    }

    /// Calls joined by `|`, up to a closing parenthesis.
    fn piped(&self, tokens: &mut Tokens, line: u32, depth: usize) -> Result<Call, Error> {
        if depth > DEPTH_MAX {
            return Err(Error::new(line, "parentheses are nested too deeply"));
        }
        let mut call = self.call(tokens, line, None, depth)?;
        while tokens.next_if(|token| token.kind == Kind::Pipe).is_some() {
            call = self.call(tokens, line, Some(call), depth)?;
        }
        Ok(call)
    }

    fn call(
        &self,
        tokens: &mut Tokens,
        line: u32,
        last: Option<Call>,
        depth: usize,
    ) -> Result<Call, Error> {
        let Some(word) = tokens.next_if(|token| matches!(token.kind, Kind::Word(_))) else {
            return match (self.operand(tokens, depth)?, last) {
                (Some(operand), None) => Ok(operand),
                (Some(_), Some(_)) => Err(Error::new(line, "a value goes to a function only")),
                (None, _) => Err(Error::new(line, "missing value for command")),
            };
        };
        let Kind::Word(name) = word.kind else {
            return Err(Error::new(line, "missing value for command"));
        };
        let known = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        let Some((_, function, least, most)) = known else {
            return Err(Error::new(word.line, format!("function {name:?} not defined")));
        };
        let mut arguments = Vec::new();
        while let Some(argument) = self.operand(tokens, depth)? {
            arguments.push(argument);
        }
        arguments.extend(last);
        if !(*least..=*most).contains(&arguments.len()) {
            return Err(Error::new(word.line, format!("wrong number of args for {name}")));
        }
        Ok(Call::Function(*function, arguments, word.line))
    }

    fn operand(&self, tokens: &mut Tokens, depth: usize) -> Result<Option<Call>, Error> {
        let Some(next) = tokens.peek() else { return Ok(None) };
        if matches!(next.kind, Kind::Pipe | Kind::Close) {
            return Ok(None);
        }
        let Some(token) = tokens.next() else { return Ok(None) };
        let line = token.line;
        Ok(Some(match token.kind {
            Kind::Text(text) => Call::Value(Value::Text(text)),
            Kind::Number(number) => Call::Value(Value::Number(number)),
            Kind::Placeholder(name) if self.allowed.contains(&name.as_str()) => {
                Call::Placeholder(name)
            }
            Kind::Placeholder(name) => {
                let known = self.allowed.join(", .");
                return Err(Error::new(line, format!("unknown field .{name}; there are .{known}")));
            }
            Kind::Word(name) => {
                // A function without arguments stands as a value.
                let known =
                    FUNCTIONS.iter().find(|(known, _, least, _)| *known == name && *least == 0);
                let Some((_, function, ..)) = known else {
                    return Err(Error::new(
                        line,
                        format!("put {name} and its values in parentheses"),
                    ));
                };
                Call::Function(*function, Vec::new(), line)
            }
            Kind::Open => {
                let call = self.piped(tokens, line, depth + 1)?;
                if tokens.next_if(|token| token.kind == Kind::Close).is_none() {
                    return Err(Error::new(line, "unclosed left paren"));
                }
                call
            }
            Kind::Variable(name) => {
                return Err(Error::new(line, format!("undefined variable \"${name}\"")));
            }
            Kind::Pipe | Kind::Close | Kind::Declare | Kind::Assign | Kind::Dot | Kind::Comma => {
                return Err(Error::new(line, "unexpected sign in an action"));
            }
        }))
    }
}

fn emit(steps: &[Step], sources: &Sources<'_>, text: &mut String) -> Result<(), Error> {
    for step in steps {
        match step {
            Step::Text(plain) => text.push_str(plain),
            Step::Emit(call) => text.push_str(&evaluate(call, sources)?.text()),
            Step::Branches(branches) => {
                for (condition, steps) in branches {
                    let holds = match condition {
                        Some(condition) => evaluate(condition, sources)?.holds(),
                        None => true,
                    };
                    if holds {
                        emit(steps, sources, text)?;
                        break;
                    }
                }
            }
        }
        if text.len() > OUTPUT_BYTES_MAX {
            return Err(Error::new(1, format!("yields more than {OUTPUT_BYTES_MAX} bytes")));
        }
    }
    Ok(())
}

fn evaluate(call: &Call, sources: &Sources<'_>) -> Result<Value, Error> {
    let (function, arguments, line) = match call {
        Call::Value(value) => return Ok(value.clone()),
        Call::Placeholder(name) => {
            let value = (sources.value)(name);
            return value
                .map(Value::Text)
                .ok_or_else(|| Error::new(1, format!(".{name} is not set")));
        }
        Call::Function(function, arguments, line) => (*function, arguments, *line),
    };
    let arguments = arguments.iter().map(|argument| evaluate(argument, sources));
    let arguments = arguments.collect::<Result<Vec<Value>, Error>>()?;
    let value = apply(function, &arguments, sources)
        .ok_or_else(|| Error::new(line, "an argument is of the wrong kind"))?;
    match &value {
        Value::Text(text) if text.len() > OUTPUT_BYTES_MAX => {
            Err(Error::new(line, format!("yields more than {OUTPUT_BYTES_MAX} bytes")))
        }
        _ => Ok(value),
    }
}

fn apply(function: Function, arguments: &[Value], sources: &Sources<'_>) -> Option<Value> {
    use Value::{Flag, Number, Text};
    Some(match (function, arguments) {
        (Function::Printf, [Text(format), rest @ ..]) => Text(printf(format, rest)),
        (Function::Eq, [a, b]) => Flag(a == b),
        (Function::Ne, [a, b]) => Flag(a != b),
        (Function::Not, [value]) => Flag(!value.holds()),
        (Function::Random, [Number(count @ 1..=RANDOM_MAX)]) => {
            Text((sources.random)(usize::try_from(*count).ok()?))
        }
        (Function::UnixTime, []) => Text((sources.unix_millis / 1000).to_string()),
        (Function::UnixTimeMillis, []) => Text(sources.unix_millis.to_string()),
        (Function::Uuid, []) => Text((sources.uuid)()),
        (Function::Base64, [Text(text)]) => Text(STANDARD.encode(text)),
        (Function::Truncate, [Number(length), Text(text)]) => {
            Text(truncated(text, usize::try_from(*length).ok()?).to_owned())
        }
        (Function::TruncateSha256, [Number(length), Text(text)]) => {
            Text(truncated_with_hash(text, usize::try_from(*length).ok()?)?)
        }
        (Function::Uppercase, [Text(text)]) => Text(text.to_uppercase()),
        (Function::Lowercase, [Text(text)]) => Text(text.to_lowercase()),
        (Function::Replace, [Text(old), Text(new), Text(text)]) if !old.is_empty() => {
            let grows = new.len().saturating_sub(old.len()) * (text.len() / old.len());
            (text.len() + grows <= OUTPUT_BYTES_MAX).then(|| Text(text.replace(old, new)))?
        }
        (Function::Sha256, [Text(text)]) => Text(sha256(text)),
        _ => return None,
    })
}

impl Value {
    fn text(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
        }
    }

    /// What an `if` takes for true.
    fn holds(&self) -> bool {
        match self {
            Value::Text(text) => !text.is_empty(),
            Value::Number(number) => *number != 0,
            Value::Flag(flag) => *flag,
        }
    }
}

fn printf(format: &str, values: &[Value]) -> String {
    let mut text = String::new();
    let mut values = values.iter();
    let mut rest = format.chars();
    while let Some(letter) = rest.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match rest.next() {
            Some('%') => text.push('%'),
            Some('s' | 'd' | 'v') => {
                text.push_str(&values.next().map(Value::text).unwrap_or_default())
            }
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}

fn truncated(text: &str, length: usize) -> &str {
    text.get(..text.floor_char_boundary(length)).unwrap_or(text)
}

/// The text, or so much of it that eight digits of its hash fit behind.
fn truncated_with_hash(text: &str, length: usize) -> Option<String> {
    if text.len() <= length {
        return Some(text.to_owned());
    }
    let kept = truncated(text, length.checked_sub(8)?);
    Some(format!("{kept}{}", truncated(&sha256(text), 8)))
}

fn sha256(text: &str) -> String {
    let mut shown = String::with_capacity(64);
    for byte in digest::digest(&digest::SHA256, text.as_bytes()).as_ref() {
        write!(shown, "{byte:02x}").expect("writing to a string succeeds");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULTS: &str = "{{ if (eq .Type \"STS\") }}{{ printf \"vault-%s-%s\"  (unix_time) (random 20) \
                          | truncate 32 }}{{ else }}{{ printf \"vault-%s-%s-%s\" (printf \"%s-%s\" \
                          (.DisplayName) (.PolicyName) | truncate 42) (unix_time) (random 20) | \
                          truncate 64 }}{{ end }}";

    fn rendered(template: &str, kind: &str) -> Result<String, Error> {
        let value = |name: &str| {
            Some(match name {
                "Type" => kind.to_owned(),
                "DisplayName" => "token".to_owned(),
                _ => "ci".to_owned(),
            })
        };
        let sources = Sources {
            value: &value,
            random: &|count| "r".repeat(count),
            uuid: &|| "u-u".to_owned(),
            unix_millis: 1_700_000_000_123,
        };
        Generator::parse(template, &["Type", "DisplayName", "PolicyName"])?.render(&sources)
    }

    #[test]
    fn the_template_that_vault_has_makes_the_names_that_vault_makes() {
        let long = rendered(VAULTS, "iam_user").unwrap();
        assert_eq!(long, "vault-token-ci-1700000000-rrrrrrrrrrrrrrrrrrrr");
        let short = rendered(VAULTS, "STS").unwrap();
        assert_eq!(short, "vault-1700000000-rrrrrrrrrrrrrrr");
        assert_eq!(short.len(), 32);
    }

    #[test]
    fn conditions_and_functions_work_together() {
        let cases = [
            ("{{ if .Type }}a{{ else }}b{{ end }}", "a"),
            ("{{ if not .Type }}a{{ else if eq .PolicyName \"ci\" }}b{{ end }}c", "bc"),
            ("{{ .DisplayName | uppercase | replace \"T\" \"x\" }}", "xOKEN"),
            ("{{ unix_time_millis }}-{{ uuid }}", "1700000000123-u-u"),
            ("{{ truncate_sha256 12 \"abcdefghijklmnop\" }}", "abcdf39dac6c"),
            ("{{ base64 \"a\" }}{{ printf \"%d%%\" 5 }}", "YQ==5%"),
        ];
        for (template, expected) in cases {
            assert_eq!(rendered(template, "x").as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_before_a_name_is_made() {
        for bad in [
            "{{ .Nope",
            "{{ .Nope }}",
            "{{ if .Type }}a",
            "{{ end }}",
            "{{ nope 1 }}",
            "{{ random }}",
            "{{ if .Type }}{{ else }}{{ else }}{{ end }}",
            "{{ (printf \"x\" }}",
            "{{ $x }}",
        ] {
            assert!(Generator::parse(bad, &["Type"]).is_err(), "{bad}");
        }
        assert!(rendered("{{ random 100000 }}", "x").is_err());
    }
}
