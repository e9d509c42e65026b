//! Splits a template into text and the tokens of its actions, as Go does.

use super::Error;
use crate::escape;

/// What Go takes for white space around trim markers and between words.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// A stretch of a template.
pub(super) enum Piece<'a> {
    /// Text to be copied.
    Text(&'a str),
    /// The tokens of an action, and the line of its end.
    Action(Vec<Token>, u32),
}

/// One word of an action.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) line: u32,
    /// Whether white space comes before it.
    pub(super) spaced: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Placeholder(String),
    Variable(String),
    Word(String),
    Text(String),
    Number(i64),
    Pipe,
    Open,
    Close,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `.` alone; documents only.
    Dot,
    /// Documents only.
    Comma,
}

/// What is written in the language.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    /// A name, whose placeholders have no fields.
    Name,
    /// A document: `.a.b` is a placeholder and another right behind it, and `.`, `$` and `,` are tokens.
    Document,
}

/// The pieces of a template of names in order; comments are gone and trim markers have done their work.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece<'_>>, Error> {
    pieces_of(template, Text::Name)
}

/// The pieces of a document.
pub(super) fn document_pieces(template: &str) -> Result<Vec<Piece<'_>>, Error> {
    pieces_of(template, Text::Document)
}

fn pieces_of(template: &str, text: Text) -> Result<Vec<Piece<'_>>, Error> {
    let mut scanner = Scanner { rest: template, line: 1, text };
    let mut pieces = Vec::new();
    let mut trim_left = false;
    loop {
        let (text, opened) = match scanner.rest.split_once("{{") {
            Some((text, _)) => (text, true),
            None => (scanner.rest, false),
        };
        scanner.take(text.len());
        let line = scanner.line;
        let mut text = if trim_left { text.trim_start_matches(SPACE) } else { text };
        if opened && scanner.opens_with_trim() {
            text = text.trim_end_matches(SPACE);
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        if !opened {
            return Ok(pieces);
        }
        let trims = scanner.opens_with_trim();
        scanner.take(if trims { "{{-".len() } else { "{{".len() });
        trim_left = match scanner.comment(line)? {
            Some(trim_left) => trim_left,
            None => {
                let (tokens, trim_left) = scanner.action(line)?;
                pieces.push(Piece::Action(tokens, scanner.line));
                trim_left
            }
        };
    }
}

struct Scanner<'a> {
    rest: &'a str,
    line: u32,
    text: Text,
}

impl<'a> Scanner<'a> {
    /// Whether the action here begins with `{{-` and white space.
    fn opens_with_trim(&self) -> bool {
        self.rest.strip_prefix("{{-").is_some_and(|rest| rest.starts_with(SPACE))
    }

    /// Skips a comment that fills the action; tells whether what follows is trimmed.
    fn comment(&mut self, line: u32) -> Result<Option<bool>, Error> {
        let space = self.rest.len() - self.rest.trim_start_matches(SPACE).len();
        let Some(body) = self.rest.get(space..).and_then(|rest| rest.strip_prefix("/*")) else {
            return Ok(None);
        };
        let Some((_, after)) = body.split_once("*/") else {
            return Err(Error::new(line, "unclosed comment"));
        };
        let trimmed = after.trim_start_matches(SPACE);
        let trim_left = trimmed.len() < after.len() && trimmed.starts_with("-}}");
        let end = if trim_left { trimmed.strip_prefix("-}}") } else { after.strip_prefix("}}") };
        let Some(end) = end else {
            return Err(Error::new(line, "comment ends before closing delimiter"));
        };
        self.take(self.rest.len() - end.len());
        Ok(Some(trim_left))
    }

    /// The tokens up to the closing delimiter; tells whether what follows is trimmed.
    fn action(&mut self, opened: u32) -> Result<(Vec<Token>, bool), Error> {
        let mut tokens = Vec::new();
        loop {
            let word = self.rest.trim_start_matches(SPACE);
            let spaced = word.len() < self.rest.len();
            self.take(self.rest.len() - word.len());
            if self.rest.is_empty() {
                return Err(Error::new(opened, "unclosed action"));
            }
            if self.rest.starts_with("}}") {
                self.take("}}".len());
                return Ok((tokens, false));
            }
            if spaced && self.rest.starts_with("-}}") {
                self.take("-}}".len());
                return Ok((tokens, true));
            }
            let line = self.line;
            tokens.push(Token { kind: self.token()?, line, spaced });
        }
    }

