//! Users as tests look at them, and what tests do to them.

use super::FakeAws;
use super::iam::policy::DocumentKind;
use super::iam::store::{Document, Group, Owner, Permissions, key};
use super::random;

impl FakeAws {
    /// Names of the users of the fake's account, sorted.
    pub fn users(&self) -> Vec<String> {
        let world = self.shared.world.lock();
        let own = world.iam.users.iter().filter(|((account, _), _)| account == self.account_id());
        own.map(|(_, user)| user.name.clone()).collect()
    }

    /// Whether a long-lived key is accepted now.
    pub fn key_works(&self, access_key_id: &str) -> bool {
        let now = self.shared.clock.now();
        let world = self.shared.world.lock();
        world.iam.keys.get(access_key_id).is_some_and(|key| key.active && key.usable_from <= now)
    }

    /// Makes a group without policies.
    pub fn create_group(&self, name: &str) {
        let account = self.account_id();
        let group = Group {
            name: name.to_owned(),
            path: "/".to_owned(),
            id: format!("AGPA{}", random::capitals(17)),
            arn: format!("arn:aws:iam::{account}:group/{name}"),
            created: self.shared.clock.now(),
            permissions: Permissions::default(),
        };
        self.shared.world.lock().iam.groups.insert(key(account, name), group);
    }

    /// Writes a policy into a group. Answers whether the group exists; a malformed policy is a bug of
    /// the test, and panics.
    pub fn set_group_policy(&self, group: &str, name: &str, policy: &str) -> bool {
        let document = Document::parse(policy, DocumentKind::Identity)
            .expect("the test's policy is well formed");
        let mut world = self.shared.world.lock();
        let Some(group) = world.iam.groups.get_mut(&key(self.account_id(), group)) else {
            return false;
        };
        group.permissions.inline.insert(name.to_owned(), document);
        true
    }

    /// How many long-lived keys a user of any account has.
    pub fn key_count(&self, account: &str, user: &str) -> usize {
        let owner = Owner::User { account: account.to_owned(), name: user.to_owned() };
        let world = self.shared.world.lock();
        world.iam.keys.values().filter(|key| key.owner == owner).count()
    }

    /// Hangs one of everything on a user: a password, a device, certificates, another key, other
    /// policies, another group. Answers whether the user exists.
    pub fn hang_everything_on(&self, name: &str) -> bool {
        const NOTHING: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"none:None","Resource":"*"}]}"#;
        let account = self.account_id().to_owned();
        let now = self.shared.clock.now();
        self.create_group("hung");
        let Ok(document) = Document::parse(NOTHING, DocumentKind::Identity) else { return false };
        let mut world = self.shared.world.lock();
        let Some(user) = world.iam.user_mut(&account, name) else { return false };
        user.attachments.fill();
        user.permissions.attached.insert("arn:aws:iam::aws:policy/AdministratorAccess".to_owned());
        user.permissions.inline.insert("hung".to_owned(), document);
        user.groups.insert("hung".to_owned());
        let owner = Owner::User { account, name: user.name.clone() };
        world.iam.add_key(owner, now, now);
        true
    }
}
