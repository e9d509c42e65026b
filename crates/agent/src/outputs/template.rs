//! Templates over secrets and connections.

use super::{Invalid, value::listed};
use crate::{
    connection::Connection,
    failure::{Cause, Failure},
    manager::{Fetched, Material, Wanted},
    store::{Freshness, Store},
};
use bailee_notation::{
    json,
    template::document::{Document, Lookup, Value},
};
use futures_util::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use zeroize::Zeroizing;

/// How often a template may ask for secrets that others told it the names of.
pub const ROUNDS_MAX: usize = 10;
/// The most secrets and connections of one template.
pub const NEEDS_MAX: usize = 1_000;

const SECRET: &str = "secret";
const AWS_SECRET: &str = "awsSecret";
const CONNECTION: &str = "connection";
const ENV: &str = "env";

const LOOKUPS: [Lookup; 4] = [
    Lookup {
        name: SECRET,
        parameters: &["path"],
        hint: "secrets are read; writing with parameters such as \"role=x\" is not there",
    },
    Lookup { name: AWS_SECRET, parameters: &["manager", "id"], hint: "" },
    Lookup { name: CONNECTION, parameters: &["name"], hint: "" },
    Lookup { name: ENV, parameters: &["name"], hint: "" },
];

/// What templates may ask for.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The manager that `secret` asks.
    pub vault: Option<String>,
    /// The connections.
    pub connections: Arc<BTreeMap<String, Connection>>,
    /// The agent's own variables that `env` may read. Where there are none, `env` is refused.
    pub env: Arc<BTreeMap<String, String>>,
}

/// A checked template.
#[derive(Clone, Debug)]
pub struct Template {
    document: Document,
    sources: Sources,
}

/// Something that a template asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// What a server has at a path.
    Vault(String),
    /// What a manager has under an id.
    Aws(String, String),
    Connection(String),
}

type Known = BTreeMap<Need, Result<Value, Failure>>;

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str, sources: &Sources) -> Result<Template, Invalid> {
        let allows_env = !sources.env.is_empty();
        let lookups = LOOKUPS.into_iter().filter(|lookup| lookup.name != ENV || allows_env);
        let lookups: Vec<Lookup> = lookups.collect();
        let document =
            Document::parse(text, &lookups).map_err(|error| Invalid::new(error.to_string()))?;
        if document.uses(SECRET) && sources.vault.is_none() {
            return Err(Invalid::new(
                "template: secret asks a server of the type vault; set manager to its name",
            ));
        }
        Ok(Template { document, sources: sources.clone() })
    }

    /// Its text as it is now. What it stands on is kept fresh from now on.
    ///
    /// # Errors
    /// Something that it asks for cannot be had, or is not what the template takes it for. The message holds no value.
    pub async fn render(&self, store: &Store) -> Result<Zeroizing<String>, Failure> {
        let mut known = Known::new();
        for _ in 0..ROUNDS_MAX {
            let mut round =
                Round { template: self, known: &known, missing: BTreeSet::new(), failed: None };
            let rendered = self.document.render(&mut |lookup, texts| round.answer(lookup, texts));
            let Round { missing, failed, .. } = round;
            if missing.is_empty() {
                return match failed {
                    Some(failure) => Err(failure),
                    None => rendered.map_err(|error| invalid(error.to_string())),
                };
            }
            if known.len() + missing.len() > NEEDS_MAX {
                let message = format!("template: it asks for more than {NEEDS_MAX} secrets");
                return Err(invalid(message));
            }
            let found = join_all(missing.iter().map(|need| self.find(need, store))).await;
            known.extend(missing.into_iter().zip(found));
        }
        let message = format!("template: after {ROUNDS_MAX} rounds it still asks for new secrets");
        Err(invalid(message))
    }

    async fn find(&self, need: &Need, store: &Store) -> Result<Value, Failure> {
        match need {
            Need::Vault(path) => {
                let manager = self.sources.vault.as_deref().unwrap_or_default();
                let held = kept(store, manager, path).await?;
                vault_value(path, &held.fetched)
            }
            Need::Aws(manager, id) => {
                let held = kept(store, manager, id).await?;
                aws_value(id, &held.fetched)
            }
            Need::Connection(name) => {
                let connections = &self.sources.connections;
                let Some(connection) = connections.get(name) else {
                    let known = listed(connections.keys());
                    let message =
                        format!("template: there is no connection {name:?}; there are {known}");
                    return Err(invalid(message));
                };
                for reference in connection.references() {
                    store.pin(&reference.manager, &reference.wanted)?;
                }
                let properties = connection.resolve(store).await?.into_iter();
                Ok(Value::map(
                    properties.map(|(name, value)| (name, Value::text(value.expose().as_str()))),
                ))
            }
        }
    }
}

