//! Replication from a source in memory, to destinations in memory and to the fake of AWS.

mod aws;
mod comparison;
mod faults;
mod removals;
mod runs;
mod sample;
mod time;
mod world;

pub(crate) use world::FakeSource;
