//! What the configuration says of one AWS Secrets Manager, checked.

use super::regions;
use bailee_cloud::EgressRules;
use bailee_crypto::Sensitive;
use ipnet::{Ipv4Net, Ipv6Net};
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

const REGION_BYTES_MAX: usize = 63;
const ROLE_ARN_BYTES_MAX: usize = 2_048;
const EXTERNAL_ID_BYTES: std::ops::RangeInclusive<usize> = 2..=1_224;
const SESSION_NAME_BYTES: std::ops::RangeInclusive<usize> = 2..=64;
const ACCESS_KEY_ID_BYTES: std::ops::RangeInclusive<usize> = 16..=128;
const ACCOUNT_DIGITS: usize = 12;
/// The bounds of a role's session.
const SESSION_DURATION_MIN: Duration = Duration::from_secs(900);
const SESSION_DURATION_MAX: Duration = Duration::from_secs(43_200);
/// The session's name in the logs of the account.
const SESSION_NAME_DEFAULT: &str = "bailee-agent";

/// The fields of a `secret_manager` block of type `aws-sm`, as they are written.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// `role`, `instance-profile` or `access-key`.
    pub authentication: Option<String>,
    /// The region of the secrets, such as `us-east-2`.
    pub region: Option<String>,
    /// The role to take on.
    pub role_arn: Option<String>,
    /// Sent when the role is taken on.
    pub external_id: Option<String>,
    /// Where STS is; the global endpoint where unset.
    pub sts_endpoint: Option<String>,
    /// The region that calls of STS are signed for; that of the secrets where unset.
    pub sts_region: Option<String>,
    /// The session's name in the account's logs.
    pub session_name: Option<String>,
    /// How long a session of the role holds.
    pub session_duration: Option<Duration>,
    /// Given together with `secret_access_key`.
    pub access_key_id: Option<String>,
    /// Given together with `access_key_id`.
    pub secret_access_key: Option<Sensitive<String>>,
    /// The third part of temporary keys.
    pub session_token: Option<Sensitive<String>>,
    /// A region with replicas of the secrets, which serves when `region` is away.
    pub failover_region: Option<String>,
    /// Where Secrets Manager is, instead of AWS's own address.
    pub endpoint: Option<String>,
    /// Where Secrets Manager is in `failover_region`, instead of AWS's own address.
    pub failover_endpoint: Option<String>,
    /// Where the instance's metadata are, instead of the usual address.
    pub metadata_endpoint: Option<String>,
}

/// One AWS Secrets Manager as one identity in one region.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) region: String,
    pub(super) authentication: Authentication,
    /// Takes on the role, and says whose credentials are.
    pub(super) sts: Sts,
    pub(super) endpoint: Option<String>,
    pub(super) failover: Option<Failover>,
    pub(super) metadata_endpoint: Option<String>,
}

/// How one becomes somebody at AWS.
#[derive(Clone, Debug)]
pub(super) enum Authentication {
    /// A role that is taken on.
    Role(Role),
    /// The role of the instance or container itself.
    InstanceProfile,
    /// A user's key.
    AccessKey(AccessKey),
}

#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) external_id: Option<String>,
    pub(super) session_name: String,
    pub(super) session_duration: Option<Duration>,
    /// The key it is taken on with; the machine's own credentials where there is none.
    pub(super) base: Option<AccessKey>,
}

/// Where STS is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sts {
    pub(super) endpoint: String,
    /// The region that calls are signed for.
    pub(super) region: String,
}

#[derive(Clone, Debug)]
pub(super) struct AccessKey {
    pub(super) id: String,
    pub(super) secret: Sensitive<String>,
    pub(super) token: Option<Sensitive<String>>,
}

#[derive(Clone, Debug)]
pub(super) struct Failover {
    pub(super) region: String,
    pub(super) endpoint: Option<String>,
}

/// What is wrong with a field, and how it is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// The field.
    pub field: &'static str,
    /// What is wrong, and the fix.
    pub message: String,
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for InvalidField {}

