//! The table at the end.

use crate::tools;
use anyhow::{Result, bail};
use std::time::Instant;

/// What came of each step.
pub(super) struct Report {
    started: Instant,
    steps: usize,
    rows: Vec<Row>,
}

struct Row {
    step: String,
    outcome: String,
    latency: String,
    good: bool,
}

impl Report {
    pub(super) fn new() -> Report {
        Report { started: Instant::now(), steps: 0, rows: Vec::new() }
    }

    /// The number and title of the next step, at the terminal.
    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        tools::say(&format!("\n{:>2}  {title}", self.steps));
    }

    /// What came of it.
    pub(super) fn add(&mut self, step: &str, good: bool, outcome: &str, latency: &str) {
        let (step, outcome, latency) = (step.to_owned(), outcome.to_owned(), latency.to_owned());
        self.rows.push(Row { step, outcome, latency, good });
    }

    /// An error when some expectation did not hold.
    pub(super) fn verdict(&self) -> Result<()> {
        let failed: Vec<&str> =
            self.rows.iter().filter(|row| !row.good).map(|row| row.step.as_str()).collect();
        if !failed.is_empty() {
            bail!("not as it should be: {}", failed.join("; "));
        }
        Ok(())
    }

    pub(super) fn print(&self) {
        let width = |of: fn(&Row) -> &str| {
            self.rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0)
        };
        let (steps, outcomes) = (width(|row| &row.step), width(|row| &row.outcome));
        tools::say(&format!(
            "\n{:<steps$}    {:<outcomes$}  latency (from the end of the command to boto3 seeing it)",
            "step", "what AWS holds"
        ));
        for row in &self.rows {
            let mark = if row.good { "ok" } else { "NO" };
            let Row { step, outcome, latency, .. } = row;
            let line = format!("{step:<steps$} {mark} {outcome:<outcomes$}  {latency}");
            tools::say(line.trim_end());
        }
        tools::say(&format!("\n{:.1} s in all", self.started.elapsed().as_secs_f64()));
    }
}

/// A latency for people; what was there before the command had ended took no time.
pub(super) fn milliseconds(seconds: f64) -> String {
    format!("{:.0} ms", seconds.max(0.0) * 1000.0)
}

/// The value below which this share of sorted values lies.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}
