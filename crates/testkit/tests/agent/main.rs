//! The agent as a program beside an application: from AWS as moto and our fake play it, and from a real server.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod configuration;
mod delivery;
mod listeners;
mod privileges;
mod server;
mod world;
