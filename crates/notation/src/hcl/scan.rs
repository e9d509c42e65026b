//! Splits HCL 1, or its JSON form, into tokens with their places.

use super::{Error, Spanned};
use crate::escape;

/// One token; texts are decoded.
#[derive(Clone, PartialEq)]
pub(super) enum Token {
    Identifier(String),
    Text(String),
    /// Never a key, unlike a string.
    Heredoc(String),
    Number(String),
    OpenBrace,
    CloseBrace,
    OpenBracket,
    CloseBracket,
    Equals,
    Comma,
    Colon,
    End,
}

impl Token {
    /// Names the token in an error, without the content of strings: configuration holds secrets.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Token::Identifier(word) if word == "true" || word == "false" => "BOOL",
            Token::Identifier(_) => "IDENT",
            Token::Text(_) => "STRING",
            Token::Heredoc(_) => "HEREDOC",
            Token::Number(text) if text.contains(['.', 'e', 'E']) && !text.contains(['x', 'X']) => {
                "FLOAT"
            }
            Token::Number(_) => "NUMBER",
            Token::OpenBrace => "LBRACE",
            Token::CloseBrace => "RBRACE",
            Token::OpenBracket => "LBRACK",
            Token::CloseBracket => "RBRACK",
            Token::Equals => "ASSIGN",
            Token::Comma => "COMMA",
            Token::Colon => "COLON",
            Token::End => "EOF",
        }
    }
}

