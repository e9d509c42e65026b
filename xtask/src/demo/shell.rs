//! Commands as a person types them: shown, run, and their output shown.

use crate::tools;
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::SystemTime,
};
use tokio::{io::AsyncWriteExt, process::Command};

/// What every line of the demo begins with, under its step.
const INDENT: &str = "   ";
/// Where the line of a command is broken.
const LINE_WIDTH: usize = 96;

/// A terminal in which `bailee` is on the path.
#[derive(Clone)]
pub(super) struct Shell {
    bailee: PathBuf,
    environment: Vec<(String, String)>,
    /// The folder of the demo, left out of what is shown.
    folder: String,
}

/// A command that ended well.
pub(super) struct Ran {
    pub(super) output: String,
    /// When it ended, in seconds since 1970: by then the write is acknowledged.
    pub(super) ended: f64,
}

impl Shell {
    pub(super) fn new(bailee: &Path, folder: &Path, address: &str) -> Shell {
        let environment = vec![
            ("VAULT_ADDR".to_owned(), address.to_owned()),
            ("HOME".to_owned(), folder.display().to_string()),
        ];
        let folder = format!("{}/", folder.display());
        Shell { bailee: bailee.to_owned(), environment, folder }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Shows a command and its output.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.run_with(arguments, "", "", true).await
    }

    /// Shows a command, and not what it prints.
    pub(super) async fn run_silently(&self, arguments: &[&str], shown_end: &str) -> Result<Ran> {
        self.run_with(arguments, "", shown_end, false).await
    }

    /// The same with standard input; `shown_end` is what the shell would need for that.
    pub(super) async fn run_with(
        &self,
        arguments: &[&str],
        input: &str,
        shown_end: &str,
        show_output: bool,
    ) -> Result<Ran> {
        self.show(arguments, shown_end);
        let ran = self.quietly(arguments, input).await?;
        if show_output {
            show_output_of(&ran.output);
        }
        Ok(ran)
    }

    /// Shows a command that tells something by its exit code.
    pub(super) async fn run_to_exit(&self, arguments: &[&str], exit: i32) -> Result<Ran> {
        self.show(arguments, "; echo $?");
        let ran = self.quietly_to_exit(arguments, "", exit).await?;
        show_output_of(&format!("{}\n{exit}", ran.output));
        Ok(ran)
    }

    /// Runs a command without a word, unless it fails.
    pub(super) async fn quietly(&self, arguments: &[&str], input: &str) -> Result<Ran> {
        self.quietly_to_exit(arguments, input, 0).await
    }

    async fn quietly_to_exit(&self, arguments: &[&str], input: &str, exit: i32) -> Result<Ran> {
        let mut command = Command::new(&self.bailee);
        command.args(arguments).kill_on_drop(true).process_group(0);
        command.env_remove("VAULT_TOKEN").env_remove("VAULT_NAMESPACE");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("bailee does not start")?;
        if let Some(mut standard_input) = child.stdin.take() {
            standard_input.write_all(input.as_bytes()).await.ok();
        }
        let output = child.wait_with_output().await?;
        let ended = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.code() != Some(exit) {
            let errors = String::from_utf8_lossy(&output.stderr);
            let name = arguments.iter().take(3).copied().collect::<Vec<_>>().join(" ");
            bail!("bailee {name}: {}\n{text}{errors}", output.status);
        }
        Ok(Ran { output: text, ended: ended.as_secs_f64() })
    }

    /// Shows a command as it would be typed.
    pub(super) fn show(&self, arguments: &[&str], end: &str) {
        let mut line = format!("{INDENT}$ bailee");
        let mut width = line.len();
        for argument in arguments {
            let argument = argument.replace(&self.folder, "");
            let plain =
                |letter: char| letter.is_ascii_alphanumeric() || "-_=/.,:@+%".contains(letter);
            let quote = if argument.chars().all(plain) { "" } else { "'" };
            let word = format!("{quote}{argument}{quote}");
            if width + word.len() > LINE_WIDTH {
                line.push_str(&format!(" \\\n{INDENT}   "));
                width = INDENT.len() + 3;
            }
            line.push_str(&format!(" {word}"));
            width += word.len() + 1;
        }
        tools::say(&format!("{line}{end}"));
    }
}

/// The output of a command, set in.
fn show_output_of(output: &str) {
    for line in output.lines().filter(|line| !line.trim().is_empty()) {
        tools::say(&format!("{INDENT}  {}", line.trim_end()));
    }
}

/// A line about something else than a command.
pub(super) fn note(text: &str) {
    tools::say(&format!("{INDENT}{text}"));
}
