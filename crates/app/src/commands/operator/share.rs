//! What several people do together: each gives one key, under the nonce of what was started.

use crate::{arguments, context::Context, failure::Failure};
use bailee_client::{Method, Outgoing};
use bailee_crypto::Sensitive;
use serde_json::{Map, Value, json};

/// A key that is typed without being seen, or piped in.
pub(super) fn hidden(context: &mut Context) -> Result<Sensitive<String>, Failure> {
    let key = context.input.hidden("Unseal Key")?;
    if key.expose().is_empty() {
        return Err(Failure::usage("no unseal key was given: type it, or give it as the argument"));
    }
    Ok(key)
}

/// What a common effort is about.
pub(super) struct Effort<'a> {
    /// Where its progress is asked for.
    pub(super) status: &'a str,
    /// Where keys are given.
    pub(super) update: &'a str,
    /// What a failed request was for.
    pub(super) attempt: &'a str,
    /// What is told when it was not started.
    pub(super) idle: &'a str,
}

impl Effort<'_> {
    /// How far it is.
    pub(super) async fn progress(
        &self,
        context: &mut Context,
    ) -> Result<Map<String, Value>, Failure> {
        ask(context, self.attempt, Outgoing::new(Method::Get, self.status)).await
    }

    /// Gives a key: the argument, or what is typed or piped in. A key that does not come from a
    /// terminal needs the nonce, so that it is spent on nothing else than what its owner means.
    pub(super) async fn give(
        &self,
        context: &mut Context,
        nonce: Option<&str>,
        arguments: &[String],
    ) -> Result<Map<String, Value>, Failure> {
        let given = arguments::optional(arguments)?.map(|key| key.trim());
        let progress = self.progress(context).await?;
        if !is(&progress, "started") {
            return Err(Failure::usage(self.idle));
        }
        let piped = given.is_some() || !context.input.is_terminal();
        let nonce = match nonce {
            Some(nonce) => nonce.to_owned(),
            None if piped => {
                return Err(Failure::usage("Missing nonce value: specify it via the -nonce flag"));
            }
            None => text(&progress, "nonce").to_owned(),
        };
        if !piped {
            context.output.line(&format!("Operation nonce: {nonce}"))?;
        }
        let key = match given {
            Some(key) if key != "-" => Sensitive::from(key),
            Some(_) | None => hidden(context)?,
        };
        let body = json!({ "key": key.expose().as_str(), "nonce": nonce });
        let outgoing = Outgoing::new(Method::Put, self.update).json(&body);
        ask(context, "Error posting unseal key", outgoing).await
    }
}

/// An answer's fields, which these endpoints give without an envelope.
pub(super) async fn ask(
    context: &mut Context,
    attempt: &str,
    outgoing: Outgoing,
) -> Result<Map<String, Value>, Failure> {
    let response = context.attempt(outgoing).await?;
    let response = response.map_err(|error| context.failure(attempt, &error))?;
    Ok(response.json())
}

/// A text field.
pub(super) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A field that is true.
pub(super) fn is(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// A count.
pub(super) fn count(fields: &Map<String, Value>, name: &str) -> u64 {
    fields.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// A list of texts, as one.
pub(super) fn list(fields: &Map<String, Value>, name: &str) -> Vec<String> {
    let items = fields.get(name).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
