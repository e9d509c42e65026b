//! Who used the server in which month: entities, tokens without one, and secrets that are kept at
//! clouds. Counted only when an operator switches it on.
//!
//! A request tells of its token and goes on (`Activity::saw`); a task beside the requests stores
//! whom it has not seen this month, many at once (`record`). Questions are answered from storage
//! (`report`).

mod month;
mod paths;
mod record;
mod report;
mod synced;

pub(crate) use paths::ActivityPaths;
pub(crate) use record::{Activity, record};
