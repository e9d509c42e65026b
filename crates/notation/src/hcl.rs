//! HCL 1, the language of Vault's policies and configuration files, and its JSON form.
//!
//! ```hcl
//! # comments: from # or // to the end of the line, or between /* and */
//! path "kv/data/*" {                     // a key, labels, an object
//!   capabilities = ["read", "list"],     // a comma after an item is optional
//!   "max_wrapping_ttl" = "1h"            // keys may be quoted
//! }
//! listener "tcp" { address = "127.0.0.1:8200" tls_disable = true }   # several on one line
//! note = <<-END
//!   a text of several lines
//!   END
//! ```
//!
//! * Values: strings (Go's escapes; `${…}` is kept as written), heredocs, numbers (decimal, octal,
//!   hexadecimal, fractions; the text is kept), `true` and `false`, lists, objects.
//! * Repeated keys and the order of items are kept: what they mean is the reader's business.
//! * A text whose first character is `{` is read as JSON, into the same tree. There, `null` is
//!   refused.
//! * HCL 2 is another language: no expressions, no functions, no interpolation.
//!
//! Texts are limited to [`TEXT_BYTES_MAX`], nesting to [`DEPTH_MAX`]. Every node knows its line and
//! column, and so does every [`Error`]. Errors and `Debug` never repeat the content of a string,
//! since configuration holds secrets.

mod scan;

use std::fmt;

use scan::{Scanner, Token};

/// The longest text that is read, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The deepest nesting of objects and lists, in levels.
pub const DEPTH_MAX: usize = 128;

/// Why a text was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Error {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong; lowercase, without the place.
    pub message: String,
}

/// A node with the place where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The node.
    pub value: T,
    /// Its line, from 1.
    pub line: u32,
    /// Its column in characters, from 1.
    pub column: u32,
}

/// The items of a file or of an object, in the order they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The items.
    pub items: Vec<Item>,
}

/// `key = value`, or `key "label" { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key and its labels; there is always at least one.
    pub keys: Vec<Spanned<String>>,
    /// The value; an object when there are labels.
    pub value: Spanned<Value>,
}

/// What a key can hold.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// A string or heredoc, decoded.
    String(String),
    /// A number as it is written.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// A list.
    List(Vec<Spanned<Value>>),
    /// An object.
    Object(Body),
}

/// An object with its label, as [`Body::labelled`] finds it.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The label, and the place of the block.
    pub label: &'a Spanned<String>,
    /// What is in the braces.
    pub body: &'a Body,
}

