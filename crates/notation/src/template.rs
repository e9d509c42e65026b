//! Name templates: the subset of Go's templates that makes names of secrets at destinations.
//!
//! ```text
//! vault/{{ .MountAccessor }}/{{ .SecretPath }}
//! VAULT_{{ .SecretPath | replace "/" "_" | uppercase }}_{{ .SecretKey | uppercase }}
//! {{- $unused := .SecretKey }}{{ truncate 20 (sha256 .SecretPath) -}}
//! ```
//!
//! * Placeholders `.Name`; the caller tells which exist.
//! * Strings `"…"` with Go's escapes, raw strings between back quotes, whole numbers.
//! * Variables: `{{ $x := .Name }}` declares, `{{ $x = … }}` changes, `$x` uses.
//! * Parentheses, and pipes, which hand a value to a function as its **last** argument:
//!   `.X | replace "/" "-"` is `replace "/" "-" .X`.
//! * Comments `{{/* … */}}`, and `{{- ` and ` -}}`, which remove white space beside an action.
//!
//! | function | gives |
//! |---|---|
//! | `uppercase value`, `lowercase value` | the value in upper or lower case, letter by letter |
//! | `replace old new value` | the value with every `old` replaced |
//! | `trimPrefix prefix value`, `trimSuffix suffix value` | the value without that beginning or end |
//! | `truncate length value` | at most so many bytes of the value, whole characters |
//! | `sha256 value` | the hash, 64 hexadecimal digits |
//!
//! There is no `if`, `range`, `with` or `printf`. Everything that can be checked is checked by
//! [`Template::parse`]: placeholders, functions, numbers and kinds of arguments. Templates are
//! limited to [`TEXT_BYTES_MAX`], what they yield and every value on the way to
//! [`OUTPUT_BYTES_MAX`].

pub mod document;
mod function;
pub mod generator;
mod scan;

use std::borrow::Cow;
use std::collections::HashMap;

use function::Function;
use scan::{Kind, Piece, Token};

/// The longest template, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;
/// The longest result, and the longest value on the way to it, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 16 * 1024;
/// The deepest nesting of parentheses, in levels.
pub const DEPTH_MAX: usize = 32;

/// Why a template was refused or yields nothing, and at which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: line {line}: {message}")]
pub struct Error {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong; never holds a value of a placeholder.
    pub message: String,
}

impl Error {
    fn new(line: u32, message: impl Into<String>) -> Self {
        Error { line, message: message.into() }
    }
}

/// A checked template.
#[derive(Clone, Debug)]
pub struct Template {
    steps: Vec<Step>,
    placeholders: Vec<String>,
    variables: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Text(String),
    Emit(Expression),
    /// Sets the variable with this number.
    Set(usize, Expression),
}

/// Something that yields a text.
#[derive(Clone, Debug)]
enum Expression {
    Text(String),
    /// The placeholder with this number, and its line.
    Placeholder(usize, u32),
    Variable(usize),
    Call(Function, Vec<Expression>, u32),
}

/// What an operand is. Numbers only come from literals, so they are known while parsing.
#[derive(Clone, Debug)]
enum Operand {
    Number(i64),
    Text(Expression),
}

