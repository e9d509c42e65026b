//! `role/`: which users and roles of AWS may log in, as what.

use super::{
    Aws,
    arn::{self, Kind, Pattern, Principal},
    ec2, short, upstream,
};
use crate::{
    auth::token_fields::{OldInput, TokenFields, present, with_token_fields},
    listing::ListNames,
};
use bailee_crypto::random;
use bailee_sdk::{
    Error, Names, Namespace, Reply, Request, View,
    field::{CommaList, Flag, Ttl},
};
use bailee_storage::Revision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Longest name of a role, in bytes.
pub const ROLE_NAME_BYTES_MAX: usize = 512;
/// Most bindings of a role: with `resolve_aws_unique_ids` each is a call to IAM.
pub const BINDINGS_MAX: usize = 100;

/// A role, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Role {
    /// Random: a token does not outlive the role it is of.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) bound_accounts: Vec<String>,
    pub(super) bound_principals: Vec<Bound>,
    pub(super) resolve_unique_ids: bool,
    pub(super) tokens: TokenFields,
}

/// A principal that may log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bound {
    /// As it was given; may end in `*`.
    pub(super) arn: String,
    /// What AWS gives to nobody else. `None` where the name alone counts.
    pub(super) unique_id: Option<String>,
}

/// Whom a role is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Who {
    pub(super) account: String,
    pub(super) canonical_arn: String,
    /// With the path. `None` where nobody asked IAM.
    pub(super) full_arn: Option<String>,
    pub(super) unique_id: String,
}

/// What a role says of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    /// Only the full ARN tells.
    Unknown,
    /// The name is bound, and belonged to somebody else then.
    Namesake,
    Refused,
}

impl Role {
    fn new(name: &str) -> Role {
        Role {
            id: random::uuid().to_string(),
            name: name.to_owned(),
            bound_accounts: Vec::new(),
            bound_principals: Vec::new(),
            resolve_unique_ids: true,
            tokens: TokenFields::default(),
        }
    }

    /// Whether somebody may log in. Account and principal must both be bound, where they are.
    pub(super) fn judge(&self, who: &Who) -> Verdict {
        let bound = &self.bound_accounts;
        if !bound.is_empty() && !bound.contains(&who.account) {
            return Verdict::Refused;
        }
        if self.bound_principals.is_empty() {
            return if bound.is_empty() { Verdict::Refused } else { Verdict::Admitted };
        }
        let verdicts: Vec<Verdict> =
            self.bound_principals.iter().map(|bound| bound.judge(who)).collect();
        let ranked = [Verdict::Admitted, Verdict::Unknown, Verdict::Namesake];
        ranked.into_iter().find(|verdict| verdicts.contains(verdict)).unwrap_or(Verdict::Refused)
    }

    fn check(&self) -> Result<(), Error> {
        if self.bound_accounts.is_empty() && self.bound_principals.is_empty() {
            return Err(Error::invalid(
                "at least one bound parameter should be specified on the role",
            ));
        }
        match self.bound_accounts.iter().find(|account| !arn::is_account(account)) {
            Some(bad) => Err(Error::invalid(format!(
                "bound_account_id {:?} is not the number of an account: want twelve digits",
                short(bad)
            ))),
            None => Ok(()),
        }
    }

    /// As clients see it. What belongs to EC2 is shown empty: tools look for it.
    fn shown(&self) -> Map<String, Value> {
        let arns: Vec<&str> =
            self.bound_principals.iter().map(|bound| bound.arn.as_str()).collect();
        let ids: Vec<&str> =
            self.bound_principals.iter().filter_map(|bound| bound.unique_id.as_deref()).collect();
        let mut shown = Map::new();
        let fields = json!({
            "auth_type": "iam",
            "role_id": self.id,
            "bound_account_id": self.bound_accounts,
            "bound_iam_principal_arn": arns,
            "bound_iam_principal_id": ids,
            "resolve_aws_unique_ids": self.resolve_unique_ids,
            "bound_ami_id": [],
            "bound_ec2_instance_id": [],
            "bound_iam_instance_profile_arn": [],
            "bound_iam_role_arn": [],
            "bound_region": [],
            "bound_subnet_id": [],
            "bound_vpc_id": [],
            "inferred_aws_region": "",
            "inferred_entity_type": "",
            "role_tag": "",
            "allow_instance_migration": false,
            "disallow_reauthentication": false,
        });
        if let Value::Object(fields) = fields {
            shown.extend(fields);
        }
        self.tokens.show(&mut shown);
        shown
    }
}