/// Reads HCL, or JSON when the text begins with `{`.
///
/// # Errors
/// The first thing that is wrong, with its place; also a text or nesting beyond the limits.
pub fn parse(text: &str) -> Result<Body, Error> {
    let start = Spanned { value: (), line: 1, column: 1 };
    if text.len() > TEXT_BYTES_MAX {
        return Err(start.error(format!("text is longer than {TEXT_BYTES_MAX} bytes")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    let scanner = Scanner::new(text, json);
    let mut parser = Parser { scanner, token: start.with(Token::End), depth: 0 };
    parser.advance()?;
    if !json {
        return parser.body(None);
    }
    let opened = parser.advance()?;
    let body = parser.json_object(&opened)?;
    match parser.token.value {
        Token::End => Ok(body),
        _ => Err(parser.expected("EOF")),
    }
}

impl Body {
    /// The items whose key is `key`, in order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.key().value == key)
    }

    /// The objects under `key` that carry one label, however they are written: `key "label" { … }`,
    /// `key = { label = { … } }`, or JSON's lists of such objects.
    ///
    /// # Errors
    /// An item under `key` with another shape, at its place.
    pub fn labelled<'a>(&'a self, key: &'a str) -> Result<Vec<Block<'a>>, Error> {
        let mut blocks = Vec::new();
        for item in self.all(key) {
            match item.keys.as_slice() {
                [_, label] => {
                    for body in item.value.objects(key)? {
                        blocks.push(Block { label, body });
                    }
                }
                [_] => {
                    for item in item.value.objects(key)?.into_iter().flat_map(|body| &body.items) {
                        let [label] = item.keys.as_slice() else {
                            return Err(item.key().error(format!("{key} takes one label")));
                        };
                        for body in item.value.objects(key)? {
                            blocks.push(Block { label, body });
                        }
                    }
                }
                _ => return Err(item.key().error(format!("{key} takes one label"))),
            }
        }
        Ok(blocks)
    }

    /// The objects under `key` that carry no label: `key { … }`, `key = { … }`, or a list of them.
    ///
    /// # Errors
    /// An item under `key` with another shape, at its place.
    pub fn unlabelled<'a>(&'a self, key: &'a str) -> Result<Vec<&'a Body>, Error> {
        let mut bodies = Vec::new();
        for item in self.all(key) {
            if item.keys.len() > 1 {
                return Err(item.key().error(format!("{key} takes no label")));
            }
            bodies.extend(item.value.objects(key)?);
        }
        Ok(bodies)
    }
}

impl Item {
    /// The key: the first of [`Item::keys`].
    pub fn key(&self) -> &Spanned<String> {
        self.keys.first().expect("an item has a key, the parser sees to it")
    }
}

impl Value {
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self { Some(*value) } else { None }
    }

    /// The whole number, if it is one that fits; `010` is octal and `0x10` hexadecimal.
    pub fn as_integer(&self) -> Option<i64> {
        let Value::Number(text) = self else { return None };
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => ("-", unsigned),
            None => ("", text.as_str()),
        };
        let (digits, radix) = match unsigned.strip_prefix("0x").or(unsigned.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if unsigned.starts_with('0') => (unsigned, 8),
            None => (unsigned, 10),
        };
        i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
    }

    /// The elements, if it is a list.
    pub fn as_list(&self) -> Option<&[Spanned<Value>]> {
        if let Value::List(elements) = self { Some(elements) } else { None }
    }

    /// The items, if it is an object.
    pub fn as_object(&self) -> Option<&Body> {
        if let Value::Object(body) = self { Some(body) } else { None }
    }

    /// What the value is, with its article, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Number(_) => "a number",
            Value::Bool(_) => "a truth value",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::String(text) => write!(f, "String({} bytes)", text.len()),
            Value::Number(_) => f.write_str("Number"),
            Value::Bool(value) => write!(f, "Bool({value})"),
            Value::List(elements) => f.debug_list().entries(elements).finish(),
            Value::Object(body) => body.fmt(f),
        }
    }
}

impl<T> Spanned<T> {
    /// An error at the place of this node.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error { line: self.line, column: self.column, message: message.into() }
    }

    fn with<U>(&self, value: U) -> Spanned<U> {
        Spanned { value, line: self.line, column: self.column }
    }
}

impl Spanned<Value> {
    /// The value as an object or a list of objects.
    fn objects(&self, key: &str) -> Result<Vec<&Body>, Error> {
        let refuse = |place: &Spanned<Value>| {
            place.error(format!("{key} takes an object, found {}", place.value.describe()))
        };
        match &self.value {
            Value::Object(body) => Ok(vec![body]),
            Value::List(elements) => elements
                .iter()
                .map(|element| element.value.as_object().ok_or_else(|| refuse(element)))
                .collect(),
            _ => Err(refuse(self)),
        }
    }
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    /// The token that is looked at.
    token: Spanned<Token>,
    depth: usize,
}

