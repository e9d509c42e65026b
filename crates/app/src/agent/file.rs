//! The agent's configuration file. What nobody knows is refused, with its line.

use super::{
    Configuration, DiskSettings, Manager, ManagerKind,
    inputs::{self, reference},
};
use crate::{
    config::reader::{Block, Faults},
    replicate::{self, Vault},
};
use bailee_agent::{
    connection::{Connection, Property},
    manager::Wanted,
    store::{ENTRIES_DEFAULT, ENTRIES_MAX, Patience},
};
use bailee_notation::{hcl, yaml};
use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};

/// Names that stand for a server that speaks Vault's API.
const VAULTS: [&str; 3] = ["vault", "openbao", "bailee"];
const AWS: &str = "aws-sm";
/// The shortest time between two fetches of a secret.
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// The longest time for which what was fetched may serve.
const STALE_MAX: Duration = Duration::from_secs(90 * 86_400);
/// Secrets and tags that one manager may be told to keep.
const PREFETCHED_MAX: usize = 10_000;

/// Reads a configuration; all that is wrong with it is told at once, but for what stands on a secret manager that is
/// wrong itself.
///
/// # Errors
/// Each fault with its line and field.
pub(crate) fn parse(text: &str, is_yaml: bool) -> Result<Configuration, Faults> {
    let mut faults = Faults::default();
    let body = if is_yaml { yaml::parse(text) } else { hcl::parse(text) };
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            faults.add_overall(error);
            return Err(faults);
        }
    };
    let mut file = Block::new("the configuration", 1, body);
    // Whose the files with keys may be.
    let user = file.text("user", &mut faults);
    let managers = managers(&mut file, user.as_deref(), &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let configuration = configuration(&mut file, managers, user, &mut faults);
    file.finish(&mut faults);
    if faults.is_empty() { Ok(configuration) } else { Err(faults) }
}

fn managers(
    file: &mut Block,
    user: Option<&str>,
    faults: &mut Faults,
) -> BTreeMap<String, Manager> {
    let mut managers = BTreeMap::new();
    for (name, block) in file.blocks("secret_manager", faults) {
        let line = block.line;
        let Some(manager) = manager(&name, block, user, faults) else { continue };
        if managers.insert(name.clone(), manager).is_some() {
            faults.add(line, format_args!("secret_manager {name:?} is given twice"));
        }
    }
    if managers.is_empty() && faults.is_empty() {
        faults.add_overall(
            "there is no secret_manager: give at least one, such as secret_manager \"prod\" { … }",
        );
    }
    managers
}

fn configuration(
    file: &mut Block,
    managers: BTreeMap<String, Manager>,
    user: Option<String>,
    faults: &mut Faults,
) -> Configuration {
    let names: Vec<String> = managers.keys().cloned().collect();
    let mut connections = BTreeMap::new();
    for (name, block) in file.blocks("connection", faults) {
        let line = block.line;
        let connection = connection(&name, block, &names, faults);
        if connections.insert(name.clone(), connection).is_some() {
            faults.add(line, format_args!("connection {name:?} is given twice"));
        }
    }
    let (entries_max, disk) = cache(file, faults);
    let known = inputs::Known { managers: &managers, connections: &connections };
    let exec = super::outputs::exec(file, &known, faults);
    let files = super::outputs::files(file, &known, faults);
    let listeners = super::listeners::listeners(file, &known, faults);
    let group_line = file.line_of("group");
    let group = file.text("group", faults);
    if group.is_some() && user.is_none() {
        faults.add(group_line, "group is for whoever user says: give user, too");
    }
    let log_level = file.text("log_level", faults);
    let log_json = file.flag("log_json", faults).unwrap_or(false);
    Configuration {
        managers,
        connections,
        exec,
        files,
        listeners,
        entries_max,
        disk,
        user,
        group,
        log_level: log_level.unwrap_or_else(|| "info".to_owned()),
        log_json,
    }
}

fn manager(
    name: &str,
    mut block: Block,
    user: Option<&str>,
    faults: &mut Faults,
) -> Option<Manager> {
    let patience = patience(&mut block, faults);
    let (prefetched, tagged) = prefetch(&mut block, faults);
    let line = block.line_of("type");
    let kind = match block.text("type", faults) {
        Some(kind) if kind == AWS => {
            let settings = inputs::aws(&mut block, user, faults);
            settings.map(|settings| ManagerKind::Aws(Box::new(settings)))
        }
        Some(kind) if VAULTS.contains(&kind.as_str()) => {
            if !tagged.is_empty() {
                faults.add(
                    block.line,
                    format_args!("{}: secrets of a server have no tags", block.name),
                );
            }
            server(&mut block, faults).map(|vault| ManagerKind::Vault(Box::new(vault)))
        }
        Some(kind) => {
            faults.add(
                line,
                format_args!("unknown type {kind:?}: known are aws-sm, vault, openbao and bailee"),
            );
            return None;
        }
        None => {
            faults.add(
                block.line,
                format_args!("{} needs type: aws-sm, vault, openbao or bailee", block.name),
            );
            return None;
        }
    };
    block.finish(faults);
    Some(Manager { name: name.to_owned(), kind: kind?, patience, prefetched, tagged })
}

