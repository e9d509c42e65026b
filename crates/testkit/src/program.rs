//! Programs that others wrote, from the Python environment of the tests.

#![expect(clippy::panic, reason = "a test without its programs fails")]

use crate::{environment::python, ports::free_port, waiting::eventually};
use std::process::{Child, Command, Stdio};

/// A program that listens on this machine, ended when dropped.
#[derive(Debug)]
pub struct Program {
    process: Child,
    port: u16,
}

impl Program {
    /// moto, which plays AWS.
    pub async fn moto() -> Program {
        Program::moto_with(&[]).await
    }

    /// moto, with these variables in its environment.
    pub async fn moto_with(variables: &[(&str, &str)]) -> Program {
        let port = free_port();
        let arguments = ["-H", "127.0.0.1", "-p", &port.to_string()];
        let mut all = vec![("INITIAL_NO_AUTH_ACTION_COUNT", "inf")];
        all.extend(variables);
        Program::start("moto_server", &arguments, port, &all).await
    }

    /// roto, which plays AWS's Secrets Manager faster.
    pub async fn roto() -> Program {
        let port = free_port();
        let arguments = ["--host", "127.0.0.1", "--port", &port.to_string(), "--ephemeral"];
        Program::start("roto-server", &arguments, port, &[]).await
    }

    /// microburst, through which calls to another program fail as AWS's do.
    pub async fn microburst(upstream: &Program) -> Program {
        let port = free_port();
        let arguments = ["--host", "127.0.0.1", "-p", &port.to_string(), "-u", &upstream.url()];
        Program::start("microburst", &arguments, port, &[]).await
    }

    /// Starts a program and waits until it listens.
    async fn start(
        name: &str,
        arguments: &[&str],
        port: u16,
        variables: &[(&str, &str)],
    ) -> Program {
        let mut command = Command::new(python().with_file_name(name));
        command.args(arguments).envs(variables.iter().copied());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let program = Program { process, port };
        eventually(&format!("{name} listens"), async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        program
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same as a URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
