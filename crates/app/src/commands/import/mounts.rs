//! Where things are mounted: KV engines, and ways to log in.

use super::{Copy, end::is_single, report::Kind};
use bailee_client::{Error, kv::KvMount};
use serde_json::{Map, Value, json};

/// Settings of a mount that mean the same everywhere.
const SETTINGS: [&str; 4] =
    ["default_lease_ttl", "max_lease_ttl", "listing_visibility", "token_type"];
/// Mounts that every server has of its own.
const OWN: [&str; 4] = ["system", "identity", "cubbyhole", "token"];

/// A KV engine that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Engine {
    pub(super) mount: KvMount,
    /// Whether it is at the destination, or will be when it is written to.
    pub(super) is_there: bool,
}

impl Copy {
    /// The KV engines of the source, mounted here.
    pub(super) async fn engines(&mut self, only: &[String]) -> Result<Vec<Engine>, Error> {
        let theirs = self.from.fields("sys/mounts").await?.unwrap_or_default();
        let ours = self.to.fields("sys/mounts").await?.unwrap_or_default();
        for path in only.iter().filter(|path| !theirs.contains_key(path.as_str())) {
            self.report.failed(path.as_str(), "there is no such secrets engine");
        }
        let mut engines = Vec::new();
        for (path, about) in &theirs {
            let kind = text(about, "/type");
            if is_own(kind) || (!only.is_empty() && !only.contains(path)) {
                continue;
            }
            if !matches!(kind, "kv" | "generic") {
                self.report.note(path.as_str(), format!("secrets engine of type {kind}"));
                continue;
            }
            let versioned = text(about, "/options/version") == "2";
            let mount = KvMount { path: path.clone(), versioned };
            let is_there = match ours.get(path) {
                Some(here) if is_same_engine(here, versioned) => {
                    self.report.there(Kind::Engine);
                    true
                }
                Some(_) => {
                    self.report.left(path.as_str(), "another kind of engine is mounted there");
                    continue;
                }
                None => {
                    let version = if versioned { "2" } else { "1" };
                    let body = body(about, "kv", json!({ "version": version }));
                    if !self.mount("sys/mounts", path, &body, Kind::Engine).await? {
                        continue;
                    }
                    if versioned && self.writes {
                        self.copy_settings(path).await?;
                    }
                    self.writes
                }
            };
            engines.push(Engine { mount, is_there });
        }
        Ok(engines)
    }

    /// The ways to log in of the given type, mounted here, as their paths without `auth/`.
    pub(super) async fn methods(&mut self) -> Result<Vec<(String, String, bool)>, Error> {
        let theirs = self.from.fields("sys/auth").await?.unwrap_or_default();
        let ours = self.to.fields("sys/auth").await?.unwrap_or_default();
        let mut methods = Vec::new();
        for (path, about) in &theirs {
            let kind = text(about, "/type");
            if is_own(kind) {
                continue;
            }
            let name = format!("auth/{path}");
            if !matches!(kind, "approle" | "aws" | "userpass") {
                self.report.note(name, format!("auth method of type {kind}"));
                continue;
            }
            let is_there = match ours.get(path) {
                Some(here) if text(here, "/type") == kind => {
                    self.report.there(Kind::Login);
                    true
                }
                Some(_) => {
                    self.report.left(name, "another auth method is mounted there");
                    continue;
                }
                None => {
                    let body = body(about, kind, Value::Null);
                    if !self.mount("sys/auth", path, &body, Kind::Login).await? {
                        continue;
                    }
                    self.writes
                }
            };
            methods.push((kind.to_owned(), path.clone(), is_there));
        }
        Ok(methods)
    }

    async fn mount(
        &mut self,
        family: &str,
        path: &str,
        body: &Value,
        kind: Kind,
    ) -> Result<bool, Error> {
        if self.writes {
            let target = format!("{family}/{}", path.trim_end_matches('/'));
            match self.to.write(&target, body).await {
                Ok(()) => {}
                Err(error) if is_single(&error) => {
                    self.report.failed(path, error.to_string());
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.report.copied(kind);
        Ok(true)
    }

    /// How many versions are kept, and for how long, where a secret does not say.
    async fn copy_settings(&mut self, path: &str) -> Result<(), Error> {
        let place = format!("{path}config");
        let settings = match self.from.fields(&place).await {
            Ok(settings) => settings.unwrap_or_default(),
            Err(error) if is_single(&error) => {
                self.report.note(place, format!("settings of the engine: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match self.to.write(&place, &settings.into()).await {
            Err(error) if is_single(&error) => {
                self.report.failed(place, error.to_string());
                Ok(())
            }
            outcome => outcome,
        }
    }
}

fn text<'a>(about: &'a Value, pointer: &str) -> &'a str {
    about.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Those of a namespace have a mark of their own in front.
fn is_own(kind: &str) -> bool {
    OWN.contains(&kind.trim_start_matches("ns_"))
}

fn is_same_engine(about: &Value, versioned: bool) -> bool {
    text(about, "/type") == "kv" && (text(about, "/options/version") == "2") == versioned
}

/// What mounts the same again.
fn body(about: &Value, kind: &str, options: Value) -> Value {
    let given = about.pointer("/config").and_then(Value::as_object).cloned().unwrap_or_default();
    let said = |value: &Value| !matches!(value.as_u64(), Some(0)) && value.as_str() != Some("");
    let settings: Map<String, Value> = given
        .into_iter()
        .filter(|(name, value)| SETTINGS.contains(&name.as_str()) && said(value))
        .collect();
    let mut body = json!({
        "type": kind,
        "description": text(about, "/description"),
        "config": settings,
    });
    if let (Value::Object(body), false) = (&mut body, options.is_null()) {
        body.insert("options".to_owned(), options);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_as_vault_tells_it_is_mounted_again_with_what_means_the_same() {
        let told = json!({
            "accessor": "kv_1a2b", "config": {"default_lease_ttl": 0, "force_no_cache": false,
            "listing_visibility": "unauth", "max_lease_ttl": 3600}, "deprecation_status": "supported",
            "description": "team", "external_entropy_access": false, "local": false,
            "options": {"version": "2"}, "plugin_version": "", "running_plugin_version": "v0.15",
            "seal_wrap": false, "type": "kv", "uuid": "x",
        });
        assert!(is_same_engine(&told, true) && !is_same_engine(&told, false));
        let expected = json!({
            "type": "kv", "description": "team", "options": {"version": "2"},
            "config": {"listing_visibility": "unauth", "max_lease_ttl": 3600},
        });
        assert_eq!(body(&told, "kv", json!({"version": "2"})), expected);
        assert_eq!(body(&json!({"config": null}), "userpass", Value::Null)["config"], json!({}));
        assert!(is_own("ns_system") && is_own("token") && !is_own("kv"));
    }
}