type Checked<T> = Result<T, InvalidField>;

fn wrong<T>(field: &'static str, message: impl Into<String>) -> Checked<T> {
    Err(InvalidField { field, message: message.into() })
}

/// A field that says something; an empty text is an unset one.
fn given(field: &Option<String>) -> Option<&str> {
    field.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn given_secret(field: &Option<Sensitive<String>>) -> Option<Sensitive<String>> {
    let text = field.as_ref()?.expose().trim();
    (!text.is_empty()).then(|| Sensitive::from(text))
}

impl Settings {
    /// Checks the fields of the configuration.
    ///
    /// # Errors
    /// The first field that is wrong, and how it is mended.
    pub fn new(fields: &Fields) -> Result<Settings, InvalidField> {
        let endpoint = endpoint("endpoint", &fields.endpoint, "secretsmanager")?;
        let region = region("region", &fields.region, endpoint.is_some())?;
        let Some(region) = region else {
            return wrong(
                "region",
                "it is missing: give the region of the secrets, such as us-east-2",
            );
        };
        check_endpoint_region("endpoint", endpoint.as_deref(), "region", &region)?;
        let authentication = authentication(fields)?;
        let sts = sts(fields, &region)?;
        let failover = failover(fields, &region)?;
        let metadata_endpoint = endpoint_url("metadata_endpoint", &fields.metadata_endpoint)?;
        Ok(Settings { region, authentication, sts, endpoint, failover, metadata_endpoint })
    }

    /// The region of the secrets.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Who it is at AWS, for keys of the cache and for people; no secret is in it.
    pub fn identity(&self) -> String {
        match &self.authentication {
            Authentication::Role(role) => role.arn.clone(),
            Authentication::InstanceProfile => "instance-profile".to_owned(),
            Authentication::AccessKey(key) => key.id.clone(),
        }
    }

    /// Where connections may go: public addresses, and private ones, as VPC endpoints have them. Loopback is
    /// open where an endpoint is configured. Link-local addresses are for the machine's credentials alone.
    pub(super) fn egress_rules(&self) -> EgressRules {
        let mut allowed_ipv4 =
            vec![net4(10, 0, 8), net4(172, 16, 12), net4(192, 168, 16), net4(100, 64, 10)];
        let mut allowed_ipv6 =
            vec![Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)];
        let mut allowed_ports = vec![443, 80];
        let failover = self.failover.as_ref().and_then(|failover| failover.endpoint.as_ref());
        let configured: Vec<&String> =
            self.endpoint.iter().chain([&self.sts.endpoint]).chain(failover).collect();
        if configured.iter().any(|url| regions::service_of(url).is_none()) {
            allowed_ipv4.push(net4(127, 0, 8));
            allowed_ipv6.push(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128));
        }
        let ports = configured.iter().filter_map(|url| url.parse::<http::Uri>().ok()?.port_u16());
        allowed_ports.extend(ports);
        EgressRules { allowed_ipv4, allowed_ipv6, allowed_ports, ..EgressRules::default() }
    }
}

fn net4(first: u8, second: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(first, second, 0, 0), bits)
}

/// A region by its code. One that this version does not know is believed where an endpoint is given with it.
fn region(
    field: &'static str,
    written: &Option<String>,
    has_endpoint: bool,
) -> Checked<Option<String>> {
    let Some(written) = given(written) else { return Ok(None) };
    if regions::is_known(written) {
        return Ok(Some(written.to_owned()));
    }
    let label =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if has_endpoint && written.len() <= REGION_BYTES_MAX && written.chars().all(label) {
        return Ok(Some(written.to_owned()));
    }
    match regions::meant(written) {
        Some(meant) => wrong(field, format!("{written:?} is no region's code: write {meant:?}")),
        None => wrong(
            field,
            format!(
                "{written:?} is no region that is known: want a code such as us-east-2; for a region of a newer \
                 date give `endpoint` with it"
            ),
        ),
    }
}

