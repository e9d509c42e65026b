//! `login`: a token for the commands to come.

use super::login_aws::{self, Signing};
use crate::{
    arguments, config::env, context::Context, failure::Failure, output::Secret, token_file, value,
};
use bailee_client::{Method, Outgoing};
use bailee_crypto::Sensitive;
use clap::Args;
use serde_json::{Map, Value, json};

/// Logs in, and stores the token for the commands to come.
///
/// With -method=token (the default) the token is the argument, or asked for, or read from standard
/// input when it is `-`. With -method=userpass: `username=NAME`, and `password=…`, asked for when
/// absent. With -method=approle: `role_id=…` and `secret_id=…`. With -method=cert: a client
/// certificate. With -method=aws: `role=…`, `region=…`, `header_value=…`, signed with the keys that the
/// AWS tools would use here, or with `aws_access_key_id=…`, `aws_secret_access_key=@FILE` (or `-`) and
/// `aws_security_token=@FILE`.
#[derive(Args, Debug)]
pub(crate) struct Login {
    /// How: token, userpass, approle, aws, cert or ldap.
    #[arg(long, value_name = "NAME", default_value = "token")]
    method: String,
    /// Where the method is mounted; under its own name by default.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Do not store the token.
    #[arg(long)]
    no_store: bool,
    /// Show nothing but the token, and do not store it.
    #[arg(long)]
    token_only: bool,
    /// Store the token and show nothing.
    #[arg(long, conflicts_with = "token_only")]
    no_print: bool,
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// The token, or what the method asks for.
    #[arg(value_name = "TOKEN | KEY=VALUE…")]
    arguments: Vec<String>,
}

impl Login {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let secret = match self.method.as_str() {
            "token" => self.with_token(context).await?,
            "userpass" | "ldap" => self.with_password(context).await?,
            "approle" | "cert" => self.with_fields(context).await?,
            "aws" => with_aws(&self.arguments, self.mount(), context).await?,
            unknown => {
                return Err(Failure::usage(format!(
                    "Unknown auth method: {unknown}. This command knows token, userpass, approle, aws, \
                     cert and ldap; `auth list` shows what is enabled, and others are reached through \
                     `write auth/…/login`."
                )));
            }
        };
        let token = secret.auth().and_then(|auth| auth.get("client_token")).and_then(Value::as_str);
        let Some(token) = token else {
            // A wrapped answer has its token inside.
            return context.output.secret(&secret, self.field.as_deref());
        };
        let token = Sensitive::from(token);
        if self.token_only {
            return context.output.bare(token.expose());
        }
        self.store(context, &token)?;
        if self.no_print {
            return Ok(());
        }
        if context.output.is_table() && self.field.is_none() {
            context.output.line(match self.no_store {
                true => "Success! You are now authenticated. This is the token:\n",
                false => {
                    "Success! You are now authenticated. This is the token, which is stored for the\n\
                     commands to come:\n"
                }
            })?;
        }
        context.output.secret(&secret, self.field.as_deref())
    }

    fn store(&self, context: &mut Context, token: &Sensitive<String>) -> Result<(), Failure> {
        if self.no_store {
            return context.output.warn(
                "The token is not stored: set VAULT_TOKEN to it to use it in other commands.\n",
            );
        }
        token_file::store(token)
            .map_err(|error| Failure::refused(format!("Error storing token: {error}")))?;
        if env::setting("TOKEN").is_some() {
            context.output.warn(
                "WARNING! VAULT_TOKEN is set and goes before the stored token: unset it to use the new one.\n",
            )?;
        }
        Ok(())
    }

    async fn with_token(&self, context: &mut Context) -> Result<Secret, Failure> {
        let given = arguments::optional(&self.arguments)?.map(String::as_str);
        let given = given.map(|text| text.strip_prefix("token=").unwrap_or(text));
        let token = match given {
            Some("-") | None => context.input.hidden("Token")?,
            Some(token) => Sensitive::from(token.trim()),
        };
        if token.expose().is_empty() {
            return Err(Failure::usage("Error authenticating: no token was given"));
        }
        context.use_token(token.clone());
        let outgoing = Outgoing::new(Method::Get, "auth/token/lookup-self");
        let known = context.send("Error authenticating: error looking up token", outgoing).await?;
        Ok(looked_up(&known, &token))
    }

    /// A login that takes its fields as they are.
    async fn with_fields(&self, context: &mut Context) -> Result<Secret, Failure> {
        let body = value::body(&self.arguments, &mut context.input)?;
        let outgoing = Outgoing::new(Method::Put, format!("auth/{}/login", self.mount()));
        context.send("Error authenticating", outgoing.json(&Value::Object(body))).await
    }

    fn mount(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.method).trim_matches('/')
    }

    async fn with_password(&self, context: &mut Context) -> Result<Secret, Failure> {
        let mut body = value::body(&self.arguments, &mut context.input)?;
        let user = body.remove("username").and_then(|name| name.as_str().map(str::to_owned));
        let user = user.filter(|name| !name.is_empty());
        let user =
            user.ok_or_else(|| Failure::usage("Error authenticating: username=NAME is missing"))?;
        if !body.contains_key("password") {
            let typed = context.input.hidden("Password")?;
            body.insert("password".to_owned(), typed.expose().as_str().into());
        }
        let path = format!("auth/{}/login/{user}", self.mount());
        let outgoing = Outgoing::new(Method::Put, path).json(&Value::Object(body));
        context.send("Error authenticating", outgoing).await
    }
}

