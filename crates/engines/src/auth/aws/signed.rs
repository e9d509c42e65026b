//! The request to STS that a client signed, and what must hold before it is passed on.
//!
//! STS says whose signature it is; what was signed is for us to check. Nothing of the client's
//! request is passed on but the headers: where it goes, how, and its body are ours.

use super::{
    headers::{SERVER_ID, SERVER_ID_LOWER, SignedHeaders},
    short,
};
use bailee_crypto::{hash, sensitive};
use bailee_sdk::Error;
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// The only thing that is ever asked.
pub(super) const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
/// The type of that body.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// How far the date of a signature may be from our clock: as far as AWS lets it be elsewhere.
pub(super) const SKEW_MAX: Duration = Duration::from_secs(5 * 60);
/// The longest of the texts that are in base64.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// What a client gives to log in.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) body: String,
    pub(super) headers: Value,
}

/// What a mount asks of signed requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demands<'a> {
    /// The value of the server's own header; empty for any or none.
    pub(super) server_id: &'a str,
    /// Headers allowed beside the usual ones.
    pub(super) more_headers: &'a [String],
    pub(super) now: SystemTime,
}

/// A request that may be passed on.
#[derive(Debug)]
pub(super) struct Signed {
    /// The host that was signed, in lower case, without a port that goes without saying.
    pub(super) host: String,
    /// The region that was signed for.
    pub(super) region: String,
    /// The signature, 64 hexadecimal digits.
    pub(super) signature: String,
    /// When it was signed.
    pub(super) signed_at: SystemTime,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Signed {
    /// Checks what a client gave. An error says what is wrong with it.
    pub(super) fn check(given: &Given, demands: Demands<'_>) -> Result<Signed, Error> {
        check_method(&given.method)?;
        let url = needed("iam_request_url", &given.url)?;
        let url_host = host_of_url(&from_base64("iam_request_url", url)?)?;
        let body = from_base64("iam_request_body", needed("iam_request_body", &given.body)?)?;
        if body != BODY {
            return Err(Error::invalid(format!(
                "iam_request_body is not exactly {BODY:?}, which is all that is passed on to STS"
            )));
        }
        let headers = SignedHeaders::read(&given.headers, demands.more_headers)?;
        let authorization = headers.get("authorization");
        let authorization = authorization.ok_or_else(|| missing_header("Authorization"))?;
        let authorization = Authorization::parse(authorization)?;
        let host_text = headers.get("host").unwrap_or(&url_host);
        let host = plain_host(host_text)?;
        if host != plain_host(&url_host)? {
            return Err(Error::invalid("the Host header is not the host of iam_request_url"));
        }
        let date = headers.get("x-amz-date").ok_or_else(|| missing_header("X-Amz-Date"))?;
        let signed_at = check_date(date, &authorization, demands.now)?;
        check_body_headers(&headers)?;
        check_signed(&headers, &authorization)?;
        check_server_id(&headers, &authorization, demands.server_id)?;
        Ok(Signed {
            host,
            region: authorization.region.clone(),
            signature: authorization.signature.clone(),
            signed_at,
            headers: passed_on(&headers, &authorization, host_text)?,
        })
    }

    /// The request as it goes out, to an endpoint of ours: scheme, host and port.
    pub(super) fn request(&self, endpoint: &str) -> Result<Request<Bytes>, Error> {
        let mut request = Request::post(format!("{endpoint}/"))
            .body(Bytes::from_static(BODY.as_bytes()))
            .map_err(|_| Error::internal("an endpoint that was checked is none"))?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    }
}

fn check_method(method: &str) -> Result<(), Error> {
    match method {
        "POST" => Ok(()),
        "" => Err(Error::invalid("missing iam_http_request_method")),
        _ => Err(Error::invalid(
            "invalid iam_http_request_method; currently only 'POST' is supported",
        )),
    }
}

fn needed<'a>(field: &str, text: &'a str) -> Result<&'a str, Error> {
    if text.is_empty() { Err(Error::invalid(format!("missing {field}"))) } else { Ok(text) }
}

fn missing_header(name: &str) -> Error {
    Error::invalid(format!("iam_request_headers: header {name:?} is missing"))
}

