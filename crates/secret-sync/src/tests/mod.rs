//! Sync as a whole, on storage that may fail and against destinations that may fail.

mod api;
mod aws;
mod aws_objects;
mod aws_policies;
mod budgets;
mod destinations;
mod epochs;
mod events;
mod faults;
mod federation;
mod found;
mod isolation;
mod lists;
mod many;
mod metrics;
mod objects;
mod passes;
mod plan;
mod preview;
mod scale;
mod simulation;
mod source_paths;
mod sources;
mod strangers;
mod surveys;
mod world;
