//! What is asked of AWS: whose a signature is, and who a user or role is.

use super::{
    Aws, accounts,
    answer::{self, Caller},
    arn::{Kind, Principal},
    client::Client,
    short,
    signed::Signed,
};
use bailee_cloud::{
    CloudError, HttpError, Kind as Failure, Xml,
    aws::{self, Ambient, AwsConnection, WebIdentity},
    query::{Form, QueryClient, Service},
};
use bailee_sdk::{Code, Error, Namespace, View};
use std::{sync::Arc, time::Duration};

/// The name of our sessions in the logs of accounts.
pub(super) const SESSION_NAME: &str = "bailee-auth-aws";
/// How long is waited before the first repetition; then twice as long each time.
const PAUSE: Duration = Duration::from_millis(100);

/// A user or role as IAM knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The ARN, path included.
    pub(super) arn: String,
    pub(super) unique_id: String,
}

/// Asks STS whose signature it is.
pub(super) async fn caller(aws: &Aws, client: &Client, signed: &Signed) -> Result<Caller, Error> {
    let endpoint = client.sts_for(&signed.host, &signed.region)?;
    let http = &aws.surroundings.logins;
    let mut pause = PAUSE;
    for left in (0..=client.retries()).rev() {
        let outcome = match http.send(signed.request(&endpoint)?).await {
            Ok(answer) => answer::read(&answer),
            Err(error) => Err(unreachable(&error)),
        };
        match outcome {
            Err(error) if error.code == Code::Upstream && left > 0 => {
                tracing::debug!(%error, "STS is asked again");
            }
            outcome => return outcome,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Err(Error::internal("a loop that always answers has ended"))
}

fn unreachable(error: &HttpError) -> Error {
    let message = format!("error making upstream request: {error}");
    match error {
        HttpError::Refused(_) | HttpError::Invalid(_) => Error::invalid(message),
        _ => Error::new(Code::Upstream, message),
    }
}

/// Asks IAM of the principal's account who it is.
pub(super) async fn look_up(
    aws: &Aws,
    view: &View,
    namespace: &Namespace,
    principal: &Principal,
) -> Result<Known, Error> {
    let client = Client::in_force(aws, view).await?;
    let account = accounts::of(view, &principal.account).await?;
    let (action, parameter, way) = match principal.kind {
        Kind::User => ("GetUser", "UserName", ["GetUserResult", "User"]),
        Kind::Role => ("GetRole", "RoleName", ["GetRoleResult", "Role"]),
    };
    let failed = |reason: &dyn std::fmt::Display| {
        let arn = principal.full();
        Error::invalid(format!("unable to resolve ARN {arn:?} to internal ID: {reason}"))
    };
    let tokens = client.federation.tokens(&aws.issuer, view.prefix());
    let connection = AwsConnection {
        ambient: ambient(aws, namespace),
        web_identity: tokens.map(|tokens| Arc::new(tokens) as Arc<dyn WebIdentity>),
        ..connection(&client, principal)
    };
    let (http, clock) = (&aws.surroundings.http, &aws.surroundings.clock);
    let mut config =
        aws::connect(&connection, http, clock).await.map_err(|error| failed(&error))?;
    if let Some(account) = account {
        let endpoint = given(&client.sts_endpoint);
        config = aws::assuming(&config, &account.session(), endpoint.as_deref(), clock);
    }
    let service = Service {
        name: "iam",
        version: "2010-05-08",
        region: principal.iam_region().to_owned(),
        endpoint: given(&client.iam_endpoint)
            .unwrap_or_else(|| principal.iam_endpoint().to_owned()),
    };
    let iam = QueryClient::of(&config, aws.surroundings.transport.clone(), clock.clone(), service);
    let iam = iam.ok_or_else(|| failed(&"there are no credentials"))?;
    let form = Form::new().with(parameter, &principal.name);
    let mut found = asked(&iam, action, &form, client.retries()).await;
    if let (Err(error), Ambient::Allowed(chain)) = (&found, &connection.ambient)
        && error.is_expired()
    {
        chain.forget().await;
        found = asked(&iam, action, &form, client.retries()).await;
    }
    let found = found.map_err(|error| failed(&error))?;
    let inner = way.iter().try_fold(&found, |element, name| element.child(name));
    let text = |name: &str| {
        inner.and_then(|inner| inner.child(name)).map(|it| it.text().to_owned()).unwrap_or_default()
    };
    let id = if principal.kind == Kind::User { "UserId" } else { "RoleId" };
    let known = Known { arn: text("Arn"), unique_id: text(id) };
    // Credentials of another account would tell of a namesake there.
    let is_it = Principal::parse(&known.arn).is_ok_and(|found| {
        found.canonical() == principal.canonical()
            && (principal.path.is_empty() || found.path == principal.path)
    });
    if !is_it || known.unique_id.is_empty() {
        return Err(failed(&format!(
            "IAM told of {:?} instead: for another account set config/sts/{}",
            short(&known.arn),
            principal.account
        )));
    }
    Ok(known)
}

fn given(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn connection(client: &Client, principal: &Principal) -> AwsConnection {
    let region = given(&client.sts_region).unwrap_or_else(|| principal.iam_region().to_owned());
    AwsConnection {
        region: Some(region),
        access_key_id: given(&client.access_key),
        secret_access_key: Some(client.secret_key.clone()),
        role_arn: given(&client.role_arn),
        session_name: SESSION_NAME.to_owned(),
        sts_endpoint_url: given(&client.sts_endpoint),
        ..AwsConnection::default()
    }
}

async fn asked(
    iam: &QueryClient,
    action: &str,
    form: &Form,
    retries: u32,
) -> Result<Xml, CloudError> {
    let mut pause = PAUSE;
    let mut left = retries;
    loop {
        match iam.call(action, form).await {
            Err(error) if left > 0 && passes(&error) => left -= 1,
            outcome => return outcome,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// The machine's own credentials serve mounts of the root namespace, where the operator allows it.
fn ambient(aws: &Aws, namespace: &Namespace) -> Ambient {
    match &aws.surroundings.ambient {
        Some(chain) if namespace.is_root() => Ambient::Allowed(chain.clone()),
        _ => Ambient::Forbidden,
    }
}

fn passes(error: &CloudError) -> bool {
    matches!(
        error.kind,
        Failure::Dns | Failure::Timeout | Failure::Io | Failure::Throttled | Failure::ServerFault
    )
}
