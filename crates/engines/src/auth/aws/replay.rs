//! Signatures that were used: none lets in twice.
//!
//! A mark of a signature lands in one batch with the token it was given for, under a keyed code, and
//! stays until the signature is too old to be taken. Only what STS vouched for is marked, so that
//! nobody without an account of AWS can fill the storage.

use super::signed::{SKEW_MAX, Signed};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Error, View};
use std::time::{Duration, SystemTime};

/// The folder of the marks: one folder in it for each minute of signing.
const MARKS: &str = "seen/";
/// Marks that one batch removes.
const REMOVED_AT_ONCE: usize = 1000;
const MINUTE: Duration = Duration::from_secs(60);

fn minute(time: SystemTime) -> u64 {
    to_millis(time) / 60_000
}

fn key(view: &View, signed: &Signed) -> String {
    let minute = minute(signed.signed_at);
    format!("{MARKS}{minute:012}/{}", view.names("seen").id(&signed.signature))
}

/// Refuses a signature that let somebody in before.
pub(super) async fn check(view: &View, signed: &Signed) -> Result<(), Error> {
    match view.get::<()>(&key(view, signed)).await? {
        None => Ok(()),
        Some(()) => Err(Error::invalid(
            "this signed request was used already: sign a new one (two that are signed with the same \
             key in the same second are the same)",
        )),
    }
}

/// Marks a signature with the batch that lets its owner in.
pub(super) fn mark(view: &View, signed: &Signed) {
    let key = key(view, signed);
    // Of two that come with it at once, one is run again and finds the mark.
    view.expect_absent(&key);
    view.put(&key, &());
}

/// Removes marks of signatures that are too old to be taken.
pub(super) async fn sweep(view: &View, now: SystemTime) -> Result<(), Error> {
    let oldest = minute(now.checked_sub(SKEW_MAX + MINUTE).unwrap_or(SystemTime::UNIX_EPOCH));
    for folder in view.list(MARKS, "", usize::MAX).await? {
        let signed = folder.trim_end_matches('/').parse::<u64>();
        if !signed.is_ok_and(|signed| signed < oldest) {
            break;
        }
        let place = format!("{MARKS}{folder}");
        loop {
            let marks = view.list(&place, "", REMOVED_AT_ONCE).await?;
            if marks.is_empty() {
                break;
            }
            let unit = view.fresh();
            for mark in marks {
                unit.delete(&format!("{place}{mark}"));
            }
            unit.commit().await?;
        }
    }
    Ok(())
}
