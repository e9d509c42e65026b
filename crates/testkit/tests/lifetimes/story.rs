//! What happens in one run, and what must hold of it at every moment.

use super::{
    way::{Seen, Weather},
    world::{HOUR, World, data},
};
use bailee_sdk::{
    Operation,
    testing::{Dice, Log},
};
use bailee_storage::testing::Crash;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::json;
use std::time::{Duration, SystemTime};
use tokio::time::{sleep, timeout};

/// A key that is given out with a warning works by then.
const USABLE: Duration = Duration::from_secs(20);
/// How long past its end a key may live without a reason that is shown: a mount whose engine fails is
/// tried less and less often.
const UNEXPLAINED_MAX: Duration = Duration::from_secs(30 * 60);
/// How long a session has had to look at what is overdue.
const SETTLED: Duration = Duration::from_secs(15 * 60);
/// While nothing goes wrong, what is over ends by then.
const PROMPT: Duration = Duration::from_secs(120);
/// Times at which a call or commit of a session can be its last.
const LAST_MAX: u64 = 60;

pub(super) struct Story {
    pub(super) world: World,
    pub(super) dice: Dice,
    pub(super) log: Log,
    /// The longest life of a lease.
    pub(super) longest: Duration,
    holders: Vec<Holder>,
    credentials: Vec<Credential>,
    /// Since when the session runs.
    began: SystemTime,
    /// It has an end of its own before it.
    is_doomed: bool,
    sessions: u64,
}

/// A token.
#[derive(Clone)]
struct Holder {
    token: String,
    /// It lives at least so long, if nobody ends it.
    sure_until: SystemTime,
    /// It is dead by then.
    end: SystemTime,
    perhaps_revoked: bool,
}

/// A key that somebody got.
#[derive(Clone)]
struct Credential {
    lease: String,
    key: String,
    holder: usize,
    given: SystemTime,
    sure_until: SystemTime,
    end: SystemTime,
    perhaps_revoked: bool,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Hold,
    Create { holder: usize },
    Renew { at: usize, increment: Duration },
    Revoke { at: usize, sync: bool },
    RevokeAll { sync: bool },
    RevokeHolder { holder: usize },
    Hang,
}

/// What an act came to, when somebody heard of it.
enum Heard {
    Holder(Holder),
    Created(Credential),
    Renewed { at: usize, sure_until: SystemTime, end: SystemTime },
    Revoked { at: usize },
    RevokedAll,
    HolderRevoked { holder: usize },
}

impl Story {
    pub(super) async fn begin(seed: u64) -> Story {
        let dice = Dice::new(seed);
        let world = World::new(dice.clone(), 10 + dice.below(150)).await;
        let term = Duration::from_secs(600 * (1 + dice.below(6)));
        let longest = 2 * HOUR;
        let lease = json!({ "lease": term.as_secs(), "lease_max": longest.as_secs() });
        world.write("aws/config/lease", lease).await.unwrap();
        let root = json!({ "wait_until_usable": dice.percent(70), "max_retries": dice.below(4) });
        world.write("aws/config/root", root).await.unwrap();
        let far = world.now() + HOUR * 24 * 365;
        let root =
            Holder { token: world.root.clone(), sure_until: far, end: far, perhaps_revoked: false };
        Story {
            log: world.network.log.clone(),
            began: world.now(),
            world,
            dice,
            longest,
            holders: vec![root],
            credentials: Vec::new(),
            is_doomed: false,
            sessions: 1,
        }
    }

    pub(super) fn told(&self, wrong: &str) -> String {
        format!("{}\n{wrong}", self.log.text())
    }

    pub(super) fn seen(&self) -> Seen {
        let given = self.credentials.len() as u64;
        Seen { sessions: self.sessions, given, ..*self.world.network.seen.lock() }
    }

