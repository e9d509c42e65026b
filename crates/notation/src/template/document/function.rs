//! The functions of documents.

use super::{
    LIST_MAX, OUTPUT_BYTES_MAX, Value,
    buffer::{Buffer, TooLong},
    format,
    value::Json,
};
use crate::{
    json,
    template::function::{lower, replace, upper},
};
use aws_lc_rs::digest;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use std::cmp::Ordering;
use zeroize::{Zeroize as _, Zeroizing};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Len,
    Index,
    Print,
    Printf,
    Println,
    UrlQuery,
    Html,
    Upper,
    Lower,
    Title,
    TrimSpace,
    Trim,
    TrimPrefix,
    TrimSuffix,
    Replace,
    Split,
    Join,
    Contains,
    In,
    Indent,
    Base64Encode,
    Base64Decode,
    Base64UrlEncode,
    Base64UrlDecode,
    Sha256,
    ToJson,
    ToJsonPretty,
    ToUnescapedJson,
    ToUnescapedJsonPretty,
    ParseJson,
    ParseInt,
    ParseBool,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Loop,
}

pub(super) struct Known {
    name: &'static str,
    pub(super) function: Function,
    least: usize,
    most: usize,
}

const MANY: usize = 64;

const fn known(name: &'static str, function: Function, least: usize, most: usize) -> Known {
    Known { name, function, least, most }
}

const FUNCTIONS: &[Known] = &[
    known("and", Function::And, 1, MANY),
    known("or", Function::Or, 1, MANY),
    known("not", Function::Not, 1, 1),
    known("eq", Function::Eq, 2, MANY),
    known("ne", Function::Ne, 2, 2),
    known("lt", Function::Lt, 2, 2),
    known("le", Function::Le, 2, 2),
    known("gt", Function::Gt, 2, 2),
    known("ge", Function::Ge, 2, 2),
    known("len", Function::Len, 1, 1),
    known("index", Function::Index, 2, MANY),
    known("print", Function::Print, 1, MANY),
    known("printf", Function::Printf, 1, MANY),
    known("println", Function::Println, 0, MANY),
    known("html", Function::Html, 1, 1),
    known("urlquery", Function::UrlQuery, 1, 1),
    known("toUpper", Function::Upper, 1, 1),
    known("uppercase", Function::Upper, 1, 1),
    known("toLower", Function::Lower, 1, 1),
    known("lowercase", Function::Lower, 1, 1),
    known("toTitle", Function::Title, 1, 1),
    known("trimSpace", Function::TrimSpace, 1, 1),
    known("trim", Function::Trim, 2, 2),
    known("trimPrefix", Function::TrimPrefix, 2, 2),
    known("trimSuffix", Function::TrimSuffix, 2, 2),
    known("replaceAll", Function::Replace, 3, 3),
    known("replace", Function::Replace, 3, 3),
    known("split", Function::Split, 2, 2),
    known("join", Function::Join, 2, 2),
    known("contains", Function::Contains, 2, 2),
    known("in", Function::In, 2, 2),
    known("indent", Function::Indent, 2, 2),
    known("base64Encode", Function::Base64Encode, 1, 1),
    known("base64Decode", Function::Base64Decode, 1, 1),
    known("base64URLEncode", Function::Base64UrlEncode, 1, 1),
    known("base64URLDecode", Function::Base64UrlDecode, 1, 1),
    known("sha256Hex", Function::Sha256, 1, 1),
    known("sha256", Function::Sha256, 1, 1),
    known("toJSON", Function::ToJson, 1, 1),
    known("toJSONPretty", Function::ToJsonPretty, 1, 1),
    known("toUnescapedJSON", Function::ToUnescapedJson, 1, 1),
    known("toUnescapedJSONPretty", Function::ToUnescapedJsonPretty, 1, 1),
    known("parseJSON", Function::ParseJson, 1, 1),
    known("parseInt", Function::ParseInt, 1, 1),
    known("parseBool", Function::ParseBool, 1, 1),
    known("add", Function::Add, 2, 2),
    known("subtract", Function::Subtract, 2, 2),
    known("multiply", Function::Multiply, 2, 2),
    known("divide", Function::Divide, 2, 2),
    known("modulo", Function::Modulo, 2, 2),
    known("loop", Function::Loop, 1, 2),
];

