//! A server that speaks as much of Vault's API as the tests need.

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::Arc,
};
use tokio::net::TcpListener;

type Body = Either<Full<Bytes>, StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>>;

/// How the server fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::listeners) enum Fares {
    #[default]
    Well,
    /// It hangs up.
    Gone,
    /// It answers this status to everything.
    Says(u16),
    /// It never answers.
    Hangs,
}

#[derive(Default)]
pub(in crate::listeners) struct State {
    /// Secrets of a KV engine by their path below `secret/data/`.
    pub(in crate::listeners) secrets: BTreeMap<String, (u64, String)>,
    asked: Vec<String>,
    pub(in crate::listeners) fares: Fares,
    pub(in crate::listeners) lease: u64,
    pub(in crate::listeners) renewals: Option<u64>,
    /// Secret ids, and for how many logins each is still good.
    pub(in crate::listeners) secret_ids: BTreeMap<String, u64>,
    /// Policies of tokens that logins give.
    pub(in crate::listeners) policies: Vec<&'static str>,
    /// Tokens that have ended.
    pub(in crate::listeners) ended: BTreeSet<String>,
    made: u64,
}

pub(in crate::listeners) struct FakeVault {
    pub(in crate::listeners) state: Mutex<State>,
    address: SocketAddr,
}

impl FakeVault {
    pub(in crate::listeners) async fn start() -> Arc<FakeVault> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { lease: 100, ..State::default() };
        let fake = Arc::new(FakeVault { state: Mutex::new(state), address });
        fake.set("app", "canary-value");
        let serving = fake.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let fake = serving.clone();
                let service = service_fn(move |request| {
                    let fake = fake.clone();
                    async move { fake.answer(request).await }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        fake
    }

    pub(in crate::listeners) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(in crate::listeners) fn set(&self, path: &str, value: &str) {
        let mut state = self.state.lock();
        let version = state.secrets.get(path).map_or(0, |(version, _)| *version) + 1;
        state.secrets.insert(path.to_owned(), (version, value.to_owned()));
    }

    pub(in crate::listeners) fn fares(&self, fares: Fares) {
        self.state.lock().fares = fares;
    }

    /// What was asked since the last time, each as `GET secret/data/app root`: verb, path, token, namespace.
    pub(in crate::listeners) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().asked)
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        if request.uri().path() == "/v1/sys/monitor" {
            // One line, and then nothing for ever.
            let line = stream::iter([Ok(Frame::data(Bytes::from_static(b"line\n")))]);
            let lines = StreamBody::new(line.chain(stream::pending()).boxed());
            return Ok(Response::new(Either::Right(lines)));
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let target = head.uri.path_and_query().unwrap().as_str();
        let target = target.strip_prefix("/v1/").unwrap_or(target).to_owned();
        let text = |name: &str| {
            head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let (token, namespace) = (text("x-vault-token"), text("x-vault-namespace"));
        let fares = {
            let mut state = self.state.lock();
            let asked = format!("{} {target} {token} {namespace}", head.method);
            state.asked.push(asked.trim_end().to_owned());
            state.fares
        };
        match fares {
            Fares::Well => {}
            Fares::Gone => return Err(io::Error::other("gone")),
            Fares::Says(status) => return Ok(told(status, &json!({"errors": ["told so"]}))),
            Fares::Hangs => std::future::pending::<()>().await,
        }
        let mut state = self.state.lock();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let wrapped = head.headers.contains_key("x-vault-wrap-ttl");
        let (status, answer) = state.answer(head.method.as_str(), &target, &token, &body, wrapped);
        Ok(told(status, &answer))
    }
}

impl State {
    fn answer(
        &mut self,
        verb: &str,
        target: &str,
        token: &str,
        body: &Value,
        wrapped: bool,
    ) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if token == "refused" || self.ended.contains(token) {
            return (403, json!({"errors": ["permission denied"]}));
        }
        if wrapped {
            return (200, json!({"data": null, "wrap_info": {"token": "canary-wrapping"}}));
        }
        if let Some(name) = path.strip_prefix("secret/data/") {
            return self.kv(verb, name);
        }
        if let Some(name) = path.strip_prefix("secret/metadata/") {
            if verb == "DELETE" {
                self.secrets.remove(name);
                return (204, Value::Null);
            }
            let listed = query.contains("list=true");
            return (
                200,
                if listed { json!({"data": {"keys": ["app"]}}) } else { json!({"data": {}}) },
            );
        }
        if path.starts_with("aws/creds/") {
            self.made += 1;
            let data = json!({"access_key": format!("AKIA{}", self.made)});
            let id = format!("{path}/{}", self.made);
            return (
                200,
                json!({"lease_id": id, "lease_duration": self.lease, "renewable": true, "data": data}),
            );
        }
        if path.split('/').any(|part| part == "login") {
            return self.login(body);
        }
        match path {
            "auth/token/revoke-self" if token.contains("login") => {
                self.ended.insert(token.to_owned());
                (204, Value::Null)
            }
            "auth/token/renew-self" => {
                let auth = json!({"client_token": token, "lease_duration": self.renewals, "renewable": true});
                (200, json!({ "auth": auth }))
            }
            "sys/leases/renew" => match self.renewals {
                Some(seconds) => {
                    let id = &body["lease_id"];
                    (200, json!({"lease_id": id, "lease_duration": seconds, "renewable": true}))
                }
                None => (400, json!({"errors": ["lease not found"]})),
            },
            "auth/token/create" => {
                (200, json!({"auth": {"client_token": "child", "orphan": false}}))
            }
            "auth/token/lookup-self" => {
                (200, json!({"data": {"id": token, "ttl": 0, "policies": ["app"]}}))
            }
            "sys/health" => (200, json!({"initialized": true})),
            _ => (204, Value::Null),
        }
    }

    fn login(&mut self, body: &Value) -> (u16, Value) {
        let secret_id = body["secret_id"].as_str().unwrap_or("any");
        match self.secret_ids.get_mut(secret_id) {
            Some(0) => return (400, json!({"errors": ["invalid role or secret ID"]})),
            Some(uses) => *uses -= 1,
            None => {}
        }
        self.made += 1;
        let token = format!("canary-login-{}", self.made);
        let auth = json!({"client_token": token, "lease_duration": self.lease, "renewable": true,
            "num_uses": body["num_uses"].as_u64().unwrap_or(0), "policies": self.policies});
        (200, json!({ "auth": auth, "lease_duration": 0, "data": null, "wrap_info": null }))
    }

    fn kv(&mut self, verb: &str, name: &str) -> (u16, Value) {
        if verb != "GET" {
            let version = self.secrets.get(name).map_or(0, |(version, _)| *version) + 1;
            self.secrets.insert(name.to_owned(), (version, "written".to_owned()));
            return (200, json!({"data": {"version": version}}));
        }
        let Some((version, value)) = self.secrets.get(name) else {
            return (404, json!({"errors": []}));
        };
        let metadata = json!({"created_time": "2026-01-01T00:00:00Z", "version": version});
        let data = json!({"data": {"password": value}, "metadata": metadata});
        (200, json!({"request_id": "r", "lease_id": "", "data": data, "wrap_info": null}))
    }
}

fn told(status: u16, answer: &Value) -> Response<Body> {
    let body = if status == 204 { Bytes::new() } else { answer.to_string().into() };
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}