fn endpoint_url(field: &'static str, written: &Option<String>) -> Checked<Option<String>> {
    let Some(written) = given(written) else { return Ok(None) };
    if !written.contains("://") {
        return wrong(field, format!("{written:?} is no URL: write \"https://{written}\""));
    }
    let checked = bailee_cloud::aws::endpoint(field, &Some(written.to_owned()));
    match checked {
        Ok(url) => Ok(url),
        Err(_) => wrong(
            field,
            format!("{written:?} is not valid: want an http or https URL without credentials"),
        ),
    }
}

/// An endpoint of a service; that of another service of AWS is told.
fn endpoint(
    field: &'static str,
    written: &Option<String>,
    service: &str,
) -> Checked<Option<String>> {
    let Some(url) = endpoint_url(field, written)? else { return Ok(None) };
    match regions::service_of(&url) {
        Some((other, _)) if service_name(other) != service && service_name(other) == "sts" => {
            wrong(field, format!("{url:?} is the STS endpoint, which belongs in sts_endpoint"))
        }
        Some((other, region)) if service == "sts" && service_name(other) == "secretsmanager" => {
            let right =
                region.map_or_else(|| regions::sts_endpoint("<region>"), regions::sts_endpoint);
            wrong(
                field,
                format!(
                    "{url:?} is the Secrets Manager endpoint; STS's is {right}, or leave it out"
                ),
            )
        }
        _ => Ok(Some(url)),
    }
}

/// Signatures for another region than that of the host are refused by AWS in words that say little.
fn check_endpoint_region(
    field: &'static str,
    url: Option<&str>,
    region_field: &str,
    region: &str,
) -> Checked<()> {
    match url.and_then(regions::service_of) {
        Some((_, Some(of_host))) if of_host != region => wrong(
            field,
            format!(
                "it is that of {of_host}, and {region_field} is {region:?}: change one of them"
            ),
        ),
        _ => Ok(()),
    }
}

/// `secretsmanager-fips` is `secretsmanager`.
fn service_name(label: &str) -> &str {
    label.strip_suffix("-fips").unwrap_or(label)
}

fn authentication(fields: &Fields) -> Checked<Authentication> {
    let kinds = "want role, instance-profile or access-key";
    let Some(kind) = given(&fields.authentication) else {
        return wrong("authentication", format!("it is missing: {kinds}"));
    };
    match kind {
        "role" => role(fields).map(Authentication::Role),
        "instance-profile" => {
            refuse_role(fields, kind)?;
            let key = access_key(fields)?;
            if key.is_some() {
                return wrong(
                    "access_key_id",
                    "it is not used with authentication = \"instance-profile\": leave it out, or write \
                     authentication = \"access-key\"",
                );
            }
            Ok(Authentication::InstanceProfile)
        }
        "access-key" => {
            refuse_role(fields, kind)?;
            match access_key(fields)? {
                Some(key) => Ok(Authentication::AccessKey(key)),
                None => wrong(
                    "access_key_id",
                    "it is missing: authentication = \"access-key\" needs access_key_id and secret_access_key",
                ),
            }
        }
        other => wrong("authentication", format!("{other:?} is none: {kinds}")),
    }
}

/// What belongs to a role is not left without meaning.
fn refuse_role(fields: &Fields, kind: &str) -> Checked<()> {
    let of_roles = [
        ("role_arn", given(&fields.role_arn).is_some()),
        ("external_id", given(&fields.external_id).is_some()),
        ("session_name", given(&fields.session_name).is_some()),
        ("session_duration", fields.session_duration.is_some()),
    ];
    match of_roles.into_iter().find(|(_, set)| *set) {
        None => Ok(()),
        Some((field, _)) => wrong(
            field,
            format!(
                "it is not used with authentication = {kind:?}: leave it out, or write authentication = \"role\""
            ),
        ),
    }
}