impl Template {
    /// Reads a template that may use the `allowed` placeholders (names without the dot).
    ///
    /// # Errors
    /// The first thing that is wrong, with its line: an unknown placeholder or function, wrong
    /// arguments, an action that is not closed, a limit.
    pub fn parse(text: &str, allowed: &[&str]) -> Result<Template, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::new(1, format!("longer than {TEXT_BYTES_MAX} bytes")));
        }
        let mut compiler = Compiler {
            allowed,
            template: Template { steps: Vec::new(), placeholders: Vec::new(), variables: 0 },
            variables: HashMap::new(),
            tokens: Vec::new().into_iter().peekable(),
            line: 1,
            depth: 0,
        };
        for piece in scan::pieces(text)? {
            match piece {
                Piece::Text(text) => compiler.template.steps.push(Step::Text(text.to_owned())),
                Piece::Action(tokens, line) => compiler.action(tokens, line)?,
            }
        }
        Ok(compiler.template)
    }

    /// Whether the template uses a placeholder (its name without the dot) anywhere, be it only to
    /// set a variable.
    pub fn references(&self, name: &str) -> bool {
        self.placeholders.iter().any(|used| used == name)
    }

    /// Yields the text, with the values that `value` gives for placeholders' names.
    ///
    /// # Errors
    /// A placeholder without a value, or more than [`OUTPUT_BYTES_MAX`].
    pub fn render<'v>(
        &self,
        value: impl Fn(&str) -> Option<Cow<'v, str>>,
    ) -> Result<String, Error> {
        let mut renderer = Renderer {
            template: self,
            value: &value,
            variables: vec![String::new(); self.variables],
        };
        let mut output = String::new();
        for step in &self.steps {
            match step {
                Step::Text(text) => output.push_str(text),
                Step::Emit(expression) => output.push_str(&renderer.evaluate(expression)?),
                Step::Set(variable, expression) => {
                    let text = renderer.evaluate(expression)?.into_owned();
                    if let Some(variable) = renderer.variables.get_mut(*variable) {
                        *variable = text;
                    }
                }
            }
            if output.len() > OUTPUT_BYTES_MAX {
                return Err(too_long(1));
            }
        }
        Ok(output)
    }
}

fn too_long(line: u32) -> Error {
    Error::new(line, format!("the result is longer than {OUTPUT_BYTES_MAX} bytes"))
}

struct Renderer<'t, V> {
    template: &'t Template,
    value: &'t V,
    variables: Vec<String>,
}

impl<'t, 'v, V: Fn(&str) -> Option<Cow<'v, str>>> Renderer<'t, V> {
    fn evaluate<'a>(&'a self, expression: &'a Expression) -> Result<Cow<'a, str>, Error>
    where
        'v: 'a,
    {
        match expression {
            Expression::Text(text) => Ok(Cow::Borrowed(text)),
            Expression::Variable(variable) => {
                let text = self.variables.get(*variable);
                Ok(Cow::Borrowed(text.map(String::as_str).unwrap_or_default()))
            }
            Expression::Placeholder(placeholder, line) => {
                let name = self.template.placeholders.get(*placeholder);
                let name = name.map(String::as_str).unwrap_or_default();
                let value = (self.value)(name)
                    .ok_or_else(|| Error::new(*line, format!("there is no value for .{name}")))?;
                bounded(value, *line)
            }
            Expression::Call(function, arguments, line) => {
                let arguments: Result<Vec<_>, _> =
                    arguments.iter().map(|argument| self.evaluate(argument)).collect();
                let yielded = function.call(&arguments?).ok_or_else(|| too_long(*line))?;
                bounded(Cow::Owned(yielded), *line)
            }
        }
    }
}

fn bounded(text: Cow<'_, str>, line: u32) -> Result<Cow<'_, str>, Error> {
    if text.len() > OUTPUT_BYTES_MAX { Err(too_long(line)) } else { Ok(text) }
}

/// Turns tokens into steps, one action after the other.
struct Compiler<'a> {
    allowed: &'a [&'a str],
    template: Template,
    /// What the variables declared so far hold.
    variables: HashMap<String, Operand>,
    /// What is left of the action.
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// The line of the last token.
    line: u32,
    depth: usize,
}

