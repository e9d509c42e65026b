//! AWS Secrets Manager against a strict fake with policies.

use super::world::World;
use crate::{
    LocalSource as _, Settings,
    destination::{Delivery, Destination, Extent, Ownership},
    registry::{Blueprint, Details, Surroundings},
    source::Payload,
    tags::{MARK_TAG, OwnerMark},
    testing::{FakeCloud, Look, check_destination},
};
use async_trait::async_trait;
use bailee_cloud::EgressRules;
use bailee_crypto::SystemClock;
use bailee_fake_clouds::{
    FakeAws,
    aws::{Fault, Key},
};
use bailee_sdk::{Clock, Operation, Sensitive};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use zeroize::Zeroizing;

const NAME: &str = "vault/kv_1234/app/db";

/// The policy that the documentation asks for, without a version of it.
pub(super) fn policy(actions: &[&str]) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": actions.iter().map(|action| json!({
            "Effect": "Allow",
            "Action": format!("secretsmanager:{action}"),
            "Resource": "arn:aws:secretsmanager:*:*:secret:vault*",
        })).collect::<Vec<_>>(),
    })
    .to_string()
}

const MINIMAL: [&str; 4] = ["CreateSecret", "UpdateSecret", "DeleteSecret", "TagResource"];

struct Aws {
    fake: FakeAws,
    world: World,
}

impl Aws {
    /// A server with the destination `aws-sm/d1`, whose user has these policies.
    async fn with(policies: &[&str]) -> Aws {
        let fake = FakeAws::start().await;
        fake.enforce_policies(true);
        let key = fake.create_user("sync", policies);
        let settings = Settings {
            aws_endpoint_url: Some(fake.endpoint()),
            aws_sts_endpoint_url: Some(fake.endpoint()),
            ..Settings::default()
        };
        let barrier = super::world::barrier(Arc::new(bailee_storage::memory::Memory::default()))
            .await
            .unwrap();
        let world = World::with(barrier, Arc::default(), settings, Arc::new(SystemClock));
        world.post("activation-flags/secrets-sync/activate", json!({})).await.unwrap();
        let aws = Aws { fake, world };
        aws.destination(&key, json!({})).await;
        aws
    }

    async fn minimal() -> Aws {
        Aws::with(&[&policy(&MINIMAL)]).await
    }

    /// A server whose user lacks one action of the minimal policy.
    async fn without(action: &str) -> Aws {
        let actions: Vec<&str> = MINIMAL.into_iter().filter(|allowed| *allowed != action).collect();
        Aws::with(&[&policy(&actions)]).await
    }

    async fn destination(&self, key: &Key, more: Value) {
        let mut input = json!({
            "access_key_id": key.access_key_id,
            "secret_access_key": key.secret_access_key,
            "region": "us-east-1",
            "allowed_ipv4_addresses": "127.0.0.0/8",
            "allowed_ports": [self.fake.port()],
        });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.world.post("sync/destinations/aws-sm/d1", input).await.unwrap();
    }

    fn allow(&self, actions: &[&str]) {
        assert!(self.fake.set_user_policies("sync", &[&policy(actions)]));
    }

    /// Pushes and waits for the outcome.
    async fn set(&self) -> Value {
        self.associate("set").await
    }

    async fn remove(&self) -> Value {
        self.associate("remove").await
    }

    async fn associate(&self, what: &str) -> Value {
        let path = format!("sync/destinations/aws-sm/d1/associations/{what}");
        let input = json!({ "mount": "kv", "secret_name": "app/db" });
        let data = self.world.post(&path, input).await.unwrap();
        data["associated_secrets"]["kv_1234/app/db"].clone()
    }

    async fn entry(&self) -> Value {
        let path = "sync/destinations/aws-sm/d1/associations";
        self.world.get(path).await.unwrap()["associated_secrets"]["kv_1234/app/db"].clone()
    }

