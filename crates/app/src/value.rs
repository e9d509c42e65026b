//! `key=value` arguments, as every writing command takes them.

use crate::{failure::Failure, input::Input};
use bailee_notation::json;
use base64::{
    Engine,
    prelude::{BASE64_STANDARD as STANDARD, BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD},
};
use serde_json::{Map, Value};
use std::{fs, io};

/// Reads the arguments into a body: `key=value`, `key=@file`, `key=-` (standard input), `key=\@text`
/// for a text that begins with `@`, `@file.json`, and `-` for JSON from standard input. A key that
/// is repeated becomes a list.
pub(crate) fn body(arguments: &[String], input: &mut Input) -> Result<Map<String, Value>, Failure> {
    let mut body = Map::new();
    for (position, argument) in arguments.iter().enumerate() {
        let place = position + 1;
        let failed = |key: &str, reason: String| {
            // Never the value: it may be a secret.
            let pair =
                if key.is_empty() { format!("argument {place}") } else { format!("{key:?}") };
            Failure::usage(format!(
                "Failed to parse K=V data: invalid key/value pair {pair}: {reason}"
            ))
        };
        if argument == "-" {
            let text = input.all().map_err(|reason| failed("-", reason))?;
            body.extend(object(&text).map_err(|reason| failed("-", reason))?);
        } else if let Some(file) = argument.strip_prefix('@') {
            let text = contents(file).map_err(|reason| failed(argument, reason))?;
            body.extend(object(&text).map_err(|reason| failed(argument, reason))?);
        } else {
            let (key, value) = argument
                .split_once('=')
                .ok_or_else(|| failed("", "format must be key=value".to_owned()))?;
            let value = match value.strip_prefix('@') {
                Some(file) => contents(file).map_err(|reason| failed(argument, reason))?,
                None if value == "-" => input.all().map_err(|reason| failed(argument, reason))?,
                None => value
                    .strip_prefix('\\')
                    .filter(|text| text.starts_with('@'))
                    .unwrap_or(value)
                    .to_owned(),
            };
            add(&mut body, key, value.into());
        }
    }
    Ok(body)
}

/// Arguments `key=value` without any of the special forms, for queries.
pub(crate) fn query(arguments: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let pair = |argument: &String| pair(argument).map_err(Failure::usage);
    arguments.iter().map(pair).collect()
}

/// One `key=value`; for flags that may be repeated.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("format must be key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Bytes in base64, as the API takes them.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of base64, with or without its padding.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// A duration for the server; a bare number counts seconds.
pub(crate) fn ttl(text: &str) -> Result<String, String> {
    let negative = |error: &bailee_notation::duration::Error| {
        matches!(error, bailee_notation::duration::Error::Negative(_))
    };
    match bailee_notation::duration::parse(text) {
        Err(error) if !negative(&error) => Err(error.to_string()),
        _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => Ok(format!("{text}s")),
        _ => Ok(text.to_owned()),
    }
}

fn add(body: &mut Map<String, Value>, key: &str, value: Value) {
    match body.remove(key) {
        None => body.insert(key.to_owned(), value),
        Some(Value::Array(mut values)) => {
            values.push(value);
            body.insert(key.to_owned(), values.into())
        }
        Some(first) => body.insert(key.to_owned(), Value::Array(vec![first, value])),
    };
}

fn contents(file: &str) -> Result<String, String> {
    fs::read_to_string(file)
        .map_err(|error| format!("error reading file: open {file}: {}", plain(&error)))
}

/// Why a file cannot be read, in the words of the system alone.
pub(crate) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    match json::parse(text.as_bytes(), &json::Limits::stored()) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(format!("not a JSON object: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(arguments: &[&str], stdin: &str) -> Result<Value, Failure> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        body(&arguments, &mut Input::from_text(stdin)).map(Value::Object)
    }

    #[test]
    fn values_come_from_arguments_files_and_standard_input() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("v.txt");
        fs::write(&file, "from file\n").unwrap();
        let at = format!("f=@{}", file.display());
        let got = read(&["a=b=c", "e=", r"q=\@x", r"w=\x", &at, "s=-"], "from stdin\n").unwrap();
        let expected = json!({"a": "b=c", "e": "", "q": "@x", "w": r"\x", "f": "from file\n", "s": "from stdin\n"});
        assert_eq!(got, expected);
    }

    #[test]
    fn json_nests_as_deep_as_the_server_takes() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(250), "]".repeat(250));
        assert_eq!(read(&["-"], &deep).unwrap().to_string(), deep);
    }

    #[test]
    fn json_keeps_its_types_and_repeated_keys_become_lists() {
        assert_eq!(
            read(&["-"], r#"{"x": {"y": [1, 2]}, "n": 5}"#).unwrap(),
            json!({"x": {"y": [1, 2]}, "n": 5})
        );
        assert_eq!(read(&["a=1", "a=2", "a=3"], "").unwrap(), json!({"a": ["1", "2", "3"]}));
    }

    #[test]
    fn faults_name_the_place_and_never_the_value() {
        let failure = read(&["a=1", "canary"], "").unwrap_err();
        assert_eq!(failure.exit, 1);
        assert!(failure.message.contains("argument 2: format must be key=value"), "{failure:?}");
        assert!(!failure.message.contains("canary"));
        let failure = read(&["-"], r#"{"a": "canary" "b"}"#).unwrap_err();
        assert!(!failure.message.contains("canary"), "{failure:?}");
        let failure = read(&["k=@nope.txt"], "").unwrap_err();
        let text = "invalid key/value pair \"k=@nope.txt\": error reading file: open nope.txt: no such file or directory";
        assert!(failure.message.ends_with(text), "{failure:?}");
    }

    #[test]
    fn standard_input_is_read_once_only() {
        assert!(read(&["a=-", "b=-"], "x").is_err());
    }

    #[test]
    fn durations_may_be_bare_seconds() {
        assert_eq!(ttl("90").unwrap(), "90s");
        assert_eq!(ttl("1h30m").unwrap(), "1h30m");
        assert_eq!(ttl("abc").unwrap_err(), "time: invalid duration \"abc\"");
    }
}
