//! Creating and changing a source.

use super::{input::WriteSource, show::shown, source_key};
use crate::{
    destination::{Ownership, RECOVERY_DAYS_DEFAULT},
    paths::{
        Paths, check_name,
        destinations::{MASK, given::Given, is_mask, network::GivenNetwork, purging},
    },
    pull::{
        Target,
        spec::{Compare, DELETION_SHARE_MAX, Removals},
        words,
    },
    pulling::{
        self, Auth,
        stored::{AWS, FIELDS, SOURCES_MAX, SourceField, StoredSource, VAULTS},
    },
    registry::{Details, Drift, Network},
    store::Store,
};
use bailee_client::Address;
use bailee_crypto::random;
use bailee_notation::schedule::Schedule;
use bailee_sdk::{
    Code, Error, Namespace, Operation, Reply, Request, Sensitive,
    field::{CommaList, Flag, Integer},
};
use serde_json::Value;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

/// Mounts, and folders, of one source.
const PARTS_MAX: usize = 256;
/// The longest mount, folder or word.
const TEXT_BYTES_MAX: usize = 1024;
/// The shortest time between two runs.
const INTERVAL_MIN: Duration = Duration::from_secs(60);

impl Paths {
    pub(in crate::paths) async fn write_source(
        self: Arc<Self>,
        request: Request<WriteSource>,
    ) -> Result<Reply, Error> {
        Box::pin(self.save_source(request, false)).await
    }

    pub(in crate::paths) async fn patch_source(
        self: Arc<Self>,
        request: Request<WriteSource>,
    ) -> Result<Reply, Error> {
        Box::pin(self.save_source(request, true)).await
    }

    async fn save_source(
        self: Arc<Self>,
        request: Request<WriteSource>,
        partly: bool,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let (input, request) = request.take_input();
        store.lock_sources().await;
        let before = store.source(&input.name).await?;
        if partly && before.is_none() {
            return Err(Error::not_found());
        }
        if before.is_none() && store.source_names().await?.len() >= SOURCES_MAX {
            return Err(Error::invalid(format!(
                "this namespace has {SOURCES_MAX} sources, the most there may be: delete one first"
            )));
        }
        let source = written(input, before.as_ref(), partly)?;
        let rests_alone = |before: &StoredSource| {
            StoredSource { paused: source.paused, ..before.clone() } == source
        };
        if !before.as_ref().is_some_and(rests_alone) {
            may_deliver(&request, &source)?;
        }
        self.check_source(&store, &request.namespace, &source).await?;
        store.put_source(&source).await?;
        let (pulling, paused) = (self.sync.pulling(), source.paused);
        let key = source_key(&request.namespace, &source.name);
        request.view.after_commit(move || match pulling {
            Some(pulling) if paused => pulling.rest(&key),
            Some(pulling) => pulling.changed(&key),
            None => {}
        });
        Ok(Reply::data(&shown(&source)))
    }

    /// Whether it could run as it is: destination, names, tags, credentials. Nothing is called.
    async fn check_source(
        &self,
        store: &Store,
        namespace: &Namespace,
        source: &StoredSource,
    ) -> Result<(), Error> {
        let (kind, name) = (&source.destination_type, &source.destination_name);
        let registry = &self.sync.registry;
        let told = |reason: String| Error::invalid(format!("destination: {reason}"));
        let known = registry.kind(kind).ok_or_else(|| {
            let kinds: Vec<&str> = registry.kind_names().collect();
            told(format!("there is no type {kind:?}; there are {}", kinds.join(", ")))
        })?;
        store.lock_destination(&store.destination_id(kind, name)).await;
        let found = registry.configured(store, namespace, kind, name).await;
        let configured = found.map_err(|error| told(error.message))?;
        let configured = configured.ok_or_else(|| told(format!("{kind}/{name} does not exist")))?;
        if configured.stored.is_purging() {
            return Err(purging());
        }
        let destination = configured.destination.clone();
        let target = Target::within(configured.clone(), known.clone(), destination);
        let invalid = |error: crate::failure::Error| Error::invalid(error.message);
        pulling::checked(source, &configured, &target).map_err(invalid)?;
        let surroundings = &registry.surroundings;
        pulling::source(source, namespace, surroundings, None).await.map_err(invalid)?;
        Ok(())
    }
}

