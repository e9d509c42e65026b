//! `sys/internal/counters`.

use super::{
    month::Month,
    record::{Activity, Config, Counting, sightings},
    report::{exported, report},
};
use crate::identity::IdentityStore;
use bailee_crypto::clock;
use bailee_sdk::{
    Body, Code, Engine, Error, Nothing, Operation, Path, Reply, Request, field::Integer,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{fmt, sync::Arc, time::SystemTime};

/// Months that can be kept, and asked for at once.
const MONTHS_MAX: u32 = 60;
/// Clients that one export tells of.
const EXPORT_MAX: usize = 100_000;
/// The time that stands for none.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is served about activity, relative to the mount of the system.
pub(crate) struct ActivityPaths {
    activity: Arc<Activity>,
    identity: Arc<IdentityStore>,
}

#[derive(Deserialize, JsonSchema)]
struct Period {
    /// The first month, by a time in it: RFC 3339 or seconds since 1970.
    #[serde(default)]
    start_time: Option<String>,
    /// The last month, by a time in it; no later than the previous month.
    #[serde(default)]
    end_time: Option<String>,
    /// `json` or `csv`, of an export.
    #[serde(default)]
    format: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct WriteConfig {
    /// `enable`, `disable`, or `default`, which is not to count.
    #[serde(default)]
    enabled: Option<String>,
    /// Months that are kept.
    #[serde(default)]
    retention_months: Option<Integer>,
    /// Kept for older clients.
    #[serde(default, rename = "default_report_months")]
    _default_report_months: Option<Integer>,
}

impl Engine for ActivityPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        let read = Operation::Read;
        vec![
            Path::new("internal/counters/requests").on(
                read,
                &self,
                "Counts of requests; metrics have them.",
                Self::removed,
            ),
            Path::new("internal/counters/entities").on(
                read,
                &self,
                "Count the entities of this namespace and those below.",
                Self::entities,
            ),
            Path::new("internal/counters/activity").on(
                read,
                &self,
                "Count the clients of past months.",
                Self::activity,
            ),
            Path::new("internal/counters/activity/cumulative").on(
                read,
                &self,
                "Count the clients of past months together.",
                Self::cumulative,
            ),
            Path::new("internal/counters/activity/monthly").on(
                read,
                &self,
                "Count the clients of this month so far.",
                Self::monthly,
            ),
            Path::new("internal/counters/activity/export")
                .on(read, &self, "List the clients of some months.", Self::export)
                .sudo(),
            Path::new("internal/counters/config")
                .on(read, &self, "Tell whether clients are counted.", Self::read_config)
                .on(Operation::Update, &self, "Set whether clients are counted.", Self::configure)
                .root_only(),
        ]
    }
}

impl ActivityPaths {
    pub(crate) fn new(activity: Arc<Activity>, identity: Arc<IdentityStore>) -> ActivityPaths {
        ActivityPaths { activity, identity }
    }

    async fn entities(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        let places = self.activity.registry.places();
        let mut total = 0;
        let below =
            places.iter().filter(|place| place.namespace.path.starts_with(&request.namespace.path));
        for place in below {
            total += self.identity.count(&place.namespace).await?;
        }
        Ok(Reply::data(&json!({ "counters": { "entities": { "total": total } } })))
    }

    async fn removed(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        Err(Error::new(Code::NotFound, "The functionality has been removed on this path"))
    }

    async fn activity(self: Arc<Self>, request: Request<Period>) -> Result<Reply, Error> {
        self.past(request, true).await
    }

    async fn cumulative(self: Arc<Self>, request: Request<Period>) -> Result<Reply, Error> {
        self.past(request, false).await
    }

    async fn past(&self, request: Request<Period>, by_month: bool) -> Result<Reply, Error> {
        let previous = self.activity.month().before(1);
        let (months, capped) = self.months(&request.input, previous)?;
        let (report, shown) = report(&self.activity, &request.namespace, &months).await?;
        let start = request.input.start_time.as_ref().and(months.first());
        let mut told = json!({
            "by_namespace": report.by_namespace(),
            "start_time": start.map_or_else(|| NEVER.to_owned(), |month| month.first()),
            "end_time": months.last().copied().unwrap_or(previous).last(),
            "total": report.total(),
        });
        if let (Value::Object(fields), true) = (&mut told, by_month) {
            fields.insert("months".to_owned(), shown.into());
        }
        let reply = Reply::data(&told);
        if !capped {
            return Ok(reply);
        }
        Ok(reply.warn(
            "end_time parameter can only be used to specify a date until the end of previous \
             month. The value provided for this parameter was in the current month or in the \
             future date and was therefore ignored. The response includes data until the end of \
             the previous month.",
        ))
    }

    async fn monthly(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        let month = self.activity.month();
        let (report, shown) = report(&self.activity, &request.namespace, &[month]).await?;
        let mut told = report.total();
        if let Value::Object(fields) = &mut told {
            fields.insert("by_namespace".to_owned(), report.by_namespace());
            fields.insert("months".to_owned(), shown.into());
        }
        Ok(Reply::data(&told))
    }

