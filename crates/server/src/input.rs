//! Body and query: what a request brings.

use crate::{
    event,
    limits::{BODIES_BYTES_MAX, BODY_BYTES_MAX, BODY_TIME_MAX},
};
use bailee_notation::json::{self, Rule};
use bailee_sdk::{Code, Error, Operation};
use http::{HeaderMap, Method, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use std::{ops::Deref, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

/// The media type of a merge patch, the only one PATCH takes.
const MERGE_PATCH: &str = "application/merge-patch+json";

/// The room is given out in units of this size.
const ROOM_UNIT_BYTES: usize = 4096;

/// What is asked, judged by method and query. `None` when the method is none of the API's.
pub(crate) fn operation(method: &Method, query: &Map<String, Value>) -> Option<Operation> {
    match method.as_str() {
        "GET" => {
            let asks = |name: &str| {
                let value = query.get(name).and_then(Value::as_str);
                value.is_some_and(|value| {
                    matches!(value, "true" | "True" | "TRUE" | "1" | "t" | "T")
                })
            };
            Some(match (asks("list"), asks("scan")) {
                (true, _) => Operation::List,
                (false, true) => Operation::Scan,
                (false, false) => Operation::Read,
            })
        }
        "POST" | "PUT" => Some(Operation::Update),
        "PATCH" => Some(Operation::Patch),
        "DELETE" => Some(Operation::Delete),
        "LIST" => Some(Operation::List),
        "SCAN" => Some(Operation::Scan),
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

/// The memory that all bodies share: whoever reads takes from it as the body arrives.
pub(crate) struct BodyRoom(Arc<Semaphore>);

/// A body, and its share of the room.
pub(crate) struct Body {
    bytes: Zeroizing<Vec<u8>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Default for BodyRoom {
    fn default() -> BodyRoom {
        BodyRoom(Arc::new(Semaphore::new(BODIES_BYTES_MAX / ROOM_UNIT_BYTES)))
    }
}

impl BodyRoom {
    /// Reads a body within its limits of size and time, and within the room that is left.
    pub(crate) async fn read(&self, incoming: Option<Incoming>) -> Result<Body, Error> {
        let mut body = Body { bytes: Zeroizing::new(Vec::new()), permit: None };
        let Some(mut incoming) = incoming else { return Ok(body) };
        if http_body::Body::size_hint(&incoming).lower() > BODY_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let read = async {
            while let Some(frame) = incoming.frame().await {
                let frame = frame.map_err(|_| Error::invalid("the request's body ended early"))?;
                if let Some(data) = frame.data_ref() {
                    self.append(&mut body, data)?;
                }
            }
            Ok(())
        };
        match tokio::time::timeout(BODY_TIME_MAX, read).await {
            Ok(outcome) => outcome.map(|()| body),
            Err(_) => Err(Error::invalid("the request's body did not arrive in time")),
        }
    }

    fn append(&self, body: &mut Body, data: &[u8]) -> Result<(), Error> {
        let bytes = body.bytes.len() + data.len();
        if bytes > BODY_BYTES_MAX {
            return Err(too_large());
        }
        let held = body.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(ROOM_UNIT_BYTES).saturating_sub(held);
        if more > 0 {
            let more = u32::try_from(more).map_err(|_| too_large())?;
            let more = self.0.clone().try_acquire_many_owned(more).map_err(|_| busy())?;
            match &mut body.permit {
                Some(permit) => permit.merge(more),
                none => *none = Some(more),
            }
        }
        grow(&mut body.bytes, data);
        Ok(())
    }
}

impl Body {
    /// The share of the room, for as long as what was read from the body is in use.
    pub(crate) fn into_permit(self) -> Option<OwnedSemaphorePermit> {
        self.permit
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Appends without leaving an unwiped copy behind when the buffer moves.
fn grow(bytes: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if bytes.capacity() - bytes.len() < data.len() {
        let capacity = (bytes.len() + data.len()).next_power_of_two();
        let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(data);
}

fn too_large() -> Error {
    Error::new(Code::TooLarge, "http: request body too large")
}

fn busy() -> Error {
    Error::new(Code::RateLimited, "too many large requests at once; try again")
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
    object(body, |_| "error parsing JSON".to_owned())
}

/// The fields of a body of the paths of share holders, who may have no token: there, what is no JSON
/// is told more exactly. An empty body has none.
pub(crate) fn open_fields(body: &[u8]) -> Result<Map<String, Value>, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    object(body, |error| format!("failed to parse JSON input: {}", told(body, error)))
}

fn object(
    body: &[u8],
    unreadable: impl Fn(&json::Error) -> String,
) -> Result<Map<String, Value>, Error> {
    match json::parse(body, &json::Limits::default()) {
        Ok(Value::Object(fields)) => Ok(fields),
        // As if nothing was sent.
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(Error::invalid("error parsing JSON")),
        Err(error) => Err(malformed(body, &error, unreadable)),
    }
}

/// The texts that clients of this API know; where exactly it went wrong goes to the log.
fn malformed(
    body: &[u8],
    error: &json::Error,
    unreadable: impl Fn(&json::Error) -> String,
) -> Error {
    let text = match error.rule {
        Rule::Syntax(_) | Rule::Unfinished => unreadable(error),
        Rule::Trailing => format!(
            "failed to decode JSON input: invalid character {} looking for beginning of value",
            character(body, error)
        ),
        Rule::Depth(_)
        | Rule::StringBytes(_)
        | Rule::NumberBytes(_)
        | Rule::ObjectEntries(_)
        | Rule::ArrayElements(_)
        | Rule::Values(_)
        | Rule::DuplicateKey
        | Rule::ReservedKey => error.to_string(),
    };
    event::body_refused(error);
    Error::invalid(text)
}

/// The one character that is out of place, and of what.
fn told(body: &[u8], error: &json::Error) -> String {
    let expected = match error.rule {
        Rule::Syntax(expected) if error.offset < body.len() => expected,
        _ => return "unexpected EOF".to_owned(),
    };
    let place = match expected {
        "a key in quotes" => "looking for beginning of object key string",
        "a value" => "looking for beginning of value",
        "a comma or }" => "after object key:value pair",
        "a comma or ]" => "after array element",
        ": after the key" => "after object key",
        "a valid escape in the string" => "in string escape code",
        "no control character in a string" => "in string literal",
        _ => "in literal",
    };
    format!("invalid character {} {place}", character(body, error))
}

/// The character at the place of an error, in quotes.
fn character(body: &[u8], error: &json::Error) -> String {
    let rest = body.get(error.offset..).unwrap_or_default();
    let start = rest.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    format!("{:?}", start.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER))
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
    fn bodies_share_one_room_and_give_it_back() {
        let room = BodyRoom(Arc::new(Semaphore::new(3)));
        let new = || Body { bytes: Zeroizing::new(Vec::new()), permit: None };
        let (mut first, mut second) = (new(), new());
        room.append(&mut first, &[1; 5000]).unwrap();
        room.append(&mut first, &[1; 3000]).unwrap();
        assert_eq!(first.len(), 8000);
        room.append(&mut second, &[2; 4096]).unwrap();
        assert_eq!(room.append(&mut second, &[2; 1]).unwrap_err().code, Code::RateLimited);
        drop(first);
        room.append(&mut second, &[2; 1]).unwrap();
    }

    #[test]
    fn a_body_is_an_object_or_nothing() {
        let read = |body: &str| fields(Operation::Update, &HeaderMap::new(), body.as_bytes());
        for nothing in ["", " \n", "null", "{}"] {
            assert_eq!(read(nothing).unwrap(), Map::new());
        }
        for other in ["[1]", "\"text\"", "1", "true"] {
            assert!(read(other).unwrap_err().to_string().contains("error parsing JSON"));
        }
    }

    #[test]
    fn what_is_no_json_is_told_as_clients_know_it() {
        for (body, text) in [
            ("{", "failed to parse JSON input: unexpected EOF"),
            (
                "{not",
                "failed to parse JSON input: invalid character 'n' looking for beginning of object \
                 key string",
            ),
            (
                "{\"a\":1 \"b\"",
                "failed to parse JSON input: invalid character '\"' after object key:value pair",
            ),
            (
                "{\"a\":é}",
                "failed to parse JSON input: invalid character 'é' looking for beginning of value",
            ),
            (
                "{} canary",
                "failed to decode JSON input: invalid character 'c' looking for beginning of value",
            ),
            ("{\"a\":1,\"a\":2}", "duplicate key in JSON object (line 1, byte offset 7)"),
        ] {
            assert_eq!(open_fields(body.as_bytes()).unwrap_err().to_string(), text, "{body}");
        }
        let other = fields(Operation::Update, &HeaderMap::new(), b"{not").unwrap_err();
        assert_eq!(other.to_string(), "error parsing JSON");
    }

    #[test]
    fn repeated_names_become_a_list() {
        let fields = query("a=1&b=x%20y&a=2&c");
        assert_eq!(fields["a"], serde_json::json!(["1", "2"]));
        assert_eq!(fields["b"], "x y");
        assert_eq!(fields["c"], "");
    }

    #[test]
    fn a_get_with_list_is_a_list() {
        for yes in ["true", "True", "TRUE", "1", "t", "T"] {
            let asked = operation(&Method::GET, &query(&format!("list={yes}")));
            assert_eq!(asked, Some(Operation::List), "{yes}");
        }
        assert_eq!(operation(&Method::GET, &query("list=false")), Some(Operation::Read));
        let list = Method::from_bytes(b"LIST").unwrap();
        assert_eq!(operation(&list, &Map::new()), Some(Operation::List));
        assert_eq!(operation(&Method::TRACE, &Map::new()), None);
    }
}
