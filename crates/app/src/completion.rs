//! Completion of command lines: the shell asks this program which words fit.

use crate::arguments;
use clap::{Arg, Command};

/// The words that fit at the end of the line, which begins with the program's name. `root` must be
/// built.
pub(crate) fn candidates(root: &Command, line: &str, point: Option<usize>) -> Vec<String> {
    let line = point.and_then(|point| line.get(..point)).unwrap_or(line);
    let mut words = words(line);
    let partial = words.pop().unwrap_or_default();
    let mut words = words.into_iter().skip(1).peekable();
    let mut command = root;
    while let Some(found) = words.peek().and_then(|word| command.find_subcommand(word)) {
        command = found;
        words.next();
    }
    let typed: Vec<String> = words.collect();
    let previous = typed.last().map(String::as_str).unwrap_or_default();
    let found = match partial.split_once('=').filter(|(flag, _)| flag.starts_with('-')) {
        // Shells take what follows the sign for a word of its own.
        Some((name, value)) => return fitting(flag_values(command, name), value),
        None if command.has_subcommands() && !typed.is_empty() => Vec::new(),
        None if partial.starts_with('-') => flags(command),
        None if awaits_value(command, previous) => flag_values(command, previous),
        None if command.has_subcommands() => {
            command.get_subcommands().map(|one| one.get_name().to_owned()).collect()
        }
        None => plain_values(command, &typed),
    };
    fitting(found, &partial)
}

/// The words of a line, the unfinished one last; empty when a new one begins.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let finished = letter.is_whitespace() && quote.is_none();
        if finished && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        let (Some(word), false) = (words.last_mut(), finished) else { continue };
        match (letter, quote) {
            ('\\', None) => word.extend(letters.next()),
            ('"' | '\'', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            (letter, _) => word.push(letter),
        }
    }
    words
}

fn fitting(words: Vec<String>, partial: &str) -> Vec<String> {
    let mut words: Vec<String> =
        words.into_iter().filter(|word| word.starts_with(partial)).collect();
    words.sort();
    words
}

fn flags(command: &Command) -> Vec<String> {
    let names = command.get_arguments().filter_map(Arg::get_long);
    names.map(|name| format!("-{name}")).collect()
}

fn flag<'a>(command: &'a Command, typed: &str) -> Option<&'a Arg> {
    let name = typed.strip_prefix("--").or_else(|| typed.strip_prefix('-'))?;
    command.get_arguments().find(|flag| arguments::answers_to(flag, name))
}

fn awaits_value(command: &Command, typed: &str) -> bool {
    !typed.contains('=') && flag(command, typed).is_some_and(|flag| !arguments::is_switch(flag))
}

/// The values that a flag may have, where there are few.
fn flag_values(command: &Command, typed: &str) -> Vec<String> {
    let Some(flag) = flag(command, typed) else { return Vec::new() };
    let told: Vec<String> =
        flag.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let known: &[&str] = match (flag.get_long().unwrap_or_default(), command.get_name()) {
        ("format", _) => &["json", "pretty", "raw", "table", "yaml"],
        ("method", "login") => &["approle", "cert", "ldap", "token", "userpass"],
        ("mode", "revoke") => &["orphan", "path"],
        ("type", "create") => &["batch", "service"],
        ("listing-visibility", _) => &["hidden", "unauth"],
        ("token-type", _) => &["batch", "default-batch", "default-service", "service"],
        ("log-level", _) => &["debug", "error", "info", "trace", "warn"],
        _ => &[],
    };
    told.into_iter().chain(known.iter().map(|&word| word.to_owned())).collect()
}

/// The plain words that may stand next. Nothing lets the shell offer files.
fn plain_values(command: &Command, typed: &[String]) -> Vec<String> {
    if typed.iter().any(|word| !word.starts_with('-')) {
        return Vec::new();
    }
    let usage = command.get_display_name().unwrap_or_default();
    let known: &[&str] = match usage {
        name if name.ends_with("-secrets-enable") => &["kv", "kv-v1", "kv-v2"],
        name if name.ends_with("-auth-enable") => &["approle", "userpass"],
        name if name.ends_with("-audit-enable") => &["file", "socket", "syslog"],
        name if name.ends_with("-plugin-list") => &["auth", "database", "secret"],
        name if name.ends_with("-completion") => &["bash", "fish", "zsh"],
        _ => &[],
    };
    known.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::CommandLine;
    use clap::CommandFactory;

    fn complete(line: &str) -> String {
        let mut root = CommandLine::command();
        root.build();
        candidates(&root, line, None).join(" ")
    }

    #[test]
    fn commands_and_their_commands_are_completed() {
        assert_eq!(complete("bailee sec"), "secrets");
        assert_eq!(complete("bailee kv un"), "undelete");
        assert_eq!(complete("bailee kv metadata "), "delete get patch put");
        assert_eq!(complete("bailee nope "), "");
        assert!(complete("bailee ").contains("auth aws completion"), "{}", complete("bailee "));
        assert_eq!(complete("bailee operator us"), "usage");
    }

    #[test]
    fn flags_have_one_dash_and_values_are_completed_where_they_are_few() {
        assert_eq!(complete("bailee kv get -fi"), "-field");
        assert_eq!(complete("bailee kv get -format=y"), "yaml");
        assert_eq!(complete("bailee kv get -format "), "json pretty raw table yaml");
        assert_eq!(complete("bailee token create -renewable="), "false true");
        assert_eq!(complete("bailee kv patch -method "), "patch rw");
        assert_eq!(complete("bailee kv get -field "), "");
        assert_eq!(complete("bailee operator usage -start"), "-start-time");
    }

    #[test]
    fn plain_words_are_completed_where_they_are_few() {
        assert_eq!(complete("bailee audit enable "), "file socket syslog");
        assert_eq!(complete("bailee audit enable -local s"), "socket syslog");
        assert_eq!(complete("bailee audit enable file "), "");
        assert_eq!(complete("vault completion b"), "bash");
    }

    #[test]
    fn what_stands_behind_the_cursor_does_not_count() {
        let mut root = CommandLine::command();
        root.build();
        assert_eq!(candidates(&root, "bailee kv get x", Some(9)), ["kv"]);
        assert_eq!(words("a 'b c' d\\ e "), ["a", "b c", "d e", ""]);
    }
}
