//! `sys/audit`, `sys/audit-hash` and `sys/config/auditing`.

use super::{AuditStore, store::Wanted};
use bailee_sdk::{
    Engine, Error, Nothing, Operation, Path, Reply, Request,
    field::{Flag, KeyValues},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{fmt, sync::Arc};

/// What is served about audit devices, relative to the mount of the system.
pub(crate) struct AuditPaths {
    store: Arc<AuditStore>,
}

#[derive(Deserialize, JsonSchema)]
struct Enable {
    /// Where the device is known, such as `file`.
    path: String,
    /// Kind of the device: file, socket or syslog.
    #[serde(default, rename = "type")]
    kind: String,
    /// What it is for.
    #[serde(default)]
    description: String,
    /// Options of the kind: `file_path` of a file, `address` of a socket, `facility` of syslog.
    #[serde(default)]
    options: KeyValues,
    /// Kept and shown; means nothing on one cluster.
    #[serde(default)]
    local: Flag,
}

#[derive(Deserialize, JsonSchema)]
struct Device {
    /// Where the device is known.
    path: String,
}

#[derive(Deserialize, JsonSchema)]
struct Hash {
    /// Where the device is known.
    path: String,
    /// The text whose code is asked for.
    #[serde(default)]
    input: String,
}

#[derive(Deserialize, JsonSchema)]
struct Header {
    /// Name of the header; case does not matter.
    header: String,
}

#[derive(Deserialize, JsonSchema)]
struct HeaderWrite {
    /// Name of the header; case does not matter.
    header: String,
    /// Whether its values appear as codes.
    #[serde(default)]
    hmac: Flag,
}

impl Engine for AuditPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        let system_only = |pattern| Path::new(pattern).root_only();
        vec![
            system_only("audit").sudo().on(
                Operation::Read,
                &self,
                "List the audit devices.",
                Self::list,
            ),
            system_only("audit/{path...}")
                .sudo()
                .on(Operation::Update, &self, "Enable an audit device.", Self::enable)
                .on(Operation::Delete, &self, "Disable an audit device.", Self::disable),
            system_only("audit-hash/{path...}").on(
                Operation::Update,
                &self,
                "Tell the code that an audit device shows for a text.",
                Self::hash,
            ),
            system_only("config/auditing/request-headers").sudo().on(
                Operation::Read,
                &self,
                "List the request headers that are audited.",
                Self::headers,
            ),
            system_only("config/auditing/request-headers/{header}")
                .sudo()
                .ignores_case()
                .on(Operation::Read, &self, "Read how a header is audited.", Self::header)
                .on(Operation::Update, &self, "Audit a header.", Self::put_header)
                .on(Operation::Delete, &self, "Stop auditing a header.", Self::delete_header),
        ]
    }
}

impl AuditPaths {
    pub(crate) fn new(store: Arc<AuditStore>) -> AuditPaths {
        AuditPaths { store }
    }

    async fn list(self: Arc<Self>, _: Request<Nothing>) -> Result<Reply, Error> {
        let mut shown: Map<String, Value> = Map::new();
        for entry in self.store.list().await? {
            let device = json!({
                "type": entry.kind,
                "description": entry.description,
                "options": entry.options,
                "local": entry.local,
                "path": entry.path,
            });
            shown.insert(entry.path, device);
        }
        Ok(Reply::data(&shown))
    }

    async fn enable(self: Arc<Self>, request: Request<Enable>) -> Result<Reply, Error> {
        let Enable { path, kind, description, options, local } = request.input;
        let (options, local) = (options.0, local.0);
        self.store.enable(Wanted { path, kind, description, options, local }).await?;
        Ok(Reply::empty())
    }

    async fn disable(self: Arc<Self>, request: Request<Device>) -> Result<Reply, Error> {
        self.store.disable(&request.input.path).await?;
        Ok(Reply::empty())
    }

    async fn hash(self: Arc<Self>, request: Request<Hash>) -> Result<Reply, Error> {
        let Hash { path, input } = &request.input;
        if input.is_empty() {
            return Err(Error::invalid("the \"input\" parameter is empty"));
        }
        Ok(Reply::data(&json!({ "hash": self.store.hash(path, input)? })))
    }

    async fn headers(self: Arc<Self>, _: Request<Nothing>) -> Result<Reply, Error> {
        Ok(Reply::data(&json!({ "headers": *self.store.headers() })))
    }

    async fn header(self: Arc<Self>, request: Request<Header>) -> Result<Reply, Error> {
        let name = &request.input.header;
        match self.store.headers().find(name) {
            Some(header) => Ok(Reply::data(&json!({ name: header }))),
            None => Err(Error::invalid("Could not find header in config")),
        }
    }

    async fn put_header(self: Arc<Self>, request: Request<HeaderWrite>) -> Result<Reply, Error> {
        let HeaderWrite { header, hmac } = &request.input;
        self.store.change_headers(|headers| headers.put(header, hmac.0)).await?;
        Ok(Reply::empty())
    }

    async fn delete_header(self: Arc<Self>, request: Request<Header>) -> Result<Reply, Error> {
        let name = &request.input.header;
        let remove = |headers: &mut super::Audited| {
            headers.remove(name);
            Ok(())
        };
        self.store.change_headers(remove).await?;
        Ok(Reply::empty())
    }
}

impl fmt::Debug for AuditPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditPaths(..)")
    }
}
