//! Response wrapping: an answer is put away, and a token that is good for one use stands for it.
//!
//! **Invariant:** an answer leaves once. Whoever takes it removes it from storage in the same batch,
//! and the batch of a second one conflicts.
//! **Invariant:** the answer, the effect it tells of and the wrapping token land together.

use crate::{
    Answer, Call, Content, Leased, Wrapped,
    handle::{Admitted, Asker},
    kernel::Kernel,
    token::{NewToken, TokenId, TokenStore, TtlLimits, kept_key},
};
use bailee_barrier::View;
use bailee_crypto::clock::{from_millis, to_millis};
use bailee_sdk::{
    Body, Engine, Error, Json, Namespace, Operation, Path, Reply, Request, Sensitive,
    request::{Give, Issued, Kept},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// The policy of wrapping tokens: to fetch what was put away, nothing else.
const POLICY: &str = "response-wrapping";

/// What is known of an answer that was put away, before its data.
#[derive(Serialize, Deserialize)]
struct Lead {
    /// When it was put away, in milliseconds since 1970.
    created: u64,
    /// How long it is kept, in milliseconds.
    ttl: u64,
    /// The path of the request that was answered.
    path: String,
    /// The handle of what is inside, when it has one.
    accessor_inside: String,
    /// The request's id.
    id: String,
    leased: Option<Leased>,
    auth: Option<Box<Issued>>,
    warnings: Vec<String>,
    missing: bool,
    mount_kind: String,
    has_data: bool,
}

/// Where an answer is found that was put away.
struct Place {
    namespace: Namespace,
    path: String,
    ttl: Duration,
    now: SystemTime,
}

impl Kernel {
    /// Refuses a wrapping token that stands for nothing before anything else is asked: who holds one
    /// is to learn that someone else was faster.
    pub(crate) async fn check_wrapping_token(
        &self,
        call: &Call,
        target: Option<&crate::target::Target>,
    ) -> Result<(), Error> {
        let Some(target) = target.filter(|target| target.is_system()) else { return Ok(()) };
        if !matches!(
            target.path.as_str(),
            "wrapping/unwrap" | "wrapping/lookup" | "wrapping/rewrap"
        ) {
            return Ok(());
        }
        let secret = match call.input.get("token") {
            None | Some(Value::Null) => call.token.clone().unwrap_or_default(),
            Some(Value::String(text)) => Sensitive::from(text.as_str()),
            // What is no text is refused by the endpoint.
            Some(_) => return Ok(()),
        };
        if secret.expose().is_empty() {
            return Err(Error::invalid("error validating wrapping token: token is empty"));
        }
        let (view, namespace) = (self.barrier.view(""), &target.place.namespace);
        match find(&self.tokens, &view, namespace, &secret).await? {
            Some(_) => Ok(()),
            None => Err(not_valid()),
        }
    }

    /// Puts the answer away when the client wants it so, in the unit of `view`.
    pub(crate) async fn wrap(
        &self,
        call: &Call,
        admitted: &Admitted,
        view: &View,
        answer: &mut Answer,
    ) -> Result<(), Error> {
        let target = &admitted.target;
        let Some(ttl) = call.wrap_ttl.filter(|ttl| !ttl.is_zero()) else {
            if target.is_system() && target.path == "wrapping/wrap" {
                return Err(Error::invalid("endpoint requires response wrapping to be used"));
            }
            return Ok(());
        };
        if answer.wrapped.is_some() || !answer.says_something() {
            return Ok(());
        }
        if matches!(admitted.asker, Asker::Nobody) && answer.auth.is_none() {
            // Each one that is put away fills storage.
            return Err(Error::invalid(
                "an answer that needs no token is not wrapped: leave the X-Vault-Wrap-TTL header \
                 out, or send a token",
            ));
        }
        let place = Place {
            namespace: (*target.place.namespace).clone(),
            path: target.full_path(),
            ttl,
            now: admitted.now,
        };
        let (lead, data) = taken_apart(answer, &place)?;
        answer.wrapped = Some(Box::new(self.put_away(view, &place, lead, &data).await?));
        answer.id = String::new();
        answer.mount_kind = String::new();
        Ok(())
    }

    /// The same for an answer that was completed after its batch had landed.
    pub(crate) async fn wrap_late(
        &self,
        call: &Call,
        admitted: &Admitted,
        mut answer: Answer,
    ) -> Result<Answer, Error> {
        let view = self.barrier.view("");
        self.wrap(call, admitted, &view, &mut answer).await?;
        view.commit().await?;
        Ok(answer)
    }

    /// Gives out an answer that was put away, and ends its token when the batch has landed.
    pub(crate) async fn unwrap(
        &self,
        admitted: &Admitted,
        view: &View,
        kept: Kept,
        mut answer: Answer,
    ) -> Result<(Answer, Option<Body>), Error> {
        let (lead, data) = split(&kept.bytes)?;
        match kept.give {
            Give::Plain => answer = put_together(lead, data),
            Give::AsText => {
                answer.content = Content::Answer(Box::new(put_together(lead, data)));
            }
            Give::Wrapped => {
                let place = Place {
                    namespace: (*admitted.target.place.namespace).clone(),
                    path: lead.path.clone(),
                    ttl: Duration::from_millis(lead.ttl),
                    now: admitted.now,
                };
                let data = Zeroizing::new(data.to_vec());
                answer.wrapped = Some(Box::new(self.put_away(view, &place, lead, &data).await?));
                answer.id = String::new();
                answer.mount_kind = String::new();
            }
        }
        let tokens = self.tokens.clone();
        let after = kept.spent.map(|spent| {
            Body::After(Box::pin(async move {
                let ended = tokens.revoke_tree(&TokenId::from_text(&spent)).await;
                // It stands for nothing any more, and ends by itself.
                ended.unwrap_or_else(crate::event::revocation_failed);
                Ok(Reply::empty())
            }))
        });
        Ok((answer, after))
    }

    /// Makes the token and stores the answer beside it.
    async fn put_away(
        &self,
        view: &View,
        place: &Place,
        lead: Lead,
        data: &Zeroizing<Vec<u8>>,
    ) -> Result<Wrapped, Error> {
        let ttl = place.ttl.min(self.settings.max_lease_ttl);
        let new = NewToken {
            policies: vec![POLICY.to_owned()],
            ttl,
            explicit_max_ttl: ttl,
            num_uses: 1,
            limits: Some(TtlLimits { default: ttl, max: ttl }),
            ..NewToken::new(place.namespace.clone(), place.path.clone(), place.now)
        };
        let made = self.tokens.create(view, new).await?;
        let created = to_millis(place.now);
        let lead = Lead { created, ttl: millis(ttl), path: place.path.clone(), ..lead };
        let key = kept_key(&made.token.id);
        view.at("").put_bytes(&key, joined(&lead, data));
        Ok(Wrapped {
            token: made.secret,
            accessor: made.token.accessor.clone(),
            ttl,
            created: place.now,
            path: lead.path,
            accessor_inside: lead.accessor_inside,
        })
    }
}

/// Paths about answers that were put away.
pub(crate) struct WrappingPaths {
    tokens: Arc<TokenStore>,
}

#[derive(Deserialize, JsonSchema)]
struct OneToken {
    /// The wrapping token; the caller's own when left out.
    #[serde(default)]
    #[schemars(with = "String")]
    token: Option<Sensitive<String>>,
}

#[derive(Deserialize, JsonSchema)]
struct Anything {
    /// What is to be put away.
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl Engine for WrappingPaths {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        let update = Operation::Update;
        vec![
            Path::new("wrapping/wrap").on(
                update,
                &self,
                "Put the fields of the request away under a wrapping token.",
                |_: Arc<Self>, request: Request<Anything>| async move {
                    Ok(Reply::data(&request.input.fields))
                },
            ),
            Path::new("wrapping/lookup")
                .on(update, &self, "Tell what a wrapping token stands for.", Self::lookup)
                .on(Operation::Read, &self, "Tell what a wrapping token stands for.", Self::lookup)
                .unauthenticated(),
            Path::new("wrapping/unwrap").on(
                update,
                &self,
                "Fetch what a wrapping token stands for; it can be done once.",
                |paths: Arc<Self>, request: Request<OneToken>| async move {
                    paths.take(request, Give::Plain).await
                },
            ),
            Path::new("wrapping/rewrap").on(
                update,
                &self,
                "Put what a wrapping token stands for away under a new one.",
                |paths: Arc<Self>, request: Request<OneToken>| async move {
                    paths.take(request, Give::Wrapped).await
                },
            ),
        ]
    }
}

impl WrappingPaths {
    pub(crate) fn new(tokens: Arc<TokenStore>) -> WrappingPaths {
        WrappingPaths { tokens }
    }

    async fn lookup(self: Arc<Self>, request: Request<OneToken>) -> Result<Reply, Error> {
        let id = self.named(&request).await?;
        let bytes = request.view.at("").get_bytes(&kept_key(&id)).await?.ok_or_else(not_valid)?;
        let (lead, _) = split(&bytes)?;
        let created = Timestamp::try_from(from_millis(lead.created)).map_err(Error::internal)?;
        Ok(Reply::data(&json!({
            "creation_path": lead.path,
            "creation_time": created.to_string(),
            "creation_ttl": Duration::from_millis(lead.ttl).as_secs(),
        })))
    }

    /// Takes what a token stands for out of storage, in the request's batch.
    async fn take(&self, request: Request<OneToken>, give: Give) -> Result<Reply, Error> {
        let id = self.named(&request).await?;
        let bytes = take(&request.view, &id).await?.ok_or_else(not_valid)?;
        let is_own = request.caller.as_ref().is_some_and(|caller| caller.token_id == id.as_str());
        let spent = (!is_own).then(|| id.as_str().to_owned());
        Ok(Body::Kept(Box::new(Kept { bytes, give, spent })).into())
    }

    /// The token that the request names, else the caller's own, while it stands for something.
    async fn named(&self, request: &Request<OneToken>) -> Result<TokenId, Error> {
        let named = request.input.token.as_ref().filter(|secret| !secret.expose().is_empty());
        let id = match (named, &request.caller) {
            (Some(secret), _) => {
                find(&self.tokens, &request.view, &request.namespace, secret).await?
            }
            (None, Some(caller)) => Some(TokenId::from_text(&caller.token_id)),
            (None, None) => None,
        };
        id.ok_or_else(not_valid)
    }
}

impl fmt::Debug for WrappingPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingPaths(..)")
    }
}

