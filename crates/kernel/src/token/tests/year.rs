//! A year of tokens, with crashes and storage that fails: none outlives its end.

use super::{
    super::{Kind, Made, NewToken, Token, role::Role},
    World,
    world::{DAY, Fault},
};
use bailee_sdk::{Code, Namespace, Sensitive};
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);
/// The auth mount and the role that some tokens are made by.
const MOUNT: &str = "door";
const ROLE: &str = "ci";

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

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What must hold of a token.
struct Expected {
    secret: Sensitive<String>,
    made: Made,
    parent: Option<usize>,
    /// It must not work from here on.
    end: SystemTime,
    /// It must work until here, if nothing else ends it.
    sure_until: SystemTime,
    revoked: bool,
    /// Its revocation may have come through.
    perhaps_revoked: bool,
    /// How often it was used.
    uses: u64,
    /// Its last use was made: nobody gets in with it, and what is left of it goes.
    used_up: bool,
}

impl Expected {
    fn is_batch(&self) -> bool {
        self.made.token.kind == Kind::Batch
    }
}

struct Year {
    world: World,
    dice: Dice,
    tokens: Vec<Expected>,
    /// The latest time there was: what ended by then may be seen as ended.
    latest: SystemTime,
    /// The period that the role gives, if it is there; `None` when that is not known.
    role: Option<Option<Duration>>,
}

impl Year {
    fn must_be_dead(&self, index: usize, now: SystemTime) -> bool {
        let token = &self.tokens[index];
        token.revoked
            || token.used_up
            || token.end <= now
            || token.parent.is_some_and(|parent| self.must_be_dead(parent, now))
    }

    fn must_be_alive(&self, index: usize, now: SystemTime) -> bool {
        let token = &self.tokens[index];
        !token.revoked
            && !token.used_up
            && !token.perhaps_revoked
            && now < token.sure_until
            && token.parent.is_none_or(|parent| self.must_be_alive(parent, now))
    }

    async fn check(&mut self, index: usize) {
        let now = self.world.tokens.clock.now();
        let alive = self.world.is_alive(&self.tokens[index].secret).await;
        if alive {
            assert!(!self.must_be_dead(index, now), "token {index} outlives its end");
        } else {
            assert!(!self.must_be_alive(index, self.latest), "token {index} died before its end");
            // Dead once, dead for ever.
            self.tokens[index].revoked |= self.tokens[index].end <= now;
        }
    }

    async fn create(&mut self) {
        let span = |dice: &mut Dice| HOUR * (1 + dice.below(24 * 60) as u32);
        let parent = (self.dice.chance(60) && !self.tokens.is_empty())
            .then(|| self.dice.below(self.tokens.len() as u64) as usize);
        let ttl = span(&mut self.dice);
        let mut new = self.world.plain(ttl);
        match self.dice.below(10) {
            0..2 => new = NewToken { kind: Kind::Batch, renewable: false, ..new },
            2..4 => new.mount = Some(MOUNT.to_owned()),
            4 => new.num_uses = 1 + self.dice.below(3),
            5 => match self.role {
                Some(Some(period)) => {
                    new = NewToken { role: Some(ROLE.to_owned()), period, ..new };
                }
                Some(None) | None => return,
            },
            _ => {}
        }
        if new.kind == Kind::Service && new.role.is_none() && self.dice.chance(20) {
            new.period = span(&mut self.dice);
        }
        if new.kind == Kind::Service && self.dice.chance(30) {
            new.explicit_max_ttl = span(&mut self.dice);
        }
        if let Some(parent) = parent {
            let token = &self.tokens[parent];
            if token.is_batch()
                || token.made.token.num_uses > 0
                || self.must_be_dead(parent, self.world.tokens.clock.now())
            {
                // The kernel would not have let such a caller in.
                return;
            }
            new.parent = Some(token.made.token.id.clone());
        }
        // A failed creation gives nobody a token.
        if let Ok(made) = self.world.try_made(new.clone()).await {
            let end = made.token.expires.unwrap();
            let limit =
                if new.explicit_max_ttl.is_zero() { DAY * 32 } else { new.explicit_max_ttl };
            assert!(end <= new.now + limit);
            self.tokens.push(Expected {
                secret: made.secret.clone(),
                made,
                parent,
                end,
                sure_until: end,
                revoked: false,
                perhaps_revoked: false,
                uses: 0,
                used_up: false,
            });
        }
    }

    async fn renew(&mut self, index: usize) {
        if self.tokens[index].used_up && !self.tokens[index].revoked {
            // A last request that is still under way may prolong it; it does not live on by that.
            return;
        }
        let now = self.world.tokens.clock.now();
        let id = self.tokens[index].made.token.id.clone();
        let increment = HOUR * self.dice.below(24 * 40) as u32;
        let was_dead = self.must_be_dead(index, now);
        let role = self.role;
        let token = &mut self.tokens[index];
        match self.world.tokens.renew(&id, increment, now).await {
            Ok(renewed) => {
                assert!(!was_dead, "token {index} was renewed after its end");
                assert!(!token.is_batch(), "token {index} cannot be renewed");
                if let (Some(_), Some(role)) = (&token.made.token.role, role) {
                    let period = role.expect("a token of a role that is gone is not renewed");
                    assert_eq!(renewed.token.period, period);
                    token.made.token = renewed.token.clone();
                }
                let end = renewed.token.expires.unwrap();
                let explicit = token.made.token.explicit_max_ttl;
                if !explicit.is_zero() {
                    assert!(end <= token.made.token.created + explicit);
                } else if token.made.token.period.is_zero() {
                    assert!(end <= token.made.token.created + DAY * 32);
                }
                (token.end, token.sure_until) = (end, end);
            }
            Err(error) if error.code == Code::Internal => {
                // It may have come through: at most so long, at least until now.
                token.end = token.end.max(now + DAY * 60);
                token.sure_until = now;
            }
            Err(_) => {}
        }
    }

