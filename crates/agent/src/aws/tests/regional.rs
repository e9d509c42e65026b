//! Hosts of AWS take signatures for their own region alone.

use super::{
    AwsManager, Bed, Fields, Settings, Surroundings, get,
    identities::{grant, trust},
    reader,
};
use crate::failure::Cause;
use bailee_cloud::{HttpOptions, Resolve};
use serde_json::json;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Every name is the fake's.
#[derive(Debug)]
struct Here;

#[async_trait::async_trait]
impl Resolve for Here {
    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)])
    }
}

async fn manager(bed: &Bed, fields: &Fields) -> AwsManager {
    let http = HttpOptions { resolver: Arc::new(Here), ..HttpOptions::default() };
    let surroundings = Surroundings { http, clock: bed.clock.clone() };
    AwsManager::new(&Settings::new(fields).unwrap(), &surroundings).await.unwrap()
}

#[tokio::test]
async fn calls_of_sts_are_signed_for_the_region_of_its_host() {
    let bed = Bed::new().await;
    bed.aws.put_secret_in("us-west-2", "a", "1");
    let trust = trust(json!({ "AWS": bed.user_arn() }));
    let role = bed.aws.create_role("reader", &trust, &[&reader()]);
    let port = bed.aws.port();
    let regional = Fields { region: Some("us-west-2".to_owned()), ..bed.role(&role) };
    for (host, signed) in
        [("sts.amazonaws.com", "us-east-1"), ("sts.us-west-2.amazonaws.com", "us-west-2")]
    {
        let sts_endpoint = Some(format!("http://{host}:{port}"));
        let manager = manager(&bed, &Fields { sts_endpoint, ..regional.clone() }).await;
        assert_eq!(get(&manager, "a").await.unwrap(), "1");
        let calls = bed.aws.calls();
        let assumed = calls.iter().rfind(|call| call.operation == "sts:AssumeRole").unwrap();
        assert_eq!((assumed.region.as_str(), assumed.status), (signed, 200));
    }
    let elsewhere = Fields {
        sts_endpoint: Some(format!("http://sts.us-east-2.amazonaws.com:{port}")),
        sts_region: Some("us-east-2".to_owned()),
        ..regional
    };
    assert_eq!(get(&manager(&bed, &elsewhere).await, "a").await.unwrap(), "1");
}

#[tokio::test]
async fn a_key_whose_policy_names_the_role_serves_its_session_and_nobody_elses() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    let arn = bed.aws.secret("a").unwrap().arn;
    let key = bed.aws.create_kms_key();
    bed.aws.set_secret_key(&arn, Some(&key));
    let trust = trust(json!({ "AWS": bed.user_arn() }));
    let role = bed.aws.create_role("reader", &trust, &[&reader()]);
    bed.aws.set_kms_key_policy(&key, &grant(&role, "kms:Decrypt"));
    let as_role = bed.manager(&bed.role(&role)).await;
    assert_eq!(get(&as_role, "a").await.unwrap(), "1");
    let as_user = bed.manager(&bed.keys(&bed.aws.create_user("other", &[&reader()]))).await;
    assert_eq!(get(&as_user, "a").await.unwrap_err().cause, Cause::Decryption);
}
