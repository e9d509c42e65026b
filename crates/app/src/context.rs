//! What every command works with: the server to ask, the terminal, the common flags.

use crate::{
    config::env,
    failure::Failure,
    input::Input,
    output::{Format, Output, Secret},
    token_file, value,
};
use bailee_client::{Address, Client, Error, Method, Outgoing, Response, Settings};
use bailee_crypto::Sensitive;
use clap::Args;
use serde_json::{Map, Value};
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
    /// Namespace of the request (VAULT_NAMESPACE).
    #[arg(long, alias = "ns", global = true, value_name = "PATH")]
    namespace: Option<String>,
    /// Form of the output: table, json, yaml, raw (VAULT_FORMAT).
    #[arg(long, global = true, value_name = "FORMAT")]
    format: Option<String>,
    /// Wrap the answer in a token that lasts this long (VAULT_WRAP_TTL).
    #[arg(long, global = true, value_name = "DURATION", value_parser = value::ttl)]
    wrap_ttl: Option<String>,
    /// One more header of the request; may be repeated.
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = value::pair)]
    header: Vec<(String, String)>,
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
    /// Accept any certificate of the server (VAULT_SKIP_VERIFY). Not for secrets that matter.
    #[arg(long, global = true)]
    tls_skip_verify: bool,
    /// Show the request as a curl command instead of sending it.
    #[arg(long, global = true, conflicts_with = "output_policy")]
    output_curl_string: bool,
    /// Show the policy that the request needs instead of sending it.
    #[arg(long, global = true)]
    output_policy: bool,
}

/// What a command works with.
pub(crate) struct Context {
    /// Where it prints.
    pub(crate) output: Output,
    /// What it reads.
    pub(crate) input: Input,
    client: Client,
    common: Common,
}

impl Context {
    /// From flags, environment and token file, the first that says something.
    pub(crate) fn new(common: Common) -> Result<Context, Failure> {
        let format = common.format.clone().or_else(|| env::variable("VAULT_FORMAT"));
        let format: Format = format.map_or(Ok(Format::Table), |text| text.parse())?;
        let client = client(&common)?;
        Ok(Context { output: Output::standard(format), input: Input::standard(), client, common })
    }

    /// The client, for requests of another kind.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// From here on another token is used.
    pub(crate) fn use_token(&mut self, token: Sensitive<String>) {
        self.client = self.client.clone().with_token(Some(token));
    }

    /// Sends a request. A refusal says `attempt` first.
    pub(crate) async fn send(
        &mut self,
        attempt: &str,
        outgoing: Outgoing,
    ) -> Result<Secret, Failure> {
        let outcome = self.attempt(outgoing).await?;
        let response = outcome.map_err(|error| self.failure(attempt, &error))?;
        self.wrapped(Secret::of(&response))
    }

    /// An answer that should be wrapped and is not must not be shown.
    fn wrapped(&self, secret: Secret) -> Result<Secret, Failure> {
        if self.wrap_ttl().is_some() && secret.wrapping().is_none() && !secret.is_empty() {
            return Err(Failure::refused(
                "The server answered without wrapping, so the answer is not shown. What was asked for \
                 may have been done: a token may have been made.",
            ));
        }
        Ok(secret)
    }

    fn wrap_ttl(&self) -> Option<String> {
        self.common.wrap_ttl.clone().or_else(|| env::variable("VAULT_WRAP_TTL"))
    }

    /// Sends a request for something that may be missing. What is missing but has something to tell
    /// (a deleted version has metadata) is given all the same.
    pub(crate) async fn find(
        &mut self,
        attempt: &str,
        outgoing: Outgoing,
    ) -> Result<Option<Secret>, Failure> {
        match self.attempt(outgoing).await? {
            Ok(response) => self.wrapped(Secret::of(&response)).map(Some),
            Err(Error::Refused { response, .. }) if response.status == 404 => {
                let secret = Secret::of(&response);
                Ok((!secret.is_empty() || !secret.warnings().is_empty()).then_some(secret))
            }
            Err(error) => Err(self.failure(attempt, &error)),
        }
    }

    /// Sends a request and gives the refusal as it is. Fails only when it was not sent at all,
    /// because the user wants to see it instead.
    pub(crate) async fn attempt(
        &mut self,
        mut outgoing: Outgoing,
    ) -> Result<Result<Response, Error>, Failure> {
        if let Some(wrap) = self.wrap_ttl() {
            outgoing = outgoing.header("X-Vault-Wrap-TTL", wrap);
        }
        for (name, value) in &self.common.header {
            outgoing = outgoing.header(name.clone(), value.clone());
        }
        if self.common.output_curl_string {
            self.output.line(&curl(&outgoing, self.client.settings()))?;
            return Err(Failure::shown(0));
        }
        if self.common.output_policy {
            self.output.line(&policy(&outgoing))?;
            return Err(Failure::shown(0));
        }
        Ok(self.client.send(outgoing).await)
    }