/// A server that speaks Vault's API. The agent gets its own token: none is taken from whoever starts it.
fn server(block: &mut Block, faults: &mut Faults) -> Option<Vault> {
    let vault = replicate::server(block, faults);
    let needs = |field, form| format!("{} needs {field}, such as {form}", block.name);
    if vault.address.is_none() {
        faults.add(block.line, needs("address", "\"https://vault.example:8200\""));
    }
    if vault.auth.is_none() {
        faults
            .add(block.line, needs("auth", "auth \"approle\" { role_id = … secret_id_file = … }"));
    }
    (vault.address.is_some() && vault.auth.is_some()).then_some(vault)
}

fn patience(block: &mut Block, faults: &mut Faults) -> Patience {
    let default = Patience::default();
    let (refresh_line, stale_line) = (block.line_of("refresh"), block.line_of("stale_max"));
    let refresh = block.duration("refresh", faults).unwrap_or(default.refresh);
    let stale_max = block.duration("stale_max", faults).unwrap_or(default.stale_max);
    if refresh < REFRESH_MIN || refresh > STALE_MAX {
        faults.add(refresh_line, "refresh lies outside of 1s to 90 days");
    }
    if stale_max > STALE_MAX {
        faults.add(stale_line, "stale_max is longer than 90 days");
    }
    Patience { refresh, stale_max }
}

fn prefetch(
    block: &mut Block,
    faults: &mut Faults,
) -> (Vec<Wanted>, Vec<BTreeMap<String, String>>) {
    let Some(mut prefetch) = block.block("prefetch", faults) else {
        return (Vec::new(), Vec::new());
    };
    let ids = prefetch.texts("ids", faults);
    let tags = prefetch.map("tags", faults);
    if ids.len() > PREFETCHED_MAX {
        faults.add(prefetch.line, format_args!("prefetch has more than {PREFETCHED_MAX} ids"));
    }
    if ids.is_empty() && tags.is_empty() {
        faults.add(prefetch.line, "prefetch needs ids or tags");
    }
    prefetch.finish(faults);
    let tagged = if tags.is_empty() { Vec::new() } else { vec![tags] };
    (ids.into_iter().map(Wanted::current).collect(), tagged)
}

fn connection(
    name: &str,
    mut block: Block,
    managers: &[String],
    faults: &mut Faults,
) -> Connection {
    let manager = inputs::manager_name(&mut block, managers, faults);
    let mut properties: BTreeMap<String, Property> = block
        .map("properties", faults)
        .into_iter()
        .map(|(name, value)| (name, Property::Plain(value)))
        .collect();
    for (property, mut inner) in block.blocks("secret", faults) {
        let line = inner.line;
        let found = reference(&mut inner, manager.as_deref(), managers, faults);
        inner.finish(faults);
        let Some(reference) = found else { continue };
        if properties.insert(property.clone(), Property::Secret(reference)).is_some() {
            faults.add(line, format_args!("property {property:?} is given twice"));
        }
    }
    if properties.is_empty() {
        faults.add(block.line, format_args!("{} has neither properties nor secrets", block.name));
    }
    block.finish(faults);
    Connection { name: name.to_owned(), properties }
}

