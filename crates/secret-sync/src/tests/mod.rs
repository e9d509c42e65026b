//! Sync as a whole, on storage that may fail and against destinations that may fail.

mod api;
mod aws;
mod aws_objects;
mod faults;
mod isolation;
mod passes;
mod world;
