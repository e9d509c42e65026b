//! Pages of other origins: which may call, and what they are told first.

use crate::wire::{self, Reply};
use bailee_kernel::Cors;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN,
        STRICT_TRANSPORT_SECURITY, VARY,
    },
};

/// Methods that pages of other origins may use.
const METHODS: [&str; 7] = ["DELETE", "GET", "OPTIONS", "POST", "PUT", "PATCH", "LIST"];
/// Seconds for which a browser may remember what it was told.
const MAX_AGE: &str = "300";

/// What becomes of a request, as far as its origin goes.
pub(crate) enum Verdict {
    /// It goes on; the answer says nothing of origins.
    Plain,
    /// It goes on; the answer is for pages of this origin.
    For(HeaderValue),
    /// It ends here.
    Answer(Box<Reply>),
}

/// Judges a request by the origin it names.
pub(crate) fn judge(cors: &Cors, method: &Method, headers: &HeaderMap) -> Verdict {
    let Some(origin) = headers.get(ORIGIN).filter(|_| cors.enabled) else { return Verdict::Plain };
    if !origin.to_str().is_ok_and(|origin| cors.allows(origin)) {
        let text = "origin not allowed".to_owned();
        return Verdict::Answer(Box::new(wire::errors(StatusCode::FORBIDDEN, &[text])));
    }
    if *method != Method::OPTIONS {
        return Verdict::For(origin.clone());
    }
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).and_then(|value| value.to_str().ok());
    if !asked.is_some_and(|asked| METHODS.contains(&asked)) {
        return Verdict::Answer(Box::new(wire::empty(StatusCode::METHOD_NOT_ALLOWED)));
    }
    let mut reply = wire::empty(StatusCode::OK);
    let told = reply.headers_mut();
    told.remove(CONTENT_TYPE);
    told.remove(STRICT_TRANSPORT_SECURITY);
    let methods = METHODS.join(",");
    let allowed = cors.allowed_headers.join(",");
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, methods.as_str()),
        (ACCESS_CONTROL_ALLOW_HEADERS, allowed.as_str()),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            told.insert(name, value);
        }
    }
    allow(&mut reply, origin.clone());
    Verdict::Answer(Box::new(reply))
}

/// Lets pages of an origin read the answer.
pub(crate) fn allow(reply: &mut Reply, origin: HeaderValue) {
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    reply.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors() -> Cors {
        Cors {
            enabled: true,
            allowed_origins: vec!["https://a.example".to_owned()],
            allowed_headers: vec!["X-One".to_owned()],
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn only_named_origins_may_call() {
        let good = headers(&[("origin", "https://a.example")]);
        let bad = headers(&[("origin", "https://b.example")]);
        assert!(matches!(judge(&cors(), &Method::GET, &good), Verdict::For(_)));
        assert!(matches!(judge(&cors(), &Method::GET, &HeaderMap::new()), Verdict::Plain));
        assert!(matches!(judge(&Cors::default(), &Method::GET, &bad), Verdict::Plain));
        let Verdict::Answer(reply) = judge(&cors(), &Method::GET, &bad) else { panic!() };
        assert_eq!(reply.status(), StatusCode::FORBIDDEN);
        let anyone = Cors { allowed_origins: vec!["*".to_owned()], ..cors() };
        assert!(matches!(judge(&anyone, &Method::GET, &bad), Verdict::For(_)));
    }

    #[test]
    fn a_browser_is_told_what_it_may_send() {
        let asks =
            headers(&[("origin", "https://a.example"), ("access-control-request-method", "LIST")]);
        let Verdict::Answer(reply) = judge(&cors(), &Method::OPTIONS, &asks) else { panic!() };
        assert_eq!(reply.status(), StatusCode::OK);
        assert_eq!(reply.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(reply.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "X-One");
        let asks =
            headers(&[("origin", "https://a.example"), ("access-control-request-method", "TRACE")]);
        let Verdict::Answer(reply) = judge(&cors(), &Method::OPTIONS, &asks) else { panic!() };
        assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
