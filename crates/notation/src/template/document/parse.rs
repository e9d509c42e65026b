//! From the text to what is rendered.

use super::{
    Arm, CALLS_MAX, Condition, DEPTH_MAX, Document, Expression, Lookup, Node, Range,
    TEXT_BYTES_MAX, Value, function,
};
use crate::template::{
    Error,
    scan::{self, Kind, Piece, Token},
};
use std::{cell::RefCell, collections::BTreeSet, iter::Peekable, vec::IntoIter};

/// Words that are no functions.
const WORDS: [&str; 9] =
    ["if", "else", "end", "range", "with", "break", "continue", "define", "template"];

pub(super) fn document(text: &str, lookups: &[Lookup]) -> Result<Document, Error> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::new(1, format!("longer than {TEXT_BYTES_MAX} bytes")));
    }
    let mut reader = Reader {
        pieces: scan::document_pieces(text)?.into_iter(),
        lookups,
        scope: Vec::new(),
        variables: 0,
        depth: 0,
        dots: 0,
        loops: 0,
        used: RefCell::default(),
    };
    let (nodes, end) = reader.block()?;
    match end {
        End::Text => Ok(Document {
            nodes,
            variables: reader.variables,
            lookups: lookups.to_vec(),
            used: reader.used.into_inner().into_iter().collect(),
        }),
        End::Else(_, line) => Err(Error::new(line, "else without an if, with or range before it")),
        End::Closed(line) => Err(Error::new(line, "end without an if, with or range before it")),
    }
}

struct Reader<'a> {
    pieces: IntoIter<Piece<'a>>,
    lookups: &'a [Lookup],
    /// The variables that can be used, the newest last.
    scope: Vec<(String, usize)>,
    variables: usize,
    depth: usize,
    /// How many blocks around have set `.`
    dots: usize,
    /// How many blocks around are loops.
    loops: usize,
    used: RefCell<BTreeSet<&'static str>>,
}

/// How a run of nodes ends.
enum End {
    Text,
    Else(Tokens, u32),
    Closed(u32),
}

type Tokens = Peekable<IntoIter<Token>>;