/// Whoever has a source deliver to a destination must be able to have anything delivered there.
fn may_deliver<I>(request: &Request<I>, source: &StoredSource) -> Result<(), Error> {
    let destination = source.destination();
    let path = format!("sys/sync/destinations/{destination}/associations/set");
    let permitted =
        request.caller.as_ref().is_some_and(|caller| (caller.may)(Operation::Update, &path));
    if permitted {
        return Ok(());
    }
    Err(Error::new(
        Code::PermissionDenied,
        format!("permission denied to deliver to the destination {destination}: update on {path}"),
    ))
}

/// The source that a write asks for. An error names the field and the fix.
fn written(
    mut input: WriteSource,
    before: Option<&StoredSource>,
    partly: bool,
) -> Result<StoredSource, Error> {
    check_name("source", &input.name)?;
    let kept = before.filter(|_| partly).cloned();
    let mut source = kept.unwrap_or_else(|| StoredSource {
        id: before.map_or_else(|| random::uuid().to_string(), |before| before.id.clone()),
        // Who writes a source anew does not wake one that rests.
        paused: before.is_some_and(|before| before.paused),
        ..blank(&input.name)
    });
    source.kind = kind(std::mem::take(&mut input.kind).or(source.kind, String::new))?;
    write_texts(&mut source, &mut input, before)?;
    write_parts(&mut source, &mut input)?;
    write_names(&mut source, &mut input)?;
    write_rules(&mut source, &mut input)?;
    let network = GivenNetwork {
        disable_strict_networking: input.disable_strict_networking,
        allowed_ipv4_addresses: input.allowed_ipv4_addresses,
        allowed_ipv6_addresses: input.allowed_ipv6_addresses,
        allowed_ports: input.allowed_ports,
    };
    source.network = network.onto(std::mem::take(&mut source.network))?;
    source.paused = input.paused.or(Flag(source.paused), Flag::default).0;
    Ok(source)
}

fn blank(name: &str) -> StoredSource {
    StoredSource {
        name: name.to_owned(),
        id: String::new(),
        kind: String::new(),
        details: Details::default(),
        mounts: Vec::new(),
        folders: Vec::new(),
        mount_versions: BTreeMap::new(),
        network: Network::default(),
        destination_type: String::new(),
        destination_name: String::new(),
        prefix: None,
        template: None,
        compare: Compare::default(),
        ownership: Ownership::Refuse,
        drift: Drift::Repair,
        removals: Removals::default(),
        deletion_share_max: DELETION_SHARE_MAX,
        custom_tags: BTreeMap::new(),
        schedule: None,
        paused: false,
    }
}

fn kind(text: String) -> Result<String, Error> {
    if VAULTS.contains(&text.as_str()) || text == AWS {
        return Ok(text);
    }
    let missing = if text.is_empty() { "type is missing" } else { "type is not valid" };
    Err(Error::invalid(format!("{missing}: want vault, openbao, bailee or aws-sm")))
}

/// How the source is reached, and as whom.
fn write_texts(
    source: &mut StoredSource,
    input: &mut WriteSource,
    before: Option<&StoredSource>,
) -> Result<(), Error> {
    let is_aws = source.is_aws();
    let mut fresh = Vec::new();
    for field in FIELDS {
        let name = field.name;
        let given = input.text(name);
        if field.aws != is_aws {
            source.details.0.remove(name);
            if matches!(&given, Given::Value(text) if !text.is_empty()) {
                return Err(Error::invalid(format!(
                    "{name} is not a field of type {}: leave it out",
                    source.kind
                )));
            }
            continue;
        }
        let text = match given {
            Given::Absent => continue,
            Given::Null => String::new(),
            Given::Value(text) => text,
        };
        let old = before.and_then(|before| before.details.get(name));
        if let Some(text) = text_of(field, text, old, &mut fresh)? {
            source.details.0.insert(name.to_owned(), text);
        } else {
            source.details.0.remove(name);
        }
    }
    if !is_aws {
        check_server(&mut source.details)?;
    }
    before.map_or(Ok(()), |before| check_lead(source, before, &fresh))
}

