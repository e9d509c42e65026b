//! Who an ARN names, as far as it can log in.

use bailee_sdk::Error;

/// The longest ARN that AWS makes.
const ARN_BYTES_MAX: usize = 2048;

/// A user or a role of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principal {
    partition: String,
    pub(super) account: String,
    pub(super) kind: Kind,
    /// Where it lies below its kind, without slashes at the ends. A session does not tell.
    pub(super) path: String,
    /// The name of the user or role.
    pub(super) name: String,
    /// The name of the session of a role.
    pub(super) session: Option<String>,
}

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Role,
}

impl Kind {
    /// As it is written in ARNs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Role => "role",
        }
    }
}

impl Principal {
    /// Reads an ARN: of a user, a role, or the session of a role. The root of an account and
    /// federated users cannot be told apart from whoever else may act as them: they are refused.
    pub(super) fn parse(arn: &str) -> Result<Principal, Error> {
        let wrong = |what: String| Error::invalid(format!("unrecognized arn: {what}"));
        if arn.len() > ARN_BYTES_MAX || !arn.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("it has letters that no ARN has".to_owned()));
        }
        let fields: Vec<&str> = arn.split(':').collect();
        let [lead, partition, service, region, account, resource] = fields.as_slice() else {
            let count = fields.len();
            return Err(wrong(format!("contains {count} colon-separated parts, expected 6")));
        };
        if *lead != "arn" {
            return Err(wrong("does not begin with \"arn:\"".to_owned()));
        }
        if !is_partition(partition) || !region.is_empty() || !is_account(account) {
            return Err(wrong(format!("{arn:?} names no partition and account of AWS")));
        }
        let parts: Vec<&str> = resource.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong(format!("{arn:?} has empty parts between slashes")));
        }
        let few = |count: usize| {
            wrong(format!("{arn:?} contains fewer than {count} slash-separated parts"))
        };
        let (kind, path, name, session) = match (*service, parts.as_slice()) {
            ("iam", ["user", path @ .., name]) => (Kind::User, path, name, None),
            ("iam", ["role", path @ .., name]) => (Kind::Role, path, name, None),
            ("sts", ["assumed-role", name, session]) => {
                (Kind::Role, [].as_slice(), name, Some(session))
            }
            ("sts", ["assumed-role", _] | ["assumed-role"]) => return Err(few(3)),
            ("iam" | "sts", [_]) => return Err(few(2)),
            ("iam" | "sts", [other, ..]) => {
                return Err(Error::invalid(format!("unrecognized principal type: {other:?}")));
            }
            (other, _) => {
                let message = format!("unrecognized service: {other}, not one of iam or sts");
                return Err(Error::invalid(message));
            }
        };
        if !is_name(name) || !session.is_none_or(|session| is_name(session)) {
            return Err(wrong(format!("{arn:?} has a name that IAM does not allow")));
        }
        Ok(Principal {
            partition: (*partition).to_owned(),
            account: (*account).to_owned(),
            kind,
            path: path.join("/"),
            name: (*name).to_owned(),
            session: session.map(|session| (*session).to_owned()),
        })
    }

    /// The ARN of the user or role, without its path: a session does not tell the path of its role.
    pub(super) fn canonical(&self) -> String {
        self.arn("")
    }

    /// The ARN with the path, as far as it is known.
    pub(super) fn full(&self) -> String {
        match self.path.as_str() {
            "" => self.arn(""),
            path => self.arn(&format!("{path}/")),
        }
    }

    fn arn(&self, path: &str) -> String {
        let Principal { partition, account, kind, name, .. } = self;
        format!("arn:{partition}:iam::{account}:{}/{path}{name}", kind.name())
    }

    /// The name for logs: with the session where there is one.
    pub(super) fn display_name(&self) -> String {
        match &self.session {
            Some(session) => format!("{}/{session}", self.name),
            None => self.name.clone(),
        }
    }

    /// The region in which IAM of the partition is reached.
    pub(super) fn iam_region(&self) -> &'static str {
        match self.partition.as_str() {
            "aws-cn" => "cn-north-1",
            "aws-us-gov" => "us-gov-west-1",
            _ => "us-east-1",
        }
    }

    /// Where IAM of the partition is.
    pub(super) fn iam_endpoint(&self) -> &'static str {
        match self.partition.as_str() {
            "aws-cn" => "https://iam.cn-north-1.amazonaws.com.cn",
            "aws-us-gov" => "https://iam.us-gov.amazonaws.com",
            _ => "https://iam.amazonaws.com",
        }
    }
}

