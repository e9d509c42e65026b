//! The policies of docs/sync-aws.md as a reader copies them: enough for what they are for, and each
//! action that is taken away is named by the failure.

use super::{
    aws::{Given, destination_of, destination_with},
    aws_objects::{delivery, removal},
    federation::Issuer,
};
use crate::{
    LocalSource,
    destination::{Deletion, Delivered, Delivery, Destination, Extent, Ownership, Receipt},
    failure::{Error, Failure},
};
use bailee_fake_clouds::{
    FakeAws,
    aws::{Fault, Key},
};
use bailee_sdk::Namespace;
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

const NAME: &str = "vault/app";

/// The first policy below a heading.
fn documented(heading: &str) -> Value {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sync-aws.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, below) = page.split_once(&format!("# {heading}\n")).expect("the heading is there");
    let (_, below) = below.split_once("```json\n").expect("a policy is there");
    let (policy, _) = below.split_once("```").unwrap();
    serde_json::from_str(policy).expect("the documented policy is JSON")
}

/// Where the actions of a policy are: number of the statement, and the action.
fn actions(policy: &Value) -> Vec<(usize, String)> {
    let statements = policy["Statement"].as_array().unwrap().iter().enumerate();
    let each = statements.flat_map(|(number, statement)| {
        let listed = match &statement["Action"] {
            Value::Array(actions) => actions.clone(),
            one => vec![one.clone()],
        };
        listed.into_iter().map(move |action| (number, action.as_str().unwrap().to_owned()))
    });
    each.collect()
}

/// The policy without one action of one statement.
fn without(policy: &Value, (number, action): &(usize, String)) -> String {
    let mut policy = policy.clone();
    match &mut policy["Statement"][*number]["Action"] {
        Value::Array(actions) => actions.retain(|listed| listed != action),
        one => *one = json!("sts:GetCallerIdentity"),
    }
    policy.to_string()
}

fn delivered(to: &dyn Destination, delivery: &Delivery, receipt: &Receipt) -> Delivered {
    Delivered {
        version_id: receipt.version_id.clone(),
        identity: receipt.identity.clone(),
        source_version: 1,
        generation: 1,
        content_mark: String::new(),
        tags: delivery.tags.clone(),
        placement: to.placement().to_owned(),
        at: 0,
    }
}

/// Puts, and gives what is recorded of it; a note is a failure here.
async fn put(to: &dyn Destination, delivery: &Delivery) -> Result<Delivered, Error> {
    let receipt = to.put(delivery).await?;
    match receipt.notes.first() {
        Some(note) => Err(Error::forbidden(&note.missing_permission, note.message.clone())),
        None => Ok(delivered(to, delivery, &receipt)),
    }
}

/// A new value, or other aspects, after what was delivered.
fn after(previous: &Delivered, extent: Extent) -> Delivery {
    let text = if extent == Extent::Value { "{\"n\":2}" } else { "{\"n\":1}" };
    let previous = Some(previous.clone());
    Delivery { previous, extent, ..delivery(text, Ownership::Overwrite) }
}

fn assert_named(result: Result<(), Error>, action: &str) {
    let error = result.expect_err(action);
    let named = error.missing_permission.clone().unwrap_or_default();
    // Which action on a key is missing AWS does not say.
    assert!(named.split(", ").any(|one| one == action), "{action}: {error:?}");
}

