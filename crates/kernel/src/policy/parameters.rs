//! Parameters of a request against the lists of a rule. Pure.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Values listed for a parameter; an empty list stands for any value.
pub(crate) type Values = Vec<Value>;

/// Adds a list of values for a parameter. Lists are joined; one that allows any value wins.
pub(crate) fn join(lists: &mut BTreeMap<String, Values>, name: &str, values: Values) {
    match lists.get_mut(name) {
        None => {
            lists.insert(name.to_owned(), values);
        }
        Some(known) if known.is_empty() || values.is_empty() => known.clear(),
        Some(known) => known.extend(values),
    }
}

/// Whether the input names every required parameter. `required` is in lower case.
pub(crate) fn all_there(required: &[String], input: &Map<String, Value>) -> bool {
    required.iter().all(|name| input.keys().any(|given| same(given, name)))
}

/// Whether a parameter, or its value, is denied.
pub(crate) fn some_denied(denied: &BTreeMap<String, Values>, input: &Map<String, Value>) -> bool {
    if denied.is_empty() || input.is_empty() {
        return false;
    }
    denied.contains_key("*")
        || input.iter().any(|(name, value)| {
            list(denied, name)
                .is_some_and(|values| values.is_empty() || contains_any(values, value))
        })
}

/// Whether every parameter is allowed with its value.
pub(crate) fn all_allowed(allowed: &BTreeMap<String, Values>, input: &Map<String, Value>) -> bool {
    if allowed.is_empty() {
        return true;
    }
    let others = allowed.contains_key("*");
    input.iter().all(|(name, value)| match list(allowed, name) {
        Some(values) => values.is_empty() || contains_all(values, value),
        None => others,
    })
}

/// Names of the parameters for which an input is refused; of those that are missing, too.
pub(crate) fn refused(
    required: &[String],
    denied: &BTreeMap<String, Values>,
    allowed: &BTreeMap<String, Values>,
    input: &Map<String, Value>,
) -> Vec<String> {
    let missing = required.iter().filter(|name| !input.keys().any(|given| same(given, name)));
    let mut names: Vec<String> = missing.cloned().collect();
    for (name, value) in input {
        let one = Map::from_iter([(name.clone(), value.clone())]);
        if some_denied(denied, &one) || !all_allowed(allowed, &one) {
            names.push(name.clone());
        }
    }
    names
}

/// The list for a parameter, whatever the case of its name. Lists have names in lower case.
fn list<'a>(lists: &'a BTreeMap<String, Values>, name: &str) -> Option<&'a Values> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        lists.get(&name.to_lowercase())
    } else {
        lists.get(name)
    }
}

fn same(given: &str, lower: &str) -> bool {
    given == lower || given.to_lowercase() == lower
}

/// Whether a value is among the allowed ones; a list is when all its elements are.
fn contains_all(allowed: &[Value], value: &Value) -> bool {
    allowed.iter().any(|one| allows(one, value))
        || value.as_array().is_some_and(|elements| {
            elements.iter().all(|element| allowed.iter().any(|one| allows(one, element)))
        })
}

/// Whether a value is among the denied ones; a list is when one of its elements is.
fn contains_any(denied: &[Value], value: &Value) -> bool {
    denied.iter().any(|one| denies(one, value))
        || value.as_array().is_some_and(|elements| {
            elements.iter().any(|element| denied.iter().any(|one| denies(one, element)))
        })
}

/// Numbers never match: servers of this API tell the number of a policy from that of a request, and
/// policies in use rely on neither. Nothing is allowed by mistake so.
fn allows(one: &Value, value: &Value) -> bool {
    match (one, value) {
        (Value::String(glob), Value::String(text)) => matches_text(glob, text),
        (Value::Number(_), _) | (_, Value::Number(_)) => false,
        (one, value) => one == value,
    }
}

