//! What tests look at and set up directly, past the API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::clock::{DAY_MS, Millis, millis};
use super::iam::policy::{DocumentKind, Policy};
use super::iam::store::{Document, Owner, Session, SessionKind};
use super::secrets_manager::store::{CURRENT, Deletion, Payload, Place, Secret, Version};
use super::world::World;
use super::{FakeAws, FakeMessage, RecordedCall, random};

/// Credentials of a user or a session. Their debug form shows the identifier only.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Identifier of the key.
    pub access_key_id: String,
    /// Secret of the key.
    pub secret_access_key: String,
    /// Token of temporary credentials.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Key");
        shown.field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// A secret as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeSecret {
    /// Its ARN, with the random end.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Region it is in.
    pub region: String,
    /// The text of the version labelled AWSCURRENT; `None` without one, or when it is binary.
    pub value: Option<String>,
    /// Its versions, oldest first.
    pub versions: Vec<FakeVersion>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its description.
    pub description: Option<String>,
    /// ARN of its key; `None` is the account's default key.
    pub kms_key_arn: Option<String>,
    /// When its deletion was asked for, while it waits for that.
    pub deleted_at: Option<SystemTime>,
    /// When it will be deleted, while it waits for that.
    pub deleted_for_good_at: Option<SystemTime>,
    /// Regions it is replicated to.
    pub replica_regions: Vec<String>,
    /// Region of its primary secret, when it is a replica.
    pub primary_region: Option<String>,
    /// Its resource policy.
    pub resource_policy: Option<String>,
}

impl FakeSecret {
    /// Identifier of the version labelled AWSCURRENT.
    pub fn current_version(&self) -> Option<&str> {
        let current = |version: &&FakeVersion| version.stages.iter().any(|stage| stage == CURRENT);
        self.versions.iter().find(current).map(|version| version.id.as_str())
    }
}

/// A version of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeVersion {
    /// Its identifier, the token of the call that made it.
    pub id: String,
    /// Its text, `None` when it is binary.
    pub text: Option<String>,
    /// Its bytes, `None` when it is text.
    pub binary: Option<Vec<u8>>,
    /// Its staging labels.
    pub stages: Vec<String>,
}

fn time(at: Millis) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap_or_default())
}

fn shown(secret: &Secret) -> FakeSecret {
    let versions = secret.versions.iter().map(|version| {
        let (text, binary) = match &version.payload {
            Payload::Text(text) => (Some(text.clone()), None),
            Payload::Binary(bytes) => (None, Some(bytes.clone())),
        };
        let stages = version.stages.iter().cloned().collect();
        FakeVersion { id: version.id.clone(), text, binary, stages }
    });
    let value = match secret.staged(CURRENT).map(|version| &version.payload) {
        Some(Payload::Text(text)) => Some(text.clone()),
        Some(Payload::Binary(_)) | None => None,
    };
    FakeSecret {
        arn: secret.arn.clone(),
        name: secret.place.name.clone(),
        region: secret.place.region.clone(),
        value,
        versions: versions.collect(),
        tags: secret.tags.clone(),
        description: secret.description.clone(),
        kms_key_arn: secret.key_arn.clone(),
        deleted_at: secret.deletion.map(|deletion| time(deletion.asked)),
        deleted_for_good_at: secret.deletion.map(|deletion| time(deletion.due)),
        replica_regions: secret.replicas.keys().cloned().collect(),
        primary_region: secret.primary_region.clone(),
        resource_policy: secret.policy.as_ref().map(|document| document.text.clone()),
    }
}

/// A secret without a version.
fn created(place: &Place, token: &str, order: u64, now: Millis) -> Secret {
    let Place { account, region, name } = place;
    let end = random::alphanumeric(6);
    Secret {
        arn: format!("arn:aws:secretsmanager:{region}:{account}:secret:{name}-{end}"),
        place: place.clone(),
        order,
        description: None,
        key_arn: None,
        tags: BTreeMap::new(),
        versions: Vec::new(),
        creation_token: token.to_owned(),
        created: now,
        changed: now,
        accessed: None,
        deletion: None,
        policy: None,
        replicas: BTreeMap::new(),
        primary_region: None,
    }
}

