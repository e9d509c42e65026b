//! `login -method=aws`: signs with the keys of this machine, or with keys that are given.

use crate::{config::env, context::Context, failure::Failure, value};
use bailee_client::aws::{AwsKeys, AwsLogin};
use bailee_cloud::{HttpOptions, Proxy, aws::AmbientChain};
use bailee_crypto::{Clock, Sensitive, SystemClock};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

/// How long until a signature differs from the last one.
pub(super) const SECOND: Duration = Duration::from_millis(1100);
/// What the server says of a signature that let somebody in before.
const USED: &str = "signed request was used already";

const SECRET_KEY: &str = "aws_secret_access_key";
const SESSION_TOKEN: &str = "aws_security_token";
const KNOWN: &[&str] = &[
    "aws_access_key_id",
    SECRET_KEY,
    SESSION_TOKEN,
    "header_value",
    "region",
    "role",
    "sts_endpoint",
];

/// What is signed for a login, and with what.
pub(super) struct Signing {
    login: AwsLogin,
    keys: AwsKeys,
}

impl Signing {
    /// From the arguments: keys that are given there, else those of this machine.
    pub(super) async fn of(
        arguments: &[String],
        context: &mut Context,
    ) -> Result<Signing, Failure> {
        refuse_secrets(arguments)?;
        let mut given = value::body(arguments, &mut context.input)?;
        if let Some(unknown) = given.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(Failure::usage(format!(
                "Error authenticating: {unknown:?} is no setting of the aws method: known are {}",
                KNOWN.join(", ")
            )));
        }
        let keys = match (take(&mut given, "aws_access_key_id")?, take(&mut given, SECRET_KEY)?) {
            (Some(id), Some(secret)) => AwsKeys {
                access_key_id: id,
                secret_access_key: Sensitive::from(secret),
                session_token: take(&mut given, SESSION_TOKEN)?.map(Sensitive::from),
            },
            (None, None) => of_this_machine().await?,
            _ => {
                return Err(Failure::usage(
                    "Error authenticating: aws_access_key_id and aws_secret_access_key go together",
                ));
            }
        };
        let login = AwsLogin {
            role: take(&mut given, "role")?,
            region: take(&mut given, "region")?,
            header_value: take(&mut given, "header_value")?,
            sts_endpoint: take(&mut given, "sts_endpoint")?,
        };
        Ok(Signing { login, keys })
    }

    /// The body of the login, signed now.
    pub(super) fn body(&self) -> Result<Value, Failure> {
        let fields = self.login.fields(&self.keys, SystemClock.now());
        let fields =
            fields.map_err(|error| Failure::usage(format!("Error authenticating: {error}")))?;
        Ok(Value::Object(fields))
    }
}

/// Whether another signature can help: one of the same second is the same.
pub(super) fn is_used(failure: &Failure) -> bool {
    failure.message.contains(USED)
}

/// The arguments of a process can be read by others on the machine.
fn refuse_secrets(arguments: &[String]) -> Result<(), Failure> {
    for argument in arguments {
        let Some((name, value)) = argument.split_once('=') else { continue };
        let elsewhere = value == "-" || value.starts_with('@');
        if [SECRET_KEY, SESSION_TOKEN].contains(&name) && !elsewhere && !value.is_empty() {
            return Err(Failure::usage(format!(
                "Error authenticating: {name} is not taken from the command line, which others on this \
                 machine can read: give {name}=@FILE or {name}=- (standard input), or all keys as JSON \
                 with @FILE or -, or set the variables that the AWS tools read"
            )));
        }
    }
    Ok(())
}

fn take(given: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Failure> {
    match given.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
        }
        Some(_) => Err(Failure::usage(format!("Error authenticating: {name:?} needs one text"))),
    }
}

/// What the AWS tools would use here: environment, profile, web identity, container, instance.
async fn of_this_machine() -> Result<AwsKeys, Failure> {
    let variable = |name: &str, lower: &str| env::variable(name).or_else(|| env::variable(lower));
    let no_proxy = variable("NO_PROXY", "no_proxy").unwrap_or_default();
    let proxy = variable("HTTPS_PROXY", "https_proxy");
    let proxy = proxy.map(|url| Proxy::parse(&url, &no_proxy)).transpose();
    let proxy = proxy.map_err(|error| Failure::usage(format!("Error authenticating: {error}")))?;
    let options = HttpOptions { proxy, ..HttpOptions::default() };
    let found = AmbientChain::new(options, Arc::new(SystemClock)).keys().await;
    let keys = found.map_err(|error| {
        Failure::refused(format!(
            "Error authenticating: no credentials of AWS were found in the environment, the profile or \
             the instance: {error}"
        ))
    })?;
    Ok(AwsKeys {
        access_key_id: keys.access_key_id,
        secret_access_key: keys.secret_access_key,
        session_token: keys.session_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, input::Input, output::Format};
    use serde_json::json;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    async fn signing(arguments: &[&str], input: &str) -> Result<Signing, Failure> {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        context.input = Input::from_text(input);
        Signing::of(&words(arguments), &mut context).await
    }

    #[tokio::test]
    async fn secrets_come_from_a_file_or_standard_input_and_never_from_an_argument() {
        for secret in ["aws_secret_access_key=canary", "aws_security_token=canary"] {
            let failure = signing(&["aws_access_key_id=AKIA", secret], "").await.err().unwrap();
            assert_eq!(failure.exit, 1);
            assert!(!failure.message.contains("canary"), "{failure:?}");
        }
        let arguments = ["aws_access_key_id=AKIA", "aws_secret_access_key=-", "role=dev"];
        let signing_of = signing(&arguments, "secret\n").await.unwrap();
        assert_eq!(signing_of.keys.secret_access_key.expose(), "secret");
        let body = signing_of.body().unwrap();
        assert_eq!(body["role"], "dev");
        assert!(body["iam_request_headers"].is_string());
        let all = json!({"aws_access_key_id": "AKIA", "aws_secret_access_key": "s",
            "aws_security_token": "t", "region": "eu-west-3"});
        let signing_of = signing(&["-"], &all.to_string()).await.unwrap();
        assert_eq!(signing_of.keys.session_token.unwrap().expose(), "t");
        assert_eq!(signing_of.login.region.as_deref(), Some("eu-west-3"));
    }

    #[tokio::test]
    async fn what_the_method_does_not_know_is_refused() {
        for arguments in
            [&["rolle=dev"][..], &["aws_access_key_id=AKIA"], &["aws_secret_access_key=-"]]
        {
            assert_eq!(signing(arguments, "s").await.err().unwrap().exit, 1, "{arguments:?}");
        }
    }

    #[tokio::test]
    async fn a_signature_of_the_same_second_is_signed_anew() {
        let used = "this signed request was used already: sign a new one";
        let answers = vec![
            (400, json!({"errors": [used]})),
            (200, json!({"auth": {"client_token": "hvs.x"}})),
        ];
        let (mut context, _, _, asked) = testing::context(Format::Table, answers).await;
        context.input = Input::from_text("s");
        let arguments = words(&["aws_access_key_id=AKIA", "aws_secret_access_key=-", "role=dev"]);
        let secret = super::super::login::with_aws(&arguments, "aws", &mut context).await.unwrap();
        assert_eq!(secret.auth().unwrap()["client_token"], "hvs.x");
        let asked = asked.text();
        let bodies: Vec<&str> = asked.lines().collect();
        assert_eq!(bodies.len(), 2);
        assert!(bodies[0].starts_with("PUT /v1/auth/aws/login ") && bodies[0] != bodies[1]);
    }
}