/// Functions that consul-template has, and why they are not there.
const REFUSED: &[(&str, &str)] = &[
    ("key", "it reads Consul, which the agent does not speak"),
    ("keyExists", "it reads Consul, which the agent does not speak"),
    ("keyOrDefault", "it reads Consul, which the agent does not speak"),
    ("ls", "it reads Consul, which the agent does not speak"),
    ("tree", "it reads Consul, which the agent does not speak"),
    ("service", "it reads Consul, which the agent does not speak"),
    ("services", "it reads Consul, which the agent does not speak"),
    ("node", "it reads Consul, which the agent does not speak"),
    ("env", "the agent's own variables stay with it unless they are allowed"),
    ("mustEnv", "the agent's own variables stay with it unless they are allowed"),
    ("envOrDefault", "the agent's own variables stay with it unless they are allowed"),
    ("file", "a template reads secrets and no other files"),
    ("writeToFile", "a template writes its own file only"),
    ("plugin", "a template runs no programs"),
    ("executeTemplate", "a file has one template"),
    ("call", "there are no functions among values"),
    ("secrets", "secrets are named, not listed"),
    ("pkiCert", "certificates are not issued by templates"),
    ("timestamp", "a file that holds the time would change without a reason"),
    ("scratch", "take a variable: $name := value"),
    ("regexMatch", "there are no regular expressions; take contains, trimPrefix or eq"),
    ("regexReplaceAll", "there are no regular expressions; take replaceAll"),
    ("toYAML", "take toJSON, which readers of YAML read as well"),
    ("parseYAML", "take parseJSON, where the text is JSON"),
    ("toTOML", "write it out, with toJSON for each text"),
    ("md5sum", "take sha256Hex"),
];

pub(super) fn named(name: &str) -> Option<&'static Known> {
    FUNCTIONS.iter().find(|known| known.name == name)
}

/// What is said of a function that is not there.
pub(super) fn unknown<'n>(name: &str, also: impl Iterator<Item = &'n str>) -> String {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return format!("function {name} is refused: {why}");
    }
    if name.starts_with("sprig_") {
        return format!("function {name} is refused: the functions of sprig are not there");
    }
    let all = FUNCTIONS.iter().map(|known| known.name).chain(also);
    let likeness = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase());
    let nearest = all.max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let nearest = nearest.unwrap_or_default();
    format!("unknown function {name}; the nearest there is {nearest}")
}

impl Known {
    pub(super) fn check_count(&self, count: usize) -> Result<(), String> {
        if (self.least..=self.most).contains(&count) {
            return Ok(());
        }
        let (name, least) = (self.name, self.least);
        let wanted = match self.most {
            most if most == least => least.to_string(),
            MANY => format!("at least {least}"),
            most => format!("{least} to {most}"),
        };
        let plural = if wanted == "1" { "" } else { "s" };
        Err(format!("{name} takes {wanted} argument{plural}, found {count}"))
    }
}

type Called = Result<Value, String>;

