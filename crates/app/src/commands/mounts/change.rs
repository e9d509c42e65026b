//! Enabling, tuning and disabling.

use super::{
    Family,
    settings::{Birth, OfAuth, OfSecrets, Settings},
};
use crate::{arguments, context::Context, failure::Failure};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Map, Value, json};

/// `secrets enable`.
#[derive(Args, Debug, Default)]
pub(crate) struct EnableSecrets {
    #[command(flatten)]
    pub(super) birth: Birth,
    #[command(flatten)]
    pub(super) settings: Settings,
    #[command(flatten)]
    pub(super) own: OfSecrets,
    /// The engine, such as kv.
    #[arg(value_name = "TYPE")]
    pub(super) arguments: Vec<String>,
}

/// `auth enable`.
#[derive(Args, Debug, Default)]
pub(crate) struct EnableAuth {
    #[command(flatten)]
    birth: Birth,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    own: OfAuth,
    /// The method, such as userpass.
    #[arg(value_name = "TYPE")]
    arguments: Vec<String>,
}

/// `secrets tune`.
#[derive(Args, Debug)]
pub(crate) struct TuneSecrets {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    own: OfSecrets,
    /// The path it is mounted at.
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// `auth tune`.
#[derive(Args, Debug)]
pub(crate) struct TuneAuth {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    own: OfAuth,
    /// The path it is mounted at.
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

/// `secrets disable`, `auth disable`.
#[derive(Args, Debug)]
pub(crate) struct Disable {
    /// The path it is mounted at.
    #[arg(value_name = "PATH")]
    arguments: Vec<String>,
}

impl EnableSecrets {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [typed] = arguments::exactly(&self.arguments)?;
        // kv-v1 and kv-v2 are names for kv with its version.
        let (kind, named) = match typed.trim() {
            "kv-v1" => ("kv", Some(1)),
            "kv-v2" => ("kv", Some(2)),
            other => (other, None),
        };
        let options = self.settings.options(self.own.version.or(named));
        let made = Made {
            typed: typed.trim(),
            kind,
            birth: &self.birth,
            settings: &self.settings,
            own: self.own.fields(),
            options,
        };
        made.enable(Family::Secrets, context).await
    }
}

impl EnableAuth {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [typed] = arguments::exactly(&self.arguments)?;
        let made = Made {
            typed: typed.trim(),
            kind: typed.trim(),
            birth: &self.birth,
            settings: &self.settings,
            own: self.own.fields(),
            options: self.settings.options(None),
        };
        made.enable(Family::Auth, context).await
    }
}

/// What is to be mounted.
struct Made<'a> {
    typed: &'a str,
    kind: &'a str,
    birth: &'a Birth,
    settings: &'a Settings,
    own: Map<String, Value>,
    options: Map<String, Value>,
}

impl Made<'_> {
    async fn enable(self, family: Family, context: &mut Context) -> Result<(), Failure> {
        let (typed, birth) = (self.typed, self.birth);
        let plugin = birth.plugin_name.as_deref().filter(|_| self.kind == "plugin");
        let kind = plugin.unwrap_or(self.kind);
        let default = plugin.unwrap_or(typed);
        let path = birth.path.as_deref().unwrap_or(default).trim_matches('/');
        let mut config = self.settings.fields();
        config.extend(self.own);
        // The version of the plugin is a matter of the mount, not of its tuning.
        let plugin_version = config.remove("plugin_version");
        if birth.force_no_cache {
            config.insert("force_no_cache".to_owned(), true.into());
        }
        let mut body = json!({
            "type": kind,
            "description": self.settings.description.as_deref().unwrap_or_default(),
            "config": config,
            "local": birth.local,
            "seal_wrap": birth.seal_wrap,
            "external_entropy_access": birth.external_entropy_access,
        });
        if let (Some(version), Some(body)) = (plugin_version, body.as_object_mut()) {
            body.insert("plugin_version".to_owned(), version);
        }
        if let (false, Some(body)) = (self.options.is_empty(), body.as_object_mut()) {
            body.insert("options".to_owned(), self.options.into());
        }
        let attempt = match family {
            Family::Secrets => "Error enabling".to_owned(),
            Family::Auth => format!("Error enabling {typed} auth"),
        };
        let outgoing = Outgoing::new(Method::Post, family.endpoint(path)).json(&body);
        let answer = context.send(&attempt, outgoing).await?;
        context.output.line(&match family {
            Family::Secrets => {
                format!("Success! Enabled the {typed} secrets engine at: {path}/")
            }
            Family::Auth => format!("Success! Enabled {typed} auth method at: {path}/"),
        })?;
        context.output.warnings(&answer)
    }
}

