//! What several blocks of the agent's configuration have in common.

use super::{Manager, privileges};
use crate::config::reader::{Block, Faults};
use bailee_agent::{
    aws,
    connection::{Connection, Reference},
    manager::{Wanted, Which},
    private_file,
};
use bailee_crypto::Sensitive;
use std::{collections::BTreeMap, path::Path};

/// The longest file with a part of a key.
const KEY_PART_BYTES_MAX: u64 = 4_096;

/// What later blocks may name.
pub(super) struct Known<'c> {
    pub(super) managers: &'c BTreeMap<String, Manager>,
    pub(super) connections: &'c BTreeMap<String, Connection>,
}

impl Known<'_> {
    /// The names of the secret managers.
    pub(super) fn manager_names(&self) -> Vec<String> {
        self.managers.keys().cloned().collect()
    }

    /// The names of those that are servers of Vault's API.
    pub(super) fn servers(&self) -> Vec<String> {
        let servers = self.managers.iter().filter(|(_, manager)| manager.is_server());
        servers.map(|(name, _)| name.clone()).collect()
    }
}

/// The field `manager`; the only manager there is where it is absent.
pub(super) fn manager_name(
    block: &mut Block,
    managers: &[String],
    faults: &mut Faults,
) -> Option<String> {
    let named = block.read("manager", faults, |text| {
        let known = managers.iter().any(|name| name == text);
        known.then(|| text.to_owned()).ok_or_else(|| {
            format!("there is no secret_manager {text:?}: there are {}", managers.join(", "))
        })
    });
    match (named, managers) {
        (Some(named), _) => Some(named),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    }
}

/// A reference to a secret and, with `key`, to a part of it.
pub(super) fn reference(
    block: &mut Block,
    manager: Option<&str>,
    managers: &[String],
    faults: &mut Faults,
) -> Option<Reference> {
    let own = manager_name(block, managers, faults);
    let own = if managers.len() == 1 { own } else { own.or_else(|| manager.map(str::to_owned)) };
    let id = block.text("id", faults).filter(|id| !id.trim().is_empty());
    let key = block.text("key", faults).filter(|key| !key.is_empty());
    let stage = block.text("stage", faults);
    let version = block.read("version", faults, |text| Ok(text.to_owned()));
    if id.is_none() {
        faults.add(
            block.line,
            format_args!("{} needs id: the secret's name, ARN or path", block.name),
        );
    }
    if own.is_none() {
        faults.add(
            block.line,
            format_args!("{} needs manager: the secret_manager it is kept by", block.name),
        );
    }
    let version = match (stage, version) {
        (None, None) => Which::Current,
        (Some(stage), None) => Which::Stage(stage),
        (None, Some(id)) => Which::Id(id),
        (Some(stage), Some(id)) => Which::IdAtStage { id, stage },
    };
    Some(Reference { manager: own?, wanted: Wanted { id: id?, version }, key })
}

/// The fields of a manager of type `aws-sm`, of an agent that becomes `user`.
pub(super) fn aws(
    block: &mut Block,
    user: Option<&str>,
    faults: &mut Faults,
) -> Option<aws::Settings> {
    let mut secret =
        |name: &'static str, faults: &mut Faults| secret_text(block, name, user, faults);
    let access_key_id = secret("access_key_id", faults).map(|id| id.expose().clone());
    let secret_access_key = secret("secret_access_key", faults);
    let session_token = secret("session_token", faults);
    let mut text = |name, faults: &mut Faults| block.text(name, faults);
    let fields = aws::Fields {
        authentication: text("authentication", faults),
        region: text("region", faults),
        role_arn: text("role_arn", faults),
        external_id: text("external_id", faults),
        sts_endpoint: text("sts_endpoint", faults),
        sts_region: text("sts_region", faults),
        session_name: text("session_name", faults),
        failover_region: text("failover_region", faults),
        endpoint: text("endpoint", faults),
        failover_endpoint: text("failover_endpoint", faults),
        metadata_endpoint: text("metadata_endpoint", faults),
        session_duration: block.duration("session_duration", faults),
        access_key_id,
        secret_access_key,
        session_token,
    };
    match aws::Settings::new(&fields) {
        Ok(settings) => Some(settings),
        Err(error) => {
            faults.add(block.line, format_args!("{}: {error}", block.name));
            None
        }
    }
}

/// A text that is written, or kept in the file that `NAME_file` names.
fn secret_text(
    block: &mut Block,
    name: &'static str,
    user: Option<&str>,
    faults: &mut Faults,
) -> Option<Sensitive<String>> {
    let in_file = format!("{name}_file");
    let line = block.line_of(&in_file);
    let written = block.text(name, faults).map(Sensitive::from);
    let Some(path) = block.text(&in_file, faults) else { return written };
    if written.is_some() {
        faults.add(line, format_args!("{name} and {in_file} exclude each other"));
    }
    let file = Path::new(&path);
    match private_file::read(file, KEY_PART_BYTES_MAX, privileges::rule(file, user)) {
        Ok(bytes) => match std::str::from_utf8(bytes.expose()) {
            Ok(text) => Some(Sensitive::from(text.trim())),
            Err(_) => {
                faults.add(line, format_args!("{in_file}: {path} is no text"));
                None
            }
        },
        Err(reason) => {
            faults.add(line, format_args!("{in_file}: {reason}"));
            None
        }
    }
}
