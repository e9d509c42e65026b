//! `sys/sync/destinations`: where secrets go.

use super::{Named, Nothing, Paths, status::time, unsupported_path};
use crate::{
    board::{Board, Key, Manner, PurgeKey},
    destination::{Deletion, Ownership},
    naming,
    registry::{DestinationKind, Details, Drift, Purge, StoredDestination},
    store::Store,
};
use bailee_barrier::Barrier;
use bailee_crypto::clock::to_millis;
use bailee_sdk::{
    Body, Error, Namespace, Reply, Request, Sensitive,
    field::{CommaList, Flag, KeyValues},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// What stands for a secret in answers, and for "unchanged" in writes.
const MASK: &str = "*****";
/// The one granularity there is today.
const GRANULARITY: &str = "secret-path";

/// A destination as it is written.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteDestination {
    /// Type of the destination, such as `aws-sm`.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// Template of the names that secrets get at the destination; empty for the type's own.
    secret_name_template: Option<String>,
    /// What becomes one object at the destination: `secret-path`, the whole secret.
    granularity: Option<String>,
    /// Tags of all objects, beside the mark of secrets sync.
    custom_tags: Option<KeyValues>,
    /// Tags to take away; only when a destination is changed in part.
    tags_to_remove: Option<CommaList>,
    /// Lifts the limits on addresses and ports of the destination.
    disable_strict_networking: Option<Flag>,
    /// IPv4 ranges that are permitted although they are special, such as `10.0.0.0/8`.
    allowed_ipv4_addresses: Option<CommaList>,
    /// IPv6 ranges that are permitted although they are special, such as `fd00::/8`.
    allowed_ipv6_addresses: Option<CommaList>,
    /// Permitted ports; 80 and 443 when there are none.
    allowed_ports: Option<CommaList>,
    /// Access key of AWS; given together with `secret_access_key`, or not at all.
    #[schemars(with = "Option<String>")]
    access_key_id: Option<Sensitive<String>>,
    /// Secret of the access key.
    #[schemars(with = "Option<String>")]
    secret_access_key: Option<Sensitive<String>>,
    /// Region of the cloud, such as `eu-west-1`.
    region: Option<String>,
    /// ARN of a role to take on.
    role_arn: Option<String>,
    /// Identifier that the role's trust asks for.
    external_id: Option<String>,
    /// Not supported yet.
    kms_key_id: Option<String>,
    /// Not supported yet.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    replica_regions: Option<Value>,
    /// Not supported yet.
    identity_token_audience: Option<String>,
    /// Not supported yet.
    identity_token_key: Option<String>,
    /// Without meaning as long as `identity_token_audience` is not supported.
    #[schemars(with = "Option<String>")]
    #[expect(dead_code, reason = "clients send its default")]
    identity_token_ttl: Option<Value>,
    /// Only when a destination is deleted.
    #[expect(dead_code, reason = "clients send all fields with every operation")]
    purge: Option<Flag>,
    /// Only when a destination is deleted.
    #[expect(dead_code, reason = "clients send all fields with every operation")]
    force_delete: Option<Flag>,
}

/// A type of destinations.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OfType {
    /// Type of the destinations.
    #[serde(rename = "type")]
    kind: String,
}

/// A deletion.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteDestination {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// Whether its secrets are removed with it.
    #[serde(default)]
    purge: Flag,
    /// Whether it goes although secrets of it cannot be removed; those are left behind.
    #[serde(default)]
    force_delete: Flag,
}

