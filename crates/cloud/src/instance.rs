//! The role of the container or instance that this program runs on.

use aws_config::{
    BehaviorVersion,
    ecs::EcsCredentialsProvider,
    imds::{self, credentials::ImdsCredentialsProvider},
    meta::credentials::CredentialsProviderChain,
    provider_config::ProviderConfig,
};
use aws_smithy_async::rt::sleep::TokioSleep;
use bailee_crypto::Clock;
use std::sync::Arc;

use crate::aws::{ClockSource, GuardedSdkClient, InvalidConnection, endpoint};

/// How often the metadata are asked before that has failed: whoever needs credentials asks again by itself.
const METADATA_ATTEMPTS_MAX: u32 = 2;

/// Where the instance's metadata are.
pub(crate) struct InstanceMetadata {
    /// Instead of the usual address.
    endpoint: Option<String>,
}

impl InstanceMetadata {
    /// The metadata at an address, or at the usual one.
    pub(crate) fn at(url: Option<&str>) -> Result<InstanceMetadata, InvalidConnection> {
        let endpoint = endpoint("instance metadata endpoint", &url.map(str::to_owned))?;
        Ok(InstanceMetadata { endpoint })
    }

    /// The container's credentials where its environment says where they are, else the instance's by
    /// version 2 of its metadata.
    pub(crate) fn credentials(
        &self,
        http: GuardedSdkClient,
        clock: Arc<dyn Clock>,
    ) -> CredentialsProviderChain {
        let config = ProviderConfig::without_region()
            .with_http_client(http)
            .with_sleep_impl(TokioSleep::new())
            .with_time_source(ClockSource(clock))
            .with_behavior_version(Some(BehaviorVersion::v2026_01_12()));
        let mut metadata =
            imds::Client::builder().configure(&config).max_attempts(METADATA_ATTEMPTS_MAX);
        if let Some(endpoint) = &self.endpoint {
            metadata = metadata.endpoint(endpoint).expect("it was read as a URL before");
        }
        let instance = ImdsCredentialsProvider::builder()
            .configure(&config)
            .imds_client(metadata.build())
            .build();
        let container = EcsCredentialsProvider::builder().configure(&config).build();
        CredentialsProviderChain::first_try("container", container)
            .or_else("instance metadata", instance)
    }
}
