//! The agent beside AWS's own, in one run on one machine: what counts are the ratios.

use crate::{bench::figure, tools};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fs,
    process::{Command, Stdio},
};

/// The page that keeps the figures.
const PAGE: &str = "bench/AGENT.md";
/// Requests per CPU second, in those of AWS's agent.
const TARGET: f64 = 3.0;

pub(crate) fn run(quick: bool) -> Result<()> {
    let theirs = tools::aws_agent()?;
    let build = ["build", "--release", "--locked", "--workspace", "--bins"];
    tools::step("release build", &mut tools::cargo(&build))?;
    tools::say("==> measuring");
    let binaries = tools::target().join("release");
    let mut load = Command::new(binaries.join("bailee-load"));
    load.current_dir(tools::root()).arg("--agent").arg(binaries.join("bailee"));
    load.arg("--beside").arg(theirs);
    if quick {
        load.arg("--quick");
    }
    let output = load.stderr(Stdio::inherit()).output().context("bailee-load")?;
    if !output.status.success() {
        bail!("bailee-load failed ({})", output.status);
    }
    let figures: Value = serde_json::from_slice(&output.stdout).context("bailee-load's figures")?;
    let table = table(&figures);
    tools::say(&format!("\n{table}"));
    if quick {
        tools::say(&format!("\nA quick run: {PAGE} stays as it is."));
        return Ok(());
    }
    let page = tools::root().join(PAGE);
    fs::write(&page, text(&table)).with_context(|| page.display().to_string())?;
    tools::say(&format!("\nWritten to {PAGE}."));
    Ok(())
}

fn text(table: &str) -> String {
    format!(
        "# The agent beside AWS's\n\n`cargo xtask bench agent` measures this: release builds of both, \
         one after the other in turns on the same machine,\nthe same fake of AWS behind them, one \
         cached secret, kept connections, `GET /secretsmanager/get?secretId=`.\nAbsolute figures belong \
         to the machine and its other work; the ratios are for comparing.\n\nAWS's agent is \
         `aws_secretsmanager_agent` {}. Before anything is measured both are asked the same documented\n\
         requests; the page says how many answers differ (status, headers but the date, body).\n\n{}\n\n{table}",
        tools::AWS_AGENT_VERSION,
        tools::circumstances(),
    )
}

fn table(figures: &Value) -> String {
    let mut text = String::from(
        "| agent | connections | requests/s | CPU µs/request | p50 ms | p99 ms | errors |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for connections in ["1", "16", "64"] {
        for agent in ["ours", "theirs"] {
            let group = format!("{agent}_{connections}");
            let of = |name| figure(figures, &group, name);
            text.push_str(&format!(
                "| {agent} | {connections} | {:.0} | {:.1} | {:.3} | {:.3} | {:.0} |\n",
                of("requests_per_second"),
                of("cpu_us"),
                of("p50_ms"),
                of("p99_ms"),
                of("errors"),
            ));
        }
    }
    text.push_str("\n| ratio | 1 | 16 | 64 |\n|---|--:|--:|--:|\n");
    for (name, field) in
        [("requests per CPU second, ours / theirs", "cpu_us"), ("p99, theirs / ours", "p99_ms")]
    {
        let ratios = ["1", "16", "64"].map(|connections| {
            let of = |agent: &str| figure(figures, &format!("{agent}_{connections}"), field);
            format!(" {:.2} |", of("theirs") / of("ours"))
        });
        text.push_str(&format!("| {name} |{}\n", ratios.concat()));
    }
    let memory = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or(0.0) / 1024.0;
    let ratios = ["1", "16", "64"].map(|connections| {
        let of = |agent: &str| figure(figures, &format!("{agent}_{connections}"), "cpu_us");
        of("theirs") / of("ours")
    });
    let met = if ratios.iter().all(|ratio| *ratio >= TARGET) { "met" } else { "not met" };
    text.push_str(&format!(
        "\nThe target of {TARGET:.0} times the requests per CPU second is {met}. Resident memory: ours {:.1} MiB idle and \
         {:.1} MiB after the\nload, theirs {:.1} MiB and {:.1} MiB.\n",
        memory("ours_memory_idle_kib"),
        memory("ours_memory_loaded_kib"),
        memory("theirs_memory_idle_kib"),
        memory("theirs_memory_loaded_kib"),
    ));
    let differences = figures.get("differences").and_then(Value::as_array);
    let differences = differences.map(Vec::as_slice).unwrap_or_default();
    text.push_str(&format!("\nAnswers that differ: {}.\n", differences.len()));
    for difference in differences.iter().filter_map(Value::as_str) {
        text.push_str(&format!("- `{difference}`\n"));
    }
    text
}
