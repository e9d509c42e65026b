//! Against the fake of AWS: what only its own rules show.

use super::world::{FakeSource, Standing, names};
use crate::{
    Settings,
    pull::{
        Keys, Place, Replication, Spec, Target,
        report::{Outcome, Results},
        source::Source,
        sources::aws_secrets_manager::AwsSource,
        spec::Removals,
    },
    registry::{Details, Network},
};
use bailee_crypto::{Sensitive, SystemClock};
use bailee_fake_clouds::{FakeAws, aws::Fault};
use std::{collections::BTreeMap, sync::Arc};

struct Aws {
    fake: FakeAws,
    source: FakeSource,
    spec: Spec,
    details: BTreeMap<&'static str, String>,
}

impl Aws {
    async fn new() -> Aws {
        let fake = FakeAws::start().await;
        let spec = Spec::below("main", "p");
        Aws { fake, source: FakeSource::default(), spec, details: BTreeMap::new() }
    }

    async fn run(&self) -> Results {
        let place = self.place();
        let target = Target::connect("aws-sm", &place).await.unwrap();
        self.run_from(target, Arc::new(self.source.clone())).await
    }

    fn keys(&self, target: &Target) -> Keys {
        Keys::new(Some(&Sensitive::from("key")), &self.spec.name, &target.place())
    }

    fn place(&self) -> Place {
        let mut details = Details::default();
        let mut give = |name: &str, value: &str| {
            details.0.insert(name.to_owned(), Sensitive::from(value));
        };
        give("region", "us-east-1");
        give("access_key_id", self.fake.access_key_id());
        give("secret_access_key", self.fake.secret_access_key());
        for (name, value) in &self.details {
            give(name, value);
        }
        let settings =
            Settings { aws_endpoint_url: Some(self.fake.endpoint()), ..Settings::default() };
        let network = Network { disable_strict_networking: true, ..Network::default() };
        Place { details, network, settings, clock: Arc::new(SystemClock) }
    }

    async fn run_from(&self, target: Target, source: Arc<dyn Source>) -> Results {
        let keys = self.keys(&target);
        let mut spec = self.spec.clone();
        spec.check(&target).unwrap();
        let replication = Replication::new(spec, keys, source, target, Arc::new(Standing));
        match replication.run().await.outcome {
            Outcome::Done(results) => results,
            Outcome::NotBegun(failure) => panic!("{failure}"),
        }
    }

    fn calls(&self) -> BTreeMap<String, u64> {
        let calls = self.fake.call_counts();
        self.fake.clear_calls();
        calls
            .into_iter()
            .map(|(name, count)| (name.trim_start_matches("secretsmanager:").to_owned(), count))
            .collect()
    }
}

fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn each_change_takes_as_few_calls_as_the_service_allows() {
    let aws = Aws::new().await;
    aws.source.write("a", "1");
    aws.source.write("b", "1");
    aws.run().await;
    assert_eq!(aws.calls(), counts(&[("CreateSecret", 2), ("ListSecrets", 1)]));
    aws.run().await;
    assert_eq!(aws.calls(), counts(&[("ListSecrets", 1)]));
    aws.source.write("a", "2");
    aws.run().await;
    let update = [("ListSecrets", 1), ("TagResource", 1), ("UpdateSecret", 1)];
    assert_eq!(aws.calls(), counts(&update));
    aws.run().await;
    assert_eq!(aws.calls(), counts(&[("ListSecrets", 1)]));
}

#[tokio::test]
async fn an_update_that_was_cut_off_between_value_and_tags_is_finished_without_a_version() {
    let aws = Aws::new().await;
    aws.source.write("a", "1");
    aws.run().await;
    aws.source.write("a", "2");
    let denied = Fault::error("secretsmanager:TagResource", 400, "AccessDeniedException", "no");
    aws.fake.inject(denied.times(1));
    assert_eq!(aws.run().await.failed.len(), 1);
    let half = aws.fake.secret("p/a").unwrap();
    assert_eq!((half.value.as_deref(), half.tags["version"].as_str()), (Some("2"), "1"));
    aws.calls();
    aws.source.take_reads();
    assert_eq!(aws.run().await.aspects, names(&["p/a"]));
    assert_eq!(aws.calls(), counts(&[("ListSecrets", 1), ("TagResource", 1)]));
    assert_eq!(aws.source.take_reads(), 0);
    let whole = aws.fake.secret("p/a").unwrap();
    assert_eq!((whole.value.as_deref(), whole.tags["version"].as_str()), (Some("2"), "2"));
    aws.run().await;
    assert_eq!(aws.calls(), counts(&[("ListSecrets", 1)]));
}

