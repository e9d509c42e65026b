//! One run: users, strangers, weather and crashes in an order that follows from the seed.

use super::{
    account::{Account, Faults, kind},
    model::{DESTINATIONS, Destination, Heads, Model, Options, TEMPLATES},
};
use crate::{
    Settings, Tenure,
    destination::{Deletion, Ownership},
    registry::Drift,
    tests::world::{World, barrier},
};
use bailee_sdk::{
    Clock,
    testing::{Dice, Log, TestClock},
};
use bailee_storage::{
    memory::Memory,
    testing::{Crash, Disk, Life},
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;

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
    pub(super) values: u64,
}

impl Story {
    pub(super) async fn begin(seed: u64) -> Story {
        let (dice, log) = (Dice::new(seed), Log::default());
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
            72..79 => self.tamper(name),
            79..83 => self.squat(name),
            83..87 => self.replace(name),
            87..94 => self.change_weather(name),
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
        Tenure::until(life.lease()),
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

pub(super) fn tags(dice: &Dice) -> BTreeMap<String, String> {
    let tag = |key: &str| (key.to_owned(), dice.below(3).to_string());
    ["team", "cost"].into_iter().filter(|_| dice.percent(50)).map(tag).collect()
}
