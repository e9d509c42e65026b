//! What devices are configured with.

use super::{
    file::{Discard, FileSink, OwnFiles, Stdout},
    outlet::Outlet,
    socket::{SocketSink, Transport},
    syslog::{Facility, PLACES, SyslogSink},
};
use bailee_notation::duration;
use bailee_sdk::Error;
use std::{collections::BTreeMap, io, time::Duration};

/// Mode of a new file when none is named.
const FILE_MODE: u32 = 0o600;
/// Longest wait for a socket when none is named.
const SOCKET_WAIT: Duration = Duration::from_secs(2);
/// Longest wait that may be named: no request waits longer for a device.
const SOCKET_WAIT_MAX: Duration = Duration::from_secs(10);
/// Letters a tag may have.
const TAG_BYTES_MAX: usize = 64;
/// Options of all devices.
const COMMON: [&str; 6] =
    ["format", "prefix", "log_raw", "hmac_accessor", "elide_list_responses", "skip_test"];

/// A device as its options describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    place: Place,
    pub(super) style: Style,
    /// Enabled without a test line.
    pub(super) skip_test: bool,
}

/// How much its lines show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Everything in clear.
    pub(super) raw: bool,
    /// Accessors as codes.
    pub(super) hmac_accessor: bool,
    /// How many names a list has, instead of the names.
    pub(super) elide_lists: bool,
}

impl Default for Style {
    fn default() -> Style {
        Style { raw: false, hmac_accessor: true, elide_lists: false }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File { path: String, mode: Option<u32> },
    Stdout,
    Discard,
    Socket { transport: Transport, address: String, timeout: Duration },
    Syslog { facility: Facility, tag: String },
}

impl Described {
    /// Reads the options of a device of this kind. What is not understood is refused.
    pub(super) fn parse(
        kind: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Described, Error> {
        let options = Options(options);
        let known: &[&str] = match kind {
            "file" => &["file_path", "path", "mode"],
            "socket" => &["address", "socket_type", "write_timeout"],
            "syslog" => &["facility", "tag"],
            _ => return Err(invalid(&format!("unknown backend type: {kind:?}"))),
        };
        options.check_names(known)?;
        let style = Style {
            raw: options.flag("log_raw", false)?,
            hmac_accessor: options.flag("hmac_accessor", true)?,
            elide_lists: options.flag("elide_list_responses", false)?,
        };
        let skip_test = options.flag("skip_test", false)?;
        let place = match kind {
            "file" => file(&options)?,
            "socket" => socket(&options)?,
            _ => syslog(&options)?,
        };
        Ok(Described { place, style, skip_test })
    }

    /// Starts what writes there.
    pub(super) fn start(&self, name: &str, own: OwnFiles) -> io::Result<Outlet> {
        match &self.place {
            Place::File { path, mode } => Outlet::start(name, FileSink::new(path, *mode, own)),
            Place::Stdout => Outlet::start(name, Stdout),
            Place::Discard => Outlet::start(name, Discard),
            Place::Socket { transport, address, timeout } => {
                Outlet::start(name, SocketSink::new(*transport, address, *timeout))
            }
            Place::Syslog { facility, tag } => {
                Outlet::start(name, SyslogSink::new(&PLACES, *facility, tag))
            }
        }
    }
}

fn file(options: &Options<'_>) -> Result<Place, Error> {
    let path = options.text("file_path").or_else(|| options.text("path"));
    let Some(path) = path else { return Err(refused("\"file_path\" is required")) };
    let mode = match options.text("mode") {
        None => Some(FILE_MODE),
        Some(text) => {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
            let mode = mode.ok_or_else(|| {
                Error::invalid(format!("unable to create new audit backend: invalid mode: {text}"))
            })?;
            if mode & 0o111 != 0 {
                return Err(refused("\"mode\" must not make the file executable"));
            }
            // Zero leaves the file as it is.
            Some(mode).filter(|mode| *mode != 0)
        }
    };
    Ok(match path {
        path if path.eq_ignore_ascii_case("stdout") => Place::Stdout,
        path if path.eq_ignore_ascii_case("discard") => Place::Discard,
        path => Place::File { path: path.to_owned(), mode },
    })
}

fn socket(options: &Options<'_>) -> Result<Place, Error> {
    let Some(address) = options.text("address") else {
        return Err(refused("\"address\" is required"));
    };
    let transport = match options.text("socket_type") {
        None | Some("tcp") => Transport::Tcp,
        Some("udp") => Transport::Udp,
        Some("unix") => Transport::Unix,
        Some(_) => return Err(refused("\"socket_type\" must be tcp, udp or unix")),
    };
    let timeout = match options.text("write_timeout").map(duration::parse) {
        None => SOCKET_WAIT,
        Some(Ok(timeout)) if !timeout.is_zero() && timeout <= SOCKET_WAIT_MAX => timeout,
        Some(_) => {
            let most = SOCKET_WAIT_MAX.as_secs();
            let text = format!("\"write_timeout\" must be a duration of at most {most} seconds");
            return Err(refused(&text));
        }
    };
    Ok(Place::Socket { transport, address: address.to_owned(), timeout })
}

fn syslog(options: &Options<'_>) -> Result<Place, Error> {
    let name = options.text("facility").unwrap_or("AUTH");
    let Some(facility) = Facility::named(name) else {
        return Err(refused("\"facility\" must be one of syslog's, such as AUTH or LOCAL0"));
    };
    let tag = options.text("tag").unwrap_or("vault");
    let fits = tag.len() <= TAG_BYTES_MAX && tag.chars().all(|letter| letter.is_ascii_graphic());
    if !fits {
        let text = format!("\"tag\" must be at most {TAG_BYTES_MAX} visible ASCII letters");
        return Err(refused(&text));
    }
    Ok(Place::Syslog { facility, tag: tag.to_owned() })
}

struct Options<'a>(&'a BTreeMap<String, String>);

impl Options<'_> {
    /// An option that says something.
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, Error> {
        match self.text(name) {
            None => Ok(default),
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
            Some(_) => Err(refused(&format!("unable to parse {name:?}"))),
        }
    }

    fn check_names(&self, own: &[&str]) -> Result<(), Error> {
        if self.text("prefix").is_some() {
            // Text of one's own before a line turns it into something else: a script, say.
            return Err(Error::invalid(
                "audit prefixing is not enabled in configuration, audit prefixing may not be \
                 configured for file sinks",
            ));
        }
        if self.text("format").is_some_and(|format| format != "json") {
            return Err(refused("unsupported \"format\""));
        }
        for name in self.0.keys() {
            if matches!(name.as_str(), "filter" | "exclude" | "fallback") {
                let text = format!("option {name:?} is an enterprise-only feature, leave it out");
                return Err(Error::invalid(text));
            }
            if !own.contains(&name.as_str()) && !COMMON.contains(&name.as_str()) {
                let text = format!("unknown option {name:?}, known are {}", known(own));
                return Err(Error::invalid(text));
            }
        }
        Ok(())
    }
}

fn known(own: &[&str]) -> String {
    own.iter().chain(&COMMON).copied().collect::<Vec<_>>().join(", ")
}

fn refused(reason: &str) -> Error {
    invalid(&format!("unable to create new audit backend: {reason}"))
}

fn invalid(reason: &str) -> Error {
    Error::invalid(format!("{reason}: invalid configuration"))
}
