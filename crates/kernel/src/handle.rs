//! The life of a request: admit, audit, run, commit, audit, answer.

use crate::{
    Answer, Call, answer,
    audit::Trace,
    event, headers, help,
    kernel::Kernel,
    policy::{self, Asked, Needs, Rights, Verdict},
    registry::Place,
    streaming,
    target::{Target, no_namespace, unsupported_operation},
    token::{self, Token},
};
use bailee_barrier::View;
use bailee_sdk::{
    Body, Caller, Code, Error, Headers, Operation, Request, change, cidr, request::Changes,
};
use serde_json::{Map, Value};
use std::{sync::Arc, time::SystemTime};

/// How often a request is run anew because another one changed the same thing meanwhile.
const TRIES_MAX: usize = 16;
/// Who asks.
#[derive(Clone)]
pub(crate) enum Asker {
    /// Nobody that is known: for paths that need no token.
    Nobody,
    /// The owner of a token.
    Token(Arc<Token>, Rights),
    /// The system itself, limited to reading one path.
    System(Arc<Caller>),
}

/// What a request that may go on is to get.
enum Admission {
    /// What its path stands for.
    Run(Admitted),
    /// Only to be told about its path.
    Help(Answer),
}

impl Admission {
    /// The rights of the token that a request goes on with.
    fn acl(&self) -> Option<Arc<policy::Acl>> {
        match self {
            Admission::Run(Admitted { asker: Asker::Token(_, rights), .. }) => {
                Some(rights.acl.clone())
            }
            Admission::Run(_) | Admission::Help(_) => None,
        }
    }
}

/// A request that may go on.
pub(crate) struct Admitted {
    pub(crate) target: Target,
    pub(crate) asker: Asker,
    pub(crate) now: SystemTime,
    /// Whether what the path names was found there, if the caller's right depends on it.
    pub(crate) existed: Option<bool>,
}

impl Kernel {
    /// Serves one request. Whatever comes of it is audited, refusals too.
    pub(crate) async fn handle(self: &Arc<Self>, call: Call) -> Result<Answer, Error> {
        let timer = event::RequestTimer::start();
        let now = self.clock.now();
        let _running = self.running.enter(&call, now);
        let mut trace = Trace::new(&call, now);
        let admitted = self.admit(&call, &mut trace).await;
        if let Ok(Admission::Run(admitted)) = &admitted {
            trace.admitted(admitted);
        }
        let recorded = self.audit.request(&trace, &call, admitted.as_ref().err()).await;
        if let (Err(_), Some(token)) = (&recorded, trace.spent_of()) {
            // What is not recorded does not happen. A wrapping token would be lost with its one use.
            self.tokens.give_back(token).await.unwrap_or_else(event::use_lost);
        }
        recorded?;
        let acl = admitted.as_ref().ok().and_then(Admission::acl);
        let outcome = match admitted {
            Ok(Admission::Run(admitted)) => self.run_guarded(&call, admitted).await,
            Ok(Admission::Help(answer)) => Ok(answer),
            Err(refusal) => Err(refusal),
        };
        if let Some(token) = trace.last_use_of() {
            // It is used up already; a pass clears away what is left of it.
            self.tokens.revoke_tree(&token.id).await.unwrap_or_else(event::revocation_failed);
        }
        self.audit.response(&trace, &call, &outcome).await?;
        timer.stop(&trace, &outcome);
        outcome.map(|answer| streaming::guarded(answer, self, &call, acl))
    }

