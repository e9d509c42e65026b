//! `config/identity`: under which name identity knows a caller, and what is told of it.

use super::{Aws, answer::Caller};
use crate::auth::token_fields::present;
use bailee_sdk::{Error, Nothing, Reply, Request, View, field::CommaList};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// Where it is stored.
const KEY: &str = "config/identity";

const IAM_ALIASES: &[&str] = &["role_id", "unique_id", "canonical_arn", "full_arn"];
const EC2_ALIASES: &[&str] = &["role_id", "instance_id", "image_id"];
/// What is told of a caller when nobody chose.
const DEFAULT: &[&str] = &["account_id", "auth_type"];
const IAM_METADATA: &[&str] = &[
    "account_id",
    "auth_type",
    "canonical_arn",
    "client_arn",
    "client_user_id",
    "inferred_aws_region",
    "inferred_entity_id",
    "inferred_entity_type",
];
const EC2_METADATA: &[&str] = &["account_id", "ami_id", "auth_type", "instance_id", "region"];

/// The configuration, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Identity {
    iam_alias: String,
    iam_metadata: Vec<String>,
    /// Kept as given, like all of EC2.
    ec2_alias: String,
    ec2_metadata: Vec<String>,
}

impl Default for Identity {
    fn default() -> Identity {
        let default = || DEFAULT.iter().map(|name| (*name).to_owned()).collect();
        Identity {
            iam_alias: "role_id".to_owned(),
            iam_metadata: default(),
            ec2_alias: "role_id".to_owned(),
            ec2_metadata: default(),
        }
    }
}

impl Identity {
    /// The configuration of a mount.
    pub(super) async fn of(view: &View) -> Result<Identity, Error> {
        Ok(view.get(KEY).await?.unwrap_or_default())
    }

    /// The name of the alias of a caller who logs in as a role.
    pub(super) fn alias(&self, role_id: &str, caller: &Caller) -> String {
        match self.iam_alias.as_str() {
            "unique_id" => caller.unique_id.clone(),
            "canonical_arn" => caller.principal.canonical(),
            "full_arn" => caller.arn.clone(),
            _ => role_id.to_owned(),
        }
    }

    /// What is told of a caller.
    pub(super) fn metadata(&self, caller: &Caller) -> BTreeMap<String, String> {
        let told = |name: &str| match name {
            "account_id" => caller.principal.account.clone(),
            "auth_type" => "iam".to_owned(),
            "canonical_arn" => caller.principal.canonical(),
            "client_arn" => caller.arn.clone(),
            "client_user_id" => caller.unique_id.clone(),
            // Nothing is inferred.
            _ => String::new(),
        };
        self.iam_metadata.iter().map(|name| (name.clone(), told(name))).collect()
    }
}

/// Changes to the configuration; what is left out stays.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteIdentity {
    /// Under which name identity knows who logs in: `role_id` (of the role here), `unique_id` (of the
    /// user or role in AWS), `canonical_arn`, or `full_arn` (with the session).
    #[serde(default)]
    iam_alias: Option<String>,
    /// What is told of who logs in, with the token and the alias; `default` for account and method.
    #[serde(default, deserialize_with = "present")]
    iam_metadata: Option<CommaList>,
    /// Kept as given: nothing here has to do with EC2.
    #[serde(default)]
    ec2_alias: Option<String>,
    /// Kept as given, see `ec2_alias`.
    #[serde(default, deserialize_with = "present")]
    ec2_metadata: Option<CommaList>,
}

pub(super) async fn write(_: Arc<Aws>, request: Request<WriteIdentity>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    request.view.lock(KEY).await;
    let mut identity = Identity::of(&request.view).await?;
    for (field, place, given, known) in [
        ("iam_alias", &mut identity.iam_alias, input.iam_alias, IAM_ALIASES),
        ("ec2_alias", &mut identity.ec2_alias, input.ec2_alias, EC2_ALIASES),
    ] {
        let Some(alias) = given.filter(|alias| !alias.is_empty()) else { continue };
        if !known.contains(&alias.as_str()) {
            let known = known.join(" ");
            let message = format!("{field} of {alias:?} not in set of allowed values: [{known}]");
            return Err(Error::invalid(message));
        }
        *place = alias;
    }
    for (place, given, known) in [
        (&mut identity.iam_metadata, input.iam_metadata, IAM_METADATA),
        (&mut identity.ec2_metadata, input.ec2_metadata, EC2_METADATA),
    ] {
        if let Some(CommaList(names)) = given {
            *place = chosen(names, known)?;
        }
    }
    request.view.put(KEY, &identity);
    Ok(Reply::empty())
}

fn chosen(names: Vec<String>, known: &[&str]) -> Result<Vec<String>, Error> {
    if let [only] = names.as_slice()
        && only == "default"
    {
        return Ok(DEFAULT.iter().map(|name| (*name).to_owned()).collect());
    }
    if names.iter().any(|name| !known.contains(&name.as_str())) {
        return Err(Error::invalid(format!(
            "{names:?} contains an unavailable field, please select from {:?}",
            known.join(", ")
        )));
    }
    let mut names = names;
    names.sort();
    names.dedup();
    Ok(names)
}

pub(super) async fn read(_: Arc<Aws>, request: Request<Nothing>) -> Result<Reply, Error> {
    let identity = Identity::of(&request.view).await?;
    Ok(Reply::data(&json!({
        "iam_alias": identity.iam_alias,
        "iam_metadata": identity.iam_metadata,
        "ec2_alias": identity.ec2_alias,
        "ec2_metadata": identity.ec2_metadata,
    })))
}
