//! One request and its answer.

use crate::{ANSWER_BYTES_MAX, Client, Error, Received, Settings, Unanswered, secret_header};
use bailee_notation::json;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt, time::Duration};
use zeroize::Zeroizing;

/// Time for an answer that is passed on as it comes.
const STREAM_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Redirects followed on the same host before giving up.
const REDIRECTS_MAX: usize = 3;
/// Bytes that an answer gets room for before it comes.
const ROOM_MAX: usize = 8 << 20;
/// What a path segment may not hold unencoded.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'\\')
    .add(b'^')
    .add(b'|')
    .add(b'[')
    .add(b']');

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// List, sent as GET with `list=true`, which every proxy lets through.
    List,
    /// List all folders below, sent as GET with `scan=true`; not every server can.
    Scan,
    /// Write.
    Put,
    /// Write, for what older servers serve under POST only.
    Post,
    /// Change a part, by merge patch.
    Patch,
    /// Delete.
    Delete,
}

impl Method {
    /// The verb on the wire.
    pub fn verb(self) -> &'static str {
        match self {
            Method::Get | Method::List | Method::Scan => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }

    /// The media type of a body that says nothing else.
    fn media(self) -> &'static str {
        match self {
            Method::Patch => "application/merge-patch+json",
            Method::Get
            | Method::List
            | Method::Scan
            | Method::Put
            | Method::Post
            | Method::Delete => "application/json",
        }
    }
}

/// A request to be sent.
#[derive(Clone)]
pub struct Outgoing {
    /// What is asked.
    pub method: Method,
    /// The path behind `/v1/`, not encoded.
    pub path: String,
    /// Names and values behind the `?`.
    pub query: Vec<(String, String)>,
    /// The body of writes: JSON, unless a header says otherwise.
    pub body: Option<Zeroizing<Vec<u8>>>,
    /// Headers beside the token; a namespace here stands before that of the settings.
    pub headers: Vec<(Cow<'static, str>, String)>,
}

impl Outgoing {
    /// A request without body.
    pub fn new(method: Method, path: impl Into<String>) -> Outgoing {
        let (query, headers) = (Vec::new(), Vec::new());
        Outgoing { method, path: path.into(), query, body: None, headers }
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn json(mut self, body: &Value) -> Outgoing {
        self.body = Some(Zeroizing::new(body.to_string().into_bytes()));
        self
    }

    /// The same with one more query field.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl Into<String>) -> Outgoing {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Outgoing {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name))
    }

    /// The URL it goes to.
    pub fn url(&self, settings: &Settings) -> String {
        let path = utf8_percent_encode(self.path.trim_start_matches('/'), UNSAFE);
        let mut url = format!("{}/v1/{path}", settings.address);
        let verb = match self.method {
            Method::List => Some("list"),
            Method::Scan => Some("scan"),
            Method::Get | Method::Put | Method::Post | Method::Patch | Method::Delete => None,
        };
        let listed = verb.map(|verb| (verb.to_owned(), "true".to_owned()));
        let mut mark = '?';
        for (name, value) in self.query.iter().chain(&listed) {
            let set = percent_encoding::NON_ALPHANUMERIC;
            let (name, value) = (utf8_percent_encode(name, set), utf8_percent_encode(value, set));
            url.push_str(&format!("{mark}{name}={value}"));
            mark = '&';
        }
        url
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({} {})", self.method.verb(), self.path)
    }
}

/// An answer.
pub struct Response {
    /// Its HTTP status.
    pub status: u16,
    /// When the server asks to come again.
    pub retry_after: Option<Duration>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Response {
    /// The document, as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The document as JSON; an empty object when there is none.
    pub fn json(&self) -> Map<String, Value> {
        // Secrets nest deeper than the usual reader goes.
        match json::parse(&self.bytes, &json::Limits::stored()) {
            Ok(Value::Object(document)) => document,
            _ => Map::new(),
        }
    }

    /// The document's `data` as a typed value; `None` when it is absent or of another type.
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_value(self.json().remove("data")?).ok()
    }

    /// The document's `data`, read without a tree in between: for long answers.
    pub fn typed<T: DeserializeOwned>(&self) -> Option<T> {
        #[derive(serde::Deserialize)]
        struct Document<T> {
            data: T,
        }
        serde_json::from_slice::<Document<T>>(&self.bytes).ok().map(|document| document.data)
    }

    /// The sentences of a refusal.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.json().remove("errors");
        errors.and_then(|errors| serde_json::from_value(errors).ok()).unwrap_or_default()
    }
}

/// Answers hold secrets.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.bytes.len())
    }
}

/// An answer that is read part by part.
#[derive(Debug)]
pub struct Parts {
    answer: Received,
    method: &'static str,
    url: String,
}

impl Parts {
    /// The next part; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let part = self.answer.body.next().await.transpose();
        part.map_err(|reason| unanswered(self.method, &self.url, reason))
    }
}

pub(crate) async fn send(client: &Client, outgoing: &Outgoing) -> Result<Response, Error> {
    let (url, answer) = ask(client, outgoing, client.settings.timeout).await?;
    let response = read(outgoing, &url, answer).await?;
    accepted(outgoing, url, response)
}

