//! What hangs on a user beside keys and policies: a password, devices, certificates and the like. Each
//! keeps the user from being deleted.

use serde_json::{Value, json};

use super::actions::{Holder, already_exists, entity_name, no_such_entity, permit};
use super::evaluate::Context;
use crate::aws::random;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Call, World};

/// A kind of attachment: how its objects are named, made, listed and removed.
struct Kind {
    make: &'static str,
    list: &'static str,
    remove: &'static str,
    members: &'static str,
    object: &'static str,
    id: &'static str,
    prefix: &'static str,
    conflict: &'static str,
}

/// In the order in which a deletion complains about them.
const KINDS: [Kind; 4] = [
    Kind {
        make: "EnableMFADevice",
        list: "ListMFADevices",
        remove: "DeactivateMFADevice",
        members: "MFADevices",
        object: "",
        id: "SerialNumber",
        prefix: "GAHT",
        conflict: "Cannot delete entity, must delete MFA device first.",
    },
    Kind {
        make: "UploadSigningCertificate",
        list: "ListSigningCertificates",
        remove: "DeleteSigningCertificate",
        members: "Certificates",
        object: "Certificate",
        id: "CertificateId",
        prefix: "",
        conflict: "Cannot delete entity, must delete signing certificates first.",
    },
    Kind {
        make: "UploadSSHPublicKey",
        list: "ListSSHPublicKeys",
        remove: "DeleteSSHPublicKey",
        members: "SSHPublicKeys",
        object: "SSHPublicKey",
        id: "SSHPublicKeyId",
        prefix: "APKA",
        conflict: "Cannot delete entity, must delete SSH public keys first.",
    },
    Kind {
        make: "CreateServiceSpecificCredential",
        list: "ListServiceSpecificCredentials",
        remove: "DeleteServiceSpecificCredential",
        members: "ServiceSpecificCredentials",
        object: "ServiceSpecificCredential",
        id: "ServiceSpecificCredentialId",
        prefix: "ACCA",
        conflict: "Cannot delete entity, must delete service specific credentials first.",
    },
];

/// The attachments of one user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attachments {
    login: bool,
    objects: [Vec<String>; KINDS.len()],
}

impl Attachments {
    /// One of each kind.
    pub(crate) fn fill(&mut self) {
        self.login = true;
        for (objects, kind) in self.objects.iter_mut().zip(&KINDS) {
            objects.push(format!("{}{}", kind.prefix, random::capitals(17)));
        }
    }

    /// Why the user cannot be deleted, if something hangs on it.
    pub(crate) fn conflict(&self) -> Option<&'static str> {
        if self.login {
            return Some("Cannot delete entity, must delete login profile first.");
        }
        let found = self.objects.iter().zip(&KINDS).find(|(objects, _)| !objects.is_empty());
        found.map(|(_, kind)| kind.conflict)
    }
}

/// Answers a call about attachments; `None` when it is not one.
pub(crate) fn perform(world: &mut World, call: &Call<'_>) -> Option<Outcome> {
    if let "CreateLoginProfile" | "DeleteLoginProfile" = call.operation {
        return Some(login(world, call));
    }
    let at = KINDS
        .iter()
        .position(|kind| [kind.make, kind.list, kind.remove].contains(&call.operation))?;
    let kind = KINDS.get(at)?;
    Some(of_kind(world, call, kind, at))
}

fn open<'w>(world: &'w mut World, call: &Call<'_>) -> Result<&'w mut Attachments, Failure> {
    let name = entity_name(call, "UserName", 128)?;
    let user = world.iam.user(call.account(), name);
    let arn = match user {
        Some(user) => user.arn.clone(),
        None => format!("arn:aws:iam::{}:user/{name}", call.account()),
    };
    permit(world, call, &arn, Context::new())?;
    let user = world.iam.user_mut(call.account(), name);
    Ok(&mut user.ok_or_else(|| Holder::User.missing(name))?.attachments)
}

fn login(world: &mut World, call: &Call<'_>) -> Outcome {
    let creates = call.operation == "CreateLoginProfile";
    let name = entity_name(call, "UserName", 128)?.to_owned();
    let attachments = open(world, call)?;
    if creates && attachments.login {
        return Err(already_exists(format!("Login Profile for user {name} already exists.")));
    }
    if !creates && !attachments.login {
        return Err(no_such_entity(format!("Login Profile for User {name} cannot be found.")));
    }
    attachments.login = creates;
    Ok(if creates { json!({ "LoginProfile": { "UserName": name } }) } else { Value::Null })
}

fn of_kind(world: &mut World, call: &Call<'_>, kind: &Kind, at: usize) -> Outcome {
    let attachments = open(world, call)?;
    let Some(objects) = attachments.objects.get_mut(at) else { return Ok(Value::Null) };
    if call.operation == kind.list {
        let shown: Vec<Value> = objects.iter().map(|id| json!({ (kind.id): id })).collect();
        return Ok(json!({ (kind.members): shown, "IsTruncated": false }));
    }
    if call.operation == kind.remove {
        let id = call.input.required_text(kind.id, 1, 256)?;
        let known = objects.len();
        objects.retain(|object| object != id);
        if objects.len() == known {
            return Err(no_such_entity(format!("{} with id {id} cannot be found.", kind.id)));
        }
        return Ok(Value::Null);
    }
    let id = match call.input.text(kind.id, 1, 256)? {
        Some(given) => given.to_owned(),
        None => format!("{}{}", kind.prefix, random::capitals(17)),
    };
    objects.push(id.clone());
    if kind.object.is_empty() {
        return Ok(Value::Null);
    }
    Ok(json!({ (kind.object): { (kind.id): id } }))
}
