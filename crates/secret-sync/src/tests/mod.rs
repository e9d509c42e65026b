//! Sync as a whole, on storage that may fail and against destinations that may fail.

mod api;
mod aws;
mod faults;
mod isolation;
mod passes;
mod world;