impl Compiler<'_> {
    fn action(&mut self, tokens: Vec<Token>, end: u32) -> Result<(), Error> {
        let target = match tokens.as_slice() {
            [Token { kind: Kind::Variable(name), .. }, Token { kind, .. }, ..]
                if matches!(kind, Kind::Declare | Kind::Assign) =>
            {
                Some((name.clone(), *kind == Kind::Declare))
            }
            _ => None,
        };
        self.line = tokens.first().map_or(end, |token| token.line);
        self.tokens = tokens.into_iter().peekable();
        if let Some((name, declares)) = target {
            self.tokens.nth(1);
            return self.set(name, declares);
        }
        let operand = self.pipeline()?;
        self.end()?;
        self.template.steps.push(Step::Emit(text_of(operand)));
        Ok(())
    }

    fn set(&mut self, name: String, declares: bool) -> Result<(), Error> {
        if !declares && !self.variables.contains_key(&name) {
            return Err(self.undefined(&name));
        }
        let operand = self.pipeline()?;
        self.end()?;
        let held = match operand {
            Operand::Number(number) => Operand::Number(number),
            Operand::Text(expression) => {
                let variable = self.template.variables;
                self.template.variables += 1;
                self.template.steps.push(Step::Set(variable, expression));
                Operand::Text(Expression::Variable(variable))
            }
        };
        self.variables.insert(name, held);
        Ok(())
    }

    /// Commands between pipes; what one yields is the last argument of the next.
    fn pipeline(&mut self) -> Result<Operand, Error> {
        let mut yielded = self.command(None)?;
        while self.tokens.next_if(|token| token.kind == Kind::Pipe).is_some() {
            yielded = self.command(Some(yielded))?;
        }
        Ok(yielded)
    }

    fn command(&mut self, piped: Option<Operand>) -> Result<Operand, Error> {
        let Some(first) = self.next_operand()? else {
            return Err(Error::new(self.line, "missing value for command"));
        };
        let line = self.line;
        let Kind::Word(name) = &first.kind else {
            if piped.is_some() {
                return Err(Error::new(line, "a pipe must lead into a function"));
            }
            let operand = self.operand(first)?;
            return match self.next_operand()? {
                None => Ok(operand),
                Some(_) => Err(Error::new(line, "only a function takes arguments")),
            };
        };
        let function = self.function(name)?;
        let mut arguments = Vec::new();
        while let Some(token) = self.next_operand()? {
            if !token.spaced {
                return Err(Error::new(self.line, "arguments need a space between them"));
            }
            arguments.push(self.operand(token)?);
        }
        arguments.extend(piped);
        call(function, arguments, line)
    }

    fn operand(&mut self, token: Token) -> Result<Operand, Error> {
        let line = token.line;
        match token.kind {
            Kind::Text(text) => Ok(Operand::Text(Expression::Text(text))),
            Kind::Number(number) => Ok(Operand::Number(number)),
            Kind::Placeholder(name) => self.placeholder(&name, line),
            Kind::Variable(name) => {
                self.variables.get(&name).cloned().ok_or_else(|| self.undefined(&name))
            }
            // A function among arguments is called without any.
            Kind::Word(name) => call(self.function(&name)?, Vec::new(), line),
            _ => self.parentheses(),
        }
    }

    /// What is in the parentheses whose first is taken.
    fn parentheses(&mut self) -> Result<Operand, Error> {
        let line = self.line;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::new(line, format!("parentheses deeper than {DEPTH_MAX} levels")));
        }
        let operand = self.pipeline()?;
        if self.tokens.next_if(|token| token.kind == Kind::Close).is_none() {
            return Err(Error::new(line, "unclosed left parenthesis"));
        }
        self.depth -= 1;
        Ok(operand)
    }

    fn placeholder(&mut self, name: &str, line: u32) -> Result<Operand, Error> {
        if !self.allowed.contains(&name) {
            let known: Vec<_> = self.allowed.iter().map(|name| format!(".{name}")).collect();
            let known = known.join(", ");
            let message = format!("unknown placeholder .{name}; known are {known}");
            return Err(Error::new(line, message));
        }
        let placeholders = &mut self.template.placeholders;
        let found = placeholders.iter().position(|used| used == name);
        let number = found.unwrap_or_else(|| {
            placeholders.push(name.to_owned());
            placeholders.len() - 1
        });
        Ok(Operand::Text(Expression::Placeholder(number, line)))
    }

    fn function(&self, name: &str) -> Result<Function, Error> {
        Function::named(name).ok_or_else(|| {
            let known = Function::names().join(", ");
            Error::new(self.line, format!("unknown function {name}; known are {known}"))
        })
    }

    /// The next token, if it can be an operand; `None` at a pipe, a closing parenthesis or the end.
    fn next_operand(&mut self) -> Result<Option<Token>, Error> {
        let Some(token) = self.tokens.peek() else { return Ok(None) };
        self.line = token.line;
        match token.kind {
            Kind::Pipe | Kind::Close => Ok(None),
            Kind::Declare | Kind::Assign => Err(self.misplaced_equals()),
            _ => Ok(self.tokens.next()),
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        match self.tokens.peek().map(|token| &token.kind) {
            None => Ok(()),
            Some(Kind::Close) => Err(Error::new(self.line, "unexpected right parenthesis")),
            Some(_) => Err(Error::new(self.line, "unexpected text in the action")),
        }
    }

    fn misplaced_equals(&self) -> Error {
        Error::new(self.line, "a variable is set at the beginning of an action: $name := value")
    }

    fn undefined(&self, name: &str) -> Error {
        Error::new(self.line, format!("undefined variable ${name}"))
    }
}