    fn token(&mut self) -> Result<Kind, Error> {
        let rest = self.rest;
        let Some(first) = rest.chars().next() else { return Err(self.error("unclosed action")) };
        Ok(match first {
            '|' => self.symbol(1, Kind::Pipe),
            '(' => self.symbol(1, Kind::Open),
            ')' => self.symbol(1, Kind::Close),
            ':' if rest.starts_with(":=") => self.symbol(2, Kind::Declare),
            '=' => self.symbol(1, Kind::Assign),
            ',' if self.text == Text::Document => self.symbol(1, Kind::Comma),
            '"' => self.interpreted_string()?,
            '`' => self.raw_string()?,
            '.' | '$' => self.name(first)?,
            '+' | '-' | '0'..='9' => self.number()?,
            c if is_name(c) => Kind::Word(self.name_text().to_owned()),
            c => return Err(self.error(format!("unexpected character {c:?} in an action"))),
        })
    }

    fn symbol(&mut self, length: usize, kind: Kind) -> Kind {
        self.take(length);
        kind
    }

    /// `.Name` or `$name`.
    fn name(&mut self, first: char) -> Result<Kind, Error> {
        let line = self.line;
        self.take(first.len_utf8());
        let name = self.name_text().to_owned();
        let shown = format!("{first}{name}");
        if self.text == Text::Document && (name.is_empty() || first == '$') {
            return Ok(if first == '.' { Kind::Dot } else { Kind::Variable(name) });
        }
        if self.text == Text::Document {
            return Ok(Kind::Placeholder(name));
        }
        if name.is_empty() {
            return Err(Error::new(line, format!("{first} needs a name right after it")));
        }
        if self.rest.starts_with('.') {
            return Err(Error::new(line, format!("{shown} has no fields; remove what follows it")));
        }
        Ok(if first == '.' { Kind::Placeholder(name) } else { Kind::Variable(name) })
    }

    fn name_text(&mut self) -> &'a str {
        self.take(self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len()))
    }

    fn number(&mut self) -> Result<Kind, Error> {
        let line = self.line;
        let sign = usize::from(self.rest.starts_with(['+', '-']));
        let after = self.rest.get(sign..).unwrap_or_default();
        let inside = |c: char| is_name(c) || c == '.';
        let length = after.find(|c| !inside(c)).unwrap_or(after.len());
        let text = self.take(sign + length);
        match text.parse() {
            Ok(number) => Ok(Kind::Number(number)),
            Err(_) => Err(Error::new(line, format!("{text} is no whole number"))),
        }
    }

    fn interpreted_string(&mut self) -> Result<Kind, Error> {
        let line = self.line;
        self.take(1);
        let mut bytes = Vec::new();
        loop {
            let end = self.rest.find(['"', '\\', '\n']).unwrap_or(self.rest.len());
            bytes.extend_from_slice(self.take(end).as_bytes());
            if self.rest.starts_with('"') {
                self.take(1);
                break;
            }
            let Some(escape) = self.rest.strip_prefix('\\') else {
                return Err(Error::new(line, "unterminated quoted string"));
            };
            let (escaped, length) = escape::decode_go(escape)
                .ok_or_else(|| Error::new(line, "unknown escape in a quoted string"))?;
            escaped.push_to(&mut bytes);
            self.take(1 + length);
        }
        let text = String::from_utf8(bytes);
        text.map(Kind::Text)
            .map_err(|_| Error::new(line, "escapes in a string make no valid UTF-8"))
    }

    fn raw_string(&mut self) -> Result<Kind, Error> {
        let line = self.line;
        self.take(1);
        let Some(length) = self.rest.find('`') else {
            return Err(Error::new(line, "unterminated raw quoted string"));
        };
        let text = self.take(length).to_owned();
        self.take(1);
        Ok(Kind::Text(text))
    }

    /// Moves on by so many bytes and returns them.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        let lines = taken.bytes().filter(|byte| *byte == b'\n').count();
        self.line += u32::try_from(lines).unwrap_or(u32::MAX);
        self.rest = rest;
        taken
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::new(self.line, message)
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
