//! A replication out of a stored source: the way to the source, the login, the destination, the keys.

use super::{Pulling, recorded::Recorded, stored::StoredSource};
use crate::{
    destinations::aws_secrets_manager,
    epoch::Epoch,
    failure::{Error, Failure},
    pull::{
        Keys, Replication, Spec, Target,
        guarded::{EXCHANGE_TIME_MAX, Guarded, Way},
        report::{SetupFailure, Stage},
        source::Source,
        sources::{aws_secrets_manager::AwsSource, machine::machine_keys, vault::VaultSource},
    },
    registry::{Blueprint, Configured, Details, Surroundings},
    store::Store,
};
use bailee_client::{
    Address, Client, Session, Settings as ClientSettings,
    aws::AwsLogin,
    login::{Login, Text},
};
use bailee_crypto::Sensitive;
use bailee_sdk::Namespace;
use std::sync::Arc;

/// Times a request to a source is tried again.
const RETRIES: u32 = 3;
/// What keys of marks are for.
const KEY_PURPOSE: &str = "sync-source";
/// Details of AWS that a client is made of.
const AWS_DETAILS: [&str; 5] =
    ["region", "role_arn", "external_id", "access_key_id", "secret_access_key"];

/// A replication that is put together for one run.
pub(super) struct Built {
    pub(super) replication: Replication,
    pub(super) source: Arc<dyn Source>,
}

/// How somebody is let in at a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    Token,
    AppRole,
    Jwt,
    Aws,
}

impl Auth {
    /// What a source's texts say; the error names the field.
    pub(crate) fn of(details: &Details) -> Result<Auth, String> {
        let given = |name: &str| details.get(name).is_some();
        let ways = [
            (given("token"), Auth::Token),
            (given("role_id") || given("secret_id"), Auth::AppRole),
            (given("jwt"), Auth::Jwt),
        ];
        let told = details.text("auth");
        let chosen = match told.as_deref() {
            None => None,
            Some("token") => Some(Auth::Token),
            Some("approle") => Some(Auth::AppRole),
            Some("jwt") => Some(Auth::Jwt),
            Some("aws") => Some(Auth::Aws),
            Some(_) => return Err("auth: want token, approle, jwt or aws".to_owned()),
        };
        let mut found = ways.iter().filter(|(given, _)| *given).map(|(_, way)| *way);
        let auth = match (chosen, found.next(), found.next()) {
            (_, Some(_), Some(_)) => {
                return Err("auth: give one of token, role_id with secret_id, and jwt".to_owned());
            }
            (None, None, _) => {
                return Err("auth is missing: give token, role_id and secret_id, jwt, or auth=aws"
                    .to_owned());
            }
            (Some(chosen), Some(found), None) if chosen != found => {
                return Err("auth: what is given is for another auth: leave one out".to_owned());
            }
            (Some(chosen), ..) => chosen,
            (None, Some(found), None) => found,
        };
        let missing = match auth {
            Auth::Token if !given("token") => "token is missing",
            Auth::AppRole if !given("role_id") => "role_id is missing",
            Auth::Jwt if !given("jwt") => "jwt is missing",
            Auth::Token | Auth::AppRole | Auth::Jwt | Auth::Aws => return Ok(auth),
        };
        Err(format!("{missing}: auth needs it"))
    }

    fn mount(self) -> &'static str {
        match self {
            Auth::Token => "token",
            Auth::AppRole => "approle",
            Auth::Jwt => "jwt",
            Auth::Aws => "aws",
        }
    }
}

/// What a run of a source would do, and where to: checked against the destination.
pub(crate) fn checked(
    stored: &StoredSource,
    configured: &Configured,
    target: &Target,
) -> Result<Spec, Error> {
    let mut spec = stored.spec(&configured.stored.custom_tags);
    spec.check(target)?;
    Ok(spec)
}

/// The source itself, which knows by the keys what its own runs wrote; nothing is called. An error says what is wrong with its configuration.
pub(crate) async fn source(
    stored: &StoredSource,
    namespace: &Namespace,
    surroundings: &Arc<Surroundings>,
    keys: Option<&Keys>,
) -> Result<Arc<dyn Source>, Error> {
    #[cfg(test)]
    if let Some(source) = surroundings.stand_in.read().clone() {
        return Ok(source);
    }
    if stored.is_aws() {
        let blueprint = blueprint(stored, namespace, surroundings)?;
        let config = aws_secrets_manager::sdk_config(&blueprint).await?;
        let start = stored.details.text("source_prefix").unwrap_or_default();
        let source = AwsSource::with(&config, &start);
        return Ok(Arc::new(match keys {
            Some(keys) => source.without_own(keys.clone()),
            None => source,
        }));
    }
    let wrong = |message: String| Error::new(Failure::Invalid, message);
    let details = &stored.details;
    let address: Address = details
        .text("address")
        .unwrap_or_default()
        .parse()
        .map_err(|error: bailee_client::AddressError| wrong(error.to_string()))?;
    let tls_server_name = details.text("tls_server_name");
    let way = Way {
        rules: stored.network.rules().map_err(|error| wrong(error.to_string()))?,
        ca_cert: details.text("ca_cert"),
        tls_server_name: tls_server_name.clone(),
        proxy: surroundings.settings.proxy.clone(),
        roots: surroundings.settings.roots.clone(),
    };
    let guarded =
        Guarded::new(way, &address).map_err(|error| wrong(format!("ca_cert: {error}")))?;
    let mut settings = ClientSettings::new(address);
    settings.namespace = details.text("namespace").unwrap_or_default();
    settings.server_name = tls_server_name;
    settings.timeout = EXCHANGE_TIME_MAX;
    settings.retries = RETRIES;
    let client = Client::over(settings, Arc::new(guarded));
    let client = client.map_err(|error| wrong(format!("tls_server_name: {error}")))?;
    let login = login(stored, namespace, surroundings)?;
    let clock = surroundings.clock.clone();
    let session = Session::new(client, login, clock.clone());
    Ok(Arc::new(VaultSource::new(session, stored.parts(), clock)))
}

