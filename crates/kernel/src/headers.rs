//! Headers of requests: which ones the kernel wants, and which of them a mount gets.

use crate::{
    Call,
    audit::{Audited, Broker},
    registry::{Places, Registry},
};
use arc_swap::ArcSwapOption;
use bailee_sdk::Headers;
use std::{collections::BTreeSet, sync::Arc};

/// How the client would read the answer: every mount gets it, where the server passes it on.
const ACCEPT: &str = "accept";

/// The names of wanted headers, gathered anew when mounts or audited headers change.
#[derive(Default)]
pub(crate) struct WantedHeaders(ArcSwapOption<Gathered>);

struct Gathered {
    places: Arc<Places>,
    audited: Option<Arc<Audited>>,
    names: Arc<Vec<String>>,
}

impl WantedHeaders {
    /// Names in lower case. Asking waits for nobody.
    pub(crate) fn names(&self, registry: &Registry, audit: &Broker) -> Arc<Vec<String>> {
        let (places, audited) = (registry.places(), audit.headers());
        if let Some(gathered) = &*self.0.load()
            && gathered.is_from(&places, audited.as_ref())
        {
            return gathered.names.clone();
        }
        let mut names = BTreeSet::new();
        for mounted in places.iter().flat_map(|place| place.mounts.values()) {
            let passed = &mounted.entry.config.passthrough_request_headers;
            names.extend(passed.iter().map(|name| name.to_lowercase()));
        }
        let shown = audited.iter().flat_map(|audited| audited.names());
        names.extend(shown.cloned());
        let names = Arc::new(names.into_iter().collect::<Vec<_>>());
        self.0.store(Some(Arc::new(Gathered { places, audited, names: names.clone() })));
        names
    }
}

impl Gathered {
    fn is_from(&self, places: &Arc<Places>, audited: Option<&Arc<Audited>>) -> bool {
        let same_audited = match (&self.audited, audited) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (Some(_), None) | (None, Some(_)) => false,
        };
        Arc::ptr_eq(&self.places, places) && same_audited
    }
}

/// The headers of a call that a mount asked for. No engine ever sees the caller's token.
pub(crate) fn passed(call: &Call, wanted: &[String]) -> Headers {
    if call.headers.0.is_empty() {
        return Headers::default();
    }
    let token = call.token.as_ref().map(|token| token.expose().as_str());
    let headers = call.headers.0.iter().filter(|(name, value)| {
        (name == ACCEPT || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)))
            && !token.is_some_and(|token| value.contains(token))
    });
    Headers(Arc::new(headers.cloned().collect()))
}
