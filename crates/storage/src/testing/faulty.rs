//! A backend that fails on demand.

use crate::{Backend, Batch, Change, Entries, Entry, Error, Revision, Write};
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use std::{fmt, sync::Arc};
use tokio::io::AsyncWrite;

/// What becomes of the commit with which a backend goes down. It reports failure either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastCommit {
    /// It does not land.
    Lost,
    /// It lands.
    Landed,
}

/// Calls seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Gets, lists, scans and backups.
    pub reads: u64,
    /// Commits.
    pub commits: u64,
    /// Those of both kinds that were made to fail.
    pub failed: u64,
}

/// Passes everything on to another backend until told to fail. Modes add up; any may be set at
/// any time, and [`Faulty::heal`] ends all.
pub struct Faulty {
    inner: Arc<dyn Backend>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    modes: Modes,
    calls: Calls,
}

#[derive(Debug, Default)]
struct Modes {
    down: bool,
    full: bool,
    commits_left: Option<(u64, LastCommit)>,
    reads_left: Option<u64>,
    every: Option<Every>,
    random: Option<Random>,
}

#[derive(Debug)]
struct Every {
    period: u64,
    seen: u64,
}

#[derive(Debug)]
struct Random {
    state: u64,
    percent: u64,
}

enum Fate {
    Pass,
    /// Fails; a scan gives so many entries first.
    Fail(Error, usize),
    /// Lands and reports failure.
    LandAndFail,
}

impl Faulty {
    /// Wraps a backend; without faults at first.
    pub fn new(inner: Arc<dyn Backend>) -> Faulty {
        Faulty { inner, state: Mutex::default() }
    }

    /// Everything fails from now on.
    pub fn go_down(&self) {
        self.state.lock().modes.down = true;
    }

    /// So many commits succeed; the one after them fails, and everything from then on.
    pub fn go_down_after(&self, commits: u64, last: LastCommit) {
        self.state.lock().modes.commits_left = Some((commits, last));
    }

    /// So many reads succeed; all after them fail. Commits are not touched.
    pub fn fail_reads_after(&self, reads: u64) {
        self.state.lock().modes.reads_left = Some(reads);
    }

    /// Every `period`th call fails, reads and commits counted together; 1 means each.
    pub fn fail_every(&self, period: u64) {
        self.state.lock().modes.every = Some(Every { period: period.max(1), seen: 0 });
    }

    /// Each call fails with this probability. Half of the failing commits land; failing scans may
    /// give a few entries first. The same seed and calls fail in the same way.
    pub fn fail_randomly(&self, seed: u64, percent: u64) {
        self.state.lock().modes.random = Some(Random { state: seed, percent });
    }

    /// Commits that put something are refused as full; reads and removals work.
    pub fn fill(&self) {
        self.state.lock().modes.full = true;
    }

    /// Ends all faults. The counts stay.
    pub fn heal(&self) {
        self.state.lock().modes = Modes::default();
    }

    /// Calls seen since it was made.
    pub fn calls(&self) -> Calls {
        self.state.lock().calls
    }

    fn fate_of(&self, batch: &Batch) -> Fate {
        let mut state = self.state.lock();
        state.calls.commits += 1;
        let fate = state.modes.fate_of_commit(batch);
        state.calls.failed += u64::from(!matches!(fate, Fate::Pass));
        fate
    }

    fn read(&self) -> Result<(), (Error, usize)> {
        let mut state = self.state.lock();
        state.calls.reads += 1;
        match state.modes.fate_of_read() {
            Fate::Fail(error, entries) => {
                state.calls.failed += 1;
                Err((error, entries))
            }
            Fate::Pass | Fate::LandAndFail => Ok(()),
        }
    }
}

impl Modes {
    fn fate_of_read(&mut self) -> Fate {
        if self.down {
            return Fate::fail(0);
        }
        match &mut self.reads_left {
            Some(0) => return Fate::fail(0),
            Some(left) => *left -= 1,
            None => {}
        }
        if self.every_is_due() {
            return Fate::fail(0);
        }
        self.random_fault().map_or(Fate::Pass, Fate::fail)
    }

