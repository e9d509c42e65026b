//! `operator rekey`: new unseal keys in place of the old.

use super::{
    pgp::pgp_keys,
    share::{Effort, ask, count, is, list, text},
};
use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, Table},
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::{Map, Value, json};

/// Makes new unseal keys. Enough holders of the old ones must agree.
///
/// One of them starts it (-init); then each gives a key. The last one is shown the new keys.
#[derive(Args, Debug, Default)]
pub(crate) struct Rekey {
    /// Start it.
    #[arg(long)]
    init: bool,
    /// Give it up.
    #[arg(long)]
    cancel: bool,
    /// Show how far it is.
    #[arg(long)]
    status: bool,
    /// With -init: the new keys count only when they were verified. Alone: give a new key to verify.
    #[arg(long)]
    verify: bool,
    /// Number of keys that are made.
    #[arg(long, value_name = "N", default_value_t = 5)]
    key_shares: u32,
    /// Number of keys that are needed to unseal.
    #[arg(long, value_name = "N", default_value_t = 3)]
    key_threshold: u32,
    /// The nonce that starting showed. Needed with keys that are not typed at a terminal.
    #[arg(long, value_name = "UUID")]
    nonce: Option<String>,
    /// Files of PGP keys that encrypt the new keys, one for each, separated by commas.
    #[arg(long, value_name = "FILE,…", value_delimiter = ',')]
    pgp_keys: Vec<String>,
    /// Keep the encrypted new keys on the server, too.
    #[arg(long)]
    backup: bool,
    /// Show the kept keys.
    #[arg(long)]
    backup_retrieve: bool,
    /// Delete the kept keys.
    #[arg(long)]
    backup_delete: bool,
    /// barrier, or recovery for servers that unseal themselves.
    #[arg(long, value_name = "TARGET", default_value = "barrier", value_parser = ["barrier", "recovery"])]
    target: String,
    /// The key; asked for when absent, read from standard input when `-`.
    #[arg(value_name = "KEY")]
    arguments: Vec<String>,
}

