//! `login`, and what a renewal asks.

use super::{
    Aws,
    answer::Caller,
    arn::{Kind, Principal},
    client::Client,
    ec2,
    identity::Identity,
    replay,
    role::{self, Role, Verdict, Who},
    short,
    signed::{Demands, Given, Signed},
    upstream,
};
use bailee_sdk::{
    Body, Error, Login, LoginAlias, Namespace, Reply, Request, Sensitive, View, engine::Renewal,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Who logs in: with a request to STS that only the caller could sign.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LogIn {
    /// Name of the role here; that of the user or role in AWS when absent.
    #[serde(default)]
    role: Option<String>,
    /// Method of the signed request: POST.
    #[serde(default)]
    iam_http_request_method: Option<String>,
    /// URL of the signed request, in base64.
    #[serde(default)]
    iam_request_url: Option<String>,
    /// Body of the signed request, in base64.
    #[serde(default)]
    iam_request_body: Option<String>,
    /// Headers of the signed request: an object, or one as JSON in base64.
    #[serde(default)]
    iam_request_headers: Value,
    /// Not supported: for EC2 instances.
    #[serde(default)]
    identity: Option<String>,
    /// Not supported: for EC2 instances.
    #[serde(default)]
    signature: Option<String>,
    /// Not supported: for EC2 instances.
    #[serde(default)]
    pkcs7: Option<String>,
    /// Not supported: for EC2 instances.
    #[serde(default)]
    nonce: Option<String>,
}

impl LogIn {
    fn check_kind(&self) -> Result<(), Error> {
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let fields = [
            ("identity", &self.identity),
            ("signature", &self.signature),
            ("pkcs7", &self.pkcs7),
            ("nonce", &self.nonce),
        ];
        if let Some((field, _)) = fields.iter().find(|(_, text)| given(text)) {
            return Err(ec2::refusal(&format!("field {field:?}")));
        }
        let method = given(&self.iam_http_request_method);
        let any = method || given(&self.iam_request_url) || given(&self.iam_request_body);
        if !any && self.iam_request_headers.is_null() {
            return Err(Error::invalid("didn't supply required authentication values"));
        }
        Ok(())
    }
}

/// What is kept with a token for its renewals.
#[derive(Serialize, Deserialize)]
struct Kept {
    role: String,
    role_id: String,
    who: Who,
}

pub(super) async fn login(aws: Arc<Aws>, request: Request<LogIn>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    input.check_kind()?;
    let view = &request.view;
    let given = Given {
        method: input.iam_http_request_method.unwrap_or_default(),
        url: input.iam_request_url.unwrap_or_default(),
        body: input.iam_request_body.unwrap_or_default(),
        headers: input.iam_request_headers,
    };
    let client = Client::in_force(&aws, view).await?;
    let demands = Demands {
        server_id: &client.iam_server_id_header_value,
        more_headers: &client.allowed_sts_header_values,
        now: request.now,
    };
    let signed = Signed::check(&given, demands)?;
    replay::check(view, &signed).await?;
    let caller = upstream::caller(&aws, &client, &signed).await?;
    let name = input.role.filter(|role| !role.is_empty());
    let name = name.unwrap_or_else(|| caller.principal.name.clone());
    let found = role::find(view, &name).await?;
    let (role, revision) = found.ok_or_else(|| no_entry(&name))?;
    if let Some(revision) = revision {
        // No login as a role that was changed while AWS was asked.
        role::names(view).expect(&role.name, revision)?;
    }
    let who = admitted(&aws, view, &request.namespace, &role, &caller).await?;
    let identity = Identity::of(view).await?;
    replay::mark(view, &signed);
    Ok(Body::Login(Box::new(login_of(&role, &identity, &caller, who))).into())
}

fn no_entry(role: &str) -> Error {
    Error::invalid(format!("entry for role {:?} not found", short(role)))
}

/// The caller, if the role admits it. IAM is asked only where nothing else tells.
async fn admitted(
    aws: &Aws,
    view: &View,
    namespace: &Namespace,
    role: &Role,
    caller: &Caller,
) -> Result<Who, Error> {
    let principal = &caller.principal;
    let mut who = Who {
        account: principal.account.clone(),
        canonical_arn: principal.canonical(),
        // Of a user STS tells the path, of a role it does not.
        full_arn: (principal.kind == Kind::User).then(|| principal.full()),
        unique_id: caller.unique_id.clone(),
    };
    let mut verdict = role.judge(&who);
    if verdict == Verdict::Unknown {
        who.full_arn = Some(full_arn(aws, view, namespace, principal, &caller.unique_id).await?);
        verdict = role.judge(&who);
    }
    match verdict {
        Verdict::Admitted => Ok(who),
        Verdict::Namesake => Err(Error::invalid(format!(
            "IAM {} {:?} is not the one that the role {:?} was bound to, but a later one of that name: \
             write bound_iam_principal_arn again to bind it",
            principal.kind.name(),
            who.canonical_arn,
            role.name
        ))),
        Verdict::Unknown | Verdict::Refused => Err(Error::invalid(format!(
            "IAM Principal {:?} does not belong to the role {:?}",
            caller.arn, role.name
        ))),
    }
}

/// The ARN of a role of AWS with its path, which never changes for one unique id.
async fn full_arn(
    aws: &Aws,
    view: &View,
    namespace: &Namespace,
    principal: &Principal,
    unique_id: &str,
) -> Result<String, Error> {
    if let Some(known) = aws.known_role(view, unique_id) {
        return Ok(known);
    }
    let known = upstream::look_up(aws, view, namespace, principal).await.map_err(|error| {
        // Who logs in is nobody yet: what IAM says of our own credentials is not for them.
        tracing::warn!(%error, "a role of AWS that wants to log in cannot be looked up");
        Error::invalid(format!(
            "IAM role {:?} cannot be looked up, and only its path tells whether it is bound; the \
             server's log says why",
            principal.canonical()
        ))
    })?;
    if known.unique_id != unique_id {
        return Err(Error::invalid(format!(
            "IAM role {:?} is not the one that signed the request, but a later one of that name",
            principal.canonical()
        )));
    }
    aws.know_role(view, unique_id, &known.arn);
    Ok(known.arn)
}

fn login_of(role: &Role, identity: &Identity, caller: &Caller, who: Who) -> Login {
    let told = identity.metadata(caller);
    let mut metadata = told.clone();
    metadata.insert("role_id".to_owned(), role.id.clone());
    let kept = Kept { role: role.name.clone(), role_id: role.id.clone(), who };
    let kept = serde_json::to_string(&kept).expect("texts and names always encode");
    Login {
        display_name: caller.principal.display_name(),
        metadata,
        alias: Some(LoginAlias { name: identity.alias(&role.id, caller), metadata: told }),
        internal: Some(Sensitive::new(kept)),
        ..role.tokens.login()
    }
}

/// What a login of the role would give now. A token does not outlive its role, nor the binding that
/// let its owner in.
pub(super) async fn renew(view: &View, renewal: &Renewal) -> Result<Login, Error> {
    let kept = renewal.internal.as_ref().map(|kept| serde_json::from_str::<Kept>(kept.expose()));
    let Some(Ok(kept)) = kept else {
        return Err(Error::internal("what a login keeps for its renewals does not read"));
    };
    let found = role::find(view, &kept.role).await?;
    let found = found.map(|(role, _)| role).filter(|role| role.id == kept.role_id);
    let role = found.ok_or_else(|| Error::invalid("role entry not found"))?;
    match role.judge(&kept.who) {
        Verdict::Admitted => {
            Ok(Login { internal: renewal.internal.clone(), ..role.tokens.login() })
        }
        _ => {
            Err(Error::invalid(format!("role no longer bound to ARN {:?}", kept.who.canonical_arn)))
        }
    }
}
