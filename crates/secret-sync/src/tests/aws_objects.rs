//! Objects of AWS Secrets Manager as the destination alone handles them: whose they are, how they
//! go, how they are kept.

use super::aws::{destination_of, policy};
use crate::{
    destination::{
        Deletion, Delivered, Delivery, Destination, Extent, Names, Ownership, Receipt, Removal,
    },
    failure::{Error, Failure},
    source::Payload,
    tags::{MARK_TAG, OWNERSHIP_TAG, OwnerMark, marked},
};
use bailee_fake_clouds::{FakeAws, aws::Fault};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use zeroize::Zeroizing;

const NAME: &str = "vault/app";
const ACTIONS: [&str; 4] = ["CreateSecret", "UpdateSecret", "DeleteSecret", "TagResource"];

struct Bench {
    fake: FakeAws,
    destination: Arc<dyn Destination>,
}

impl Bench {
    async fn with(details: &[(&str, &str)]) -> Bench {
        let fake = FakeAws::start().await;
        let key = fake.administrator().clone();
        let destination = destination_of(&fake, &key, details).await.unwrap();
        Bench { fake, destination }
    }

    async fn new() -> Bench {
        Bench::with(&[]).await
    }

    /// Only these actions are permitted.
    async fn permitted(actions: &[&str]) -> Bench {
        let fake = FakeAws::start().await;
        let key = fake.create_user("sync", &[&policy(actions)]);
        let destination = destination_of(&fake, &key, &[]).await.unwrap();
        Bench { fake, destination }
    }

    /// The same objects, handled as other details say.
    async fn turn(&mut self, details: &[(&str, &str)]) {
        let key = self.fake.administrator().clone();
        self.destination = destination_of(&self.fake, &key, details).await.unwrap();
    }

    async fn put(&self, delivery: &Delivery) -> Result<Receipt, Error> {
        self.destination.put(delivery).await
    }

    /// A secret that carries this mark.
    async fn marked(&self, mark: &str) {
        self.fake.put_secret(NAME, "theirs");
        self.fake.set_secret_tag(NAME, OWNERSHIP_TAG, Some(""));
        self.fake.set_secret_tag(NAME, MARK_TAG, Some(mark));
    }

    fn value(&self) -> Option<String> {
        self.fake.secret(NAME).and_then(|secret| secret.value)
    }

    fn delivered(&self, delivery: &Delivery, receipt: &Receipt) -> Delivered {
        Delivered {
            version_id: receipt.version_id.clone(),
            identity: receipt.identity.clone(),
            source_version: 1,
            generation: 1,
            content_mark: String::new(),
            tags: delivery.tags.clone(),
            placement: self.destination.placement().to_owned(),
            at: 0,
        }
    }

    /// Creates the object, and gives what is recorded of it.
    async fn create(&self) -> Delivered {
        let first = delivery("{\"n\":1}", Ownership::Overwrite);
        let receipt = self.put(&first).await.unwrap();
        self.delivered(&first, &receipt)
    }

    /// Brings tags and placement to what is wanted now, without the value.
    async fn aspects(&self, previous: Delivered) -> Result<Delivered, Error> {
        let mut next = delivery("{\"n\":1}", Ownership::Overwrite);
        next.extent = Extent::Aspects;
        next.previous = Some(previous);
        let receipt = self.put(&next).await?;
        Ok(self.delivered(&next, &receipt))
    }

    fn versions(&self) -> usize {
        self.fake.secret(NAME).map_or(0, |secret| secret.versions.len())
    }

    fn replicas(&self) -> Vec<String> {
        self.fake.secret(NAME).unwrap().replica_regions
    }
}

fn mark() -> OwnerMark {
    OwnerMark::parse("e1.abc").unwrap()
}

pub(super) fn delivery(text: &str, ownership: Ownership) -> Delivery {
    Delivery {
        name: NAME.to_owned(),
        payload: Payload {
            bytes: Zeroizing::new(text.as_bytes().to_vec()),
            version: 1,
            expires_at: None,
        },
        token: bailee_crypto::random::uuid().to_string(),
        tags: marked(&BTreeMap::new(), &mark()),
        previous: None,
        extent: Extent::Value,
        ownership,
        mark: mark(),
    }
}

