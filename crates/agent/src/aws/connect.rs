//! From settings to clients of Secrets Manager and STS.

use super::{
    regions,
    settings::{AccessKey, Authentication, InvalidField, Role, Settings},
};
use crate::failure::Failure;
use aws_sdk_secretsmanager::{Client, config::Region};
use bailee_cloud::{
    HttpClient, HttpLimits, HttpOptions,
    aws::{
        Ambient, AmbientChain, AwsConnection, KeptSession, RoleSession, SdkConfig, assuming_kept,
        connect, for_sts,
    },
};
use bailee_crypto::Clock;
use std::{fmt, sync::Arc, time::Duration};

/// How long an unused connection is kept: between two refreshes AWS closes it anyway, and a call over one that is
/// being closed fails.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// What AWS calls credentials that hold no more.
const NO_MORE: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
];

/// What a secret manager needs beside its settings.
#[derive(Clone)]
pub struct Surroundings {
    /// Roots, proxy, resolver and bounds of what goes out; where it may go is said by the settings.
    pub http: HttpOptions,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// One identity, ready to call.
#[derive(Clone)]
pub(super) struct Identity {
    /// Signs calls of Secrets Manager in the region of the settings.
    pub(super) secrets: SdkConfig,
    /// Signs calls of STS as whoever takes on the role, or as the identity itself where there is none.
    pub(super) base: SdkConfig,
    /// Signs calls of STS as whoever reads the secrets.
    pub(super) sts: SdkConfig,
    /// The credentials that are kept.
    pub(super) kept: Kept,
}

/// Credentials that are fetched, and kept while they hold.
#[derive(Clone)]
pub(super) struct Kept {
    /// The machine's, where they are used.
    machine: Option<AmbientChain>,
    /// The role's, where one is taken on.
    session: Option<KeptSession>,
}

impl Kept {
    /// Drops them where AWS says that they hold no more: they ended early, or the role was made anew.
    pub(super) async fn note(&self, failure: &Failure) {
        if !NO_MORE.contains(&failure.code.as_str()) {
            return;
        }
        if let Some(session) = &self.session {
            session.forget();
        }
        if let Some(machine) = &self.machine {
            machine.forget().await;
        }
    }
}

impl Identity {
    pub(super) async fn new(
        settings: &Settings,
        surroundings: &Surroundings,
    ) -> Result<Identity, InvalidField> {
        let Surroundings { http: options, clock } = surroundings;
        let idle_timeout = options.limits.idle_timeout.min(IDLE_MAX);
        let limits = HttpLimits { idle_timeout, ..options.limits.clone() };
        let rules = settings.egress_rules();
        let guarded = HttpOptions { rules, limits, ..options.clone() };
        let http = HttpClient::new(guarded);
        let machine = machine(settings, surroundings)?;
        let key = match &settings.authentication {
            Authentication::Role(role) => role.base.as_ref(),
            Authentication::InstanceProfile => None,
            Authentication::AccessKey(key) => Some(key),
        };
        let connection = connection(key, &settings.sts.region, machine.clone());
        let connected = connect(&connection, &http, clock).await.map_err(|error| InvalidField {
            field: "authentication",
            message: error.to_string(),
        })?;
        let endpoint = Some(settings.sts.endpoint.as_str());
        let base = for_sts(&connected, endpoint);
        let (secrets, session) = match &settings.authentication {
            Authentication::Role(role) => {
                let (config, session) = assuming_kept(&connected, &session(role), endpoint, clock);
                (config, Some(session))
            }
            Authentication::InstanceProfile | Authentication::AccessKey(_) => (connected, None),
        };
        let sts = for_sts(&secrets, endpoint);
        let secrets = in_region(&secrets, &settings.region, settings.endpoint.as_deref());
        Ok(Identity { secrets, base, sts, kept: Kept { machine, session } })
    }

    /// A client in the region of the settings.
    pub(super) fn client(&self) -> Client {
        Client::new(&self.secrets)
    }

    /// A client in another region, with the same credentials.
    pub(super) fn client_in(&self, region: &str, endpoint: Option<&str>) -> Client {
        Client::new(&in_region(&self.secrets, region, endpoint))
    }
}

fn machine(
    settings: &Settings,
    surroundings: &Surroundings,
) -> Result<Option<AmbientChain>, InvalidField> {
    let (options, clock) = (surroundings.http.clone(), surroundings.clock.clone());
    let endpoint = settings.metadata_endpoint.as_deref();
    let instance = |options, clock| {
        AmbientChain::of_instance(options, clock, endpoint).map_err(|error| InvalidField {
            field: "metadata_endpoint",
            message: error.to_string(),
        })
    };
    match &settings.authentication {
        Authentication::AccessKey(_) | Authentication::Role(Role { base: Some(_), .. }) => Ok(None),
        Authentication::InstanceProfile => instance(options, clock).map(Some),
        // Whoever says where the instance's metadata are means the instance.
        Authentication::Role(_) if endpoint.is_some() => instance(options, clock).map(Some),
        Authentication::Role(_) => Ok(Some(AmbientChain::new(options, clock))),
    }
}

fn connection(
    key: Option<&AccessKey>,
    region: &str,
    machine: Option<AmbientChain>,
) -> AwsConnection {
    AwsConnection {
        region: Some(region.to_owned()),
        access_key_id: key.map(|key| key.id.clone()),
        secret_access_key: key.map(|key| key.secret.clone()),
        session_token: key.and_then(|key| key.token.clone()),
        ambient: machine.map_or(Ambient::Forbidden, Ambient::Allowed),
        ..AwsConnection::default()
    }
}

fn session(role: &Role) -> RoleSession {
    RoleSession {
        role_arn: role.arn.clone(),
        external_id: role.external_id.clone(),
        session_name: role.session_name.clone(),
        duration: role.session_duration,
    }
}

fn in_region(config: &SdkConfig, region: &str, endpoint: Option<&str>) -> SdkConfig {
    // The SDK knows the domains of all partitions that it was made with; the rest is said here.
    let endpoint = endpoint
        .map(str::to_owned)
        .or_else(|| (!regions::is_known(region)).then(|| regions::secrets_endpoint(region)));
    let mut builder = config.to_builder();
    builder.set_region(Some(Region::new(region.to_owned())));
    builder.set_endpoint_url(endpoint);
    builder.build()
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}
