//! The connection details, checked.

use super::placement::Placement;
use crate::{
    failure::{Error, Failure},
    registry::{Details, Field},
};
use bailee_sdk::Sensitive;
use std::{collections::BTreeMap, time::Duration};

/// What users give.
pub(super) const FIELDS: &[Field] = &[
    Field { name: "access_key_id", secret: true, identity: false },
    Field { name: "secret_access_key", secret: true, identity: false },
    Field { name: "region", secret: false, identity: true },
    Field { name: "role_arn", secret: false, identity: true },
    Field { name: "external_id", secret: false, identity: false },
    Field { name: "identity_token_audience", secret: true, identity: false },
    Field { name: "identity_token_key", secret: true, identity: false },
    Field { name: "identity_token_ttl", secret: false, identity: false },
    Field { name: "kms_key_id", secret: false, identity: false },
    Field { name: "replica_regions", secret: false, identity: false },
];

/// How long an identity token holds where the user does not say.
const TOKEN_TTL: Duration = Duration::from_secs(3600);
/// The shortest and the longest that one may hold.
const TOKEN_TTL_MIN: Duration = Duration::from_secs(60);
const TOKEN_TTL_MAX: Duration = Duration::from_secs(24 * 3600);
const REGION_BYTES_MAX: usize = 63;
const ROLE_ARN_BYTES_MAX: usize = 2048;
const KMS_KEY_BYTES_MAX: usize = 2048;
const EXTERNAL_ID_BYTES: std::ops::RangeInclusive<usize> = 2..=1224;
const ACCESS_KEY_ID_BYTES_MAX: usize = 128;
const AUDIENCE_BYTES_MAX: usize = 255;
const ACCOUNT_DIGITS: usize = 12;

/// The details of one destination.
pub(super) struct AwsDetails {
    pub(super) region: Option<String>,
    pub(super) access_key_id: Option<String>,
    pub(super) secret_access_key: Option<Sensitive<String>>,
    pub(super) role_arn: Option<String>,
    pub(super) external_id: Option<String>,
    /// Set where the role is taken on with an identity token instead of keys.
    pub(super) federation: Option<Federation>,
    pub(super) placement: Placement,
}

/// The identity token of a destination.
pub(super) struct Federation {
    pub(super) audience: String,
    pub(super) key: Option<String>,
    pub(super) ttl: Duration,
}

/// The details, or what is wrong with them: which field, and how it is mended.
pub(super) fn parse(details: &Details) -> Result<AwsDetails, Error> {
    let region = details.text("region");
    if let Some(region) = &region {
        check_region("region", region)?;
    }
    let access_key_id = details.text("access_key_id");
    let secret_access_key = details.get("secret_access_key").cloned();
    match (&access_key_id, &secret_access_key) {
        (Some(id), Some(_)) => check_access_key_id(id)?,
        (None, None) => {}
        (id, _) => {
            let missing = if id.is_some() { "secret_access_key" } else { "access_key_id" };
            return wrong(&format!(
                "access_key_id and secret_access_key must be set together: {missing} is missing"
            ));
        }
    }
    let role_arn = details.text("role_arn");
    if let Some(arn) = &role_arn {
        check_role(arn)?;
    }
    let external_id = details.text("external_id");
    if let Some(id) = &external_id {
        check_external_id(id, role_arn.is_some())?;
    }
    let federation = federation(details)?;
    if federation.is_some() {
        let exclusive = |field: &str| {
            wrong(&format!(
                "{field} and identity_token_audience exclude each other: give one of them, and set \
                 the other to \"\""
            ))
        };
        if access_key_id.is_some() {
            return exclusive("access_key_id");
        }
        if external_id.is_some() {
            return exclusive("external_id");
        }
        if role_arn.is_none() {
            return wrong("role_arn is missing: identity_token_audience needs the role to take on");
        }
    }
    let placement = Placement {
        kms_key_id: details.text("kms_key_id"),
        replica_regions: replica_regions(details)?,
    };
    let details = AwsDetails {
        region,
        access_key_id,
        secret_access_key,
        role_arn,
        external_id,
        federation,
        placement,
    };
    if let Some(region) = &details.region {
        details.check_placement(region)?;
    }
    Ok(details)
}

impl AwsDetails {
    /// Keys are in the region they encrypt in, and a secret is copied to other regions than its own.
    pub(super) fn check_placement(&self, region: &str) -> Result<(), Error> {
        let Placement { kms_key_id, replica_regions } = &self.placement;
        if let Some(key) = kms_key_id {
            check_key("kms_key_id", key, region)?;
        }
        for (replica, key) in replica_regions {
            if replica == region {
                return wrong(&format!(
                    "replica_regions: {replica} is the region of the destination itself, leave it out"
                ));
            }
            if !key.is_empty() {
                check_key(&format!("replica_regions, {replica}"), key, replica)?;
            }
        }
        Ok(())
    }
}

fn wrong<T>(message: &str) -> Result<T, Error> {
    Err(Error::new(Failure::Invalid, message))
}

/// `([a-z]+-)+\d+`, as AWS names regions: it becomes a part of host names.
fn check_region(field: &str, region: &str) -> Result<(), Error> {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let valid = region.len() <= REGION_BYTES_MAX
        && region
            .rsplit_once('-')
            .is_some_and(|(words, last)| words.split('-').all(word) && number(last));
    if valid {
        return Ok(());
    }
    wrong(&format!("{field} is not valid: want a region such as eu-west-1"))
}

fn check_access_key_id(id: &str) -> Result<(), Error> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if id.len() <= ACCESS_KEY_ID_BYTES_MAX && id.bytes().all(word) {
        return Ok(());
    }
    wrong(&format!(
        "access_key_id is not valid: want at most {ACCESS_KEY_ID_BYTES_MAX} letters, digits and \
         underscores, such as AKIAIOSFODNN7EXAMPLE"
    ))
}

