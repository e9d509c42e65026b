//! `quickstart`: from an empty server to one whose secrets can be replicated, in one command.
//!
//! It does what the script `initialise_vault.sh` of the published replicator sample does, against
//! any server that speaks the API. What is there already stays as it is, so that a run that was
//! interrupted is simply started again. Keys and tokens go into files, never to the terminal: with
//! one exception, when the file cannot be written and the keys would be lost.

use crate::{arguments, context::Context, failure::Failure, output::Order, value};
use bailee_agent::private_file;
use bailee_client::{Error, Method, Outgoing};
use bailee_crypto::Sensitive;
use clap::Args;
use serde_json::{Map, Value, json};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use zeroize::Zeroizing;

/// Between two questions whether the server is ready; tests have no time to lose.
const READY_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });
/// Questions whether the server is ready: a server of several takes a while to be the active one,
/// and a mount of KV version 2 a moment to be made.
const READY_TRIES_MAX: u32 = 120;
/// Examples for the engine that is replicated, as in the sample.
const SAMPLES: [(&str, &str); 2] = [
    ("first-secret-for-replication", r#"{"foo":"bar","secrets":"manager"}"#),
    ("second-secret-for-replication", r#"{"foo2":"bar2","secrets2":"manager2"}"#),
];
/// The example that must not be replicated.
const CONTROL_SAMPLE: (&str, &str) = ("super-secret", r#"{"super":"secret"}"#);

/// Prepares a server for replication: keys, two KV engines, a read-only policy and its token.
///
/// Initializes and unseals a server that is new, mounts two KV version 2 engines (one to be
/// replicated, one as a control that must not be), writes a policy that reads the first one alone,
/// and makes a token with that policy that lives as long as it is renewed. Keys and tokens go into
/// files that only you can read. What is there already is left alone: the command can be run again.
#[derive(Args, Debug)]
pub(crate) struct Quickstart {
    /// Number of keys that are made, if the server is new.
    #[arg(long, value_name = "N", default_value_t = 1)]
    key_shares: u32,
    /// Number of keys that are needed to unseal.
    #[arg(long, value_name = "N", default_value_t = 1)]
    key_threshold: u32,
    /// File for keys and root token; never written over.
    #[arg(long, value_name = "FILE", default_value = "quickstart-keys.json")]
    keys_file: PathBuf,
    /// File for the read-only token.
    #[arg(long, value_name = "FILE", default_value = "quickstart-token")]
    token_file: PathBuf,
    /// Mount of the KV engine that is replicated.
    #[arg(long, value_name = "PATH", default_value = "hybrid-aws-secrets", value_parser = mount)]
    prefix: String,
    /// Mount of a KV engine that the token must not read.
    #[arg(long, value_name = "PATH", default_value = "super-secret-engine", value_parser = mount)]
    control: String,
    /// Name of the read-only policy.
    #[arg(long, value_name = "NAME", default_value = "aws-replication-read-only")]
    policy: String,
    /// The token ends when it is not renewed for this long.
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = value::ttl)]
    period: String,
    /// Also write example secrets.
    #[arg(long)]
    samples: bool,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

fn mount(text: &str) -> Result<String, String> {
    let path = text.trim_matches('/');
    if path.is_empty() { Err("must not be empty".to_owned()) } else { Ok(path.to_owned()) }
}

/// What was found or made, for those who read JSON.
#[derive(Default)]
struct Told {
    made: Vec<String>,
    there: Vec<String>,
}

impl Quickstart {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        if self.prefix == self.control {
            return Err(Failure::usage("-prefix and -control must not be the same mount"));
        }
        if !context.is_sending() {
            return Err(Failure::usage(
                "quickstart sends requests that depend on the answers before: -output-curl-string \
                 and -output-policy do not go with it",
            ));
        }
        let mut told = Told::default();
        self.open(context, &mut told).await?;
        let mounts = wait_for_mounts(context).await?;
        for path in [&self.prefix, &self.control] {
            mount_kv(context, &mounts, path, &mut told).await?;
        }
        if self.samples {
            for (name, text) in SAMPLES {
                write_sample(context, &self.prefix, name, text, &mut told).await?;
            }
            let (name, text) = CONTROL_SAMPLE;
            write_sample(context, &self.control, name, text, &mut told).await?;
        }
        self.write_policy(context, &mut told).await?;
        self.make_token(context, &mut told).await?;
        self.show(context, told)
    }

    /// Leaves the server initialized and unsealed, and the context with a token that may do the rest.
    async fn open(&self, context: &mut Context, told: &mut Told) -> Result<(), Failure> {
        let asked = Outgoing::new(Method::Get, "sys/init");
        let answer = answer(context, "Error checking init status", asked).await?;
        let initialized = answer.get("initialized").and_then(Value::as_bool).unwrap_or(false);
        let keys = if initialized {
            told.there(context, "the server's keys: it was initialized before")?;
            Keys::read(&self.keys_file)?
        } else {
            Some(self.initialize(context, told).await?)
        };
        unseal(context, keys.as_ref(), &self.keys_file, told).await?;
        let Some(root) = keys.and_then(|keys| keys.root_token()) else { return Ok(()) };
        // Whoever runs this long after may have revoked the root token, as they should.
        let with_root = context.client().clone().with_token(Some(root.clone()));
        match with_root.send(Outgoing::new(Method::Get, "auth/token/lookup-self")).await {
            Err(error) if error.status() == Some(403) => Ok(()),
            // A server that is not ready yet is waited for later.
            Ok(_) | Err(_) => {
                context.use_token(root);
                Ok(())
            }
        }
    }

    /// The file is there before the keys are: keys that nobody could write down would be lost.
    async fn initialize(&self, context: &mut Context, told: &mut Told) -> Result<Keys, Failure> {
        let path = &self.keys_file;
        let file = match private_file::create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Failure::usage(format!(
                    "{} exists, and the server is not initialized: the file is not written over. Move \
                     it away, or name another with -keys-file.",
                    path.display()
                )));
            }
            made => made.map_err(|error| unwritable(path, &error))?,
        };
        let (shares, threshold) = (self.key_shares, self.key_threshold);
        let body = json!({ "secret_shares": shares, "secret_threshold": threshold });
        let outgoing = Outgoing::new(Method::Put, "sys/init").json(&body);
        let answered = match context.attempt(outgoing).await? {
            Ok(answered) => answered,
            Err(error) => {
                // Empty, and ours: in the way of the next run, unless keys may have been made.
                if matches!(error, Error::Refused { .. }) {
                    fs::remove_file(path).ok();
                }
                return Err(context.failure("Error initializing", &error));
            }
        };
        if let Err(error) = private_file::fill(file, answered.bytes()) {
            context.output.warn(&format!(
                "{}: {error}. The keys exist only here. Keep them:",
                path.display()
            ))?;
            context.output.line(&String::from_utf8_lossy(answered.bytes()))?;
            return Err(unwritable(path, &error));
        }
        let what = format!("keys ({threshold} of {shares} unseal) and a root token");
        told.made(context, &format!("{what}, in {}", path.display()))?;
        Ok(Keys(answered.json()))
    }

    async fn write_policy(&self, context: &mut Context, told: &mut Told) -> Result<(), Failure> {
        let (path, text) = (format!("sys/policies/acl/{}", self.policy), self.policy_text());
        let attempt = format!("Error writing the policy {}", self.policy);
        let found = context.find(&attempt, Outgoing::new(Method::Get, &path)).await?;
        let what = format!("policy {}: reads {}/, nothing else", self.policy, self.prefix);
        if let Some(found) = found {
            let there = found.data().and_then(|data| data.get("policy")).and_then(Value::as_str);
            if there.map(str::trim) == Some(text.trim()) {
                return told.there(context, &what);
            }
            return Err(Failure::refused(format!(
                "the policy {} is there and says something else; it is not written over. Name \
                 another with -policy, or delete it.",
                self.policy
            )));
        }
        let body = json!({ "policy": text });
        context.send(&attempt, Outgoing::new(Method::Put, &path).json(&body)).await?;
        told.made(context, &what)
    }

    /// Narrower than the sample's, which also allowed to list the values' paths: and wider by what a
    /// token needs to know and renew itself, as it has no other policy.
    fn policy_text(&self) -> String {
        let prefix = &self.prefix;
        let rules = [
            (format!("{prefix}/data/*"), "\"read\""),
            (format!("{prefix}/metadata"), "\"list\""),
            (format!("{prefix}/metadata/*"), "\"read\", \"list\""),
            ("auth/token/lookup-self".to_owned(), "\"read\""),
            ("auth/token/renew-self".to_owned(), "\"update\""),
        ];
        let rule = |(path, capabilities): &(String, &str)| {
            format!("path {path:?} {{\n  capabilities = [{capabilities}]\n}}\n")
        };
        rules.iter().map(rule).collect()
    }

    async fn make_token(&self, context: &mut Context, told: &mut Told) -> Result<(), Failure> {
        let path = &self.token_file;
        let what = format!(
            "read-only token, renewable, ends when not renewed for {}, in {}",
            self.period,
            path.display()
        );
        if let Some(token) = read_text(path)? {
            let token = Sensitive::from(token.trim());
            let asked = Outgoing::new(Method::Get, "auth/token/lookup-self");
            match context.client().clone().with_token(Some(token)).send(asked).await {
                Ok(_) => return told.there(context, &what),
                Err(error) if error.status() == Some(403) => {
                    return Err(Failure::refused(format!(
                        "the token in {} is not valid any more, and the file is not written over: \
                         delete it and run this again, or name another with -token-file",
                        path.display()
                    )));
                }
                Err(error) => return Err(context.failure("Error looking up the token", &error)),
            }
        }
        // Seen to be writable before a token is made that would be lost.
        private_file::replace(path, b"").map_err(|error| unwritable(path, &error))?;
        let body = json!({
            "policies": [self.policy],
            "no_default_policy": true,
            "no_parent": true,
            "renewable": true,
            "period": self.period,
            "display_name": "replication",
        });
        let outgoing = Outgoing::new(Method::Post, "auth/token/create").json(&body);
        let made = context.send("Error making the read-only token", outgoing).await?;
        let token = made.auth().and_then(|auth| auth.get("client_token")).and_then(Value::as_str);
        let token = token.ok_or_else(|| Failure::refused("The server answered without a token"))?;
        private_file::replace(path, token.as_bytes()).map_err(|error| unwritable(path, &error))?;
        told.made(context, &what)
    }

    fn show(&self, context: &mut Context, told: Told) -> Result<(), Failure> {
        let address = context.client().settings().address.to_string();
        let (keys, token) = (self.keys_file.display(), self.token_file.display());
        let next = format!(
            "VAULT_ADDR={address} VAULT_TOKEN=$(cat {token}) {} replicate plan -mount={}",
            context.program, self.prefix
        );
        if !context.output.is_table() {
            let document = json!({
                "address": address,
                "ui": format!("{address}/ui"),
                "made": told.made,
                "there": told.there,
                "keys_file": keys.to_string(),
                "token_file": token.to_string(),
                "next": next,
            });
            return context.output.document(&document, &Order::SORTED);
        }
        context.output.line(&format!(
            "\nServer:            {address}\n\
             Web UI:            {address}/ui (where the server has one)\n\
             Keys, root token:  {keys}\n\
             Read-only token:   {token}\n\n\
             The file {keys} opens everything: move it to a safe place, and revoke the root\n\
             token when it is not needed any more.\n\n\
             Next, to see what would be copied to AWS (credentials and AWS_REGION as for its own tools):\n\n  {next}"
        ))
    }
}

