//! Answers without an end: pieces that are made while they are sent.

use futures_util::Stream;
use parking_lot::Mutex;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// The pieces of an answer. Whoever makes them is asked for the next one when the client has taken
/// the last one, so a slow client holds up nobody.
pub struct Pieces(Mutex<Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>>);

impl Pieces {
    /// The pieces of a stream.
    pub fn new(stream: impl Stream<Item = Vec<u8>> + Send + 'static) -> Pieces {
        Pieces(Mutex::new(Box::pin(stream)))
    }

    /// The next piece; none at the end.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        self.0.get_mut().as_mut().poll_next(context)
    }
}

impl Stream for Pieces {
    type Item = Vec<u8>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        self.get_mut().poll_piece(context)
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pieces")
    }
}
