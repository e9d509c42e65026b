//! The life of a request: admit, audit, run, commit, audit, answer.

use crate::{
    Answer, Auth, Call, Content, Leased,
    audit::Trace,
    event,
    kernel::Kernel,
    policy::{self, Acl},
    registry::{Mounted, Place, Served},
    token::{self, NewToken, Token},
};
use bailee_barrier::View;
use bailee_sdk::{
    Body, Caller, Code, Error, Login, Operation, Path, Reply, Request, change,
    path::Captures,
    request::{Changes, Issued},
};
use serde_json::{Map, Value};
use std::{sync::Arc, time::SystemTime};

/// How often a request is run anew because another one changed the same thing meanwhile.
const TRIES_MAX: usize = 16;
/// How many answers in turn may wait for something after the commit.
const WAITS_MAX: usize = 4;
/// Families below `sys/` whose old clients read the data at the top level as well.
const DATA_AT_TOP: [&str; 13] = [
    "audit",
    "audit-hash",
    "auth",
    "config/cors",
    "config/auditing/request-headers",
    "capabilities",
    "capabilities-self",
    "capabilities-accessor",
    "ha-status",
    "key-status",
    "mounts",
    "policy",
    "remount",
];

/// Who asks.
#[derive(Clone)]
pub(crate) enum Asker {
    /// Nobody that is known: for paths that need no token.
    Nobody,
    /// The owner of a token.
    Token(Arc<Token>, Arc<Acl>),
    /// The system itself, limited to reading one path.
    System(Arc<Caller>),
}

/// A request that may go on.
pub(crate) struct Admitted {
    pub(crate) target: Target,
    pub(crate) asker: Asker,
    pub(crate) now: SystemTime,
}

/// What a request is for: an operation of a path of an engine of a mount of a namespace.
pub(crate) struct Target {
    place: Arc<Place>,
    mounted: Arc<Mounted>,
    served: Arc<Served>,
    /// Position of the path in the engine's table of contents.
    index: usize,
    captures: Captures,
    /// The path within the mount.
    path: String,
}

impl Kernel {
    /// Serves one request. Whatever comes of it is audited, refusals too.
    pub(crate) async fn handle(&self, call: Call) -> Result<Answer, Error> {
        let timer = event::RequestTimer::start();
        let mut trace = Trace::new(&call, self.clock.now());
        let admitted = self.admit(&call, &mut trace).await;
        self.audit.request(&trace, &call, admitted.as_ref().err()).await?;
        let outcome = match admitted {
            Ok(admitted) => self.run(&call, admitted).await,
            Err(refusal) => Err(refusal),
        };
        if let Some(token) = trace.last_use_of() {
            self.tokens.revoke_tree(&token.id).await?;
        }
        self.audit.response(&trace, &call, &outcome).await?;
        timer.stop(&trace, &outcome);
        outcome
    }

    /// Namespace, mount, token, right. The order is the security: who may not ask learns nothing
    /// about what is there.
    async fn admit(&self, call: &Call, trace: &mut Trace) -> Result<Admitted, Error> {
        check_path(call)?;
        self.registry.refresh().await?;
        let places = self.registry.places();
        let (place, path) =
            places.resolve(&call.namespace, &call.path).ok_or_else(|| no_handler(&call.path))?;
        trace.resolved(&place.namespace, &path);
        let target = self.find(place, &path, call.operation);
        if let Some((mounted, _)) = place.find(&path) {
            trace.mounted(mounted);
        }
        let needs_token = !target.as_ref().is_ok_and(|target| target.declared().unauthenticated);
        let asker = match self.authenticate(call, place, needs_token).await? {
            None => Asker::Nobody,
            Some(token) => {
                let token = if needs_token { self.spend(token, trace).await? } else { token };
                let rights = policy::rights(&self.policies, &token, &place.namespace).await?;
                Asker::Token(token, rights.0)
            }
        };
        trace.asked_by(&asker);
        let now = self.clock.now();
        if needs_token {
            let Asker::Token(token, acl) = &asker else { return Err(Error::permission_denied()) };
            let path = within(token, place, &path);
            let operation = self.operation(call, &target, &asker, &path, now).await?;
            let sudo = target.as_ref().is_ok_and(|target| target.declared().sudo);
            let verdict = acl.check(operation, &path, sudo, Some(&call.input), call.wrap_ttl);
            trace.judged(operation, &verdict);
            if !verdict.allowed {
                return Err(denied());
            }
        }
        Ok(Admitted { target: target?, asker, now })
    }