impl Told {
    fn made(&mut self, context: &mut Context, what: &str) -> Result<(), Failure> {
        self.made.push(what.to_owned());
        tell(context, "Made", what)
    }

    fn there(&mut self, context: &mut Context, what: &str) -> Result<(), Failure> {
        self.there.push(what.to_owned());
        tell(context, "There", what)
    }
}

fn tell(context: &mut Context, state: &str, what: &str) -> Result<(), Failure> {
    if context.output.is_table() {
        context.output.line(&format!("{state:<6} {what}"))
    } else {
        Ok(())
    }
}

/// The answer of `sys/init`, as it is in the file.
struct Keys(Map<String, Value>);

impl Keys {
    fn read(path: &Path) -> Result<Option<Keys>, Failure> {
        let Some(text) = read_text(path)? else { return Ok(None) };
        match serde_json::from_str(&text) {
            Ok(Value::Object(answer)) => Ok(Some(Keys(answer))),
            Ok(_) | Err(_) => Err(Failure::usage(format!(
                "{} does not hold what a server answers to its initialization",
                path.display()
            ))),
        }
    }

    fn shares(&self) -> impl Iterator<Item = &str> {
        let shares = self.0.get("keys_base64").or_else(|| self.0.get("keys"));
        shares.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    fn root_token(&self) -> Option<Sensitive<String>> {
        self.0.get("root_token").and_then(Value::as_str).map(Sensitive::from)
    }
}

/// A file with a secret; `None` where there is none, or nothing in it.
fn read_text(path: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::usage(format!("{}: {error}", path.display()))),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()))
}

