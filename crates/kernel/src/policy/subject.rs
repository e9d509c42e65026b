//! Whom an explanation is about: the policies that apply, and what is known of the entity.

use super::{Facts, PolicyStore};
use crate::token::Token;
use bailee_sdk::{Error, Namespace};

/// Who is asked about.
pub(crate) struct Subject {
    /// The namespace of the policies.
    pub(crate) namespace: Namespace,
    /// Names of the policies that apply.
    pub(crate) policies: Vec<String>,
    /// What templates stand for.
    pub(crate) facts: Facts,
    /// What stands before paths of the asked namespace in the policies.
    pub(crate) prefix: String,
}

impl Subject {
    /// Whoever has these policies of a namespace, and no entity.
    pub(crate) fn named(namespace: &Namespace, policies: Vec<String>) -> Subject {
        let namespace = namespace.clone();
        Subject { namespace, policies, facts: Facts::default(), prefix: String::new() }
    }

    /// Adds what an entity has.
    fn join(&mut self, facts: &Facts) {
        self.policies.extend(facts.policies.iter().cloned());
        self.policies.sort_unstable();
        self.policies.dedup();
        self.facts = facts.clone();
    }
}

/// The owner of a token, asking in a namespace. Outside of its own and those below, none of its
/// policies apply; nor do any when its entity is disabled or gone.
pub(crate) async fn of_token(
    policies: &PolicyStore,
    token: &Token,
    namespace: &Namespace,
) -> Result<Subject, Error> {
    let Some(prefix) = namespace.path.strip_prefix(&token.namespace.path) else {
        return Ok(Subject::named(namespace, Vec::new()));
    };
    let mut subject = Subject::named(&token.namespace, token.policies.clone());
    prefix.clone_into(&mut subject.prefix);
    if let Some(id) = token.entity_id.as_deref().filter(|id| !id.is_empty()) {
        match policies.identity().resolve(&token.namespace, id).await? {
            Some(known) if !known.disabled => subject.join(&known.facts),
            Some(_) | None => subject.policies.clear(),
        }
    }
    Ok(subject)
}

/// An entity of a namespace, with a token that has no policies but `default`; `None` when there is
/// no such entity.
pub(crate) async fn of_entity(
    policies: &PolicyStore,
    id: &str,
    namespace: &Namespace,
) -> Result<Option<Subject>, Error> {
    let Some(known) = policies.identity().resolve(namespace, id).await? else { return Ok(None) };
    let mut subject = Subject::named(namespace, vec!["default".to_owned()]);
    if known.disabled {
        subject.policies.clear();
    } else {
        subject.join(&known.facts);
    }
    Ok(Some(subject))
}
