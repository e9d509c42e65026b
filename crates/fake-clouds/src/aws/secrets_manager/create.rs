//! `CreateSecret`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::store::{CURRENT, Payload, Place, Secret, Version};
use super::tags::{check_tags, describe_tags};
use super::{Use, here, payload, replication, requested_key, required_token, use_key};
use crate::aws::iam::evaluate::Context;
use crate::aws::random;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Ask, Call, World};

struct Wanted<'a> {
    name: &'a str,
    token: &'a str,
    description: Option<&'a str>,
    key: Option<&'a str>,
    payload: Option<Payload>,
    tags: Option<BTreeMap<String, String>>,
    replicas: Vec<replication::Wanted<'a>>,
    overwrite: bool,
}

fn read<'a>(call: &Call<'a>) -> Result<Wanted<'a>, Failure> {
    let input = call.input;
    let name = input.required_text("Name", 1, 512)?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte)) {
        return Err(Failure::validation(
            call.service,
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the \
             following: -/_+=.@!",
        ));
    }
    let tags = input.tags("Tags", "Key", "Value")?;
    if let Some(tags) = &tags {
        check_tags(tags, tags.len())?;
    }
    Ok(Wanted {
        name,
        token: required_token(call)?,
        description: input.text("Description", 0, 2048)?,
        key: input.text("KmsKeyId", 0, 2048)?,
        payload: payload(call)?,
        tags,
        replicas: replication::wanted(call)?,
        overwrite: input.boolean("ForceOverwriteReplicaSecret")?.unwrap_or(false),
    })
}

pub(super) fn create(world: &mut World, call: &Call<'_>) -> Outcome {
    let wanted = read(call)?;
    let arn = format!(
        "arn:aws:secretsmanager:{}:{}:secret:{}-{}",
        call.region,
        call.account(),
        wanted.name,
        random::alphanumeric(6)
    );
    authorize(world, call, &wanted, &arn)?;
    let place = here(call, wanted.name);
    if let Some(same) = existing(world, call, &wanted, &place)? {
        return Ok(same);
    }
    if world.secrets.count() >= world.settings.secrets_max {
        return Err(Failure::new(
            "LimitExceededException",
            "You have reached the quota of secrets in this Region.",
        ));
    }
    let key_arn = requested_key(world, call, wanted.key, call.region)?.flatten();
    use_key(world, call, key_arn.as_deref(), (&arn, call.account()), Use::Encrypt)?;

    let mut reply = json!({ "ARN": arn, "Name": wanted.name });
    let versions: Vec<Version> = wanted
        .payload
        .into_iter()
        .map(|payload| Version {
            id: wanted.token.to_owned(),
            payload,
            stages: BTreeSet::from([CURRENT.to_owned()]),
            created: call.now,
            accessed: None,
            key_arn: key_arn.clone(),
        })
        .collect();
    if let (Some(version), Some(members)) = (versions.first(), reply.as_object_mut()) {
        members.insert("VersionId".to_owned(), json!(version.id));
    }
    let order = world.secrets.next_order();
    world.secrets.insert(Secret {
        place: place.clone(),
        arn,
        order,
        description: wanted.description.map(str::to_owned),
        key_arn,
        tags: wanted.tags.unwrap_or_default(),
        versions,
        creation_token: wanted.token.to_owned(),
        created: call.now,
        changed: call.now,
        accessed: None,
        deletion: None,
        policy: None,
        replicas: BTreeMap::new(),
        primary_region: None,
    });
    if !wanted.replicas.is_empty() {
        let started = replication::start(world, call, &place, &wanted.replicas, wanted.overwrite);
        if let Err(failure) = started {
            world.secrets.remove(&place);
            return Err(failure);
        }
        if let Some(members) = reply.as_object_mut() {
            members.insert("ReplicationStatus".to_owned(), replication::status(world, &place));
        }
    }
    Ok(reply)
}

/// The reply when the secret is already there just as wanted, or the refusal when it is not.
fn existing(
    world: &mut World,
    call: &Call<'_>,
    wanted: &Wanted<'_>,
    place: &Place,
) -> Result<Option<serde_json::Value>, Failure> {
    let scheduled = Failure::new(
        "InvalidRequestException",
        "You can't create this secret because a secret with this name is already scheduled for deletion.",
    );
    if world.secrets.is_occupied(place, call.now) {
        return Err(scheduled);
    }
    let Some(secret) = world.secrets.at(place) else { return Ok(None) };
    if secret.deletion.is_some() {
        return Err(scheduled);
    }
    let version = secret.version(wanted.token);
    let same = match &wanted.payload {
        Some(payload) => version.is_some_and(|version| version.payload == *payload),
        None => secret.creation_token == wanted.token && version.is_none(),
    };
    if same {
        let mut reply = json!({ "ARN": secret.arn, "Name": wanted.name });
        if let (Some(_), Some(members)) = (version, reply.as_object_mut()) {
            members.insert("VersionId".to_owned(), json!(wanted.token));
        }
        return Ok(Some(reply));
    }
    let name = wanted.name;
    Err(Failure::new(
        "ResourceExistsException",
        format!("The operation failed because the secret {name} already exists."),
    ))
}

/// Tags and replicas in the request need permissions of their own.
fn authorize(
    world: &World,
    call: &Call<'_>,
    wanted: &Wanted<'_>,
    arn: &str,
) -> Result<(), Failure> {
    let mut context = Context::new().with("secretsmanager:Name", [wanted.name]);
    if let Some(description) = wanted.description {
        context.set("secretsmanager:Description", [description]);
    }
    if let Some(key) = wanted.key {
        context.set("secretsmanager:KmsKeyId", [key]);
        if let Some(arn) = world.kms.resolve(call.account(), call.region, key) {
            context.set("secretsmanager:KmsKeyArn", [arn]);
        }
    }
    if let Some(tags) = &wanted.tags {
        describe_tags(&mut context, tags);
    }
    replication::describe(&mut context, &wanted.replicas, call);
    let mut actions = vec!["secretsmanager:CreateSecret"];
    if wanted.tags.as_ref().is_some_and(|tags| !tags.is_empty()) {
        actions.push("secretsmanager:TagResource");
    }
    if !wanted.replicas.is_empty() {
        actions.push("secretsmanager:ReplicateSecretToRegions");
    }
    for action in actions {
        let mut ask = Ask::new(action, arn, call.account());
        ask.shown = wanted.name;
        ask.context = context.clone();
        world.authorize(call, ask)?;
    }
    Ok(())
}