fn cache(file: &mut Block, faults: &mut Faults) -> (NonZeroUsize, Option<DiskSettings>) {
    let default = NonZeroUsize::new(ENTRIES_DEFAULT).unwrap_or(NonZeroUsize::MIN);
    let Some(mut block) = file.block("cache", faults) else { return (default, None) };
    let entries = block.read("entries_max", faults, |text| {
        let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= ENTRIES_MAX);
        number.ok_or_else(|| format!("want a number from 1 to {ENTRIES_MAX}, not {text:?}"))
    });
    let path = block.text("path", faults);
    let key_file = block.text("key_file", faults);
    let key_credential = block.text("key_credential", faults);
    let leases_line = block.line_of("keep_leases");
    let keep_leases = block.flag("keep_leases", faults).unwrap_or(false);
    let line = block.line;
    block.finish(faults);
    if keep_leases && path.is_none() {
        faults.add(leases_line, "keep_leases is for a cache on disk: give path and its key, too");
    }
    let on_disk = |path: String, key| Some(DiskSettings { path: path.into(), key, keep_leases });
    let disk = match (path, key_file, key_credential) {
        (None, None, None) => None,
        (Some(path), Some(key_file), None) => on_disk(path, super::CacheKey::File(key_file.into())),
        (Some(path), None, Some(name)) => on_disk(path, super::CacheKey::Credential(name)),
        (Some(_), None, None) => {
            faults.add(
                line,
                "cache on disk needs a key: give key_credential (one of systemd's credentials) or key_file \
                 (mode 0600, at least 32 random bytes)",
            );
            None
        }
        (Some(_), Some(_), Some(_)) => {
            faults.add(line, "key_file and key_credential exclude each other");
            None
        }
        (None, ..) => {
            faults.add(line, "cache has a key and no path: give path, the file to write");
            None
        }
    };
    (entries.unwrap_or(default), disk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn page(name: &str) -> String {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    /// The text between two marks of a page.
    fn between<'p>(page: &'p str, from: &str, to: &str) -> &'p str {
        page.split_once(from).unwrap().1.split_once(to).unwrap().0
    }

    #[test]
    fn the_pages_example_is_understood() {
        let page = page("agent.md");
        let read = parse(between(&page, "```hcl\n", "```"), false);
        let read = read.unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(read.managers.len(), 2);
        assert_eq!(read.managers["prod"].patience.stale_max, Duration::from_secs(7 * 86_400));
        assert_eq!(read.managers["prod"].prefetched, [Wanted::current("prod/orders-db")]);
        assert!(read.managers["vault"].is_server());
        assert_eq!(read.connections["orders-db"].properties.len(), 4);
        assert_eq!(read.exec.unwrap().environment.len(), 1);
        assert_eq!(read.listeners.len(), 1);
        assert!(matches!(read.disk.unwrap().key, super::super::CacheKey::Credential(_)));
        assert_eq!(read.user.as_deref(), Some("orders"));
    }

    #[test]
    fn a_wrong_manager_is_told_without_what_stands_on_it() {
        let text = "secret_manager \"prod\" { type = \"aws-sm\" authentication = \"instance-profile\" \
                    region = \"US East (Ohio)\" }\n\
                    connection \"db\" { secret \"password\" { id = \"prod/db\" } }\n";
        let told = parse(text, false).err().unwrap().to_string();
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(
            told.ends_with("\"US East (Ohio)\" is no region's code: write \"us-east-2\""),
            "{told}"
        );
    }

    #[test]
    fn leases_are_kept_where_that_is_said_and_there_is_a_place_for_them() {
        let manager = "secret_manager \"kv\" { type = \"vault\" address = \"http://127.0.0.1:8200\" \
                       auth \"token_file\" { path = \"/run/token\" } }\n";
        let disk = "path = \"/c\" key_file = \"/k\"";
        let read = |cache: &str| parse(&format!("{manager}cache {{ {cache} }}\n"), false);
        let kept = |cache: &str| read(cache).unwrap().disk.unwrap().keep_leases;
        assert!(!kept(disk));
        assert!(kept(&format!("{disk} keep_leases = true")));
        let told = read("keep_leases = true").err().unwrap().to_string();
        assert!(told.contains("keep_leases is for a cache on disk"), "{told}");
    }

    #[test]
    fn the_sidecars_configuration_is_understood() {
        let page = page("examples/orders-sidecar.yaml");
        let text = between(&page, "agent.yaml: |\n", "---\n");
        let line = |line: &str| format!("{}\n", line.strip_prefix("    ").unwrap_or(line));
        let text: String = text.lines().map(line).collect();
        assert!(text.contains("\n  - prod:"), "{text}");
        let read = parse(&text, true).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!((read.managers.len(), read.files.len(), read.listeners.len()), (1, 1, 1));
        assert_eq!(read.connections["orders-db"].references().count(), 1);
    }

    #[test]
    fn the_outputs_pages_example_is_understood() {
        let page = page("agent-outputs.md");
        let managers = "secret_manager \"prod\" { type = \"aws-sm\" authentication = \"instance-profile\" \
                        region = \"eu-west-1\" }\n\
                        secret_manager \"kv\" { type = \"vault\" address = \"http://127.0.0.1:8200\" \
                        auth \"token_file\" { path = \"/run/token\" } }\n\
                        connection \"orders-db\" { manager = \"prod\" \
                        secret \"password\" { id = \"prod/orders\" } }\n";
        // The users of the page are not of this machine.
        let example = between(&page, "```hcl\n", "```").replace("= \"app\"", "= \"0\"");
        let example = example.replace("exec {", "exec {\n  manager = \"prod\"");
        let read = parse(&format!("{managers}{example}"), false);
        let read = read.unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!((read.files.len(), read.exec.unwrap().environment.len()), (2, 2));
    }
}