impl Reader<'_> {
    fn block(&mut self) -> Result<(Vec<Node>, End), Error> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, line) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.to_owned()));
                    continue;
                }
                Piece::Action(tokens, line) => (tokens, line),
            };
            let line = tokens.first().map_or(line, |token| token.line);
            let mut tokens = tokens.into_iter().peekable();
            match keyword(&mut tokens) {
                None => nodes.push(self.action(tokens, line)?),
                Some("end") => {
                    nothing_more(&mut tokens, "end")?;
                    return Ok((nodes, End::Closed(line)));
                }
                Some("else") => return Ok((nodes, End::Else(tokens, line))),
                Some(word @ ("if" | "with")) => {
                    nodes.push(
                        self.nested(line, |reader| reader.choose(word == "with", tokens, line))?,
                    );
                }
                Some("range") => {
                    nodes.push(self.nested(line, |reader| reader.range(tokens, line))?);
                }
                Some(word @ ("break" | "continue")) => {
                    nothing_more(&mut tokens, word)?;
                    if self.loops == 0 {
                        return Err(Error::new(line, format!("{word} outside of a range")));
                    }
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                Some(word) => {
                    let message = format!("{word} is not there: a file has one template");
                    return Err(Error::new(line, message));
                }
            }
        }
        Ok((nodes, End::Text))
    }

    /// Reads a block with its own variables.
    fn nested(
        &mut self,
        line: u32,
        read: impl FnOnce(&mut Self) -> Result<Node, Error>,
    ) -> Result<Node, Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::new(line, format!("blocks deeper than {DEPTH_MAX} levels")));
        }
        let outer = self.scope.len();
        let node = read(self)?;
        self.scope.truncate(outer);
        self.depth -= 1;
        Ok(node)
    }

    fn choose(&mut self, is_dot: bool, tokens: Tokens, line: u32) -> Result<Node, Error> {
        let mut arms = Vec::new();
        let mut condition = Some(self.condition(is_dot, tokens, line)?);
        loop {
            let dots = usize::from(condition.as_ref().is_some_and(|condition| condition.is_dot));
            let is_last = condition.is_none();
            self.dots += dots;
            let outer = self.scope.len();
            let (body, end) = self.block()?;
            self.scope.truncate(outer);
            self.dots -= dots;
            arms.push(Arm { condition, body });
            match end {
                End::Closed(_) => return Ok(Node::Choose(arms)),
                End::Text => return Err(Error::new(line, "the block has no end")),
                End::Else(_, line) if is_last => {
                    return Err(Error::new(line, "else after the last else"));
                }
                End::Else(mut tokens, line) => {
                    condition = match keyword(&mut tokens) {
                        Some(word @ ("if" | "with")) => {
                            Some(self.condition(word == "with", tokens, line)?)
                        }
                        _ => {
                            nothing_more(&mut tokens, "else")?;
                            None
                        }
                    };
                }
            }
        }
    }

    fn condition(
        &mut self,
        is_dot: bool,
        mut tokens: Tokens,
        line: u32,
    ) -> Result<Condition, Error> {
        let name = declared(&mut tokens)?;
        let value = self.whole(tokens, line)?;
        let variable = name.map(|name| self.declare(name));
        Ok(Condition { value, variable, is_dot })
    }

    fn range(&mut self, mut tokens: Tokens, line: u32) -> Result<Node, Error> {
        let (first, second) = declared_two(&mut tokens)?;
        let value = self.whole(tokens, line)?;
        let (key, item) = match (first, second) {
            (Some(key), Some(item)) => (Some(self.declare(key)), Some(self.declare(item))),
            (item, _) => (None, item.map(|item| self.declare(item))),
        };
        self.dots += 1;
        self.loops += 1;
        let outer = self.scope.len();
        let (body, end) = self.block()?;
        self.scope.truncate(outer);
        self.dots -= 1;
        self.loops -= 1;
        let otherwise = match end {
            End::Closed(_) => Vec::new(),
            End::Text => return Err(Error::new(line, "range has no end")),
            End::Else(mut tokens, _) => {
                nothing_more(&mut tokens, "else of a range")?;
                match self.block()? {
                    (otherwise, End::Closed(_)) => otherwise,
                    (_, End::Text) => return Err(Error::new(line, "range has no end")),
                    (_, End::Else(_, line)) => {
                        return Err(Error::new(line, "else after the last else"));
                    }
                }
            }
        };
        Ok(Node::Range(Box::new(Range { value, line, key, item, body, otherwise })))
    }

    fn action(&mut self, mut tokens: Tokens, line: u32) -> Result<Node, Error> {
        if let Some(name) = assigned(&mut tokens) {
            let variable = self.variable(&name, line)?;
            return Ok(Node::Set(variable, self.whole(tokens, line)?));
        }
        if let Some(name) = declared(&mut tokens)? {
            let value = self.whole(tokens, line)?;
            return Ok(Node::Set(self.declare(name), value));
        }
        Ok(Node::Emit(self.whole(tokens, line)?, line))
    }

    fn declare(&mut self, name: String) -> usize {
        let variable = self.variables;
        self.variables += 1;
        self.scope.push((name, variable));
        variable
    }

    fn variable(&self, name: &str, line: u32) -> Result<usize, Error> {
        if name.is_empty() {
            return Err(Error::new(line, "$ stands for nothing here: name a variable"));
        }
        let found = self.scope.iter().rev().find(|(known, _)| known == name);
        let found = found.map(|(_, variable)| *variable);
        found.ok_or_else(|| Error::new(line, format!("undefined variable ${name}")))
    }

    /// The pipeline that fills what is left of an action.
    fn whole(&self, mut tokens: Tokens, line: u32) -> Result<Expression, Error> {
        let parsed = self.pipeline(&mut tokens, line, 0)?;
        match tokens.next() {
            None => Ok(parsed.expression),
            Some(token) => Err(Error::new(token.line, "unexpected sign in an action")),
        }
    }

    /// Commands between pipes; what one yields is the last argument of the next.
    fn pipeline(&self, tokens: &mut Tokens, line: u32, depth: usize) -> Result<Parsed, Error> {
        if depth > DEPTH_MAX {
            return Err(Error::new(line, format!("parentheses deeper than {DEPTH_MAX} levels")));
        }
        let mut parsed = self.command(tokens, line, depth, None)?;
        while tokens.next_if(|token| token.kind == Kind::Pipe).is_some() {
            parsed = self.command(tokens, line, depth, Some(parsed))?;
        }
        Ok(parsed)
    }

    fn command(
        &self,
        tokens: &mut Tokens,
        line: u32,
        depth: usize,
        piped: Option<Parsed>,
    ) -> Result<Parsed, Error> {
        let line = tokens.peek().map_or(line, |token| token.line);
        let named = tokens.next_if(|token| match &token.kind {
            Kind::Word(word) => !is_constant(word),
            _ => false,
        });
        let Some(Token { kind: Kind::Word(name), .. }) = named else {
            return match (self.operand(tokens, depth)?, piped) {
                (Some(_), Some(_)) => Err(Error::new(line, "a pipe must lead into a function")),
                (None, _) => Err(Error::new(line, "missing value for command")),
                (Some(parsed), None) => match self.operand(tokens, depth)? {
                    None => Ok(parsed),
                    Some(_) => Err(Error::new(line, "only a function takes arguments")),
                },
            };
        };
        let mut arguments = Vec::new();
        while let Some(argument) = self.operand(tokens, depth)? {
            arguments.push(argument);
        }
        arguments.extend(piped);
        self.call(&name, arguments, line)
    }

    /// The next operand with its fields; none at a pipe, a closing parenthesis or the end.
    fn operand(&self, tokens: &mut Tokens, depth: usize) -> Result<Option<Parsed>, Error> {
        let ends = |token: &Token| matches!(token.kind, Kind::Pipe | Kind::Close);
        let Some(token) = tokens.next_if(|token| !ends(token)) else { return Ok(None) };
        let line = token.line;
        let parsed = match token.kind {
            Kind::Text(text) => Parsed::of(Expression::Value(Value::text(text))),
            Kind::Number(number) => Parsed::of(Expression::Value(Value::Integer(number))),
            Kind::Word(word) => match word.as_str() {
                "true" => Parsed::of(Expression::Value(Value::Flag(true))),
                "false" => Parsed::of(Expression::Value(Value::Flag(false))),
                "nil" => Parsed::of(Expression::Value(Value::Nothing)),
                // A function among arguments is called without any.
                name => self.call(name, Vec::new(), line)?,
            },
            Kind::Dot => Parsed::of(self.dot(".", line)?),
            Kind::Placeholder(name) => {
                let dot = self.dot(&format!(".{name}"), line)?;
                Parsed::of(fields(dot, name, tokens, line))
            }
            Kind::Variable(name) => {
                Parsed::of(Expression::Variable(self.variable(&name, line)?, name))
            }
            Kind::Open => {
                let parsed = self.pipeline(tokens, line, depth + 1)?;
                if tokens.next_if(|token| token.kind == Kind::Close).is_none() {
                    return Err(Error::new(line, "unclosed left parenthesis"));
                }
                parsed
            }
            Kind::Declare | Kind::Assign => {
                let message = "a variable is set at the beginning of an action: $name := value";
                return Err(Error::new(line, message));
            }
            Kind::Pipe | Kind::Close | Kind::Comma => {
                return Err(Error::new(line, "unexpected sign in an action"));
            }
        };
        let field = tokens.next_if(|token| !token.spaced && is_field(token));
        let Some(Token { kind: Kind::Placeholder(name), .. }) = field else {
            return Ok(Some(parsed));
        };
        let expression = fields(parsed.expression, name, tokens, line);
        Ok(Some(Parsed { expression, height: parsed.height + 1 }))
    }

    fn dot(&self, shown: &str, line: u32) -> Result<Expression, Error> {
        if self.dots == 0 {
            let message = format!("{shown} stands for nothing outside of with and range");
            return Err(Error::new(line, message));
        }
        Ok(Expression::Dot)
    }

    fn call(&self, name: &str, arguments: Vec<Parsed>, line: u32) -> Result<Parsed, Error> {
        let height = 1 + arguments.iter().map(|argument| argument.height).max().unwrap_or(0);
        if height > CALLS_MAX {
            return Err(Error::new(line, format!("more than {CALLS_MAX} calls inside each other")));
        }
        let count = arguments.len();
        let arguments = arguments.into_iter().map(|argument| argument.expression).collect();
        if let Some(number) = self.lookups.iter().position(|lookup| lookup.name == name) {
            if let Some(lookup) = self.lookups.get(number) {
                if lookup.parameters.len() != count {
                    return Err(Error::new(line, wrong_count(lookup, count)));
                }
                self.used.borrow_mut().insert(lookup.name);
            }
            return Ok(Parsed { expression: Expression::Lookup(number, arguments, line), height });
        }
        let Some(known) = function::named(name) else {
            let also = self.lookups.iter().map(|lookup| lookup.name);
            return Err(Error::new(line, function::unknown(name, also)));
        };
        known.check_count(count).map_err(|message| Error::new(line, message))?;
        Ok(Parsed { expression: Expression::Call(known.function, arguments, line), height })
    }
}