async fn unseal(
    context: &mut Context,
    keys: Option<&Keys>,
    file: &Path,
    told: &mut Told,
) -> Result<(), Failure> {
    let asked = Outgoing::new(Method::Get, "sys/seal-status");
    let status = answer(context, "Error checking seal status", asked).await?;
    if !is_sealed(&status) {
        return told.there(context, "the server is unsealed");
    }
    let keys = keys.ok_or_else(|| {
        Failure::usage(format!(
            "the server is sealed, and {} with its keys is not there: unseal it, or name the file \
             with -keys-file",
            file.display()
        ))
    })?;
    for key in keys.shares() {
        let outgoing = Outgoing::new(Method::Put, "sys/unseal").json(&json!({ "key": key }));
        let status = answer(context, "Error unsealing", outgoing).await?;
        if !is_sealed(&status) {
            return told.made(context, "the server unsealed");
        }
    }
    Err(Failure::refused(format!("the keys in {} do not unseal the server", file.display())))
}

fn is_sealed(status: &Map<String, Value>) -> bool {
    status.get("sealed").and_then(Value::as_bool).unwrap_or(true)
}

/// The mounts, as soon as the server is the one that knows them.
async fn wait_for_mounts(context: &mut Context) -> Result<Map<String, Value>, Failure> {
    let attempt = "Error reading the mounts";
    for _ in 0..READY_TRIES_MAX {
        match context.attempt(Outgoing::new(Method::Get, "sys/mounts")).await? {
            Ok(response) => {
                let mut answer = response.json();
                let data = answer.remove("data").and_then(|data| match data {
                    Value::Object(data) => Some(data),
                    _ => None,
                });
                return Ok(data.unwrap_or(answer));
            }
            Err(error) if error.status().is_some_and(|status| status >= 500) => {
                tokio::time::sleep(READY_PAUSE).await;
            }
            Err(error) => return Err(context.failure(attempt, &error)),
        }
    }
    Err(Failure::refused("the server is unsealed, but answers nothing yet: run this again later"))
}

