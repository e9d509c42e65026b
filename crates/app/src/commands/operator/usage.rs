//! `operator usage`: how many clients used the server.

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Secret, Table},
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Map, Value};

/// What is counted, as it is headed and as the API calls it.
const COUNTS: [(&str, &str); 5] = [
    ("Entity Clients", "entity_clients"),
    ("Non-Entity clients", "non_entity_clients"),
    ("Secret syncs", "secret_syncs"),
    ("ACME clients", "acme_clients"),
    ("Active clients", "clients"),
];

/// Lists how many clients used the server, by namespace: entities, tokens without one, and secrets that
/// are kept at destinations. Months that have ended are counted.
#[derive(Args, Debug)]
pub(crate) struct Usage {
    /// The first month: YYYY-MM, YYYY-MM-DD or a time such as 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    start_time: Option<String>,
    /// The last month, likewise; the one before the current one where it is left out.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    end_time: Option<String>,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Usage {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let mut outgoing = Outgoing::new(Method::Get, "sys/internal/counters/activity");
        for (name, time) in [("start_time", self.start_time), ("end_time", self.end_time)] {
            if let Some(time) = time {
                outgoing = outgoing.query(name, time);
            }
        }
        let found = context.find("Error retrieving client counts", outgoing).await?;
        let Some(found) = found.filter(|found| found.data().is_some()) else {
            return context.output.warn("No data is available for the given time range.");
        };
        if !context.output.is_table() {
            return context.output.secret(&found, None);
        }
        show(context, &found)
    }
}

fn show(context: &mut Context, found: &Secret) -> Result<(), Failure> {
    let data = found.data().cloned().unwrap_or_default();
    for (title, name) in [("Period start", "start_time"), ("Period end", "end_time")] {
        let time = data.get(name).and_then(Value::as_str).unwrap_or_default();
        context.output.line(&format!("{title}: {time}"))?;
    }
    context.output.line("")?;
    let titles = std::iter::once("Namespace path").chain(COUNTS.map(|(title, _)| title));
    let mut table = Table::new(&titles.collect::<Vec<_>>());
    for (path, counts) in namespaces(&data) {
        table.row(line(path, counts));
    }
    // A line that is empty but for its blanks.
    table.row([" "; COUNTS.len() + 1]);
    table.row(line("Total", data.get("total")));
    context.output.table(&table)?;
    context.output.warnings(found)
}

/// Namespaces and what was counted in each: root first, those that are no more last.
fn namespaces(data: &Map<String, Value>) -> Vec<(&str, Option<&Value>)> {
    let all = data.get("by_namespace").and_then(Value::as_array).into_iter().flatten();
    let mut all: Vec<(&str, Option<&Value>)> = all
        .map(|namespace| {
            let path = namespace.get("namespace_path").and_then(Value::as_str).unwrap_or_default();
            (if path.is_empty() { "[root]" } else { path }, namespace.get("counts"))
        })
        .collect();
    all.sort_by_key(|(path, _)| (*path != "[root]", path.starts_with("deleted namespace"), *path));
    all
}

fn line(title: &str, counts: Option<&Value>) -> Vec<String> {
    let count = |name: &str| counts.and_then(|counts| counts.get(name)).and_then(Value::as_u64);
    let counts = COUNTS.map(|(_, name)| count(name).unwrap_or(0).to_string());
    std::iter::once(title.to_owned()).chain(counts).collect()
}

/// A time as the API takes it.
fn moment(text: &str) -> Result<String, String> {
    let midnight = |date: Date| date.to_zoned(TimeZone::UTC).ok().map(|date| date.timestamp());
    let day = || text.parse::<Date>().ok().filter(|_| text.len() == 10).and_then(midnight);
    let month = || format!("{text}-01").parse::<Date>().ok().and_then(midnight);
    let found = day().or_else(month).or_else(|| text.parse::<Timestamp>().ok());
    let found = found.ok_or("want YYYY-MM, YYYY-MM-DD or a time such as 2026-01-31T00:00:00Z")?;
    Ok(found.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use serde_json::json;

    fn counts(entities: u64, synced: u64) -> Value {
        json!({"entity_clients": entities, "non_entity_clients": 2, "secret_syncs": synced,
            "acme_clients": 0, "clients": entities + 2 + synced})
    }

    fn usage() -> Usage {
        Usage { start_time: None, end_time: None, rest: Vec::new() }
    }

    #[tokio::test]
    async fn clients_are_counted_by_namespace_root_first() {
        let answer = json!({"data": {
            "start_time": "2026-01-01T00:00:00Z", "end_time": "2026-02-28T23:59:59Z",
            "by_namespace": [
                {"namespace_id": "a", "namespace_path": "team/", "counts": counts(1, 10)},
                {"namespace_id": "root", "namespace_path": "", "counts": counts(3, 4)},
            ],
            "total": {"entity_clients": 4, "non_entity_clients": 4, "secret_syncs": 14,
                "acme_clients": 0, "clients": 22},
        }});
        let (mut context, out, ..) = testing::context(Format::Table, vec![(200, answer)]).await;
        usage().run(&mut context).await.unwrap();
        let text = out.text();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["Period", "start:", "2026-01-01T00:00:00Z"]);
        assert_eq!(lines[1], ["Period", "end:", "2026-02-28T23:59:59Z"]);
        assert!(text.contains("Non-Entity clients    Secret syncs    ACME clients"), "{text}");
        assert_eq!(lines[5], ["[root]", "3", "2", "4", "0", "9"]);
        assert_eq!(lines[6], ["team/", "1", "2", "10", "0", "13"]);
        assert!(lines[7].is_empty());
        assert_eq!(lines[8], ["Total", "4", "4", "14", "0", "22"]);
    }

    #[tokio::test]
    async fn no_data_is_said_and_is_no_error() {
        let (mut context, out, err, _) =
            testing::context(Format::Table, vec![(204, Value::Null)]).await;
        usage().run(&mut context).await.unwrap();
        assert_eq!(out.text(), "");
        assert!(err.text().contains("No data is available"), "{}", err.text());
    }

    #[test]
    fn times_are_months_days_or_moments() {
        assert_eq!(moment("2026-01").unwrap(), "2026-01-01T00:00:00Z");
        assert_eq!(moment("2026-01-31").unwrap(), "2026-01-31T00:00:00Z");
        assert_eq!(moment("2026-01-31T12:00:00Z").unwrap(), "2026-01-31T12:00:00Z");
        for bad in ["", "2026", "2026-13", "soon", "2026-02-30"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
