//! What this crate says and counts.

use std::{net::SocketAddr, time::Duration};

pub(crate) fn listening(address: SocketAddr, tls: bool) {
    tracing::info!(%address, tls, "listening");
}

pub(crate) fn accept_failed(error: &std::io::Error) {
    tracing::warn!(%error, "accepting a connection failed");
}

pub(crate) fn handshake_failed(remote: SocketAddr, error: &dyn std::fmt::Display) {
    tracing::debug!(%remote, %error, "TLS handshake failed");
}

pub(crate) fn connection_ended(remote: SocketAddr, error: &dyn std::fmt::Display) {
    tracing::debug!(%remote, %error, "connection ended early");
}

pub(crate) fn answered(status: http::StatusCode, took: Duration) {
    let class = match status.as_u16() {
        100..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    metrics::counter!("bailee_http_requests_total", "class" => class).increment(1);
    metrics::histogram!("bailee_http_request_seconds").record(took.as_secs_f64());
}

pub(crate) fn failed(id: &str, error: &bailee_sdk::Error) {
    let source = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
    tracing::error!(request = id, %error, source, "request failed");
}

pub(crate) fn draining(open: usize) {
    tracing::info!(connections = open, "stopping: waiting for running requests");
}

pub(crate) fn drain_ended() {
    tracing::warn!("some requests did not end in time and were cut off");
}

pub(crate) fn body_refused(error: &bailee_notation::json::Error) {
    tracing::debug!(%error, "request body refused");
}
