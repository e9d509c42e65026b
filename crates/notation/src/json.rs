//! Request bodies: JSON within limits, read before anything else looks at it.
//!
//! Accepted is one JSON value as RFC 8259 defines it, with nothing but white space around it.
//! Stricter than most readers: a key may occur once in an object, surrogate escapes come in pairs,
//! the bytes are UTF-8, and [`Limits`] bound every dimension, so that a small body cannot become
//! much work or memory. Numbers keep their text (`1.10`, `12345678901234567890123`).
//!
//! An [`Error`] says which rule was broken and at which line and byte. It never repeats anything of
//! the body, not even keys, because bodies are secrets.

use serde_json::{Map, Number, Value};

use crate::escape;

/// The deepest nesting of objects and arrays, in levels.
pub const DEPTH_MAX: usize = 300;
/// The longest key or string after decoding, in bytes.
pub const STRING_BYTES_MAX: usize = 1024 * 1024;
/// The longest number, in bytes of its text.
pub const NUMBER_BYTES_MAX: usize = 4096;
/// The most entries of one object.
pub const OBJECT_ENTRIES_MAX: usize = 10_000;
/// The most elements of one array.
pub const ARRAY_ELEMENTS_MAX: usize = 10_000;
/// The most values in a body, all levels together.
pub const VALUES_MAX: usize = 250_000;

/// How keys begin that mean something else to the JSON library: an object with one of them reads as
/// a number, or as the JSON in a text.
const RESERVED_KEYS: &str = "$serde_json::private::";

/// How much a body may hold. The default is the constants of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Levels of objects and arrays.
    pub depth: usize,
    /// Bytes of one key or string, decoded.
    pub string_bytes: usize,
    /// Bytes of one number's text.
    pub number_bytes: usize,
    /// Entries of one object.
    pub object_entries: usize,
    /// Elements of one array.
    pub array_elements: usize,
    /// Values of all levels together.
    pub values: usize,
}

impl Limits {
    /// For what was read within limits before and is read again: as deep as several bodies, and
    /// otherwise unbounded.
    pub fn stored() -> Limits {
        Limits {
            depth: 4 * DEPTH_MAX,
            string_bytes: usize::MAX,
            number_bytes: usize::MAX,
            object_entries: usize::MAX,
            array_elements: usize::MAX,
            values: usize::MAX,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            depth: DEPTH_MAX,
            string_bytes: STRING_BYTES_MAX,
            number_bytes: NUMBER_BYTES_MAX,
            object_entries: OBJECT_ENTRIES_MAX,
            array_elements: ARRAY_ELEMENTS_MAX,
            values: VALUES_MAX,
        }
    }
}

/// Why a body was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule} (line {line}, byte offset {offset})")]
pub struct Error {
    /// The rule that was broken.
    pub rule: Rule,
    /// The line, from 1.
    pub line: usize,
    /// The place in the whole body, in bytes from 0.
    pub offset: usize,
}

/// What a body must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// It nests at most so many levels.
    #[error("JSON input exceeds allowed nesting depth of {0}")]
    Depth(usize),
    /// Its keys and strings have at most so many bytes.
    #[error("JSON string value exceeds allowed length of {0} bytes")]
    StringBytes(usize),
    /// Its numbers have at most so many bytes.
    #[error("JSON number exceeds allowed length of {0} bytes")]
    NumberBytes(usize),
    /// Its objects have at most so many entries.
    #[error("JSON object exceeds allowed entry count of {0}")]
    ObjectEntries(usize),
    /// Its arrays have at most so many elements.
    #[error("JSON array exceeds allowed element count of {0}")]
    ArrayElements(usize),
    /// It has at most so many values.
    #[error("JSON input exceeds allowed value count of {0}")]
    Values(usize),
    /// A key occurs once in an object.
    #[error("duplicate key in JSON object")]
    DuplicateKey,
    /// No key is one that the JSON library keeps to itself: values below it would change their
    /// meaning when they are read again.
    #[error("reserved key in JSON object")]
    ReservedKey,
    /// Nothing follows the value.
    #[error("JSON input has text after its top-level value")]
    Trailing,
    /// It does not end in the middle.
    #[error("malformed JSON, the input ends too early")]
    Unfinished,
    /// It is JSON; tells what was expected.
    #[error("malformed JSON, expected {0}")]
    Syntax(&'static str),
}