    async fn export(self: Arc<Self>, request: Request<Period>) -> Result<Reply, Error> {
        let is_csv = match request.input.format.as_deref().unwrap_or_default() {
            "" | "json" => false,
            "csv" => true,
            other => {
                return Err(Error::invalid(format!("unknown format {other:?}, use json or csv")));
            }
        };
        let (months, _) = self.months(&request.input, self.activity.month())?;
        let mut lines = Vec::new();
        let places = self.activity.registry.places();
        let below =
            places.iter().filter(|place| place.namespace.path.starts_with(&request.namespace.path));
        for place in below {
            for month in &months {
                let namespace = &place.namespace;
                sightings(&self.activity.barrier, namespace, *month, |found| {
                    if lines.len() + found.len() > EXPORT_MAX {
                        return Err(Error::invalid(format!(
                            "more than {EXPORT_MAX} clients: ask for fewer months or one namespace"
                        )));
                    }
                    lines.extend(found.iter().map(|sighting| {
                        let first = rfc3339(clock::from_millis(sighting.at));
                        exported(namespace, sighting, &first)
                    }));
                    Ok(())
                })
                .await?;
            }
        }
        let Some(head) = lines.first() else { return Ok(Reply::empty()) };
        let (content_type, text) = if is_csv {
            let quoted = |value: &Value| {
                format!("\"{}\"", value.as_str().unwrap_or_default().replace('"', "\"\""))
            };
            let names: Vec<&str> = head.keys().map(String::as_str).collect();
            let rows = lines
                .iter()
                .map(|line| line.values().map(quoted).collect::<Vec<_>>().join(",") + "\n");
            ("text/csv", format!("{}\n{}", names.join(","), rows.collect::<String>()))
        } else {
            let rows = lines.iter().map(|line| Value::Object(line.clone()).to_string() + "\n");
            ("application/json", rows.collect())
        };
        Ok(Body::Raw { content_type, bytes: text.into_bytes() }.into())
    }

    async fn read_config(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        let config = self.activity.config();
        let previous = self.activity.month().before(1);
        let months = all_months(previous, config.retention_months);
        let (report, _) = report(&self.activity, &request.namespace, &months).await?;
        let enabled = match config.counting {
            Counting::Default => "default-disabled",
            Counting::Enable => "enable",
            Counting::Disable => "disable",
        };
        Ok(Reply::data(&json!({
            "billing_start_timestamp": NEVER,
            "enabled": enabled,
            "minimum_retention_months": 0,
            "queries_available": !report.is_empty,
            "reporting_enabled": false,
            "retention_months": config.retention_months,
        })))
    }

    async fn configure(self: Arc<Self>, request: Request<WriteConfig>) -> Result<Reply, Error> {
        let mut config: Config = self.activity.config();
        match request.input.enabled.as_deref() {
            None => {}
            Some("enable") => config.counting = Counting::Enable,
            Some("disable") => config.counting = Counting::Disable,
            Some("default") => config.counting = Counting::Default,
            Some(_) => {
                let message = "enabled must be one of \"default\", \"enable\", \"disable\"";
                return Err(Error::invalid(message));
            }
        }
        if let Some(months) = request.input.retention_months {
            config.retention_months = u32::try_from(months.0)
                .ok()
                .filter(|months| (1..=MONTHS_MAX).contains(months))
                .ok_or_else(|| {
                    Error::invalid(format!("retention_months must be between 1 and {MONTHS_MAX}"))
                })?;
        }
        self.activity.configure(config).await?;
        Ok(Reply::empty())
    }

    /// The months of a period up to `last`, the oldest first, and whether it was cut there.
    fn months(&self, period: &Period, last: Month) -> Result<(Vec<Month>, bool), Error> {
        let given = |text: &Option<String>, name: &str| {
            text.as_deref()
                .filter(|text| !text.is_empty())
                .map(|text| moment(text, name))
                .transpose()
        };
        let start = given(&period.start_time, "start_time")?;
        let end = given(&period.end_time, "end_time")?;
        let end = match end {
            Some(end) if end <= last => (end, false),
            Some(_) | None => (last, true),
        };
        if start.is_some_and(|start| start > end.0) {
            return Err(Error::invalid("start_time is later than end_time"));
        }
        let mut months = all_months(end.0, self.activity.config().retention_months);
        months.retain(|month| start.is_none_or(|start| *month >= start));
        Ok((months, end.1))
    }
}

/// So many months up to one, the oldest first.
fn all_months(last: Month, count: u32) -> Vec<Month> {
    (0..count).rev().map(|before| last.before(before)).collect()
}

fn moment(text: &str, name: &str) -> Result<Month, Error> {
    let seconds = || Timestamp::from_second(text.parse().ok()?).ok();
    let read = text.parse::<Timestamp>().ok().or_else(seconds);
    let read = read.ok_or_else(|| {
        Error::invalid(format!("{name} must be a time such as 2026-01-31T00:00:00Z"))
    })?;
    Ok(Month::of(SystemTime::from(read)))
}

fn rfc3339(at: SystemTime) -> String {
    Timestamp::try_from(at).map(|time| time.to_string()).unwrap_or_default()
}

impl fmt::Debug for ActivityPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActivityPaths(..)")
    }
}
