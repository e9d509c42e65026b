//! Which credentials a configuration has, for people.

use crate::classify::{CloudError, Kind};
use aws_credential_types::{
    credential_feature::AwsCredentialFeature as Feature,
    provider::{ProvideCredentials, error::CredentialsError},
};
use aws_types::SdkConfig;
use std::{error::Error, time::SystemTime};

/// Credentials that were found; no secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCredentials {
    /// The public part.
    pub access_key_id: String,
    /// Where they were found, such as `instance metadata`.
    pub source: &'static str,
    /// When they end, where they do.
    pub expires: Option<SystemTime>,
}

/// Looks the credentials of this configuration up, without a call of the services they are for.
///
/// # Errors
/// There are none, or the place they come from fails.
pub async fn found_credentials(config: &SdkConfig) -> Result<FoundCredentials, CloudError> {
    let none =
        |text: String| CloudError::unanswered("Credentials", Kind::Credentials, text).unsent();
    let provider = config
        .credentials_provider()
        .ok_or_else(|| none("the configuration has no credentials".to_owned()))?;
    let found = provider.provide_credentials().await.map_err(|error| none(told(&error)))?;
    Ok(FoundCredentials {
        access_key_id: found.access_key_id().to_owned(),
        source: source(found.get_property::<Vec<Feature>>().map(Vec::as_slice).unwrap_or_default()),
        expires: found.expiry(),
    })
}

/// What providers say, from the first to the last that says more.
fn told(error: &CredentialsError) -> String {
    let mut texts = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

fn source(features: &[Feature]) -> &'static str {
    let name = |feature: &Feature| {
        Some(match feature {
            Feature::CredentialsEnvVars => "the environment",
            Feature::CredentialsProfile
            | Feature::CredentialsProfileSourceProfile
            | Feature::CredentialsProfileNamedProvider => "a profile",
            Feature::CredentialsProfileProcess | Feature::CredentialsProcess => {
                "a credential process"
            }
            Feature::CredentialsProfileSso | Feature::CredentialsSso => "single sign-on",
            Feature::CredentialsEnvVarsStsWebIdToken
            | Feature::CredentialsStsAssumeRoleWebId
            | Feature::CredentialsProfileStsWebIdToken => "a web identity token",
            Feature::CredentialsHttp => "the container endpoint",
            Feature::CredentialsImds => "the instance metadata",
            _ => return None,
        })
    };
    features.iter().find_map(name).unwrap_or("the configuration")
}
