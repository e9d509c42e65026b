//! A year of leases, with crashes, storage that fails and an engine that refuses: none outlives its
//! end, none is lost.

use super::world::{HOUR, Mood, World, data};
use crate::token::tests::world::{DAY, Fault};
use bailee_sdk::{Code, Operation};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

/// A small generator with a seed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }
}

struct Holder {
    token: String,
    /// It is dead from here on, at the latest.
    end: SystemTime,
    /// It may be dead.
    perhaps_dead: bool,
}

/// What must hold of a loan.
struct Expected {
    id: String,
    loan: String,
    holder: usize,
    mount: &'static str,
    role: u64,
    /// Whether it must be gone by a time.
    end: SystemTime,
    /// It must be out until here, if nothing else ends it.
    sure_until: SystemTime,
    /// Its end was asked for and acknowledged.
    revoked: bool,
    /// Its end was asked for.
    perhaps_revoked: bool,
    /// An operator gave it up.
    perhaps_given_up: bool,
}

const MOUNTS: [&str; 2] = ["bank", "shop"];

struct Year {
    world: World,
    dice: Dice,
    holders: Vec<Holder>,
    loans: Vec<Expected>,
    /// Loans that nobody was told of and that may have been given up.
    unknown: BTreeSet<String>,
}

impl Year {
    async fn hold(&mut self) {
        let ttl = HOUR * (1 + self.dice.below(24 * 30) as u32);
        let input = json!({ "policies": ["root"], "ttl": ttl.as_secs() });
        if let Ok(made) = self.world.write("auth/token/create", input).await {
            let token = made.auth.unwrap().client_token.expose().clone();
            let end = self.world.now() + ttl;
            self.holders.push(Holder { token, end, perhaps_dead: false });
        }
    }

    async fn borrow(&mut self) {
        let Some(holder) = self.some_holder() else { return self.hold().await };
        let mount = MOUNTS[self.dice.below(2) as usize];
        let role = self.dice.below(4);
        let ttl = HOUR * (1 + self.dice.below(24 * 20) as u32);
        let before = self.world.ledger.out.lock().clone();
        let path = format!("{mount}/loans/{role}");
        let token = self.holders[holder].token.clone();
        match self.world.borrow(&path, ttl, &token).await {
            Ok((id, loan)) => {
                let end = self.world.now() + ttl;
                self.loans.push(Expected {
                    id,
                    loan,
                    holder,
                    mount,
                    role,
                    end,
                    sure_until: end,
                    revoked: false,
                    perhaps_revoked: false,
                    perhaps_given_up: false,
                });
            }
            Err(_) => {
                // What was made for a request that failed is the engine's to undo, by its intents;
                // unless the batch has landed: then the lease is there.
                let kept = self.kept().await;
                let mut out = self.world.ledger.out.lock();
                out.retain(|loan| before.contains(loan) || kept.contains(loan));
            }
        }
    }

    fn some_holder(&mut self) -> Option<usize> {
        let now = self.world.now();
        let alive: Vec<usize> = (0..self.holders.len())
            .filter(|at| self.holders[*at].end > now && !self.holders[*at].perhaps_dead)
            .collect();
        (!alive.is_empty()).then(|| alive[self.dice.below(alive.len() as u64) as usize])
    }

    fn some_loan(&mut self) -> Option<usize> {
        let recent = self.loans.len().min(40) as u64;
        (recent > 0).then(|| self.loans.len() - 1 - self.dice.below(recent) as usize)
    }

