//! The agent beside AWS's own, in one run on one machine: what counts are the ratios.

use crate::{
    bench::{self, figure},
    tools,
};
use anyhow::Result;
use serde_json::Value;

/// The page that keeps the figures.
const PAGE: &str = "bench/AGENT.md";
/// Requests per CPU second, in those of AWS's agent.
const TARGET: f64 = 3.0;

pub(crate) fn run(quick: bool) -> Result<()> {
    let theirs = tools::aws_agent()?;
    let ours = tools::target().join("release/bailee");
    let arguments = ["--agent".as_ref(), ours.as_os_str(), "--beside".as_ref(), theirs.as_os_str()];
    let table = table(&bench::figures(quick, &arguments)?);
    bench::keep(quick, PAGE, &table, &text(&table))
}

/// Who is measured: the name of the figures, and the one in the table.
const MEASURED: [(&str, &str); 4] = [
    ("ours", "ours"),
    ("theirs", "theirs, its log off"),
    ("theirs_logging", "theirs, as it comes"),
    ("floor", "a loop that only answers"),
];
/// Connections at one time.
const CONNECTIONS: [&str; 3] = ["1", "16", "64"];

fn text(table: &str) -> String {
    format!(
        "# The agent beside AWS's\n\n`cargo xtask bench agent` measures this: release builds of both, \
         one after the other in turns on the same machine,\nthe same fake of AWS behind them, one \
         cached secret, kept connections, `GET /secretsmanager/get?secretId=`.\nAbsolute figures belong \
         to the machine and its other work; the ratios are for comparing.\n\nAWS's agent is \
         `aws_secretsmanager_agent` {}. Before anything is measured both are asked the same documented\n\
         requests; the page says how many answers differ (status, headers but the date, body).\n\n\
         The loop that only answers reads whatever comes and writes one ready answer of the same length, \
         by the same runtime:\nwhat the system takes for a request, whoever answers it. An agent's own work is \
         what it takes beyond that.\n\n{}\n\n{table}",
        tools::AWS_AGENT_VERSION,
        tools::circumstances(),
    )
}

fn table(figures: &Value) -> String {
    let mut text = String::from(
        "| agent | connections | requests/s | CPU µs/request | p50 ms | p99 ms | errors |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for connections in CONNECTIONS {
        for (agent, called) in MEASURED {
            let group = format!("{agent}_{connections}");
            let of = |name| figure(figures, &group, name);
            text.push_str(&format!(
                "| {called} | {connections} | {:.0} | {:.1} | {:.3} | {:.3} | {:.0} |\n",
                of("requests_per_second"),
                of("cpu_us"),
                of("p50_ms"),
                of("p99_ms"),
                of("errors"),
            ));
        }
    }
    text.push_str("\n| ratio | 1 | 16 | 64 |\n|---|--:|--:|--:|\n");
    let cpu = |agent: &str, connections: &str| {
        figure(figures, &format!("{agent}_{connections}"), "cpu_us")
    };
    let own = |agent: &str, connections: &str| {
        (cpu(agent, connections) - cpu("floor", connections)).max(0.1)
    };
    let p99 = |agent: &str, connections: &str| {
        figure(figures, &format!("{agent}_{connections}"), "p99_ms")
    };
    let mut row = |name: &str, ratio: &dyn Fn(&str) -> f64| {
        let ratios = CONNECTIONS.map(ratio);
        let shown = ratios.map(|ratio| format!(" {ratio:.2} |"));
        text.push_str(&format!("| {name} |{}\n", shown.concat()));
        ratios
    };
    let whole =
        row("requests per CPU second, ours / theirs", &|it| cpu("theirs", it) / cpu("ours", it));
    row("the same, theirs as it comes", &|it| cpu("theirs_logging", it) / cpu("ours", it));
    row("the most that any agent could reach: the loop / theirs", &|it| {
        cpu("theirs", it) / cpu("floor", it)
    });
    row("own work, theirs / ours", &|it| own("theirs", it) / own("ours", it));
    row("p99, theirs / ours", &|it| p99("theirs", it) / p99("ours", it));
    let met = if whole.iter().all(|ratio| *ratio >= TARGET) { "met" } else { "not met" };
    let memory = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or(0.0) / 1024.0;
    text.push_str(&format!(
        "\nThe target of {TARGET:.0} times the requests per CPU second is {met}. Resident memory: ours {:.1} MiB idle and \
         {:.1} MiB after the\nload, theirs {:.1} MiB and {:.1} MiB; without the pages of the program's file, which are the system's to drop and \
         every\nprocess's to share, ours {:.1} MiB and theirs {:.1} MiB.\n",
        memory("ours_memory_idle_kib"),
        memory("ours_memory_loaded_kib"),
        memory("theirs_memory_idle_kib"),
        memory("theirs_memory_loaded_kib"),
        memory("ours_memory_own_kib"),
        memory("theirs_memory_own_kib"),
    ));
    let differences = figures.get("differences").and_then(Value::as_array);
    let differences = differences.map(Vec::as_slice).unwrap_or_default();
    text.push_str(&format!("\nAnswers that differ: {}.\n", differences.len()));
    for difference in differences.iter().filter_map(Value::as_str) {
        text.push_str(&format!("- `{difference}`\n"));
    }
    text
}
