//! Whether a caller may have the token it wishes for. Pure.

use super::{NewToken, Token, kind::Kind, role::Role};
use bailee_notation::duration;
use bailee_sdk::{Error, Namespace, Sensitive, TokenType};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// Bytes of the names and values of a token's `meta` together.
const META_BYTES_MAX: usize = 64 << 10;

/// What a caller wishes for, syntax checked.
pub(crate) struct Wishes {
    pub(crate) policies: Vec<String>,
    pub(crate) ttl: Duration,
    pub(crate) explicit_max_ttl: Duration,
    pub(crate) period: Duration,
    pub(crate) num_uses: i64,
    pub(crate) display_name: String,
    pub(crate) id: Option<Sensitive<String>>,
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) no_parent: bool,
    pub(crate) no_default_policy: bool,
    pub(crate) renewable: bool,
    pub(crate) kind: String,
    pub(crate) entity_alias: String,
}

/// Under which circumstances something is wished for.
pub(crate) struct Asked<'a> {
    /// The caller's own token.
    pub(crate) parent: &'a Token,
    /// Whether the caller has sudo on the path.
    pub(crate) has_sudo: bool,
    /// Asked for on the path that makes orphans without more right.
    pub(crate) orphan: bool,
    /// The role it is made with, and its name.
    pub(crate) role: Option<&'a (String, Role)>,
    pub(crate) namespace: &'a Namespace,
    pub(crate) path: String,
    pub(crate) now: SystemTime,
}

impl Wishes {
    /// The token to be made, or why not.
    pub(crate) fn granted(self, asked: Asked<'_>) -> Result<NewToken, Error> {
        let Asked { parent, has_sudo, namespace, .. } = asked;
        let role = asked.role.map(|(_, role)| role);
        if parent.kind == Kind::Batch {
            return Err(Error::invalid("batch tokens cannot create more tokens"));
        }
        if parent.num_uses > 0 || parent.used_up {
            return Err(Error::invalid("restricted use token cannot generate child tokens"));
        }
        let kind = self.kind(role)?;
        self.check_alias(role)?;
        let meta: usize = self.meta.iter().map(|(name, value)| name.len() + value.len()).sum();
        if meta > META_BYTES_MAX {
            return Err(Error::invalid(format!(
                "'meta' has {meta} bytes, at most {META_BYTES_MAX} are kept: store less with the token"
            )));
        }
        let num_uses = u64::try_from(self.num_uses)
            .map_err(|_| Error::invalid("number of uses cannot be negative"))?;
        let needs_sudo = |what: &str| {
            if has_sudo {
                return Ok(());
            }
            Err(Error::invalid(format!("root or sudo privileges required to {what}")))
        };
        if let Some(id) = &self.id {
            needs_sudo("specify token id")?;
            check_id(id.expose())?;
        }
        let from_role = role.is_some_and(|role| role.orphan);
        if self.no_parent && !asked.orphan && !from_role {
            needs_sudo("create orphan token")?;
        }
        if !self.period.is_zero() {
            needs_sudo("create periodic token")?;
        }
        let policies = self.policies(parent, has_sudo, role, namespace)?;
        let is_root = policies.iter().any(|policy| policy == "root");
        let period = role.map(Role::period).filter(|period| !period.is_zero());
        let period = period.unwrap_or(self.period);
        let longest = role.map(Role::explicit_max_ttl).unwrap_or_default();
        let explicit_max_ttl = lower(self.explicit_max_ttl, longest);
        let eternal =
            is_root && self.ttl.is_zero() && period.is_zero() && explicit_max_ttl.is_zero();
        if eternal && parent.expires.is_some() {
            return Err(Error::invalid(
                "expiring root tokens cannot create non-expiring root tokens",
            ));
        }
        let orphan = asked.orphan || self.no_parent || from_role;
        Ok(NewToken {
            namespace: namespace.clone(),
            parent: (!orphan).then(|| parent.id.clone()),
            policies,
            display_name: display_name(&self.display_name),
            path: asked.path,
            meta: self.meta,
            ttl: self.ttl,
            explicit_max_ttl,
            period,
            num_uses: lower(num_uses, role.map_or(0, |role| role.token_num_uses)),
            renewable: self.renewable && role.is_none_or(|role| role.renewable),
            entity_id: if orphan { None } else { parent.entity_id.clone() },
            internal: None,
            id: self.id,
            limits: None,
            eternal,
            now: asked.now,
            kind,
            role: asked.role.map(|(name, _)| name.clone()),
            mount: None,
            bound_cidrs: role.map(Role::blocks).transpose()?.unwrap_or_default(),
        })
    }