    async fn renew(&mut self) {
        let Some(at) = self.some_loan() else { return };
        let now = self.world.now();
        let increment = HOUR * (1 + self.dice.below(24 * 40) as u32);
        let was_over = self.must_be_gone(at, now);
        let wish = json!({ "lease_id": self.loans[at].id, "increment": increment.as_secs() });
        match self.world.write("sys/leases/renew", wish).await {
            Ok(answer) => {
                assert!(!was_over, "loan {at} was renewed after its end");
                let end = now + answer.leased.unwrap().ttl;
                (self.loans[at].end, self.loans[at].sure_until) = (end, end);
            }
            Err(error) if error.code == Code::InvalidRequest => {}
            Err(_) => {
                let loan = &mut self.loans[at];
                loan.end = loan.end.max(now + increment);
                loan.sure_until = loan.sure_until.min(now + increment);
            }
        }
    }

    async fn revoke(&mut self) {
        let Some(at) = self.some_loan() else { return };
        let sync = self.dice.below(2) == 0;
        let input = json!({ "lease_id": self.loans[at].id, "sync": sync });
        let done = self.world.write("sys/leases/revoke", input).await.is_ok();
        self.loans[at].perhaps_revoked = true;
        self.loans[at].revoked |= done;
    }

    async fn revoke_below(&mut self, force: bool) {
        let mount = MOUNTS[self.dice.below(2) as usize];
        let role = self.dice.below(4);
        let how = if force { "force" } else { "prefix" };
        let path = format!("sys/leases/revoke-{how}/{mount}/loans/{role}");
        let out = self.world.ledger.out.lock().clone();
        let done = self.world.write(&path, json!({ "sync": true })).await.is_ok();
        if force {
            // Also what was borrowed by a request that failed although its batch had landed.
            let known = |loan: &String| self.loans.iter().any(|known| known.loan == *loan);
            self.unknown.extend(out.into_iter().filter(|loan| !known(loan)));
        }
        for loan in self.loans.iter_mut().filter(|loan| loan.mount == mount && loan.role == role) {
            loan.perhaps_revoked = true;
            loan.revoked |= done;
            loan.perhaps_given_up |= force;
        }
    }

    async fn revoke_holder(&mut self) {
        let Some(at) = self.some_holder() else { return };
        let input = json!({ "token": self.holders[at].token });
        let done = self.world.write("auth/token/revoke", input).await.is_ok();
        self.holders[at].perhaps_dead = true;
        if done {
            self.holders[at].end = self.world.now();
        }
    }

    async fn unmount(&mut self) {
        let mount = MOUNTS[self.dice.below(2) as usize];
        let done = self.world.delete(&format!("sys/mounts/{mount}")).await.is_ok();
        for loan in self.loans.iter_mut().filter(|loan| loan.mount == mount) {
            loan.perhaps_revoked = true;
            loan.revoked |= done;
        }
        self.world.mount(mount).await.ok();
    }

    fn must_be_gone(&self, at: usize, now: SystemTime) -> bool {
        let loan = &self.loans[at];
        loan.revoked || loan.end <= now || self.holders[loan.holder].end <= now
    }

    fn must_be_out(&self, at: usize, now: SystemTime) -> bool {
        let loan = &self.loans[at];
        let holder = &self.holders[loan.holder];
        !loan.perhaps_revoked && now < loan.sure_until && !holder.perhaps_dead && now < holder.end
    }

    /// Loans that a stored lease stands for.
    async fn kept(&self) -> BTreeSet<String> {
        let view = self.world.kernel.barrier.view("n/root/lease/");
        let mut kept = BTreeSet::new();
        let mut entries = view.scan("id/");
        while let Some(entry) = futures_util::StreamExt::next(&mut entries).await {
            let record: Value = serde_json::from_slice(&entry.unwrap().1).unwrap();
            kept.insert(record["data"]["loan"].as_str().unwrap().to_owned());
        }
        kept
    }

    async fn check(&mut self) {
        let now = self.world.now();
        let kept = self.kept().await;
        let out = self.world.ledger.out.lock().clone();
        let given_up = |loan: &String| {
            self.unknown.contains(loan)
                || self.loans.iter().any(|known| known.loan == *loan && known.perhaps_given_up)
        };
        for loan in &out {
            assert!(kept.contains(loan) || given_up(loan), "the lease of {loan} is lost");
        }
        for at in 0..self.loans.len() {
            let loan = &self.loans[at];
            let is_out = out.contains(&loan.loan);
            assert!(is_out || !self.must_be_out(at, now), "{} ended too early", loan.loan);
        }
    }

