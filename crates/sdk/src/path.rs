//! Declared paths: pattern, operations, inputs and code in one place.

use crate::{Error, Reply, Request, field};
use schemars::{JsonSchema, Schema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
};

/// What is done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// A write to what does not exist. Only policies tell it from an update.
    Create,
    /// GET.
    Read,
    /// POST or PUT.
    Update,
    /// PATCH with a merge patch.
    Patch,
    /// DELETE.
    Delete,
    /// LIST, or GET with `list=true`.
    List,
    /// SCAN, or GET with `scan=true`: a list of everything below, as OpenBao has it.
    Scan,
}

impl Operation {
    /// The name in audit lines and help.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Read => "read",
            Operation::Update => "update",
            Operation::Patch => "patch",
            Operation::Delete => "delete",
            Operation::List => "list",
            Operation::Scan => "scan",
        }
    }

    /// Whether it asks for the names in a folder; its path ends in `/`.
    pub fn is_listing(self) -> bool {
        matches!(self, Operation::List | Operation::Scan)
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Handler =
    Arc<dyn Fn(Request<Map<String, Value>>) -> BoxFuture<Result<Reply, Error>> + Send + Sync>;
type Exists =
    Arc<dyn Fn(Request<Map<String, Value>>) -> BoxFuture<Result<bool, Error>> + Send + Sync>;

/// Tells from the input, captures included, which user a login is for.
pub type LoginAliasOf = fn(&Map<String, Value>) -> Option<String>;

/// One operation of a path.
#[derive(Clone)]
pub struct Endpoint {
    /// One sentence for help and OpenAPI.
    pub summary: &'static str,
    /// Schema of the input; its properties are the known fields. Additional properties, when it
    /// allows them, are input too and not warned about.
    pub input: Schema,
    fields: Arc<BTreeSet<String>>,
    /// Fields in which `null` says no more than leaving them out: clients that know all fields of
    /// a request send those they do not use as `null`.
    without_null: Arc<BTreeSet<String>>,
    /// Fields that are texts: a number there is taken by its letters, as clients are used to.
    texts: Arc<BTreeSet<String>>,
    takes_any_field: bool,
    verbatim: bool,
    handler: Handler,
}

/// A declared path of an engine.
///
/// Patterns are literal segments and captures: `{name}` is one segment, a last `{name...}` is the
/// rest of the path with at least one character, `{name...?}` the rest or nothing. Literals may follow
/// `{name...}`: they are its end, as in `mounts/{path...}/tune`.
#[derive(Clone)]
pub struct Path {
    /// The pattern as declared, relative to the mount.
    pub pattern: &'static str,
    /// Served without a token.
    pub unauthenticated: bool,
    /// Needs the `sudo` capability.
    pub sudo: bool,
    /// Served in the root namespace only.
    pub root_only: bool,
    /// Left out of help and OpenAPI: it only explains what is wrong with a request.
    pub hidden: bool,
    /// Names in it mean the same whatever their case.
    pub ignores_case: bool,
    /// The operations it serves. Create is never declared: it is an update of what is absent.
    pub endpoints: BTreeMap<Operation, Endpoint>,
    pub(crate) parts: Vec<Part>,
    leaves_only: bool,
    verbatim: bool,
    exists: Option<Exists>,
    login_alias: Option<LoginAliasOf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(&'static str),
    Segment(&'static str),
    Rest { name: &'static str, optional: bool },
}

/// Values a pattern took from a path.
pub type Captures = Vec<(&'static str, String)>;

impl Path {
    /// A path without operations yet. Panics on a malformed pattern: patterns are constants.
    #[expect(clippy::panic, reason = "a pattern is a constant that any test of the engine sees")]
    pub fn new(pattern: &'static str) -> Path {
        let parts = parse(pattern).unwrap_or_else(|| panic!("malformed path pattern {pattern}"));
        Path {
            pattern,
            unauthenticated: false,
            sudo: false,
            root_only: false,
            hidden: false,
            ignores_case: false,
            endpoints: BTreeMap::new(),
            parts,
            leaves_only: false,
            verbatim: false,
            exists: None,
            login_alias: None,
        }
    }

    /// Served without a token: where tokens come from, and public facts.
    #[must_use]
    pub fn unauthenticated(mut self) -> Path {
        self.unauthenticated = true;
        self
    }

    /// Needs `sudo` beside the operation's capability.
    #[must_use]
    pub fn sudo(mut self) -> Path {
        self.sudo = true;
        self
    }

    /// Served in the root namespace only.
    #[must_use]
    pub fn root_only(mut self) -> Path {
        self.root_only = true;
        self
    }

    /// Left out of help and OpenAPI.
    #[must_use]
    pub fn hidden(mut self) -> Path {
        self.hidden = true;
        self
    }

    /// Names in it mean the same whatever their case: a rule of a policy for one spelling holds for
    /// all of them, or a denial could be evaded.
    #[must_use]
    pub fn ignores_case(mut self) -> Path {
        self.ignores_case = true;
        self
    }

    /// Logs users in: `user` tells from the input, before anything runs, whom. The name is the one
    /// the login's alias has. After some failures ([`crate::Code::BadCredentials`]) the kernel locks
    /// that user out.
    #[must_use]
    pub fn login_alias(mut self, user: LoginAliasOf) -> Path {
        self.login_alias = Some(user);
        self
    }

    /// A rest that ends in `/` names a folder and does not match.
    #[must_use]
    pub fn leaves_only(mut self) -> Path {
        self.leaves_only = true;
        self
    }

    /// The input is what the client sent and nothing else, for documents whose fields may have any
    /// name: what the path names is in [`Request::path`]. Said before the operations.
    #[must_use]
    pub fn verbatim(mut self) -> Path {
        self.verbatim = true;
        self
    }

    /// Declares one operation: its summary, its input type and its code.
    #[must_use]
    pub fn on<E, I, F, Fut>(
        mut self,
        operation: Operation,
        engine: &Arc<E>,
        summary: &'static str,
        code: F,
    ) -> Path
    where
        E: Send + Sync + 'static,
        I: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(Arc<E>, Request<I>) -> Fut + Send + Sync + Copy + 'static,
        Fut: Future<Output = Result<Reply, Error>> + Send + 'static,
    {
        let engine = engine.clone();
        let handler: Handler = Arc::new(move |request| {
            let engine = engine.clone();
            Box::pin(async move {
                let (input, request) = request.take_input();
                code(engine, request.with_input(typed::<I>(input)?)).await
            })
        });
        let input = schema_for!(I);
        let fields = Arc::new(field_names(&input));
        let without_null = Arc::new(fields_without_null(&input));
        let texts = Arc::new(text_fields(&input));
        let additional = input.get("additionalProperties");
        let takes_any_field = additional.is_some_and(|allowed| *allowed != Value::Bool(false));
        let verbatim = self.verbatim;
        let endpoint = Endpoint {
            summary,
            input,
            fields,
            without_null,
            texts,
            takes_any_field,
            verbatim,
            handler,
        };
        self.endpoints.insert(operation, endpoint);
        self
    }

    /// Declares how to tell whether what the path names exists, so that policies can tell creation
    /// from update. Without it a write is an update.
    #[must_use]
    pub fn exists<E, I, F, Fut>(mut self, engine: &Arc<E>, code: F) -> Path
    where
        E: Send + Sync + 'static,
        I: DeserializeOwned + Send + 'static,
        F: Fn(Arc<E>, Request<I>) -> Fut + Send + Sync + Copy + 'static,
        Fut: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        let engine = engine.clone();
        self.exists = Some(Arc::new(move |request| {
            let engine = engine.clone();
            Box::pin(async move {
                let (input, request) = request.take_input();
                code(engine, request.with_input(typed::<I>(input)?)).await
            })
        }));
        self
    }

    /// What the pattern takes from a path relative to the mount; `None` when it does not match.
    pub fn matches(&self, path: &str) -> Option<Captures> {
        let mut captures = Vec::new();
        let mut rest = Some(path);
        for (place, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(text) => {
                    let (segment, after) = next_segment(rest?);
                    if segment != *text {
                        return None;
                    }
                    rest = after;
                }
                Part::Segment(name) => {
                    let (segment, after) = next_segment(rest?);
                    if segment.is_empty() {
                        return None;
                    }
                    captures.push((*name, segment.to_owned()));
                    rest = after;
                }
                Part::Rest { name, optional } => {
                    let mut text = rest.unwrap_or_default();
                    for end in self.parts.iter().skip(place + 1).rev() {
                        let Part::Literal(end) = end else { return None };
                        text = text.trim_end_matches('/').strip_suffix(end)?.strip_suffix('/')?;
                    }
                    if text.is_empty() && !optional || self.leaves_only && text.ends_with('/') {
                        return None;
                    }
                    captures.push((*name, text.to_owned()));
                    return Some(captures);
                }
            }
        }
        // A slash at the end names the same path.
        rest.is_none_or(str::is_empty).then_some(captures)
    }

    /// The user that a request with this input would log in; none where nobody logs in.
    pub fn login_alias_of(
        &self,
        input: &Map<String, Value>,
        captures: &Captures,
    ) -> Option<String> {
        let user = self.login_alias?;
        let mut input = input.clone();
        input.extend(
            captures.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())),
        );
        user(&input).filter(|name| !name.is_empty())
    }

    /// Whether it tells creation from update.
    pub fn tells_existence(&self) -> bool {
        self.exists.is_some()
    }

    /// Whether what the request names exists; `None` when the path does not tell.
    pub async fn check_exists(
        &self,
        request: Request<Map<String, Value>>,
        captures: Captures,
    ) -> Option<Result<bool, Error>> {
        let exists = self.exists.as_ref()?;
        let (mut input, request) = request.take_input();
        if !self.verbatim {
            input.extend(captures.into_iter().map(|(name, value)| (name.to_owned(), value.into())));
            if let Some(write) = self.endpoints.get(&Operation::Update) {
                write.spell_numbers(&mut input);
            }
        }
        Some(exists(request.with_input(input)).await)
    }
}

impl Endpoint {
    /// Runs the code on an input, completed with what the path names. Fields the endpoint does not
    /// know, and those that the path replaces, become warnings of the reply.
    pub async fn call(
        &self,
        request: Request<Map<String, Value>>,
        captures: Captures,
    ) -> Result<Reply, Error> {
        let (mut input, request) = request.take_input();
        let mut unknown: Vec<String> = input
            .keys()
            .filter(|name| !self.takes_any_field && !self.fields.contains(*name))
            .cloned()
            .collect();
        unknown.sort_unstable();
        input.retain(|name, value| !value.is_null() || !self.without_null.contains(name));
        self.spell_numbers(&mut input);
        let mut replaced = Vec::new();
        for (name, value) in captures.into_iter().filter(|_| !self.verbatim) {
            let value = Value::from(value);
            // Some clients repeat in the body what the path says: nothing is replaced then.
            if input.insert(name.to_owned(), value.clone()).is_some_and(|old| old != value) {
                replaced.push(name);
            }
        }
        let mut reply = (self.handler)(request.with_input(input)).await?;
        if !unknown.is_empty() {
            reply.warnings.push(format!(
                "Endpoint ignored these unrecognized parameters: [{}]",
                unknown.join(" ")
            ));
        }
        if !replaced.is_empty() {
            reply.warnings.push(format!(
                "Endpoint replaced the value of these parameters with the values captured from the \
                 endpoint's path: [{}]",
                replaced.join(" ")
            ));
        }
        Ok(reply)
    }

    fn spell_numbers(&self, input: &mut Map<String, Value>) {
        for (name, value) in input.iter_mut().filter(|_| !self.verbatim) {
            if let Value::Number(number) = value
                && self.texts.contains(name)
            {
                *value = Value::String(number.to_string());
            }
        }
    }

    /// Names of the fields it knows, those of the path included.
    pub fn fields(&self) -> &BTreeSet<String> {
        &self.fields
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({})", self.pattern)
    }
}

/// Turns fields into a typed input. The message names the field and never repeats its value.
pub fn typed<I: DeserializeOwned>(input: Map<String, Value>) -> Result<I, Error> {
    serde_path_to_error::deserialize(Value::Object(input)).map_err(|error| {
        let field = error.path().to_string();
        let text = error.inner().to_string();
        let text = text.strip_suffix('.').unwrap_or(&text);
        if text.contains("missing field") {
            return Error::invalid(format!("missing {}", missing(text)));
        }
        let reason = reason(text);
        Error::invalid(format!(
            "Field validation failed: error converting input for field {field:?}: {reason}"
        ))
    })
}

fn missing(text: &str) -> &str {
    text.split('`').nth(1).unwrap_or("field")
}

/// What is wrong with a field, in the words clients know where there are such. Other texts may
/// repeat the value: of them only what was expected is told.
fn reason(text: &str) -> Cow<'_, str> {
    if field::is_refusal(text) {
        return text.into();
    }
    let expected = text.rfind("expected ").and_then(|start| text.get(start..));
    match (expected.unwrap_or("wrong type"), found(text)) {
        ("expected a string", Some(found)) => {
            field::unconvertible("", "string", found.go_type()).into()
        }
        // The names of our types mean nothing to clients.
        (map, found) if map.starts_with("expected struct ") || map == "expected a map" => {
            match found {
                Some(found) => format!("'' expected a map, got '{}'", found.go_kind()).into(),
                None => "expected a map".into(),
            }
        }
        (expected, _) => expected.into(),
    }
}

