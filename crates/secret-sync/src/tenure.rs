//! How long this server may still act for itself outside. Storage fences the writes of a leader whose
//! lease has run out; a call to a destination can only be fenced by not making it.

use crate::failure::{Error, Failure};
use std::{future::Future, pin::pin};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// The time for which this server leads. A call is begun, and waited for, only as long as it ends
/// before that.
#[derive(Clone, Debug)]
pub struct Tenure(Option<watch::Receiver<Instant>>);

/// The longest that one request to a destination takes, from the first byte that is sent.
const CALL_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(30);

impl Tenure {
    /// Of the only server there is.
    pub fn unlimited() -> Tenure {
        Tenure(None)
    }

    /// Until that time, which whoever renews the lease moves on.
    pub fn until(end: watch::Receiver<Instant>) -> Tenure {
        Tenure(Some(end))
    }

    /// Waits for calls of a destination as long as none of them can land after the end. An error
    /// where they were not begun, and an uncertain one where they were given up.
    pub(crate) async fn during<T>(
        &self,
        calls: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(mut end) = self.0.clone() else { return calls.await };
        let over = || Error::new(Failure::Internal, "this server does not lead any more");
        if silent_from(*end.borrow_and_update()) <= Instant::now() {
            return Err(over());
        }
        let mut calls = pin!(calls);
        loop {
            let silence = silent_from(*end.borrow_and_update());
            tokio::select! {
                biased;
                done = &mut calls => return done,
                () = sleep_until(silence) => {
                    if silent_from(*end.borrow()) <= Instant::now() {
                        return Err(over().uncertain());
                    }
                }
                // Whoever renewed it is gone, and with it every later end.
                Ok(()) = end.changed() => {}
            }
        }
    }
}

fn silent_from(end: Instant) -> Instant {
    end.checked_sub(CALL_TIME_MAX).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

    async fn call(seconds: u64) -> Result<u64, Error> {
        sleep(Duration::from_secs(seconds)).await;
        Ok(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_could_land_after_the_end_are_not_made_or_given_up() {
        let start = Instant::now();
        let end = watch::Sender::new(start + CALL_TIME_MAX + Duration::from_secs(10));
        let tenure = Tenure::until(end.subscribe());
        assert_eq!(tenure.during(call(9)).await.unwrap(), 9);
        let error = tenure.during(call(2)).await.unwrap_err();
        assert!(error.uncertain);
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        let error = tenure.during(async { unreachable!("it is not begun") as Result<(), Error> });
        assert!(!error.await.unwrap_err().uncertain);
        end.send_replace(Instant::now() + CALL_TIME_MAX + Duration::from_secs(5));
        let renewed = async {
            sleep(Duration::from_secs(4)).await;
            end.send_replace(Instant::now() + CALL_TIME_MAX + Duration::from_secs(60));
        };
        let (called, ()) = tokio::join!(tenure.during(call(50)), renewed);
        assert_eq!(called.unwrap(), 50);
        assert_eq!(Tenure::unlimited().during(call(9_999)).await.unwrap(), 9_999);
    }
}
