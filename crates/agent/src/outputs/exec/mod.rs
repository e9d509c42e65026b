//! A process that is given secrets as variables.
//!
//! [`Exec::run`] waits until all its variables can be had, starts the process, forwards signals to it, and starts it
//! again, or tells it, when a variable becomes another one. What is old because a place is away is no change.

mod child;
mod environment;
mod launch;
mod orphans;
mod signal;

pub use environment::{Inherit, VARIABLES_MAX, Variable, environment};
pub use launch::launch;
pub use orphans::{inherits_orphans, reap};
pub use signal::Signal;

pub(super) use child::Child;

use super::{Invalid, changes::Changes, event, value::Value};
use crate::{
    connection::Glance,
    failure::{Cause, Failure},
    store::Store,
};
use bailee_crypto::Sensitive;
use std::{collections::BTreeMap, ffi::OsString, fmt, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

/// How long a process may take to end unless somebody says otherwise.
pub const KILL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long secrets are waited for before the first start unless somebody says otherwise.
pub const START_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// The first pause between two looks for secrets that are missing at the start.
const START_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const START_PAUSE_MAX: Duration = Duration::from_secs(10);
/// The first pause before a process that ended is started again.
const RESTART_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a process must run for its next pause to be the first again.
const RAN_WELL: Duration = Duration::from_secs(60);
/// The most words of a command.
const WORDS_MAX: usize = 1_000;
/// The code for a program that cannot be started, as shells have it.
const NOT_STARTED: u8 = 127;

/// What is run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The program and its arguments.
    pub command: Command,
    /// The variables that it is given.
    pub environment: BTreeMap<Variable, Value>,
    /// Which of the agent's own variables it may see that it does not see otherwise.
    pub inherit: Inherit,
    /// What is done when a variable becomes another one.
    pub on_change: OnChange,
    /// How long it may take to end before it is killed.
    pub kill_timeout: Duration,
    /// How long its variables are waited for before it is started at all.
    pub start_timeout: Duration,
    /// When it is started again after it ended by itself.
    pub restart: Restart,
}

/// A program and its arguments. No shell reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
}

/// What is done when a variable becomes another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// The process is ended and started with the new values. Variables reach it in no other way.
    #[default]
    Restart,
    /// The process is told; it reads what changed elsewhere.
    Signal(Signal),
    /// Nothing: the new values are there at the next start.
    Nothing,
}

/// When a process that ended by itself is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Never: the agent ends with its exit code.
    #[default]
    Never,
    /// When its exit code is not 0, or a signal ended it.
    OnFailure,
    /// Whenever it ended.
    Always,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 and the signal's number where a signal ended it.
    pub code: u8,
}

impl Settings {
    /// A command without variables, and everything else as nobody says otherwise.
    pub fn new(command: Command) -> Settings {
        Settings {
            command,
            environment: BTreeMap::new(),
            inherit: Inherit::default(),
            on_change: OnChange::default(),
            kill_timeout: KILL_TIMEOUT_DEFAULT,
            start_timeout: START_TIMEOUT_DEFAULT,
            restart: Restart::default(),
        }
    }
}

impl Command {
    /// A command of a program and its arguments.
    ///
    /// # Errors
    /// It has no program, too many words, or a NUL byte.
    pub fn new(words: Vec<String>) -> Result<Command, Invalid> {
        if words.len() > WORDS_MAX {
            return Err(Invalid::new(format!("command: more than {WORDS_MAX} words")));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(Invalid::new("command: a word has a NUL byte"));
        }
        let mut words = words.into_iter();
        match words.next().filter(|program| !program.is_empty()) {
            Some(program) => Ok(Command { program, arguments: words.collect() }),
            None => {
                Err(Invalid::new("command: it is empty; write [\"/usr/bin/app\", \"--serve\"]"))
            }
        }
    }
}

impl Command {
    /// The program, without its arguments.
    pub fn program(&self) -> &str {
        &self.program
    }
}

impl OnChange {
    /// Reads `restart`, `signal` or `nothing`; the signal is for `signal` alone.
    ///
    /// # Errors
    /// It is none of them, or the signal is missing or not wanted.
    pub fn parse(word: &str, signal: Option<&str>) -> Result<OnChange, Invalid> {
        match (word, signal) {
            ("signal", Some(signal)) => Ok(OnChange::Signal(Signal::parse(signal)?)),
            ("signal", None) => Err(Invalid::new("signal: say which, such as signal = \"HUP\"")),
            ("restart", None) => Ok(OnChange::Restart),
            ("nothing", None) => Ok(OnChange::Nothing),
            ("restart" | "nothing", Some(_)) => {
                Err(Invalid::new("signal: it is for on_change = \"signal\" only"))
            }
            _ => Err(Invalid::new(format!(
                "on_change: {word:?} is none of restart, signal and nothing"
            ))),
        }
    }
}

