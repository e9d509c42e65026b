//! Replicas in other regions: they follow their primary secret at once.

use serde_json::{Value, json};

use super::store::{Place, Replica, Secret};
use super::{Use, change, not_found, open, open_to_change, refuse_deleted, requested_key, use_key};
use crate::aws::clock::Millis;
use crate::aws::iam::evaluate::Context;
use crate::aws::kms;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Call, World};

/// A replica asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    region: &'a str,
    key: Option<&'a str>,
}

/// Reads `AddReplicaRegions`.
pub(super) fn wanted<'a>(call: &Call<'a>) -> Result<Vec<Wanted<'a>>, Failure> {
    let items = call.input.inputs("AddReplicaRegions")?;
    if call.input.has("AddReplicaRegions") {
        call.input.check_length("AddReplicaRegions", items.len(), 1, usize::MAX)?;
    }
    let mut replicas = Vec::new();
    for item in items {
        let region = item.required_text("Region", 1, 128)?;
        check_region(call, region)?;
        if region == call.region {
            return Err(Failure::new(
                "InvalidParameterException",
                "Invalid replica region: a secret can't be replicated to its own region.",
            ));
        }
        replicas.push(Wanted { region, key: item.text("KmsKeyId", 0, 2048)? });
    }
    Ok(replicas)
}

