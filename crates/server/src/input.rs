//! Body and query: what a request brings.

use crate::{
    event,
    limits::{BODY_BYTES_MAX, BODY_TIME_MAX},
};
use bailee_notation::json::{self, Rule};
use bailee_sdk::{Code, Error, Operation};
use bytes::Bytes;
use http::{HeaderMap, Method, header::CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The media type of a merge patch, the only one PATCH takes.
const MERGE_PATCH: &str = "application/merge-patch+json";

/// What is asked, judged by method and query. `None` when the method is none of the API's.
pub(crate) fn operation(method: &Method, query: &Map<String, Value>) -> Option<Operation> {
    match method.as_str() {
        "GET" => {
            let listed = query.get("list").and_then(Value::as_str);
            let listed = listed.is_some_and(|value| matches!(value, "true" | "1" | "t" | "T"));
            Some(if listed { Operation::List } else { Operation::Read })
        }
        "POST" | "PUT" => Some(Operation::Update),
        "PATCH" => Some(Operation::Patch),
        "DELETE" => Some(Operation::Delete),
        "LIST" => Some(Operation::List),
        _ => None,
    }
}

/// The query as fields: a repeated name becomes a list.
pub(crate) fn query(raw: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name), Value::String(decode(value)));
        match fields.get_mut(&name) {
            None => {
                fields.insert(name, value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    fields
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Reads a body within its limits.
pub(crate) async fn body(incoming: Incoming) -> Result<Zeroizing<Vec<u8>>, Error> {
    let too_large = || Error::new(Code::TooLarge, "http: request body too large");
    let size = http_body::Body::size_hint(&incoming);
    if size.lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let read =
        tokio::time::timeout(BODY_TIME_MAX, Limited::new(incoming, BODY_BYTES_MAX).collect());
    match read.await {
        Ok(Ok(body)) => Ok(Zeroizing::new(Bytes::into(body.to_bytes()))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Error::invalid("the request's body ended early")),
        Err(_) => Err(Error::invalid("the request's body did not arrive in time")),
    }
}

/// The fields of a body for this operation. An empty body has none.
pub(crate) fn fields(
    operation: Operation,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Map<String, Value>, Error> {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if operation == Operation::Patch {
        check_patch(media)?;
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let Some(first) = first else { return Ok(Map::new()) };
    if media == "application/x-www-form-urlencoded" && !matches!(first, b'{' | b'[') {
        let text = std::str::from_utf8(body).map_err(|_| Error::invalid("form is not UTF-8"))?;
        return Ok(query(text));
    }
    match json::parse(body, &json::Limits::default()) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::invalid("error parsing JSON: the body must be an object")),
        Err(error) => Err(malformed(&error)),
    }
}

/// The texts that clients of this API know; where exactly it went wrong goes to the log.
fn malformed(error: &json::Error) -> Error {
    let text = match error.rule {
        Rule::Syntax(_) | Rule::Unfinished => "error parsing JSON".to_owned(),
        Rule::Depth(_)
        | Rule::StringBytes(_)
        | Rule::NumberBytes(_)
        | Rule::ObjectEntries(_)
        | Rule::ArrayElements(_)
        | Rule::Values(_)
        | Rule::DuplicateKey
        | Rule::Trailing => error.to_string(),
    };
    event::body_refused(error);
    Error::invalid(text)
}

fn check_patch(media: &str) -> Result<(), Error> {
    if media == MERGE_PATCH {
        return Ok(());
    }
    if media.is_empty() {
        return Err(Error::invalid("mime: no media type"));
    }
    let text = format!("PATCH requires Content-Type of {MERGE_PATCH}, provided {media}");
    Err(Error::new(Code::UnsupportedMedia, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_become_a_list() {
        let fields = query("a=1&b=x%20y&a=2&c");
        assert_eq!(fields["a"], serde_json::json!(["1", "2"]));
        assert_eq!(fields["b"], "x y");
        assert_eq!(fields["c"], "");
    }

    #[test]
    fn a_get_with_list_is_a_list() {
        assert_eq!(operation(&Method::GET, &query("list=true")), Some(Operation::List));
        assert_eq!(operation(&Method::GET, &query("list=false")), Some(Operation::Read));
        let list = Method::from_bytes(b"LIST").unwrap();
        assert_eq!(operation(&list, &Map::new()), Some(Operation::List));
        assert_eq!(operation(&Method::TRACE, &Map::new()), None);
    }
}
