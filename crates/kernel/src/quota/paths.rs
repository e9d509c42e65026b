//! `sys/quotas`.

use super::{
    QuotaStore,
    rules::{Config, Rule},
};
use bailee_sdk::{
    Code, Engine, Error, Nothing, Operation, Path, Reply, Request,
    engine::Class,
    field::{CommaList, Flag, Ttl},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{fmt, sync::Arc, time::Duration};

/// The interval when none is named, and the shortest.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The longest interval, also for blocks.
const INTERVAL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// The highest rate.
const RATE_MAX: f64 = 1e12;
/// Letters of a quota's name or role.
const NAME_BYTES_MAX: usize = 256;
/// Letters of a quota's path.
const PATH_BYTES_MAX: usize = 4096;
/// Exempt paths of each kind.
const EXEMPT_MAX: usize = 1000;

/// What is served about quotas, relative to the mount of the system.
pub(crate) struct QuotaPaths {
    store: Arc<QuotaStore>,
}

#[derive(Deserialize, JsonSchema)]
struct Configure {
    /// Paths that no quota touches, relative to the namespace of the request.
    #[serde(default)]
    rate_limit_exempt_paths: CommaList,
    /// Paths that no quota touches, from the root namespace.
    #[serde(default)]
    absolute_rate_limit_exempt_paths: CommaList,
    /// Whether refused requests are audited.
    #[serde(default)]
    enable_rate_limit_audit_logging: Flag,
    /// Whether answers tell what is left.
    #[serde(default)]
    enable_rate_limit_response_headers: Flag,
}

#[derive(Deserialize, JsonSchema)]
struct Named {
    /// Name of the quota.
    name: String,
}

#[derive(Deserialize, JsonSchema)]
struct Write {
    /// Name of the quota.
    name: String,
    /// `rate-limit`.
    #[serde(default, rename = "type")]
    kind: String,
    /// What it is for: a namespace, a mount, or a path in it, which may end in `*`. Empty for all.
    #[serde(default)]
    path: String,
    /// Logins with this role only.
    #[serde(default)]
    role: String,
    /// Requests that a client may make in an interval.
    #[serde(default)]
    #[schemars(with = "f64")]
    rate: Value,
    /// The interval; one second when it is not given.
    #[serde(default)]
    interval: Ttl,
    /// How long a client is refused altogether once it was refused.
    #[serde(default)]
    block_interval: Ttl,
    /// Whether a quota of a namespace holds in those below, too.
    #[serde(default)]
    inheritable: Flag,
    /// What makes a client: `ip`.
    #[serde(default)]
    group_by: String,
    /// Of no use with `ip`; leave it out.
    #[serde(default)]
    #[schemars(with = "f64")]
    secondary_rate: Value,
}

impl Engine for QuotaPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        let system_only = |pattern| Path::new(pattern).root_only();
        vec![
            system_only("quotas/config")
                .on(Operation::Read, &self, "Read what quotas leave out.", Self::config)
                .on(Operation::Update, &self, "Set what quotas leave out.", Self::configure),
            system_only("quotas/rate-limit").on(
                Operation::List,
                &self,
                "List the rate-limit quotas.",
                Self::list,
            ),
            system_only("quotas/rate-limit/{name}")
                .on(Operation::Read, &self, "Read a rate-limit quota.", Self::read)
                .on(Operation::Update, &self, "Make or replace a rate-limit quota.", Self::write)
                .on(Operation::Delete, &self, "Remove a rate-limit quota.", Self::delete),
            system_only("quotas/lease-count").hidden().on(
                Operation::List,
                &self,
                "Not served: leases are not limited.",
                Self::lease_count,
            ),
            system_only("quotas/lease-count/{name}")
                .hidden()
                .on(Operation::Read, &self, "Not served.", Self::lease_count)
                .on(Operation::Update, &self, "Not served.", Self::lease_count)
                .on(Operation::Delete, &self, "Not served.", Self::lease_count),
        ]
    }
}

impl QuotaPaths {
    pub(crate) fn new(store: Arc<QuotaStore>) -> QuotaPaths {
        QuotaPaths { store }
    }

    async fn config(self: Arc<Self>, _: Request<Nothing>) -> Result<Reply, Error> {
        let config = &self.store.state().config;
        Ok(Reply::data(&json!({
            "rate_limit_exempt_paths": config.exempt,
            "absolute_rate_limit_exempt_paths": config.absolute_exempt,
            "enable_rate_limit_audit_logging": config.audit,
            "enable_rate_limit_response_headers": config.headers,
        })))
    }

    async fn configure(self: Arc<Self>, request: Request<Configure>) -> Result<Reply, Error> {
        let Configure {
            rate_limit_exempt_paths,
            absolute_rate_limit_exempt_paths,
            enable_rate_limit_audit_logging,
            enable_rate_limit_response_headers,
        } = request.input;
        let config = Config {
            exempt: exempt("rate_limit_exempt_paths", rate_limit_exempt_paths)?,
            absolute_exempt: Some(exempt(
                "absolute_rate_limit_exempt_paths",
                absolute_rate_limit_exempt_paths,
            )?),
            audit: enable_rate_limit_audit_logging.0,
            headers: enable_rate_limit_response_headers.0,
        };
        self.store.configure(config).await?;
        Ok(Reply::empty())
    }

    async fn list(self: Arc<Self>, _: Request<Nothing>) -> Result<Reply, Error> {
        Reply::keys(&self.store.names())
    }