/// A text as it is stored; `None` where nothing is.
fn text_of(
    field: &SourceField,
    text: String,
    old: Option<&Sensitive<String>>,
    fresh: &mut Vec<&'static str>,
) -> Result<Option<Sensitive<String>>, Error> {
    let name = field.name;
    if text.is_empty() {
        return Ok(None);
    }
    if field.secret && is_mask(&text) {
        let masked = || {
            Error::invalid(format!(
                "{name} is masked as {MASK}, and there is no value to keep: set it"
            ))
        };
        return old.cloned().map(Some).ok_or_else(masked);
    }
    if text.len() > field.bytes_max {
        return Err(Error::invalid(format!("{name} is longer than {} bytes", field.bytes_max)));
    }
    let lines = name == "ca_cert";
    let odd =
        |letter: char| letter.is_control() && !(lines && matches!(letter, '\n' | '\r' | '\t'));
    if text.chars().any(odd) {
        return Err(Error::invalid(format!(
            "{name} contains a line break or another control character: give it without"
        )));
    }
    if field.secret {
        fresh.push(name);
    }
    Ok(Some(Sensitive::from(text)))
}

/// Credentials are sent only where whoever gave them meant them to go.
fn check_lead(source: &StoredSource, before: &StoredSource, fresh: &[&str]) -> Result<(), Error> {
    let changed = |field: &&SourceField| {
        field.leads && before.details.get(field.name) != source.details.get(field.name)
    };
    let mut moved: Vec<&str> = FIELDS.iter().filter(changed).map(|field| field.name).collect();
    if before.is_aws() != source.is_aws() {
        moved.push("type");
    }
    let carried = FIELDS.iter().filter(|field| {
        field.secret && source.details.get(field.name).is_some() && !fresh.contains(&field.name)
    });
    let carried: Vec<&str> = carried.map(|field| field.name).collect();
    if moved.is_empty() || carried.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{} changed: give {} again, so that stored credentials do not travel to another server",
        moved.join(" and "),
        carried.join(" and ")
    )))
}

/// The texts of a server that speaks Vault's API.
fn check_server(details: &mut Details) -> Result<(), Error> {
    let address = details.text("address").unwrap_or_default();
    if address.is_empty() {
        return Err(Error::invalid("address is missing: such as https://vault.example:8200"));
    }
    if address.parse::<Address>().is_err() {
        // It may hold a password, and is not repeated.
        return Err(Error::invalid(
            "address is not valid: want https:// or http://, a host and a port, such as \
             https://vault.example:8200, without user or password",
        ));
    }
    if let Some(name) = details.text("tls_server_name") {
        let legal = |letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter);
        if !name.chars().all(legal) || name.parse::<IpAddr>().is_ok() {
            return Err(Error::invalid("tls_server_name: want a DNS name, such as vault.example"));
        }
    }
    for name in ["namespace", "auth_mount"] {
        if let Some(text) = details.text(name) {
            let trimmed = text.trim_matches('/');
            details.0.insert(name.to_owned(), Sensitive::from(trimmed));
        }
    }
    Auth::of(details).map_err(Error::invalid)?;
    Ok(())
}