    /// Runs the engine and commits all it did at once, anew when others were faster.
    pub(crate) async fn run(&self, call: &Call, mut admitted: Admitted) -> Result<Answer, Error> {
        for _ in 0..TRIES_MAX {
            let target = &admitted.target;
            let changes = Changes::default();
            let request = self.request(call, &admitted, changes.clone());
            let view = request.view.clone();
            let endpoint = target.declared().endpoints.get(&call.operation);
            let endpoint = endpoint.ok_or_else(unsupported_operation)?;
            let reply = endpoint.call(request, target.captures.clone()).await?;
            let (answer, after) = self.answer(call, &admitted, &view, reply).await?;
            match self.commit(target, &view, &changes).await {
                Ok(()) => return finish(answer, after).await,
                Err(error) if error.code == Code::Conflict => event::conflict(),
                Err(error) => return Err(error),
            }
            let places = self.registry.places();
            let place = places.with_id(&target.place.namespace.id);
            let place = place.ok_or_else(|| no_handler(&call.path))?;
            let path = format!("{}{}", target.mounted.mount.path, target.path);
            admitted.target = self.find(place, &path, call.operation)?;
        }
        Err(bailee_barrier::Error::Conflict.into())
    }

    /// One batch for everything, guarded by the mount being what it was; then the wake-ups.
    async fn commit(&self, target: &Target, view: &View, changes: &Changes) -> Result<(), Error> {
        let changed = changes.take();
        for path in &changed {
            change::note(view, &target.place.namespace, &target.mounted.mount, path);
        }
        let writes = view.is_changed();
        if let (true, Some(guard)) = (writes, &target.mounted.guard) {
            view.guard(guard.clone());
        }
        let outcome = view.commit().await;
        // A commit that failed may have landed all the same.
        let moved = writes && target.changes_registry();
        if moved {
            self.registry.mark_namespaces();
            self.registry.mark_mounts(&target.place.namespace);
        } else if matches!(outcome, Err(bailee_barrier::Error::Conflict)) {
            self.registry.check(&target.place.namespace, &target.mounted).await?;
        }
        self.registry.refresh().await?;
        if moved || !changed.is_empty() {
            self.changed.send_replace(());
        }
        outcome.map(|_| ()).map_err(Error::from)
    }

    /// What a path within a namespace stands for.
    pub(crate) fn find(
        &self,
        place: &Arc<Place>,
        path: &str,
        operation: Operation,
    ) -> Result<Target, Error> {
        let (mounted, rest) = place.find(path).ok_or_else(|| no_handler(path))?;
        let served = self.served(mounted)?;
        let mut known = false;
        for (index, declared) in served.paths.iter().enumerate() {
            if declared.root_only && !place.namespace.is_root() {
                continue;
            }
            let Some(captures) = declared.matches(&rest) else { continue };
            let serves = declared.endpoints.contains_key(&operation);
            let folder = rest.ends_with('/') && !declared.pattern.ends_with('}');
            if folder && !(serves && operation == Operation::List) {
                // What is not a folder has no name with a slash.
                continue;
            }
            if serves {
                let (place, mounted) = (place.clone(), mounted.clone());
                return Ok(Target { place, mounted, served, index, captures, path: rest });
            }
            // The first that matches is meant: what comes behind it is more general.
            known = true;
            break;
        }
        Err(if known { unsupported_operation() } else { unsupported_path() })
    }

