//! Signals by their names.

use super::{Exit, Invalid};
use std::io;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Signals that wait to be handed on.
const WAITING_MAX: usize = 32;

/// A signal that a process can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: by custom, read the configuration again.
    Hup,
    /// SIGINT: somebody pressed Ctrl-C.
    Int,
    /// SIGQUIT: end, leaving traces.
    Quit,
    /// SIGTERM: end.
    Term,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGWINCH: the terminal has another size; some servers end their workers at it.
    Winch,
    /// SIGKILL: no process is asked.
    Kill,
}

impl Signal {
    /// Those that the agent listens to and hands on.
    pub const FORWARDED: [Signal; 7] = [
        Signal::Hup,
        Signal::Int,
        Signal::Quit,
        Signal::Term,
        Signal::Usr1,
        Signal::Usr2,
        Signal::Winch,
    ];

    /// Reads a name, with or without `SIG`.
    ///
    /// # Errors
    /// It is none that a process can be told by.
    pub fn parse(name: &str) -> Result<Signal, Invalid> {
        let bare = name.strip_prefix("SIG").unwrap_or(name);
        Self::FORWARDED.into_iter().find(|signal| signal.name() == bare).ok_or_else(|| {
            let known = Self::FORWARDED.map(Signal::name).join(", ");
            Invalid::new(format!("signal: {name:?} is none of {known}"))
        })
    }

    /// Its name, without `SIG`.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Hup => "HUP",
            Signal::Int => "INT",
            Signal::Quit => "QUIT",
            Signal::Term => "TERM",
            Signal::Usr1 => "USR1",
            Signal::Usr2 => "USR2",
            Signal::Winch => "WINCH",
            Signal::Kill => "KILL",
        }
    }

    /// The signals that the agent gets from now on.
    ///
    /// # Errors
    /// The system does not let them be listened to.
    pub fn listen() -> io::Result<mpsc::Receiver<Signal>> {
        let (told, receiver) = mpsc::channel(WAITING_MAX);
        for forwarded in Self::FORWARDED {
            let mut arriving = signal(SignalKind::from_raw(forwarded.raw().as_raw()))?;
            let told = told.clone();
            tokio::spawn(async move {
                while arriving.recv().await.is_some() && told.send(forwarded).await.is_ok() {}
            });
        }
        Ok(receiver)
    }

    /// Whether the agent ends at it, after its process.
    pub fn ends(self) -> bool {
        match self {
            Signal::Int | Signal::Quit | Signal::Term | Signal::Kill => true,
            Signal::Hup | Signal::Usr1 | Signal::Usr2 | Signal::Winch => false,
        }
    }

    pub(in crate::outputs) fn raw(self) -> rustix::process::Signal {
        match self {
            Signal::Hup => rustix::process::Signal::HUP,
            Signal::Int => rustix::process::Signal::INT,
            Signal::Quit => rustix::process::Signal::QUIT,
            Signal::Term => rustix::process::Signal::TERM,
            Signal::Usr1 => rustix::process::Signal::USR1,
            Signal::Usr2 => rustix::process::Signal::USR2,
            Signal::Winch => rustix::process::Signal::WINCH,
            Signal::Kill => rustix::process::Signal::KILL,
        }
    }

    /// How something ends that this signal ends.
    pub(in crate::outputs) fn exit(self) -> Exit {
        Exit::signalled(self.raw().as_raw())
    }
}

impl Exit {
    /// As shells tell it.
    pub(super) fn signalled(number: i32) -> Exit {
        Exit { code: 128_u8.saturating_add(u8::try_from(number).unwrap_or(0)) }
    }
}