    fn fate_of_commit(&mut self, batch: &Batch) -> Fate {
        if self.down {
            return Fate::fail(0);
        }
        if self.full && batch.writes.iter().any(|write| matches!(write, Write::Put(..))) {
            return Fate::Fail(Error::Full, 0);
        }
        match &mut self.commits_left {
            Some((0, last)) => {
                let last = *last;
                self.down = true;
                return match last {
                    LastCommit::Lost => Fate::fail(0),
                    LastCommit::Landed => Fate::LandAndFail,
                };
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        if self.every_is_due() {
            return Fate::fail(0);
        }
        match self.random_fault() {
            None => Fate::Pass,
            Some(0 | 1) => Fate::fail(0),
            Some(_) => Fate::LandAndFail,
        }
    }

    /// A number below 4 when a random fault is due.
    fn random_fault(&mut self) -> Option<usize> {
        let random = self.random.as_mut()?;
        random.fails().then(|| random.below(4))
    }

    fn every_is_due(&mut self) -> bool {
        let Some(every) = &mut self.every else { return false };
        every.seen += 1;
        every.seen.is_multiple_of(every.period)
    }
}

impl Fate {
    fn fail(entries: usize) -> Fate {
        Fate::Fail(made_to_fail(), entries)
    }
}

impl Random {
    fn fails(&mut self) -> bool {
        self.next() % 100 < self.percent
    }

    fn below(&mut self, end: u64) -> usize {
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    /// SplitMix64: short, and good enough to pick faults.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn made_to_fail() -> Error {
    Error::Unavailable("made to fail".to_owned())
}

impl fmt::Debug for Faulty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        formatter
            .debug_struct("Faulty")
            .field("kind", &self.inner.kind())
            .field("modes", &state.modes)
            .field("calls", &state.calls)
            .finish()
    }
}

#[async_trait]
impl Backend for Faulty {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.read().map_err(|(error, _)| error)?;
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        self.read().map_err(|(error, _)| error)?;
        self.inner.list(prefix, after, limit).await
    }

    fn scan(&self, prefix: &str, after: &str) -> BoxStream<'_, Result<(String, Entry), Error>> {
        let whole = self.inner.scan(prefix, after);
        stream::once(async move {
            match self.read() {
                Ok(()) => whole,
                Err((error, entries)) => {
                    let failure = stream::once(async move { Err(error) });
                    whole.take(entries).chain(failure).boxed()
                }
            }
        })
        .flatten()
        .boxed()
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, Error> {
        match self.fate_of(batch) {
            Fate::Pass => self.inner.commit(batch).await,
            Fate::Fail(error, _) => Err(error),
            // A refusal of the backend below is an answer; only success is hidden.
            Fate::LandAndFail => self.inner.commit(batch).await.and(Err(made_to_fail())),
        }
    }

