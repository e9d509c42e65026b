//! `aws`: around credentials of AWS.

use crate::{arguments, context::Context, failure::Failure, output::Order};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};

/// Helps with engines that make credentials of AWS.
#[derive(Subcommand, Debug)]
pub(crate) enum Aws {
    RootPolicy(RootPolicy),
}

/// Shows the policy that an engine's own user needs, as JSON to be given to IAM.
///
/// It is made from the roles of the mount; without roles, or with -credential-type, from a type of
/// credentials.
#[derive(Args, Debug)]
pub(crate) struct RootPolicy {
    /// Where the engine is mounted.
    #[arg(long, value_name = "PATH", default_value = "aws")]
    mount: String,
    /// For this type: `iam_user`, `assumed_role`, `federation_token`, `session_token` or
    /// `static_role`.
    #[arg(long, value_name = "TYPE")]
    credential_type: Option<String>,
    /// How names of users begin, with a username template of your own.
    #[arg(long, value_name = "TEXT")]
    user_prefix: Option<String>,
    /// The account, to narrow the resources.
    #[arg(long, value_name = "ID")]
    account_id: Option<String>,
    /// What the key's own user needs, where the engine takes on a role for all else.
    #[arg(long)]
    user: bool,
    #[arg(hide = true)]
    arguments: Vec<String>,
}

impl Aws {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Aws::RootPolicy(arguments) => arguments.run(context).await,
        }
    }
}

impl RootPolicy {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly(&self.arguments)?;
        let path = format!("{}/root-policy", self.mount.trim_matches('/'));
        let mut outgoing = Outgoing::new(Method::Get, path.clone());
        let given = [
            ("credential_type", self.credential_type),
            ("user_prefix", self.user_prefix),
            ("account_id", self.account_id),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                outgoing = outgoing.query(name, value);
            }
        }
        let answer = context.send(&format!("Error reading {path}"), outgoing).await?;
        let which = if self.user { "user_policy" } else { "policy" };
        let policy = answer.data().and_then(|data| data.get(which)).cloned();
        let policy = policy.ok_or_else(|| {
            Failure::refused(
                "the engine takes on no role: its user needs what is shown without -user",
            )
        })?;
        if context.output.is_table() {
            let text = serde_json::to_string_pretty(&policy).unwrap_or_default();
            return context.output.line(&text);
        }
        context.output.document(&policy, &Order::SORTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use serde_json::json;

    #[tokio::test]
    async fn the_policy_is_shown_as_iam_takes_it() {
        let policy = json!({ "Version": "2012-10-17", "Statement": [] });
        let answer = json!({ "data": { "policy": policy, "policy_document": policy.to_string() } });
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(200, answer)]).await;
        let command = RootPolicy {
            mount: "cloud/aws/".to_owned(),
            credential_type: Some("iam_user".to_owned()),
            user_prefix: None,
            account_id: None,
            user: false,
            arguments: Vec::new(),
        };
        command.run(&mut context).await.unwrap();
        let path = "/v1/cloud/aws/root-policy?credential%5Ftype=iam%5Fuser";
        assert!(asked.text().contains(path), "{}", asked.text());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&out.text()).unwrap(), policy);
    }

    #[tokio::test]
    async fn the_policy_of_the_keys_user_is_shown_where_there_is_a_role() {
        let policy = json!({ "Version": "2012-10-17", "Statement": [] });
        let with = json!({ "data": { "policy": {}, "user_policy": policy } });
        let without = json!({ "data": { "policy": policy } });
        let answers = vec![(200, with), (200, without)];
        let (mut context, out, _, _) = testing::context(Format::Table, answers).await;
        let command = || RootPolicy {
            mount: "aws".to_owned(),
            credential_type: None,
            user_prefix: None,
            account_id: None,
            user: true,
            arguments: Vec::new(),
        };
        command().run(&mut context).await.unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&out.text()).unwrap(), policy);
        let failure = command().run(&mut context).await.unwrap_err();
        assert!(failure.message.contains("takes on no role"), "{failure:?}");
    }
}