/// The text in a field of base64, with or without its padding.
pub(super) fn from_base64(field: &str, text: &str) -> Result<String, Error> {
    let failed = || Error::invalid(format!("failed to base64 decode {field}"));
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "field {field:?} has more than {TEXT_BYTES_MAX} bytes"
        )));
    }
    let bytes = BASE64_STANDARD_NO_PAD.decode(text.trim_end_matches('='));
    String::from_utf8(bytes.map_err(|_| failed())?).map_err(|_| failed())
}

/// The host and port of `https://host[:port][/]`; nothing else is a URL of STS.
fn host_of_url(url: &str) -> Result<String, Error> {
    let wrong = |what| Error::invalid(format!("iam_request_url {what}"));
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or_else(|| wrong("is not the URL of an HTTP endpoint"))?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.contains(['?', '#']) {
        return Err(wrong("must not have a query"));
    }
    if host.contains('/') {
        return Err(wrong("must have the path \"/\""));
    }
    Ok(host.to_owned())
}

/// A host as it is compared. Credentials, escapes and whatever else a URL may hold are no host.
fn plain_host(text: &str) -> Result<String, Error> {
    let wrong = || Error::invalid("the Host of the signed request is not a host name");
    let lower = text.to_ascii_lowercase();
    let (name, port) = match lower.split_once(':') {
        Some((name, port)) => (name, Some(port.parse::<u16>().map_err(|_| wrong())?)),
        None => (lower.as_str(), None),
    };
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(wrong());
    }
    Ok(match port {
        None | Some(80 | 443) => name.to_owned(),
        Some(port) => format!("{name}:{port}"),
    })
}

/// The parts of an `Authorization` header.
#[derive(Debug)]
struct Authorization {
    date: String,
    region: String,
    signed: Vec<String>,
    signature: String,
}