/// A login with a request to STS that is signed here.
pub(super) async fn with_aws(
    arguments: &[String],
    mount: &str,
    context: &mut Context,
) -> Result<Secret, Failure> {
    let signing = Signing::of(arguments, context).await?;
    let outgoing =
        |body: &Value| Outgoing::new(Method::Put, format!("auth/{mount}/login")).json(body);
    let first = context.send("Error authenticating", outgoing(&signing.body()?)).await;
    match first {
        Err(failure) if login_aws::is_used(&failure) => {
            tokio::time::sleep(login_aws::SECOND).await;
            context.send("Error authenticating", outgoing(&signing.body()?)).await
        }
        outcome => outcome,
    }
}

/// What is known of a token, in the form in which logins answer.
fn looked_up(known: &Secret, token: &Sensitive<String>) -> Secret {
    let empty = Map::new();
    let data = known.data().unwrap_or(&empty);
    let told = |name: &str| data.get(name).cloned().unwrap_or_default();
    let auth = json!({
        "client_token": token.expose(),
        "accessor": told("accessor"),
        "policies": told("policies"),
        "token_policies": told("policies"),
        "identity_policies": told("identity_policies"),
        "metadata": told("meta"),
        "orphan": data.get("orphan").cloned().unwrap_or(false.into()),
        "entity_id": told("entity_id"),
        "lease_duration": data.get("ttl").cloned().unwrap_or(0.into()),
        "renewable": data.get("renewable").cloned().unwrap_or(false.into()),
        "mfa_requirement": null,
    });
    Secret::made(Map::from_iter([("auth".to_owned(), auth)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    fn login(arguments: &[&str]) -> Login {
        let arguments = arguments.iter().map(|&text| text.to_owned()).collect();
        let (method, path, field) = ("token".to_owned(), None, None);
        Login { method, path, no_store: true, token_only: false, no_print: false, field, arguments }
    }

    #[tokio::test]
    async fn a_token_is_looked_up_before_it_is_taken() {
        let known =
            json!({"data": {"accessor": "a", "policies": ["root"], "ttl": 0, "renewable": false}});
        let (mut context, out, err, asked) =
            testing::context(Format::Table, vec![(200, known)]).await;
        login(&["hvs.x"]).run(&mut context).await.unwrap();
        assert_eq!(asked.text(), "GET /v1/auth/token/lookup-self\n");
        assert!(out.text().contains("token                hvs.x\n"), "{}", out.text());
        assert!(out.text().contains("token_duration       ∞\n"), "{}", out.text());
        assert!(err.text().contains("not stored"));
    }

    #[tokio::test]
    async fn a_refused_token_is_not_repeated() {
        let answers = vec![(403, json!({"errors": ["permission denied"]}))];
        let (mut context, ..) = testing::context(Format::Table, answers).await;
        let failure = login(&["hvs.canary"]).run(&mut context).await.unwrap_err();
        assert_eq!(failure.exit, 2);
        assert!(failure.message.starts_with("Error authenticating: error looking up token: "));
        assert!(!failure.message.contains("canary"));
    }

    #[tokio::test]
    async fn unknown_methods_are_usage_errors() {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let login = Login { method: "zzz".to_owned(), ..login(&[]) };
        assert_eq!(login.run(&mut context).await.unwrap_err().exit, 1);
    }
}
