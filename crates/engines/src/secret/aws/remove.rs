//! Removing a user with everything that hangs on it, whoever hung it there.

use super::{
    cloud::{Cloud, Failed},
    user::{self, MARK_TAG, MOUNT_TAG, MadeUser, found, tag},
};
use bailee_cloud::{CloudError, Kind, Xml, query::Form};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// How far IAM's clock and ours may be apart, in seconds.
const SKEW_SECS: u64 = 300;

const REMOVING: &str = "Error removing IAM user";

/// A kind of things that hang on a user: how they are listed, named and removed.
struct Hanging {
    list: &'static str,
    members: &'static str,
    /// Names the thing in the list; empty when the member itself is the name.
    id: &'static str,
    remove: &'static str,
    parameter: &'static str,
}

/// All that keeps a user from being deleted, what opens doors first.
const HANGING: &[Hanging] = &[
    Hanging {
        list: "ListAccessKeys",
        members: "AccessKeyMetadata",
        id: "AccessKeyId",
        remove: "DeleteAccessKey",
        parameter: "AccessKeyId",
    },
    Hanging {
        list: "ListServiceSpecificCredentials",
        members: "ServiceSpecificCredentials",
        id: "ServiceSpecificCredentialId",
        remove: "DeleteServiceSpecificCredential",
        parameter: "ServiceSpecificCredentialId",
    },
    Hanging {
        list: "ListSSHPublicKeys",
        members: "SSHPublicKeys",
        id: "SSHPublicKeyId",
        remove: "DeleteSSHPublicKey",
        parameter: "SSHPublicKeyId",
    },
    Hanging {
        list: "ListSigningCertificates",
        members: "Certificates",
        id: "CertificateId",
        remove: "DeleteSigningCertificate",
        parameter: "CertificateId",
    },
    Hanging {
        list: "ListMFADevices",
        members: "MFADevices",
        id: "SerialNumber",
        remove: "DeactivateMFADevice",
        parameter: "SerialNumber",
    },
    Hanging {
        list: "ListAttachedUserPolicies",
        members: "AttachedPolicies",
        id: "PolicyArn",
        remove: "DetachUserPolicy",
        parameter: "PolicyArn",
    },
    Hanging {
        list: "ListUserPolicies",
        members: "PolicyNames",
        id: "",
        remove: "DeleteUserPolicy",
        parameter: "PolicyName",
    },
    Hanging {
        list: "ListGroupsForUser",
        members: "Groups",
        id: "GroupName",
        remove: "RemoveUserFromGroup",
        parameter: "GroupName",
    },
];

/// Removes a user that a lease stands for. What we hung on it goes without being asked for; only when
/// more hangs there is it looked for.
pub(super) async fn made(cloud: &Cloud, user: &MadeUser) -> Result<(), Failed> {
    let named = || Form::new().with("UserName", &user.name);
    let key = named().with("AccessKeyId", &user.access_key);
    match cloud.iam("DeleteAccessKey", &key).await {
        Ok(_) => {}
        Err(error) if error.kind == Kind::NotFound => {
            // Without our key the name may be somebody else's by now.
            let known = found(cloud, &user.name).await.map_err(Failed::new(REMOVING))?;
            let is_ours = |known: &Xml| known.value("UserId") == user.id;
            if !known.as_ref().is_some_and(is_ours) {
                return Ok(());
            }
        }
        Err(cause) => return Err(Failed { what: "Error deleting access key", cause }),
    }
    let steps = user
        .inline
        .iter()
        .map(|name| ("DeleteUserPolicy", "PolicyName", name))
        .chain(user.attached.iter().map(|arn| ("DetachUserPolicy", "PolicyArn", arn)))
        .chain(user.groups.iter().map(|group| ("RemoveUserFromGroup", "GroupName", group)));
    for (action, parameter, value) in steps {
        gone(cloud.iam(action, &named().with(parameter, value)).await)
            .map_err(Failed::new(REMOVING))?;
    }
    match cloud.iam("DeleteUser", &named()).await {
        Err(error) if error.code == "DeleteConflict" => everything(cloud, &user.name).await,
        outcome => gone(outcome).map_err(Failed::new("Error deleting IAM user")),
    }
}

/// Removes a user that was announced and perhaps made, if it is the one that was announced.
pub(super) async fn intended(
    cloud: &Cloud,
    name: &str,
    mark: &str,
    made: u64,
) -> Result<(), Failed> {
    let known = found(cloud, name).await.map_err(Failed::new(REMOVING))?;
    let Some(known) = known else { return Ok(()) };
    let ours = match tag(&known, MARK_TAG) {
        Some(found) => found == mark,
        // It could not be marked: then it is ours if it was made when we announced it.
        None => tag(&known, MOUNT_TAG).is_none() && created(&known) + SKEW_SECS >= made,
    };
    if ours { everything(cloud, name).await } else { Ok(()) }
}

