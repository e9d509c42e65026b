//! `sync status`: what has been delivered, what has not, and what to do about it.

use super::{Target, destination, text};
use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, Secret, Table, duration},
};
use bailee_client::{Method, Outgoing};
use bailee_crypto::{Clock, SystemClock};
use clap::Args;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// Time between two looks with -watch.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Shows the secrets that are delivered, how far that has come, and what to do where it fails.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Show it again whenever it changes, until interrupted.
    #[arg(long)]
    watch: bool,
    #[arg(value_name = "TYPE/NAME")]
    arguments: Vec<String>,
}

impl Status {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let target = arguments::optional(&self.arguments)?;
        let target = target.map(|text| Target::parse(text)).transpose()?;
        let mut shown = None;
        loop {
            let found = look(context, target.as_ref()).await?;
            let key = found.to_value();
            if shown.as_ref() != Some(&key) {
                if shown.is_some() && context.output.is_table() {
                    context.output.line("")?;
                }
                found.show(context)?;
                shown = Some(key);
            }
            if !self.watch {
                return Ok(());
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }
}

/// What was found at the destinations.
struct Found {
    destinations: Vec<(Target, Vec<Value>, Option<String>)>,
    mounts: BTreeMap<String, String>,
}

async fn look(context: &mut Context, target: Option<&Target>) -> Result<Found, Failure> {
    let targets = match target {
        Some(target) => vec![target.clone()],
        None => all(context).await?,
    };
    let mut destinations = Vec::new();
    for target in targets {
        let path = format!("{}/associations", target.path());
        let attempt = format!("Error reading the status of {target}");
        let found = context.find(&attempt, Outgoing::new(Method::Get, path)).await?;
        let found = found.ok_or_else(|| target.missing())?;
        let read = Outgoing::new(Method::Get, target.path());
        // Whoever may not read the destination still sees its secrets.
        let note = context.attempt(read).await?.ok();
        let note = note.and_then(|response| destination::purge_note(&response.data::<Value>()?));
        destinations.push((target, entries(&found), note));
    }
    let mounts = mounts(context).await?;
    Ok(Found { destinations, mounts })
}

async fn all(context: &mut Context) -> Result<Vec<Target>, Failure> {
    let outgoing = Outgoing::new(Method::List, "sys/sync/destinations");
    let found = context.find("Error listing destinations", outgoing).await?;
    let data = found.as_ref().and_then(Secret::data).cloned().unwrap_or_default();
    let targets = destination::targets(&data, None);
    if targets.is_empty() {
        return Err(Failure::refused(
            "There are no destinations. `bailee sync destination create aws-sm/NAME …` makes one.",
        ));
    }
    Ok(targets)
}

/// Paths of mounts by their accessors, as far as the token may see them.
pub(super) async fn mounts(context: &mut Context) -> Result<BTreeMap<String, String>, Failure> {
    let outgoing = Outgoing::new(Method::Get, "sys/internal/ui/mounts");
    let Ok(response) = context.attempt(outgoing).await? else { return Ok(BTreeMap::new()) };
    let data: Map<String, Value> = response.data().unwrap_or_default();
    let mounts = data.get("secret").and_then(Value::as_object).into_iter().flatten();
    let mounts = mounts.filter_map(|(path, mount)| {
        let accessor = mount.get("accessor").and_then(Value::as_str)?;
        Some((accessor.to_owned(), path.clone()))
    });
    Ok(mounts.collect())
}

fn entries(found: &Secret) -> Vec<Value> {
    let entries = found.data().and_then(|data| data.get("associated_secrets"));
    let entries = entries.and_then(Value::as_object).into_iter().flatten();
    let mut entries: Vec<(&String, &Value)> = entries.collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.into_iter().map(|(_, entry)| entry.clone()).collect()
}

impl Found {
    fn to_value(&self) -> Value {
        let destinations = self.destinations.iter();
        let destinations = destinations.map(|(target, entries, note)| {
            json!({ "destination": target.to_string(), "associations": entries, "note": note })
        });
        destinations.collect()
    }

