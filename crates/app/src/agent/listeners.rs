//! Blocks that say where applications ask.

use super::{
    Interface, Listening, VaultSettings,
    inputs::{Known, manager_name},
};
use crate::config::reader::{Block, Faults};
use bailee_agent::{
    listeners::{
        settings::{
            ADDRESS_DEFAULT, Endpoint, Guard, Hosts, Limits, PATH_PREFIX_DEFAULT, SecretsManager,
            SettingError, TOKEN_HEADERS_DEFAULT, TokenFile, TokenHeaders,
        },
        vault::AgentToken,
    },
    outputs::file,
};

/// The mode of a socket unless somebody says otherwise: its owner alone.
const SOCKET_MODE: u32 = 0o600;

/// All `listener` blocks.
pub(super) fn listeners(
    file: &mut Block,
    known: &Known<'_>,
    faults: &mut Faults,
) -> Vec<Listening> {
    let mut found = Vec::new();
    for (kind, mut block) in file.blocks("listener", faults) {
        let interface = match kind.as_str() {
            "secretsmanager" | "socket" => secrets_manager(&mut block, known, faults),
            "vault" => vault(&mut block, known, faults),
            _ => {
                let known = "known are secretsmanager, socket and vault";
                faults.add(block.line, format_args!("unknown listener {kind:?}: {known}"));
                continue;
            }
        };
        let endpoint = match (kind.as_str(), block.has("path")) {
            ("socket", _) | (_, true) => socket(&mut block, faults),
            ("vault", false) if !block.has("address") => {
                faults.add(
                    block.line,
                    format_args!(
                        "{} needs address, such as \"127.0.0.1:8100\", or path",
                        block.name
                    ),
                );
                None
            }
            _ => address(&mut block, faults),
        };
        let guard = guard(&mut block, faults);
        let limits = limits(&mut block, faults);
        block.finish(faults);
        let (Some(interface), Some(endpoint), Some(guard), Some(limits)) =
            (interface, endpoint, guard, limits)
        else {
            continue;
        };
        found.push(Listening { endpoint, interface, guard, limits });
    }
    found
}

fn secrets_manager(block: &mut Block, known: &Known<'_>, faults: &mut Faults) -> Option<Interface> {
    let manager = manager_name(block, &known.manager_names(), faults);
    let roles = block.map("roles", faults);
    let prefix = block.text("path_prefix", faults);
    let prefix = prefix.as_deref().unwrap_or(PATH_PREFIX_DEFAULT);
    if manager.is_none() {
        faults.add(
            block.line,
            format_args!("{} needs manager: the secret_manager it hands out", block.name),
        );
    }
    let mut made = checked(SecretsManager::new(manager.as_deref()?, prefix), block, faults)?;
    made.roles = roles;
    Some(Interface::SecretsManager(made))
}

/// A Vault nearby. What does not fit is told when the listener is put together.
fn vault(block: &mut Block, known: &Known<'_>, faults: &mut Faults) -> Option<Interface> {
    let manager = manager_name(block, &known.servers(), faults);
    let agent_token = block.read("use_auto_auth_token", faults, |text| match text {
        "force" => Ok(AgentToken::Always),
        "true" | "1" => Ok(AgentToken::WhereAbsent),
        "false" | "0" => Ok(AgentToken::Never),
        _ => Err(format!("want true, false or \"force\", not {text:?}")),
    });
    let require_request_header = block.flag("require_request_header", faults).unwrap_or(false);
    let keep_logins = block.flag("cache_logins", faults);
    let cache_ttl = block.duration("cache_ttl", faults);
    let stale_max = block.duration("stale_max", faults);
    let cache_entries = block.read("cache_entries", faults, |text| {
        text.parse::<usize>().map_err(|_| format!("want a number, not {text:?}"))
    });
    if manager.is_none() {
        faults.add(
            block.line,
            format_args!(
                "{} needs manager: a secret_manager of type vault, openbao or bailee",
                block.name
            ),
        );
    }
    Some(Interface::Vault(VaultSettings {
        manager: manager?,
        agent_token: agent_token.unwrap_or_default(),
        require_request_header,
        keep_logins,
        cache_ttl,
        cache_entries,
        stale_max,
    }))
}

fn address(block: &mut Block, faults: &mut Faults) -> Option<Endpoint> {
    let address = block.address("address", faults).unwrap_or(ADDRESS_DEFAULT);
    let allow_remote = block.flag("allow_remote", faults).unwrap_or(false);
    checked(Endpoint::tcp(address, allow_remote), block, faults)
}

fn socket(block: &mut Block, faults: &mut Faults) -> Option<Endpoint> {
    let path = block.text("path", faults);
    let mode = block.read("mode", faults, mode).unwrap_or(SOCKET_MODE);
    let Some(path) = path else {
        faults.add(block.line, format_args!("{} needs path: where the socket is", block.name));
        return None;
    };
    let owner = block.read("user", faults, |text| file::user(text).map_err(|it| it.to_string()));
    let group = block.read("group", faults, |text| file::group(text).map_err(|it| it.to_string()));
    let mut socket = checked(Endpoint::unix(path.into(), mode), block, faults)?;
    (socket.owner, socket.group) = (owner, group);
    Some(Endpoint::Unix(socket))
}

/// A mode as `chmod` takes it.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("want an octal mode such as \"0600\", not {text:?}"))
}

fn guard(block: &mut Block, faults: &mut Faults) -> Option<Guard> {
    let path = block.text("token_file", faults);
    let create = block.flag("create_token", faults).unwrap_or(false);
    let group_may_read = block.flag("group_may_read_token", faults).unwrap_or(false);
    let headers = block.texts("ssrf_headers", faults);
    let hosts = block.texts("hosts", faults);
    if path.is_none() && (create || group_may_read) {
        faults.add(block.line, format_args!("{}: token_file is missing", block.name));
    }
    let token_headers = match headers.is_empty() {
        true => TokenHeaders::new(TOKEN_HEADERS_DEFAULT),
        false => TokenHeaders::new(headers.iter().map(String::as_str)),
    };
    let token_headers = checked(token_headers, block, faults);
    let hosts = checked(Hosts::new(hosts.iter().map(String::as_str)), block, faults);
    let token_file =
        path.map(|path| TokenFile { path: path.into(), create, group_may_read, owner: None });
    Some(Guard { token_file, token_headers: token_headers?, hosts: hosts? })
}

fn limits(block: &mut Block, faults: &mut Faults) -> Option<Limits> {
    let connections = block.read("connections_max", faults, |text| {
        text.parse::<usize>().map_err(|_| format!("want a number, not {text:?}"))
    });
    match connections {
        Some(connections) => checked(Limits::of(connections), block, faults),
        None => Some(Limits::default()),
    }
}

fn checked<T>(made: Result<T, SettingError>, block: &Block, faults: &mut Faults) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(error) => {
            faults.add(block.line, format_args!("{}: {error}", block.name));
            None
        }
    }
}
