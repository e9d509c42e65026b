//! Asking a running agent, through the first of its listeners that answers such questions.

use super::{Configuration, Interface, Listening};
use anyhow::{Context, Result, bail};
use bailee_agent::listeners::settings::Endpoint;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Time for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// What a running agent says.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The body.
    pub(crate) body: Bytes,
}

/// Asks the agent that runs with this configuration.
pub(crate) async fn ask(configuration: &Configuration, path: &str) -> Result<Answer> {
    let listener = configuration
        .listeners
        .iter()
        .find(|listening| matches!(listening.interface, Interface::SecretsManager(_)))
        .context(
            "the configuration has no listener that could be asked: add listener \"socket\"",
        )?;
    let asking = timeout(ANSWER_TIME_MAX, through(listener, path)).await;
    let place = &listener.endpoint;
    asking.with_context(|| format!("{place} gave no answer"))?.with_context(|| place.to_string())
}

async fn through(listener: &Listening, path: &str) -> Result<Answer> {
    let mut request = Request::get(path).header(header::HOST, "localhost");
    if let Some(file) = &listener.guard.token_file {
        let token = file.first_token().map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut value = header::HeaderValue::from_bytes(token.expose()).context("the token")?;
        value.set_sensitive(true);
        request = request.header(listener.guard.token_headers.first(), value);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    match &listener.endpoint {
        Endpoint::Tcp(tcp) => send(TcpStream::connect(tcp.address()).await?, request).await,
        Endpoint::Unix(socket) => send(UnixStream::connect(socket.path()).await?, request).await,
    }
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Answer>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let serving = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let Ok(body) = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await else {
        bail!("the answer broke off");
    };
    serving.abort();
    Ok(Answer { status, body: body.to_bytes() })
}