    /// A failed request as the end of a command.
    pub(crate) fn failure(&self, attempt: &str, error: &Error) -> Failure {
        let settings = self.client.settings();
        let mut failure = Failure::request(attempt, &settings.namespace, error);
        let unset = self.common.address.is_none() && env::variable("VAULT_ADDR").is_none();
        if settings.address.to_string().starts_with("https://")
            && matches!(error, Error::Connection { reason, .. } if reason.contains("InvalidContentType"))
        {
            failure.message +=
                "\n\nThe server does not speak TLS: its address begins with http://.";
        }
        if matches!(error, Error::Connection { .. }) && unset {
            failure.message += "\n\nThe address of the server is not set: give -address or VAULT_ADDR \
                (a development server is at http://127.0.0.1:8200).";
        }
        failure
    }

    /// Shows an answer, or that the write was done when there is none.
    pub(crate) fn show_written(
        &mut self,
        secret: &Secret,
        field: Option<&str>,
        path: &str,
    ) -> Result<(), Failure> {
        if !secret.is_empty() || field.is_some() {
            return self.output.secret(secret, field);
        }
        if self.output.is_table() {
            self.output.line(&format!("Success! Data written to: {path}"))?;
            return self.output.warnings(secret);
        }
        Ok(())
    }

    /// Shows the names of a list: one a line under a head, or as a JSON list.
    pub(crate) fn show_names(
        &mut self,
        found: Option<&Secret>,
        missing: &str,
    ) -> Result<(), Failure> {
        let names = found.and_then(Secret::data).and_then(|data| data.get("keys"));
        let Some(Value::Array(names)) = names else {
            if self.output.is_table() {
                return Err(Failure::refused(missing));
            }
            self.output.document(&Value::Object(Map::new()), &crate::output::Order::SORTED)?;
            return Err(Failure::shown(crate::failure::REFUSED));
        };
        if !self.output.is_table() {
            let names = Value::Array(names.clone());
            return self.output.document(&names, &crate::output::Order::SORTED);
        }
        let mut table = crate::output::Table::new(&["Keys"]);
        for name in names {
            table.row([name.as_str().unwrap_or_default()]);
        }
        self.output.table(&table)
    }
}

fn client(common: &Common) -> Result<Client, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
    let address = common.address.clone().or_else(|| env::variable("VAULT_ADDR"));
    let address = address.unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
    let address: Address = address.parse().map_err(|error| usage(&error))?;
    let path = |flag: &Option<PathBuf>, name| {
        flag.clone().or_else(|| env::variable(name).map(PathBuf::from))
    };
    let mut settings = Settings::new(address);
    settings.token = token()?;
    let namespace = common.namespace.clone().or_else(|| env::variable("VAULT_NAMESPACE"));
    settings.namespace = namespace.unwrap_or_default().trim_matches('/').to_owned();
    let authorities =
        [path(&common.ca_cert, "VAULT_CACERT"), path(&common.ca_path, "VAULT_CAPATH")];
    settings.authorities = authorities.into_iter().flatten().collect();
    settings.certificate = match (
        path(&common.client_cert, "VAULT_CLIENT_CERT"),
        path(&common.client_key, "VAULT_CLIENT_KEY"),
    ) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(Failure::usage("client certificate and client key go together")),
    };
    settings.skip_verify = common.tls_skip_verify || switch("VAULT_SKIP_VERIFY")?;
    if let Some(timeout) = parsed("VAULT_CLIENT_TIMEOUT", bailee_notation::duration::parse)? {
        // Zero asks for no limit.
        settings.timeout = if timeout.is_zero() { UNLIMITED } else { timeout };
    }
    if let Some(retries) = parsed("VAULT_MAX_RETRIES", str::parse)? {
        settings.retries = retries;
    }
    Client::new(settings).map_err(|error| usage(&error))
}

fn token() -> Result<Option<Sensitive<String>>, Failure> {
    let given = env::variable("VAULT_TOKEN").map(Sensitive::from);
    if let Some(token) = given.filter(|token| !token.expose().trim().is_empty()) {
        return Ok(Some(Sensitive::from(token.expose().trim())));
    }
    token_file::read().map_err(|error| Failure::usage(format!("the token file: {error}")))
}

fn switch(name: &str) -> Result<bool, Failure> {
    let read = |text: &str| match text {
        "1" | "t" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false"),
    };
    Ok(parsed(name, read)?.unwrap_or(false))
}

