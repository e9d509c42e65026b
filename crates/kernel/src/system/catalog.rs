//! `sys/plugins`: the kinds of engines there are. All of them are built in.

use super::{Nothing, System};
use bailee_crypto::random;
use bailee_sdk::{Error, Json, Operation, Path, Reply, Request, engine::Class, field::CommaList};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    let mut paths = catalog_paths(system);
    paths.extend(other_paths(system));
    paths
}

fn catalog_paths(system: &Arc<System>) -> Vec<Path> {
    let register = "Register a plugin; refused, engines are built in.";
    let remove = "Remove a plugin; refused, engines are built in.";
    vec![
        Path::new("plugins/catalog")
            .on(Operation::Read, system, "List the engines there are.", System::catalog)
            .root_only(),
        Path::new("plugins/catalog/{type}")
            .on(Operation::List, system, "List the engines of a type.", System::catalog_of_type)
            .on(Operation::Read, system, "Read an engine by its name alone.", System::unnamed)
            .on(Operation::Update, system, register, System::refuse_plugin)
            .on(Operation::Delete, system, remove, System::refuse_plugin)
            .sudo()
            .root_only(),
        Path::new("plugins/catalog/{type}/{name}")
            .on(Operation::Read, system, "Read about an engine.", System::read_plugin)
            .on(Operation::Update, system, register, System::refuse_plugin)
            .on(Operation::Delete, system, remove, System::refuse_plugin)
            .sudo()
            .root_only(),
    ]
}

fn other_paths(system: &Arc<System>) -> Vec<Path> {
    let reload = "Reload plugins; what is built in is always as the server is.";
    vec![
        Path::new("plugins/pins")
            .on(Operation::Read, system, "List pinned versions; there are none.", System::pins)
            .root_only(),
        Path::new("plugins/pins/{type}/{name}")
            .on(Operation::Read, system, "Read a pinned version.", System::no_pin)
            .on(Operation::Update, system, "Pin a version; refused.", System::refuse_plugin)
            .on(Operation::Delete, system, "Unpin a version.", System::refuse_plugin)
            .root_only(),
        Path::new("plugins/reload/backend").on(
            Operation::Update,
            system,
            reload,
            System::reload_mounts,
        ),
        Path::new("plugins/reload/{type}/{name}").on(
            Operation::Update,
            system,
            reload,
            System::reload_kind,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
struct OfType {
    /// `auth`, `database` or `secret`.
    r#type: String,
}

#[derive(Deserialize, JsonSchema)]
struct Plugin {
    /// `auth`, `database` or `secret`.
    r#type: String,
    /// Name of the engine.
    name: String,
}

#[derive(Deserialize, JsonSchema)]
struct Reload {
    /// Name of the engine.
    #[serde(default)]
    plugin: String,
    /// Paths of mounts.
    #[serde(default)]
    mounts: CommaList,
    /// Kept as given: there is one node.
    #[serde(default, rename = "scope")]
    _scope: Option<String>,
}

impl System {
    async fn catalog(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let kinds = self.registry.kinds();
        let (auth, secret) = (kinds.names(Class::Auth), kinds.names(Class::Secret));
        let detail = |kind: &'static str, names: &[&str]| -> Vec<Value> {
            let of = |name: &&str| {
                json!({
                    "builtin": true,
                    "deprecation_status": "supported",
                    "name": name,
                    "type": kind,
                    "version": self.plugin_version(),
                })
            };
            names.iter().map(of).collect()
        };
        let detailed = [detail("auth", &auth), detail("secret", &secret)].concat();
        Ok(Reply::data(&json!({
            "auth": auth,
            "database": [],
            "secret": secret,
            "detailed": detailed,
        })))
    }

    async fn catalog_of_type(self: Arc<Self>, request: Request<OfType>) -> Result<Reply, Error> {
        let kinds = self.registry.kinds();
        let names = match request.input.r#type.trim_end_matches('/') {
            "database" => Vec::new(),
            named => match class(named) {
                Some(class) => kinds.names(class),
                None => {
                    return Err(Error::invalid(format!(
                        "{named:?} is not a supported plugin type"
                    )));
                }
            },
        };
        Reply::keys(&names.into_iter().map(str::to_owned).collect::<Vec<_>>())
    }

    async fn unnamed(self: Arc<Self>, request: Request<OfType>) -> Result<Reply, Error> {
        Ok(deprecated(&request.input.r#type))
    }

    async fn read_plugin(self: Arc<Self>, request: Request<Plugin>) -> Result<Reply, Error> {
        let Plugin { r#type, name } = &request.input;
        let class = match r#type.as_str() {
            "database" => return Err(Error::not_found()),
            named => match class(named) {
                Some(class) => class,
                None => return Ok(deprecated(&format!("{named}/{name}"))),
            },
        };
        if !self.registry.kinds().names(class).contains(&name.as_str()) {
            return Err(Error::not_found());
        }
        Ok(Reply::data(&json!({
            "args": null,
            "builtin": true,
            "command": "",
            "deprecation_status": "supported",
            "name": name,
            "sha256": "",
            "version": self.plugin_version(),
        })))
    }

    async fn refuse_plugin(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        Err(Error::invalid(
            "this server runs the engines that are built in and no others: plugins can be neither \
             registered nor removed",
        ))
    }

    async fn pins(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        Ok(Reply::data(&json!({ "pinned_versions": [] })))
    }

    async fn no_pin(self: Arc<Self>, _request: Request<Plugin>) -> Result<Reply, Error> {
        Err(Error::not_found())
    }

    async fn reload_mounts(self: Arc<Self>, request: Request<Reload>) -> Result<Reply, Error> {
        let Reload { plugin, mounts, .. } = &request.input;
        match (plugin.is_empty(), mounts.0.is_empty()) {
            (true, true) => return Err(Error::invalid("plugin or mounts must be provided")),
            (false, false) => {
                return Err(Error::invalid("plugin and mounts cannot be set at the same time"));
            }
            (false, true) => self.check_kind(plugin)?,
            (true, false) => {
                for mount in &mounts.0 {
                    let path = format!("{}/", mount.trim_matches('/'));
                    if self.stored(&request, &path).is_none() {
                        return Err(Error::invalid(format!("no mount at {path:?} to reload")));
                    }
                }
            }
        }
        Ok(reloaded())
    }

    async fn reload_kind(self: Arc<Self>, request: Request<Plugin>) -> Result<Reply, Error> {
        self.check_kind(&request.input.name)?;
        Ok(reloaded())
    }

    fn check_kind(&self, name: &str) -> Result<(), Error> {
        let kinds = self.registry.kinds();
        if [Class::Auth, Class::Secret].iter().any(|class| kinds.names(*class).contains(&name)) {
            return Ok(());
        }
        Err(Error::invalid(format!("plugin not found in the catalog: {name}")))
    }
}

fn class(name: &str) -> Option<Class> {
    match name {
        "auth" => Some(Class::Auth),
        "secret" => Some(Class::Secret),
        _ => None,
    }
}

fn reloaded() -> Reply {
    Reply::data(&json!({ "reload_id": random::uuid().to_string() }))
}

fn deprecated(what: &str) -> Reply {
    let nothing = Json::of(&Value::Null);
    Reply::from(bailee_sdk::Body::Data(nothing)).warn(format!(
        "Deprecated API endpoint, cannot read plugin information from catalog for {what:?}"
    ))
}
