//! `DeleteSecret`, `RestoreSecret`, and the refusals of rotation.

use serde_json::json;

use super::store::{Deletion, Secret};
use super::{
    change, here, identity, not_found, open, open_for, open_to_change, refuse_deleted,
    required_token,
};
use crate::aws::clock::{DAY_MS, seconds};
use crate::aws::iam::evaluate::Context;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Call, World};

pub(super) fn delete(world: &mut World, call: &Call<'_>) -> Outcome {
    let input = call.input;
    let id = input.required_text("SecretId", 1, 2048)?;
    let window = input.integer("RecoveryWindowInDays")?;
    let force = input.boolean("ForceDeleteWithoutRecovery")?;
    let mut context = Context::new();
    if let Some(days) = window {
        context.set("secretsmanager:RecoveryWindowInDays", [days.to_string()]);
    }
    if let Some(force) = force {
        context.set("secretsmanager:ForceDeleteWithoutRecovery", [force.to_string()]);
    }
    let force = force.unwrap_or(false);
    let invalid = |message: &str| Err(Failure::new("InvalidParameterException", message));
    if force && window.is_some() {
        return invalid(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        );
    }
    if window.is_some_and(|days| !(7..=30).contains(&days)) {
        return invalid(
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
        );
    }
    let place = match open_for(world, call, "DeleteSecret", id, context) {
        Ok(place) => place,
        Err(failure) if force && failure.code == "ResourceNotFoundException" => {
            return Ok(json!({
                "ARN": missing_arn(call, id),
                "Name": id,
                "DeletionDate": seconds(call.now),
            }));
        }
        Err(failure) => return Err(failure),
    };
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    refuse_deletion(secret, force)?;
    let arn = secret.arn.clone();
    let primary = secret.primary_region.clone();
    let due = if force || primary.is_some() {
        world.secrets.remove(&place);
        let delay = world.settings.force_delete_ms;
        if delay > 0 {
            world.secrets.occupy(place.clone(), call.now + delay);
        }
        if let Some(region) = primary {
            let mut home = here(call, &place.name);
            home.region = region;
            change(world, &home, call.now, |secret| {
                secret.replicas.remove(&place.region);
            });
        }
        call.now
    } else {
        let due = call.now + window.unwrap_or(world.settings.recovery_days_default) * DAY_MS;
        world.secrets.schedule(&place, Deletion { asked: call.now, due });
        due
    };
    Ok(json!({ "ARN": arn, "Name": place.name, "DeletionDate": seconds(due) }))
}

/// Replicas go first, and a deletion is asked for once.
fn refuse_deletion(secret: &Secret, force: bool) -> Result<(), Failure> {
    let replicas: Vec<&str> = secret.replicas.keys().map(String::as_str).collect();
    if !replicas.is_empty() {
        let message = format!(
            "You can't delete secret {} that still has replica regions [{}].",
            secret.place.name,
            replicas.join(", ")
        );
        return Err(Failure::new("InvalidRequestException", message));
    }
    if secret.deletion.is_some() && !force {
        return Err(Failure::new(
            "InvalidRequestException",
            "You tried to perform the operation on a secret that's currently marked deleted.",
        ));
    }
    Ok(())
}

fn missing_arn(call: &Call<'_>, id: &str) -> String {
    if id.starts_with("arn:") {
        return id.to_owned();
    }
    let suffix = crate::aws::random::alphanumeric(6);
    format!("arn:aws:secretsmanager:{}:{}:secret:{id}-{suffix}", call.region, call.account())
}

pub(super) fn restore(world: &mut World, call: &Call<'_>) -> Outcome {
    let place = open(world, call, Context::new())?;
    world.secrets.unschedule(&place);
    identity(world, &place)
}

/// Rotation needs a function to call, and there are none here.
pub(super) fn rotate(world: &mut World, call: &Call<'_>) -> Outcome {
    let function = call.input.text("RotationLambdaARN", 0, 2048)?;
    open_to_change(world, call, Context::new())?;
    required_token(call)?;
    Err(match function {
        None | Some("") => Failure::new(
            "InvalidRequestException",
            "No Lambda rotation function ARN is associated with this secret.",
        ),
        Some(_) => Failure::new(
            "AccessDeniedException",
            "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function \
             policy grants access to the principal secretsmanager.amazonaws.com.",
        ),
    })
}

pub(super) fn cancel_rotation(world: &mut World, call: &Call<'_>) -> Outcome {
    let place = open(world, call, Context::new())?;
    refuse_deleted(world.secrets.at(&place).ok_or_else(not_found)?)?;
    Err(Failure::new(
        "InvalidRequestException",
        "You can't cancel rotation of a secret that has no rotation enabled.",
    ))
}
