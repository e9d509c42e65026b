//! The connection secret: where the source is and the token for it, kept in AWS Secrets Manager as the
//! published Lambda sample keeps it.

use super::{patience::patiently, target::Place};
use crate::{
    destinations::aws_secrets_manager::errors::failed,
    failure::{Error, Failure},
};
use aws_sdk_secretsmanager::Client;
use bailee_cloud::{CloudError, Kind, classify};
use bailee_crypto::{Sensitive, random};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

/// Characters behind the name in the identifier of a secret, the hyphen included.
const SUFFIX_CHARACTERS: usize = 7;
/// Characters of a `contentHashKey` that is made here.
const HASH_KEY_CHARACTERS: usize = 43;

/// What the connection secret says. The sample's two keys, and ours.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Connection {
    /// Where the source is.
    #[serde(rename = "vaultAddress", default)]
    pub address: String,
    /// The token for it.
    #[serde(rename = "vaultToken", default, serialize_with = "exposed")]
    pub token: Option<Sensitive<String>>,
    /// The key of marks and digests.
    #[serde(
        rename = "contentHashKey",
        default,
        serialize_with = "exposed",
        skip_serializing_if = "Option::is_none"
    )]
    pub content_hash_key: Option<Sensitive<String>>,
}

/// Into the connection secret only.
fn exposed<S: Serializer>(
    secret: &Option<Sensitive<String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.as_ref().map_or("", |secret| secret.expose()))
}

/// The name of a secret, where its ARN is given.
pub fn name_of(id: &str) -> &str {
    let Some(named) =
        id.strip_prefix("arn:").and_then(|arn| arn.split_once(":secret:")).map(|(_, name)| name)
    else {
        return id;
    };
    let cut = named.len().checked_sub(SUFFIX_CHARACTERS);
    let split = cut.and_then(|at| named.split_at_checked(at));
    split.filter(|(_, suffix)| suffix.starts_with('-')).map_or(named, |(name, _)| name)
}

impl Connection {
    /// Reads it, by name or ARN.
    ///
    /// # Errors
    /// It cannot be read, or is not of its form; nothing of it is repeated.
    pub async fn read(place: &Place, id: &str) -> Result<Connection, Error> {
        let client = Client::new(&place.aws().await?);
        let found = patiently(|| Connection::find(&client, id)).await.map_err(|error| {
            let message = format!("connection secret {id:?}: {}", error.message);
            Error { message, ..error }
        })?;
        found.ok_or_else(|| {
            let message = format!("the connection secret {id:?} does not exist, or has no value");
            Error::new(Failure::Invalid, message)
        })
    }

    async fn find(client: &Client, id: &str) -> Result<Option<Connection>, Error> {
        let found = match client.get_secret_value().secret_id(id).send().await {
            Ok(found) => found,
            Err(error) => {
                return match classify(&error) {
                    CloudError { kind: Kind::NotFound, .. } => Ok(None),
                    cloud => Err(failed("secretsmanager:GetSecretValue", cloud)),
                };
            }
        };
        let text = Zeroizing::new(found.secret_string.unwrap_or_default());
        let read: Result<Connection, _> = serde_json::from_str(&text);
        let mut read = read.map_err(|_| {
            let message = format!(
                "{id:?} is not of the form of a connection secret: want a JSON object with \
                 vaultAddress and vaultToken"
            );
            Error::new(Failure::Invalid, message)
        })?;
        let given = |secret: &Sensitive<String>| !secret.expose().is_empty();
        read.token = read.token.filter(given);
        read.content_hash_key = read.content_hash_key.filter(given);
        Ok(Some(read))
    }

    /// Writes it under a name. What is there keeps its `contentHashKey`, and one that lacks it gets one:
    /// without it, marks could be made by others. A new one is made under a key, one that is there moves
    /// to a key where that is given. Whether it is new.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub async fn write(
        mut self,
        place: &Place,
        name: &str,
        made_under: Option<&str>,
        moves_to: Option<&str>,
    ) -> Result<bool, Error> {
        let client = Client::new(&place.aws().await?);
        let before = Connection::find(&client, name).await?;
        let is_new = before.is_none();
        let key = self.content_hash_key.take().or(before.and_then(|it| it.content_hash_key));
        let made = || Sensitive::from(random::alphanumeric(HASH_KEY_CHARACTERS));
        self.content_hash_key = Some(key.unwrap_or_else(made));
        let text = serde_json::to_string(&self).map(Zeroizing::new);
        let text =
            text.map_err(|_| Error::new(Failure::Internal, "it cannot be written as JSON"))?;
        let token = random::uuid().to_string();
        if is_new {
            let call = client
                .create_secret()
                .name(name)
                .description("How replication reaches the server it reads from")
                .client_request_token(token)
                .secret_string(text.as_str())
                .set_kms_key_id(made_under.map(str::to_owned));
            let made = call.send().await;
            made.map_err(|error| failed("secretsmanager:CreateSecret", classify(&error)))?;
        } else {
            let call = client
                .put_secret_value()
                .secret_id(name)
                .client_request_token(token)
                .secret_string(text.as_str());
            let put = call.send().await;
            put.map_err(|error| failed("secretsmanager:PutSecretValue", classify(&error)))?;
            if let Some(key) = moves_to {
                let moved = client.update_secret().secret_id(name).kms_key_id(key).send().await;
                moved.map_err(|error| failed("secretsmanager:UpdateSecret", classify(&error)))?;
            }
        }
        Ok(is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_holds_the_name() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret";
        for (id, name) in [
            ("p/connection", "p/connection"),
            (&format!("{arn}:p/connection-aBcDeF"), "p/connection"),
            (&format!("{arn}:p/x"), "p/x"),
        ] {
            assert_eq!(name_of(id), name, "{id}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let connection = Connection {
            address: "http://a".to_owned(),
            token: Some(Sensitive::from("canary")),
            content_hash_key: Some(Sensitive::from("canary")),
        };
        assert!(!format!("{connection:?}").contains("canary"));
        let text = serde_json::to_string(&connection).unwrap();
        assert_eq!(
            text,
            r#"{"vaultAddress":"http://a","vaultToken":"canary","contentHashKey":"canary"}"#
        );
    }
}
