//! Secrets, keys and roles of several accounts, for tests that go across them.

use super::FakeAws;
use super::iam::policy::DocumentKind;
use super::iam::store::{Document, Role, key};
use super::secrets_manager::store::{Payload, Place};

/// Policies are JSON texts; a malformed one, and a thing that is not there, is a bug of the test, and panics.
impl FakeAws {
    /// As [`FakeAws::put_secret`], in any account and region. Answers the secret's ARN.
    pub fn put_secret_of(&self, account: &str, region: &str, name: &str, value: &str) -> String {
        let place =
            Place { account: account.to_owned(), region: region.to_owned(), name: name.to_owned() };
        self.put_at(place.clone(), Payload::Text(value.to_owned()));
        let world = self.shared.world.lock();
        world.secrets.at(&place).map(|secret| secret.arn.clone()).expect("it was just put there")
    }

    /// Replaces the resource policy of a secret, or removes it.
    pub fn set_secret_policy(&self, arn: &str, policy: Option<&str>) {
        let document = policy.map(|text| {
            Document::parse(text, DocumentKind::Resource).expect("the test's policy is well formed")
        });
        let place = self.place_of(arn);
        let mut world = self.shared.world.lock();
        let secret = world.secrets.at_mut(&place).expect("the secret exists");
        secret.policy = document;
    }

    /// Sets a tag of a secret, or removes it.
    pub fn set_tag_of(&self, arn: &str, key: &str, value: Option<&str>) {
        let place = self.place_of(arn);
        let mut world = self.shared.world.lock();
        let secret = world.secrets.at_mut(&place).expect("the secret exists");
        match value {
            Some(value) => secret.tags.insert(key.to_owned(), value.to_owned()),
            None => secret.tags.remove(key),
        };
    }

    /// Encrypts a secret under a key of KMS, or under the account's default one.
    pub fn set_secret_key(&self, arn: &str, key_arn: Option<&str>) {
        let place = self.place_of(arn);
        let mut world = self.shared.world.lock();
        let secret = world.secrets.at_mut(&place).expect("the secret exists");
        secret.key_arn = key_arn.map(str::to_owned);
        for version in &mut secret.versions {
            version.key_arn = key_arn.map(str::to_owned);
        }
    }

    fn place_of(&self, arn: &str) -> Place {
        let world = self.shared.world.lock();
        let secret = world.secrets.all().find(|secret| secret.arn == arn);
        secret.map(|secret| secret.place.clone()).expect("the secret exists")
    }

    /// As [`FakeAws::create_kms_key`], in any account and region.
    pub fn create_kms_key_of(&self, account: &str, region: &str) -> String {
        let now = self.shared.clock.now();
        self.shared.world.lock().kms.create(account, region, now)
    }

    /// Replaces the policies of a role, by its ARN.
    pub fn set_role_policies(&self, arn: &str, policies: &[&str]) {
        let parse = |text: &&str| {
            Document::parse(text, DocumentKind::Identity).expect("the test's policy is well formed")
        };
        let documents: Vec<Document> = policies.iter().map(parse).collect();
        self.change_role(arn, |role| {
            let named = (0u32..).map(|number| format!("policy-{number}")).zip(documents);
            role.permissions.inline = named.collect();
        });
    }

    /// Replaces the trust policy of a role, by its ARN.
    pub fn set_role_trust(&self, arn: &str, trust: &str) {
        let document =
            Document::parse(trust, DocumentKind::Trust).expect("the test's policy is well formed");
        self.change_role(arn, |role| role.trust = document);
    }

    fn change_role(&self, arn: &str, change: impl FnOnce(&mut Role)) {
        let mut world = self.shared.world.lock();
        let place = world.iam.role_at(arn).map(|role| key(&role.account, &role.name));
        let role = place.and_then(|place| world.iam.roles.get_mut(&place));
        change(role.expect("the role exists"));
    }
}
