//! Secrets Manager.

mod create;
mod lifecycle;
mod list;
mod passwords;
mod policies;
mod read;
mod replication;
pub(crate) mod store;
mod tags;
mod write;

use serde_json::json;

use super::clock::Millis;
use super::iam::evaluate::Context;
use super::kms;
use super::wire::{Failure, Outcome};
use super::world::{Ask, Call, World};
use store::{Payload, Place, Secret};

const VALUE_BYTES_MAX: usize = 65_536;

/// Answers one call.
pub(crate) fn perform(world: &mut World, call: &Call<'_>) -> Outcome {
    world.secrets.settle(call.now);
    if is_read(call.operation) {
        return run(world, call);
    }
    let place = target(world, call);
    let lag = world.settings.list_lag_ms;
    let before =
        place.as_ref().filter(|_| lag > 0).and_then(|place| world.secrets.at(place).cloned());
    let outcome = run(world, call);
    if let (Ok(_), Some(place)) = (&outcome, place) {
        replication::follow(world, &place, call.now);
        if lag > 0 {
            world.secrets.remember(place, before, call.now, lag);
        }
    }
    outcome
}

fn is_read(operation: &str) -> bool {
    operation.starts_with("Get")
        || operation.starts_with("List")
        || matches!(operation, "BatchGetSecretValue" | "DescribeSecret" | "ValidateResourcePolicy")
}

fn run(world: &mut World, call: &Call<'_>) -> Outcome {
    match call.operation {
        "CreateSecret" => create::create(world, call),
        "PutSecretValue" => write::put_value(world, call),
        "UpdateSecret" => write::update(world, call),
        "UpdateSecretVersionStage" => write::update_stage(world, call),
        "GetSecretValue" => read::value(world, call),
        "BatchGetSecretValue" => read::batch(world, call),
        "DescribeSecret" => read::describe(world, call),
        "ListSecretVersionIds" => read::version_ids(world, call),
        "ListSecrets" => list::list(world, call),
        "DeleteSecret" => lifecycle::delete(world, call),
        "RestoreSecret" => lifecycle::restore(world, call),
        "RotateSecret" => lifecycle::rotate(world, call),
        "CancelRotateSecret" => lifecycle::cancel_rotation(world, call),
        "TagResource" => tags::tag(world, call),
        "UntagResource" => tags::untag(world, call),
        "ReplicateSecretToRegions" => replication::add(world, call),
        "RemoveRegionsFromReplication" => replication::remove(world, call),
        "StopReplicationToReplica" => replication::stop(world, call),
        "PutResourcePolicy" => policies::put(world, call),
        "GetResourcePolicy" => policies::get(world, call),
        "DeleteResourcePolicy" => policies::delete(world, call),
        "ValidateResourcePolicy" => policies::validate(world, call),
        "GetRandomPassword" => passwords::generate(world, call),
        other => Err(Failure::unknown_operation(call.service, other)),
    }
}

/// The secret a changing call is about, as far as it can be told before the call is made.
fn target(world: &World, call: &Call<'_>) -> Option<Place> {
    if let Some(id) = call.input.member("SecretId").and_then(|id| id.as_str()) {
        let found = world.secrets.find(call.account(), call.region, id);
        return found.map(|secret| secret.place.clone());
    }
    let name = call.input.member("Name")?.as_str()?;
    Some(here(call, name))
}

/// The place of a name in the caller's account and region.
fn here(call: &Call<'_>, name: &str) -> Place {
    Place {
        account: call.account().to_owned(),
        region: call.region.to_owned(),
        name: name.to_owned(),
    }
}

