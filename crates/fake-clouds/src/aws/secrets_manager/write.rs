//! `PutSecretValue`, `UpdateSecret`, `UpdateSecretVersionStage`.

use std::collections::BTreeSet;

use serde_json::json;

use super::store::{CURRENT, LABELS_MAX, PENDING, PREVIOUS, Payload, Place, Secret, Version};
use super::{
    Use, change, identity, not_found, open_to_change, payload, requested_key, required_token,
    use_key,
};
use crate::aws::iam::evaluate::Context;
use crate::aws::kms;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Call, World};

pub(super) fn put_value(world: &mut World, call: &Call<'_>) -> Outcome {
    let stages = call.input.texts("VersionStages", 1, 256)?;
    if call.input.has("VersionStages") {
        call.input.check_length("VersionStages", stages.len(), 1, LABELS_MAX)?;
    }
    let token = call.input.text("ClientRequestToken", 32, 64)?;
    let payload = payload(call)?;
    let place = open_to_change(world, call, Context::new())?;
    required_token(call)?;
    let (Some(token), Some(payload)) = (token, payload) else {
        return Err(Failure::new(
            "InvalidRequestException",
            "You must provide either SecretString or SecretBinary.",
        ));
    };
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    match secret.version(token) {
        Some(version) if version.payload == payload => {}
        Some(_) => return Err(token_in_use(token, secret)),
        None => {
            let mut stages: BTreeSet<String> = stages.into_iter().map(str::to_owned).collect();
            if stages.is_empty() || secret.versions.is_empty() {
                stages.insert(CURRENT.to_owned());
            }
            let key_arn = secret.key_arn.clone();
            let owner = (secret.arn.as_str(), secret.place.account.as_str());
            use_key(world, call, key_arn.as_deref(), owner, Use::Encrypt)?;
            add_version(world, call, &place, token, payload, stages)?;
        }
    }
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    let version = secret.version(token).ok_or_else(not_found)?;
    Ok(json!({
        "ARN": secret.arn,
        "Name": secret.place.name,
        "VersionId": version.id,
        "VersionStages": version.stages,
    }))
}

fn token_in_use(token: &str, secret: &Secret) -> Failure {
    let arn = &secret.arn;
    Failure::new(
        "ResourceExistsException",
        format!(
            "You can't use ClientRequestToken {token} because that value is already in use for a \
             version of secret {arn}."
        ),
    )
}

/// Adds a version and moves labels to it.
fn add_version(
    world: &mut World,
    call: &Call<'_>,
    place: &Place,
    id: &str,
    payload: Payload,
    stages: BTreeSet<String>,
) -> Result<(), Failure> {
    let versions_max = world.settings.versions_max;
    let secret = world.secrets.at_mut(place).ok_or_else(not_found)?;
    let labels = secret.versions.iter().flat_map(|version| &version.stages);
    let together: BTreeSet<&String> = labels.chain(&stages).collect();
    if together.len() > LABELS_MAX {
        return Err(Failure::new(
            "LimitExceededException",
            format!("A secret can't have more than {LABELS_MAX} staging labels."),
        ));
    }
    secret.make_room(versions_max, call.now)?;
    secret.versions.push(Version {
        id: id.to_owned(),
        payload,
        stages: BTreeSet::new(),
        created: call.now,
        accessed: None,
        key_arn: secret.key_arn.clone(),
    });
    for stage in &stages {
        secret.move_label(stage, id);
    }
    secret.changed = call.now;
    Ok(())
}

