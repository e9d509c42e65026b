//! Making a user with a key.

use super::{
    cloud::{self, Cloud, Failed},
    role::Role,
};
use bailee_cloud::{
    CloudError, Kind, Xml,
    query::{Form, Keys},
};
use bailee_sdk::Sensitive;
use serde::{Deserialize, Serialize};

/// The tag that says which mount made a user.
pub(super) const MOUNT_TAG: &str = "bailee:mount";
/// The tag that says for which request.
pub(super) const MARK_TAG: &str = "bailee:mark";

/// The record of a user that a lease knows.
pub(super) fn record_key(mark: &str) -> String {
    format!("users/{mark}")
}

/// A user that was made, with all that we hung on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MadeUser {
    pub(super) name: String,
    /// Names can be used again, ids are not.
    pub(super) id: String,
    pub(super) mark: String,
    pub(super) access_key: String,
    pub(super) attached: Vec<String>,
    pub(super) inline: Vec<String>,
    pub(super) groups: Vec<String>,
}

/// A user that is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) mark: &'a str,
    pub(super) mount: &'a str,
    pub(super) role: &'a Role,
    pub(super) policy_name: &'a str,
}

/// A user, its key, and whether the marks could be set.
pub(super) struct Made {
    pub(super) user: MadeUser,
    pub(super) keys: Keys,
    pub(super) marked: bool,
}

/// Makes the user, what it may do, and its key.
pub(super) async fn make(cloud: &Cloud, wanted: Wanted<'_>) -> Result<Made, Failed> {
    let (id, marked) = create(cloud, wanted).await?;
    let Wanted { name, role, .. } = wanted;
    let named = || Form::new().with("UserName", name);
    for arn in &role.policy_arns {
        let attached = cloud.iam("AttachUserPolicy", &named().with("PolicyArn", arn)).await;
        attached.map_err(Failed::new("Error attaching user policy"))?;
    }
    let mut inline = Vec::new();
    if !role.policy_document.is_empty() {
        let form = named()
            .with("PolicyName", wanted.policy_name)
            .with("PolicyDocument", &role.policy_document);
        let put = cloud.iam("PutUserPolicy", &form).await;
        put.map_err(Failed::new("Error putting user policy"))?;
        inline.push(wanted.policy_name.to_owned());
    }
    for group in &role.iam_groups {
        let added = cloud.iam("AddUserToGroup", &named().with("GroupName", group)).await;
        added.map_err(Failed::new("Error adding user to group"))?;
    }
    let keys = create_key(cloud, name, &[]).await?;
    let user = MadeUser {
        name: name.to_owned(),
        id,
        mark: wanted.mark.to_owned(),
        access_key: keys.access_key_id.clone(),
        attached: role.policy_arns.clone(),
        inline,
        groups: role.iam_groups.clone(),
    };
    Ok(Made { user, keys, marked })
}

/// Creates the user, and tells its id. An engine whose policy is Vault's may not set tags unless a
/// role wants some: then the user goes without marks.
async fn create(cloud: &Cloud, wanted: Wanted<'_>) -> Result<(String, bool), Failed> {
    let Wanted { role, name, .. } = wanted;
    let path = if role.user_path.is_empty() { "/" } else { &role.user_path };
    let form = Form::new()
        .with("UserName", name)
        .with("Path", path)
        .with_given("PermissionsBoundary", &role.permissions_boundary_arn);
    let own = role.iam_tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let marks = [(MOUNT_TAG, wanted.mount), (MARK_TAG, wanted.mark)];
    let marked = cloud::tags(form.clone(), own.chain(marks));
    match cloud.iam("CreateUser", &marked).await {
        Ok(answer) => Ok((answer.value("UserId").to_owned(), true)),
        Err(error) if may_not_tag(&error) && role.iam_tags.is_empty() => {
            let created = cloud.iam_unless_sent("CreateUser", &form).await;
            let created = created.map_err(Failed::new("Error creating IAM user"))?;
            Ok((created.value("UserId").to_owned(), false))
        }
        // The answer to an earlier attempt was lost: it is ours if it has our mark.
        Err(error) if error.kind == Kind::Exists => match found(cloud, name).await {
            Ok(Some(user)) if tag(&user, MARK_TAG) == Some(wanted.mark) => {
                Ok((user.value("UserId").to_owned(), true))
            }
            _ => Err(Failed { what: "Error creating IAM user", cause: error }),
        },
        Err(error) => Err(Failed { what: "Error creating IAM user", cause: error }),
    }
}