/// What of the source is taken.
fn write_parts(source: &mut StoredSource, input: &mut WriteSource) -> Result<(), Error> {
    let take = |given: &mut Given<CommaList>, before: &mut Vec<String>| {
        std::mem::take(given).or(CommaList(std::mem::take(before)), CommaList::default).0
    };
    let mounts = take(&mut input.mounts, &mut source.mounts);
    let folders = take(&mut input.folders, &mut source.folders);
    let versions = std::mem::take(&mut source.mount_versions);
    source.mount_versions = match std::mem::take(&mut input.mount_versions) {
        Given::Absent => versions,
        Given::Null => BTreeMap::new(),
        Given::Value(entries) => entries.onto(versions),
    };
    if source.is_aws() {
        if !mounts.is_empty() || !folders.is_empty() || !source.mount_versions.is_empty() {
            return Err(Error::invalid(
                "mounts, folders and mount_versions are not fields of type aws-sm: give source_prefix",
            ));
        }
        return Ok(());
    }
    let path = |field: &str, text: &str| {
        let text = text.trim_matches('/');
        let fits = !text.is_empty() && text.len() <= TEXT_BYTES_MAX;
        let refused =
            || Error::invalid(format!("{field}: want paths of up to {TEXT_BYTES_MAX} bytes"));
        if fits { Ok(text.to_owned()) } else { Err(refused()) }
    };
    let whole = mounts.iter().map(|mount| path("mounts", mount));
    source.mounts = whole.collect::<Result<_, Error>>()?;
    let part = |text: &String| {
        let (mount, folder) = text.split_once(':').ok_or_else(|| {
            Error::invalid("folders: want a mount, a colon and a folder each, such as shared:web/")
        })?;
        Ok(format!("{}:{}/", path("folders", mount)?, path("folders", folder)?))
    };
    source.folders = folders.iter().map(part).collect::<Result<_, Error>>()?;
    let count = source.mounts.len() + source.folders.len();
    if count == 0 {
        return Err(Error::invalid(
            "mounts is missing: the KV engines to read; or folders of them",
        ));
    }
    if count > PARTS_MAX {
        return Err(Error::invalid(format!(
            "mounts and folders have {count} entries: give at most {PARTS_MAX}"
        )));
    }
    let in_part = source.folders.iter().filter_map(|text| text.split_once(':'));
    if let Some((both, _)) =
        in_part.clone().find(|(mount, _)| source.mounts.contains(&(*mount).to_owned()))
    {
        return Err(Error::invalid(format!("folders: {both} is in mounts, and taken whole")));
    }
    for (mount, version) in &source.mount_versions {
        let known = source.mounts.contains(mount) || in_part.clone().any(|(part, _)| part == mount);
        if !known || !matches!(version.as_str(), "1" | "2") {
            return Err(Error::invalid(
                "mount_versions: want 1 or 2 for mounts that are in mounts or folders",
            ));
        }
    }
    Ok(())
}

/// Where secrets go, and under which names.
fn write_names(source: &mut StoredSource, input: &mut WriteSource) -> Result<(), Error> {
    let before = source.destination();
    let destination = std::mem::take(&mut input.destination).or(before, String::new);
    let (kind, name) = destination.split_once('/').unwrap_or_default();
    if kind.is_empty() || name.is_empty() || destination.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid(
            "destination is missing: its type and name, such as aws-sm/main",
        ));
    }
    (source.destination_type, source.destination_name) = (kind.to_owned(), name.to_owned());
    let (prefix, names) = (std::mem::take(&mut input.prefix), std::mem::take(&mut input.names));
    match (&prefix, &names) {
        (Given::Value(_), Given::Absent) => source.template = None,
        (Given::Absent, Given::Value(_)) => source.prefix = None,
        _ => {}
    }
    let set = |text: Option<String>| text.filter(|text| !text.is_empty());
    let text = |given: Given<String>, before: Option<String>| {
        set(Some(given.or(before.unwrap_or_default(), String::new)))
    };
    source.prefix = text(prefix, source.prefix.take());
    source.template = text(names, source.template.take());
    match (&mut source.prefix, &source.template) {
        (Some(_), Some(_)) => Err(Error::invalid("prefix and names exclude each other: give one")),
        (None, None) => Err(Error::invalid(
            "prefix is missing: how all names at the destination begin, such as apps; or names, a \
             template",
        )),
        (Some(prefix), None) => {
            prefix.truncate(prefix.trim_end_matches('/').len());
            let usable = !prefix.is_empty() && !prefix.contains("{{");
            let wrong = "prefix: want how all names begin, such as apps; for a template give names";
            if usable { Ok(()) } else { Err(Error::invalid(wrong)) }
        }
        (None, Some(template)) if template.len() > bailee_notation::template::TEXT_BYTES_MAX => {
            Err(Error::invalid("names: the template is too long"))
        }
        (None, Some(_)) => Ok(()),
    }
}

