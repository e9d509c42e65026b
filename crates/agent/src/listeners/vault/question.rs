//! A request as it came in, and the key that answers are kept under.

use super::kind;
use crate::listeners::answer::{self, Answer, Refusal};
use bailee_client::{Method, Outgoing};
use bailee_crypto::{Sensitive, mac::MacKey};
use bytes::Bytes;
use http::{HeaderMap, Method as Verb, StatusCode, header, request::Parts};
use percent_encoding::percent_decode_str;
use serde_json::{json, value::RawValue};
use std::collections::HashMap;
use zeroize::Zeroizing;

/// Bytes of a path, at most.
const PATH_BYTES_MAX: usize = 4 << 10;
/// Headers that are passed on to the server.
const PASSED_ON: [&str; 12] = [
    "accept",
    "content-type",
    "x-vault-namespace",
    "x-vault-wrap-ttl",
    "x-vault-wrap-format",
    "x-vault-mfa",
    "x-vault-policy-override",
    "x-vault-no-request-forwarding",
    "x-vault-index",
    "x-vault-forward",
    "x-vault-inconsistent",
    "x-request-id",
];

/// Names an answer: a keyed code, so that neither token nor path can be read from what is kept.
pub(crate) type Key = [u8; 32];

/// Whose token a request is sent with.
#[derive(Clone, Debug)]
pub(crate) enum Token {
    /// The client's.
    Own(Sensitive<String>),
    /// The agent's.
    Agent,
    /// None at all, as for logins.
    None,
}

/// A request of a client.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) verb: Verb,
    /// Behind `/v1/`, decoded.
    pub(crate) path: String,
    pub(crate) namespace: String,
    pub(crate) token: Token,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// Whether the client wants an answer of the server itself.
    pub(crate) anew: bool,
    /// Whether the answer is to be wrapped.
    pub(crate) wrapped: bool,
}