impl TuneSecrets {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let body = tuning(&self.settings, self.own.version, self.own.fields());
        tune(Family::Secrets, context, path, body).await
    }
}

impl TuneAuth {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let body = tuning(&self.settings, None, self.own.fields());
        tune(Family::Auth, context, path, body).await
    }
}

fn tuning(
    settings: &Settings,
    version: Option<u32>,
    own: Map<String, Value>,
) -> Map<String, Value> {
    let mut body = settings.fields();
    body.extend(own);
    let options = settings.options(version);
    if !options.is_empty() {
        body.insert("options".to_owned(), options.into());
    }
    if let Some(description) = &settings.description {
        body.insert("description".to_owned(), description.as_str().into());
    }
    body
}

/// Changes settings of a mount; `kv enable-versioning` does, too.
pub(crate) async fn tune(
    family: Family,
    context: &mut Context,
    path: &str,
    body: Map<String, Value>,
) -> Result<(), Failure> {
    let path = path.trim_matches('/');
    let noun = family.noun();
    let endpoint = family.endpoint(&format!("{path}/tune"));
    let outgoing = Outgoing::new(Method::Post, endpoint).json(&Value::Object(body));
    let slash = if family == Family::Secrets { "/" } else { "" };
    let answer = context.send(&format!("Error tuning {noun} {path}{slash}"), outgoing).await?;
    context.output.line(&format!("Success! Tuned the {noun} at: {path}/"))?;
    context.output.warnings(&answer)
}

impl Disable {
    pub(super) async fn run(self, family: Family, context: &mut Context) -> Result<(), Failure> {
        let [path] = arguments::exactly(&self.arguments)?;
        let path = path.trim_matches('/');
        let noun = family.noun();
        let outgoing = Outgoing::new(Method::Delete, family.endpoint(path));
        let answer = context.send(&format!("Error disabling {noun} at {path}/"), outgoing).await?;
        context
            .output
            .line(&format!("Success! Disabled the {noun} (if it existed) at: {path}/"))?;
        context.output.warnings(&answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    fn body(asked: &str) -> (String, Value) {
        let (line, body) = asked.trim().split_once(" {").unwrap();
        (line.to_owned(), serde_json::from_str(&format!("{{{body}")).unwrap())
    }

    #[tokio::test]
    async fn an_engine_is_enabled_with_its_version_as_an_option() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(204, Value::Null)]).await;
        let settings = Settings { default_lease_ttl: Some("1h".to_owned()), ..Settings::default() };
        let birth = Birth { path: Some("secret/".to_owned()), ..Birth::default() };
        let arguments = vec!["kv-v2".to_owned()];
        let enable = EnableSecrets { birth, settings, arguments, ..EnableSecrets::default() };
        enable.run(&mut context).await.unwrap();
        let (line, body) = body(&asked.text());
        assert_eq!(line, "POST /v1/sys/mounts/secret");
        assert_eq!(body["type"], "kv");
        assert_eq!(body["options"], json!({"version": "2"}));
        assert_eq!(body["config"], json!({"default_lease_ttl": "1h"}));
        assert_eq!(out.text(), "Success! Enabled the kv-v2 secrets engine at: secret/\n");
    }

    #[tokio::test]
    async fn a_method_is_tuned_under_its_own_path_and_words() {
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(204, Value::Null)]).await;
        let own = OfAuth { token_type: Some("batch".to_owned()), ..OfAuth::default() };
        let arguments = vec!["userpass/".to_owned()];
        let tune = TuneAuth { settings: Settings::default(), own, arguments };
        tune.run(&mut context).await.unwrap();
        let (line, body) = body(&asked.text());
        assert_eq!(line, "POST /v1/sys/auth/userpass/tune");
        assert_eq!(body, json!({"token_type": "batch"}));
        assert_eq!(out.text(), "Success! Tuned the auth method at: userpass/\n");
    }
}
