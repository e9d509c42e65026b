//! Names at the destination: a template's text, made legal.

use bailee_notation::template::Template;
use bailee_sdk::{Mount, Namespace};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// The value that only the names of single keys have.
const KEY: &str = "SecretKey";
/// Values a template may name, in this order; the last one with [`Granularity::SecretKey`] only.
const PLACEHOLDERS: [&str; 11] = [
    "DestinationType",
    "DestinationName",
    "NamespacePath",
    "NamespaceBaseName",
    "NamespaceID",
    "MountPath",
    "MountBaseName",
    "MountAccessor",
    "SecretPath",
    "SecretBaseName",
    KEY,
];

/// What becomes one object at a destination.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// A whole secret, as a JSON object.
    #[default]
    SecretPath,
    /// Each key of a secret.
    SecretKey,
}

impl Granularity {
    /// The word in the API.
    pub fn name(self) -> &'static str {
        match self {
            Granularity::SecretPath => "secret-path",
            Granularity::SecretKey => "secret-key",
        }
    }
}

/// Which names a destination takes, and what becomes of other characters.
#[derive(Clone, Copy, Debug)]
pub struct NameRule {
    /// Characters beside ASCII letters and digits.
    pub punctuation: &'static str,
    /// Stands for every other character.
    pub replacement: char,
    /// Longest name in characters.
    pub characters_max: usize,
}

/// What a name is made for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The destination's type.
    pub destination_type: &'a str,
    /// The destination's name.
    pub destination_name: &'a str,
    /// The namespace of the secret.
    pub namespace: &'a Namespace,
    /// The mount the secret is in.
    pub mount: &'a Mount,
    /// Path of the secret in its mount.
    pub secret: &'a str,
    /// The key of the secret, where each key is an object.
    pub key: Option<&'a str>,
}

/// The name of a secret at the destination; the error says what is wrong with the template or the
/// name it gives.
pub fn external_name(
    template: &str,
    rule: &NameRule,
    subject: &Subject<'_>,
) -> Result<String, String> {
    let name = rule.normalise(&rendered(template, subject)?);
    if name.is_empty() {
        return Err("secret name template gives an empty name".to_owned());
    }
    let characters = name.chars().count();
    if characters > rule.characters_max {
        return Err(format!(
            "secret name template gives a name of {characters} characters, the destination takes {}",
            rule.characters_max
        ));
    }
    Ok(name)
}

/// The text that a template gives, before it is made legal.
pub fn rendered(template: &str, subject: &Subject<'_>) -> Result<String, String> {
    let template = parse(template, subject.key.is_some())?;
    let values = subject.values();
    let value = |name: &str| {
        let found = PLACEHOLDERS.iter().zip(&values).find(|(known, _)| **known == name)?;
        Some(Cow::Borrowed(found.1.as_str()))
    };
    template.render(value).map_err(invalid)
}

/// Whether a template can be used at all, tried on a secret that stands for any.
pub fn check_template(
    template: &str,
    rule: &NameRule,
    granularity: Granularity,
) -> Result<(), String> {
    let namespace = Namespace { id: "abcde".to_owned(), path: "team/".to_owned() };
    let mount = Mount {
        path: "kv/".to_owned(),
        uuid: "0".to_owned(),
        accessor: "kv_12345678".to_owned(),
        kind: "kv".to_owned(),
        options: BTreeMap::new(),
    };
    let subject = Subject {
        destination_type: "type",
        destination_name: "name",
        namespace: &namespace,
        mount: &mount,
        secret: "app/secret",
        key: (granularity == Granularity::SecretKey).then_some("key"),
    };
    external_name(template, rule, &subject).map(|_| ())
}

fn parse(template: &str, with_key: bool) -> Result<Template, String> {
    let known = PLACEHOLDERS.len() - usize::from(!with_key);
    let allowed = PLACEHOLDERS.get(..known).unwrap_or(&PLACEHOLDERS);
    let template = Template::parse(template, allowed).map_err(invalid)?;
    if with_key && !template.references(KEY) {
        return Err(invalid("external name template should contain reference to the secret key"));
    }
    Ok(template)
}

