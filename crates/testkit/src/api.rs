//! The API over HTTP, without any help: a test decides each header and each byte.

use bytes::Bytes;
use reqwest::{
    Client, Method,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde_json::Value;
use std::{fmt, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A server's address with the token and namespace of requests.
#[derive(Clone, Debug)]
pub struct Api {
    http: Client,
    base: String,
    token: Option<String>,
    namespace: Option<String>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

impl Ask {
    /// A request without body; `path` is behind `/v1/` and may hold a query.
    pub fn new(method: &str, path: &str) -> Ask {
        let method = Method::from_bytes(method.as_bytes()).expect("the test's method is a token");
        Ask { method, path: path.to_owned(), headers: Vec::new(), body: None }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Ask {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a body of any kind.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Ask {
        self.body = Some(body.into());
        self
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Ask {
        self.header("content-type", "application/json").body(body.to_string())
    }
}

/// An answer.
#[derive(Clone)]
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its body as JSON; `null` when it is none.
    pub json: Value,
    asked: String,
}

/// An answer that goes on.
#[derive(Debug)]
pub struct Listening {
    answer: reqwest::Response,
    waiting: Vec<u8>,
}

impl Listening {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer.headers().get(name)?.to_str().ok()
    }

    /// The next line, which may be empty; `None` at the end.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.waiting.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let piece = self.answer.chunk().await.expect("the answer ends as it should")?;
            self.waiting.extend_from_slice(&piece);
        }
    }
}

impl Answer {
    fn new(asked: String, status: u16, headers: HeaderMap, body: Bytes) -> Answer {
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Answer { status, headers, body, json, asked }
    }

    /// The same, which must be a success.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Answer {
        assert!((200..300).contains(&self.status), "{self:?}");
        self
    }

    /// Checks that it is a success without content to look at.
    #[track_caller]
    pub fn done(self) {
        drop(self.ok());
    }

    /// Checks that it is a refusal with this status whose text holds `part`.
    #[track_caller]
    pub fn refused(self, status: u16, part: &str) -> Answer {
        assert_eq!(self.status, status, "{self:?}");
        let text = self.errors();
        assert!(text.to_lowercase().contains(&part.to_lowercase()), "{part:?} is not in: {self:?}");
        self
    }

    /// The sentences of a refusal, joined.
    pub fn errors(&self) -> String {
        let errors = self.json.get("errors").and_then(Value::as_array);
        let texts = errors.into_iter().flatten().filter_map(Value::as_str);
        texts.collect::<Vec<_>>().join("\n")
    }

    /// What is under `data`; `null` when there is none.
    pub fn data(&self) -> Value {
        self.json.get("data").cloned().unwrap_or_default()
    }

    /// What is at a JSON pointer such as `/data/keys`; `null` when there is none.
    pub fn at(&self, pointer: &str) -> Value {
        self.json.pointer(pointer).cloned().unwrap_or_default()
    }

    /// The text at a JSON pointer; fails when there is none.
    #[track_caller]
    pub fn text(&self, pointer: &str) -> String {
        let found = self.at(pointer).as_str().map(str::to_owned);
        assert!(found.is_some(), "no text at {pointer}: {self:?}");
        found.unwrap_or_default()
    }

    /// The body as text.
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = self.body_text().chars().take(1500).collect();
        write!(f, "{} answered {}: {body}", self.asked, self.status)
    }
}

impl Api {
    /// An address such as `http://127.0.0.1:8200`, without token.
    pub fn new(base: &str) -> Api {
        // A connection per client would hide what keep-alive does; idle ones must not outlive a
        // killed server, which is why a request is tried again by the test and not by the client.
        let client = Client::builder().timeout(Duration::from_secs(120)).no_proxy();
        Api::with_client(base, client.build().expect("a plain HTTP client can be built"))
    }

    /// The same through a client of the test's own, for TLS.
    pub fn with_client(base: &str, http: Client) -> Api {
        Api { http, base: base.to_owned(), token: None, namespace: None }
    }

    /// The address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The token in use, empty without one.
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// The same with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Api {
        Api { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same without a token.
    #[must_use]
    pub fn anonymous(&self) -> Api {
        Api { token: None, ..self.clone() }
    }

    /// The same in another namespace, by header.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Api {
        Api { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// Asks; an error means that no answer came.
    pub async fn try_send(&self, ask: Ask) -> Result<Answer, reqwest::Error> {
        let asked = format!("{} {}", ask.method, ask.path);
        let url = format!("{}/v1/{}", self.base, ask.path);
        let mut request = self.http.request(ask.method, url);
        if let Some(token) = &self.token {
            request = request.header("x-vault-token", token);
        }
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        if let Some(body) = ask.body {
            request = request.body(body);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer::new(asked, status, headers, answer.bytes().await?))
    }

    /// Asks for what goes on; its pieces come line by line.
    pub async fn listen(&self, ask: Ask) -> Listening {
        let url = format!("{}/v1/{}", self.base, ask.path);
        let mut request = self.http.request(ask.method, url).header("x-vault-token", self.token());
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.expect("the server answers");
        assert_eq!(answer.status().as_u16(), 200);
        Listening { answer, waiting: Vec::new() }
    }

    /// Asks; fails when no answer comes.
    pub async fn send(&self, ask: Ask) -> Answer {
        let asked = format!("{} {}", ask.method, ask.path);
        self.try_send(ask).await.unwrap_or_else(|error| {
            let text = format!("{{\"errors\":[\"no answer: {error:?}\"]}}");
            Answer::new(asked, 0, HeaderMap::new(), text.into())
        })
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Ask::new("GET", path)).await
    }

    /// `LIST`.
    pub async fn list(&self, path: &str) -> Answer {
        self.send(Ask::new("LIST", path)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Ask::new("DELETE", path)).await
    }

    /// `PUT` with a JSON body.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Ask::new("PUT", path).json(&body)).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Ask::new("POST", path).json(&body)).await
    }

    /// `PATCH` by merge patch.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        let ask =
            Ask::new("PATCH", path).header(CONTENT_TYPE.as_str(), "application/merge-patch+json");
        self.send(ask.body(body.to_string())).await
    }

    /// Sends a path letter by letter, which tidy clients do not: `path` includes `/v1/`.
    pub async fn send_verbatim(&self, method: &str, path: &str, body: &str) -> Answer {
        let asked = format!("{method} {path}");
        let authority = self.base.trim_start_matches("http://").to_owned();
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\n");
        request.push_str(&format!("x-vault-token: {}\r\n", self.token()));
        request.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()));
        request.push_str(body);
        let mut stream = TcpStream::connect(&authority).await.expect("the server listens");
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("the server answers");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer::new(asked, status, HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes()))
    }

    /// Writes a secret of the KV mount `secret`; gives its version. Fails when it is refused.
    pub async fn write(&self, path: &str, data: Value) -> u64 {
        let body = serde_json::json!({ "data": data });
        let answer = self.put(&format!("secret/data/{path}"), body).await.ok();
        answer.at("/data/version").as_u64().expect("a write answers its version")
    }
}
