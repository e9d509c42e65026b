//! Who asked for what, and what came of it: a line before the effect and one on every way out.
//!
//! **Invariant:** no secret is in a line. Tokens, accessors and every text of input and answer appear
//! as keyed codes, with a key of each device; a device with `log_raw` is the operator's own choice.
//! **Invariant:** while devices are enabled, nothing happens that none of them has recorded.

mod broker;
mod entry;
mod file;
mod hash;
mod headers;
mod options;
mod outlet;
mod paths;
mod socket;
mod store;
mod syslog;
mod trace;

pub(crate) use broker::Broker;
pub(crate) use headers::Audited;
pub(crate) use paths::AuditPaths;
pub(crate) use store::AuditStore;
pub(crate) use trace::{Trace, system_trace};

#[cfg(test)]
mod tests;

use futures_util::future::BoxFuture;
use std::{io, time::SystemTime};

/// Where audit lines go.
pub trait AuditDevice: Send + Sync {
    /// Its name among the devices, such as `file/`.
    fn name(&self) -> &str;

    /// Hands over one line, which comes without its end, at once. When the future is done the line
    /// is with the device, or it failed.
    fn write(&self, time: SystemTime, line: &[u8]) -> BoxFuture<'static, io::Result<()>>;

    /// Opens its place anew, after the file was moved away.
    fn reopen(&self) {}

    /// Whether its last line failed: others do not wait for it.
    fn is_ailing(&self) -> bool {
        false
    }
}
