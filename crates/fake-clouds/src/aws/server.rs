//! The HTTP server: one address for all services, told apart as AWS's front door does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::authenticate;
use super::calls::{Calls, RecordedCall, without_values};
use super::clock::{self, Clock};
use super::faults::Faults;
use super::input::Input;
use super::sigv4::{Authorization, Signed, text};
use super::wire::{self, Failure, Outcome, Service};
use super::world::{Call, Caller, World};
use super::{iam, kms, random, secrets_manager, sns, sts};

/// What the server and the handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) world: Mutex<World>,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) calls: Calls,
}

const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The connection is closed without a reply.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("connection cut on command")
    }
}

impl std::error::Error for Cut {}

/// Accepts connections until the task is dropped; its connections end with it.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        // Without this each reply on a kept-alive connection may wait 40 ms.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), peer, request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away, or a connection cut on command, is no failure of the fake.
            drop(connection.await);
        });
    }
}

async fn answer(
    shared: Arc<Shared>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE));
    };
    serve_one(&shared, peer, &parts, &body.to_bytes()).await.ok_or(Cut)
}

/// The answer to one request; `None` when the connection is cut instead.
pub(crate) async fn serve_one(
    shared: &Shared,
    peer: SocketAddr,
    parts: &Parts,
    body: &Bytes,
) -> Option<Response<Full<Bytes>>> {
    let Some(target) = Target::of(parts, body) else {
        return Some(unknown(parts));
    };
    let verdict = shared.faults.judge(target.service, &target.operation);
    if !verdict.wait.is_zero() {
        tokio::time::sleep(verdict.wait).await;
    }
    let mut record = RecordedCall {
        operation: format!("{}:{}", target.service.name(), target.operation),
        region: String::new(),
        access_key_id: String::new(),
        principal_arn: String::new(),
        parameters: Value::Null,
        status: 0,
        error: None,
    };
    if verdict.lose_request {
        shared.calls.record(record);
        return None;
    }
    let outcome = match verdict.failure {
        Some(failure) => {
            note_signer(parts, &mut record);
            if let Ok(parameters) = target.parameters(body) {
                record.parameters = without_values(&parameters);
            }
            Err(failure)
        }
        None => perform(shared, peer, parts, body, &target, &mut record),
    };
    let response = respond(shared, &target, &outcome, &mut record);
    shared.calls.record(record);
    (!verdict.lose_reply).then_some(response)
}

fn note_signer(parts: &Parts, record: &mut RecordedCall) {
    let header = text(&parts.headers, "authorization").unwrap_or_default();
    if let Ok(authorization) = Authorization::parse(header) {
        record.region = authorization.region;
        record.access_key_id = authorization.access_key_id;
    }
}

/// The service and operation a request is for.
struct Target {
    service: Service,
    operation: String,
    form: Option<Vec<(String, String)>>,
}

impl Target {
    fn of(parts: &Parts, body: &[u8]) -> Option<Self> {
        if let Some(target) = text(&parts.headers, "x-amz-target") {
            let (prefix, operation) = target.split_once('.')?;
            let service = match prefix {
                "secretsmanager" => Service::SecretsManager,
                "TrentService" => Service::Kms,
                _ => return None,
            };
            return Some(Self { service, operation: operation.to_owned(), form: None });
        }
        let mut form = wire::form_pairs(parts.uri.query().unwrap_or_default());
        form.extend(wire::form_pairs(&String::from_utf8_lossy(body)));
        let value =
            |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let service = match value("Version")?.as_str() {
            "2011-06-15" => Service::Sts,
            "2010-05-08" => Service::Iam,
            "2010-03-31" => Service::Sns,
            _ => return None,
        };
        Some(Self { service, operation: value("Action")?, form: Some(form) })
    }

    fn parameters(&self, body: &[u8]) -> Result<Value, Failure> {
        let Some(form) = &self.form else {
            if body.is_empty() {
                return Ok(Value::Object(Map::new()));
            }
            return match serde_json::from_slice(body) {
                Ok(value @ Value::Object(_)) => Ok(value),
                _ => Err(Failure::new("SerializationException", "")),
            };
        };
        let members = form.iter().filter(|(name, _)| name != "Action" && name != "Version");
        Ok(wire::nest(members.cloned().collect()))
    }

