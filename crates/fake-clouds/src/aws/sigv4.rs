//! Verification of Signature Version 4 in the `Authorization` header.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use http::{HeaderMap, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::clock::{self, Millis};

/// How far a signature's date may be from the server's.
pub(crate) const SKEW_MAX_MS: Millis = 5 * 60 * 1000;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Everything but the characters that RFC 3986 leaves unreserved.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The `Authorization` header, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) access_key_id: String,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
    signed_headers: Vec<String>,
    signature: String,
}

/// Why a signature is not accepted, apart from the key being unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SignatureError {
    /// Parts are missing: says which.
    Incomplete(String),
    /// The date is too far away, or the scope or signature does not fit: says how.
    Invalid(String),
}

/// What was signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

impl Authorization {
    /// Reads the header's value. Errors name the missing part.
    pub(crate) fn parse(header: &str) -> Result<Self, SignatureError> {
        let missing = |part: &str| {
            SignatureError::Incomplete(format!("Authorization header requires '{part}' parameter."))
        };
        let rest = header.strip_prefix(ALGORITHM).ok_or_else(|| {
            SignatureError::Incomplete("Unsupported AWS 'algorithm' in Authorization.".to_owned())
        })?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            match part.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => {}
            }
        }
        let credential = credential.ok_or_else(|| missing("Credential"))?;
        let parts: Vec<&str> = credential.rsplitn(5, '/').collect();
        let [terminator, service, region, date, access_key_id] = parts.as_slice() else {
            return Err(SignatureError::Incomplete(
                "Credential must have exactly 5 slash-delimited elements.".to_owned(),
            ));
        };
        if *terminator != "aws4_request" {
            return Err(SignatureError::Invalid(
                "Credential should be scoped with a valid terminator: 'aws4_request'.".to_owned(),
            ));
        }
        Ok(Self {
            access_key_id: (*access_key_id).to_owned(),
            date: (*date).to_owned(),
            region: (*region).to_owned(),
            service: (*service).to_owned(),
            signed_headers: signed_headers
                .ok_or_else(|| missing("SignedHeaders"))?
                .split(';')
                .map(str::to_owned)
                .collect(),
            signature: signature.ok_or_else(|| missing("Signature"))?.to_owned(),
        })
    }

    /// Verifies scope, date and signature of a request to `service` at `now`.
    pub(crate) fn verify(
        &self,
        request: Signed<'_>,
        service: &str,
        secret: &str,
        now: Millis,
    ) -> Result<(), SignatureError> {
        if self.service != service {
            return Err(SignatureError::Invalid(format!(
                "Credential should be scoped to correct service: '{service}'."
            )));
        }
        if self.region.is_empty() {
            return Err(SignatureError::Invalid(
                "Credential should be scoped to a valid region.".to_owned(),
            ));
        }
        self.check_headers(request.headers)?;
        let date = text(request.headers, "x-amz-date").ok_or_else(|| {
            SignatureError::Incomplete(
                "Authorization header requires existence of 'X-Amz-Date'.".into(),
            )
        })?;
        self.check_date(date, now)?;
        let canonical = self.canonical_request(request);
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
        let expected = hex::encode(hmac(&self.signing_key(secret), to_sign.as_bytes()));
        verify_slices_are_equal(expected.as_bytes(), self.signature.as_bytes()).map_err(|_| {
            SignatureError::Invalid(
                "The request signature we calculated does not match the signature you provided. \
                 Check your AWS Secret Access Key and signing method. Consult the service \
                 documentation for details."
                    .to_owned(),
            )
        })
    }

    /// `host` and every `x-amz-*` header of the request must be signed.
    fn check_headers(&self, headers: &HeaderMap) -> Result<(), SignatureError> {
        let signed = |name: &str| self.signed_headers.iter().any(|header| header == name);
        let amazon = headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| name.starts_with("x-amz-") && *name != "x-amz-user-agent");
        match std::iter::once("host").chain(amazon).find(|name| !signed(name)) {
            Some(name) => Err(SignatureError::Invalid(format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            ))),
            None => Ok(()),
        }
    }

    fn check_date(&self, date: &str, now: Millis) -> Result<(), SignatureError> {
        let at = clock::parse_basic(date).ok_or_else(|| {
            SignatureError::Incomplete(
                "Date must be in ISO-8601 'basic format'. See http://en.wikipedia.org/wiki/ISO_8601"
                    .to_owned(),
            )
        })?;
        if !date.starts_with(&self.date) {
            return Err(SignatureError::Invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{}' != '{date}'.",
                self.date
            )));
        }
        // Dates have whole seconds, so the server's is rounded alike.
        let now = now - now % 1000;
        let server = clock::basic(now);
        if at < now - SKEW_MAX_MS {
            let limit = clock::basic(now - SKEW_MAX_MS);
            return Err(SignatureError::Invalid(format!(
                "Signature expired: {date} is now earlier than {limit} ({server} - 5 min.)"
            )));
        }
        if at > now + SKEW_MAX_MS {
            let limit = clock::basic(now + SKEW_MAX_MS);
            return Err(SignatureError::Invalid(format!(
                "Signature not yet current: {date} is still later than {limit} ({server} + 5 min.)"
            )));
        }
        Ok(())
    }

    fn canonical_request(&self, request: Signed<'_>) -> String {
        let mut canonical = String::with_capacity(512);
        for part in [
            request.method.as_str(),
            &canonical_path(request.uri.path()),
            &canonical_query(request.uri.query().unwrap_or_default()),
        ] {
            canonical.push_str(part);
            canonical.push('\n');
        }
        for name in &self.signed_headers {
            let values: Vec<String> = request
                .headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            canonical.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        canonical.push_str(&format!("\n{}\n", self.signed_headers.join(";")));
        canonical.push_str(&sha256_hex(request.body));
        canonical
    }

    fn signing_key(&self, secret: &str) -> Vec<u8> {
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [&self.date, &self.region, &self.service, "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        key
    }
}

/// Every service but S3 encodes the path once more.
fn canonical_path(path: &str) -> String {
    if path == "/" || path.is_empty() {
        return "/".to_owned();
    }
    path.split('/')
        .map(|part| utf8_percent_encode(part, STRICT).to_string())
        .collect::<Vec<_>>()
        .join("/")
}

fn canonical_query(query: &str) -> String {
    let encode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8_lossy();
        utf8_percent_encode(&decoded, STRICT).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// The value of a header, when it is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), message).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of AWS's documentation of the signing process (a public test vector).
    fn documented() -> (HeaderMap, Authorization) {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "iam.amazonaws.com"),
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("x-amz-date", "20150830T123600Z"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let authorization = Authorization::parse(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        )
        .unwrap();
        (headers, authorization)
    }

    fn verify(
        headers: &HeaderMap,
        authorization: &Authorization,
        now: &str,
    ) -> Result<(), SignatureError> {
        let uri: Uri = "/?Action=ListUsers&Version=2010-05-08".parse().unwrap();
        let request = Signed { method: &Method::GET, uri: &uri, headers, body: b"" };
        let now = clock::parse_basic(now).unwrap();
        authorization.verify(request, "iam", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", now)
    }

    #[test]
    fn the_documented_example_verifies() {
        let (headers, authorization) = documented();
        assert_eq!(verify(&headers, &authorization, "20150830T123600Z"), Ok(()));
        assert_eq!(verify(&headers, &authorization, "20150830T124100Z"), Ok(()));
    }

    #[test]
    fn a_date_more_than_five_minutes_away_is_refused() {
        let (headers, authorization) = documented();
        let late = verify(&headers, &authorization, "20150830T124101Z").unwrap_err();
        assert_eq!(
            late,
            SignatureError::Invalid(
                "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z \
                 (20150830T124101Z - 5 min.)"
                    .to_owned()
            )
        );
        let early = verify(&headers, &authorization, "20150830T123059Z").unwrap_err();
        assert!(
            matches!(early, SignatureError::Invalid(text) if text.starts_with("Signature not yet current"))
        );
    }

    #[test]
    fn changed_or_unsigned_headers_are_refused() {
        let (mut headers, authorization) = documented();
        headers.insert("content-type", "text/plain".parse().unwrap());
        assert!(verify(&headers, &authorization, "20150830T123600Z").is_err());
        let (mut headers, authorization) = documented();
        headers.insert("x-amz-security-token", "token".parse().unwrap());
        let error = verify(&headers, &authorization, "20150830T123600Z").unwrap_err();
        assert!(
            matches!(error, SignatureError::Invalid(text) if text.contains("x-amz-security-token"))
        );
    }

    #[test]
    fn incomplete_headers_name_what_is_missing() {
        for (header, part) in [
            ("AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00", "Credential"),
            (
                "AWS4-HMAC-SHA256 Credential=A/20150830/r/iam/aws4_request, Signature=00",
                "SignedHeaders",
            ),
            (
                "AWS4-HMAC-SHA256 Credential=A/20150830/r/iam/aws4_request, SignedHeaders=host",
                "Signature",
            ),
        ] {
            let error = Authorization::parse(header).unwrap_err();
            assert!(matches!(error, SignatureError::Incomplete(text) if text.contains(part)));
        }
        assert!(Authorization::parse("Bearer x").is_err());
    }
}
