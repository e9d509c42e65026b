//! What others do at the destinations, and the weather there.

use super::{
    account::{Foreign, KIND, Tampered, Weather},
    model::{KEYS, SECRETS, TEMPLATES, render},
    story::Story,
};
use crate::{
    store::Store,
    tags::{MARK_TAG, OWNERSHIP_TAG},
    testing::service::Call,
    tests::world::World,
};
use std::collections::BTreeMap;

/// The mark of another server.
pub(super) const STRANGERS_MARK: &str = "0a0b.c0de";
/// Times strangers change what is under one name: fewer than are undone within a day.
const MEDDLING_MAX: u64 = 2;

impl Story {
    pub(super) fn tamper(&mut self, name: &'static str) {
        let (dice, account) = (self.dice.clone(), self.accounts[name].clone());
        let ours: Vec<String> = {
            let books = account.books();
            let objects = books.service.objects().iter();
            let ours = objects.filter(|(name, object)| {
                let meddled = books.meddled.get(*name).copied().unwrap_or_default();
                object.goes_at.is_none()
                    && !books.foreign.contains_key(*name)
                    && meddled < MEDDLING_MAX
            });
            ours.map(|(name, _)| name.clone()).collect()
        };
        if ours.is_empty() {
            return;
        }
        let name = ours[dice.below(ours.len() as u64) as usize].clone();
        let mut tampered = account.books().tampered.get(&name).copied().unwrap_or_default();
        let call = match dice.below(5) {
            0 => {
                tampered.value = true;
                let token = format!("stranger-{:020}", dice.below(u64::MAX));
                Call::Update { name: name.clone(), token, bytes: b"meddled".to_vec() }
            }
            1 => {
                tampered.tags = true;
                let keys = [OWNERSHIP_TAG, MARK_TAG].map(str::to_owned).to_vec();
                Call::Untag { name: name.clone(), keys }
            }
            2 => {
                tampered.value = true;
                Call::Delete { name: name.clone(), days: None }
            }
            3 => {
                tampered.value = true;
                Call::Delete { name: name.clone(), days: Some(30) }
            }
            _ => {
                tampered.contested = true;
                let tags = BTreeMap::from([(MARK_TAG.to_owned(), STRANGERS_MARK.to_owned())]);
                Call::Tag { name: name.clone(), tags }
            }
        };
        account.meddle(&call);
        account.books().tampered.insert(name, tampered);
    }

    /// A stranger makes an object where we may want one, and have none.
    pub(super) async fn squat(&mut self, name: &'static str) {
        let (dice, account) = (self.dice.clone(), self.accounts[name].clone());
        let secret = dice.pick(&SECRETS);
        let key = dice.percent(50).then(|| dice.pick(&KEYS));
        let external = render(dice.below(TEMPLATES), name, secret, key);
        let life = self.session.life.clone();
        let known = tokio::select! {
            biased;
            () = life.crashed() => return,
            known = begun(&self.session.world, name) => known,
        };
        if known.contains(&external) || account.books().service.object(&external).is_some() {
            return;
        }
        let mut tags = BTreeMap::from([("owner".to_owned(), "somebody".to_owned())]);
        match dice.below(3) {
            0 => {}
            1 => drop(tags.insert(OWNERSHIP_TAG.to_owned(), String::new())),
            _ => drop(tags.insert(MARK_TAG.to_owned(), STRANGERS_MARK.to_owned())),
        }
        let token = format!("stranger-{:020}", dice.below(u64::MAX));
        let bytes = b"a stranger's".to_vec();
        account.meddle(&Call::Create { name: external.clone(), token, bytes, tags });
        let mut books = account.books();
        if let Some(object) = books.service.object(&external).cloned() {
            books.tampered.insert(external.clone(), Tampered::default());
            books.foreign.insert(external, Foreign::Made(object));
        }
    }

    pub(super) fn change_weather(&mut self, name: &'static str) {
        let weather = self.dice.pick(&[
            Weather::Clear,
            Weather::Clear,
            Weather::Clear,
            Weather::Calm,
            Weather::Outage,
            Weather::Throttled,
            Weather::Unauthenticated,
            Weather::Forbidden("Create"),
            Weather::Forbidden("Update"),
            Weather::Forbidden("Delete"),
            Weather::Forbidden("Restore"),
            Weather::Forbidden("Describe"),
            Weather::Forbidden("List"),
            Weather::Forbidden("Tag"),
        ]);
        self.accounts[name].weather(weather);
    }
}

/// Names under which a destination has, or may have, something of ours.
async fn begun(world: &World, name: &str) -> Vec<String> {
    let store = Store::open(&world.barrier, &world.namespace);
    let id = store.destination_id(KIND, name);
    let associations = store.associations(&id).await.expect("storage works");
    let objects = associations.into_iter().flat_map(|(_, association)| association.objects);
    objects.filter(|object| object.begun).map(|object| object.name).collect()
}
