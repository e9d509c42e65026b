//! Whole servers for tests: the real binary, started, killed, unsealed and asked over HTTP.
//!
//! *Invariant:* nothing here links the server. What a test sees is what a user sees: processes,
//! files, HTTP and log lines.

mod api;
mod build;
mod delivery;
mod environment;
mod ports;
mod program;
mod server;
mod waiting;
mod watch;

pub use api::{Answer, Api, Ask, Listening};
pub use build::{binary, workspace};
pub use delivery::Sync;
pub use environment::{is_slow, other_client, python, recordings, search_path};
pub use ports::free_port;
pub use program::Program;
pub use server::{Options, Storage, TestServer};
pub use waiting::{eventually, eventually_some};
pub use watch::{Watch, files};

/// Repeatable random numbers for seeded runs (xorshift).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}