    async fn write(&self, value: u32) {
        self.world.write("app/db", json!({ "v": value })).await.unwrap();
    }

    fn value(&self) -> Option<String> {
        self.fake.secret(NAME).filter(|secret| secret.deleted_at.is_none())?.value
    }

    async fn until(&self, value: Option<String>) {
        while self.value() != value {
            tokio::task::yield_now().await;
        }
    }
}

fn text(value: u32) -> Option<String> {
    Some(json!({ "v": value }).to_string())
}

#[tokio::test]
async fn the_minimal_policy_is_enough_for_a_whole_life() {
    let aws = Aws::minimal().await;
    aws.write(1).await;
    let entry = aws.set().await;
    assert_eq!(entry["sync_status"], "SYNCED", "{entry}");
    assert_eq!(entry["external_name"], NAME);
    assert_eq!(aws.value(), text(1));
    assert_eq!(aws.fake.secret(NAME).unwrap().tags["hashicorp:vault"], "");
    aws.write(2).await;
    aws.until(text(2)).await;
    aws.world.delete_newest("app/db").await.unwrap();
    aws.until(text(1)).await;
    aws.world.delete_newest("app/db").await.unwrap();
    aws.until(None).await;
    assert!(aws.fake.secret(NAME).is_none(), "deleted without recovery");
    aws.write(3).await;
    aws.until(text(3)).await;
    assert_eq!(aws.set().await["sync_status"], "SYNCED");
    let entry = aws.remove().await;
    assert_eq!(entry["sync_status"], "UNSYNCED", "{entry}");
    assert!(aws.fake.secret(NAME).is_none());
    aws.world.stop().await;
    let minimal: Vec<String> =
        MINIMAL.iter().map(|action| format!("secretsmanager:{action}")).collect();
    for operation in aws.fake.call_counts().keys() {
        // A survey is tried, and does without when it is refused.
        let known = minimal.contains(operation) || operation == "secretsmanager:ListSecrets";
        assert!(known, "{operation}");
    }
}

#[tokio::test]
async fn an_update_is_one_call() {
    let aws = Aws::minimal().await;
    aws.write(1).await;
    aws.set().await;
    aws.fake.clear_calls();
    aws.write(2).await;
    aws.until(text(2)).await;
    while aws.entry().await["sync_status"] != "SYNCED" {
        tokio::task::yield_now().await;
    }
    let counts = aws.fake.call_counts();
    assert_eq!(counts.get("secretsmanager:UpdateSecret"), Some(&1), "{counts:?}");
    assert_eq!(counts.len(), 1, "{counts:?}");
}

#[tokio::test]
async fn a_missing_statement_is_named_by_the_status() {
    for missing in ["CreateSecret", "TagResource"] {
        let aws = Aws::without(missing).await;
        aws.write(1).await;
        let entry = aws.set().await;
        let permission = format!("secretsmanager:{missing}");
        assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR", "{entry}");
        assert_eq!(entry["error"]["missing_permission"], permission, "{entry}");
        assert_eq!(entry["error"]["class"], "forbidden");
        assert_eq!(aws.remove().await["sync_status"], "UNSYNCED", "nothing was delivered");
        aws.world.stop().await;
    }
    let aws = Aws::minimal().await;
    aws.write(1).await;
    aws.set().await;
    aws.allow(&["CreateSecret", "DeleteSecret", "TagResource"]);
    aws.write(2).await;
    let entry = aws.set().await;
    assert_eq!(entry["error"]["missing_permission"], "secretsmanager:UpdateSecret", "{entry}");
    aws.allow(&["CreateSecret", "UpdateSecret", "TagResource"]);
    let entry = aws.remove().await;
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR", "{entry}");
    assert_eq!(entry["error"]["missing_permission"], "secretsmanager:DeleteSecret", "{entry}");
    // The right is granted: asking again is enough.
    aws.allow(&MINIMAL);
    assert_eq!(aws.remove().await["sync_status"], "UNSYNCED");
    assert!(aws.fake.secret(NAME).is_none());
}

