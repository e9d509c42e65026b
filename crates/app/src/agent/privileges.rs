//! Becoming somebody who may do less, once sockets are open and keys are read.

use crate::config::env;
use anyhow::{Context, Result, bail};
use bailee_agent::private_file::Rule;
use nix::unistd::{self, Gid, Group, Uid, User};
use std::{ffi::CString, path::Path};

/// Somebody whom the agent becomes.
#[derive(Debug)]
pub(super) struct Somebody {
    user: String,
    name: CString,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
}

impl Somebody {
    /// `user` with `group`, or with the user's own group.
    pub(super) fn named(user: &str, group: Option<&str>) -> Result<Somebody> {
        let account = account(user)?;
        let gid = match group {
            Some(group) => group_id(group)?,
            None => account.gid,
        };
        let name = CString::new(account.name.as_str()).context("user")?;
        Ok(Somebody { user: user.to_owned(), name, uid: account.uid, gid })
    }

    /// Whether that is who it is already.
    pub(super) fn is_me(&self) -> bool {
        unistd::geteuid() == self.uid && unistd::getegid() == self.gid
    }

    /// Becomes this user for good.
    pub(super) fn become_it(&self) -> Result<()> {
        let Somebody { user, name, uid, gid } = self;
        if self.is_me() {
            return Ok(());
        }
        if !unistd::geteuid().is_root() {
            bail!(
                "user {user:?}: only root can become somebody else; start as root, or leave user out"
            );
        }
        unistd::initgroups(name, *gid).with_context(|| format!("user {user:?}: its groups"))?;
        unistd::setgid(*gid).with_context(|| format!("group of user {user:?}"))?;
        unistd::setuid(*uid).with_context(|| format!("user {user:?}"))?;
        if !uid.is_root() && unistd::setuid(Uid::from_raw(0)).is_ok() {
            bail!("user {user:?}: the system gave the rights of root back");
        }
        Ok(())
    }
}

/// Who may have a file that the agent takes a key out of, where it becomes `user`. One that nobody knows is told of
/// when the agent is to become it.
pub(super) fn rule(path: &Path, user: Option<&str>) -> Rule {
    let owner = user.and_then(|user| account(user).ok()).map(|account| account.uid.as_raw());
    let folder = env::credentials_directory();
    let is_credential = folder.is_some() && path.parent() == folder.as_deref();
    Rule { owner, ..if is_credential { Rule::CREDENTIAL } else { Rule::OWN } }
}

fn account(user: &str) -> Result<User> {
    let found = match user.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(user),
    };
    found
        .with_context(|| format!("user {user:?}"))?
        .with_context(|| format!("there is no user {user:?}"))
}

fn group_id(group: &str) -> Result<Gid> {
    let found = match group.parse() {
        Ok(number) => Group::from_gid(Gid::from_raw(number)),
        Err(_) => Group::from_name(group),
    };
    let found = found.with_context(|| format!("group {group:?}"))?;
    Ok(found.with_context(|| format!("there is no group {group:?}"))?.gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_unknown_is_told_by_name() {
        let told = format!("{:#}", Somebody::named("no-such-user-here", None).unwrap_err());
        assert_eq!(told, "there is no user \"no-such-user-here\"");
        let told = format!("{:#}", Somebody::named("0", Some("no-such-group-here")).unwrap_err());
        assert_eq!(told, "there is no group \"no-such-group-here\"");
    }
}
