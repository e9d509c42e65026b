//! Roles of AWS that are taken on with tokens of this server.

use super::aws::{Given, destination_with, policy};
use crate::{
    IdentityToken, LocalSource, Payload,
    destination::Destination,
    failure::{Error, Failure},
    testing::sample,
};
use async_trait::async_trait;
use bailee_crypto::signing::{Algorithm, Numbers, SigningKey};
use bailee_fake_clouds::FakeAws;
use bailee_sdk::{Mount, Mounts, Namespace, Sensitive};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::SystemTime};

const ISSUER: &str = "https://bailee.test/v1/identity/oidc/secrets-sync";
const AUDIENCE: &str = "sts.amazonaws.com";
const ACTIONS: [&str; 4] = ["CreateSecret", "UpdateSecret", "DeleteSecret", "TagResource"];

/// A server that does nothing but sign.
pub(super) struct Issuer {
    address: String,
    key: SigningKey,
    asked: Mutex<Vec<IdentityToken>>,
    fails: Mutex<Option<Error>>,
}

impl Issuer {
    fn new() -> Arc<Issuer> {
        Issuer::at(ISSUER)
    }

    pub(super) fn at(address: &str) -> Arc<Issuer> {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let address = address.to_owned();
        Arc::new(Issuer { address, key, asked: Mutex::default(), fails: Mutex::default() })
    }

    pub(super) fn keys(&self) -> Value {
        let Some(Numbers::Point { curve, x, y }) = self.key.verifying_key().numbers() else {
            panic!("a key on a curve")
        };
        let [x, y] = [x, y].map(|number| BASE64_URL_SAFE_NO_PAD.encode(number));
        json!({ "keys": [
            { "kty": "EC", "crv": curve, "alg": "ES256", "kid": "k", "x": x, "y": y },
        ] })
    }
}

#[async_trait]
impl LocalSource for Issuer {
    async fn list(
        &self,
        _name: &str,
        _namespace: &Namespace,
        _mount: &Mount,
        _folder: &str,
    ) -> Result<Vec<String>, Error> {
        unreachable!("nothing is listed")
    }

    async fn identity_token(
        &self,
        _: &Namespace,
        wanted: &IdentityToken,
    ) -> Result<Sensitive<String>, Error> {
        self.asked.lock().push(wanted.clone());
        if let Some(error) = self.fails.lock().clone() {
            return Err(error);
        }
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let claims = json!({
            "iss": self.address,
            "sub": wanted.subject,
            "aud": wanted.audience,
            "iat": now,
            "exp": now + wanted.ttl.as_secs(),
        });
        let parts = [json!({ "alg": "ES256", "kid": "k" }), claims];
        let signed = parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()).unwrap());
        Ok(Sensitive::new(format!("{signed}.{signature}")))
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        unreachable!("nothing but tokens is asked")
    }

    fn mounts(&self, _: &Namespace) -> Mounts {
        unreachable!("nothing but tokens is asked")
    }

    async fn read(
        &self,
        _: &str,
        _: &Namespace,
        _: &Mount,
        _: &str,
    ) -> Result<Option<Payload>, Error> {
        unreachable!("nothing but tokens is asked")
    }

    async fn audit(
        &self,
        _: &str,
        _: &Namespace,
        _: &str,
        _: &str,
        _: &Map<String, Value>,
    ) -> Result<(), Error> {
        unreachable!("nothing but tokens is asked")
    }
}

struct Bench {
    fake: FakeAws,
    issuer: Arc<Issuer>,
    destination: Arc<dyn Destination>,
}

