//! One of the two servers.

use crate::failure::Failure;
use bailee_client::{Client, Error, Method, Outgoing, Response, Session, Settings, login::Login};
use bailee_crypto::{Sensitive, SystemClock};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A server that is read from, or written to, with a token that is kept alive meanwhile.
pub(super) struct End {
    pub(super) session: Session,
}

impl End {
    pub(super) fn at(mut settings: Settings) -> Result<End, Failure> {
        let token = settings.token.take().unwrap_or_else(|| Sensitive::from(""));
        let client = Client::new(settings).map_err(|error| Failure::usage(error.to_string()))?;
        let session = Session::new(client, Login::Token(token), Arc::new(SystemClock));
        Ok(End { session })
    }

    /// What is at a path; `None` when nothing is.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        outgoing: Outgoing,
    ) -> Result<Option<T>, Error> {
        self.session.read(outgoing, Response::data).await
    }

    pub(super) async fn fields(&self, path: &str) -> Result<Option<Map<String, Value>>, Error> {
        self.read(Outgoing::new(Method::Get, path)).await
    }

    /// The names at a path; none when nothing is there.
    pub(super) async fn names(&self, path: &str) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Listed {
            keys: Vec<String>,
        }
        let listed: Option<Listed> = self.read(Outgoing::new(Method::List, path)).await?;
        Ok(listed.map(|listed| listed.keys).unwrap_or_default())
    }

    pub(super) async fn write(&self, path: &str, body: &Value) -> Result<(), Error> {
        self.session.send(Outgoing::new(Method::Post, path).json(body)).await.map(drop)
    }
}

/// Whether an error concerns one thing alone, and the copy can go on without it.
pub(super) fn is_single(error: &Error) -> bool {
    match error {
        Error::Refused { response, .. } => {
            (400..500).contains(&response.status) && response.status != 429
        }
        Error::Answer { .. } => true,
        Error::Setting { .. }
        | Error::Connection { .. }
        | Error::Forbidden { .. }
        | Error::Login { .. } => false,
    }
}
