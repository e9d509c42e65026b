//! The flags that every command takes, and the client they make together with the environment.

use crate::{config::env, failure::Failure, token_file, value};
use bailee_client::{Address, Client, Settings};
use bailee_crypto::Sensitive;
use clap::Args;
use std::{path::PathBuf, time::Duration};

/// Stands for no limit; a longer wait is nobody's.
const UNLIMITED: Duration = Duration::from_secs(7 * 24 * 3600);
const DEFAULT_ADDRESS: &str = "https://127.0.0.1:8200";

/// Flags that every command takes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Common flags")]
pub(crate) struct Common {
    /// Address of the server (VAULT_ADDR).
    #[arg(long, global = true, value_name = "URL")]
    address: Option<String>,
    /// Address of an agent that is asked instead of the server (VAULT_AGENT_ADDR).
    #[arg(long, global = true, value_name = "URL")]
    agent_address: Option<String>,
    /// Namespace of the request (VAULT_NAMESPACE).
    #[arg(long, alias = "ns", global = true, value_name = "PATH")]
    namespace: Option<String>,
    /// Form of the output: table, json, yaml, raw (VAULT_FORMAT).
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Wrap the answer in a token that lasts this long (VAULT_WRAP_TTL).
    #[arg(long, global = true, value_name = "DURATION", value_parser = value::ttl)]
    pub(crate) wrap_ttl: Option<String>,
    /// One more header of the request; may be repeated.
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = value::pair)]
    header: Vec<(String, String)>,
    /// Credentials of a second factor, as METHOD:VALUE; may be repeated (VAULT_MFA).
    #[arg(long, global = true, value_name = "METHOD:VALUE")]
    mfa: Vec<String>,
    /// Ask the server to overlook policies that allow it.
    #[arg(long, global = true)]
    policy_override: bool,
    /// Never ask at the terminal.
    #[arg(long, global = true)]
    pub(crate) non_interactive: bool,
    /// Do not follow redirects (VAULT_DISABLE_REDIRECTS).
    #[arg(long, global = true)]
    disable_redirects: bool,
    /// File with the authority that signed the server's certificate (VAULT_CACERT).
    #[arg(long, global = true, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Folder of such files (VAULT_CAPATH).
    #[arg(long, global = true, value_name = "FOLDER")]
    ca_path: Option<PathBuf>,
    /// Certificate of the client (VAULT_CLIENT_CERT).
    #[arg(long, global = true, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Key of the client's certificate (VAULT_CLIENT_KEY).
    #[arg(long, global = true, value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// Name in the server's certificate, where it is not the address's host
    /// (VAULT_TLS_SERVER_NAME).
    #[arg(long, global = true, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Accept any certificate of the server (VAULT_SKIP_VERIFY). Not for secrets that matter.
    #[arg(long, global = true)]
    tls_skip_verify: bool,
    /// Show the request as a curl command instead of sending it.
    #[arg(long, global = true, conflicts_with = "output_policy")]
    pub(crate) output_curl_string: bool,
    /// Show the policy that the request needs instead of sending it.
    #[arg(long, global = true)]
    pub(crate) output_policy: bool,
}

impl Common {
    /// How long the answer's wrapping token lasts, when it shall be wrapped.
    pub(crate) fn wrapping(&self) -> Option<String> {
        self.wrap_ttl.clone().or_else(|| env::setting("WRAP_TTL"))
    }

    /// Headers that every request carries beside token and namespace.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        if let Some(wrapping) = self.wrapping() {
            headers.push(("X-Vault-Wrap-TTL".to_owned(), wrapping));
        }
        let second_factors = match self.mfa.is_empty() {
            true => env::setting("MFA").into_iter().collect(),
            false => self.mfa.clone(),
        };
        headers.extend(second_factors.into_iter().map(|mfa| ("X-Vault-MFA".to_owned(), mfa)));
        if self.policy_override {
            headers.push(("X-Vault-Policy-Override".to_owned(), "true".to_owned()));
        }
        headers.extend(self.header.iter().cloned());
        headers
    }

    /// Whether neither flag nor environment says where the server is.
    pub(crate) fn has_no_address(&self) -> bool {
        self.given_address().is_none()
    }

    fn given_address(&self) -> Option<String> {
        let agent = self.agent_address.clone().or_else(|| env::setting("AGENT_ADDR"));
        agent.or_else(|| self.address.clone()).or_else(|| env::setting("ADDR"))
    }

    /// The client that flags, environment and token file ask for, the first that says something.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
        let address = self.given_address().unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
        let address: Address = address.parse().map_err(|error| usage(&error))?;
        let path = |flag: &Option<PathBuf>, name| {
            flag.clone().or_else(|| env::setting(name).map(PathBuf::from))
        };
        let mut settings = Settings::new(address);
        settings.token = token()?;
        let namespace = self.namespace.clone().or_else(|| env::setting("NAMESPACE"));
        settings.namespace = namespace.unwrap_or_default().trim_matches('/').to_owned();
        let authorities = [path(&self.ca_cert, "CACERT"), path(&self.ca_path, "CAPATH")];
        settings.authorities = authorities.into_iter().flatten().collect();
        settings.authorities_pem = env::setting("CACERT_BYTES");
        settings.certificate =
            match (path(&self.client_cert, "CLIENT_CERT"), path(&self.client_key, "CLIENT_KEY")) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                _ => return Err(Failure::usage("client certificate and client key go together")),
            };
        settings.server_name =
            self.tls_server_name.clone().or_else(|| env::setting("TLS_SERVER_NAME"));
        settings.skip_verify = self.tls_skip_verify || switch("SKIP_VERIFY")?;
        settings.follow_redirects = !(self.disable_redirects || switch("DISABLE_REDIRECTS")?);
        settings.proxy = env::setting("PROXY_ADDR").or_else(|| env::setting("HTTP_PROXY"));
        if let Some(timeout) = parsed("CLIENT_TIMEOUT", bailee_notation::duration::parse)? {
            // Zero asks for no limit.
            settings.timeout = if timeout.is_zero() { UNLIMITED } else { timeout };
        }
        // Whoever sits at a terminal, or a script, tries again itself.
        settings.retries = parsed("MAX_RETRIES", str::parse)?.unwrap_or(0);
        Client::new(settings).map_err(|error| usage(&error))
    }
}

fn token() -> Result<Option<Sensitive<String>>, Failure> {
    let given = env::setting("TOKEN").map(Sensitive::from);
    if let Some(token) = given.filter(|token| !token.expose().trim().is_empty()) {
        return Ok(Some(Sensitive::from(token.expose().trim())));
    }
    token_file::read().map_err(|error| Failure::usage(format!("the stored token: {error}")))
}

fn switch(name: &str) -> Result<bool, Failure> {
    let read = |text: &str| match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false"),
    };
    Ok(parsed(name, read)?.unwrap_or(false))
}

fn parsed<T, E: std::fmt::Display>(
    name: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Failure> {
    let Some(text) = env::setting(name) else { return Ok(None) };
    let read = read(&text).map_err(|error| Failure::usage(format!("VAULT_{name}: {error}")))?;
    Ok(Some(read))
}
