//! `…/plan`: what would happen at a destination now, or with other settings, or with other secrets.

use super::{
    Paths,
    associations::{secret_name, versioned_mount},
    destinations::{WriteDestination, changed, purging},
    plan_subjects::Gathering,
};
use crate::{
    Tenure,
    board::Board,
    dry_run::{DryRun, Extent, Forecast, PAGE_MAX},
    epoch::Epoch,
    estimate,
    registry::{Configured, DestinationKind, StoredDestination},
    store::Store,
    work::Worker,
};
use bailee_sdk::{Error, Mount, Operation, Reply, Request, typed};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a plan is worked on before what there is of it is answered.
const TIME_MAX: Duration = Duration::from_secs(40);

/// How long it is found out what a plan is about; what is left of the time is for the look.
const GATHERING_TIME_MAX: Duration = Duration::from_secs(15);

/// What is to be planned.
#[derive(Deserialize, JsonSchema)]
pub(super) struct PlanDestination {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// The plan is made for this template of names.
    #[schemars(with = "Option<String>")]
    secret_name_template: Option<Value>,
    /// The plan is made for this granularity.
    #[schemars(with = "Option<String>")]
    granularity: Option<Value>,
    /// The plan is made for this treatment of objects that are not known to be ours.
    #[schemars(with = "Option<String>")]
    ownership: Option<Value>,
    /// The plan is made for this way of deletion.
    #[schemars(with = "Option<String>")]
    deletion: Option<Value>,
    /// Days in which what is deleted can be restored, with `deletion` as `schedule`.
    #[schemars(with = "Option<u32>")]
    recovery_window_days: Option<Value>,
    /// The plan is made for this treatment of changes that others make.
    #[schemars(with = "Option<String>")]
    drift: Option<Value>,
    /// The plan is made with these tags added.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    custom_tags: Option<Value>,
    /// The plan is made without these tags.
    #[schemars(with = "Option<Vec<String>>")]
    tags_to_remove: Option<Value>,
    /// The plan is made for this KMS key.
    #[schemars(with = "Option<String>")]
    kms_key_id: Option<Value>,
    /// The plan is made for copies in these regions.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    replica_regions: Option<Value>,
    /// Secrets that would be associated: `{"mount": …, "secret_name": …}`. A name that ends in `/` or
    /// `*` stands for all secrets that begin with it.
    #[serde(default)]
    associate: Vec<Candidate>,
    /// Secrets that would be dissociated, likewise.
    #[serde(default)]
    dissociate: Vec<Candidate>,
    /// Where a former answer says that the plan goes on.
    #[serde(default)]
    after: String,
    /// Secrets that one answer is about, at most.
    limit: Option<usize>,
}

/// A secret, or all secrets that begin so.
#[derive(Clone, Deserialize, JsonSchema)]
pub(super) struct Candidate {
    /// Path of the mount that holds the secret.
    pub(super) mount: String,
    /// Path of the secret in its mount.
    pub(super) secret_name: String,
}

