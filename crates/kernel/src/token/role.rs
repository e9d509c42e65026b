//! Roles: what may be asked of `auth/token/create/<role>`, whatever the caller's own token has.

use super::{place, store::TokenStore};
use bailee_barrier::{Names, View};
use bailee_notation::glob::matches_glob;
use bailee_sdk::{Cidr, Error, TokenType, cidr};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Names that one list shows.
pub(super) const ROLES_MAX: usize = 100_000;
/// Bytes of all lists of a role together.
const LISTS_BYTES_MAX: usize = 256 << 10;
/// Bytes of a role's name and of its path suffix.
const NAME_BYTES_MAX: usize = 512;

/// A role as it is stored. Spans are seconds. `period`, `explicit_max_ttl` and `bound_cidrs` are the
/// older names of fields: kept to be shown to who set them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Role {
    pub(crate) allowed_policies: Vec<String>,
    pub(crate) allowed_policies_glob: Vec<String>,
    pub(crate) disallowed_policies: Vec<String>,
    pub(crate) disallowed_policies_glob: Vec<String>,
    pub(crate) allowed_entity_aliases: Vec<String>,
    pub(crate) orphan: bool,
    pub(crate) renewable: bool,
    pub(crate) path_suffix: String,
    pub(crate) period: u64,
    pub(crate) explicit_max_ttl: u64,
    pub(crate) bound_cidrs: Vec<String>,
    pub(crate) token_period: u64,
    pub(crate) token_explicit_max_ttl: u64,
    pub(crate) token_bound_cidrs: Vec<String>,
    pub(crate) token_no_default_policy: bool,
    pub(crate) token_num_uses: u64,
    pub(crate) token_type: TokenType,
}

impl Default for Role {
    fn default() -> Role {
        Role {
            allowed_policies: Vec::new(),
            allowed_policies_glob: Vec::new(),
            disallowed_policies: Vec::new(),
            disallowed_policies_glob: Vec::new(),
            allowed_entity_aliases: Vec::new(),
            orphan: false,
            renewable: true,
            path_suffix: String::new(),
            period: 0,
            explicit_max_ttl: 0,
            bound_cidrs: Vec::new(),
            token_period: 0,
            token_explicit_max_ttl: 0,
            token_bound_cidrs: Vec::new(),
            token_no_default_policy: false,
            token_num_uses: 0,
            token_type: TokenType::DefaultService,
        }
    }
}

