//! Asking the quotas about a request.

use super::Allowance;
use crate::{Call, audit::Trace, kernel::Kernel, registry::Mounted};
use bailee_sdk::{Code, Error, engine::Class};
use serde_json::Value;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// What the quotas say about a request.
#[derive(Debug, Default)]
pub struct Limited {
    /// What the client is left with, when answers are to tell it.
    pub shown: Option<Allowance>,
    /// Why the request must not go on.
    pub refused: Option<Error>,
}

impl Kernel {
    /// Counts a request against the quota that applies to it.
    pub(crate) async fn limit(&self, call: &Call) -> Result<Limited, Error> {
        let state = self.quotas.state();
        if state.rules.is_empty() {
            return Ok(Limited::default());
        }
        self.registry.refresh().await?;
        let places = self.registry.places();
        let resolved = places.resolve(&call.namespace, &call.path);
        // A path of no namespace is none the less a request.
        let (place, path) = match (resolved, places.at("")) {
            (Some(resolved), _) => resolved,
            (None, Some(root)) => (root, call.path.clone()),
            (None, None) => return Ok(Limited::default()),
        };
        if state.config.exempts(&place.namespace, &path) {
            return Ok(Limited::default());
        }
        let found = place.find(&path);
        let role = found.as_ref().and_then(|(mounted, rest)| {
            let asks = state.rules.asks_role(&mounted.mount.uuid);
            if asks { role(call, mounted, rest) } else { None }
        });
        let mount = found.as_ref().map(|(mounted, rest)| (&*mounted.mount.uuid, rest.as_str()));
        let Some(active) = state.rules.select(&places, place, mount, role) else {
            return Ok(Limited::default());
        };
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let client = call.remote.map_or(nowhere, |remote| remote.ip());
        let (granted, allowance) = active.limiter.take(client, self.clock.now());
        let shown = state.config.headers.then_some(allowance);
        if granted {
            return Ok(Limited { shown, refused: None });
        }
        metrics::counter!("vault_quota_rate_limit_violation", "name" => active.rule.name.clone())
            .increment(1);
        let text = format!("request path {:?}: rate limit quota exceeded", call.path);
        let refused = Error::new(Code::RateLimited, text);
        if state.config.audit {
            let mut trace = Trace::new(call, self.clock.now());
            trace.resolved(&place.namespace, &path);
            if let Some((mounted, _)) = &found {
                trace.mounted(mounted);
            }
            self.audit.request(&trace, call, Some(&refused)).await?;
        }
        Ok(Limited { shown, refused: Some(refused) })
    }
}

/// The role that a login names.
fn role<'a>(call: &'a Call, mounted: &Arc<Mounted>, path: &str) -> Option<&'a str> {
    let logs_in = mounted.entry.class == Class::Auth && path.split('/').next() == Some("login");
    call.input.get("role").and_then(Value::as_str).filter(|_| logs_in)
}