pub(super) fn removal(delivered: Option<Delivered>, how: Deletion) -> Removal {
    let identity = delivered.as_ref().and_then(|delivered| delivered.identity.clone());
    let (name, mark) = (NAME.to_owned(), mark());
    Removal { name, delivered, identity, written: false, repeated: false, mark, how }
}

#[tokio::test]
async fn ownership_decides_about_what_has_the_name_already() {
    use Ownership::{Adopt, Overwrite, Refuse};
    for (found, overwrite, adopt, refuse) in [
        (None, true, true, false),
        // Ours: the server stopped between the delivery and its record.
        (Some("e1.abc"), true, true, true),
        // Another server with the same keys.
        (Some("e2.abc"), false, false, false),
        (Some("e1.other"), true, false, false),
        (Some("rubbish"), true, false, false),
    ] {
        for (ownership, written) in [(Overwrite, overwrite), (Adopt, adopt), (Refuse, refuse)] {
            let bench = Bench::new().await;
            match found {
                Some(mark) => bench.marked(mark).await,
                None => drop(bench.fake.put_secret(NAME, "theirs")),
            }
            let result = bench.put(&delivery("{\"n\":1}", ownership)).await;
            assert_eq!(result.is_ok(), written, "{found:?} {ownership:?}: {result:?}");
            if written {
                assert_eq!(bench.value().as_deref(), Some("{\"n\":1}"));
                let tags = bench.fake.secret(NAME).unwrap().tags;
                assert_eq!(tags[MARK_TAG], "e1.abc");
            } else {
                let error = result.unwrap_err();
                assert_eq!(error.failure, Failure::NotOurs, "{error:?}");
                assert!(error.message.contains(NAME), "{error:?}");
                assert_eq!(bench.value().as_deref(), Some("theirs"));
                assert_eq!(bench.fake.call_count("secretsmanager:UpdateSecret"), 0);
            }
        }
    }
}

#[tokio::test]
async fn whose_a_secret_is_must_be_seen_unless_it_is_overwritten() {
    for (ownership, written) in
        [(Ownership::Overwrite, true), (Ownership::Adopt, false), (Ownership::Refuse, false)]
    {
        let bench = Bench::permitted(&ACTIONS).await;
        bench.fake.put_secret(NAME, "theirs");
        let result = bench.put(&delivery("{\"n\":1}", ownership)).await;
        assert_eq!(result.is_ok(), written, "{ownership:?}: {result:?}");
        if let Err(error) = result {
            assert_eq!(error.failure, Failure::Forbidden);
            let permission = error.missing_permission.as_deref();
            assert_eq!(permission, Some("secretsmanager:DescribeSecret"));
            assert!(error.message.contains("ownership=overwrite"), "{error:?}");
            assert!(!error.uncertain);
        }
        // What is new needs no look, whatever the ownership.
        bench.fake.delete_secret(NAME);
        bench.fake.clear_calls();
        bench.put(&delivery("{\"n\":2}", ownership)).await.unwrap();
        assert_eq!(bench.fake.calls().len(), 1);
    }
}

/// What was delivered, and somebody else's secret in its place.
async fn replaced(bench: &Bench, mark: Option<&str>) -> Delivered {
    let delivered = bench.create().await;
    bench.fake.delete_secret(NAME);
    match mark {
        Some(mark) => bench.marked(mark).await,
        None => drop(bench.fake.put_secret(NAME, "theirs")),
    }
    delivered
}