impl Question {
    /// Reads a request. `agent` says whether the agent's token is used where there is none; `namespace` is the one
    /// of requests that name none.
    ///
    /// # Errors
    /// The answer to a request that cannot be passed on.
    pub(crate) fn read(
        head: &Parts,
        body: &Bytes,
        agent: super::AgentToken,
        namespace: &str,
    ) -> Result<Question, Refusal> {
        let bad = |reason: &str| Box::new(refusal(StatusCode::BAD_REQUEST, reason));
        let Some(path) = head.uri.path().strip_prefix("/v1/") else {
            let told = "there is nothing but /v1/ here";
            return Err(Box::new(refusal(StatusCode::NOT_FOUND, told)));
        };
        if path.len() > PATH_BYTES_MAX {
            return Err(bad(&format!("the path is longer than {PATH_BYTES_MAX} bytes")));
        }
        let path = decoded(path).ok_or_else(|| bad("the path is not UTF-8 when decoded"))?;
        if path.split('/').any(|part| part == ".." || part == ".") {
            return Err(bad("path cannot contain parent references"));
        }
        let mut query = Vec::new();
        for pair in head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let field = |text: &str| decoded(&text.replace('+', " "));
            match (field(name), field(value)) {
                (Some(name), Some(value)) => query.push((name, value)),
                _ => return Err(bad("the query is not UTF-8 when decoded")),
            }
        }
        let headers = &head.headers;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let given = text("x-vault-namespace").unwrap_or(namespace);
        Ok(Question {
            verb: head.method.clone(),
            path,
            namespace: given.trim_matches('/').to_owned(),
            token: token(headers, agent),
            query,
            headers: passed_on(headers),
            body: Zeroizing::new(body.to_vec()),
            anew: text("cache-control").is_some_and(|value| value.contains("no-cache")),
            wrapped: headers.contains_key("x-vault-wrap-ttl"),
        })
    }

    /// Namespace and path in one, which is how a thing is named whichever way it was asked for.
    pub(crate) fn full_path(&self) -> String {
        let parts = self.namespace.split('/').chain(self.path.split('/'));
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    /// Whether it only looks.
    pub(crate) fn is_read(&self) -> bool {
        self.verb == Verb::GET || self.verb == Verb::HEAD || self.is_list()
    }

    fn is_list(&self) -> bool {
        let says = |wanted: &str| {
            let mut query = self.query.iter();
            query.any(|(name, value)| name == wanted && value == "true")
        };
        matches!(self.verb.as_str(), "LIST" | "SCAN") || says("list") || says("scan")
    }

    /// Whether it makes a token that hangs on its own.
    pub(crate) fn makes_token(&self) -> bool {
        self.path.contains("auth/token/create")
    }

    /// Whether it has a second factor beside it.
    pub(crate) fn has_factor(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == "x-vault-mfa")
    }

    /// The key of its answer; `None` where no answer to it is ever kept.
    pub(crate) fn key(&self, mac: &MacKey) -> Option<Key> {
        let kept = matches!(self.verb, Verb::GET | Verb::PUT | Verb::POST);
        let login = self.is_login();
        // A token that is made is no answer to keep, but one to know of.
        let passing = kind::is_passing(&self.path) && !self.makes_token() && !login;
        let nobodys = matches!(self.token, Token::None) && !login;
        if !kept || passing || self.is_list() || self.wrapped || nobodys {
            return None;
        }
        let mut query = self.query.clone();
        query.sort();
        let verb = if self.verb == Verb::GET { "read" } else { "write" };
        let kind = match self.token {
            Token::Agent => "agent",
            Token::Own(_) => "own",
            Token::None => "none",
        };
        let mut parts: Vec<&[u8]> = vec![verb.as_bytes(), kind.as_bytes()];
        if let Token::Own(token) = &self.token {
            parts.push(token.expose().as_bytes());
        }
        parts.extend([self.namespace.as_bytes(), self.path.as_bytes(), self.body.as_slice()]);
        for (name, value) in &query {
            parts.extend([name.as_bytes(), value.as_bytes()]);
        }
        Some(code(mac, &parts))
    }

    /// The request as it is sent on; `None` for a verb that the API has not.
    pub(crate) fn outgoing(&self) -> Option<Outgoing> {
        let method = match self.verb.as_str() {
            "GET" | "HEAD" => Method::Get,
            "LIST" => Method::List,
            "SCAN" => Method::Scan,
            "PUT" => Method::Put,
            "POST" => Method::Post,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            _ => return None,
        };
        let mut outgoing = Outgoing::new(method, self.path.clone());
        outgoing.query.clone_from(&self.query);
        outgoing.body = (!self.body.is_empty()).then(|| self.body.clone());
        for (name, value) in &self.headers {
            outgoing = outgoing.header(name.clone(), value.clone());
        }
        Some(outgoing)
    }

    /// A field of its body, where that is JSON and has it.
    pub(crate) fn field(&self, name: &str) -> Option<Sensitive<String>> {
        // The others are not copied: they may be secrets, too.
        let mut document: HashMap<String, &RawValue> = serde_json::from_slice(&self.body).ok()?;
        serde_json::from_str(document.remove(name)?.get()).ok()
    }
}

/// The code of a token, by which it is known without being kept.
pub(crate) fn mark(mac: &MacKey, token: &str) -> Key {
    code(mac, &[b"token", token.as_bytes()])
}

/// Each part is preceded by its length, so that no two questions read alike.
fn code(mac: &MacKey, parts: &[&[u8]]) -> Key {
    let lengths: Vec<[u8; 8]> =
        parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
    let both = lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), part]);
    mac.sign(&both.collect::<Vec<_>>())
}

fn token(headers: &HeaderMap, agent: super::AgentToken) -> Token {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let bearer =
        text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    let own = text("x-vault-token").or(bearer).filter(|token| !token.is_empty());
    match (agent, own) {
        (super::AgentToken::Always, _) | (super::AgentToken::WhereAbsent, None) => Token::Agent,
        (_, Some(token)) => Token::Own(Sensitive::from(token)),
        (super::AgentToken::Never, None) => Token::None,
    }
}

fn passed_on(headers: &HeaderMap) -> Vec<(String, String)> {
    let text =
        |name: &&str| Some(((*name).to_owned(), headers.get(*name)?.to_str().ok()?.to_owned()));
    PASSED_ON.iter().filter_map(text).collect()
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// A refusal in the API's form.
pub(crate) fn refusal(status: StatusCode, reason: &str) -> Answer {
    answer::json(status, json!({ "errors": [reason] }).to_string())
}
