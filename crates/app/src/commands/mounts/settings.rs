//! Flags for the settings of a mount.

use crate::value;
use clap::Args;
use serde_json::{Map, Value, json};

/// Settings that engines and methods have.
#[derive(Args, Debug, Default)]
pub(super) struct Settings {
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
    /// How long a lease lasts when nobody says.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    pub(super) default_lease_ttl: Option<String>,
    /// How long a lease may last.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    pub(super) max_lease_ttl: Option<String>,
    /// An option of the plugin; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::pair)]
    pub(super) options: Vec<(String, String)>,
    /// Whether those who may not read it see it: hidden or unauth.
    #[arg(long, value_name = "WORD")]
    pub(super) listing_visibility: Option<String>,
    /// A field of requests that audit shows as it is; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(super) audit_non_hmac_request_keys: Vec<String>,
    /// A field of answers that audit shows as it is; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(super) audit_non_hmac_response_keys: Vec<String>,
    /// A header of requests that the plugin is given; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(super) passthrough_request_headers: Vec<String>,
    /// A header that the plugin may put into answers; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(super) allowed_response_headers: Vec<String>,
    /// Version of the plugin.
    #[arg(long, value_name = "VERSION")]
    pub(super) plugin_version: Option<String>,
    /// Whether a slash at the end of a request's path is dropped.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub(super) trim_request_trailing_slashes: Option<bool>,
    /// Key that signs the plugin's identity tokens.
    #[arg(long, value_name = "NAME")]
    pub(super) identity_token_key: Option<String>,
}

/// Settings that can be given only when it is enabled.
#[derive(Args, Debug, Default)]
pub(super) struct Birth {
    /// Where, instead of at the name of its type.
    #[arg(long, value_name = "PATH")]
    pub(super) path: Option<String>,
    /// Keep it on this cluster only.
    #[arg(long)]
    pub(super) local: bool,
    /// Wrap what it stores with the seal where the seal can.
    #[arg(long)]
    pub(super) seal_wrap: bool,
    /// Let it use entropy from outside.
    #[arg(long)]
    pub(super) external_entropy_access: bool,
    /// Name of the plugin, where it is not the type.
    #[arg(long, value_name = "NAME")]
    pub(super) plugin_name: Option<String>,
    /// Never cache what it stores.
    #[arg(long)]
    pub(super) force_no_cache: bool,
}

/// Settings of secrets engines alone.
#[derive(Args, Debug, Default)]
pub(super) struct OfSecrets {
    /// Version of the kv engine: 1 or 2.
    #[arg(long, value_name = "N")]
    pub(super) version: Option<u32>,
    /// A managed key the engine may use; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(super) allowed_managed_keys: Vec<String>,
    /// Accessor of an auth method the engine may ask; may be repeated.
    #[arg(long, value_name = "ACCESSOR")]
    pub(super) delegated_auth_accessors: Vec<String>,
}

/// Settings of auth methods alone.
#[derive(Args, Debug, Default)]
pub(super) struct OfAuth {
    /// Type of the tokens it gives: default-service, default-batch, service or batch.
    #[arg(long, value_name = "TYPE")]
    pub(super) token_type: Option<String>,
    /// How many failed logins lock a user out.
    #[arg(long, value_name = "N")]
    pub(super) user_lockout_threshold: Option<u64>,
    /// How long a user stays locked out.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    pub(super) user_lockout_duration: Option<String>,
    /// After how long failed logins are forgotten.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    pub(super) user_lockout_counter_reset_duration: Option<String>,
    /// Never lock users out.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub(super) user_lockout_disable: Option<bool>,
}

impl Settings {
    /// The fields that were given, but description and options.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let texts = [
            ("default_lease_ttl", &self.default_lease_ttl),
            ("max_lease_ttl", &self.max_lease_ttl),
            ("listing_visibility", &self.listing_visibility),
            ("plugin_version", &self.plugin_version),
            ("identity_token_key", &self.identity_token_key),
        ];
        for (name, text) in texts {
            add(&mut fields, name, text.as_deref().map(Value::from));
        }
        let lists = [
            ("audit_non_hmac_request_keys", &self.audit_non_hmac_request_keys),
            ("audit_non_hmac_response_keys", &self.audit_non_hmac_response_keys),
            ("passthrough_request_headers", &self.passthrough_request_headers),
            ("allowed_response_headers", &self.allowed_response_headers),
        ];
        for (name, list) in lists {
            add(&mut fields, name, listed(list));
        }
        let trimmed = self.trim_request_trailing_slashes.map(Value::from);
        add(&mut fields, "trim_request_trailing_slashes", trimmed);
        fields
    }

    /// The options, the version of kv among them.
    pub(super) fn options(&self, version: Option<u32>) -> Map<String, Value> {
        let given = self.options.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
        let mut options: Map<String, Value> = given.collect();
        add(&mut options, "version", version.map(|version| version.to_string().into()));
        options
    }
}

impl OfSecrets {
    /// The fields that were given.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        add(&mut fields, "allowed_managed_keys", listed(&self.allowed_managed_keys));
        add(&mut fields, "delegated_auth_accessors", listed(&self.delegated_auth_accessors));
        fields
    }
}

impl OfAuth {
    /// The fields that were given.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut lockout = Map::new();
        // The API takes the number as a text.
        let threshold = self.user_lockout_threshold.map(|count| json!(count.to_string()));
        add(&mut lockout, "lockout_threshold", threshold);
        let durations = [
            ("lockout_duration", &self.user_lockout_duration),
            ("lockout_counter_reset_duration", &self.user_lockout_counter_reset_duration),
        ];
        for (name, duration) in durations {
            add(&mut lockout, name, duration.as_deref().map(Value::from));
        }
        add(&mut lockout, "lockout_disable", self.user_lockout_disable.map(Value::from));
        let mut fields = Map::new();
        add(&mut fields, "token_type", self.token_type.as_deref().map(Value::from));
        let lockout = (!lockout.is_empty()).then_some(Value::Object(lockout));
        add(&mut fields, "user_lockout_config", lockout);
        fields
    }
}

fn add(fields: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value);
    }
}

/// A list as it was given: names one by one, or several between commas.
fn listed(given: &[String]) -> Option<Value> {
    let names = given.iter().flat_map(|text| text.split(',')).map(str::trim);
    (!given.is_empty()).then(|| names.map(Value::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_sent() {
        assert_eq!(Settings::default().fields(), Map::new());
        assert_eq!(OfAuth::default().fields(), Map::new());
        let given = OfAuth {
            user_lockout_threshold: Some(3),
            user_lockout_disable: Some(false),
            ..OfAuth::default()
        };
        let expected =
            json!({"user_lockout_config": {"lockout_threshold": "3", "lockout_disable": false}});
        assert_eq!(Value::Object(given.fields()), expected);
        let names = vec!["a,b".to_owned(), "c".to_owned()];
        let given = Settings { allowed_response_headers: names, ..Settings::default() };
        assert_eq!(
            Value::Object(given.fields()),
            json!({"allowed_response_headers": ["a", "b", "c"]})
        );
    }
}
