//! Speed and memory. Machines differ and are shared, so what counts are ratios to anchors measured
//! in the same run: a health request, and a raw flushed append on the same disk.

use crate::{bench_agent, bench_replicate, tools};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// The page that keeps the figures, and where in it the figures of machines are.
const PAGE: &str = "bench/RESULTS.md";
const FIGURES_START: &str = "<!-- figures\n";
const FIGURES_END: &str = "\n-->";
/// Growth of a ratio that is worth a look.
const WORSE: f64 = 1.25;
/// Milliseconds that half of the deliveries may take.
const DELIVERY_TARGET_MS: f64 = 20.0;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (mut quick, mut what) = (false, None);
    for argument in arguments {
        match argument.as_str() {
            "--quick" => quick = true,
            "agent" | "replicate" if what.is_none() => what = Some(argument.as_str()),
            other => bail!("unknown option {other}; known are agent, replicate and --quick"),
        }
    }
    match what {
        Some("agent") => return bench_agent::run(quick),
        Some(_) => return bench_replicate::run(quick),
        None => {}
    }
    let figures = figures(quick, &[])?;
    let page = tools::root().join(PAGE);
    let previous = fs::read_to_string(&page).ok().and_then(|text| figures_of(&text));
    let table = table(&figures, previous.as_ref());
    tools::say(&format!("\n{table}"));
    if quick {
        tools::say(&format!("\nA quick run: {PAGE} stays as it is."));
        return Ok(());
    }
    write_page(&page, &table, &figures)?;
    tools::say(&format!("\nWritten to {PAGE}."));
    Ok(())
}

/// What `bailee-load` of a release build measures with these arguments.
pub(crate) fn figures(quick: bool, arguments: &[&OsStr]) -> Result<Value> {
    let build = ["build", "--release", "--locked", "--workspace", "--bins"];
    tools::step("release build", &mut tools::cargo(&build))?;
    tools::say("==> measuring");
    let mut load = Command::new(tools::target().join("release/bailee-load"));
    load.current_dir(tools::root()).args(arguments);
    if quick {
        load.arg("--quick");
    }
    let output = load.stderr(Stdio::inherit()).output().context("bailee-load")?;
    if !output.status.success() {
        bail!("bailee-load failed ({})", output.status);
    }
    serde_json::from_slice(&output.stdout).context("bailee-load's figures")
}

/// Shows a table, and keeps it with what belongs to it on its page unless the run was quick.
pub(crate) fn keep(quick: bool, page: &str, table: &str, text: &str) -> Result<()> {
    tools::say(&format!("\n{table}"));
    if quick {
        tools::say(&format!("\nA quick run: {page} stays as it is."));
        return Ok(());
    }
    let path = tools::root().join(page);
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    tools::say(&format!("\nWritten to {page}."));
    Ok(())
}

/// The figures at a path such as `read_16`, `cpu_us`; 0 where there are none.
pub(crate) fn figure(figures: &Value, group: &str, name: &str) -> f64 {
    figures.get(group).and_then(|group| group.get(name)).and_then(Value::as_f64).unwrap_or(0.0)
}

/// The ratios that are compared from run to run: smaller is better.
fn ratios(figures: &Value) -> Vec<(String, f64)> {
    let over = |value: f64, anchor: f64| if anchor > 0.0 { value / anchor } else { 0.0 };
    let cpu = |group: &str| figure(figures, group, "cpu_us");
    let mut all = Vec::new();
    for connections in ["1", "16", "64"] {
        let health = cpu(&format!("health_{connections}"));
        for kind in ["read", "write"] {
            let own = cpu(&format!("{kind}_{connections}"));
            all.push((
                format!("{kind} CPU / health CPU, {connections} connections"),
                over(own, health),
            ));
        }
    }
    let append = figure(figures, "append", "p50_ms");
    let write = figure(figures, "write_1", "p50_ms");
    all.push(("write p50 / append p50, 1 connection".to_owned(), over(write, append)));
    let appends = figure(figures, "append", "per_second");
    let writes = figure(figures, "write_64", "requests_per_second");
    all.push(("appends/s / writes/s, 64 connections".to_owned(), over(appends, writes)));
    let delivery = figure(figures, "delivery", "p50_ms");
    let health = figure(figures, "health_1", "p50_ms");
    all.push(("delivery p50 / health p50".to_owned(), over(delivery, health)));
    all
}