impl Function {
    /// What it yields. Messages hold no value.
    pub(super) fn call(self, arguments: &[Value]) -> Called {
        let argument = |at: usize| arguments.get(at).unwrap_or(&Value::Nothing);
        let text = |at: usize| self.text(argument(at));
        match self {
            Function::And | Function::Or => Ok(argument(0).clone()),
            Function::Not => Ok(Value::Flag(!argument(0).holds())),
            Function::Eq => {
                let mut equal = false;
                for other in arguments.iter().skip(1) {
                    equal |= are_equal(argument(0), other)?;
                }
                Ok(Value::Flag(equal))
            }
            Function::Ne => Ok(Value::Flag(!are_equal(argument(0), argument(1))?)),
            Function::Lt => Ok(Value::Flag(order(argument(0), argument(1))?.is_lt())),
            Function::Le => Ok(Value::Flag(order(argument(0), argument(1))?.is_le())),
            Function::Gt => Ok(Value::Flag(order(argument(0), argument(1))?.is_gt())),
            Function::Ge => Ok(Value::Flag(order(argument(0), argument(1))?.is_ge())),
            Function::Len => {
                let length = argument(0).length().and_then(|length| i64::try_from(length).ok());
                length
                    .map(Value::Integer)
                    .ok_or_else(|| self.wrong("a text, list or map", argument(0)))
            }
            Function::Index => index(argument(0), arguments.get(1..).unwrap_or_default()),
            Function::Print => print(arguments, Spaces::BetweenOthers),
            Function::Println => print(arguments, Spaces::BetweenAll),
            Function::Html => format::html(&text(0)?),
            Function::Printf => format::printf(&text(0)?, arguments.get(1..).unwrap_or_default()),
            Function::UrlQuery => format::url_query(&text(0)?),
            Function::Upper => Ok(mapped(&text(0)?, upper)),
            Function::Lower => Ok(mapped(&text(0)?, lower)),
            Function::Title => Ok(title(&text(0)?)),
            Function::TrimSpace => Ok(Value::text(text(0)?.trim())),
            Function::Trim => {
                let cut = text(0)?;
                Ok(Value::text(text(1)?.trim_matches(|letter| cut.contains(letter))))
            }
            Function::TrimPrefix => {
                let (prefix, text) = (text(0)?, text(1)?);
                Ok(Value::text(text.strip_prefix(prefix.as_str()).unwrap_or(&text)))
            }
            Function::TrimSuffix => {
                let (suffix, text) = (text(0)?, text(1)?);
                Ok(Value::text(text.strip_suffix(suffix.as_str()).unwrap_or(&text)))
            }
            Function::Replace => {
                let replaced = replace(&text(0)?, &text(1)?, &text(2)?, OUTPUT_BYTES_MAX);
                replaced.map(Value::text).ok_or_else(|| too_long(TooLong))
            }
            Function::Split => split(&text(0)?, &text(1)?),
            Function::Join => self.join(&text(0)?, argument(1)),
            Function::Contains => self.contains(argument(0), argument(1)),
            Function::In => self.contains(argument(1), argument(0)),
            Function::Indent => indent(self.integer(argument(0))?, &text(1)?),
            Function::Base64Encode => Ok(Value::text(STANDARD.encode(text(0)?.as_bytes()))),
            Function::Base64UrlEncode => Ok(Value::text(URL_SAFE.encode(text(0)?.as_bytes()))),
            Function::Base64Decode => decoded(STANDARD.decode(text(0)?.as_bytes())),
            Function::Base64UrlDecode => decoded(URL_SAFE.decode(text(0)?.as_bytes())),
            Function::Sha256 => {
                let hash = digest::digest(&digest::SHA256, text(0)?.as_bytes());
                Ok(Value::text(hex::encode(hash)))
            }
            Function::ToJson => written(argument(0), Json { pretty: false, escapes_html: true }),
            Function::ToJsonPretty => {
                written(argument(0), Json { pretty: true, escapes_html: true })
            }
            Function::ToUnescapedJson => {
                written(argument(0), Json { pretty: false, escapes_html: false })
            }
            Function::ToUnescapedJsonPretty => {
                written(argument(0), Json { pretty: true, escapes_html: false })
            }
            Function::ParseJson => {
                let parsed = json::parse(text(0)?.as_bytes(), &json::Limits::default());
                parsed.map(Value::from).map_err(|error| format!("parseJSON: {error}"))
            }
            Function::ParseInt => match text(0)?.trim() {
                "" => Ok(Value::Integer(0)),
                text => text
                    .parse()
                    .map(Value::Integer)
                    .map_err(|_| "parseInt: the text is no whole number".to_owned()),
            },
            Function::ParseBool => match text(0)?.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Flag(true)),
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Flag(false)),
                _ => Err("parseBool: the text is neither true nor false".to_owned()),
            },
            Function::Add | Function::Subtract | Function::Multiply => self.count(arguments),
            Function::Divide | Function::Modulo => self.count(arguments),
            Function::Loop => self.numbers(arguments),
        }
    }

    fn text(self, value: &Value) -> Result<Zeroizing<String>, String> {
        value.plain().ok_or_else(|| self.wrong("a text", value))
    }

    fn integer(self, value: &Value) -> Result<i64, String> {
        match value {
            Value::Integer(number) => Ok(*number),
            _ => Err(self.wrong("a whole number", value)),
        }
    }

    fn name(self) -> &'static str {
        let known = FUNCTIONS.iter().find(|known| known.function == self);
        known.map(|known| known.name).unwrap_or_default()
    }

    fn wrong(self, wanted: &str, found: &Value) -> String {
        let name = self.name();
        match found {
            Value::Nothing => format!("{name} is given something that has no value"),
            _ => format!("{name} wants {wanted}, found {}", found.kind()),
        }
    }

    fn join(self, between: &str, list: &Value) -> Called {
        let Value::List(items) = list else { return Err(self.wrong("a list", list)) };
        let mut out = Buffer::new(OUTPUT_BYTES_MAX);
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(between).map_err(too_long)?;
            }
            out.push(&self.text(item)?).map_err(too_long)?;
        }
        Ok(out.into())
    }

    fn contains(self, needle: &Value, hay: &Value) -> Called {
        match hay {
            Value::Text(text) => Ok(Value::Flag(text.contains(self.text(needle)?.as_str()))),
            Value::List(items) => Ok(Value::Flag(items.contains(needle))),
            Value::Map(entries) => Ok(Value::Flag(entries.values().any(|value| value == needle))),
            Value::Nothing => Ok(Value::Flag(false)),
            _ => Err(self.wrong("a text, list or map", hay)),
        }
    }

    /// As consul-template has it: `subtract 2 5` is 3, so that `5 | subtract 2` reads well.
    fn count(self, arguments: &[Value]) -> Called {
        let argument = |at: usize| self.integer(arguments.get(at).unwrap_or(&Value::Nothing));
        let (by, from) = (argument(0)?, argument(1)?);
        let counted = match self {
            Function::Add => from.checked_add(by),
            Function::Subtract => from.checked_sub(by),
            Function::Multiply => from.checked_mul(by),
            Function::Divide => from.checked_div(by),
            _ => from.checked_rem(by),
        };
        counted
            .map(Value::Integer)
            .ok_or_else(|| format!("{}: the result is no number", self.name()))
    }

    fn numbers(self, arguments: &[Value]) -> Called {
        let (from, to) = match arguments {
            [from, to] => (self.integer(from)?, self.integer(to)?),
            _ => (0, self.integer(arguments.first().unwrap_or(&Value::Nothing))?),
        };
        if to.saturating_sub(from) > i64::try_from(LIST_MAX).unwrap_or(i64::MAX) {
            return Err(format!("loop gives at most {LIST_MAX} numbers"));
        }
        Ok(Value::list((from..to).map(Value::Integer)))
    }
}