/// The region of methods that name none.
const REGION: &str = "us-east-1";

/// Calls and secrets. Methods that name no region mean `us-east-1`.
impl FakeAws {
    /// The latest calls, oldest first (20,000 at most).
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.shared.calls.all()
    }

    /// How often each operation was called, by names such as `secretsmanager:PutSecretValue`.
    pub fn call_counts(&self) -> BTreeMap<String, u64> {
        self.shared.calls.counts()
    }

    /// How often an operation such as `secretsmanager:PutSecretValue` was called.
    pub fn call_count(&self, operation: &str) -> u64 {
        self.shared.calls.count(operation)
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.shared.calls.clear();
    }

    fn place(&self, region: &str, name: &str) -> Place {
        Place {
            account: self.account_id().to_owned(),
            region: region.to_owned(),
            name: name.to_owned(),
        }
    }

    /// A secret by name.
    pub fn secret(&self, name: &str) -> Option<FakeSecret> {
        self.secret_in(REGION, name)
    }

    /// A secret by region and name.
    pub fn secret_in(&self, region: &str, name: &str) -> Option<FakeSecret> {
        let mut world = self.shared.world.lock();
        world.secrets.settle(self.shared.clock.now());
        world.secrets.at(&self.place(region, name)).map(shown)
    }

    /// All secrets of all accounts and regions.
    pub fn secrets(&self) -> Vec<FakeSecret> {
        let mut world = self.shared.world.lock();
        world.secrets.settle(self.shared.clock.now());
        world.secrets.all().map(shown).collect()
    }

    /// Changes a secret behind everyone's back, as listings with lag will see it later.
    fn tamper<T>(&self, place: &Place, change: impl FnOnce(&mut World, Millis) -> T) -> T {
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock();
        world.secrets.settle(now);
        let lag = world.settings.list_lag_ms;
        let before = world.secrets.at(place).cloned();
        let result = change(&mut world, now);
        if lag > 0 {
            world.secrets.remember(place.clone(), before, now, lag);
        }
        result
    }

    /// Writes a text as another program would: creates the secret, or adds a version to it.
    /// Answers the version's identifier.
    pub fn put_secret(&self, name: &str, value: &str) -> String {
        self.put_secret_in(REGION, name, value)
    }

    /// As [`FakeAws::put_secret`], in a region.
    pub fn put_secret_in(&self, region: &str, name: &str, value: &str) -> String {
        self.put_at(self.place(region, name), Payload::Text(value.to_owned()))
    }

    /// As [`FakeAws::put_secret`], with bytes.
    pub fn put_binary_secret(&self, name: &str, bytes: &[u8]) -> String {
        self.put_at(self.place(REGION, name), Payload::Binary(bytes.to_vec()))
    }

    pub(super) fn put_at(&self, place: Place, payload: Payload) -> String {
        let id = random::uuid();
        self.tamper(&place, |world, now| {
            if world.secrets.at(&place).is_none() {
                let order = world.secrets.next_order();
                world.secrets.insert(created(&place, &id, order, now));
            }
            if let Some(secret) = world.secrets.at_mut(&place) {
                secret.versions.push(Version {
                    id: id.clone(),
                    payload,
                    stages: BTreeSet::new(),
                    created: now,
                    accessed: None,
                    key_arn: secret.key_arn.clone(),
                });
                secret.move_label(CURRENT, &id);
                secret.changed = now;
            }
        });
        id
    }

    /// Deletes a secret at once. Answers whether it was there.
    pub fn delete_secret(&self, name: &str) -> bool {
        let place = self.place(REGION, name);
        self.tamper(&place, |world, _| world.secrets.remove(&place).is_some())
    }

    /// Schedules the deletion of a secret in so many days. Answers whether it was there.
    pub fn schedule_deletion(&self, name: &str, days: i64) -> bool {
        let place = self.place(REGION, name);
        self.tamper(&place, |world, now| {
            world.secrets.schedule(&place, Deletion { asked: now, due: now + days * DAY_MS });
            world.secrets.at(&place).is_some()
        })
    }

    /// Sets a tag, or removes it with `None`. Answers whether the secret was there.
    pub fn set_secret_tag(&self, name: &str, key: &str, value: Option<&str>) -> bool {
        let place = self.place(REGION, name);
        self.tamper(&place, |world, _| {
            let Some(secret) = world.secrets.at_mut(&place) else { return false };
            match value {
                Some(value) => secret.tags.insert(key.to_owned(), value.to_owned()),
                None => secret.tags.remove(key),
            };
            true
        })
    }
}

