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
                    Error::Setting { .. } | Error::Connection { .. } | Error::Answer { .. } => None,
                };
                tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
                wait *= 2;
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
        Error::Refused { response, .. } => matches!(response.status, 412 | 429 | 502 | 504),
        Error::Setting { .. } | Error::Answer { .. } => false,
    }
}
