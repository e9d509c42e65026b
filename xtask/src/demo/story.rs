//! What is shown, step by step.

use super::{
    burst::{self, Burst, Written},
    report::{Report, milliseconds, quantile},
    shell::{Ran, Shell, note},
    stage::{Stage, member},
    view::Held,
};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

const DESTINATION: &str = "aws-sm/demo";
const SECRET: &str = "secret/app/db";
/// Secrets of the burst.
pub(super) const BURST: [&str; 3] = ["app/db", "app/api", "app/web"];
/// Acknowledged writes after which the server is killed, and those that follow its return.
const WRITES_BEFORE_KILL: u64 = 40;
const WRITES_AFTER_KILL: u64 = 25;
/// Longest wait for a burst to get so far.
const BURST_TIME_MAX: Duration = Duration::from_secs(30);

/// Everything from an empty folder to an empty AWS.
pub(super) async fn tell(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let mut shell = begin(stage, report).await?;
    open(stage, report, &mut shell).await?;
    deliver(stage, report, &shell).await?;
    change(stage, report, &shell).await?;
    crash(stage, report, &shell).await?;
    drift(stage, report, &shell).await?;
    vanish(stage, report, &shell).await
}

async fn begin(stage: &mut Stage, report: &mut Report) -> Result<Shell> {
    report.step("AWS, and a server on embedded storage");
    stage.start_aws().await?;
    let config = stage.write_files()?;
    let shell = Shell::new(stage.bailee(), stage.folder(), &stage.address());
    note(&format!("{}; everything else in {}", stage.aws_name(), stage.folder().display()));
    shell.show(&["server", &format!("-config={}", config.display())], " &");
    stage.start_server().await?;
    report.add("server and AWS start", true, "nothing", "");
    Ok(shell)
}

async fn open(stage: &mut Stage, report: &mut Report, shell: &mut Shell) -> Result<()> {
    report.step("Initialize, unseal, log in");
    let init = ["operator", "init", "-key-shares=3", "-key-threshold=2", "-format=json"];
    let made = shell.run_silently(&init, " > init.json").await?.output;
    stage.write_private("init.json", &made)?;
    let token = member(&made, "/root_token")?;
    let token = token.as_str().context("the root token is a text")?;
    stage.write_private("root-token", token)?;
    unseal(stage, shell).await?;
    note("$ export VAULT_TOKEN=$(cat root-token)");
    shell.set("VAULT_TOKEN", token);
    shell.run(&["secrets", "enable", "-path=secret", "-version=2", "kv"]).await?;
    report.add("init, unseal (2 of 3 shares), KV v2", true, "nothing", "");
    Ok(())
}

/// Gives two of the three shares.
async fn unseal(stage: &Stage, shell: &Shell) -> Result<()> {
    let made = std::fs::read_to_string(stage.folder().join("init.json"))?;
    for number in 0..2 {
        let share = member(&made, &format!("/unseal_keys_b64/{number}"))?;
        let share = share.as_str().context("a share is a text")?;
        note(&format!("$ jq -r '.unseal_keys_b64[{number}]' init.json | bailee operator unseal -"));
        shell.quietly(&["operator", "unseal", "-"], share).await?;
    }
    let status = shell.quietly(&["status", "-format=json"], "").await?;
    ensure!(member(&status.output, "/sealed")? == false, "the server is still sealed");
    note("  unsealed");
    Ok(())
}

async fn deliver(stage: &mut Stage, report: &mut Report, shell: &Shell) -> Result<()> {
    report.step("A secret, and a destination");
    shell.run(&["kv", "put", SECRET, "username=app", "password=first"]).await?;
    shell.run(&["sync", "activate"]).await?;
    let (fields, input) = stage.destination();
    let mut arguments = vec!["sync", "destination", "create", DESTINATION];
    arguments.extend(fields.iter().map(String::as_str));
    let end = if input.is_empty() { "" } else { " < aws-key-id.txt" };
    shell.run_with(&arguments, &input, end, true).await?;
    let held = look(stage).await?;
    report.add("secret written, destination made", held.is_empty(), &count(&held), "");

    report.step("Plan before anything is written: 2 says that there is something to do");
    let plan = ["sync", "plan", DESTINATION, "-associate=secret/app/db"];
    let planned = shell.run_to_exit(&plan, 2).await?.output.contains("1 to create");
    let held = look(stage).await?;
    report.add("plan of a delivery", planned && held.is_empty(), &count(&held), "");

    report.step("Associate them: AWS has it");
    let name = format!("{}/app/db", stage.prefix());
    stage.view()?.watch(std::slice::from_ref(&name)).await?;
    let ran = shell.run(&["sync", "associate", DESTINATION, "secret", "app/db"]).await?;
    let first = r#"{"username":"app","password":"first"}"#;
    arrive(stage, report, "associate", &ran, Some(first)).await
}