impl Restart {
    /// Reads `never`, `on-failure` or `always`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(word: &str) -> Result<Restart, Invalid> {
        match word {
            "never" => Ok(Restart::Never),
            "on-failure" => Ok(Restart::OnFailure),
            "always" => Ok(Restart::Always),
            _ => Err(Invalid::new(format!(
                "restart: {word:?} is none of never, on-failure and always"
            ))),
        }
    }

    fn is_due(self, exit: Exit) -> bool {
        match self {
            Restart::Never => false,
            Restart::OnFailure => exit.code != 0,
            Restart::Always => true,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.code)
    }
}

type Values = BTreeMap<Variable, Arc<Sensitive<String>>>;

/// A process, and what it is given.
pub struct Exec {
    settings: Settings,
    /// What starts the process: its command, or the agent's own program on its behalf.
    command: Command,
    store: Arc<Store>,
    /// What the process sees of the agent's own variables.
    inherited: Vec<(OsString, OsString)>,
    changes: Changes,
    values: Values,
}

/// Why a process is attended no longer.
enum Left {
    /// It ended by itself.
    Exited(Exit),
    /// It was ended because a variable changed.
    Changed,
    /// It was ended because the agent was told to.
    Told(Exit),
}

impl Exec {
    /// Prepares a process that sees of the agent's own variables what `settings` leave it. Its secrets are kept
    /// fresh from now on.
    ///
    /// # Errors
    /// A secret that it names can be none of its place.
    pub fn new(
        settings: Settings,
        own: impl IntoIterator<Item = (OsString, OsString)>,
        store: Arc<Store>,
    ) -> Result<Exec, Failure> {
        for reference in settings.environment.values().filter_map(Value::reference) {
            store.pin(&reference.manager, &reference.wanted)?;
        }
        let inherited = settings.inherit.filter(own).collect();
        let changes = Changes::of(&store);
        let command = settings.command.clone();
        Ok(Exec { settings, command, store, inherited, changes, values: Values::new() })
    }

    /// The same process, started by a command that calls [`launch`] with the arguments behind its own: the process then
    /// ends with the agent, however the agent ends.
    #[must_use]
    pub fn launched_by(mut self, launcher: &Command) -> Exec {
        self.command = launch::launched(launcher, &self.settings.command);
        self
    }

    /// The same process, for which a file that is written is a change, too.
    pub(super) fn beside(mut self, files_written: watch::Receiver<u64>) -> Exec {
        self.changes.and_files(files_written);
        self
    }

    /// How long what it needs is waited for.
    pub(super) fn start_timeout(&self) -> Duration {
        self.settings.start_timeout
    }

    /// Resolves its variables, and starts nothing.
    ///
    /// # Errors
    /// The first that cannot be had.
    pub async fn check(&self) -> Result<(), Failure> {
        self.resolve().await.map(drop)
    }

    /// Runs the process until it ends for good. `told` brings the signals that the agent gets: those that end a
    /// process end it and the agent, the others are handed on.
    ///
    /// # Errors
    /// Its variables could not be had in time; the failure is the last one.
    pub async fn run(mut self, mut told: mpsc::Receiver<Signal>) -> Result<Exit, Failure> {
        if let Some(exit) = self.wait_for_values(&mut told).await? {
            return Ok(exit);
        }
        let mut pause = RESTART_PAUSE_MIN;
        loop {
            let began = Instant::now();
            let exit = match self.start_and_attend(&mut told).await {
                Left::Told(exit) => return Ok(exit),
                Left::Changed => {
                    pause = RESTART_PAUSE_MIN;
                    continue;
                }
                Left::Exited(exit) => exit,
            };
            if !self.settings.restart.is_due(exit) {
                return Ok(exit);
            }
            if began.elapsed() >= RAN_WELL {
                pause = RESTART_PAUSE_MIN;
            }
            event::child_waits(self.program(), pause);
            if let Some(signal) = ending_within(pause, &mut told).await {
                return Ok(signal.exit());
            }
            pause = pause.saturating_mul(2).min(RESTART_PAUSE_MAX);
            self.look_again().await;
        }
    }