#[tokio::test]
async fn a_role_without_the_tag_condition_cannot_overwrite_a_synced_secret() {
    let aws = Aws::minimal().await;
    aws.write(1).await;
    aws.set().await;
    // The documented negative condition: others may write what does not carry the mark.
    let others = json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Effect": "Allow", "Action": "secretsmanager:*", "Resource": "*" },
            {
                "Effect": "Deny",
                "Action": ["secretsmanager:Update*", "secretsmanager:Put*", "secretsmanager:Delete*"],
                "Resource": "*",
                "Condition": { "Null": { "secretsmanager:ResourceTag/hashicorp:vault": "false" } },
            },
        ],
    });
    let key = aws.fake.create_user("other", &[&others.to_string()]);
    let other = destination(&aws.fake, &key).await;
    let error = other.put(&delivery("{\"v\":99}")).await.unwrap_err();
    assert_eq!(error.missing_permission.as_deref(), Some("secretsmanager:UpdateSecret"));
    assert_eq!(aws.value(), text(1));
}

#[tokio::test]
async fn a_name_scheduled_for_deletion_is_restored_then_written() {
    let restore = [MINIMAL.as_slice(), &["RestoreSecret"]].concat();
    let aws = Aws::with(&[&policy(&restore)]).await;
    aws.fake.put_secret(NAME, "old");
    aws.fake.schedule_deletion(NAME, 7);
    aws.write(1).await;
    let entry = aws.set().await;
    assert_eq!(entry["sync_status"], "SYNCED", "{entry}");
    assert_eq!(aws.value(), text(1));
    assert!(aws.fake.secret(NAME).unwrap().tags.contains_key("hashicorp:vault"));
    aws.fake.schedule_deletion(NAME, 7);
    aws.write(2).await;
    assert_eq!(aws.set().await["sync_status"], "SYNCED");
    assert_eq!(aws.value(), text(2));
}

#[tokio::test]
async fn without_the_right_to_restore_the_status_names_it() {
    let aws = Aws::minimal().await;
    aws.fake.put_secret(NAME, "old");
    aws.fake.schedule_deletion(NAME, 7);
    aws.write(1).await;
    let entry = aws.set().await;
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR", "{entry}");
    assert_eq!(entry["error"]["missing_permission"], "secretsmanager:RestoreSecret");
    assert!(entry["error"]["next_attempt"].is_string(), "it may have been our own deletion");
}

#[tokio::test]
async fn a_deletion_of_ours_that_is_not_done_yet_is_waited_out() {
    let aws = Aws::minimal().await;
    aws.fake.set_force_delete_delay(Duration::from_secs(600));
    aws.write(1).await;
    aws.set().await;
    assert_eq!(aws.remove().await["sync_status"], "UNSYNCED");
    assert_ne!(aws.set().await["sync_status"], "SYNCED");
    aws.fake.advance(Duration::from_secs(601));
    aws.until(text(1)).await;
}

/// A server that may survey, with a secret delivered so long ago that lists are believed about it;
/// `change` is what others do meanwhile.
async fn surveyed_after(change: impl FnOnce(&FakeAws)) -> Aws {
    let survey = [MINIMAL.as_slice(), &["DescribeSecret"]].concat();
    let list = json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Effect": "Allow", "Action": "secretsmanager:ListSecrets", "Resource": "*" },
        ],
    });
    let aws = Aws::with(&[&policy(&survey), &list.to_string()]).await;
    aws.write(1).await;
    aws.set().await;
    change(&aws.fake);
    aws.world.stop().await;
    let store = crate::store::Store::open(&aws.world.barrier, &aws.world.namespace);
    let id = store.destination_id("aws-sm", "d1");
    let (secret, mut association) = store.associations(&id).await.unwrap().remove(0);
    association.objects[0].delivered.as_mut().unwrap().at = 0;
    store.update_association(&id, &secret, &association, None);
    store.view.commit().await.unwrap();
    aws.world.start();
    aws
}