fn may_not_tag(error: &CloudError) -> bool {
    match &error.kind {
        Kind::Denied { action: Some(action), .. } => action == "iam:TagUser",
        Kind::Denied { action: None, .. } => error.message.contains("iam:TagUser"),
        _ => false,
    }
}

/// A user by name; `None` when there is none.
pub(super) async fn found(cloud: &Cloud, name: &str) -> Result<Option<Xml>, CloudError> {
    match cloud.iam("GetUser", &Form::new().with("UserName", name)).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The value of a tag in what was told about a user.
pub(super) fn tag<'x>(user: &'x Xml, key: &str) -> Option<&'x str> {
    user.members("Tags").find(|tag| tag.value("Key") == key).map(|tag| tag.value("Value"))
}

/// Creates a key. One whose secret part was lost on the way is removed, all but the `known` ones, and
/// another is made.
pub(super) async fn create_key(
    cloud: &Cloud,
    user: &str,
    known: &[String],
) -> Result<Keys, Failed> {
    const ATTEMPTS: u32 = 3;
    let failed = |cause| Failed { what: "Error creating access keys", cause };
    let form = Form::new().with("UserName", user);
    let mut attempts = 1;
    loop {
        let error = match cloud.iam_unless_sent("CreateAccessKey", &form).await {
            Ok(answer) => return keys(&answer).ok_or_else(|| failed(unreadable())),
            Err(error) => error,
        };
        let ambiguous = matches!(error.kind, Kind::Timeout | Kind::Io | Kind::ServerFault);
        if !ambiguous || attempts == ATTEMPTS {
            return Err(failed(error));
        }
        attempts += 1;
        for lost in key_ids(cloud, user).await.map_err(failed)? {
            if !known.contains(&lost) {
                delete_key(cloud, user, &lost).await.map_err(failed)?;
            }
        }
    }
}

fn keys(answer: &Xml) -> Option<Keys> {
    let text = |name| Some(answer.value(name)).filter(|text| !text.is_empty());
    Some(Keys {
        access_key_id: text("AccessKeyId")?.to_owned(),
        secret_access_key: Sensitive::from(text("SecretAccessKey")?.to_owned()),
        session_token: text("SessionToken").map(|token| Sensitive::from(token.to_owned())),
    })
}

/// The keys in an answer of STS.
pub(super) fn session_keys(answer: &Xml) -> Result<Keys, CloudError> {
    keys(answer).ok_or_else(unreadable)
}

fn unreadable() -> CloudError {
    let text = "the answer holds no key".to_owned();
    CloudError {
        code: "Unreadable".to_owned(),
        http_status: None,
        kind: Kind::Io,
        message: text,
        request_id: None,
        retry_after: None,
        sent: true,
    }
}

pub(super) async fn key_ids(cloud: &Cloud, user: &str) -> Result<Vec<String>, CloudError> {
    let form = Form::new().with("UserName", user);
    let found = cloud.list("ListAccessKeys", "AccessKeyMetadata", &form).await?;
    Ok(found.iter().map(|key| key.value("AccessKeyId").to_owned()).collect())
}

/// Deletes a key; one that is gone is fine.
pub(super) async fn delete_key(cloud: &Cloud, user: &str, id: &str) -> Result<(), CloudError> {
    let form = Form::new().with("UserName", user).with("AccessKeyId", id);
    match cloud.iam("DeleteAccessKey", &form).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind == Kind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
