//! What a command reads from its standard input.

use crate::failure::Failure;
use bailee_crypto::Sensitive;
use std::io::{self, IsTerminal, Read};

/// Most bytes that are read; the server takes no larger body.
const INPUT_BYTES_MAX: u64 = 32 << 20;

/// Standard input, or what stands in its place.
pub(crate) struct Input {
    source: Box<dyn Read + Send>,
    terminal: bool,
    asking: bool,
    read: bool,
}

impl Input {
    /// Standard input; `asking` allows to ask at a terminal.
    pub(crate) fn standard(asking: bool) -> Input {
        let terminal = io::stdin().is_terminal();
        Input { source: Box::new(io::stdin()), terminal, asking, read: false }
    }

    /// A text in its place.
    #[cfg(test)]
    pub(crate) fn from_text(text: &str) -> Input {
        let source = Box::new(io::Cursor::new(text.to_owned().into_bytes()));
        Input { source, terminal: false, asking: true, read: false }
    }

    /// All of it; an error when it was read before.
    pub(crate) fn all(&mut self) -> Result<String, String> {
        if self.read {
            return Err("standard input can be read only once".to_owned());
        }
        self.read = true;
        let mut text = String::new();
        let mut source = (&mut self.source).take(INPUT_BYTES_MAX + 1);
        source.read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
        if text.len() as u64 > INPUT_BYTES_MAX {
            return Err("standard input is longer than 32 MiB".to_owned());
        }
        Ok(text)
    }

    /// Whether somebody types at a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal && self.asking
    }

    /// A secret that is typed without being seen, or piped in.
    pub(crate) fn hidden(&mut self, prompt: &str) -> Result<Sensitive<String>, Failure> {
        let typed = if self.terminal && !self.asking {
            return Err(Failure::usage(format!(
                "{prompt} is missing, and -non-interactive forbids to ask for it"
            )));
        } else if self.terminal {
            rpassword::prompt_password(format!("{prompt} (will be hidden): "))?
        } else {
            self.all().map_err(Failure::usage)?
        };
        Ok(Sensitive::from(typed.trim().to_owned()))
    }
}