fn table(figures: &Value, previous: Option<&Value>) -> String {
    let mut text = String::from(
        "| request | connections | requests/s | p50 ms | p99 ms | server CPU µs/request | errors |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for kind in ["health", "read", "write"] {
        for connections in ["1", "16", "64"] {
            let group = format!("{kind}_{connections}");
            let of = |name| figure(figures, &group, name);
            text.push_str(&format!(
                "| {} | {connections} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} |\n",
                match kind {
                    "read" => "KV v2 read",
                    "write" => "KV v2 write, durable",
                    _ => "sys/health",
                },
                of("requests_per_second"),
                of("p50_ms"),
                of("p99_ms"),
                of("cpu_us"),
                of("errors"),
            ));
        }
    }
    text.push_str(&others(figures));
    text.push_str("\n| ratio, smaller is better | now | previous | |\n|---|--:|--:|---|\n");
    let before = previous.map(ratios).unwrap_or_default();
    for (name, now) in ratios(figures) {
        let then = before.iter().find(|(known, _)| *known == name).map(|(_, ratio)| *ratio);
        let shown = then.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let worse = then.is_some_and(|then| then > 0.0 && now > then * WORSE);
        let mark = if worse { "**look**" } else { "" };
        text.push_str(&format!("| {name} | {now:.2} | {shown} | {mark} |\n"));
    }
    text
}

fn others(figures: &Value) -> String {
    let memory = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or(0.0) / 1024.0;
    let delivery = figure(figures, "delivery", "p50_ms");
    let verdict = if delivery < DELIVERY_TARGET_MS { "met" } else { "MISSED" };
    format!(
        "\n| | |\n|---|--:|\n\
         | raw append of 4 KiB, flushed | p50 {:.2} ms, {:.0}/s |\n\
         | start until it answers | {:.0} ms |\n\
         | start until it is unsealed | {:.0} ms |\n\
         | resident memory, idle | {:.1} MiB |\n\
         | resident memory, after the load | {:.1} MiB |\n\
         | acknowledged write until the fake AWS has it | p50 {delivery:.1} ms, p99 {:.1} ms \
         (target p50 below {DELIVERY_TARGET_MS:.0} ms: {verdict}) |\n",
        figure(figures, "append", "p50_ms"),
        figure(figures, "append", "per_second"),
        figure(figures, "start", "answering_ms"),
        figure(figures, "start", "unsealed_ms"),
        memory("memory_idle_kib"),
        memory("memory_loaded_kib"),
        figure(figures, "delivery", "p99_ms"),
    )
}

fn figures_of(page: &str) -> Option<Value> {
    let (_, rest) = page.split_once(FIGURES_START)?;
    let (figures, _) = rest.split_once(FIGURES_END)?;
    serde_json::from_str(figures).ok()
}

fn write_page(page: &PathBuf, table: &str, figures: &Value) -> Result<()> {
    let circumstances = tools::circumstances();
    let text = format!(
        "# Speed\n\n`cargo xtask bench` measures this: a release build on embedded storage, plain HTTP \
         on loopback, client and\nserver on the same machine, an ordinary token (policies `default` \
         and one of its own), 1,000 secrets, kept\nconnections. Absolute figures belong to the \
         machine and its other work; the ratios are for comparing.\n\n\
         Calls to a destination are counted by a test and need no machine: an unchanged pass over \
         10,000 secrets\nmakes at most 101 calls\n\
         (`an_unchanged_pass_over_ten_thousand_objects_costs_its_list_and_reads_no_secret`). External \
         Secrets makes\n30,000, three for each secret, by its code.\n\n\
         {circumstances}\n\n\
         {table}\n{FIGURES_START}{}{FIGURES_END}\n",
        json!(figures)
    );
    fs::create_dir_all(page.parent().unwrap_or(page))?;
    fs::write(page, text).with_context(|| page.display().to_string())
}
