//! Why a command ends without success: what is told, and the exit code that scripts read.

use bailee_client::{Error, Response};
use serde_json::Value;
use std::io;

/// Exit code of a command that was typed wrong.
pub(crate) const USAGE: u8 = 1;
/// Exit code of a command that the server refused, or that found nothing.
pub(crate) const REFUSED: u8 = 2;
/// Exit code of a command that does not exist.
pub(crate) const UNKNOWN_COMMAND: u8 = 127;

/// The end of a command that did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: u8,
    /// What is told on standard error; empty when all has been said.
    pub(crate) message: String,
}

impl Failure {
    /// The command was typed wrong, or asks for what is not there.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: USAGE, message: message.into() }
    }

    /// The server, or a file, did not give what was needed.
    pub(crate) fn refused(message: impl Into<String>) -> Failure {
        Failure { exit: REFUSED, message: message.into() }
    }

    /// Everything has been shown; only the exit code is left.
    pub(crate) fn shown(exit: u8) -> Failure {
        Failure { exit, message: String::new() }
    }

    /// A request that failed, with what it was for in front; empty for nothing.
    pub(crate) fn request(attempt: &str, namespace: &str, error: &Error) -> Failure {
        let told = request_text(namespace, error);
        let message = if attempt.is_empty() { told } else { format!("{attempt}: {told}") };
        Failure::refused(message)
    }
}

/// Output that nobody reads any more ends the command; everything else on the terminal is an error.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::shown(0);
        }
        Failure::refused(format!("input or output: {error}"))
    }
}

/// A failed request in the form that scripts look for in standard error.
fn request_text(namespace: &str, error: &Error) -> String {
    match error {
        Error::Setting { .. } | Error::Login { .. } | Error::Answer { .. } => error.to_string(),
        Error::Connection { method, url, reason } | Error::Forbidden { method, url, reason } => {
            format!("{} \"{url}\": {reason}", capitalized(method))
        }
        Error::Refused { method, url, response } => {
            let namespace = match namespace {
                "" => String::new(),
                name => format!("Namespace: {name}\n"),
            };
            let request = format!("{namespace}URL: {method} {url}\nCode: {}.", response.status);
            format!("Error making API request.\n\n{request} {}", reasons(response))
        }
    }
}

fn reasons(response: &Response) -> String {
    let document: Option<Value> = serde_json::from_slice(response.bytes()).ok();
    let Some(document) = document.filter(Value::is_object) else {
        return format!("Raw Message:\n\n{}", String::from_utf8_lossy(response.bytes()));
    };
    let errors = document.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
    let lines: Vec<String> = errors
        .iter()
        .map(|error| format!("* {}", error.as_str().map_or(error.to_string(), str::to_owned)))
        .collect();
    format!("Errors:\n\n{}", lines.join("\n"))
}

fn capitalized(verb: &str) -> String {
    let mut letters = verb.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters.map(|letter| letter.to_ascii_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_errors_name_method_and_address() {
        let (url, reason) = ("http://127.0.0.1:1/v1/sys/seal-status".into(), "refused".into());
        let error = Error::Connection { method: "GET", url, reason };
        let failure = Failure::request("Error checking seal status", "", &error);
        let text =
            "Error checking seal status: Get \"http://127.0.0.1:1/v1/sys/seal-status\": refused";
        assert_eq!(failure, Failure::refused(text));
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::from(gone), Failure::shown(0));
    }
}
