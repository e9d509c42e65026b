//! `completion`, and putting it into the shells' startup files.

use crate::{config::env, failure::Failure, output::Output, value::plain};
use clap::{Args, ValueEnum};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Shows the script that completes commands and flags in a shell.
///
/// `-autocomplete-install`, without a command, puts it into the shells' startup files.
#[derive(Args, Debug)]
pub(crate) struct Completion {
    /// bash, fish or zsh.
    #[arg(value_name = "SHELL")]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Fish,
    Zsh,
}

impl Completion {
    /// Runs the command.
    pub(crate) fn run(&self, program: &str, output: &mut Output) -> Result<(), Failure> {
        let [name] = crate::arguments::exactly(&self.arguments)?;
        let shell = Shell::from_str(name, true).map_err(|_| {
            Failure::usage(format!("No completion for {name:?}: there are bash, fish and zsh"))
        })?;
        output.line(script(shell, program, program).trim_end())
    }
}

/// The script that lets a shell ask `asked` how to complete the command `name`.
fn script(shell: Shell, name: &str, asked: &str) -> String {
    match shell {
        // Without an answer bash offers files.
        Shell::Bash => format!("complete -o default -C {asked} {name}\n"),
        Shell::Zsh => format!(
            "#compdef {name}\n\
             _{name}() {{\n  \
               local -a found\n  \
               found=(${{(f)\"$(COMP_LINE=\"${{(j: :)words[1,CURRENT]}}\" {asked})\"}})\n  \
               if (( ${{#found}} )); then\n    \
                 [[ $PREFIX == -*=* ]] && compset -P '*='\n    \
                 compadd -a found\n  \
               else\n    \
                 _files\n  \
               fi\n\
             }}\n\
             (( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}\n\
             compdef _{name} {name}\n"
        ),
        // Fish takes a flag and its value for one word.
        Shell::Fish => format!(
            "function __complete_{name}\n    \
               set -lx COMP_LINE (commandline -cp)\n    \
               set -l word (commandline -ct)\n    \
               test -z \"$word\"; and set COMP_LINE \"$COMP_LINE \"\n    \
               set -l flag (string match -r -- '^-.*=' $word)\n    \
               for found in ({asked})\n        \
                 echo \"$flag$found\"\n    \
               end\n\
             end\n\
             function __completes_{name}\n    \
               test (count (__complete_{name})) -gt 0\n\
             end\n\
             complete -c {name} -f -n __completes_{name} -a \"(__complete_{name})\"\n"
        ),
    }
}

/// The line that marks what was put into a startup file.
fn marks(name: &str) -> (String, String) {
    (format!("# {name} completion: begin"), format!("# {name} completion: end"))
}

/// Puts the completion into the startup files of the shells that are used here, or takes it out.
pub(crate) fn install(program: &str, wanted: bool) -> Result<String, Failure> {
    let home = env::home().ok_or_else(|| Failure::usage("HOME is not set"))?;
    let asked = std::env::current_exe()?.display().to_string();
    let changed = install_in(&home, program, &asked, wanted)?;
    let files: Vec<String> = changed.iter().map(|file| file.display().to_string()).collect();
    Ok(match (wanted, files.is_empty()) {
        (true, true) => {
            "Nothing to do: completion is installed, or no shell is used here".to_owned()
        }
        (true, false) => format!("Completion is installed in {}", files.join(", ")),
        (false, true) => "Nothing to do: completion is not installed".to_owned(),
        (false, false) => format!("Completion is removed from {}", files.join(", ")),
    })
}

fn install_in(
    home: &Path,
    program: &str,
    asked: &str,
    wanted: bool,
) -> Result<Vec<PathBuf>, Failure> {
    let mut changed = Vec::new();
    let asked = if asked.contains(' ') { program } else { asked };
    for (shell, file) in [(Shell::Bash, ".bashrc"), (Shell::Zsh, ".zshrc")] {
        let file = home.join(file);
        if file.exists() && rewrite(&file, program, wanted.then(|| script(shell, program, asked)))?
        {
            changed.push(file);
        }
    }
    let fish = home.join(".config/fish");
    let file = fish.join("completions").join(format!("{program}.fish"));
    if wanted && fish.is_dir() && !file.exists() {
        let folder = fish.join("completions");
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, script(Shell::Fish, program, asked)));
        written.map_err(|error| failed(&file, &error))?;
        changed.push(file);
    } else if !wanted && file.exists() {
        fs::remove_file(&file).map_err(|error| failed(&file, &error))?;
        changed.push(file);
    }
    Ok(changed)
}

/// Puts a text between marks into a file, or takes it out; says whether that changed it.
fn rewrite(file: &Path, program: &str, script: Option<String>) -> Result<bool, Failure> {
    let before = fs::read_to_string(file).map_err(|error| failed(file, &error))?;
    let (begin, end) = marks(program);
    if script.is_none() && before.lines().all(|line| line != begin) {
        return Ok(false);
    }
    let mut after = String::new();
    let mut ours = false;
    for line in before.lines() {
        ours |= line == begin;
        if !ours {
            after.push_str(line);
            after.push('\n');
        }
        ours &= line != end;
    }
    if let Some(script) = script {
        after.push_str(&format!("{begin}\n{script}{end}\n"));
    }
    if ours || after == before {
        // A begin without an end: the user changed it, and what follows may be theirs.
        return Ok(false);
    }
    fs::write(file, after).map_err(|error| failed(file, &error))?;
    Ok(true)
}

fn failed(file: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("{}: {}", file.display(), plain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_is_installed_once_and_taken_out_without_a_trace() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".bashrc");
        fs::write(&file, "alias a=b\n").unwrap();
        let install = |wanted| install_in(home.path(), "bailee", "/bin/bailee", wanted).unwrap();
        assert_eq!(install(true), [file.as_path()]);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\ncomplete -o default -C /bin/bailee bailee\n"), "{text}");
        assert!(install(true).is_empty(), "it is there already");
        assert_eq!(install(false), [file.as_path()]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "alias a=b\n");
        assert!(install(false).is_empty());
    }

    #[test]
    fn a_begin_without_an_end_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let text = "# bailee completion: begin\nmine\n";
        fs::write(home.path().join(".bashrc"), text).unwrap();
        assert!(install_in(home.path(), "bailee", "/bin/bailee", false).unwrap().is_empty());
        assert_eq!(fs::read_to_string(home.path().join(".bashrc")).unwrap(), text);
    }

    #[test]
    fn fish_has_a_file_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".config/fish")).unwrap();
        let changed = install_in(home.path(), "vault", "/bin/vault", true).unwrap();
        assert_eq!(changed, [home.path().join(".config/fish/completions/vault.fish")]);
        assert_eq!(install_in(home.path(), "vault", "/bin/vault", false).unwrap(), changed);
        assert!(!changed[0].exists());
    }
}