impl Paths {
    pub(super) async fn plan_destination(
        self: Arc<Self>,
        request: Request<PlanDestination>,
    ) -> Result<Reply, Error> {
        let deadline = Instant::now() + TIME_MAX;
        let store = self.store(&request).await?;
        let input = &request.input;
        let kind = self.kind(&input.kind)?;
        let found = store.destination(kind.name, &input.name).await?;
        let (before, _) = found.ok_or_else(Error::not_found)?;
        if before.is_purging() {
            return Err(purging());
        }
        let changed = input.settings(kind, &before)?;
        let configured = self.configured(&store, &request, &before, changed).await?;
        let local = self.sync.registry.surroundings.local.read().clone();
        let local = local.ok_or_else(not_running)?;
        let epoch = Epoch::read(&store.view).await?.ok_or_else(not_running)?;
        let may_read = |mount: &str, secret: &str| may(&request, Operation::Read, mount, secret);
        let gathering = Gathering {
            store: &store,
            request: &request,
            kind,
            stored: &configured.stored,
            local: local.as_ref(),
            limit: input.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX),
            until: Instant::now() + GATHERING_TIME_MAX,
        };
        let mut gathered =
            gathering.subjects(&input.associate, &input.dissociate, &input.after).await?;
        let subjects = std::mem::take(&mut gathered.subjects);
        let codes: Vec<String> = subjects.iter().map(|subject| subject.secret.clone()).collect();
        let barrier = request.view.barrier().clone();
        let registry = self.sync.registry.clone();
        let clock = self.sync.clock.clone();
        let run = DryRun {
            // It looks and calls nothing that has an effect.
            worker: Worker::new(
                barrier,
                local.clone(),
                registry,
                clock,
                Arc::<Board>::default(),
                Tenure::unlimited(),
            ),
            destination: store.destination_id(kind.name, &input.name),
            store: store.clone(),
            namespace: request.namespace.clone(),
            configured: &configured,
            mounts: request.mounts.clone(),
            tags_max: kind.tags.map(|rule| rule.tags_max),
            may_read: &may_read,
            epoch,
        };
        let mut forecast = run.of(subjects, deadline).await?;
        let counts = gathered.counted(forecast.covered);
        forecast.summary.hidden = counts.hidden;
        forecast.objects += counts.hidden_objects;
        run.check_quota(&mut forecast);
        let next = match codes.get(forecast.covered.saturating_sub(1)) {
            Some(last) if forecast.covered < codes.len() => Some(last.clone()),
            _ => gathered.next.clone(),
        };
        let mut answer = self.answer(&configured, &forecast);
        answer.insert("next".to_owned(), json!(next));
        answer.insert("set_again".to_owned(), json!(counts.set_again));
        if let Some(Value::Object(estimate)) = answer.get_mut("estimate") {
            estimate.insert("new_clients".to_owned(), json!(counts.new_clients));
        }
        let mut notes = self.resting(&store, Some(&configured.stored)).await?;
        if counts.set_again > 0 {
            notes.push(format!(
                "{} associations keep their names until they are set again: the plan is made as if \
                 they were",
                counts.set_again
            ));
        }
        answer.insert("notes".to_owned(), json!(notes));
        Ok(Reply::data(&Value::Object(answer)))
    }

    /// The destination, as it is or with changed settings.
    async fn configured(
        &self,
        store: &Store,
        request: &Request<PlanDestination>,
        before: &StoredDestination,
        changed: Option<StoredDestination>,
    ) -> Result<Arc<Configured>, Error> {
        let registry = &self.sync.registry;
        let found = match changed {
            Some(changed) => registry.tried(changed, &request.namespace).await.map(Arc::new),
            None => {
                let (kind, name) = (&before.kind, &before.name);
                let found = registry.configured(store, &request.namespace, kind, name).await;
                match found {
                    Ok(found) => return found.ok_or_else(Error::not_found),
                    Err(error) => Err(error),
                }
            }
        };
        found.map_err(|error| Error::invalid(error.message))
    }

    fn answer(&self, configured: &Configured, forecast: &Forecast) -> Map<String, Value> {
        let destination = &configured.destination;
        let rate = destination.limits().writes_per_second;
        let mut estimate = Map::from_iter([
            ("api_calls".to_owned(), json!(forecast.calls)),
            ("seconds".to_owned(), json!(estimate::seconds(forecast.changes, rate))),
            ("objects".to_owned(), json!(forecast.objects)),
        ]);
        if let Some(prices) = destination.prices() {
            let interval = self.sync.settings.reconcile_interval;
            let cost = prices.of(forecast.objects, interval);
            estimate.insert("monthly_cost_usd".to_owned(), json!(cost));
            estimate.insert("objects_max".to_owned(), json!(prices.objects_max));
            estimate.insert("prices".to_owned(), json!(prices));
        }
        let (survey, problem) = match &forecast.looked {
            Extent::Full => ("full", None),
            Extent::Partial => ("partial", None),
            Extent::NotPermitted(permission) => ("not permitted", Some(permission)),
            Extent::Failed(message) => ("failed", Some(message)),
        };
        let mut answer = Map::from_iter([
            ("type".to_owned(), json!(configured.stored.kind)),
            ("name".to_owned(), json!(configured.stored.name)),
            ("summary".to_owned(), json!(forecast.summary)),
            ("rows".to_owned(), json!(forecast.rows)),
            ("limits".to_owned(), json!(forecast.limits)),
            ("estimate".to_owned(), Value::Object(estimate)),
            ("survey".to_owned(), json!(survey)),
        ]);
        if let Some(problem) = problem {
            let field = if survey == "failed" { "survey_error" } else { "missing_permission" };
            answer.insert(field.to_owned(), json!(problem));
        }
        answer
    }
}

impl PlanDestination {
    /// The destination with the settings that were given; `None` when they change nothing.
    fn settings(
        &self,
        kind: &DestinationKind,
        before: &StoredDestination,
    ) -> Result<Option<StoredDestination>, Error> {
        let mut given = Map::from_iter([
            ("type".to_owned(), json!(self.kind)),
            ("name".to_owned(), json!(self.name)),
        ]);
        for (name, value) in [
            ("secret_name_template", &self.secret_name_template),
            ("granularity", &self.granularity),
            ("ownership", &self.ownership),
            ("deletion", &self.deletion),
            ("recovery_window_days", &self.recovery_window_days),
            ("drift", &self.drift),
            ("custom_tags", &self.custom_tags),
            ("tags_to_remove", &self.tags_to_remove),
            ("kms_key_id", &self.kms_key_id),
            ("replica_regions", &self.replica_regions),
        ] {
            given.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        let input: WriteDestination = typed(given)?;
        let after = changed(kind, input, before)?;
        Ok((after != *before).then_some(after))
    }
}

/// Whether whoever asks may do this to a secret.
pub(super) fn may<I>(request: &Request<I>, operation: Operation, mount: &str, path: &str) -> bool {
    let tree = if operation == Operation::List { "metadata" } else { "data" };
    let path = format!("{mount}{tree}/{path}");
    request.caller.as_ref().is_some_and(|caller| (caller.may)(operation, &path))
}

pub(super) fn not_running() -> Error {
    Error::invalid("secrets sync is not running on this server: it is sealed, or just starting")
}

/// The mount and the path of a candidate, or of the secrets that begin so.
pub(super) fn placed<'a, I>(
    request: &'a Request<I>,
    candidate: &'a Candidate,
) -> Result<(&'a Arc<Mount>, Which<'a>), Error> {
    let mount = versioned_mount(request, &candidate.mount)?;
    let name = candidate.secret_name.trim_start_matches('/');
    let prefix = name.strip_suffix('*').or_else(|| name.ends_with('/').then_some(name));
    let which = match prefix {
        Some(prefix) => Which::Below(prefix),
        None if name.is_empty() => Which::Below(""),
        None => Which::One(secret_name(name)?),
    };
    Ok((mount, which))
}

/// One secret, or many.
pub(super) enum Which<'a> {
    One(&'a str),
    Below(&'a str),
}
