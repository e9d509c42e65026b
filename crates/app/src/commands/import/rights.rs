//! Who may do what: policies, AppRole's roles, userpass's users; those of AWS have a file of their own.

use super::{Copy, end::is_single, report::Kind};
use bailee_client::Error;
use bailee_crypto::random;
use serde_json::{Map, Value, json};

/// Every kind of server has a text of its own for it.
const DEFAULT: &str = "default";
/// Cannot be written, by anybody.
const ROOT: &str = "root";
/// A password that nobody knows.
const PASSWORD_CHARS: usize = 48;
/// What a policy says that depends on the accessors of this server's mounts.
const ACCESSOR_TEMPLATES: [&str; 2] = ["identity.entity.aliases.", "identity.groups."];

impl Copy {
    /// Policies with their text.
    pub(super) async fn policies(&mut self) -> Result<(), Error> {
        for name in self.from.names("sys/policies/acl").await? {
            if name == ROOT {
                continue;
            }
            let outcome = self.policy(&name).await;
            self.told(format!("policy {name}"), outcome)?;
        }
        Ok(())
    }

    async fn policy(&mut self, name: &str) -> Result<(), Error> {
        let path = format!("sys/policies/acl/{name}");
        let Some(text) = policy_text(self.from.fields(&path).await?) else { return Ok(()) };
        if ACCESSOR_TEMPLATES.iter().any(|template| text.contains(template)) {
            self.report.note(
                format!("policy {name}"),
                "it names mounts or groups by ids, which are others here: look at it",
            );
        }
        match policy_text(self.to.fields(&path).await?) {
            Some(here) if here.trim() == text.trim() => self.report.there(Kind::Policy),
            Some(_) if name == DEFAULT => self.report.note(
                format!("policy {name}"),
                "this server's own differs and stays: compare them where yours was changed",
            ),
            Some(_) => self.report.left(format!("policy {name}"), "its text is another"),
            None => {
                if self.writes {
                    self.to.write(&path, &json!({ "policy": text })).await?;
                }
                self.report.copied(Kind::Policy);
            }
        }
        Ok(())
    }

    /// Ways to log in with their roles and users.
    pub(super) async fn logins(&mut self) -> Result<(), Error> {
        for (kind, path, is_there) in self.methods().await? {
            if kind == "aws" {
                self.aws(&path, is_there).await?;
                continue;
            }
            let list = if kind == "approle" { "role" } else { "users" };
            for name in self.from.names(&format!("auth/{path}{list}")).await? {
                let place = format!("auth/{path}{list}/{name}");
                let outcome = match kind.as_str() {
                    "approle" => self.role(&place, is_there).await,
                    _ => self.user(&place, is_there).await,
                };
                self.told(place, outcome)?;
            }
        }
        Ok(())
    }

    async fn role(&mut self, place: &str, is_there: bool) -> Result<(), Error> {
        let Some(role) = self.settings(place).await? else { return Ok(()) };
        let id_place = format!("{place}/role-id");
        let id = self.from.fields(&id_place).await?.unwrap_or_default();
        if !self.is_to_be_made(place, is_there, &role).await? {
            return Ok(());
        }
        if self.writes {
            self.to.write(place, &role.into()).await?;
            // Whoever logs in goes on with the id they have.
            if let Some(id) = id.get("role_id").filter(|id| id.is_string()) {
                self.to.write(&id_place, &json!({ "role_id": id })).await?;
            }
        }
        self.report.copied(Kind::Role);
        self.report.note(place, "secret ids cannot be read: make new ones");
        Ok(())
    }

    async fn user(&mut self, place: &str, is_there: bool) -> Result<(), Error> {
        let Some(mut user) = self.settings(place).await? else { return Ok(()) };
        if !self.is_to_be_made(place, is_there, &user).await? {
            return Ok(());
        }
        if self.writes {
            user.insert("password".to_owned(), random::alphanumeric(PASSWORD_CHARS).into());
            self.to.write(place, &user.into()).await?;
        }
        self.report.copied(Kind::Role);
        self.report.note(place, "the password cannot be read: set a new one before they log in");
        Ok(())
    }

    async fn settings(&self, place: &str) -> Result<Option<Map<String, Value>>, Error> {
        Ok(self.from.fields(place).await?.map(set))
    }

    pub(super) async fn is_to_be_made(
        &mut self,
        place: &str,
        is_there: bool,
        wanted: &Map<String, Value>,
    ) -> Result<bool, Error> {
        let here = if is_there { self.to.fields(place).await?.map(set) } else { None };
        let Some(here) = here else { return Ok(true) };
        match differing(wanted, &here) {
            None => self.report.there(Kind::Role),
            Some(name) => self.report.left(place, format!("its {name} is another")),
        }
        Ok(false)
    }

    /// What concerns one thing alone goes into the report.
    pub(super) fn told(&mut self, name: String, outcome: Result<(), Error>) -> Result<(), Error> {
        match outcome {
            Err(error) if is_single(&error) => {
                self.report.failed(name, error.to_string());
                Ok(())
            }
            outcome => outcome,
        }
    }
}

fn policy_text(policy: Option<Map<String, Value>>) -> Option<String> {
    policy?.get("policy")?.as_str().map(str::to_owned)
}

/// A setting that is another one here. Another kind of server may know more, or fewer, of them.
pub(super) fn differing<'a>(
    wanted: &'a Map<String, Value>,
    here: &Map<String, Value>,
) -> Option<&'a str> {
    let differs = |name: &str, value: &Value| here.get(name).is_some_and(|it| it != value);
    wanted.iter().find(|(name, value)| differs(name, value)).map(|(name, _)| name.as_str())
}

/// What is set. Names of older versions say the same as the newer ones beside them.
pub(super) fn set(settings: Map<String, Value>) -> Map<String, Value> {
    const OLDER: [&str; 6] = ["policies", "ttl", "max_ttl", "period", "bound_cidrs", "num_uses"];
    let said_anew =
        |name: &str| OLDER.contains(&name) && settings.contains_key(&format!("token_{name}"));
    let kept = settings.iter().filter(|(name, value)| !value.is_null() && !said_anew(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_as_vault_tells_it_is_what_is_written() {
        let Value::Object(told) = json!({
            "bind_secret_id": true, "secret_id_bound_cidrs": null, "secret_id_num_uses": 3,
            "token_bound_cidrs": [], "token_policies": ["default", "p"], "policies": ["default", "p"],
            "token_ttl": 600, "ttl": 600, "token_type": "default", "period": 5,
        }) else {
            panic!("it is an object")
        };
        let set = set(told);
        assert!(!set.contains_key("secret_id_bound_cidrs"), "nothing is set to nothing");
        assert!(!set.contains_key("policies") && !set.contains_key("ttl"), "said by newer names");
        assert_eq!(set["period"], 5, "an older name alone counts");
        assert_eq!(set["token_policies"], json!(["default", "p"]));
    }
}