    /// One request of its owner.
    async fn spend(&mut self, index: usize) {
        let Ok(Some(found)) = self.world.tokens.authenticate(&self.tokens[index].secret).await
        else {
            return;
        };
        let spent = self.world.tokens.spend(&found).await;
        let token = &mut self.tokens[index];
        let most = token.made.token.num_uses;
        match spent {
            Ok(Some(spent)) => {
                token.uses += 1;
                assert!(most == 0 || token.uses <= most, "token {index} is used too often");
                if spent.used_up {
                    token.used_up = true;
                    // As the kernel does when the request is over.
                    let done = self.world.tokens.revoke_tree(&found.id).await.is_ok();
                    self.tokens[index].revoked |= done;
                }
            }
            Ok(None) => assert!(most > 0, "token {index} has no limit"),
            // It may have been its last use.
            Err(_) => token.perhaps_revoked |= most > 0,
        }
    }

    async fn revoke(&mut self, index: usize) {
        if self.tokens[index].is_batch() {
            return;
        }
        let id = self.tokens[index].made.token.id.clone();
        match self.world.tokens.revoke_tree(&id).await {
            Ok(()) => self.tokens[index].revoked = true,
            Err(_) => self.tokens[index].perhaps_revoked = true,
        }
    }

    async fn revoke_logins(&mut self) {
        let done = self.world.tokens.revoke_logins(&Namespace::root(), MOUNT).await.is_ok();
        for token in self.tokens.iter_mut().filter(|token| token.made.token.mount.is_some()) {
            token.perhaps_revoked = true;
            token.revoked |= done;
        }
    }

    /// Writes the role anew, or removes it.
    async fn change_role(&mut self) {
        let hours = self.dice.below(48);
        let view = self.world.barrier.view("");
        let tokens = &self.world.tokens;
        let period = (hours > 0).then(|| HOUR * hours as u32);
        if let Some(period) = period {
            let role = Role { token_period: period.as_secs(), ..Role::default() };
            tokens.put_role(&view, "root", ROLE, &role).await.unwrap();
        } else {
            tokens.delete_role(&view, "root", ROLE).await.unwrap();
        }
        self.role = view.commit().await.is_ok().then_some(period);
    }

    async fn step(&mut self) {
        self.latest = self.latest.max(self.world.clock_now());
        let some = self.dice.below(self.tokens.len().max(1) as u64) as usize;
        match self.dice.below(100) {
            0..35 => self.create().await,
            35..60 if !self.tokens.is_empty() => self.renew(some).await,
            60..66 if !self.tokens.is_empty() => self.revoke(some).await,
            66..69 if !self.tokens.is_empty() => self.spend(some).await,
            69..70 => self.revoke_logins().await,
            70..72 => self.change_role().await,
            72..75 => self.world.restart().await,
            75..85 => {
                self.world.pass().await.ok();
            }
            85..88 => {
                let mut dice = Dice(self.dice.roll() | 1);
                self.world.backend.fail(move || match dice.below(4) {
                    0 => Some(Fault::Before),
                    1 => Some(Fault::After),
                    _ => None,
                });
            }
            88..92 => self.world.backend.fail(|| None),
            92..94 => self.world.clock.go_back(HOUR * self.dice.below(5) as u32),
            _ => self.world.clock.advance(DAY * self.dice.below(3) as u32),
        }
        self.world.clock.advance(HOUR * self.dice.below(12) as u32);
    }
}

#[tokio::test]
async fn in_a_year_of_crashes_and_faults_no_token_outlives_its_end() {
    let seeds = if cfg!(feature = "slow-tests") { 200_u64 } else { 4 };
    for seed in 1..=seeds {
        let world = World::new().await;
        let start = world.clock_now();
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut year = Year { world, dice, tokens: Vec::new(), latest: start, role: Some(None) };
        while year.world.clock_now() < start + DAY * 365 {
            year.step().await;
            year.latest = year.latest.max(year.world.clock_now());
            for _ in 0..3 {
                if !year.tokens.is_empty() {
                    let index = year.dice.below(year.tokens.len() as u64) as usize;
                    year.check(index).await;
                }
            }
        }
        assert!(year.tokens.len() > 100);
        let drawn: [fn(&Token) -> bool; 4] = [
            |token| token.kind == Kind::Batch,
            |token| token.role.is_some(),
            |token| token.mount.is_some(),
            |token| token.num_uses > 0,
        ];
        for (kind, is_drawn) in drawn.iter().enumerate() {
            let some = year.tokens.iter().any(|token| is_drawn(&token.made.token));
            assert!(some, "seed {seed}: no token of kind {kind}");
        }
        for index in 0..year.tokens.len() {
            year.check(index).await;
        }
        year.world.backend.fail(|| None);
        year.world.restart().await;
        year.world.clock.advance(DAY * 400);
        assert_eq!(year.world.pass().await.unwrap(), None);
        let mut left = year.world.backend.keys_under("n/root/token/").await;
        left.retain(|key| !key.starts_with("n/root/token/role/"));
        assert_eq!(left.len(), 3, "seed {seed}: {left:?}");
    }
}

impl World {
    fn clock_now(&self) -> SystemTime {
        self.tokens.clock.now()
    }
}
