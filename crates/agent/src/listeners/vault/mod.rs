//! A server's API, kept at hand: requests are passed on with the client's token or the agent's, and answers that
//! hold secrets are kept.
//!
//! `question` reads a request, `kind` says what an answer is, `effect` what a change makes old, `cache` keeps.
//! `ask` asks the server, `login` answers logins that are repeated, `renew` keeps leases alive, `own` answers at the
//! agent's own paths.

mod ask;
mod cache;
mod effect;
mod kind;
mod login;
mod own;
mod question;
mod renew;
#[cfg(test)]
pub(in crate::listeners) mod tests;

use super::{
    Surroundings,
    answer::{self, Answer, Refusal},
    guard::Guard,
    operations,
    settings::SettingError,
};
use crate::event;
use bailee_client::Session;
use bytes::Bytes;
use cache::{Cache, Kept, State};
use http::{HeaderValue, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use kind::Kind;
use parking_lot::Mutex;
use question::{Question, refusal};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::Instant};

/// How long a secret of a KV engine serves unless somebody says otherwise.
pub const CACHE_TTL_DEFAULT: Duration = Duration::from_secs(300);
/// The longest that somebody may ask for.
pub const CACHE_TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long it serves beyond that while the server is away, unless somebody says otherwise.
pub const STALE_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Answers that are kept unless somebody says otherwise.
pub const ENTRIES_DEFAULT: usize = 10_000;
/// The most that somebody may ask for.
pub const ENTRIES_MAX: usize = 100_000;
/// Bytes of all answers that are kept.
pub const BYTES_MAX: usize = 256 << 20;
/// How many fetches of others somebody waits for: one may make an answer, another find that it holds. Where that is
/// not enough each asks on his own, as a server that does not answer would keep them waiting one after another.
const FLIGHTS_MAX: usize = 2;
/// Bytes of a request's body, as Vault takes them.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Bytes of a body that is read without further ado.
const SMALL_BODY_BYTES_MAX: u64 = 64 << 10;
/// Larger bodies that are read or worked on at one time; more wait.
const LARGE_BODIES_MAX: usize = 8;
/// Time for a client to send a body, the wait for others included.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);
/// Says that an answer is old, as the server is away.
const STALE: HeaderValue = HeaderValue::from_static("110 - \"Response is Stale\"");
const HIT: HeaderValue = HeaderValue::from_static("HIT");
const MISS: HeaderValue = HeaderValue::from_static("MISS");

/// When requests are sent with the agent's own token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentToken {
    /// Never: clients bring their own.
    #[default]
    Never,
    /// Where the client brings none.
    WhereAbsent,
    /// Always, whatever the client brings.
    Always,
}

/// A caching listener, as it is configured.
#[derive(Clone, Debug)]
pub struct Vault {
    /// The server, and the agent's own token there.
    pub session: Arc<Session>,
    /// When the agent's own token is used.
    pub agent_token: AgentToken,
    /// Whether requests must carry `X-Vault-Request: true`, which web pages cannot make a browser send.
    pub require_request_header: bool,
    /// Whether a login that is repeated is answered with the token from before.
    pub keep_logins: bool,
    cache_ttl: Duration,
    /// How long secrets of KV engines, and logins, serve beyond their time while the server is away.
    pub stale_max: Duration,
    entries_max: NonZeroUsize,
}

impl Vault {
    /// A listener with the defaults: clients bring their tokens, secrets of KV engines serve five minutes.
    pub fn new(session: Arc<Session>) -> Vault {
        let entries_max = NonZeroUsize::new(ENTRIES_DEFAULT).unwrap_or(NonZeroUsize::MIN);
        Vault {
            session,
            agent_token: AgentToken::Never,
            require_request_header: false,
            keep_logins: true,
            cache_ttl: CACHE_TTL_DEFAULT,
            stale_max: STALE_DEFAULT,
            entries_max,
        }
    }

    fn keeps(&self, question: &Question) -> bool {
        !question.is_login() || (self.keep_logins && !self.cache_ttl.is_zero())
    }

    /// Whether it lends the agent's token to whoever asks.
    pub(crate) fn is_open(&self) -> bool {
        self.agent_token != AgentToken::Never && !self.require_request_header
    }

    /// The same with another time for which secrets of KV engines serve; zero keeps none of them.
    ///
    /// # Errors
    /// It is longer than a day.
    pub fn cache_ttl(mut self, ttl: Duration) -> Result<Vault, SettingError> {
        if ttl > CACHE_TTL_MAX {
            let reason = "is longer than 24h: a secret that was changed would serve too long";
            return Err(SettingError { field: "cache_ttl", reason: reason.to_owned() });
        }
        self.cache_ttl = ttl;
        Ok(self)
    }

    /// The same with another number of answers that are kept, between 1 and 100,000.
    ///
    /// # Errors
    /// The number lies outside.
    pub fn cache_entries(mut self, entries: usize) -> Result<Vault, SettingError> {
        let fits = NonZeroUsize::new(entries).filter(|entries| entries.get() <= ENTRIES_MAX);
        self.entries_max = fits.ok_or_else(|| SettingError {
            field: "cache_entries",
            reason: format!("{entries} is not taken: between 1 and {ENTRIES_MAX} are"),
        })?;
        Ok(self)
    }
}