/// A destination `d1` of the namespace, whose role trusts that subject.
async fn bench(namespace: Namespace, trusted: &str) -> Bench {
    let (fake, issuer) = (FakeAws::start().await, Issuer::new());
    let provider = fake.create_oidc_provider(ISSUER, &[AUDIENCE], issuer.keys());
    let bare = ISSUER.trim_start_matches("https://");
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Federated": provider },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": { "StringEquals": {
                format!("{bare}:aud"): AUDIENCE,
                format!("{bare}:sub"): trusted,
            } },
        }],
    });
    let role = fake.create_role("deliver", &trust.to_string(), &[&policy(&ACTIONS)]);
    let local: Arc<dyn LocalSource> = issuer.clone();
    let details = [
        ("region", "us-east-1"),
        ("role_arn", role.as_str()),
        ("identity_token_audience", AUDIENCE),
        ("identity_token_ttl", "10m"),
    ];
    let given = Given { name: "d1", details: &details, namespace, local: Some(local) };
    let destination = destination_with(&fake, given).await.unwrap();
    Bench { fake, issuer, destination }
}

#[tokio::test]
async fn a_destination_without_keys_delivers_as_the_role_that_trusts_it() {
    let bench = bench(Namespace::root(), "secrets-sync:root:aws-sm:d1").await;
    assert!(bench.issuer.asked.lock().is_empty(), "a token is made when it is needed");
    for number in 0..3 {
        bench.destination.put(&sample(&format!("vault/{number}"))).await.unwrap();
    }
    let checked = bench.destination.check().await.unwrap();
    assert!(checked.identity["arn"].contains("assumed-role/deliver/"), "{checked:?}");
    let asked = bench.issuer.asked.lock().clone();
    assert_eq!(asked.len(), 1, "a session serves many calls");
    assert_eq!((asked[0].key.as_deref(), asked[0].ttl.as_secs()), (None, 600));
    let calls = bench.fake.calls();
    let (first, rest) = calls.split_first().unwrap();
    assert_eq!(first.operation, "sts:AssumeRoleWithWebIdentity");
    assert_eq!(first.access_key_id, "", "unsigned");
    assert!(rest.iter().all(|call| call.access_key_id.starts_with("ASIA")));
}

#[tokio::test]
async fn a_subject_names_the_namespace_and_another_one_is_not_trusted() {
    let team = Namespace { id: "t1".to_owned(), path: "a/team/".to_owned() };
    let there = bench(team.clone(), "secrets-sync:a/team:aws-sm:d1").await;
    there.destination.put(&sample("vault/a")).await.unwrap();
    let elsewhere = bench(team, "secrets-sync:root:aws-sm:d1").await;
    let error = elsewhere.destination.put(&sample("vault/a")).await.unwrap_err();
    assert_eq!(error.failure, Failure::Forbidden, "{error:?}");
    let permission = error.missing_permission.as_deref();
    assert_eq!(permission, Some("sts:AssumeRoleWithWebIdentity"));
    assert!(!error.uncertain, "nothing was sent to the service itself");
}

#[tokio::test]
async fn a_token_that_is_not_believed_or_not_signed_says_so() {
    let bench = bench(Namespace::root(), "secrets-sync:root:aws-sm:d1").await;
    let stranger = Issuer::new();
    bench.fake.create_oidc_provider(ISSUER, &[AUDIENCE], stranger.keys());
    let error = bench.destination.put(&sample("vault/a")).await.unwrap_err();
    assert_eq!(error.failure, Failure::Unauthenticated, "{error:?}");
    assert_eq!(error.provider_code.as_deref(), Some("InvalidIdentityToken"));
    for (fails, failure) in [
        (Error::new(Failure::Invalid, "there is no key \"k\""), Failure::Invalid),
        (Error::new(Failure::Unavailable, "storage is away"), Failure::Internal),
    ] {
        let told = fails.message.clone();
        *bench.issuer.fails.lock() = Some(fails);
        let error = bench.destination.put(&sample("vault/a")).await.unwrap_err();
        assert_eq!(error.failure, failure, "{error:?}");
        assert!(error.message.contains(&told), "{error:?}");
        assert!(!error.uncertain);
    }
    *bench.issuer.fails.lock() = None;
    bench.fake.create_oidc_provider(ISSUER, &[AUDIENCE], bench.issuer.keys());
    bench.destination.put(&sample("vault/a")).await.unwrap();
    let shown = format!("{:?} {:?}", bench.fake.calls(), bench.destination.check().await);
    assert!(!shown.contains("eyJ"), "tokens are nowhere to be seen");
}
