//! Resource policies of secrets.

use serde_json::json;

use super::{change, identity, not_found, open, open_to_change};
use crate::aws::iam::evaluate::Context;
use crate::aws::iam::policy::DocumentKind;
use crate::aws::iam::store::Document;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Ask, Call, World};

const POLICY_BYTES_MAX: usize = 20_480;

fn parse(text: &str) -> Result<Document, Failure> {
    Document::parse(text, DocumentKind::Resource)
        .map_err(|message| Failure::new("MalformedPolicyDocumentException", message))
}

pub(super) fn put(world: &mut World, call: &Call<'_>) -> Outcome {
    let text = call.input.required_text("ResourcePolicy", 1, POLICY_BYTES_MAX)?;
    let block_public = call.input.boolean("BlockPublicPolicy")?;
    let mut context = Context::new();
    if let Some(block) = block_public {
        context.set("secretsmanager:BlockPublicPolicy", [block.to_string()]);
    }
    let place = open_to_change(world, call, context)?;
    let document = parse(text)?;
    if block_public == Some(true) && document.policy.is_public() {
        return Err(Failure::new(
            "PublicPolicyException",
            "The resource policy grants broad access to the secret, and BlockPublicPolicy is set.",
        ));
    }
    change(world, &place, call.now, |secret| secret.policy = Some(document));
    identity(world, &place)
}

pub(super) fn get(world: &mut World, call: &Call<'_>) -> Outcome {
    let place = open(world, call, Context::new())?;
    let secret = world.secrets.at(&place).ok_or_else(not_found)?;
    let mut reply = identity(world, &place)?;
    if let (Some(document), Some(members)) = (&secret.policy, reply.as_object_mut()) {
        members.insert("ResourcePolicy".to_owned(), json!(document.text));
    }
    Ok(reply)
}

pub(super) fn delete(world: &mut World, call: &Call<'_>) -> Outcome {
    let place = open_to_change(world, call, Context::new())?;
    change(world, &place, call.now, |secret| secret.policy = None);
    identity(world, &place)
}

pub(super) fn validate(world: &mut World, call: &Call<'_>) -> Outcome {
    let text = call.input.required_text("ResourcePolicy", 1, POLICY_BYTES_MAX)?;
    for action in ["secretsmanager:ValidateResourcePolicy", "secretsmanager:PutResourcePolicy"] {
        let arn = if call.input.has("SecretId") {
            let id = call.input.required_text("SecretId", 1, 2048)?;
            let found =
                world.secrets.find(call.account(), call.region, id).ok_or_else(not_found)?;
            found.arn.clone()
        } else {
            "*".to_owned()
        };
        world.authorize(call, Ask::new(action, &arn, call.account()))?;
    }
    let document = parse(text)?;
    let errors = if document.policy.is_public() {
        json!([{ "CheckName": "PUBLIC_POLICY", "ErrorMessage": "The policy grants broad access." }])
    } else {
        json!([])
    };
    let passed = errors.as_array().is_some_and(Vec::is_empty);
    Ok(json!({ "PolicyValidationPassed": passed, "ValidationErrors": errors }))
}
