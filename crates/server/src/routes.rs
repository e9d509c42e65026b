//! Where a request goes.

use crate::{
    cors::{self, Verdict},
    event,
    input::{self, BodyRoom},
    limits::{REQUEST_TIME_MAX, SNAPSHOT_TIME_MAX},
    open,
    paths::{self, Target},
    snapshot,
    wire::{self, Reply},
};
use bailee_crypto::random;
use bailee_kernel::{Call, Core};
use bailee_sdk::{Code, Error, Headers, Operation, Sensitive};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, LOCATION, X_CONTENT_TYPE_OPTIONS},
};
use hyper::body::Incoming;
use serde_json::{Map, Value};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The kernel, and the room that bodies share before it.
pub(crate) struct Front {
    core: Arc<Core>,
    bodies: BodyRoom,
    /// Becomes true when the server stops: answers without an end end then.
    stop: watch::Receiver<bool>,
}

impl Front {
    pub(crate) fn new(core: Arc<Core>, stop: watch::Receiver<bool>) -> Front {
        Front { core, bodies: BodyRoom::default(), stop }
    }
}

/// Answers one request, whatever it is.
pub(crate) async fn serve(
    front: Arc<Front>,
    request: Request<Incoming>,
    remote: SocketAddr,
) -> Reply {
    let started = tokio::time::Instant::now();
    let id = random::uuid().to_string();
    let path = request.uri().path().strip_prefix("/v1/").unwrap_or_default();
    let patience = if snapshot::is_snapshot(path) { SNAPSHOT_TIME_MAX } else { REQUEST_TIME_MAX };
    let answered = tokio::time::timeout(patience, route(&front, request, remote, &id));
    let reply = answered.await.unwrap_or_else(|_| {
        let text = "the request took too long and was given up".to_owned();
        wire::errors(StatusCode::SERVICE_UNAVAILABLE, &[text])
    });
    event::answered(reply.status(), started.elapsed());
    reply
}

async fn route(front: &Front, request: Request<Incoming>, remote: SocketAddr, id: &str) -> Reply {
    match paths::read(request.uri().path()) {
        Ok(Target::Api(path)) => {
            let verdict = cors::judge(&front.core.cors(), request.method(), request.headers());
            let origin = match verdict {
                Verdict::Plain => None,
                Verdict::For(origin) => Some(origin),
                Verdict::Answer(reply) => return *reply,
            };
            let answered = api(front, path, request, remote, id).await;
            let mut reply = answered.unwrap_or_else(|error| wire::failure(id, &error));
            if let Some(origin) = origin {
                cors::allow(&mut reply, origin);
            }
            reply
        }
        Ok(Target::Redirect(to)) => redirect(&to, &request),
        Ok(Target::Elsewhere) => elsewhere(front, request.uri().path()),
        Err(error) => wire::failure(id, &error),
    }
}

async fn api(
    front: &Front,
    path: String,
    request: Request<Incoming>,
    remote: SocketAddr,
    id: &str,
) -> Result<Reply, Error> {
    let core = &front.core;
    if let Some(reply) = open::try_serve(core, &path, request.method(), request.uri().query()).await
    {
        return Ok(reply);
    }
    let query = input::query(request.uri().query().unwrap_or_default());
    if *request.method() == Method::OPTIONS {
        let text = "1 error occurred:\n\t* unsupported operation\n\n".to_owned();
        return Ok(wire::errors(StatusCode::METHOD_NOT_ALLOWED, &[text]));
    }
    let Some(operation) = input::operation(request.method(), &query) else {
        return Ok(wire::errors(StatusCode::METHOD_NOT_ALLOWED, &[]));
    };
    let (head, incoming) = request.into_parts();
    let mut incoming = Some(incoming);
    let snapshot = snapshot::asked(&path, operation);
    // Kept until the request is answered: what was read is worked on until then.
    let mut kept = None;
    let input = match operation {
        _ if snapshot.is_some() => Map::new(),
        Operation::Delete if open::is_bare(&path) => {
            let body = front.bodies.read(incoming.take()).await?;
            input::open_fields(&body)?
        }
        Operation::Read | Operation::List | Operation::Scan | Operation::Delete => {
            let mut fields = query;
            fields.remove("list");
            fields.remove("scan");
            fields
        }
        Operation::Create | Operation::Update | Operation::Patch => {
            let body = front.bodies.read(incoming.take()).await?;
            if open::takes_body(&path) {
                return open::serve_with_body(core, &path, &body).await;
            }
            if body.is_empty() && open::needs_body(&path) {
                return Err(open::no_body());
            }
            let fields = fields(&path, operation, &head.headers, &body)?;
            kept = Some(body.into_permit());
            fields
        }
    };
    let mut path = path;
    if operation.is_listing() && !path.ends_with('/') {
        path.push('/');
    }
    let call = Call {
        id: id.to_owned(),
        namespace: header(&head.headers, "x-vault-namespace")?.unwrap_or_default().to_owned(),
        path,
        operation,
        input,
        token: token(&head.headers)?,
        wrap_ttl: wrap_ttl(&head.headers)?,
        remote: Some(remote),
        headers: wanted(core, &head.headers),
    };
    let limited = core.limit(&call).await?;
    let mut reply = match limited.refused {
        Some(refusal) => wire::failure(id, &refusal),
        None => {
            let outcome = match (snapshot, incoming) {
                (Some(asked), Some(body)) => snapshot::serve(core, asked, call, body).await,
                _ => run(front, call, &head.method).await,
            };
            outcome.unwrap_or_else(|error| wire::failure(id, &error))
        }
    };
    drop(kept);
    if let Some(allowance) = &limited.shown {
        wire::show_allowance(&mut reply, allowance);
    }
    Ok(reply)
}

