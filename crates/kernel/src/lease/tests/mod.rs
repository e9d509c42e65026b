//! Leases of an engine that gives out loans: what is out is what the engine thinks is valid.

mod intents;
mod life;
mod pace;
mod world;
mod year;