impl Paths {
    pub(super) async fn list_destinations(
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

    pub(super) async fn list_destinations_of_type(
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

    pub(super) async fn destination_exists(
        self: Arc<Self>,
        request: Request<Named>,
    ) -> Result<bool, Error> {
        let store = Store::within(&request.view, &request.namespace);
        let Named { kind, name } = &request.input;
        Ok(store.destination(kind, name).await?.is_some())
    }

    pub(super) async fn read_destination(
        self: Arc<Self>,
        request: Request<Named>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let Named { kind, name } = &request.input;
        let kind = self.kind(kind)?;
        let (destination, _) =
            store.destination(kind.name, name).await?.ok_or_else(Error::not_found)?;
        let mut data = self.shown(&store, &request.namespace, kind, &destination);
        let surveyed = store.surveyed(&store.destination_id(kind.name, name)).await?;
        if let (Some(surveyed), Some(fields)) = (surveyed, data.as_object_mut()) {
            let check = json!({
                "at": time(surveyed.at),
                "objects": surveyed.looked,
                "drifted": surveyed.drifted,
            });
            fields.insert("last_drift_check".to_owned(), check);
        }
        Ok(Reply::data(&data))
    }

    pub(super) async fn write_destination(
        self: Arc<Self>,
        request: Request<WriteDestination>,
    ) -> Result<Reply, Error> {
        self.save(request, false).await
    }

    pub(super) async fn patch_destination(
        self: Arc<Self>,
        request: Request<WriteDestination>,
    ) -> Result<Reply, Error> {
        self.save(request, true).await
    }

    async fn save(
        self: Arc<Self>,
        request: Request<WriteDestination>,
        partly: bool,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let kind = self.kind(&request.input.kind)?;
        let (input, request) = request.take_input();
        let id = store.destination_id(kind.name, &input.name);
        store.lock_destination(&id).await;
        let before = store.destination(kind.name, &input.name).await?.map(|(found, _)| found);
        if partly && before.is_none() {
            return Err(Error::not_found());
        }
        if before.as_ref().is_some_and(StoredDestination::is_purging) {
            return Err(purging());
        }
        let destination = written(kind, input, before.as_ref(), partly)?;
        if let Some(before) = &before
            && let Some(field) = moved(before, &destination)
            && store.has_associations(&id).await?
        {
            return Err(Error::invalid(format!(
                "{field} cannot change while secrets are associated with the destination: what was \
                 delivered would be left behind; make another destination"
            )));
        }
        // Other credentials may see another account: what is there is looked at.
        let verify = before.as_ref().is_some_and(|before| before.details != destination.details);
        let elsewhere = before.as_ref().is_some_and(|before| before.network != destination.network);
        // What failed over the old ones need not wait as long as they made it.
        let manner = Manner { verify, hurry: verify || elsewhere, repair: verify };
        let build = self.sync.registry.build(&destination, &request.namespace).await;
        build.map_err(|error| Error::invalid(error.message))?;
        store.put_destination(&destination).await?;
        let data = self.shown(&store, &request.namespace, kind, &destination);
        let (barrier, namespace) = (request.view.barrier().clone(), request.namespace.clone());
        let board = self.board().filter(|_| before.is_some());
        Ok(Body::After(Box::pin(async move {
            if let Some(board) = board {
                look_again(&board, &barrier, &namespace, &id, manner).await?;
            }
            Ok(Reply::data(&data))
        }))
        .into())
    }

    pub(super) async fn delete_destination(
        self: Arc<Self>,
        request: Request<DeleteDestination>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let DeleteDestination { kind, name, purge, force_delete } = &request.input;
        let kind = self.kind(kind)?;
        let id = store.destination_id(kind.name, name);
        store.lock_destination(&id).await;
        let Some((mut destination, _)) = store.destination(kind.name, name).await? else {
            return Ok(Reply::empty());
        };
        if !store.has_associations(&id).await? {
            store.delete_destination(kind.name, name).await?;
            // Should the deletion not be committed, it is built again.
            self.sync.registry.forget(&request.namespace, &id);
            return Ok(Reply::empty());
        }
        if !purge.0 && !force_delete.0 {
            return Err(Error::invalid(format!(
                "destination {}/{name} has associated secrets: remove them first, or delete it \
                 with purge=true to remove them with it",
                kind.name
            )));
        }
        if store.config().await?.disabled {
            return Err(Error::invalid(
                "secrets sync is disabled: enable it in sys/sync/config before a purge",
            ));
        }
        let initiated_at = to_millis(request.now);
        destination.purge = Some(Purge { initiated_at, force: force_delete.0, error: None });
        store.put_destination(&destination).await?;
        let purge = PurgeKey {
            namespace: request.namespace.clone(),
            kind: kind.name.to_owned(),
            name: name.clone(),
        };
        let board = self.board();
        Ok(Body::After(Box::pin(async move {
            if let Some(board) = board {
                board.kick_purge(purge);
            }
            Ok(Reply::empty())
        }))
        .into())
    }

    pub(super) fn kind(&self, name: &str) -> Result<&DestinationKind, Error> {
        self.sync.registry.kind(name).ok_or_else(unsupported_path)
    }

    /// A destination as answers show it: secrets masked, what is unset left out.
    fn shown(
        &self,
        store: &Store,
        namespace: &Namespace,
        kind: &DestinationKind,
        destination: &StoredDestination,
    ) -> Value {
        let mut details = Map::new();
        for field in kind.details {
            if let Some(value) = destination.details.get(field.name) {
                let shown = if field.secret { MASK } else { value.expose() };
                details.insert(field.name.to_owned(), json!(shown));
            }
        }
        let template = kind.template_of(destination);
        let mut options = Map::from_iter([
            ("granularity_level".to_owned(), json!(kind.granularity_of(destination).name())),
            ("secret_name_template".to_owned(), json!(template)),
            ("custom_tags".to_owned(), json!(destination.custom_tags)),
        ]);
        let network = &destination.network;
        let ports: Vec<u16> =
            network.allowed_ports.iter().filter_map(|port| port.parse().ok()).collect();
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
        if !ports.is_empty() {
            options.insert("allowed_ports".to_owned(), json!(ports));
        }
        let mut shown = Map::from_iter([
            ("connection_details".to_owned(), Value::Object(details)),
            ("name".to_owned(), json!(destination.name)),
            ("options".to_owned(), Value::Object(options)),
            ("type".to_owned(), json!(destination.kind)),
        ]);
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

/// Writes are refused while a destination is being deleted.
pub(super) fn purging() -> Error {
    Error::invalid("purge in progress: the destination is being deleted with its associations")
}

/// A changed destination may take what it refused before.
async fn look_again(
    board: &Board,
    barrier: &Arc<Barrier>,
    namespace: &Arc<Namespace>,
    id: &str,
    manner: Manner,
) -> Result<(), Error> {
    let store = Store::open(barrier, namespace);
    for (secret, _) in store.associations(id).await? {
        board.look(Key::new(namespace, id, &secret), manner);
    }
    Ok(())
}

/// The field by whose change the destination would be another place.
fn moved(before: &StoredDestination, after: &StoredDestination) -> Option<&'static str> {
    if before.details.text("region") != after.details.text("region") {
        return Some("region");
    }
    let (from, to) = (before.role_account()?, after.role_account()?);
    (from != to).then_some("the account of role_arn")
}

/// The destination that a write asks for. An error names the field and the fix.
fn written(
    kind: &DestinationKind,
    input: WriteDestination,
    before: Option<&StoredDestination>,
    partly: bool,
) -> Result<StoredDestination, Error> {
    refuse_unsupported(&input)?;
    check_name(&input.name)?;
    let kept = before.filter(|_| partly);
    let mut destination = kept.cloned().unwrap_or_else(|| StoredDestination {
        kind: kind.name.to_owned(),
        name: input.name.clone(),
        details: Details::default(),
        template: None,
        granularity: None,
        custom_tags: BTreeMap::new(),
        network: crate::registry::Network::default(),
        drift: Drift::default(),
        ownership: Ownership::default(),
        deletion: Deletion::default(),
        paused: false,
        purge: None,
    });
    destination.purge = None;
    if let Some(template) = &input.secret_name_template {
        destination.template = Some(template.clone()).filter(|template| !template.is_empty());
    }
    let granularity = kind.granularity_of(&destination);
    let template = kind.template_of(&destination);
    naming::check_template(template, &kind.names, granularity).map_err(Error::invalid)?;
    destination.custom_tags = tags(kind, &input, destination.custom_tags)?;
    let network = &mut destination.network;
    if let Some(Flag(disabled)) = input.disable_strict_networking {
        network.disable_strict_networking = disabled;
    }
    for (field, list) in [
        (&mut network.allowed_ipv4_addresses, &input.allowed_ipv4_addresses),
        (&mut network.allowed_ipv6_addresses, &input.allowed_ipv6_addresses),
        (&mut network.allowed_ports, &input.allowed_ports),
    ] {
        if let Some(CommaList(list)) = list {
            field.clone_from(list);
        }
    }
    network.rules().map_err(|error| Error::invalid(error.to_string()))?;
    destination.details = details(kind, input, before, destination.details)?;
    Ok(destination)
}

fn refuse_unsupported(input: &WriteDestination) -> Result<(), Error> {
    let given = |value: &Option<String>| value.as_deref().is_some_and(|text| !text.is_empty());
    let some = |value: &Option<Value>| {
        value.as_ref().is_some_and(|value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Bool(_) | Value::Number(_) => true,
        })
    };
    for (field, set) in [
        ("kms_key_id", given(&input.kms_key_id)),
        ("replica_regions", some(&input.replica_regions)),
        ("identity_token_audience", given(&input.identity_token_audience)),
        ("identity_token_key", given(&input.identity_token_key)),
    ] {
        if set {
            return Err(Error::invalid(format!("{field} is not supported yet: leave it out")));
        }
    }
    match input.granularity.as_deref() {
        None | Some("" | GRANULARITY) => Ok(()),
        Some(other) => Err(Error::invalid(format!(
            "granularity {other:?} is not supported: leave it out or set {GRANULARITY:?}"
        ))),
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let legal = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    let fits = !name.is_empty() && name.len() <= 128 && name.chars().all(legal);
    if fits && !name.starts_with('.') {
        return Ok(());
    }
    Err(Error::invalid(
        "name of the destination is invalid: up to 128 letters, digits, hyphens, underscores and \
         dots, not beginning with a dot",
    ))
}

fn tags(
    kind: &DestinationKind,
    input: &WriteDestination,
    before: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut tags = before;
    if let Some(KeyValues(custom)) = &input.custom_tags {
        let Some(rule) = &kind.tags else {
            return Err(Error::invalid(format!("custom_tags: {} takes no tags", kind.name)));
        };
        // A partial change adds; what is to go is named in `tags_to_remove`.
        tags.extend(rule.normalise(custom).map_err(Error::invalid)?);
        if tags.len() > rule.custom_max() {
            return Err(Error::invalid(format!(
                "custom_tags would be {}, the destination takes {} beside its own",
                tags.len(),
                rule.custom_max()
            )));
        }
    }
    for tag in input.tags_to_remove.iter().flat_map(|list| &list.0) {
        tags.remove(tag);
    }
    Ok(tags)
}

fn details(
    kind: &DestinationKind,
    input: WriteDestination,
    before: Option<&StoredDestination>,
    kept: Details,
) -> Result<Details, Error> {
    let mut details = kept;
    let given = [
        ("access_key_id", input.access_key_id),
        ("secret_access_key", input.secret_access_key),
        ("region", input.region.map(Sensitive::from)),
        ("role_arn", input.role_arn.map(Sensitive::from)),
        ("external_id", input.external_id.map(Sensitive::from)),
    ];
    for (name, value) in given {
        let Some(value) = value else { continue };
        let Some(field) = kind.details.iter().find(|field| field.name == name) else {
            if value.expose().is_empty() {
                continue;
            }
            return Err(Error::invalid(format!("{name} is not a field of {}", kind.name)));
        };
        let text = value.expose();
        if field.secret && !text.is_empty() && text.bytes().all(|byte| byte == b'*') {
            let old = before.and_then(|before| before.details.get(name)).ok_or_else(|| {
                Error::invalid(format!("{name} is masked, and there is no value to keep: set it"))
            })?;
            details.0.insert(name.to_owned(), old.clone());
        } else if text.is_empty() {
            details.0.remove(name);
        } else {
            details.0.insert(name.to_owned(), value);
        }
    }
    let role = details.text("role_arn");
    if role.is_some_and(|role| !role.starts_with("arn:")) {
        return Err(Error::invalid("role_arn must be an ARN: arn:aws:iam::<account>:role/<name>"));
    }
    Ok(details)
}
