//! The life of AWS credentials over a whole kernel: the real kernel, the real engine and the fake IAM,
//! on a clock that jumps. Storage is in memory, and no socket is opened.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod scale;
mod simulation;
mod story;
mod term;
mod way;
mod world;