    /// An alias can be named only where a role allows it.
    fn check_alias(&self, role: Option<&Role>) -> Result<(), Error> {
        let alias = self.entity_alias.to_lowercase();
        match role {
            _ if alias.is_empty() => Ok(()),
            Some(role) if role.allows_alias(&alias) => Ok(()),
            Some(_) => Err(Error::invalid("invalid 'entity_alias' value")),
            None => {
                Err(Error::invalid("'entity_alias' is only allowed in combination with token role"))
            }
        }
    }

    /// Service or batch: a role that names one has the last word.
    fn kind(&self, role: Option<&Role>) -> Result<Kind, Error> {
        let asked = match self.kind.as_str() {
            "" | "default" => None,
            "service" => Some(Kind::Service),
            "batch" => Some(Kind::Batch),
            _ => return Err(Error::invalid("invalid 'token_type' value")),
        };
        let kind = match role.map(|role| role.token_type) {
            Some(TokenType::Batch) => Kind::Batch,
            Some(TokenType::Service) => Kind::Service,
            Some(TokenType::DefaultBatch) => asked.unwrap_or(Kind::Batch),
            Some(TokenType::Default | TokenType::DefaultService) | None => {
                asked.unwrap_or_default()
            }
        };
        if kind == Kind::Service {
            return Ok(kind);
        }
        let set = [
            ("explicit_max_ttl", !self.explicit_max_ttl.is_zero()),
            ("num_uses", self.num_uses != 0),
            ("period", !self.period.is_zero()),
        ];
        if let Some((field, _)) = set.iter().find(|(_, set)| *set) {
            return Err(Error::invalid(format!("batch tokens cannot have {field:?} set")));
        }
        if clean(&self.policies).iter().any(|policy| policy == "root") {
            return Err(Error::invalid("batch tokens cannot be root tokens"));
        }
        Ok(kind)
    }

    /// The policies of the token: sorted, each once, `root` alone.
    fn policies(
        &self,
        parent: &Token,
        has_sudo: bool,
        role: Option<&Role>,
        namespace: &Namespace,
    ) -> Result<Vec<String>, Error> {
        let no_default =
            self.no_default_policy || role.is_some_and(|role| role.token_no_default_policy);
        let wished = clean(&self.policies);
        // The same name means another policy in another namespace: nothing is inherited there.
        let is_own = parent.namespace.id == namespace.id;
        let parents = if is_own { clean(&parent.policies) } else { Vec::new() };
        let parents_default = parents.iter().any(|policy| policy == "default");
        let ruled = role.filter(|role| role.rules_policies());
        let (mut policies, with_default) = if let Some(role) = ruled {
            let with_default = !no_default && !role.forbids("default");
            (of_role(role, wished, parents, with_default)?, with_default)
        } else if wished.is_empty() {
            (parents, parents_default || (has_sudo && !is_own))
        } else if has_sudo {
            (wished, true)
        } else if wished.iter().all(|policy| parents.contains(policy)) {
            (wished, parents_default)
        } else {
            return Err(Error::invalid("child policies must be subset of parent"));
        };
        if policies.iter().any(|policy| policy == "root") {
            if !namespace.is_root() {
                return Err(Error::invalid(
                    "root tokens may not be created from a non-root namespace",
                ));
            }
            if !parent.is_root() {
                return Err(Error::invalid(
                    "root tokens may not be created without parent token being root",
                ));
            }
            return Ok(vec!["root".to_owned()]);
        }
        if no_default && ruled.is_none() {
            // Asked for by name it stays.
            let asked = clean(&self.policies).iter().any(|policy| policy == "default");
            policies.retain(|policy| policy != "default" || asked);
        } else if with_default {
            policies.push("default".to_owned());
        }
        policies.sort_unstable();
        policies.dedup();
        Ok(policies)
    }
}