/// One time through a template.
struct Round<'a> {
    template: &'a Template,
    known: &'a Known,
    missing: BTreeSet<Need>,
    failed: Option<Failure>,
}

impl Round<'_> {
    fn answer(&mut self, lookup: &Lookup, texts: &[&str]) -> Result<Option<Value>, String> {
        let need = match (lookup.name, texts) {
            (AWS_SECRET, [manager, id]) => Need::Aws((*manager).to_owned(), (*id).to_owned()),
            (CONNECTION, [name]) => Need::Connection((*name).to_owned()),
            (ENV, [name]) => {
                let value = self.template.sources.env.get(*name);
                let message = || format!("env: {name} is not among the variables that are allowed");
                return value.map(|text| Some(Value::text(text.as_str()))).ok_or_else(message);
            }
            (_, texts) => Need::Vault(texts.concat()),
        };
        match self.known.get(&need) {
            Some(Ok(value)) => Ok(Some(value.clone())),
            Some(Err(failure)) => {
                self.failed.get_or_insert_with(|| failure.clone());
                Ok(None)
            }
            None => {
                self.missing.insert(need);
                Ok(None)
            }
        }
    }
}

async fn kept(store: &Store, manager: &str, id: &str) -> Result<Arc<crate::Held>, Failure> {
    let wanted = Wanted::current(id);
    store.pin(manager, &wanted)?;
    store.get(manager, &wanted, Freshness::Kept).await
}

/// As consul-template has it: the answer's `data` is `.Data`.
fn vault_value(path: &str, fetched: &Fetched) -> Result<Value, Failure> {
    let data = parsed(path, &fetched.material)?
        .ok_or_else(|| invalid(format!("{path}: the secret is no JSON object")))?;
    let lease = fetched.lease.as_ref();
    let seconds = lease.map_or(0, |lease| lease.duration.as_secs());
    Ok(Value::map([
        ("Data".to_owned(), data),
        ("LeaseID".to_owned(), Value::text(lease.map_or("", |lease| &lease.id))),
        ("LeaseDuration".to_owned(), Value::Integer(i64::try_from(seconds).unwrap_or(i64::MAX))),
        ("Renewable".to_owned(), Value::Flag(lease.is_some_and(|lease| lease.renewable))),
    ]))
}

/// The fields of the JSON object that a secret is, and `.Text`, which is all of it.
fn aws_value(id: &str, fetched: &Fetched) -> Result<Value, Failure> {
    let object = parsed(id, &fetched.material)?;
    let Material::Text(text) = &fetched.material else { return Ok(Value::Nothing) };
    let text = ("Text".to_owned(), Value::text(text.expose().as_str()));
    match object {
        Some(Value::Map(fields)) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), value.clone()));
            // A field of that name wins.
            Ok(Value::map([text].into_iter().chain(fields)))
        }
        _ => Ok(Value::map([text])),
    }
}

/// The JSON object that a text is, where it is one.
fn parsed(id: &str, material: &Material) -> Result<Option<Value>, Failure> {
    let Material::Text(text) = material else {
        return Err(invalid(format!("{id}: the secret is binary, and a text is wanted")));
    };
    let object = json::parse(text.expose().as_bytes(), &json::Limits::default());
    Ok(object.ok().filter(serde_json::Value::is_object).map(Value::from))
}

fn invalid(message: String) -> Failure {
    Failure::new(Cause::Invalid, message)
}
