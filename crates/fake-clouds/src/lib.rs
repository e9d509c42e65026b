//! Fakes of cloud services for tests, served over loopback HTTP.
//!
//! A fake here is stricter than the usual mocks: it verifies signatures, evaluates access policies,
//! enforces documented bounds, and fails on command (throttling, lost requests, lost replies).
//! It is a leaf: it knows none of this project's other crates.

pub mod aws;

pub use aws::{FakeAws, FakeInstance};
