//! Creating and changing a destination.

use super::{
    details::{self, GivenDetails, Written},
    given::{Entries, Given},
    look_again,
    network::GivenNetwork,
    policy::GivenPolicies,
    purging,
};
use crate::{
    board::Manner,
    destination::{Deletion, Ownership},
    naming,
    paths::{Paths, check_name},
    registry::{DestinationKind, Details, Drift, Network, StoredDestination},
    store::Store,
};
use bailee_sdk::{
    Body, Error, Reply, Request,
    field::{CommaList, Flag, Integer},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// Most tags that are taken away at once.
const TAGS_TO_REMOVE_MAX: usize = 256;
/// The longest text of a name template.
const TEMPLATE_BYTES_MAX: usize = bailee_notation::template::TEXT_BYTES_MAX;

/// A destination as it is written.
#[derive(Deserialize, JsonSchema)]
pub(in crate::paths) struct WriteDestination {
    /// Type of the destination, such as `aws-sm`.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// Template of the names that secrets get at the destination; empty for the type's own.
    #[serde(default)]
    secret_name_template: Given<String>,
    /// What becomes one object at the destination: `secret-path`, the whole secret, or `secret-key`,
    /// each of its keys; empty for the type's own.
    #[serde(default)]
    granularity: Given<String>,
    /// What is done about changes that others make at the destination: `off`, `report`, or `repair`,
    /// the default.
    #[serde(default)]
    drift: Given<String>,
    /// What is done with an object that has the name and is not known to be ours: `overwrite`, the
    /// default, `adopt`, unless another server marked it, or `refuse`.
    #[serde(default)]
    ownership: Given<String>,
    /// How objects are removed: `delete`, at once and the default, `schedule`, so that they can be
    /// restored, or `retain`, they stay.
    #[serde(default)]
    deletion: Given<String>,
    /// Days for which what was removed can be restored, 7 to 30; only with `deletion` `schedule`.
    #[serde(default)]
    recovery_window_days: Given<Integer>,
    /// Tags of all objects, beside the mark of secrets sync.
    #[serde(default)]
    custom_tags: Given<Entries>,
    /// Tags to take away; only when a destination is changed in part.
    tags_to_remove: Option<CommaList>,
    /// Lifts the limits on addresses and ports of the destination.
    #[serde(default)]
    disable_strict_networking: Given<Flag>,
    /// IPv4 ranges that are permitted although they are special, such as `10.0.0.0/8`.
    #[serde(default)]
    allowed_ipv4_addresses: Given<CommaList>,
    /// IPv6 ranges that are permitted although they are special, such as `fd00::/8`.
    #[serde(default)]
    allowed_ipv6_addresses: Given<CommaList>,
    /// Permitted ports; 80 and 443 when there are none.
    #[serde(default)]
    allowed_ports: Given<CommaList>,
    /// Only when a destination is deleted.
    #[expect(dead_code, reason = "clients send all fields with every operation")]
    purge: Option<Flag>,
    /// Only when a destination is deleted.
    #[expect(dead_code, reason = "clients send all fields with every operation")]
    force_delete: Option<Flag>,
    /// Connection details.
    #[serde(flatten)]
    details: GivenDetails,
}

/// The destination that a write asks for.
struct Asked {
    destination: StoredDestination,
    /// Secret fields that the request itself holds.
    fresh: std::collections::BTreeSet<&'static str>,
}

impl Paths {
    pub(in crate::paths) async fn write_destination(
        self: Arc<Self>,
        request: Request<WriteDestination>,
    ) -> Result<Reply, Error> {
        self.save(request, false).await
    }

    pub(in crate::paths) async fn patch_destination(
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
        let asked = written(kind, input, before.as_ref(), partly)?;
        if let Some(before) = &before {
            check_address(kind, before, &asked, &store, &id).await?;
        }
        let destination = asked.destination;
        let build = self.sync.registry.build(&destination, &request.namespace).await;
        build.map_err(|error| Error::invalid(error.message))?;
        store.put_destination(&destination).await?;
        let data = self.shown(&store, &request.namespace, kind, &destination);
        let (barrier, namespace) = (request.view.barrier().clone(), request.namespace.clone());
        let again = before.map(|before| manner(&before, &destination));
        let board = self.board();
        Ok(Body::After(Box::pin(async move {
            if let (Some(board), Some(manner)) = (board, again) {
                look_again(&board, &barrier, &namespace, &id, manner).await?;
            }
            Ok(Reply::data(&data))
        }))
        .into())
    }
}

/// A destination as a change in part would leave it.
pub(in crate::paths) fn changed(
    kind: &DestinationKind,
    input: WriteDestination,
    before: &StoredDestination,
) -> Result<StoredDestination, Error> {
    written(kind, input, Some(before), true).map(|asked| asked.destination)
}

/// How what is associated is looked at after a change.
fn manner(before: &StoredDestination, after: &StoredDestination) -> Manner {
    // Other credentials may see another account: what is there is looked at.
    let credentials = before.details != after.details;
    let elsewhere = before.network != after.network;
    Manner {
        verify: credentials || before.drift != after.drift,
        // What failed over the old ones need not wait as long as they made it.
        hurry: credentials || elsewhere || before.ownership != after.ownership,
        repair: credentials,
    }
}

/// Where a destination is stays as it is while secrets are associated; and credentials are sent only
/// where whoever gave them meant them to go.
async fn check_address(
    kind: &DestinationKind,
    before: &StoredDestination,
    asked: &Asked,
    store: &Store,
    id: &str,
) -> Result<(), Error> {
    let after = &asked.destination;
    let changed = |name: &&str| before.details.get(name) != after.details.get(name);
    let identity = kind.details.iter().filter(|field| field.identity).map(|field| field.name);
    let moved: Vec<&str> = identity.filter(changed).collect();
    if moved.is_empty() {
        return Ok(());
    }
    let moved = moved.join(" and ");
    if store.has_associations(id).await? {
        return Err(Error::invalid(format!(
            "{moved} cannot change while secrets are associated with the destination: what was \
             delivered would be left behind; make another destination"
        )));
    }
    let carried = kind.details.iter().filter(|field| {
        field.secret && after.details.get(field.name).is_some() && !asked.fresh.contains(field.name)
    });
    let carried: Vec<&str> = carried.map(|field| field.name).collect();
    if carried.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{moved} changed: give {} again, so that stored credentials do not travel to another address",
        carried.join(" and ")
    )))
}

