//! A token that lasts: got by a login, renewed in time, got anew when it ended.

use crate::{Client, Error, Method, Outgoing, Received, Response, Settings, login::Login};
use bailee_crypto::{Clock, Sensitive};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::Mutex;

/// How long a token that was seen alive is not asked about again when more requests are denied.
const ALIVE_FOR: Duration = Duration::from_secs(5);
/// How long a token that could not be renewed is used before that is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// What the server says of a token that it does not know, beside that permission is denied.
const UNKNOWN: &str = "invalid token";
/// The wait before a signature for AWS differs from the one before.
const NEXT_SIGNATURE: Duration = Duration::from_millis(1100);
/// What the server says of a signature that let somebody in before.
const USED: &str = "signed request was used already";

/// Requests with a token that is kept alive.
#[derive(Debug)]
pub struct Session {
    client: Client,
    login: Login,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held>>,
}

/// A token, and what is known of it.
#[derive(Clone, Debug)]
struct Held {
    token: Sensitive<String>,
    /// When it is to be renewed; `None` where that is not known or not needed.
    renew_at: Option<SystemTime>,
    /// When it ends.
    ends_at: Option<SystemTime>,
    renewable: bool,
    /// When it was found to hold although a request was denied.
    seen_alive: Option<SystemTime>,
    /// Whether a request with it was answered.
    served: bool,
}

/// A token that a login gave, for another session of the same login to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The token.
    pub token: Sensitive<String>,
    /// When it is to be renewed; `None` where it lasts for ever.
    pub renew_at: Option<SystemTime>,
    /// When it ends.
    pub ends_at: Option<SystemTime>,
    /// Whether it can be renewed.
    pub renewable: bool,
}

#[derive(Default, Deserialize)]
struct Auth {
    client_token: String,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct Own {
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    creation_ttl: u64,
    #[serde(default)]
    renewable: Option<bool>,
}

impl Session {
    /// A session that logs in when it is first used.
    pub fn new(client: Client, login: Login, clock: Arc<dyn Clock>) -> Session {
        Session { client: client.with_token(None), login, clock, held: Mutex::default() }
    }

    /// How the server is reached.
    pub fn settings(&self) -> &Settings {
        self.client.settings()
    }

    /// A client of the same server without a token.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request once and gives the answer as it comes, with the token that it was sent with. Where the
    /// token has ended, it is got anew, once.
    pub async fn exchange(
        &self,
        outgoing: &Outgoing,
    ) -> Result<(Sensitive<String>, Received), Error> {
        let token = self.token().await?;
        let answer = self.with(&token).exchange(outgoing).await?;
        if answer.status != 403 || !self.has_ended(&token).await? {
            return Ok((token, answer));
        }
        let token = self.renewed_after(&token).await?;
        let answer = self.with(&token).exchange(outgoing).await?;
        Ok((token, answer))
    }

    /// Sends a request. Where the token has ended, it is got anew, once.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Response, Error> {
        let token = self.token().await?;
        match self.with(&token).send(outgoing.clone()).await {
            Err(error) if error.status() == Some(403) => {
                if !self.has_ended(&token).await? {
                    return Err(error);
                }
                let token = self.renewed_after(&token).await?;
                self.with(&token).send(outgoing).await
            }
            Ok(response) => {
                self.served(&token).await;
                Ok(response)
            }
            outcome => outcome,
        }
    }

    async fn served(&self, token: &Sensitive<String>) {
        let mut held = self.held.lock().await;
        if let Some(current) = held.as_mut().filter(|held| held.token == *token) {
            current.served = true;
        }
    }

