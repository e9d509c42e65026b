//! What the system alone takes for a request: a loop that reads whatever comes and writes one ready answer,
//! over the same sockets and by the same runtime as the agent. Nothing that speaks HTTP can take less.

use std::{convert::Infallible, net::Ipv4Addr, process::ExitCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Bytes of the body: as many as the agents give for the secret that is asked for.
const BODY_BYTES: usize = 320;

/// Answers at a port until it is killed.
pub(crate) fn serve(port: u16) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the runtime starts");
    match runtime.block_on(accept(port)) {
        Ok(never) => match never {},
        Err(_) => ExitCode::FAILURE,
    }
}

async fn accept(port: u16) -> std::io::Result<Infallible> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let body = "x".repeat(BODY_BYTES);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
    let answer: &'static [u8] = Vec::leak((head + &body).into_bytes());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(echo(stream, answer));
    }
}

async fn echo(mut stream: TcpStream, answer: &'static [u8]) {
    let mut buffer = [0; 8192];
    // Whoever asks waits for the answer before the next request: what is read is one.
    while let Ok(1..) = stream.read(&mut buffer).await {
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
