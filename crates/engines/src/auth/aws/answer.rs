//! What STS says of a signature: whose it is. Only its own words count.

use super::{
    arn::{Principal, is_account},
    xml,
};
use bailee_cloud::{Kind, query};
use bailee_sdk::{Code, Error};
use bytes::Bytes;
use http::{Response, header};

/// The namespace of everything that STS answers.
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// The longest answer that is read, in bytes: a true one has some 500.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Who signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    /// The ARN as STS says it.
    pub(super) arn: String,
    /// What AWS never gives to anybody else, also when the name comes again.
    pub(super) unique_id: String,
}

/// Reads an answer. It may come from anywhere a wrong endpoint leads: whatever is not exactly what
/// STS answers is refused.
pub(super) fn read(answer: &Response<Bytes>) -> Result<Caller, Error> {
    let status = answer.status().as_u16();
    if status != 200 {
        let failure = query::refusal(answer);
        let told = match (300..400).contains(&status) {
            true => "a redirect, which is not followed".to_owned(),
            false => failure.to_string(),
        };
        let message =
            format!("error making upstream request: received error code {status} from STS: {told}");
        let ours = matches!(failure.kind, Kind::ServerFault | Kind::Throttled | Kind::Timeout);
        let code = if ours { Code::Upstream } else { Code::InvalidRequest };
        return Err(Error::new(code, message));
    }
    let crooked = |what: &str| {
        let message =
            format!("error making upstream request: the answer is not one of STS: {what}");
        Error::new(Code::Upstream, message)
    };
    if !is_xml(answer) {
        return Err(crooked("its type is not XML"));
    }
    if answer.body().len() > ANSWER_BYTES_MAX {
        return Err(crooked("it is too long"));
    }
    let text = std::str::from_utf8(answer.body()).map_err(|_| crooked("it is not UTF-8"))?;
    let document = xml::parse(text).map_err(|error| crooked(error.0))?;
    if document.namespace != NAMESPACE || document.root.name != "GetCallerIdentityResponse" {
        return Err(crooked("it answers something else"));
    }
    let known = |names: &[&str], element: &xml::Element| {
        element.children.iter().all(|child| names.contains(&child.name.as_str()))
    };
    let root = &document.root;
    let result = root.only("GetCallerIdentityResult").ok_or_else(|| crooked("it has no result"))?;
    if !known(&["GetCallerIdentityResult", "ResponseMetadata"], root)
        || !known(&["Arn", "UserId", "Account"], result)
    {
        return Err(crooked("it has elements that STS does not answer"));
    }
    let field = |name: &str| {
        result.text_at(&[name]).ok_or_else(|| crooked(&format!("{name} is not there once")))
    };
    let (arn, user_id, account) = (field("Arn")?, field("UserId")?, field("Account")?);
    let principal = Principal::parse(arn)?;
    if !is_account(account) || principal.account != account {
        return Err(crooked("its account is not the one of its ARN"));
    }
    let unique_id =
        unique_id(user_id, &principal).ok_or_else(|| crooked("its UserId fits no ARN"))?;
    Ok(Caller { principal, arn: arn.to_owned(), unique_id: unique_id.to_owned() })
}

fn is_xml(answer: &Response<Bytes>) -> bool {
    let mut kinds = answer.headers().get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return false };
    let kind = kind.to_str().unwrap_or_default().to_ascii_lowercase();
    let media = kind.split(';').next().unwrap_or_default().trim();
    matches!(media, "text/xml" | "application/xml")
}