pub(super) fn too_long(_: TooLong) -> String {
    format!("a text is longer than {OUTPUT_BYTES_MAX} bytes")
}

fn are_equal(one: &Value, other: &Value) -> Result<bool, String> {
    match (one, other) {
        (Value::Nothing, _) | (_, Value::Nothing) => {
            Ok(matches!((one, other), (Value::Nothing, Value::Nothing)))
        }
        (Value::Flag(one), Value::Flag(other)) => Ok(one == other),
        (Value::Text(one), Value::Text(other)) => Ok(one == other),
        (Value::Integer(one), Value::Integer(other)) => Ok(one == other),
        (Value::Decimal(one), Value::Decimal(other)) => Ok(one == other),
        (Value::Decimal(_), Value::Integer(_)) | (Value::Integer(_), Value::Decimal(_)) => {
            Ok(false)
        }
        _ => Err(format!("{} and {} cannot be compared", one.kind(), other.kind())),
    }
}

fn order(one: &Value, other: &Value) -> Result<Ordering, String> {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => Ok(one.cmp(other)),
        (Value::Integer(one), Value::Integer(other)) => Ok(one.cmp(other)),
        _ => Err(format!("{} and {} have no order", one.kind(), other.kind())),
    }
}

fn index(of: &Value, keys: &[Value]) -> Called {
    let mut value = of.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Nothing, _) => Value::Nothing,
            (Value::Map(entries), Value::Text(key)) => {
                entries.get(key.as_str()).cloned().unwrap_or(Value::Nothing)
            }
            (Value::List(items), Value::Integer(at)) => {
                let item = usize::try_from(*at).ok().and_then(|at| items.get(at));
                item.cloned().ok_or_else(|| {
                    format!("index: there is no item {at} in a list of {}", items.len())
                })?
            }
            _ => return Err(format!("index: {} has no {} as a key", value.kind(), key.kind())),
        };
    }
    Ok(value)
}