fn is_partition(text: &str) -> bool {
    text == "aws" || text.starts_with("aws-") && text.bytes().all(is_label)
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

/// Whether it is the number of an account.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `[\w+=,.@-]`: no name holds a separator of ARNs.
fn is_name(text: &str) -> bool {
    text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

/// A binding: one principal, or all whose ARN begins alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    One(Principal),
    /// The full ARN begins so.
    Prefix(String),
}

impl Pattern {
    /// Reads `bound_iam_principal_arn`. A `*` may stand at the end, after an account: what would
    /// admit other people's accounts is no binding.
    pub(super) fn parse(arn: &str) -> Result<Pattern, Error> {
        if arn.len() > ARN_BYTES_MAX {
            return Err(Error::invalid("unrecognized arn: it is longer than any ARN"));
        }
        let Some(prefix) = arn.strip_suffix('*') else {
            if arn.contains('*') {
                return Err(wildcard(arn));
            }
            let principal = Principal::parse(arn)?;
            if principal.session.is_some() {
                return Err(Error::invalid(format!(
                    "bound_iam_principal_arn {arn:?} is a session: bind its role, {:?}",
                    principal.canonical()
                )));
            }
            return Ok(Pattern::One(principal));
        };
        let mut fields = prefix.splitn(6, ':');
        let mut next = || fields.next().unwrap_or_default();
        let fixed = next() == "arn" && is_partition(next()) && next() == "iam" && next().is_empty();
        let fixed = fixed && is_account(next());
        let resource = next();
        // Whatever it begins with, it can only go on as a user or a role.
        let begins = ["user/", "role/"]
            .iter()
            .any(|kind| resource.starts_with(kind) || kind.starts_with(resource));
        let ends = prefix.matches(':').count() == 5 && !resource.contains(['*', '?', ':']);
        if fixed && begins && ends {
            Ok(Pattern::Prefix(prefix.to_owned()))
        } else {
            Err(wildcard(arn))
        }
    }
}

fn wildcard(arn: &str) -> Error {
    Error::invalid(format!(
        "bound_iam_principal_arn {arn:?}: a * can stand at the end only, after the account and a colon, \
         as in arn:aws:iam::123456789012:role/team-*"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(arn: &str) -> String {
        Principal::parse(arn).unwrap().canonical()
    }

    fn refusal(arn: &str) -> String {
        Principal::parse(arn).unwrap_err().to_string()
    }

    #[test]
    fn sessions_become_their_roles_and_paths_are_left_out() {
        for (arn, expected) in [
            ("arn:aws:iam::123456789012:user/bob", "arn:aws:iam::123456789012:user/bob"),
            ("arn:aws:iam::123456789012:user/a/b/bob", "arn:aws:iam::123456789012:user/bob"),
            ("arn:aws:iam::123456789012:role/a/dev", "arn:aws:iam::123456789012:role/dev"),
            (
                "arn:aws:sts::123456789012:assumed-role/dev/i-1",
                "arn:aws:iam::123456789012:role/dev",
            ),
            (
                "arn:aws-cn:sts::123456789012:assumed-role/d/s",
                "arn:aws-cn:iam::123456789012:role/d",
            ),
        ] {
            assert_eq!(canonical(arn), expected);
        }
        let session = Principal::parse("arn:aws:sts::123456789012:assumed-role/dev/i-1").unwrap();
        assert_eq!((session.name.as_str(), session.display_name().as_str()), ("dev", "dev/i-1"));
        let user = Principal::parse("arn:aws:iam::123456789012:user/a/b/bob").unwrap();
        assert_eq!(user.full(), "arn:aws:iam::123456789012:user/a/b/bob");
        assert_eq!(user.display_name(), "bob");
    }

    #[test]
    fn whoever_is_neither_user_nor_role_is_refused() {
        for (arn, text) in [
            ("arn:aws:iam::123456789012:root", "fewer than 2 slash-separated parts"),
            ("arn:aws:sts::123456789012:federated-user/bob", "principal type: \"federated-user\""),
            ("arn:aws:iam::123456789012:group/admins", "unrecognized principal type: \"group\""),
            ("arn:aws:s3::123456789012:user/bob", "unrecognized service: s3"),
            ("arn:aws:iam:123456789012:user/bob", "contains 5 colon-separated parts, expected 6"),
            ("arn:aws:iam::123456789012:user/a:b", "contains 7 colon-separated parts"),
            ("nra:aws:iam::123456789012:user/bob", "does not begin with \"arn:\""),
            ("arn:aws:sts::123456789012:assumed-role/dev", "fewer than 3 slash-separated parts"),
        ] {
            assert!(refusal(arn).contains(text), "{arn}: {}", refusal(arn));
        }
    }

    #[test]
    fn crooked_arns_name_nobody() {
        for arn in [
            "",
            "arn:aws:iam::12345678901:user/bob",
            "arn:aws:iam::12345678901２:user/bob",
            "arn:aws:iam:us-east-1:123456789012:user/bob",
            "arn:azure:iam::123456789012:user/bob",
            "arn:AWS:iam::123456789012:user/bob",
            "arn:aws:iam::123456789012:user/",
            "arn:aws:iam::123456789012:user//bob",
            "arn:aws:iam::123456789012:User/bob",
            "arn:aws:iam::123456789012:user/bob*",
            "arn:aws:iam::123456789012:user/bob ",
            "arn:aws:iam::123456789012:user/bob\n",
            "arn:aws:iam::123456789012:user/<b>",
            "arn:aws:sts::123456789012:assumed-role/path/dev/session",
            "arn:aws:sts::123456789012:assumed-role//session",
            "arn:aws:sts::123456789012:user/bob",
            "arn:aws:iam::123456789012:assumed-role/dev/session",
        ] {
            assert!(Principal::parse(arn).is_err(), "{arn:?}");
        }
    }

    #[test]
    fn a_wildcard_stands_at_the_end_and_within_one_account() {
        for arn in [
            "arn:aws:iam::123456789012:*",
            "arn:aws:iam::123456789012:ro*",
            "arn:aws:iam::123456789012:role/*",
            "arn:aws:iam::123456789012:role/team/app-*",
        ] {
            let Pattern::Prefix(prefix) = Pattern::parse(arn).unwrap() else { panic!("{arn}") };
            assert_eq!(format!("{prefix}*"), arn);
        }
        for arn in [
            "*",
            "arn:aws:iam::*",
            "arn:aws:iam::1234567890*",
            "arn:aws:iam::123456789012*",
            "arn:aws:iam::*:role/dev",
            "arn:*:iam::123456789012:role/dev*",
            "arn:aws:*::123456789012:role/dev*",
            "arn:aws:iam::123456789012:role/*/dev",
            "arn:aws:iam::123456789012:role/a*b*",
            "arn:aws:iam::123456789012:group/*",
            "arn:aws:sts::123456789012:assumed-role/dev/*",
            "arn:aws:sts::123456789012:assumed-role/dev/s",
        ] {
            assert!(Pattern::parse(arn).is_err(), "{arn}");
        }
    }
}