/// The destination that a write asks for. An error names the field and the fix.
fn written(
    kind: &DestinationKind,
    input: WriteDestination,
    before: Option<&StoredDestination>,
    partly: bool,
) -> Result<Asked, Error> {
    check_name("destination", &input.name)?;
    let kept = before.filter(|_| partly).cloned();
    let mut destination = kept.unwrap_or_else(|| StoredDestination {
        // To pause is no field: nothing but resuming ends it.
        paused: before.is_some_and(|before| before.paused),
        ..blank(kind, &input.name)
    });
    destination.purge = None;
    let policies = GivenPolicies {
        granularity: input.granularity,
        drift: input.drift,
        ownership: input.ownership,
        deletion: input.deletion,
        recovery_window_days: input.recovery_window_days,
    };
    policies.apply(&mut destination)?;
    let template = destination.template.unwrap_or_default();
    let template = input.secret_name_template.or(template, String::new);
    destination.template = Some(template).filter(|template| !template.is_empty());
    check_template(kind, &destination)?;
    let tags = std::mem::take(&mut destination.custom_tags);
    destination.custom_tags = custom_tags(kind, input.custom_tags, tags)?;
    let gone = input.tags_to_remove.filter(|_| partly).unwrap_or_default().0;
    if gone.len() > TAGS_TO_REMOVE_MAX {
        return Err(Error::invalid(format!(
            "tags_to_remove has {} entries: give at most {TAGS_TO_REMOVE_MAX}",
            gone.len()
        )));
    }
    for tag in gone {
        destination.custom_tags.remove(&kind.tag_key(&tag));
    }
    let network = GivenNetwork {
        disable_strict_networking: input.disable_strict_networking,
        allowed_ipv4_addresses: input.allowed_ipv4_addresses,
        allowed_ipv6_addresses: input.allowed_ipv6_addresses,
        allowed_ports: input.allowed_ports,
    };
    destination.network = network.onto(std::mem::take(&mut destination.network))?;
    let kept = std::mem::take(&mut destination.details);
    let Written { details, fresh } = details::written(kind, input.details, before, kept, partly)?;
    destination.details = details;
    Ok(Asked { destination, fresh })
}

fn blank(kind: &DestinationKind, name: &str) -> StoredDestination {
    StoredDestination {
        kind: kind.name.to_owned(),
        name: name.to_owned(),
        details: Details::default(),
        template: None,
        granularity: None,
        custom_tags: BTreeMap::new(),
        network: Network::default(),
        drift: Drift::default(),
        ownership: Ownership::default(),
        deletion: Deletion::default(),
        paused: false,
        purge: None,
    }
}

fn check_template(kind: &DestinationKind, destination: &StoredDestination) -> Result<(), Error> {
    let template = kind.template_of(destination);
    if template.len() > TEMPLATE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "secret name template is invalid: it is longer than {TEMPLATE_BYTES_MAX} bytes"
        )));
    }
    let granularity = kind.granularity_of(destination);
    naming::check_template(template, &kind.names, granularity).map_err(Error::invalid)
}

fn custom_tags(
    kind: &DestinationKind,
    given: Given<Entries>,
    before: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    let entries = match given {
        Given::Absent => return Ok(before),
        Given::Null => return Ok(BTreeMap::new()),
        Given::Value(entries) => entries,
    };
    let mut tags = before;
    let (mut set, mut gone) = (BTreeMap::new(), Vec::new());
    for (key, value) in entries.0 {
        match value {
            Some(value) => drop(set.insert(key, value)),
            None => gone.push(key),
        }
    }
    let Some(rule) = &kind.tags else {
        if set.is_empty() {
            return Ok(tags);
        }
        return Err(Error::invalid(format!("custom_tags: {} takes no tags", kind.name)));
    };
    for key in gone {
        tags.remove(&kind.tag_key(&key));
    }
    // A partial change adds; what is to go is `null`, or named in `tags_to_remove`.
    tags.extend(rule.normalise(&set).map_err(Error::invalid)?);
    if tags.len() > rule.custom_max() {
        return Err(Error::invalid(format!(
            "custom_tags would be {}, the destination takes {} beside its own",
            tags.len(),
            rule.custom_max()
        )));
    }
    Ok(tags)
}

impl DestinationKind {
    /// A tag's key as the destination has it.
    fn tag_key(&self, key: &str) -> String {
        let one = BTreeMap::from([(key.to_owned(), String::new())]);
        let normal = self.tags.and_then(|rule| rule.normalise(&one).ok());
        normal.and_then(|tags| tags.into_keys().next()).unwrap_or_else(|| key.to_owned())
    }
}