fn access_key(fields: &Fields) -> Checked<Option<AccessKey>> {
    let token = given_secret(&fields.session_token);
    let (id, secret) = match (given(&fields.access_key_id), given_secret(&fields.secret_access_key))
    {
        (None, None) if token.is_some() => {
            return wrong(
                "session_token",
                "it needs access_key_id and secret_access_key beside it",
            );
        }
        (None, None) => return Ok(None),
        (Some(_), None) => {
            return wrong(
                "secret_access_key",
                "it is missing: access_key_id is given, and both are needed",
            );
        }
        (None, Some(_)) => {
            return wrong(
                "access_key_id",
                "it is missing: secret_access_key is given, and both are needed",
            );
        }
        (Some(id), Some(secret)) => (id, secret),
    };
    let letters = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !letters || !ACCESS_KEY_ID_BYTES.contains(&id.len()) {
        // It is not shown: the two parts may have changed places.
        return wrong(
            "access_key_id",
            "it is not valid: want 16 to 128 letters and digits, such as AKIAIOSFODNN7EXAMPLE",
        );
    }
    if secret.expose().chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return wrong("secret_access_key", "it is not valid: it has spaces or line ends within");
    }
    if id.starts_with("ASIA") && token.is_none() {
        return wrong(
            "access_key_id",
            format!(
                "{id} is the key of a session, which holds for hours and needs session_token: want a \
                     user's key, AKIA…, or authentication = \"role\""
            ),
        );
    }
    Ok(Some(AccessKey { id: id.to_owned(), secret, token }))
}

fn role(fields: &Fields) -> Checked<Role> {
    let Some(arn) = given(&fields.role_arn) else {
        return wrong(
            "role_arn",
            "it is missing: authentication = \"role\" needs the role to take on, such as \
             arn:aws:iam::111122223333:role/app",
        );
    };
    check_role(arn)?;
    let external_id = given(&fields.external_id);
    if let Some(id) = external_id {
        check_external_id(id)?;
    }
    let session_name = given(&fields.session_name).unwrap_or(SESSION_NAME_DEFAULT);
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !SESSION_NAME_BYTES.contains(&session_name.len()) || !session_name.bytes().all(word) {
        return wrong("session_name", "it is not valid: want 2 to 64 letters, digits and _+=,.@-");
    }
    if let Some(duration) = fields.session_duration
        && !(SESSION_DURATION_MIN..=SESSION_DURATION_MAX).contains(&duration)
    {
        return wrong(
            "session_duration",
            "it is not valid: want 15m to 12h, and no more than the role's maximum session duration",
        );
    }
    Ok(Role {
        arn: arn.to_owned(),
        external_id: external_id.map(str::to_owned),
        session_name: session_name.to_owned(),
        session_duration: fields.session_duration,
        base: access_key(fields)?,
    })
}

fn check_role(arn: &str) -> Checked<()> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [lead, partition, service, region, account, resource] = parts.as_slice() else {
        return wrong_role(arn);
    };
    let digits =
        account.len() == ACCOUNT_DIGITS && account.bytes().all(|byte| byte.is_ascii_digit());
    let role = resource
        .strip_prefix("role/")
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
    if *service == "iam" && resource.starts_with("instance-profile/") {
        return wrong(
            "role_arn",
            format!(
                "{arn:?} is an instance profile: give the ARN of the role in it, or write authentication = \
                     \"instance-profile\""
            ),
        );
    }
    if *service == "sts" && resource.starts_with("assumed-role/") {
        let name = resource.split('/').nth(1).unwrap_or_default();
        return wrong(
            "role_arn",
            format!(
                "{arn:?} is a session: give the role's ARN, arn:{partition}:iam::{account}:role/{name}"
            ),
        );
    }
    let partitions = *partition == "aws" || partition.starts_with("aws-");
    let valid =
        *lead == "arn" && partitions && *service == "iam" && region.is_empty() && digits && role;
    if valid && arn.len() <= ROLE_ARN_BYTES_MAX { Ok(()) } else { wrong_role(arn) }
}

