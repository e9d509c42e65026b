use super::{Bed, allow, get, read, reader, text};
use crate::{
    disk::DiskCache,
    failure::Cause,
    manager::{Material, SecretManager, Wanted, Which},
    private_file::{self, Rule},
    store::{Freshness, Patience, Place, Store},
};
use bailee_fake_clouds::aws::Fault;
use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::Duration};

const GET: &str = "secretsmanager:GetSecretValue";
const BATCH: &str = "secretsmanager:BatchGetSecretValue";
const LIST: &str = "secretsmanager:ListSecrets";

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_secret_is_read_by_name_arn_partial_arn_stage_and_version_in_one_call_each() {
    let bed = Bed::new().await;
    let first = bed.aws.put_secret("prod/a", "one");
    let second = bed.aws.put_secret("prod/a", "two");
    let arn = bed.aws.secret("prod/a").unwrap().arn;
    let manager = bed.user(&[&reader()]).await;
    assert_eq!(get(&manager, "prod/a").await.unwrap(), "two");
    assert_eq!(get(&manager, &arn).await.unwrap(), "two");
    assert_eq!(get(&manager, arn.rsplit_once('-').unwrap().0).await.unwrap(), "two");
    let previous = Which::Stage("AWSPREVIOUS".to_owned());
    assert_eq!(read(&manager, "prod/a", previous).await.unwrap(), "one");
    assert_eq!(read(&manager, "prod/a", Which::Id(first.clone())).await.unwrap(), "one");
    let at_stage = Which::IdAtStage { id: first, stage: "AWSCURRENT".to_owned() };
    assert_eq!(read(&manager, "prod/a", at_stage).await.unwrap_err().cause, Cause::Invalid);
    assert_eq!(bed.aws.call_count(GET), 6);
    let fetched = manager.fetch(&Wanted::current("prod/a")).await.unwrap();
    assert_eq!((fetched.id, fetched.name.as_str()), (arn, "prod/a"));
    assert_eq!((fetched.version, fetched.stages), (second, vec!["AWSCURRENT".to_owned()]));
    assert!(fetched.created.is_some());
}

#[tokio::test]
async fn bytes_stay_bytes() {
    let bed = Bed::new().await;
    bed.aws.put_binary_secret("cert", &[0, 159, 146, 150]);
    let manager = bed.user(&[&reader()]).await;
    let fetched = manager.fetch(&Wanted::current("cert")).await.unwrap();
    assert_eq!(fetched.material, Material::binary([0, 159, 146, 150]));
    let many = manager.fetch_many(&[Wanted::current("cert"), Wanted::current("cert")]).await;
    assert!(many.iter().all(|one| one.as_ref().unwrap().material == fetched.material));
}

#[tokio::test]
async fn a_refresh_of_500_secrets_costs_25_calls() {
    let bed = Bed::new().await;
    let manager = Arc::new(bed.user(&[&reader()]).await);
    let patience =
        Patience { refresh: Duration::from_secs(300), stale_max: Duration::from_secs(3_600) };
    let place = Place::new("prod", manager, patience);
    let store = Store::new([place], NonZeroUsize::new(1_000).unwrap(), bed.clock.clone());
    for number in 0..500 {
        let name = format!("app/{number}");
        bed.aws.put_secret(&name, &format!("value-{number}"));
        store.pin("prod", &Wanted::current(name)).unwrap();
    }
    for _ in 0..2 {
        bed.aws.clear_calls();
        store.refresh_due().await;
        let counts: Vec<(String, u64)> = bed.aws.call_counts().into_iter().collect();
        assert_eq!(counts, [(BATCH.to_owned(), 25)]);
        bed.pass(Duration::from_secs(301)).await;
    }
    bed.pass(Duration::from_secs(1)).await;
    bed.aws.clear_calls();
    store.refresh_due().await;
    for number in [0, 77, 499] {
        let wanted = Wanted::current(format!("app/{number}"));
        let held = store.get("prod", &wanted, Freshness::Kept).await.unwrap();
        assert_eq!(text(&held.fetched), format!("value-{number}"));
    }
    assert_eq!(bed.aws.call_count(GET), 0);
}

