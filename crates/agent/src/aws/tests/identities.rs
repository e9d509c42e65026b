use super::{Bed, Fields, allow, get, reader};
use crate::{
    failure::Cause,
    manager::{SecretManager, Wanted},
    store::{Freshness, Patience, Place, Store},
};
use bailee_fake_clouds::{FakeInstance, aws::Fault};
use serde_json::json;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

pub(super) const OTHER: &str = "444455556666";
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// A trust policy that names these.
pub(super) fn trust(principal: serde_json::Value) -> String {
    let statement =
        json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

/// A policy of a secret or key that allows somebody an action.
pub(super) fn grant(principal: &str, action: &str) -> String {
    let statement = json!({
        "Effect": "Allow", "Principal": { "AWS": principal }, "Action": action, "Resource": "*",
    });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

pub(super) fn of_instances() -> String {
    trust(json!({ "Service": "ec2.amazonaws.com" }))
}

impl Bed {
    /// The fields of a role that is taken on with the key of user `app`.
    pub(super) fn role(&self, arn: &str) -> Fields {
        let key = self.aws.create_user("app", &[&allow(&["sts:AssumeRole"], arn)]);
        Fields { role_arn: Some(arn.to_owned()), ..self.as_role(self.keys(&key)) }
    }

    pub(super) fn as_role(&self, fields: Fields) -> Fields {
        Fields {
            authentication: Some("role".to_owned()),
            sts_endpoint: Some(self.aws.endpoint()),
            ..fields
        }
    }

    pub(super) fn instance(&self, instance: &FakeInstance) -> Fields {
        Fields {
            authentication: Some("instance-profile".to_owned()),
            metadata_endpoint: Some(instance.metadata_endpoint()),
            ..self.fields()
        }
    }

    pub(super) fn user_arn(&self) -> String {
        format!("arn:aws:iam::{}:user/app", self.aws.account_id())
    }

    fn last_principal(&self) -> String {
        self.aws.calls().last().unwrap().principal_arn.clone()
    }
}

#[tokio::test]
async fn an_access_key_reads_as_its_user() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    let manager = bed.user(&[&reader()]).await;
    assert_eq!(get(&manager, "a").await.unwrap(), "1");
    assert_eq!(bed.last_principal(), bed.user_arn());
    assert!(manager.place().starts_with("aws-sm/us-east-1/AKIA"), "{}", manager.place());
}

#[tokio::test]
async fn a_key_that_aws_does_not_know_fails_as_credentials() {
    let bed = Bed::new().await;
    let key = bed.aws.create_user("app", &[&reader()]);
    let manager = bed.manager(&bed.keys(&key)).await;
    bed.aws.delete_access_key(&key.access_key_id);
    let failure = get(&manager, "a").await.unwrap_err();
    assert_eq!(failure.cause, Cause::Credentials);
    assert_eq!(
        failure.to_string(),
        "UnrecognizedClientException: The security token included in the request is invalid."
    );
}

#[tokio::test]
async fn a_role_is_taken_on_once_an_hour_with_its_external_id() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    let statement = json!({
        "Effect": "Allow",
        "Principal": { "AWS": bed.user_arn() },
        "Action": "sts:AssumeRole",
        "Condition": { "StringEquals": { "sts:ExternalId": "shared-word" } },
    });
    let trust = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let role = bed.aws.create_role("reader", &trust, &[&reader()]);
    let fields = Fields {
        external_id: Some("shared-word".to_owned()),
        session_name: Some("orders".to_owned()),
        ..bed.role(&role)
    };
    let manager = bed.manager(&fields).await;
    for _ in 0..3 {
        assert_eq!(get(&manager, "a").await.unwrap(), "1");
        bed.pass(10 * MINUTE).await;
    }
    let account = bed.aws.account_id();
    assert_eq!(bed.last_principal(), format!("arn:aws:sts::{account}:assumed-role/reader/orders"));
    assert_eq!(bed.aws.call_count("sts:AssumeRole"), 1);
    bed.pass(26 * MINUTE).await;
    get(&manager, "a").await.unwrap();
    assert_eq!(bed.aws.call_count("sts:AssumeRole"), 2);
    // While STS is away the session serves to its end.
    bed.pass(56 * MINUTE).await;
    bed.aws.inject(Fault::lose_request("sts:AssumeRole"));
    get(&manager, "a").await.unwrap();
    bed.pass(5 * MINUTE).await;
    assert_eq!(get(&manager, "a").await.unwrap_err().cause, Cause::Unavailable);
}

