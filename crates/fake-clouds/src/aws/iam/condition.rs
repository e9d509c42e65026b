//! The `Condition` block of a policy statement.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::evaluate::Context;
use super::pattern;
use crate::aws::clock::parse_policy_date;

/// One operator, one key, its values.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    key: String,
    test: Test,
    negated: bool,
    quantifier: Quantifier,
    if_exists: bool,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    Single,
    AllValues,
    AnyValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Text,
    TextIgnoringCase,
    TextLike,
    Arn,
    Number(Order),
    Date(Order),
    Bool,
    Binary,
    Address,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Condition {
    /// Reads a whole `Condition` block. Errors name what is wrong with it.
    pub(crate) fn parse_all(block: &Value) -> Result<Vec<Self>, String> {
        let operators = block.as_object().ok_or("Condition must be an object")?;
        let mut conditions = Vec::new();
        for (operator, keys) in operators {
            let keys = keys.as_object().ok_or("a condition operator must hold an object")?;
            for (key, values) in keys {
                conditions.push(Self::parse(operator, key, values)?);
            }
        }
        Ok(conditions)
    }

    fn parse(operator: &str, key: &str, values: &Value) -> Result<Self, String> {
        let (quantifier, rest) = match operator.split_once(':') {
            Some(("ForAllValues", rest)) => (Quantifier::AllValues, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::AnyValue, rest),
            Some(_) => return Err(format!("unknown condition operator {operator}")),
            None => (Quantifier::Single, operator),
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let (test, negated) =
            test(name).ok_or_else(|| format!("unknown condition operator {operator}"))?;
        if !key.contains(':') {
            return Err(format!("unknown condition key {key}"));
        }
        if test == Test::Null && (if_exists || quantifier != Quantifier::Single) {
            return Err(format!("unknown condition operator {operator}"));
        }
        let values = texts(values).ok_or_else(|| format!("values of {key} must be texts"))?;
        Ok(Self { key: key.to_owned(), test, negated, quantifier, if_exists, values })
    }

    /// Whether the request described by `context` meets this condition.
    pub(crate) fn holds(&self, context: &Context) -> bool {
        let present = context.values(&self.key).filter(|values| !values.is_empty());
        if self.test == Test::Null {
            let absent = if present.is_none() { "true" } else { "false" };
            return self.values.iter().any(|value| value.eq_ignore_ascii_case(absent));
        }
        let Some(actual) = present else {
            return match self.quantifier {
                Quantifier::AllValues => true,
                Quantifier::AnyValue => self.if_exists,
                Quantifier::Single => self.if_exists || self.negated,
            };
        };
        let meets = |value: &String| self.matches_any(value, context) != self.negated;
        match self.quantifier {
            Quantifier::AllValues => actual.iter().all(meets),
            Quantifier::AnyValue => actual.iter().any(meets),
            Quantifier::Single if self.negated => actual.iter().all(meets),
            Quantifier::Single => actual.iter().any(meets),
        }
    }

    fn matches_any(&self, actual: &str, context: &Context) -> bool {
        self.values.iter().any(|expected| self.compare(expected, actual, context).unwrap_or(false))
    }

    /// `None` when the two cannot be compared: a missing variable, or not a number, date, address.
    fn compare(&self, expected: &str, actual: &str, context: &Context) -> Option<bool> {
        Some(match self.test {
            Test::TextLike => pattern::wildcard_with_variables(expected, actual, context)?,
            Test::Text => pattern::fill_in(expected, context)? == actual,
            Test::TextIgnoringCase => {
                pattern::fill_in(expected, context)?.eq_ignore_ascii_case(actual)
            }
            Test::Arn => arn_like(&pattern::fill_in(expected, context)?, actual),
            Test::Number(order) => order
                .holds(actual.trim().parse::<f64>().ok()?, expected.trim().parse::<f64>().ok()?),
            Test::Date(order) => {
                order.holds(parse_policy_date(actual)?, parse_policy_date(expected)?)
            }
            Test::Bool => expected.eq_ignore_ascii_case(actual),
            Test::Binary => expected == actual,
            Test::Address => network(expected)?.contains(&actual.parse::<IpAddr>().ok()?),
            Test::Null => false,
        })
    }
}

impl Order {
    fn holds<T: PartialOrd>(self, actual: T, expected: T) -> bool {
        match self {
            Self::Equal => actual == expected,
            Self::Less => actual < expected,
            Self::LessOrEqual => actual <= expected,
            Self::Greater => actual > expected,
            Self::GreaterOrEqual => actual >= expected,
        }
    }
}

fn test(name: &str) -> Option<(Test, bool)> {
    Some(match name {
        "StringEquals" => (Test::Text, false),
        "StringNotEquals" => (Test::Text, true),
        "StringEqualsIgnoreCase" => (Test::TextIgnoringCase, false),
        "StringNotEqualsIgnoreCase" => (Test::TextIgnoringCase, true),
        "StringLike" => (Test::TextLike, false),
        "StringNotLike" => (Test::TextLike, true),
        "ArnEquals" | "ArnLike" => (Test::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Test::Arn, true),
        "NumericEquals" => (Test::Number(Order::Equal), false),
        "NumericNotEquals" => (Test::Number(Order::Equal), true),
        "NumericLessThan" => (Test::Number(Order::Less), false),
        "NumericLessThanEquals" => (Test::Number(Order::LessOrEqual), false),
        "NumericGreaterThan" => (Test::Number(Order::Greater), false),
        "NumericGreaterThanEquals" => (Test::Number(Order::GreaterOrEqual), false),
        "DateEquals" => (Test::Date(Order::Equal), false),
        "DateNotEquals" => (Test::Date(Order::Equal), true),
        "DateLessThan" => (Test::Date(Order::Less), false),
        "DateLessThanEquals" => (Test::Date(Order::LessOrEqual), false),
        "DateGreaterThan" => (Test::Date(Order::Greater), false),
        "DateGreaterThanEquals" => (Test::Date(Order::GreaterOrEqual), false),
        "Bool" => (Test::Bool, false),
        "BinaryEquals" => (Test::Binary, false),
        "IpAddress" => (Test::Address, false),
        "NotIpAddress" => (Test::Address, true),
        "Null" => (Test::Null, false),
        _ => return None,
    })
}

/// Each of the six parts of an ARN is matched on its own: a `*` does not reach over a colon
/// before the resource part.
fn arn_like(pattern: &str, arn: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let patterns: Vec<&str> = pattern.splitn(6, ':').collect();
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    patterns.len() == 6
        && parts.len() == 6
        && patterns.iter().zip(parts).all(|(pattern, part)| pattern::wildcard(pattern, part))
}

fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(network) => Some(network),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

/// One text or a list of them; numbers and booleans count as their text.
pub(crate) fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        other => Some(vec![text(other)?]),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