    fn show(&self, context: &mut Context) -> Result<(), Failure> {
        if !context.output.is_table() {
            return context.output.document(&self.to_value(), &Order::SORTED);
        }
        let now = SystemClock.now();
        for (position, (target, entries, note)) in self.destinations.iter().enumerate() {
            if position > 0 {
                context.output.line("")?;
            }
            context.output.line(&format!("{target}\n"))?;
            if let Some(note) = note {
                context.output.line(&format!("{note}\n"))?;
            }
            if entries.is_empty() {
                context.output.line(&format!(
                    "No secrets yet. `bailee sync associate {target} MOUNT SECRET` delivers one."
                ))?;
                continue;
            }
            let mut table = head();
            for entry in entries {
                let accessor = text(entry, "accessor");
                let mount = self.mounts.get(accessor).cloned();
                let mount = mount.unwrap_or_else(|| format!("{accessor}/"));
                row(&mut table, &format!("{mount}{}", text(entry, "secret_name")), entry, now);
            }
            context.output.table(&table)?;
        }
        Ok(())
    }
}

/// Shows one secret of an answer to `associate` or `dissociate`.
pub(super) async fn show_one(
    context: &mut Context,
    target: &Target,
    answer: &Secret,
    (mount, secret): (&str, &str),
) -> Result<(), Failure> {
    let name = secret.trim_start_matches('/');
    let entries = entries(answer);
    let of_name: Vec<&Value> = entries.iter().filter(|e| text(e, "secret_name") == name).collect();
    // The answer holds all secrets of the destination, also those that another mount has by this
    // name, and tells mounts by their accessors.
    let mounts = if of_name.is_empty() { BTreeMap::new() } else { mounts(context).await? };
    let mount = mount.trim_matches('/');
    let found = of_mount(&of_name, &mounts, mount);
    if found.is_empty() {
        return context
            .output
            .line(&format!("{target} does not hold {mount}/{name}; nothing is left to do."));
    }
    let mut table = head();
    let now = SystemClock.now();
    for (mount, entry) in found {
        row(&mut table, &format!("{mount}/{name}"), entry, now);
    }
    context.output.line(&format!("{target}\n"))?;
    context.output.table(&table)
}

/// Those entries that are of the mount at this path, or may be: which mount an accessor stands for
/// the token may not be permitted to see. Each with the path, or the accessor, to show for it.
fn of_mount<'a>(
    entries: &[&'a Value],
    mounts: &BTreeMap<String, String>,
    path: &'a str,
) -> Vec<(&'a str, &'a Value)> {
    let known = |entry: &Value| mounts.get(text(entry, "accessor")).map(|p| p.trim_matches('/'));
    let of_path = entries.iter().find(|entry| known(entry) == Some(path));
    if let Some(entry) = of_path {
        return vec![(path, *entry)];
    }
    let unknown: Vec<&Value> =
        entries.iter().copied().filter(|entry| known(entry).is_none()).collect();
    match unknown.as_slice() {
        [one] if entries.len() == 1 => vec![(path, *one)],
        _ => unknown.into_iter().map(|entry| (text(entry, "accessor"), entry)).collect(),
    }
}

fn head() -> Table {
    Table::new(&["Secret", "External name", "Status", "Since", "What to do"])
}

fn row(table: &mut Table, secret: &str, entry: &Value, now: SystemTime) {
    let since = since(text(entry, "updated_at"), now);
    let (external, status) = (text(entry, "external_name"), text(entry, "sync_status"));
    let secret = match text(entry, "sub_key") {
        "" => secret.to_owned(),
        key => format!("{secret} [{key}]"),
    };
    table.row([secret, external.to_owned(), status.to_owned(), since, advice(entry, now)]);
}

/// How long ago, in its two largest units.
fn since(time: &str, now: SystemTime) -> String {
    match parsed(time).map(|time| now.duration_since(time).unwrap_or_default()) {
        Some(ago) => format!("{} ago", coarse(ago)),
        None => time.to_owned(),
    }
}

fn parsed(time: &str) -> Option<SystemTime> {
    let time: jiff::Timestamp = time.parse().ok()?;
    let millis = u64::try_from(time.as_millisecond()).ok()?;
    Some(bailee_crypto::clock::from_millis(millis))
}

fn coarse(length: Duration) -> String {
    let seconds = length.as_secs();
    let shown = match seconds {
        0..3600 => seconds,
        3600..86_400 => seconds - seconds % 60,
        _ => return format!("{}d", seconds / 86_400),
    };
    duration(Duration::from_secs(shown))
}

/// What a person can do about an entry; `-` when there is nothing to do.
fn advice(entry: &Value, now: SystemTime) -> String {
    let error = entry.get("error").cloned().unwrap_or_default();
    let mut parts = Vec::new();
    let message = text(&error, "message");
    if !message.is_empty() {
        // The destination's own code, for whoever looks it up.
        parts.push(match text(&error, "code") {
            "" => message.to_owned(),
            code => format!("{message} ({code})"),
        });
    }
    match text(&error, "missing_permission") {
        "" => {}
        permission => parts.push(format!("grant {permission}, then associate it again")),
    }
    let attempts = error.get("attempts").and_then(Value::as_u64).unwrap_or(0);
    match parsed(text(&error, "next_attempt")) {
        Some(next) => {
            let wait = next.duration_since(now).unwrap_or_default();
            let wait = coarse(wait + Duration::from_millis(999));
            parts.push(format!("attempt {attempts} failed, tried again in {wait}"));
        }
        None if !message.is_empty() && text(&error, "missing_permission").is_empty() => {
            parts.push(match text(&error, "next_action") {
                "" => "repair it, then associate it again".to_owned(),
                action => action.to_owned(),
            });
        }
        None => {}
    }
    if let Some(drift) = entry.get("drift") {
        let (kind, since) = (text(drift, "kind"), since(text(drift, "since"), now));
        parts.push(format!("somebody changed it there ({kind}), seen {since}, not undone"));
    }
    for former in entry.get("former_names").and_then(Value::as_array).into_iter().flatten() {
        let error = former.get("error").cloned().unwrap_or_default();
        let why = text(&error, "message");
        let name = text(former, "external_name");
        parts.push(match why {
            "" => format!("its former name {name} is being removed"),
            why => format!("its former name {name} is still there: {why}"),
        });
    }
    for note in entry.get("notes").and_then(Value::as_array).into_iter().flatten() {
        parts.push(format!(
            "{} would be used if granted: {}",
            text(note, "missing_permission"),
            text(note, "message")
        ));
    }
    if parts.is_empty() {
        let plain = match text(entry, "sync_status") {
            "PENDING" => "wait: it is being delivered",
            "SYNCED" => "-",
            "UNSYNCED" => "nothing is there: the secret has no live version, or was dissociated",
            _ => "associate it again; if that fails, look into the server's log",
        };
        parts.push(plain.to_owned());
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn secrets_are_shown_with_their_mounts_and_what_to_do() {
        let list = json!({"data": {"keys": ["aws-sm/"], "key_info": {"aws-sm/": ["m"]}}});
        let entry = json!({"accessor": "kv_1", "secret_name": "app", "external_name": "vault/kv_1/app",
            "sync_status": "SYNCED", "updated_at": "1970-01-01T00:00:00Z"});
        let associations = json!({"data": {"associated_secrets": {"kv_1/app": entry}}});
        let mounts = json!({"data": {"secret": {"secret/": {"accessor": "kv_1"}}}});
        let destination = json!({"data": {"name": "m", "type": "aws-sm"}});
        let answers = vec![(200, list), (200, associations), (200, destination), (200, mounts)];
        let (mut context, out, ..) = testing::context(Format::Table, answers).await;
        Status { watch: false, arguments: Vec::new() }.run(&mut context).await.unwrap();
        assert!(
            out.text().starts_with("aws-sm/m\n\nSecret        External name     Status    Since"),
            "{}",
            out.text()
        );
        assert!(out.text().contains("\nsecret/app    vault/kv_1/app    SYNCED"), "{}", out.text());
    }

    #[tokio::test]
    async fn one_secret_is_shown_without_another_mounts_secret_of_that_name() {
        let entry = |accessor: &str| {
            json!({"accessor": accessor, "secret_name": "app", "sync_status": "SYNCED",
                "external_name": format!("vault/{accessor}/app"),
                "updated_at": "1970-01-01T00:00:00Z"})
        };
        let mounts = json!({"data": {"secret": {
            "secret/": {"accessor": "kv_1"}, "team/kv/": {"accessor": "kv_2"}}}});
        let both = json!({"kv_1/app": entry("kv_1"), "kv_2/app": entry("kv_2")});
        let other = json!({"kv_2/app": entry("kv_2")});
        let shown = async |answer: &Value, mounts: (u16, Value)| {
            let answer = json!({"data": {"associated_secrets": answer}});
            let (mut context, out, ..) =
                testing::context(Format::Table, vec![(200, answer), mounts]).await;
            let answer = context.find("", Outgoing::new(Method::Get, "a")).await.unwrap().unwrap();
            let target = Target::parse("aws-sm/m").unwrap();
            show_one(&mut context, &target, &answer, ("secret/", "app")).await.unwrap();
            out.text()
        };
        let text = shown(&both, (200, mounts.clone())).await;
        assert!(text.contains("\nsecret/app ") && text.contains("vault/kv_1/app"), "{text}");
        assert!(!text.contains("kv_2"), "{text}");
        let text = shown(&other, (200, mounts)).await;
        assert!(text.contains("does not hold secret/app"), "{text}");
        // Whoever may not see the mounts sees their accessors.
        let text = shown(&both, (403, json!({"errors": ["permission denied"]}))).await;
        assert!(text.contains("\nkv_1/app ") && text.contains("\nkv_2/app "), "{text}");
    }

    #[test]
    fn times_are_told_as_how_long_ago() {
        assert_eq!(since("1970-01-01T00:00:00Z", at(90)), "1m30s ago");
        assert_eq!(since("1970-01-01T00:00:00Z", at(3700)), "1h1m ago");
        assert_eq!(since("1970-01-01T00:00:00Z", at(90_000 * 2)), "2d ago");
        assert_eq!(since("soon", at(90)), "soon");
    }

    #[test]
    fn advice_names_the_permission_or_the_next_attempt() {
        let denied = json!({"sync_status": "CLIENT_SIDE_ERROR", "error": {"message": "access denied",
            "missing_permission": "secretsmanager:CreateSecret", "attempts": 1, "next_attempt": null}});
        let expected = "access denied; grant secretsmanager:CreateSecret, then associate it again";
        assert_eq!(advice(&denied, at(0)), expected);
        let busy = json!({"sync_status": "EXTERNAL_SERVICE_ERROR", "error": {"message": "throttled",
            "missing_permission": null, "attempts": 3, "next_attempt": "1970-01-01T00:00:30Z"}});
        assert_eq!(advice(&busy, at(10)), "throttled; attempt 3 failed, tried again in 20s");
        assert_eq!(advice(&json!({"sync_status": "SYNCED"}), at(0)), "-");
        let large = json!({"sync_status": "CLIENT_SIDE_ERROR", "error": {"class": "too_large",
            "code": "ValidationException", "message": "it is too large",
            "next_action": "make the value smaller", "next_attempt": null}});
        let expected = "it is too large (ValidationException); make the value smaller";
        assert_eq!(advice(&large, at(0)), expected);
        let drift = json!({"sync_status": "SYNCED",
            "drift": {"kind": "changed", "since": "1970-01-01T00:00:00Z"}});
        let expected = "somebody changed it there (changed), seen 10s ago, not undone";
        assert_eq!(advice(&drift, at(10)), expected);
        assert_eq!(
            advice(&json!({"sync_status": "PENDING"}), at(0)),
            "wait: it is being delivered"
        );
    }
}
