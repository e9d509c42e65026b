//! `sys/generate-root`: a new root token, when all others are lost.
//!
//! The token travels veiled by a one-time pad that only whoever began the operation was shown.

use super::{Gathering, Keyholders, Nothing, Share, open_path, refuse_pgp};
use crate::{event, token::NewToken};
use bailee_crypto::{Sensitive, random};
use bailee_sdk::{Error, Namespace, Operation, Path, Reply, Request};
use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine as _};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::SystemTime};
use zeroize::Zeroizing;

/// Random letters and digits of a generated token: 142 bits.
const SECRET_LETTERS: usize = 24;
/// Letters of the token, and so of its pad: `hvs.` comes first.
const OTP_LETTERS: usize = SECRET_LETTERS + 4;
/// Longest input of the decoder.
const ENCODED_BYTES_MAX: usize = 4096;

/// A root token that is being made.
pub(super) struct NewRoot {
    gathering: Gathering,
    pad: Zeroizing<Vec<u8>>,
}

#[derive(Deserialize, JsonSchema)]
struct Start {
    /// The one-time pad; made up when absent.
    #[serde(default)]
    #[schemars(with = "String")]
    otp: Option<Sensitive<String>>,
    /// A public key for which the token is encrypted.
    #[serde(default)]
    pgp_key: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Encoded {
    /// The token as the operation answered it.
    #[serde(default)]
    encoded_token: String,
    /// The one-time pad of the operation.
    #[serde(default)]
    #[schemars(with = "String")]
    otp: Option<Sensitive<String>>,
}

pub(super) fn paths(keyholders: &Arc<Keyholders>) -> Vec<Path> {
    let begin = "Begin to make a root token.";
    let cancel = "Give the making of a root token up.";
    let attempt = |pattern| {
        open_path(pattern)
            .on(Operation::Read, keyholders, "Tell how far it is.", Keyholders::root_status)
            .on(Operation::Update, keyholders, begin, Keyholders::root_start)
            .on(Operation::Delete, keyholders, cancel, Keyholders::root_cancel)
    };
    vec![
        attempt("generate-root"),
        attempt("generate-root/attempt"),
        open_path("generate-root/update").on(
            Operation::Update,
            keyholders,
            "Give one of the shares that open the storage.",
            Keyholders::root_update,
        ),
        open_path("decode-token").on(
            Operation::Update,
            keyholders,
            "Unveil a token with its one-time pad.",
            Keyholders::decode,
        ),
    ]
}

impl Keyholders {
    async fn root_status(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let work = self.work().await?;
        Ok(Reply::data(&self.root_progress(work.root.as_ref(), OTP_LETTERS)))
    }

    async fn root_start(self: Arc<Self>, request: Request<Start>) -> Result<Reply, Error> {
        let Start { otp, pgp_key } = request.input;
        refuse_pgp("pgp_key", pgp_key.is_some_and(|key| !key.is_empty()))?;
        let chosen = otp.filter(|otp| !otp.expose().is_empty());
        if chosen.as_ref().is_some_and(|otp| otp.expose().len() != OTP_LETTERS) {
            return Err(Error::invalid("OTP string is wrong length"));
        }
        let mut work = self.work().await?;
        if work.root.is_some() {
            return Err(Error::invalid("root generation already in progress"));
        }
        let (pad, made_up) = match chosen {
            Some(otp) => (otp, false),
            None => (Sensitive::new(random::alphanumeric(OTP_LETTERS)), true),
        };
        let bytes = Zeroizing::new(pad.expose().as_bytes().to_vec());
        work.root = Some(NewRoot { gathering: Gathering::new(), pad: bytes });
        let mut progress = self.root_progress(work.root.as_ref(), OTP_LETTERS);
        if let (true, Some(fields)) = (made_up, progress.as_object_mut()) {
            fields.insert("otp".to_owned(), pad.expose().as_str().into());
        }
        Ok(Reply::data(&progress))
    }

