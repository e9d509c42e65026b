//! One run: users, strangers, weather and crashes in an order that follows from the seed.

use super::{
    account::{Account, Faults, Foreign, KIND, Tampered, Weather, kind},
    dice::{Dice, Log},
    life::{Crash, Disk, Life},
    model::{
        DESTINATIONS, Destination, Heads, KEYS, Keys, Model, Options, SECRETS, TEMPLATES, Version,
        render, template, text,
    },
};
use crate::{
    Settings,
    destination::{Deletion, Ownership},
    registry::Drift,
    store::Store,
    tags::{MARK_TAG, OWNERSHIP_TAG},
    testing::service::Call,
    tests::world::{World, barrier},
};
use bailee_sdk::{Clock, Operation, testing::TestClock};
use bailee_storage::memory::Memory;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;

/// Times strangers change what is under one name: fewer than are undone within a day.
const MEDDLING_MAX: u64 = 2;
/// Attempts of a request that meets another one.
const ATTEMPTS_MAX: usize = 20;

/// A server's session.
pub(super) struct Session {
    pub(super) world: World,
    pub(super) life: Arc<Life>,
}

/// Everything of one run.
pub(super) struct Story {
    pub(super) dice: Dice,
    pub(super) log: Log,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) accounts: BTreeMap<&'static str, Arc<Account>>,
    pub(super) memory: Arc<Memory>,
    pub(super) model: Model,
    pub(super) heads: Heads,
    pub(super) session: Session,
    pub(super) faults: Faults,
    lives: u32,
    values: u64,
}