#[tokio::test]
async fn what_somebody_put_in_the_place_of_a_delivery_is_written_as_ownership_permits() {
    use Ownership::{Adopt, Overwrite, Refuse};
    for (ownership, mark, written) in [
        (Overwrite, None, true),
        (Overwrite, Some("e1.other"), true),
        (Overwrite, Some("e2.abc"), false),
        (Adopt, None, true),
        (Adopt, Some("e1.other"), false),
        (Refuse, None, false),
        (Refuse, Some("e1.other"), false),
    ] {
        for extent in [Extent::Value, Extent::Aspects] {
            let bench = Bench::new().await;
            let mut next = delivery("{\"n\":2}", ownership);
            next.previous = Some(replaced(&bench, mark).await);
            next.tags.insert("team".to_owned(), "blue".to_owned());
            next.extent = extent;
            let before = bench.fake.secret(NAME);
            let result = bench.put(&next).await;
            assert_eq!(result.is_ok(), written, "{ownership:?} {mark:?}: {result:?}");
            match result {
                Ok(_) => {
                    assert_eq!(bench.value().as_deref(), Some("{\"n\":2}"));
                    assert_eq!(bench.fake.secret(NAME).unwrap().tags, next.tags);
                }
                Err(error) => {
                    assert_eq!(error.failure, Failure::NotOurs, "{error}");
                    assert_eq!(bench.fake.secret(NAME), before);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_removal_reaches_what_was_delivered_and_nothing_that_came_after_it() {
    for how in [Deletion::Delete, Deletion::Schedule { days: 7 }, Deletion::Retain] {
        for mark in [None, Some("e1.other")] {
            // These permissions are enough: nothing has to be looked at.
            let bench = Bench::permitted(&ACTIONS).await;
            let known = removal(Some(replaced(&bench, mark).await), how);
            let before = bench.fake.secret(NAME);
            bench.destination.delete(&known).await.unwrap();
            assert_eq!(bench.fake.secret(NAME), before, "{how:?}");
        }
        let bench = Bench::new().await;
        let known = removal(Some(replaced(&bench, None).await), how);
        let before = bench.fake.secret(NAME);
        let looked_at = Removal { delivered: None, repeated: how == Deletion::Delete, ..known };
        bench.destination.delete(&looked_at).await.unwrap();
        let written = Removal { written: true, ..looked_at };
        let unclear = bench.destination.delete(&written).await.map_err(|error| error.failure);
        assert_eq!((unclear, bench.fake.secret(NAME)), (Err(Failure::NotOurs), before));
    }
}

#[tokio::test]
async fn a_name_whose_deletion_is_not_done_is_not_restored_unseen() {
    for ownership in [Ownership::Refuse, Ownership::Adopt] {
        let bench = Bench::new().await;
        bench.fake.set_force_delete_delay(Duration::from_secs(60));
        let delivered = bench.create().await;
        bench.destination.delete(&removal(Some(delivered), Deletion::Delete)).await.unwrap();
        // Whoever has the name by the time of the next call would be restored and written.
        let error = bench.put(&delivery("{\"n\":2}", ownership)).await.unwrap_err();
        assert_eq!(error.failure, Failure::Deleting, "{error}");
        assert_eq!(bench.fake.call_count("RestoreSecret"), 0, "{ownership:?}");
    }
}

#[tokio::test]
async fn a_scheduled_name_is_restored_as_far_as_ownership_permits() {
    for (ownership, mark, written) in [
        (Ownership::Overwrite, None, true),
        (Ownership::Adopt, None, true),
        (Ownership::Refuse, None, false),
        (Ownership::Refuse, Some("e1.abc"), true),
        (Ownership::Adopt, Some("e1.other"), false),
    ] {
        let bench = Bench::new().await;
        match mark {
            Some(mark) => bench.marked(mark).await,
            None => drop(bench.fake.put_secret(NAME, "theirs")),
        }
        bench.fake.schedule_deletion(NAME, 7);
        let result = bench.put(&delivery("{\"n\":1}", ownership)).await;
        assert_eq!(result.is_ok(), written, "{ownership:?} {mark:?}: {result:?}");
        let secret = bench.fake.secret(NAME).unwrap();
        assert_eq!(secret.deleted_at.is_none(), written);
    }
}

#[tokio::test]
async fn a_deletion_is_forced_scheduled_or_left_out() {
    let bench = Bench::new().await;
    let delivered = bench.create().await;
    let removed = removal(Some(delivered), Deletion::Schedule { days: 9 });
    for _ in 0..2 {
        bench.destination.delete(&removed).await.unwrap();
    }
    let secret = bench.fake.secret(NAME).unwrap();
    let (asked, due) = (secret.deleted_at.unwrap(), secret.deleted_for_good_at.unwrap());
    assert_eq!(due.duration_since(asked).unwrap().as_secs(), 9 * 86_400);
    // Set again, it is restored and written, even under refuse: it carries our mark.
    bench.put(&delivery("{\"n\":2}", Ownership::Refuse)).await.unwrap();
    assert_eq!(bench.value().as_deref(), Some("{\"n\":2}"));

    let retained = removal(removed.delivered.clone(), Deletion::Retain);
    bench.destination.delete(&retained).await.unwrap();
    let secret = bench.fake.secret(NAME).unwrap();
    assert!(secret.tags.is_empty() && secret.deleted_at.is_none(), "{secret:?}");
    assert_eq!(bench.value().as_deref(), Some("{\"n\":2}"));

    let forced = removal(removed.delivered, Deletion::Delete);
    bench.destination.delete(&forced).await.unwrap();
    assert!(bench.fake.secret(NAME).is_none());
    // What is gone is retained, scheduled and deleted without complaint.
    for how in [Deletion::Delete, Deletion::Schedule { days: 7 }, Deletion::Retain] {
        bench.destination.delete(&Removal { how, ..forced.clone() }).await.unwrap();
    }
}

#[tokio::test]
async fn retaining_needs_no_permission() {
    let bench = Bench::permitted(&ACTIONS).await;
    let delivered = bench.create().await;
    bench.destination.delete(&removal(Some(delivered), Deletion::Retain)).await.unwrap();
    assert!(bench.fake.secret(NAME).unwrap().tags.contains_key(MARK_TAG));
    let notes = bench.destination.notes();
    assert_eq!(notes[0].missing_permission, "secretsmanager:UntagResource");
}

#[tokio::test]
async fn what_was_never_confirmed_goes_only_with_our_mark() {
    for how in [Deletion::Delete, Deletion::Schedule { days: 7 }, Deletion::Retain] {
        for foreign in ["", "e1.other", "e2.abc"] {
            let bench = Bench::new().await;
            match foreign {
                "" => drop(bench.fake.put_secret(NAME, "theirs")),
                mark => bench.marked(mark).await,
            }
            let before = bench.fake.secret(NAME);
            let outcome = bench.destination.delete(&removal(None, how)).await;
            // With another's mark nothing of ours can be there; without one nobody knows.
            let expected = if foreign.is_empty() { Some(Failure::NotOurs) } else { None };
            assert_eq!(outcome.err().map(|error| error.failure), expected);
            assert_eq!(bench.fake.secret(NAME), before);
        }
        let bench = Bench::new().await;
        bench.create().await;
        bench.destination.delete(&removal(None, how)).await.unwrap();
        assert_eq!(bench.fake.secret(NAME).is_none(), how == Deletion::Delete);
    }
}

#[tokio::test]
async fn a_secret_is_created_under_its_key_and_copied_to_its_regions() {
    let fake = FakeAws::start().await;
    let (key, other) = (fake.create_kms_key(), fake.create_kms_key_in("eu-west-1"));
    let regions = json!({ "eu-west-1": other, "us-west-2": "" }).to_string();
    let details = [("kms_key_id", key.as_str()), ("replica_regions", regions.as_str())];
    let administrator = fake.administrator().clone();
    let destination = destination_of(&fake, &administrator, &details).await.unwrap();
    let mut bench = Bench { fake, destination };
    let first = bench.create().await;
    assert_eq!(bench.fake.calls().len(), 1, "all of it is one call");
    let secret = bench.fake.secret(NAME).unwrap();
    assert_eq!(secret.kms_key_arn.as_deref(), Some(key.as_str()));
    assert_eq!(bench.replicas(), ["eu-west-1", "us-west-2"]);
    let copy = bench.fake.secret_in("eu-west-1", NAME).unwrap();
    assert_eq!(copy.kms_key_arn.as_deref(), Some(other.as_str()));
    assert_eq!(copy.value.as_deref(), Some("{\"n\":1}"));

    // Another key, one region less, one more: no version is made.
    let key = bench.fake.create_kms_key();
    let regions = json!({ "us-west-2": "", "ap-south-1": "" }).to_string();
    bench.turn(&[("kms_key_id", &key), ("replica_regions", &regions)]).await;
    assert_ne!(bench.destination.placement(), first.placement);
    let second = bench.aspects(first).await.unwrap();
    assert_eq!(bench.fake.secret(NAME).unwrap().kms_key_arn.as_deref(), Some(key.as_str()));
    assert_eq!(bench.replicas(), ["ap-south-1", "us-west-2"]);
    assert!(bench.fake.secret_in("eu-west-1", NAME).is_none());
    assert_eq!(bench.versions(), 1);

    // Neither any more: the account's own key, and no copies.
    bench.turn(&[]).await;
    assert_eq!(bench.destination.placement(), "");
    bench.aspects(second).await.unwrap();
    assert_eq!(bench.fake.secret(NAME).unwrap().kms_key_arn, None);
    assert!(bench.replicas().is_empty());
    assert_eq!(bench.versions(), 1);
}

#[tokio::test]
async fn a_new_value_and_a_new_key_are_one_call() {
    let mut bench = Bench::new().await;
    let previous = bench.create().await;
    let key = bench.fake.create_kms_key();
    bench.turn(&[("kms_key_id", &key)]).await;
    bench.fake.clear_calls();
    let mut next = delivery("{\"n\":2}", Ownership::Overwrite);
    next.previous = Some(previous);
    bench.fake.inject(Fault::lose_reply("secretsmanager:UpdateSecret").times(1));
    assert!(bench.put(&next).await.unwrap_err().uncertain);
    bench.put(&next).await.unwrap();
    assert_eq!(bench.fake.secret(NAME).unwrap().kms_key_arn.as_deref(), Some(key.as_str()));
    assert_eq!(bench.versions(), 2);
    next.token = bailee_crypto::random::uuid().to_string();
    next.previous = Some(bench.delivered(&next, &Receipt::default()));
    bench.fake.clear_calls();
    bench.put(&next).await.unwrap();
    assert_eq!(bench.fake.calls().len(), 1);
}

#[tokio::test]
async fn a_secret_with_copies_is_deleted_whether_or_not_we_know_of_them() {
    let bench = Bench::with(&[("replica_regions", "{\"eu-west-1\":\"\"}")]).await;
    let delivered = bench.create().await;
    bench.destination.delete(&removal(Some(delivered), Deletion::Delete)).await.unwrap();
    assert!(bench.fake.secrets().is_empty());

    let delivered = bench.create().await;
    let forgotten = Delivered { placement: String::new(), ..delivered };
    let scheduled = Deletion::Schedule { days: 7 };
    bench.destination.delete(&removal(Some(forgotten), scheduled)).await.unwrap();
    assert!(bench.replicas().is_empty());
    assert!(bench.fake.secret(NAME).unwrap().deleted_at.is_some());
}

#[tokio::test]
async fn a_copy_that_fails_is_said_and_the_value_is_there() {
    let bench = Bench::with(&[("replica_regions", "{\"eu-west-1\":\"\"}")]).await;
    bench.fake.put_secret_in("eu-west-1", NAME, "in the way");
    let error = bench.put(&delivery("{\"n\":1}", Ownership::Overwrite)).await.unwrap_err();
    assert_eq!(error.failure, Failure::Invalid);
    assert!(error.uncertain);
    assert!(error.message.contains("eu-west-1"), "{error:?}");
    assert_eq!(bench.value().as_deref(), Some("{\"n\":1}"));
}

#[tokio::test]
async fn what_is_adopted_keeps_copies_that_others_made() {
    let mut bench = Bench::with(&[("replica_regions", "{\"eu-west-1\":\"\"}")]).await;
    bench.create().await;
    bench.fake.set_secret_tag(NAME, MARK_TAG, None);
    bench.turn(&[("replica_regions", "{\"us-west-2\":\"\"}")]).await;
    bench.put(&delivery("{\"n\":2}", Ownership::Adopt)).await.unwrap();
    assert_eq!(bench.replicas(), ["eu-west-1", "us-west-2"]);
    // Our own are brought to what is wanted, although nothing is recorded of them.
    bench.put(&delivery("{\"n\":3}", Ownership::Refuse)).await.unwrap();
    assert_eq!(bench.replicas(), ["us-west-2"]);
}

#[tokio::test]
async fn copies_of_other_regions_are_not_ours_to_judge_or_to_write() {
    let bench = Bench::with(&[("replica_regions", "{\"eu-west-1\":\"\"}")]).await;
    bench.create().await;
    let key = bench.fake.administrator().clone();
    let there = destination_of(&bench.fake, &key, &[("region", "eu-west-1")]).await.unwrap();
    assert!(there.survey(&Names::Ours, None).await.unwrap().objects.is_empty());
    let here = bench.destination.survey(&Names::Ours, None).await.unwrap();
    assert_eq!(here.objects.len(), 1);
    let error = there.put(&delivery("{\"n\":2}", Ownership::Overwrite)).await.unwrap_err();
    assert_eq!(error.failure, Failure::NotOurs);
    assert!(error.message.contains("us-east-1"), "{error:?}");
}

#[tokio::test]
async fn a_survey_is_one_call_for_a_hundred_and_shows_what_is_going() {
    let bench = Bench::new().await;
    for number in 0..100 {
        let mut one = delivery("{\"n\":1}", Ownership::Overwrite);
        one.name = format!("vault/{number}");
        bench.put(&one).await.unwrap();
    }
    bench.fake.put_secret("vault/foreign", "x");
    bench.fake.set_secret_tag("vault/foreign", "hashicorp:vaulted", Some(""));
    bench.fake.schedule_deletion("vault/7", 7);
    bench.fake.clear_calls();
    let survey = bench.destination.survey(&Names::Ours, None).await.unwrap();
    assert_eq!(bench.fake.calls().len(), 1);
    assert_eq!(survey.objects.len(), 100);
    assert!(!survey.objects.contains_key("vault/foreign"));
    let going: Vec<_> = survey.objects.iter().filter(|(_, remote)| remote.deleting).collect();
    assert_eq!(going.len(), 1, "{going:?}");
}

#[tokio::test]
async fn an_empty_value_is_refused_before_anything_is_called() {
    let bench = Bench::new().await;
    let error = bench.put(&delivery("", Ownership::Overwrite)).await.unwrap_err();
    assert_eq!(error.failure, Failure::Invalid);
    assert!(error.message.contains("empty"), "{error:?}");
    assert!(bench.fake.calls().is_empty());
}

#[tokio::test]
async fn a_check_says_who_we_are_and_what_is_missing() {
    let bench = Bench::new().await;
    let checked = bench.destination.check().await.unwrap();
    assert_eq!(checked.notes, []);
    assert_eq!(checked.identity["region"], "us-east-1");
    assert_eq!(checked.identity["account"], bench.fake.account_id());
    assert!(checked.identity["arn"].ends_with("user/admin"), "{checked:?}");
    assert!(bench.fake.secrets().is_empty(), "nothing is changed");

    let bench = Bench::permitted(&ACTIONS).await;
    let checked = bench.destination.check().await.unwrap();
    let missing: Vec<&str> =
        checked.notes.iter().map(|note| note.missing_permission.as_str()).collect();
    assert_eq!(missing, ["secretsmanager:ListSecrets", "secretsmanager:DescribeSecret"]);

    let mut key = bench.fake.create_user("wrong", &[]);
    key.secret_access_key = "canary-wrong-key".to_owned();
    let wrong = destination_of(&bench.fake, &key, &[]).await.unwrap();
    let error = wrong.check().await.unwrap_err();
    assert_eq!(error.failure, Failure::Unauthenticated, "{error:?}");
    assert!(!format!("{error:?}").contains("canary"));

    let role = "arn:aws:iam::123456789012:role/nobody";
    let key = bench.fake.administrator().clone();
    let no_role = destination_of(&bench.fake, &key, &[("role_arn", role)]).await.unwrap();
    let error = no_role.check().await.unwrap_err();
    assert_eq!(error.failure, Failure::Forbidden, "{error:?}");
    assert_eq!(error.missing_permission.as_deref(), Some("sts:AssumeRole"));
}

#[tokio::test]
async fn a_failure_keeps_the_code_the_request_and_the_wait_of_the_service() {
    let bench = Bench::new().await;
    bench.fake.inject(Fault::throttle("secretsmanager:CreateSecret").times(1));
    let error = bench.put(&delivery("{\"n\":1}", Ownership::Overwrite)).await.unwrap_err();
    assert_eq!(error.failure, Failure::Throttled);
    assert_eq!(error.provider_code.as_deref(), Some("ThrottlingException"));
    assert!(error.message.contains("(request id "), "{error:?}");
}

#[tokio::test]
async fn details_that_cannot_be_right_are_refused_by_field() {
    let fake = FakeAws::start().await;
    let key = fake.administrator().clone();
    let kms = |region: &str| format!("arn:aws:kms:{region}:123456789012:key/1");
    let (here, elsewhere) = (kms("us-east-1"), kms("eu-west-1"));
    let replica_elsewhere = json!({ "eu-west-1": here }).to_string();
    for (details, told) in [
        (vec![("region", "us_east")], "region is not valid"),
        (vec![("region", "us-east-1.evil.example")], "region is not valid"),
        (vec![("secret_access_key", "")], "secret_access_key is missing"),
        (vec![("access_key_id", "")], "access_key_id is missing"),
        (vec![("access_key_id", "has space")], "access_key_id is not valid"),
        (vec![("role_arn", "arn:aws:iam::1:role/x")], "role_arn is not valid"),
        (vec![("role_arn", "arn:aws:iam::123456789012:user/x")], "role_arn is not valid"),
        (vec![("external_id", "x1")], "external_id without role_arn"),
        (vec![("identity_token_audience", "a")], "exclude each other"),
        (vec![("identity_token_key", "k")], "identity_token_key without"),
        (vec![("identity_token_ttl", "soon")], "identity_token_ttl is not valid"),
        (vec![("identity_token_ttl", "5")], "60 to 86400"),
        (vec![("kms_key_id", elsewhere.as_str())], "kms_key_id is a key in eu-west-1"),
        (vec![("kms_key_id", "arn:aws:iam::123456789012:role/x")], "kms_key_id is not valid"),
        (vec![("kms_key_id", "no key")], "kms_key_id is not valid"),
        (vec![("replica_regions", "eu-west-1")], "replica_regions is not valid"),
        (vec![("replica_regions", "{\"us-east-1\":\"\"}")], "leave it out"),
        (vec![("replica_regions", "{\"Europe\":\"\"}")], "replica_regions, \"Europe\""),
        (vec![("replica_regions", replica_elsewhere.as_str())], "replica_regions, eu-west-1"),
    ] {
        let Err(error) = destination_of(&fake, &key, &details).await else {
            panic!("{details:?} is taken");
        };
        assert_eq!(error.failure, Failure::Invalid);
        assert!(error.message.contains(told), "{details:?}: {}", error.message);
    }
    let role = ("role_arn", "arn:aws:iam::123456789012:role/deliver");
    let without_keys = [("access_key_id", ""), ("secret_access_key", ""), role];
    let audience = ("identity_token_audience", "aws");
    for (more, told) in
        [(vec![audience, ("external_id", "x1")], "external_id and"), (vec![], "no AWS credentials")]
    {
        let details = [without_keys.as_slice(), &more].concat();
        let Err(error) = destination_of(&fake, &key, &details).await else {
            panic!("{details:?} is taken");
        };
        assert!(error.message.contains(told), "{details:?}: {}", error.message);
    }
    for good in [
        vec![("kms_key_id", here.as_str())],
        vec![("kms_key_id", "alias/mine")],
        vec![("kms_key_id", "mrk-1234567890abcdef1234567890abcdef")],
        vec![role, ("external_id", "tenant:7")],
        vec![("identity_token_ttl", "0")],
    ] {
        destination_of(&fake, &key, &good).await.unwrap();
    }
    assert!(fake.calls().is_empty(), "nothing is called");
}