async fn mount_kv(
    context: &mut Context,
    mounts: &Map<String, Value>,
    path: &str,
    told: &mut Told,
) -> Result<(), Failure> {
    let what = format!("KV version 2 at {path}/");
    if let Some(there) = mounts.get(&format!("{path}/")) {
        let text = |pointer: &str| there.pointer(pointer).and_then(Value::as_str);
        return match (text("/type"), text("/options/version")) {
            (Some("kv"), Some("2")) => told.there(context, &what),
            _ => Err(Failure::refused(format!("{path}/ is mounted and is not KV version 2"))),
        };
    }
    let body = json!({ "type": "kv", "options": { "version": "2" } });
    let outgoing = Outgoing::new(Method::Post, format!("sys/mounts/{path}")).json(&body);
    context.send(&format!("Error mounting {what}"), outgoing).await?;
    told.made(context, &what)
}

async fn write_sample(
    context: &mut Context,
    mount: &str,
    name: &str,
    text: &str,
    told: &mut Told,
) -> Result<(), Failure> {
    let what = format!("example secret {mount}/{name}");
    let data: Value = serde_json::from_str(text).unwrap_or_default();
    // Version 0: only where nothing is, nor was.
    let body = json!({ "data": data, "options": { "cas": 0 } });
    for _ in 0..READY_TRIES_MAX {
        let path = format!("{mount}/data/{name}");
        match context.attempt(Outgoing::new(Method::Post, path).json(&body)).await? {
            Ok(_) => return told.made(context, &what),
            Err(error) if is_said(&error, "check-and-set") => return told.there(context, &what),
            // A mount that was just made is not ready for a moment.
            Err(error) if is_said(&error, "Upgrading from non-versioned") => {
                tokio::time::sleep(READY_PAUSE).await;
            }
            Err(error) => return Err(context.failure(&format!("Error writing {what}"), &error)),
        }
    }
    Err(Failure::refused(format!("{mount}/ does not get ready: run this again later")))
}