impl Bound {
    fn judge(&self, who: &Who) -> Verdict {
        let Some(prefix) = self.arn.strip_suffix('*') else {
            return match &self.unique_id {
                Some(id) if *id == who.unique_id => Verdict::Admitted,
                Some(_) if self.names(who) => Verdict::Namesake,
                None if self.names(who) => Verdict::Admitted,
                Some(_) | None => Verdict::Refused,
            };
        };
        if let Some(full) = &who.full_arn {
            let admitted = full.starts_with(prefix);
            return if admitted { Verdict::Admitted } else { Verdict::Refused };
        }
        // `arn:aws:iam::123456789012:role/`: what the binding fixes of it, or is fixed by it.
        let end = who.canonical_arn.find('/').map_or(who.canonical_arn.len(), |slash| slash + 1);
        let kind = who.canonical_arn.get(..end).unwrap_or_default();
        if kind.starts_with(prefix) {
            Verdict::Admitted
        } else if prefix.starts_with(kind) {
            Verdict::Unknown
        } else {
            Verdict::Refused
        }
    }

    fn names(&self, who: &Who) -> bool {
        self.arn == who.canonical_arn || who.full_arn.as_ref() == Some(&self.arn)
    }
}

pub(super) fn names(view: &View) -> Names {
    view.names("role")
}

fn normal(name: &str) -> Result<String, Error> {
    if name.len() > ROLE_NAME_BYTES_MAX {
        let message = format!("field \"role\" has more than {ROLE_NAME_BYTES_MAX} bytes");
        return Err(Error::invalid(message));
    }
    Ok(name.to_lowercase())
}

/// The role of a name, and when it was last written.
pub(super) async fn find(
    view: &View,
    name: &str,
) -> Result<Option<(Role, Option<Revision>)>, Error> {
    Ok(names(view).get_at(&normal(name)?).await?)
}

/// A role to look at or to remove.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OneRole {
    /// Name of the role.
    role: String,
}

pub(super) async fn read(_: Arc<Aws>, request: Request<OneRole>) -> Result<Reply, Error> {
    let found = find(&request.view, &request.input.role).await?;
    let (role, _) = found.ok_or_else(Error::not_found)?;
    Ok(Reply::data(&role.shown()))
}

pub(super) async fn exists(_: Arc<Aws>, request: Request<OneRole>) -> Result<bool, Error> {
    Ok(find(&request.view, &request.input.role).await?.is_some())
}

pub(super) async fn delete(_: Arc<Aws>, request: Request<OneRole>) -> Result<Reply, Error> {
    let name = normal(&request.input.role)?;
    lock(&request.view, &name).await;
    names(&request.view).delete(&name).await?;
    Ok(Reply::empty())
}

async fn lock(view: &View, name: &str) {
    view.lock(&format!("role/{}", names(view).id(name))).await;
}

with_token_fields! {
    /// A new role, or changes to one.
    pub(super) struct WriteRole {
        /// Name of the role.
        role: String,
        /// How is logged in: `iam`, which is all there is.
        #[serde(default)]
        auth_type: Option<String>,
        /// Users and roles that may log in; a `*` may stand at the end.
        #[serde(default, deserialize_with = "present")]
        bound_iam_principal_arn: Option<CommaList>,
        /// Accounts whose users and roles may log in; beside `bound_iam_principal_arn` both must hold.
        #[serde(default, deserialize_with = "present")]
        bound_account_id: Option<CommaList>,
        /// Whether a bound user or role is kept by what AWS gives to nobody else, so that a later one of
        /// the same name is not let in. Cannot be taken back.
        #[serde(default)]
        resolve_aws_unique_ids: Option<Flag>,
        /// Older name of `token_policies`.
        #[serde(default, deserialize_with = "present")]
        policies: Option<CommaList>,
        /// Older name of `token_ttl`.
        #[serde(default, deserialize_with = "present")]
        ttl: Option<Ttl>,
        /// Older name of `token_max_ttl`.
        #[serde(default, deserialize_with = "present")]
        max_ttl: Option<Ttl>,
        /// Older name of `token_period`.
        #[serde(default, deserialize_with = "present")]
        period: Option<Ttl>,
        /// Not supported: for EC2 instances.
        #[serde(default, deserialize_with = "present")]
        bound_ami_id: Option<CommaList>,
        /// Not supported: for EC2 instances.
        #[serde(default, deserialize_with = "present")]
        bound_ec2_instance_id: Option<CommaList>,
        /// Not supported: for EC2 instances.
        #[serde(default, deserialize_with = "present")]
        bound_iam_instance_profile_arn: Option<CommaList>,
        /// Not supported: for EC2 instances.
        #[serde(default, deserialize_with = "present")]
        bound_iam_role_arn: Option<CommaList>,
        /// Not supported: for EC2 instances.
        #[serde(default, deserialize_with = "present")]
        bound_region: Option<CommaList>,
        /// Not supported: for EC2 instances.
        #[serde(default, deserialize_with = "present")]
        bound_subnet_id: Option<CommaList>,
        /// Not supported: for EC2 instances.
        #[serde(default, deserialize_with = "present")]
        bound_vpc_id: Option<CommaList>,
        /// Not supported: for EC2 instances.
        #[serde(default)]
        inferred_aws_region: Option<String>,
        /// Not supported: for EC2 instances.
        #[serde(default)]
        inferred_entity_type: Option<String>,
        /// Not supported: for EC2 instances.
        #[serde(default)]
        role_tag: Option<String>,
        /// Not supported: for EC2 instances.
        #[serde(default)]
        allow_instance_migration: Option<Flag>,
        /// Not supported: for EC2 instances.
        #[serde(default)]
        disallow_reauthentication: Option<Flag>,
    }
}

