//! `operator generate-root`: a new root token, by enough holders of unseal keys.

use super::{
    pgp::pgp_key,
    share::{Effort, ask, count, is, text},
};
use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, Table},
    value,
};
use bailee_client::{Method, Outgoing};
use bailee_crypto::{Sensitive, random};
use clap::Args;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// Length of a one-time password where the server does not tell another.
const OTP_LENGTH: usize = 28;
/// Longest one-time password that is made.
const OTP_LENGTH_MAX: u64 = 256;

/// Makes a new root token. Enough holders of unseal keys must agree.
///
/// One of them starts it (-init) and is shown a one-time password; then each gives a key. The last
/// one is shown the token, encoded: -decode with the one-time password shows it.
#[derive(Args, Debug, Default)]
pub(crate) struct GenerateRoot {
    /// Start it.
    #[arg(long)]
    init: bool,
    /// Give it up.
    #[arg(long)]
    cancel: bool,
    /// Show how far it is.
    #[arg(long)]
    status: bool,
    /// Show the token that this encodes, with -otp; `-` reads it from standard input.
    #[arg(long, value_name = "TEXT")]
    decode: Option<String>,
    /// Show a new one-time password.
    #[arg(long)]
    generate_otp: bool,
    /// The one-time password.
    #[arg(long, value_name = "TEXT")]
    otp: Option<String>,
    /// With -init: file of a PGP key that encrypts the token, in place of a one-time password.
    #[arg(long, value_name = "FILE")]
    pgp_key: Option<String>,
    /// The nonce that starting showed. Needed with keys that are not typed at a terminal.
    #[arg(long, value_name = "UUID")]
    nonce: Option<String>,
    /// The key; asked for when absent, read from standard input when `-`.
    #[arg(value_name = "KEY")]
    arguments: Vec<String>,
}

const EFFORT: Effort<'static> = Effort {
    status: "sys/generate-root/attempt",
    update: "sys/generate-root/update",
    attempt: "Error getting root generation status",
    idle: "No root generation is in progress: start it with `operator generate-root -init`",
};

impl GenerateRoot {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        if self.generate_otp {
            let otp = new_otp(context).await?;
            return context.output.line(otp.expose());
        }
        if let Some(encoded) = &self.decode {
            return self.decode(context, encoded);
        }
        if self.cancel {
            let outgoing = Outgoing::new(Method::Delete, EFFORT.status);
            ask(context, "Error canceling root token generation", outgoing).await?;
            return context
                .output
                .line("Success! Root token generation canceled (if it was started)");
        }
        if self.init {
            return self.start(context).await;
        }
        let progress = match self.status {
            true => EFFORT.progress(context).await?,
            false => EFFORT.give(context, self.nonce.as_deref(), &self.arguments).await?,
        };
        show(context, progress)
    }

    /// Needs no server.
    fn decode(&self, context: &mut Context, encoded: &str) -> Result<(), Failure> {
        let otp = self
            .otp
            .as_deref()
            .ok_or_else(|| Failure::usage("Missing otp: use -otp to give the one-time password"))?;
        let encoded = match encoded {
            "-" => context.input.hidden("Encoded token")?,
            text => Sensitive::from(text.trim()),
        };
        let token = decoded(encoded.expose(), otp).map_err(Failure::usage)?;
        if context.output.is_table() {
            return context.output.line(&token);
        }
        context.output.document(&json!({ "token": token.as_str() }), &Order::SORTED)
    }

    async fn start(&self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.arguments)?;
        let body = match (&self.pgp_key, &self.otp) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage("-otp and -pgp-key exclude each other"));
            }
            (Some(file), None) => json!({ "pgp_key": pgp_key(file)? }),
            (None, Some(otp)) => json!({ "otp": otp }),
            (None, None) => json!({}),
        };
        let outgoing = Outgoing::new(Method::Put, EFFORT.status).json(&body);
        let started = ask(context, "Error initializing root generation", outgoing).await?;
        if !text(&started, "otp").is_empty() {
            context.output.warn(
                "A one-time password was made, see OTP below. Keep it: the token cannot be decoded\n\
                 without it.\n",
            )?;
        }
        show(context, started)
    }
}

