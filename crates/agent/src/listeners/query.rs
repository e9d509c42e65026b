//! What a request asks for: the parameters and paths that AWS's agent documents.

use super::settings::SecretsManager;
use crate::{
    manager::{Wanted, Which},
    store::Freshness,
};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Bytes of path and query together, at most.
pub(crate) const TARGET_BYTES_MAX: usize = 8 << 10;

/// What somebody asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) wanted: Wanted,
    pub(crate) freshness: Freshness,
    pub(crate) role: Option<String>,
}

#[derive(Default)]
struct Fields {
    id: Option<String>,
    version: Option<String>,
    stage: Option<String>,
    now: bool,
    role: Option<String>,
}

/// What a request at `/secretsmanager/get` asks for.
///
/// # Errors
/// The text that AWS's agent answers with the status 400.
pub(crate) fn of_query(query: &str) -> Result<Ask, String> {
    let fields = fields(query, true)?;
    fields.ask("missing parameter secretId")
}

/// What a request whose path has the prefix asks for.
///
/// # Errors
/// The text that AWS's agent answers with the status 400.
pub(crate) fn of_path(settings: &SecretsManager, path: &str, query: &str) -> Result<Ask, String> {
    let mut fields = fields(query, false)?;
    let id = path.strip_prefix(settings.path_prefix.as_str()).unwrap_or_default();
    fields.id = Some(decoded("secret ID", Cow::Borrowed(id))?);
    fields.ask("missing secret ID")
}

fn fields(query: &str, with_id: bool) -> Result<Fields, String> {
    let mut fields = Fields::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded("parameter", spaced(name))?;
        let value = decoded(&name, spaced(value))?;
        match name.as_str() {
            "secretId" if with_id => fields.id = Some(value),
            "versionId" => fields.version = Some(value),
            "versionStage" => fields.stage = Some(value),
            "roleArn" => fields.role = Some(value),
            "refreshNow" => {
                fields.now = match value.as_str() {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err("invalid refreshNow value".to_owned()),
                }
            }
            _ => return Err(format!("unknown parameter: {name}")),
        }
    }
    Ok(fields)
}

impl Fields {
    fn ask(self, missing: &str) -> Result<Ask, String> {
        let id = self.id.filter(|id| !id.is_empty()).ok_or_else(|| missing.to_owned())?;
        for (name, value) in [("versionId", &self.version), ("versionStage", &self.stage)] {
            if value.as_ref().is_some_and(String::is_empty) {
                return Err(format!("{name} is empty"));
            }
        }
        let version = match (self.version, self.stage) {
            (None, None) => Which::Current,
            (None, Some(stage)) => Which::Stage(stage),
            (Some(id), None) => Which::Id(id),
            (Some(id), Some(stage)) => Which::IdAtStage { id, stage },
        };
        let freshness = if self.now { Freshness::Now } else { Freshness::Kept };
        Ok(Ask { wanted: Wanted { id, version }, freshness, role: self.role })
    }
}

/// A plus sign in a query is a space.
fn spaced(text: &str) -> Cow<'_, str> {
    if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) }
}

/// A text without percent signs; what is no encoding is refused, not guessed at.
fn decoded(name: &str, text: Cow<'_, str>) -> Result<String, String> {
    if !text.contains('%') {
        return Ok(text.into_owned());
    }
    let mut rest = text.split('%');
    rest.next();
    let hex = |part: &str| {
        let mut digits = part.bytes();
        let mut digit = || digits.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        digit() && digit()
    };
    if !rest.all(hex) {
        return Err(format!("{name}: a percent sign is followed by two hexadecimal digits"));
    }
    let decoded = percent_decode_str(&text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| format!("{name}: is not UTF-8 when decoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_asking_is_read() {
        let ask = of_query("secretId=a%2Fb&versionId=v&versionStage=s&refreshNow=1").unwrap();
        let version = Which::IdAtStage { id: "v".to_owned(), stage: "s".to_owned() };
        assert_eq!(ask.wanted, Wanted { id: "a/b".to_owned(), version });
        assert_eq!(ask.freshness, Freshness::Now);
        let settings = SecretsManager::new("m", "/v1/").unwrap();
        let ask = of_path(&settings, "/v1/a/b%40c", "versionStage=AWSPREVIOUS").unwrap();
        let version = Which::Stage("AWSPREVIOUS".to_owned());
        assert_eq!(ask.wanted, Wanted { id: "a/b@c".to_owned(), version });
        assert_eq!(of_query("secretId=a+b&").unwrap().wanted, Wanted::current("a b"));
    }

    #[test]
    fn what_is_no_asking_is_refused_in_the_words_of_awss_agent() {
        let settings = SecretsManager::new("m", "/v1/").unwrap();
        for (query, told) in [
            ("", "missing parameter secretId"),
            ("secretId=", "missing parameter secretId"),
            ("secretId=a&x=1", "unknown parameter: x"),
            ("secretId=a&refreshNow=yes", "invalid refreshNow value"),
            ("secretId=a&versionId=", "versionId is empty"),
            ("secretId=%4", "secretId: a percent sign is followed by two hexadecimal digits"),
            ("secretId=%+1", "secretId: a percent sign is followed by two hexadecimal digits"),
            ("secretId=%ff", "secretId: is not UTF-8 when decoded"),
        ] {
            assert_eq!(of_query(query).unwrap_err(), told, "{query}");
        }
        assert_eq!(of_path(&settings, "/v1/", "").unwrap_err(), "missing secret ID");
        let told = of_path(&settings, "/v1/a", "secretId=b").unwrap_err();
        assert_eq!(told, "unknown parameter: secretId");
    }
}
