//! Names and ARNs of secrets: what can be one, and whether an answer is about what was asked for.

use crate::{
    failure::{Cause, Failure},
    manager::{Wanted, Which},
};

/// The longest name, in characters.
const NAME_CHARACTERS_MAX: usize = 512;
/// The longest id, in bytes.
const ID_BYTES_MAX: usize = 2_048;
/// The longest staging label, in characters.
const STAGE_CHARACTERS_MAX: usize = 256;
/// The shortest and the longest version id, in characters.
const VERSION_ID_CHARACTERS: std::ops::RangeInclusive<usize> = 32..=64;
/// Random characters at the end of an ARN, after a hyphen.
const SUFFIX_CHARACTERS: usize = 6;
/// Digits of an account's number.
const ACCOUNT_DIGITS: usize = 12;
/// The label of the version that is read where nobody says.
pub(super) const CURRENT: &str = "AWSCURRENT";

/// The parts of a secret's ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SecretArn<'a> {
    pub(super) partition: &'a str,
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    /// The name, with the random end where the ARN is whole.
    pub(super) resource: &'a str,
}

impl<'a> SecretArn<'a> {
    /// Reads `arn:aws:secretsmanager:us-east-2:111122223333:secret:prod/a-AbCdEf`.
    pub(super) fn parse(id: &'a str) -> Option<SecretArn<'a>> {
        let mut parts = id.splitn(7, ':');
        let mut next = || parts.next();
        let (lead, partition, service) = (next()?, next()?, next()?);
        let (region, account, kind, resource) = (next()?, next()?, next()?, next()?);
        let digits = account.len() == ACCOUNT_DIGITS && account.bytes().all(|b| b.is_ascii_digit());
        let is_secret = lead == "arn" && service == "secretsmanager" && kind == "secret";
        (is_secret && digits).then_some(SecretArn { partition, region, account, resource })
    }

    /// The same secret's copy in another region.
    pub(super) fn in_region(&self, region: &str) -> String {
        let SecretArn { partition, account, resource, .. } = self;
        format!("arn:{partition}:secretsmanager:{region}:{account}:secret:{resource}")
    }

    /// Whether it ends as whole ARNs do. That of a name which itself ends so does, too, without its end.
    pub(super) fn looks_whole(&self) -> bool {
        self.resource.rsplit_once('-').is_some_and(|(_, end)| is_suffix(end))
    }
}

fn is_suffix(end: &str) -> bool {
    end.len() == SUFFIX_CHARACTERS && end.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The id of a secret's copy in another region: names are the same there.
pub(super) fn in_region(id: &str, region: &str) -> String {
    SecretArn::parse(id).map_or_else(|| id.to_owned(), |arn| arn.in_region(region))
}

/// Whether an answer with this ARN and name is about what was asked for.
pub(super) fn is_answer(asked: &str, arn: &str, name: &str) -> bool {
    if SecretArn::parse(asked).is_none() {
        return asked == name;
    }
    let end = arn.strip_prefix(asked);
    end.is_some_and(|end| end.is_empty() || end.strip_prefix('-').is_some_and(is_suffix))
}

/// What was asked for in the form that equal wishes share.
pub(super) fn normal(wanted: &Wanted, region: &str) -> Result<Wanted, Failure> {
    let id = wanted.id.trim();
    check_id(id, region)?;
    Ok(Wanted { id: id.to_owned(), version: normal_version(&wanted.version)? })
}

fn normal_version(version: &Which) -> Result<Which, Failure> {
    Ok(match version {
        Which::Current => Which::Current,
        Which::Stage(stage) if stage == CURRENT => Which::Current,
        Which::Stage(stage) => {
            check_stage(stage)?;
            version.clone()
        }
        Which::Id(id) => {
            check_version_id(id)?;
            version.clone()
        }
        Which::IdAtStage { id, stage } => {
            check_version_id(id)?;
            check_stage(stage)?;
            version.clone()
        }
    })
}

fn invalid<T>(message: String) -> Result<T, Failure> {
    Err(Failure::new(Cause::Invalid, message))
}

fn check_stage(stage: &str) -> Result<(), Failure> {
    if (1..=STAGE_CHARACTERS_MAX).contains(&stage.chars().count()) {
        return Ok(());
    }
    invalid(format!(
        "the staging label is not valid: want 1 to {STAGE_CHARACTERS_MAX} characters, such as AWSPREVIOUS"
    ))
}

fn check_version_id(id: &str) -> Result<(), Failure> {
    if VERSION_ID_CHARACTERS.contains(&id.chars().count()) {
        return Ok(());
    }
    let (least, most) = (VERSION_ID_CHARACTERS.start(), VERSION_ID_CHARACTERS.end());
    invalid(format!("the version id {id:?} is not valid: want {least} to {most} characters"))
}

fn check_id(id: &str, region: &str) -> Result<(), Failure> {
    if id.is_empty() {
        return invalid("the secret's id is empty: want its name or its ARN".to_owned());
    }
    if id.len() > ID_BYTES_MAX {
        return invalid(format!("the secret's id is longer than {ID_BYTES_MAX} bytes"));
    }
    if id.starts_with("arn:") { check_arn(id, region) } else { check_name(id, id) }
}

/// `/ _ + = . @ -`, letters and digits.
fn check_name(name: &str, shown: &str) -> Result<(), Failure> {
    let allowed = |letter: &char| letter.is_ascii_alphanumeric() || "/_+=.@-".contains(*letter);
    let mut illegal: Vec<char> = Vec::new();
    for letter in name.chars().filter(|letter| !allowed(letter)) {
        if !illegal.contains(&letter) {
            illegal.push(letter);
        }
    }
    if !illegal.is_empty() {
        let told: Vec<String> = illegal.iter().map(|letter| format!("{letter:?}")).collect();
        return invalid(format!(
            "{shown:?} can be no secret's name: it has {}, and AWS allows letters, digits and / _ + = . @ - only",
            told.join(" and ")
        ));
    }
    if name.is_empty() || name.len() > NAME_CHARACTERS_MAX {
        return invalid(format!(
            "{shown:?} can be no secret's name: want 1 to {NAME_CHARACTERS_MAX} characters"
        ));
    }
    Ok(())
}

fn check_arn(id: &str, region: &str) -> Result<(), Failure> {
    let Some(arn) = SecretArn::parse(id) else {
        return invalid(format!(
            "{id:?} is not the ARN of a secret: want arn:aws:secretsmanager:{region}:<account>:secret:<name>-<six \
             characters>"
        ));
    };
    if let Some((name, rest)) = arn.resource.split_once(':') {
        return invalid(format!(
            "{id:?} is the ARN of secret {name:?} with {:?} after it: leave that out, a key in the secret is \
             asked for by `key`, a version by its stage or id",
            format!(":{rest}")
        ));
    }
    if arn.region != region {
        return invalid(format!(
            "{id:?} is in region {}, and this secret manager reads {region}: ask a secret manager with region = \
             {:?}, or give the ARN of the copy in {region}",
            arn.region, arn.region
        ));
    }
    check_name(arn.resource, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:us-east-2:111122223333:secret:prod/a-AbCdEf";

    fn refused(id: &str) -> String {
        let failure = normal(&Wanted::current(id), "us-east-2").unwrap_err();
        assert_eq!(failure.cause, Cause::Invalid);
        failure.message
    }

    #[test]
    fn equal_wishes_have_one_form() {
        let stage =
            Wanted { id: " prod/a ".to_owned(), version: Which::Stage("AWSCURRENT".into()) };
        assert_eq!(normal(&stage, "us-east-2").unwrap(), Wanted::current("prod/a"));
        assert_eq!(normal(&Wanted::current(ARN), "us-east-2").unwrap(), Wanted::current(ARN));
    }

    #[test]
    fn names_that_aws_does_not_allow_are_refused_with_the_letters() {
        assert_eq!(
            refused("prod/a b*"),
            "\"prod/a b*\" can be no secret's name: it has ' ' and '*', and AWS allows letters, digits and / _ + = \
             . @ - only"
        );
        assert_eq!(refused(" "), "the secret's id is empty: want its name or its ARN");
        assert!(refused(&"a".repeat(513)).ends_with("want 1 to 512 characters"));
        for allowed in ["a", "/_+=.@-", "0", "trap-abcdef"] {
            normal(&Wanted::current(allowed), "us-east-2").unwrap();
        }
    }

    #[test]
    fn an_arn_of_another_region_is_refused_with_both_regions() {
        let elsewhere = ARN.replace("us-east-2", "eu-west-1");
        assert_eq!(
            refused(&elsewhere),
            format!(
                "{elsewhere:?} is in region eu-west-1, and this secret manager reads us-east-2: ask a secret manager \
                 with region = \"eu-west-1\", or give the ARN of the copy in us-east-2"
            )
        );
    }

    #[test]
    fn an_arn_of_something_else_and_one_with_a_key_are_refused() {
        assert!(refused("arn:aws:s3:::bucket").contains("is not the ARN of a secret"));
        let with_key = refused(&format!("{ARN}:password::"));
        assert!(with_key.contains("\":password::\" after it: leave that out"), "{with_key}");
    }

    #[test]
    fn versions_are_checked() {
        let version = |version: Which| {
            normal(&Wanted { id: "a".to_owned(), version }, "us-east-2")
                .map(|wanted| wanted.version)
        };
        let id = "12345678-1234-1234-1234-123456789012".to_owned();
        assert_eq!(version(Which::Id(id.clone())).unwrap(), Which::Id(id));
        assert!(version(Which::Id("1".to_owned())).unwrap_err().message.contains("32 to 64"));
        assert!(version(Which::Stage(String::new())).unwrap_err().message.contains("label"));
    }

    #[test]
    fn an_answer_is_about_what_was_asked_for_or_it_is_none() {
        let partial = ARN.strip_suffix("-AbCdEf").unwrap();
        assert!(is_answer("prod/a", ARN, "prod/a"));
        assert!(is_answer(ARN, ARN, "prod/a"));
        assert!(is_answer(partial, ARN, "prod/a"));
        assert!(!is_answer("prod/A", ARN, "prod/a"));
        assert!(!is_answer(partial, &format!("{partial}-x-AbCdEf"), "prod/a-x"));
        assert!(SecretArn::parse(ARN).unwrap().looks_whole());
        assert!(!SecretArn::parse(partial).unwrap().looks_whole());
        assert_eq!(in_region(ARN, "us-west-2"), ARN.replace("us-east-2", "us-west-2"));
        assert_eq!(in_region("prod/a", "us-west-2"), "prod/a");
    }
}
