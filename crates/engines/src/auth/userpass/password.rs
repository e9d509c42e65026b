//! Work on passwords, which takes long on purpose: off the async threads, a bounded part of the
//! machine, and as long for a user who does not exist.

use bailee_crypto::password::{self, PasswordHash};
use bailee_sdk::{Code, Error, Sensitive};
use std::{sync::LazyLock, thread};
use tokio::sync::Semaphore;

/// Passwords that wait to be looked at, or are being: more than that are refused. At 50 ms each on
/// two of four processors the last of them waits six seconds.
const WAITING_MAX: usize = 256;

/// Places of those that wait or work.
static PLACES: Semaphore = Semaphore::const_new(WAITING_MAX);
/// Those that work: half of the processors, so that logins leave room for everything else.
static WORKERS: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new((processors / 2).max(1))
});

/// Hashes a new password.
pub(super) async fn hash(password: Sensitive<String>) -> Result<PasswordHash, Error> {
    let hash = off_thread(move || PasswordHash::of(password.expose().as_bytes())).await?;
    hash.map_err(|too_long| Error::invalid(format!("field \"password\": {too_long}")))
}

/// Whether the password is the one of the hash; never without a hash, after the same work.
pub(super) async fn matches(
    password: Sensitive<String>,
    hash: Option<PasswordHash>,
) -> Result<bool, Error> {
    off_thread(move || {
        let password = password.expose().as_bytes();
        match hash {
            Some(hash) => hash.matches(password),
            None => {
                password::waste(password);
                false
            }
        }
    })
    .await
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let busy = || Error::new(Code::RateLimited, "too many logins at once, try again later");
    // Both go along with the work: it goes on when nobody waits for it any more.
    let place = PLACES.try_acquire().map_err(|_| busy())?;
    let turn = WORKERS.acquire().await.map_err(Error::internal)?;
    let work = tokio::task::spawn_blocking(move || {
        let done = work();
        drop((turn, place));
        done
    });
    work.await.map_err(Error::internal)
}