/// When a user was made, in seconds since 1970.
pub(super) fn created(user: &Xml) -> u64 {
    let date: Option<Timestamp> = user.value("CreateDate").parse().ok();
    date.and_then(|date| u64::try_from(date.as_second()).ok()).unwrap_or_default()
}

/// Removes whatever hangs on a user, and the user.
pub(super) async fn everything(cloud: &Cloud, name: &str) -> Result<(), Failed> {
    let named = Form::new().with("UserName", name);
    let mut refused = None;
    gone(cloud.iam("DeleteLoginProfile", &named).await)
        .or_else(|error| not_permitted(error, &mut refused))
        .map_err(Failed::new(REMOVING))?;
    for kind in HANGING {
        remove_all(cloud, &named, kind)
            .await
            .or_else(|error| not_permitted(error, &mut refused))
            .map_err(Failed::new(REMOVING))?;
    }
    match (gone(cloud.iam("DeleteUser", &named).await), refused) {
        // What we may not even look for is what is in the way.
        (Err(error), Some(refusal)) if error.code == "DeleteConflict" => {
            Err(Failed { what: REMOVING, cause: refusal })
        }
        (outcome, _) => outcome.map_err(Failed::new("Error deleting IAM user")),
    }
}

async fn remove_all(cloud: &Cloud, named: &Form, kind: &Hanging) -> Result<(), CloudError> {
    let found = match cloud.list(kind.list, kind.members, named).await {
        Err(error) if error.kind == Kind::NotFound => return Ok(()),
        outcome => outcome?,
    };
    for thing in found {
        let id = if kind.id.is_empty() { thing.text() } else { thing.value(kind.id) };
        gone(cloud.iam(kind.remove, &named.clone().with(kind.parameter, id)).await)?;
        if kind.list == "ListMFADevices" && id.starts_with("arn:") {
            // A virtual device is an object of its own, which nobody needs without its user.
            let form = Form::new().with("SerialNumber", id);
            let removed = gone(cloud.iam("DeleteVirtualMFADevice", &form).await);
            removed.or_else(|error| not_permitted(error, &mut None))?;
        }
    }
    Ok(())
}

/// The user whose key was being replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeftKeys<'a> {
    pub(super) user: &'a str,
    /// Empty where it was not noted.
    pub(super) user_id: &'a str,
    /// The keys it had before.
    pub(super) known: &'a [String],
}

/// Removes the keys of a user that a rotation made and nobody has: those that are neither stored nor
/// were there before.
pub(super) async fn other_keys(
    cloud: &Cloud,
    left: LeftKeys<'_>,
    stored: &BTreeSet<String>,
) -> Result<(), Failed> {
    const UNDOING: &str = "error undoing the rotation of a key";
    let LeftKeys { user, user_id, known } = left;
    let there = found(cloud, user).await.map_err(Failed::new(UNDOING))?;
    let is_same = |there: &Xml| user_id.is_empty() || there.value("UserId") == user_id;
    if !there.as_ref().is_some_and(is_same) {
        tracing::warn!(
            user,
            user_id,
            "the user whose key was being replaced is not reached any more: if it still exists, a key \
             that nobody has may be left on it"
        );
        return Ok(());
    }
    for id in user::key_ids(cloud, user).await.map_err(Failed::new(UNDOING))? {
        if !stored.contains(&id) && !known.contains(&id) {
            user::delete_key(cloud, user, &id).await.map_err(Failed::new(UNDOING))?;
        }
    }
    Ok(())
}

/// What is gone already is done.
fn gone(outcome: Result<Xml, CloudError>) -> Result<(), CloudError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if error.kind == Kind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// An engine whose policy is small may not look for everything: most users have none of it.
fn not_permitted(error: CloudError, refused: &mut Option<CloudError>) -> Result<(), CloudError> {
    match error.kind {
        Kind::Denied { .. } => {
            refused.get_or_insert(error);
            Ok(())
        }
        _ => Err(error),
    }
}

/// The names of a mount's users, by what is told in a list of users.
pub(super) fn name(member: &Xml) -> &str {
    member.value("UserName")
}

/// Whether a user is one that this mount made, and its mark.
pub(super) fn mark_of<'x>(known: &'x Xml, mount: &str) -> Option<&'x str> {
    (user::tag(known, MOUNT_TAG) == Some(mount)).then(|| tag(known, MARK_TAG))?
}
