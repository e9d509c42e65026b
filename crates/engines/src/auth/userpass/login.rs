//! `login/`, and what a renewal asks.

use super::{
    Userpass, names, password,
    users::{User, normal},
};
use bailee_sdk::{
    Body, Error, Login, LoginAlias, Reply, Request, Sensitive, View, engine::Renewal,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// The name under which the token's metadata has the user.
const USERNAME: &str = "username";
/// The answer to a wrong password and to a name that nobody has: they must look alike.
const REFUSED: &str = "invalid username or password";

/// Who logs in.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LogIn {
    /// Name of the user.
    username: String,
    /// The password.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    password: Option<Sensitive<String>>,
}

pub(super) async fn login(_: Arc<Userpass>, request: Request<LogIn>) -> Result<Reply, Error> {
    let (LogIn { username, password }, request) = request.take_input();
    let username = normal(&username)?;
    let password = password.filter(|password| !password.expose().is_empty());
    let password = password.ok_or_else(|| Error::invalid("missing password"))?;
    let users = names(&request.view);
    let found: Option<(User, _)> = users.get_at(&username).await?;
    let hash = found.as_ref().map(|(user, _)| user.password.clone());
    let matches = password::matches(password, hash).await?;
    let (user, revision) = match found {
        Some(found) if matches => found,
        Some(_) => return Err(Error::bad_credentials(REFUSED)),
        None => return Err(Error::unknown_user(REFUSED)),
    };
    // No login with a password, or of a user, that was changed while it was looked at.
    if let Some(revision) = revision {
        users.expect(&username, revision)?;
    }
    Ok(Body::Login(Box::new(login_of(&user, &username))).into())
}

/// What a login of the user would give now. A token does not outlive the user, nor a change of the
/// policies it was made with.
pub(super) async fn renew(view: &View, renewal: &Renewal) -> Result<Login, Error> {
    let username = renewal.metadata.get(USERNAME).map(String::as_str).unwrap_or_default();
    let user: Option<User> = names(view).get(username).await?;
    let user = user.ok_or_else(|| Error::invalid("the user does not exist any more"))?;
    if user.tokens.granted() != renewal.policies {
        return Err(Error::invalid("policies have changed, not renewing"));
    }
    Ok(login_of(&user, username))
}

fn login_of(user: &User, username: &str) -> Login {
    Login {
        display_name: username.to_owned(),
        metadata: BTreeMap::from([(USERNAME.to_owned(), username.to_owned())]),
        alias: Some(LoginAlias { name: username.to_owned(), metadata: BTreeMap::new() }),
        ..user.tokens.login()
    }
}
