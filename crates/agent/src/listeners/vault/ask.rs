//! Asking the server, keeping what may be kept, and serving what is old while it is away.

use super::{
    MISS, Proxy,
    cache::{ANSWER_BYTES_MAX, Kept, State},
    effect::{self, Effect},
    kind::{self, Kind},
    login,
    question::{Key, Question, Token, mark, refusal},
};
use crate::{
    event::{self, Refusals},
    listeners::answer::{self, Answer, Refusal},
};
use bailee_client::{Error, Received};
use bailee_crypto::Sensitive;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How long the server is left alone, after it did not answer, by those who can be served something old.
const AWAY_TIME: Duration = Duration::from_secs(5);
/// How long somebody who can be served something old waits for something new.
const STALE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Headers of an answer that are passed on.
const PASSED_BACK: [&str; 8] = [
    "content-type",
    "cache-control",
    "retry-after",
    "x-vault-index",
    "x-vault-namespace",
    "x-vault-aws-iam-server-id",
    "warning",
    "content-disposition",
];

/// An answer of the server, with the token that it was asked for with, where the agent's was used.
type Asked = Result<(Option<Sensitive<String>>, Received), Error>;

/// A whole answer with the status 200.
pub(super) struct Whole {
    headers: HeaderMap,
    body: Bytes,
}

impl Whole {
    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    fn kept(&self, question: &Question, kind: Kind, token: Token, mark: Key) -> Kept {
        let now = Instant::now();
        Kept {
            body: self.body.clone(),
            media: self.headers.get(header::CONTENT_TYPE).cloned(),
            kind,
            path: question.full_path(),
            namespace: question.namespace.clone(),
            token,
            mark,
            fetched_at: now,
            renewed_at: now,
            doubted: false,
        }
    }

    pub(super) fn given(self, question: &Question) -> Answer {
        let mut given = answer::bare(StatusCode::OK, redacted(question, self.body));
        passed_back(&self.headers, &mut given);
        given
    }
}

impl Proxy {
    /// Passes a request on, and the answer back as it comes.
    pub(super) async fn passed(&self, question: &Question) -> Answer {
        if let Some(refused) = protected(question, &self.guard.refusals) {
            return refused;
        }
        let effect = effect::of(question);
        match self.asked(question).await {
            Ok((_, received)) => {
                self.changed(&effect, Some(received.status));
                self.back(question, received).await
            }
            Err(error) => {
                self.changed(&effect, None);
                unanswered(&error)
            }
        }
    }