/// An expression, and how many calls stand inside each other in it.
struct Parsed {
    expression: Expression,
    height: usize,
}

impl Parsed {
    fn of(expression: Expression) -> Parsed {
        Parsed { expression, height: 0 }
    }
}

/// An expression with the field and those right behind it.
fn fields(of: Expression, first: String, tokens: &mut Tokens, line: u32) -> Expression {
    let mut names = vec![first];
    while let Some(token) = tokens.next_if(|token| !token.spaced && is_field(token)) {
        if let Kind::Placeholder(name) = token.kind {
            names.push(name);
        }
    }
    Expression::Fields(Box::new(of), names, line)
}

fn is_field(token: &Token) -> bool {
    matches!(token.kind, Kind::Placeholder(_))
}

fn is_constant(word: &str) -> bool {
    matches!(word, "true" | "false" | "nil")
}

fn keyword(tokens: &mut Tokens) -> Option<&'static str> {
    let word = match &tokens.peek()?.kind {
        Kind::Word(word) if word == "block" => "template",
        Kind::Word(word) => WORDS.into_iter().find(|known| known == word)?,
        _ => return None,
    };
    tokens.next();
    Some(word)
}

fn nothing_more(tokens: &mut Tokens, word: &str) -> Result<(), Error> {
    match tokens.next() {
        None => Ok(()),
        Some(token) => Err(Error::new(token.line, format!("unexpected text after {word}"))),
    }
}

