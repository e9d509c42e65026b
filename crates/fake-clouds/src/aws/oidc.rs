//! OpenID Connect providers that an account trusts, and the tokens they sign.

use std::collections::BTreeMap;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::FakeAws;
use super::clock::Millis;
use super::wire::Failure;

/// How far a provider's clock may be ahead.
const SKEW_MS: Millis = 5 * 60 * 1000;

/// One provider, known by its issuer.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    client_ids: Vec<String>,
    /// Its keys in the form of RFC 7517, as its address would show them.
    keys: Value,
}

/// The providers of all accounts, by ARN.
pub(crate) type Providers = BTreeMap<String, Provider>;

/// What a token says, once it is believed.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    /// The issuer without its scheme.
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) audience: String,
    pub(crate) provider: String,
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new("InvalidIdentityToken", message.into())
}

fn part(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    value.is_object().then_some(value)
}

/// Believes a token that a provider of `account` signed for one of its client ids, and that holds
/// now.
pub(crate) fn believe(
    providers: &Providers,
    account: &str,
    token: &str,
    now: Millis,
) -> Result<Claims, Failure> {
    let not_a_token = || invalid("The ID Token provided is not a valid JWT.");
    let (signed, signature) = token.rsplit_once('.').ok_or_else(not_a_token)?;
    let (header, claims) = signed.split_once('.').ok_or_else(not_a_token)?;
    let header = part(header).ok_or_else(not_a_token)?;
    let claims = part(claims).ok_or_else(not_a_token)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| not_a_token())?;
    let text = |name: &str| {
        let claim = claims.get(name).and_then(Value::as_str).filter(|claim| !claim.is_empty());
        claim.ok_or_else(|| invalid(format!("Missing a required claim: {name}")))
    };
    let number = |name: &str| {
        let claim = claims.get(name).and_then(Value::as_i64);
        claim.ok_or_else(|| invalid(format!("Missing a required claim: {name}")))
    };
    let (issuer, subject, audience) = (text("iss")?, text("sub")?, text("aud")?);
    let unknown =
        || invalid(format!("No OpenIDConnect provider found in your account for {issuer}"));
    let bare = issuer.strip_prefix("https://").ok_or_else(unknown)?;
    let arn = format!("arn:aws:iam::{account}:oidc-provider/{bare}");
    let provider = providers.get(&arn).ok_or_else(unknown)?;
    if !provider.client_ids.iter().any(|id| id == audience) {
        return Err(invalid("Incorrect token audience"));
    }
    if !provider.signed(&header, signed.as_bytes(), &signature) {
        return Err(invalid("Couldn't verify the signature of the token with the provider's keys"));
    }
    if number("exp")? * 1000 <= now {
        return Err(Failure::new(
            "ExpiredTokenException",
            "Token expired: current date/time must be before the expiration date/time",
        ));
    }
    if number("iat")? * 1000 > now + SKEW_MS {
        return Err(invalid("The token was issued in the future"));
    }
    Ok(Claims {
        issuer: bare.to_owned(),
        subject: subject.to_owned(),
        audience: audience.to_owned(),
        provider: arn,
    })
}

impl Provider {
    fn signed(&self, header: &Value, message: &[u8], signature: &[u8]) -> bool {
        let same = |key: &&Value| {
            let shared = |name: &str| key.get(name).is_some() && key.get(name) == header.get(name);
            shared("kid") && shared("alg")
        };
        let keys = self.keys.get("keys").and_then(Value::as_array);
        let key = keys.and_then(|keys| keys.iter().find(same));
        key.is_some_and(|key| verifies(key, message, signature).is_some())
    }
}

fn verifies(key: &Value, message: &[u8], signature: &[u8]) -> Option<()> {
    let number = |name: &str| URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok();
    let rsa = |parameters: &'static RsaParameters| {
        let (n, e) = (number("n")?, number("e")?);
        PublicKeyComponents { n, e }.verify(parameters, message, signature).ok()
    };
    let curve = |algorithm: &'static dyn VerificationAlgorithm| {
        let point = [vec![4], number("x")?, number("y")?].concat();
        UnparsedPublicKey::new(algorithm, point).verify(message, signature).ok()
    };
    match key.get("alg")?.as_str()? {
        "RS256" => rsa(&RSA_PKCS1_2048_8192_SHA256),
        "RS384" => rsa(&RSA_PKCS1_2048_8192_SHA384),
        "RS512" => rsa(&RSA_PKCS1_2048_8192_SHA512),
        "ES256" => curve(&ECDSA_P256_SHA256_FIXED),
        "ES384" => curve(&ECDSA_P384_SHA384_FIXED),
        _ => None,
    }
}

/// Providers of identities.
impl FakeAws {
    /// Lets the fake's account trust an issuer for these audiences. `keys` is what the issuer's
    /// `jwks_uri` shows: the fake itself calls nobody. Answers the provider's ARN; done again, the
    /// provider is replaced.
    pub fn create_oidc_provider(&self, issuer: &str, client_ids: &[&str], keys: Value) -> String {
        let bare = issuer.trim_start_matches("https://");
        let arn = format!("arn:aws:iam::{}:oidc-provider/{bare}", self.account_id());
        let client_ids = client_ids.iter().map(|id| (*id).to_owned()).collect();
        self.shared.world.lock().oidc.insert(arn.clone(), Provider { client_ids, keys });
        arn
    }
}
