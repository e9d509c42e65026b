//! `GetSecretValue`, `BatchGetSecretValue`, `DescribeSecret`, `ListSecretVersionIds`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::list::{Filters, Page};
use super::store::{CURRENT, Payload, Place};
use super::{Use, not_found, open, open_for, refuse_deleted, replication, use_key};
use crate::aws::clock::seconds;
use crate::aws::iam::evaluate::Context;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Ask, Call, World};

pub(super) fn value(world: &mut World, call: &Call<'_>) -> Outcome {
    let id = call.input.required_text("SecretId", 1, 2048)?;
    let version_id = call.input.text("VersionId", 32, 64)?;
    let stage = call.input.text("VersionStage", 1, 256)?;
    value_of(world, call, id, version_id, stage)
}

fn value_of(
    world: &mut World,
    call: &Call<'_>,
    id: &str,
    version_id: Option<&str>,
    stage: Option<&str>,
) -> Outcome {
    let mut context = Context::new();
    if let Some(version_id) = version_id {
        context.set("secretsmanager:VersionId", [version_id]);
    }
    // AWS fills in the default stage, so conditions on it see AWSCURRENT.
    context.set("secretsmanager:VersionStage", [stage.unwrap_or(CURRENT)]);
    let place = open_for(world, call, "GetSecretValue", id, context)?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    refuse_deleted(secret)?;
    let missing = |what: String| {
        Failure::new(
            "ResourceNotFoundException",
            format!("Secrets Manager can't find the specified secret value for {what}"),
        )
    };
    let version = match (version_id, stage) {
        (Some(version_id), stage) => {
            let version = secret
                .version(version_id)
                .ok_or_else(|| missing(format!("VersionId: {version_id}")))?;
            if stage.is_some_and(|stage| !version.stages.contains(stage)) {
                return Err(Failure::new(
                    "InvalidRequestException",
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                ));
            }
            version
        }
        (None, stage) => {
            let stage = stage.unwrap_or(CURRENT);
            secret.staged(stage).ok_or_else(|| missing(format!("staging label: {stage}")))?
        }
    };
    let owner = (secret.arn.as_str(), secret.place.account.as_str());
    use_key(world, call, version.key_arn.as_deref(), owner, Use::Decrypt)?;
    let (member, payload) = match &version.payload {
        Payload::Text(text) => ("SecretString", json!(text)),
        Payload::Binary(bytes) => ("SecretBinary", json!(STANDARD.encode(bytes))),
    };
    let reply = json!({
        "ARN": secret.arn,
        "Name": secret.place.name,
        "VersionId": version.id,
        "VersionStages": version.stages,
        "CreatedDate": seconds(version.created),
        member: payload,
    });
    let version_id = version.id.clone();
    note_access(world, &place, &version_id, call.now);
    Ok(reply)
}

fn note_access(world: &mut World, place: &Place, version_id: &str, now: i64) {
    if let Some(secret) = world.secrets.at_mut(place) {
        secret.accessed = Some(now);
        if let Some(version) = secret.version_mut(version_id) {
            version.accessed = Some(now);
        }
    }
}

const BATCH_MAX: usize = 20;

pub(super) fn batch(world: &mut World, call: &Call<'_>) -> Outcome {
    let input = call.input;
    let ids = input.texts("SecretIdList", 1, 2048)?;
    if input.has("SecretIdList") {
        input.check_length("SecretIdList", ids.len(), 1, BATCH_MAX)?;
    }
    let filters = Filters::read(call)?;
    let limit = input.bounded("MaxResults", 1, 20, 20)?;
    let invalid = |message: &str| Err(Failure::new("InvalidParameterException", message));
    if input.has("SecretIdList") == input.has("Filters") {
        return invalid("Either 'SecretIdList' or 'Filters' must be provided, but not both.");
    }
    if input.has("MaxResults") && !input.has("Filters") {
        return invalid(
            "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.",
        );
    }
    let mut actions = vec!["secretsmanager:BatchGetSecretValue"];
    if input.has("Filters") {
        actions.push("secretsmanager:ListSecrets");
    }
    for action in actions {
        world.authorize(call, Ask::new(action, "*", call.account()))?;
    }
    let (ids, next) = if input.has("Filters") {
        let page = Page::read(call, "BatchGetSecretValue", limit)?;
        let (found, next) = super::list::select(world, call, &filters, false, &page);
        (found.into_iter().map(|secret| secret.arn.clone()).collect(), next)
    } else {
        (ids.into_iter().map(str::to_owned).collect::<Vec<_>>(), None)
    };
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for id in ids {
        match value_of(world, call, &id, None, None) {
            Ok(value) => values.push(value),
            Err(failure) => errors.push(json!({
                "SecretId": id,
                "ErrorCode": failure.code,
                "Message": failure.message,
            })),
        }
    }
    let mut reply = json!({ "SecretValues": values, "Errors": errors });
    if let (Some(next), Some(members)) = (next, reply.as_object_mut()) {
        members.insert("NextToken".to_owned(), json!(next));
    }
    Ok(reply)
}

pub(super) fn describe(world: &mut World, call: &Call<'_>) -> Outcome {
    let place = open(world, call, Context::new())?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    let mut reply = secret.summary();
    let Some(members) = reply.as_object_mut() else { return Ok(reply) };
    let labels = secret.labels();
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        members.insert("VersionIdsToStages".to_owned(), labels);
    }
    if let Some(deletion) = secret.deletion {
        members.insert("DeletedDate".to_owned(), json!(seconds(deletion.due)));
    }
    if !secret.replicas.is_empty() {
        members.insert("ReplicationStatus".to_owned(), replication::status(world, &place));
    }
    Ok(reply)
}

pub(super) fn version_ids(world: &mut World, call: &Call<'_>) -> Outcome {
    let limit = call.input.bounded("MaxResults", 1, 100, 100)?;
    let deprecated = call.input.boolean("IncludeDeprecated")?.unwrap_or(false);
    let place = open(world, call, Context::new())?;
    let page = Page::read(call, "ListSecretVersionIds", limit)?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    let versions: Vec<_> = (1u64..)
        .zip(&secret.versions)
        .filter(|(_, version)| deprecated || !version.stages.is_empty())
        .collect();
    let (versions, next) = page.cut(versions, |(order, _)| *order);
    let versions: Vec<Value> = versions
        .into_iter()
        .map(|(_, version)| {
            let key = version.key_arn.as_deref().unwrap_or("DefaultEncryptionKey");
            let mut entry = json!({
                "VersionId": version.id,
                "CreatedDate": seconds(version.created),
                "KmsKeyIds": [key],
            });
            if let Some(members) = entry.as_object_mut() {
                if !version.stages.is_empty() {
                    members.insert("VersionStages".to_owned(), json!(version.stages));
                }
                if let Some(at) = version.accessed {
                    members.insert("LastAccessedDate".to_owned(), json!(seconds(at)));
                }
            }
            entry
        })
        .collect();
    let mut reply = json!({ "ARN": secret.arn, "Name": secret.place.name, "Versions": versions });
    if let (Some(next), Some(members)) = (next, reply.as_object_mut()) {
        members.insert("NextToken".to_owned(), json!(next));
    }
    Ok(reply)
}
