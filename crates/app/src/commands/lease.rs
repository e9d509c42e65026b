//! `lease`: what was given out for a time.

use crate::{arguments, context::Context, failure::Failure, value};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Looks up, renews and revokes leases.
#[derive(Subcommand, Debug)]
pub(crate) enum Lease {
    Lookup(Lookup),
    Renew(Renew),
    Revoke(Revoke),
}

/// Shows a lease.
#[derive(Args, Debug)]
pub(crate) struct Lookup {
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "ID")]
    arguments: Vec<String>,
}

/// Renews a lease, so that what it is for lives on.
#[derive(Args, Debug)]
pub(crate) struct Renew {
    /// How long it shall last from now on; the server may give less.
    #[arg(long, value_name = "DURATION", value_parser = value::ttl)]
    increment: Option<String>,
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "ID")]
    arguments: Vec<String>,
}

/// Revokes a lease, and with it what it is for.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// Forget the leases even where revoking what they are for fails. With -prefix.
    #[arg(long)]
    force: bool,
    /// ID is a prefix: revoke all leases below it.
    #[arg(long)]
    prefix: bool,
    /// Wait until it is done.
    #[arg(long)]
    sync: bool,
    #[arg(value_name = "ID")]
    arguments: Vec<String>,
}

impl Lease {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Lease::Lookup(arguments) => arguments.run(context).await,
            Lease::Renew(arguments) => arguments.run(context).await,
            Lease::Revoke(arguments) => arguments.run(context).await,
        }
    }
}

impl Lookup {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [id] = arguments::exactly(&self.arguments)?;
        let id = id.trim();
        let body = json!({ "lease_id": id });
        let outgoing = Outgoing::new(Method::Put, "sys/leases/lookup").json(&body);
        let found = context.send(&format!("error looking up lease id {id}"), outgoing).await?;
        context.output.secret(&found, self.field.as_deref())
    }
}

impl Renew {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [id] = arguments::exactly(&self.arguments)?;
        let id = id.trim();
        let mut body = Map::from_iter([("lease_id".to_owned(), Value::from(id))]);
        if let Some(increment) = self.increment {
            body.insert("increment".to_owned(), increment.into());
        }
        let outgoing = Outgoing::new(Method::Put, "sys/leases/renew").json(&Value::Object(body));
        let renewed = context.send(&format!("Error renewing {id}"), outgoing).await?;
        context.output.secret(&renewed, self.field.as_deref())
    }
}

impl Revoke {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [id] = arguments::exactly(&self.arguments)?;
        let id = id.trim();
        if self.force && !self.prefix {
            return Err(Failure::usage("Specifying -force requires also specifying -prefix"));
        }
        let (path, body, done) = match (self.prefix, self.force) {
            (true, true) => {
                context.output.warn(
                    "Warning! What these leases are for may live on elsewhere when it cannot be revoked.",
                )?;
                let done = format!("Success! Force revoked any leases with prefix: {id}");
                (format!("sys/leases/revoke-force/{id}"), json!({}), done)
            }
            (true, false) => {
                let done = format!("Success! Revoked any leases with prefix: {id}");
                (format!("sys/leases/revoke-prefix/{id}"), json!({ "sync": self.sync }), done)
            }
            (false, _) => {
                let body = json!({ "lease_id": id, "sync": self.sync });
                let done = format!("Success! Revoked lease: {id}");
                ("sys/leases/revoke".to_owned(), body, done)
            }
        };
        let attempt = match self.prefix {
            true => format!("Error revoking leases with prefix {id}"),
            false => format!("Error revoking lease {id}"),
        };
        let answer = context.send(&attempt, Outgoing::new(Method::Put, path).json(&body)).await?;
        context.output.line(match self.sync || self.force {
            true => &done,
            false => "All revocation operations queued successfully!",
        })?;
        context.output.warnings(&answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    fn revoke(force: bool, prefix: bool, sync: bool) -> Revoke {
        Revoke { force, prefix, sync, arguments: vec!["a/b".to_owned()] }
    }

    #[tokio::test]
    async fn leases_are_revoked_one_by_one_or_below_a_prefix() {
        let answers = vec![(204, Value::Null); 3];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        revoke(false, false, true).run(&mut context).await.unwrap();
        revoke(false, true, false).run(&mut context).await.unwrap();
        revoke(true, true, false).run(&mut context).await.unwrap();
        let expected = "PUT /v1/sys/leases/revoke {\"lease_id\":\"a/b\",\"sync\":true}\n\
            PUT /v1/sys/leases/revoke-prefix/a/b {\"sync\":false}\n\
            PUT /v1/sys/leases/revoke-force/a/b {}\n";
        assert_eq!(asked.text(), expected);
        let expected = "Success! Revoked lease: a/b\n\
            All revocation operations queued successfully!\n\
            Success! Force revoked any leases with prefix: a/b\n";
        assert_eq!(out.text(), expected);
    }

    #[tokio::test]
    async fn force_is_for_prefixes_only() {
        let (mut context, ..) = testing::context(Format::Table, Vec::new()).await;
        let failure = revoke(true, false, false).run(&mut context).await.unwrap_err();
        assert_eq!(failure, Failure::usage("Specifying -force requires also specifying -prefix"));
    }

    #[tokio::test]
    async fn a_renewal_shows_the_lease() {
        let answer = json!({"lease_id": "a/b", "lease_duration": 1800, "renewable": true});
        let (mut context, out, _, asked) =
            testing::context(Format::Table, vec![(200, answer)]).await;
        let arguments = vec!["a/b".to_owned()];
        let renew = Renew { increment: Some("30m".to_owned()), field: None, arguments };
        renew.run(&mut context).await.unwrap();
        assert!(asked.text().contains(r#""increment":"30m""#), "{}", asked.text());
        assert!(out.text().contains("lease_duration     30m\n"), "{}", out.text());
    }
}
