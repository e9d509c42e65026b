//! `sys/tools`: hashes and randomness.

use super::System;
use bailee_crypto::{hash, random};
use bailee_sdk::{Error, Operation, Path, Reply, Request, field::Integer};
use base64::{DecodeError, Engine as _, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Random bytes that are given when nobody says how many.
const RANDOM_BYTES: i64 = 32;
/// Random bytes that one request gets.
const RANDOM_BYTES_MAX: i64 = 128 * 1024;

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    let hash = "Hash a value.";
    let random = "Give random bytes.";
    vec![
        Path::new("tools/hash").on(Operation::Update, system, hash, System::hash),
        Path::new("tools/hash/{urlalgorithm}").on(Operation::Update, system, hash, System::hash),
        Path::new("tools/random").on(Operation::Update, system, random, System::random),
        Path::new("tools/random/{urlbytes}").on(Operation::Update, system, random, System::random),
        Path::new("tools/random/{source}/{urlbytes}").on(
            Operation::Update,
            system,
            random,
            System::random,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
struct Hash {
    /// What is hashed, as base64.
    #[serde(default)]
    input: String,
    /// `sha2-224`, `sha2-256` (the default), `sha2-384`, `sha2-512`, or the same of `sha3`.
    #[serde(default)]
    algorithm: Option<String>,
    /// `hex` (the default) or `base64`.
    #[serde(default)]
    format: Option<String>,
    /// The algorithm in the path.
    #[serde(default)]
    urlalgorithm: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Random {
    /// How many bytes: 32, unless said otherwise.
    #[serde(default)]
    bytes: Option<Integer>,
    /// `base64` (the default) or `hex`.
    #[serde(default)]
    format: Option<String>,
    /// Where the bytes come from: `platform`.
    #[serde(default)]
    source: Option<String>,
    /// How many bytes, in the path; or the source.
    #[serde(default)]
    urlbytes: Option<String>,
}

impl System {
    async fn hash(self: Arc<Self>, request: Request<Hash>) -> Result<Reply, Error> {
        let input = request.input;
        let named = input.urlalgorithm.or(input.algorithm).unwrap_or_default();
        let name = if named.is_empty() { "sha2-256" } else { &named };
        let algorithm = hash::Algorithm::named(name)
            .ok_or_else(|| Error::invalid(format!("unsupported algorithm {name}")))?;
        let bytes = BASE64_STANDARD.decode(&input.input).map_err(|error| {
            let at = match error {
                DecodeError::InvalidByte(at, _)
                | DecodeError::InvalidLastSymbol { offset: at, .. } => at,
                _ => input.input.len(),
            };
            Error::invalid(format!(
                "unable to decode input as base64: illegal base64 data at input byte {at}"
            ))
        })?;
        let sum = encoded(&algorithm.hash(&bytes), input.format.as_deref(), "hex")?;
        Ok(Reply::data(&json!({ "sum": sum })))
    }

    async fn random(self: Arc<Self>, request: Request<Random>) -> Result<Reply, Error> {
        let input = request.input;
        let mut bytes = input.bytes.map_or(RANDOM_BYTES, |bytes| bytes.0);
        let mut source = input.source;
        match input.urlbytes {
            Some(named) if source.is_none() && is_source(&named) => source = Some(named),
            Some(count) => {
                bytes = count.parse().map_err(|_| {
                    Error::invalid(format!(
                        "error parsing url-set byte count: strconv.Atoi: parsing {count:?}: \
                         invalid syntax"
                    ))
                })?;
            }
            None => {}
        }
        match source.as_deref() {
            None | Some("" | "platform") => {}
            Some("seal" | "all") => {
                return Err(Error::invalid(
                    "the seal gives no random bytes, use the source \"platform\"",
                ));
            }
            Some(other) => {
                return Err(Error::invalid(format!(
                    "unsupported entropy source {other:?}; must be \"platform\" or \"seal\", or \
                     \"all\""
                )));
            }
        }
        if bytes < 1 {
            return Err(Error::invalid("\"bytes\" cannot be less than 1"));
        }
        if bytes > RANDOM_BYTES_MAX {
            let message = format!("\"bytes\" should be less than {RANDOM_BYTES_MAX}");
            return Err(Error::invalid(message));
        }
        let bytes = random::bytes(usize::try_from(bytes).map_err(Error::internal)?);
        let text = encoded(&bytes, input.format.as_deref(), "base64")?;
        Ok(Reply::data(&json!({ "random_bytes": text })))
    }
}

fn is_source(name: &str) -> bool {
    matches!(name, "platform" | "seal" | "all")
}

fn encoded(bytes: &[u8], format: Option<&str>, default: &str) -> Result<String, Error> {
    match format.filter(|format| !format.is_empty()).unwrap_or(default) {
        "hex" => Ok(hex::encode(bytes)),
        "base64" => Ok(BASE64_STANDARD.encode(bytes)),
        other => Err(Error::invalid(format!(
            "unsupported encoding format {other:?}; must be \"hex\" or \"base64\""
        ))),
    }
}
