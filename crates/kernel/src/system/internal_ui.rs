//! `sys/internal/ui`: what command lines and web pages ask before they do anything else.

use super::{Nothing, System, mounts::AtPath};
use crate::{
    policy::{self, Acl},
    registry::{Mounted, Place},
    token::TokenId,
};
use bailee_notation::glob::Pattern;
use bailee_sdk::{Body, Code, Error, Operation, Path, Reply, Request, engine::Class};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    vec![
        Path::new("internal/ui/mounts")
            .on(
                Operation::Read,
                system,
                "List the mounts that the caller can do something with.",
                System::visible_mounts,
            )
            .unauthenticated(),
        Path::new("internal/ui/mounts/{path...}")
            .on(
                Operation::Read,
                system,
                "Read the mount that a path belongs to.",
                System::visible_mount,
            )
            .unauthenticated(),
        Path::new("internal/ui/resultant-acl").on(
            Operation::Read,
            system,
            "Tell all rights of the caller.",
            System::resultant_acl,
        ),
        Path::new("internal/ui/feature-flags")
            .on(
                Operation::Read,
                system,
                "List the features that are switched on; there are none to switch.",
                |_: Arc<System>, _: Request<Nothing>| async move {
                    let bytes = br#"{"feature_flags":null}"#.to_vec();
                    Ok(Body::Raw { content_type: "application/json", bytes }.into())
                },
            )
            .unauthenticated(),
        Path::new("internal/ui/default-auth-methods")
            .on(
                Operation::Read,
                system,
                "Tell which auth method pages offer first; none is set.",
                |_: Arc<System>, _: Request<Nothing>| async move {
                    Ok(Reply::data(&json!({ "default_auth_type": "", "backup_auth_types": [] })))
                },
            )
            .unauthenticated(),
        Path::new("internal/ui/unauthenticated-messages")
            .on(Operation::Read, system, "List messages for everyone; there are none.", no_messages)
            .unauthenticated(),
        Path::new("internal/ui/authenticated-messages").on(
            Operation::Read,
            system,
            "List messages for those who are logged in; there are none.",
            no_messages,
        ),
        Path::new("internal/ui/settings").on(
            Operation::Read,
            system,
            "Tell what pages may report; nothing.",
            |_: Arc<System>, _: Request<Nothing>| async move {
                Ok(Reply::data(&json!({ "ui_telemetry_enabled": false })))
            },
        ),
        Path::new("internal/ui/namespaces")
            .on(
                Operation::Read,
                system,
                "List the namespaces directly below this one that the caller can use.",
                System::visible_namespaces,
            )
            .unauthenticated(),
    ]
}

async fn no_messages(_: Arc<System>, _: Request<Nothing>) -> Result<Reply, Error> {
    Ok(Reply::data(&json!({ "keys": [], "key_info": {} })))
}

/// The rights of a caller, and where the request's namespace is as its policies name it.
pub(super) struct Rights {
    acl: Arc<Acl>,
    prefix: String,
}

impl Rights {
    /// Whether some right concerns something at or below a path of the namespace.
    pub(super) fn touch(&self, path: &str) -> bool {
        let folder = format!("{}{path}", self.prefix);
        let grants = |pattern: &Pattern| self.acl.capabilities(pattern_start(pattern)) != ["deny"];
        let mut patterns = self.acl.rules.iter().map(|(pattern, _)| pattern);
        self.acl.is_root() || patterns.any(|pattern| reaches(pattern, &folder) && grants(pattern))
    }
}

/// Whether a pattern matches something at or below a folder, which ends in `/`.
fn reaches(pattern: &Pattern, folder: &str) -> bool {
    let text = pattern.as_str();
    let (body, star) = match text.strip_suffix('*') {
        Some(body) if !pattern.is_exact() => (body, true),
        _ => (text, false),
    };
    let mut have = body.split('/').peekable();
    for wanted in folder.trim_end_matches('/').split('/') {
        let Some(segment) = have.next() else { return false };
        if star && have.peek().is_none() {
            return wanted.starts_with(segment);
        }
        let any = segment == "+" && !pattern.is_exact();
        if !any && segment != wanted {
            return false;
        }
    }
    true
}

/// A path that a pattern matches: the pattern without its last star.
fn pattern_start(pattern: &Pattern) -> &str {
    match pattern.as_str().strip_suffix('*') {
        Some(start) if !pattern.is_exact() => start,
        _ => pattern.as_str(),
    }
}

impl System {
    async fn visible_mounts(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        let rights = self.rights(&request).await?;
        let places = self.registry.places();
        let place = places.with_id(&request.namespace.id).ok_or_else(Error::not_found)?;
        let visible = |class: Class| -> Map<String, Value> {
            let mounts = place.mounts.values().filter(|mounted| mounted.entry.class == class);
            mounts
                .filter_map(|mounted| {
                    let shown = self.visible(mounted, rights.as_ref())?;
                    Some((mounted.entry.shown_path().to_owned(), shown))
                })
                .collect()
        };
        let (secret, auth) = (visible(Class::Secret), visible(Class::Auth));
        Ok(Reply::data(&json!({ "secret": secret, "auth": auth })))
    }

