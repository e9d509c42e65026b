//! Sync as a whole, on storage that may fail and against destinations that may fail.

mod api;
mod aws;
mod aws_objects;
mod budgets;
mod faults;
mod federation;
mod isolation;
mod many;
mod epochs;
mod objects;
mod passes;
mod world;