impl Role {
    /// Renewable for ever, each time for this long; zero when not periodic.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_secs(self.token_period)
    }

    /// Longest life, renewals included; zero for none.
    pub(crate) fn explicit_max_ttl(&self) -> Duration {
        Duration::from_secs(self.token_explicit_max_ttl)
    }

    /// Blocks of addresses from which its tokens can be used.
    pub(crate) fn blocks(&self) -> Result<Vec<Cidr>, Error> {
        cidr::parse_all(&self.token_bound_cidrs).map_err(Error::internal)
    }

    /// Whether it says anything about policies.
    pub(crate) fn rules_policies(&self) -> bool {
        self.allows_some() || self.forbids_some()
    }

    /// Whether it names what is allowed.
    pub(crate) fn allows_some(&self) -> bool {
        !self.allowed_policies.is_empty() || !self.allowed_policies_glob.is_empty()
    }

    fn forbids_some(&self) -> bool {
        !self.disallowed_policies.is_empty() || !self.disallowed_policies_glob.is_empty()
    }

    /// Whether a policy is among those it allows.
    pub(crate) fn allows(&self, policy: &str) -> bool {
        is_in(policy, &self.allowed_policies, &self.allowed_policies_glob)
    }

    /// Whether a policy is among those it forbids.
    pub(crate) fn forbids(&self, policy: &str) -> bool {
        is_in(policy, &self.disallowed_policies, &self.disallowed_policies_glob)
    }

    /// Whether tokens may be made for this alias, which is in lower case.
    pub(crate) fn allows_alias(&self, alias: &str) -> bool {
        self.allowed_entity_aliases.iter().any(|glob| matches_glob(&glob.to_lowercase(), alias))
    }

    /// What does not go together is refused before it is stored.
    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        if name.len() > NAME_BYTES_MAX || self.path_suffix.len() > NAME_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the role's name and 'path_suffix' have at most {NAME_BYTES_MAX} bytes each"
            )));
        }
        if !self.path_suffix.is_empty() && !is_suffix(&self.path_suffix) {
            return Err(Error::invalid(
                "given role path suffix contains invalid characters; must match \\w[\\w-.]+\\w",
            ));
        }
        for blocks in [&self.token_bound_cidrs, &self.bound_cidrs] {
            for block in blocks {
                block.parse::<Cidr>().map_err(|error| {
                    Error::invalid(format!(
                        "error parsing role fields: error parsing address {block:?}: {error}"
                    ))
                })?;
            }
        }
        if self.token_type == TokenType::Batch {
            let what = [
                (!self.orphan, "non-orphan tokens"),
                (self.token_period > 0, "periodic tokens"),
                (self.renewable, "renewable tokens"),
                (self.token_explicit_max_ttl > 0, "tokens with an explicit max TTL"),
                (self.token_num_uses > 0, "tokens with limited use count"),
            ];
            if let Some((_, what)) = what.iter().find(|(wrong, _)| *wrong) {
                return Err(Error::invalid(format!(
                    "'token_type' cannot be 'batch' when role is set to generate {what}"
                )));
            }
        }
        let bytes: usize = self.lists().into_iter().flatten().map(String::len).sum();
        if bytes > LISTS_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the lists of the role have {bytes} bytes, at most {LISTS_BYTES_MAX} are kept: use \
                 the fields that end in _glob"
            )));
        }
        Ok(())
    }

    fn lists(&self) -> [&Vec<String>; 7] {
        [
            &self.allowed_policies,
            &self.allowed_policies_glob,
            &self.disallowed_policies,
            &self.disallowed_policies_glob,
            &self.allowed_entity_aliases,
            &self.bound_cidrs,
            &self.token_bound_cidrs,
        ]
    }
}

impl TokenStore {
    /// A role of a namespace.
    pub(crate) async fn role(
        &self,
        view: &View,
        namespace_id: &str,
        name: &str,
    ) -> Result<Option<Role>, Error> {
        Ok(roles(view, namespace_id).get(name).await?)
    }

    /// Stores a role when the unit of `view` commits.
    pub(crate) async fn put_role(
        &self,
        view: &View,
        namespace_id: &str,
        name: &str,
        role: &Role,
    ) -> Result<(), Error> {
        role.check(name)?;
        Ok(roles(view, namespace_id).put(name, role).await?)
    }

    /// Removes a role when the unit of `view` commits; its tokens live on, but are not renewed.
    pub(crate) async fn delete_role(
        &self,
        view: &View,
        namespace_id: &str,
        name: &str,
    ) -> Result<(), Error> {
        roles(view, namespace_id).delete(name).await?;
        Ok(())
    }

    /// Names of the roles of a namespace, sorted, at most [`ROLES_MAX`].
    pub(crate) async fn roles(
        &self,
        view: &View,
        namespace_id: &str,
    ) -> Result<Vec<String>, Error> {
        Ok(roles(view, namespace_id).list("", "", ROLES_MAX).await?)
    }
}

/// Names are hidden at rest like all that users choose.
fn roles(view: &View, namespace_id: &str) -> Names {
    view.at(&place(namespace_id)).names("role")
}

fn is_in(policy: &str, names: &[String], globs: &[String]) -> bool {
    names.iter().any(|name| name == policy) || globs.iter().any(|glob| matches_glob(glob, policy))
}

/// Two or more letters, digits or `_`, between them also `-` and `.`.
fn is_suffix(text: &str) -> bool {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.len() > 2
        && text.starts_with(word)
        && text.ends_with(word)
        && text.chars().all(|letter| word(letter) || letter == '-' || letter == '.')
}