    pub(super) async fn step(&mut self) {
        match self.dice.below(100) {
            0..12 => self.weather(),
            12..18 => self.refuse(),
            18..24 => self.restart().await,
            24..28 => self.key_delay(),
            _ => self.some_acts().await,
        }
        let pause = match self.dice.below(10) {
            0..6 => self.dice.millis(120_000),
            6..9 => self.dice.millis(900_000),
            _ => self.dice.millis(3_600_000),
        };
        self.wait(pause).await;
    }

    /// Time goes by; a session that ends meanwhile is followed by another, sooner or later.
    async fn wait(&mut self, pause: Duration) {
        sleep(pause).await;
        if self.world.is_dead() {
            sleep(self.dice.millis(600_000)).await;
            self.restart().await;
        }
    }

    fn weather(&mut self) {
        let worst = self.dice.pick(&[0, 5, 20, 60]);
        let dice = &self.dice;
        let weather = Weather {
            throttled: dice.below(worst + 1),
            away: dice.below(worst + 1) / if dice.percent(80) { 4 } else { 1 },
            request_lost: dice.below(worst + 1) / 4,
            reply_lost: dice.below(worst + 1) / 3,
            slow: dice.below(20),
        };
        self.log.add(format!("{weather:?}"));
        *self.world.network.weather.lock() = weather;
    }

    /// Somebody changes what the engine may do.
    fn refuse(&mut self) {
        let without = self.dice.pick(&[
            "",
            "*",
            "iam:DeleteUser",
            "iam:DeleteAccessKey",
            "iam:DetachUserPolicy",
            "iam:RemoveUserFromGroup",
            "iam:CreateAccessKey",
            "iam:TagUser",
            "iam:GetUser",
            "iam:List*",
        ]);
        self.log.add(format!("the engine's user may not {without:?}"));
        let denial = json!({
            "Version": "2012-10-17",
            "Statement": { "Effect": "Deny", "Action": without, "Resource": "*" },
        });
        let denial = denial.to_string();
        let all = [self.world.policy.as_str(), &denial];
        let policies = if without.is_empty() { &all[..1] } else { &all[..] };
        assert!(self.world.aws().set_user_policies("engine", policies));
    }

    fn key_delay(&mut self) {
        let (key, policy) = (self.dice.millis(14_000), self.dice.millis(30_000));
        self.log.add(format!("keys are known after {key:?}, policies after {policy:?}"));
        self.world.aws().set_new_key_delay(key);
        self.world.aws().set_new_policy_delay(policy);
    }

    async fn restart(&mut self) {
        let last = self.dice.below(LAST_MAX);
        let end = match self.dice.below(6) {
            0 => Some(Crash::BeforeCommit(last)),
            1 => Some(Crash::AfterCommit(last)),
            2 => Some(Crash::BeforeCall(last)),
            3 => Some(Crash::AfterCall(last)),
            _ => None,
        };
        self.begin_session(end).await;
    }

    async fn begin_session(&mut self, end: Option<Crash>) {
        self.log.add(format!("another session, {end:?}"));
        self.world.restart(end).await;
        self.is_doomed = end.is_some();
        self.began = self.world.now();
        self.sessions += 1;
    }

    fn some_holder(&self) -> usize {
        self.dice.below(self.holders.len() as u64) as usize
    }

    fn act(&self) -> Act {
        let recent = self.credentials.len().min(12) as u64;
        let at = self.credentials.len().saturating_sub(1 + self.dice.below(recent) as usize);
        let increment = Duration::from_secs(60 * self.dice.below(90));
        match self.dice.below(100) {
            0..8 => Act::Hold,
            55..70 if recent > 0 => Act::Renew { at, increment },
            70..85 if recent > 0 => Act::Revoke { at, sync: self.dice.percent(50) },
            85..90 => Act::RevokeAll { sync: self.dice.percent(50) },
            90..94 if self.holders.len() > 1 => {
                let others = self.holders.len() as u64 - 1;
                Act::RevokeHolder { holder: 1 + self.dice.below(others) as usize }
            }
            94..98 => Act::Hang,
            _ => Act::Create { holder: self.some_holder() },
        }
    }

