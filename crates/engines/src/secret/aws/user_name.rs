//! Names of users and sessions.

use bailee_crypto::random;
use bailee_notation::template::generator::{Generator, Sources};
use bailee_sdk::Error;

/// The template that Vault has.
pub(super) const DEFAULT: &str = "{{ if (eq .Type \"STS\") }}{{ printf \"vault-%s-%s\"  (unix_time) \
                                  (random 20) | truncate 32 }}{{ else }}{{ printf \"vault-%s-%s-%s\" \
                                  (printf \"%s-%s\" (.DisplayName) (.PolicyName) | truncate 42) \
                                  (unix_time) (random 20) | truncate 64 }}{{ end }}";
/// What templates may use.
const PLACEHOLDERS: &[&str] = &["Type", "DisplayName", "PolicyName"];
/// The longest name of a user, and of the session of a role.
pub(super) const LENGTH_MAX: usize = 64;
/// The longest name of a federated user.
const FEDERATED_LENGTH_MAX: usize = 32;

/// For whom a name is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) template: &'a str,
    pub(super) display_name: &'a str,
    pub(super) role: &'a str,
    pub(super) unix_millis: u64,
    /// Whether it is a federated user's, whose names are shorter.
    pub(super) federated: bool,
}

/// Whether a template can be used; an empty one stands for the default.
pub(super) fn check(template: &str) -> Result<(), Error> {
    if template.is_empty() {
        return Ok(());
    }
    let sample = |federated| Named {
        template,
        display_name: "token",
        role: "role",
        unix_millis: 1_700_000_000_000,
        federated,
    };
    make(sample(false))?;
    make(sample(true)).map(|_| ())
}

/// A new name, in letters that IAM takes.
pub(super) fn make(named: Named<'_>) -> Result<String, Error> {
    let template = if named.template.is_empty() { DEFAULT } else { named.template };
    let wrong = |error: &dyn std::fmt::Display| {
        Error::invalid(format!("username_template cannot be used: {error}"))
    };
    let generator = Generator::parse(template, PLACEHOLDERS).map_err(|error| wrong(&error))?;
    let value = |name: &str| {
        Some(match name {
            "Type" if named.federated => "STS".to_owned(),
            "Type" => "IAM".to_owned(),
            "DisplayName" => permitted(named.display_name),
            "PolicyName" => permitted(named.role),
            _ => return None,
        })
    };
    let sources = Sources {
        value: &value,
        random: &random::alphanumeric,
        uuid: &|| random::uuid().to_string(),
        unix_millis: named.unix_millis,
    };
    let name = generator.render(&sources).map_err(|error| wrong(&error))?;
    let name = permitted(&name);
    let max = if named.federated { FEDERATED_LENGTH_MAX } else { LENGTH_MAX };
    if name.len() < 2 || name.len() > max {
        let length = name.len();
        return Err(wrong(&format!("the name has {length} characters; AWS takes 2 to {max}")));
    }
    Ok(name)
}

/// The text with `_` for everything that IAM does not take in a name.
pub(super) fn permitted(text: &str) -> String {
    text.replace(|c: char| !is_permitted(c), "_")
}

pub(super) fn is_permitted(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

/// Whether STS takes a text as the name of a session.
pub(super) fn is_session_name(name: &str) -> bool {
    (2..=LENGTH_MAX).contains(&name.len()) && name.chars().all(is_permitted)
}

/// What is said of one that STS does not take.
pub(super) fn session_name_refusal(field: &str) -> String {
    format!(
        "{field} is not valid: want 2 to {LENGTH_MAX} letters, digits and characters of _+=,.@-"
    )
}