/// Takes what a token stands for out of storage when the unit of `view` commits; a second one that
/// takes it conflicts.
pub(crate) async fn take(view: &View, id: &TokenId) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let (view, key) = (view.at(""), kept_key(id));
    let Some((bytes, revision)) = view.get_bytes_at(&key).await? else { return Ok(None) };
    if let Some(revision) = revision {
        view.expect(&key, revision);
    }
    view.delete(&key);
    Ok(Some(bytes))
}

/// The token with this text, if it is alive, of this namespace, one above or one below, and stands
/// for something. Its one use is not spent.
async fn find(
    tokens: &TokenStore,
    view: &View,
    namespace: &Namespace,
    secret: &Sensitive<String>,
) -> Result<Option<TokenId>, Error> {
    let token = tokens.authenticate(secret).await?;
    let token = token.filter(|token| {
        namespace.path.starts_with(&token.namespace.path) || token.is_within(namespace)
    });
    let Some(token) = token else { return Ok(None) };
    let kept = view.at("").get_bytes(&kept_key(&token.id)).await?;
    Ok(kept.map(|_| token.id.clone()))
}

fn not_valid() -> Error {
    Error::invalid("wrapping token is not valid or does not exist")
}

/// What is stored of an answer; the answer is left empty.
fn taken_apart(answer: &mut Answer, place: &Place) -> Result<(Lead, Zeroizing<Vec<u8>>), Error> {
    let (has_data, data) = match std::mem::replace(&mut answer.content, Content::Empty) {
        Content::Empty => (false, Zeroizing::default()),
        Content::Data(data) => (true, Zeroizing::new(data.bytes().to_vec())),
        Content::Answer(_) | Content::Raw { .. } | Content::Stream { .. } => {
            return Err(Error::invalid(
                "this answer cannot be wrapped: leave the X-Vault-Wrap-TTL header out",
            ));
        }
    };
    let accessor_inside = match &answer.auth {
        Some(auth) => auth.accessor.clone(),
        None => handle_in(&data),
    };
    let lead = Lead {
        created: to_millis(place.now),
        ttl: millis(place.ttl),
        path: place.path.clone(),
        accessor_inside,
        id: std::mem::take(&mut answer.id),
        leased: answer.leased.take(),
        auth: answer.auth.take(),
        warnings: std::mem::take(&mut answer.warnings),
        missing: std::mem::take(&mut answer.missing),
        mount_kind: std::mem::take(&mut answer.mount_kind),
        has_data,
    };
    answer.accepted = false;
    answer.data_at_top = false;
    Ok((lead, data))
}