#[tokio::test]
async fn a_survey_shows_what_others_changed_and_it_is_repaired() {
    let aws = surveyed_after(|fake| {
        fake.put_secret(NAME, "tampered");
    })
    .await;
    aws.until(text(1)).await;
}

#[tokio::test]
async fn tags_that_others_took_away_come_back_without_a_new_version() {
    let aws = surveyed_after(|fake| {
        assert!(fake.set_secret_tag(NAME, MARK_TAG, None));
    })
    .await;
    let version = aws.fake.secret(NAME).unwrap().current_version().map(str::to_owned);
    while !aws.fake.secret(NAME).unwrap().tags.contains_key(MARK_TAG) {
        tokio::task::yield_now().await;
    }
    let after = aws.fake.secret(NAME).unwrap().current_version().map(str::to_owned);
    assert_eq!(after, version);
}

#[tokio::test]
async fn without_the_right_to_survey_the_destination_says_so() {
    let aws = Aws::minimal().await;
    aws.write(1).await;
    aws.set().await;
    aws.world.stop().await;
    aws.world.start();
    loop {
        let shown = aws.world.get("sync/destinations/aws-sm/d1").await.unwrap();
        if shown["notes"][0]["missing_permission"] == "secretsmanager:ListSecrets" {
            let entry = aws.entry().await;
            assert_eq!(entry["sync_status"], "SYNCED");
            assert_eq!(entry["notes"], shown["notes"]);
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_role_is_taken_on_with_its_external_id() {
    let assume = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*" }],
    });
    let aws = Aws::minimal().await;
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "AWS": format!("arn:aws:iam::{}:root", aws.fake.account_id()) },
            "Action": "sts:AssumeRole",
            "Condition": { "StringEquals": { "sts:ExternalId": "tenant-7" } },
        }],
    });
    let role = aws.fake.create_role("deliver", &trust.to_string(), &[&policy(&MINIMAL)]);
    let key = aws.fake.create_user("bare", &[&assume.to_string()]);
    aws.write(1).await;
    aws.destination(&key, json!({ "role_arn": role, "external_id": "tenant-7" })).await;
    let entry = aws.set().await;
    assert_eq!(entry["sync_status"], "SYNCED", "{entry}");
    aws.destination(&key, json!({ "role_arn": role, "external_id": "wrong" })).await;
    aws.write(2).await;
    let entry = aws.set().await;
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR", "{entry}");
}

#[tokio::test]
async fn tags_that_cannot_be_removed_are_a_note() {
    let aws = Aws::minimal().await;
    let key = aws.fake.create_user("tagger", &[&policy(&MINIMAL)]);
    aws.destination(&key, json!({ "custom_tags": { "team": "blue", "app": "x" } })).await;
    aws.write(1).await;
    aws.set().await;
    assert_eq!(aws.fake.secret(NAME).unwrap().tags["app"], "x");
    aws.destination(&key, json!({ "custom_tags": { "team": "red" } })).await;
    let entry = aws.set().await;
    assert_eq!(entry["sync_status"], "SYNCED", "{entry}");
    assert_eq!(entry["notes"][0]["missing_permission"], "secretsmanager:UntagResource");
    assert_eq!(aws.fake.secret(NAME).unwrap().tags["team"], "red");
    let untag = [MINIMAL.as_slice(), &["UntagResource"]].concat();
    assert!(aws.fake.set_user_policies("tagger", &[&policy(&untag)]));
    let versions = aws.fake.secret(NAME).unwrap().versions.len();
    aws.destination(&key, json!({ "custom_tags": { "team": "red" } })).await;
    while aws.entry().await.to_string().contains("UntagResource") {
        tokio::task::yield_now().await;
    }
    assert!(!aws.fake.secret(NAME).unwrap().tags.contains_key("app"));
    assert_eq!(aws.fake.secret(NAME).unwrap().versions.len(), versions, "tags make no version");
}