impl Authorization {
    fn parse(header: &str) -> Result<Authorization, Error> {
        let wrong = |what: &str| {
            Error::invalid(format!("the Authorization header is no signature of version 4: {what}"))
        };
        let rest = header.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(|| wrong("algorithm"))?;
        let (mut credential, mut signed, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let (name, value) = part.trim_matches(' ').split_once('=').unwrap_or_default();
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed,
                "Signature" => &mut signature,
                _ => return Err(wrong("an unknown part")),
            };
            if place.replace(value).is_some() {
                return Err(wrong("a part is there twice"));
            }
        }
        let credential = credential.ok_or_else(|| wrong("Credential is missing"))?;
        let signed = signed.ok_or_else(|| wrong("SignedHeaders is missing"))?;
        let signature = signature.ok_or_else(|| wrong("Signature is missing"))?;
        let scope: Vec<&str> = credential.split('/').collect();
        let [key, date, region, "sts", "aws4_request"] = scope.as_slice() else {
            return Err(wrong("Credential is not scoped to sts"));
        };
        let word = |text: &str, max: usize| {
            !text.is_empty() && text.len() <= max && text.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        if !word(key, 128) || !is_region(region) {
            return Err(wrong("Credential has no key and region of AWS"));
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if signature.len() != 64 || !signature.bytes().all(hex) {
            return Err(wrong("Signature is not 64 hexadecimal digits"));
        }
        let signed: Vec<String> = signed.split(';').map(str::to_owned).collect();
        let mut sorted = signed.clone();
        sorted.sort();
        sorted.dedup();
        let lower = |name: &String| *name == name.to_ascii_lowercase() && !name.is_empty();
        if sorted.len() != signed.len() || !signed.iter().all(lower) {
            return Err(wrong("SignedHeaders are not distinct names in lower case"));
        }
        Ok(Authorization {
            date: (*date).to_owned(),
            region: (*region).to_owned(),
            signed,
            signature: signature.to_owned(),
        })
    }

    fn signs(&self, name: &str) -> bool {
        self.signed.iter().any(|signed| signed == name)
    }
}

/// One label of a host name: regions become part of one.
pub(super) fn is_region(text: &str) -> bool {
    let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(label)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn check_date(text: &str, by: &Authorization, now: SystemTime) -> Result<SystemTime, Error> {
    let wrong = || Error::invalid("the X-Amz-Date header is no date such as 20260102T030405Z");
    if text.len() != 16 || !text.starts_with(&by.date) || by.date.len() != 8 {
        return Err(wrong());
    }
    let date = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).map_err(|_| wrong())?;
    let date = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?;
    let date = SystemTime::from(date.timestamp());
    let apart = now.duration_since(date).unwrap_or_else(|ahead| ahead.duration());
    if apart > SKEW_MAX {
        let minutes = SKEW_MAX.as_secs() / 60;
        return Err(Error::invalid(format!(
            "the request was signed at {text}, more than {minutes} minutes from this server's time: \
             sign a new one, and check the clocks"
        )));
    }
    Ok(date)
}

/// What headers say of the body must be true of the one body there is.
fn check_body_headers(headers: &SignedHeaders) -> Result<(), Error> {
    let length = headers.get("content-length");
    if length.is_some_and(|length| length != BODY.len().to_string()) {
        return Err(Error::invalid(
            "the Content-Length header is not the length of iam_request_body",
        ));
    }
    if let Some(kind) = headers.get("content-type") {
        let kind: String = kind.to_ascii_lowercase().split_whitespace().collect();
        if kind != "application/x-www-form-urlencoded" && kind != FORM.replace(' ', "") {
            return Err(Error::invalid("the Content-Type header is not that of a form in UTF-8"));
        }
    }
    let digest = headers.get("x-amz-content-sha256");
    if digest
        .is_some_and(|digest| !sensitive::equal(digest.as_bytes(), sha256_hex(BODY).as_bytes()))
    {
        return Err(Error::invalid(
            "the X-Amz-Content-Sha256 header is not that of iam_request_body",
        ));
    }
    Ok(())
}

fn sha256_hex(text: &str) -> String {
    hash::sha256(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What AWS wants signed is, and what is said to be signed is there.
fn check_signed(headers: &SignedHeaders, by: &Authorization) -> Result<(), Error> {
    let amazon = headers.iter().map(|(name, _)| name).filter(|name| name.starts_with("x-amz-"));
    if let Some(name) = amazon.chain(["host"]).find(|name| !by.signs(name)) {
        return Err(Error::invalid(format!("the header {name:?} is not signed")));
    }
    if by.signs("authorization") {
        return Err(Error::invalid("the Authorization header cannot sign itself"));
    }
    // The length of the one body, and the host of the URL, need not be repeated.
    let implied = |name: &str| name == "host" || name == "content-length";
    match by.signed.iter().find(|name| headers.get(name).is_none() && !implied(name)) {
        Some(name) => {
            Err(Error::invalid(format!("the signed header {:?} is missing", short(name))))
        }
        None => Ok(()),
    }
}

fn check_server_id(
    headers: &SignedHeaders,
    by: &Authorization,
    expected: &str,
) -> Result<(), Error> {
    if expected.is_empty() {
        return Ok(());
    }
    let wrong = |what| Error::invalid(format!("error validating {SERVER_ID} header: {what}"));
    let given = headers.get(SERVER_ID_LOWER);
    let given = given.ok_or_else(|| wrong("it is missing, and this server demands it"))?;
    if !by.signs(SERVER_ID_LOWER) {
        return Err(wrong("it is not signed"));
    }
    if !sensitive::equal(given.as_bytes(), expected.as_bytes()) {
        return Err(wrong("it is not the value that this server expects"));
    }
    Ok(())
}

/// What was signed, and the signature. What nobody vouches for is left out.
fn passed_on(
    headers: &SignedHeaders,
    by: &Authorization,
    host: &str,
) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let mut passed = Vec::new();
    let mut pass = |name: &str, value: &str| {
        let crooked =
            || Error::invalid(format!("request header {:?} has a crooked value", short(name)));
        let lower = HeaderName::from_bytes(name.as_bytes()).map_err(|_| crooked())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| crooked())?;
        value.set_sensitive(true);
        passed.push((lower, value));
        Ok::<_, Error>(())
    };
    for (name, value) in headers.iter() {
        // Our own client says how long the body is.
        let own = matches!(name, "host" | "content-length");
        if !own && (name == "authorization" || by.signs(name)) {
            pass(name, value)?;
        }
    }
    if !by.signs("content-type") {
        pass(header::CONTENT_TYPE.as_str(), FORM)?;
    }
    pass("host", host)?;
    Ok(passed)
}

#[cfg(test)]
pub(super) mod tests;