/// The reading position in a text; lines and columns count from 1, columns in characters.
#[derive(Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    offset: usize,
    line: u32,
    column: u32,
    json: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str, json: bool) -> Self {
        Scanner { text, offset: 0, line: 1, column: 1, json }
    }

    /// Whether the text is JSON rather than HCL.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Reads the next token.
    pub(super) fn next(&mut self) -> Result<Spanned<Token>, Error> {
        self.skip_space_and_comments()?;
        let start = self.here();
        let Some(first) = self.peek() else { return Ok(start.with(Token::End)) };
        let token = match first {
            '{' => self.single(Token::OpenBrace),
            '}' => self.single(Token::CloseBrace),
            '[' => self.single(Token::OpenBracket),
            ']' => self.single(Token::CloseBracket),
            ',' => self.single(Token::Comma),
            '=' if !self.json => self.single(Token::Equals),
            ':' if self.json => self.single(Token::Colon),
            '"' if self.json => self.json_string()?,
            '"' => self.string()?,
            '<' if !self.json && self.rest().starts_with("<<") => self.heredoc()?,
            '-' | '0'..='9' => self.number()?,
            '.' if !self.json => self.number()?,
            c if c.is_alphabetic() || c == '_' => self.identifier(),
            c => return Err(start.error(format!("unexpected character {c:?}"))),
        };
        Ok(start.with(token))
    }

    fn skip_space_and_comments(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.rest();
            match self.peek() {
                Some(' ' | '\t' | '\r' | '\n') => {
                    self.take();
                }
                Some('#') if !self.json => self.skip_line(),
                Some('/') if !self.json && rest.starts_with("//") => self.skip_line(),
                Some('/') if !self.json && rest.starts_with("/*") => {
                    let length = rest.get(2..).and_then(|rest| rest.find("*/"));
                    let length =
                        length.ok_or_else(|| self.here().error("comment is not closed"))?;
                    self.take_bytes(length + "/**/".len());
                }
                _ => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        self.take_bytes(self.rest().find('\n').unwrap_or(self.rest().len()));
    }

    fn identifier(&mut self) -> Token {
        let rest = self.rest();
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let length = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        Token::Identifier(self.take_bytes(length).to_owned())
    }

    fn number(&mut self) -> Result<Token, Error> {
        let start = self.here();
        let rest = self.rest();
        let mut previous = '-';
        let length = rest.find(|c: char| {
            let sign = matches!(c, '+' | '-') && matches!(previous, '-' | 'e' | 'E');
            previous = c;
            !(sign || c.is_alphanumeric() || matches!(c, '.' | '_'))
        });
        let text = self.take_bytes(length.unwrap_or(rest.len()));
        let accepted = if self.json { is_json_number(text) } else { is_number(text) };
        if !accepted {
            return Err(start.error("malformed number; put texts in quotes"));
        }
        Ok(Token::Number(text.to_owned()))
    }

    fn string(&mut self) -> Result<Token, Error> {
        let start = self.here();
        self.take();
        let mut bytes = Vec::new();
        // Inside ${…} everything is kept as it is written, quotes and newlines too.
        let mut braces = 0_u32;
        loop {
            let place = self.here();
            let Some(char) = self.take() else { return Err(start.error("string is not closed")) };
            match char {
                '"' if braces == 0 => break,
                '\n' if braces == 0 => {
                    return Err(start.error("string is not closed on its line"));
                }
                '\\' if braces == 0 => {
                    let (escaped, length) = escape::decode_go(self.rest())
                        .ok_or_else(|| place.error("unknown escape in a string"))?;
                    self.take_bytes(length);
                    escaped.push_to(&mut bytes);
                    continue;
                }
                '$' if braces == 0 && self.peek() == Some('{') => {
                    self.take();
                    bytes.push(b'$');
                    bytes.push(b'{');
                    braces = 1;
                    continue;
                }
                '{' if braces > 0 => braces += 1,
                '}' if braces > 0 => braces -= 1,
                _ => {}
            }
            bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
        let text = String::from_utf8(bytes);
        text.map(Token::Text).map_err(|_| start.error("escapes in the string make no valid UTF-8"))
    }

    fn json_string(&mut self) -> Result<Token, Error> {
        let start = self.here();
        self.take();
        let mut text = String::new();
        loop {
            let place = self.here();
            match self.take() {
                None => return Err(start.error("string is not closed")),
                Some('"') => return Ok(Token::Text(text)),
                Some('\\') => {
                    let (char, length) = escape::decode_json(self.rest())
                        .ok_or_else(|| place.error("unknown escape in a string"))?;
                    self.take_bytes(length);
                    text.push(char);
                }
                Some(char) if char < ' ' => {
                    return Err(place.error("control character in a string; escape it"));
                }
                Some(char) => text.push(char),
            }
        }
    }

    /// `<<MARK` or `<<-MARK`, lines, and the mark alone on a line. With the dash, the indentation
    /// of the closing mark is taken off every line, provided every line has it. Lines end with a
    /// plain newline, whatever the file uses.
    fn heredoc(&mut self) -> Result<Token, Error> {
        let start = self.here();
        self.take_bytes("<<".len());
        let indented = self.peek() == Some('-');
        if indented {
            self.take();
        }
        let mark = self.take_line().trim_end_matches(['\n', '\r']);
        if mark.is_empty() || !mark.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
            return Err(start.error("heredoc needs a mark of letters and digits after <<"));
        }
        let mut lines: Vec<&str> = Vec::new();
        while !self.rest().is_empty() {
            let mut closing = self.clone();
            let line = closing.take_line().trim_end_matches(['\n', '\r']);
            if line.trim_start_matches([' ', '\t']) == mark {
                let indentation = line.strip_suffix(mark).unwrap_or_default();
                self.take_bytes(line.len());
                let indented = indented && lines.iter().all(|line| line.starts_with(indentation));
                let cut = if indented { indentation.len() } else { 0 };
                let lines = lines.iter().filter_map(|line| line.get(cut..));
                return Ok(Token::Heredoc(lines.flat_map(|line| [line, "\n"]).collect()));
            }
            lines.push(line);
            *self = closing;
        }
        Err(start.error(format!("heredoc is not closed: no line holds only {mark}")))
    }

    fn single(&mut self, token: Token) -> Token {
        self.take();
        token
    }

    fn here(&self) -> Spanned<()> {
        Spanned { value: (), line: self.line, column: self.column }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.offset += char.len_utf8();
        if char == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(char)
    }

    fn take_line(&mut self) -> &'a str {
        let rest = self.rest();
        self.take_bytes(rest.find('\n').map_or(rest.len(), |newline| newline + 1))
    }

    fn take_bytes(&mut self, length: usize) -> &'a str {
        let taken = self.rest().get(..length).unwrap_or_default();
        for _ in taken.chars() {
            self.take();
        }
        taken
    }
}

/// Decimal, `0x` hexadecimal or `0` octal whole numbers, and decimal fractions with exponent.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        return !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    }
    if unsigned.len() > 1 && unsigned.starts_with('0') && all_digits(unsigned) {
        return unsigned.bytes().all(|digit| digit < b'8');
    }
    let Some((mantissa, _)) = split_exponent(unsigned) else { return false };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = !whole.is_empty() || !fraction.is_empty();
    digits && all_digits(whole) && all_digits(fraction)
}

fn is_json_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let Some((mantissa, _)) = split_exponent(unsigned) else { return false };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    !whole.is_empty()
        && !fraction.is_empty()
        && (whole == "0" || !whole.starts_with('0'))
        && all_digits(whole)
        && all_digits(fraction)
}

/// Mantissa and exponent; `None` when the exponent is malformed.
fn split_exponent(text: &str) -> Option<(&str, &str)> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return Some((text, "")) };
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    (!digits.is_empty() && all_digits(digits)).then_some((mantissa, exponent))
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
