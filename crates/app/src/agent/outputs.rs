//! Blocks that say how an application is given what it needs.

use super::inputs::{Known, manager_name};
use crate::config::env;
use crate::config::reader::{Block, Faults};
use bailee_agent::outputs::{
    Invalid,
    exec::{self, Command, Inherit, OnChange, Restart, Settings},
    file::{
        self, COMMAND_TIMEOUT_DEFAULT, Content, FileMode, Format, Reload, TEMPLATE_BYTES_MAX,
        Target,
    },
    template::{Sources, Template},
};
use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path, sync::Arc};

/// The block `exec`: a process that is given secrets as variables.
pub(super) fn exec(file: &mut Block, known: &Known<'_>, faults: &mut Faults) -> Option<Settings> {
    let mut block = file.block("exec", faults)?;
    let line = block.line;
    let manager = manager_name(&mut block, &known.manager_names(), faults);
    let command = block.texts("command", faults);
    let declared = block.map("environment", faults);
    let inherit = block.texts("inherit", faults);
    let signal = block.text("signal", faults);
    let on_change = block.text("on_change", faults);
    let restart = block.text("restart", faults);
    let kill_timeout = block.duration("kill_timeout", faults);
    let start_timeout = block.duration("start_timeout", faults);
    block.finish(faults);
    let mut tell = |error: Invalid| faults.add(line, format_args!("exec: {error}"));
    let command = Command::new(command).map_err(&mut tell).ok();
    let environment = exec::environment(&declared, known.connections, manager.as_deref());
    let environment = environment.map_err(&mut tell).ok();
    let inherit = Inherit::new(inherit).map_err(&mut tell).ok();
    let on_change = match (on_change.as_deref(), signal.as_deref()) {
        (None, None) => Some(OnChange::default()),
        // Who names a signal wants it.
        (None, Some(signal)) => OnChange::parse("signal", Some(signal)).map_err(&mut tell).ok(),
        (Some(word), signal) => OnChange::parse(word, signal).map_err(&mut tell).ok(),
    };
    let restart = match restart.as_deref() {
        Some(word) => Restart::parse(word).map_err(&mut tell).ok(),
        None => Some(Restart::default()),
    };
    let mut settings = Settings::new(command?);
    settings.environment = environment?;
    settings.inherit = inherit?;
    settings.on_change = on_change?;
    settings.restart = restart?;
    settings.kill_timeout = kill_timeout.unwrap_or(settings.kill_timeout);
    settings.start_timeout = start_timeout.unwrap_or(settings.start_timeout);
    Some(settings)
}

/// The blocks `file`.
pub(super) fn files(
    configuration: &mut Block,
    known: &Known<'_>,
    faults: &mut Faults,
) -> Vec<file::Settings> {
    let connections = Arc::new(known.connections.clone());
    let blocks = configuration.repeated("file", faults);
    let read = blocks.into_iter().filter_map(|block| one_file(block, known, &connections, faults));
    read.collect()
}

fn one_file(
    mut block: Block,
    known: &Known<'_>,
    connections: &Arc<BTreeMap<String, bailee_agent::connection::Connection>>,
    faults: &mut Faults,
) -> Option<file::Settings> {
    let line = block.line;
    let path = block.text("path", faults);
    let mode = parsed(&mut block, "mode", faults, FileMode::parse);
    let user = parsed(&mut block, "user", faults, file::user);
    let group = parsed(&mut block, "group", faults, file::group);
    let create_directories = block.flag("create_directories", faults).unwrap_or(false);
    let content = content(&mut block, known, connections, faults);
    let on_change = block.block("on_change", faults).and_then(|inner| reload(inner, faults));
    block.finish(faults);
    let Some(path) = path else {
        faults.add(line, "file needs path: where it is");
        return None;
    };
    let mut target = match Target::new(Path::new(&path)) {
        Ok(target) => target,
        Err(error) => {
            faults.add(line, format_args!("file: {error}"));
            return None;
        }
    };
    target.mode = mode.unwrap_or_default();
    (target.user, target.group) = (user, group);
    target.create_directories = create_directories;
    Some(file::Settings { target, content: content?, on_change })
}

fn parsed<T>(
    block: &mut Block,
    name: &'static str,
    faults: &mut Faults,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Option<T> {
    block.read(name, faults, |text| parse(text).map_err(|error| told(&error, name)))
}

/// What is wrong, without the field's name, which is said already.
fn told(error: &Invalid, field: &str) -> String {
    let text = error.to_string();
    text.strip_prefix(&format!("{field}: ")).map_or_else(|| text.clone(), str::to_owned)
}

fn content(
    block: &mut Block,
    known: &Known<'_>,
    connections: &Arc<BTreeMap<String, bailee_agent::connection::Connection>>,
    faults: &mut Faults,
) -> Option<Content> {
    let (template_line, file_line) = (block.line_of("template"), block.line_of("template_file"));
    let template = block.text("template", faults);
    let template_file = block.text("template_file", faults);
    let connection_line = block.line_of("connection");
    let connection = block.text("connection", faults);
    let format = parsed(block, "format", faults, Format::parse);
    let vault = manager_name(block, &known.servers(), faults);
    let names = block.texts("env", faults);
    match (template, template_file, connection) {
        (Some(text), None, None) => {
            parse_template(&text, sources(vault, connections, &names), template_line, faults)
        }
        (None, Some(path), None) => match read_template(Path::new(&path)) {
            Ok(text) => {
                parse_template(&text, sources(vault, connections, &names), file_line, faults)
            }
            Err(reason) => {
                faults.add(file_line, format_args!("template_file: {path}: {reason}"));
                None
            }
        },
        (None, None, Some(name)) => match connections.get(&name) {
            Some(found) => Some(Content::Connection(found.clone(), format.unwrap_or(Format::Json))),
            None => {
                let there: Vec<&str> = connections.keys().map(String::as_str).collect();
                let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
                let text = format!("there is no connection {name:?}: there are {there}");
                faults.add(connection_line, text);
                None
            }
        },
        _ => {
            faults.add(block.line, "file needs one of template, template_file and connection");
            None
        }
    }
}

fn sources(
    vault: Option<String>,
    connections: &Arc<BTreeMap<String, bailee_agent::connection::Connection>>,
    names: &[String],
) -> Sources {
    let read = |name: &String| Some((name.clone(), env::variable(name)?));
    let env = Arc::new(names.iter().filter_map(read).collect());
    Sources { vault, connections: connections.clone(), env }
}

fn parse_template(text: &str, sources: Sources, line: u32, faults: &mut Faults) -> Option<Content> {
    match Template::parse(text, &sources) {
        Ok(template) => Some(Content::Template(template)),
        Err(error) => {
            faults.add(line, error);
            None
        }
    }
}

fn read_template(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let bytes_max = u64::try_from(TEMPLATE_BYTES_MAX).unwrap_or(u64::MAX);
    let read = File::open(path)
        .and_then(|file| file.take(bytes_max.saturating_add(1)).read_to_string(&mut text));
    read.map(|_| text).map_err(|error| error.to_string())
}

fn reload(mut block: Block, faults: &mut Faults) -> Option<Reload> {
    let words = block.texts("command", faults);
    let timeout = block.duration("timeout", faults).unwrap_or(COMMAND_TIMEOUT_DEFAULT);
    let line = block.line;
    block.finish(faults);
    match Command::new(words) {
        Ok(command) => Some(Reload { command, timeout }),
        Err(error) => {
            faults.add(line, format_args!("on_change: {error}"));
            None
        }
    }
}