/// Users, roles, keys of KMS. Policies are JSON texts; a malformed one is a bug of the test, and
/// panics.
impl FakeAws {
    fn identity(&self, text: &str) -> Document {
        Document::parse(text, DocumentKind::Identity).expect("the test's policy is well formed")
    }

    /// A user of the fake's account with these policies, and a key for it.
    pub fn create_user(&self, name: &str, policies: &[&str]) -> Key {
        self.create_user_in(self.account_id(), name, policies)
    }

    /// A user of any account with these policies, and a key for it.
    pub fn create_user_in(&self, account: &str, name: &str, policies: &[&str]) -> Key {
        let documents: Vec<Document> = policies.iter().map(|text| self.identity(text)).collect();
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock();
        let user = world.iam.add_user(account, name, "/", now);
        for (number, document) in documents.into_iter().enumerate() {
            user.permissions.inline.insert(format!("policy-{number}"), document);
        }
        let owner = Owner::User { account: account.to_owned(), name: name.to_owned() };
        let key = world.iam.add_key(owner, now, now);
        Key { access_key_id: key.id, secret_access_key: key.secret, session_token: None }
    }

    /// A key of the account's root user.
    pub fn root_key(&self) -> Key {
        let now = self.shared.clock.now();
        let owner = Owner::Root { account: self.account_id().to_owned() };
        let key = self.shared.world.lock().iam.add_key(owner, now, now);
        Key { access_key_id: key.id, secret_access_key: key.secret, session_token: None }
    }

    /// Replaces all policies of a user. Answers whether the user exists.
    pub fn set_user_policies(&self, name: &str, policies: &[&str]) -> bool {
        let documents: Vec<Document> = policies.iter().map(|text| self.identity(text)).collect();
        let mut world = self.shared.world.lock();
        let Some(user) = world.iam.user_mut(&self.running.account_id, name) else { return false };
        user.permissions.attached.clear();
        user.permissions.inline = documents
            .into_iter()
            .enumerate()
            .map(|(number, document)| (format!("policy-{number}"), document))
            .collect();
        true
    }

    /// Limits a user to what a policy allows. Answers whether the user exists.
    pub fn set_user_boundary(&self, name: &str, policy: &str) -> bool {
        let document = self.identity(policy);
        let account = self.account_id().to_owned();
        let arn = format!("arn:aws:iam::{account}:policy/boundary-of-{name}");
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock();
        let managed = super::iam::store::ManagedPolicy {
            name: format!("boundary-of-{name}"),
            id: format!("ANPA{}", random::capitals(17)),
            arn: arn.clone(),
            created: now,
            document,
        };
        world.iam.managed.insert(arn.clone(), managed);
        let Some(user) = world.iam.user_mut(&account, name) else { return false };
        user.boundary = Some(arn);
        true
    }

    /// Deletes a key of any kind. Answers whether it was there.
    pub fn delete_access_key(&self, access_key_id: &str) -> bool {
        let mut world = self.shared.world.lock();
        let long_lived = world.iam.keys.remove(access_key_id).is_some();
        world.iam.sessions.remove(access_key_id).is_some() || long_lived
    }

    /// A role of the fake's account, by its trust policy and permissions. Answers its ARN.
    pub fn create_role(&self, name: &str, trust: &str, policies: &[&str]) -> String {
        self.create_role_in(self.account_id(), name, trust, policies)
    }

