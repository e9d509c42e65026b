//! A private place of each token, which ends with it.
//!
//! What a token keeps is stored with the token, not with the mount, so that it can be cleared away
//! when the token ends: `n/<namespace of the token>/cubbyhole/<code of the token>/<namespace>/`.

use crate::{
    token::{TokenId, TokenStore},
    wrapping,
};
use bailee_barrier::{Barrier, Names, View};
use bailee_sdk::{
    Body, Engine, Error, Operation, Path, Reply, Request,
    request::{Give, Kept},
};
use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};

/// Where old clients fetch what a wrapping token stands for.
const RESPONSE: &str = "response";
/// Names that one list shows.
const NAMES_MAX: usize = 100_000;
/// Keys that one batch removes: some backends take no more than 128 writes at once.
const CLEARED_AT_ONCE: usize = 100;

/// Serves `cubbyhole/`.
pub(crate) struct Cubbyhole {
    tokens: Arc<TokenStore>,
}

#[derive(Deserialize, JsonSchema)]
struct AtPath {
    /// Where something is kept.
    path: String,
}

#[derive(Deserialize, JsonSchema)]
struct Write {
    /// Where it is kept.
    path: String,
    /// What is kept.
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl Engine for Cubbyhole {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("{path...?}")
                .on(Operation::Read, &self, "Read what the token keeps.", Self::read)
                .on(Operation::Update, &self, "Keep something with the token.", Self::write)
                .on(Operation::Delete, &self, "Remove what the token keeps.", Self::delete)
                .on(Operation::List, &self, "List what the token keeps.", Self::list)
                .exists(&self, Self::exists),
        ]
    }
}

impl Cubbyhole {
    pub(crate) fn new(tokens: Arc<TokenStore>) -> Cubbyhole {
        Cubbyhole { tokens }
    }

    async fn read(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        let path = named(&request.input.path)?;
        let token = owner(&request)?;
        if path == RESPONSE
            && let Some(bytes) = wrapping::take(&request.view, &token).await?
        {
            let kept = Kept { bytes, give: Give::AsText, spent: None };
            return Ok(Body::Kept(Box::new(kept)).into());
        }
        let found: Option<Map<String, Value>> = place(&request, &token).get(path).await?;
        Ok(Reply::data(&found.ok_or_else(Error::not_found)?))
    }

    async fn exists(self: Arc<Self>, request: Request<AtPath>) -> Result<bool, Error> {
        let path = named(&request.input.path)?;
        let found: Option<Map<String, Value>> =
            place(&request, &owner(&request)?).get(path).await?;
        Ok(found.is_some())
    }

    async fn write(self: Arc<Self>, request: Request<Write>) -> Result<Reply, Error> {
        let path = named(&request.input.path)?;
        let token = owner(&request)?;
        if request.input.fields.is_empty() {
            return Err(Error::invalid("missing data fields"));
        }
        self.tokens.bind(&request.view, &token).await?;
        place(&request, &token).put(path, &request.input.fields).await?;
        Ok(Reply::empty())
    }

    async fn delete(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        let path = named(&request.input.path)?;
        place(&request, &owner(&request)?).delete(path).await?;
        Ok(Reply::empty())
    }

    async fn list(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        let folder = request.input.path.trim_matches('/');
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let token = owner(&request)?;
        let names = place(&request, &token).list(&folder, "", NAMES_MAX).await?;
        let reply = Reply::keys(&names)?;
        if names.len() == NAMES_MAX {
            return Ok(reply.warn(format!("only {NAMES_MAX} names are listed")));
        }
        Ok(reply)
    }
}

impl fmt::Debug for Cubbyhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cubbyhole(..)")
    }
}

/// Removes all that a token kept, in bounded batches.
pub(crate) async fn clear(barrier: &Arc<Barrier>, token: &TokenId) -> Result<(), Error> {
    let prefix = prefix(token);
    loop {
        let view = barrier.view("");
        let mut entries = barrier.backend().scan(&prefix, "").take(CLEARED_AT_ONCE);
        while let Some(entry) = entries.next().await {
            view.delete(&entry?.0);
        }
        if !view.is_changed() {
            return Ok(());
        }
        view.commit().await?;
    }
}

fn named(path: &str) -> Result<&str, Error> {
    match path.trim_end_matches('/') {
        "" => Err(Error::invalid("missing path")),
        path => Ok(path),
    }
}

/// The caller's token; the system keeps nothing here.
fn owner<I>(request: &Request<I>) -> Result<TokenId, Error> {
    let caller = request.caller.as_ref().filter(|caller| !caller.token_id.is_empty());
    let caller = caller.ok_or_else(Error::permission_denied)?;
    let token = TokenId::from_text(&caller.token_id);
    if token.is_batch() {
        return Err(Error::invalid(
            "cubbyhole operations are only supported by \"service\" type tokens",
        ));
    }
    Ok(token)
}

/// What a token keeps in one namespace.
fn place<I>(request: &Request<I>, token: &TokenId) -> Names {
    let place = format!("{}{}/", prefix(token), request.namespace.id);
    let view: View = request.view.at(&place);
    view.names("at")
}

fn prefix(token: &TokenId) -> String {
    format!("{}cubbyhole/{}/", token.namespace_prefix(), token.code())
}
