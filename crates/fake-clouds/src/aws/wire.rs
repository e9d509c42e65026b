//! The two wire protocols: JSON 1.1 (Secrets Manager, KMS) and query with XML replies (STS, IAM,
//! SNS).

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// A service answered by the fake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    SecretsManager,
    Kms,
    Sts,
    Iam,
    Sns,
}

impl Service {
    /// The name in credential scopes and in IAM actions.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SecretsManager => "secretsmanager",
            Self::Kms => "kms",
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::Sns => "sns",
        }
    }

    pub(crate) fn is_query(self) -> bool {
        matches!(self, Self::Sts | Self::Iam | Self::Sns)
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::Sns => "http://sns.amazonaws.com/doc/2010-03-31/",
            _ => "https://sts.amazonaws.com/doc/2011-06-15/",
        }
    }
}

/// A refusal, before it is put into a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Cow<'static, str>,
    pub(crate) status: u16,
    pub(crate) message: String,
}

/// What an operation answers.
pub(crate) type Outcome = Result<Value, Failure>;

impl Failure {
    /// A refusal with HTTP status 400, as nearly all are.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), status: 400, message: message.into() }
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn denied(service: Service, message: impl Into<String>) -> Self {
        if service.is_query() {
            Self::new("AccessDenied", message).with_status(403)
        } else {
            Self::new("AccessDeniedException", message)
        }
    }

    /// A member outside the bounds of the service's model.
    pub(crate) fn constraint(service: Service, member: &str, must: &str) -> Self {
        let mut chars = member.chars();
        let member: String =
            chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect();
        Self::validation(
            service,
            format!(
                "1 validation error detected: Value at '{member}' failed to satisfy constraint: \
                 Member must {must}"
            ),
        )
    }

    pub(crate) fn validation(service: Service, message: impl Into<String>) -> Self {
        Self::new(
            if service.is_query() { "ValidationError" } else { "ValidationException" },
            message,
        )
    }

    pub(crate) fn throttled(service: Service) -> Self {
        Self::new(
            if service.is_query() { "Throttling" } else { "ThrottlingException" },
            "Rate exceeded",
        )
    }

    pub(crate) fn unknown_operation(service: Service, operation: &str) -> Self {
        if service.is_query() {
            Self::new("InvalidAction", format!("Could not find operation {operation}"))
        } else {
            Self::new("UnknownOperationException", "")
        }
    }

    /// The body in the service's protocol.
    pub(crate) fn body(&self, service: Service, request_id: &str) -> Vec<u8> {
        if !service.is_query() {
            let body = serde_json::json!({ "__type": self.code, "Message": self.message });
            return body.to_string().into_bytes();
        }
        let kind = if self.status < 500 { "Sender" } else { "Receiver" };
        format!(
            "<ErrorResponse xmlns=\"{}\">\n  <Error>\n    <Type>{kind}</Type>\n    <Code>{}</Code>\n    \
             <Message>{}</Message>\n  </Error>\n  <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n",
            service.namespace(),
            escape(&self.code),
            escape(&self.message),
        )
        .into_bytes()
    }
}

impl Failure {
    /// The body in the shape of EC2, which some gateways write for other services, too.
    pub(crate) fn gateway_body(&self, request_id: &str) -> Vec<u8> {
        format!(
            "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors>\
             <RequestID>{request_id}</RequestID></Response>",
            escape(&self.code),
            escape(&self.message),
        )
        .into_bytes()
    }
}

/// A successful reply in the service's protocol.
pub(crate) fn success(
    service: Service,
    operation: &str,
    result: &Value,
    request_id: &str,
) -> Vec<u8> {
    if !service.is_query() {
        return match result {
            Value::Null => Vec::new(),
            other => other.to_string().into_bytes(),
        };
    }
    let mut xml = String::new();
    write!(xml, "<{operation}Response xmlns=\"{}\">", service.namespace())
        .expect("writing to a string succeeds");
    if !result.is_null() {
        element(&mut xml, &format!("{operation}Result"), result);
    }
    write!(
        xml,
        "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    )
    .expect("writing to a string succeeds");
    xml.into_bytes()
}

fn element(xml: &mut String, name: &str, value: &Value) {
    xml.push('<');
    xml.push_str(name);
    xml.push('>');
    match value {
        Value::Null => {}
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| element(xml, name, value));
        }
        Value::Array(items) => items.iter().for_each(|item| element(xml, "member", item)),
        Value::String(text) => xml.push_str(&escape(text)),
        other => xml.push_str(&other.to_string()),
    }
    xml.push_str("</");
    xml.push_str(name);
    xml.push('>');
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Reads `application/x-www-form-urlencoded` pairs.
pub(crate) fn form_pairs(body: &str) -> Vec<(String, String)> {
    body.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(name), form_decode(value))
        })
        .collect()
}

fn form_decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

/// Turns `Tags.member.1.Key=a` into nested objects and lists, so both protocols look alike.
pub(crate) fn nest(pairs: Vec<(String, String)>) -> Value {
    let mut root = Value::Object(Map::new());
    for (name, value) in pairs {
        let mut at = &mut root;
        for part in name.split('.') {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(members) = at else { break };
            at = members.entry(part).or_insert(Value::Null);
        }
        *at = Value::String(value);
    }
    lists(root)
}

fn lists(value: Value) -> Value {
    match value {
        Value::Object(mut members) => match (members.len(), members.remove("member")) {
            (1, Some(Value::Object(items))) => {
                let mut items: Vec<(u32, Value)> = items
                    .into_iter()
                    .map(|(index, item)| (index.parse().unwrap_or(u32::MAX), lists(item)))
                    .collect();
                items.sort_by_key(|(index, _)| *index);
                Value::Array(items.into_iter().map(|(_, item)| item).collect())
            }
            (_, Some(other)) => {
                members.insert("member".to_owned(), other);
                Value::Object(members)
            }
            (_, None) => {
                Value::Object(members.into_iter().map(|(name, item)| (name, lists(item))).collect())
            }
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn form_members_become_lists() {
        let pairs = form_pairs(
            "Action=AssumeRole&Tags.member.2.Key=b&Tags.member.1.Key=a%2Fx&Tags.member.1.Value=1+2",
        );
        assert_eq!(
            nest(pairs),
            json!({"Action": "AssumeRole", "Tags": [{"Key": "a/x", "Value": "1 2"}, {"Key": "b"}]})
        );
    }

    #[test]
    fn replies_are_escaped_and_lists_have_members() {
        let xml =
            success(Service::Iam, "ListX", &json!({"Names": ["a<b"], "IsTruncated": false}), "r");
        assert_eq!(
            String::from_utf8(xml).unwrap(),
            "<ListXResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><ListXResult>\
             <IsTruncated>false</IsTruncated><Names><member>a&lt;b</member></Names></ListXResult>\
             <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></ListXResponse>"
        );
    }
}
