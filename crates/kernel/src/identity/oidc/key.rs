//! `identity/oidc/key`: keys that sign tokens, and their rotation.

use super::{
    super::{
        ByName, IdentityPaths, Nothing,
        record::check_name,
        store::{IdentityStore, Place},
    },
    NAMED_MAX,
    role::{Role, roles},
};
use bailee_crypto::{
    clock::to_millis,
    random,
    signing::{Algorithm, SigningKey, VerifyingKey},
};
use bailee_sdk::{
    Error, Namespace, Reply, Request, Sensitive,
    field::{CommaList, Ttl},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// Shortest time between two rotations.
const ROTATION_PERIOD_MIN: Duration = Duration::from_secs(60);
/// What is used when nothing is said.
const DAY: Duration = Duration::from_secs(86_400);
/// Rotation periods for which a key that signs no more is published.
const VERIFICATION_PERIODS_MAX: u32 = 10;
/// Keys that sign no more and are still published.
const RETIRED_MAX: usize = 100;
/// Clients that a key lists.
const CLIENTS_MAX: usize = 1000;

/// A named key: what signs now, what signs next, and what was signed with before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) algorithm: String,
    /// Milliseconds.
    pub(super) rotation_period: u64,
    pub(super) verification_ttl: u64,
    /// Client ids of the roles that may use it; `*` for all.
    pub(super) allowed_client_ids: Vec<String>,
    pub(super) signing: Pair,
    /// Published before it signs, so that verifiers know it in time.
    pub(super) next: Pair,
    pub(super) retired: Vec<Retired>,
    /// When the next one takes over, in milliseconds since 1970.
    pub(super) rotates: u64,
}

/// A key pair at rest.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) id: String,
    /// The private key in base64; only storage sees it.
    #[serde(serialize_with = "exposed")]
    private: Sensitive<String>,
    public: String,
}

/// A public key that is still published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Retired {
    id: String,
    algorithm: String,
    public: String,
    /// Until when, in milliseconds since 1970.
    expires: u64,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pair({})", self.id)
    }
}

