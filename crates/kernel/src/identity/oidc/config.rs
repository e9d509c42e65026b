//! `identity/oidc/config`.

use super::{
    super::{IdentityPaths, Nothing, store::Place},
    Config,
};
use bailee_sdk::{Error, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

const KEY: &str = "oidc/config";
/// Bytes of an issuer.
const ISSUER_BYTES_MAX: usize = 1024;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Scheme and authority that tokens name as their issuer, such as `https://vault.example:8200`;
    /// empty for the address of the server.
    #[serde(default)]
    issuer: String,
}

/// The settings of a namespace.
pub(super) async fn load(place: &Place) -> Result<Config, Error> {
    Ok(place.view().get(KEY).await?.unwrap_or_default())
}

impl IdentityPaths {
    pub(super) async fn read_oidc_config(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let config = load(&self.place(&request)).await?;
        Ok(Reply::data(&json!({ "issuer": config.issuer })))
    }

    pub(super) async fn write_oidc_config(
        self: Arc<Self>,
        request: Request<Write>,
    ) -> Result<Reply, Error> {
        let issuer = request.input.issuer.trim_end_matches('/').to_owned();
        check(&issuer)?;
        let is_set = !issuer.is_empty();
        self.place(&request).view().put(KEY, &Config { issuer });
        if is_set {
            return Ok(Reply::empty().warn(
                "tokens of all nodes name this issuer from now on; an empty issuer brings back the \
                 address of the server",
            ));
        }
        Ok(Reply::empty())
    }
}

/// Scheme, host and perhaps a port: the rest of the address is known.
fn check(issuer: &str) -> Result<(), Error> {
    if issuer.is_empty() {
        return Ok(());
    }
    let wrong = || {
        Error::invalid(
            "invalid issuer, which must include only a scheme, host, and optionally, port (e.g. \
             https://example.com:8200)",
        )
    };
    let rest = ["https://", "http://"].iter().find_map(|scheme| issuer.strip_prefix(scheme));
    let rest = rest.ok_or_else(wrong)?;
    let is_odd = |letter: char| {
        letter.is_whitespace() || letter.is_control() || matches!(letter, '/' | '?' | '#' | '@')
    };
    if rest.is_empty() || rest.contains(is_odd) || issuer.len() > ISSUER_BYTES_MAX {
        return Err(wrong());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_scheme_and_authority() {
        for good in ["", "https://a", "http://127.0.0.1:8200", "https://[::1]:1"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in
            ["a", "https://", "ftp://a", "https://a/b", "https://a?b", "https://u@a", "https://a b"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
