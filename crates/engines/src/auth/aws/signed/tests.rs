//! Signed requests, whole and tampered with.

use super::*;
use serde_json::json;

pub(in crate::auth::aws) fn base64(text: &str) -> String {
    base64::prelude::BASE64_STANDARD.encode(text)
}

const SIGNATURE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const SIGNED: &str = "content-type;host;x-amz-date";

fn authorization(signed: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/sts/aws4_request, \
         SignedHeaders={signed}, Signature={SIGNATURE}"
    )
}

fn headers() -> Value {
    json!({
        "Host": "sts.amazonaws.com",
        "X-Amz-Date": "20260102T030405Z",
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        "Authorization": authorization(SIGNED),
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut headers = headers();
    headers[name] = value;
    headers
}

fn given(headers: Value) -> Given {
    Given {
        method: "POST".to_owned(),
        url: base64("https://sts.amazonaws.com/"),
        body: base64(BODY),
        headers,
    }
}

fn at(seconds: i64) -> SystemTime {
    let signed: jiff::Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    (signed + jiff::SignedDuration::from_secs(seconds)).into()
}

fn check_as(given: &Given, server_id: &str) -> Result<Signed, Error> {
    Signed::check(given, Demands { server_id, more_headers: &[], now: at(0) })
}

fn refusal(given: &Given) -> String {
    check_as(given, "").unwrap_err().to_string()
}

#[test]
fn a_request_is_passed_on_with_what_was_signed() {
    let mut headers = with("User-Agent", json!("curl"));
    headers["Content-Length"] = json!(["43"]);
    let signed = check_as(&given(headers), "").unwrap();
    assert_eq!((signed.host.as_str(), signed.region.as_str()), ("sts.amazonaws.com", "us-east-1"));
    let request = signed.request("https://sts.us-east-1.amazonaws.com").unwrap();
    assert_eq!(request.uri(), "https://sts.us-east-1.amazonaws.com/");
    assert_eq!(request.method(), "POST");
    assert_eq!(request.body(), BODY);
    let names: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["authorization", "content-type", "x-amz-date", "host"]);
}

#[test]
fn the_method_is_post() {
    for method in ["GET", "post", "PUT", "POST ", "POST / HTTP/1.1\r\n"] {
        let given = Given { method: method.to_owned(), ..given(headers()) };
        assert!(refusal(&given).contains("only 'POST' is supported"), "{method}");
    }
    let given = Given { method: String::new(), ..given(headers()) };
    assert_eq!(refusal(&given), "missing iam_http_request_method");
}

#[test]
fn nothing_else_is_asked_of_sts() {
    for body in [
        "Action=GetCallerIdentity&Version=2011-06-15&",
        "Action=GetCallerIdentity&Version=2011-06-15&Action=AssumeRole",
        "Action=GetSessionToken&Version=2011-06-15",
        "Version=2011-06-15&Action=GetCallerIdentity",
        "Action=GetCallerIdentity",
        "Action=GetCallerIdentity&Version=2011-06-15\r\n",
        "Action=GetCallerIdentity&Version=2011-06-15&DurationSeconds=900",
        "action=GetCallerIdentity&Version=2011-06-15",
        "Action=GetCallerIdentity&Version=2099-01-01",
        "Action=%47etCallerIdentity&Version=2011-06-15",
    ] {
        let given = Given { body: base64(body), ..given(headers()) };
        assert!(refusal(&given).contains("iam_request_body"), "{body}");
    }
    let given = Given { body: String::new(), ..given(headers()) };
    assert_eq!(refusal(&given), "missing iam_request_body");
}

#[test]
fn the_url_is_a_host_and_nothing_more() {
    for url in [
        "https://sts.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
        "https://sts.amazonaws.com/#x",
        "https://sts.amazonaws.com/x",
        "https://sts.amazonaws.com//",
        "https://sts.amazonaws.com@evil.example/",
        "https://evil.example:80@sts.amazonaws.com/",
        "https://sts.amazonaws.com\\@evil.example/",
        "https://sts.amazonaws.com%2f@evil.example/",
        "https://sts.amazonaws.com.:x/",
        "https:///",
        "https://sts.amazonaws.com:443:443/",
        "https://[::1]/",
        "ftp://sts.amazonaws.com/",
        "//sts.amazonaws.com/",
        "https://ѕts.amazonaws.com/",
        "https://sts.amazonaws.com\t/",
        "https://other.amazonaws.com/",
    ] {
        let given = Given { url: base64(url), ..given(headers()) };
        check_as(&given, "").unwrap_err();
    }
    for url in ["https://sts.amazonaws.com", "https://STS.amazonaws.com:443/"] {
        let given = Given { url: base64(url), ..given(headers()) };
        assert_eq!(check_as(&given, "").unwrap().host, "sts.amazonaws.com", "{url}");
    }
    let given = Given { url: "https://sts.amazonaws.com/".to_owned(), ..given(headers()) };
    assert_eq!(refusal(&given), "failed to base64 decode iam_request_url");
}

#[test]
fn the_host_that_was_signed_is_the_one_of_the_url_also_when_it_is_not_repeated() {
    let mut without = headers();
    without.as_object_mut().unwrap().remove("Host");
    assert_eq!(check_as(&given(without), "").unwrap().host, "sts.amazonaws.com");
    for host in ["evil.example", "sts.amazonaws.com.evil.example", "sts.amazonaws.com:8443"] {
        let text = refusal(&given(with("Host", json!(host))));
        assert!(text.contains("not the host of iam_request_url"), "{host}: {text}");
    }
    for host in ["sts.amazonaws.com, evil.example", "sts.amazonaws.com@evil", "sts.amazonaws.com:x"]
    {
        assert!(refusal(&given(with("Host", json!(host)))).contains("not a host name"), "{host}");
    }
}

#[test]
fn a_signature_holds_for_minutes() {
    let check = |seconds| {
        let demands = Demands { server_id: "", more_headers: &[], now: at(seconds) };
        Signed::check(&given(headers()), demands)
    };
    for seconds in [-300, 0, 300] {
        check(seconds).unwrap();
    }
    for seconds in [-301, 301, 86_400] {
        let text = check(seconds).unwrap_err().to_string();
        assert!(text.contains("more than 5 minutes"), "{text}");
    }
    for date in ["20260102", "2026-01-02T03:04:05Z", "20260102T030405", "20260103T030405Z", "x"] {
        let text = refusal(&given(with("X-Amz-Date", json!(date))));
        assert!(text.contains("no date such as"), "{date}: {text}");
    }
}

#[test]
fn what_headers_say_of_the_body_is_true() {
    for (name, value) in [
        ("Content-Length", "42"),
        ("Content-Length", "043"),
        ("Content-Length", "43, 43"),
        ("Content-Length", "+43"),
        ("Content-Type", "application/json"),
        ("Content-Type", "application/x-www-form-urlencoded; charset=utf-16"),
        ("Content-Type", "multipart/form-data; boundary=x"),
        ("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"),
        ("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
    ] {
        let text = refusal(&given(with(name, json!(value))));
        assert!(text.contains(name), "{name}: {value}: {text}");
    }
}

#[test]
fn what_must_be_signed_is_and_what_is_signed_is_there() {
    let token = with("X-Amz-Security-Token", json!("session"));
    assert_eq!(refusal(&given(token)), "the header \"x-amz-security-token\" is not signed");
    for signed in ["content-type;x-amz-date", "content-type;host"] {
        let text = refusal(&given(with("Authorization", json!(authorization(signed)))));
        assert!(text.ends_with("is not signed"), "{text}");
    }
    let absent = "content-type;host;x-amz-date;x-amz-security-token";
    let text = refusal(&given(with("Authorization", json!(authorization(absent)))));
    assert_eq!(text, "the signed header \"x-amz-security-token\" is missing");
    let implied = "content-length;content-type;host;x-amz-date";
    check_as(&given(with("Authorization", json!(authorization(implied)))), "").unwrap();
}

#[test]
fn an_authorization_has_each_part_once_and_is_for_sts() {
    let good = authorization(SIGNED);
    for (from, to) in [
        ("/sts/", "/iam/"),
        ("/sts/", "/sts/x/"),
        ("aws4_request", "aws4_request/x"),
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"),
        ("us-east-1", "us-east-1.evil.example"),
        ("us-east-1", ""),
        ("us-east-1", "-x"),
        ("us-east-1", "US-EAST-1"),
        ("AKIDEXAMPLE", ""),
        ("host;", "host;host;"),
        ("host;", "Host;"),
        ("host;", "host;;"),
        (", Signature", ", Signature=00, Signature"),
        (", SignedHeaders", ", Extra=1, SignedHeaders"),
        ("Signature=01", "Signature=0A"),
        ("Signature=01", "Signature=1"),
        ("Credential=", "credential="),
    ] {
        assert!(good.contains(from), "{from}");
        let crooked = good.replacen(from, to, 1);
        let text = refusal(&given(with("Authorization", json!(crooked))));
        assert!(text.contains("no signature of version 4"), "{crooked}: {text}");
    }
    let itself = format!("authorization;{SIGNED}");
    refusal(&given(with("Authorization", json!(authorization(&itself)))));
}

#[test]
fn the_servers_own_header_is_demanded_signed_and_equal() {
    let signed = format!("{SIGNED};{SERVER_ID_LOWER}");
    let mut headers = with(SERVER_ID, json!("vault.example"));
    let text =
        |headers: &Value, id: &str| check_as(&given(headers.clone()), id).unwrap_err().to_string();
    assert!(text(&super::tests::headers(), "vault.example").contains("missing"));
    assert!(text(&headers, "vault.example").contains("it is not signed"));
    headers["Authorization"] = json!(authorization(&signed));
    check_as(&given(headers.clone()), "vault.example").unwrap();
    for expected in ["other.example", "vault.example.", "Vault.example", "vault"] {
        let refused = text(&headers, expected);
        assert!(refused.contains("not the value") && !refused.contains("vault"), "{refused}");
    }
    // An unsigned one says nothing and is not passed on.
    let loose = with(SERVER_ID, json!("vault.example"));
    let request = check_as(&given(loose), "").unwrap().request("https://a.example").unwrap();
    assert!(!request.headers().contains_key(SERVER_ID_LOWER));
}
