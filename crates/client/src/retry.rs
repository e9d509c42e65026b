//! When a request is sent again: the server was not reached, or said that it is busy.

use crate::{Client, Error, Outgoing, Response};
use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

pub(crate) async fn send(client: &Client, outgoing: Outgoing) -> Result<Response, Error> {
    let mut wait = FIRST_WAIT;
    for _ in 0..client.settings().retries {
        match client.send_once(&outgoing).await {
            Err(error) if passes(&error) => {
                let asked = match &error {
                    Error::Refused { response, .. } => response.retry_after,
                    Error::Setting { .. }
                    | Error::Connection { .. }
                    | Error::Forbidden { .. }
                    | Error::Login { .. }
                    | Error::Answer { .. } => None,
                };
                tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
                wait = wait.saturating_mul(2).min(LONGEST_WAIT);
            }
            outcome => return outcome,
        }
    }
    client.send_once(&outgoing).await
}

/// Whether the same request may succeed a moment later without anyone changing anything.
fn passes(error: &Error) -> bool {
    match error {
        Error::Connection { .. } => true,
        Error::Refused { response, .. } => matches!(response.status, 412 | 429 | 500 | 502..=599),
        Error::Setting { .. }
        | Error::Forbidden { .. }
        | Error::Login { .. }
        | Error::Answer { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, Settings};

    #[tokio::test(start_paused = true)]
    async fn many_retries_end_with_the_failure() {
        // Nobody listens on the port of a listener that is gone.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let mut settings = Settings::new(address.parse().unwrap());
        settings.retries = 100;
        let client = Client::new(settings).unwrap();
        let outcome = client.send(Outgoing::new(Method::Get, "sys/health")).await;
        assert!(matches!(outcome, Err(Error::Connection { .. })), "{outcome:?}");
    }

    /// The environment belongs to a process, so the test runs itself in one of its own.
    #[tokio::test]
    async fn a_proxy_of_the_environment_never_sees_what_goes_to_this_machine() {
        const IN_THE_CHILD: &str = "BAILEE_TEST_LOOPBACK_PROXY";
        #[expect(clippy::disallowed_methods, reason = "tells the child process from the parent")]
        if std::env::var_os(IN_THE_CHILD).is_some() {
            return ask_this_machine().await;
        }
        let name = "retry::tests::a_proxy_of_the_environment_never_sees_what_goes_to_this_machine";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env(IN_THE_CHILD, "1");
        for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
            command.env(variable, "http://127.0.0.1:9");
        }
        let output = command.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    async fn ask_this_machine() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        });
        let mut settings = Settings::new(address.parse().unwrap());
        settings.retries = 0;
        let client = Client::new(settings).unwrap();
        assert_eq!(
            client.send(Outgoing::new(Method::Get, "sys/health")).await.unwrap().status,
            200
        );
    }
}
