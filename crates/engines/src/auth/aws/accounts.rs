//! `config/sts/`: the roles that are taken on to look at users and roles of other accounts.

use super::{Aws, arn, upstream};
use bailee_cloud::aws::RoleSession;
use bailee_sdk::{Error, Names, Nothing, Reply, Request, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// The longest secret word between two accounts that AWS takes.
const EXTERNAL_ID_BYTES_MAX: usize = 1224;

/// How an account is looked at, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) sts_role: String,
    pub(super) external_id: String,
}

impl Account {
    /// How its role is taken on.
    pub(super) fn session(&self) -> RoleSession {
        RoleSession {
            role_arn: self.sts_role.clone(),
            external_id: Some(self.external_id.clone()).filter(|word| !word.is_empty()),
            session_name: upstream::SESSION_NAME.to_owned(),
            duration: None,
        }
    }
}

fn names(view: &View) -> Names {
    view.names("account")
}

/// How an account is looked at, if by a role of its own.
pub(super) async fn of(view: &View, account: &str) -> Result<Option<Account>, Error> {
    Ok(names(view).get(account).await?)
}

/// An account to look at or to forget.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OneAccount {
    /// Number of the account.
    account_id: String,
}

/// How an account is looked at.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteAccount {
    /// Number of the account.
    account_id: String,
    /// ARN of the role of that account that is taken on.
    #[serde(default)]
    sts_role: Option<String>,
    /// The word that the role demands, if it does.
    #[serde(default)]
    external_id: Option<String>,
}

fn checked(account: &str) -> Result<&str, Error> {
    match arn::is_account(account) {
        true => Ok(account),
        false => {
            Err(Error::invalid("account_id is not the number of an account: want twelve digits"))
        }
    }
}

pub(super) async fn write(_: Arc<Aws>, request: Request<WriteAccount>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    let account = checked(&input.account_id)?;
    let accounts = names(&request.view);
    request.view.lock(&format!("account/{}", accounts.id(account))).await;
    let known: Option<Account> = accounts.get(account).await?;
    let (known_role, known_word) =
        known.map(|known| (known.sts_role, known.external_id)).unwrap_or_default();
    let sts_role = input.sts_role.unwrap_or(known_role);
    if sts_role.is_empty() {
        return Err(Error::invalid("sts role cannot be empty"));
    }
    let role = arn::Principal::parse(&sts_role)?;
    if role.kind != arn::Kind::Role || role.session.is_some() || role.account != input.account_id {
        let message = format!("sts_role is not a role of account {}", input.account_id);
        return Err(Error::invalid(message));
    }
    let external_id = input.external_id.unwrap_or(known_word);
    if external_id.len() > EXTERNAL_ID_BYTES_MAX {
        let message = format!("field \"external_id\" has more than {EXTERNAL_ID_BYTES_MAX} bytes");
        return Err(Error::invalid(message));
    }
    accounts.put(account, &Account { sts_role, external_id }).await?;
    Ok(Reply::empty())
}

pub(super) async fn read(_: Arc<Aws>, request: Request<OneAccount>) -> Result<Reply, Error> {
    let found = of(&request.view, &request.input.account_id).await?;
    let account = found.ok_or_else(Error::not_found)?;
    Ok(Reply::data(&json!({ "sts_role": account.sts_role, "external_id": account.external_id })))
}

pub(super) async fn exists(_: Arc<Aws>, request: Request<OneAccount>) -> Result<bool, Error> {
    Ok(of(&request.view, &request.input.account_id).await?.is_some())
}

pub(super) async fn delete(_: Arc<Aws>, request: Request<OneAccount>) -> Result<Reply, Error> {
    let account = checked(&request.input.account_id)?;
    names(&request.view).delete(account).await?;
    Ok(Reply::empty())
}

pub(super) async fn list(_: Arc<Aws>, request: Request<Nothing>) -> Result<Reply, Error> {
    Reply::keys(&names(&request.view).list("", "", usize::MAX).await?)
}
