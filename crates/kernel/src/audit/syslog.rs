//! Lines to the system's log, in the form of RFC 3164.

use super::outlet::{Line, Sink, all_failed};
use jiff::Timestamp;
use std::{
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// Where systems have their log's socket.
pub(super) const PLACES: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// Longest wait for a log that does not read.
const WRITE_WAIT: Duration = Duration::from_secs(2);
/// The severity of all lines: informational.
const SEVERITY: u8 = 6;
/// Facilities by name, in the order of their numbers.
const FACILITIES: [&str; 24] = [
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV",
    "FTP", "NTP", "SECURITY", "CONSOLE", "CLOCK", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4",
    "LOCAL5", "LOCAL6", "LOCAL7",
];

/// A facility of the system's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facility(u8);

impl Facility {
    /// The facility with this name, in capitals or not.
    pub(super) fn named(name: &str) -> Option<Facility> {
        let number = FACILITIES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        u8::try_from(number).ok().map(Facility)
    }
}

/// Sends each line as one message to the log of this machine.
pub(super) struct SyslogSink {
    places: Vec<PathBuf>,
    facility: Facility,
    tag: String,
    socket: Option<UnixDatagram>,
}

impl SyslogSink {
    pub(super) fn new(places: &[&str], facility: Facility, tag: &str) -> SyslogSink {
        let places = places.iter().map(PathBuf::from).collect();
        SyslogSink { places, facility, tag: tag.to_owned(), socket: None }
    }

    fn message(&self, line: &Line) -> Zeroizing<Vec<u8>> {
        let priority = self.facility.0 * 8 + SEVERITY;
        let head =
            format!("<{priority}>{} {}[{}]: ", stamp(line.time), self.tag, std::process::id());
        let text = line.bytes.strip_suffix(b"\n").unwrap_or(&line.bytes);
        Zeroizing::new([head.as_bytes(), text].concat())
    }

    fn send(&mut self, line: &Line) -> io::Result<()> {
        let message = self.message(line);
        let was_open = self.socket.is_some();
        if !was_open {
            self.reopen()?;
        }
        let sent = self.socket.as_ref().map_or(Ok(0), |socket| socket.send(&message));
        match sent {
            Ok(_) => Ok(()),
            Err(error) if was_open && is_gone(&error) => {
                // The log was restarted.
                self.reopen()?;
                self.socket.as_ref().map_or(Ok(()), |socket| socket.send(&message).map(drop))
            }
            Err(error) => Err(error),
        }
    }
}

impl Sink for SyslogSink {
    fn write(&mut self, lines: &[Line]) -> Vec<io::Result<()>> {
        let mut outcomes = Vec::with_capacity(lines.len());
        for line in lines {
            let outcome = self.send(line);
            let blocked =
                matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            outcomes.push(outcome);
            if blocked {
                // The others would each wait as long.
                let error =
                    io::Error::new(io::ErrorKind::WouldBlock, "the system's log is blocked");
                let rest = lines.get(outcomes.len()..).unwrap_or_default();
                outcomes.extend(all_failed(rest, &error));
                break;
            }
        }
        outcomes
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.socket = None;
        let mut failure = io::Error::other("there is no log on this machine");
        for place in &self.places {
            match connect(place) {
                Ok(socket) => {
                    self.socket = Some(socket);
                    return Ok(());
                }
                // What is not there says less than what cannot be reached.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failure = error,
            }
        }
        let text = format!("unable to reach the system's log: {failure}");
        Err(io::Error::new(failure.kind(), text))
    }
}

fn connect(place: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(place)?;
    socket.set_write_timeout(Some(WRITE_WAIT))?;
    Ok(socket)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe
    )
}

/// The time as logs have it, such as `Jan  2 15:04:05`.
fn stamp(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or_default();
    time.strftime("%b %e %H:%M:%S").to_string()
}