    /// The live token of the caller, if it may be used in this namespace. Where none is needed, one
    /// that is not valid counts as none.
    async fn authenticate(
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
            // The namespace of the token, or one below it, while both are there.
            place.namespace.path.starts_with(&token.namespace.path)
                && self.registry.places().with_id(&token.namespace.id).is_some()
        });
        match token {
            None if needed => Err(bad_token()),
            token => Ok(token),
        }
    }

    /// Takes one use off a token with limited uses.
    async fn spend(&self, token: Arc<Token>, trace: &mut Trace) -> Result<Arc<Token>, Error> {
        if token.num_uses == 0 {
            return Ok(token);
        }
        let spent = self.tokens.spend(&token).await?.ok_or_else(bad_token)?;
        if spent.last {
            trace.last_use(&spent.token);
        }
        Ok(spent.token)
    }

    /// A write creates when nothing is there. Whether it is, is asked only when the caller's rights
    /// depend on it.
    async fn operation(
        &self,
        call: &Call,
        target: &Result<Target, Error>,
        asker: &Asker,
        path: &str,
        now: SystemTime,
    ) -> Result<Operation, Error> {
        let (Operation::Update, Asker::Token(_, acl), Ok(target)) = (call.operation, asker, target)
        else {
            return Ok(call.operation);
        };
        if acl.may(Operation::Create, path) == acl.may(Operation::Update, path) {
            return Ok(Operation::Update);
        }
        let request = self.request_for(call, target, asker, now, Changes::default());
        match target.declared().check_exists(request, target.captures.clone()).await {
            Some(Ok(false)) => Ok(Operation::Create),
            Some(Ok(true)) | None => Ok(Operation::Update),
            Some(Err(error)) => Err(error),
        }
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
        }
    }

    /// What the reply says, and what must still be waited for after the commit. A login's token is
    /// made here, into the same batch.
    async fn answer(
        &self,
        call: &Call,
        admitted: &Admitted,
        view: &View,
        reply: Reply,
    ) -> Result<(Answer, Option<Body>), Error> {
        let target = &admitted.target;
        let mut answer = Answer {
            id: call.id.clone(),
            content: Content::Empty,
            leased: None,
            auth: None,
            warnings: reply.warnings,
            missing: reply.missing,
            mount_kind: target.mounted.entry.kind.clone(),
            data_at_top: target.has_data_at_top(),
        };
        match reply.body {
            Body::Login(login) => {
                let auth = self.log_in(admitted, view, *login, &mut answer.warnings).await?;
                answer.auth = Some(Box::new(auth));
            }
            body @ Body::After(_) => return Ok((answer, Some(body))),
            body => fill(&mut answer, body)?,
        }
        Ok((answer, None))
    }

    async fn log_in(
        &self,
        admitted: &Admitted,
        view: &View,
        login: Login,
        warnings: &mut Vec<String>,
    ) -> Result<Auth, Error> {
        let target = &admitted.target;
        let mut policies: Vec<String> =
            login.policies.iter().map(|policy| policy.to_lowercase()).collect();
        if policies.iter().any(|policy| policy == "root") {
            return Err(Error::invalid("auth methods cannot create root tokens"));
        }
        if !login.no_default_policy {
            policies.push("default".to_owned());
        }
        policies.sort_unstable();
        policies.dedup();
        let (default, max) =
            target.mounted.entry.ttls(self.settings.default_lease_ttl, self.settings.max_lease_ttl);
        let new = NewToken {
            namespace: (*target.place.namespace).clone(),
            parent: None,
            policies: policies.clone(),
            display_name: login.display_name,
            path: format!("{}{}", target.mounted.mount.path, target.path),
            meta: login.metadata.clone(),
            ttl: login.ttl,
            explicit_max_ttl: login.max_ttl,
            period: login.period.unwrap_or_default(),
            num_uses: login.num_uses,
            renewable: login.renewable,
            entity_id: None,
            internal: login.internal,
            id: None,
            limits: Some(token::TtlLimits { default, max }),
            eternal: false,
            now: admitted.now,
        };
        let made = self.tokens.create(view, new).await?;
        warnings.extend(made.warnings);
        Ok(Auth {
            ttl: made.token.remaining(admitted.now).unwrap_or_default(),
            client_token: made.secret,
            accessor: made.token.accessor.clone(),
            token_policies: policies.clone(),
            policies,
            identity_policies: Vec::new(),
            metadata: login.metadata,
            renewable: made.token.renewable,
            entity_id: String::new(),
            token_type: "service",
            orphan: made.token.orphan,
            num_uses: made.token.num_uses,
        })
    }
}

impl Target {
    fn declared(&self) -> &Path {
        self.served.paths.get(self.index).expect("the index came from this table")
    }

    fn is_system(&self) -> bool {
        self.mounted.entry.kind == crate::mount::SYSTEM_KIND
    }

    /// Whether its writes change what requests are routed by.
    fn changes_registry(&self) -> bool {
        let family = self.path.split('/').next().unwrap_or_default();
        self.is_system() && matches!(family, "mounts" | "auth" | "namespaces" | "remount")
    }

