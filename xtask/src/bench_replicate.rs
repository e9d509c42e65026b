//! `bailee replicate run` over ten thousand secrets: time, and memory at its most.

use crate::{bench, tools};
use anyhow::Result;
use serde_json::Value;

/// The page that keeps the figures.
const PAGE: &str = "bench/REPLICATION.md";
/// Seconds of a run that finds all as it is.
const SECONDS_TARGET: f64 = 2.0;
/// Memory of it at its most, in MiB.
const MEMORY_TARGET: f64 = 64.0;
/// Creations a second that AWS allows.
const CREATIONS: f64 = 50.0;

pub(crate) fn run(quick: bool) -> Result<()> {
    let table = table(&bench::figures(quick, &["--replicate".as_ref()])?);
    bench::keep(quick, PAGE, &table, &text(&table))
}

fn text(table: &str) -> String {
    format!(
        "# Replication\n\n`cargo xtask bench replicate` measures this: a release build of `bailee replicate run`, a \
         process for each run, from a\nbailee with detailed metadata into the fake of AWS. The first run \
         makes all secrets at the pace that AWS allows;\nthe others find all as it is: their median time, and the \
         most memory of any.\n\n{}\n\n{table}",
        tools::circumstances(),
    )
}

fn table(figures: &Value) -> String {
    let of = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let mib = |name: &str| of(name) / 1024.0;
    let (seconds, memory) = (of("unchanged_seconds"), mib("unchanged_kib"));
    let judged = |met: bool| if met { "met" } else { "not met" };
    format!(
        "| run over {:.0} secrets | seconds | memory at its most, MiB |\n|---|--:|--:|\n\
         | the first: {:.0} made (AWS's quota: {:.0} s) | {:.1} | {:.1} |\n\
         | unchanged: {:.0} calls to AWS | {seconds:.2} | {memory:.1} |\n\
         | `bailee version`, for comparison | | {:.1} |\n\n\
         Targets of the unchanged run: {SECONDS_TARGET:.0} seconds are {}, {MEMORY_TARGET:.0} MiB are {}.\n",
        of("secrets"),
        of("created"),
        of("secrets") / CREATIONS,
        of("first_seconds"),
        mib("first_kib"),
        of("unchanged_calls"),
        mib("program_kib"),
        judged(seconds < SECONDS_TARGET),
        judged(memory < MEMORY_TARGET),
    )
}
