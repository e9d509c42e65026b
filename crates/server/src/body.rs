//! The body of an answer: at hand as a whole, or made while it is sent.

use bailee_sdk::Pieces;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::{mpsc, watch};

/// A body.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it; none once it is sent.
    Whole(Option<Bytes>),
    /// Piece by piece, until the sender is gone. An error cuts the connection off.
    Stream(mpsc::Receiver<io::Result<Bytes>>),
    /// As it happens, until its maker, the right to it, or the server ends.
    Live(Live),
}

/// A body that goes on as long as the server does.
pub(crate) struct Live {
    pieces: Pieces,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Live {
    pub(crate) fn new(pieces: Pieces, mut stop: watch::Receiver<bool>) -> Live {
        let stopped = async move {
            // When the sender is gone, so is the server.
            stop.wait_for(|stop| *stop).await.ok();
        };
        Live { pieces, stopped: Box::pin(stopped) }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        if self.stopped.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.pieces.poll_piece(context)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Live(live) => {
                live.poll_piece(context).map(|piece| Some(Ok(Frame::data(piece?.into()))))
            }
            Body::Stream(pieces) => {
                pieces.poll_recv(context).map(|piece| Some(piece?.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Body::Stream(_) | Body::Live(_) => SizeHint::default(),
        }
    }
}