    /// With storage and the engine at work all that is over is gone, but for the pause after a failure.
    async fn check_ends(&mut self) {
        self.world.backend.fail(|| None);
        self.world.mood(Mood::Works);
        self.world.pass().await;
        let now = self.world.now();
        let out = self.world.ledger.out.lock().clone();
        for at in 0..self.loans.len() {
            let loan = &self.loans[at];
            if !self.must_be_gone(at, now) || !out.contains(&loan.loan) || loan.perhaps_given_up {
                continue;
            }
            let shown = self.world.look_up(&loan.id).await.unwrap();
            let reason = &shown["revoke_error"];
            assert_eq!(reason, "the lender is away", "{} outlives its end", loan.loan);
        }
        // Gone within one pause of the engine's return.
        self.world.clock.advance(super::super::revoke::BACKOFF_MAX);
        self.world.pass().await;
        let out = self.world.ledger.out.lock().clone();
        for at in 0..self.loans.len() {
            let loan = &self.loans[at];
            let is_out = out.contains(&loan.loan) && !loan.perhaps_given_up;
            assert!(!is_out || !self.must_be_gone(at, now), "{} is never revoked", loan.loan);
        }
    }

    async fn step(&mut self) {
        match self.dice.below(100) {
            0..10 => self.hold().await,
            10..45 => self.borrow().await,
            45..58 => self.renew().await,
            58..65 => self.revoke().await,
            65..68 => self.revoke_below(false).await,
            68..69 => self.revoke_below(true).await,
            69..72 => self.revoke_holder().await,
            72..73 => self.unmount().await,
            73..77 => self.world.restart().await,
            77..85 => {
                let now = self.world.now();
                self.world.kernel.tokens.expire_pass(now).await.ok();
                self.world.kernel.leases.pass(now).await.ok();
            }
            85..89 => self.world.mood(Mood::Refuses),
            89..90 => self.world.mood(Mood::Throttles(1)),
            90..93 => self.world.mood(Mood::Works),
            93..96 => {
                let mut dice = Dice(self.dice.roll() | 1);
                self.world.backend.fail(move || match dice.below(4) {
                    0 => Some(Fault::Before),
                    1 => Some(Fault::After),
                    _ => None,
                });
            }
            96..98 => {
                self.world.backend.fail(|| None);
            }
            _ => self.check_ends().await,
        }
        self.world.clock.advance(Duration::from_secs(60 * self.dice.below(60 * 10)));
    }
}

async fn live_through(seed: u64) {
    let world = World::new().await;
    world.mount("shop").await.unwrap();
    let start = world.now();
    let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut year =
        Year { world, dice, holders: Vec::new(), loans: Vec::new(), unknown: BTreeSet::new() };
    while year.world.now() < start + DAY * 365 {
        year.step().await;
        year.check().await;
    }
    assert!(year.loans.len() > 100, "seed {seed}: {}", year.loans.len());
    year.check_ends().await;
    year.world.restart().await;
    year.world.clock.advance(DAY * 100);
    year.world.pass().await;
    year.check().await;
    assert_eq!(year.world.lease_keys().await, Vec::<String>::new(), "seed {seed}");
    let answer = year.world.call(Operation::Read, "sys/leases/count", json!({}), &year.world.root);
    assert_eq!(data(&answer.await.unwrap())["lease_count"], 0);
}

#[tokio::test(start_paused = true)]
async fn in_a_year_of_crashes_and_refusals_no_lease_outlives_its_end_or_is_lost() {
    let seeds = if cfg!(feature = "slow-tests") { 100 } else { 3 };
    for seed in 1..=seeds {
        live_through(seed).await;
    }
}