/// Reads one JSON value.
///
/// # Errors
/// The first rule that is broken, and where.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        place(bytes, Broken { rule: Rule::Syntax("UTF-8"), offset: error.valid_up_to() })
    })?;
    let reader = Reader { text, offset: 0, values: 0, limits };
    reader.document().map_err(|broken| place(bytes, broken))
}

/// An error whose line is not counted yet.
struct Broken {
    rule: Rule,
    offset: usize,
}

fn place(bytes: &[u8], broken: Broken) -> Error {
    let before = bytes.iter().take(broken.offset);
    let line = 1 + before.filter(|byte| **byte == b'\n').count();
    Error { rule: broken.rule, line, offset: broken.offset }
}

/// A container that is being filled.
enum Open {
    Object { entries: Map<String, Value>, key: String },
    Array(Vec<Value>),
}

struct Reader<'a> {
    text: &'a str,
    offset: usize,
    values: usize,
    limits: &'a Limits,
}

impl Reader<'_> {
    /// Containers wait on a stack of their own, so depth costs no call stack.
    fn document(mut self) -> Result<Value, Broken> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            let Some(mut value) = self.value(&mut open)? else { continue };
            loop {
                let Some(container) = open.pop() else { return self.finish(value) };
                match self.put(container, value)? {
                    Put::More(container) => {
                        open.push(container);
                        break;
                    }
                    Put::Complete(container) => value = container,
                }
            }
        }
    }

    /// Reads a value; `None` when it is a container that was opened and has content.
    fn value(&mut self, open: &mut Vec<Open>) -> Result<Option<Value>, Broken> {
        self.skip_space();
        self.values += 1;
        if self.values > self.limits.values {
            return Err(self.broken(Rule::Values(self.limits.values)));
        }
        match self.peek() {
            Some(b'{' | b'[') if open.len() >= self.limits.depth => {
                Err(self.broken(Rule::Depth(self.limits.depth)))
            }
            Some(b'{') => {
                self.offset += 1;
                self.skip_space();
                if self.take(b'}') {
                    return Ok(Some(Value::Object(Map::new())));
                }
                let entries = Map::new();
                let key = self.key(&entries)?;
                open.push(Open::Object { entries, key });
                Ok(None)
            }
            Some(b'[') => {
                self.offset += 1;
                self.skip_space();
                if self.take(b']') {
                    return Ok(Some(Value::Array(Vec::new())));
                }
                open.push(Open::Array(Vec::new()));
                Ok(None)
            }
            Some(b'"') => Ok(Some(Value::String(self.string()?))),
            Some(b'-' | b'0'..=b'9') => Ok(Some(Value::Number(self.number()?))),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.expected("a value")),
        }
    }

    /// Puts a value into its container and reads on to the next value, or to the container's end.
    fn put(&mut self, mut container: Open, value: Value) -> Result<Put, Broken> {
        self.skip_space();
        let next = self.peek();
        match &mut container {
            Open::Object { entries, key } => {
                entries.insert(std::mem::take(key), value);
                match next {
                    Some(b',') => {
                        self.offset += 1;
                        self.skip_space();
                        if entries.len() >= self.limits.object_entries {
                            return Err(
                                self.broken(Rule::ObjectEntries(self.limits.object_entries))
                            );
                        }
                        *key = self.key(entries)?;
                        Ok(Put::More(container))
                    }
                    Some(b'}') => {
                        self.offset += 1;
                        Ok(Put::Complete(Value::Object(std::mem::take(entries))))
                    }
                    _ => Err(self.expected("a comma or }")),
                }
            }
            Open::Array(elements) => {
                elements.push(value);
                match next {
                    Some(b',') => {
                        self.offset += 1;
                        if elements.len() >= self.limits.array_elements {
                            return Err(
                                self.broken(Rule::ArrayElements(self.limits.array_elements))
                            );
                        }
                        Ok(Put::More(container))
                    }
                    Some(b']') => {
                        self.offset += 1;
                        Ok(Put::Complete(Value::Array(std::mem::take(elements))))
                    }
                    _ => Err(self.expected("a comma or ]")),
                }
            }
        }
    }

    fn finish(mut self, value: Value) -> Result<Value, Broken> {
        self.skip_space();
        match self.peek() {
            None => Ok(value),
            Some(_) => Err(self.broken(Rule::Trailing)),
        }
    }

    /// Reads a key and its colon.
    fn key(&mut self, entries: &Map<String, Value>) -> Result<String, Broken> {
        let start = self.offset;
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in quotes"));
        }
        let key = self.string()?;
        if key.starts_with(RESERVED_KEYS) {
            return Err(Broken { rule: Rule::ReservedKey, offset: start });
        }
        if entries.contains_key(&key) {
            return Err(Broken { rule: Rule::DuplicateKey, offset: start });
        }
        self.skip_space();
        if self.take(b':') { Ok(key) } else { Err(self.expected(": after the key")) }
    }

    fn string(&mut self) -> Result<String, Broken> {
        let start = self.offset;
        self.offset += 1;
        let mut decoded = String::new();
        loop {
            let rest = self.rest();
            let plain = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | ..b' '));
            let plain = rest.get(..plain.unwrap_or(rest.len())).unwrap_or_default();
            if decoded.len() + plain.len() > self.limits.string_bytes {
                let rule = Rule::StringBytes(self.limits.string_bytes);
                return Err(Broken { rule, offset: start });
            }
            decoded.push_str(plain);
            self.offset += plain.len();
            match self.peek() {
                Some(b'"') => {
                    self.offset += 1;
                    return Ok(decoded);
                }
                Some(b'\\') => {
                    let escaped = self.rest().get(1..).and_then(escape::decode_json);
                    let Some((char, length)) = escaped else {
                        return Err(self.broken(Rule::Syntax("a valid escape in the string")));
                    };
                    decoded.push(char);
                    self.offset += 1 + length;
                }
                Some(_) => {
                    return Err(self.broken(Rule::Syntax("no control character in a string")));
                }
                None => return Err(self.broken(Rule::Unfinished)),
            }
        }
    }

    fn number(&mut self) -> Result<Number, Broken> {
        let start = self.offset;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.offset).unwrap_or_default();
        if text.len() > self.limits.number_bytes {
            let rule = Rule::NumberBytes(self.limits.number_bytes);
            return Err(Broken { rule, offset: start });
        }
        Ok(Number::from_string_unchecked(text.to_owned()))
    }

    fn digits(&mut self) -> Result<(), Broken> {
        let rest = self.rest();
        let count = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        if count == 0 {
            return Err(self.expected("a digit"));
        }
        self.offset += count;
        Ok(())
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Option<Value>, Broken> {
        if !self.rest().starts_with(word) {
            return Err(self.broken(Rule::Syntax("a value")));
        }
        self.offset += word.len();
        Ok(Some(value))
    }

    fn skip_space(&mut self) {
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.offset += self.rest().bytes().take_while(space).count();
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn rest(&self) -> &str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn expected(&self, what: &'static str) -> Broken {
        self.broken(if self.peek().is_none() { Rule::Unfinished } else { Rule::Syntax(what) })
    }

    fn broken(&self, rule: Rule) -> Broken {
        Broken { rule, offset: self.offset }
    }
}

/// What became of a container.
enum Put {
    /// Another value comes.
    More(Open),
    /// It ended; it is a value now.
    Complete(Value),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Value, Error> {
        parse(text.as_bytes(), &Limits::default())
    }

    fn rule(text: &str, limits: &Limits) -> Option<Rule> {
        parse(text.as_bytes(), limits).err().map(|error| error.rule)
    }

    #[test]
    fn keys_that_the_library_reads_as_something_else_are_refused() {
        for text in [
            r#"{"a":{"$serde_json::private::Number":"5"}}"#,
            r#"{"a":{"\u0024serde_json::private::RawValue":"[1]"}}"#,
        ] {
            let error = parse(text.as_bytes(), &Limits::default()).unwrap_err();
            assert_eq!(error.rule, Rule::ReservedKey);
        }
    }

    #[test]
    fn json_is_read_and_numbers_keep_their_text() {
        let text = r#" {"data": {"n": 12345678901234567890123, "f": 1.10, "e": 1e400, "z": -0,
            "list": [true, false, null, {}, [], "\u00e9\ud83d\ude00\n\/"]}, "": "é"} "#;
        let value = read(text).unwrap();
        let written = serde_json::to_string(&value).unwrap();
        for number in ["12345678901234567890123", "1.10", "1e400", "-0"] {
            assert!(written.contains(number), "{written}");
        }
        // The other reader writes an exponent's sign out.
        let theirs: Value = serde_json::from_str(&text.replace("1e400", "1e+400")).unwrap();
        assert_eq!(read(&text.replace("1e400", "1e+400")), Ok(theirs));
        assert_eq!(read("5").unwrap().as_u64(), Some(5));
    }

    #[test]
    fn errors_tell_the_rule_and_the_place() {
        for (text, expected) in [
            ("", "malformed JSON, the input ends too early (line 1, byte offset 0)"),
            ("{", "malformed JSON, the input ends too early (line 1, byte offset 1)"),
            ("{\"a\":", "malformed JSON, the input ends too early (line 1, byte offset 5)"),
            ("\"a", "malformed JSON, the input ends too early (line 1, byte offset 2)"),
            ("x", "malformed JSON, expected a value (line 1, byte offset 0)"),
            ("{\n \"a\": 1 2}", "malformed JSON, expected a comma or } (line 2, byte offset 10)"),
            ("[1 2]", "malformed JSON, expected a comma or ] (line 1, byte offset 3)"),
            ("[1,]", "malformed JSON, expected a value (line 1, byte offset 3)"),
            ("{\"a\":1,}", "malformed JSON, expected a key in quotes (line 1, byte offset 7)"),
            ("{not json", "malformed JSON, expected a key in quotes (line 1, byte offset 1)"),
            ("{\"a\" 1}", "malformed JSON, expected : after the key (line 1, byte offset 5)"),
            ("[01]", "malformed JSON, expected a comma or ] (line 1, byte offset 2)"),
            ("[-x]", "malformed JSON, expected a digit (line 1, byte offset 2)"),
            ("[1.e]", "malformed JSON, expected a digit (line 1, byte offset 3)"),
            (
                "\"\\q\"",
                "malformed JSON, expected a valid escape in the string (line 1, byte offset 1)",
            ),
            (
                "\"\\ud800\"",
                "malformed JSON, expected a valid escape in the string (line 1, byte offset 1)",
            ),
            (
                "\"\t\"",
                "malformed JSON, expected no control character in a string (line 1, byte offset 1)",
            ),
            (
                "{\"a\":1}\n xyz",
                "JSON input has text after its top-level value (line 2, byte offset 9)",
            ),
            ("{} {}", "JSON input has text after its top-level value (line 1, byte offset 3)"),
            ("{\"k\": 1,\n\"k\": 2}", "duplicate key in JSON object (line 2, byte offset 9)"),
            ("{\"k\": 1, \"\\u006b\": 2}", "duplicate key in JSON object (line 1, byte offset 9)"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), expected, "{text}");
        }
        let error = parse(b"{\"a\":\n\"\xff\"}", &Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "malformed JSON, expected UTF-8 (line 2, byte offset 7)");
    }

    #[test]
    fn every_limit_holds_at_its_border() {
        let limits = Limits {
            depth: 3,
            string_bytes: 4,
            number_bytes: 3,
            object_entries: 2,
            array_elements: 2,
            values: 7,
        };
        for (fits, exceeds, broken) in [
            ("[[[]]]", "[[[[]]]]", Rule::Depth(3)),
            ("[{\"a\":{}}]", "[[{\"a\":{}}]]", Rule::Depth(3)),
            ("\"éé\"", "\"ééx\"", Rule::StringBytes(4)),
            ("\"\\u00e9\\u00e9\"", "\"\\u00e9\\u00e9\\n\"", Rule::StringBytes(4)),
            ("{\"aaaa\":1}", "{\"aaaaa\":1}", Rule::StringBytes(4)),
            ("123", "1234", Rule::NumberBytes(3)),
            ("{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2,\"c\":3}", Rule::ObjectEntries(2)),
            ("[1,2]", "[1,2,3]", Rule::ArrayElements(2)),
            ("[[1,2],[3,4]]", "[[1,2],[[],[3]]]", Rule::Values(7)),
        ] {
            assert_eq!(rule(fits, &limits), None, "{fits}");
            assert_eq!(rule(exceeds, &limits), Some(broken), "{exceeds}");
        }
    }

    #[test]
    fn the_default_limits_are_those_of_the_constants() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&deep(300)).is_ok());
        let error = read(&deep(301)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "JSON input exceeds allowed nesting depth of 300 (line 1, byte offset 300)",
        );
        assert!(read(&format!("\"{}\"", "x".repeat(STRING_BYTES_MAX))).is_ok());
        assert!(read(&format!("\"{}\"", "x".repeat(STRING_BYTES_MAX + 1))).is_err());
        let wide = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        assert!(read(&wide(10_000)).is_ok());
        assert!(read(&wide(10_001)).is_err());
        let rows = format!("[{}[]]", format!("{},", wide(10_000)).repeat(26));
        assert_eq!(read(&rows).unwrap_err().rule, Rule::Values(VALUES_MAX));
    }

    #[test]
    fn deep_and_broken_bodies_end_without_deep_calls() {
        assert_eq!(read(&"[".repeat(1_000_000)).unwrap_err().rule, Rule::Depth(300));
        assert_eq!(read(&"{\"a\":".repeat(1_000_000)).unwrap_err().rule, Rule::Depth(300));
    }

    #[test]
    fn errors_repeat_nothing_of_the_body() {
        for text in
            ["{\"canary\":1,\"canary\":2}", "[\"canary\" \"canary\"]", "canary", "[1] canary"]
        {
            let error = read(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                proptest::collection::btree_map("\\PC{0,6}", inner, 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_read_as_it_was_written(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            prop_assert_eq!(read(&text), Ok(value));
        }

        #[test]
        fn what_is_accepted_is_what_serde_json_accepts(
            text in "([\\[\\]{},: \n\"]|\"[ab\\\\u0]{0,2}\":?|-?[01]{0,2}[.e+]?[0-9]?|true|nul){0,12}",
        ) {
            match (read(&text), serde_json::from_str::<Value>(&text)) {
                (Ok(ours), Ok(theirs)) => {
                    // Theirs writes exponents out, so ours goes through it as well.
                    prop_assert_eq!(serde_json::from_str(&ours.to_string()).ok(), Some(theirs));
                }
                (Err(error), Ok(_)) => prop_assert_eq!(error.rule, Rule::DuplicateKey, "{}", text),
                (Ok(_), Err(error)) => prop_assert!(false, "{} is {}", text, error),
                (Err(_), Err(_)) => {}
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = parse(&bytes, &Limits::default()) {
                prop_assert!(error.offset <= bytes.len());
            }
        }
    }
}
