//! From an engine's reply to the answer; the token of a login.

use crate::{
    Answer, Call, Content, Leased,
    handle::Admitted,
    identity::LoggedIn,
    kernel::Kernel,
    token::{self, NewToken},
};
use bailee_barrier::View;
use bailee_sdk::{Body, Error, Login, Reply, request::Issued};
use std::time::Duration;

/// How many answers in turn may wait for something after the commit.
const WAITS_MAX: usize = 4;

impl Kernel {
    /// What the reply says, and what must still be waited for after the commit. A login's token is
    /// made here, into the same batch.
    pub(crate) async fn answer(
        &self,
        call: &Call,
        admitted: &Admitted,
        view: &View,
        reply: Reply,
    ) -> Result<(Answer, Option<Body>), Error> {
        let target = &admitted.target;
        let kind = if reply.accepted { "" } else { target.shown_kind() };
        let mut answer = Answer {
            warnings: reply.warnings,
            missing: reply.missing,
            accepted: reply.accepted,
            data_at_top: target.has_data_at_top(),
            ..Answer::empty(&call.id, kind)
        };
        match reply.body {
            Body::Login(login) => {
                let auth = self.log_in(admitted, view, *login, &mut answer.warnings).await?;
                answer.auth = Some(Box::new(auth));
            }
            Body::Lease(data, mut lease) if lease.data.is_null() => {
                lease.ttl = self.lasting(admitted, lease.ttl);
                fill(&mut answer, Body::Lease(data, lease))?;
            }
            Body::Kept(kept) => return self.unwrap(admitted, view, *kept, answer).await,
            body @ Body::After(_) => return Ok((answer, Some(body))),
            body => fill(&mut answer, body)?,
        }
        Ok((answer, None))
    }

    /// How long what an engine gave lasts on this mount: zero stands for its default.
    fn lasting(&self, admitted: &Admitted, ttl: Duration) -> Duration {
        let entry = &admitted.target.mounted.entry;
        let (default, max) =
            entry.ttls(self.settings.default_lease_ttl, self.settings.max_lease_ttl);
        if ttl.is_zero() { default } else { ttl.min(max) }
    }

    /// The entity behind a login, made in the same batch when it is the first.
    async fn find_user(
        &self,
        admitted: &Admitted,
        view: &View,
        login: &Login,
    ) -> Result<Option<LoggedIn>, Error> {
        let Some(alias) = &login.alias else { return Ok(None) };
        let (namespace, mount) = (&admitted.target.place.namespace, &admitted.target.mounted.entry);
        let groups = &login.group_aliases;
        let identity = self.policies.identity();
        let user = identity.log_in(view, namespace, mount, alias, groups, admitted.now).await?;
        Ok(Some(user))
    }

    async fn log_in(
        &self,
        admitted: &Admitted,
        view: &View,
        login: Login,
        warnings: &mut Vec<String>,
    ) -> Result<Issued, Error> {
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
        let user = self.find_user(admitted, view, &login).await?;
        let (default, max) =
            target.mounted.entry.ttls(self.settings.default_lease_ttl, self.settings.max_lease_ttl);
        let max = if login.max_ttl.is_zero() { max } else { max.min(login.max_ttl) };
        let new = NewToken {
            namespace: (*target.place.namespace).clone(),
            parent: None,
            policies: policies.clone(),
            display_name: login.display_name,
            path: format!("{}{}", target.mounted.mount.path, target.path),
            meta: login.metadata.clone(),
            ttl: login.ttl,
            explicit_max_ttl: login.explicit_max_ttl,
            period: login.period.unwrap_or_default(),
            num_uses: login.num_uses,
            renewable: login.renewable,
            entity_id: user.as_ref().map(|user| user.entity_id.clone()),
            internal: login.internal,
            id: None,
            limits: Some(token::TtlLimits { default: default.min(max), max }),
            eternal: false,
            now: admitted.now,
        };
        let made = self.tokens.create(view, new).await?;
        warnings.extend(made.warnings);
        let (entity_id, identity_policies) =
            user.map(|user| (user.entity_id, user.policies)).unwrap_or_default();
        Ok(Issued {
            ttl: made.token.creation_ttl,
            client_token: made.secret,
            accessor: made.token.accessor.clone(),
            token_policies: policies.clone(),
            policies: token::joined(&policies, &identity_policies),
            identity_policies,
            metadata: login.metadata,
            renewable: made.token.renewable,
            entity_id,
            token_type: "service",
            orphan: made.token.orphan,
            num_uses: made.token.num_uses,
        })
    }
}

/// Waits for what the batch set off, then completes the answer.
pub(crate) async fn finish(mut answer: Answer, mut after: Option<Body>) -> Result<Answer, Error> {
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
        Body::Token(issued) => answer.auth = Some(issued),
        Body::Raw { content_type, bytes } => {
            answer.content = Content::Raw { content_type, bytes };
        }
        Body::Login(_) | Body::Kept(_) | Body::After(_) => {
            return Err(Error::internal("a token cannot be made after the commit"));
        }
    }
    Ok(())
}