#[tokio::test]
async fn each_wish_of_a_batch_has_its_own_answer() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    bed.aws.put_secret("a", "2");
    bed.aws.put_secret("b", "3");
    bed.aws.put_secret("gone", "4");
    bed.aws.schedule_deletion("gone", 7);
    let manager = bed.user(&[&reader()]).await;
    let arn = bed.aws.secret("b").unwrap().arn;
    let previous = Wanted { id: "a".to_owned(), version: Which::Stage("AWSPREVIOUS".to_owned()) };
    let wanted = [
        Wanted::current("b"),
        Wanted::current("missing"),
        previous,
        Wanted::current("a"),
        Wanted::current(arn),
        Wanted::current("gone"),
    ];
    let fetched = manager.fetch_many(&wanted).await;
    let told: Vec<Result<String, Cause>> =
        fetched.iter().map(|one| one.as_ref().map(text).map_err(|failure| failure.cause)).collect();
    let ok = |text: &str| Ok(text.to_owned());
    let none = || Err(Cause::NotFound);
    assert_eq!(told, [ok("3"), none(), ok("1"), ok("2"), ok("3"), none()]);
    assert_eq!((bed.aws.call_count(BATCH), bed.aws.call_count(GET)), (1, 1));
    let missing = fetched[1].as_ref().unwrap_err();
    assert_eq!(
        missing.to_string(),
        "ResourceNotFoundException: Secrets Manager can't find the specified secret."
    );
}

#[tokio::test]
async fn where_batches_are_not_permitted_single_calls_serve_and_batches_are_not_tried_for_a_while()
{
    let bed = Bed::new().await;
    for name in ["a", "b", "c"] {
        bed.aws.put_secret(name, name);
    }
    let manager = bed.user(&[&allow(&[GET], "*")]).await;
    let wanted = ["a", "b", "c"].map(Wanted::current);
    for _ in 0..2 {
        let fetched = manager.fetch_many(&wanted).await;
        let texts: Vec<String> = fetched.iter().map(|one| text(one.as_ref().unwrap())).collect();
        assert_eq!(texts, ["a", "b", "c"]);
    }
    assert_eq!((bed.aws.call_count(BATCH), bed.aws.call_count(GET)), (1, 6));
    bed.pass(Duration::from_secs(601)).await;
    bed.aws.set_user_policies("app", &[&reader()]);
    manager.fetch_many(&wanted).await;
    assert_eq!((bed.aws.call_count(BATCH), bed.aws.call_count(GET)), (2, 6));
}

#[tokio::test]
async fn an_id_that_spoils_a_batch_spoils_no_other_secret() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    bed.aws.put_secret("b", "2");
    let manager = bed.user(&[&reader()]).await;
    bed.aws.inject(Fault::error(BATCH, 400, "InvalidParameterException", "an id").times(1));
    let wanted = ["a", "b", "missing"].map(Wanted::current);
    let fetched = manager.fetch_many(&wanted).await;
    assert!(fetched[0].is_ok() && fetched[1].is_ok());
    assert_eq!(fetched[2].as_ref().unwrap_err().cause, Cause::NotFound);
    // The next one is a batch again.
    bed.aws.clear_calls();
    manager.fetch_many(&wanted).await;
    assert_eq!((bed.aws.call_count(BATCH), bed.aws.call_count(GET)), (1, 0));
}

#[tokio::test]
async fn secrets_by_tag_carry_all_the_tags_whole_and_a_refresh_lists_nothing() {
    let bed = Bed::new().await;
    for number in 0..45 {
        let name = format!("orders/{number}");
        bed.aws.put_secret(&name, "value");
        bed.aws.set_secret_tag(&name, "app", Some("orders"));
        bed.aws.set_secret_tag(&name, "stage", Some("prod"));
    }
    for (name, app, stage) in [
        ("other", "orders-admin", "prod"),
        ("test", "orders", "test"),
        ("swapped", "prod", "orders"),
    ] {
        bed.aws.put_secret(name, "not asked for");
        bed.aws.set_secret_tag(name, "app", Some(app));
        bed.aws.set_secret_tag(name, "stage", Some(stage));
    }
    let manager = bed.user(&[&reader()]).await;
    let tags = tags(&[("app", "orders"), ("stage", "prod")]);
    for lists in [1, 1] {
        let found = manager.fetch_tagged(&tags).await.unwrap();
        assert_eq!(found.len(), 45);
        assert!(found.iter().all(|one| one.name.starts_with("orders/") && text(one) == "value"));
        assert_eq!(bed.aws.call_count(LIST), lists);
    }
    // 47 pass the filters: three pages.
    assert_eq!((bed.aws.call_count(BATCH), bed.aws.call_count(GET)), (6, 0));
    bed.aws.set_secret_tag("test", "stage", Some("prod"));
    assert_eq!(manager.fetch_tagged(&tags).await.unwrap().len(), 46);
}

