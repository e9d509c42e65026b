//! Which names secrets would get, before anything is delivered.

use super::{Paths, associations, destinations::policy};
use crate::{
    naming::{self, Granularity, Subject},
    registry::{DestinationKind, StoredDestination},
    store::Store,
};
use bailee_sdk::{Error, Mount, Operation, Reply, Request, field::CommaList};
use schemars::JsonSchema;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Keys that are tried at once.
const KEYS_MAX: usize = 1000;
/// The longest name of a key, and of a secret.
const NAME_BYTES_MAX: usize = 1024;
/// As whom keys are read.
const CALLER: &str = "sync/preview";
/// What stands for a secret and a key where none is named.
const SAMPLE_SECRET: &str = "app/secret";
const SAMPLE_KEY: &str = "key";

/// A question for the names at a destination that exists.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Preview {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name of the destination.
    name: String,
    /// Template to try instead of the destination's own.
    secret_name_template: Option<String>,
    /// Granularity to try instead of the destination's own: `secret-path` or `secret-key`.
    granularity: Option<String>,
    /// Path of the mount that holds the secret; any mount where it is left out.
    mount: Option<String>,
    /// Path of the secret in its mount; any secret where it is left out.
    secret_name: Option<String>,
    /// Names of keys; those of the secret itself where they are left out and you may read it.
    keys: Option<CommaList>,
}

/// A question for the names at a destination that need not exist.
#[derive(Deserialize, JsonSchema)]
pub(super) struct PreviewOfType {
    /// Type of the destination.
    #[serde(rename = "type")]
    kind: String,
    /// Name that the destination would have.
    name: Option<String>,
    /// Template to try; the type's own where it is left out.
    secret_name_template: Option<String>,
    /// Granularity to try; the type's own where it is left out: `secret-path` or `secret-key`.
    granularity: Option<String>,
    /// Path of the mount that holds the secret; any mount where it is left out.
    mount: Option<String>,
    /// Path of the secret in its mount; any secret where it is left out.
    secret_name: Option<String>,
    /// Names of keys; those of the secret itself where they are left out and you may read it.
    keys: Option<CommaList>,
}

/// What names are made for.
struct Question<'a> {
    kind: &'a DestinationKind,
    name: String,
    template: String,
    granularity: Granularity,
    mount: Mount,
    secret: String,
    /// Whether mount and secret were named, so that names can be held against the ledger.
    real: bool,
}

impl Paths {
    pub(super) async fn preview(
        self: Arc<Self>,
        request: Request<Preview>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let (input, request) = request.take_input();
        let kind = self.kind(&input.kind)?;
        let found = store.destination(kind.name, &input.name).await?;
        let (stored, _) = found.ok_or_else(Error::not_found)?;
        let input = PreviewOfType {
            kind: input.kind,
            name: Some(input.name),
            secret_name_template: input.secret_name_template,
            granularity: input.granularity,
            mount: input.mount,
            secret_name: input.secret_name,
            keys: input.keys,
        };
        self.previewed(&store, kind, Some(&stored), request.with_input(input)).await
    }

    pub(super) async fn preview_of_type(
        self: Arc<Self>,
        request: Request<PreviewOfType>,
    ) -> Result<Reply, Error> {
        let store = self.store(&request).await?;
        let kind = request.input.kind.clone();
        let kind = self.kind(&kind)?;
        self.previewed(&store, kind, None, request).await
    }

