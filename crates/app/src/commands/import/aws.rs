//! The login `aws`: how AWS is reached, and which users and roles log in as what.

use super::{
    Copy,
    report::Kind,
    rights::{differing, set},
};
use bailee_client::Error;
use serde_json::{Map, Value, json};

/// Settings of `config/client` that can be read and mean the same here.
const CLIENT: [&str; 10] = [
    "iam_endpoint",
    "sts_endpoint",
    "sts_region",
    "use_sts_region_from_client",
    "iam_server_id_header_value",
    "allowed_sts_header_values",
    "max_retries",
    "role_arn",
    "identity_token_audience",
    "identity_token_ttl",
];
/// What is told of who logs in. The rest of `config/identity` is of EC2.
const IDENTITY: [&str; 2] = ["iam_alias", "iam_metadata"];
/// What a role tells that is made by the server, or belongs to logins of EC2 instances.
const NOT_WRITTEN: [&str; 13] = [
    "role_id",
    "bound_iam_principal_id",
    "bound_ami_id",
    "bound_ec2_instance_id",
    "bound_iam_instance_profile_arn",
    "bound_iam_role_arn",
    "bound_region",
    "bound_subnet_id",
    "bound_vpc_id",
    "inferred_aws_region",
    "role_tag",
    "allow_instance_migration",
    "disallow_reauthentication",
];

impl Copy {
    /// A method `aws`, whose path has no `auth/`.
    pub(super) async fn aws(&mut self, path: &str, is_there: bool) -> Result<(), Error> {
        let place = format!("auth/{path}config/identity");
        let outcome = self.aws_settings(&place, &IDENTITY, is_there).await;
        self.told(place, outcome)?;
        let place = format!("auth/{path}config/client");
        let outcome = self.aws_settings(&place, &CLIENT, is_there).await;
        self.told(place, outcome)?;
        let accounts = format!("auth/{path}config/sts");
        for account in self.from.names(&accounts).await? {
            let place = format!("{accounts}/{account}");
            let outcome = self.aws_settings(&place, &["sts_role", "external_id"], is_there).await;
            self.told(place, outcome)?;
        }
        for name in self.from.names(&format!("auth/{path}roles")).await? {
            let place = format!("auth/{path}role/{name}");
            let outcome = self.aws_role(&place, is_there).await;
            self.told(place, outcome)?;
        }
        Ok(())
    }

    /// Settings of the method: some of what is at a place.
    async fn aws_settings(
        &mut self,
        place: &str,
        names: &[&str],
        is_there: bool,
    ) -> Result<(), Error> {
        let Some(settings) = self.from.fields(place).await? else { return Ok(()) };
        if settings.get("access_key").is_some_and(|key| key.as_str() != Some("")) {
            self.report.note(
                place,
                "the keys cannot be read: write access_key and secret_key, then import again for roles that need them",
            );
        }
        let settings: Map<String, Value> = settings
            .into_iter()
            .filter(|(name, value)| names.contains(&name.as_str()) && is_said(value))
            .collect();
        let here = if is_there { self.to.fields(place).await? } else { None };
        match here.filter(|here| !is_unsaid(here)) {
            Some(here) => {
                if let Some(name) = differing(&settings, &here) {
                    self.report.left(place, format!("its {name} is another"));
                }
            }
            None if self.writes && !settings.is_empty() => {
                self.to.write(place, &settings.into()).await?;
            }
            None => {}
        }
        Ok(())
    }

    async fn aws_role(&mut self, place: &str, is_there: bool) -> Result<(), Error> {
        let Some(mut role) = self.from.fields(place).await?.map(set) else { return Ok(()) };
        let infers = role.get("inferred_entity_type").is_some_and(is_said);
        if role.get("auth_type").and_then(Value::as_str) != Some("iam") || infers {
            self.report
                .note(place, "it lets in instances of EC2 by their identity, which is not here");
            return Ok(());
        }
        role.retain(|name, value| is_said(value) && !NOT_WRITTEN.contains(&name.as_str()));
        if !self.is_to_be_made(place, is_there, &role).await? {
            return Ok(());
        }
        if self.writes {
            self.to.write(place, &role.into()).await?;
        }
        self.report.copied(Kind::Role);
        Ok(())
    }
}

/// Whether it is what a server tells of `config/identity` as long as nobody wrote it.
fn is_unsaid(here: &Map<String, Value>) -> bool {
    let told =
        [("iam_alias", json!("role_id")), ("iam_metadata", json!(["account_id", "auth_type"]))];
    told.iter().all(|(name, value)| here.get(*name) == Some(value))
}

/// Whether a setting says anything.
fn is_said(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    }
}