/// What was found instead, as the deserializer begins to tell it.
fn found(text: &str) -> Option<field::Found> {
    let text = text.strip_prefix("invalid type: ")?;
    let word = text.split([' ', ',']).next()?;
    Some(match word {
        "map" => field::Found::Object,
        "sequence" => field::Found::Array,
        "boolean" => field::Found::Bool,
        "string" => field::Found::Text,
        "integer" | "floating" | "number" => field::Found::Number,
        _ => return None,
    })
}

fn field_names(schema: &Schema) -> BTreeSet<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

fn fields_without_null(schema: &Schema) -> BTreeSet<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let fields = properties.into_iter().flatten();
    fields.filter(|(_, schema)| !admits_null(schema)).map(|(name, _)| name.clone()).collect()
}

/// A duration or one of a few words is not any text.
fn text_fields(schema: &Schema) -> BTreeSet<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let is_text = |schema: &Value| {
        let kind = schema.get("type");
        let plain = ["format", "enum", "const"].iter().all(|name| schema.get(name).is_none());
        let text = match kind {
            Some(Value::String(kind)) => kind == "string",
            Some(Value::Array(kinds)) => {
                kinds.iter().all(|kind| kind == "string" || kind == "null")
            }
            _ => false,
        };
        text && plain
    };
    let fields = properties.into_iter().flatten();
    fields.filter(|(_, schema)| is_text(schema)).map(|(name, _)| name.clone()).collect()
}