    /// Asks for what may be kept. `old` is what was kept until now.
    pub(super) async fn fetched(
        &self,
        question: &Question,
        key: Key,
        old: Option<(Kept, State)>,
    ) -> Answer {
        if let Some(refused) = protected(question, &self.guard.refusals) {
            return refused;
        }
        let login = old.as_ref().map(|(kept, _)| kept.clone());
        let login = login.filter(|kept| matches!(kept.kind, Kind::Login { .. }));
        // What serves while the server is away.
        let old = old.filter(|(_, state)| *state == State::Stale).map(|(kept, _)| kept);
        let (effect, mut thrown) = (effect::of(question), self.cache.thrown());
        let asking = self.asked(question);
        let asked = match &old {
            None => asking.await,
            Some(old) => match tokio::time::timeout(STALE_WAIT_MAX, asking).await {
                Ok(asked) => asked,
                Err(_) => {
                    self.is_gone();
                    return self.given(old, State::Stale);
                }
            },
        };
        let (agent, received) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                self.changed(&effect, None);
                self.is_gone();
                return old
                    .map_or_else(|| unanswered(&error), |old| self.given(&old, State::Stale));
            }
        };
        self.changed(&effect, Some(received.status));
        if !question.is_read() {
            // What it threw away itself is no reason.
            thrown = self.cache.thrown();
        }
        if let Some(old) = &old
            && let 429 | 500 | 502..=504 = received.status
        {
            // Throttled, or in trouble with this one: others may ask.
            if received.status > 500 {
                self.is_gone();
            }
            return self.given(old, State::Stale);
        }
        if received.status != 200 {
            // The server says that it is not so any more.
            match (&login, &old) {
                (Some(_), _) => self.cache.refused(&key),
                (None, Some(_)) => self.cache.remove(&key),
                (None, None) => {}
            }
        }
        *self.away_until.lock() = None;
        if received.status != 200 {
            return self.back(question, received).await;
        }
        match self.whole(question, received).await {
            Ok(answered) => match login {
                Some(kept) => self.repeated(question, key, &kept, answered, thrown).await,
                None => {
                    self.note(question, key, agent, &answered, thrown);
                    answered.given(question)
                }
            },
            Err(passed) => *passed,
        }
    }

    /// Reads an answer to its end. One that is too long to be kept is passed back as it comes, and so is one that
    /// breaks off.
    async fn whole(&self, question: &Question, received: Received) -> Result<Whole, Refusal> {
        let Received { status, headers, mut body } = received;
        let mut whole = Zeroizing::new(Vec::with_capacity(expected(&headers)));
        while whole.len() <= ANSWER_BYTES_MAX {
            match body.next().await {
                None => return Ok(Whole { headers, body: answer::wiped(whole) }),
                Some(Ok(part)) => append(&mut whole, &part),
                Some(Err(_)) => {
                    let told = "the server's answer broke off";
                    return Err(Box::new(refusal(StatusCode::BAD_GATEWAY, told)));
                }
            }
        }
        let begun = stream::iter([Ok(answer::wiped(whole))]);
        let received = Received { status, headers, body: begun.chain(body).boxed() };
        Err(Box::new(self.back(question, received).await))
    }

    /// Keeps an answer where it is one to keep.
    pub(super) fn note(
        &self,
        question: &Question,
        key: Key,
        agent: Option<Sensitive<String>>,
        answered: &Whole,
        thrown: u64,
    ) {
        let kept = if question.is_login() {
            self.kept_login(question, answered)
        } else {
            self.kept(question, agent, answered)
        };
        if let Some(kept) = kept.filter(|kept| self.cache.keeps(&kept.kind)) {
            self.cache.put(key, kept, thrown);
        }
    }

    fn kept(
        &self,
        question: &Question,
        agent: Option<Sensitive<String>>,
        answered: &Whole,
    ) -> Option<Kept> {
        let token = match (&question.token, &agent) {
            (Token::Own(token), _) | (_, Some(token)) => token,
            (Token::Agent | Token::None, None) => return None,
        };
        self.note_child(question, token, &answered.body);
        let kind = kind::of(question.is_read(), &question.path, &answered.body)?;
        // The token is kept only where a lease is to be renewed with it.
        let keeper = match (&kind, &question.token) {
            (Kind::Kv, Token::Own(_)) => Token::None,
            (_, token) => token.clone(),
        };
        let mark = mark(&self.cache.mac, token.expose());
        Some(answered.kept(question, kind, keeper, mark))
    }

    fn kept_login(&self, question: &Question, answered: &Whole) -> Option<Kept> {
        let entered = login::entered(&answered.body)?;
        let mark = mark(&self.cache.mac, entered.token.expose());
        let kept = answered.kept(question, entered.kind, Token::Own(entered.token), mark);
        let namespace = login::door(&kept.path)?.namespace;
        Some(Kept { namespace, ..kept })
    }

    /// Remembers who made a token: it ends with its maker.
    fn note_child(&self, question: &Question, maker: &Sensitive<String>, body: &Bytes) {
        #[derive(Deserialize)]
        struct Made {
            auth: Token,
        }
        #[derive(Deserialize)]
        struct Token {
            client_token: Sensitive<String>,
            #[serde(default)]
            orphan: bool,
        }
        if !question.makes_token() {
            return;
        }
        if let Ok(Made { auth }) = serde_json::from_slice(body)
            && !auth.orphan
        {
            self.cache.made(maker.expose(), auth.client_token.expose());
        }
    }

    async fn asked(&self, question: &Question) -> Asked {
        let session = &self.settings.session;
        let Some(outgoing) = question.outgoing() else {
            let reason = "unsupported operation".to_owned();
            return Err(Error::Setting { setting: question.verb.to_string(), reason });
        };
        event::proxied("asked");
        match &question.token {
            Token::Agent => {
                let (token, received) = session.exchange(&outgoing).await?;
                self.cache.agent_token_is(token.expose());
                Ok((Some(token), received))
            }
            Token::Own(token) => {
                let client = session.client().clone().with_token(Some(token.clone()));
                let received = client.exchange(&outgoing).await?;
                if received.status == 403 {
                    self.cache.denied(token.expose());
                }
                Ok((None, received))
            }
            Token::None => {
                session.client().exchange(&outgoing).await.map(|received| (None, received))
            }
        }
    }

    /// Throws away what a change made old. Where nobody knows whether it was made, what it may have changed is
    /// asked for again, and serves while that is not possible.
    fn changed(&self, effect: &Effect, status: Option<u16>) {
        match (effect, status) {
            (Effect::Nothing, _) | (_, Some(400..=499)) => {}
            (_, Some(200..=399)) => self.cache.throw(effect),
            (_, _) => self.cache.doubt(effect),
        }
    }

    /// Passes an answer back as it comes.
    async fn back(&self, question: &Question, received: Received) -> Answer {
        let Received { status, headers, body } = received;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut given = answer::bare(status, Bytes::new());
        *given.body_mut() = answer::passing(body);
        if is_of_the_agent(question) {
            // Short, and never to be passed on as it is.
            given = self.redacted_whole(question, given).await;
        } else if let Some(length) = headers.get(header::CONTENT_LENGTH) {
            given.headers_mut().insert(header::CONTENT_LENGTH, length.clone());
        }
        passed_back(&headers, &mut given);
        given
    }

    async fn redacted_whole(&self, question: &Question, given: Answer) -> Answer {
        use http_body_util::{BodyExt, Limited};
        let (head, body) = given.into_parts();
        let Ok(whole) = Limited::new(body, ANSWER_BYTES_MAX).collect().await else {
            return refusal(StatusCode::BAD_GATEWAY, "the server's answer broke off");
        };
        answer::bare(head.status, redacted(question, whole.to_bytes()))
    }

    pub(super) fn is_away(&self) -> bool {
        let until = *self.away_until.lock();
        until.is_some_and(|until| Instant::now() < until)
    }

    fn is_gone(&self) {
        *self.away_until.lock() = Some(Instant::now() + AWAY_TIME);
        event::server_away(&self.settings.session.settings().address.to_string());
    }
}