    fn has_data_at_top(&self) -> bool {
        let family = |family: &&str| {
            self.path
                .strip_prefix(*family)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.is_system() && DATA_AT_TOP.iter().any(|name| family(&name))
    }
}

impl Asker {
    /// What engines see of it.
    fn caller(&self, place: &Arc<Place>) -> Option<Arc<Caller>> {
        match self {
            Asker::Nobody => None,
            Asker::System(caller) => Some(caller.clone()),
            Asker::Token(token, acl) => {
                let acl = acl.clone();
                let prefix = within(token, place, "");
                Some(Arc::new(Caller {
                    display_name: token.display_name.clone(),
                    accessor: token.accessor.clone(),
                    token_id: token.id.as_str().to_owned(),
                    entity_id: token.entity_id.clone(),
                    policies: token.policies.clone(),
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

/// Waits for what the batch set off, then completes the answer.
async fn finish(mut answer: Answer, mut after: Option<Body>) -> Result<Answer, Error> {
    for _ in 0..WAITS_MAX {
        let Some(Body::After(work)) = after else { return Ok(answer) };
        let reply = work.await?;
        answer.warnings.extend(reply.warnings);
        answer.missing |= reply.missing;
        after = match reply.body {
            body @ Body::After(_) => Some(body),
            body => {
                fill(&mut answer, body)?;
                None
            }
        };
    }
    match after {
        None => Ok(answer),
        Some(_) => Err(Error::internal("a reply waits for ever more")),
    }
}

fn fill(answer: &mut Answer, body: Body) -> Result<(), Error> {
    match body {
        Body::Empty => {}
        Body::Data(data) => answer.content = Content::Data(data),
        Body::Lease(data, lease) => {
            if !lease.data.is_null() {
                return Err(Error::internal("an engine gave a lease, and none are kept yet"));
            }
            answer.content = Content::Data(data);
            let (ttl, renewable) = (lease.ttl, lease.renewable);
            answer.leased = Some(Leased { id: String::new(), ttl, renewable });
        }
        Body::Token(issued) => answer.auth = Some(Box::new((*issued).into())),
        Body::Raw { content_type, bytes } => {
            answer.content = Content::Raw { content_type, bytes };
        }
        Body::Login(_) | Body::After(_) => {
            return Err(Error::internal("a token cannot be made after the commit"));
        }
    }
    Ok(())
}

impl From<Issued> for Auth {
    fn from(issued: Issued) -> Auth {
        Auth {
            client_token: issued.client_token,
            accessor: issued.accessor,
            policies: issued.policies,
            token_policies: issued.token_policies,
            identity_policies: issued.identity_policies,
            metadata: issued.metadata,
            ttl: issued.ttl,
            renewable: issued.renewable,
            entity_id: issued.entity_id,
            token_type: issued.token_type,
            orphan: issued.orphan,
            num_uses: issued.num_uses,
        }
    }
}

/// A path of a namespace as policies of the token's own namespace name it.
pub(crate) fn within(token: &Token, place: &Place, path: &str) -> String {
    let below = place.namespace.path.strip_prefix(token.namespace.path.as_str());
    format!("{}{path}", below.unwrap_or_default())
}

fn check_path(call: &Call) -> Result<(), Error> {
    let writes = match call.operation {
        Operation::Create | Operation::Update | Operation::Patch => true,
        Operation::Read | Operation::Delete | Operation::List => false,
    };
    if writes && call.path.ends_with('/') {
        return Err(Error::invalid("cannot write to a path ending in '/'"));
    }
    if call.path.split('/').any(|segment| segment == "..") {
        return Err(Error::invalid("path cannot contain parent references"));
    }
    Ok(())
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

fn no_handler(path: &str) -> Error {
    let message = format!("no handler for route {path:?}. route entry not found.");
    Error::new(Code::NotFound, message)
}

fn unsupported_path() -> Error {
    Error::new(Code::NotFound, "1 error occurred:\n\t* unsupported path\n\n")
}

fn unsupported_operation() -> Error {
    Error::new(Code::Unsupported, "1 error occurred:\n\t* unsupported operation\n\n")
}

/// The system as a caller: it may read this one path of the namespace and nothing else.
pub(crate) fn system_caller(name: &str, path: &str) -> Arc<Caller> {
    let only = path.to_owned();
    Arc::new(Caller {
        display_name: name.to_owned(),
        accessor: String::new(),
        token_id: String::new(),
        entity_id: None,
        policies: Vec::new(),
        may: Arc::new(move |operation, path| operation == Operation::Read && path == only),
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
    }
}