    /// Up to three at once, by users of whom some go away before they are answered.
    async fn some_acts(&mut self) {
        let acts: Vec<Act> = (0..=self.dice.below(3)).map(|_| self.act()).collect();
        acts.iter().for_each(|act| self.expect(*act));
        let patience: Vec<Duration> = acts.iter().map(|_| self.patience()).collect();
        let heard = Mutex::new(Vec::new());
        let work = acts.iter().zip(patience).map(|(act, patience)| {
            let heard = &heard;
            let this = &*self;
            async move {
                this.log.add(format!("{act:?}, for {patience:?}"));
                match timeout(patience, this.perform(*act)).await {
                    Ok(Some(told)) => heard.lock().push(told),
                    Ok(None) => {}
                    Err(_) => this.log.add(format!("{act:?} is not waited for")),
                }
            }
        });
        tokio::select! {
            biased;
            _ = join_all(work) => {}
            () = self.world.session.life.crashed() => self.log.add("the session is over"),
        }
        heard.into_inner().into_iter().for_each(|told| self.learn(told));
    }

    fn patience(&self) -> Duration {
        if self.dice.percent(85) { HOUR } else { self.dice.millis(20_000) }
    }

    /// What may be so from now on, whatever becomes of the act.
    fn expect(&mut self, act: Act) {
        let now = self.world.now();
        match act {
            Act::Hold | Act::Create { .. } | Act::Hang => {}
            Act::Renew { at, increment } => {
                // Nothing given means the term of the mount.
                let longest = if increment.is_zero() { self.longest } else { increment };
                let credential = &mut self.credentials[at];
                credential.end = credential.end.max(now + longest + HOUR / 4);
                credential.sure_until = credential.sure_until.min(now + increment);
            }
            Act::Revoke { at, .. } => self.credentials[at].perhaps_revoked = true,
            Act::RevokeAll { .. } => {
                self.credentials.iter_mut().for_each(|it| it.perhaps_revoked = true);
            }
            Act::RevokeHolder { holder } => self.holders[holder].perhaps_revoked = true,
        }
    }

    async fn perform(&self, act: Act) -> Option<Heard> {
        let world = &self.world;
        let before = world.now();
        match act {
            Act::Hold => {
                let ttl = Duration::from_secs(60 * (10 + self.dice.below(120)));
                let input = json!({ "policies": ["root"], "ttl": ttl.as_secs() });
                let made = world.write("auth/token/create", input).await.ok()?;
                let token = made.auth?.client_token.expose().clone();
                let (sure_until, end) = (before + ttl, world.now() + ttl);
                Some(Heard::Holder(Holder { token, sure_until, end, perhaps_revoked: false }))
            }
            Act::Create { holder } => {
                let token = &self.holders[holder].token;
                let asked = world.call(Operation::Read, "aws/creds/ci", json!({}), token).await;
                let answer =
                    asked.inspect_err(|error| self.log.add(format!("no key: {error}"))).ok()?;
                let key = data(&answer)["access_key"].as_str().unwrap().to_owned();
                let leased = answer.leased.unwrap();
                self.log.add(format!("got {} for {:?}", leased.id, leased.ttl));
                let (given, sure_until) = (world.now(), before + leased.ttl);
                let end = given + leased.ttl;
                let (lease, perhaps_revoked) = (leased.id, false);
                Some(Heard::Created(Credential {
                    lease,
                    key,
                    holder,
                    given,
                    sure_until,
                    end,
                    perhaps_revoked,
                }))
            }
            Act::Renew { at, increment } => {
                let lease = &self.credentials[at].lease;
                let wish = json!({ "lease_id": lease, "increment": increment.as_secs() });
                let answer = world.write("sys/leases/renew", wish).await.ok()?;
                let ttl = answer.leased.unwrap().ttl;
                let end = world.now() + ttl;
                Some(Heard::Renewed { at, sure_until: before + ttl, end })
            }
            Act::Revoke { at, sync } => {
                let input = json!({ "lease_id": self.credentials[at].lease, "sync": sync });
                world.write("sys/leases/revoke", input).await.ok()?;
                Some(Heard::Revoked { at })
            }
            Act::RevokeAll { sync } => {
                let path = "sys/leases/revoke-prefix/aws/creds";
                world.write(path, json!({ "sync": sync })).await.ok()?;
                Some(Heard::RevokedAll)
            }
            Act::RevokeHolder { holder } => {
                let input = json!({ "token": self.holders[holder].token });
                world.write("auth/token/revoke", input).await.ok()?;
                Some(Heard::HolderRevoked { holder })
            }
            Act::Hang => {
                let users = world.users();
                if !users.is_empty() {
                    let at = self.dice.below(users.len() as u64) as usize;
                    world.aws().hang_everything_on(&users[at]);
                }
                None
            }
        }
    }