fn fields(
    path: &str,
    operation: Operation,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Map<String, Value>, Error> {
    if open::is_bare(path) {
        return input::open_fields(body);
    }
    input::fields(operation, headers, body)
}

async fn run(front: &Front, call: Call, method: &Method) -> Result<Reply, Error> {
    let core = &front.core;
    if open::is_seal(&call.path) && method != Method::GET {
        core.seal(call).await?;
        return Ok(wire::empty(StatusCode::NO_CONTENT));
    }
    let is_bare = open::is_bare(&call.path);
    match core.handle(call).await {
        Ok(answer) if is_bare => Ok(wire::bare(answer)),
        Err(error) if is_bare && error.code == Code::Unsupported => {
            Ok(wire::errors(StatusCode::METHOD_NOT_ALLOWED, &[]))
        }
        outcome => outcome.map(|answer| wire::answer(answer, &front.stop)),
    }
}

/// The headers that the kernel wants to see. Values that are not text are shown as far as they are.
fn wanted(core: &Core, headers: &HeaderMap) -> Headers {
    let mut found = Vec::new();
    for name in core.wanted_headers().iter() {
        for value in headers.get_all(name.as_str()) {
            found.push((name.clone(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        }
    }
    // What is sent as it happens can be sent in two ways; nothing else depends on this header.
    let server_sent = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for value in server_sent.filter(|value| value.contains("text/event-stream")) {
        found.push((ACCEPT.as_str().to_owned(), value.to_owned()));
    }
    if found.is_empty() { Headers::default() } else { Headers(Arc::new(found)) }
}

fn token(headers: &HeaderMap) -> Result<Option<Sensitive<String>>, Error> {
    let bearer = || {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    };
    let token = header(headers, "x-vault-token")?.or_else(bearer);
    Ok(token.filter(|token| !token.is_empty()).map(Sensitive::from))
}

fn wrap_ttl(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(text) = header(headers, "x-vault-wrap-ttl")? else { return Ok(None) };
    let ttl = bailee_notation::duration::parse(text)
        .map_err(|error| Error::invalid(format!("X-Vault-Wrap-TTL: {error}")))?;
    Ok((!ttl.is_zero()).then_some(ttl))
}

/// A header as text. One that is not text is refused: to leave it out could mean another namespace,
/// or an answer that is not wrapped.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes());
    text.map(Some).map_err(|_| Error::invalid(format!("the header {name} is not valid UTF-8")))
}

/// What is not the API: there are no web pages yet.
fn elsewhere(front: &Front, path: &str) -> Reply {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut reply = wire::reply(StatusCode::NOT_FOUND, text, b"404 page not found\n".to_vec());
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if path == "/ui" || path.starts_with("/ui/") {
        for (name, values) in front.core.page_headers().iter() {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
            for value in values.iter().filter_map(|value| HeaderValue::from_str(value).ok()) {
                reply.headers_mut().append(name.clone(), value);
            }
        }
    }
    reply
}

/// To the plain name of a path. Browsers are told in words, too, as clients of this API know it.
fn redirect<B>(to: &str, request: &Request<B>) -> Reply {
    let query = request.uri().query();
    let to = query.map_or_else(|| to.to_owned(), |query| format!("{to}?{query}"));
    let mut reply = if request.method() == Method::GET {
        let shown = to.replace('&', "&amp;").replace('"', "&#34;").replace('<', "&lt;");
        let body = format!("<a href=\"{shown}\">Temporary Redirect</a>.\n\n");
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        wire::reply(StatusCode::TEMPORARY_REDIRECT, html, body.into_bytes())
    } else {
        let mut reply = wire::empty(StatusCode::TEMPORARY_REDIRECT);
        reply.headers_mut().remove(CONTENT_TYPE);
        reply
    };
    if let Ok(to) = HeaderValue::from_str(&to) {
        reply.headers_mut().insert(LOCATION, to);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_not_text_is_refused_and_not_left_out() {
        let mut headers = HeaderMap::new();
        assert_eq!(header(&headers, "x-vault-namespace").unwrap(), None);
        let utf8 = HeaderValue::from_bytes("münchen/".as_bytes()).unwrap();
        headers.insert("x-vault-namespace", utf8);
        assert_eq!(header(&headers, "x-vault-namespace").unwrap(), Some("münchen/"));
        headers.insert("x-vault-namespace", HeaderValue::from_bytes(&[0xff]).unwrap());
        assert!(header(&headers, "x-vault-namespace").is_err());
        headers.insert("x-vault-wrap-ttl", HeaderValue::from_bytes(&[0xff]).unwrap());
        assert!(wrap_ttl(&headers).is_err());
    }
}