    /// The answer that `kv` commands begin with. Whether a mount is there is told only to who may do
    /// something with it.
    async fn visible_mount(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        let rights = self.rights(&request).await?.ok_or_else(Error::permission_denied)?;
        let asked = &request.input.path;
        let refused = || {
            let path = format!("{}/", asked.trim_end_matches('/'));
            let message = format!(
                "preflight capability check returned 403, please ensure client's policies grant \
                 access to path {path:?}"
            );
            Error::new(Code::PermissionDenied, message)
        };
        let places = self.registry.places();
        let place = places.with_id(&request.namespace.id).ok_or_else(refused)?;
        let (mounted, _) = place.find(asked).ok_or_else(refused)?;
        if !rights.touch(&mounted.entry.path) {
            return Err(refused());
        }
        let mut shown = self.shown_to_user(mounted);
        if let Value::Object(fields) = &mut shown {
            fields.insert("path".to_owned(), mounted.entry.path.as_str().into());
        }
        Ok(Reply::data(&shown))
    }

    /// The caller's rights as its policies put them, for pages that hide what would be refused.
    async fn resultant_acl(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        let rights = self.rights(&request).await?.ok_or_else(Error::permission_denied)?;
        if rights.acl.is_root() {
            let nothing = Map::new();
            return Ok(Reply::data(&json!({
                "root": true,
                "exact_paths": nothing,
                "glob_paths": nothing,
                "chroot_namespace": "",
            })));
        }
        let (mut exact, mut glob) = (Map::new(), Map::new());
        for (pattern, _) in rights.acl.rules.iter() {
            let start = pattern_start(pattern);
            let shown = json!({ "capabilities": rights.acl.capabilities(start) });
            let into = if pattern.is_exact() { &mut exact } else { &mut glob };
            into.insert(start.to_owned(), shown);
        }
        Ok(Reply::data(&json!({
            "root": false,
            "exact_paths": exact,
            "glob_paths": glob,
            "chroot_namespace": "",
        })))
    }

    async fn visible_namespaces(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let rights = self.rights(&request).await?;
        let places = self.registry.places();
        let own = &request.namespace.path;
        let child = |place: &Arc<Place>| {
            let name = place.namespace.path.strip_prefix(own.as_str())?;
            let is_child = name.split_inclusive('/').count() == 1;
            let visible = rights.as_ref().is_some_and(|rights| rights.touch(name));
            (is_child && visible).then(|| name.to_owned())
        };
        let keys: Vec<String> = places.iter().filter_map(child).collect();
        Ok(Reply::data(&json!({ "keys": keys })))
    }

    /// A mount as this caller may see it; none when not at all.
    fn visible(&self, mounted: &Mounted, rights: Option<&Rights>) -> Option<Value> {
        let entry = &mounted.entry;
        let is_public = entry.config.listing_visibility == "unauth";
        match rights {
            Some(rights) => {
                (is_public || rights.touch(&entry.path)).then(|| self.shown_to_user(mounted))
            }
            None => is_public.then(|| {
                json!({
                    "description": entry.description,
                    "options": entry.options,
                    "type": entry.kind,
                })
            }),
        }
    }

    /// A mount with the TTLs that apply.
    fn shown_to_user(&self, mounted: &Mounted) -> Value {
        let mut shown = self.shown(&mounted.entry);
        if let Value::Object(fields) = &mut shown {
            fields.insert("config".to_owned(), self.shown_config(&mounted.entry, true).into());
        }
        shown
    }

    /// The rights of the caller, if there is one.
    pub(super) async fn rights<I>(&self, request: &Request<I>) -> Result<Option<Rights>, Error> {
        let Some(caller) = &request.caller else { return Ok(None) };
        let token = self.tokens.find(&TokenId::from_text(&caller.token_id)).await?;
        let token = token.ok_or_else(Error::permission_denied)?;
        let (acl, prefix) = policy::rights(&self.policies, &token, &request.namespace).await?;
        Ok(Some(Rights { acl, prefix }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reaches_the_folders_in_which_it_matches_something() {
        for (pattern, yes, no) in [
            (
                "kv/data/app",
                vec!["kv/", "kv/data/"],
                vec!["k/", "kv/dat/", "kv/data/app/x/", "kv2/"],
            ),
            ("kv/*", vec!["kv/", "kv/data/a/"], vec!["kv2/", "k/"]),
            ("k*", vec!["kv/", "k/", "kv/data/"], vec!["v/"]),
            ("*", vec!["kv/"], vec![]),
            ("+/data/*", vec!["kv/", "kv/data/"], vec!["kv/metadata/"]),
            ("kv/+/a", vec!["kv/", "kv/data/"], vec!["kv/data/b/"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for folder in yes {
                assert!(reaches(&parsed, folder), "{pattern} {folder}");
            }
            for folder in no {
                assert!(!reaches(&parsed, folder), "{pattern} {folder}");
            }
        }
    }
}