fn blueprint(
    stored: &StoredSource,
    namespace: &Namespace,
    surroundings: &Arc<Surroundings>,
) -> Result<Blueprint, Error> {
    let rules = stored.network.rules();
    let of_aws = |name: &&str| stored.details.get(name).cloned();
    let details = AWS_DETAILS.iter().filter_map(|name| Some(((*name).to_owned(), of_aws(name)?)));
    Ok(Blueprint {
        details: Details(details.collect()),
        rules: rules.map_err(|error| Error::new(Failure::Invalid, error.to_string()))?,
        namespace: namespace.clone(),
        kind: stored.kind.clone(),
        name: stored.name.clone(),
        template: None,
        surroundings: surroundings.clone(),
    })
}

fn login(
    stored: &StoredSource,
    namespace: &Namespace,
    surroundings: &Surroundings,
) -> Result<Login, Error> {
    let wrong = |message: String| Error::new(Failure::Invalid, message);
    let details = &stored.details;
    let secret = |name: &str| details.get(name).cloned();
    let auth = Auth::of(details).map_err(wrong)?;
    let mount = details.text("auth_mount").unwrap_or_else(|| auth.mount().to_owned());
    Ok(match auth {
        Auth::Token => Login::Token(secret("token").unwrap_or_else(|| Sensitive::from(""))),
        Auth::AppRole => Login::AppRole {
            mount,
            role_id: details.text("role_id").unwrap_or_default(),
            secret_id: secret("secret_id").map(Text::Given),
        },
        Auth::Jwt => Login::Jwt {
            mount,
            role: details.text("auth_role"),
            jwt: Text::Given(secret("jwt").unwrap_or_else(|| Sensitive::from(""))),
        },
        Auth::Aws => {
            let chain = surroundings.ambient.as_ref().filter(|_| namespace.is_root());
            let chain = chain.ok_or_else(|| {
                wrong(
                    "auth=aws logs in with the credentials of this machine: allow them in the \
                     server's configuration with sync { ambient_credentials = true }; they serve the \
                     root namespace only"
                        .to_owned(),
                )
            })?;
            let login = AwsLogin {
                role: details.text("auth_role"),
                region: details.text("auth_region"),
                header_value: details.text("auth_header_value"),
                sts_endpoint: surroundings.settings.aws_sts_endpoint_url.clone(),
            };
            Login::AwsIam { mount, login, keys: machine_keys(chain) }
        }
    })
}

impl Pulling {
    /// Puts a run of a source together; nothing is called yet.
    pub(super) async fn build(
        &self,
        namespace: &Arc<Namespace>,
        stored: &StoredSource,
    ) -> Result<Built, SetupFailure> {
        let at = |stage| move |error: Error| SetupFailure::new(stage, error);
        let configuration = at(Stage::Configuration);
        let store = Store::open(&self.barrier, namespace);
        let (kind, name) = (&stored.destination_type, &stored.destination_name);
        let configured = self.registry.configured(&store, namespace, kind, name).await;
        let configured = configured.map_err(at(Stage::Destination))?.ok_or_else(|| {
            let message = format!("the destination {} does not exist", stored.destination());
            SetupFailure::new(Stage::Destination, Error::new(Failure::Invalid, message))
        })?;
        let unknown = || Error::new(Failure::Invalid, "unknown destination type");
        let kind = self.registry.kind(kind).ok_or_else(unknown).map_err(configuration)?.clone();
        let recorded = Recorded {
            inner: configured.destination.clone(),
            barrier: self.barrier.clone(),
            local: self.local.clone(),
            tenure: self.tenure.clone(),
            namespace: namespace.clone(),
            source: stored.name.clone(),
            destination_type: stored.destination_type.clone(),
            destination_name: stored.destination_name.clone(),
            made_of: configured.clone(),
            stopped: self.stopped.subscribe(),
        };
        let target = Target::within(configured.clone(), kind, Arc::new(recorded));
        let spec = checked(stored, &configured, &target).map_err(configuration)?;
        let keys = self.keys(&store, namespace, stored, &target).await.map_err(configuration)?;
        let source = source(stored, namespace, &self.registry.surroundings, Some(&keys)).await;
        let source = source.map_err(configuration)?;
        let replication = Replication::new(spec, keys, source.clone(), target, self.clock.clone());
        Ok(Built { replication, source })
    }

    /// Keys that this server alone has, and that stand for the one source.
    async fn keys(
        &self,
        store: &Store,
        namespace: &Namespace,
        stored: &StoredSource,
        target: &Target,
    ) -> Result<Keys, Error> {
        let epoch = Epoch::read(&store.view).await?;
        let epoch = epoch.ok_or_else(|| {
            Error::new(Failure::Internal, "this server has not begun to deliver yet")
        })?;
        let subject = format!("{}/{}", namespace.id, stored.name);
        let key = hex::encode(self.barrier.fingerprint(KEY_PURPOSE, subject.as_bytes()));
        let server = epoch.mark(&self.barrier, namespace, ("", ""), "");
        Ok(Keys::of_server(&Sensitive::from(key), server, &stored.name, &target.place()))
    }
}
