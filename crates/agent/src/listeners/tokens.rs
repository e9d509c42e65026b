//! The tokens that requests must show, out of a file that only few may read.

use super::settings::TokenFile;
use crate::{event, private_file::Rule};
use bailee_crypto::{Sensitive, random, sensitive};
use parking_lot::RwLock;
use std::{
    fs::{Metadata, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    time::Duration,
};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Bytes of the file, at most.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Tokens in the file, at most.
const TOKENS_MAX: usize = 64;
/// Letters of a token, at least: shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Letters and digits of a token that the agent makes.
const TOKEN_MADE_BYTES: usize = 48;
/// How long the file is not looked at again.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// How long it is not looked at again where a token does not fit: the file may have a newer one.
const DOUBT_TIME: Duration = Duration::from_millis(100);

/// A file of tokens that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token_file {path}: {reason}")]
pub struct TokenFileError {
    path: String,
    reason: String,
}

/// The tokens as they are now. What is wrong with a file that was good changes nothing but the log.
pub(crate) struct Tokens {
    file: TokenFile,
    state: RwLock<State>,
}

type Known = Vec<Sensitive<Vec<u8>>>;

struct State {
    tokens: Known,
    seen: Option<Seen>,
    looked_at: Instant,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Tokens {
    /// Reads the file, or makes it where that is wanted.
    ///
    /// # Errors
    /// It cannot be read, others may read it, or it holds no good token.
    pub(crate) fn open(file: TokenFile) -> Result<Tokens, TokenFileError> {
        if file.create && !file.path.exists() {
            file.make().map_err(|error| file.error(format!("cannot be made: {error}")))?;
        }
        let (tokens, seen) = file.read()?;
        let state = State { tokens, seen: Some(seen), looked_at: Instant::now() };
        Ok(Tokens { file, state: RwLock::new(state) })
    }

    /// Whether a text is one of the tokens. All are compared, each in constant time.
    pub(crate) fn admit(&self, shown: &[u8]) -> bool {
        self.look_again_after(LOOK_TIME);
        self.compare(shown) || (self.look_again_after(DOUBT_TIME) && self.compare(shown))
    }

    fn compare(&self, shown: &[u8]) -> bool {
        let state = self.state.read();
        let fits = |token: &Sensitive<Vec<u8>>| sensitive::equal(token.expose(), shown);
        state.tokens.iter().fold(false, |admitted, token| fits(token) | admitted)
    }

    /// Reads the file where it is another than before; says whether it was.
    fn look_again_after(&self, time: Duration) -> bool {
        if self.state.read().looked_at.elapsed() < time {
            return false;
        }
        let mut state = self.state.write();
        if state.looked_at.elapsed() < time {
            return false;
        }
        state.looked_at = Instant::now();
        let there = std::fs::metadata(&self.file.path).ok().map(|metadata| seen(&metadata));
        if there == state.seen {
            return false;
        }
        state.seen = there;
        match self.file.read() {
            Ok((tokens, seen)) => {
                (state.tokens, state.seen) = (tokens, Some(seen));
                event::tokens_read_again(&self.file.path);
                true
            }
            Err(error) => {
                event::tokens_not_read(&error);
                false
            }
        }
    }
}

impl TokenFile {
    /// The first token of the file: for who asks this agent on behalf of its operator.
    ///
    /// # Errors
    /// It cannot be read, others may read it, or it holds no good token.
    pub fn first_token(&self) -> Result<Sensitive<Vec<u8>>, TokenFileError> {
        let (tokens, _) = self.read()?;
        tokens.into_iter().next().ok_or_else(|| self.error("holds no token"))
    }

    /// Who may have it.
    fn rule(&self) -> Rule {
        let mode = if self.group_may_read { 0o640 } else { 0o600 };
        Rule { mode, owner: self.owner.map(|(user, _)| user) }
    }

    fn error(&self, reason: impl Into<String>) -> TokenFileError {
        TokenFileError { path: self.path.display().to_string(), reason: reason.into() }
    }

    fn make(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(self.rule().mode).open(&self.path)?;
        if let Some((user, group)) = self.owner {
            fchown(&file, Some(user), Some(group))?;
        }
        let mut token = Zeroizing::new(random::alphanumeric(TOKEN_MADE_BYTES));
        token.push('\n');
        file.write_all(token.as_bytes())?;
        file.sync_all()
    }

    fn read(&self) -> Result<(Known, Seen), TokenFileError> {
        let read = self.rule().read(&self.path, FILE_BYTES_MAX);
        let (text, metadata) = read.map_err(|fault| self.error(fault))?;
        let text = text.expose();
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
        let mut tokens = Vec::new();
        for (nth, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let wrong = |reason: &str| self.error(format!("line {}: {reason}", nth + 1));
            if line.len() < TOKEN_BYTES_MIN {
                return Err(wrong(&format!(
                    "the token is shorter than {TOKEN_BYTES_MIN} characters: take a longer one"
                )));
            }
            if !line.iter().all(u8::is_ascii_graphic) {
                return Err(wrong("the token has characters that no header can hold"));
            }
            tokens.push(Sensitive::new(line.to_vec()));
        }
        match tokens.len() {
            0 => Err(self.error("holds no token: write one a line")),
            1..=TOKENS_MAX => Ok((tokens, seen(&metadata))),
            _ => Err(self.error(format!("holds more than {TOKENS_MAX} tokens"))),
        }
    }
}

fn seen(metadata: &Metadata) -> Seen {
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    Seen { inode: metadata.ino(), length: metadata.len(), changed }
}