#[tokio::test]
async fn lost_replies_leave_one_version_and_throttling_is_waited_out() {
    let aws = Aws::minimal().await;
    aws.fake.inject(Fault::lose_reply("secretsmanager:CreateSecret").times(1));
    aws.write(1).await;
    let entry = aws.set().await;
    assert_eq!(entry["sync_status"], "EXTERNAL_SERVICE_ERROR", "{entry}");
    while aws.entry().await["sync_status"] != "SYNCED" {
        tokio::task::yield_now().await;
    }
    assert_eq!(aws.fake.secret(NAME).unwrap().versions.len(), 1);
    aws.fake.inject(Fault::lose_reply("secretsmanager:UpdateSecret").times(1));
    aws.fake.inject(Fault::throttle("secretsmanager:UpdateSecret").after(1).times(1));
    aws.write(2).await;
    aws.until(text(2)).await;
    while aws.entry().await["sync_status"] != "SYNCED" {
        tokio::task::yield_now().await;
    }
    assert_eq!(aws.fake.secret(NAME).unwrap().versions.len(), 2);
}

#[tokio::test]
async fn a_foreign_secret_survives_the_removal_of_what_may_never_have_been_delivered() {
    let looking = [MINIMAL.as_slice(), &["DescribeSecret"]].concat();
    let aws = Aws::with(&[&policy(&looking)]).await;
    aws.fake.put_secret(NAME, "precious");
    aws.fake.inject(Fault::error(
        "secretsmanager:CreateSecret",
        500,
        "InternalServiceError",
        "failed",
    ));
    aws.write(1).await;
    assert_eq!(aws.set().await["sync_status"], "EXTERNAL_SERVICE_ERROR");
    let entry = aws.remove().await;
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR", "{entry}");
    assert_eq!(entry["error"]["class"], "not_ours");
    assert_eq!(aws.value().as_deref(), Some("precious"));
    // Whoever sets it again wants it to be ours.
    aws.fake.clear_faults();
    assert_eq!(aws.set().await["sync_status"], "SYNCED");
    assert_eq!(aws.remove().await["sync_status"], "UNSYNCED");
    assert_eq!(aws.value(), None);
}

#[tokio::test]
async fn what_failed_before_anything_was_sent_leaves_nothing_to_remove() {
    let aws = Aws::minimal().await;
    let role = "arn:aws:iam::123456789012:role/deliver";
    let key = aws.fake.create_user("bare", &[]);
    aws.destination(&key, json!({ "role_arn": role })).await;
    aws.fake.put_secret(NAME, "precious");
    aws.fake.inject(Fault::error("sts:AssumeRole", 500, "InternalServiceError", "failed"));
    aws.write(1).await;
    let entry = aws.set().await;
    assert_eq!(entry["sync_status"], "EXTERNAL_SERVICE_ERROR", "{entry}");
    assert_eq!(aws.remove().await["sync_status"], "UNSYNCED");
    assert_eq!(aws.value().as_deref(), Some("precious"));
}

#[tokio::test]
async fn other_credentials_look_at_what_is_really_there() {
    let looking = policy(&[MINIMAL.as_slice(), &["DescribeSecret", "RestoreSecret"]].concat());
    let aws = Aws::with(&[&looking]).await;
    aws.write(1).await;
    assert_eq!(aws.set().await["sync_status"], "SYNCED");
    aws.fake.schedule_deletion(NAME, 7);
    let key = aws.fake.create_user("other", &[&looking]);
    aws.destination(&key, json!({})).await;
    aws.until(text(1)).await;
}

