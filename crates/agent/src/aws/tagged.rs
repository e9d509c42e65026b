//! Secrets by their tags.

use super::{
    AwsManager,
    calls::{Batch, Calls, Page},
    failover::of_both,
    fetch::is_not_permitted,
};
use crate::{
    event,
    failure::{Cause, Failure},
    manager::{Fetched, Wanted},
};
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, Tag};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

/// Tags of one wish that AWS looks for; by more it is sorted here.
const TAGS_FILTERED_MAX: usize = 5;
/// Tags of one wish.
const TAGS_MAX: usize = 50;
/// The longest text that AWS filters by, in characters.
const FILTER_CHARACTERS_MAX: usize = 512;
/// Pages of one wish: 20 secrets each.
const PAGES_MAX: usize = 5_000;
/// How long it is believed which secrets carry which tags.
const SORTED_KEPT: Duration = Duration::from_secs(3_600);

/// Which secrets carry the tags of a wish. Filters look at beginnings, and at keys and values apart from each other,
/// so they find more.
#[derive(Debug)]
pub(super) struct Sorted {
    at: SystemTime,
    /// All that the filters found.
    found: BTreeSet<String>,
    /// Those that carry the tags.
    right: BTreeSet<String>,
}

impl AwsManager {
    pub(super) async fn fetch_by_tags(
        &self,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<Fetched>, Failure> {
        if tags.is_empty() || tags.len() > TAGS_MAX {
            let message = format!("tags: want 1 to {TAGS_MAX} tags, which a secret must all carry");
            return Err(Failure::new(Cause::Invalid, message));
        }
        if let Some(replica) = self.instead_of_home() {
            return self.tagged_abroad(replica, tags, None).await;
        }
        match self.at(&self.home, tags).await {
            Err(failure) => match self.replica_after(&failure) {
                Some(replica) => self.tagged_abroad(replica, tags, Some(failure)).await,
                None => Err(failure),
            },
            Ok(found) => {
                self.note_home(&found);
                Ok(found)
            }
        }
    }

    async fn tagged_abroad(
        &self,
        replica: &Calls,
        tags: &BTreeMap<String, String>,
        home: Option<Failure>,
    ) -> Result<Vec<Fetched>, Failure> {
        match self.at(replica, tags).await {
            Ok(found) => {
                let home = found.into_iter().filter_map(|one| {
                    let name = one.name.clone();
                    let told = |failure| event::tagged_left_out(&self.place, &name, &failure);
                    self.brought_home(one).map_err(told).ok()
                });
                Ok(home.collect())
            }
            Err(failure) => Err(of_both(home, replica, failure)),
        }
    }

    async fn at(
        &self,
        calls: &Calls,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<Fetched>, Failure> {
        let filters = filters(tags);
        if self.may_batch() {
            match self.values(calls, &filters).await {
                Ok(found) => return self.right_ones(calls, tags, &filters, found).await,
                Err(failure) if is_not_permitted(&failure) => {
                    // The same answer for want of ListSecrets, which is asked next.
                    if !failure.message.contains("ListSecrets") {
                        self.note_no_batch(&failure);
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        let right = self.listed(calls, tags, &filters).await?;
        let wanted: Vec<Wanted> = right.into_iter().map(Wanted::current).collect();
        let fetched = self.fetch_all(&wanted).await;
        let found = wanted.iter().zip(fetched).filter_map(|(wanted, fetched)| {
            fetched
                .map_err(|failure| event::tagged_left_out(&self.place, &wanted.id, &failure))
                .ok()
        });
        Ok(found.collect())
    }

    /// All values that the filters find.
    async fn values(&self, calls: &Calls, filters: &[Filter]) -> Result<Vec<Fetched>, Failure> {
        let (mut found, mut next) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = calls.filtered(filters, next);
            let Page { items: Batch { values, errors }, next: following } =
                self.at_home(page).await?;
            for (id, failure) in errors {
                event::tagged_left_out(&self.place, &id, &failure);
            }
            found.extend(values);
            next = following;
            if next.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Those of what the filters found that carry the tags. What was sorted a while ago is not sorted again, so that
    /// a refresh costs no listing.
    async fn right_ones(
        &self,
        calls: &Calls,
        tags: &BTreeMap<String, String>,
        filters: &[Filter],
        found: Vec<Fetched>,
    ) -> Result<Vec<Fetched>, Failure> {
        let now = self.now();
        let known = {
            let state = self.state.lock();
            let sorted = state.sorted.get(tags).filter(|sorted| {
                now.duration_since(sorted.at).is_ok_and(|age| age < SORTED_KEPT)
                    && found.iter().all(|one| sorted.found.contains(&one.id))
            });
            sorted.map(|sorted| sorted.right.clone())
        };
        let right = match known {
            Some(right) => right,
            None => {
                let right = self.listed(calls, tags, filters).await?;
                let found = found.iter().map(|one| one.id.clone()).collect();
                let sorted = Sorted { at: now, found, right: right.clone() };
                self.state.lock().sorted.insert(tags.clone(), sorted);
                right
            }
        };
        Ok(found.into_iter().filter(|one| right.contains(&one.id)).collect())
    }

    /// The ARNs of the secrets that carry the tags.
    async fn listed(
        &self,
        calls: &Calls,
        tags: &BTreeMap<String, String>,
        filters: &[Filter],
    ) -> Result<BTreeSet<String>, Failure> {
        let (mut right, mut next) = (BTreeSet::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.at_home(calls.list(filters, next)).await?;
            let carry = page.items.into_iter().filter(|one| carries(one.tags(), tags));
            right.extend(carry.filter_map(|one| one.arn));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        Ok(right)
    }
}

fn carries(tags: &[Tag], wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| {
        let same = |tag: &&Tag| tag.key() == Some(key) && tag.value().unwrap_or_default() == value;
        tags.iter().any(|tag| same(&tag))
    })
}

/// What AWS is asked to look for.
fn filters(tags: &BTreeMap<String, String>) -> Vec<Filter> {
    let filter = |name: FilterNameStringType, text: &str| {
        let legal = |letter: char| letter.is_ascii_alphanumeric() || " :_@/+=.-!".contains(letter);
        let is_filter = !text.is_empty()
            && text.len() <= FILTER_CHARACTERS_MAX
            && !text.starts_with('!')
            && text.chars().all(legal);
        is_filter.then(|| Filter::builder().key(name).values(text).build())
    };
    let pairs = tags.iter().take(TAGS_FILTERED_MAX);
    let filters = pairs.flat_map(|(key, value)| {
        [filter(FilterNameStringType::TagKey, key), filter(FilterNameStringType::TagValue, value)]
    });
    filters.flatten().collect()
}
