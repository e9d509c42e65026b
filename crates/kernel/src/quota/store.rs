//! Quotas at rest, and those that count.

use super::rules::{Active, Config, Rule, Rules};
use crate::registry::{Places, Registry};
use arc_swap::ArcSwap;
use bailee_barrier::{Barrier, Names, View};
use bailee_sdk::{Error, Namespace};
use std::{fmt, sync::Arc};

/// Quotas that can be made.
const QUOTAS_MAX: usize = 1000;
/// Names that are read at once.
const PAGE: usize = 1000;
/// Where the configuration is.
const CONFIG: &str = "config";

/// The quotas of all namespaces.
pub(crate) struct QuotaStore {
    barrier: Arc<Barrier>,
    pub(super) registry: Arc<Registry>,
    state: Arc<ArcSwap<State>>,
    /// Held while quotas change: what is stored and what counts change together.
    changing: Arc<tokio::sync::Mutex<()>>,
}

/// What counts.
#[derive(Default)]
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) config: Config,
}

impl QuotaStore {
    /// Reads what is stored.
    pub(crate) async fn load(
        barrier: Arc<Barrier>,
        registry: Arc<Registry>,
    ) -> Result<QuotaStore, Error> {
        let state = State::default();
        let state = Arc::new(ArcSwap::from_pointee(state));
        let store = QuotaStore { barrier, registry, state, changing: Arc::default() };
        let view = store.view();
        let config = view.get::<Config>(CONFIG).await?.unwrap_or_default();
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page = named(&view).list("", &after, PAGE).await?;
            for name in &page {
                found.extend(named(&view).get::<Rule>(name).await?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(last),
                _ => break,
            }
        }
        let rules = Rules::new(found.into_iter().map(|rule| Arc::new(Active::new(rule))));
        store.state.store(Arc::new(State { rules, config }));
        Ok(store)
    }

    /// The quotas as of now.
    pub(super) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Names of quotas whose place is there, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let places = self.registry.places();
        let state = self.state();
        let shown = state.rules.iter().filter(|active| shown_path(&places, &active.rule).is_some());
        shown.map(|active| active.rule.name.clone()).collect()
    }

    /// A quota, and the path it is for.
    pub(super) fn read(&self, name: &str) -> Option<(Rule, String)> {
        let state = self.state();
        let rule = state.rules.find(name)?.rule.clone();
        let path = shown_path(&self.registry.places(), &rule)?;
        Some((rule, path))
    }

    /// Makes a quota or replaces it.
    pub(super) async fn put(&self, rule: Rule) -> Result<(), Error> {
        let alone = self.changing.clone().lock_owned().await;
        let state = self.state();
        let places = self.registry.places();
        let is_similar = |other: &&Arc<Active>| {
            let other = &other.rule;
            other.name != rule.name
                && other.is_for_same(&rule)
                && shown_path(&places, other).is_some()
        };
        if let Some(similar) = state.rules.iter().find(is_similar) {
            let name = &similar.rule.name;
            return Err(Error::invalid(format!(
                "quota rule with similar properties exists under the name {name:?}"
            )));
        }
        if state.rules.len() >= QUOTAS_MAX && state.rules.find(&rule.name).is_none() {
            return Err(Error::invalid(format!("there are {QUOTAS_MAX} quotas already")));
        }
        let view = self.view();
        named(&view).put(&rule.name, &rule).await?;
        let mut kept = self.living(&view, &state, &places).await?;
        kept.retain(|active| active.rule.name != rule.name);
        kept.push(Arc::new(Active::new(rule)));
        self.land(view, State { rules: Rules::new(kept), config: state.config.clone() }, alone)
            .await
    }

    /// Removes a quota; an absent one is fine.
    pub(super) async fn delete(&self, name: &str) -> Result<(), Error> {
        let alone = self.changing.clone().lock_owned().await;
        let state = self.state();
        let view = self.view();
        named(&view).delete(name).await?;
        let mut kept = self.living(&view, &state, &self.registry.places()).await?;
        kept.retain(|active| active.rule.name != name);
        self.land(view, State { rules: Rules::new(kept), config: state.config.clone() }, alone)
            .await
    }

    /// Replaces the configuration.
    pub(super) async fn configure(&self, config: Config) -> Result<(), Error> {
        let alone = self.changing.clone().lock_owned().await;
        let view = self.view();
        view.put(CONFIG, &config);
        let rules = Rules::new(self.state().rules.iter().cloned());
        self.land(view, State { rules, config }, alone).await
    }

    /// The quotas whose place is there. The others are removed with the unit.
    async fn living(
        &self,
        view: &View,
        state: &State,
        places: &Places,
    ) -> Result<Vec<Arc<Active>>, Error> {
        let mut kept = Vec::with_capacity(state.rules.len() + 1);
        for active in state.rules.iter() {
            if shown_path(places, &active.rule).is_some() {
                kept.push(active.clone());
            } else {
                named(view).delete(&active.rule.name).await?;
            }
        }
        Ok(kept)
    }

    /// Commits; from then on the new state counts. A task of its own: a client that goes away must
    /// not leave what counts behind the storage.
    async fn land(
        &self,
        view: View,
        state: State,
        alone: tokio::sync::OwnedMutexGuard<()>,
    ) -> Result<(), Error> {
        let current = self.state.clone();
        let work = tokio::spawn(async move {
            view.commit().await?;
            current.store(Arc::new(state));
            drop(alone);
            Ok::<_, bailee_barrier::Error>(())
        });
        work.await.map_err(Error::internal)??;
        Ok(())
    }

    fn view(&self) -> View {
        self.barrier.view(&format!("{}quota/", Namespace::root().prefix()))
    }
}

impl Rule {
    fn is_for_same(&self, other: &Rule) -> bool {
        self.namespace_id == other.namespace_id
            && self.mount_uuid == other.mount_uuid
            && self.path == other.path
            && self.role == other.role
    }
}

/// The path a quota is for, from the root; none when its namespace or mount is gone.
fn shown_path(places: &Places, rule: &Rule) -> Option<String> {
    let place = places.with_id(&rule.namespace_id)?;
    let namespace = &place.namespace.path;
    let Some(uuid) = &rule.mount_uuid else { return Some(namespace.clone()) };
    let mounted = place.mounts.values().find(|mounted| mounted.mount.uuid == *uuid)?;
    Some(format!("{namespace}{}{}", mounted.entry.path, rule.path))
}

fn named(view: &View) -> Names {
    view.names("rate-limit")
}

impl fmt::Debug for QuotaStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuotaStore(..)")
    }
}