/// Serves it.
pub(crate) struct Proxy {
    settings: Vault,
    guard: Guard,
    surroundings: Surroundings,
    cache: Cache,
    /// Until when the server is left alone by those who can be served something old.
    away_until: Mutex<Option<Instant>>,
    large_bodies: Semaphore,
}

impl Proxy {
    pub(crate) fn new(settings: Vault, guard: Guard, surroundings: Surroundings) -> Proxy {
        let Vault { cache_ttl, stale_max, entries_max, .. } = settings;
        let cache = Cache::new(entries_max, BYTES_MAX, cache_ttl, stale_max);
        Proxy {
            settings,
            guard,
            surroundings,
            cache,
            away_until: Mutex::default(),
            large_bodies: Semaphore::new(LARGE_BODIES_MAX),
        }
    }

    /// Answers a request. `crowded` says that there are more connections than there may be.
    pub(crate) async fn answer(&self, request: Request<Incoming>, crowded: bool) -> Answer {
        if crowded {
            return refusal(StatusCode::TOO_MANY_REQUESTS, "connection limit exceeded");
        }
        let (head, body) = request.into_parts();
        if head.uri.path() == "/health" {
            return operations::health(&self.surroundings);
        }
        if let Err(refused) = self.admitted(&head) {
            return *refused;
        }
        let whole = tokio::time::timeout(BODY_TIME_MAX, async {
            let small = body.size_hint().upper().is_some_and(|most| most <= SMALL_BODY_BYTES_MAX);
            // The semaphore is never closed.
            let room = if small { None } else { self.large_bodies.acquire().await.ok() };
            (room, Limited::new(body, BODY_BYTES_MAX).collect().await)
        });
        let (_room, body) = match whole.await {
            Ok((room, Ok(whole))) => (room, whole.to_bytes()),
            Ok((_, Err(error))) if error.is::<LengthLimitError>() => {
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large");
            }
            Ok((_, Err(_))) => return refusal(StatusCode::BAD_REQUEST, "the body broke off"),
            Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        };
        self.spoken(&head, body).await
    }

    /// Refuses what must not be answered, before anything of its body is read.
    fn admitted(&self, head: &Parts) -> Result<(), Refusal> {
        self.guard.check(&head.uri, &head.headers)?;
        let marked = head.headers.get("x-vault-request").is_some_and(|value| value == "true");
        if self.settings.require_request_header && !marked {
            self.guard.refusals.tell("request header");
            let told = "missing \"X-Vault-Request\" header";
            return Err(Box::new(refusal(StatusCode::PRECONDITION_FAILED, told)));
        }
        Ok(())
    }

    async fn spoken(&self, head: &Parts, body: Bytes) -> Answer {
        if let Some(path) = head.uri.path().strip_prefix("/agent/") {
            return self.own(&head.method, path, &body).await;
        }
        let namespace = &self.settings.session.settings().namespace;
        match Question::read(head, &body, self.settings.agent_token, namespace) {
            Ok(question) => self.answered(&question).await,
            Err(refused) => *refused,
        }
    }

    async fn answered(&self, question: &Question) -> Answer {
        let key = question.key(&self.cache.mac);
        let Some(key) = key.filter(|_| self.settings.keeps(question)) else {
            return self.passed(question).await;
        };
        let at_hand = || self.cache.get(&key, Instant::now()).filter(|_| !question.anew);
        for _ in 0..FLIGHTS_MAX {
            let old = at_hand();
            if let Some(answer) = self.without_asking(old.as_ref()) {
                return answer;
            }
            match self.cache.fly(key) {
                Ok(_flight) => return Box::pin(self.fetched(question, key, old)).await,
                // Somebody else asks for it just now. What is not kept is asked for by each on his own.
                Err(mut flight) => {
                    flight.changed().await.ok();
                    if self.cache.get(&key, Instant::now()).is_none() {
                        break;
                    }
                }
            }
        }
        let old = at_hand();
        match self.without_asking(old.as_ref()) {
            Some(answer) => answer,
            None => Box::pin(self.fetched(question, key, old)).await,
        }
    }

    fn without_asking(&self, kept: Option<&(Kept, State)>) -> Option<Answer> {
        match kept {
            Some((kept, State::Fresh)) => Some(self.given(kept, State::Fresh)),
            Some((kept, State::Stale)) if self.is_away() => Some(self.given(kept, State::Stale)),
            _ => None,
        }
    }

    /// What is kept, as an answer.
    fn given(&self, kept: &Kept, state: State) -> Answer {
        let age = kept.fetched_at.elapsed();
        event::proxied(if state == State::Stale { "stale" } else { "hit" });
        let body = match kept.kind {
            Kind::Login { duration, .. } => login::with_time_left(
                &kept.body,
                duration.saturating_sub(kept.renewed_at.elapsed()),
            ),
            Kind::Kv | Kind::Leased { .. } => kept.body.clone(),
        };
        let mut given = answer::bare(StatusCode::OK, body);
        let headers = given.headers_mut();
        if let Some(media) = &kept.media {
            headers.insert(header::CONTENT_TYPE, media.clone());
        }
        headers.insert("x-cache", HIT);
        headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        if state == State::Stale {
            headers.insert(header::WARNING, STALE);
        }
        given
    }
}