async fn new_otp(context: &mut Context) -> Result<Sensitive<String>, Failure> {
    let status = EFFORT.progress(context).await?;
    let length = match count(&status, "otp_length").min(OTP_LENGTH_MAX) {
        0 => OTP_LENGTH,
        told => usize::try_from(told).unwrap_or(OTP_LENGTH),
    };
    Ok(Sensitive::from(random::alphanumeric(length)))
}

/// The token under its one-time password.
fn decoded(encoded: &str, otp: &str) -> Result<Zeroizing<String>, String> {
    let bytes = value::from_base64(encoded).ok_or("the encoded token is not base64")?;
    let bytes = Zeroizing::new(bytes);
    if bytes.len() != otp.len() {
        let (got, expected) = (otp.len(), bytes.len());
        return Err(format!(
            "the one-time password has {got} characters, and the token is encoded with {expected}"
        ));
    }
    let token = bytes.iter().zip(otp.bytes()).map(|(byte, mask)| byte ^ mask).collect();
    let token = String::from_utf8(token).map_err(|_| "this is not its one-time password")?;
    Ok(Zeroizing::new(token))
}

const STATUS: Order = Order {
    first: &[
        "nonce",
        "started",
        "progress",
        "required",
        "complete",
        "encoded_token",
        "encoded_root_token",
        "pgp_fingerprint",
        "otp",
        "otp_length",
    ],
    inside: &[],
};

fn show(context: &mut Context, status: Map<String, Value>) -> Result<(), Failure> {
    if !context.output.is_table() {
        return context.output.document(&Value::Object(status), &STATUS);
    }
    let progress = format!("{}/{}", count(&status, "progress"), count(&status, "required"));
    let mut table = Table::without_head(2);
    table.row(["Nonce", text(&status, "nonce")]);
    table.row(["Started", &is(&status, "started").to_string()]);
    table.row(["Progress", &progress]);
    table.row(["Complete", &is(&status, "complete").to_string()]);
    for (title, name) in
        [("PGP Fingerprint", "pgp_fingerprint"), ("Encoded Token", "encoded_token"), ("OTP", "otp")]
    {
        if !text(&status, name).is_empty() {
            table.row([title, text(&status, name)]);
        }
    }
    if count(&status, "otp_length") > 0 {
        table.row(["OTP Length", &count(&status, "otp_length").to_string()]);
    }
    context.output.table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    #[tokio::test]
    async fn a_token_is_decoded_without_a_server() {
        let (otp, token) = ("0123456789", "hvs.abcdef");
        let mixed: Vec<u8> = otp.bytes().zip(token.bytes()).map(|(a, b)| a ^ b).collect();
        let encoded = value::base64(&mixed);
        for encoded in [encoded.trim_end_matches('='), &encoded] {
            let (mut context, out, ..) = testing::context(Format::Table, Vec::new()).await;
            let decode = Some(encoded.to_owned());
            let decode =
                GenerateRoot { decode, otp: Some(otp.to_owned()), ..GenerateRoot::default() };
            decode.run(&mut context).await.unwrap();
            assert_eq!(out.text(), "hvs.abcdef\n");
        }
        assert!(decoded(&encoded, "short").is_err());
        assert!(decoded("%", otp).is_err());
    }

    #[tokio::test]
    async fn a_status_has_no_head() {
        let status = json!({"nonce": "", "started": false, "progress": 0, "required": 2, "complete": false, "otp_length": 28});
        let (mut context, out, ..) = testing::context(Format::Table, vec![(200, status)]).await;
        let generate = GenerateRoot { status: true, ..GenerateRoot::default() };
        generate.run(&mut context).await.unwrap();
        let expected = "Nonce         n/a\nStarted       false\nProgress      0/2\n\
            Complete      false\nOTP Length    28\n";
        assert_eq!(out.text(), expected);
    }
}