/// `arn:<partition>:<service>:<region>:<account>:<rest>`
struct Arn<'a> {
    service: &'a str,
    region: &'a str,
    account: &'a str,
    rest: &'a str,
}

fn arn(text: &str) -> Option<Arn<'_>> {
    let mut parts = text.splitn(6, ':');
    let (lead, partition) = (parts.next()?, parts.next()?);
    let (service, region) = (parts.next()?, parts.next()?);
    let (account, rest) = (parts.next()?, parts.next()?);
    let digits = account.len() == ACCOUNT_DIGITS && account.bytes().all(|b| b.is_ascii_digit());
    let partitions = partition == "aws" || partition.starts_with("aws-");
    let clean = rest.bytes().all(|byte| byte.is_ascii_graphic());
    (lead == "arn" && partitions && digits && clean).then_some(Arn {
        service,
        region,
        account,
        rest,
    })
}

fn check_role(role: &str) -> Result<(), Error> {
    let is_role = |arn: Arn<'_>| {
        let name = arn.rest.strip_prefix("role/").is_some_and(|name| !name.is_empty());
        arn.service == "iam" && arn.region.is_empty() && name && !arn.account.is_empty()
    };
    if role.len() <= ROLE_ARN_BYTES_MAX && arn(role).is_some_and(is_role) {
        return Ok(());
    }
    wrong(
        "role_arn is not valid: want the ARN of a role, such as \
         arn:aws:iam::123456789012:role/bailee-sync",
    )
}

fn check_external_id(id: &str, has_role: bool) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    if !has_role {
        return wrong(
            "external_id without role_arn: it is sent when a role is taken on, give the role",
        );
    }
    if EXTERNAL_ID_BYTES.contains(&id.len()) && id.bytes().all(allowed) {
        return Ok(());
    }
    wrong(&format!(
        "external_id is not valid: want {} to {} letters, digits and _+=,.@:/-",
        EXTERNAL_ID_BYTES.start(),
        EXTERNAL_ID_BYTES.end()
    ))
}

fn federation(details: &Details) -> Result<Option<Federation>, Error> {
    let ttl = token_ttl(details)?;
    let key = details.text("identity_token_key");
    let Some(audience) = details.text("identity_token_audience") else {
        return match key {
            Some(_) => wrong(
                "identity_token_key without identity_token_audience: give the audience that the \
                 identity provider in AWS expects",
            ),
            None => Ok(None),
        };
    };
    if audience.len() > AUDIENCE_BYTES_MAX || audience.chars().any(char::is_control) {
        return wrong(&format!(
            "identity_token_audience is not valid: want at most {AUDIENCE_BYTES_MAX} characters \
             without control characters"
        ));
    }
    Ok(Some(Federation { audience, key, ttl }))
}

fn token_ttl(details: &Details) -> Result<Duration, Error> {
    let Some(text) = details.text("identity_token_ttl") else { return Ok(TOKEN_TTL) };
    let ttl = bailee_notation::duration::parse(&text).map_err(|_| {
        let message = "identity_token_ttl is not valid: want seconds or a duration such as 1h";
        Error::new(Failure::Invalid, message)
    })?;
    // Zero stands for the default everywhere.
    if ttl.is_zero() {
        return Ok(TOKEN_TTL);
    }
    if (TOKEN_TTL_MIN..=TOKEN_TTL_MAX).contains(&ttl) {
        return Ok(ttl);
    }
    wrong(&format!(
        "identity_token_ttl is not valid: want {} to {} seconds",
        TOKEN_TTL_MIN.as_secs(),
        TOKEN_TTL_MAX.as_secs()
    ))
}

fn replica_regions(details: &Details) -> Result<BTreeMap<String, String>, Error> {
    let Some(text) = details.text("replica_regions") else { return Ok(BTreeMap::new()) };
    let regions: BTreeMap<String, String> = serde_json::from_str(&text).map_err(|_| {
        let message = "replica_regions is not valid: want a map of regions to KMS keys, such as \
                       {\"eu-central-1\": \"\"}";
        Error::new(Failure::Invalid, message)
    })?;
    for region in regions.keys() {
        check_region(&format!("replica_regions, {region:?}"), region)?;
    }
    Ok(regions)
}

/// An ARN in that region, or an alias or id of a key of the account itself.
fn check_key(field: &str, key: &str, region: &str) -> Result<(), Error> {
    let named = |name: &str| {
        let (alias, id) = (name.strip_prefix("alias/"), name.strip_prefix("key/"));
        alias.or(id).is_some_and(|rest| !rest.is_empty())
    };
    if key.len() > KMS_KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong(&format!("{field} is not valid: want the ARN of a KMS key"));
    }
    if !key.starts_with("arn:") {
        let id = key.bytes().all(|byte| byte.is_ascii_hexdigit() || b"-mrk".contains(&byte));
        if key.strip_prefix("alias/").is_some_and(|rest| !rest.is_empty()) || id {
            return Ok(());
        }
        return wrong(&format!(
            "{field} is not valid: want the ARN of a KMS key, such as \
             arn:aws:kms:{region}:123456789012:key/…, or alias/…"
        ));
    }
    match arn(key) {
        Some(arn) if arn.service == "kms" && named(arn.rest) => {
            if arn.region == region {
                return Ok(());
            }
            wrong(&format!(
                "{field} is a key in {}: the secret there is in {region}, want a key of that region",
                arn.region
            ))
        }
        _ => wrong(&format!(
            "{field} is not valid: want the ARN of a KMS key, such as \
             arn:aws:kms:{region}:123456789012:key/…"
        )),
    }
}