#[tokio::test]
async fn another_role_is_another_destination_while_secrets_are_associated() {
    let aws = Aws::minimal().await;
    let key = aws.fake.create_user("bare", &[]);
    let role = |account: &str, name: &str| format!("arn:aws:iam::{account}:role/{name}");
    aws.destination(&key, json!({ "role_arn": role("111111111111", "a") })).await;
    aws.write(1).await;
    aws.set().await;
    let change = |role: String| {
        let path = "sync/destinations/aws-sm/d1";
        aws.world.call(Operation::Patch, path, json!({ "role_arn": role }))
    };
    let refused = change(role("222222222222", "a")).await.unwrap_err();
    assert!(refused.to_string().contains("role_arn cannot change"), "{refused:?}");
    aws.remove().await;
    let refused = change(role("222222222222", "a")).await.unwrap_err();
    assert!(refused.to_string().contains("secret_access_key again"), "{refused:?}");
    aws.destination(&key, json!({ "role_arn": role("222222222222", "a") })).await;
}

#[tokio::test]
async fn a_guarded_address_is_a_client_error_that_names_the_rule() {
    let aws = Aws::minimal().await;
    let key = aws.fake.create_user("guarded", &[&policy(&MINIMAL)]);
    aws.destination(&key, json!({ "allowed_ipv4_addresses": [] })).await;
    aws.write(1).await;
    let entry = aws.set().await;
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR", "{entry}");
    assert_eq!(entry["error"]["class"], "refused");
    let message = entry["error"]["message"].as_str().unwrap();
    assert!(message.contains("prohibited IP address: 127.0.0.1"), "{message}");
}

#[tokio::test]
async fn wrong_keys_are_a_client_error() {
    let aws = Aws::minimal().await;
    let mut key = aws.fake.create_user("wrong", &[]);
    key.secret_access_key = "canary-wrong-key".to_owned();
    aws.destination(&key, json!({})).await;
    aws.write(1).await;
    let entry = aws.set().await;
    assert_eq!(entry["sync_status"], "CLIENT_SIDE_ERROR", "{entry}");
    assert_eq!(entry["error"]["class"], "unauthenticated");
    assert!(!entry.to_string().contains("canary"));
}

#[tokio::test]
async fn a_secret_appears_in_no_status_error_or_debug_text() {
    let aws = Aws::minimal().await;
    for (operation, code) in [
        ("secretsmanager:CreateSecret", "InvalidParameterException"),
        ("secretsmanager:UpdateSecret", "InternalServiceError"),
    ] {
        aws.fake.inject(Fault::error(operation, 400, code, "it went wrong").times(1));
    }
    aws.world.write("app/db", json!({ "password": "canary-7c1f" })).await.unwrap();
    for _ in 0..3 {
        let entry = aws.set().await;
        assert!(!entry.to_string().contains("canary-7c1f"), "{entry}");
    }
    let mounts = aws.world.local.mounts(&aws.world.namespace);
    let mount = mounts.at("kv").unwrap();
    let payload = aws.world.local.read("t", &aws.world.namespace, mount, "app/db").await.unwrap();
    let payload = payload.unwrap();
    assert!(!format!("{payload:?}").contains("canary"));
    let mut delivery = delivery("");
    delivery.payload = payload;
    assert!(!format!("{delivery:?}").contains("canary"));
}

#[tokio::test]
async fn aws_secrets_manager_keeps_the_destination_contract() {
    let fake = Arc::new(FakeAws::start().await);
    let destination = destination(&fake, fake.administrator()).await;
    check_destination(destination.as_ref(), &Looking(fake.clone())).await;
}

pub(super) struct Looking(pub(super) Arc<FakeAws>);

#[async_trait]
impl Look for Looking {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.0.secret(name)?.value.map(String::into_bytes)
    }

    async fn versions(&self, name: &str) -> usize {
        self.0.secret(name).map_or(0, |secret| secret.versions.len())
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        self.0.secret(name).map(|secret| secret.tags).unwrap_or_default()
    }
}

