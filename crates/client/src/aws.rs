//! Logging in as a user or role of AWS: a request to STS that is signed, and sent by the server.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use bailee_crypto::Sensitive;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::SystemTime};

use crate::Error;

const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const SERVER_ID: &str = "x-vault-aws-iam-server-id";

/// Keys of AWS.
#[derive(Clone, Debug)]
pub struct AwsKeys {
    /// Identifier of the key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Sensitive<String>,
    /// The third part of temporary keys.
    pub session_token: Option<Sensitive<String>>,
}

/// As what, and for which server.
#[derive(Clone, Debug, Default)]
pub struct AwsLogin {
    /// The role of the server; without, the one with the name of the user or role in AWS.
    pub role: Option<String>,
    /// The region whose STS is asked; without, the one STS of all regions.
    pub region: Option<String>,
    /// What the server demands in the header X-Vault-AWS-IAM-Server-ID.
    pub header_value: Option<String>,
    /// Where STS is, instead of AWS's own address: what the server is configured with.
    pub sts_endpoint: Option<String>,
}

impl AwsLogin {
    /// The fields of a login at `auth/aws/login`, signed now. They let in once, for some minutes.
    pub fn fields(&self, keys: &AwsKeys, now: SystemTime) -> Result<Map<String, Value>, Error> {
        let failed = |reason: &dyn std::fmt::Display| Error::Setting {
            setting: "signature for AWS".to_owned(),
            reason: reason.to_string(),
        };
        let region = self.region.as_deref().filter(|region| !region.is_empty());
        let url = self.url(region)?;
        let mut headers = BTreeMap::from([("content-type", FORM)]);
        if let Some(value) = self.header_value.as_deref().filter(|value| !value.is_empty()) {
            headers.insert(SERVER_ID, value);
        }
        let identity: Identity = Credentials::new(
            keys.access_key_id.clone(),
            keys.secret_access_key.expose().clone(),
            keys.session_token.as_ref().map(|token| token.expose().clone()),
            None,
            "bailee-client",
        )
        .into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region.unwrap_or("us-east-1"))
            .name("sts")
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let signed = headers.iter().map(|(name, value)| (*name, *value));
        let request =
            SignableRequest::new("POST", &url, signed, SignableBody::Bytes(BODY.as_bytes()))
                .map_err(|error| failed(&error))?;
        let (instructions, _) =
            sign(request, &params).map_err(|error| failed(&error))?.into_parts();
        headers.extend(instructions.headers());
        let headers: BTreeMap<&str, [&str; 1]> =
            headers.into_iter().map(|(name, value)| (name, [value])).collect();
        let mut fields = Map::new();
        for (field, text) in [
            ("iam_request_url", url.as_str()),
            ("iam_request_body", BODY),
            ("iam_request_headers", &json!(headers).to_string()),
        ] {
            fields.insert(field.to_owned(), BASE64_STANDARD.encode(text).into());
        }
        fields.insert("iam_http_request_method".to_owned(), "POST".into());
        if let Some(role) = &self.role {
            fields.insert("role".to_owned(), role.as_str().into());
        }
        Ok(fields)
    }

    fn url(&self, region: Option<&str>) -> Result<String, Error> {
        let endpoint = self.sts_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        if let Some(endpoint) = endpoint {
            return Ok(format!("{}/", endpoint.trim_end_matches('/')));
        }
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        Ok(match region {
            None | Some("us-east-1") => "https://sts.amazonaws.com/".to_owned(),
            Some(region) if !region.bytes().all(label) => {
                return Err(Error::Setting {
                    setting: "region".to_owned(),
                    reason: "want lowercase letters, digits and hyphens, as eu-west-1".to_owned(),
                });
            }
            Some(region) if region.starts_with("cn-") => {
                format!("https://sts.{region}.amazonaws.com.cn/")
            }
            Some(region) => format!("https://sts.{region}.amazonaws.com/"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn decoded(fields: &Map<String, Value>, name: &str) -> String {
        let text = fields.get(name).and_then(Value::as_str).unwrap();
        String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap()
    }

    fn fields(login: &AwsLogin) -> Map<String, Value> {
        let keys = AwsKeys {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Sensitive::from("canary"),
            session_token: Some(Sensitive::from("session")),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        login.fields(&keys, now).unwrap()
    }

    #[test]
    fn a_login_is_a_signed_request_to_sts() {
        let login = AwsLogin {
            role: Some("dev".to_owned()),
            header_value: Some("vault.example".to_owned()),
            ..AwsLogin::default()
        };
        let fields = fields(&login);
        assert_eq!(decoded(&fields, "iam_request_url"), "https://sts.amazonaws.com/");
        assert_eq!(decoded(&fields, "iam_request_body"), BODY);
        assert_eq!(
            (&fields["iam_http_request_method"], &fields["role"]),
            (&json!("POST"), &json!("dev"))
        );
        let headers: Value =
            serde_json::from_str(&decoded(&fields, "iam_request_headers")).unwrap();
        let authorization = headers["authorization"][0].as_str().unwrap();
        let scope = "Credential=AKIDEXAMPLE/20260102/us-east-1/sts/aws4_request";
        assert!(authorization.contains(scope), "{authorization}");
        let signed = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;\
                      x-vault-aws-iam-server-id";
        assert!(authorization.contains(signed), "{authorization}");
        assert_eq!(headers["x-amz-date"], json!(["20260102T030405Z"]));
        assert_eq!(headers[SERVER_ID], json!(["vault.example"]));
        assert_eq!(headers["x-amz-security-token"], json!(["session"]));
        assert!(!json!(fields).to_string().contains("canary"));
    }

    #[test]
    fn each_region_has_its_sts() {
        for (region, url) in [
            ("", "https://sts.amazonaws.com/"),
            ("us-east-1", "https://sts.amazonaws.com/"),
            ("eu-west-3", "https://sts.eu-west-3.amazonaws.com/"),
            ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn/"),
        ] {
            let login = AwsLogin { region: Some(region.to_owned()), ..AwsLogin::default() };
            assert_eq!(decoded(&fields(&login), "iam_request_url"), url);
        }
        let own = AwsLogin {
            region: Some("eu-west-3".to_owned()),
            sts_endpoint: Some("http://127.0.0.1:4566".to_owned()),
            ..AwsLogin::default()
        };
        assert_eq!(decoded(&fields(&own), "iam_request_url"), "http://127.0.0.1:4566/");
        assert!(!fields(&own).contains_key("role"));
        let crooked = AwsLogin { region: Some("evil.example/".to_owned()), ..AwsLogin::default() };
        let keys = AwsKeys {
            access_key_id: "a".to_owned(),
            secret_access_key: Sensitive::from("s"),
            session_token: None,
        };
        assert!(crooked.fields(&keys, SystemTime::UNIX_EPOCH).is_err());
    }
}
