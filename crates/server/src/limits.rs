//! What a client may ask at most. Every bound of this crate has its name here.

use std::time::Duration;

/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// Bytes of all bodies that are being read or worked on, over all clients.
pub const BODIES_BYTES_MAX: usize = 512 << 20;
/// Requests at one time on one HTTP/2 connection.
pub const STREAMS_MAX: u32 = 64;
/// Bytes of all headers of a request, and of its first line.
pub const HEADER_BYTES_MAX: usize = 64 << 10;
/// Connections at one time over all listeners; more wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 8192;
/// Time for a client to send its headers.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(30);
/// Time that a client may be silent between two requests, or leave an answer unread. More than a
/// request may take.
pub const SILENCE_TIME_MAX: Duration = Duration::from_secs(300);
/// Time for a client to send its body.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(60);
/// Time for a TLS handshake.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(15);
/// Time for a request to be answered.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(90);
/// Time for a snapshot to be made, or to be received and restored.
pub const SNAPSHOT_TIME_MAX: Duration = Duration::from_secs(6 * 3600);
/// Time that running requests get when the server stops.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(15);
