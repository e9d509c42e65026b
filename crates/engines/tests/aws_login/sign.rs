//! Signs requests to STS as a client does, and as one that cheats.

use bailee_crypto::{hash, mac::MacKey};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};
use std::time::SystemTime;

pub(crate) const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// What is signed, and with what.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) host: String,
    pub(crate) at: SystemTime,
    pub(crate) body: String,
    /// More headers that are signed.
    pub(crate) headers: Vec<(String, String)>,
}

fn hex_of(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    MacKey::new(key).sign(&[text.as_bytes()]).to_vec()
}

impl Signer {
    /// The fields of a login.
    pub(crate) fn fields(&self, role: Option<&str>) -> Value {
        let date =
            jiff::Timestamp::try_from(self.at).unwrap().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![
            (
                "content-type".to_owned(),
                "application/x-www-form-urlencoded; charset=utf-8".to_owned(),
            ),
            ("host".to_owned(), self.host.clone()),
            ("x-amz-date".to_owned(), date.clone()),
        ];
        headers.extend(self.token.iter().map(|it| ("x-amz-security-token".to_owned(), it.clone())));
        headers
            .extend(self.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())));
        headers.sort();
        let signed: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let signed = signed.join(";");
        let canonical: String =
            headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let body = hex_of(&hash::sha256(self.body.as_bytes()));
        let canonical = format!("POST\n/\n\n{canonical}\n{signed}\n{body}");
        let scope = format!("{}/us-east-1/sts/aws4_request", &date[..8]);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex_of(&hash::sha256(canonical.as_bytes()))
        );
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in scope.split('/') {
            key = mac(&key, part);
        }
        let signature = hex_of(&mac(&key, &to_sign));
        let mut sent: Map<String, Value> =
            headers.into_iter().map(|(name, value)| (name, json!([value]))).collect();
        sent.insert(
            "Authorization".to_owned(),
            json!([format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
                self.id
            )]),
        );
        let base64 = |text: &str| BASE64_STANDARD.encode(text);
        let mut fields = json!({
            "iam_http_request_method": "POST",
            "iam_request_url": base64(&format!("https://{}/", self.host)),
            "iam_request_body": base64(&self.body),
            "iam_request_headers": base64(&Value::Object(sent).to_string()),
        });
        if let Some(role) = role {
            fields["role"] = role.into();
        }
        fields
    }
}