    /// What is at a path, as `data` takes it out of the answer: [`Response::data`], however deep it
    /// nests, or [`Response::typed`], however long it is. `None` where nothing is.
    pub async fn read<T>(
        &self,
        outgoing: Outgoing,
        data: fn(&Response) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let (method, url) = (outgoing.method.verb(), outgoing.url(self.settings()));
        match self.send(outgoing).await {
            Ok(response) => {
                let reason = "is not what this path answers";
                data(&response).map(Some).ok_or(Error::Answer { method, url, reason })
            }
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The token as it is now: logged in where there is none, renewed where two thirds of its time
    /// have passed.
    pub async fn token(&self) -> Result<Sensitive<String>, Error> {
        let mut held = self.held.lock().await;
        let now = self.clock.now();
        if let Some(current) = held.as_mut() {
            let due = current.renew_at.is_some_and(|at| now >= at);
            if !due || self.renew(current).await {
                return Ok(current.token.clone());
            }
            let over = current.ends_at.is_some_and(|end| now >= end);
            // What cannot be renewed serves to its end, unless there is a way to another.
            if self.login.kept_token().is_some() && !over {
                current.renew_at = Some(now + RENEW_AGAIN);
                return Ok(current.token.clone());
            }
        }
        let fresh = self.enter().await?;
        Ok(held.insert(fresh).token.clone())
    }

    /// How long until the token that is held is due to be renewed; `None` where none is held, or where it lasts
    /// for ever. What hangs on a token ends with it: who stands on that calls [`Session::token`] by then.
    pub async fn renewal_due_in(&self) -> Option<Duration> {
        let renew_at = self.held.lock().await.as_ref()?.renew_at?;
        Some(renew_at.duration_since(self.clock.now()).unwrap_or_default())
    }

    /// The token that a login gave, for another session to go on with when this one has ended. None where none is
    /// held, and where the login is a token that was given.
    pub async fn pass(&self) -> Option<Pass> {
        let held = self.held.lock().await;
        let held = held.as_ref().filter(|_| self.login.kept_token().is_none())?;
        let Held { token, renew_at, ends_at, renewable, .. } = held.clone();
        Some(Pass { token, renew_at, ends_at, renewable })
    }

    /// Goes on with the token of an earlier session of the same login. Nothing is asked: whether it holds shows when
    /// it is used, and where it does not, another is got as ever. One whose time is over is not taken.
    pub async fn resume(&self, pass: Pass) {
        let Pass { token, renew_at, ends_at, renewable } = pass;
        let is_over = ends_at.is_some_and(|end| self.clock.now() >= end);
        let mut held = self.held.lock().await;
        if held.is_none() && !is_over && self.login.kept_token().is_none() {
            let (seen_alive, served) = (None, false);
            *held = Some(Held { token, renew_at, ends_at, renewable, seen_alive, served });
        }
    }

    /// Gives back a token that was got by a login, as far as the server can be told; one that was given
    /// stays. A later request logs in anew.
    pub async fn leave(&self) {
        let held = self.held.lock().await.take();
        if let Some(held) = held
            && self.login.kept_token().is_none()
        {
            let outgoing = Outgoing::new(Method::Post, "auth/token/revoke-self").json(&json!({}));
            // Once, and whatever comes of it: the token ends by itself.
            drop(self.with(&held.token).send_once(&outgoing).await);
        }
    }

    fn with(&self, token: &Sensitive<String>) -> Client {
        self.client.clone().with_token(Some(token.clone()))
    }

    async fn enter(&self) -> Result<Held, Error> {
        if let Some(token) = self.login.kept_token() {
            return self.known(token?).await;
        }
        let auth = match self.apply().await {
            Err(Error::Refused { response, .. })
                if response.errors().iter().any(|text| text.contains(USED)) =>
            {
                tokio::time::sleep(NEXT_SIGNATURE).await;
                self.apply().await
            }
            outcome => outcome,
        }
        .map_err(refused)?;
        let now = self.clock.now();
        let ttl = Duration::from_secs(auth.lease_duration);
        let (renew_at, ends_at) = times(now, ttl, ttl);
        let token = Sensitive::from(auth.client_token);
        let (renewable, seen_alive, served) = (auth.renewable, None, false);
        Ok(Held { token, renew_at, ends_at, renewable, seen_alive, served })
    }

    async fn apply(&self) -> Result<Auth, Error> {
        let application = self.login.application(self.clock.now()).await?;
        let application = application.ok_or_else(|| Error::Login {
            reason: "a token that is given cannot be got anew".to_owned(),
        })?;
        let outgoing =
            Outgoing::new(Method::Post, application.path).json(&Value::Object(application.fields));
        let url = outgoing.url(self.client.settings());
        auth(&self.client.send(outgoing).await?, url)
    }

    /// A token that was given, with what it says of itself where it may.
    async fn known(&self, token: Sensitive<String>) -> Result<Held, Error> {
        let now = self.clock.now();
        let unknown = Held {
            token: token.clone(),
            renew_at: None,
            ends_at: None,
            renewable: false,
            seen_alive: None,
            served: false,
        };
        let outgoing = Outgoing::new(Method::Get, "auth/token/lookup-self");
        let own: Own = match self.with(&token).send(outgoing).await {
            Ok(response) => match response.data() {
                Some(own) => own,
                None => return Ok(unknown),
            },
            Err(error) if is_unknown(&error) => return Err(ended()),
            // Who may not ask for it, as without the policy `default`, may do other things all the same.
            Err(error) if matches!(error.status(), Some(400..=499)) => return Ok(unknown),
            Err(error) => return Err(error),
        };
        let whole = Duration::from_secs(own.creation_ttl.max(own.ttl));
        let (renew_at, ends_at) = times(now, Duration::from_secs(own.ttl), whole);
        let renewable = own.renewable.unwrap_or(false);
        Ok(Held { renew_at: renew_at.filter(|_| renewable), ends_at, renewable, ..unknown })
    }

    /// Whether the token holds on; where it does not, another has to be got.
    async fn renew(&self, held: &mut Held) -> bool {
        if !held.renewable {
            return false;
        }
        let outgoing = Outgoing::new(Method::Post, "auth/token/renew-self").json(&json!({}));
        let url = outgoing.url(self.client.settings());
        let answer = self.with(&held.token).send(outgoing).await;
        let Ok(auth) = answer.and_then(|response| auth(&response, url)) else { return false };
        let now = self.clock.now();
        let ttl = Duration::from_secs(auth.lease_duration);
        (held.renew_at, held.ends_at) = times(now, ttl, ttl);
        held.renewable = auth.renewable;
        true
    }

    /// Whether a request was denied because its token has ended, and not for lack of a right.
    async fn has_ended(&self, token: &Sensitive<String>) -> Result<bool, Error> {
        let now = self.clock.now();
        {
            let mut held = self.held.lock().await;
            match held.as_mut() {
                Some(current) if current.token == *token => {
                    let over = current.ends_at.is_some_and(|end| now >= end);
                    if !over && current.seen_alive.is_some_and(|at| now < at + ALIVE_FOR) {
                        return Ok(false);
                    }
                }
                // Somebody got another one meanwhile.
                _ => return Ok(true),
            }
        }
        let outgoing = Outgoing::new(Method::Get, "auth/token/lookup-self");
        match self.with(token).send(outgoing).await {
            Err(error) if is_unknown(&error) => Ok(true),
            Err(error) if error.status() == Some(403) => Ok(self.may_have_ended(token).await),
            Ok(_) | Err(Error::Refused { .. }) => {
                let mut held = self.held.lock().await;
                if let Some(current) = held.as_mut().filter(|held| held.token == *token) {
                    current.seen_alive = Some(self.clock.now());
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Of a token that may not ask about itself, the server does not say whether it holds. One that can
    /// be got anew is; one that served before is taken to hold.
    async fn may_have_ended(&self, token: &Sensitive<String>) -> bool {
        let kept = self.login.kept_token();
        if !kept.is_some_and(|kept| kept.is_ok_and(|kept| kept == *token)) {
            return true;
        }
        let mut held = self.held.lock().await;
        let Some(current) = held.as_mut().filter(|held| held.token == *token) else { return true };
        if current.served {
            current.seen_alive = Some(self.clock.now());
        }
        !current.served
    }

    /// Another token than one that has ended.
    async fn renewed_after(&self, old: &Sensitive<String>) -> Result<Sensitive<String>, Error> {
        {
            let mut held = self.held.lock().await;
            if held.as_ref().is_some_and(|held| held.token == *old) {
                *held = None;
            }
        }
        if let Some(kept) = self.login.kept_token()
            && kept? == *old
        {
            return Err(ended());
        }
        self.token().await
    }
}

/// When a token is to be renewed, and when it ends: never where it lasts for ever.
fn times(
    now: SystemTime,
    left: Duration,
    whole: Duration,
) -> (Option<SystemTime>, Option<SystemTime>) {
    if left.is_zero() {
        return (None, None);
    }
    let renew_in = left.saturating_sub(whole / 3);
    (Some(now + renew_in), Some(now + left))
}

fn auth(response: &Response, url: String) -> Result<Auth, Error> {
    let auth = response.json().remove("auth").and_then(|auth| serde_json::from_value(auth).ok());
    auth.filter(|auth: &Auth| !auth.client_token.is_empty()).ok_or(Error::Answer {
        method: "POST",
        url,
        reason: "holds no token",
    })
}

/// Whether the server says that it does not know the token, and not that it lacks a right.
fn is_unknown(error: &Error) -> bool {
    match error {
        Error::Refused { response, .. } if response.status == 403 => {
            response.errors().iter().any(|text| text.contains(UNKNOWN))
        }
        _ => false,
    }
}

/// A login that the server refuses is no failure of a request.
fn refused(error: Error) -> Error {
    match error {
        Error::Refused { response, .. } if (400..404).contains(&response.status) => {
            let told = response.errors().join("; ");
            Error::Login { reason: format!("the server refused it: {told}") }
        }
        error => error,
    }
}

fn ended() -> Error {
    Error::Login {
        reason: "the server refuses the token: it has expired, or was revoked".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        login::Text,
        testing::{Asked, Server},
    };
    use parking_lot::Mutex as Lock;

    #[derive(Debug)]
    struct Hands(Lock<SystemTime>);

    impl Clock for Hands {
        fn now(&self) -> SystemTime {
            *self.0.lock()
        }
    }

    impl Hands {
        fn new() -> Arc<Hands> {
            Arc::new(Hands(Lock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))))
        }

        fn forward(&self, seconds: u64) {
            *self.0.lock() += Duration::from_secs(seconds);
        }
    }

    fn session(server: &Server, login: Login, clock: &Arc<Hands>) -> Session {
        let mut settings = Settings::new(server.address.parse().unwrap());
        settings.retries = 0;
        Session::new(Client::new(settings).unwrap(), login, clock.clone())
    }

    fn approle() -> Login {
        Login::AppRole {
            mount: "approle".to_owned(),
            role_id: "r".to_owned(),
            secret_id: Some(Text::Given(Sensitive::from("s"))),
        }
    }

    fn grant(token: &str, renewable: bool) -> (u16, Value) {
        let auth = json!({"client_token": token, "lease_duration": 300, "renewable": renewable});
        (200, json!({ "auth": auth }))
    }

    async fn read(session: &Session) -> Result<Response, Error> {
        session.send(Outgoing::new(Method::Get, "kv/a")).await
    }

    #[tokio::test]
    async fn a_token_is_renewed_when_two_thirds_of_its_time_have_passed() {
        let server = Server::start(|asked: &Asked| match asked.path.as_str() {
            "/v1/auth/approle/login" => grant("t1", true),
            "/v1/auth/token/renew-self" => grant("t1", true),
            _ => (200, json!({"data": {}})),
        })
        .await;
        let clock = Hands::new();
        let session = session(&server, approle(), &clock);
        for (forward, calls) in [
            (0, vec!["/v1/auth/approle/login", "/v1/kv/a"]),
            (199, vec!["/v1/kv/a"]),
            (1, vec!["/v1/auth/token/renew-self", "/v1/kv/a"]),
            (199, vec!["/v1/kv/a"]),
        ] {
            clock.forward(forward);
            read(&session).await.unwrap();
            assert_eq!(server.take_paths(), calls);
        }
    }

    #[tokio::test]
    async fn who_cannot_renew_logs_in_again() {
        let server = Server::start(|asked: &Asked| match asked.path.as_str() {
            "/v1/auth/approle/login" => grant("t", false),
            _ => (200, json!({"data": {}})),
        })
        .await;
        let clock = Hands::new();
        let session = session(&server, approle(), &clock);
        read(&session).await.unwrap();
        clock.forward(200);
        read(&session).await.unwrap();
        let logins = server.take_paths();
        let logins = logins.iter().filter(|path| path.ends_with("login")).count();
        assert_eq!(logins, 2);
    }

    #[tokio::test]
    async fn a_token_that_ended_early_is_got_anew_and_the_request_goes_on() {
        let logins = Arc::new(Lock::new(0));
        let count = logins.clone();
        let server = Server::start(move |asked: &Asked| match asked.path.as_str() {
            "/v1/auth/approle/login" => {
                *count.lock() += 1;
                grant(&format!("t{}", *count.lock()), true)
            }
            _ if asked.token == "t1" => (403, json!({"errors": ["permission denied"]})),
            _ => (200, json!({"data": {}})),
        })
        .await;
        let session = session(&server, approle(), &Hands::new());
        read(&session).await.unwrap();
        assert_eq!(*logins.lock(), 2);
    }

    #[tokio::test]
    async fn a_denial_for_lack_of_a_right_is_no_end_of_the_token() {
        let server = Server::start(|asked: &Asked| match asked.path.as_str() {
            "/v1/auth/approle/login" => grant("t", true),
            "/v1/auth/token/lookup-self" => (200, json!({"data": {"ttl": 300}})),
            _ => (403, json!({"errors": ["permission denied"]})),
        })
        .await;
        let session = session(&server, approle(), &Hands::new());
        for _ in 0..3 {
            assert_eq!(read(&session).await.unwrap_err().status(), Some(403));
        }
        let asked = server.take_paths();
        let of = |end: &str| asked.iter().filter(|path| path.ends_with(end)).count();
        // Asked about once, not with every denial.
        assert_eq!((of("login"), of("lookup-self"), of("kv/a")), (1, 1, 3));
    }

    #[tokio::test]
    async fn a_given_token_that_has_ended_is_told_as_that() {
        let server =
            Server::start(|_: &Asked| (403, json!({"errors": ["permission denied"]}))).await;
        let login = Login::Token(Sensitive::from("canary"));
        let session = session(&server, login, &Hands::new());
        let error = read(&session).await.unwrap_err();
        assert!(matches!(error, Error::Login { .. }), "{error}");
        assert!(!error.to_string().contains("canary"));
    }

    #[tokio::test]
    async fn a_given_token_is_renewed_where_less_than_a_third_of_its_time_is_left() {
        let server = Server::start(|asked: &Asked| match asked.path.as_str() {
            "/v1/auth/token/lookup-self" => {
                let own = json!({"ttl": 100, "creation_ttl": 900, "renewable": true});
                (200, json!({ "data": own }))
            }
            "/v1/auth/token/renew-self" => grant("t", true),
            _ => (200, json!({"data": {}})),
        })
        .await;
        let session = session(&server, Login::Token(Sensitive::from("t")), &Hands::new());
        read(&session).await.unwrap();
        read(&session).await.unwrap();
        let asked = server.take_paths();
        assert_eq!(
            asked,
            ["/v1/auth/token/lookup-self", "/v1/kv/a", "/v1/auth/token/renew-self", "/v1/kv/a"]
        );
    }

    #[tokio::test]
    async fn a_token_that_may_not_ask_about_itself_serves_and_a_denial_is_told_as_one() {
        let denied = || (403, json!({"errors": ["permission denied"]}));
        let server = Server::start(move |asked: &Asked| match asked.path.as_str() {
            "/v1/kv/a" => (200, json!({"data": {}})),
            _ => denied(),
        })
        .await;
        let session = session(&server, Login::Token(Sensitive::from("t")), &Hands::new());
        read(&session).await.unwrap();
        for _ in 0..3 {
            let other = session.send(Outgoing::new(Method::Get, "kv/b")).await;
            assert_eq!(other.unwrap_err().status(), Some(403));
        }
        read(&session).await.unwrap();
        let asked = server.take_paths();
        let lookups = asked.iter().filter(|path| path.ends_with("lookup-self")).count();
        assert_eq!(lookups, 2, "{asked:?}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_know_the_token_says_so() {
        let text = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
        let server = Server::start(move |_: &Asked| (403, json!({ "errors": [text] }))).await;
        let session = session(&server, Login::Token(Sensitive::from("t")), &Hands::new());
        assert!(matches!(read(&session).await.unwrap_err(), Error::Login { .. }));
        assert_eq!(server.take_paths(), ["/v1/auth/token/lookup-self"]);
    }

    #[tokio::test]
    async fn a_given_token_that_cannot_be_renewed_is_not_renewed_with_every_request() {
        let server = Server::start(|asked: &Asked| match asked.path.as_str() {
            "/v1/auth/token/lookup-self" => {
                let own = json!({"ttl": 100, "creation_ttl": 900, "renewable": true});
                (200, json!({ "data": own }))
            }
            "/v1/auth/token/renew-self" => (403, json!({"errors": ["permission denied"]})),
            _ => (200, json!({"data": {}})),
        })
        .await;
        let clock = Hands::new();
        let session = session(&server, Login::Token(Sensitive::from("t")), &clock);
        for _ in 0..5 {
            read(&session).await.unwrap();
        }
        let renewals =
            |asked: Vec<String>| asked.iter().filter(|it| it.ends_with("renew-self")).count();
        assert_eq!(renewals(server.take_paths()), 1);
        clock.forward(60);
        read(&session).await.unwrap();
        assert_eq!(renewals(server.take_paths()), 1);
    }

    #[tokio::test]
    async fn a_token_file_is_read_again_when_its_token_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "old\n").unwrap();
        let server = Server::start(|asked: &Asked| match asked.token.as_str() {
            "old" => (403, json!({"errors": ["permission denied"]})),
            _ => (200, json!({"data": {"ttl": 0}})),
        })
        .await;
        let session = session(&server, Login::TokenFile(file.clone()), &Hands::new());
        assert!(matches!(read(&session).await, Err(Error::Login { .. })));
        std::fs::write(&file, "new\n").unwrap();
        read(&session).await.unwrap();
    }

    #[tokio::test]
    async fn a_token_of_a_login_is_given_back_once_and_one_that_was_given_never() {
        let server = Server::start(|asked: &Asked| match asked.path.as_str() {
            path if path.ends_with("/login") => grant("t", true),
            _ => (200, json!({"data": {"ttl": 0}})),
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "given").unwrap();
        let jwt = Text::Given(Sensitive::from("j"));
        let jwt = Login::Jwt { mount: "kubernetes".to_owned(), role: None, jwt };
        for (login, given_back) in [
            (approle(), 1),
            (jwt, 1),
            (Login::Token(Sensitive::from("given")), 0),
            (Login::TokenFile(file), 0),
        ] {
            let session = session(&server, login, &Hands::new());
            session.leave().await;
            assert!(server.take_paths().is_empty(), "nothing is held yet");
            read(&session).await.unwrap();
            session.leave().await;
            session.leave().await;
            let asked = server.take_paths();
            let revoked = asked.iter().filter(|path| path.ends_with("/revoke-self")).count();
            assert_eq!(revoked, given_back, "{asked:?}");
        }
    }

    #[tokio::test]
    async fn another_session_goes_on_with_a_token_as_long_as_it_holds() {
        let logins = Arc::new(Lock::new(0));
        let count = logins.clone();
        let server = Server::start(move |asked: &Asked| match asked.path.as_str() {
            "/v1/auth/approle/login" => {
                *count.lock() += 1;
                grant(&format!("t{}", *count.lock()), true)
            }
            "/v1/auth/token/renew-self" => grant("t1", true),
            _ if asked.token == "gone" => (403, json!({"errors": ["permission denied"]})),
            _ => (200, json!({"data": {}})),
        })
        .await;
        let clock = Hands::new();
        let first = session(&server, approle(), &clock);
        assert_eq!(first.pass().await, None);
        read(&first).await.unwrap();
        let pass = first.pass().await.unwrap();
        clock.forward(250);
        let second = session(&server, approle(), &clock);
        second.resume(pass.clone()).await;
        read(&second).await.unwrap();
        assert_eq!(server.take_paths()[2..], ["/v1/auth/token/renew-self", "/v1/kv/a"]);
        assert_eq!(*logins.lock(), 1);
        // One that is gone is found out, and one that is over is not taken.
        for (token, forward) in [("gone", 0), ("t1", 60)] {
            clock.forward(forward);
            let another = session(&server, approle(), &clock);
            another.resume(Pass { token: Sensitive::from(token), ..pass.clone() }).await;
            read(&another).await.unwrap();
        }
        assert_eq!(*logins.lock(), 3);
        // What was given is the operator's, and is read where it was given.
        let given = session(&server, Login::Token(Sensitive::from("given")), &clock);
        given.resume(Pass { ends_at: None, ..pass }).await;
        read(&given).await.unwrap();
        assert_eq!(given.pass().await, None);
        assert_eq!(given.token().await.unwrap().expose(), "given");
    }

    #[tokio::test]
    async fn a_refused_login_says_what_the_server_says_and_no_secret() {
        let server =
            Server::start(|_: &Asked| (400, json!({"errors": ["invalid role or secret ID"]})))
                .await;
        let session = session(&server, approle(), &Hands::new());
        let error = read(&session).await.unwrap_err().to_string();
        assert_eq!(error, "login: the server refused it: invalid role or secret ID");
    }
}
