//! What becomes known of a request on its way.

use crate::{
    Call,
    handle::{Admitted, Asker},
    policy::Verdict,
    registry::Mounted,
    token::Token,
};
use bailee_sdk::{Namespace, Operation};
use std::{fmt, sync::Arc, time::SystemTime};

/// What becomes known of a request on its way.
#[derive(Clone)]
pub(crate) struct Trace {
    pub(super) time: SystemTime,
    pub(super) operation: Operation,
    pub(super) namespace: Namespace,
    pub(super) path: String,
    pub(super) mounted: Option<Arc<Mounted>>,
    pub(super) token: Option<Arc<Token>>,
    /// Policies that the entity behind the token adds.
    pub(super) identity_policies: Vec<String>,
    pub(super) system: Option<String>,
    pub(super) verdict: Option<Verdict>,
    spent: Option<Arc<Token>>,
}

impl Trace {
    pub(crate) fn new(call: &Call, time: SystemTime) -> Trace {
        Trace {
            time,
            operation: call.operation,
            namespace: Namespace::root(),
            path: call.path.clone(),
            mounted: None,
            token: None,
            identity_policies: Vec::new(),
            system: None,
            verdict: None,
            spent: None,
        }
    }

    /// The namespace is known, and the path in it.
    pub(crate) fn resolved(&mut self, namespace: &Namespace, path: &str) {
        self.namespace = namespace.clone();
        path.clone_into(&mut self.path);
    }

    /// The mount is known.
    pub(crate) fn mounted(&mut self, mounted: &Arc<Mounted>) {
        self.mounted = Some(mounted.clone());
    }

    /// The caller is known.
    pub(crate) fn asked_by(&mut self, asker: &Asker) {
        match asker {
            Asker::Nobody => {}
            Asker::Token(token, rights) => {
                self.token = Some(token.clone());
                self.identity_policies = rights.identity_policies().to_vec();
            }
            Asker::System(caller) => self.system = Some(caller.display_name.clone()),
        }
    }

    /// The right is known.
    pub(crate) fn judged(&mut self, operation: Operation, verdict: Verdict) {
        self.operation = operation;
        self.verdict = Some(verdict);
    }

    /// The request may go on. Whoever needs no right has it.
    pub(crate) fn admitted(&mut self, admitted: &Admitted) {
        if self.verdict.is_none() && admitted.target.declared().unauthenticated {
            self.verdict = Some(Verdict { allowed: true, granting: Vec::new() });
        }
    }

    /// The request has taken a use off the token, which is as it is after that.
    pub(crate) fn spent(&mut self, token: &Arc<Token>) {
        self.spent = Some(token.clone());
    }

    /// The token that the request has taken a use off.
    pub(crate) fn spent_of(&self) -> Option<&Arc<Token>> {
        self.spent.as_ref()
    }

    /// The token that ends with this request.
    pub(crate) fn last_use_of(&self) -> Option<&Arc<Token>> {
        self.spent_of().filter(|token| token.used_up)
    }

    pub(super) fn is_last_use(&self) -> bool {
        self.last_use_of().is_some()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({})", self.operation.name())
    }
}

/// The trace of something the system does itself.
pub(crate) fn system_trace(
    name: &str,
    namespace: &Namespace,
    call: &Call,
    time: SystemTime,
) -> Trace {
    let mut trace = Trace::new(call, time);
    trace.resolved(namespace, &call.path);
    trace.system = Some(name.to_owned());
    trace
}