    async fn root_cancel(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        self.work().await?.root = None;
        Ok(Reply::empty())
    }

    async fn root_update(self: Arc<Self>, request: Request<Share>) -> Result<Reply, Error> {
        let share = request.input.share()?;
        let mut work = self.work().await?;
        let Some(root) = &mut work.root else {
            return Err(Error::invalid("no root generation in progress"));
        };
        root.gathering.check(request.input.nonce(), "root generation")?;
        if root.gathering.count() < self.required() {
            root.gathering.add(share, "generation")?;
        } else if !root.gathering.knows(&share) {
            // The token could not be stored: whoever gave a share before may try again.
            return Err(Error::invalid("give a share that was given before"));
        }
        if !self.prove(&mut root.gathering).await? {
            return Ok(Reply::data(&self.root_progress(work.root.as_ref(), 0)));
        }
        let token = Sensitive::new(format!("hvs.{}", random::alphanumeric(SECRET_LETTERS)));
        let view = self.barrier.view("");
        self.tokens.create(&view, root_token(request.now, Some(token.clone()))).await?;
        view.commit().await?;
        event::root_generated();
        let encoded = BASE64_STANDARD_NO_PAD.encode(veil(token.expose().as_bytes(), &root.pad));
        let mut progress = self.root_progress(work.root.as_ref(), 0);
        if let Some(fields) = progress.as_object_mut() {
            fields.insert("complete".to_owned(), true.into());
            fields.insert("encoded_token".to_owned(), encoded.as_str().into());
            fields.insert("encoded_root_token".to_owned(), encoded.into());
        }
        work.root = None;
        Ok(Reply::data(&progress))
    }

    fn root_progress(&self, root: Option<&NewRoot>, otp_length: usize) -> Value {
        json!({
            "nonce": root.map_or("", |root| root.gathering.nonce.as_str()),
            "started": root.is_some(),
            "progress": root.map_or(0, |root| root.gathering.count()),
            "required": self.required(),
            "complete": false,
            "encoded_token": "",
            "encoded_root_token": "",
            "pgp_fingerprint": "",
            "otp": "",
            "otp_length": otp_length,
        })
    }

    async fn decode(self: Arc<Self>, request: Request<Encoded>) -> Result<Reply, Error> {
        let Encoded { encoded_token, otp } = request.input;
        let otp = otp.unwrap_or_else(|| Sensitive::new(String::new()));
        if encoded_token.is_empty() || encoded_token.len() > ENCODED_BYTES_MAX {
            return Err(Error::invalid("missing encoded_token: give what the operation answered"));
        }
        if otp.expose().is_empty() {
            return Err(Error::invalid("missing otp: give the one-time pad of the operation"));
        }
        let veiled = BASE64_STANDARD_NO_PAD
            .decode(encoded_token.trim_end_matches('='))
            .map_err(|_| Error::invalid("encoded_token is not base64"))?;
        if veiled.len() != otp.expose().len() {
            return Err(Error::invalid("otp has not the length of the decoded encoded_token"));
        }
        let token = String::from_utf8(veil(&veiled, otp.expose().as_bytes()))
            .map_err(|_| Error::invalid("otp does not belong to this encoded_token"))?;
        Ok(Reply::data(&json!({ "token": token })))
    }
}

/// Veils and unveils: both are as long.
fn veil(text: &[u8], pad: &[u8]) -> Vec<u8> {
    text.iter().zip(pad).map(|(byte, pad)| byte ^ pad).collect()
}

/// What a root token is made from; `id` is its secret when it was chosen.
pub(crate) fn root_token(now: SystemTime, id: Option<Sensitive<String>>) -> NewToken {
    NewToken {
        policies: vec!["root".to_owned()],
        display_name: "root".to_owned(),
        id,
        eternal: true,
        ..NewToken::new(Namespace::root(), "auth/token/root".to_owned(), now)
    }
}