/// The policies of a token of a role that rules them: the caller need not have them itself.
fn of_role(
    role: &Role,
    wished: Vec<String>,
    parents: Vec<String>,
    with_default: bool,
) -> Result<Vec<String>, Error> {
    let named = with_default.then(|| "default".to_owned());
    let allowed: Vec<String> = role.allowed_policies.iter().cloned().chain(named).collect();
    let policies = if !wished.is_empty() {
        let asked_default = |policy: &String| with_default && policy == "default";
        let fits = |policy: &String| role.allows(policy) || asked_default(policy);
        if role.allows_some() && !wished.iter().all(fits) {
            return Err(Error::invalid(format!(
                "token policies ({}) must be subset of the role's allowed policies ({}) or glob \
                 policies ({})",
                quoted(&wished),
                quoted(&allowed),
                quoted(&role.allowed_policies_glob)
            )));
        }
        wished
    } else if role.allows_some() {
        allowed
    } else {
        parents
    };
    match policies.iter().find(|policy| role.forbids(policy)) {
        Some(policy) => {
            Err(Error::invalid(format!("token policy {policy:?} is disallowed by this role")))
        }
        None => Ok(policies),
    }
}

/// Names as clients are used to see lists of them.
fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", names.join(" "))
}

/// The lower of two limits, of which zero is none.
fn lower<T: Ord + Default + Copy>(one: T, other: T) -> T {
    if one == T::default() || other == T::default() { one.max(other) } else { one.min(other) }
}

/// A time span as a number or text; absent is zero.
pub(crate) fn span(field: &str, value: &Value) -> Result<Duration, Error> {
    let text = match value {
        Value::Null => return Ok(Duration::ZERO),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err(Error::invalid(format!(
                "Field validation failed: error converting input for field {field:?}: expected a \
                 duration such as 30, \"30s\" or \"1h\""
            )));
        }
    };
    match duration::parse(text.trim()) {
        Ok(span) => Ok(span),
        Err(duration::Error::Negative(_)) => {
            Err(Error::invalid(format!("{field} must be positive")))
        }
        Err(error) => Err(Error::invalid(error.to_string())),
    }
}

/// Policies as a list; a text is one name, commas included, as clients are used to here.
pub(crate) fn policies(value: &Value) -> Result<Vec<String>, Error> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(Error::invalid(
            "Field validation failed: error converting input for field \"policies\": expected \
                 a list of strings",
        )),
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// Names trimmed, in lower case, none empty.
fn clean(policies: &[String]) -> Vec<String> {
    policies
        .iter()
        .map(|policy| policy.trim().to_lowercase())
        .filter(|policy| !policy.is_empty())
        .collect()
}

fn check_id(id: &str) -> Result<(), Error> {
    for prefix in ["hvs.", "hvb.", "s.", "b."] {
        if id.starts_with(prefix) {
            return Err(Error::invalid(format!(
                "custom token ID cannot have the '{prefix}' prefix"
            )));
        }
    }
    if id.contains('.') {
        return Err(Error::invalid("custom token ID cannot have a '.' in the value"));
    }
    Ok(())
}

/// `token`, or `token-` and the name with all but letters, digits and dashes replaced.
fn display_name(wished: &str) -> String {
    if wished.is_empty() {
        return "token".to_owned();
    }
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = format!("token-{wished}").chars().map(plain).collect();
    name.strip_suffix('-').unwrap_or(&name).to_owned()
}