#[tokio::test]
async fn without_batches_tagged_secrets_are_listed_and_without_listing_that_is_told() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    bed.aws.set_secret_tag("a", "app", Some("orders"));
    let manager = bed.user(&[&allow(&[GET, LIST], "*")]).await;
    let wanted = tags(&[("app", "orders")]);
    let found = manager.fetch_tagged(&wanted).await.unwrap();
    assert_eq!(found.iter().map(text).collect::<Vec<_>>(), ["1"]);
    bed.aws.set_user_policies("app", &[&allow(&[GET, BATCH], "*")]);
    bed.pass(Duration::from_secs(601)).await;
    let failure = manager.fetch_tagged(&wanted).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Denied);
    let user = format!("arn:aws:iam::{}:user/app", bed.aws.account_id());
    assert_eq!(
        failure.to_string(),
        format!(
            "AccessDeniedException: User: {user} is not authorized to perform: secretsmanager:ListSecrets on \
             resource: * because no identity-based policy allows the secretsmanager:ListSecrets action"
        )
    );
    assert_eq!(manager.fetch_tagged(&BTreeMap::new()).await.unwrap_err().cause, Cause::Invalid);
}

#[tokio::test]
async fn an_arn_without_its_end_is_found_though_the_name_ends_like_one() {
    let bed = Bed::new().await;
    bed.aws.put_secret("trap-abcdef", "caught");
    bed.aws.put_secret("plain", "plain");
    let whole = bed.aws.secret("trap-abcdef").unwrap().arn;
    let partial = whole.rsplit_once('-').unwrap().0;
    let manager = bed.user(&[&reader()]).await;
    assert_eq!(get(&manager, partial).await.unwrap(), "caught");
    let many = manager.fetch_many(&[Wanted::current(partial), Wanted::current("plain")]).await;
    assert_eq!(text(many[0].as_ref().unwrap()), "caught");
    // One that is really not there is not taken for another.
    let missing =
        format!("{}-zzzzzz", bed.aws.secret("plain").unwrap().arn.rsplit_once('-').unwrap().0);
    assert_eq!(get(&manager, &missing).await.unwrap_err().cause, Cause::NotFound);
}

#[tokio::test]
async fn throttling_and_outages_have_their_causes_and_are_not_repeated_here() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    let manager = bed.user(&[&reader()]).await;
    for (fault, cause) in [
        (Fault::throttle("secretsmanager:*").times(1), Cause::Throttled),
        (Fault::lose_reply("secretsmanager:*").times(1), Cause::Unavailable),
        (
            Fault::error("secretsmanager:*", 500, "InternalServiceError", "An error occurred.")
                .times(1),
            Cause::Unavailable,
        ),
        (
            Fault::error("secretsmanager:*", 503, "ServiceUnavailable", "later").times(1),
            Cause::Unavailable,
        ),
    ] {
        bed.aws.clear_calls();
        bed.aws.inject(fault);
        assert_eq!(get(&manager, "a").await.unwrap_err().cause, cause);
        assert_eq!(bed.aws.call_count(GET), 1);
    }
    let failure = {
        bed.aws.inject(Fault::throttle(BATCH).times(1));
        let wanted = ["a", "b"].map(Wanted::current);
        manager.fetch_many(&wanted).await[1].as_ref().unwrap_err().clone()
    };
    assert_eq!((failure.cause, failure.code.as_str()), (Cause::Throttled, "ThrottlingException"));
}

#[tokio::test]
async fn a_replica_answers_while_the_region_is_away_and_only_then() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "home");
    bed.aws.put_secret_in("us-west-2", "a", "replica");
    bed.aws.put_secret("only-home", "home");
    let key = bed.aws.create_user("app", &[&reader()]);
    let away = super::Fields {
        failover_region: Some("us-west-2".to_owned()),
        failover_endpoint: Some(bed.aws.endpoint()),
        ..bed.keys(&key)
    };
    let manager = bed.manager(&away).await;
    assert_eq!(get(&manager, "a").await.unwrap(), "home");
    assert_eq!(get(&manager, "missing").await.unwrap_err().cause, Cause::NotFound);

    bed.aws.inject(Fault::error(GET, 503, "ServiceUnavailable", "away").times(1));
    assert_eq!(get(&manager, "a").await.unwrap(), "replica");
    // It is left alone for a while.
    bed.aws.clear_calls();
    assert_eq!(get(&manager, "a").await.unwrap(), "replica");
    let many = manager.fetch_many(&["a", "only-home"].map(Wanted::current)).await;
    assert_eq!(text(many[0].as_ref().unwrap()), "replica");
    assert!(many[0].as_ref().unwrap().id.contains(":us-east-1:"));
    // That there is no replica of it does not say that it is gone.
    let failure = many[1].as_ref().unwrap_err();
    assert_eq!(failure.cause, Cause::Unavailable);
    assert!(
        failure.message.contains("failover_region us-west-2: ResourceNotFoundException"),
        "{failure}"
    );
    assert!(bed.aws.calls().iter().all(|call| call.region == "us-west-2"));
    bed.pass(Duration::from_secs(31)).await;
    assert_eq!(get(&manager, "a").await.unwrap(), "home");
}

