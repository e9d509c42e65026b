//! A role: what its credentials are and may do.

use bailee_sdk::{Error, View};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(super) const TREE: &str = "role";
/// Tags that a user or session takes.
const TAGS_MAX: usize = 48;
/// The longest session that a role can have: 12 hours; of a federated user: 36 hours.
const STS_SECS_MAX: u64 = 129_600;

/// What kind of credentials a role gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CredentialType {
    IamUser,
    AssumedRole,
    FederationToken,
    SessionToken,
}

impl CredentialType {
    pub(super) fn name(self) -> &'static str {
        match self {
            CredentialType::IamUser => "iam_user",
            CredentialType::AssumedRole => "assumed_role",
            CredentialType::FederationToken => "federation_token",
            CredentialType::SessionToken => "session_token",
        }
    }

    pub(super) fn named(name: &str) -> Option<CredentialType> {
        let all = [
            CredentialType::IamUser,
            CredentialType::AssumedRole,
            CredentialType::FederationToken,
            CredentialType::SessionToken,
        ];
        all.into_iter().find(|known| known.name() == name)
    }
}

/// A role, as stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Role {
    /// More than one only for roles of the old form.
    pub(super) credential_types: Vec<CredentialType>,
    pub(super) policy_arns: Vec<String>,
    pub(super) role_arns: Vec<String>,
    /// Compact JSON; empty for none.
    pub(super) policy_document: String,
    pub(super) iam_groups: Vec<String>,
    pub(super) iam_tags: BTreeMap<String, String>,
    pub(super) session_tags: BTreeMap<String, String>,
    pub(super) external_id: String,
    pub(super) mfa_serial_number: String,
    pub(super) default_sts_secs: u64,
    pub(super) max_sts_secs: u64,
    pub(super) user_path: String,
    pub(super) permissions_boundary_arn: String,
}

impl Role {
    pub(super) async fn of(view: &View, name: &str) -> Result<Option<Role>, Error> {
        Ok(view.names(TREE).get(name).await?)
    }

    fn gives(&self, kind: CredentialType) -> bool {
        self.credential_types.contains(&kind)
    }

    /// Whether it can be stored, in the words that clients know.
    pub(super) fn check(&self) -> Result<(), Error> {
        let mut wrong: Vec<String> = Vec::new();
        if self.credential_types.is_empty() {
            wrong.push("did not supply credential_type".to_owned());
        }
        self.check_terms(&mut wrong);
        self.check_user(&mut wrong);
        self.check_sessions(&mut wrong);
        refused(&wrong)
    }

    fn check_terms(&self, wrong: &mut Vec<String>) {
        let sts = [
            CredentialType::AssumedRole,
            CredentialType::FederationToken,
            CredentialType::SessionToken,
        ];
        let only_user = !sts.iter().any(|kind| self.gives(*kind));
        let terms =
            [("default_sts_ttl", self.default_sts_secs), ("max_sts_ttl", self.max_sts_secs)];
        for (field, secs) in terms {
            if secs > 0 && only_user {
                wrong.push(format!(
                    "{field} parameter only valid for assumed_role, federation_token, and \
                     session_token credential types"
                ));
            }
            if secs > STS_SECS_MAX {
                wrong.push(format!("{field} must be at most {STS_SECS_MAX} seconds"));
            }
        }
        if self.max_sts_secs > 0 && self.default_sts_secs > self.max_sts_secs {
            let text =
                "\"default_sts_ttl\" value must be less than or equal to \"max_sts_ttl\" value";
            wrong.push(text.to_owned());
        }
    }

    fn check_user(&self, wrong: &mut Vec<String>) {
        let user = self.gives(CredentialType::IamUser);
        if !self.user_path.is_empty() {
            if !user {
                wrong
                    .push("user_path parameter only valid for iam_user credential type".to_owned());
            }
            if !is_path(&self.user_path) {
                let pattern = r"^\/([\x21-\x7F]{0,510}\/)?$";
                wrong.push(format!(
                    "the specified value for user_path is invalid. It must match {pattern:?} regexp"
                ));
            }
        }
        let boundary = &self.permissions_boundary_arn;
        if !boundary.is_empty() {
            if !user {
                let text =
                    "cannot supply permissions_boundary_arn when credential_type isn't iam_user";
                wrong.push(text.to_owned());
            }
            check_arn("permissions_boundary_arn", boundary, wrong);
        }
        self.policy_arns.iter().for_each(|arn| check_arn("policy_arns", arn, wrong));
        for group in &self.iam_groups {
            let fits = (1..=128).contains(&group.len());
            if !fits || !group.chars().all(super::user_name::is_permitted) {
                wrong.push(format!("iam_groups: {group:?} is not a name of a group"));
            }
        }
        check_tags("iam_tags", &self.iam_tags, wrong);
    }

