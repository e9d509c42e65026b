//! The fields about tokens that the roles and users of all auth methods have in common.

use bailee_sdk::{
    Error, Login, TokenType, cidr,
    field::{CommaList, Flag, Integer, Ttl},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, time::Duration};

/// Blocks of addresses that one field may name: each login goes through all of them.
const BLOCKS_MAX: usize = 1000;

/// Refuses more blocks of addresses than are looked through.
pub(super) fn check_count(blocks: &[String]) -> Result<(), Error> {
    if blocks.len() > BLOCKS_MAX {
        return Err(Error::invalid(format!("at most {BLOCKS_MAX} CIDR blocks can be named")));
    }
    Ok(())
}

/// What the tokens of a role or user are like, as stored. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TokenFields {
    /// 0 for the mount's default.
    pub(super) ttl: u64,
    /// 0 for the mount's maximum.
    pub(super) max_ttl: u64,
    /// 0 for none.
    pub(super) explicit_max_ttl: u64,
    /// 0 for tokens that are not periodic.
    pub(super) period: u64,
    pub(super) policies: Vec<String>,
    pub(super) bound_cidrs: Vec<String>,
    pub(super) no_default_policy: bool,
    /// 0 for no limit.
    pub(super) num_uses: u64,
    pub(super) token_type: TokenType,
    /// Fields that were last set by an older name: they are shown under it as well.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) old_names: BTreeSet<String>,
}

/// Changes to [`TokenFields`]; what is left out stays.
#[derive(Default)]
pub(super) struct TokenInput {
    pub(super) ttl: Option<Ttl>,
    pub(super) max_ttl: Option<Ttl>,
    pub(super) explicit_max_ttl: Option<Ttl>,
    pub(super) period: Option<Ttl>,
    pub(super) policies: Option<CommaList>,
    pub(super) bound_cidrs: Option<CommaList>,
    pub(super) no_default_policy: Option<Flag>,
    pub(super) num_uses: Option<Integer>,
    pub(super) token_type: Option<String>,
}

/// The same by the names that some fields had before all methods shared them.
#[derive(Default)]
pub(super) struct OldInput {
    pub(super) ttl: Option<Ttl>,
    pub(super) max_ttl: Option<Ttl>,
    pub(super) period: Option<Ttl>,
    pub(super) policies: Option<CommaList>,
    pub(super) bound_cidrs: Option<CommaList>,
}

impl TokenFields {
    /// Takes changes over, or none of them.
    pub(super) fn apply(&mut self, new: TokenInput, old: OldInput) -> Result<(), Error> {
        let mut changed = self.clone();
        changed.take(new, old)?;
        changed.check()?;
        *self = changed;
        Ok(())
    }

