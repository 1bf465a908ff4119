//! One request, from its head to the last byte of its answer, for the log, the metrics and the traces.

use std::{sync::Arc, time::Instant};

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{HeaderValue, USER_AGENT},
    http::request::Parts,
};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, field::Empty, info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    metrics::{Metrics, RequestLabels},
    peer::Peer,
    request_id::RequestId,
    router::Route,
};

/// What stands in the log for a request whose client went away before there was an answer (nginx's number).
const CLIENT_GONE: u16 = 499;

/// What stands where a route would, for what leads nowhere.
const UNKNOWN: &str = "unknown";

/// How much of a path, and of what a client says of itself, is written down, in characters. The longest path that means
/// something has some 800: a repository's name, and a SHA-512 digest.
const MAX_TEXT: usize = 1024;

/// A request that is being answered. When it is dropped, it is counted and logged, however it ended.
///
/// Neither its query nor its headers are written down, but for the two that are named here: they may hold credentials.
#[derive(Debug)]
pub(super) struct Observation {
    metrics: Arc<Metrics>,
    listener: &'static str,
    id: RequestId,
    span: Span,
    remote: String,
    user_agent: Option<String>,
    route: &'static str,
    method: Method,
    path: String,
    repository: Option<String>,
    actor: Option<String>,
    status: Option<StatusCode>,
    began: Instant,
    received: u64,
    sent: u64,
}

impl Observation {
    /// A request whose head was read. `route` is what it leads to, where there is such a route.
    pub(super) fn begin(
        metrics: Arc<Metrics>,
        listener: &'static str,
        parts: &Parts,
        route: Option<&Route>,
        peer: &Peer,
    ) -> Self {
        metrics.request_begins();
        let id = RequestId::of(&parts.headers);
        let span = span(listener, &id, parts, route);
        Self {
            metrics,
            listener,
            id,
            span,
            remote: peer.address.to_string(),
            user_agent: parts.headers.get(USER_AGENT).map(bounded_value),
            route: route.map_or(UNKNOWN, Route::class),
            method: parts.method.clone(),
            path: bounded(parts.uri.path()),
            repository: route.and_then(Route::repository).map(ToString::to_string),
            actor: None,
            status: None,
            began: Instant::now(),
            received: 0,
            sent: 0,
        }
    }

    /// What everything that is done for the request belongs to.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }

    /// The request is one of another replica.
    pub(super) fn is_replicas(&mut self) {
        self.route = "replica";
        self.span.record("route", self.route);
    }

    pub(super) fn identified(&mut self, actor: &str) {
        self.actor = Some(actor.to_owned());
    }

    pub(super) fn answered(&mut self, status: StatusCode, received: u64) {
        self.status = Some(status);
        self.received = received;
    }

    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let status = self.status.map_or(CLIENT_GONE, |status| status.as_u16());
        let took = self.began.elapsed();
        let labels = RequestLabels {
            listener: self.listener,
            route: self.route,
            method: method_label(&self.method),
            status: status.into(),
        };
        self.metrics.request_ends(&labels, took, self.received, self.sent);
        self.span.record("status", status);
        if status >= 500 {
            self.span.record("otel.status_code", "ERROR");
        }
        // Outside its span, whose fields it would repeat.
        info!(
            parent: None,
            request_id = %self.id,
            listener = self.listener,
            remote = self.remote,
            user_agent = self.user_agent,
            method = method_label(&self.method),
            route = self.route,
            path = self.path,
            repository = self.repository,
            actor = self.actor,
            status,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            received_bytes = self.received,
            sent_bytes = self.sent,
            "request"
        );
    }
}

/// The span of a request, within the caller's trace if it says that there is one (W3C Trace Context).
fn span(listener: &'static str, id: &RequestId, parts: &Parts, route: Option<&Route>) -> Span {
    // A trace's name for it cannot be changed once work for it has begun.
    let name = match route {
        Some(route) => format!("{} {}", method_label(&parts.method), route.class()),
        None => method_label(&parts.method).to_owned(),
    };
    let span = info_span!(
        parent: None,
        "request",
        request_id = %id,
        listener,
        method = method_label(&parts.method),
        route = route.map_or(UNKNOWN, Route::class),
        repository = route.and_then(Route::repository).map(tracing::field::display),
        status = Empty,
        otel.kind = "server",
        otel.name = name,
        otel.status_code = Empty,
    );
    let caller = TraceContextPropagator::new().extract(&Headers(&parts.headers));
    // Without a collector there is nothing that could have a parent.
    let _ = span.set_parent(caller);
    span
}

/// The method, if it is one that the registry knows: a client may invent others without end.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// The headers, as the library asks for them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(hyper::header::HeaderName::as_str).collect()
    }
}

fn bounded_value(value: &HeaderValue) -> String {
    bounded(&String::from_utf8_lossy(value.as_bytes()))
}

fn bounded(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(bounded(&"ä".repeat(5000)).chars().count(), MAX_TEXT);
        assert_eq!(bounded("curl/8.0"), "curl/8.0");
    }
}