    /// Namespace, mount, token, right. The order is the security: who may not ask learns nothing
    /// about what is there.
    async fn admit(&self, call: &Call, trace: &mut Trace) -> Result<Admission, Error> {
        check_path(call)?;
        self.registry.refresh().await?;
        let places = self.registry.places();
        let (place, path) = places.resolve(&call.namespace, &call.path).ok_or_else(no_namespace)?;
        trace.resolved(&place.namespace, &path);
        if let Some(locked) = places.locked(&place.namespace)
            && !opens_namespaces(&path)
        {
            return Err(locked_namespace(locked));
        }
        let target = self.find(place, &path, call.operation);
        match &target {
            Ok(target) => trace.mounted(&target.mounted),
            Err(_) => {
                place.find(&path).into_iter().for_each(|(mounted, _)| trace.mounted(mounted));
            }
        }
        let asks_help = help::is_asked(call);
        if !asks_help {
            self.check_wrapping_token(call, target.as_ref().ok()).await?;
        }
        let needs_token =
            asks_help || !target.as_ref().is_ok_and(|target| target.declared().unauthenticated);
        let asker = match self.authenticate(call, place, needs_token).await? {
            None => Asker::Nobody,
            Some(token) => {
                let token = if needs_token { self.spend(token, trace).await? } else { token };
                match policy::full_rights(&self.policies, &token).await {
                    Ok(rights) => Asker::Token(token, rights),
                    // Its entity is disabled or gone: it counts like a token that is not valid.
                    Err(error) if !needs_token && error.code == Code::PermissionDenied => {
                        Asker::Nobody
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        trace.asked_by(&asker);
        let now = self.clock.now();
        let mut existed = None;
        if needs_token {
            let Asker::Token(token, Rights { acl, .. }) = &asker else {
                return Err(Error::permission_denied());
            };
            let here = &path;
            let path = within(token, place, here);
            if asks_help {
                let allowed = help::is_allowed(acl, &path);
                trace.judged(call.operation, Verdict { allowed, granting: Vec::new() });
                if !allowed {
                    return Err(denied());
                }
                return Ok(Admission::Help(self.help(call, place, here)?));
            }
            existed = self.existence(call, &target, &asker, &path, now).await?;
            let operation = operation(call, existed);
            let needs = target.as_ref().map(|target| needs(token, target)).unwrap_or_default();
            let verdict = acl.judge(&asked(call, operation, &path, needs));
            let allowed = verdict.allowed;
            trace.judged(operation, verdict);
            if !allowed {
                return Err(denied());
            }
            self.activity.saw(token);
        }
        Ok(Admission::Run(Admitted { target: target?, asker, now, existed }))
    }

    /// Runs it, unless it is the login of a user who is locked out.
    async fn run_guarded(&self, call: &Call, admitted: Admitted) -> Result<Answer, Error> {
        let Some(attempt) = self.lockout.enter(call, &admitted.target).await? else {
            return self.run(call, admitted).await;
        };
        let outcome = self.run(call, admitted).await;
        self.lockout.leave(attempt, &outcome).await?;
        outcome
    }

    /// Runs the engine and commits all it did at once, anew when others were faster.
    pub(crate) async fn run(&self, call: &Call, mut admitted: Admitted) -> Result<Answer, Error> {
        for attempt in 0..TRIES_MAX {
            match self.attempt(call, &admitted, attempt > 0).await {
                Ok((answer, None)) => return Ok(answer),
                Ok((answer, after)) => {
                    let answer = answer::finish(answer, after).await?;
                    return self.wrap_late(call, &admitted, answer).await;
                }
                Err(error) if error.code == Code::Conflict => event::conflict(),
                Err(error) => return Err(error),
            }
            let place = &admitted.target.place;
            self.registry.check(&place.namespace, &admitted.target.mounted).await?;
            self.registry.refresh().await?;
            let places = self.registry.places();
            let place = places.with_id(&place.namespace.id);
            let place = place.ok_or_else(no_namespace)?;
            admitted.target = self.find(place, &admitted.target.full_path(), call.operation)?;
            self.judge_again(call, &mut admitted).await?;
        }
        Err(bailee_barrier::Error::Conflict.into())
    }

    async fn attempt(
        &self,
        call: &Call,
        admitted: &Admitted,
        again: bool,
    ) -> Result<(Answer, Option<Body>), Error> {
        let target = &admitted.target;
        let changes = Changes::default();
        let request = self.request(call, admitted, changes.clone());
        let view = request.view.clone();
        // What an engine commits ahead of the batch holds under the same condition.
        target.mounted.guard.iter().for_each(|guard| view.guard(guard.clone()));
        if again {
            // Those that come again wait for each other, so that each gets through.
            view.at("retry/").lock(&target.mounted.mount.uuid).await;
        }
        let endpoint = target.declared().endpoints.get(&call.operation);
        let endpoint = endpoint.ok_or_else(unsupported_operation)?;
        let reply = endpoint.call(request, target.captures.clone()).await?;
        if matches!(&reply.body, Body::Lease(_, lease) if !lease.data.is_null()) {
            let entered = self.leases.enter(&target.mounted).await?;
            // Held until the batch has landed.
            view.after_commit(move || drop(entered));
        }
        let is_whole = !matches!(reply.body, Body::After(_));
        let (mut answer, after) = self.answer(call, admitted, &view, reply).await?;
        let withheld = answer.has_lease() && admitted.asker.is_spent();
        if is_whole && !withheld {
            self.wrap(call, admitted, &view, &mut answer).await?;
        }
        // What the engine has read is guarded by the commit; what the right rests on, here.
        if admitted.existed.is_some() && self.exists_now(call, admitted).await? != admitted.existed
        {
            return Err(bailee_barrier::Error::Conflict.into());
        }
        self.commit(target, &view, &changes).await?;
        if withheld {
            return Err(Error::invalid(
                "Secret cannot be returned; token had one use left, so leased credentials were \
                 immediately revoked.",
            ));
        }
        Ok((answer, after))
    }

    /// One batch for everything, guarded by the mount being what it was; then the wake-ups.
    async fn commit(&self, target: &Target, view: &View, changes: &Changes) -> Result<(), Error> {
        let changed = changes.take();
        for path in &changed {
            change::note(view, &target.place.namespace, &target.mounted.mount, path);
        }
        let moved = view.is_changed() && target.changes_registry();
        if moved || !changed.is_empty() {
            let (registry, place) = (self.registry.clone(), target.place.clone());
            let waiting = self.changed.clone();
            // Also when it failed, or nobody waits for it: it may have landed all the same.
            view.after_commit(move || {
                if moved {
                    registry.mark_namespaces();
                    registry.mark_mounts(&place.namespace);
                }
                waiting.send_replace(());
            });
        }
        view.commit().await?;
        self.registry.refresh().await
    }

    /// The live token of the caller, if it may be used in this namespace. Where none is needed, one
    /// that is not valid counts as none.
    pub(crate) async fn authenticate(
        &self,
        call: &Call,
        place: &Place,
        needed: bool,
    ) -> Result<Option<Arc<Token>>, Error> {
        let secret = call.token.as_ref().filter(|secret| !secret.expose().is_empty());
        let Some(secret) = secret else {
            return if needed { Err(Error::permission_denied()) } else { Ok(None) };
        };
        let token = self.tokens.authenticate(secret).await?.filter(|token| {
            // The namespace of the token, or one below it.
            place.namespace.path.starts_with(&token.namespace.path)
        });
        let remote = call.remote.map(|remote| remote.ip());
        match token {
            None if needed => Err(bad_token()),
            Some(token) if !cidr::allow(&token.bound_cidrs, remote) => {
                if needed {
                    Err(Error::permission_denied())
                } else {
                    Ok(None)
                }
            }
            token => Ok(token),
        }
    }

    /// Takes one use off a token with limited uses.
    async fn spend(&self, token: Arc<Token>, trace: &mut Trace) -> Result<Arc<Token>, Error> {
        if token.num_uses == 0 {
            return Ok(token);
        }
        let spent = self.tokens.spend(&token).await?.ok_or_else(bad_token)?;
        trace.spent(&spent);
        Ok(spent)
    }

    /// Whether what a write names is there; asked only when the caller's rights depend on it.
    async fn existence(
        &self,
        call: &Call,
        target: &Result<Target, Error>,
        asker: &Asker,
        path: &str,
        now: SystemTime,
    ) -> Result<Option<bool>, Error> {
        let (Operation::Update, Asker::Token(_, Rights { acl, .. }), Ok(target)) =
            (call.operation, asker, target)
        else {
            return Ok(None);
        };
        if acl.may(Operation::Create, path) == acl.may(Operation::Update, path) {
            return Ok(None);
        }
        let request = self.request_for(call, target, asker, now, Changes::default());
        target.declared().check_exists(request, target.captures.clone()).await.transpose()
    }

    async fn exists_now(&self, call: &Call, admitted: &Admitted) -> Result<Option<bool>, Error> {
        let target = &admitted.target;
        let request = self.request(call, admitted, Changes::default());
        target.declared().check_exists(request, target.captures.clone()).await.transpose()
    }

    /// Another one may have made or removed what the right to this write depended on.
    async fn judge_again(&self, call: &Call, admitted: &mut Admitted) -> Result<(), Error> {
        let (Some(_), Asker::Token(token, Rights { acl, .. })) =
            (admitted.existed, &admitted.asker)
        else {
            return Ok(());
        };
        let target = &admitted.target;
        let path = within(token, &target.place, &target.full_path());
        let existed = self.exists_now(call, admitted).await?;
        let asked = asked(call, operation(call, existed), &path, needs(token, target));
        if !acl.judge(&asked).allowed {
            return Err(denied());
        }
        admitted.existed = existed;
        Ok(())
    }

    fn request(
        &self,
        call: &Call,
        admitted: &Admitted,
        changes: Changes,
    ) -> Request<Map<String, Value>> {
        self.request_for(call, &admitted.target, &admitted.asker, admitted.now, changes)
    }

    fn request_for(
        &self,
        call: &Call,
        target: &Target,
        asker: &Asker,
        now: SystemTime,
        changes: Changes,
    ) -> Request<Map<String, Value>> {
        let mut input = call.input.clone();
        if let (crate::mount::TOKEN_KIND, Some(secret)) =
            (target.mounted.entry.kind.as_str(), &call.token)
        {
            token::complete_input(&target.path, &mut input, secret);
        }
        let passed = &target.mounted.entry.config.passthrough_request_headers;
        let limits = self.settings.limits();
        Request {
            input,
            operation: call.operation,
            path: target.path.clone(),
            caller: asker.caller(&target.place),
            now,
            namespace: target.place.namespace.clone(),
            mount: target.mounted.mount.clone(),
            mounts: target.place.secrets.clone(),
            view: self.barrier.view(&target.mounted.prefix),
            changes,
            remote: call.remote.map(|remote| remote.ip()),
            headers: headers::passed(call, passed),
            lease_max: target.mounted.entry.ttls(limits.default, limits.max).1,
        }
    }
}

impl Asker {
    /// Whether it is a token that makes its last use.
    fn is_spent(&self) -> bool {
        matches!(self, Asker::Token(token, _) if token.used_up)
    }

    /// What engines see of it.
    fn caller(&self, place: &Arc<Place>) -> Option<Arc<Caller>> {
        match self {
            Asker::Nobody => None,
            Asker::System(caller) => Some(caller.clone()),
            Asker::Token(token, rights) => {
                let acl = rights.acl.clone();
                let prefix = within(token, place, "");
                Some(Arc::new(Caller {
                    display_name: token.display_name.clone(),
                    accessor: token.accessor.clone(),
                    token_id: token.id.as_str().to_owned(),
                    entity_id: token.entity_id.clone(),
                    policies: token::joined(&token.policies, rights.identity_policies()),
                    may: Arc::new(move |operation, path| {
                        if prefix.is_empty() {
                            acl.may(operation, path)
                        } else {
                            acl.may(operation, &format!("{prefix}{path}"))
                        }
                    }),
                }))
            }
        }
    }
}

/// A write creates when nothing is there.
fn operation(call: &Call, existed: Option<bool>) -> Operation {
    match existed {
        Some(false) => Operation::Create,
        Some(true) | None => call.operation,
    }
}

/// A path of a namespace as policies of the token's own namespace name it.
pub(crate) fn within(token: &Token, place: &Place, path: &str) -> String {
    let below = place.namespace.path.strip_prefix(token.namespace.path.as_str());
    format!("{}{path}", below.unwrap_or_default())
}

/// What the endpoint asks of the rules of this token.
fn needs(token: &Token, target: &Target) -> Needs {
    let declared = target.declared();
    if !declared.ignores_case {
        return Needs { sudo: declared.sudo, caseless_after: None };
    }
    Needs::of(declared, &within(token, &target.place, &target.mounted.mount.path))
}

/// The call as rules see it.
fn asked<'a>(call: &'a Call, operation: Operation, path: &'a str, needs: Needs) -> Asked<'a> {
    Asked { operation, path, needs, input: Some(&call.input), wrap_ttl: call.wrap_ttl }
}

fn check_path(call: &Call) -> Result<(), Error> {
    let writes = match call.operation {
        Operation::Create | Operation::Update | Operation::Patch => true,
        Operation::Read | Operation::Delete | Operation::List | Operation::Scan => false,
    };
    if writes && call.path.ends_with('/') {
        return Err(Error::invalid("cannot write to a path ending in '/'"));
    }
    if call.path.split('/').any(|segment| segment == "..") {
        return Err(Error::invalid("path cannot contain parent references"));
    }
    // Engines trim slashes: what policies are asked about must be the only name of a thing.
    let inner = call.path.strip_suffix('/').unwrap_or(&call.path);
    if !inner.is_empty() && inner.split('/').any(|segment| matches!(segment, "" | ".")) {
        return Err(Error::invalid("path cannot contain empty or '.' segments"));
    }
    Ok(())
}

/// What is served in a namespace that is locked: the way out.
fn opens_namespaces(path: &str) -> bool {
    let rest = path.strip_prefix("sys/namespaces/api-lock/unlock");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn locked_namespace(path: &str) -> Error {
    let text = format!(
        "API access to this namespace has been locked by an administrator - {path:?} must be \
         unlocked to gain access."
    );
    Error::new(Code::Sealed, text)
}

fn bad_token() -> Error {
    Error::new(
        Code::PermissionDenied,
        "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n",
    )
}

fn denied() -> Error {
    Error::new(Code::PermissionDenied, "1 error occurred:\n\t* permission denied\n\n")
}

/// The system as a caller: it may read this one path of the namespace and nothing else.
pub(crate) fn system_caller(name: &str, permitted: Operation, path: &str) -> Arc<Caller> {
    let only = path.to_owned();
    Arc::new(Caller {
        display_name: name.to_owned(),
        accessor: String::new(),
        token_id: String::new(),
        entity_id: None,
        policies: Vec::new(),
        may: Arc::new(move |operation, path| operation == permitted && path == only),
    })
}

/// A call that the system makes.
pub(crate) fn system_call(
    id: String,
    namespace: &str,
    path: &str,
    input: Map<String, Value>,
) -> Call {
    Call {
        id,
        namespace: namespace.to_owned(),
        path: path.to_owned(),
        operation: Operation::Read,
        input,
        token: None,
        wrap_ttl: None,
        remote: None,
        headers: Headers::default(),
    }
}