fn parsed<T, E: std::fmt::Display>(
    name: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Failure> {
    let Some(text) = env::variable(name) else { return Ok(None) };
    let read = read(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    Ok(Some(read))
}

/// The request for a shell. The token is looked up there, so that it is not shown.
fn curl(outgoing: &Outgoing, settings: &Settings) -> String {
    let verb = match outgoing.method {
        Method::Get | Method::List => String::new(),
        other => format!("-X {} ", other.verb()),
    };
    let mut headers = vec!["X-Vault-Request: true".to_owned()];
    if settings.token.is_some() {
        headers.push("X-Vault-Token: $(bailee print token)".to_owned());
    }
    if !settings.namespace.is_empty() {
        headers.push(format!("X-Vault-Namespace: {}", settings.namespace));
    }
    if outgoing.method == Method::Patch {
        headers.push("Content-Type: application/merge-patch+json".to_owned());
    }
    headers.extend(outgoing.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let headers: String = headers.iter().map(|header| format!("-H \"{header}\" ")).collect();
    let body = outgoing.body.as_ref().map(|body| {
        let text = String::from_utf8_lossy(body).replace('\'', r"'\''");
        format!("-d '{text}' ")
    });
    format!("curl {verb}{headers}{}{}", body.unwrap_or_default(), outgoing.url(settings))
}

/// The least policy under which the request is allowed.
fn policy(outgoing: &Outgoing) -> String {
    let capabilities = match outgoing.method {
        Method::Get => r#""read""#,
        Method::List => r#""list""#,
        Method::Put | Method::Post => r#""create", "update""#,
        Method::Patch => r#""patch""#,
        Method::Delete => r#""delete""#,
    };
    let path = outgoing.path.trim_start_matches('/');
    format!("path \"{path}\" {{\n  capabilities = [{capabilities}]\n}}")
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::output::testing::{Kept, output};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// A server that gives these answers, one after another, and keeps what it was asked.
    pub(crate) async fn server(answers: Vec<(u16, Value)>) -> (String, Kept) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Kept::default();
        let mut keep = asked.clone();
        tokio::spawn(async move {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                std::io::Write::write_all(&mut keep, (request + "\n").as_bytes()).unwrap();
                let body = if body.is_null() { String::new() } else { body.to_string() };
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
        });
        (address, asked)
    }

    /// The request as `METHOD /path body`.
    async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
        let mut bytes = Vec::new();
        let (head, length) = loop {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.unwrap();
            bytes.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                });
                break (head.to_owned(), head.len() + 4 + length.unwrap_or(0));
            }
        };
        while bytes.len() < length {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.unwrap();
            bytes.extend_from_slice(&part[..count]);
        }
        let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        let body = String::from_utf8_lossy(&bytes[head.len() + 4..]).into_owned();
        format!("{line} {body}").trim().to_owned()
    }

    /// A context in front of such a server: what it printed, what it warned of, what was asked.
    pub(crate) async fn context(
        format: Format,
        answers: Vec<(u16, Value)>,
    ) -> (Context, Kept, Kept, Kept) {
        let (address, asked) = server(answers).await;
        let mut settings = Settings::new(address.parse().unwrap());
        settings.token = Some(Sensitive::from("t"));
        let client = Client::new(settings).unwrap();
        let (output, out, err) = output(format);
        let input = Input::from_text("");
        let context = Context { output, input, client, common: Common::default() };
        (context, out, err, asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn refusals_have_the_form_that_scripts_look_for() {
        let (mut context, ..) =
            testing::context(Format::Table, vec![(403, json!({"errors": ["permission denied"]}))])
                .await;
        let outgoing = Outgoing::new(Method::Get, "a b");
        let failure = context.send("Error reading a b", outgoing).await.err().unwrap();
        let address = context.client().settings().address.to_string();
        let text = format!(
            "Error reading a b: Error making API request.\n\nURL: GET {address}/v1/a%20b\nCode: 403. Errors:\n\n* permission denied"
        );
        assert_eq!(failure, Failure::refused(text));
    }

    #[tokio::test]
    async fn a_missing_thing_is_none_unless_it_has_data() {
        let deleted = json!({"data": {"data": null, "metadata": {"version": 1}}});
        let answers = vec![(404, json!({"errors": []})), (404, deleted)];
        let (mut context, ..) = testing::context(Format::Table, answers).await;
        assert!(context.find("", Outgoing::new(Method::Get, "a")).await.unwrap().is_none());
        assert!(context.find("", Outgoing::new(Method::Get, "a")).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn an_answer_that_should_be_wrapped_and_is_not_stays_hidden() {
        let answers = vec![(200, json!({"auth": {"client_token": "canary"}}))];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        context.common.wrap_ttl = Some("60s".to_owned());
        let refused = context.send("", Outgoing::new(Method::Post, "auth/token/create")).await;
        let failure = refused.err().unwrap();
        assert!(failure.exit == 2 && !failure.message.contains("canary"), "{failure:?}");
        assert_eq!(out.text(), "");
        assert!(asked.text().starts_with("POST"));
    }

    #[tokio::test]
    async fn a_request_can_be_shown_instead_of_sent() {
        let (mut context, out, ..) = testing::context(Format::Table, Vec::new()).await;
        context.common.output_curl_string = true;
        let outgoing = Outgoing::new(Method::Put, "a").json(&json!({"k": "it's"}));
        let shown = context.send("", outgoing).await.err().unwrap();
        assert_eq!(shown, Failure::shown(0));
        let address = context.client().settings().address.to_string();
        let expected = format!(
            "curl -X PUT -H \"X-Vault-Request: true\" -H \"X-Vault-Token: $(bailee print token)\" -d '{{\"k\":\"it'\\''s\"}}' {address}/v1/a\n"
        );
        assert_eq!(out.text(), expected);
        assert_eq!(
            policy(&Outgoing::new(Method::List, "a")),
            "path \"a\" {\n  capabilities = [\"list\"]\n}"
        );
    }
}
