//! `ListSecrets`, and the filters and pages it shares with other calls.

use std::cmp::Ordering;
use std::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::store::Secret;
use crate::aws::clock::seconds;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Ask, Call, World};

/// All filters of a request; a secret must pass each.
#[derive(Debug)]
pub(super) struct Filters(Vec<Filter>);

#[derive(Debug)]
struct Filter {
    key: Attribute,
    wanted: Vec<String>,
    unwanted: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Attribute {
    Description,
    Name,
    TagKey,
    TagValue,
    PrimaryRegion,
    OwningService,
    All,
}

const FILTERS_MAX: usize = 10;
const VALUES_MAX: usize = 10;

impl Filters {
    pub(super) fn read(call: &Call<'_>) -> Result<Self, Failure> {
        let filters = call.input.inputs("Filters")?;
        call.input.check_length("Filters", filters.len(), 0, FILTERS_MAX)?;
        let mut read = Vec::new();
        for filter in filters {
            let key = match filter.text("Key", 0, usize::MAX)? {
                Some("description") => Attribute::Description,
                Some("name") => Attribute::Name,
                Some("tag-key") => Attribute::TagKey,
                Some("tag-value") => Attribute::TagValue,
                Some("primary-region") => Attribute::PrimaryRegion,
                Some("owning-service") => Attribute::OwningService,
                Some("all") => Attribute::All,
                Some(_) => {
                    let must = "satisfy enum value set: [description, name, tag-key, tag-value, \
                                primary-region, owning-service, all]";
                    return Err(Failure::constraint(call.service, "filters.key", must));
                }
                None => {
                    let message = "Invalid filter key";
                    return Err(Failure::new("InvalidParameterException", message));
                }
            };
            let values = filter.texts("Values", 0, 512)?;
            if values.is_empty() {
                let message = "Invalid filter values for key";
                return Err(Failure::new("InvalidParameterException", message));
            }
            filter.check_length("Values", values.len(), 1, VALUES_MAX)?;
            if let Some(value) = values.iter().find(|value| !is_filter_value(value)) {
                let must = "satisfy regular expression pattern: \
                            ^\\!?[a-zA-Z0-9 :_@\\/\\+\\=\\.\\-\\!]*$";
                return Err(Failure::constraint(call.service, &format!("filters.{value}"), must));
            }
            let (unwanted, wanted): (Vec<&str>, Vec<&str>) =
                values.into_iter().partition(|value| value.starts_with('!'));
            read.push(Filter {
                key,
                wanted: wanted.into_iter().map(str::to_owned).collect(),
                unwanted: unwanted
                    .into_iter()
                    .filter_map(|value| value.strip_prefix('!').map(str::to_owned))
                    .collect(),
            });
        }
        Ok(Self(read))
    }

    fn pass(&self, secret: &Secret) -> bool {
        self.0.iter().all(|filter| {
            let some =
                |values: &[String]| values.iter().any(|value| filter.key.matches(value, secret));
            (filter.wanted.is_empty() || some(&filter.wanted)) && !some(&filter.unwanted)
        })
    }
}

fn is_filter_value(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" :_@/+=.-!".contains(&byte))
}

impl Attribute {
    /// Prefix match; only descriptions and `all` ignore case.
    fn matches(self, value: &str, secret: &Secret) -> bool {
        let lower = value.to_lowercase();
        let description = secret.description.as_deref().unwrap_or_default();
        match self {
            Self::Name => secret.place.name.starts_with(value),
            Self::Description => description.to_lowercase().starts_with(&lower),
            Self::TagKey => secret.tags.keys().any(|key| key.starts_with(value)),
            Self::TagValue => secret.tags.values().any(|tag| tag.starts_with(value)),
            Self::PrimaryRegion => {
                secret.primary_region.as_deref().is_some_and(|region| region.starts_with(value))
            }
            Self::OwningService => false,
            Self::All => lower.split_whitespace().all(|word| {
                let tags = secret.tags.iter().flat_map(|(key, value)| [key, value]);
                tags.map(String::as_str)
                    .chain([secret.place.name.as_str(), description])
                    .any(|text| text.to_lowercase().contains(word))
            }),
        }
    }
}

/// A position in a list and how much to answer at once.
#[derive(Debug)]
pub(super) struct Page {
    operation: &'static str,
    after: Option<u64>,
    limit: usize,
    descending: bool,
}

impl Page {
    pub(super) fn read(
        call: &Call<'_>,
        operation: &'static str,
        limit: i64,
    ) -> Result<Self, Failure> {
        let after = match call.input.text("NextToken", 1, 4096)? {
            None => None,
            Some(token) => Some(position(operation, token).ok_or_else(|| {
                Failure::new("InvalidNextTokenException", "The NextToken value is invalid.")
            })?),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Self { operation, after, limit, descending: false })
    }

    /// One page of `items`, which are sorted by `order`, and the token of the next page.
    pub(super) fn cut<T>(
        &self,
        items: Vec<T>,
        order: impl Fn(&T) -> u64,
    ) -> (Vec<T>, Option<String>) {
        let beyond = |item: &T| match self.after {
            None => true,
            Some(after) if self.descending => order(item) < after,
            Some(after) => order(item) > after,
        };
        let mut rest = items.into_iter().filter(|item| beyond(item));
        let page: Vec<T> = rest.by_ref().take(self.limit).collect();
        let more = rest.next().is_some();
        let next = page
            .last()
            .filter(|_| more)
            .map(|last| URL_SAFE_NO_PAD.encode(format!("{}:{}", self.operation, order(last))));
        (page, next)
    }
}

