//! Roles that are taken on with a signed statement of who we are, and whom STS says we are.

use crate::classify::{CloudError, Kind, classify};
use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_types::SdkConfig;
use bailee_crypto::Sensitive;
use std::fmt;
use std::sync::Arc;

use crate::credentials::granted;

/// Signs tokens that a cloud trusts.
#[async_trait]
pub trait WebIdentity: fmt::Debug + Send + Sync + 'static {
    /// A token that holds now; asked anew for each session.
    async fn token(&self) -> Result<Sensitive<String>, TokenFailure>;
}

/// Why there is no token. The text is shown to users and never secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFailure {
    /// What happened.
    pub message: String,
    /// Whether asking again can help without anyone changing anything.
    pub passes: bool,
}

/// Takes on a role with a token; nothing is signed with keys.
#[derive(Debug)]
pub(crate) struct FederatedRole {
    pub(crate) sts: aws_sdk_sts::Client,
    pub(crate) role_arn: String,
    pub(crate) session_name: String,
    pub(crate) identity: Arc<dyn WebIdentity>,
}

impl FederatedRole {
    async fn assume(&self) -> Result<Credentials, CredentialsError> {
        let what = format!("cannot assume the role {} with an identity token", self.role_arn);
        let token = self.identity.token().await.map_err(|failure| {
            let kind = if failure.passes { Kind::Token } else { Kind::InvalidRequest };
            let error = CloudError::unanswered("IdentityToken", kind, failure.message);
            CredentialsError::provider_error(error.within(&what))
        })?;
        let request = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&self.role_arn)
            .role_session_name(&self.session_name)
            .web_identity_token(token.expose());
        let output = request
            .send()
            .await
            .map_err(|error| CredentialsError::provider_error(classify(&error).within(&what)))?;
        granted(output.credentials, "FederatedRole")
    }
}

impl ProvideCredentials for FederatedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}

/// Whom AWS says that credentials are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The account.
    pub account: String,
    /// The user or the session of a role.
    pub arn: String,
}

/// Asks STS who the credentials of this configuration are; needs no permission.
pub async fn caller_identity(sts: &SdkConfig) -> Result<CallerIdentity, CloudError> {
    let client = aws_sdk_sts::Client::new(sts);
    let told = client.get_caller_identity().send().await.map_err(|error| classify(&error))?;
    Ok(CallerIdentity {
        account: told.account.unwrap_or_default(),
        arn: told.arn.unwrap_or_default(),
    })
}