async fn change(stage: &mut Stage, report: &mut Report, shell: &Shell) -> Result<()> {
    report.step("Write a new version: AWS follows");
    let ran = shell.run(&["kv", "put", SECRET, "username=app", "password=second"]).await?;
    let second = r#"{"username":"app","password":"second"}"#;
    arrive(stage, report, "update", &ran, Some(second)).await?;

    report.step("Delete the newest version: AWS falls back to the newest that lives");
    let ran = shell.run(&["kv", "delete", SECRET]).await?;
    let first = r#"{"username":"app","password":"first"}"#;
    arrive(stage, report, "delete newest version", &ran, Some(first)).await?;

    report.step("Undelete it: AWS has the newest again");
    let ran = shell.run(&["kv", "undelete", "-versions=2", SECRET]).await?;
    arrive(stage, report, "undelete", &ran, Some(second)).await
}

/// Waits until boto3 sees what should be there, and writes the line and the row about it.
async fn arrive(
    stage: &mut Stage,
    report: &mut Report,
    step: &str,
    ran: &Ran,
    wanted: Option<&str>,
) -> Result<()> {
    let name = format!("{}/app/db", stage.prefix());
    let awaited = stage.view()?.wait_for(&name, wanted).await?;
    let latency = milliseconds(awaited.at - ran.ended);
    look(stage).await?;
    let shown = awaited.value.as_deref().unwrap_or("gone").to_owned();
    if awaited.came && awaited.at <= ran.ended {
        note("       seen before the command ended, which waits for the first delivery");
    } else if awaited.came {
        note(&format!("       seen {latency} after the command ended"));
    }
    report.add(step, awaited.came, &shown, &latency);
    ensure!(awaited.came, "{step}: AWS does not hold {}", wanted.unwrap_or("nothing"));
    Ok(())
}

/// Shows all that AWS holds.
async fn look(stage: &mut Stage) -> Result<Vec<Held>> {
    let prefix = stage.prefix().to_owned();
    let held = stage.view()?.list(&prefix).await?;
    if held.is_empty() {
        note("AWS    (nothing)");
    }
    for secret in &held {
        let value = secret.value.as_deref().unwrap_or("(scheduled for deletion)");
        let tags = secret.tags.join(", ");
        let Held { name, versions, .. } = secret;
        let versions = if *versions == 1 { "1 version" } else { &format!("{versions} versions") };
        note(&format!("AWS    {name} = {value}   {versions}, tag {tags}"));
    }
    Ok(held)
}

fn count(held: &[Held]) -> String {
    match held.len() {
        0 => "nothing".to_owned(),
        1 => "1 secret".to_owned(),
        many => format!("{many} secrets"),
    }
}

async fn crash(stage: &mut Stage, report: &mut Report, shell: &Shell) -> Result<()> {
    report.step("A burst of writes, and kill -9 among them");
    for path in BURST {
        shell.quietly(&["kv", "put", &format!("secret/{path}"), "n=0"], "").await?;
        shell.quietly(&["sync", "associate", DESTINATION, "secret", path], "").await?;
    }
    let prefix = stage.prefix().to_owned();
    let name = |path: &str| format!("{prefix}/{path}");
    let names: Vec<String> = BURST.iter().copied().map(name).collect();
    stage.view()?.watch(&names).await?;
    for path in BURST {
        note(&format!("$ for n in $(seq 1 1000); do bailee kv put secret/{path} n=$n; done &"));
    }
    let burst = Burst::start(shell, &BURST, 0);
    let got = until_written(&burst, WRITES_BEFORE_KILL).await;
    let killed = Instant::now();
    stage.kill_server()?;
    got?;
    note("$ kill -9 %1");
    let before = burst.end().await?;
    let acknowledged = total(&before);
    note(&format!("  {acknowledged} writes were acknowledged; the server is dead"));
    stage.start_server().await?;
    unseal(stage, shell).await?;
    let back = killed.elapsed();
    note(&format!("  serving again {:.1} s after its death", back.as_secs_f64()));
    let kept = compare(stage, shell, &before, &name).await?;
    report.add("kill -9 in a burst, restart, unseal", kept, &outcome(&before, kept), "");

    note("the burst goes on:");
    let from = before.iter().map(last).max().unwrap_or(0) + 1;
    let burst = Burst::start(shell, &BURST, from);
    let got = until_written(&burst, WRITES_AFTER_KILL).await;
    let after = burst.end().await?;
    got?;
    let newest = compare(stage, shell, &after, &name).await?;
    let seen = stage.view()?.unwatch().await?;
    let latencies = burst::latencies(&after, &seen, name);
    let figures = format!(
        "p50 {}, longest {}",
        milliseconds(quantile(&latencies, 0.5)),
        milliseconds(quantile(&latencies, 1.0))
    );
    report.add("burst after the restart", newest, &outcome(&after, newest), &figures);
    let forward = burst::never_went_back(&seen);
    let states: usize = seen.values().map(Vec::len).sum();
    let text =
        format!("{states} changes seen, {} older after newer", if forward { "no" } else { "AN" });
    report.add("order over the whole burst", forward, &text, "");
    ensure!(kept && newest && forward, "the burst did not end as it should");
    Ok(())
}