impl WriteRole {
    /// Refuses what is for EC2; clients that know all fields send those they do not use empty.
    fn check_kind(&self) -> Result<(), Error> {
        match self.auth_type.as_deref() {
            None | Some("" | "iam") => {}
            Some("ec2") => return Err(ec2::refusal("auth_type \"ec2\"")),
            Some(other) => {
                return Err(Error::invalid(format!("unrecognized auth_type: {:?}", short(other))));
            }
        }
        let list = |list: &Option<CommaList>| list.as_ref().is_some_and(|list| !list.0.is_empty());
        let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let flag = |flag: &Option<Flag>| flag.is_some_and(|flag| flag.0);
        let set = [
            ("bound_ami_id", list(&self.bound_ami_id)),
            ("bound_ec2_instance_id", list(&self.bound_ec2_instance_id)),
            ("bound_iam_instance_profile_arn", list(&self.bound_iam_instance_profile_arn)),
            ("bound_iam_role_arn", list(&self.bound_iam_role_arn)),
            ("bound_region", list(&self.bound_region)),
            ("bound_subnet_id", list(&self.bound_subnet_id)),
            ("bound_vpc_id", list(&self.bound_vpc_id)),
            ("inferred_aws_region", text(&self.inferred_aws_region)),
            ("inferred_entity_type", text(&self.inferred_entity_type)),
            ("role_tag", text(&self.role_tag)),
            ("allow_instance_migration", flag(&self.allow_instance_migration)),
            ("disallow_reauthentication", flag(&self.disallow_reauthentication)),
        ];
        match set.iter().find(|(_, set)| *set) {
            Some((field, _)) => Err(ec2::refusal(&format!("field {field:?}"))),
            None => Ok(()),
        }
    }
}

pub(super) async fn write(aws: Arc<Aws>, request: Request<WriteRole>) -> Result<Reply, Error> {
    let (mut input, request) = request.take_input();
    let view = &request.view;
    let name = normal(&input.role)?;
    input.check_kind()?;
    lock(view, &name).await;
    let found = find(view, &name).await?.map(|(role, _)| role);
    let resolved_before = found.as_ref().is_some_and(|role| role.resolve_unique_ids);
    let mut role = found.unwrap_or_else(|| Role::new(&name));
    if let Some(Flag(resolve)) = input.resolve_aws_unique_ids {
        if resolved_before && !resolve {
            return Err(Error::invalid(
                "changing resolve_aws_unique_ids from true to false is not allowed",
            ));
        }
        role.resolve_unique_ids = resolve;
    }
    if let Some(CommaList(accounts)) = input.bound_account_id.take() {
        role.bound_accounts = accounts;
    }
    let arns = match input.bound_iam_principal_arn.take() {
        Some(CommaList(arns)) => Some(arns),
        None if role.resolve_unique_ids && !resolved_before => {
            Some(role.bound_principals.iter().map(|bound| bound.arn.clone()).collect())
        }
        None => None,
    };
    let tokens = input.take_token_fields();
    let old = OldInput {
        policies: input.policies,
        ttl: input.ttl,
        max_ttl: input.max_ttl,
        period: input.period,
        bound_cidrs: None,
    };
    role.tokens.apply(tokens, old)?;
    if let Some(arns) = arns {
        role.bound_principals =
            arns.into_iter().map(|arn| Bound { arn, unique_id: None }).collect();
        role.check()?;
        bind(&aws, view, &request.namespace, &mut role).await?;
    }
    role.check()?;
    names(view).put(&name, &role).await?;
    Ok(warned(&role))
}

/// Reads the bindings, and asks IAM who they are where that is wanted.
async fn bind(aws: &Aws, view: &View, namespace: &Namespace, role: &mut Role) -> Result<(), Error> {
    if role.bound_principals.len() > BINDINGS_MAX {
        let message = format!("bound_iam_principal_arn: at most {BINDINGS_MAX} can be named");
        return Err(Error::invalid(message));
    }
    for bound in &mut role.bound_principals {
        let Pattern::One(principal) = Pattern::parse(&bound.arn)? else { continue };
        if role.resolve_unique_ids {
            let known = upstream::look_up(aws, view, namespace, &principal).await?;
            bound.unique_id = Some(known.unique_id);
        }
    }
    Ok(())
}

