//! The words by which users say what a replication shall do, in a file or in a request.

use super::spec::{Compare, Removals};
use crate::{
    destination::{Ownership, RECOVERY_DAYS},
    registry::Drift,
};

/// How a change is seen.
///
/// # Errors
/// What it may be.
pub fn compare(text: &str) -> Result<Compare, String> {
    Ok(match text {
        "version" => Compare::Version,
        "updated" => Compare::Updated,
        "hash" => Compare::Hash,
        _ => return Err(format!("want version, updated or hash, not {text:?}")),
    })
}

/// What is done with secrets of others.
///
/// # Errors
/// What it may be.
pub fn ownership(text: &str) -> Result<Ownership, String> {
    Ok(match text {
        "refuse" => Ownership::Refuse,
        "adopt" => Ownership::Adopt,
        "overwrite" => Ownership::Overwrite,
        _ => return Err(format!("want refuse, adopt or overwrite, not {text:?}")),
    })
}

/// What is done about changes of others.
///
/// # Errors
/// What it may be.
pub fn drift(text: &str) -> Result<Drift, String> {
    Ok(match text {
        "repair" => Drift::Repair,
        "report" => Drift::Report,
        _ => return Err(format!("want repair or report, not {text:?}")),
    })
}

/// What becomes of what the source has no more; days are for `schedule`.
///
/// # Errors
/// What it may be.
pub fn removals(text: &str, days: u32) -> Result<Removals, String> {
    Ok(match text {
        "keep" => Removals::Keep,
        "orphan" => Removals::Orphan,
        "schedule" => Removals::Schedule { days },
        "delete" => Removals::Delete,
        _ => return Err(format!("want keep, orphan, schedule or delete, not {text:?}")),
    })
}

/// Days for which what was removed can be restored.
///
/// # Errors
/// What it may be.
pub fn days(text: &str) -> Result<u32, String> {
    let days = text.parse().ok().filter(|days| RECOVERY_DAYS.contains(days));
    days.ok_or_else(|| format!("want 7 to 30 days, not {text:?}"))
}

/// A share from 0 to 1: `0.2` and `20%` are the same.
///
/// # Errors
/// What it may be.
pub fn share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    let number = number.ok().filter(|share| (0.0..=1.0).contains(share));
    number.ok_or_else(|| format!("want a share such as 0.2 or 20%, not {text:?}"))
}
