//! Help texts: what clap knows of a command, in the form of our flags, with examples.

use crate::examples;
use clap::Command;

/// Commands that come first in the overview.
const COMMON: [&str; 9] =
    ["read", "write", "patch", "delete", "list", "login", "server", "status", "unwrap"];

/// All commands.
pub(crate) fn overview(root: &Command) -> String {
    let name = root.get_name();
    let about = |command: &Command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        about.trim_end_matches('.').to_owned()
    };
    let mut commands: Vec<(String, String)> = root
        .get_subcommands()
        .map(|command| (command.get_name().to_owned(), about(command)))
        .collect();
    commands.sort();
    let width = commands.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, about): &(String, String)| format!("    {name:width$}    {about}\n");
    let is_common = |name: &str| COMMON.contains(&name);
    let first: String = COMMON
        .iter()
        .filter_map(|name| commands.iter().find(|(known, _)| known == name))
        .map(line)
        .collect();
    let others: String = commands.iter().filter(|(name, _)| !is_common(name)).map(line).collect();
    format!(
        "Usage: {name} <command> [args]\n\nCommon commands:\n{first}\nOther commands:\n{others}\n\
         `{name} <command> -h` tells more. To try it: `{name} server -dev`, and in another terminal\n\
         `export VAULT_ADDR=http://127.0.0.1:8200`, `{name} kv put secret/app password=-`."
    )
}

/// One command; `words` lead to it, the program first.
pub(crate) fn of(command: &Command, words: &[String]) -> String {
    let mut shown = command.clone();
    if let Some(about) = command.get_long_about() {
        shown = shown.about(about.clone());
    }
    if let Some(plain) = command.get_positionals().next() {
        let names = plain.get_value_names().unwrap_or_default();
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let usage = format!("{} [options] {}", words.join(" "), names.join(" "));
        let id = plain.get_id().clone();
        shown = shown.override_usage(usage.trim_end().to_owned());
        shown = shown.mut_arg(id, |plain| plain.hide(true));
    }
    // Flags are typed with one dash.
    let text = shown.render_help().to_string().replace(" --", " -");
    let program = words.first().map(String::as_str).unwrap_or_default();
    let examples = examples::of(words.get(1..).unwrap_or_default());
    if examples.is_empty() {
        return text.trim_end().to_owned();
    }
    // Examples stand before the common flags, which are the same everywhere.
    let lines: String =
        examples.iter().map(|example| format!("  {}\n", example.replace("$", program))).collect();
    let examples = format!("Examples:\n{lines}\n");
    match text.find("Common flags:") {
        Some(place) => {
            let (front, back) = text.split_at(place);
            format!("{front}{examples}{}", back.trim_end())
        }
        None => format!("{}\n\n{}", text.trim_end(), examples.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::CommandLine;
    use clap::CommandFactory;

    #[test]
    fn every_command_has_examples_that_it_understands() {
        let mut root = CommandLine::command();
        root.build();
        check(&root, &root, &["bailee".to_owned()]);
    }

    fn check(root: &Command, command: &Command, words: &[String]) {
        for inner in command.get_subcommands() {
            let mut words = words.to_vec();
            words.push(inner.get_name().to_owned());
            if inner.has_subcommands() {
                check(root, inner, &words);
                continue;
            }
            let path = words[1..].join(" ");
            let examples = examples::of(&words[1..]);
            assert!(!examples.is_empty(), "{path} has no example");
            for example in examples {
                let command = example.split(" | ").last().unwrap().trim_start_matches("$ ");
                let typed: Vec<String> = command
                    .split(" > ")
                    .next()
                    .unwrap()
                    .split_whitespace()
                    .map(|word| word.trim_matches('\'').to_owned())
                    .collect();
                let understood = crate::arguments::understand(root, &typed);
                let Ok(crate::arguments::Typed::Run { arguments, late }) = understood else {
                    panic!("{path}: {example}: {understood:?}");
                };
                assert!(late.is_empty(), "{path}: {example}: {late:?}");
                let parsed = root.clone().try_get_matches_from(arguments);
                assert!(parsed.is_ok(), "{path}: {example}: {parsed:?}");
            }
        }
    }

    #[test]
    fn the_overview_begins_as_scripts_know_it() {
        let mut root = CommandLine::command();
        root.build();
        let text = overview(&root);
        let front = "Usage: bailee <command> [args]\n\nCommon commands:\n    read ";
        assert!(text.starts_with(front), "{text}");
    }
}