#[tokio::test]
async fn a_role_that_may_not_be_taken_on_fails_as_credentials_with_what_it_takes() {
    let bed = Bed::new().await;
    let role = bed.aws.create_role("reader", &of_instances(), &[&reader()]);
    let manager = bed.manager(&bed.role(&role)).await;
    let failure = get(&manager, "a").await.unwrap_err();
    assert_eq!((failure.cause, failure.status), (Cause::Credentials, Some(403)));
    assert_eq!(
        failure.to_string(),
        format!(
            "AccessDenied: cannot assume the role {role}: User: {} is not authorized to perform: sts:AssumeRole on \
             resource: {role}; the caller needs sts:AssumeRole on the role, the role's trust policy must name the \
             caller, and the external id must be the one it asks for",
            bed.user_arn()
        )
    );
}

#[tokio::test]
async fn a_role_of_another_account_reads_there() {
    let bed = Bed::new().await;
    bed.aws.put_secret_of(OTHER, "us-east-1", "a", "theirs");
    let trust = trust(json!({ "AWS": bed.user_arn() }));
    let role = bed.aws.create_role_in(OTHER, "reader", &trust, &[&reader()]);
    let manager = bed.manager(&bed.role(&role)).await;
    assert_eq!(get(&manager, "a").await.unwrap(), "theirs");
    assert_eq!(manager.place(), format!("aws-sm/us-east-1/{role}"));
}

#[tokio::test]
async fn a_secret_of_another_account_is_read_by_its_arn_where_it_and_its_key_allow_it() {
    let bed = Bed::new().await;
    let arn = bed.aws.put_secret_of(OTHER, "us-east-1", "shared/db", "theirs");
    bed.aws.put_secret("own", "ours");
    let everything = allow(&["secretsmanager:*", "kms:*"], "*");
    let manager = bed.user(&[&everything]).await;
    // The secret does not allow it.
    let failure = get(&manager, &arn).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Denied);
    assert!(failure.message.contains("because no resource-based policy allows"), "{failure}");
    // The account's default key is for nobody else.
    bed.aws.set_secret_policy(&arn, Some(&grant(&bed.user_arn(), "secretsmanager:GetSecretValue")));
    let failure = get(&manager, &arn).await.unwrap_err();
    assert_eq!(
        (failure.cause, failure.to_string().as_str()),
        (
            Cause::Decryption,
            "InvalidRequestException: You can't access a secret from a different AWS account if you encrypt the \
             secret with the default KMS service key.; encrypt the secret with a customer's KMS key whose policy \
             allows the other account kms:Decrypt"
        )
    );
    // A key of its own, which does not allow it.
    let key = bed.aws.create_kms_key_of(OTHER, "us-east-1");
    bed.aws.set_secret_key(&arn, Some(&key));
    let failure = get(&manager, &arn).await.unwrap_err();
    assert_eq!(
        (failure.cause, failure.to_string().as_str()),
        (
            Cause::Decryption,
            "AccessDeniedException: Access to KMS is not allowed; the secret is encrypted with a customer's KMS \
             key, and the caller lacks kms:Decrypt on it: the key's policy must name the caller, and in another \
             account the caller's own policy must allow it, too"
        )
    );
    bed.aws.set_kms_key_policy(&key, &grant(&bed.user_arn(), "kms:Decrypt"));
    assert_eq!(get(&manager, &arn).await.unwrap(), "theirs");
    let many = manager.fetch_many(&[Wanted::current(&arn), Wanted::current("own")]).await;
    assert!(many.iter().all(Result::is_ok), "{many:?}");
    // A key that is disabled is told.
    bed.aws.set_kms_key_enabled(&key, false);
    let failure = get(&manager, &arn).await.unwrap_err();
    assert_eq!((failure.cause, failure.code.as_str()), (Cause::Decryption, "DecryptionFailure"));
    assert!(failure.message.ends_with("enable the KMS key of the secret, or cancel its deletion"));
}

#[tokio::test]
async fn an_instance_reads_as_its_role_by_version_2_of_its_metadata() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    bed.aws.create_role("app", &of_instances(), &[&reader()]);
    let instance = FakeInstance::start(&bed.aws, "app").await;
    let manager = bed.manager(&bed.instance(&instance)).await;
    for _ in 0..2 {
        assert_eq!(get(&manager, "a").await.unwrap(), "1");
    }
    let account = bed.aws.account_id();
    let session = format!("arn:aws:sts::{account}:assumed-role/app/i-0123456789abcdef0");
    assert_eq!(bed.last_principal(), session);
    let requests = instance.requests();
    assert_eq!(requests.first().unwrap(), "PUT /latest/api/token");
    assert!(requests.len() <= 3, "asked once: {requests:?}");
}