pub(crate) async fn stream(client: &Client, outgoing: &Outgoing) -> Result<Parts, Error> {
    let (url, answer) = ask(client, outgoing, STREAM_TIME_MAX).await?;
    if (200..300).contains(&answer.status) {
        return Ok(Parts { answer, method: outgoing.method.verb(), url });
    }
    let response = read(outgoing, &url, answer).await?;
    let (method, response) = (outgoing.method.verb(), Box::new(response));
    Err(Error::Refused { method, url, response })
}

pub(crate) async fn exchange(client: &Client, outgoing: &Outgoing) -> Result<Received, Error> {
    ask(client, outgoing, client.settings.timeout).await.map(|(_, answer)| answer)
}

/// Sends, follows redirects, and gives the URL that answered with its answer.
async fn ask(
    client: &Client,
    outgoing: &Outgoing,
    timeout: Duration,
) -> Result<(String, Received), Error> {
    let settings = &client.settings;
    let mut url = outgoing.url(settings);
    for _ in 0..=REDIRECTS_MAX {
        let request = request(client, outgoing, &url)?;
        let answer = client.transport.exchange(request, timeout).await;
        let answer = answer.map_err(|reason| unanswered(outgoing.method.verb(), &url, reason))?;
        if !(300..400).contains(&answer.status) || !settings.follow_redirects {
            return Ok((url, answer));
        }
        url = redirected(settings, outgoing, &url, answer.headers.get(LOCATION))?;
    }
    Err(answer_error(outgoing, &url, "redirects without end"))
}

fn request(client: &Client, outgoing: &Outgoing, url: &str) -> Result<http::Request<Bytes>, Error> {
    let settings = &client.settings;
    let dialed = client.dialed.as_ref().and_then(|dialed| {
        let rest = url.strip_prefix(&settings.address.to_string())?;
        Some(format!("{dialed}{rest}"))
    });
    let mut request = http::Request::builder()
        .method(outgoing.method.verb())
        .uri(dialed.as_deref().unwrap_or(url))
        .header("X-Vault-Request", "true");
    if let Some(token) = &settings.token {
        request = request.header("X-Vault-Token", secret_header(token.expose())?);
    }
    if !settings.namespace.is_empty() && !outgoing.has_header("X-Vault-Namespace") {
        request = request.header("X-Vault-Namespace", header("namespace", &settings.namespace)?);
    }
    for (name, value) in &outgoing.headers {
        request = request.header(name.as_ref(), header(name, value)?);
    }
    let mut body = Bytes::new();
    if let Some(given) = &outgoing.body {
        if !outgoing.has_header("Content-Type") {
            request = request.header(CONTENT_TYPE, outgoing.method.media());
        }
        body = given.to_vec().into();
    }
    request.body(body).map_err(|error| Error::Setting {
        setting: format!("request for {}", outgoing.path),
        reason: error.to_string(),
    })
}

fn header(name: &str, value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value).map_err(|_| Error::Setting {
        setting: name.to_owned(),
        reason: "contains characters that no header can hold".to_owned(),
    })
}

async fn read(outgoing: &Outgoing, url: &str, mut answer: Received) -> Result<Response, Error> {
    let status = answer.status;
    let retry_after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    // In room of the right size, where it is told: what a growing one leaves behind is wiped and as large again.
    let told =
        answer.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(told.unwrap_or(0).min(ROOM_MAX)));
    let failed = |reason| unanswered(outgoing.method.verb(), url, reason);
    while let Some(part) = answer.body.next().await.transpose().map_err(failed)? {
        if bytes.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(answer_error(outgoing, url, "is larger than 64 MiB"));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Response { status, retry_after, bytes })
}

fn accepted(outgoing: &Outgoing, url: String, response: Response) -> Result<Response, Error> {
    if (200..300).contains(&response.status) {
        return Ok(response);
    }
    Err(Error::Refused { method: outgoing.method.verb(), url, response: Box::new(response) })
}

/// Where a redirect leads, if the token may go there: the same scheme, host and port.
fn redirected(
    settings: &Settings,
    outgoing: &Outgoing,
    url: &str,
    to: Option<&HeaderValue>,
) -> Result<String, Error> {
    let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
    let base = settings.address.to_string();
    if to.starts_with('/') && !to.starts_with("//") {
        return Ok(format!("{base}{to}"));
    }
    if to.strip_prefix(&base).is_some_and(|rest| rest.starts_with('/')) {
        return Ok(to.to_owned());
    }
    Err(answer_error(outgoing, url, "redirects to another host; set its address instead"))
}

fn unanswered(method: &'static str, url: &str, reason: Unanswered) -> Error {
    let url = url.to_owned();
    match reason {
        Unanswered::Lost(reason) => Error::Connection { method, url, reason },
        Unanswered::Forbidden(reason) => Error::Forbidden { method, url, reason },
    }
}

fn answer_error(outgoing: &Outgoing, url: &str, reason: &'static str) -> Error {
    Error::Answer { method: outgoing.method.verb(), url: url.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_nest_deep_are_read() {
        let deep = format!(r#"{{"data":{{"a":{}{}}}}}"#, "[".repeat(300), "]".repeat(300));
        let bytes = Zeroizing::new(deep.clone().into_bytes());
        let response = Response { status: 200, retry_after: None, bytes };
        assert_eq!(Value::Object(response.json()).to_string(), deep);
        assert!(response.data::<Value>().is_some());
    }
}
