//! The contract of destinations as a suite, and a destination in memory that fails on command.

pub mod cloud;
pub mod protocol;
pub mod service;

pub use cloud::{FakeCloud, Fault};

use crate::{
    destination::{
        Deletion, Delivered, Delivery, Destination, Extent, Names, Ownership, Receipt, Remote,
        Removal,
    },
    failure::Failure,
    source::Payload,
    tags::{OwnerMark, marked},
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Looks at a destination past its contract: what a user of it would find there.
#[async_trait]
pub trait Look: Send + Sync {
    /// The current value.
    async fn value(&self, name: &str) -> Option<Vec<u8>>;
    /// How many versions were made.
    async fn versions(&self, name: &str) -> usize;
    /// The tags.
    async fn tags(&self, name: &str) -> BTreeMap<String, String>;
}

/// The contract of [`Destination`], run against every implementation on an empty destination.
///
/// # Panics
/// When the contract is broken.
pub async fn check_destination(destination: &dyn Destination, look: &dyn Look) {
    destination.check().await.expect("good credentials are accepted");
    same_delivery_twice_leaves_one_version(destination, look).await;
    updates_replace_and_deletions_are_repeatable(destination, look).await;
    what_replaced_an_object_is_not_touched(destination, look).await;
    tags_alone_make_no_version(destination, look).await;
    unknown_state_is_overwritten(destination, look).await;
    survey_shows_what_is_there(destination).await;
}

async fn same_delivery_twice_leaves_one_version(destination: &dyn Destination, look: &dyn Look) {
    let name = "contract/twice";
    let first = delivery(name, "{\"v\":1}", 1, None);
    let receipt = destination.put(&first).await.expect("a new object is created");
    assert_eq!(destination.put(&first).await.expect("it may be repeated"), receipt);
    assert_eq!(look.versions(name).await, 1);
    assert_eq!(look.tags(name).await, first.tags);
    let second = delivery(name, "{\"v\":2}", 2, Some(delivered(&first, &receipt)));
    let receipt = destination.put(&second).await.expect("an object is updated");
    assert_eq!(destination.put(&second).await.expect("it may be repeated"), receipt);
    assert_eq!(look.versions(name).await, 2);
    assert_eq!(look.value(name).await, Some(b"{\"v\":2}".to_vec()));
}

async fn updates_replace_and_deletions_are_repeatable(
    destination: &dyn Destination,
    look: &dyn Look,
) {
    let name = "contract/gone";
    let first = delivery(name, "{\"v\":3}", 3, None);
    let receipt = destination.put(&first).await.expect("a new object is created");
    let removal = Removal {
        name: name.to_owned(),
        identity: receipt.identity.clone(),
        delivered: Some(delivered(&first, &receipt)),
        written: false,
        repeated: false,
        mark: mark(name),
        how: Deletion::Delete,
    };
    for _ in 0..2 {
        destination.delete(&removal).await.expect("what is gone is removed");
        assert_eq!(look.value(name).await, None);
    }
    // The ledger may believe in an object that somebody removed.
    let again = delivery(name, "{\"v\":4}", 4, removal.delivered);
    destination.put(&again).await.expect("a lost object is created again");
    assert_eq!(look.value(name).await, Some(b"{\"v\":4}".to_vec()));
}

/// Where the destination can tell an object from one that has its name later.
async fn what_replaced_an_object_is_not_touched(destination: &dyn Destination, look: &dyn Look) {
    let name = "contract/replaced";
    let first = delivery(name, "{\"v\":20}", 20, None);
    let receipt = destination.put(&first).await.expect("a new object is created");
    if receipt.identity.is_none() {
        return;
    }
    let removal = Removal {
        name: name.to_owned(),
        identity: receipt.identity.clone(),
        delivered: Some(delivered(&first, &receipt)),
        written: false,
        repeated: false,
        mark: mark(name),
        how: Deletion::Delete,
    };
    destination.delete(&removal).await.expect("it is removed");
    let theirs = Delivery {
        mark: mark("somebody"),
        tags: marked(&BTreeMap::new(), &mark("somebody")),
        ..delivery(name, "{\"v\":21}", 21, None)
    };
    destination.put(&theirs).await.expect("the name is free");
    for how in [Deletion::Delete, Deletion::Retain, Deletion::Schedule { days: 7 }] {
        let removal = Removal { how, ..removal.clone() };
        destination.delete(&removal).await.expect("what is gone is removed");
    }
    let looked_at = Removal { delivered: None, repeated: true, ..removal.clone() };
    destination.delete(&looked_at).await.expect("what is gone is removed");
    for extent in [Extent::Value, Extent::Aspects] {
        let mut next = Delivery {
            extent,
            ownership: Ownership::Adopt,
            ..delivery(name, "{\"v\":22}", 22, removal.delivered.clone())
        };
        next.tags.insert("team".to_owned(), "blue".to_owned());
        let refused = destination.put(&next).await.expect_err("it is somebody else's");
        assert_eq!(refused.failure, Failure::NotOurs, "{refused}");
    }
    assert_eq!(look.value(name).await, Some(b"{\"v\":21}".to_vec()));
    assert_eq!(look.tags(name).await, theirs.tags);
    let over = delivery(name, "{\"v\":23}", 23, removal.delivered);
    destination.put(&over).await.expect("the last write wins");
    assert_eq!(look.value(name).await, Some(b"{\"v\":23}".to_vec()));
    assert_eq!(look.tags(name).await, over.tags);
}

async fn tags_alone_make_no_version(destination: &dyn Destination, look: &dyn Look) {
    if !destination.limits().tags {
        return;
    }
    let name = "contract/tags";
    let first = delivery(name, "{\"v\":5}", 5, None);
    let receipt = destination.put(&first).await.expect("a new object is created");
    let mut second = delivery(name, "{\"v\":5}", 6, Some(delivered(&first, &receipt)));
    second.tags.insert("team".to_owned(), "blue".to_owned());
    second.extent = Extent::Aspects;
    let receipt = destination.put(&second).await.expect("tags are added");
    assert_eq!(look.tags(name).await, second.tags);
    let mut third = delivery(name, "{\"v\":5}", 7, Some(delivered(&second, &receipt)));
    third.extent = Extent::Aspects;
    destination.put(&third).await.expect("tags are removed");
    assert_eq!(look.tags(name).await, third.tags);
    assert_eq!(look.versions(name).await, 1);
}

async fn unknown_state_is_overwritten(destination: &dyn Destination, look: &dyn Look) {
    let name = "contract/unknown";
    destination.put(&delivery(name, "{\"v\":8}", 8, None)).await.expect("a new object is created");
    let second = delivery(name, "{\"v\":9}", 9, None);
    destination.put(&second).await.expect("what may or may not be there is overwritten");
    assert_eq!(look.value(name).await, Some(b"{\"v\":9}".to_vec()));
    assert_eq!(look.tags(name).await, second.tags);
}

async fn survey_shows_what_is_there(destination: &dyn Destination) {
    let name = "contract/survey";
    let put = delivery(name, "{\"v\":10}", 10, None);
    let receipt = destination.put(&put).await.expect("a new object is created");
    let names = Names::These(vec![name.to_owned(), "contract/absent".to_owned()]);
    let mut survey = destination.survey(&names, None).await.expect("surveys are permitted");
    let tags = destination.limits().tags.then(|| put.tags.clone());
    for remote in survey.objects.values_mut() {
        if let Some(placement) = remote.placement.take() {
            assert_eq!(placement, destination.placement());
        }
    }
    let Receipt { version_id, identity, .. } = receipt;
    let remote = Remote { version_id: Some(version_id), identity, tags, ..Remote::default() };
    assert_eq!(survey.objects, BTreeMap::from([(name.to_owned(), remote)]));
    for (start, found) in [("contract/su", true), ("contract/sux", false), ("", true)] {
        let asked = Names::Below(start.to_owned());
        let below = destination.survey(&asked, None).await.expect("surveys are permitted");
        assert_eq!(below.objects.contains_key(name), found, "{start}");
    }
    let ours = destination.survey(&Names::Ours, None).await.expect("surveys are permitted");
    assert!(ours.objects.contains_key(name));
}

/// A first delivery under that name.
#[cfg(test)]
pub(crate) fn sample(name: &str) -> Delivery {
    delivery(name, "{\"v\":1}", 1, None)
}

fn delivery(name: &str, text: &str, number: u64, previous: Option<Delivered>) -> Delivery {
    Delivery {
        name: name.to_owned(),
        payload: Payload {
            bytes: Zeroizing::new(text.as_bytes().to_vec()),
            version: number,
            expires_at: None,
        },
        token: format!("00000000-0000-4000-8000-{number:012}"),
        tags: marked(&BTreeMap::new(), &mark(name)),
        previous,
        extent: Extent::Value,
        ownership: Ownership::Overwrite,
        mark: mark(name),
    }
}

fn mark(name: &str) -> OwnerMark {
    OwnerMark { epoch: "e1".to_owned(), code: hex::encode(name), former: Vec::new() }
}

fn delivered(delivery: &Delivery, receipt: &Receipt) -> Delivered {
    Delivered {
        version_id: receipt.version_id.clone(),
        identity: receipt.identity.clone(),
        source_version: delivery.payload.version,
        generation: 1,
        content_mark: String::new(),
        tags: delivery.tags.clone(),
        placement: String::new(),
        at: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fake_cloud_keeps_the_destination_contract() {
        let cloud = FakeCloud::default();
        check_destination(&cloud, &cloud).await;
    }
}