fn exposed<S: Serializer>(secret: &Sensitive<String>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.expose().serialize(serializer)
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Name of the key.
    name: String,
    /// RS256, RS384, RS512, ES256, ES384, ES512 or EdDSA.
    algorithm: Option<String>,
    /// How often the next key takes over.
    rotation_period: Option<Ttl>,
    /// How long a key is published after it has signed.
    verification_ttl: Option<Ttl>,
    /// Client ids of the roles that may use it; `*` for all.
    allowed_client_ids: Option<CommaList>,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Rotate {
    /// Name of the key.
    name: String,
    /// How long the key that signed until now is published; what the key says when left out.
    verification_ttl: Option<Ttl>,
}

impl IdentityPaths {
    pub(super) async fn list_oidc_keys(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        Reply::keys(&self.place(&request).keys().list("", "", NAMED_MAX).await?)
    }

    pub(super) async fn oidc_key_exists(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<bool, Error> {
        let key: Option<Key> = self.place(&request).keys().get(&request.input.name).await?;
        Ok(key.is_some())
    }

    pub(super) async fn read_oidc_key(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<Reply, Error> {
        let key: Option<Key> = self.place(&request).keys().get(&request.input.name).await?;
        let key = key.ok_or_else(Error::not_found)?;
        Ok(Reply::data(&json!({
            "algorithm": key.algorithm,
            "allowed_client_ids": key.allowed_client_ids,
            "rotation_period": key.rotation_period / 1000,
            "verification_ttl": key.verification_ttl / 1000,
        })))
    }

    pub(super) async fn write_oidc_key(
        self: Arc<Self>,
        request: Request<Write>,
    ) -> Result<Reply, Error> {
        let (input, request) = request.take_input();
        check_name("key", &input.name)?;
        let place = self.place(&request);
        place.lock_oidc().await;
        let known: Option<Key> = place.keys().get(&input.name).await?;
        let old = |of: fn(&Key) -> u64| known.as_ref().map(|key| Duration::from_millis(of(key)));
        let period = input.rotation_period.map(|ttl| ttl.0);
        let period = period.or_else(|| old(|key| key.rotation_period)).unwrap_or(DAY);
        let ttl = input.verification_ttl.map(|ttl| ttl.0);
        let ttl = ttl.or_else(|| old(|key| key.verification_ttl)).unwrap_or(DAY);
        check_times(period, ttl)?;
        check_roles(&place, &input.name, ttl).await?;
        let clients = input.allowed_client_ids.map(|clients| clients.0);
        if clients.as_ref().is_some_and(|clients| clients.len() > CLIENTS_MAX) {
            let message = format!("'allowed_client_ids' has more than {CLIENTS_MAX} entries");
            return Err(Error::invalid(message));
        }
        let now = to_millis(request.now);
        let mut key = match known {
            Some(key) => with_algorithm(key, input.algorithm, ttl, now).await?,
            None => {
                if place.keys().list("", "", NAMED_MAX).await?.len() >= NAMED_MAX {
                    return Err(Error::invalid(format!("there are {NAMED_MAX} keys already")));
                }
                new_key(input.algorithm).await?
            }
        };
        // A shorter period holds from now on.
        key.rotates = key.rotates.min(now.saturating_add(millis(period)));
        key.rotation_period = millis(period);
        key.verification_ttl = millis(ttl);
        key.allowed_client_ids = clients.unwrap_or(key.allowed_client_ids);
        place.keys().put(&input.name, &key).await?;
        Ok(Reply::empty())
    }

    pub(super) async fn delete_oidc_key(
        self: Arc<Self>,
        request: Request<ByName>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        place.lock_oidc().await;
        let name = &request.input.name;
        let users = roles(&place).await?.into_iter().filter(|(_, role)| role.key == *name);
        let users: Vec<String> = users.map(|(name, _)| name).collect();
        if !users.is_empty() {
            return Err(Error::invalid(format!(
                "unable to delete key {name:?} because it is currently referenced by these roles: {}",
                users.join(", ")
            )));
        }
        place.keys().delete(name).await?;
        Ok(Reply::empty())
    }

    pub(super) async fn rotate_oidc_key(
        self: Arc<Self>,
        request: Request<Rotate>,
    ) -> Result<Reply, Error> {
        let place = self.place(&request);
        place.lock_oidc().await;
        let name = &request.input.name;
        let key: Option<Key> = place.keys().get(name).await?;
        let mut key = key.ok_or_else(Error::not_found)?;
        let ttl = request.input.verification_ttl.map(|ttl| ttl.0);
        let ttl = ttl.unwrap_or(Duration::from_millis(key.verification_ttl));
        check_times(Duration::from_millis(key.rotation_period), ttl)?;
        rotate(&mut key, ttl, to_millis(request.now)).await?;
        place.keys().put(name, &key).await?;
        Ok(Reply::empty())
    }
}

/// No role gives tokens that outlast the publication of the key.
async fn check_roles(place: &Place, name: &str, ttl: Duration) -> Result<(), Error> {
    for (role, stored) in roles(place).await? {
        if stored.key == name && Duration::from_millis(stored.ttl) > ttl {
            return Err(Error::invalid(format!(
                "unable to update key {name:?} because it is currently referenced by the role \
                 {role:?}, which has a token ttl greater than the verification_ttl of the key"
            )));
        }
    }
    Ok(())
}

fn algorithm(name: &str) -> Result<Algorithm, Error> {
    Algorithm::named(name)
        .ok_or_else(|| Error::invalid(format!("unknown signing algorithm {name:?}")))
}

async fn new_key(name: Option<String>) -> Result<Key, Error> {
    let algorithm = algorithm(name.as_deref().unwrap_or(Algorithm::Rs256.name()))?;
    Ok(Key {
        algorithm: algorithm.name().to_owned(),
        rotation_period: 0,
        verification_ttl: 0,
        allowed_client_ids: Vec::new(),
        signing: generate(algorithm).await?,
        next: generate(algorithm).await?,
        retired: Vec::new(),
        rotates: u64::MAX,
    })
}

/// A key for whatever audience, as one is made that nobody asked for.
pub(super) async fn workload_default(now: u64) -> Result<Key, Error> {
    Ok(Key {
        rotation_period: millis(DAY),
        verification_ttl: millis(DAY),
        allowed_client_ids: vec!["*".to_owned()],
        rotates: now.saturating_add(millis(DAY)),
        ..new_key(None).await?
    })
}

/// The key with another algorithm from now on; what was signed until now stays verifiable.
async fn with_algorithm(
    mut key: Key,
    name: Option<String>,
    ttl: Duration,
    now: u64,
) -> Result<Key, Error> {
    let Some(name) = name.filter(|name| *name != key.algorithm) else { return Ok(key) };
    let algorithm = algorithm(&name)?;
    let (signing, next) = (generate(algorithm).await?, generate(algorithm).await?);
    retire(&mut key, ttl, now);
    Ok(Key { algorithm: name, signing, next, rotates: u64::MAX, ..key })
}

fn check_times(period: Duration, ttl: Duration) -> Result<(), Error> {
    if period < ROTATION_PERIOD_MIN {
        return Err(Error::invalid("rotation_period must be at least one minute"));
    }
    if ttl > period.saturating_mul(VERIFICATION_PERIODS_MAX) {
        return Err(Error::invalid("verification_ttl cannot be longer than 10x rotation_period"));
    }
    Ok(())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A new pair, made where nobody waits.
async fn generate(algorithm: Algorithm) -> Result<Pair, Error> {
    let made = tokio::task::spawn_blocking(move || {
        let key = SigningKey::generate(algorithm)?;
        let private = key.to_pkcs8()?;
        Ok::<_, bailee_crypto::signing::Unusable>((private, key.verifying_key()))
    });
    let (private, public) = made.await.map_err(Error::internal)?.map_err(Error::internal)?;
    Ok(Pair {
        id: random::uuid().to_string(),
        private: Sensitive::new(BASE64_STANDARD.encode(&*private)),
        public: BASE64_STANDARD.encode(&public.bytes),
    })
}

/// The key that signed until now is published for a while.
fn retire(key: &mut Key, ttl: Duration, now: u64) {
    key.retired.retain(|retired| retired.expires > now);
    // The oldest give way: rotating by hand must not fill the storage.
    let surplus = (key.retired.len() + 1).saturating_sub(RETIRED_MAX);
    key.retired.drain(..surplus);
    key.retired.push(Retired {
        id: key.signing.id.clone(),
        algorithm: key.algorithm.clone(),
        public: key.signing.public.clone(),
        expires: now.saturating_add(millis(ttl)),
    });
}

async fn rotate(key: &mut Key, ttl: Duration, now: u64) -> Result<(), Error> {
    let algorithm = Algorithm::named(&key.algorithm)
        .ok_or_else(|| Error::internal("a stored key has an unknown algorithm"))?;
    let fresh = generate(algorithm).await?;
    retire(key, ttl, now);
    key.signing = std::mem::replace(&mut key.next, fresh);
    key.rotates = now.saturating_add(key.rotation_period);
    Ok(())
}

impl Key {
    /// The private key that signs now.
    pub(super) fn signer(&self) -> Result<SigningKey, Error> {
        let algorithm = Algorithm::named(&self.algorithm)
            .ok_or_else(|| Error::internal("a stored key has an unknown algorithm"))?;
        let bytes = BASE64_STANDARD.decode(self.signing.private.expose().as_bytes());
        let bytes = Zeroizing::new(bytes.map_err(|_| Error::internal("a stored key is broken"))?);
        SigningKey::from_pkcs8(algorithm, &bytes).map_err(Error::internal)
    }

    /// Whether a role with this client id may use it.
    pub(super) fn allows(&self, client_id: &str) -> bool {
        self.allowed_client_ids.iter().any(|allowed| allowed == "*" || allowed == client_id)
    }

    /// All public keys that verify tokens, with their ids.
    pub(super) fn published(&self, now: u64) -> Vec<(String, VerifyingKey)> {
        let own = [&self.signing, &self.next].map(|pair| (&pair.id, &self.algorithm, &pair.public));
        let retired = self.retired.iter().filter(|retired| retired.expires > now);
        let retired = retired.map(|retired| (&retired.id, &retired.algorithm, &retired.public));
        own.into_iter()
            .chain(retired)
            .filter_map(|(id, algorithm, public)| {
                let algorithm = Algorithm::named(algorithm)?;
                let bytes = BASE64_STANDARD.decode(public).ok()?;
                Some((id.clone(), VerifyingKey { algorithm, bytes }))
            })
            .collect()
    }
}

/// All keys of a namespace.
pub(super) async fn keys(place: &Place) -> Result<Vec<(String, Key)>, Error> {
    let mut found = Vec::new();
    for name in place.keys().list("", "", NAMED_MAX).await? {
        if let Some(key) = place.keys().get(&name).await? {
            found.push((name, key));
        }
    }
    Ok(found)
}

/// Rotates the keys of a namespace whose time has come.
pub(crate) async fn rotation_pass(
    store: &IdentityStore,
    namespace: &Namespace,
    now: SystemTime,
) -> Result<(), Error> {
    let place = store.fresh_place(namespace);
    let at = to_millis(now);
    let due = |key: &Key| key.rotates <= at;
    for (name, _) in keys(&place).await?.into_iter().filter(|(_, key)| due(key)) {
        let place = store.fresh_place(namespace);
        place.lock_oidc().await;
        let Some(mut key) = place.keys().get::<Key>(&name).await?.filter(&due) else { continue };
        let ttl = Duration::from_millis(key.verification_ttl);
        rotate(&mut key, ttl, at).await?;
        place.keys().put(&name, &key).await?;
        place.view().commit().await?;
    }
    Ok(())
}

/// The role's key must exist by the time a token is made; a role may come first.
pub(super) async fn key_of(place: &Place, role: &Role) -> Result<Option<Key>, Error> {
    Ok(place.keys().get(&role.key).await?)
}