fn admits_null(schema: &Value) -> bool {
    let Value::Object(schema) = schema else { return true };
    let any = |name: &str| {
        let all = schema.get(name).and_then(Value::as_array);
        all.is_some_and(|all| all.iter().any(admits_null))
    };
    match schema.get("type") {
        Some(Value::String(one)) => one == "null",
        Some(Value::Array(several)) => several.iter().any(|one| one == "null"),
        Some(_) => false,
        None if schema.contains_key("$ref") => false,
        None if schema.contains_key("anyOf") || schema.contains_key("oneOf") => {
            any("anyOf") || any("oneOf")
        }
        None => true,
    }
}

fn next_segment(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((segment, rest)) => (segment, Some(rest)),
        None => (path, None),
    }
}

fn parse(pattern: &'static str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for text in pattern.split('/') {
        let ended = parts.iter().any(|part| matches!(part, Part::Rest { .. }));
        parts.push(match text.strip_prefix('{') {
            None => Part::Literal(text),
            Some(_) if ended => return None,
            Some(capture) => {
                let name = capture.strip_suffix('}')?;
                if let Some(name) = name.strip_suffix("...?") {
                    Part::Rest { name, optional: true }
                } else if let Some(name) = name.strip_suffix("...") {
                    Part::Rest { name, optional: false }
                } else {
                    Part::Segment(name)
                }
            }
        });
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_capture_segments_and_the_rest() {
        let path = Path::new("roles/{name}/secret-id");
        assert_eq!(path.matches("roles/a/secret-id"), Some(vec![("name", "a".to_owned())]));
        assert_eq!(path.matches("roles/a/secret-id/"), Some(vec![("name", "a".to_owned())]));
        assert_eq!(path.matches("roles//secret-id"), None);
        assert_eq!(path.matches("roles/a/secret-id/b"), None);
        let path = Path::new("data/{path...}");
        assert_eq!(path.matches("data/a/b"), Some(vec![("path", "a/b".to_owned())]));
        assert_eq!(path.matches("data/"), None);
        assert_eq!(path.matches("data"), None);
        let path = Path::new("metadata/{path...?}");
        assert_eq!(path.matches("metadata/"), Some(vec![("path", String::new())]));
        assert_eq!(path.matches("metadata"), Some(vec![("path", String::new())]));
        assert_eq!(path.matches("metadata/a/"), Some(vec![("path", "a/".to_owned())]));
        assert_eq!(Path::new("config").matches("config"), Some(vec![]));
        let path = Path::new("mounts/{path...}/tune");
        assert_eq!(path.matches("mounts/a/b/tune"), Some(vec![("path", "a/b".to_owned())]));
        assert_eq!(path.matches("mounts/tune/tune"), Some(vec![("path", "tune".to_owned())]));
        assert_eq!(path.matches("mounts/tune"), None);
        assert_eq!(path.matches("mounts//tune"), None);
        assert_eq!(path.matches("mounts/a/b"), None);
    }

    #[test]
    fn a_path_of_leaves_does_not_match_a_folder() {
        let path = Path::new("data/{path...}").leaves_only();
        assert_eq!(path.matches("data/a/b"), Some(vec![("path", "a/b".to_owned())]));
        assert_eq!(path.matches("data/a/"), None);
    }

    #[test]
    fn a_malformed_pattern_is_refused() {
        assert_eq!(parse("data/{path...}/{more}"), None);
        assert_eq!(parse("data/{path"), None);
    }

    #[derive(serde::Deserialize)]
    struct Fields {
        #[serde(default)]
        number: crate::field::Integer,
        document: Option<Box<serde_json::value::RawValue>>,
        value: Option<Value>,
        #[serde(rename = "must")]
        _must: String,
    }

    fn fields(text: &str) -> Result<Fields, Error> {
        typed(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn numbers_reach_the_handler_letter_by_letter() {
        let text = r#"{"a":1.10,"b":1.5e+400,"c":12345678901234567890123,"d":-0}"#;
        let input = fields(&format!(r#"{{"must":"","document":{text}}}"#)).unwrap();
        assert_eq!(input.document.unwrap().get(), text);
        // A value takes a way on which only the sign of a zero is lost.
        let input = fields(&format!(r#"{{"must":"","value":{text}}}"#)).unwrap();
        assert_eq!(input.value.unwrap().to_string(), text.replace("-0", "0"));
    }

    #[test]
    fn null_is_as_if_left_out_where_it_has_no_meaning_of_its_own() {
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only the schema is looked at")]
        struct Input {
            text: String,
            #[schemars(with = "String")]
            secret: Option<String>,
            optional: Option<String>,
            any: Value,
            span: crate::field::Ttl,
            several: Option<Vec<String>>,
        }
        let fields = fields_without_null(&schema_for!(Input));
        assert_eq!(fields.iter().collect::<Vec<_>>(), ["secret", "span", "text"]);
    }

    #[test]
    fn a_text_may_be_sent_as_a_number_but_a_word_of_a_few_or_a_duration_is_not_any_text() {
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only the schema is looked at")]
        struct Input {
            text: String,
            #[schemars(with = "String")]
            secret: Option<String>,
            optional: Option<String>,
            span: crate::field::Ttl,
            count: crate::field::Integer,
            any: Value,
            several: Vec<String>,
        }
        let fields = text_fields(&schema_for!(Input));
        assert_eq!(fields.iter().collect::<Vec<_>>(), ["optional", "secret", "text"]);
    }

    #[test]
    fn a_refused_field_is_named_and_its_value_is_not_repeated() {
        let error = fields(r#"{"must":"","number":"canary"}"#).err().unwrap();
        assert_eq!(
            error.to_string(),
            "Field validation failed: error converting input for field \"number\": '' cannot parse \
             value as 'int': strconv.ParseInt: invalid syntax"
        );
        let error = fields(r#"{"must":["canary expected to leak"]}"#).err().unwrap();
        let text = "\"must\": '' expected type 'string', got unconvertible type '[]interface {}'";
        assert!(error.to_string().ends_with(text), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
        assert_eq!(fields("{}").err().unwrap().to_string(), "missing must");
        assert_eq!(fields(r#"{"must":"","number":"7"}"#).unwrap().number.0, 7);
    }
}