/// Whether a question is about the agent's own token.
fn is_of_the_agent(question: &Question) -> bool {
    let path = question.path.trim_end_matches('/');
    let own = ["lookup-self", "renew-self", "revoke-self"];
    let own = own.iter().any(|own| path.ends_with(&format!("auth/token/{own}")));
    own && matches!(question.token, Token::Agent)
}

/// The agent's token is not for its clients to end.
fn protected(question: &Question, refusals: &Refusals) -> Option<Answer> {
    if !is_of_the_agent(question) || !question.path.contains("revoke-self") {
        return None;
    }
    refusals.tell("own token");
    Some(refusal(StatusCode::FORBIDDEN, "the agent's own token cannot be revoked through it"))
}

/// The agent's token is not for its clients to see.
fn redacted(question: &Question, body: Bytes) -> Bytes {
    if !is_of_the_agent(question) {
        return body;
    }
    let Ok(mut document) = serde_json::from_slice::<Value>(&body) else { return Bytes::new() };
    for (part, field) in [("data", "id"), ("auth", "client_token")] {
        if let Some(part) = document.get_mut(part).and_then(Value::as_object_mut) {
            part.remove(field);
        }
    }
    document.to_string().into()
}

fn expected(headers: &HeaderMap) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(4096).min(ANSWER_BYTES_MAX)
}

/// Adds to a buffer, wiping what it leaves behind when it grows.
fn append(whole: &mut Zeroizing<Vec<u8>>, part: &[u8]) {
    if whole.capacity() - whole.len() < part.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((whole.len() + part.len()) * 2));
        larger.extend_from_slice(whole);
        *whole = larger;
    }
    whole.extend_from_slice(part);
}

fn passed_back(headers: &HeaderMap, given: &mut Answer) {
    for name in PASSED_BACK {
        if let Some(value) = headers.get(name) {
            given.headers_mut().insert(name, value.clone());
        }
    }
    given.headers_mut().insert("x-cache", MISS);
}

fn unanswered(error: &Error) -> Answer {
    let status = match error {
        Error::Setting { .. } => StatusCode::METHOD_NOT_ALLOWED,
        Error::Connection { .. }
        | Error::Forbidden { .. }
        | Error::Refused { .. }
        | Error::Login { .. }
        | Error::Answer { .. } => StatusCode::BAD_GATEWAY,
    };
    refusal(status, &error.to_string())
}
