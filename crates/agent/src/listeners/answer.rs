//! Answers, and their bodies, which hold secrets and are wiped once they are sent.

use bailee_client::Unanswered;
use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use zeroize::Zeroizing;

/// An answer.
pub(crate) type Answer = Response<Body>;
/// An answer that says no, before anything is asked.
pub(crate) type Refusal = Box<Answer>;
/// Its body: at hand as a whole, or passed on as it comes.
pub(crate) type Body = Either<Full<Bytes>, Passing>;
/// A body that is passed on as it comes.
pub(crate) type Passing = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Unanswered>>>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer without a media type, as AWS's agent gives all of its own.
pub(crate) fn bare(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    answer
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = bare(status, body);
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// Bytes that are wiped when the last who holds them lets go.
pub(crate) fn wiped(bytes: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(bytes)
}

/// A body that is passed on as it comes; where it breaks off, so does the connection.
pub(crate) fn passing(parts: BoxStream<'static, Result<Bytes, Unanswered>>) -> Body {
    Either::Right(StreamBody::new(parts.map(|part| part.map(Frame::data)).boxed()))
}