#[tokio::test]
async fn a_replica_that_lags_gives_nothing_older_than_the_region_gave() {
    let bed = Bed::new().await;
    bed.aws.put_secret_in("us-west-2", "a", "old");
    bed.pass(Duration::from_secs(60)).await;
    bed.aws.put_secret("a", "new");
    let key = bed.aws.create_user("app", &[&reader()]);
    let fields = super::Fields {
        failover_region: Some("us-west-2".to_owned()),
        failover_endpoint: Some(bed.aws.endpoint()),
        ..bed.keys(&key)
    };
    let manager = bed.manager(&fields).await;
    assert_eq!(get(&manager, "a").await.unwrap(), "new");
    bed.aws.inject(Fault::error(GET, 503, "ServiceUnavailable", "away").times(1));
    for _ in ["home fails", "home is left alone"] {
        let failure = get(&manager, "a").await.unwrap_err();
        assert_eq!(failure.cause, Cause::Unavailable);
        assert!(failure.message.contains("the replica has an older version"), "{failure}");
    }
    bed.aws.put_secret_in("us-west-2", "a", "newer");
    assert_eq!(get(&manager, "a").await.unwrap(), "newer");
    // Who never saw the region's is given what there is.
    bed.aws.inject(Fault::error(GET, 503, "ServiceUnavailable", "away").times(1));
    assert_eq!(get(&bed.manager(&fields).await, "a").await.unwrap(), "newer");
}

#[tokio::test]
async fn after_a_restart_a_replica_that_lags_gives_nothing_older_either() {
    let bed = Bed::new().await;
    for id in ["kept", "pushed-out"] {
        bed.aws.put_secret_in("us-west-2", id, "old");
    }
    bed.pass(Duration::from_secs(60)).await;
    for id in ["kept", "pushed-out"] {
        bed.aws.put_secret(id, "new");
    }
    let key = bed.aws.create_user("app", &[&reader()]);
    let fields = super::Fields {
        failover_region: Some("us-west-2".to_owned()),
        failover_endpoint: Some(bed.aws.endpoint()),
        ..bed.keys(&key)
    };
    let start = async || {
        let place = Place::new("m", Arc::new(bed.manager(&fields).await), Patience::default());
        Store::new([place], NonZeroUsize::new(10).unwrap(), bed.clock.clone())
    };
    let get = async |store: &Store, id: &str| {
        let held = store.get("m", &Wanted::current(id), Freshness::Now).await;
        held.map(|held| text(&held.fetched))
    };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    private_file::replace(&key, &[3; 32]).unwrap();
    let cache = DiskCache::new(&folder.path().join("cache"), &key, Rule::OWN).unwrap();
    let before = start().await;
    for id in ["kept", "pushed-out"] {
        assert_eq!(get(&before, id).await.unwrap(), "new");
    }
    let mut memory = before.memory(false).await;
    memory.secrets.retain(|secret| secret.wanted.id == "kept");
    cache.save(&memory).unwrap();

    let after = start().await;
    assert_eq!(after.restore(cache.load().unwrap()).await, 1);
    bed.aws.inject(Fault::error(GET, 503, "ServiceUnavailable", "away").times(1));
    assert_eq!(get(&after, "kept").await.unwrap(), "new");
    let failure = get(&after, "pushed-out").await.unwrap_err();
    assert!(failure.message.contains("the replica has an older version"), "{failure}");
    // Who has no such file has no way to know.
    bed.aws.inject(Fault::error(GET, 503, "ServiceUnavailable", "away").times(1));
    assert_eq!(get(&start().await, "kept").await.unwrap(), "old");
}