#[tokio::test]
async fn the_policy_of_keys_and_replicas_is_enough_and_no_more() {
    let minimal = documented("Permissions").to_string();
    let mut keys = documented("Keys and replicas");
    let fake = FakeAws::start().await;
    let (here, there) = (fake.create_kms_key(), fake.create_kms_key_in("eu-west-1"));
    keys["Statement"][1]["Resource"] = json!([here, there]);
    let user = fake.create_user("sync", &[&minimal, &keys.to_string()]);
    let regions = json!({ "eu-west-1": there }).to_string();
    let life = async || -> Result<(), Error> {
        let details = [("kms_key_id", here.as_str()), ("replica_regions", regions.as_str())];
        let kept = destination_of(&fake, &user, &details).await?;
        let first = put(&*kept, &delivery("{\"n\":1}", Ownership::Overwrite)).await?;
        let second = put(&*kept, &after(&first, Extent::Value)).await?;
        let plain = destination_of(&fake, &user, &[]).await?;
        let third = put(&*plain, &after(&second, Extent::Aspects)).await?;
        let fourth = put(&*kept, &after(&third, Extent::Aspects)).await?;
        kept.delete(&removal(Some(fourth), Deletion::Delete)).await
    };
    life().await.unwrap();
    assert!(fake.secrets().is_empty());
    for action in actions(&keys) {
        let less = without(&keys, &action);
        fake.set_user_policies("sync", &[&minimal, &less]);
        assert_named(life().await, &action.1);
        fake.set_user_policies("sync", &[&minimal, &keys.to_string()]);
        let everything = destination_of(&fake, fake.administrator(), &[]).await.unwrap();
        let kept = [delivered_anyhow(&regions, &here)];
        everything.delete(&removal(Some(kept[0].clone()), Deletion::Delete)).await.unwrap();
    }
}

/// As if it had been delivered with that key and those regions.
fn delivered_anyhow(regions: &str, key: &str) -> Delivered {
    let regions: Value = serde_json::from_str(regions).unwrap();
    Delivered {
        version_id: String::new(),
        identity: None,
        source_version: 1,
        generation: 1,
        content_mark: String::new(),
        tags: Default::default(),
        placement: json!({ "kms_key_id": key, "replica_regions": regions }).to_string(),
        at: 0,
    }
}

#[tokio::test]
async fn the_policy_by_tags_is_enough_and_each_action_of_it_is_needed() {
    let policy = documented("Access by tags alone");
    let fake = FakeAws::start().await;
    let user = fake.create_user("sync", &[&policy.to_string()]);
    let life = async || -> Result<(), Error> {
        let to = destination_of(&fake, &user, &[]).await?;
        let mut tagged = delivery("{\"n\":1}", Ownership::Refuse);
        tagged.tags.insert("team".to_owned(), "blue".to_owned());
        let first = put(&*to, &tagged).await?;
        let mut painted = after(&first, Extent::Aspects);
        painted.tags.insert("team".to_owned(), "red".to_owned());
        let second = put(&*to, &painted).await?;
        let third = put(&*to, &after(&second, Extent::Value)).await?;
        let names = crate::destination::Names::Ours;
        assert_eq!(to.survey(&names, None).await?.objects.len(), 1);
        to.delete(&removal(Some(third), Deletion::Schedule { days: 7 })).await?;
        let fourth = put(&*to, &delivery("{\"n\":3}", Ownership::Refuse)).await?;
        to.delete(&removal(Some(fourth), Deletion::Retain)).await?;
        assert!(fake.secret(NAME).unwrap().tags.keys().all(|key| key == "team"));
        Ok(())
    };
    life().await.unwrap();
    fake.delete_secret(NAME);
    for action in actions(&policy) {
        fake.set_user_policies("sync", &[&without(&policy, &action)]);
        assert_named(life().await, &action.1);
        fake.delete_secret(NAME);
    }
}

#[tokio::test]
async fn the_policy_by_tags_spares_foreign_secrets_and_makes_lost_ones_anew() {
    let policy = documented("Access by tags alone");
    let fake = FakeAws::start().await;
    let user = fake.create_user("sync", &[&policy.to_string()]);
    let to = destination_of(&fake, &user, &[]).await.unwrap();
    fake.put_secret(NAME, "precious");
    for ownership in [Ownership::Overwrite, Ownership::Adopt, Ownership::Refuse] {
        let error = to.put(&delivery("{\"n\":1}", ownership)).await.unwrap_err();
        assert_eq!(error.failure, Failure::Forbidden, "{error:?}");
    }
    let known = delivered_anyhow("{}", "");
    let error = to.delete(&removal(Some(known.clone()), Deletion::Delete)).await.unwrap_err();
    assert_eq!(error.missing_permission.as_deref(), Some("secretsmanager:DeleteSecret"));
    assert_eq!(fake.secret(NAME).unwrap().value.as_deref(), Some("precious"));
    // An update is denied, and it was meant: the secret is there.
    let denied = to.put(&after(&known, Extent::Value)).await.unwrap_err();
    assert_eq!(denied.missing_permission.as_deref(), Some("secretsmanager:UpdateSecret"));
    // Now it is not.
    fake.delete_secret(NAME);
    fake.inject(Fault::lose_reply("secretsmanager:CreateSecret").times(1));
    let again = after(&known, Extent::Value);
    assert!(to.put(&again).await.unwrap_err().uncertain);
    to.put(&again).await.unwrap();
    assert_eq!(fake.secret(NAME).unwrap().value.as_deref(), Some("{\"n\":2}"));
    assert_eq!(fake.secret(NAME).unwrap().versions.len(), 1);
}