/// A role whose path nobody asks for is never found under it.
fn warned(role: &Role) -> Reply {
    let unreachable = role.bound_principals.iter().find(|bound| {
        let principal = Principal::parse(&bound.arn).ok();
        bound.unique_id.is_none()
            && principal.is_some_and(|it| it.kind == Kind::Role && !it.path.is_empty())
    });
    match unreachable {
        Some(bound) => Reply::empty().warn(format!(
            "bound_iam_principal_arn {:?} has a path, which AWS does not tell at login: bind it without \
             the path, or with resolve_aws_unique_ids",
            bound.arn
        )),
        None => Reply::empty(),
    }
}

pub(super) async fn list(_: Arc<Aws>, request: Request<ListNames>) -> Result<Reply, Error> {
    request.input.of(&names(&request.view)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANONICAL: &str = "arn:aws:iam::123456789012:role/dev";

    fn who(full: Option<&str>) -> Who {
        Who {
            account: "123456789012".to_owned(),
            canonical_arn: CANONICAL.to_owned(),
            full_arn: full.map(str::to_owned),
            unique_id: "AROADEV".to_owned(),
        }
    }

    fn bound(arn: &str, id: Option<&str>) -> Bound {
        Bound { arn: arn.to_owned(), unique_id: id.map(str::to_owned) }
    }

    #[test]
    fn a_later_namesake_is_not_the_one_that_was_bound() {
        assert_eq!(bound(CANONICAL, Some("AROADEV")).judge(&who(None)), Verdict::Admitted);
        assert_eq!(bound(CANONICAL, Some("AROAOLD")).judge(&who(None)), Verdict::Namesake);
        assert_eq!(bound(CANONICAL, None).judge(&who(None)), Verdict::Admitted);
        let other = bound("arn:aws:iam::123456789012:role/Dev", None);
        assert_eq!(other.judge(&who(None)), Verdict::Refused, "case counts");
    }

    #[test]
    fn a_pattern_below_the_kind_needs_the_path_of_the_role() {
        let team = bound("arn:aws:iam::123456789012:role/team/*", None);
        let same_name = bound("arn:aws:iam::123456789012:role/de*", None);
        assert_eq!(team.judge(&who(None)), Verdict::Unknown);
        assert_eq!(same_name.judge(&who(None)), Verdict::Unknown, "its path may be another");
        let full = who(Some("arn:aws:iam::123456789012:role/team/dev"));
        assert_eq!(team.judge(&full), Verdict::Admitted);
        assert_eq!(same_name.judge(&full), Verdict::Refused);
        for all in ["arn:aws:iam::123456789012:*", "arn:aws:iam::123456789012:role/*"] {
            assert_eq!(bound(all, None).judge(&who(None)), Verdict::Admitted, "{all}");
        }
        for other in ["arn:aws:iam::123456789012:user/*", "arn:aws:iam::210987654321:*"] {
            assert_eq!(bound(other, None).judge(&who(None)), Verdict::Refused, "{other}");
            assert_eq!(bound(other, None).judge(&full), Verdict::Refused, "{other}");
        }
    }

    #[test]
    fn account_and_principal_must_both_be_bound() {
        let mut role = Role::new("r");
        assert_eq!(role.judge(&who(None)), Verdict::Refused, "nothing is bound");
        role.bound_accounts = vec!["123456789012".to_owned()];
        assert_eq!(role.judge(&who(None)), Verdict::Admitted);
        role.bound_principals = vec![bound("arn:aws:iam::123456789012:role/other", None)];
        assert_eq!(role.judge(&who(None)), Verdict::Refused);
        role.bound_principals.push(bound(CANONICAL, None));
        assert_eq!(role.judge(&who(None)), Verdict::Admitted);
        role.bound_accounts = vec!["210987654321".to_owned()];
        assert_eq!(role.judge(&who(None)), Verdict::Refused);
    }

    /// What storage holds since the first release. A new form is added beside it, never instead.
    #[test]
    fn what_is_stored_keeps_its_form() {
        let stored = json!({
            "id": "5a3c0b86-0000-4000-8000-000000000001", "name": "dev",
            "bound_accounts": ["123456789012"],
            "bound_principals": [{"arn": CANONICAL, "unique_id": "AROADEV"}],
            "resolve_unique_ids": true,
            "tokens": serde_json::to_value(TokenFields::default()).unwrap(),
        });
        let role: Role = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&role).unwrap(), stored);
    }
}