#[tokio::test]
async fn credentials_that_end_while_the_instances_metadata_are_away_are_noticed_by_nobody() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    bed.aws.create_role("app", &of_instances(), &[&reader()]);
    let instance = FakeInstance::start(&bed.aws, "app").await;
    instance.set_lifetime(60 * MINUTE);
    let manager = Arc::new(bed.manager(&bed.instance(&instance)).await);
    let patience = Patience { refresh: MINUTE, stale_max: 600 * MINUTE };
    let place = Place::new("prod", manager.clone(), patience);
    let store = Store::new([place], NonZeroUsize::new(10).unwrap(), bed.clock.clone());
    let wanted = Wanted::current("a");
    let served = async || {
        let held = store.get("prod", &wanted, Freshness::Kept).await.unwrap();
        super::text(&held.fetched)
    };
    assert_eq!(served().await, "1");
    instance.set_away(true);
    bed.pass(57 * MINUTE).await;
    bed.aws.put_secret("a", "2");
    // The old ones still hold, and are used.
    assert_eq!(served().await, "2");
    bed.pass(4 * MINUTE).await;
    assert_eq!(get(&manager, "a").await.unwrap_err().cause, Cause::Credentials);
    bed.aws.put_secret("a", "3");
    assert_eq!(served().await, "2");
    instance.set_away(false);
    bed.pass(2 * MINUTE).await;
    assert_eq!(served().await, "3");
}

#[tokio::test]
async fn credentials_that_aws_calls_expired_are_looked_up_again() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    bed.aws.create_role("app", &of_instances(), &[&reader()]);
    let instance = FakeInstance::start(&bed.aws, "app").await;
    let manager = bed.manager(&bed.instance(&instance)).await;
    get(&manager, "a").await.unwrap();
    instance.rotate();
    bed.aws.inject(
        Fault::error("secretsmanager:*", 400, "ExpiredTokenException", "The token is expired")
            .times(1),
    );
    assert_eq!(get(&manager, "a").await.unwrap_err().cause, Cause::Credentials);
    let first = bed.aws.calls().last().unwrap().access_key_id.clone();
    get(&manager, "a").await.unwrap();
    assert_ne!(bed.aws.calls().last().unwrap().access_key_id, first);
}

#[tokio::test]
async fn a_session_that_holds_no_more_as_its_role_was_made_anew_is_replaced() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    let trust = trust(json!({ "AWS": bed.user_arn() }));
    let role = bed.aws.create_role("reader", &trust, &[&reader()]);
    let manager = bed.manager(&bed.role(&role)).await;
    get(&manager, "a").await.unwrap();
    let session = bed.aws.calls().last().unwrap().access_key_id.clone();
    assert!(bed.aws.delete_access_key(&session));
    let failure = get(&manager, "a").await.unwrap_err();
    assert_eq!(
        (failure.cause, failure.code.as_str()),
        (Cause::Credentials, "UnrecognizedClientException")
    );
    assert_eq!(get(&manager, "a").await.unwrap(), "1");
}

#[tokio::test]
async fn a_role_that_trusts_itself_takes_itself_on() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    let role = bed.aws.create_role("app", &of_instances(), &[&reader()]);
    let instance = FakeInstance::start(&bed.aws, "app").await;
    let fields = Fields {
        role_arn: Some(role.clone()),
        metadata_endpoint: Some(instance.metadata_endpoint()),
        ..bed.as_role(bed.fields())
    };
    let manager = bed.manager(&fields).await;
    assert_eq!(get(&manager, "a").await.unwrap_err().cause, Cause::Credentials);
    bed.aws.set_role_trust(&role, &trust(json!({ "AWS": role })));
    assert_eq!(get(&manager, "a").await.unwrap(), "1");
}

const RUNS_INSIDE: &str = "BAILEE_AGENT_TEST_CONTAINER";

/// The container's endpoint is named by the environment, which a test cannot set for itself: it runs again as a
/// process of its own.
#[tokio::test]
async fn a_container_reads_as_its_role_by_its_own_endpoint() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    bed.aws.create_role("task", &of_instances(), &[&reader()]);
    let container = FakeInstance::start(&bed.aws, "task").await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, container.authorization_token()).unwrap();
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "aws::tests::identities::inside_a_container", "--nocapture"])
        .env_clear()
        .env(RUNS_INSIDE, bed.aws.endpoint())
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.credentials_uri())
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
        // Keys of the environment are not the container's.
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "wrong")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(bed.last_principal().contains(":assumed-role/task/"), "{}", bed.last_principal());
    assert_eq!(container.requests(), ["GET /v1/credentials"]);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test above says by it where the fake is")]
async fn inside_a_container() {
    let Ok(endpoint) = std::env::var(RUNS_INSIDE) else { return };
    let fields = Fields {
        authentication: Some("instance-profile".to_owned()),
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint),
        ..Fields::default()
    };
    let settings = super::Settings::new(&fields).unwrap();
    let manager = super::AwsManager::new(&settings, &super::surroundings()).await.unwrap();
    assert_eq!(get(&manager, "a").await.unwrap(), "1");
}