async fn until_written(burst: &Burst, count: u64) -> Result<()> {
    let started = Instant::now();
    while burst.acknowledged() < count {
        ensure!(burst.is_running(), "the writers were refused");
        ensure!(started.elapsed() < BURST_TIME_MAX, "the writes take too long");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Whether no acknowledged write is missing here, and AWS comes to hold what is newest here.
async fn compare(
    stage: &mut Stage,
    shell: &Shell,
    written: &[Written],
    name: &impl Fn(&str) -> String,
) -> Result<bool> {
    let mut good = true;
    for writer in written {
        let secret = format!("secret/{}", writer.path);
        let stored = shell.quietly(&["kv", "get", "-field=n", &secret], "").await?.output;
        let stored = stored.trim();
        let kept = stored.parse::<u64>().unwrap_or(0) >= last(writer);
        let wanted = format!("{{\"n\":\"{stored}\"}}");
        let awaited = stage.view()?.wait_for(&name(&writer.path), Some(&wanted)).await?;
        let in_aws = burst::number(awaited.value.as_deref());
        let verdict =
            if kept && awaited.came { "newest everywhere" } else { "NOT as it should be" };
        note(&format!(
            "  {:<8} last acknowledged n={:<4} stored n={stored:<4} AWS n={in_aws:<4} {verdict}",
            writer.path,
            last(writer),
        ));
        good &= kept && awaited.came;
    }
    Ok(good)
}

fn last(writer: &Written) -> u64 {
    writer.acknowledged.last().map_or(0, |(number, _)| *number)
}

fn total(written: &[Written]) -> usize {
    written.iter().map(|writer| writer.acknowledged.len()).sum()
}

fn outcome(written: &[Written], good: bool) -> String {
    let newest = if good { "yes" } else { "NO" };
    format!("{} acknowledged, newest in AWS: {newest}", total(written))
}

async fn drift(stage: &mut Stage, report: &mut Report, shell: &Shell) -> Result<()> {
    report.step("Somebody changes one secret in AWS behind our back, and deletes another");
    let [changed, deleted] =
        ["app/api", "app/web"].map(|path| format!("{}/{path}", stage.prefix()));
    let mut wanted = Vec::new();
    for (path, name) in [("app/api", &changed), ("app/web", &deleted)] {
        let secret = format!("secret/{path}");
        let stored = shell.quietly(&["kv", "get", "-field=n", &secret], "").await?.output;
        wanted.push((name.clone(), format!("{{\"n\":\"{}\"}}", stored.trim())));
    }
    stage.view()?.meddle(&changed, r#"{"n":"somebody's"}"#, &deleted).await?;
    look(stage).await?;
    let plan = ["sync", "plan", DESTINATION];
    let planned = shell.run_to_exit(&plan, 2).await?.output;
    let found = planned.contains("drift: changed") && planned.contains("drift: missing");
    report.add("drift is found", found, "one changed, one deleted by somebody", "");

    report.step("Looked for now rather than in a while: both are repaired");
    stage.view()?.watch(&[changed, deleted]).await?;
    let ran = shell.run(&["sync", "now", DESTINATION]).await?;
    let (mut repaired, mut latest) = (true, ran.ended);
    for (name, value) in &wanted {
        let awaited = stage.view()?.wait_for(name, Some(value)).await?;
        repaired &= awaited.came;
        latest = latest.max(awaited.at);
    }
    look(stage).await?;
    let settled = shell.run_to_exit(&plan, 0).await?.output.contains("nothing to do");
    let outcome = if repaired && settled { "both as they are here" } else { "NOT repaired" };
    report.add(
        "drift is repaired",
        repaired && settled,
        outcome,
        &milliseconds(latest - ran.ended),
    );
    stage.view()?.unwatch().await?;
    Ok(())
}

async fn vanish(stage: &mut Stage, report: &mut Report, shell: &Shell) -> Result<()> {
    report.step("Who has what");
    shell.run(&["sync", "status"]).await?;
    let held = look(stage).await?;
    report.add("status", held.len() == BURST.len(), &count(&held), "");

    report.step("Delete the secret: it vanishes from AWS");
    let name = format!("{}/app/db", stage.prefix());
    stage.view()?.watch(std::slice::from_ref(&name)).await?;
    let ran = shell.run(&["kv", "metadata", "delete", SECRET]).await?;
    arrive(stage, report, "delete the secret", &ran, None).await?;

    report.step("Dissociate another: that one too");
    let name = format!("{}/app/web", stage.prefix());
    stage.view()?.watch(std::slice::from_ref(&name)).await?;
    let ran = shell.run(&["sync", "dissociate", DESTINATION, "secret", "app/web"]).await?;
    let awaited = stage.view()?.wait_for(&name, None).await?;
    let held = look(stage).await?;
    let latency = milliseconds(awaited.at - ran.ended);
    report.add("dissociate", awaited.came && held.len() == 1, &count(&held), &latency);
    Ok(())
}