fn not_found() -> Failure {
    Failure::new("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

/// Finds the secret that `SecretId` names and checks that the caller may do the operation on it.
/// `context` holds what the request itself contributes.
fn open(world: &World, call: &Call<'_>, context: Context) -> Result<Place, Failure> {
    let id = call.input.required_text("SecretId", 1, 2048)?;
    open_for(world, call, call.operation, id, context)
}

fn open_for(
    world: &World,
    call: &Call<'_>,
    operation: &str,
    id: &str,
    context: Context,
) -> Result<Place, Failure> {
    let visible = |secret: &&Secret| secret.created <= call.now - world.settings.read_lag_ms;
    let Some(secret) = world.secrets.find(call.account(), call.region, id).filter(visible) else {
        let action = format!("secretsmanager:{operation}");
        let arn = if id.starts_with("arn:") {
            id.to_owned()
        } else {
            format!("arn:aws:secretsmanager:{}:{}:secret:{id}", call.region, call.account())
        };
        let mut ask = Ask::new(&action, &arn, call.account());
        ask.shown = id;
        ask.context = context;
        ask.context.set("secretsmanager:SecretId", [arn.as_str()]);
        world.authorize(call, ask)?;
        return Err(not_found());
    };
    authorize_on(world, call, operation, id, secret, context)?;
    Ok(secret.place.clone())
}

/// Checks that the caller may do `operation` on a secret.
fn authorize_on(
    world: &World,
    call: &Call<'_>,
    operation: &str,
    shown: &str,
    secret: &Secret,
    mut context: Context,
) -> Result<(), Failure> {
    context.set("secretsmanager:SecretId", [secret.arn.as_str()]);
    if let Some(region) = &secret.primary_region {
        context.set("secretsmanager:SecretPrimaryRegion", [region.as_str()]);
    }
    for (key, value) in &secret.tags {
        context.set(&format!("secretsmanager:ResourceTag/{key}"), [value.as_str()]);
        context.set(&format!("aws:ResourceTag/{key}"), [value.as_str()]);
    }
    let action = format!("secretsmanager:{operation}");
    let mut ask = Ask::new(&action, &secret.arn, &secret.place.account);
    ask.shown = shown;
    ask.policy = secret.policy.as_ref().map(|document| &document.policy);
    ask.context = context;
    world.authorize(call, ask)
}

/// As [`open`] for a change: not on a secret marked for deletion, not on a replica.
fn open_to_change(world: &World, call: &Call<'_>, context: Context) -> Result<Place, Failure> {
    let place = open(world, call, context)?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    refuse_deleted(secret)?;
    refuse_replica(secret)?;
    Ok(place)
}

fn refuse_deleted(secret: &Secret) -> Result<(), Failure> {
    if secret.deletion.is_none() {
        return Ok(());
    }
    Err(Failure::new(
        "InvalidRequestException",
        "You can't perform this operation on the secret because it was marked for deletion.",
    ))
}

fn refuse_replica(secret: &Secret) -> Result<(), Failure> {
    if secret.primary_region.is_none() {
        return Ok(());
    }
    Err(Failure::new(
        "InvalidRequestException",
        "Operation not permitted on a replica secret. Call must be made in primary secret's region.",
    ))
}

/// The version token, which raw HTTP clients must send themselves.
fn required_token<'a>(call: &Call<'a>) -> Result<&'a str, Failure> {
    call.input.text("ClientRequestToken", 32, 64)?.ok_or_else(|| {
        Failure::new(
            "InvalidRequestException",
            "You must provide a ClientRequestToken value. We recommend a UUID-type value.",
        )
    })
}

/// The value in the request, text or binary but not both.
fn payload(call: &Call<'_>) -> Result<Option<Payload>, Failure> {
    let text = call.input.text("SecretString", 1, usize::MAX)?;
    if let Some(text) = text {
        call.input.check_length("SecretString", text.len(), 1, VALUE_BYTES_MAX)?;
    }
    let binary = call.input.blob("SecretBinary", 1, VALUE_BYTES_MAX)?;
    match (text, binary) {
        (Some(_), Some(_)) => Err(Failure::new(
            "InvalidParameterException",
            "You can't specify both a binary secret value and a string secret value in the same secret.",
        )),
        (Some(text), None) => Ok(Some(Payload::Text(text.to_owned()))),
        (None, Some(bytes)) => Ok(Some(Payload::Binary(bytes))),
        (None, None) => Ok(None),
    }
}

/// The key a request names: `None` when it names none, `Some(None)` for the default key.
fn requested_key(
    world: &World,
    call: &Call<'_>,
    id: Option<&str>,
    region: &str,
) -> Result<Option<Option<String>>, Failure> {
    match id {
        None => Ok(None),
        Some("" | "alias/aws/secretsmanager") => Ok(Some(None)),
        Some(id) if id.ends_with(":alias/aws/secretsmanager") => Ok(Some(None)),
        Some(id) => match world.kms.resolve(call.account(), region, id) {
            Some(arn) => Ok(Some(Some(arn.to_owned()))),
            None => Err(Failure::new(
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified KMS key.",
            )),
        },
    }
}

/// What a use of a key is for; it decides the error when the key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Encrypt,
    Decrypt,
}

/// Checks that the caller may use the key of a secret, and that the key works.
fn use_key(
    world: &World,
    call: &Call<'_>,
    key_arn: Option<&str>,
    secret: (&str, &str),
    purpose: Use,
) -> Result<(), Failure> {
    let (secret_arn, owner) = secret;
    let Some(key_arn) = key_arn else {
        if call.account() == owner {
            return Ok(());
        }
        return Err(Failure::new(
            "InvalidRequestException",
            "You can't access a secret from a different AWS account if you encrypt the secret with \
             the default KMS service key.",
        ));
    };
    let actions: &[&str] = match purpose {
        Use::Encrypt => &["kms:GenerateDataKey", "kms:Decrypt"],
        Use::Decrypt => &["kms:Decrypt"],
    };
    for action in actions {
        kms::permit_through_secrets_manager(world, call, action, key_arn, secret_arn)?;
    }
    if world.kms.is_usable(key_arn) {
        return Ok(());
    }
    Err(match purpose {
        Use::Encrypt => Failure::new(
            "EncryptionFailure",
            "Secrets Manager can't encrypt the protected secret text using the provided KMS key.",
        ),
        Use::Decrypt => Failure::new(
            "DecryptionFailure",
            "Secrets Manager can't decrypt the protected secret text using the provided KMS key.",
        ),
    })
}

/// `{ARN, Name}` of a secret, as most changes answer.
fn identity(world: &World, place: &Place) -> Outcome {
    let secret = world.secrets.at(place).ok_or_else(not_found)?;
    Ok(json!({ "ARN": secret.arn, "Name": secret.place.name }))
}

/// Applies a change and notes when it was made.
fn change(world: &mut World, place: &Place, now: Millis, apply: impl FnOnce(&mut Secret)) {
    if let Some(secret) = world.secrets.at_mut(place) {
        apply(secret);
        secret.changed = now;
    }
}