    fn take(&mut self, new: TokenInput, old: OldInput) -> Result<(), Error> {
        let names = &mut self.old_names;
        let ttl = by_either(names, "ttl", new.ttl, old.ttl);
        let max_ttl = by_either(names, "max_ttl", new.max_ttl, old.max_ttl);
        let period = by_either(names, "period", new.period, old.period);
        let policies = by_either(names, "policies", new.policies, old.policies);
        let bound = by_either(names, "bound_cidrs", new.bound_cidrs, old.bound_cidrs);
        for (field, change) in [
            (&mut self.ttl, ttl),
            (&mut self.max_ttl, max_ttl),
            (&mut self.period, period),
            (&mut self.explicit_max_ttl, new.explicit_max_ttl),
        ] {
            if let Some(Ttl(change)) = change {
                *field = change.as_secs();
            }
        }
        if let Some(policies) = policies {
            self.policies = policies.0;
        }
        if let Some(CommaList(blocks)) = bound {
            check_count(&blocks)?;
            let blocks = cidr::parse_all(&blocks).map_err(|bad| Error::invalid(bad.to_string()))?;
            self.bound_cidrs = blocks.iter().map(ToString::to_string).collect();
        }
        if let Some(Flag(left_out)) = new.no_default_policy {
            self.no_default_policy = left_out;
        }
        if let Some(Integer(uses)) = new.num_uses {
            self.num_uses = u64::try_from(uses)
                .map_err(|_| Error::invalid("'token_num_uses' cannot be negative"))?;
        }
        if let Some(kind) = new.token_type {
            self.token_type = token_type(&kind)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if self.max_ttl > 0 && self.ttl > self.max_ttl {
            return Err(Error::invalid("'token_ttl' cannot be greater than 'token_max_ttl'"));
        }
        let batch = matches!(self.token_type, TokenType::Batch | TokenType::DefaultBatch);
        let wrong = match (batch, self.period, self.num_uses) {
            (false, ..) | (true, 0, 0) => return Ok(()),
            (true, 0, _) => "with limited use count",
            (true, ..) => "that are periodic",
        };
        Err(Error::invalid(format!(
            "'token_type' cannot be 'batch' or 'default-batch' when set to generate tokens {wrong}"
        )))
    }

    /// Adds them to what is shown of the role or user.
    pub(super) fn show(&self, shown: &mut Map<String, Value>) {
        let fields = json!({
            "token_bound_cidrs": self.bound_cidrs,
            "token_explicit_max_ttl": self.explicit_max_ttl,
            "token_max_ttl": self.max_ttl,
            "token_no_default_policy": self.no_default_policy,
            "token_num_uses": self.num_uses,
            "token_period": self.period,
            "token_policies": self.policies,
            "token_ttl": self.ttl,
            "token_type": self.token_type,
        });
        if let Value::Object(fields) = fields {
            shown.extend(fields);
        }
        for name in &self.old_names {
            if let Some(value) = self.by_old_name(name) {
                shown.insert(name.clone(), value);
            }
        }
    }

    /// The value of a field that was last set by this older name.
    pub(super) fn by_old_name(&self, name: &str) -> Option<Value> {
        if !self.old_names.contains(name) {
            return None;
        }
        match name {
            "ttl" => Some(self.ttl.into()),
            "max_ttl" => Some(self.max_ttl.into()),
            "period" => Some(self.period.into()),
            "policies" => Some(json!(self.policies)),
            "bound_cidrs" => Some(json!(self.bound_cidrs)),
            _ => None,
        }
        .filter(|value| *value != json!(0) && *value != json!([]))
    }

    /// A login with these; the method adds who it is. The kernel sees to it that the caller is where
    /// the token may be used.
    pub(super) fn login(&self) -> Login {
        Login {
            policies: self.policies.clone(),
            ttl: Duration::from_secs(self.ttl),
            max_ttl: Duration::from_secs(self.max_ttl),
            explicit_max_ttl: Duration::from_secs(self.explicit_max_ttl),
            period: Some(Duration::from_secs(self.period)).filter(|period| !period.is_zero()),
            num_uses: self.num_uses,
            renewable: true,
            no_default_policy: self.no_default_policy,
            bound_cidrs: self.bound_cidrs.clone(),
            token_type: self.token_type,
            ..Login::default()
        }
    }

    /// The policies that a token of such a login has itself, sorted.
    pub(super) fn granted(&self) -> Vec<String> {
        let own = self.policies.iter().map(|policy| policy.to_lowercase());
        let default = (!self.no_default_policy).then(|| "default".to_owned());
        own.chain(default).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// The newer name goes before the older one. A field remembers by which it was set.
fn by_either<T>(
    old_names: &mut BTreeSet<String>,
    old_name: &str,
    new: Option<T>,
    old: Option<T>,
) -> Option<T> {
    if old.is_some() {
        old_names.insert(old_name.to_owned());
    } else if new.is_some() {
        old_names.remove(old_name);
    }
    new.or(old)
}

fn token_type(text: &str) -> Result<TokenType, Error> {
    match text {
        "" | "default" => Ok(TokenType::Default),
        "default-service" => Ok(TokenType::DefaultService),
        "default-batch" => Ok(TokenType::DefaultBatch),
        "service" => Ok(TokenType::Service),
        "batch" => Ok(TokenType::Batch),
        other => Err(Error::invalid(format!("invalid 'token_type' value {other:?}"))),
    }
}

/// A field that is there, null included: null sets it back to its default.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Declares the input of a role or user: its own fields, and those that all have in common. (Serde's
/// `flatten` would lose the name of a field that is wrong.)
macro_rules! with_token_fields {
    ($(#[$about:meta])* $visibility:vis struct $name:ident { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        $visibility struct $name {
            $($own)*
            /// How long a token lasts; 0 for what the mount says.
            #[serde(default, deserialize_with = "crate::auth::token_fields::present")]
            token_ttl: Option<bailee_sdk::field::Ttl>,
            /// How long a token lasts with all renewals; 0 for what the mount says.
            #[serde(default, deserialize_with = "crate::auth::token_fields::present")]
            token_max_ttl: Option<bailee_sdk::field::Ttl>,
            /// How long a token lasts at most, even if it is periodic; 0 for no such bound.
            #[serde(default, deserialize_with = "crate::auth::token_fields::present")]
            token_explicit_max_ttl: Option<bailee_sdk::field::Ttl>,
            /// For tokens that can be renewed for ever, how long each time; 0 for others.
            #[serde(default, deserialize_with = "crate::auth::token_fields::present")]
            token_period: Option<bailee_sdk::field::Ttl>,
            /// Policies of the tokens.
            #[serde(default, deserialize_with = "crate::auth::token_fields::present")]
            token_policies: Option<bailee_sdk::field::CommaList>,
            /// Blocks of addresses from which one can log in and use the tokens; none for all.
            #[serde(default, deserialize_with = "crate::auth::token_fields::present")]
            token_bound_cidrs: Option<bailee_sdk::field::CommaList>,
            /// Whether the policy `default` is left out.
            #[serde(default, deserialize_with = "crate::auth::token_fields::present")]
            token_no_default_policy: Option<bailee_sdk::field::Flag>,
            /// Requests a token is good for; 0 for any number.
            #[serde(default, deserialize_with = "crate::auth::token_fields::present")]
            token_num_uses: Option<bailee_sdk::field::Integer>,
            /// `service`, `batch`, or what the mount says: `default-service` or `default-batch` unless
            /// it says otherwise.
            #[serde(default)]
            token_type: Option<String>,
        }

        impl $name {
            fn take_token_fields(&mut self) -> crate::auth::token_fields::TokenInput {
                crate::auth::token_fields::TokenInput {
                    ttl: self.token_ttl.take(),
                    max_ttl: self.token_max_ttl.take(),
                    explicit_max_ttl: self.token_explicit_max_ttl.take(),
                    period: self.token_period.take(),
                    policies: self.token_policies.take(),
                    bound_cidrs: self.token_bound_cidrs.take(),
                    no_default_policy: self.token_no_default_policy.take(),
                    num_uses: self.token_num_uses.take(),
                    token_type: self.token_type.take(),
                }
            }
        }
    };
}
pub(super) use with_token_fields;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Option<CommaList> {
        Some(CommaList(items.iter().map(|item| (*item).to_owned()).collect()))
    }

    fn seconds(seconds: u64) -> Option<Ttl> {
        Some(Ttl(Duration::from_secs(seconds)))
    }

    fn shown(fields: &TokenFields) -> Value {
        let mut shown = Map::new();
        fields.show(&mut shown);
        Value::Object(shown)
    }

    #[test]
    fn a_field_is_shown_by_the_older_name_while_that_set_it() {
        let mut fields = TokenFields::default();
        let old = OldInput { policies: list(&["a"]), ttl: seconds(60), ..OldInput::default() };
        fields.apply(TokenInput::default(), old).unwrap();
        let text = shown(&fields);
        assert_eq!((&text["policies"], &text["token_policies"]), (&json!(["a"]), &json!(["a"])));
        assert_eq!((&text["ttl"], &text["token_ttl"]), (&json!(60), &json!(60)));
        // The newer name goes first, and the older one then shows the same.
        let new = TokenInput { policies: list(&["b"]), ttl: seconds(30), ..TokenInput::default() };
        let old = OldInput { policies: list(&["c"]), ..OldInput::default() };
        fields.apply(new, old).unwrap();
        let text = shown(&fields);
        assert_eq!((&text["policies"], &text["token_policies"]), (&json!(["b"]), &json!(["b"])));
        assert_eq!((&text["ttl"], &text["token_ttl"]), (&Value::Null, &json!(30)));
    }

    #[test]
    fn what_does_not_go_together_is_refused_and_changes_nothing() {
        let mut fields = TokenFields::default();
        let batch = || Some("batch".to_owned());
        for (input, text) in [
            (
                TokenInput { ttl: seconds(2), max_ttl: seconds(1), ..TokenInput::default() },
                "'token_ttl' cannot be greater than 'token_max_ttl'",
            ),
            (
                TokenInput { token_type: Some("weird".to_owned()), ..TokenInput::default() },
                "invalid 'token_type' value \"weird\"",
            ),
            (
                TokenInput { num_uses: Some(Integer(-1)), ..TokenInput::default() },
                "'token_num_uses' cannot be negative",
            ),
            (
                TokenInput { token_type: batch(), period: seconds(1), ..TokenInput::default() },
                "that are periodic",
            ),
            (
                TokenInput {
                    token_type: batch(),
                    num_uses: Some(Integer(1)),
                    ..TokenInput::default()
                },
                "with limited use count",
            ),
            (TokenInput { bound_cidrs: list(&["nope"]), ..TokenInput::default() }, "nope"),
        ] {
            let error = fields.apply(input, OldInput::default()).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(fields, TokenFields::default());
        }
    }

    #[test]
    fn what_a_login_grants_is_sorted_and_in_lower_case() {
        let fields =
            TokenFields { policies: vec!["Z".into(), "a".into()], ..TokenFields::default() };
        assert_eq!(fields.granted(), ["a", "default", "z"]);
        let fields = TokenFields { no_default_policy: true, ..fields };
        assert_eq!(fields.granted(), ["a", "z"]);
    }

    /// What storage holds since the first release. A new form is added beside it, never instead.
    #[test]
    fn what_is_stored_keeps_its_form() {
        let stored = json!({
            "ttl": 1, "max_ttl": 2, "explicit_max_ttl": 3, "period": 4, "policies": ["a"],
            "bound_cidrs": ["10.0.0.0/8"], "no_default_policy": true, "num_uses": 5,
            "token_type": "default-service", "old_names": ["policies"],
        });
        let fields: TokenFields = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&fields).unwrap(), stored);
        assert_eq!(serde_json::from_str::<TokenFields>("{}").unwrap(), TokenFields::default());
    }
}