fn is_said(error: &Error, words: &str) -> bool {
    match error {
        Error::Refused { response, .. } if response.status == 400 => {
            response.errors().iter().any(|sentence| sentence.contains(words))
        }
        _ => false,
    }
}

async fn answer(
    context: &mut Context,
    attempt: &str,
    outgoing: Outgoing,
) -> Result<Map<String, Value>, Failure> {
    let response = context.attempt(outgoing).await?;
    response.map(|response| response.json()).map_err(|error| context.failure(attempt, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        quickstart: Quickstart,
    }

    fn quickstart(folder: &Path) -> Quickstart {
        let keys = format!("--keys-file={}", folder.join("keys.json").display());
        let token = format!("--token-file={}", folder.join("token").display());
        Line::parse_from(["quickstart", &keys, &token, "--samples"]).quickstart
    }

    /// A server of several that was just unsealed, answering as Vault was recorded to.
    #[tokio::test]
    async fn vault_s_answers_are_understood_and_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let init = json!({"keys": ["aa11"], "keys_base64": ["qhE="], "root_token": "hvs.root"});
        let sealed = json!({"type": "shamir", "initialized": true, "sealed": true, "t": 1, "n": 1,
            "progress": 0, "nonce": "", "version": "1.14.9", "storage_type": "inmem"});
        let mut unsealed = sealed.clone();
        unsealed["sealed"] = json!(false);
        let standby =
            json!({"errors": ["local node not active but active cluster node not found"]});
        let not_ready = json!({"errors": ["Upgrading from non-versioned to versioned data. This \
            backend will be unavailable for a brief period and will resume service shortly."]});
        let taken =
            json!({"errors": ["check-and-set parameter did not match the current version"]});
        let mounts = json!({"secret/": {"type": "kv", "options": {"version": "2"}},
            "data": {"super-secret-engine/": {"type": "kv", "options": {"version": "2"}}}});
        let version = json!({"data": {"version": 1, "destroyed": false}});
        let token = json!({"auth": {"client_token": "hvs.read", "renewable": true}});
        let answers = vec![
            (200, json!({"initialized": false})),
            (200, init.clone()),
            (200, sealed),
            (200, unsealed),
            // A status that the client itself does not try again.
            (501, standby.clone()),
            (501, standby),
            (200, mounts),
            (204, Value::Null),
            (400, not_ready),
            (200, version.clone()),
            (400, taken),
            (200, version),
            (404, json!({"errors": []})),
            (204, Value::Null),
            (200, token),
        ];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        quickstart(folder.path()).run(&mut context).await.unwrap();
        let kept = fs::read_to_string(folder.path().join("keys.json")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), init, "as the server answered");
        let token = folder.path().join("token");
        assert_eq!(fs::read_to_string(&token).unwrap(), "hvs.read");
        assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
        let asked = asked.text().replace("/v1/", "");
        let first = "GET sys/init\nPUT sys/init {\"secret_shares\":1,\"secret_threshold\":1}\n\
            GET sys/seal-status\nPUT sys/unseal {\"key\":\"qhE=\"}\nGET auth/token/lookup-self\n\
            GET sys/mounts\nGET sys/mounts\nPOST sys/mounts/hybrid-aws-secrets {";
        assert!(asked.starts_with(first), "{asked}");
        assert!(!out.text().contains("hvs.") && !out.text().contains("qhE="), "{}", out.text());
    }
}
