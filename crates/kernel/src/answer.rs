//! From an engine's reply to the answer; the token of a login.

use crate::{
    Answer, Call, Content, Leased,
    handle::{Admitted, Asker},
    identity::{LoggedIn, User},
    kernel::Kernel,
    lease::Asked,
    token::{self, NewToken},
};
use bailee_barrier::View;
use bailee_sdk::{Body, Error, Lease, Login, Reply, cidr, request::Issued};
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
            refused: reply.refused,
            data_at_top: target.has_data_at_top(),
            ..Answer::empty(&call.id, kind)
        };
        match reply.body {
            Body::Login(login) => {
                let auth = self.log_in(call, admitted, view, *login, &mut answer.warnings).await?;
                answer.auth = Some(Box::new(auth));
            }
            Body::Lease(data, mut lease) if lease.data.is_null() => {
                lease.ttl = self.lasting(admitted, lease.ttl);
                fill(&mut answer, Body::Lease(data, lease))?;
            }
            Body::Lease(data, lease) => {
                let (leased, warnings) = self.lease(admitted, view, lease).await?;
                answer.content = Content::Data(data);
                answer.leased = Some(leased);
                answer.warnings.extend(warnings);
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
        let target = &admitted.target;
        let user = User {
            alias,
            groups: &login.group_aliases,
            mount: &target.mounted.mount,
            local: target.mounted.entry.local,
        };
        let identity = self.policies.identity();
        identity.log_in(view, &target.place.namespace, user, admitted.now).await.map(Some)
    }

    /// Keeps what an engine gave out for a time, in the same batch.
    async fn lease(
        &self,
        admitted: &Admitted,
        view: &View,
        lease: Lease,
    ) -> Result<(Leased, Vec<String>), Error> {
        let Asker::Token(token, _) = &admitted.asker else {
            return Err(Error::invalid("a lease is only given to a token"));
        };
        let target = &admitted.target;
        let asked = Asked {
            place: &target.place,
            mounted: &target.mounted,
            path: &target.path,
            token,
            now: admitted.now,
        };
        self.leases.create(view, asked, lease).await
    }

    async fn log_in(
        &self,
        call: &Call,
        admitted: &Admitted,
        view: &View,
        login: Login,
        warnings: &mut Vec<String>,
    ) -> Result<Issued, Error> {
        let target = &admitted.target;
        let bound_cidrs = cidr::parse_all(&login.bound_cidrs).map_err(Error::internal)?;
        if !cidr::allow(&bound_cidrs, call.remote.map(|remote| remote.ip())) {
            return Err(Error::permission_denied());
        }
        let user = self.find_user(admitted, view, &login).await?;
        let entry = &target.mounted.entry;
        let (default, max) =
            entry.ttls(self.settings.default_lease_ttl, self.settings.max_lease_ttl);
        let max = if login.max_ttl.is_zero() { max } else { max.min(login.max_ttl) };
        let path = format!("{}{}", target.mounted.mount.path, target.path);
        let new = NewToken {
            policies: policies_of(&login)?,
            display_name: display_name(&target.mounted.mount.path, &login.display_name),
            meta: login.metadata,
            ttl: login.ttl,
            explicit_max_ttl: login.explicit_max_ttl,
            period: login.period.unwrap_or_default(),
            num_uses: login.num_uses,
            renewable: login.renewable,
            entity_id: user.as_ref().map(|user| user.entity_id.clone()),
            internal: login.internal,
            limits: Some(token::TtlLimits { default: default.min(max), max }),
            kind: token::Kind::of_login(login.token_type, &entry.config.token_type),
            mount: Some(entry.uuid.clone()),
            bound_cidrs,
            ..NewToken::new((*target.place.namespace).clone(), path, admitted.now)
        };
        let made = self.tokens.create(view, new).await?;
        warnings.extend(made.warnings);
        let ttl = made.token.creation_ttl;
        let identity_policies = user.map(|user| user.policies).unwrap_or_default();
        let issued = token::issued(&made.token, made.secret, ttl);
        let policies = token::joined(&issued.token_policies, &identity_policies);
        Ok(Issued { policies, identity_policies, ..issued })
    }
}

/// The policies of a login's token: in lower case, sorted, each once, `default` where it belongs.
fn policies_of(login: &Login) -> Result<Vec<String>, Error> {
    let named = login.policies.iter().map(|policy| policy.trim().to_lowercase());
    let mut policies: Vec<String> = named.filter(|policy| !policy.is_empty()).collect();
    if policies.iter().any(|policy| policy == "root") {
        return Err(Error::invalid("auth methods cannot create root tokens"));
    }
    if !login.no_default_policy {
        policies.push("default".to_owned());
    }
    policies.sort_unstable();
    policies.dedup();
    Ok(policies)
}

/// The name of a login's token: where the method is mounted, then the user it names, if it does.
fn display_name(mount: &str, user: &str) -> String {
    let source = mount.strip_prefix("auth/").unwrap_or(mount).trim_end_matches('/');
    let source = source.replace('/', "-");
    if user.is_empty() { source } else { format!("{source}-{user}") }
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
                return Err(Error::internal("a lease cannot be made after the commit"));
            }
            answer.content = Content::Data(data);
            let (ttl, renewable) = (lease.ttl, lease.renewable);
            answer.leased = Some(Leased { id: String::new(), ttl, renewable });
        }
        Body::Prolonged { lease_id, ttl, renewable } => {
            answer.leased = Some(Leased { id: lease_id, ttl, renewable });
        }
        Body::Token(issued) => answer.auth = Some(issued),
        Body::Raw { content_type, bytes } => {
            answer.content = Content::Raw { content_type, bytes };
        }
        Body::Stream { content_type, pieces } => {
            answer.content = Content::Stream { content_type, pieces };
        }
        Body::Login(_) | Body::Kept(_) | Body::After(_) => {
            return Err(Error::internal("a token cannot be made after the commit"));
        }
    }
    Ok(())
}