    async fn previewed(
        &self,
        store: &Store,
        kind: &DestinationKind,
        stored: Option<&StoredDestination>,
        request: Request<PreviewOfType>,
    ) -> Result<Reply, Error> {
        let (input, request) = request.take_input();
        let question = question(kind, stored, &input, &request)?;
        let mut told = Vec::new();
        let keys: Vec<Option<String>> = match question.granularity {
            Granularity::SecretPath => vec![None],
            Granularity::SecretKey => match input.keys {
                Some(CommaList(keys)) => named(keys)?,
                None => self.keys_of(&question, &request, &mut told).await?,
            },
        };
        let mut lines = Vec::new();
        let mut holders: BTreeMap<String, usize> = BTreeMap::new();
        for key in &keys {
            let line = line(&question, &request, key.as_deref());
            if let Some(name) = line.get("external_name").and_then(Value::as_str) {
                *holders.entry(name.to_owned()).or_default() += 1;
            }
            lines.push(line);
        }
        for line in &mut lines {
            let Some(name) = line.get("external_name").and_then(Value::as_str) else { continue };
            let name = name.to_owned();
            let mut warnings = pitfalls(kind, &name);
            if holders.get(&name).is_some_and(|count| *count > 1) {
                warnings.push(
                    "another key of the secret gets the same name: only one of them can \
                     have it"
                        .to_owned(),
                );
            }
            warnings.extend(held(store, stored, &question, &request, &name).await?);
            if let Some(Value::Array(all)) = line.get_mut("warnings") {
                all.extend(warnings.into_iter().map(Value::from));
            }
        }
        let reply = Reply::data(&json!({
            "type": kind.name,
            "name": question.name,
            "granularity_level": question.granularity.name(),
            "secret_name_template": question.template,
            "names": lines,
        }));
        Ok(told.into_iter().fold(reply, Reply::warn))
    }

    /// The keys of the secret as it is now; what stands for any where they are not to be known.
    async fn keys_of(
        &self,
        question: &Question<'_>,
        request: &Request<()>,
        told: &mut Vec<String>,
    ) -> Result<Vec<Option<String>>, Error> {
        let sample = || vec![Some(SAMPLE_KEY.to_owned())];
        if !question.real {
            return Ok(sample());
        }
        if !may_read(request, &question.mount.path, &question.secret) {
            told.push(format!(
                "you may not read {}{}, so its keys are not shown: give names in keys",
                question.mount.path, question.secret
            ));
            return Ok(sample());
        }
        let local = self.sync.registry.surroundings.local.read().clone();
        let Some(local) = local else { return Ok(sample()) };
        let read = local.read(CALLER, &request.namespace, &question.mount, &question.secret).await;
        let payload = read.map_err(|error| Error::invalid(error.message))?;
        let Some(payload) = payload else {
            told.push(format!(
                "{}{} has no live version: its keys are not known",
                question.mount.path, question.secret
            ));
            return Ok(sample());
        };
        let keys: BTreeMap<String, IgnoredAny> = serde_json::from_slice(&payload.bytes)
            .map_err(|_| Error::invalid("the secret is not a JSON object: it has no keys"))?;
        named(keys.into_keys().collect())
    }
}

fn question<'a>(
    kind: &'a DestinationKind,
    stored: Option<&StoredDestination>,
    input: &PreviewOfType,
    request: &Request<()>,
) -> Result<Question<'a>, Error> {
    let given = input.granularity.as_deref().map(policy::granularity).transpose()?;
    let kept = stored.and_then(|stored| stored.granularity);
    let granularity = given.flatten().or(kept).unwrap_or(kind.granularity);
    let own = stored.and_then(|stored| stored.template.as_deref());
    let template = input.secret_name_template.as_deref().filter(|text| !text.is_empty()).or(own);
    let template = template.unwrap_or(match granularity {
        Granularity::SecretPath => kind.template,
        Granularity::SecretKey => kind.key_template,
    });
    naming::check_template(template, &kind.names, granularity).map_err(Error::invalid)?;
    let mount = match &input.mount {
        None => sample_mount(),
        Some(path) => (**associations::versioned_mount(request, path)?).clone(),
    };
    let secret = match &input.secret_name {
        None => SAMPLE_SECRET,
        Some(name) => associations::secret_name(name)?,
    };
    if secret.len() > NAME_BYTES_MAX {
        return Err(Error::invalid(format!("secret_name is longer than {NAME_BYTES_MAX} bytes")));
    }
    Ok(Question {
        kind,
        name: input.name.clone().unwrap_or_else(|| "name".to_owned()),
        template: template.to_owned(),
        granularity,
        mount,
        secret: secret.to_owned(),
        real: input.mount.is_some() && input.secret_name.is_some(),
    })
}