    fn learn(&mut self, heard: Heard) {
        let now = self.world.now();
        match heard {
            Heard::Holder(holder) => self.holders.push(holder),
            Heard::Created(credential) => self.credentials.push(credential),
            Heard::Renewed { at, sure_until, end } => {
                let credential = &mut self.credentials[at];
                (credential.sure_until, credential.end) = (sure_until, end);
            }
            Heard::Revoked { at } => {
                let credential = &mut self.credentials[at];
                credential.end = credential.end.min(now);
            }
            // Those that came while it was under way are not meant.
            Heard::RevokedAll => {
                let meant = self.credentials.iter_mut().filter(|it| it.perhaps_revoked);
                meant.for_each(|credential| credential.end = credential.end.min(now));
            }
            Heard::HolderRevoked { holder } => self.holders[holder].end = now,
        }
    }

    /// When a credential is over at the latest.
    fn over(&self, credential: &Credential) -> SystemTime {
        credential.end.min(self.holders[credential.holder].end)
    }

    /// What must hold at any moment.
    pub(super) async fn check(&self) -> Result<(), String> {
        let now = self.world.now();
        for credential in &self.credentials {
            let holder = &self.holders[credential.holder];
            let sure = !credential.perhaps_revoked && !holder.perhaps_revoked;
            let until = credential.sure_until.min(holder.sure_until);
            let works = self.world.aws().key_works(&credential.key);
            if sure && now < until && credential.given + USABLE < now && !works {
                return Err(format!("{} ended too early", credential.lease));
            }
            let settled = self.began + SETTLED < now && !self.world.is_dead();
            if works && settled && self.over(credential) + UNEXPLAINED_MAX < now {
                self.is_explained(credential).await?;
            }
        }
        Ok(())
    }

    async fn is_explained(&self, credential: &Credential) -> Result<(), String> {
        let id = json!({ "lease_id": credential.lease });
        let looked = tokio::select! {
            biased;
            looked = self.world.write("sys/leases/lookup", id) => looked,
            () = self.world.session.life.crashed() => return Ok(()),
        };
        let shown = looked.map_err(|error| format!("{} lives, {error}", credential.lease))?;
        if data(&shown)["revoke_error"].is_string() {
            return Ok(());
        }
        Err(format!("{} lives past its end, and nothing says why", credential.lease))
    }

    /// Nothing goes wrong any more.
    pub(super) async fn calm_down(&mut self) {
        self.log.add("quiet");
        *self.world.network.weather.lock() = Weather::default();
        let policy = self.world.policy.clone();
        self.world.aws().set_user_policies("engine", &[&policy]);
        if self.is_doomed || self.world.is_dead() {
            self.begin_session(None).await;
        }
    }

    /// With IAM at work all that is over is gone.
    pub(super) fn nothing_outlives_its_end(&self) -> Result<(), String> {
        let now = self.world.now();
        let over = self.credentials.iter().filter(|it| self.over(it) + PROMPT < now);
        for credential in over {
            if self.world.aws().key_works(&credential.key) {
                return Err(format!("{} outlives its end", credential.lease));
            }
        }
        Ok(())
    }
}
