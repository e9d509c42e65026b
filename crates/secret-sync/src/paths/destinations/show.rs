//! Destinations as answers show them, one by one and listed.

use super::{OfType, details, policy};
use crate::{
    paths::{Named, Nothing, Paths, status::time},
    registry::{DestinationKind, StoredDestination},
    store::Store,
};
use bailee_sdk::{Error, Namespace, Reply, Request};
use serde_json::{Map, Value, json};
use std::sync::Arc;

impl Paths {
    pub(in crate::paths) async fn list_destinations(
        self: Arc<Self>,
        request: Request<Nothing>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let keys = store.destination_names("").await?;
        let mut by_type = Map::new();
        let mut total = 0;
        for folder in &keys {
            let names = store.destination_names(folder).await?;
            total += names.len();
            by_type.insert(folder.clone(), json!(names));
        }
        if total == 0 {
            return Err(Error::not_found());
        }
        let data = json!({ "key_info": by_type, "keys": keys, "total_destinations": total });
        Ok(Reply::data(&data))
    }

    pub(in crate::paths) async fn list_destinations_of_type(
        self: Arc<Self>,
        request: Request<OfType>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        self.kind(&request.input.kind)?;
        let names = store.destination_names(&format!("{}/", request.input.kind)).await?;
        if names.is_empty() {
            return Err(Error::not_found());
        }
        Ok(Reply::data(&json!({ "keys": names, "total_destinations": names.len() })))
    }

    pub(in crate::paths) async fn destination_exists(
        self: Arc<Self>,
        request: Request<Named>,
    ) -> Result<bool, Error> {
        let store = Store::within(&request.view, &request.namespace);
        let Named { kind, name } = &request.input;
        Ok(store.destination(kind, name).await?.is_some())
    }

    pub(in crate::paths) async fn read_destination(
        self: Arc<Self>,
        request: Request<Named>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let Named { kind, name } = &request.input;
        let kind = self.kind(kind)?;
        let (destination, _) =
            store.destination(kind.name, name).await?.ok_or_else(Error::not_found)?;
        let mut data = self.shown(&store, &request.namespace, kind, &destination);
        let surveyed = last_drift_check(&store, &store.destination_id(kind.name, name)).await?;
        if let (Some(surveyed), Some(fields)) = (surveyed, data.as_object_mut()) {
            fields.insert("last_drift_check".to_owned(), surveyed);
        }
        Ok(Reply::data(&data))
    }

    /// A destination as answers show it: secrets masked, what is unset left out.
    pub(super) fn shown(
        &self,
        store: &Store,
        namespace: &Namespace,
        kind: &DestinationKind,
        destination: &StoredDestination,
    ) -> Value {
        let mut connection = Map::new();
        for field in kind.details {
            if let Some(value) = destination.details.get(field.name) {
                let value = details::shown(field.name, field.secret, value);
                connection.insert(field.name.to_owned(), value);
            }
        }
        let mut shown = Map::from_iter([
            ("connection_details".to_owned(), Value::Object(connection)),
            ("name".to_owned(), json!(destination.name)),
            ("options".to_owned(), Value::Object(options(kind, destination))),
            ("type".to_owned(), json!(destination.kind)),
        ]);
        if destination.paused {
            shown.insert("paused".to_owned(), json!(true));
        }
        if let Some(purge) = &destination.purge {
            shown.insert("purge_initiated_at".to_owned(), json!(time(purge.initiated_at)));
            if let Some(error) = &purge.error {
                shown.insert("purge_error".to_owned(), json!(error));
            }
        }
        let id = store.destination_id(&destination.kind, &destination.name);
        let wishes = self.sync.registry.wishes(namespace, &id);
        if !wishes.is_empty() {
            shown.insert("notes".to_owned(), json!(wishes));
        }
        Value::Object(shown)
    }
}

/// When and with what result changes of others were last looked for.
pub(in crate::paths) async fn last_drift_check(
    store: &Store,
    id: &str,
) -> Result<Option<Value>, Error> {
    let surveyed = store.surveyed(id).await?;
    Ok(surveyed.map(|surveyed| {
        json!({
            "at": time(surveyed.at),
            "objects": surveyed.looked,
            "drifted": surveyed.drifted,
        })
    }))
}

/// Vault's options always, everything else where it is not the default.
fn options(kind: &DestinationKind, destination: &StoredDestination) -> Map<String, Value> {
    let template = kind.template_of(destination);
    let mut options = Map::from_iter([
        ("granularity_level".to_owned(), json!(kind.granularity_of(destination).name())),
        ("secret_name_template".to_owned(), json!(template)),
        ("custom_tags".to_owned(), json!(destination.custom_tags)),
    ]);
    let network = &destination.network;
    if network.disable_strict_networking {
        options.insert("disable_strict_networking".to_owned(), json!(true));
    }
    for (name, ranges) in [
        ("allowed_ipv4_addresses", &network.allowed_ipv4_addresses),
        ("allowed_ipv6_addresses", &network.allowed_ipv6_addresses),
    ] {
        if !ranges.is_empty() {
            options.insert(name.to_owned(), json!(ranges));
        }
    }
    let ports: Vec<u16> =
        network.allowed_ports.iter().filter_map(|port| port.parse().ok()).collect();
    if !ports.is_empty() {
        options.insert("allowed_ports".to_owned(), json!(ports));
    }
    policy::shown(destination, &mut options);
    options
}