    /// A role of any account. Answers its ARN.
    pub fn create_role_in(
        &self,
        account: &str,
        name: &str,
        trust: &str,
        policies: &[&str],
    ) -> String {
        let trust =
            Document::parse(trust, DocumentKind::Trust).expect("the test's policy is well formed");
        let documents: Vec<Document> = policies.iter().map(|text| self.identity(text)).collect();
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock();
        let role = world.iam.add_role(account, name, "/", trust, now);
        for (number, document) in documents.into_iter().enumerate() {
            role.permissions.inline.insert(format!("policy-{number}"), document);
        }
        role.arn.clone()
    }

    /// Credentials of a role's session, without asking its trust policy.
    pub fn role_session(
        &self,
        role: &str,
        session: &str,
        lifetime: Duration,
        policy: Option<&str>,
    ) -> Key {
        let policies = policy.map(|text| vec![self.identity(text).policy]);
        let account = self.account_id().to_owned();
        let kind =
            SessionKind::Role { account, role: role.to_owned(), session: session.to_owned() };
        self.open_session(kind, lifetime, policies)
    }

    fn open_session(
        &self,
        kind: SessionKind,
        lifetime: Duration,
        policies: Option<Vec<Policy>>,
    ) -> Key {
        let now = self.shared.clock.now();
        let session = Session {
            secret: random::alphanumeric(40),
            token: random::alphanumeric(240),
            issued: now,
            expires: now + millis(lifetime),
            kind,
            policies,
            tags: BTreeMap::new(),
        };
        let key = Key {
            access_key_id: format!("ASIA{}", random::capitals(16)),
            secret_access_key: session.secret.clone(),
            session_token: Some(session.token.clone()),
        };
        self.shared.world.lock().iam.sessions.insert(key.access_key_id.clone(), session);
        key
    }

    /// A key of KMS in `us-east-1`, whose policy leaves permissions to the account. Answers its ARN.
    pub fn create_kms_key(&self) -> String {
        self.create_kms_key_in(REGION)
    }

    /// As [`FakeAws::create_kms_key`], in a region.
    pub fn create_kms_key_in(&self, region: &str) -> String {
        let now = self.shared.clock.now();
        let account = self.account_id().to_owned();
        self.shared.world.lock().kms.create(&account, region, now)
    }

    /// Gives a key of KMS in `us-east-1` an alias, such as `alias/app`.
    pub fn create_kms_alias(&self, name: &str, key_arn: &str) {
        let arn = format!("arn:aws:kms:{REGION}:{}:{name}", self.account_id());
        let now = self.shared.clock.now();
        self.shared.world.lock().kms.add_alias(arn, key_arn, now);
    }

    /// Enables or disables a key of KMS. Answers whether it exists.
    pub fn set_kms_key_enabled(&self, arn: &str, enabled: bool) -> bool {
        self.shared.world.lock().kms.set_enabled(arn, enabled)
    }

    /// Replaces the policy of a key of KMS.
    pub fn set_kms_key_policy(&self, arn: &str, policy: &str) {
        let set = self.shared.world.lock().kms.set_policy(arn, policy);
        set.expect("the test's policy is well formed and the key exists");
    }

    /// A topic of SNS in `us-east-1`. Answers its ARN.
    pub fn create_topic(&self, name: &str) -> String {
        let account = self.account_id().to_owned();
        self.shared.world.lock().sns.create(&account, REGION, name)
    }

    /// What was published to a topic of SNS, oldest first.
    pub fn messages(&self, topic_arn: &str) -> Vec<FakeMessage> {
        self.shared.world.lock().sns.messages(topic_arn)
    }

    /// The parameters of the latest call of an operation, without secret values.
    pub fn last_call(&self, operation: &str) -> Option<Value> {
        let calls = self.shared.calls.all();
        calls.into_iter().rev().find(|call| call.operation == operation).map(|call| call.parameters)
    }
}