    fn check_sessions(&self, wrong: &mut Vec<String>) {
        let assumed = self.gives(CredentialType::AssumedRole);
        let has_policy = !self.policy_document.is_empty() || !self.policy_arns.is_empty();
        if has_policy && self.gives(CredentialType::SessionToken) {
            let text =
                "cannot supply a policy or policy ARNs when using credential_type session_token";
            wrong.push(text.to_owned());
        }
        let fields = [
            ("role_arns", self.role_arns.is_empty()),
            ("external_id", self.external_id.is_empty()),
            ("session_tags", self.session_tags.is_empty()),
        ];
        for (field, absent) in fields {
            if !absent && !assumed {
                wrong
                    .push(format!("cannot supply {field} when credential_type isn't assumed_role"));
            }
        }
        if !self.mfa_serial_number.is_empty() && !self.gives(CredentialType::SessionToken) {
            let text = "cannot supply mfa_serial_number when credential_type isn't session_token";
            wrong.push(text.to_owned());
        }
        self.role_arns.iter().for_each(|arn| check_arn("role_arns", arn, wrong));
        if !self.external_id.is_empty() && !is_external_id(&self.external_id) {
            wrong.push(EXTERNAL_ID_REFUSAL.to_owned());
        }
        check_tags("session_tags", &self.session_tags, wrong);
    }

    /// Which of its credentials a request is for, by the path it came on.
    pub(super) fn chosen(&self, on_sts: bool) -> Result<CredentialType, Error> {
        let user = CredentialType::IamUser;
        let wanted = match self.credential_types.as_slice() {
            [only] => return Ok(*only),
            types if on_sts => types.iter().copied().find(|kind| *kind != user),
            types => types.iter().copied().find(|kind| *kind == user).or(types.first().copied()),
        };
        wanted.ok_or_else(|| Error::invalid("the role has no credential_type for this path"))
    }
}

/// Several errors as one text.
pub(super) fn refused(wrong: &[String]) -> Result<(), Error> {
    if wrong.is_empty() {
        return Ok(());
    }
    let count = match wrong.len() {
        1 => "1 error".to_owned(),
        several => format!("{several} errors"),
    };
    let listed: String = wrong.iter().map(|text| format!("\t* {text}\n")).collect();
    let all = format!("{count} occurred:\n{listed}\n");
    Err(Error::invalid(format!("error(s) validating supplied role data: {all:?}")))
}

pub(super) const EXTERNAL_ID_REFUSAL: &str = "external_id must have 2 to 1224 characters: letters, digits and \
                                              characters of _+=,.@:/-";

pub(super) fn is_external_id(text: &str) -> bool {
    let allowed = |c: char| super::user_name::is_permitted(c) || c == ':' || c == '/';
    (2..=1224).contains(&text.len()) && text.chars().all(allowed)
}

pub(super) fn check_arn(field: &str, arn: &str, wrong: &mut Vec<String>) {
    let parts = arn.splitn(6, ':').filter(|part| !part.chars().any(char::is_whitespace)).count();
    let fits = (20..=2048).contains(&arn.len()) && arn.is_ascii();
    if !arn.starts_with("arn:") || parts < 6 || !fits {
        wrong.push(format!("{field}: {arn:?} is not an ARN"));
    }
}

fn check_tags(field: &str, tags: &BTreeMap<String, String>, wrong: &mut Vec<String>) {
    if tags.len() > TAGS_MAX {
        wrong.push(format!("{field}: at most {TAGS_MAX} tags"));
    }
    for (key, value) in tags {
        let reserved = key.to_ascii_lowercase().starts_with("aws:") || key.starts_with("bailee:");
        let (key_length, value_length) = (key.chars().count(), value.chars().count());
        if !(1..=128).contains(&key_length) || value_length > 256 || reserved {
            wrong.push(format!(
                "{field}: {key:?} is not valid: names have 1 to 128 characters and begin neither \
                 with aws: nor with bailee:, values have up to 256"
            ));
        }
    }
}

fn is_path(path: &str) -> bool {
    let inside = path.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let closed = path == "/" || path.len() > 1 && path.ends_with('/');
    let allowed = |c: char| ('\x21'..='\x7f').contains(&c);
    closed && inside.is_some_and(|inside| inside.len() <= 510 && inside.chars().all(allowed))
}
