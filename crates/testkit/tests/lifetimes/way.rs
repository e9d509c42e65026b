//! The way from the engine to the fake IAM, and what goes wrong on it.

use async_trait::async_trait;
use bailee_cloud::{HttpError, query::Transport};
use bailee_fake_clouds::{FakeAws, aws::Fault};
use bailee_sdk::testing::{Dice, Log};
use bailee_storage::testing::{Crash, Life};
use bytes::Bytes;
use http::{Request, Response};
use parking_lot::Mutex;
use std::{ops::Add, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::sleep};

/// How unreliable the way is: chances in a hundred, each call for itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) throttled: u64,
    /// IAM answers that it cannot.
    pub(super) away: u64,
    /// The call gets lost before it has any effect.
    pub(super) request_lost: u64,
    /// The call has its effect, and nobody hears of it.
    pub(super) reply_lost: u64,
    /// It takes seconds.
    pub(super) slow: u64,
}

/// What a run has seen, so that nobody takes a calm sea for a proof.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) calls: u64,
    pub(super) throttled: u64,
    pub(super) away: u64,
    pub(super) requests_lost: u64,
    pub(super) replies_lost: u64,
    /// Calls that arrived when their session was over.
    pub(super) late: u64,
    pub(super) sessions: u64,
    pub(super) given: u64,
}

impl Add for Seen {
    type Output = Seen;

    fn add(self, other: Seen) -> Seen {
        Seen {
            calls: self.calls + other.calls,
            throttled: self.throttled + other.throttled,
            away: self.away + other.away,
            requests_lost: self.requests_lost + other.requests_lost,
            replies_lost: self.replies_lost + other.replies_lost,
            late: self.late + other.late,
            sessions: self.sessions + other.sessions,
            given: self.given + other.given,
        }
    }
}

/// The network between all sessions and IAM.
pub(super) struct Network {
    pub(super) aws: FakeAws,
    pub(super) dice: Dice,
    pub(super) log: Log,
    pub(super) weather: Mutex<Weather>,
    pub(super) seen: Mutex<Seen>,
    /// The time that a call takes each way at most, in milliseconds.
    pub(super) way_max: u64,
}

/// The network as one session sees it.
pub(super) struct Way {
    pub(super) network: Arc<Network>,
    pub(super) life: Arc<Life>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luck {
    Fair,
    Throttled,
    Away,
    RequestLost,
    ReplyLost,
}

impl Network {
    fn luck(&self) -> (Luck, Duration, Duration) {
        let weather = *self.weather.lock();
        let drawn = self.dice.below(100);
        let chances = [
            (weather.throttled, Luck::Throttled),
            (weather.away, Luck::Away),
            (weather.request_lost, Luck::RequestLost),
            (weather.reply_lost, Luck::ReplyLost),
        ];
        let mut bound = 0;
        let struck = chances.into_iter().find(|(chance, _)| {
            bound += chance;
            drawn < bound
        });
        let slow = if self.dice.percent(weather.slow) { 40 } else { 1 };
        let (there, back) = (self.dice.millis(self.way_max), self.dice.millis(self.way_max));
        let luck = struck.map_or(Luck::Fair, |(_, luck)| luck);
        let mut seen = self.seen.lock();
        seen.calls += 1;
        match luck {
            Luck::Fair => {}
            Luck::Throttled => seen.throttled += 1,
            Luck::Away => seen.away += 1,
            Luck::RequestLost => seen.requests_lost += 1,
            Luck::ReplyLost => seen.replies_lost += 1,
        }
        (luck, there * slow, back)
    }

    async fn carry(
        &self,
        request: Request<Bytes>,
        luck: Luck,
    ) -> Result<Response<Bytes>, HttpError> {
        let lost = || HttpError::Timeout("the service did not answer in time".to_owned());
        match luck {
            Luck::Away => {
                return Ok(Response::builder().status(503).body(Bytes::new()).unwrap());
            }
            Luck::RequestLost => return Err(lost()),
            // What is injected here strikes this call: nothing waits in between.
            Luck::Throttled => self.aws.inject(Fault::throttle("*").times(1)),
            Luck::Fair | Luck::ReplyLost => {}
        }
        let answer = self.aws.answer(request).await;
        answer.filter(|_| luck != Luck::ReplyLost).ok_or_else(lost)
    }
}

#[async_trait]
impl Transport for Way {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (life, network) = (&self.life, self.network.clone());
        life.alive().await;
        let action = action(&request);
        let crash = life.next_call();
        if let Some(Crash::BeforeCall(number)) = crash {
            network.log.add(format!("crash before call {number}, {action}"));
            life.die();
            life.alive().await;
        }
        let (luck, there, back) = network.luck();
        if luck != Luck::Fair {
            network.log.add(format!("{action}: {luck:?}"));
        }
        // What has left the machine arrives, whoever waits for the answer.
        let (answer, waiting) = oneshot::channel();
        let author = life.clone();
        tokio::spawn(async move {
            sleep(there).await;
            if author.died_at().is_some() {
                network.seen.lock().late += 1;
            }
            let outcome = network.carry(request, luck).await;
            sleep(back).await;
            answer.send(outcome).ok();
        });
        if let Some(Crash::AfterCall(number)) = crash {
            self.network.log.add(format!("crash after call {number}, {action}, was sent"));
            life.die();
        }
        life.alive().await;
        let outcome = waiting.await.expect("whoever carries a call comes back");
        life.alive().await;
        outcome
    }
}

fn action(request: &Request<Bytes>) -> String {
    let form = String::from_utf8_lossy(request.body()).into_owned();
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    let told = pairs.filter(|(name, _)| ["Action", "UserName"].contains(name));
    told.map(|(_, value)| value).collect::<Vec<_>>().join(" ")
}
