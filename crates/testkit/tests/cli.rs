//! The command line, as people and scripts meet it.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_testkit::{Options, Storage, TestServer, binary, recordings};
use std::{
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

/// Recorded calls that end with another exit code, and why. One that is listed has to differ.
const EXITS_KNOWN: [(&str, &str); 4] = [
    ("namespace-flag", "namespaces are real here: one that is not there is not found"),
    ("secrets-enable-default-path", "there is no transit engine yet"),
    ("write-f", "there is no transit engine yet"),
    ("write-field", "there is no transit engine yet"),
];
/// Recorded calls that also print what was recorded, letter by letter. It may only rise. The others
/// are help, advice and the default policy in our own words, what the version recorded did not have
/// yet, and whether a sealed server is one of several, which it is not asked.
const TEXTS_MIN: usize = 202;

/// The binary under the name of the program it stands in for.
fn as_vault(folder: &Path) -> std::path::PathBuf {
    let link = folder.join("vault");
    symlink(binary(), &link).unwrap();
    link
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn commands_end_and_print_as_recorded() {
    let Some(recordings) = recordings("cli_record.py") else { return };
    let folder = tempfile::tempdir().unwrap();
    let vault = as_vault(folder.path());
    let mut replay = Command::new("python3");
    replay.current_dir(&recordings).env("PYTHONDONTWRITEBYTECODE", "1");
    replay.args(["cli_record.py", "--compare", "cli/vault.jsonl", "--cli"]).arg(&vault);
    replay.arg("--workdir").arg(folder.path().join("work")).arg("--server-cmd");
    replay.arg(format!("{} server -config={{config}}", vault.display()));
    let output = replay.output().unwrap();
    let text = out(&output);
    let last = text.lines().last().unwrap_or_default().to_owned();
    let mut counts = last.split(|letter: char| !letter.is_ascii_digit()).filter(|c| !c.is_empty());
    let mut count = || counts.next().and_then(|count| count.parse::<usize>().ok());
    let (Some(passed), Some(failed)) = (count(), count()) else {
        panic!("no verdict\n{text}{}", String::from_utf8_lossy(&output.stderr));
    };
    let id = |line: &'_ str| Some(line.strip_prefix("FAIL ")?.strip_suffix(": exit")?.to_owned());
    let mut wrong: Vec<String> = text.lines().filter_map(id).collect();
    wrong.sort_unstable();
    let exits = passed + failed - wrong.len();
    println!("{last} (floor {TEXTS_MIN}); {exits} exit codes");
    assert_eq!(wrong, EXITS_KNOWN.map(|(id, _)| id), "these end with another exit code\n{text}");
    assert!(passed >= TEXTS_MIN, "{last}, floor {TEXTS_MIN}");
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let folder = tempfile::tempdir().unwrap();
    symlink(binary(), folder.path().join("bailee")).unwrap();
    // Bash runs what stands behind -C with the line in its environment and three words.
    let script = r#"
        set -e
        bailee completion bash > script
        bash -n script
        . ./script
        asked=$(complete -p bailee)
        asked=${asked#*-C }
        asked=${asked% bailee}
        eval "asked=$asked"
        for line in 'bailee kv metad' 'bailee kv get -fi' 'bailee status -format=j'; do
            word=${line##*[ =]}
            COMP_LINE="$line" COMP_POINT=${#line} "$asked" bailee "$word" before
        done
    "#;
    let output = Command::new("bash")
        .args(["--norc", "-c", script])
        .current_dir(folder.path())
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(out(&output), "metadata\n-field\njson\n");
}

#[test]
fn called_vault_it_answers_as_clients_expect() {
    let folder = tempfile::tempdir().unwrap();
    let vault = as_vault(folder.path());
    for flag in ["version", "-version", "-v", "--version"] {
        let output = Command::new(&vault).arg(flag).output().unwrap();
        let text = out(&output);
        let version = text.split_whitespace().nth(1).unwrap().trim_start_matches('v');
        assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{text}");
        assert!(text.starts_with("Vault v"), "{text}");
    }
    let output = Command::new(&vault).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with("Usage: vault <command> [args]\n"), "{text}");
}

/// What a token shows of itself never stands in what is meant to be pasted elsewhere, and the curl
/// command does what the command would have done.
#[tokio::test(flavor = "multi_thread")]
async fn a_curl_command_looks_the_token_up_where_it_runs() {
    let options = Options { storage: Storage::Memory, ..Options::default() };
    let server = TestServer::start_with(options).await;
    let folder = tempfile::tempdir().unwrap();
    let vault = as_vault(folder.path());
    let output = Command::new(&vault)
        .args(["write", "-output-curl-string", "sys/capabilities-self", "path=it's $HOME"])
        .env("VAULT_ADDR", server.api().base())
        .env("VAULT_TOKEN", server.api().token())
        .env("HOME", folder.path())
        .output()
        .unwrap();
    let command = out(&output);
    assert!(!command.contains(server.api().token()), "{command}");
    // A stand-in that shows its arguments as the shell gives them.
    let stand_in = "curl() { printf '%s\\n' \"$@\"; }; ";
    let output = Command::new("bash")
        .args(["--norc", "-c", &format!("{stand_in}{command}")])
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .env("VAULT_ADDR", server.api().base())
        .env("VAULT_TOKEN", server.api().token())
        .output()
        .unwrap();
    let shown = out(&output);
    assert!(shown.contains(&format!("X-Vault-Token: {}\n", server.api().token())), "{shown}");
    assert!(shown.contains("{\"path\":\"it's $HOME\"}\n"), "{shown}");
}