/// What a user asks for; repeated until it is acknowledged.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Keep(&'static str),
    Configure(&'static str),
    Rest(&'static str),
    Sync(&'static str, bool),
    Set(&'static str, &'static str),
    Remove(&'static str, &'static str),
    Purge(&'static str, bool),
    Switch,
}

impl Story {
    pub(super) async fn begin(seed: u64) -> Story {
        let (dice, log) = (Dice::new(seed), Log::new());
        let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
        let memory = Arc::new(Memory::default());
        let (mut model, mut accounts) = (Model::default(), BTreeMap::new());
        for name in &DESTINATIONS[..1 + dice.below(3) as usize] {
            let options = options(&dice);
            log.add(format!("{name}: {options:?}"));
            accounts.insert(*name, Account::new(name, options.ownership, &dice, &log));
            let associations = BTreeMap::new();
            let fresh = Destination { exists: false, purging: None, options, associations };
            model.destinations.insert(name, fresh);
        }
        // What it begins with is there in any case.
        let end = dice.pick(&[None, Some(Crash::AfterCall(5)), Some(Crash::BeforeCommit(60))]);
        let life = Life::new(1, end);
        let session = open(&memory, &accounts, &life, &clock).await;
        let activate = session.world.post("activation-flags/secrets-sync/activate", json!({}));
        activate.await.unwrap();
        let mut story = Story {
            dice,
            log,
            clock,
            accounts,
            memory,
            model,
            heads: Heads::default(),
            session,
            faults: Faults::default(),
            lives: 1,
            values: 0,
        };
        for name in story.accounts.keys().copied().collect::<Vec<_>>() {
            story.create(name).await;
        }
        for _ in 0..story.dice.below(5) {
            story.write().await;
            let name = story.some_destination();
            story.set(name).await;
        }
        story
    }

    /// One thing after another.
    pub(super) async fn go_on(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step().await;
            let wait = match self.dice.below(100) {
                0..60 => self.dice.millis(2_000),
                60..95 => self.dice.millis(20_000),
                _ => self.dice.millis(1_500_000),
            };
            self.pass(wait).await;
            self.look_after_purges().await;
        }
    }

    /// Lets time go by, which a crash cuts short.
    async fn pass(&mut self, time: Duration) {
        let life = self.session.life.clone();
        tokio::select! {
            biased;
            () = life.crashed() => self.come_back().await,
            () = sleep(time) => {}
        }
    }

    async fn step(&mut self) {
        let (dice, name) = (self.dice.clone(), self.some_destination());
        match dice.below(100) {
            0..26 => self.write().await,
            26..30 => self.delete().await,
            30..33 => self.undelete().await,
            33..35 => self.destroy().await,
            35..52 => self.set(name).await,
            52..58 => self.remove(name).await,
            58..65 => self.reconfigure(name).await,
            65..67 => self.switch(dice.percent(50)).await,
            67..69 => self.purge(name, dice.percent(30)).await,
            69..72 => self.create(name).await,
            72..80 => self.tamper(name),
            80..84 => self.squat(name).await,
            84..94 => self.change_weather(name),
            94..95 => self.unmount().await,
            95..97 => self.restart().await,
            97..98 => self.depose().await,
            _ => {
                self.session.life.die();
                self.come_back().await;
            }
        }
    }

    pub(super) fn some_destination(&self) -> &'static str {
        let names: Vec<&'static str> = self.accounts.keys().copied().collect();
        self.dice.pick(&names)
    }

    // ---- users ----

    pub(super) async fn write(&mut self) {
        let secret = self.dice.pick(&SECRETS);
        let before = self.model.head(secret).cloned().unwrap_or_default();
        let mut keys = Keys::new();
        for key in KEYS {
            let kept = before.get(key).filter(|_| self.dice.percent(30)).cloned();
            if self.dice.percent(60) {
                self.values += 1;
                let value = kept.unwrap_or_else(|| format!("{secret}|{key}|{}", self.values));
                keys.insert(key, value);
            }
        }
        if keys.is_empty() {
            self.values += 1;
            keys.insert(KEYS[0], format!("{secret}|{}|{}", KEYS[0], self.values));
        }
        let version = Version { keys, deleted: false };
        self.model.secrets.entry(secret).or_default().push(version);
        self.keep(secret).await;
    }

    pub(super) async fn delete(&mut self) {
        let secret = self.dice.pick(&SECRETS);
        let versions = self.model.secrets.entry(secret).or_default();
        if let Some(newest) = versions.iter_mut().rev().find(|version| !version.deleted) {
            newest.deleted = true;
            self.keep(secret).await;
        }
    }

    async fn undelete(&mut self) {
        let secret = self.dice.pick(&SECRETS);
        let versions = self.model.secrets.entry(secret).or_default();
        if let Some(newest) = versions.iter_mut().rev().find(|version| version.deleted) {
            newest.deleted = false;
            self.keep(secret).await;
        }
    }

    async fn destroy(&mut self) {
        let secret = self.dice.pick(&SECRETS);
        self.model.secrets.entry(secret).or_default().clear();
        self.keep(secret).await;
    }

    async fn keep(&mut self, secret: &'static str) {
        self.heads.note(&self.model, secret);
        self.ask(Act::Keep(secret)).await.expect("secrets can be written");
    }

    async fn set(&mut self, name: &'static str) {
        let secret = self.dice.pick(&SECRETS);
        let stored = &self.model.destinations[name];
        if !stored.exists || stored.purging.is_some() {
            return;
        }
        match self.ask(Act::Set(name, secret)).await {
            Ok(_) => self.model.associate(name, secret),
            Err(refused) => self.log.add(format!("refused: {refused}")),
        }
    }

    pub(super) async fn remove(&mut self, name: &'static str) {
        let secret = self.dice.pick(&SECRETS);
        let stored = &self.model.destinations[name];
        if !stored.exists || stored.purging.is_some() {
            return;
        }
        self.ask(Act::Remove(name, secret)).await.expect("associations can be removed");
        let stored = self.model.destinations.get_mut(name).expect("it exists");
        stored.associations.remove(secret);
    }

    async fn reconfigure(&mut self, name: &'static str) {
        let dice = self.dice.clone();
        let stored = self.model.destinations.get_mut(name).expect("it is known");
        if !stored.exists || stored.purging.is_some() {
            return;
        }
        let options = &mut stored.options;
        let act = match dice.below(5) {
            0 => {
                options.paused = !options.paused;
                Act::Rest(name)
            }
            1 => Act::Sync(name, dice.percent(50)),
            other => {
                match other {
                    2 => options.template = dice.below(TEMPLATES),
                    3 => options.by_key = !options.by_key,
                    _ => options.tags = tags(&dice),
                }
                Act::Configure(name)
            }
        };
        self.ask(act).await.expect("destinations can be configured");
    }

    pub(super) async fn switch(&mut self, disabled: bool) {
        self.model.disabled = disabled;
        self.ask(Act::Switch).await.expect("sync can be disabled and enabled");
    }

    async fn purge(&mut self, name: &'static str, force: bool) {
        let stored = &self.model.destinations[name];
        if stored.exists && stored.purging.is_none() && !self.model.disabled {
            self.begin_purge(name, force).await;
        }
    }

    pub(super) async fn begin_purge(&mut self, name: &'static str, force: bool) {
        self.ask(Act::Purge(name, force)).await.expect("destinations can be deleted");
        let stored = self.model.destinations.get_mut(name).expect("it is known");
        stored.purging = Some(force || stored.purging == Some(true));
        stored.associations.clear();
    }

    pub(super) async fn look_after_purges(&mut self) {
        for (name, stored) in &mut self.model.destinations {
            let Some(force) = stored.purging else { continue };
            let path = format!("sync/destinations/{KIND}/{name}");
            let life = self.session.life.clone();
            let gone = tokio::select! {
                biased;
                () = life.crashed() => continue,
                found = self.session.world.get(&path) => found.is_err(),
            };
            if gone {
                self.log.add(format!("{name}: gone"));
                (stored.exists, stored.purging) = (false, None);
                if force {
                    let mut books = self.accounts[name].books();
                    books.left_behind = books.service.objects().keys().cloned().collect();
                }
            }
        }
    }

    async fn create(&mut self, name: &'static str) {
        let stored = self.model.destinations.get_mut(name).expect("it is known");
        if stored.exists {
            return;
        }
        stored.exists = true;
        stored.options.paused = false;
        self.ask(Act::Configure(name)).await.expect("destinations can be made");
    }

    /// Asks until there is an answer, as users do.
    pub(super) async fn ask(&mut self, act: Act) -> Result<Value, String> {
        self.faults.acts += 1;
        self.log.add(format!("user: {act:?}"));
        loop {
            let life = self.session.life.clone();
            let answer = tokio::select! {
                biased;
                () = life.crashed() => None,
                answer = perform(&self.session.world, &self.model, &act) => Some(answer),
            };
            match answer {
                Some(answer) => return answer,
                None => self.come_back().await,
            }
        }
    }

    /// Whoever stopped something lets it go on.
    pub(super) async fn resume(&mut self) {
        self.switch(false).await;
        for name in self.accounts.keys().copied().collect::<Vec<_>>() {
            let stored = self.model.destinations.get_mut(name).expect("it is known");
            stored.options.paused = false;
            if stored.exists && stored.purging.is_none() {
                self.ask(Act::Rest(name)).await.expect("destinations can be configured");
            }
        }
    }

    /// Deletions that stopped are asked for again.
    pub(super) async fn end_purges(&mut self) {
        self.look_after_purges().await;
        for name in self.accounts.keys().copied().collect::<Vec<_>>() {
            if let Some(force) = self.model.destinations[name].purging {
                self.begin_purge(name, force).await;
            }
        }
    }

    /// The ledger, for whoever reads the story of a failure.
    pub(super) async fn ledger(&self) -> String {
        let store = Store::open(&self.session.world.barrier, &self.session.world.namespace);
        let mut text = String::new();
        for name in self.accounts.keys() {
            let id = store.destination_id(KIND, name);
            for (_, association) in store.associations(&id).await.expect("storage works") {
                text.push_str(&format!("ledger of {name}: {association:?}\n"));
            }
        }
        text
    }

    // ---- strangers ----

    fn tamper(&mut self, name: &'static str) {
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
                let tags = BTreeMap::from([(MARK_TAG.to_owned(), "0a0b.c0de".to_owned())]);
                Call::Tag { name: name.clone(), tags }
            }
        };
        account.meddle(&call);
        account.books().tampered.insert(name, tampered);
    }

    /// A stranger makes an object where we may want one, and have none.
    async fn squat(&mut self, name: &'static str) {
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
            _ => drop(tags.insert(MARK_TAG.to_owned(), "0a0b.c0de".to_owned())),
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

    fn change_weather(&mut self, name: &'static str) {
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

    // ---- the server ----

    async fn unmount(&mut self) {
        self.log.add("unmounted");
        let mounts = self.session.world.swap_mounts(bailee_sdk::Mounts::default());
        self.pass(self.dice.millis(700_000)).await;
        // After a crash the mounts are those of configuration.
        self.session.world.swap_mounts(mounts);
        self.log.add("mounted");
    }

    async fn restart(&mut self) {
        self.log.add("restart");
        self.session.world.stop().await;
        self.session.life.die();
        self.come_back().await;
    }

    /// Another session begins on the same storage while this one still works, for a while: it did not
    /// get its lease renewed, and the other one waited until that was over.
    async fn depose(&mut self) {
        let left = Duration::from_secs(30) + self.dice.millis(8_000);
        self.session.life.ends_in(left);
        self.pass(left).await;
        let life = self.next_life();
        let opened = tokio::select! {
            biased;
            () = life.crashed() => None,
            session = open(&self.memory, &self.accounts, &life, &self.clock) => Some(session),
        };
        let Some(session) = opened else { return };
        self.log.add("the session before works on");
        self.faults.overlaps += 1;
        self.session.life.depose();
        let deposed = std::mem::replace(&mut self.session, session);
        let end = self.dice.millis(8_000);
        tokio::spawn(async move {
            sleep(end).await;
            deposed.life.die();
            deposed.world.kill().await;
        });
    }

    /// The session has ended: another one begins on the same storage.
    pub(super) async fn come_back(&mut self) {
        self.session.life.die();
        self.faults.crashes += 1;
        self.log.add("the session ended");
        self.session.world.kill().await;
        sleep(self.dice.millis(3_000)).await;
        loop {
            let life = self.next_life();
            let opened = tokio::select! {
                biased;
                () = life.crashed() => None,
                session = open(&self.memory, &self.accounts, &life, &self.clock) => Some(session),
            };
            if let Some(session) = opened {
                self.session = session;
                return;
            }
        }
    }

    pub(super) fn next_life(&mut self) -> Arc<Life> {
        self.lives += 1;
        let number = 1 + self.dice.below(if self.dice.percent(50) { 8 } else { 80 });
        let end = match self.dice.below(7) {
            0 => Some(Crash::BeforeCommit(number)),
            1 => Some(Crash::AfterCommit(number)),
            2 => Some(Crash::BeforeCall(number)),
            3 => Some(Crash::AfterCall(number)),
            _ => None,
        };
        self.log.add(format!("session {} begins, to end at {end:?}", self.lives));
        Life::new(self.lives, end)
    }

    /// A session that lives on.
    pub(super) async fn settle_down(&mut self) {
        self.lives += 1;
        let life = Life::new(self.lives, None);
        self.log.add(format!("session {} begins", self.lives));
        self.session.life.die();
        self.session.world.kill().await;
        self.session = open(&self.memory, &self.accounts, &life, &self.clock).await;
    }
}

/// A session on storage.
pub(super) async fn open(
    memory: &Arc<Memory>,
    accounts: &BTreeMap<&'static str, Arc<Account>>,
    life: &Arc<Life>,
    clock: &Arc<dyn Clock>,
) -> Session {
    let disk = Disk { inner: memory.clone(), life: life.clone() };
    let barrier = barrier(Arc::new(disk)).await.expect("storage works");
    let settings = Settings { set_wait: Duration::from_millis(200), ..Settings::default() };
    let world = World::of_kind(
        barrier,
        Arc::default(),
        kind(accounts, life),
        settings,
        clock.clone(),
        life.tenure(),
    );
    Session { world, life: life.clone() }
}

fn options(dice: &Dice) -> Options {
    let ownership = [Ownership::Overwrite, Ownership::Adopt, Ownership::Refuse];
    let deletion =
        [Deletion::Delete, Deletion::Delete, Deletion::Schedule { days: 7 }, Deletion::Retain];
    Options {
        template: dice.below(TEMPLATES),
        by_key: dice.percent(40),
        tags: tags(dice),
        paused: false,
        drift: dice.pick(&[Drift::Repair, Drift::Repair, Drift::Report, Drift::Off]),
        ownership: dice.pick(&ownership),
        deletion: dice.pick(&deletion),
    }
}

fn tags(dice: &Dice) -> BTreeMap<String, String> {
    let tag = |key: &str| (key.to_owned(), dice.below(3).to_string());
    ["team", "cost"].into_iter().filter(|_| dice.percent(50)).map(tag).collect()
}

/// Names under which a destination has, or may have, something of ours.
pub(super) async fn begun(world: &World, name: &str) -> Vec<String> {
    let store = Store::open(&world.barrier, &world.namespace);
    let id = store.destination_id(KIND, name);
    let associations = store.associations(&id).await.expect("storage works");
    let objects = associations.into_iter().flat_map(|(_, association)| association.objects);
    objects.filter(|object| object.begun).map(|object| object.name).collect()
}

pub(super) async fn perform(world: &World, model: &Model, act: &Act) -> Result<Value, String> {
    let mut outcome = Err(String::new());
    for _ in 0..ATTEMPTS_MAX {
        outcome = perform_once(world, model, act).await;
        match &outcome {
            // The kernel runs a request again that met another one.
            Err(error) if error.contains("conflict") => {}
            _ => return outcome,
        }
    }
    outcome
}

async fn perform_once(world: &World, model: &Model, act: &Act) -> Result<Value, String> {
    let path = |name: &str| format!("sync/destinations/{KIND}/{name}");
    let secret = |secret: &str| json!({ "mount": "kv", "secret_name": secret });
    let answer = match act {
        Act::Keep(path) => {
            let versions = model.secrets.get(path).cloned().unwrap_or_default();
            let versions =
                versions.iter().map(|version| (!version.deleted).then(|| text(&version.keys)));
            let kept = world.keep(path, versions.collect()).await;
            return kept.map(|()| Value::Null).map_err(|error| error.to_string());
        }
        Act::Configure(name) => {
            world.post(&path(name), written(&model.destinations[name].options)).await
        }
        Act::Rest(name) => {
            let paused = model.destinations[name].options.paused;
            let what = if paused { "pause" } else { "resume" };
            world.post(&format!("{}/{what}", path(name)), json!({})).await
        }
        Act::Sync(name, repair) => {
            world.post(&format!("{}/sync", path(name)), json!({ "repair": repair })).await
        }
        Act::Set(name, of) => {
            world.post(&format!("{}/associations/set", path(name)), secret(of)).await
        }
        Act::Remove(name, of) => {
            world.post(&format!("{}/associations/remove", path(name)), secret(of)).await
        }
        Act::Purge(name, force) => {
            let input = json!({ "purge": true, "force_delete": force });
            world.call(Operation::Delete, &path(name), input).await
        }
        Act::Switch => world.post("sync/config", json!({ "disabled": model.disabled })).await,
    };
    answer.map_err(|error| error.to_string())
}

/// A destination as it is written whole.
fn written(options: &Options) -> Value {
    let granularity = if options.by_key { "secret-key" } else { "secret-path" };
    let mut input = json!({
        "secret_name_template": template(options.template, options.by_key),
        "granularity": granularity,
        "custom_tags": options.tags,
        "drift": options.drift,
        "ownership": options.ownership,
    });
    let (how, days) = match options.deletion {
        Deletion::Delete => ("delete", None),
        Deletion::Schedule { days } => ("schedule", Some(days)),
        Deletion::Retain => ("retain", None),
    };
    input["deletion"] = json!(how);
    if let Some(days) = days {
        input["recovery_window_days"] = json!(days);
    }
    input
}
