//! This machine's identity in AWS, with which a source is entered.

use bailee_client::{Error, aws::AwsKeys, login::AwsKeySource};
use bailee_cloud::aws::AmbientChain;

/// The keys of AWS that this machine has, as they are at each login.
pub fn machine_keys(chain: &AmbientChain) -> AwsKeySource {
    let chain = chain.clone();
    AwsKeySource::new(move || {
        let chain = chain.clone();
        async move {
            let keys = chain.keys().await.map_err(|error| Error::Login {
                reason: format!("no credentials of AWS on this machine: {error}"),
            })?;
            Ok(AwsKeys {
                access_key_id: keys.access_key_id,
                secret_access_key: keys.secret_access_key,
                session_token: keys.session_token,
            })
        }
    })
}