/// The handle of a secret that can be revoked by it, as AppRole gives one.
fn handle_in(data: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    struct Handle {
        #[serde(default)]
        secret_id_accessor: String,
    }
    serde_json::from_slice::<Handle>(data).unwrap_or_default().secret_id_accessor
}

fn put_together(lead: Lead, data: &[u8]) -> Answer {
    let data = || Content::Data(Json::from_bytes(Zeroizing::new(data.to_vec())));
    Answer {
        content: if lead.has_data { data() } else { Content::Empty },
        leased: lead.leased,
        auth: lead.auth,
        warnings: lead.warnings,
        missing: lead.missing,
        ..Answer::empty(&lead.id, &lead.mount_kind)
    }
}

/// The length of the lead, the lead, then the data as it is.
fn joined(lead: &Lead, data: &[u8]) -> Zeroizing<Vec<u8>> {
    let lead = Zeroizing::new(serde_json::to_vec(lead).expect("stored types always encode"));
    let length = u32::try_from(lead.len()).expect("the lead of an answer is far below 4 GiB");
    let mut bytes = Zeroizing::new(Vec::with_capacity(4 + lead.len() + data.len()));
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&lead);
    bytes.extend_from_slice(data);
    bytes
}

fn split(bytes: &[u8]) -> Result<(Lead, &[u8]), Error> {
    let parts = || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (lead, data) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
        Some((serde_json::from_slice(lead).ok()?, data))
    };
    parts().ok_or_else(|| Error::internal("a wrapped answer does not parse"))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
