//! A year of tokens, with crashes and storage that fails: none outlives its end.

use super::{
    super::Made,
    World,
    world::{DAY, Fault},
};
use bailee_sdk::Sensitive;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

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
}

struct Year {
    world: World,
    dice: Dice,
    tokens: Vec<Expected>,
    /// The latest time there was: what ended by then may be seen as ended.
    latest: SystemTime,
}

impl Year {
    fn must_be_dead(&self, index: usize, now: SystemTime) -> bool {
        let token = &self.tokens[index];
        token.revoked
            || token.end <= now
            || token.parent.is_some_and(|parent| self.must_be_dead(parent, now))
    }

    fn must_be_alive(&self, index: usize, now: SystemTime) -> bool {
        let token = &self.tokens[index];
        !token.revoked
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
        if self.dice.chance(20) {
            new.period = span(&mut self.dice);
        }
        if self.dice.chance(30) {
            new.explicit_max_ttl = span(&mut self.dice);
        }
        if let Some(parent) = parent {
            new.parent = Some(self.tokens[parent].made.token.id.clone());
        }
        let dead_parent =
            parent.is_some_and(|parent| self.must_be_dead(parent, self.world.tokens.clock.now()));
        if dead_parent {
            // The kernel would not have let such a caller in.
            return;
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
            });
        }
    }

    async fn renew(&mut self, index: usize) {
        let now = self.world.tokens.clock.now();
        let id = self.tokens[index].made.token.id.clone();
        let increment = HOUR * self.dice.below(24 * 40) as u32;
        let was_dead = self.must_be_dead(index, now);
        let token = &mut self.tokens[index];
        match self.world.tokens.renew(&id, increment, now).await {
            Ok(renewed) => {
                assert!(!was_dead, "token {index} was renewed after its end");
                let end = renewed.token.expires.unwrap();
                let explicit = token.made.token.explicit_max_ttl;
                if !explicit.is_zero() {
                    assert!(end <= token.made.token.created + explicit);
                } else if token.made.token.period.is_zero() {
                    assert!(end <= token.made.token.created + DAY * 32);
                }
                (token.end, token.sure_until) = (end, end);
            }
            Err(error) if error.code == bailee_sdk::Code::Internal => {
                // It may have come through: at most so long, at least until now.
                token.end = token.end.max(now + DAY * 60);
                token.sure_until = now;
            }
            Err(_) => {}
        }
    }

    async fn step(&mut self) {
        self.latest = self.latest.max(self.world.clock_now());
        let some = self.dice.below(self.tokens.len().max(1) as u64) as usize;
        match self.dice.below(100) {
            0..35 => self.create().await,
            35..60 if !self.tokens.is_empty() => self.renew(some).await,
            60..70 if !self.tokens.is_empty() => {
                let id = self.tokens[some].made.token.id.clone();
                match self.world.tokens.revoke_tree(&id).await {
                    Ok(()) => self.tokens[some].revoked = true,
                    Err(_) => self.tokens[some].perhaps_revoked = true,
                }
            }
            70..75 => self.world.restart().await,
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
    for seed in 1..=4_u64 {
        let world = World::new().await;
        let start = world.clock_now();
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut year = Year { world, dice, tokens: Vec::new(), latest: start };
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
        for index in 0..year.tokens.len() {
            year.check(index).await;
        }
        year.world.backend.fail(|| None);
        year.world.restart().await;
        year.world.clock.advance(DAY * 400);
        assert_eq!(year.world.pass().await.unwrap(), None);
        assert_eq!(year.world.backend.keys_under("n/root/token/").await.len(), 3);
    }
}

impl World {
    fn clock_now(&self) -> SystemTime {
        self.tokens.clock.now()
    }
}
