//! The ways in: how a token is got, and got again.

use crate::{
    Error,
    aws::{AwsKeys, AwsLogin},
};
use bailee_crypto::Sensitive;
use serde_json::{Map, Value};
use std::{fmt, future::Future, path::PathBuf, pin::Pin, sync::Arc, time::SystemTime};

/// How a token is got.
#[derive(Clone, Debug)]
pub enum Login {
    /// It is given.
    Token(Sensitive<String>),
    /// It is in a file, which is read again when the token in it no longer holds.
    TokenFile(PathBuf),
    /// By the id of a role and a secret id.
    AppRole {
        /// Where the method is mounted, such as `approle`.
        mount: String,
        /// The id of the role.
        role_id: String,
        /// The secret id, where the role asks for one.
        secret_id: Option<Text>,
    },
    /// By an identity of AWS.
    AwsIam {
        /// Where the method is mounted, such as `aws`.
        mount: String,
        /// As what, and for which server.
        login: AwsLogin,
        /// Signs.
        keys: AwsKeySource,
    },
    /// By a signed token: of an issuer, or of a Kubernetes service account.
    Jwt {
        /// Where the method is mounted, such as `jwt` or `kubernetes`.
        mount: String,
        /// The role; the method's default one when absent.
        role: Option<String>,
        /// The token.
        jwt: Text,
    },
}

/// A text that is given, or kept in a file that is read anew for each login.
#[derive(Clone, Debug)]
pub enum Text {
    /// Given.
    Given(Sensitive<String>),
    /// In this file.
    File(PathBuf),
}

/// Gives the keys of AWS as they are now.
#[derive(Clone)]
pub struct AwsKeySource(Arc<dyn Fn() -> AwsKeysFuture + Send + Sync>);

type AwsKeysFuture = Pin<Box<dyn Future<Output = Result<AwsKeys, Error>> + Send>>;

impl AwsKeySource {
    /// Out of a function.
    pub fn new<F>(keys: impl Fn() -> F + Send + Sync + 'static) -> AwsKeySource
    where
        F: Future<Output = Result<AwsKeys, Error>> + Send + 'static,
    {
        AwsKeySource(Arc::new(move || Box::pin(keys())))
    }

    pub(crate) async fn keys(&self) -> Result<AwsKeys, Error> {
        (self.0)().await
    }
}

impl fmt::Debug for AwsKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsKeySource")
    }
}

impl Text {
    /// The text as it is now, without white space around it.
    pub fn read(&self) -> Result<Sensitive<String>, Error> {
        let text = match self {
            Text::Given(text) => text.clone(),
            Text::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| Error::Setting {
                    setting: path.display().to_string(),
                    reason: error.to_string(),
                })?;
                Sensitive::from(text)
            }
        };
        let trimmed = Sensitive::from(text.expose().trim());
        if trimmed.expose().is_empty() {
            let setting = match self {
                Text::Given(_) => "a text of the login".to_owned(),
                Text::File(path) => path.display().to_string(),
            };
            return Err(Error::Setting { setting, reason: "is empty".to_owned() });
        }
        Ok(trimmed)
    }
}

/// What is sent to be let in.
pub(crate) struct Application {
    /// The path behind `/v1/`.
    pub(crate) path: String,
    /// The body.
    pub(crate) fields: Map<String, Value>,
}

impl Login {
    /// A token that is there without asking the server.
    pub(crate) fn kept_token(&self) -> Option<Result<Sensitive<String>, Error>> {
        match self {
            Login::Token(token) => Some(Text::Given(token.clone()).read()),
            Login::TokenFile(path) => Some(Text::File(path.clone()).read()),
            Login::AppRole { .. } | Login::AwsIam { .. } | Login::Jwt { .. } => None,
        }
    }

    /// What is sent to be let in now; `None` where a token is kept instead.
    pub(crate) async fn application(&self, now: SystemTime) -> Result<Option<Application>, Error> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: &str| {
            fields.insert(name.to_owned(), value.into());
        };
        let mount = match self {
            Login::Token(_) | Login::TokenFile(_) => return Ok(None),
            Login::AppRole { mount, role_id, secret_id } => {
                put("role_id", role_id);
                if let Some(secret_id) = secret_id {
                    put("secret_id", secret_id.read()?.expose());
                }
                mount
            }
            Login::Jwt { mount, role, jwt } => {
                put("jwt", jwt.read()?.expose());
                if let Some(role) = role {
                    put("role", role);
                }
                mount
            }
            Login::AwsIam { mount, login, keys } => {
                fields = login.fields(&keys.keys().await?, now)?;
                mount
            }
        };
        let path = format!("auth/{}/login", mount.trim_matches('/'));
        Ok(Some(Application { path, fields }))
    }
}
