//! How the agent fares, and the connections of its configuration.

use super::{
    Surroundings,
    answer::{self, Answer},
    document, secretsmanager,
};
use http::StatusCode;
use serde_json::json;
use std::{fmt, sync::Arc};

/// Makes the page of metrics, in Prometheus's text form.
#[derive(Clone)]
pub struct Metrics(Arc<dyn Fn() -> String + Send + Sync>);

impl Metrics {
    /// A page that this function makes.
    pub fn new(render: impl Fn() -> String + Send + Sync + 'static) -> Metrics {
        Metrics(Arc::new(render))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

/// The answer at a path of the agent itself; `None` where there is no such path.
pub(crate) async fn answer(surroundings: &Surroundings, path: &str) -> Option<Answer> {
    if let Some(name) = path.strip_prefix("/connections/") {
        return Some(connection(surroundings, name).await);
    }
    match path {
        "/health" => Some(health(surroundings)),
        "/agent/status" => Some(status(surroundings)),
        "/metrics" => {
            let metrics = surroundings.metrics.as_ref()?;
            let mut page = answer::bare(StatusCode::OK, (metrics.0)());
            let media = http::HeaderValue::from_static("text/plain; version=0.0.4");
            page.headers_mut().insert(http::header::CONTENT_TYPE, media);
            Some(page)
        }
        _ => None,
    }
}

/// Whether all that outputs stand on is there.
pub(crate) fn health(surroundings: &Surroundings) -> Answer {
    let missing = surroundings.store.status().missing().count();
    let status = if missing == 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer::json(status, json!({"healthy": missing == 0, "missing": missing}).to_string())
}

fn status(surroundings: &Surroundings) -> Answer {
    let body = serde_json::to_vec(&surroundings.store.status()).unwrap_or_default();
    answer::json(StatusCode::OK, body)
}

/// All properties of a connection, as a JSON object of texts.
async fn connection(surroundings: &Surroundings, name: &str) -> Answer {
    let Some(connection) = surroundings.connections.get(name) else {
        let message = format!("there is no connection {name:?} in the configuration");
        let code = "ResourceNotFoundException";
        return secretsmanager::told(StatusCode::NOT_FOUND, code, &message);
    };
    match connection.resolve(&surroundings.store).await {
        Ok(properties) => {
            let body = answer::wiped(document::of_texts(&properties));
            answer::json(StatusCode::OK, body)
        }
        Err(failure) => secretsmanager::failed(&failure),
    }
}
