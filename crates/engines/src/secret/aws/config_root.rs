//! `config/root`: how AWS is reached.

use super::{
    Aws,
    automation::{Automation, Wanted},
    ready, stored, user_name,
};
use crate::aws::Federation;
use bailee_notation::duration::format_go;
use bailee_sdk::{
    Error, Nothing, Reply, Request, Sensitive, View,
    field::{CommaList, Flag, Ttl},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(super) const KEY: &str = "config/root";
/// Other addresses of STS at most.
const FALLBACKS_MAX: usize = 10;
/// Repetitions of a call at most.
const RETRIES_MAX: i64 = 20;

/// How AWS is reached, as stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Root {
    pub(super) access_key: String,
    #[serde(serialize_with = "stored")]
    pub(super) secret_key: Sensitive<String>,
    pub(super) role_arn: String,
    pub(super) external_id: String,
    pub(super) region: String,
    pub(super) iam_endpoint: String,
    pub(super) sts_endpoint: String,
    pub(super) sts_region: String,
    pub(super) sts_fallback_endpoints: Vec<String>,
    pub(super) sts_fallback_regions: Vec<String>,
    pub(super) max_retries: Option<i64>,
    pub(super) username_template: String,
    pub(super) ready: ready::Patience,
    /// Takes on `role_arn` with tokens of this server instead of keys.
    pub(super) federation: Federation,
    /// When the key is replaced by itself.
    pub(super) automation: Automation,
    /// The user's former key, to be removed.
    pub(super) old_key: Option<OldKey>,
}

/// A key that has been replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OldKey {
    pub(super) user: String,
    pub(super) id: String,
}

impl Root {
    pub(super) async fn of(view: &View) -> Result<Option<Root>, Error> {
        Ok(view.get(KEY).await?)
    }

    pub(super) fn secret(&self) -> Option<Sensitive<String>> {
        self.has_keys().then(|| self.secret_key.clone())
    }

    /// Whether the mount has a key of its own.
    pub(super) fn has_keys(&self) -> bool {
        !self.secret_key.expose().is_empty()
    }

    /// What a stored secret is used with: its id, and where it speaks for the engine.
    fn ways(&self) -> [&[String]; 4] {
        let single = [&self.access_key, &self.iam_endpoint, &self.sts_endpoint];
        let [key, iam, sts] = single.map(std::slice::from_ref);
        [key, iam, sts, &self.sts_fallback_endpoints]
    }

    /// How often a call is made at most.
    pub(super) fn attempts(&self) -> u32 {
        const RETRIES_DEFAULT: u32 = 5;
        let retries = self.max_retries.unwrap_or(-1);
        u32::try_from(retries).unwrap_or(RETRIES_DEFAULT).saturating_add(1)
    }
}

pub(super) async fn read(_: Arc<Aws>, request: Request<Nothing>) -> Result<Reply, Error> {
    let root = Root::of(&request.view).await?.ok_or_else(Error::not_found)?;
    let template = match root.username_template.as_str() {
        "" => user_name::DEFAULT,
        template => template,
    };
    let mut shown = Map::new();
    root.automation.show(&mut shown);
    let more = json!({
        "access_key": root.access_key,
        "external_id": root.external_id,
        "iam_endpoint": root.iam_endpoint,
        "identity_token_audience": root.federation.audience,
        "identity_token_ttl": root.federation.ttl_secs,
        "max_retries": root.max_retries.unwrap_or(-1),
        "region": root.region,
        "role_arn": root.role_arn,
        "sts_endpoint": root.sts_endpoint,
        "sts_fallback_endpoints": root.sts_fallback_endpoints,
        "sts_fallback_regions": root.sts_fallback_regions,
        "sts_region": root.sts_region,
        "username_template": template,
        "wait_until_usable": root.ready.wait,
        "wait_until_usable_timeout": root.ready.timeout_secs,
    });
    if let Value::Object(more) = more {
        shown.extend(more);
    }
    if let Some(old) = &root.old_key {
        shown.insert("former_access_key".to_owned(), old.id.as_str().into());
    }
    Ok(Reply::data(&shown))
}