/// Where Go's functions that print put spaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spaces {
    /// Between values that are no texts.
    BetweenOthers,
    /// Between all of them; the line ends.
    BetweenAll,
}

fn print(values: &[Value], spaces: Spaces) -> Called {
    let mut out = Buffer::new(OUTPUT_BYTES_MAX);
    let mut last_was_text = None;
    for value in values {
        let is_text = matches!(value, Value::Text(_));
        let apart = spaces == Spaces::BetweenAll || (!is_text && last_was_text == Some(false));
        if apart && last_was_text.is_some() {
            out.push(" ").map_err(too_long)?;
        }
        last_was_text = Some(is_text);
        let text = value.plain().ok_or_else(|| Function::Print.wrong("texts", value))?;
        out.push(&text).map_err(too_long)?;
    }
    if spaces == Spaces::BetweenAll {
        out.push("\n").map_err(too_long)?;
    }
    Ok(out.into())
}

/// The text letter by letter, in a text that never grows.
fn mapped(text: &str, map: impl Fn(char) -> char) -> Value {
    let length = text.chars().map(|letter| map(letter).len_utf8()).sum();
    let mut mapped_text = String::with_capacity(length);
    mapped_text.extend(text.chars().map(map));
    Value::text(mapped_text)
}

/// The first letter of each word in upper case. A word goes on over a sign as in `o'neil` and `a.b`.
fn title(text: &str) -> Value {
    let mut titled = String::with_capacity(2 * text.len());
    let mut letters = text.chars().peekable();
    let (mut in_word, mut last_is_letter) = (false, false);
    while let Some(letter) = letters.next() {
        let joins = matches!(letter, '\'' | '’' | '.' | ':')
            && last_is_letter
            && letters.peek().is_some_and(|next| next.is_alphabetic());
        let is_letter = letter.is_alphabetic();
        titled.push(if is_letter && !in_word { upper(letter) } else { letter });
        in_word = joins || is_letter || (in_word && (letter.is_alphanumeric() || letter == '_'));
        last_is_letter = is_letter;
    }
    Value::text(titled)
}

fn split(at: &str, text: &str) -> Called {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Value::list([]));
    }
    let parts: Vec<&str> = text.split(at).take(LIST_MAX + 1).collect();
    if parts.len() > LIST_MAX {
        return Err(format!("split gives at most {LIST_MAX} parts"));
    }
    Ok(Value::list(parts.into_iter().map(Value::text)))
}

fn indent(spaces: i64, text: &str) -> Called {
    let Some(spaces) = usize::try_from(spaces).ok().filter(|spaces| *spaces <= 1_000) else {
        return Err("indent takes 0 to 1000 spaces".to_owned());
    };
    let spaces = " ".repeat(spaces);
    let mut out = Buffer::new(OUTPUT_BYTES_MAX);
    for line in text.split_inclusive('\n') {
        out.push(&spaces).and_then(|()| out.push(line)).map_err(too_long)?;
    }
    Ok(out.into())
}

fn decoded(bytes: Result<Vec<u8>, base64::DecodeError>) -> Called {
    let bytes = bytes.map_err(|_| "the text is no base64".to_owned())?;
    String::from_utf8(bytes).map(Value::text).map_err(|error| {
        error.into_bytes().zeroize();
        "what is in the base64 is no text".to_owned()
    })
}

fn written(value: &Value, style: Json) -> Called {
    let mut out = Buffer::new(OUTPUT_BYTES_MAX);
    value.write_json(&mut out, style, 0).map_err(too_long)?;
    Ok(out.into())
}
