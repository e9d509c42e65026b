//! `sys/internal/ui`: what command lines and web pages ask before they do anything else.

use super::{Nothing, System, mounts::AtPath};
use crate::{
    policy::{Acl, Facts},
    registry::{Mounted, Place},
};
use bailee_sdk::{Body, Caller, Code, Error, Operation, Path, Reply, Request, engine::Class};
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

/// The rights of a caller, and where the request's namespace is as its policies name it.
struct Rights {
    acl: Arc<Acl>,
    prefix: String,
}

impl Rights {
    /// Whether some right concerns something at or below a path of the namespace.
    fn touch(&self, path: &str) -> bool {
        self.acl.touches(&format!("{}{path}", self.prefix))
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
        match rights {
            Some(rights) => rights.touch(&entry.path).then(|| self.shown_to_user(mounted)),
            None => (entry.config.listing_visibility == "unauth").then(|| {
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
            fields.insert("config".to_owned(), self.shown_config(&mounted.entry, true));
        }
        shown
    }

    async fn rights<I>(&self, request: &Request<I>) -> Result<Option<Rights>, Error> {
        let Some(caller) = &request.caller else { return Ok(None) };
        let places = self.registry.places();
        let own = places.with_id(namespace_of(caller)).ok_or_else(Error::permission_denied)?;
        let prefix = request.namespace.path.strip_prefix(own.namespace.path.as_str());
        let prefix = prefix.unwrap_or_default().to_owned();
        let policies = &caller.policies;
        let acl = self.policies.acl(&own.namespace, policies, &Facts::default()).await?;
        Ok(Some(Rights { acl, prefix }))
    }
}

/// The namespace a caller's token belongs to: its id says so.
fn namespace_of(caller: &Caller) -> &str {
    caller.token_id.split_once('.').map_or("root", |(_, namespace)| namespace)
}