/// What is done, and when.
fn write_rules(source: &mut StoredSource, input: &mut WriteSource) -> Result<(), Error> {
    word("compare", &input.compare, words::compare, Compare::default, &mut source.compare)?;
    let refuse = || Ownership::Refuse;
    word("ownership", &input.ownership, words::ownership, refuse, &mut source.ownership)?;
    word("drift", &input.drift, words::drift, || Drift::Repair, &mut source.drift)?;
    source.removals = removals(source.removals, &input.deletion, &input.recovery_window_days)?;
    let share = match &input.deletion_share_max {
        Given::Absent => Ok(source.deletion_share_max),
        Given::Null => Ok(DELETION_SHARE_MAX),
        Given::Value(Value::String(text)) if text.len() <= TEXT_BYTES_MAX => words::share(text),
        Given::Value(Value::Number(number)) => words::share(&number.to_string()),
        Given::Value(_) => Err("want a share such as 0.2 or 20%".to_owned()),
    };
    source.deletion_share_max = share.map_err(|told| wrong("deletion_share_max", &told))?;
    let tags = std::mem::take(&mut source.custom_tags);
    source.custom_tags = match std::mem::take(&mut input.custom_tags) {
        Given::Absent => tags,
        Given::Null => BTreeMap::new(),
        Given::Value(entries) => entries.onto(tags),
    };
    let schedule = source.schedule.take().unwrap_or_default();
    let schedule = std::mem::take(&mut input.schedule).or(schedule, String::new);
    if !schedule.is_empty() {
        let parsed = Schedule::parse(&schedule);
        let parsed = parsed.map_err(|error| wrong("schedule", &error.to_string()))?;
        if parsed.interval().is_some_and(|interval| interval < INTERVAL_MIN) {
            return Err(wrong("schedule", "want a minute or more between runs"));
        }
        source.schedule = Some(parsed.as_str().to_owned());
    }
    Ok(())
}

fn wrong(field: &str, told: &str) -> Error {
    Error::invalid(format!("{field}: {told}"))
}

/// Writes what a word says.
fn word<T>(
    field: &str,
    given: &Given<String>,
    read: impl Fn(&str) -> Result<T, String>,
    default: impl FnOnce() -> T,
    to: &mut T,
) -> Result<(), Error> {
    match given {
        Given::Absent => {}
        Given::Null => *to = default(),
        Given::Value(text) if text.is_empty() => *to = default(),
        Given::Value(text) if text.len() > TEXT_BYTES_MAX => {
            return Err(wrong(field, "is longer than any word it may be"));
        }
        Given::Value(text) => *to = read(text).map_err(|told| wrong(field, &told))?,
    }
    Ok(())
}

fn removals(
    before: Removals,
    deletion: &Given<String>,
    days: &Given<Integer>,
) -> Result<Removals, Error> {
    let kept = match before {
        Removals::Schedule { days } => days,
        Removals::Keep | Removals::Orphan | Removals::Delete => RECOVERY_DAYS_DEFAULT,
    };
    let chosen = match days {
        Given::Absent => kept,
        Given::Null => RECOVERY_DAYS_DEFAULT,
        Given::Value(Integer(days)) => {
            words::days(&days.to_string()).map_err(|told| wrong("recovery_window_days", &told))?
        }
    };
    let mut after = before;
    let read = |text: &str| words::removals(text, chosen);
    word("deletion", deletion, read, Removals::default, &mut after)?;
    match &mut after {
        Removals::Schedule { days } => *days = chosen,
        Removals::Keep | Removals::Orphan | Removals::Delete => {
            if matches!(days, Given::Value(_)) {
                return Err(wrong("recovery_window_days", "goes with deletion=schedule alone"));
            }
        }
    }
    Ok(after)
}
