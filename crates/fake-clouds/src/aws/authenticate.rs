//! From headers to a caller: the key, its signature, its session token.

use http::HeaderMap;

use super::clock::Millis;
use super::iam::evaluate::{Principal, PrincipalKind};
use super::iam::store::{LastUse, Owner, SessionKind};
use super::sigv4::{Authorization, SignatureError, Signed, text};
use super::wire::{Failure, Service};
use super::world::{Caller, CallerSession, World};

const TOKEN_INVALID: &str = "The security token included in the request is invalid.";
const TOKEN_EXPIRED: &str = "The security token included in the request is expired";

/// The secret to verify with, and who would be calling.
pub(crate) struct Claim {
    pub(crate) secret: Option<String>,
    pub(crate) caller: Caller,
}

/// Reads the `Authorization` header.
pub(crate) fn authorization(
    service: Service,
    request: Signed<'_>,
) -> Result<Authorization, Failure> {
    let Some(header) = text(request.headers, "authorization") else {
        return Err(missing(service));
    };
    Authorization::parse(header).map_err(|error| signature_failure(service, error))
}

/// Refuses a signature for another region than that of the host, where the host is one of AWS's own names: global
/// endpoints want `us-east-1`.
pub(crate) fn check_scope(
    service: Service,
    headers: &HeaderMap,
    region: &str,
) -> Result<(), Failure> {
    let host = text(headers, "host").unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    let Some(labels) = name.strip_suffix(".amazonaws.com") else { return Ok(()) };
    let wanted = labels.split_once('.').map_or("us-east-1", |(_, region)| region);
    // `iam.us-gov` is a partition's.
    if wanted == region || !wanted.ends_with(|letter: char| letter.is_ascii_digit()) {
        return Ok(());
    }
    let message = format!(
        "Credential should be scoped to a valid region, not '{region}'. Credential should be scoped to '{wanted}'."
    );
    Err(signature_failure(service, SignatureError::Invalid(message)))
}

/// Looks the key up; `Err` when it is unknown, inactive, expired, or its session token is wrong.
pub(crate) fn claim(
    world: &World,
    service: Service,
    access_key_id: &str,
    token: Option<&str>,
    now: Millis,
) -> Result<Claim, Failure> {
    if let Some(session) = world.iam.sessions.get(access_key_id) {
        if token != Some(session.token.as_str()) {
            return Err(invalid_token(service));
        }
        if session.expires <= now {
            return Err(expired_token(service));
        }
        let (principal, user_id) =
            world.iam.session_principal(&session.kind).ok_or_else(|| invalid_token(service))?;
        let owner = match &session.kind {
            SessionKind::Token { owner } => Some(owner.clone()),
            SessionKind::Role { .. } | SessionKind::Federated { .. } => None,
        };
        let caller = Caller {
            principal,
            user_id,
            access_key_id: access_key_id.to_owned(),
            owner,
            session: Some(CallerSession { issued: session.issued, kind: session.kind.clone() }),
            tags: session.tags.clone(),
        };
        return Ok(Claim { secret: Some(session.secret.clone()), caller });
    }
    let Some(key) = world.iam.keys.get(access_key_id) else {
        if world.settings.verify_signatures {
            return Err(invalid_token(service));
        }
        return Ok(Claim { secret: None, caller: anyone(world, access_key_id) });
    };
    if !key.active || key.usable_from > now || token.is_some() {
        return Err(invalid_token(service));
    }
    let (principal, user_id) =
        world.iam.owner_principal(&key.owner).ok_or_else(|| invalid_token(service))?;
    let tags = match &key.owner {
        Owner::User { account, name } => {
            world.iam.user(account, name).map(|user| user.tags.clone()).unwrap_or_default()
        }
        Owner::Root { .. } => Default::default(),
    };
    let caller = Caller {
        principal,
        user_id,
        access_key_id: access_key_id.to_owned(),
        owner: Some(key.owner.clone()),
        session: None,
        tags,
    };
    Ok(Claim { secret: Some(key.secret.clone()), caller })
}

/// Verifies the signature of a claimed key.
pub(crate) fn verify(
    service: Service,
    authorization: &Authorization,
    request: Signed<'_>,
    claim: &Claim,
    now: Millis,
) -> Result<(), Failure> {
    let secret = claim.secret.as_deref().unwrap_or_default();
    authorization
        .verify(request, service.name(), secret, now)
        .map_err(|error| signature_failure(service, error))
}

/// Notes the use of a long-lived key.
pub(crate) fn note_use(
    world: &mut World,
    access_key_id: &str,
    service: Service,
    region: &str,
    now: Millis,
) {
    if let Some(key) = world.iam.keys.get_mut(access_key_id) {
        match &mut key.last_used {
            Some(last) if last.service == service.name() && last.region == region => last.at = now,
            last => {
                *last =
                    Some(LastUse { at: now, service: service.name(), region: region.to_owned() });
            }
        }
    }
}

/// The caller of an operation that needs no signature, or an unverified one: the account itself.
pub(crate) fn anyone(world: &World, access_key_id: &str) -> Caller {
    let account = world.account.clone();
    Caller {
        principal: Principal {
            arn: format!("arn:aws:iam::{account}:root"),
            account: account.clone(),
            entity_arn: None,
            kind: PrincipalKind::Root,
        },
        user_id: account.clone(),
        access_key_id: access_key_id.to_owned(),
        owner: Some(Owner::Root { account }),
        session: None,
        tags: Default::default(),
    }
}

fn failure(service: Service, query: &'static str, json: &'static str, message: &str) -> Failure {
    if service.is_query() {
        Failure::new(query, message).with_status(403)
    } else {
        Failure::new(json, message)
    }
}

fn missing(service: Service) -> Failure {
    let message = "Missing Authentication Token";
    failure(service, "MissingAuthenticationToken", "MissingAuthenticationTokenException", message)
}

fn invalid_token(service: Service) -> Failure {
    failure(service, "InvalidClientTokenId", "UnrecognizedClientException", TOKEN_INVALID)
}

fn expired_token(service: Service) -> Failure {
    failure(service, "ExpiredToken", "ExpiredTokenException", TOKEN_EXPIRED)
}

fn signature_failure(service: Service, error: SignatureError) -> Failure {
    match error {
        SignatureError::Incomplete(message) => {
            failure(service, "IncompleteSignature", "IncompleteSignatureException", &message)
                .with_status(400)
        }
        SignatureError::Invalid(message) => {
            failure(service, "SignatureDoesNotMatch", "InvalidSignatureException", &message)
        }
    }
}