impl Rekey {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        if self.init {
            return self.start(context).await;
        }
        let at = self.endpoint(if self.verify { "verify" } else { "init" });
        if self.cancel {
            let mut outgoing = Outgoing::new(Method::Delete, &at);
            if let Some(nonce) = &self.nonce {
                outgoing = outgoing.json(&json!({ "nonce": nonce }));
            }
            ask(context, "Error canceling rekey", outgoing).await?;
            return context.output.line("Success! Canceled rekeying (if it was started)");
        }
        if self.status {
            let outgoing = Outgoing::new(Method::Get, &at);
            let status = ask(context, "Error reading rekey status", outgoing).await?;
            return self.show_status(context, status);
        }
        let kept = match self.target.as_str() {
            "recovery" => "sys/rekey/recovery-key-backup",
            _ => "sys/rekey/backup",
        };
        if self.backup_retrieve {
            let outgoing = Outgoing::new(Method::Get, kept);
            let found = context.send("Error retrieving rekey stored keys", outgoing).await?;
            return context.output.secret(&found, None);
        }
        if self.backup_delete {
            let outgoing = Outgoing::new(Method::Delete, kept);
            context.send("Error deleting rekey stored keys", outgoing).await?;
            return context.output.line("Success! Delete backup keys (if they existed)");
        }
        self.give(context, &at).await
    }

    fn endpoint(&self, word: &str) -> String {
        match self.target.as_str() {
            "recovery" => format!("sys/rekey-recovery-key/{word}"),
            _ => format!("sys/rekey/{word}"),
        }
    }

    async fn start(&self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.arguments)?;
        let mut body = json!({
            "secret_shares": self.key_shares,
            "secret_threshold": self.key_threshold,
            "backup": self.backup,
            "require_verification": self.verify,
        });
        if let (false, Some(body)) = (self.pgp_keys.is_empty(), body.as_object_mut()) {
            body.insert("pgp_keys".to_owned(), pgp_keys(&self.pgp_keys)?.into());
        }
        let outgoing = Outgoing::new(Method::Put, self.endpoint("init")).json(&body);
        let started = ask(context, "Error initializing rekey", outgoing).await?;
        if self.pgp_keys.is_empty() {
            context.output.warn(
                "WARNING! The new keys are shown once, to whoever gives the last of the old ones. If they\n\
                 are lost then, the server cannot be unsealed any more: -verify makes them count only\n\
                 when they were given back.\n",
            )?;
        }
        self.show_status(context, started)
    }

    async fn give(&self, context: &mut Context, status: &str) -> Result<(), Failure> {
        let update = self.endpoint(if self.verify { "verify" } else { "update" });
        let effort = Effort {
            status,
            update: &update,
            attempt: "Error reading rekey status",
            idle: "No rekey is in progress: start it with `operator rekey -init`",
        };
        let given = effort.give(context, self.nonce.as_deref(), &self.arguments).await?;
        if !is(&given, "complete") {
            let progress = match given.contains_key("started") {
                true => given,
                false => effort.progress(context).await?,
            };
            return self.show_status(context, progress);
        }
        if !context.output.is_table() {
            return context.output.document(&Value::Object(given), &Order::SORTED);
        }
        if self.verify {
            return context
                .output
                .line("Success! Rekey verified: the new keys are the ones to use.");
        }
        self.show_keys(context, &given)
    }

    fn show_keys(&self, context: &mut Context, made: &Map<String, Value>) -> Result<(), Failure> {
        let prints = list(made, "pgp_fingerprints");
        for (position, key) in list(made, "keys_base64").iter().enumerate() {
            let number = position + 1;
            context.output.line(&match prints.get(position) {
                Some(print) => format!("Key {number} fingerprint: {print}; value: {key}"),
                None => format!("Key {number}: {key}"),
            })?;
        }
        context.output.line(&format!("\nOperation nonce: {}", text(made, "nonce")))?;
        if is(made, "verification_required") {
            let nonce = text(made, "verification_nonce");
            return context.output.line(&format!(
                "\nThe new keys count only when enough of them were given back with\n\
                 `operator rekey -verify`; until then the old ones do.\n\nVerification nonce: {nonce}"
            ));
        }
        context.output.line(
            "\nThe old keys are worthless now. This is the only time the new ones are shown: give\n\
             each to a different person.",
        )
    }

    fn show_status(
        &self,
        context: &mut Context,
        status: Map<String, Value>,
    ) -> Result<(), Failure> {
        if !context.output.is_table() {
            return context.output.document(&Value::Object(status), &Order::SORTED);
        }
        let mut table = Table::of_fields();
        table.row(["Nonce", text(&status, "nonce")]);
        table.row(["Started", &is(&status, "started").to_string()]);
        if is(&status, "started") {
            let (given, needed) = (count(&status, "progress"), count(&status, "required"));
            let needed = if self.verify { count(&status, "t") } else { needed };
            let title = if self.verify { "Verification Progress" } else { "Rekey Progress" };
            table.row([title, &format!("{given}/{needed}")]);
            table.row(["New Shares", &count(&status, "n").to_string()]);
            table.row(["New Threshold", &count(&status, "t").to_string()]);
            if !self.verify {
                let required = is(&status, "verification_required");
                table.row(["Verification Required", &required.to_string()]);
            }
            if !text(&status, "verification_nonce").is_empty() {
                table.row(["Verification Nonce", text(&status, "verification_nonce")]);
            }
            let prints = list(&status, "pgp_fingerprints");
            if !prints.is_empty() {
                table.row(["PGP Fingerprints", &prints.join(", ")]);
                table.row(["Backup", &is(&status, "backup").to_string()]);
            }
        }
        context.output.table(&table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, input::Input, output::Format};

    fn started() -> Value {
        json!({"nonce": "u", "started": true, "t": 2, "n": 3, "progress": 1, "required": 2, "verification_required": false})
    }

    #[tokio::test]
    async fn an_idle_status_is_two_lines() {
        let answers = vec![(200, json!({"nonce": "", "started": false}))];
        let (mut context, out, ..) = testing::context(Format::Table, answers).await;
        let rekey = Rekey { status: true, target: "barrier".to_owned(), ..Rekey::default() };
        rekey.run(&mut context).await.unwrap();
        assert!(out.text().ends_with("Nonce      n/a\nStarted    false\n"), "{}", out.text());
    }

    #[tokio::test]
    async fn a_piped_key_needs_the_nonce() {
        let (mut context, ..) = testing::context(Format::Table, vec![(200, started())]).await;
        context.input = Input::from_text("key");
        let failure = Rekey::default().run(&mut context).await.unwrap_err();
        assert_eq!(failure.exit, 1);
        assert!(failure.message.contains("-nonce"), "{failure:?}");
    }

    #[tokio::test]
    async fn the_last_key_shows_the_new_ones() {
        let made = json!({"nonce": "u", "complete": true, "keys": ["aa"], "keys_base64": ["qg=="]});
        let answers = vec![(200, started()), (200, made)];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        let nonce = Some("u".to_owned());
        let rekey = Rekey { nonce, arguments: vec!["k".to_owned()], ..Rekey::default() };
        rekey.run(&mut context).await.unwrap();
        assert!(
            asked.text().ends_with("PUT /v1/sys/rekey/update {\"key\":\"k\",\"nonce\":\"u\"}\n")
        );
        assert!(out.text().starts_with("Key 1: qg==\n\nOperation nonce: u\n"), "{}", out.text());
    }
}