    /// Waits until all variables can be had; gives an exit where the agent is told to end before that.
    async fn wait_for_values(
        &mut self,
        told: &mut mpsc::Receiver<Signal>,
    ) -> Result<Option<Exit>, Failure> {
        let give_up = Instant::now() + self.settings.start_timeout;
        let mut last = None;
        let mut pause = START_PAUSE_MIN;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            let failure = tokio::select! {
                resolved = timeout(left, self.resolve()) => match resolved {
                    Ok(Ok(values)) => {
                        self.values = values;
                        return Ok(None);
                    }
                    Ok(Err(failure)) => Some(failure),
                    Err(_) => None,
                },
                signal = ending(told) => return Ok(Some(signal.exit())),
            };
            if let Some(failure) = failure {
                if last.as_ref() != Some(&failure) {
                    event::values_missing(self.program(), &failure);
                }
                last = Some(failure);
            }
            if Instant::now() + pause >= give_up {
                return Err(late(self.settings.start_timeout, last));
            }
            if let Some(signal) = ending_within(pause, told).await {
                return Ok(Some(signal.exit()));
            }
            pause = pause.saturating_mul(2).min(START_PAUSE_MAX);
        }
    }

    async fn start_and_attend(&mut self, told: &mut mpsc::Receiver<Signal>) -> Left {
        while let Ok(signal) = told.try_recv() {
            if signal.ends() {
                return Left::Told(signal.exit());
            }
        }
        let spawned = Child::spawn(&self.command, &self.inherited, &self.values);
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                event::child_not_started(self.program(), &error);
                return Left::Exited(Exit { code: NOT_STARTED });
            }
        };
        let left = self.attend(&mut child, told).await;
        if let Left::Exited(exit) | Left::Told(exit) = &left {
            event::child_exited(self.program(), *exit);
        }
        left
    }

    async fn attend(&mut self, child: &mut Child, told: &mut mpsc::Receiver<Signal>) -> Left {
        let kill_timeout = self.settings.kill_timeout;
        loop {
            tokio::select! {
                exit = child.exit() => return Left::Exited(exit),
                Some(signal) = told.recv() => {
                    if signal.ends() {
                        return Left::Told(child.end(signal, kill_timeout).await);
                    }
                    child.tell(signal);
                }
                () = self.changed() => match self.settings.on_change {
                    OnChange::Restart => {
                        child.end(Signal::Term, kill_timeout).await;
                        return Left::Changed;
                    }
                    OnChange::Signal(signal) => child.tell(signal),
                    OnChange::Nothing => {}
                },
            }
        }
    }

    /// Returns when a variable has become another one, and all of them are at hand. May be dropped at any time.
    async fn changed(&mut self) {
        loop {
            self.changes.next().await;
            if self.look_again().await {
                return;
            }
        }
    }

    /// Takes the newest values where all can be had; says whether one became another, or a file did.
    async fn look_again(&mut self) -> bool {
        let resolved = self.resolve().await;
        let files = self.changes.seen();
        match resolved {
            Ok(values) if values == self.values => files,
            Ok(values) => {
                let old = &self.values;
                let changed = values.iter().filter(|(name, value)| old.get(name) != Some(value));
                let changed: Vec<&str> = changed.map(|(name, _)| name.as_str()).collect();
                event::child_changes(self.program(), &changed);
                self.values = values;
                true
            }
            Err(failure) => {
                event::values_missing(self.program(), &failure);
                false
            }
        }
    }

    async fn resolve(&self) -> Result<Values, Failure> {
        let (mut glance, mut values) = (Glance::at(&self.store), Values::new());
        for (variable, value) in &self.settings.environment {
            let of_variable = |failure: Failure| Failure {
                message: format!("environment: {variable}: {}", failure.message),
                ..failure
            };
            let value = value.resolve(&mut glance).await.map_err(of_variable)?;
            variable.check(value.expose()).map_err(of_variable)?;
            values.insert(variable.clone(), value);
        }
        Ok(values)
    }

    fn program(&self) -> &str {
        &self.settings.command.program
    }
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The next signal that ends a process. There is none to hand the others to.
pub(super) async fn ending(told: &mut mpsc::Receiver<Signal>) -> Signal {
    loop {
        match told.recv().await {
            Some(signal) if signal.ends() => return signal,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

async fn ending_within(pause: Duration, told: &mut mpsc::Receiver<Signal>) -> Option<Signal> {
    tokio::select! {
        signal = ending(told) => Some(signal),
        () = sleep(pause) => None,
    }
}

fn late(waited: Duration, last: Option<Failure>) -> Failure {
    let seconds = waited.as_secs();
    match last {
        Some(failure) => Failure {
            message: format!("after {seconds} s of start_timeout: {}", failure.message),
            ..failure
        },
        None => Failure::new(
            Cause::Unavailable,
            format!("nothing was answered within the {seconds} s of start_timeout"),
        ),
    }
}