    /// Operations that anyone may call.
    fn is_unsigned(&self) -> bool {
        self.service == Service::Sts && self.operation == "AssumeRoleWithWebIdentity"
    }
}

fn perform(
    shared: &Shared,
    peer: SocketAddr,
    parts: &Parts,
    body: &[u8],
    target: &Target,
    record: &mut RecordedCall,
) -> Outcome {
    let now = shared.clock.now();
    let (caller, region) = identify(shared, parts, body, target, record)?;
    record.principal_arn.clone_from(&caller.principal.arn);
    let parameters = target.parameters(body)?;
    record.parameters = without_values(&parameters);
    let user_agent = text(&parts.headers, "user-agent").unwrap_or_default();
    let mut world = shared.world.lock();
    authenticate::note_use(&mut world, &caller.access_key_id, target.service, &region, now);
    let source_ip = world.settings.source_ip.clone().unwrap_or_else(|| peer.ip().to_string());
    let call = Call {
        service: target.service,
        operation: &target.operation,
        region: &region,
        caller: &caller,
        source_ip: &source_ip,
        user_agent,
        now,
        input: Input::new(target.service, &parameters),
    };
    match target.service {
        Service::SecretsManager => secrets_manager::perform(&mut world, &call),
        Service::Kms => kms::perform(&mut world, &call),
        Service::Sts => sts::perform(&mut world, &call),
        Service::Iam => iam::actions::perform(&mut world, &call),
        Service::Sns => sns::perform(&mut world, &call),
    }
}

/// The caller and region of a request, its signature verified.
fn identify(
    shared: &Shared,
    parts: &Parts,
    body: &[u8],
    target: &Target,
    record: &mut RecordedCall,
) -> Result<(Caller, String), Failure> {
    if target.is_unsigned() && !parts.headers.contains_key("authorization") {
        let caller = authenticate::anyone(&shared.world.lock(), "");
        return Ok((caller, "us-east-1".to_owned()));
    }
    let service = target.service;
    let signed = Signed { method: &parts.method, uri: &parts.uri, headers: &parts.headers, body };
    let authorization = authenticate::authorization(service, signed)?;
    record.region.clone_from(&authorization.region);
    record.access_key_id.clone_from(&authorization.access_key_id);
    authenticate::check_scope(service, &parts.headers, &authorization.region)?;
    let token = text(&parts.headers, "x-amz-security-token");
    let (claim, verify) = {
        let world = shared.world.lock();
        let id = &authorization.access_key_id;
        let claim = authenticate::claim(&world, service, id, token, shared.clock.now())?;
        (claim, world.settings.verify_signatures)
    };
    if verify {
        let now = shared.clock.signing_now();
        authenticate::verify(service, &authorization, signed, &claim, now)?;
    }
    Ok((claim.caller, authorization.region))
}

fn respond(
    shared: &Shared,
    target: &Target,
    outcome: &Outcome,
    record: &mut RecordedCall,
) -> Response<Full<Bytes>> {
    let request_id = random::uuid();
    let (status, body) = match outcome {
        Ok(value) => (200, wire::success(target.service, &target.operation, value, &request_id)),
        Err(failure) => {
            record.error = Some(failure.code.to_string());
            let gateway = shared.world.lock().settings.gateway_errors;
            let body = match gateway && target.service.is_query() {
                true => failure.gateway_body(&request_id),
                false => failure.body(target.service, &request_id),
            };
            (failure.status, body)
        }
    };
    record.status = status;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if target.service.is_query() { "text/xml" } else { "application/x-amz-json-1.1" };
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(kind));
    for (name, value) in
        [("x-amzn-requestid", request_id), ("date", clock::http_date(shared.clock.signing_now()))]
    {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// The refusal of a service that is not faked, in its protocol.
fn unknown(parts: &Parts) -> Response<Full<Bytes>> {
    let json = text(&parts.headers, "content-type").is_some_and(|kind| kind.contains("json"));
    let service = if json { Service::SecretsManager } else { Service::Sts };
    let failure = Failure::unknown_operation(service, "of a service that is not faked");
    let mut response = plain(StatusCode::BAD_REQUEST);
    *response.body_mut() = Full::new(Bytes::from(failure.body(service, &random::uuid())));
    response
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}