fn invalid(error: impl fmt::Display) -> String {
    format!("secret name template is invalid: {error}")
}

impl Subject<'_> {
    fn values(&self) -> [String; PLACEHOLDERS.len()] {
        let namespace = self.namespace.path.trim_end_matches('/');
        let mount = self.mount.path.trim_end_matches('/');
        [
            self.destination_type,
            self.destination_name,
            namespace,
            base_name(namespace),
            &self.namespace.id,
            mount,
            base_name(mount),
            &self.mount.accessor,
            self.secret,
            base_name(self.secret),
            self.key.unwrap_or_default(),
        ]
        .map(str::to_owned)
    }
}

impl NameRule {
    pub(crate) fn normalise(&self, text: &str) -> String {
        text.chars()
            .map(|character| {
                let legal =
                    character.is_ascii_alphanumeric() || self.punctuation.contains(character);
                if legal { character } else { self.replacement }
            })
            .collect()
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: NameRule =
        NameRule { punctuation: "/_+=.@-", replacement: '-', characters_max: 40 };

    fn name(template: &str, secret: &str) -> Result<String, String> {
        let namespace = Namespace { id: "x1".to_owned(), path: "team/blue/".to_owned() };
        let mount = Mount {
            path: "apps/kv/".to_owned(),
            uuid: "u".to_owned(),
            accessor: "kv_1234".to_owned(),
            kind: "kv".to_owned(),
            options: BTreeMap::new(),
        };
        let subject = Subject {
            destination_type: "aws-sm",
            destination_name: "d1",
            namespace: &namespace,
            mount: &mount,
            secret,
            key: None,
        };
        external_name(template, &RULE, &subject)
    }

    #[test]
    fn names_of_keys_must_name_the_key() {
        let check = |template| check_template(template, &RULE, Granularity::SecretKey);
        assert_eq!(check("{{ .SecretPath }}/{{ .SecretKey | lowercase }}"), Ok(()));
        assert_eq!(check("{{ $unused := .SecretKey }}{{ .SecretBaseName }}"), Ok(()));
        let refused = check("{{ .SecretPath }}").unwrap_err();
        assert_eq!(
            refused,
            "secret name template is invalid: external name template should contain reference to \
             the secret key"
        );
    }

    #[test]
    fn default_template_names_accessor_and_path() {
        let template = "vault/{{ .MountAccessor }}/{{ .SecretPath }}";
        assert_eq!(name(template, "app/db").unwrap(), "vault/kv_1234/app/db");
    }

    #[test]
    fn every_placeholder_has_its_value() {
        for (placeholder, value) in [
            ("DestinationType", "aws-sm"),
            ("DestinationName", "d1"),
            ("NamespacePath", "team/blue"),
            ("NamespaceBaseName", "blue"),
            ("NamespaceID", "x1"),
            ("MountPath", "apps/kv"),
            ("MountBaseName", "kv"),
            ("MountAccessor", "kv_1234"),
            ("SecretPath", "app/db"),
            ("SecretBaseName", "db"),
        ] {
            assert_eq!(name(&format!("{{{{ .{placeholder} }}}}"), "app/db").unwrap(), value);
        }
    }

    #[test]
    fn illegal_characters_become_hyphens() {
        assert_eq!(name("{{ .SecretPath }}", "a b/c*d\u{e9}").unwrap(), "a-b/c-d-");
    }

    #[test]
    fn templates_that_cannot_name_anything_are_refused() {
        for template in ["{{ .SecretKey }}", "{{ .Unknown }}", "{{", "{{ now }}", ""] {
            assert!(
                check_template(template, &RULE, Granularity::SecretPath).is_err(),
                "{template}"
            );
        }
        let long = name("{{ .SecretPath }}", &"a".repeat(41)).unwrap_err();
        assert!(long.contains("41 characters"), "{long}");
    }
}
