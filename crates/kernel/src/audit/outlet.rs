//! A device's own thread. It takes all lines that wait and writes them in one go, so that many
//! requests share a write; and a place that blocks holds up this thread and nothing else.

use super::AuditDevice;
use crate::event;
use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::{Condvar, Mutex};
use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// Longest wait of a request for its line; after that the line counts as failed.
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// Bytes of lines that wait for one device. A single line is taken whatever its length.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Where a device's thread writes to.
pub(super) trait Sink: Send + 'static {
    /// Writes lines in turn; one outcome for each. What is not open is opened first.
    fn write(&mut self, lines: &[Line]) -> Vec<io::Result<()>>;

    /// Opens its place, anew if it is open.
    fn reopen(&mut self) -> io::Result<()>;
}

/// One line on its way.
pub(super) struct Line {
    /// When what it tells of happened.
    pub(super) time: SystemTime,
    /// The line with its end.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    done: oneshot::Sender<io::Result<()>>,
}

#[cfg(test)]
impl Line {
    pub(super) fn of(text: &str) -> Line {
        let bytes = Zeroizing::new(format!("{text}\n").into_bytes());
        Line { time: SystemTime::UNIX_EPOCH, bytes, done: oneshot::channel().0 }
    }
}

/// A device that writes through a thread of its own.
pub(super) struct Outlet {
    name: String,
    shared: Arc<Shared>,
    wait: Duration,
}

struct Shared {
    name: String,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    ailing: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<Line>,
    bytes: usize,
    reopen: bool,
    closed: bool,
}

impl Outlet {
    /// Starts the thread, which opens the sink first.
    pub(super) fn start(name: &str, sink: impl Sink) -> io::Result<Outlet> {
        Outlet::start_with(name, sink, WRITE_WAIT)
    }

    pub(super) fn start_with(name: &str, sink: impl Sink, wait: Duration) -> io::Result<Outlet> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            waiting: Mutex::new(Waiting { reopen: true, ..Waiting::default() }),
            wake: Condvar::new(),
            ailing: AtomicBool::new(false),
        });
        let served = shared.clone();
        thread::Builder::new().name("audit".to_owned()).spawn(move || served.serve(sink))?;
        Ok(Outlet { name: name.to_owned(), shared, wait })
    }
}

impl AuditDevice for Outlet {
    fn name(&self) -> &str {
        &self.name
    }

    fn write(&self, time: SystemTime, line: &[u8]) -> BoxFuture<'static, io::Result<()>> {
        let done = match self.shared.add(time, line) {
            Ok(done) => done,
            Err(error) => return std::future::ready(Err(error)).boxed(),
        };
        let (shared, wait) = (self.shared.clone(), self.wait);
        async move {
            match tokio::time::timeout(wait, done).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(io::Error::other("the device has ended")),
                Err(_) => {
                    let error = io::Error::new(io::ErrorKind::TimedOut, "the device is blocked");
                    shared.note(Some(&error));
                    Err(error)
                }
            }
        }
        .boxed()
    }

    fn reopen(&self) {
        self.shared.waiting.lock().reopen = true;
        self.shared.wake.notify_one();
    }

    fn is_ailing(&self) -> bool {
        self.shared.ailing.load(Ordering::Relaxed)
    }
}

/// What waits still is written; then the thread ends.
impl Drop for Outlet {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn add(&self, time: SystemTime, line: &[u8]) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        let (done, told) = oneshot::channel();
        let mut bytes = Zeroizing::new(Vec::with_capacity(line.len() + 1));
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(io::Error::other("the device has ended"));
        }
        let room = WAITING_BYTES_MAX.saturating_sub(waiting.bytes);
        if !waiting.lines.is_empty() && bytes.len() > room {
            return Err(io::Error::other("too much waits for the device already"));
        }
        waiting.bytes += bytes.len();
        waiting.lines.push(Line { time, bytes, done });
        drop(waiting);
        self.wake.notify_one();
        Ok(told)
    }

    fn serve(&self, mut sink: impl Sink) {
        // Whatever ends this thread: who waits for it must learn that it is gone.
        let _closing = Closing(self);
        while let Some((lines, reopen)) = self.next() {
            if reopen {
                self.note(sink.reopen().err().as_ref());
            }
            if lines.is_empty() {
                continue;
            }
            let outcomes = sink.write(&lines);
            self.note(outcomes.iter().find_map(|outcome| outcome.as_ref().err()));
            for (line, outcome) in lines.into_iter().zip(outcomes) {
                // A request that waits no longer has been told that the line failed.
                drop(line.done.send(outcome));
            }
        }
    }

    /// The lines that wait, and whether to open anew; none when it is over.
    fn next(&self) -> Option<(Vec<Line>, bool)> {
        let mut waiting = self.waiting.lock();
        loop {
            if !waiting.lines.is_empty() || waiting.reopen && !waiting.closed {
                waiting.bytes = 0;
                let reopen = std::mem::take(&mut waiting.reopen);
                return Some((std::mem::take(&mut waiting.lines), reopen));
            }
            if waiting.closed {
                return None;
            }
            self.wake.wait(&mut waiting);
        }
    }

    fn close(&self) {
        self.waiting.lock().closed = true;
        self.wake.notify_one();
    }

    /// Says so when the device begins to fail, and when it works again.
    fn note(&self, failure: Option<&io::Error>) {
        let was_ailing = self.ailing.swap(failure.is_some(), Ordering::Relaxed);
        match (was_ailing, failure) {
            (false, Some(error)) => event::audit_device_fails(&self.name, error),
            (true, None) => event::audit_device_works(&self.name),
            (true, Some(_)) | (false, None) => {}
        }
    }
}

struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        waiting.closed = true;
        waiting.lines.clear();
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outlet({})", self.name)
    }
}

/// Writes lines to a stream as one piece of bytes. The outcome of each, and how many bytes of the
/// first that failed got through.
pub(super) fn write_stream(
    stream: &mut impl io::Write,
    lines: &[Line],
) -> (Vec<io::Result<()>>, usize) {
    let joined;
    let bytes: &[u8] = match lines {
        [only] => &only.bytes,
        lines => {
            let parts: Vec<&[u8]> = lines.iter().map(|line| line.bytes.as_slice()).collect();
            joined = Zeroizing::new(parts.concat());
            &joined
        }
    };
    let (mut written, mut failure) = (0, None);
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            Ok(0) => failure = Some(io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => failure = Some(error),
        }
        if failure.is_some() {
            break;
        }
    }
    let mut outcomes = Vec::with_capacity(lines.len());
    for line in lines {
        match (&failure, written.checked_sub(line.bytes.len())) {
            (None, _) => outcomes.push(Ok(())),
            (Some(_), Some(rest)) => {
                written = rest;
                outcomes.push(Ok(()));
            }
            (Some(error), None) => {
                outcomes.push(Err(copy(error)));
                outcomes.extend(lines.iter().skip(outcomes.len()).map(|_| Err(copy(error))));
                return (outcomes, written);
            }
        }
    }
    (outcomes, 0)
}

/// The same failure of every line.
pub(super) fn all_failed(lines: &[Line], error: &io::Error) -> Vec<io::Result<()>> {
    lines.iter().map(|_| Err(copy(error))).collect()
}

/// An error of the same kind and text.
pub(super) fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
