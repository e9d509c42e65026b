//! `TagResource`, `UntagResource`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{change, not_found, open_to_change};
use crate::aws::iam::evaluate::Context;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Call, World};

pub(super) const TAGS_MAX: usize = 50;

/// Refuses reserved keys, and more tags than a secret may have (`count` in all).
pub(super) fn check_tags(tags: &BTreeMap<String, String>, count: usize) -> Result<(), Failure> {
    if tags.keys().any(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(Failure::new(
            "InvalidParameterException",
            "aws: prefixed tag key names are not allowed for external use.",
        ));
    }
    if count > TAGS_MAX {
        return Err(Failure::new(
            "InvalidParameterException",
            format!("You can't have more than {TAGS_MAX} tags on a secret."),
        ));
    }
    Ok(())
}

/// Adds the tags of a request to what policies see.
pub(super) fn describe_tags(context: &mut Context, tags: &BTreeMap<String, String>) {
    for (key, value) in tags {
        context.set(&format!("aws:RequestTag/{key}"), [value.as_str()]);
    }
    context.set("aws:TagKeys", tags.keys().map(String::as_str));
}

pub(super) fn tag(world: &mut World, call: &Call<'_>) -> Outcome {
    let tags = call
        .input
        .tags("Tags", "Key", "Value")?
        .ok_or_else(|| Failure::constraint(call.service, "tags", "not be null"))?;
    let mut context = Context::new();
    describe_tags(&mut context, &tags);
    let place = open_to_change(world, call, context)?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    let added = tags.keys().filter(|key| !secret.tags.contains_key(*key)).count();
    check_tags(&tags, secret.tags.len() + added)?;
    change(world, &place, call.now, |secret| secret.tags.extend(tags));
    Ok(Value::Null)
}

pub(super) fn untag(world: &mut World, call: &Call<'_>) -> Outcome {
    let keys = call.input.texts("TagKeys", 1, 128)?;
    if !call.input.has("TagKeys") {
        return Err(Failure::constraint(call.service, "tagKeys", "not be null"));
    }
    let context = Context::new().with("aws:TagKeys", keys.iter().copied());
    let place = open_to_change(world, call, context)?;
    change(world, &place, call.now, |secret| {
        secret.tags.retain(|key, _| !keys.contains(&key.as_str()));
    });
    Ok(Value::Null)
}