/// What is denied is denied in any spelling: numbers by their value.
fn denies(one: &Value, value: &Value) -> bool {
    match (one, value) {
        (Value::String(glob), Value::String(text)) => matches_text(glob, text),
        (Value::Number(one), Value::Number(value)) => {
            one == value || one.as_f64().is_some_and(|one| value.as_f64() == Some(one))
        }
        (one, value) => one == value,
    }
}

/// A `*` at the beginning, the end or both stands for any text.
fn matches_text(glob: &str, text: &str) -> bool {
    match (glob.strip_prefix('*'), glob.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(rest), Some(_)) => text.contains(rest.strip_suffix('*').unwrap_or(rest)),
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => glob == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lists(value: Value) -> BTreeMap<String, Values> {
        let object = value.as_object().unwrap();
        object.iter().map(|(name, list)| (name.clone(), list.as_array().unwrap().clone())).collect()
    }

    fn allowed(rules: Value, input: Value) -> bool {
        all_allowed(&lists(rules), input.as_object().unwrap())
    }

    fn denied(rules: Value, input: Value) -> bool {
        some_denied(&lists(rules), input.as_object().unwrap())
    }

    #[test]
    fn only_listed_parameters_with_listed_values_are_allowed() {
        assert!(allowed(json!({}), json!({"a": 1})));
        assert!(allowed(json!({"a": []}), json!({"A": {"any": 1}})));
        assert!(!allowed(json!({"a": []}), json!({"a": 1, "b": 1})));
        assert!(allowed(json!({"a": ["x"], "*": []}), json!({"a": "x", "b": 1})));
        assert!(!allowed(json!({"a": ["x"], "*": []}), json!({"a": "y"})));
        assert!(allowed(json!({"a": ["dev-*", "*-x", "*mid*"]}), json!({"a": "dev-1"})));
        assert!(allowed(json!({"a": ["dev-*", "*-x", "*mid*"]}), json!({"a": "1-x"})));
        assert!(allowed(json!({"a": ["dev-*", "*-x", "*mid*"]}), json!({"a": "amidst"})));
        assert!(!allowed(json!({"a": ["d*v"]}), json!({"a": "dev"})));
        assert!(allowed(json!({"a": [true]}), json!({"a": true})));
        assert!(!allowed(json!({"a": [5]}), json!({"a": 5})));
    }

    #[test]
    fn lists_are_compared_element_by_element() {
        assert!(allowed(json!({"a": ["x", "y*"]}), json!({"a": ["y1", "x"]})));
        assert!(!allowed(json!({"a": ["x", "y*"]}), json!({"a": ["x", "z"]})));
        assert!(denied(json!({"a": ["admin*"]}), json!({"a": ["dev", "admins"]})));
        assert!(!denied(json!({"a": ["admin*"]}), json!({"a": ["dev"]})));
    }

    #[test]
    fn denied_values_are_denied_in_any_spelling() {
        assert!(denied(json!({"a": []}), json!({"A": "x"})));
        assert!(denied(json!({"*": []}), json!({"b": "x"})));
        assert!(!denied(json!({"*": []}), json!({})));
        assert!(denied(json!({"a": [5]}), json!({"a": 5})));
        assert!(!denied(json!({"a": ["x"]}), json!({"a": "y"})));
        assert!(denied(json!({"a": ["x*"]}), json!({"a": "xy"})));
    }

    #[test]
    fn required_parameters_must_all_be_there() {
        let input = json!({"Name": 1});
        assert!(all_there(&["name".to_owned()], input.as_object().unwrap()));
        assert!(!all_there(&["other".to_owned()], input.as_object().unwrap()));
    }

    #[test]
    fn joined_lists_allow_what_either_allows() {
        let mut all = lists(json!({"a": ["x"]}));
        join(&mut all, "a", vec![json!("y")]);
        assert_eq!(all["a"].len(), 2);
        join(&mut all, "a", vec![]);
        join(&mut all, "a", vec![json!("z")]);
        assert!(all["a"].is_empty());
    }
}