/// How to reach AWS. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteRoot {
    /// The id of the engine's own key. Without key and role the credentials of this machine are used,
    /// where the operator permits it.
    access_key: Option<String>,
    /// The secret part of that key. It is never shown again, and is to be given whenever its id or the
    /// address of IAM or STS changes.
    secret_key: Option<String>,
    /// A role that the engine takes on with its credentials before it does anything.
    role_arn: Option<String>,
    /// Sent when that role is taken on.
    external_id: Option<String>,
    /// The region; us-east-1 when empty.
    region: Option<String>,
    /// Where IAM is, instead of AWS's own address.
    iam_endpoint: Option<String>,
    /// Where STS is, instead of AWS's own address.
    sts_endpoint: Option<String>,
    /// The region of STS, when it is another one.
    sts_region: Option<String>,
    /// Where STS is asked when it cannot be reached at the first address.
    sts_fallback_endpoints: Option<CommaList>,
    /// The regions of those, in the same order.
    sts_fallback_regions: Option<CommaList>,
    /// How often a failed call is made again; -1 for the default.
    max_retries: Option<Value>,
    /// How names of users and sessions are made.
    username_template: Option<String>,
    /// Whether a new key is answered only after it authenticated several times in a row; true unless
    /// said otherwise.
    wait_until_usable: Option<Flag>,
    /// How long to wait for that at most: 2s to 50s.
    wait_until_usable_timeout: Option<Ttl>,
    /// Whom tokens are for with which `role_arn` is taken on, instead of with keys. The key that signs
    /// them is the mount's `identity_token_key`.
    identity_token_audience: Option<String>,
    /// How long such tokens hold; an hour unless said otherwise.
    identity_token_ttl: Option<Ttl>,
    /// How often the key is replaced by itself, counted from now: 10 seconds or more; 0 for never.
    rotation_period: Option<Ttl>,
    /// When the key is replaced by itself, as the five fields of cron, in UTC; empty for never.
    rotation_schedule: Option<String>,
    /// How long after its time a scheduled rotation is tried, an hour or more; 0 for until it succeeds.
    rotation_window: Option<Ttl>,
    /// Not supported.
    rotation_policy: Option<String>,
    /// Whether the key is not replaced by itself for now.
    disable_automated_rotation: Option<Flag>,
}

pub(super) async fn write(engine: Arc<Aws>, request: Request<WriteRoot>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    request.view.lock(KEY).await;
    let known = request.view.get_at::<Root>(KEY).await?;
    match &known {
        Some((_, Some(revision))) => request.view.expect(KEY, *revision),
        _ => request.view.expect_absent(KEY),
    }
    let before = known.map(|(root, _)| root).unwrap_or_default();
    let mut root = before.clone();
    let is_secret_given = input.secret_key.is_some();
    input.apply(&mut root, request.now)?;
    check(&root)?;
    if !is_secret_given && root.has_keys() && root.ways() != before.ways() {
        return Err(Error::invalid(
            "access_key, iam_endpoint, sts_endpoint and sts_fallback_endpoints change only together \
             with secret_key: give it again",
        ));
    }
    root.federation.check_tokens(&engine.issuer, request.view.prefix()).await?;
    request.view.put(KEY, &root);
    Ok(match left_behind(&before.access_key, &root) {
        Some(old) => Reply::empty().warn(format!(
            "the former key {} of the user {} could not be removed yet, and may be out of reach with \
             the new one: remove it by hand",
            old.id, old.user
        )),
        None => Reply::empty(),
    })
}

impl WriteRoot {
    fn apply(self, root: &mut Root, now: SystemTime) -> Result<(), Error> {
        let texts = [
            (&mut root.access_key, self.access_key),
            (&mut root.role_arn, self.role_arn),
            (&mut root.external_id, self.external_id),
            (&mut root.region, self.region),
            (&mut root.iam_endpoint, self.iam_endpoint),
            (&mut root.sts_endpoint, self.sts_endpoint),
            (&mut root.sts_region, self.sts_region),
            (&mut root.username_template, self.username_template),
            (&mut root.federation.audience, self.identity_token_audience),
        ];
        for (stored, given) in texts {
            if let Some(given) = given {
                *stored = given;
            }
        }
        if let Some(secret) = self.secret_key {
            root.secret_key = secret.into();
        }
        if let Some(CommaList(endpoints)) = self.sts_fallback_endpoints {
            root.sts_fallback_endpoints = endpoints;
        }
        if let Some(CommaList(regions)) = self.sts_fallback_regions {
            root.sts_fallback_regions = regions;
        }
        if let Some(wanted) = &self.max_retries {
            root.max_retries = Some(retries(wanted)?);
        }
        if let Some(Ttl(ttl)) = self.identity_token_ttl {
            root.federation.ttl_secs = ttl.as_secs();
        }
        let wanted = Wanted {
            period: self.rotation_period,
            schedule: self.rotation_schedule,
            window: self.rotation_window,
            policy: self.rotation_policy,
            disabled: self.disable_automated_rotation,
        };
        root.automation.apply(wanted, now)?;
        if let Some(wait) = self.wait_until_usable {
            root.ready.wait = wait.0;
        }
        if let Some(Ttl(timeout)) = self.wait_until_usable_timeout {
            root.ready.timeout_secs = checked_timeout(timeout)?;
        }
        Ok(())
    }
}

