//! Running a source now, and telling what a run would do.

use super::{NamedSource, source_key};
use crate::{
    paths::{Paths, plan::not_running},
    pull::{Forecast, report::SetupFailure},
};
use bailee_sdk::{Code, Error, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long a plan is worked on.
const PLAN_TIME_MAX: Duration = Duration::from_secs(60);
/// Rows of one plan where nobody says how many.
const ROWS: usize = 1_000;
/// Most rows of one plan.
const ROWS_MAX: usize = 10_000;

/// A plan that is asked for.
#[derive(Deserialize, JsonSchema)]
pub(in crate::paths) struct PlanSource {
    /// Name of the source.
    name: String,
    /// Secrets that the answer names at most; it counts all.
    limit: Option<usize>,
}

impl Paths {
    pub(in crate::paths) async fn run_source(
        self: Arc<Self>,
        request: Request<NamedSource>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let source = store.source(&request.input.name).await?.ok_or_else(Error::not_found)?;
        if source.paused {
            return Err(Error::invalid(
                "the source is paused: set paused=false, or ask for a plan, which changes nothing",
            ));
        }
        let warnings = self.resting_source(&store, &source).await?;
        let pulling = self.sync.pulling().ok_or_else(not_running)?;
        pulling.ask(source_key(&request.namespace, &source.name));
        let status = format!("sys/sync/sources/{}/status", source.name);
        let reply = Reply::data(&json!({ "accepted": true, "status": status }));
        Ok(warnings.into_iter().fold(reply, Reply::warn))
    }

    pub(in crate::paths) async fn plan_source(
        self: Arc<Self>,
        request: Request<PlanSource>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let source = store.source(&request.input.name).await?.ok_or_else(Error::not_found)?;
        let pulling = self.sync.pulling().ok_or_else(not_running)?;
        let planned = Box::pin(pulling.plan(&request.namespace, &source));
        let planned = tokio::time::timeout(PLAN_TIME_MAX, planned).await.map_err(|_| {
            let seconds = PLAN_TIME_MAX.as_secs();
            Error::new(
                Code::Upstream,
                format!("the plan was not ready within {seconds} s: the source or the destination is slow"),
            )
        })?;
        let planned = planned.ok_or_else(|| {
            Error::new(Code::RateLimited, "other plans of sources are under way: ask again")
        })?;
        let forecast =
            planned.map_err(|failure: SetupFailure| Error::invalid(failure.to_string()))?;
        let limit = request.input.limit.unwrap_or(ROWS).min(ROWS_MAX);
        let reply = Reply::data(&shown(&forecast, limit));
        let warnings = self.resting_source(&store, &source).await?;
        Ok(warnings.into_iter().fold(reply, Reply::warn))
    }
}

fn shown(forecast: &Forecast, limit: usize) -> Value {
    let Forecast { rows, unchanged, failed, notes, calls } = forecast;
    json!({
        "changes": rows.iter().take(limit).collect::<Vec<_>>(),
        "total_changes": rows.len(),
        "unchanged": unchanged,
        "failures": failed
            .iter()
            .take(limit)
            .map(|one| json!({ "name": one.name, "class": one.failure, "message": one.message }))
            .collect::<Vec<_>>(),
        "total_failures": failed.len(),
        "notes": notes,
        "calls": calls,
    })
}
