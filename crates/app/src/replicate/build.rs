//! A replication out of its configuration: clients, logins, keys.

use super::{Auth, Configuration, Source, Vault, wrong};
use crate::{assemble, config::ServerEnvironment};
use bailee_client::{
    Client, Session, Settings as ClientSettings,
    aws::AwsLogin,
    login::{Login, Text},
};
use bailee_cloud::{HttpOptions, Proxy, aws::AmbientChain};
use bailee_crypto::Clock;
use bailee_secret_sync::{
    Settings,
    failure::{Error, Failure},
    pull::{
        Keys, Place, Replication, Target,
        connection::{Connection, name_of},
        report::{SetupFailure, Stage},
        source::Source as PullSource,
        sources::{aws_secrets_manager::AwsSource, machine::machine_keys, vault::VaultSource},
    },
    registry::Details,
};
use std::{collections::BTreeSet, sync::Arc};

/// Times a request to the source is tried again.
const RETRIES: u32 = 3;

/// Puts a replication together; the connection secret is read for it.
///
/// # Errors
/// What keeps a run from beginning.
pub async fn replication(
    configuration: &Configuration,
    environment: &ServerEnvironment,
    clock: &Arc<dyn Clock>,
) -> Result<Replication, SetupFailure> {
    let at = |stage| move |error: Error| SetupFailure::new(stage, error);
    let place = place(configuration, environment, clock)?;
    let target = Target::connect(&configuration.destination.kind, &place).await;
    let target = target.map_err(at(Stage::Destination))?;
    let mut spec = configuration.spec.clone();
    let connection = match &configuration.connection_secret {
        Some(id) => {
            spec.reserved.insert(name_of(id).to_owned());
            Connection::read(&place, id).await.map_err(at(Stage::Configuration))?
        }
        None => Connection::default(),
    };
    spec.check(&target).map_err(at(Stage::Configuration))?;
    let key = match &configuration.content_hash_key_file {
        Some(path) => {
            let read = Text::File(path.clone()).read();
            Some(read.map_err(|error| wrong(error.to_string()))?)
        }
        None => connection.content_hash_key.clone(),
    };
    let keys = Keys::new(key.as_ref(), &spec.name, &target.place());
    let source: Arc<dyn PullSource> = match &configuration.source {
        Source::Vault(vault) => {
            let proxy = place.settings.proxy.clone();
            let session = session(vault, &connection, proxy, clock)?;
            Arc::new(VaultSource::new(session, vault.parts.clone(), clock.clone()))
        }
        Source::Aws { details, network, start } => {
            let (details, network) = (details.clone(), network.clone());
            let is_here = is_same_place(&details, &configuration.destination.details, &target);
            let names = spec.fixed_start(&target);
            if is_here && (names.starts_with(start) || start.starts_with(&names)) {
                return Err(wrong(format!(
                    "source and destination are the same account and region, and names that begin with \
                     {start:?} are read while names that begin with {names:?} are written: what is \
                     written would be read again; choose another prefix for one of them"
                )));
            }
            let place = Place { details, network, ..place.clone() };
            let source = AwsSource::connect(&place, start).await.map_err(at(Stage::Source))?;
            let reserved = if is_here { spec.reserved.clone() } else { BTreeSet::new() };
            Arc::new(source.without(reserved).without_own(keys.clone()))
        }
    };
    Ok(Replication::new(spec, keys, source, target, clock.clone()))
}

/// Whether a source in AWS is where what is read is written to.
fn is_same_place(source: &Details, destination: &Details, target: &Target) -> bool {
    let region = source.text("region").unwrap_or_else(|| target.region().to_owned());
    region == target.region() && source.text("role_arn") == destination.text("role_arn")
}

/// Where a configuration delivers to, and as whom.
pub(crate) fn place(
    configuration: &Configuration,
    environment: &ServerEnvironment,
    clock: &Arc<dyn Clock>,
) -> Result<Place, SetupFailure> {
    let proxy = assemble::proxy(environment).map_err(|error| wrong(error.to_string()))?;
    let settings = Settings {
        // Who runs the program is who may use this machine's credentials.
        ambient_credentials: true,
        aws_endpoint_url: environment.aws_endpoint_url.clone(),
        aws_sts_endpoint_url: environment.aws_sts_endpoint_url.clone(),
        proxy,
        ..Settings::default()
    };
    let destination = &configuration.destination;
    let (details, network) = (destination.details.clone(), destination.network.clone());
    Ok(Place { details, network, settings, clock: clock.clone() })
}

/// A session with a server; the connection secret tells what the configuration does not.
///
/// # Errors
/// An address, a token or a file is missing, or does not fit.
pub(crate) fn session(
    vault: &Vault,
    connection: &Connection,
    proxy: Option<Proxy>,
    clock: &Arc<dyn Clock>,
) -> Result<Session, SetupFailure> {
    let settings = match &vault.client {
        Some(settings) => settings.clone(),
        None => client_settings(vault, connection)?,
    };
    let given = settings.token.clone();
    let login = match &vault.auth {
        Some(auth) => login(auth, proxy, clock),
        None => {
            let own = || vault.token.clone();
            let token = given.or_else(|| connection.token.clone()).or_else(own);
            Login::Token(token.ok_or_else(no_token)?)
        }
    };
    let client = Client::new(settings).map_err(|error| wrong(format!("source: {error}")))?;
    Ok(Session::new(client, login, clock.clone()))
}

fn no_token() -> SetupFailure {
    SetupFailure {
        stage: Stage::Login,
        failure: Failure::Unauthenticated,
        message: "no token for the source: give auth, vaultToken in the connection secret, or \
                  VAULT_TOKEN"
            .to_owned(),
    }
}

fn client_settings(vault: &Vault, connection: &Connection) -> Result<ClientSettings, SetupFailure> {
    let told = Some(connection.address.clone()).filter(|address| !address.is_empty());
    let address = vault.address.clone().or(told).ok_or_else(|| {
        wrong("no address of the source: give address, or vaultAddress in the connection secret")
    })?;
    let address = address.parse().map_err(|error| wrong(format!("source: {error}")))?;
    let mut settings = ClientSettings::new(address);
    settings.namespace = vault.namespace.trim_matches('/').to_owned();
    settings.authorities = vault.ca_cert.iter().cloned().collect();
    settings.certificate = vault.client_certificate.clone();
    settings.server_name = vault.tls_server_name.clone();
    settings.retries = RETRIES;
    Ok(settings)
}

fn login(auth: &Auth, proxy: Option<Proxy>, clock: &Arc<dyn Clock>) -> Login {
    match auth.clone() {
        Auth::TokenFile(path) => Login::TokenFile(path),
        Auth::AppRole { mount, role_id, secret_id_file } => {
            Login::AppRole { mount, role_id, secret_id: secret_id_file.map(Text::File) }
        }
        Auth::Jwt { mount, role, jwt_file } => {
            Login::Jwt { mount, role, jwt: Text::File(jwt_file) }
        }
        Auth::Aws { mount, role, region, header_value, sts_endpoint } => Login::AwsIam {
            mount,
            login: AwsLogin { role, region, header_value, sts_endpoint },
            keys: machine_keys(&machine(proxy, clock)),
        },
    }
}

/// The credentials that this machine has.
fn machine(proxy: Option<Proxy>, clock: &Arc<dyn Clock>) -> AmbientChain {
    AmbientChain::new(HttpOptions { proxy, ..HttpOptions::default() }, clock.clone())
}