fn wrong_role<T>(arn: &str) -> Checked<T> {
    wrong(
        "role_arn",
        format!(
            "{arn:?} is not valid: want the ARN of a role, such as arn:aws:iam::111122223333:role/app"
        ),
    )
}

fn check_external_id(id: &str) -> Checked<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    if EXTERNAL_ID_BYTES.contains(&id.len()) && id.bytes().all(allowed) {
        return Ok(());
    }
    wrong("external_id", "it is not valid: want 2 to 1224 letters, digits and _+=,.@:/-")
}

/// Where STS is. Without an endpoint it is the global one, which wants signatures for us-east-1; with one, calls
/// are signed for `sts_region`, or for the region of the secrets.
fn sts(fields: &Fields, secrets: &str) -> Checked<Sts> {
    let url = endpoint("sts_endpoint", &fields.sts_endpoint, "sts")?;
    let signed = region("sts_region", &fields.sts_region, url.is_some())?;
    let Some(url) = url else { return sts_without_endpoint(signed, secrets) };
    let host = regions::service_of(&url);
    let of_host = match host {
        Some((_, Some(region))) => Some(region),
        Some((label, None)) if service_name(label) == "sts" => Some(regions::GLOBAL_STS_REGION),
        _ => None,
    };
    let is_global = matches!(host, Some((_, None)));
    let region = match (signed, of_host) {
        (None, Some(of_host)) if is_global => of_host.to_owned(),
        (None, Some(of_host)) if of_host != secrets => {
            return wrong(
                "sts_region",
                format!(
                    "it is unset, which means the region of the secrets, {secrets}, and sts_endpoint is that of \
                     {of_host}: write sts_region = {of_host:?}"
                ),
            );
        }
        (Some(signed), Some(of_host)) if of_host != signed => {
            return wrong(
                "sts_region",
                format!("{signed:?} is not that of sts_endpoint {url:?}, which wants {of_host:?}"),
            );
        }
        (Some(signed), _) => signed,
        (None, _) => secrets.to_owned(),
    };
    Ok(Sts { endpoint: url, region })
}

fn sts_without_endpoint(signed: Option<String>, secrets: &str) -> Checked<Sts> {
    if !regions::has_global_sts(secrets) {
        // Other partitions have no global endpoint.
        let region = signed.unwrap_or_else(|| secrets.to_owned());
        return Ok(Sts { endpoint: regions::sts_endpoint(&region), region });
    }
    match signed {
        Some(region) if region != regions::GLOBAL_STS_REGION => wrong(
            "sts_region",
            format!(
                "{region:?} without sts_endpoint: the global endpoint wants signatures for {}; write sts_endpoint = \
                 {:?} with it, or leave it out",
                regions::GLOBAL_STS_REGION,
                regions::sts_endpoint(&region)
            ),
        ),
        _ => Ok(Sts {
            endpoint: regions::GLOBAL_STS_ENDPOINT.to_owned(),
            region: regions::GLOBAL_STS_REGION.to_owned(),
        }),
    }
}

fn failover(fields: &Fields, region_of_secrets: &str) -> Checked<Option<Failover>> {
    let url = endpoint("failover_endpoint", &fields.failover_endpoint, "secretsmanager")?;
    let Some(region) = region("failover_region", &fields.failover_region, url.is_some())? else {
        return match url {
            Some(_) => wrong("failover_endpoint", "it needs failover_region beside it"),
            None => Ok(None),
        };
    };
    if region == region_of_secrets {
        return wrong(
            "failover_region",
            format!("{region:?} is `region` itself: give another region"),
        );
    }
    check_endpoint_region("failover_endpoint", url.as_deref(), "failover_region", &region)?;
    Ok(Some(Failover { region, endpoint: url }))
}

#[cfg(test)]
mod tests;