#[tokio::test]
async fn a_half_done_update_is_overtaken_by_a_newer_version() {
    let aws = Aws::new().await;
    aws.source.write("a", "1");
    aws.run().await;
    aws.source.write("a", "2");
    let denied = Fault::error("secretsmanager:TagResource", 400, "AccessDeniedException", "no");
    aws.fake.inject(denied.times(1));
    aws.run().await;
    aws.source.write("a", "3");
    assert_eq!(aws.run().await.updated, names(&["p/a"]));
    let whole = aws.fake.secret("p/a").unwrap();
    assert_eq!((whole.value.as_deref(), whole.tags["version"].as_str()), (Some("3"), "3"));
    aws.calls();
    aws.run().await;
    assert_eq!(aws.calls(), counts(&[("ListSecrets", 1)]));
}

#[tokio::test]
async fn another_key_and_other_replicas_are_brought_about_without_reading_material() {
    let mut aws = Aws::new().await;
    aws.source.write("a", "1");
    aws.run().await;
    aws.source.take_reads();
    for (key, regions) in [
        (aws.fake.create_kms_key(), "{\"eu-west-1\": \"\", \"eu-north-1\": \"\"}"),
        (aws.fake.create_kms_key(), "{\"eu-west-1\": \"\"}"),
        (String::new(), ""),
    ] {
        aws.details.insert("kms_key_id", key.clone());
        aws.details.insert("replica_regions", regions.to_owned());
        assert_eq!(aws.run().await.aspects, names(&["p/a"]));
        for region in ["eu-west-1", "eu-north-1"] {
            let copied = aws.fake.secret_in(region, "p/a").is_some();
            assert_eq!(copied, regions.contains(region), "{region} of {regions}");
        }
        aws.calls();
        aws.run().await;
        assert_eq!(aws.calls(), counts(&[("ListSecrets", 1)]));
    }
    assert_eq!(aws.source.take_reads(), 0);
    assert_eq!(aws.fake.secret("p/a").unwrap().versions.len(), 1);
}

#[tokio::test]
async fn a_name_that_was_scheduled_for_deletion_is_restored() {
    let mut aws = Aws::new().await;
    aws.spec.removals = Removals::Schedule { days: 7 };
    aws.spec.deletion_share_max = 1.0;
    aws.source.write("a", "1");
    aws.run().await;
    aws.source.remove("a");
    assert_eq!(aws.run().await.scheduled, names(&["p/a"]));
    assert!(aws.fake.secret("p/a").unwrap().deleted_at.is_some());
    assert_eq!(aws.run().await, Results::default());
    aws.source.write("a", "2");
    assert_eq!(aws.run().await.updated, names(&["p/a"]));
    let back = aws.fake.secret("p/a").unwrap();
    assert_eq!((back.value.as_deref(), back.deleted_at.is_none()), (Some("2"), true));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_throttled_is_asked_for_again() {
    let aws = Aws::new().await;
    aws.source.write("a", "1");
    aws.fake.inject(Fault::throttle("secretsmanager:ListSecrets").times(3));
    assert_eq!(aws.run().await.created, names(&["p/a"]));
    aws.fake.inject(Fault::lose_reply("secretsmanager:ListSecrets").times(1));
    assert_eq!(aws.run().await.unchanged, 1);
}

#[tokio::test]
async fn a_tag_that_may_not_be_removed_is_told_by_its_permission() {
    let mut aws = Aws::new().await;
    aws.spec.custom_tags.insert("team".to_owned(), "blue".to_owned());
    aws.source.write("a", "1");
    aws.run().await;
    aws.spec.custom_tags.clear();
    let denied = Fault::error(
        "secretsmanager:UntagResource",
        400,
        "AccessDeniedException",
        "User is not authorized to perform: secretsmanager:UntagResource",
    );
    aws.fake.inject(denied.times(1));
    let results = aws.run().await;
    assert_eq!(results.failed, []);
    assert!(results.notes[0].starts_with("secretsmanager:UntagResource would"), "{results:?}");
    aws.run().await;
    assert!(!aws.fake.secret("p/a").unwrap().tags.contains_key("team"));
}

#[tokio::test]
async fn what_is_read_where_it_is_written_is_not_copied_from_copies() {
    let mut aws = Aws::new().await;
    aws.source.write("a", "1");
    aws.run().await;
    aws.spec = Spec::below("other", "q");
    for created in [1, 0, 0] {
        let place = aws.place();
        let target = Target::connect("aws-sm", &place).await.unwrap();
        let source = AwsSource::connect(&place, "").await.unwrap().without_own(aws.keys(&target));
        let results = aws.run_from(target, Arc::new(source)).await;
        assert_eq!((results.created.len(), results.is_whole()), (created, true), "{results:?}");
    }
    assert_eq!(aws.fake.secret("q/p/a").unwrap().value.as_deref(), Some("1"));
    assert!(aws.fake.secret("q/q/p/a").is_none());
}
