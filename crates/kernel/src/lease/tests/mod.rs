//! Leases of an engine that gives out loans: what is out is what the engine thinks is valid.

mod life;
mod pace;
mod world;
mod year;
