//! What every command works with: the server to ask, the terminal, the common flags.

use crate::{
    common::Common,
    config::env,
    failure::Failure,
    input::Input,
    output::{Format, Output, Secret},
    unsent,
};
use bailee_client::{Client, Error, Outgoing, Parts, Response};
use bailee_crypto::Sensitive;
use serde_json::{Map, Value};

/// What a command works with.
pub(crate) struct Context {
    /// Where it prints.
    pub(crate) output: Output,
    /// What it reads.
    pub(crate) input: Input,
    /// The name this program was called by.
    pub(crate) program: &'static str,
    client: Client,
    common: Common,
}

impl Context {
    /// From flags, environment and token file, the first that says something.
    pub(crate) fn new(program: &'static str, common: Common) -> Result<Context, Failure> {
        let format = common.format.clone().or_else(|| env::setting("FORMAT"));
        let format: Format = format.map_or(Ok(Format::Table), |text| text.parse())?;
        let client = common.client()?;
        let input = Input::standard(!common.non_interactive);
        Ok(Context { output: Output::standard(format), input, program, client, common })
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
        if self.common.wrapping().is_some() && secret.wrapping().is_none() && !secret.is_empty() {
            return Err(Failure::refused(
                "The server answered without wrapping, so the answer is not shown. What was asked for \
                 may have been done: a token may have been made.",
            ));
        }
        Ok(secret)
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
        self.prepare(&mut outgoing)?;
        Ok(self.client.send(outgoing).await)
    }

    /// Whether requests are sent, not only shown.
    pub(crate) fn is_sending(&self) -> bool {
        !self.common.output_curl_string && !self.common.output_policy
    }

    /// Sends a request whose answer is passed on part by part.
    pub(crate) async fn stream(
        &mut self,
        attempt: &str,
        mut outgoing: Outgoing,
    ) -> Result<Parts, Failure> {
        self.prepare(&mut outgoing)?;
        let parts = self.client.stream(&outgoing).await;
        parts.map_err(|error| self.failure(attempt, &error))
    }

    /// Adds what the common flags ask for; fails when the request is to be shown, not sent.
    fn prepare(&mut self, outgoing: &mut Outgoing) -> Result<(), Failure> {
        let headers = self.common.headers().into_iter();
        outgoing.headers.extend(headers.map(|(name, value)| (name.into(), value)));
        let shown = if self.common.output_curl_string {
            unsent::curl(self.program, outgoing, self.client.settings())
        } else if self.common.output_policy {
            unsent::policy(outgoing)
        } else {
            return Ok(());
        };
        self.output.line(&shown)?;
        Err(Failure::shown(0))
    }

    /// A failed request as the end of a command.
    pub(crate) fn failure(&self, attempt: &str, error: &Error) -> Failure {
        let settings = self.client.settings();
        let mut failure = Failure::request(attempt, &settings.namespace, error);
        if matches!(error, Error::Connection { reason, .. } if reason.contains("to HTTPS client")) {
            failure.message +=
                "\n\nThe server does not speak TLS: its address begins with http://.";
        }
        if matches!(error, Error::Connection { .. }) && self.common.has_no_address() {
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

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::output::testing::{Kept, output};
    use bailee_client::Settings;
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
        let common = Common::default();
        let context = Context { output, input, program: "bailee", client, common };
        (context, out, err, asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailee_client::Method;
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
        let outgoing = Outgoing::new(Method::Get, "a");
        assert_eq!(context.send("", outgoing).await.err().unwrap(), Failure::shown(0));
        assert!(out.text().starts_with("curl -H \"X-Vault-Request: true\""), "{}", out.text());
    }
}