/// The name in `$name :=`, which is taken.
fn declared(tokens: &mut Tokens) -> Result<Option<String>, Error> {
    let line = tokens.peek().map_or(1, |token| token.line);
    match declared_two(tokens)? {
        (_, Some(_)) => Err(Error::new(line, "two variables are for range only")),
        (name, None) => Ok(name),
    }
}

/// The names in `$name :=` or `$name, $name :=`, which are taken.
fn declared_two(tokens: &mut Tokens) -> Result<(Option<String>, Option<String>), Error> {
    let line = tokens.peek().map_or(1, |token| token.line);
    // A variable may begin a pipeline as well; what comes behind it tells.
    let (taken, first, second) = match leading(tokens).as_slice() {
        [Kind::Variable(first), Kind::Declare, ..] => (2, Some(first.clone()), None),
        [Kind::Variable(first), Kind::Comma, Kind::Variable(second), Kind::Declare] => {
            (4, Some(first.clone()), Some(second.clone()))
        }
        _ => (0, None, None),
    };
    if first.as_deref() == Some("") || second.as_deref() == Some("") {
        return Err(Error::new(line, "$ needs a name right after it"));
    }
    tokens.by_ref().take(taken).for_each(drop);
    Ok((first, second))
}

/// The name in `$name =`, which is taken.
fn assigned(tokens: &mut Tokens) -> Option<String> {
    let name = match leading(tokens).as_slice() {
        [Kind::Variable(name), Kind::Assign, ..] => name.clone(),
        _ => return None,
    };
    tokens.by_ref().take(2).for_each(drop);
    Some(name)
}

/// The first four tokens; none is taken.
fn leading(tokens: &Tokens) -> Vec<Kind> {
    tokens.clone().take(4).map(|token| token.kind).collect()
}

fn wrong_count(lookup: &Lookup, found: usize) -> String {
    let (name, count) = (lookup.name, lookup.parameters.len());
    let plural = if count == 1 { "" } else { "s" };
    let wanted = lookup.parameters.join(", ");
    let hint = if lookup.hint.is_empty() { String::new() } else { format!("; {}", lookup.hint) };
    format!("{name} takes {count} argument{plural} ({wanted}), found {found}{hint}")
}
