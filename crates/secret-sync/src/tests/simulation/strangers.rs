//! What others do at the destinations, and the weather there.
//!
//! Strangers change, remove and replace what is ours, take names that we may want, and names of which a
//! call of ours is on its way: before it arrives, or while its answer is lost.

use super::{
    account::{Account, Books, Foreign, Tampered, Weather},
    model::{KEYS, SECRETS, TEMPLATES, render},
    story::Story,
};
use crate::{
    tags::{MARK_TAG, OWNERSHIP_TAG},
    testing::service::{Answer, Call},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::sleep;

/// The mark of another server.
pub(super) const STRANGERS_MARK: &str = "0a0b.c0de";
/// Calls of strangers about one name: they change it less often than is undone within a day.
const MEDDLING_MAX: u64 = 4;
/// In how many of a hundred calls somebody is at the same name right before them.
const BEFORE_CALLS: u64 = 1;
/// The same right after one of which we do not learn what it did.
const AFTER_LOST_CALLS: u64 = 25;

impl Story {
    pub(super) fn tamper(&mut self, name: &'static str) {
        let (dice, account) = (self.dice.clone(), self.accounts[name].clone());
        let ours = account.ours();
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

    /// A stranger makes an object where we may want one, and none is.
    pub(super) fn squat(&mut self, name: &'static str) {
        let (dice, account) = (self.dice.clone(), self.accounts[name].clone());
        let secret = dice.pick(&SECRETS);
        let key = dice.percent(50).then(|| dice.pick(&KEYS));
        account.squat(&render(dice.below(TEMPLATES), name, secret, key));
    }

    /// A stranger puts an object of his own in the place of one of ours.
    pub(super) fn replace(&mut self, name: &'static str) {
        let (dice, account) = (self.dice.clone(), self.accounts[name].clone());
        let ours = account.ours();
        if !ours.is_empty() {
            account.replace(&ours[dice.below(ours.len() as u64) as usize]);
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

impl Account {
    /// Names under which there is something of ours that strangers may still be at.
    fn ours(&self) -> Vec<String> {
        let books = self.books();
        let objects = books.service.objects().iter();
        let ours = objects.filter(|(name, object)| {
            object.goes_at.is_none() && !books.foreign.contains_key(*name) && books.may_meddle(name)
        });
        ours.map(|(name, _)| name.clone()).collect()
    }

    /// Somebody is at the name of a call of ours: before it arrives, or, where we do not learn what it
    /// did, after that.
    pub(super) fn interfere(self: &Arc<Account>, call: &Call, is_lost: bool) {
        let Some(name) = call.name() else { return };
        let likely = if is_lost { AFTER_LOST_CALLS } else { BEFORE_CALLS };
        let (may, is_there, is_ours) = {
            let books = self.books();
            let may = books.may_meddle(name) && books.weather != Weather::Calm;
            let is_there = books.service.object(name).is_some();
            (may, is_there, !books.foreign.contains_key(name))
        };
        if !may || !self.dice.percent(likely) {
            return;
        }
        match (is_there, is_ours) {
            (true, true) => self.replace(name),
            (true, false) => {}
            (false, _) => self.squat_in_time(name),
        }
    }

    /// Somebody removes what is under a name and makes an object of his own.
    fn replace(self: &Arc<Account>, name: &str) {
        self.meddle(&Call::Delete { name: name.to_owned(), days: None });
        self.books().tampered.entry(name.to_owned()).or_default().value = true;
        self.squat_in_time(name);
    }

    /// Somebody makes an object as soon as the name can be had.
    fn squat_in_time(self: &Arc<Account>, name: &str) {
        self.squat(name);
        let linger = {
            let books = self.books();
            books.service.object(name).is_none().then_some(books.service.linger)
        };
        if let Some(linger) = linger {
            let (account, name) = (self.clone(), name.to_owned());
            tokio::spawn(async move {
                sleep(linger).await;
                account.squat(&name);
            });
        }
    }

    /// Somebody makes an object where there is none.
    fn squat(&self, name: &str) {
        let may = {
            let books = self.books();
            !books.is_quiet && books.service.object(name).is_none()
        };
        if !may {
            return;
        }
        let mut tags = BTreeMap::from([("owner".to_owned(), "somebody".to_owned())]);
        let (mark, ours) = (self.dice.percent(40), self.dice.percent(50));
        if mark {
            tags.insert(MARK_TAG.to_owned(), STRANGERS_MARK.to_owned());
        }
        if ours {
            tags.insert(OWNERSHIP_TAG.to_owned(), String::new());
        }
        let token = format!("stranger-{:020}", self.dice.below(u64::MAX));
        let (name, bytes) = (name.to_owned(), b"a stranger's".to_vec());
        let answer = self.meddle(&Call::Create { name: name.clone(), token, bytes, tags });
        let mut books = self.books();
        if let Answer::Version(..) = answer
            && let Some(object) = books.service.object(&name).cloned()
        {
            books.faults.taken += 1;
            books.tampered.insert(name.clone(), Tampered::default());
            books.foreign.insert(name, Foreign::Made(object));
        }
    }
}

impl Books {
    fn may_meddle(&self, name: &str) -> bool {
        let meddled = self.meddled.get(name).copied().unwrap_or_default();
        !self.is_quiet && meddled < MEDDLING_MAX
    }
}
