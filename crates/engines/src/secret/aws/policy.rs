//! Policy documents.

use bailee_sdk::Error;
use serde_json::Value;

/// Characters of a document, white space left out, that IAM takes for a user and STS for a session.
const CHARACTERS_MAX: usize = 2048;
/// The longest document that is looked at, in bytes.
const BYTES_MAX: usize = 64 * 1024;

/// The document without white space between its parts; an empty text is no document.
pub(super) fn compact(text: &str) -> Result<String, Error> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    if text.len() > BYTES_MAX {
        return Err(too_long());
    }
    let unparsable = || Error::invalid(format!("cannot parse policy document: {text:?}"));
    let document: Value = serde_json::from_str(text).map_err(|_| unparsable())?;
    if !document.is_object() {
        return Err(unparsable());
    }
    let compact = squeezed(text);
    let counted = compact.chars().filter(|c| !c.is_whitespace()).count();
    if counted > CHARACTERS_MAX {
        return Err(too_long());
    }
    Ok(compact)
}

fn too_long() -> Error {
    Error::invalid(format!(
        "policy_document is too long: IAM takes {CHARACTERS_MAX} characters, white space left out; \
         make a managed policy and give its ARN in policy_arns"
    ))
}

/// White space outside of texts is gone; the order of members stays.
fn squeezed(text: &str) -> String {
    let mut compact = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    for letter in text.chars() {
        if inside || !letter.is_ascii_whitespace() {
            compact.push(letter);
        }
        match letter {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
    }
    compact
}

/// One document with the statements of several.
pub(super) fn joined(documents: &[String]) -> Result<String, Error> {
    match documents {
        [] => return Ok(String::new()),
        [only] => return Ok(only.clone()),
        _ => {}
    }
    let mut statements = Vec::new();
    for document in documents {
        let document: Value = serde_json::from_str(document).map_err(Error::internal)?;
        match document.get("Statement") {
            Some(Value::Array(several)) => statements.extend(several.iter().cloned()),
            Some(one) => statements.push(one.clone()),
            None => {}
        }
    }
    let joined = serde_json::json!({ "Version": "2012-10-17", "Statement": statements });
    compact(&joined.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_texts_stay() {
        let text = "{ \"Version\" : \"2012-10-17\",\n \"Id\": \"a \\\" b\" }";
        let compacted = compact(text).unwrap();
        assert_eq!(compacted, "{\"Version\":\"2012-10-17\",\"Id\":\"a \\\" b\"}");
        assert_eq!(compact("  ").unwrap(), "");
    }

    #[test]
    fn what_iam_does_not_take_is_told_at_once() {
        let error = compact("{not json").unwrap_err().to_string();
        assert_eq!(error, "cannot parse policy document: \"{not json\"");
        assert!(compact("[]").is_err());
        let long = format!("{{\"Id\":\"{}\"}}", "x".repeat(2048));
        assert!(compact(&long).unwrap_err().to_string().starts_with("policy_document is too long"));
        let padded = format!("{{\"Id\":\"x\"{}}}", " ".repeat(4000));
        assert!(compact(&padded).is_ok(), "white space does not count");
    }

    #[test]
    fn documents_are_joined_by_their_statements() {
        let one = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"a:A","Resource":"*"}}"#;
        let two = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"b:B","Resource":"*"}]}"#;
        let joined = joined(&[one.to_owned(), two.to_owned()]).unwrap();
        let joined: Value = serde_json::from_str(&joined).unwrap();
        assert_eq!(joined["Statement"].as_array().unwrap().len(), 2);
    }
}