/// `([a-z]+-)+\d+`
fn check_region(call: &Call<'_>, region: &str) -> Result<(), Failure> {
    let valid = region.rsplit_once('-').is_some_and(|(words, number)| {
        let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
        words.split('-').all(word)
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    if valid {
        return Ok(());
    }
    let must = "satisfy regular expression pattern: ^([a-z]+-)+\\d+$";
    Err(Failure::constraint(call.service, "region", must))
}

/// Adds the replicas of a request to what policies see.
pub(super) fn describe(context: &mut Context, replicas: &[Wanted<'_>], call: &Call<'_>) {
    if replicas.is_empty() {
        return;
    }
    let regions = replicas.iter().map(|replica| replica.region);
    context.set("secretsmanager:AddReplicaRegions", regions);
    if let Ok(Some(overwrite)) = call.input.boolean("ForceOverwriteReplicaSecret") {
        context.set("secretsmanager:ForceOverwriteReplicaSecret", [overwrite.to_string()]);
    }
}

pub(super) fn add(world: &mut World, call: &Call<'_>) -> Outcome {
    let replicas = wanted(call)?;
    if replicas.is_empty() {
        return Err(Failure::constraint(call.service, "addReplicaRegions", "not be null"));
    }
    let overwrite = call.input.boolean("ForceOverwriteReplicaSecret")?.unwrap_or(false);
    let mut context = Context::new();
    describe(&mut context, &replicas, call);
    let place = open_to_change(world, call, context)?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    let owner = (secret.arn.as_str(), secret.place.account.as_str());
    if secret.key_arn.is_some() {
        use_key(world, call, secret.key_arn.as_deref(), owner, Use::Decrypt)?;
    }
    start(world, call, &place, &replicas, overwrite)?;
    reply(world, &place)
}

/// Starts replicas; a name that is taken makes one fail, not the call.
pub(super) fn start(
    world: &mut World,
    call: &Call<'_>,
    place: &Place,
    replicas: &[Wanted<'_>],
    overwrite: bool,
) -> Result<(), Failure> {
    let mut started = Vec::new();
    for replica in replicas {
        let key_arn = requested_key(world, call, replica.key, replica.region)?.flatten();
        if let (Some(key_arn), Some(secret)) = (&key_arn, world.secrets.at(place)) {
            for action in ["kms:GenerateDataKey", "kms:Encrypt"] {
                kms::permit_through_secrets_manager(world, call, action, key_arn, &secret.arn)?;
            }
        }
        let target = Place { region: replica.region.to_owned(), ..place.clone() };
        let taken = world.secrets.at(&target);
        let ours = taken.is_some_and(|taken| taken.primary_region.as_ref() == Some(&place.region));
        let failure = (taken.is_some() && !ours && !overwrite).then(|| {
            format!(
                "Replication failed: Secret name {} already exists in region {}.",
                place.name, replica.region
            )
        });
        started.push((replica.region.to_owned(), Replica { key_arn, failure }));
    }
    change(world, place, call.now, |secret| secret.replicas.extend(started));
    follow(world, place, call.now);
    Ok(())
}

pub(super) fn remove(world: &mut World, call: &Call<'_>) -> Outcome {
    let regions = call.input.texts("RemoveReplicaRegions", 1, 128)?;
    call.input.check_length("RemoveReplicaRegions", regions.len(), 1, usize::MAX)?;
    let place = open_to_change(world, call, Context::new())?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    if let Some(region) = regions.iter().find(|region| !secret.replicas.contains_key(**region)) {
        return Err(Failure::new(
            "InvalidParameterException",
            format!("Secret {} is not replicated to region {region}.", place.name),
        ));
    }
    for region in regions {
        let target = Place { region: region.to_owned(), ..place.clone() };
        let ours = world
            .secrets
            .at(&target)
            .is_some_and(|replica| replica.primary_region.as_ref() == Some(&place.region));
        if ours {
            world.secrets.remove(&target);
        }
        change(world, &place, call.now, |secret| {
            secret.replicas.remove(region);
        });
    }
    reply(world, &place)
}

/// Makes a replica a secret of its own.
pub(super) fn stop(world: &mut World, call: &Call<'_>) -> Outcome {
    let place = open(world, call, Context::new())?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    refuse_deleted(secret)?;
    let arn = secret.arn.clone();
    let Some(region) = secret.primary_region.clone() else {
        return Err(Failure::new(
            "InvalidRequestException",
            "Operation not permitted on a primary secret. Call must be made on a replica.",
        ));
    };
    let primary = Place { region, ..place.clone() };
    change(world, &place, call.now, |secret| secret.primary_region = None);
    change(world, &primary, call.now, |secret| {
        secret.replicas.remove(&place.region);
    });
    Ok(json!({ "ARN": arn }))
}

fn reply(world: &World, place: &Place) -> Outcome {
    let secret = world.secrets.at(place).ok_or_else(not_found)?;
    Ok(json!({ "ARN": secret.arn, "ReplicationStatus": status(world, place) }))
}

/// The replicas of a secret and how they fare.
pub(super) fn status(world: &World, place: &Place) -> Value {
    let Some(secret) = world.secrets.at(place) else { return json!([]) };
    secret
        .replicas
        .iter()
        .map(|(region, replica)| {
            let key = replica.key_arn.as_deref().unwrap_or("alias/aws/secretsmanager");
            match &replica.failure {
                None => json!({ "Region": region, "Status": "InSync", "KmsKeyId": key }),
                Some(message) => json!({
                    "Region": region,
                    "Status": "Failed",
                    "StatusMessage": message,
                    "KmsKeyId": key,
                }),
            }
        })
        .collect()
}

/// Brings the replicas of a secret up to date after a change.
pub(super) fn follow(world: &mut World, place: &Place, now: Millis) {
    let Some(primary) = world.secrets.at(place) else { return };
    if primary.replicas.is_empty() {
        return;
    }
    let primary = primary.clone();
    for (region, replica) in &primary.replicas {
        if replica.failure.is_some() {
            continue;
        }
        let target = Place { region: region.clone(), ..place.clone() };
        let known = world.secrets.at(&target);
        let (order, created, accessed) = match known {
            Some(known) => (known.order, known.created, known.accessed),
            None => (world.secrets.next_order(), now, None),
        };
        let marker = format!(":{}:", place.region);
        let mut versions = primary.versions.clone();
        for version in &mut versions {
            version.key_arn.clone_from(&replica.key_arn);
        }
        world.secrets.insert(Secret {
            arn: primary.arn.replacen(&marker, &format!(":{region}:"), 1),
            place: target,
            order,
            created,
            accessed,
            versions,
            key_arn: replica.key_arn.clone(),
            replicas: Default::default(),
            primary_region: Some(place.region.clone()),
            policy: None,
            ..primary.clone()
        });
    }
}