/// The key that a rotation has still to remove, when the credentials for that change.
fn left_behind<'a>(before: &str, root: &'a Root) -> Option<&'a OldKey> {
    root.old_key.as_ref().filter(|_| before != root.access_key)
}

/// In Vault's own words, which repeat the input here.
fn retries(value: &Value) -> Result<i64, Error> {
    let text = match value {
        Value::Null => return Ok(-1),
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    let number: i64 = text.parse().map_err(|_| {
        Error::invalid(format!(
            "error converting input for field \"max_retries\": cannot parse '' as int: \
             strconv.ParseInt: parsing {text:?}: invalid syntax"
        ))
    })?;
    if number > RETRIES_MAX {
        return Err(Error::invalid(format!("max_retries must be at most {RETRIES_MAX}")));
    }
    Ok(number)
}

fn checked_timeout(timeout: Duration) -> Result<u64, Error> {
    let seconds = timeout.as_secs();
    if !(ready::TIMEOUT_SECS_MIN..=ready::TIMEOUT_SECS_MAX).contains(&seconds) {
        return Err(Error::invalid(format!(
            "wait_until_usable_timeout must be between {}s and {}: clients give up after that; set \
             wait_until_usable=false to answer at once",
            ready::TIMEOUT_SECS_MIN,
            format_go(Duration::from_secs(ready::TIMEOUT_SECS_MAX))
        )));
    }
    Ok(seconds)
}

fn check(root: &Root) -> Result<(), Error> {
    root.federation.check(&root.access_key, &root.role_arn)?;
    if !root.federation.is_off() && !root.external_id.is_empty() {
        return Err(Error::invalid(
            "external_id goes with keys: a role that is taken on with a token has none",
        ));
    }
    if root.access_key.is_empty() == root.has_keys() {
        return Err(Error::invalid(
            "access_key and secret_key must be set together, or both be empty",
        ));
    }
    let endpoints = [("iam_endpoint", &root.iam_endpoint), ("sts_endpoint", &root.sts_endpoint)];
    let endpoints = endpoints.into_iter().filter(|(_, url)| !url.is_empty());
    let fallbacks = root.sts_fallback_endpoints.iter().map(|url| ("sts_fallback_endpoints", url));
    for (field, url) in endpoints.chain(fallbacks) {
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) || url.contains('@') {
            return Err(Error::invalid(format!(
                "{field} is not valid: want an http or https URL without credentials"
            )));
        }
    }
    let regions = [("region", &root.region), ("sts_region", &root.sts_region)];
    let fallbacks = root.sts_fallback_regions.iter().map(|it| ("sts_fallback_regions", it));
    for (field, region) in regions.into_iter().chain(fallbacks) {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        // The region becomes a part of a host name.
        if region.len() > 63 || !region.chars().all(allowed) {
            return Err(Error::invalid(format!(
                "{field} is not valid: want lowercase letters, digits and hyphens, as eu-west-1"
            )));
        }
    }
    if root.sts_fallback_endpoints.len() != root.sts_fallback_regions.len()
        || root.sts_fallback_endpoints.len() > FALLBACKS_MAX
    {
        return Err(Error::invalid(format!(
            "sts_fallback_endpoints and sts_fallback_regions must be equally many, at most \
             {FALLBACKS_MAX}"
        )));
    }
    if root.automation.is_on() && !root.has_keys() {
        return Err(Error::invalid(
            "rotation_period and rotation_schedule need access_key and secret_key: there is no other \
             key to replace",
        ));
    }
    user_name::check(&root.username_template)
}
