//! Replication by the program itself: from a real server to the fake of AWS.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

mod permissions;
mod runs;
mod serving;
mod sources;
mod world;