impl Parser<'_> {
    /// The items up to the end, or up to the brace that closes `opened`.
    fn body(&mut self, opened: Option<&Spanned<Token>>) -> Result<Body, Error> {
        let mut items = Vec::new();
        loop {
            match (&self.token.value, opened) {
                (Token::End, None) => return Ok(Body { items }),
                (Token::CloseBrace, Some(_)) => {
                    self.leave()?;
                    return Ok(Body { items });
                }
                (Token::End, Some(_)) => {
                    return Err(self.not("object expected closing RBRACE got"));
                }
                _ => items.push(self.item()?),
            }
            if self.token.value == Token::Comma {
                self.advance()?;
            }
        }
    }

    fn item(&mut self) -> Result<Item, Error> {
        let mut keys = Vec::new();
        loop {
            let key = match &self.token.value {
                Token::Identifier(word) if word != "true" && word != "false" => word.clone(),
                Token::Text(key) => key.clone(),
                _ => break,
            };
            keys.push(self.advance()?.with(key));
        }
        if keys.is_empty() {
            return Err(match self.token.value {
                Token::Equals => self.token.error("no object keys found!"),
                Token::OpenBrace => self.expected("IDENT | STRING"),
                _ => self.expected("IDENT | STRING | ASSIGN | LBRACE"),
            });
        }
        let value = match self.token.value {
            Token::Equals if keys.len() > 1 => {
                return Err(self.token.error("nested object expected: LBRACE got: ASSIGN"));
            }
            Token::Equals => {
                self.advance()?;
                self.value()?
            }
            Token::OpenBrace => self.value()?,
            _ => return Err(self.expected("IDENT | STRING | ASSIGN | LBRACE")),
        };
        Ok(Item { keys, value })
    }

    fn value(&mut self) -> Result<Spanned<Value>, Error> {
        let token = self.advance_into_value()?;
        let value = match &token.value {
            Token::Text(text) | Token::Heredoc(text) => Value::String(text.clone()),
            Token::Number(text) => Value::Number(text.clone()),
            Token::Identifier(word) => Value::Bool(word == "true"),
            Token::OpenBrace if self.scanner.is_json() => Value::Object(self.json_object(&token)?),
            Token::OpenBrace => {
                self.enter(&token)?;
                Value::Object(self.body(Some(&token))?)
            }
            _ => Value::List(self.list(&token)?),
        };
        Ok(token.with(value))
    }

    /// Takes a token that can begin a value.
    fn advance_into_value(&mut self) -> Result<Spanned<Token>, Error> {
        match &self.token.value {
            Token::Text(_) | Token::Heredoc(_) | Token::Number(_) => self.advance(),
            Token::OpenBrace | Token::OpenBracket => self.advance(),
            Token::Identifier(word) if word == "true" || word == "false" => self.advance(),
            Token::Identifier(_) => {
                Err(self.token.error("expected a value, found a word: texts need quotes"))
            }
            other => Err(self.token.error(format!("expected a value, got: {}", other.name()))),
        }
    }

    fn list(&mut self, opened: &Spanned<Token>) -> Result<Vec<Spanned<Value>>, Error> {
        self.enter(opened)?;
        let json = self.scanner.is_json();
        let mut elements = Vec::new();
        let mut comma_needed = false;
        let mut element_needed = false;
        loop {
            match self.token.value {
                Token::CloseBracket if !element_needed => {
                    self.leave()?;
                    return Ok(elements);
                }
                Token::Comma if comma_needed || !json => {
                    self.advance()?;
                    comma_needed = false;
                    element_needed = json;
                }
                _ if comma_needed => {
                    return Err(self.not("error parsing list, expected comma or list end, got"));
                }
                Token::End | Token::CloseBrace | Token::Equals | Token::Colon => {
                    return Err(self.not("unexpected token while parsing list"));
                }
                _ => {
                    let element = self.value()?;
                    // HCL needs no comma after a nested list or object.
                    let nested = matches!(element.value, Value::List(_) | Value::Object(_));
                    comma_needed = json || !nested;
                    elements.push(element);
                    element_needed = false;
                }
            }
        }
    }

    /// The rest of a JSON object whose brace is taken.
    fn json_object(&mut self, opened: &Spanned<Token>) -> Result<Body, Error> {
        self.enter(opened)?;
        let mut items = Vec::new();
        if self.token.value == Token::CloseBrace {
            self.leave()?;
            return Ok(Body { items });
        }
        loop {
            let Token::Text(key) = &self.token.value else {
                return Err(self.expected("STRING"));
            };
            let key = self.token.with(key.clone());
            self.advance()?;
            if self.token.value != Token::Colon {
                return Err(self.expected("COLON"));
            }
            self.advance()?;
            items.push(Item { keys: vec![key], value: self.value()? });
            match self.token.value {
                Token::Comma => self.advance()?,
                Token::CloseBrace => {
                    self.leave()?;
                    return Ok(Body { items });
                }
                Token::End => return Err(self.not("object expected closing RBRACE got")),
                _ => return Err(self.expected("COMMA | RBRACE")),
            };
        }
    }

    /// Moves on and returns the token that was looked at.
    fn advance(&mut self) -> Result<Spanned<Token>, Error> {
        let next = self.scanner.next()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn enter(&mut self, opened: &Spanned<Token>) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(opened.error(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Error> {
        self.depth -= 1;
        self.advance()?;
        Ok(())
    }

    /// In the words that users of this language know; tokens have the names they have there.
    fn expected(&self, what: &str) -> Error {
        self.not(&format!("expected: {what} got"))
    }

    fn not(&self, what: &str) -> Error {
        self.token.error(format!("{what}: {}", self.token.value.name()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tree in one line, strings in quotes.
    fn show(body: &Body) -> String {
        let items = body.items.iter().map(|item| {
            let keys: Vec<_> = item.keys.iter().map(|key| key.value.as_str()).collect();
            format!("{}={}", keys.join("/"), show_value(&item.value.value))
        });
        items.collect::<Vec<_>>().join(" ")
    }

    fn show_value(value: &Value) -> String {
        match value {
            Value::String(text) => format!("{text:?}"),
            Value::Number(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::List(elements) => {
                let elements: Vec<_> = elements.iter().map(|e| show_value(&e.value)).collect();
                format!("[{}]", elements.join(" "))
            }
            Value::Object(body) => format!("{{{}}}", show(body)),
        }
    }

    fn read(text: &str) -> String {
        show(&parse(text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    fn refusal(text: &str) -> String {
        match parse(text) {
            Ok(body) => panic!("{text} was read as {}", show(&body)),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_kind_of_text_that_policies_and_configuration_use_is_read() {
        for (text, expected) in [
            // a policy
            (
                "path \"secret/*\" { capabilities = [\"read\", \"list\"] }",
                "path/secret/*={capabilities=[\"read\" \"list\"]}",
            ),
            // two attributes on one line
            ("a = 1 b = \"x\"", "a=1 b=\"x\""),
            ("path \"a\" { x = \"1h\" y = \"2h\" }", "path/a={x=\"1h\" y=\"2h\"}"),
            // commas in a body
            ("a = 1, b = 2,\nc { d = 3, }", "a=1 b=2 c={d=3}"),
            // quoted keys
            ("\"a b\" = 1 \"c\" { \"*\" = [] }", "a b=1 c={*=[]}"),
            // repeated keys keep their order
            ("path \"a\" {} path \"b\" {} path \"a\" {}", "path/a={} path/b={} path/a={}"),
            ("a = 1\na = 2", "a=1 a=2"),
            // ${ and %{ in strings
            (
                "a = \"x${foo(\"y\", {})}z\" b = \"%{ if }\" c = \"{{identity.entity.id}}\" d = \"$5\"",
                "a=\"x${foo(\\\"y\\\", {})}z\" b=\"%{ if }\" c=\"{{identity.entity.id}}\" d=\"$5\"",
            ),
            // objects and labels without commas, barewords as labels, several labels
            ("a = { b = 1 c = { d = 2 } }", "a={b=1 c={d=2}}"),
            ("path secret { }", "path/secret={}"),
            ("factor \"x\" y { z = true }", "factor/x/y={z=true}"),
            // comments
            ("# nothing", ""),
            ("// a\n/* b\n * c */ a = 1 # d\nb = 2 // e", "a=1 b=2"),
            // lists
            ("a = [1, \"b\", true, [2], { c = 3 },]", "a=[1 \"b\" true [2] {c=3}]"),
            ("a = [\n  1, # one\n  2\n]", "a=[1 2]"),
            ("a = [,1,,2]", "a=[1 2]"),
            ("a = [{ b = 1 } { b = 2 }\n [3] [4]]", "a=[{b=1} {b=2} [3] [4]]"),
            // heredocs
            ("a = <<EOF\n  x\n y\nEOF\nb = 1", "a=\"  x\\n y\\n\" b=1"),
            ("a = <<-EOF\n    x\n     y\n    EOF\n", "a=\"x\\n y\\n\""),
            ("a = <<-EOF\n    x\n  y\n    EOF\n", "a=\"    x\\n  y\\n\""),
            ("a = [<<EOF\nx\nEOF\n, 2]", "a=[\"x\\n\" 2]"),
            ("a = <<EOF\r\nx\r\nEOF\r\n", "a=\"x\\n\""),
            ("a = <<EOF\nEOF", "a=\"\""),
            // numbers keep their text
            (
                "a = 1.10 b = -3 c = 0x1F d = 017 e = 1e+6 f = .5 g = 5.",
                "a=1.10 b=-3 c=0x1F d=017 e=1e+6 f=.5 g=5.",
            ),
            // escapes, unicode keys
            ("a = \"\\\"\\n\\u00e9\\x41\\\\\" clé-1.x = 1", "a=\"\\\"\\néA\\\\\" clé-1.x=1"),
            // nothing at all, byte order mark, carriage returns
            ("", ""),
            ("\u{feff}a = 1\r\nb = 2\r\n", "a=1 b=2"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn json_gives_the_same_tree() {
        for (text, expected) in [
            (
                " {\"path\":{\"secret/*\":{\"capabilities\":[\"read\"]}}}",
                "path={secret/*={capabilities=[\"read\"]}}",
            ),
            (
                "{\"a\": -1.50e3, \"b\": [true, false, {}], \"c\": \"\\ud83d\\ude00\\/${x\", \"a\": []}",
                "a=-1.50e3 b=[true false {}] c=\"😀/${x\" a=[]",
            ),
            ("{}", ""),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn errors_tell_the_place_and_the_fix() {
        for (text, expected) in [
            (
                "path \"secret/*\" { capabilities = [\"read\"",
                "line 1, column 41: error parsing list, expected comma or list end, got: EOF",
            ),
            ("a {\n  b = 1\n", "line 3, column 1: object expected closing RBRACE got: EOF"),
            (
                "a = [\"x\" \"y\"]",
                "line 1, column 10: error parsing list, expected comma or list end, got: STRING",
            ),
            ("{{{{", "line 1, column 2: expected: STRING got: LBRACE"),
            ("a \"b\" = 1", "line 1, column 7: nested object expected: LBRACE got: ASSIGN"),
            ("a = b", "line 1, column 5: expected a value, found a word: texts need quotes"),
            ("a\n", "line 2, column 1: expected: IDENT | STRING | ASSIGN | LBRACE got: EOF"),
            ("5", "line 1, column 1: expected: IDENT | STRING | ASSIGN | LBRACE got: NUMBER"),
            ("}", "line 1, column 1: expected: IDENT | STRING | ASSIGN | LBRACE got: RBRACE"),
            ("a = \"x\ny\"", "line 1, column 5: string is not closed on its line"),
            ("a = \"x", "line 1, column 5: string is not closed"),
            ("a = \"${x\n", "line 1, column 5: string is not closed"),
            ("é = \"\\q\"", "line 1, column 6: unknown escape in a string"),
            ("a = \"\\xff\"", "line 1, column 5: escapes in the string make no valid UTF-8"),
            ("\n  /* x", "line 2, column 3: comment is not closed"),
            ("a = <<E\nx\n", "line 1, column 5: heredoc is not closed: no line holds only E"),
            (
                "a = <<\nx\n",
                "line 1, column 5: heredoc needs a mark of letters and digits after <<",
            ),
            (
                "<<E\nx\nE\n = 1",
                "line 1, column 1: expected: IDENT | STRING | ASSIGN | LBRACE got: HEREDOC",
            ),
            ("a = 1x", "line 1, column 5: malformed number; put texts in quotes"),
            ("a = -", "line 1, column 5: malformed number; put texts in quotes"),
            ("a = 09", "line 1, column 5: malformed number; put texts in quotes"),
            ("a = 1.2.3", "line 1, column 5: malformed number; put texts in quotes"),
            ("a = [= 1]", "line 1, column 6: unexpected token while parsing list: ASSIGN"),
            ("{\"a\": [}", "line 1, column 8: unexpected token while parsing list: RBRACE"),
            ("a {{}}", "line 1, column 4: expected: IDENT | STRING got: LBRACE"),
            ("= 1", "line 1, column 1: no object keys found!"),
            ("a : 1", "line 1, column 3: unexpected character ':'"),
            ("a = 1 \0", "line 1, column 7: unexpected character '\\0'"),
            (
                "{\"a\": null}",
                "line 1, column 7: expected a value, found a word: texts need quotes",
            ),
            ("{\"a\": 1,}", "line 1, column 9: expected: STRING got: RBRACE"),
            ("{\"a\": [1,]}", "line 1, column 10: expected a value, got: RBRACK"),
            (
                "{\"a\": [[] []]}",
                "line 1, column 11: error parsing list, expected comma or list end, got: LBRACK",
            ),
            ("true = 1", "line 1, column 1: expected: IDENT | STRING | ASSIGN | LBRACE got: BOOL"),
            ("{\"a\": 01}", "line 1, column 7: malformed number; put texts in quotes"),
            ("{\"a\": 1} x", "line 1, column 10: expected: EOF got: IDENT"),
            ("{\"a\" = 1}", "line 1, column 6: unexpected character '='"),
        ] {
            assert_eq!(refusal(text), expected, "{text}");
        }
    }

    #[test]
    fn every_node_knows_its_place() {
        let body = parse("x = 1\n  path \"a\" {\n    é = [true]\n  }").unwrap();
        let path = &body.items[1];
        let place = |line, column| (line, column);
        assert_eq!(place(path.keys[0].line, path.keys[0].column), (2, 3));
        assert_eq!(place(path.keys[1].line, path.keys[1].column), (2, 8));
        assert_eq!(place(path.value.line, path.value.column), (2, 12));
        let inner = &path.value.value.as_object().unwrap().items[0];
        assert_eq!(place(inner.value.line, inner.value.column), (3, 9));
        let element = &inner.value.value.as_list().unwrap()[0];
        assert_eq!(place(element.line, element.column), (3, 10));
    }

    #[test]
    fn labelled_objects_are_found_however_they_are_written() {
        for text in [
            "path \"a\" { x = 1 } other = 1 path \"b\" { x = 2 }",
            "path = { a = { x = 1 } b { x = 2 } }",
            "{\"path\": {\"a\": {\"x\": 1}, \"b\": {\"x\": 2}}}",
            "{\"path\": [{\"a\": {\"x\": 1}}, {\"b\": [{\"x\": 2}]}]}",
        ] {
            let body = parse(text).unwrap();
            let blocks = body.labelled("path").unwrap();
            let found: Vec<_> =
                blocks.iter().map(|block| (block.label.value.as_str(), show(block.body))).collect();
            assert_eq!(found, [("a", "x=1".to_owned()), ("b", "x=2".to_owned())], "{text}");
        }
        for (text, expected) in [
            ("path = 1", "line 1, column 8: path takes an object, found a number"),
            ("path { a = 1 }", "line 1, column 12: path takes an object, found a number"),
            ("path \"a\" \"b\" {}", "line 1, column 1: path takes one label"),
        ] {
            let error = parse(text).unwrap().labelled("path").unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn unlabelled_objects_are_found_however_they_are_written() {
        let body = parse("t { x = 1 } t = { x = 2 } t = [{ x = 3 }]").unwrap();
        let found: Vec<_> = body.unlabelled("t").unwrap().into_iter().map(show).collect();
        assert_eq!(found, ["x=1", "x=2", "x=3"]);
        let error = parse("t \"l\" {}").unwrap().unlabelled("t").unwrap_err();
        assert_eq!(error.to_string(), "line 1, column 1: t takes no label");
    }

    #[test]
    fn whole_numbers_are_read_in_three_bases() {
        let number = |text: &str| Value::Number(text.to_owned()).as_integer();
        assert_eq!(number("-12"), Some(-12));
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("010"), Some(8));
        assert_eq!(number("-0xff"), Some(-255));
        assert_eq!(number("1.5"), None);
        assert_eq!(number("99999999999999999999"), None);
    }

    #[test]
    fn nesting_and_size_are_limited() {
        let nested = |levels: usize| format!("a = {}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(&nested(DEPTH_MAX)).is_ok());
        assert!(refusal(&nested(DEPTH_MAX + 1)).ends_with("nested deeper than 128 levels"));
        assert!(refusal(&"a{".repeat(100_000)).ends_with("nested deeper than 128 levels"));
        assert!(refusal(&"{\"a\":".repeat(100_000)).ends_with("nested deeper than 128 levels"));
        let long = format!("#{}", " ".repeat(TEXT_BYTES_MAX));
        assert!(refusal(&long).ends_with("text is longer than 1048576 bytes"));
    }

    #[test]
    fn texts_made_to_be_slow_are_not() {
        for piece in ["a ", "/* ", "<<E\n", "a=<<E\n", "\"${", "[", "a=[],", "{", "a=\"\"\n", "\n"]
        {
            let text = piece.repeat(TEXT_BYTES_MAX / piece.len());
            let items = parse(&text).map_or(0, |body| body.items.len());
            assert!(items <= text.len());
        }
    }

    #[test]
    fn neither_errors_nor_debug_repeat_a_string() {
        let body = parse("token = \"canary-7c1f\"").unwrap();
        assert!(!format!("{body:?}").contains("canary"));
        for text in ["a = \"canary\" \"canary\"", "\"canary\" \"canary\" = 1", "[\"canary\"]"] {
            assert!(!refusal(text).contains("canary"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let text = String::from_utf8_lossy(&bytes);
            if let Err(error) = parse(&text) {
                prop_assert!(error.line as usize <= text.lines().count() + 1);
            }
        }

        #[test]
        fn no_text_of_its_own_characters_makes_it_panic(
            text in "([a-c{}\\[\\]=,:\"'$#/*<\\-\\\\\n 0-9.ex]|<<E\n|E\n|\\$\\{|\\{\"a\":){0,80}",
        ) {
            if let Err(error) = parse(&text) {
                prop_assert!(error.line as usize <= text.lines().count() + 1);
            }
        }

        #[test]
        fn strings_survive_quoting(text in "\\PC{0,40}") {
            let json = serde_json::json!({ "a": text }).to_string();
            let body = parse(&json).unwrap();
            prop_assert_eq!(body.items[0].value.value.as_str(), Some(text.as_str()));
        }
    }
}