/// Checks number and kinds of arguments.
fn call(function: Function, arguments: Vec<Operand>, line: u32) -> Result<Operand, Error> {
    let parameters = function.parameters();
    let name = function.name();
    if arguments.len() != parameters.len() {
        let (wanted, found) = (parameters.join(", "), arguments.len());
        let count = parameters.len();
        let plural = if count == 1 { "" } else { "s" };
        let message = format!("{name} takes {count} argument{plural} ({wanted}), found {found}");
        return Err(Error::new(line, message));
    }
    let mut function = function;
    let mut texts = Vec::new();
    for (operand, parameter) in arguments.into_iter().zip(parameters) {
        match operand {
            Operand::Number(number) if function.takes_number(parameter) => {
                let length = usize::try_from(number).ok().filter(|length| *length > 0);
                let message = format!("{parameter} of {name} must be above zero");
                function = Function::Truncate(length.ok_or_else(|| Error::new(line, message))?);
            }
            Operand::Text(text) if !function.takes_number(parameter) => texts.push(text),
            Operand::Number(_) => {
                let message = format!("{parameter} of {name} must be a text, found a number");
                return Err(Error::new(line, message));
            }
            Operand::Text(_) => {
                let message = format!("{parameter} of {name} must be a number, found a text");
                return Err(Error::new(line, message));
            }
        }
    }
    Ok(Operand::Text(Expression::Call(function, texts, line)))
}

