//! Streams that end when the other side is silent for too long: a connection is a scarce thing.

use crate::limits::{HEADER_TIME_MAX, SILENCE_TIME_MAX};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A stream whose reads and writes fail when nothing moves. The first bytes are waited for less long:
/// before them it is not even known which protocol is spoken.
pub(crate) struct Attentive<S> {
    stream: S,
    /// Whether the other side has said anything yet.
    heard: bool,
    read_by: Pin<Box<Sleep>>,
    /// Set while the other side takes nothing.
    written_by: Option<Pin<Box<Sleep>>>,
}

impl<S> Attentive<S> {
    pub(crate) fn new(stream: S) -> Attentive<S> {
        Attentive {
            stream,
            heard: false,
            read_by: Box::pin(sleep(HEADER_TIME_MAX)),
            written_by: None,
        }
    }

    /// The outcome of a write, unless it has been waited for too long.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.written_by = None;
            // Who takes what is sent as it happens need not say anything.
            if self.heard {
                self.read_by.as_mut().reset(Instant::now() + SILENCE_TIME_MAX);
            }
            return outcome;
        }
        let end = self.written_by.get_or_insert_with(|| Box::pin(sleep(SILENCE_TIME_MAX)));
        ready!(end.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Attentive<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(outcome) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            this.heard = true;
            this.read_by.as_mut().reset(Instant::now() + SILENCE_TIME_MAX);
            return Poll::Ready(outcome);
        }
        ready!(this.read_by.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Attentive<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(context, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.watch(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(context);
        this.watch(context, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_shutdown(context);
        this.watch(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_let_go() {
        let (near, mut far) = duplex(8);
        let mut near = Attentive::new(near);
        let start = Instant::now();
        far.write_all(b"a").await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), b'a');
        let error = near.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= SILENCE_TIME_MAX);
        let (near, _far) = duplex(8);
        let start = Instant::now();
        let error = Attentive::new(near).read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < SILENCE_TIME_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_let_go() {
        let (near, _far) = duplex(8);
        let error = Attentive::new(near).write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