fn position(operation: &str, token: &str) -> Option<u64> {
    let token = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (made_by, after) = token.split_once(':')?;
    if made_by == operation { after.parse().ok() } else { None }
}

/// One page of the caller's secrets that pass, in order of creation, and the next page's token.
pub(super) fn select<'w>(
    world: &'w World,
    call: &Call<'_>,
    filters: &Filters,
    deleted_too: bool,
    page: &Page,
) -> (Vec<&'w Secret>, Option<String>) {
    if world.settings.list_lag_ms > 0 {
        return page.cut(select_all(world, call, filters, deleted_too, page.descending), order);
    }
    let wanted =
        |secret: &&Secret| (deleted_too || secret.deletion.is_none()) && filters.pass(secret);
    let rest = match page.after {
        None => (Bound::Included(0), Bound::Included(u64::MAX)),
        Some(after) if page.descending => (Bound::Included(0), Bound::Excluded(after)),
        Some(after) => (Bound::Excluded(after), Bound::Included(u64::MAX)),
    };
    let secrets = world.secrets.in_order(call.account(), call.region, rest).filter(wanted);
    // One more than the page tells whether there is a next one.
    let enough = page.limit + 1;
    let found = if page.descending {
        secrets.rev().take(enough).collect()
    } else {
        secrets.take(enough).collect()
    };
    page.cut(found, order)
}

fn order(secret: &&Secret) -> u64 {
    secret.order
}

/// All of the caller's secrets that pass, as old as listings are, in order of creation.
fn select_all<'w>(
    world: &'w World,
    call: &Call<'_>,
    filters: &Filters,
    deleted_too: bool,
    descending: bool,
) -> Vec<&'w Secret> {
    let wanted = |secret: &&Secret| {
        secret.place.region == call.region
            && secret.place.account == call.account()
            && (deleted_too || secret.deletion.is_none())
            && filters.pass(secret)
    };
    let lag = world.settings.list_lag_ms;
    let mut found: Vec<&Secret> = if lag > 0 {
        world.secrets.as_of(call.now - lag).into_iter().filter(wanted).collect()
    } else {
        world.secrets.all().filter(wanted).collect()
    };
    found.sort_unstable_by_key(|secret| secret.order);
    if descending {
        found.reverse();
    }
    found
}

pub(super) fn list(world: &mut World, call: &Call<'_>) -> Outcome {
    let input = call.input;
    let filters = Filters::read(call)?;
    let limit = input.bounded("MaxResults", 1, 100, 100)?;
    let deleted_too = input.boolean("IncludePlannedDeletion")?.unwrap_or(false);
    let descending = match input.text("SortOrder", 0, usize::MAX)? {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(_) => {
            let must = "satisfy enum value set: [asc, desc]";
            return Err(Failure::constraint(call.service, "sortOrder", must));
        }
    };
    let sort_by = input.text("SortBy", 0, usize::MAX)?.unwrap_or("created-date");
    let mut page = Page::read(call, "ListSecrets", limit)?;
    world.authorize(call, Ask::new("secretsmanager:ListSecrets", "*", call.account()))?;

    page.descending = descending && sort_by == "created-date";
    let by: fn(&Secret, &Secret) -> Ordering = match sort_by {
        "created-date" => |a, b| a.order.cmp(&b.order),
        "name" => |a, b| a.place.name.cmp(&b.place.name),
        "last-changed-date" => |a, b| a.changed.cmp(&b.changed),
        "last-accessed-date" => |a, b| a.accessed.cmp(&b.accessed),
        _ => {
            let must = "satisfy enum value set: [created-date, last-accessed-date, \
                        last-changed-date, name]";
            return Err(Failure::constraint(call.service, "sortBy", must));
        }
    };
    let (entries, next) = if sort_by == "created-date" {
        select(world, call, &filters, deleted_too, &page)
    } else {
        let mut found = select_all(world, call, &filters, deleted_too, false);
        found.sort_by(|a, b| if descending { by(b, a) } else { by(a, b) });
        let numbered = (1u64..).zip(found).collect();
        let (entries, next) = page.cut(numbered, |(number, _)| *number);
        (entries.into_iter().map(|(_, secret)| secret).collect(), next)
    };
    let entries: Vec<Value> = entries.into_iter().map(entry).collect();
    let mut reply = json!({ "SecretList": entries });
    if let (Some(next), Some(members)) = (next, reply.as_object_mut()) {
        members.insert("NextToken".to_owned(), json!(next));
    }
    Ok(reply)
}

fn entry(secret: &Secret) -> Value {
    let mut entry = secret.summary();
    if let Some(members) = entry.as_object_mut() {
        let labels = secret.labels();
        if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
            members.insert("SecretVersionsToStages".to_owned(), labels);
        }
        if let Some(deletion) = secret.deletion {
            members.insert("DeletedDate".to_owned(), json!(seconds(deletion.asked)));
        }
    }
    entry
}