    async fn read(self: Arc<Self>, request: Request<Named>) -> Result<Reply, Error> {
        let Some((rule, path)) = self.store.read(&request.input.name) else {
            return Err(Error::not_found());
        };
        let rate = if rule.rate.fract() == 0.0 {
            // As a whole number where it is one.
            format!("{:.0}", rule.rate)
                .parse::<u64>()
                .map_or_else(|_| json!(rule.rate), |n| json!(n))
        } else {
            json!(rule.rate)
        };
        Ok(Reply::data(&json!({
            "name": rule.name,
            "type": "rate-limit",
            "path": path,
            "role": rule.role,
            "rate": rate,
            "interval": rule.interval / 1000,
            "block_interval": rule.block_interval / 1000,
            "inheritable": rule.inheritable,
            "group_by": "ip",
            "secondary_rate": 0,
        })))
    }

    async fn write(self: Arc<Self>, request: Request<Write>) -> Result<Reply, Error> {
        let rule = self.rule(request.input)?;
        self.store.put(rule).await?;
        Ok(Reply::empty())
    }

    async fn delete(self: Arc<Self>, request: Request<Named>) -> Result<Reply, Error> {
        self.store.delete(&request.input.name).await?;
        Ok(Reply::empty())
    }

    async fn lease_count(self: Arc<Self>, _: Request<Nothing>) -> Result<Reply, Error> {
        Err(Error::new(Code::NotFound, "enterprise-only feature"))
    }

    /// The quota that is wished for, its place looked up.
    fn rule(&self, input: Write) -> Result<Rule, Error> {
        let Write { name, kind, path, role, rate, interval, block_interval, .. } = input;
        if !matches!(kind.as_str(), "" | "rate-limit") {
            return Err(Error::invalid(format!(
                "'type' is invalid: {kind:?} is not \"rate-limit\""
            )));
        }
        if name.len() > NAME_BYTES_MAX || role.len() > NAME_BYTES_MAX {
            let text = format!("'name' and 'role' have at most {NAME_BYTES_MAX} bytes");
            return Err(Error::invalid(text));
        }
        let rate = number(&rate).filter(|rate| *rate > 0.0 && *rate <= RATE_MAX);
        let rate = rate.ok_or_else(|| Error::invalid("'rate' is invalid"))?;
        let interval = if interval.0.is_zero() { INTERVAL_MIN } else { interval.0 };
        if interval < INTERVAL_MIN || interval > INTERVAL_MAX {
            return Err(Error::invalid("'interval' is invalid: from one second to one year"));
        }
        if block_interval.0 > INTERVAL_MAX {
            return Err(Error::invalid("'block_interval' is invalid: at most one year"));
        }
        if !matches!(input.group_by.as_str(), "" | "ip") {
            return Err(Error::invalid(
                "'group_by' is invalid: other groups than \"ip\" are an enterprise-only feature",
            ));
        }
        if number(&input.secondary_rate).is_some_and(|rate| rate != 0.0) {
            return Err(Error::invalid("'secondary_rate' is invalid: leave it out with \"ip\""));
        }
        let mut rule = Rule {
            name,
            namespace_id: String::new(),
            mount_uuid: None,
            path: String::new(),
            role,
            rate,
            interval: millis(interval),
            block_interval: millis(block_interval.0),
            inheritable: input.inheritable.0,
        };
        self.place(&mut rule, &path)?;
        Ok(rule)
    }

    /// Finds the namespace and mount that a path names.
    fn place(&self, rule: &mut Rule, path: &str) -> Result<(), Error> {
        let unknown = || Error::invalid(format!("invalid mount path {path:?}"));
        let path = path.trim_start_matches('/');
        let bare = path.strip_suffix('*').unwrap_or(path);
        if path.len() > PATH_BYTES_MAX || bare.contains('*') {
            return Err(Error::invalid("'path' is invalid: a '*' can only be its last letter"));
        }
        let places = self.store.registry.places();
        let as_namespace = format!("{}/", path.trim_end_matches('/'));
        let as_namespace = if path.is_empty() { "" } else { &as_namespace };
        if let Some(place) = places.at(as_namespace) {
            rule.namespace_id.clone_from(&place.namespace.id);
            if !rule.role.is_empty() {
                return Err(Error::invalid("'role' is invalid: 'path' must name an auth mount"));
            }
            // What holds everywhere holds in all namespaces.
            rule.inheritable |= place.namespace.is_root();
            return Ok(());
        }
        let (place, rest) = places.resolve("", path).ok_or_else(unknown)?;
        let (mounted, within) = place.find(&rest).ok_or_else(unknown)?;
        if !rule.role.is_empty() && mounted.entry.class != Class::Auth {
            return Err(Error::invalid("'role' is invalid: 'path' must name an auth mount"));
        }
        if rule.inheritable {
            return Err(Error::invalid("only namespace quotas can be configured as inheritable"));
        }
        rule.namespace_id.clone_from(&place.namespace.id);
        rule.mount_uuid = Some(mounted.mount.uuid.clone());
        // `kv/*` is all of `kv/`.
        rule.path = if within == "*" { String::new() } else { within };
        Ok(())
    }
}

fn exempt(field: &str, paths: CommaList) -> Result<Vec<String>, Error> {
    let CommaList(paths) = paths;
    if paths.len() > EXEMPT_MAX || paths.iter().any(|path| path.len() > PATH_BYTES_MAX) {
        return Err(Error::invalid(format!(
            "'{field}' is invalid: at most {EXEMPT_MAX} paths of {PATH_BYTES_MAX} bytes"
        )));
    }
    Ok(paths.into_iter().map(|path| path.trim_start_matches('/').to_owned()).collect())
}

/// A number, also as text.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.to_string().parse().ok()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(number).filter(|number: &f64| number.is_finite())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for QuotaPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuotaPaths(..)")
    }
}
