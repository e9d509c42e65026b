//! From what was read to the text.

use super::{
    Answers, Arm, Document, Expression, Node, OUTPUT_BYTES_MAX, Range, Value, WORK_MAX,
    buffer::Buffer, function::Function,
};
use crate::template::Error;
use zeroize::Zeroizing;

/// What each step costs beside the bytes it reads and writes.
const STEP_WORK: usize = 16;

pub(super) fn document(
    document: &Document,
    answers: &mut Answers<'_>,
) -> Result<Zeroizing<String>, Error> {
    let mut renderer = Renderer {
        document,
        answers,
        variables: vec![Value::Nothing; document.variables],
        dot: Value::Nothing,
        out: Buffer::new(OUTPUT_BYTES_MAX),
        work: 0,
        line: 1,
    };
    renderer.nodes(&document.nodes)?;
    Ok(renderer.out.into_text())
}

struct Renderer<'d, 'a, 'b> {
    document: &'d Document,
    answers: &'a mut Answers<'b>,
    variables: Vec<Value>,
    dot: Value,
    out: Buffer,
    work: usize,
    /// The line of the last action.
    line: u32,
}

/// How a run of nodes was left.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'d> Renderer<'d, '_, '_> {
    fn nodes(&mut self, nodes: &'d [Node]) -> Result<Flow, Error> {
        for node in nodes {
            self.charge(STEP_WORK, self.line)?;
            let flow = match node {
                Node::Text(text) => {
                    self.write(text)?;
                    Flow::On
                }
                Node::Emit(expression, line) => {
                    self.line = *line;
                    self.emit(expression, *line)?;
                    Flow::On
                }
                Node::Set(variable, expression) => {
                    let value = self.evaluate(expression)?;
                    self.set(*variable, value);
                    Flow::On
                }
                Node::Choose(arms) => self.choose(arms)?,
                Node::Range(range) => self.range(range)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn emit(&mut self, expression: &'d Expression, line: u32) -> Result<(), Error> {
        let value = self.evaluate(expression)?;
        match (&value, value.plain()) {
            (_, Some(text)) => self.write(&text),
            (Value::Nothing, None) => {
                let message = format!("{} has no value", described(expression));
                Err(Error::new(line, message))
            }
            (_, None) => {
                let (shown, kind) = (described(expression), value.kind());
                let message =
                    format!("{shown} is {kind}; write it with toJSON, or name what is in it");
                Err(Error::new(line, message))
            }
        }
    }

    fn choose(&mut self, arms: &'d [Arm]) -> Result<Flow, Error> {
        for arm in arms {
            let Some(condition) = &arm.condition else { return self.nodes(&arm.body) };
            let value = self.evaluate(&condition.value)?;
            if let Some(variable) = condition.variable {
                self.set(variable, value.clone());
            }
            if !value.holds() {
                continue;
            }
            if !condition.is_dot {
                return self.nodes(&arm.body);
            }
            return self.with_dot(value, &arm.body);
        }
        Ok(Flow::On)
    }

    fn with_dot(&mut self, dot: Value, nodes: &'d [Node]) -> Result<Flow, Error> {
        let outer = std::mem::replace(&mut self.dot, dot);
        let flow = self.nodes(nodes);
        self.dot = outer;
        flow
    }

    fn range(&mut self, range: &'d Range) -> Result<Flow, Error> {
        let value = self.evaluate(&range.value)?;
        if !value.holds() {
            return self.nodes(&range.otherwise);
        }
        match &value {
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    let key = Value::Integer(i64::try_from(at).unwrap_or(i64::MAX));
                    if self.turn(range, key, item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(entries) => {
                for (name, item) in entries.iter() {
                    if self.turn(range, Value::text(name.as_str()), item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Integer(count) => {
                for number in (0..*count).map(Value::Integer) {
                    if self.turn(range, number.clone(), &number)? == Flow::Break {
                        break;
                    }
                }
            }
            _ => {
                let message = format!(
                    "range goes over lists, maps and numbers, and this is {}",
                    value.kind()
                );
                return Err(Error::new(range.line, message));
            }
        }
        Ok(Flow::On)
    }

    fn turn(&mut self, range: &'d Range, key: Value, item: &Value) -> Result<Flow, Error> {
        self.charge(STEP_WORK, range.line)?;
        if let Some(variable) = range.key {
            self.set(variable, key);
        }
        if let Some(variable) = range.item {
            self.set(variable, item.clone());
        }
        self.with_dot(item.clone(), &range.body)
    }

    fn evaluate(&mut self, expression: &'d Expression) -> Result<Value, Error> {
        match expression {
            Expression::Value(value) => Ok(value.clone()),
            Expression::Dot => Ok(self.dot.clone()),
            Expression::Variable(variable, _) => {
                Ok(self.variables.get(*variable).cloned().unwrap_or(Value::Nothing))
            }
            Expression::Fields(of, names, line) => {
                let mut value = self.evaluate(of)?;
                for name in names {
                    value = value.field(name).ok_or_else(|| {
                        let kind = value.kind();
                        Error::new(
                            *line,
                            format!(".{name} is asked of {kind}, which has no fields"),
                        )
                    })?;
                }
                Ok(value)
            }
            Expression::Call(function @ (Function::And | Function::Or), arguments, _) => {
                let mut value = Value::Nothing;
                for argument in arguments {
                    value = self.evaluate(argument)?;
                    if value.holds() == (*function == Function::Or) {
                        break;
                    }
                }
                Ok(value)
            }
            Expression::Call(function, arguments, line) => {
                let arguments = self.all(arguments, *line)?;
                let value =
                    function.call(&arguments).map_err(|message| Error::new(*line, message))?;
                self.charge(STEP_WORK + value.length().unwrap_or(0), *line)?;
                Ok(value)
            }
            Expression::Lookup(number, arguments, line) => self.look_up(*number, arguments, *line),
        }
    }

    fn all(&mut self, arguments: &'d [Expression], line: u32) -> Result<Vec<Value>, Error> {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let value = self.evaluate(argument)?;
            self.charge(STEP_WORK + value.length().unwrap_or(0), line)?;
            values.push(value);
        }
        Ok(values)
    }

    fn look_up(
        &mut self,
        number: usize,
        arguments: &'d [Expression],
        line: u32,
    ) -> Result<Value, Error> {
        let values = self.all(arguments, line)?;
        let Some(lookup) = self.document.lookups.get(number) else { return Ok(Value::Nothing) };
        let mut texts = Vec::with_capacity(values.len());
        for (value, parameter) in values.iter().zip(lookup.parameters) {
            match value {
                Value::Text(text) => texts.push(text.as_str()),
                // Made of something that is not known yet.
                Value::Nothing => return Ok(Value::Nothing),
                _ => {
                    let (name, kind) = (lookup.name, value.kind());
                    let message = format!("{parameter} of {name} must be a text, found {kind}");
                    return Err(Error::new(line, message));
                }
            }
        }
        let answer = (self.answers)(lookup, &texts).map_err(|message| Error::new(line, message))?;
        Ok(answer.unwrap_or(Value::Nothing))
    }

    fn set(&mut self, variable: usize, value: Value) {
        if let Some(variable) = self.variables.get_mut(variable) {
            *variable = value;
        }
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        let line = self.line;
        self.out.push(text).map_err(|_| {
            Error::new(line, format!("the result is longer than {OUTPUT_BYTES_MAX} bytes"))
        })
    }

    fn charge(&mut self, work: usize, line: u32) -> Result<(), Error> {
        self.work = self.work.saturating_add(work);
        if self.work > WORK_MAX {
            return Err(Error::new(line, "the template does too much work"));
        }
        Ok(())
    }
}

/// An expression as it was written, as far as that helps.
fn described(expression: &Expression) -> String {
    match expression {
        Expression::Dot => ".".to_owned(),
        Expression::Variable(_, name) => format!("${name}"),
        Expression::Fields(of, names, _) => {
            let names = names.join(".");
            match of.as_ref() {
                Expression::Dot => format!(".{names}"),
                Expression::Variable(_, name) => format!("${name}.{names}"),
                _ => format!("(…).{names}"),
            }
        }
        Expression::Value(_) | Expression::Call(..) | Expression::Lookup(..) => {
            "what is written here".to_owned()
        }
    }
}