/// A destination of its own, without a server around it.
async fn destination(fake: &FakeAws, key: &Key) -> Arc<dyn Destination> {
    destination_of(fake, key, &[]).await.unwrap()
}

/// The same with these details beside or instead of the usual ones.
pub(super) async fn destination_of(
    fake: &FakeAws,
    key: &Key,
    more: &[(&str, &str)],
) -> Result<Arc<dyn Destination>, crate::failure::Error> {
    let mut details = BTreeMap::from([
        ("access_key_id", key.access_key_id.as_str()),
        ("secret_access_key", key.secret_access_key.as_str()),
        ("region", "us-east-1"),
    ]);
    details.extend(more.iter().copied());
    let details: Vec<(&str, &str)> = details.into_iter().collect();
    let namespace = bailee_sdk::Namespace::root();
    destination_with(fake, Given { name: "d1", details: &details, namespace, local: None }).await
}

/// What a destination of its own is made of.
pub(super) struct Given<'a> {
    pub(super) name: &'static str,
    pub(super) details: &'a [(&'a str, &'a str)],
    pub(super) namespace: bailee_sdk::Namespace,
    pub(super) local: Option<Arc<dyn crate::LocalSource>>,
}

pub(super) async fn destination_with(
    fake: &FakeAws,
    given: Given<'_>,
) -> Result<Arc<dyn Destination>, crate::failure::Error> {
    let settings = Settings {
        aws_endpoint_url: Some(fake.endpoint()),
        aws_sts_endpoint_url: Some(fake.endpoint()),
        ..Settings::default()
    };
    let sensitive =
        |(name, value): &(&str, &str)| ((*name).to_owned(), Sensitive::new((*value).to_owned()));
    let surroundings = Surroundings::new(settings, Arc::new(SystemClock));
    *surroundings.local.write() = given.local;
    let blueprint = Blueprint {
        details: Details(given.details.iter().map(sensitive).collect()),
        rules: EgressRules { disable_strict_networking: true, ..EgressRules::default() },
        namespace: given.namespace,
        kind: "aws-sm".to_owned(),
        name: given.name.to_owned(),
        template: None,
        surroundings: Arc::new(surroundings),
    };
    let kinds = crate::destinations::all();
    let kind = kinds.iter().find(|kind| kind.name == "aws-sm").unwrap();
    (kind.build)(blueprint).await
}

fn delivery(text: &str) -> Delivery {
    Delivery {
        name: NAME.to_owned(),
        payload: Payload {
            bytes: Zeroizing::new(text.as_bytes().to_vec()),
            version: 1,
            expires_at: None,
        },
        token: bailee_crypto::random::uuid().to_string(),
        tags: crate::tags::marked(&BTreeMap::new(), &OwnerMark::default()),
        previous: None,
        extent: Extent::Value,
        ownership: Ownership::Overwrite,
        mark: OwnerMark::default(),
    }
}

#[tokio::test]
async fn ambient_credentials_serve_only_where_they_are_allowed() {
    let barrier =
        super::world::barrier(Arc::new(bailee_storage::memory::Memory::default())).await.unwrap();
    let settings = Settings { ambient_credentials: true, ..Settings::default() };
    let cloud: Arc<FakeCloud> = Arc::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut world = World::with(barrier, cloud, settings, clock);
    world.post("activation-flags/secrets-sync/activate", json!({})).await.unwrap();
    let path = "sync/destinations/aws-sm/d1";
    let input = json!({ "region": "eu-west-1" });
    let shown = world.post(path, input.clone()).await.unwrap();
    assert_eq!(shown["connection_details"], json!({ "region": "eu-west-1" }));
    world.namespace =
        Arc::new(bailee_sdk::Namespace { id: "team1".to_owned(), path: "team/".to_owned() });
    let error = world.post(path, input).await.unwrap_err();
    assert_eq!(error.code, bailee_sdk::Code::InvalidRequest);
    assert!(error.to_string().contains("root namespace only"), "{error}");
}
