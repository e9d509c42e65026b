//! Who used the server in which month: entities, and tokens without one. Counted only when an
//! operator switches it on.
//!
//! A request tells of its token and goes on (`Activity::saw`); a task beside the requests stores
//! whom it has not seen this month, many at once (`record`). Questions are answered from storage
//! (`report`).

mod month;
mod paths;
mod record;
mod report;

pub(crate) use paths::ActivityPaths;
pub(crate) use record::{Activity, record};