    fn changes(&self) -> BoxStream<'static, Result<Change, Error>> {
        self.inner.changes()
    }

    async fn backup(&self, into: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<(), Error> {
        self.read().map_err(|(error, _)| error)?;
        self.inner.backup(into).await
    }

    /// Counts as one commit that puts something.
    async fn restore(&self, entries: Entries<'_>) -> Result<Revision, Error> {
        let put = Write::Put(String::new(), Vec::new());
        match self.fate_of(&Batch { expects: Vec::new(), writes: vec![put] }) {
            Fate::Pass => self.inner.restore(entries).await,
            Fate::Fail(error, _) => Err(error),
            Fate::LandAndFail => self.inner.restore(entries).await.and(Err(made_to_fail())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use futures_util::TryStreamExt;

    fn put(key: &str) -> Batch {
        Batch { expects: Vec::new(), writes: vec![Write::Put(key.to_owned(), b"x".to_vec())] }
    }

    fn faulty() -> (Arc<Memory>, Faulty) {
        let memory = Arc::new(Memory::default());
        (Arc::clone(&memory), Faulty::new(memory))
    }

    fn is_down<T>(outcome: &Result<T, Error>) -> bool {
        matches!(outcome, Err(Error::Unavailable(_)))
    }

    #[tokio::test]
    async fn without_faults_it_keeps_the_contract() {
        let (_, faulty) = faulty();
        crate::testing::check_backend(&faulty).await;
        assert_eq!(faulty.calls().failed, 0);
    }

    #[tokio::test]
    async fn it_goes_down_after_some_commits_and_the_last_lands_or_not() {
        for (last, landed) in [(LastCommit::Lost, false), (LastCommit::Landed, true)] {
            let (memory, faulty) = faulty();
            faulty.go_down_after(2, last);
            faulty.commit(&put("1")).await.unwrap();
            faulty.commit(&put("2")).await.unwrap();
            faulty.get("1").await.unwrap();
            assert!(is_down(&faulty.commit(&put("3")).await));
            assert_eq!(memory.get("3").await.unwrap().is_some(), landed);
            assert!(is_down(&faulty.get("1").await));
            assert!(is_down(&faulty.commit(&put("4")).await));
            assert_eq!(memory.get("4").await.unwrap(), None);
            faulty.heal();
            faulty.commit(&put("4")).await.unwrap();
            assert_eq!(faulty.calls(), Calls { reads: 2, commits: 5, failed: 3 });
        }
    }

    #[tokio::test]
    async fn reads_fail_after_some_while_commits_go_on() {
        let (_, faulty) = faulty();
        faulty.fail_reads_after(2);
        faulty.get("a").await.unwrap();
        faulty.list("", "", 1).await.unwrap();
        assert!(is_down(&faulty.get("a").await));
        assert!(is_down(&faulty.list("", "", 1).await));
        assert!(is_down(&faulty.scan("", "").try_collect::<Vec<_>>().await));
        assert!(is_down(&faulty.backup(&mut Vec::new()).await));
        faulty.commit(&put("a")).await.unwrap();
    }

    #[tokio::test]
    async fn every_third_call_fails() {
        let (_, faulty) = faulty();
        faulty.fail_every(3);
        let mut failed = Vec::new();
        for number in 1..=9 {
            let down = match number % 2 {
                0 => is_down(&faulty.get("a").await),
                _ => is_down(&faulty.commit(&put("a")).await),
            };
            failed.extend(down.then_some(number));
        }
        assert_eq!(failed, [3, 6, 9]);
    }

    #[tokio::test]
    async fn random_faults_repeat_with_their_seed_and_lose_some_commits() {
        let run = async |seed| {
            let (memory, faulty) = faulty();
            faulty.fail_randomly(seed, 50);
            let (mut reported, mut landed) = (Vec::new(), Vec::new());
            for number in 0..200 {
                let key = number.to_string();
                reported.push(faulty.commit(&put(&key)).await.is_ok());
                landed.push(memory.get(&key).await.unwrap().is_some());
            }
            let hidden = reported.iter().zip(&landed).filter(|(ok, there)| !**ok && **there);
            assert!(hidden.count() > 10, "some commits land and report failure");
            assert!(landed.iter().filter(|there| !**there).count() > 10, "some are lost");
            assert!(reported.iter().zip(&landed).all(|(ok, there)| !*ok || *there));
            (reported, landed)
        };
        assert_eq!(run(7).await, run(7).await);
        assert_ne!(run(7).await, run(8).await);
    }

    #[tokio::test]
    async fn a_full_one_refuses_puts_and_takes_removals() {
        let (memory, faulty) = faulty();
        faulty.commit(&put("a")).await.unwrap();
        faulty.fill();
        assert!(matches!(faulty.commit(&put("b")).await, Err(Error::Full)));
        let removal = Batch { expects: Vec::new(), writes: vec![Write::Delete("a".to_owned())] };
        faulty.commit(&removal).await.unwrap();
        assert_eq!(memory.get("a").await.unwrap(), None);
        faulty.heal();
        faulty.commit(&put("b")).await.unwrap();
    }
}