pub(super) fn update(world: &mut World, call: &Call<'_>) -> Outcome {
    let input = call.input;
    let description = input.text("Description", 0, 2048)?;
    let key_id = input.text("KmsKeyId", 0, 2048)?;
    let token = input.text("ClientRequestToken", 32, 64)?;
    let payload = payload(call)?;
    let mut context = Context::new();
    if let Some(description) = description {
        context.set("secretsmanager:Description", [description]);
    }
    if let Some(key) = key_id {
        context.set("secretsmanager:KmsKeyId", [key]);
        if let Some(arn) = world.kms.resolve(call.account(), call.region, key) {
            context.set("secretsmanager:KmsKeyArn", [arn]);
        }
    }
    let place = open_to_change(world, call, context)?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    if payload.is_some() {
        // An existing version is an error here even with the same content, unlike PutSecretValue.
        let token = required_token(call)?;
        if secret.version(token).is_some() {
            return Err(token_in_use(token, secret));
        }
        secret.clone().make_room(world.settings.versions_max, call.now)?;
    }
    let owner = (secret.arn.as_str(), secret.place.account.as_str());
    let new_key = requested_key(world, call, key_id, call.region)?;
    let key_changes = new_key.as_ref().is_some_and(|key| *key != secret.key_arn);
    let key_arn = new_key.unwrap_or_else(|| secret.key_arn.clone());
    // Without kms:Encrypt on a new key, the versions there are stay with the old one.
    let re_encrypts = key_changes && may_encrypt(world, call, key_arn.as_deref(), &secret.arn);
    if re_encrypts {
        for version in secret.versions.iter().filter(|version| is_live(version)) {
            use_key(world, call, version.key_arn.as_deref(), owner, Use::Decrypt)?;
        }
    }
    if re_encrypts || payload.is_some() {
        use_key(world, call, key_arn.as_deref(), owner, Use::Encrypt)?;
    }
    change(world, &place, call.now, |secret| {
        if let Some(description) = description {
            secret.description = Some(description.to_owned());
        }
        if re_encrypts {
            for version in secret.versions.iter_mut().filter(|version| is_live(version)) {
                version.key_arn.clone_from(&key_arn);
            }
        }
        secret.key_arn = key_arn;
    });
    let mut reply = identity(world, &place)?;
    if let (Some(payload), Some(token)) = (payload, token) {
        let stages = BTreeSet::from([CURRENT.to_owned()]);
        add_version(world, call, &place, token, payload, stages)?;
        if let Some(members) = reply.as_object_mut() {
            members.insert("VersionId".to_owned(), json!(token));
        }
    }
    Ok(reply)
}

fn may_encrypt(world: &World, call: &Call<'_>, key_arn: Option<&str>, secret_arn: &str) -> bool {
    key_arn.is_none_or(|key_arn| {
        let action = "kms:Encrypt";
        kms::permit_through_secrets_manager(world, call, action, key_arn, secret_arn).is_ok()
    })
}

/// Versions that a new key re-encrypts.
fn is_live(version: &Version) -> bool {
    [CURRENT, PREVIOUS, PENDING].iter().any(|label| version.stages.contains(*label))
}

pub(super) fn update_stage(world: &mut World, call: &Call<'_>) -> Outcome {
    let input = call.input;
    let stage = input.required_text("VersionStage", 1, 256)?;
    let to = input.text("MoveToVersionId", 32, 64)?;
    let from = input.text("RemoveFromVersionId", 32, 64)?;
    let context = Context::new().with("secretsmanager:VersionStage", [stage]);
    let place = open_to_change(world, call, context)?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    check_move(secret, stage, from, to)?;
    change(world, &place, call.now, |secret| match to {
        Some(to) => secret.move_label(stage, to),
        None => {
            for version in &mut secret.versions {
                version.stages.remove(stage);
            }
        }
    });
    identity(world, &place)
}

fn check_move(
    secret: &Secret,
    stage: &str,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<(), Failure> {
    let invalid = |message: String| Err(Failure::new("InvalidParameterException", message));
    for id in from.iter().chain(&to) {
        if secret.version(id).is_none() {
            return Err(Failure::new(
                "ResourceNotFoundException",
                format!("Secrets Manager can't find the specified secret version: {id}"),
            ));
        }
    }
    let holder = secret.staged(stage).map(|version| version.id.as_str());
    match (holder, from, to) {
        (_, None, None) => invalid(
            "You must provide a value for either MoveToVersionId or RemoveFromVersionId.".into(),
        ),
        (_, Some(_), None) if stage == CURRENT => invalid(format!(
            "You can only move staging label {CURRENT} to a different secret version. It can't be \
             completely removed."
        )),
        (Some(holder), None, Some(to)) if holder != to => invalid(format!(
            "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently \
             attached to version {holder}, so you must explicitly reference that version in \
             RemoveFromVersionId."
        )),
        (holder, Some(from), _) if holder != Some(from) => invalid(format!(
            "You can't move staging label {stage} from version {from} because it is not attached \
             to that version."
        )),
        _ => Ok(()),
    }
}
