//! `users/`: who can log in.

use super::{USERNAME_BYTES_MAX, Userpass, names, password};
use crate::{
    auth::token_fields::{OldInput, TokenFields, TokenInput, present, with_token_fields},
    listing::ListNames,
};
use bailee_crypto::password::PasswordHash;
use bailee_sdk::{
    Error, Reply, Request, Sensitive, View,
    field::{CommaList, Ttl},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use std::sync::Arc;

/// A user, as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) password: PasswordHash,
    pub(super) tokens: TokenFields,
}

/// A user's name as it is kept: case does not matter.
pub(super) fn normal(username: &str) -> Result<String, Error> {
    if username.len() > USERNAME_BYTES_MAX {
        let message = format!("field \"username\" has more than {USERNAME_BYTES_MAX} bytes");
        return Err(Error::invalid(message));
    }
    Ok(username.to_lowercase())
}

/// Keeps other requests from changing the user until this one is done.
async fn lock(view: &View, username: &str) {
    view.lock(&format!("user/{}", names(view).id(username))).await;
}

/// A user to look at or to remove.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OneUser {
    /// Name of the user.
    username: String,
}

pub(super) async fn read(_: Arc<Userpass>, request: Request<OneUser>) -> Result<Reply, Error> {
    let username = normal(&request.input.username)?;
    let user: Option<User> = names(&request.view).get(&username).await?;
    let user = user.ok_or_else(Error::not_found)?;
    let mut shown = Map::new();
    user.tokens.show(&mut shown);
    Ok(Reply::data(&shown))
}

pub(super) async fn exists(_: Arc<Userpass>, request: Request<OneUser>) -> Result<bool, Error> {
    let username = normal(&request.input.username)?;
    Ok(names(&request.view).get::<User>(&username).await?.is_some())
}

pub(super) async fn delete(_: Arc<Userpass>, request: Request<OneUser>) -> Result<Reply, Error> {
    let username = normal(&request.input.username)?;
    lock(&request.view, &username).await;
    names(&request.view).delete(&username).await?;
    Ok(Reply::empty())
}

with_token_fields! {
    /// A new user, or changes to one.
    pub(super) struct WriteUser {
        /// Name of the user.
        username: String,
        /// The password: at most 72 bytes. A new user needs it, or its hash.
        #[serde(default)]
        #[schemars(with = "Option<String>")]
        password: Option<Sensitive<String>>,
        /// A bcrypt hash of the password, instead of the password.
        #[serde(default)]
        #[schemars(with = "Option<String>")]
        password_hash: Option<Sensitive<String>>,
        /// Older name of `token_policies`.
        #[serde(default, deserialize_with = "present")]
        policies: Option<CommaList>,
        /// Older name of `token_ttl`.
        #[serde(default, deserialize_with = "present")]
        ttl: Option<Ttl>,
        /// Older name of `token_max_ttl`.
        #[serde(default, deserialize_with = "present")]
        max_ttl: Option<Ttl>,
        /// Older name of `token_bound_cidrs`.
        #[serde(default, deserialize_with = "present")]
        bound_cidrs: Option<CommaList>,
    }
}

pub(super) async fn write(_: Arc<Userpass>, request: Request<WriteUser>) -> Result<Reply, Error> {
    let (mut input, request) = request.take_input();
    let username = normal(&input.username)?;
    // Before the lock is taken: it takes long.
    let password = given(input.password.take(), input.password_hash.take()).await?;
    lock(&request.view, &username).await;
    let users = names(&request.view);
    let mut user = match (users.get::<User>(&username).await?, password) {
        (Some(user), None) => user,
        (Some(user), Some(password)) => User { password, ..user },
        (None, Some(password)) => User { password, tokens: TokenFields::default() },
        (None, None) => return Err(Error::invalid("missing password")),
    };
    let tokens = input.take_token_fields();
    let old = OldInput {
        ttl: input.ttl,
        max_ttl: input.max_ttl,
        policies: input.policies,
        bound_cidrs: input.bound_cidrs,
        period: None,
    };
    user.tokens.apply(tokens, old)?;
    users.put(&username, &user).await?;
    Ok(Reply::empty())
}

/// A new password.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WritePassword {
    /// Name of the user.
    username: String,
    /// The password: at most 72 bytes.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    password: Option<Sensitive<String>>,
    /// A bcrypt hash of the password, instead of the password.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    password_hash: Option<Sensitive<String>>,
}

pub(super) async fn write_password(
    _: Arc<Userpass>,
    request: Request<WritePassword>,
) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    let password = given(input.password, input.password_hash).await?;
    let password = password.ok_or_else(|| Error::invalid("missing password"))?;
    change(&request, &input.username, |user| {
        user.password = password;
        Ok(())
    })
    .await
}

/// New policies.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WritePolicies {
    /// Name of the user.
    username: String,
    /// Policies of the user's tokens.
    #[serde(default, deserialize_with = "present")]
    token_policies: Option<CommaList>,
    /// Older name of `token_policies`.
    #[serde(default, deserialize_with = "present")]
    policies: Option<CommaList>,
}

pub(super) async fn write_policies(
    _: Arc<Userpass>,
    request: Request<WritePolicies>,
) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    let new = TokenInput { policies: input.token_policies, ..TokenInput::default() };
    let old = OldInput { policies: input.policies, ..OldInput::default() };
    change(&request, &input.username, |user| user.tokens.apply(new, old)).await
}

async fn change(
    request: &Request<()>,
    username: &str,
    change: impl FnOnce(&mut User) -> Result<(), Error>,
) -> Result<Reply, Error> {
    let username = normal(username)?;
    lock(&request.view, &username).await;
    let users = names(&request.view);
    let user: Option<User> = users.get(&username).await?;
    let mut user = user.ok_or_else(|| Error::invalid("username does not exist"))?;
    change(&mut user)?;
    users.put(&username, &user).await?;
    Ok(Reply::empty())
}

/// What to keep of the password that a client gives, in clear or as a hash.
async fn given(
    password: Option<Sensitive<String>>,
    hash: Option<Sensitive<String>>,
) -> Result<Option<PasswordHash>, Error> {
    let said = |text: &Sensitive<String>| !text.expose().is_empty();
    match (password.filter(said), hash.filter(said)) {
        (None, None) => Ok(None),
        (Some(password), None) => password::hash(password).await.map(Some),
        (None, Some(hash)) => PasswordHash::parse(hash.expose())
            .map(Some)
            .map_err(|error| Error::invalid(format!("field \"password_hash\" is {error}"))),
        (Some(_), Some(_)) => {
            Err(Error::invalid("give \"password\" or \"password_hash\", not both"))
        }
    }
}

pub(super) async fn list(_: Arc<Userpass>, request: Request<ListNames>) -> Result<Reply, Error> {
    request.input.of(&names(&request.view)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What storage holds since the first release. A new form is added beside it, never instead.
    #[test]
    fn what_is_stored_keeps_its_form() {
        let stored = json!({
            "password": "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "tokens": serde_json::to_value(TokenFields::default()).unwrap(),
        });
        let user: User = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&user).unwrap(), stored);
        assert!(!format!("{user:?}").contains("CCCC"));
    }
}
