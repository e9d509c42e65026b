//! What users do: write, associate, configure, purge, each repeated until it is acknowledged.

use super::{
    account::KIND,
    model::{KEYS, Keys, Model, Options, SECRETS, TEMPLATES, Version, template, text},
    story::{Story, tags},
};
use crate::{destination::Deletion, store::Store, tests::world::World};
use bailee_sdk::Operation;
use serde_json::{Value, json};
use std::time::Duration;

/// Attempts of a request that meets another one.
const ATTEMPTS_MAX: usize = 20;

/// How long calls are under way at most.
const UNDER_WAY: Duration = Duration::from_secs(60);

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

    pub(super) async fn undelete(&mut self) {
        let secret = self.dice.pick(&SECRETS);
        let versions = self.model.secrets.entry(secret).or_default();
        if let Some(newest) = versions.iter_mut().rev().find(|version| version.deleted) {
            newest.deleted = false;
            self.keep(secret).await;
        }
    }

    pub(super) async fn destroy(&mut self) {
        let secret = self.dice.pick(&SECRETS);
        self.model.secrets.entry(secret).or_default().clear();
        self.keep(secret).await;
    }

    async fn keep(&mut self, secret: &'static str) {
        self.heads.note(&self.model, secret);
        self.ask(Act::Keep(secret)).await.expect("secrets can be written");
    }

    pub(super) async fn set(&mut self, name: &'static str) {
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

    pub(super) async fn reconfigure(&mut self, name: &'static str) {
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

    pub(super) async fn purge(&mut self, name: &'static str, force: bool) {
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
                    let there = books.service.objects().keys().cloned();
                    // Nobody waits for what is under way.
                    let sent = books.sent.iter().filter(|(_, at)| at.elapsed() < UNDER_WAY);
                    let sent = sent.map(|(name, _)| name.clone());
                    books.left_behind = there.chain(sent).collect();
                }
            }
        }
    }

    pub(super) async fn create(&mut self, name: &'static str) {
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