/// `AIDA…` of a user, `AROA…:session` of a role.
fn unique_id<'a>(user_id: &'a str, principal: &Principal) -> Option<&'a str> {
    let (id, session) = match user_id.split_once(':') {
        Some((id, session)) => (id, Some(session)),
        None => (user_id, None),
    };
    let plain = !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    (plain && session == principal.session.as_deref()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(inner: &str) -> String {
        format!(
            "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult>{inner}\
             </GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\
             </GetCallerIdentityResponse>"
        )
    }

    const ARN: &str = "<Arn>arn:aws:sts::123456789012:assumed-role/dev/i-1</Arn>";
    const ID: &str = "<UserId>AROAEXAMPLE:i-1</UserId>";
    const ACCOUNT: &str = "<Account>123456789012</Account>";

    fn answer(status: u16, kind: &str, body: &str) -> Response<Bytes> {
        let answer = Response::builder().status(status).header("content-type", kind);
        answer.body(Bytes::from(body.to_owned())).unwrap()
    }

    fn read_body(body: &str) -> Result<Caller, Error> {
        read(&answer(200, "text/xml", body))
    }

    #[test]
    fn who_signed_is_read() {
        let caller = read_body(&body(&format!("{ARN}{ID}{ACCOUNT}"))).unwrap();
        assert_eq!(caller.unique_id, "AROAEXAMPLE");
        assert_eq!(caller.principal.canonical(), "arn:aws:iam::123456789012:role/dev");
        let user = "<UserId>AIDAEXAMPLE</UserId><Account>123456789012</Account>\
                    <Arn>arn:aws:iam::123456789012:user/a/bob</Arn>";
        assert_eq!(read_body(&body(user)).unwrap().arn, "arn:aws:iam::123456789012:user/a/bob");
    }

    #[test]
    fn a_name_cannot_bring_in_elements() {
        // What a name would have to hold to pose as another comes escaped, and is no name then.
        let injected = "<Arn>arn:aws:iam::123456789012:user/a&lt;/Arn&gt;&lt;Arn&gt;arn</Arn>";
        read_body(&body(&format!("{injected}<UserId>AIDA</UserId>{ACCOUNT}"))).unwrap_err();
        for inner in [
            format!("{ARN}{ARN}{ID}{ACCOUNT}"),
            format!("{ARN}{ID}{ACCOUNT}<Arn/>"),
            format!("{ARN}{ID}{ACCOUNT}<Extra>1</Extra>"),
            format!("{ARN}{ID}"),
            format!("{ID}{ACCOUNT}"),
            format!("<Arn><Arn>{ARN}</Arn></Arn>{ID}{ACCOUNT}"),
            format!("{ARN}{ID}<Account>210987654321</Account>"),
            format!("{ARN}<UserId>AROAEXAMPLE:other</UserId>{ACCOUNT}"),
            format!("{ARN}<UserId>AROAEXAMPLE</UserId>{ACCOUNT}"),
            format!("{ARN}<UserId>:i-1</UserId>{ACCOUNT}"),
            format!("{ARN}<UserId>ARO A:i-1</UserId>{ACCOUNT}"),
            format!("<Arn> arn:aws:sts::123456789012:assumed-role/dev/i-1</Arn>{ID}{ACCOUNT}"),
            format!("{ARN}{ID}{ACCOUNT}<!-- -->"),
            format!("text{ARN}{ID}{ACCOUNT}"),
        ] {
            assert!(read_body(&body(&inner)).is_err(), "{inner}");
        }
    }

    #[test]
    fn only_the_whole_answer_of_sts_counts() {
        let good = body(&format!("{ARN}{ID}{ACCOUNT}"));
        read_body(&good).unwrap();
        for crooked in [
            good.replace(NAMESPACE, "https://iam.amazonaws.com/doc/2010-05-08/"),
            good.replace(&format!(" xmlns=\"{NAMESPACE}\""), ""),
            good.replace("GetCallerIdentityResponse", "AssumeRoleResponse"),
            good.replace("GetCallerIdentityResult", "AssumeRoleResult"),
            format!("<Outer xmlns=\"{NAMESPACE}\">{good}</Outer>"),
            format!("{good}{good}"),
            format!("<!DOCTYPE x>{good}"),
            format!("{good}{}", " ".repeat(17 << 10)),
            String::new(),
            r#"{"GetCallerIdentityResponse": {}}"#.to_owned(),
        ] {
            assert!(read_body(&crooked).is_err(), "{crooked:.200}");
        }
        for kind in ["application/json", "text/html", "", "text/xmlx", "application/x-amz-json-1.1"]
        {
            assert!(read(&answer(200, kind, &good)).is_err(), "{kind}");
        }
        read(&answer(200, "text/xml; charset=utf-8", &good)).unwrap();
    }

    #[test]
    fn refusals_say_what_sts_said_and_redirects_are_not_followed() {
        let denied = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>no.\n\nThe \
                      Canonical String for this request should have been 'x-amz-security-token:canary'\
                      </Message></Error></ErrorResponse>";
        let error = read(&answer(403, "text/xml", denied)).unwrap_err();
        assert_eq!(error.code, Code::InvalidRequest);
        let text = error.to_string();
        assert!(
            text.contains("received error code 403 from STS: SignatureDoesNotMatch: no."),
            "{text}"
        );
        assert!(!text.contains("canary"), "{text}");
        let moved = read(&answer(302, "text/xml", &body(&format!("{ARN}{ID}{ACCOUNT}"))));
        assert!(moved.unwrap_err().to_string().contains("a redirect, which is not followed"));
        for status in [201, 204, 206] {
            assert!(
                read(&answer(status, "text/xml", &body(&format!("{ARN}{ID}{ACCOUNT}")))).is_err()
            );
        }
        assert_eq!(read(&answer(503, "text/xml", "")).unwrap_err().code, Code::Upstream);
    }
}