/// A destination at the role `bailee-sync`, which these documents describe.
async fn as_role(
    fake: &FakeAws,
    key: &Key,
    trust: &Value,
    external_id: &str,
) -> Arc<dyn Destination> {
    let minimal = documented("Permissions").to_string();
    let role = fake.create_role("bailee-sync", &trust.to_string(), &[&minimal]);
    let details = [("role_arn", role.as_str()), ("external_id", external_id)];
    destination_of(fake, key, &details).await.unwrap()
}

#[tokio::test]
async fn the_documents_of_a_role_are_enough_and_the_external_id_is_asked_for() {
    let assume = documented("A role in another account");
    let page = include_str!("../../../../docs/sync-aws.md");
    let (_, below) = page.split_once("external id that you choose:").unwrap();
    let trust = below.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let trust: Value = serde_json::from_str(trust).unwrap();
    let fake = FakeAws::start().await;
    let key = fake.create_user_in("111122223333", "sync", &[&assume.to_string()]);
    let to = as_role(&fake, &key, &trust, "choose-one").await;
    to.put(&delivery("{\"n\":1}", Ownership::Overwrite)).await.unwrap();
    for other in ["choose-another", ""] {
        let to = as_role(&fake, &key, &trust, other).await;
        let error = to.put(&delivery("{\"n\":1}", Ownership::Overwrite)).await.unwrap_err();
        assert_eq!(error.missing_permission.as_deref(), Some("sts:AssumeRole"), "{error:?}");
    }
    let bare = fake.create_user_in("111122223333", "bare", &[]);
    let to = as_role(&fake, &bare, &trust, "choose-one").await;
    let error = to.put(&delivery("{\"n\":1}", Ownership::Overwrite)).await.unwrap_err();
    assert_eq!(error.missing_permission.as_deref(), Some("sts:AssumeRole"), "{error:?}");
}

#[tokio::test]
async fn the_documented_trust_in_tokens_is_for_one_destination() {
    let trust = documented("Without keys: workload identity");
    let minimal = documented("Permissions").to_string();
    let federated = trust["Statement"][0]["Principal"]["Federated"].as_str().unwrap();
    let (_, bare) = federated.split_once("oidc-provider/").unwrap();
    let fake = FakeAws::start().await;
    let issuer = Issuer::at(&format!("https://{bare}"));
    let provider = fake.create_oidc_provider(bare, &["sts.amazonaws.com"], issuer.keys());
    assert_eq!(provider, federated);
    let role = fake.create_role("bailee-sync", &trust.to_string(), &[&minimal]);
    let to = async |name: &'static str, audience: &str| {
        let local: Arc<dyn LocalSource> = issuer.clone();
        let details = [
            ("region", "us-east-1"),
            ("role_arn", role.as_str()),
            ("identity_token_audience", audience),
        ];
        let namespace = Namespace::root();
        let given = Given { name, details: &details, namespace, local: Some(local) };
        let to = destination_with(&fake, given).await.unwrap();
        to.put(&delivery("{\"n\":1}", Ownership::Overwrite)).await
    };
    to("prod", "sts.amazonaws.com").await.unwrap();
    let error = to("test", "sts.amazonaws.com").await.unwrap_err();
    let permission = error.missing_permission.as_deref();
    assert_eq!(permission, Some("sts:AssumeRoleWithWebIdentity"), "{error:?}");
    let error = to("prod", "else").await.unwrap_err();
    assert_eq!(error.provider_code.as_deref(), Some("InvalidIdentityToken"), "{error:?}");
}
