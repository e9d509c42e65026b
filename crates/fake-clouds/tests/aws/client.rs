//! A small client: signs requests as AWS documents it, and shows replies as they came.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key as HmacKey, sign};
use bailee_fake_clouds::FakeAws;
use bailee_fake_clouds::aws::Key;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

#[derive(Clone)]
pub(crate) struct Client {
    endpoint: String,
    /// What the server is called, where not by its address.
    host: Option<String>,
    key: Key,
    region: String,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) json: Value,
    pub(crate) date: String,
}

impl Reply {
    /// The error code in either protocol.
    pub(crate) fn code(&self) -> &str {
        match self.json["__type"].as_str() {
            Some(code) => code,
            None => self.element("Code"),
        }
    }

    pub(crate) fn message(&self) -> &str {
        match self.json["Message"].as_str() {
            Some(message) => message,
            None => self.element("Message"),
        }
    }

    /// The text of the first XML element of this name.
    pub(crate) fn element(&self, name: &str) -> &str {
        let after = self.text.split_once(&format!("<{name}>")).map_or("", |(_, after)| after);
        after.split_once(&format!("</{name}>")).map_or("", |(text, _)| text)
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json
    }

    #[track_caller]
    pub(crate) fn refused(&self, code: &str) -> &str {
        assert_eq!((self.status, self.code()), (400, code), "{}", self.text);
        self.message()
    }

    #[track_caller]
    pub(crate) fn refused_with(&self, status: u16, code: &str) -> &str {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        self.message()
    }
}

/// A request before it is signed.
pub(crate) struct Unsigned {
    pub(crate) service: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn new(aws: &FakeAws) -> Self {
        Self::with_key(aws, aws.administrator().clone())
    }

    pub(crate) fn with_key(aws: &FakeAws, key: Key) -> Self {
        let http =
            HttpClient::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();
        Self { endpoint: aws.endpoint(), host: None, key, region: "us-east-1".into(), http }
    }

    pub(crate) fn key(mut self, change: impl FnOnce(&mut Key)) -> Self {
        change(&mut self.key);
        self
    }

    pub(crate) fn at_host(mut self, host: &str) -> Self {
        self.host = Some(host.into());
        self
    }

    pub(crate) fn region(mut self, region: &str) -> Self {
        self.region = region.into();
        self
    }

    /// Secrets Manager.
    pub(crate) async fn secrets(&self, operation: &str, body: Value) -> Reply {
        self.json("secretsmanager", "secretsmanager", operation, body).await.unwrap()
    }

    /// Secrets Manager, where the connection may be cut.
    pub(crate) async fn try_secrets(&self, operation: &str, body: Value) -> Option<Reply> {
        self.json("secretsmanager", "secretsmanager", operation, body).await
    }

    pub(crate) async fn kms(&self, operation: &str, body: Value) -> Reply {
        self.json("kms", "TrentService", operation, body).await.unwrap()
    }

    async fn json(
        &self,
        service: &'static str,
        target: &str,
        operation: &str,
        body: Value,
    ) -> Option<Reply> {
        let headers = vec![
            ("content-type", "application/x-amz-json-1.1".into()),
            ("x-amz-target", format!("{target}.{operation}")),
        ];
        self.send(self.sign(Unsigned { service, headers, body: body.to_string() })).await
    }

    pub(crate) async fn sts(&self, action: &str, parameters: &[(&str, &str)]) -> Reply {
        self.query("sts", "2011-06-15", action, parameters).await
    }

    pub(crate) async fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> Reply {
        self.query("iam", "2010-05-08", action, parameters).await
    }

    pub(crate) async fn sns(&self, action: &str, parameters: &[(&str, &str)]) -> Reply {
        self.query("sns", "2010-03-31", action, parameters).await
    }

    async fn query(
        &self,
        service: &'static str,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Reply {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let mut body = format!("Action={action}&Version={version}");
        for (name, value) in parameters {
            body.push_str(&format!("&{name}={}", encode(value)));
        }
        let headers = vec![("content-type", "application/x-www-form-urlencoded".into())];
        self.send(self.sign(Unsigned { service, headers, body })).await.unwrap()
    }

    pub(crate) fn sign(&self, unsigned: Unsigned) -> Request<Full<Bytes>> {
        let date = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        self.sign_at(unsigned, &date)
    }

    pub(crate) fn sign_at(&self, unsigned: Unsigned, date: &str) -> Request<Full<Bytes>> {
        let Unsigned { service, mut headers, body } = unsigned;
        let address = self.endpoint.trim_start_matches("http://");
        headers.push(("host", self.host.clone().unwrap_or_else(|| address.into())));
        headers.push(("x-amz-date", date.into()));
        if let Some(token) = &self.key.session_token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let body_hash = hex::encode(digest(&SHA256, body.as_bytes()));
        let canonical = format!("POST\n/\n\n{lines}\n{names}\n{body_hash}");
        let scope = format!("{}/{}/{service}/aws4_request", &date[..8], self.region);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex::encode(digest(&SHA256, canonical.as_bytes()))
        );
        let mut key = format!("AWS4{}", self.key.secret_access_key).into_bytes();
        for part in scope.split('/') {
            key = hmac(&key, part);
        }
        let signature = hex::encode(hmac(&key, &to_sign));
        let mut request = Request::post(&self.endpoint);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let id = &self.key.access_key_id;
        request
            .header(
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, \
                     Signature={signature}"
                ),
            )
            .body(Full::new(Bytes::from(body)))
            .unwrap()
    }

    /// `None` when the connection is cut.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Option<Reply> {
        let reply = self.http.request(request).await.ok()?;
        let status = reply.status().as_u16();
        let date = reply.headers()["date"].to_str().unwrap().to_owned();
        let bytes = reply.into_body().collect().await.ok()?.to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Some(Reply { status, text, json, date })
    }
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    sign(&HmacKey::new(HMAC_SHA256, key), message.as_bytes()).as_ref().to_vec()
}

/// A fresh version token.
pub(crate) fn token() -> String {
    let mut bytes = [0u8; 16];
    let random = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    bytes[..8].copy_from_slice(&random[..8]);
    bytes[8..].copy_from_slice(&count.to_le_bytes());
    hex::encode(bytes)
}

static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