fn sample_mount() -> Mount {
    Mount {
        path: "kv/".to_owned(),
        uuid: String::new(),
        accessor: "kv_12345678".to_owned(),
        kind: "kv".to_owned(),
        options: BTreeMap::new(),
    }
}

fn named(keys: Vec<String>) -> Result<Vec<Option<String>>, Error> {
    if keys.len() > KEYS_MAX {
        return Err(Error::invalid(format!(
            "keys has {} names: give at most {KEYS_MAX}",
            keys.len()
        )));
    }
    if keys.iter().any(|key| key.len() > NAME_BYTES_MAX) {
        return Err(Error::invalid(format!("keys: a name is longer than {NAME_BYTES_MAX} bytes")));
    }
    Ok(keys.into_iter().map(Some).collect())
}

/// One name: as the template gives it, and as the destination takes it.
fn line(question: &Question<'_>, request: &Request<()>, key: Option<&str>) -> Map<String, Value> {
    let subject = Subject {
        destination_type: question.kind.name,
        destination_name: &question.name,
        namespace: &request.namespace,
        mount: &question.mount,
        secret: &question.secret,
        key,
    };
    let mut line = Map::from_iter([("warnings".to_owned(), json!([]))]);
    if let Some(key) = key {
        line.insert("sub_key".to_owned(), json!(key));
    }
    let rendered = naming::rendered(&question.template, &subject);
    if let Ok(rendered) = &rendered {
        line.insert("rendered".to_owned(), json!(rendered));
    }
    match naming::external_name(&question.template, &question.kind.names, &subject) {
        Ok(name) => {
            if rendered.is_ok_and(|rendered| rendered != name) {
                let replacement = question.kind.names.replacement;
                let text = format!(
                    "characters that {} does not take became {replacement:?}: other secrets may get \
                     the same name",
                    question.kind.name
                );
                line.insert("warnings".to_owned(), json!([text]));
            }
            line.insert("external_name".to_owned(), json!(name));
        }
        Err(message) => drop(line.insert("error".to_owned(), json!(message))),
    }
    line
}

/// Names that the vendor takes, and warns of.
fn pitfalls(kind: &DestinationKind, name: &str) -> Vec<String> {
    let suffix = name.rsplit_once('-').map_or("", |(_, suffix)| suffix);
    let like_an_arn = suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if kind.name == "aws-sm" && like_an_arn {
        return vec![
            "the name ends in a hyphen and six characters, as ARNs of secrets do: AWS may \
                     not find it by a partial ARN, and finds another secret instead"
                .to_owned(),
        ];
    }
    Vec::new()
}

/// Whether another secret has the name at the destination. Who it is, only whoever may read it learns.
async fn held(
    store: &Store,
    stored: Option<&StoredDestination>,
    question: &Question<'_>,
    request: &Request<()>,
    name: &str,
) -> Result<Option<String>, Error> {
    let Some(stored) = stored else { return Ok(None) };
    let id = store.destination_id(&stored.kind, &stored.name);
    let Some(claim) = store.claim_of_name(&id, name).await? else { return Ok(None) };
    if question.real && claim.secret == store.secret_id(&question.mount.uuid, &question.secret) {
        return Ok(None);
    }
    let holder = store.association(&id, &claim.secret).await?.map(|(found, _)| found);
    let readable =
        holder.filter(|holder| may_read(request, &holder.mount_path, &holder.secret_name));
    let who = readable.map_or("another secret".to_owned(), |holder| {
        format!("secret {}{}", holder.mount_path, holder.secret_name)
    });
    Ok(Some(format!("{who} has the name already: a later one is not delivered until it is free")))
}

fn may_read(request: &Request<()>, mount: &str, secret: &str) -> bool {
    let path = format!("{mount}data/{secret}");
    request.caller.as_ref().is_some_and(|caller| (caller.may)(Operation::Read, &path))
}