fn text_of(operand: Operand) -> Expression {
    match operand {
        Operand::Number(number) => Expression::Text(number.to_string()),
        Operand::Text(expression) => expression,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALLOWED: [&str; 3] = ["MountAccessor", "SecretPath", "SecretKey"];

    fn value(name: &str) -> Option<Cow<'static, str>> {
        match name {
            "MountAccessor" => Some("kv_1234".into()),
            "SecretPath" => Some("team/My-secret".into()),
            "SecretKey" => Some("key".into()),
            _ => None,
        }
    }

    fn render(text: &str) -> String {
        let template = Template::parse(text, &ALLOWED).unwrap_or_else(|e| panic!("{text}: {e}"));
        template.render(value).unwrap()
    }

    fn refusal(text: &str) -> String {
        match Template::parse(text, &ALLOWED) {
            Ok(_) => panic!("{text} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn templates_yield_what_go_yields() {
        for (text, expected) in [
            ("", ""),
            ("plain }} text", "plain }} text"),
            ("vault/{{ .MountAccessor }}/{{.SecretPath}}", "vault/kv_1234/team/My-secret"),
            (
                "VAULT_{{ .MountAccessor | uppercase }}_{{ .SecretPath | uppercase }}",
                "VAULT_KV_1234_TEAM/MY-SECRET",
            ),
            ("{{ .SecretPath | replace \"/\" \"-\" | lowercase }}", "team-my-secret"),
            ("{{ replace \"/\" \"-\" .SecretPath }}", "team-My-secret"),
            ("{{ .SecretPath | truncate 4 }}", "team"),
            ("{{ truncate 400 .SecretPath }}", "team/My-secret"),
            ("{{ .SecretPath | trimPrefix \"team/\" | trimSuffix \"-secret\" }}", "My"),
            ("{{ .SecretPath | trimPrefix \"x\" }}", "team/My-secret"),
            (
                "{{ sha256 `abc` }}",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            ("{{ sha256 (uppercase .SecretKey | lowercase) | truncate 7 }}", "2c70e12"),
            ("{{ $unused := .SecretKey }}{{ .MountAccessor }}", "kv_1234"),
            ("{{ $x := .SecretKey }}{{ $y := $x | uppercase }}{{ $y }}{{$x}}", "KEYkey"),
            ("{{ $x := `a` }}{{ $x = uppercase $x }}{{ $x }}", "A"),
            ("{{ $n := 3 }}{{ .SecretPath | truncate $n }}{{ $n }}", "tea3"),
            ("a \n {{- /* gone */ -}} \t b {{/* here */}} c", "ab  c"),
            ("a {{- .SecretKey -}} b {{- 3 }}", "akeyb3"),
            ("a {{-3}}", "a -3"),
            ("{{ \"a\\\"\\u00e9\\n\\x41\" }}{{ `raw\\n}}` }}", "a\"é\nAraw\\n}}"),
            ("{{\n .SecretKey\n | uppercase\n}}", "KEY"),
            ("{{ \"x\" }}{{ 7 }}{{ -7 }}", "x7-7"),
            ("{{ (.SecretKey) }}{{ ((`a`)) }}", "keya"),
            ("{{ `straße É` | uppercase }}{{ `É` | lowercase }}", "STRAßE Éé"),
            ("{{ `éé` | truncate 3 }}", "é"),
            ("{{ replace `` `-` `ab` }}", "-a-b-"),
        ] {
            assert_eq!(render(text), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let known = "known are .MountAccessor, .SecretPath, .SecretKey";
        let functions =
            "known are uppercase, lowercase, replace, trimPrefix, trimSuffix, truncate, sha256";
        for (text, expected) in [
            ("{{ .Foo }}", format!("line 1: unknown placeholder .Foo; {known}")),
            ("a\n\n{{ .Foo\n}}", format!("line 3: unknown placeholder .Foo; {known}")),
            ("{{ .SecretPath | base64 }}", format!("line 1: unknown function base64; {functions}")),
            ("{{ if .SecretKey }}", format!("line 1: unknown function if; {functions}")),
            ("{{ end }}", format!("line 1: unknown function end; {functions}")),
            ("\n{{ .SecretKey", "line 2: unclosed action".into()),
            ("{{", "line 1: unclosed action".into()),
            ("{{/* x }}", "line 1: unclosed comment".into()),
            ("{{/* x */ .SecretKey }}", "line 1: comment ends before closing delimiter".into()),
            ("{{}}", "line 1: missing value for command".into()),
            ("{{ .SecretKey | }}", "line 1: missing value for command".into()),
            ("{{ | uppercase }}", "line 1: missing value for command".into()),
            ("{{ () }}", "line 1: missing value for command".into()),
            ("{{ . }}", "line 1: . needs a name right after it".into()),
            ("{{ $ }}", "line 1: $ needs a name right after it".into()),
            (
                "{{ .SecretKey.Length }}",
                "line 1: .SecretKey has no fields; remove what follows it".into(),
            ),
            ("{{ $x }}", "line 1: undefined variable $x".into()),
            ("{{ $x = 1 }}", "line 1: undefined variable $x".into()),
            ("{{ $x := $x }}", "line 1: undefined variable $x".into()),
            (
                "{{ .SecretKey := 1 }}",
                "line 1: a variable is set at the beginning of an action: $name := value".into(),
            ),
            ("{{ .SecretKey \"x\" }}", "line 1: only a function takes arguments".into()),
            ("{{ .SecretKey | .SecretPath }}", "line 1: a pipe must lead into a function".into()),
            ("{{ .SecretKey | \"x\" }}", "line 1: a pipe must lead into a function".into()),
            (
                "{{ .SecretPath | replace \"/\" }}",
                "line 1: replace takes 3 arguments (old, new, value), found 2".into(),
            ),
            ("{{ uppercase }}", "line 1: uppercase takes 1 argument (value), found 0".into()),
            (
                "{{ replace `a` `b` uppercase }}",
                "line 1: uppercase takes 1 argument (value), found 0".into(),
            ),
            (
                "{{ truncate .SecretKey 3 }}",
                "line 1: length of truncate must be a number, found a text".into(),
            ),
            (
                "{{ uppercase 3 }}",
                "line 1: value of uppercase must be a text, found a number".into(),
            ),
            ("{{ truncate 0 .SecretKey }}", "line 1: length of truncate must be above zero".into()),
            (
                "{{ truncate -1 .SecretKey }}",
                "line 1: length of truncate must be above zero".into(),
            ),
            ("{{ 1.5 }}", "line 1: 1.5 is no whole number".into()),
            ("{{ (uppercase .SecretKey }}", "line 1: unclosed left parenthesis".into()),
            ("{{ .SecretKey) }}", "line 1: unexpected right parenthesis".into()),
            (
                "{{ replace `a``b` .SecretKey }}",
                "line 1: arguments need a space between them".into(),
            ),
            ("{{ \"a\n\" }}", "line 1: unterminated quoted string".into()),
            ("{{ \"a }}", "line 1: unterminated quoted string".into()),
            ("{{ `a }}", "line 1: unterminated raw quoted string".into()),
            ("{{ \"\\q\" }}", "line 1: unknown escape in a quoted string".into()),
            ("{{ # }}", "line 1: unexpected character '#' in an action".into()),
            ("{{ .SecretKey -}}", String::new()),
            ("{{ .SecretKey-}}", "line 1: - is no whole number".into()),
        ] {
            if expected.is_empty() {
                assert!(Template::parse(text, &ALLOWED).is_ok(), "{text}");
            } else {
                assert_eq!(refusal(text), format!("template: {expected}"), "{text}");
            }
        }
    }

    #[test]
    fn references_count_wherever_they_are() {
        let template =
            Template::parse("{{ $unused := .SecretKey }}{{ (uppercase .SecretPath) }}", &ALLOWED);
        let template = template.unwrap();
        assert!(template.references("SecretKey"));
        assert!(template.references("SecretPath"));
        assert!(!template.references("MountAccessor"));
        let comment = Template::parse("{{/* .SecretKey */}}.SecretKey{{ `.SecretKey` }}", &ALLOWED);
        assert!(!comment.unwrap().references("SecretKey"));
    }

    #[test]
    fn a_missing_value_is_an_error_when_rendering() {
        let template = Template::parse("a\n{{ .SecretKey }}", &ALLOWED).unwrap();
        let error = template.render(|_| None).unwrap_err();
        assert_eq!(error.to_string(), "template: line 2: there is no value for .SecretKey");
    }

    #[test]
    fn size_and_depth_are_limited() {
        let refused = "template: line 1: the result is longer than 16384 bytes";
        let long = "x".repeat(OUTPUT_BYTES_MAX);
        for (text, fits) in [
            ("{{ .SecretKey }}", true),
            ("{{ .SecretKey }}x", false),
            ("{{ replace `x` `yy` .SecretKey }}", false),
            ("{{ replace `` `y` .SecretKey }}", false),
            ("{{ $x := replace `x` `yy` .SecretKey }}", false),
            ("{{ replace `x` `` .SecretKey }}", true),
            ("{{ $x := .SecretKey }}{{ $x }}{{ $x }}", false),
        ] {
            let template = Template::parse(text, &ALLOWED).unwrap();
            match template.render(|_| Some(long.as_str().into())) {
                Ok(_) => assert!(fits, "{text}"),
                Err(error) => assert_eq!((error.to_string().as_str(), fits), (refused, false)),
            }
        }
        assert!(refusal(&"x".repeat(TEXT_BYTES_MAX + 1)).ends_with("longer than 4096 bytes"));
        let nested = |levels| format!("{{{{ {}`a`{} }}}}", "(".repeat(levels), ")".repeat(levels));
        assert_eq!(render(&nested(DEPTH_MAX)), "a");
        assert!(refusal(&nested(DEPTH_MAX + 1)).ends_with("parentheses deeper than 32 levels"));
        let stages = format!("{{{{ `a`{} }}}}", "|sha256".repeat(580));
        assert_eq!(render(&stages).len(), 64);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text in "([{}() |.:=$\"`\\\\\n*/a-]|\\{\\{|\\}\\}|\\.SecretKey|\\$x|:=|replace|truncate|[0-9é]){0,40}",
        ) {
            if let Ok(template) = Template::parse(&text, &ALLOWED) {
                template.render(value).unwrap();
            }
        }

        #[test]
        fn text_without_actions_is_copied(text in "[^{]{0,60}") {
            prop_assert_eq!(render(&text), text);
        }
    }
}
