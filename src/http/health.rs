//! Probes and metrics.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU8, Ordering},
};

use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE};

use crate::storage::Catalog;

use super::{Metrics, body::Body, response::Answer};

/// What is said of a process whose storage failed.
const PULLS_ONLY: &str = "ready, for pulls only: a sync of the storage failed, nothing is written before a restart\n";

/// How far the process is in its life. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<State>);

#[derive(Debug, Default)]
struct State {
    life: AtomicU8,
    /// What it serves, once it does.
    catalog: OnceLock<Catalog>,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// A process that waits for its storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is served: requests are not welcome where it has lost its place among other replicas.
    pub fn serving(&self, catalog: Catalog) {
        // A process serves one.
        let _ = self.0.catalog.set(catalog);
    }

    /// Requests are welcome.
    pub fn ready(&self) {
        // A process that drains never becomes ready again.
        let _ = self.0.life.compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// No new requests, please: the process ends.
    pub fn draining(&self) {
        self.0.life.store(DRAINING, Ordering::Release);
    }

    /// `writes`: whether the storage takes any. Pulls go on where it does not, so requests are still welcome: no other
    /// process could take the folder over, and a restart is for somebody to decide who has looked at the medium.
    fn status(&self, writes: bool) -> (StatusCode, &'static str) {
        match self.0.life.load(Ordering::Acquire) {
            READY if self.0.catalog.get().is_some_and(Catalog::is_left_behind) => {
                (StatusCode::SERVICE_UNAVAILABLE, "no lease: the storage or the other replicas cannot be reached\n")
            }
            READY if !writes => (StatusCode::OK, PULLS_ONLY),
            READY => (StatusCode::OK, "ready\n"),
            DRAINING => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "starting: waiting for the storage\n"),
        }
    }
}

/// What the health listener tells.
#[derive(Debug)]
pub struct Health {
    metrics: Arc<Metrics>,
    readiness: Readiness,
}

impl Health {
    /// Tells of a process.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, readiness: Readiness) -> Self {
        Self { metrics, readiness }
    }

    pub(super) fn respond(&self, request: &Request<Incoming>) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri().path() {
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let (status, text) = self.readiness.status(!self.metrics.storage().is_poisoned());
                plain(status, text)
            }
            "/metrics" => Answer::empty(StatusCode::OK)
                .body(Body::full(self.metrics.encode()))
                .header(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")
                .build(),
            _ => plain(StatusCode::NOT_FOUND, "try /healthz, /readyz or /metrics\n"),
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    Answer::empty(status).body(Body::full(text)).header(CONTENT_TYPE, "text/plain; charset=utf-8").build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_drains_does_not_become_ready_again() {
        let readiness = Readiness::new();
        assert_eq!(readiness.status(true).0, StatusCode::SERVICE_UNAVAILABLE);
        readiness.ready();
        assert_eq!(readiness.status(true).0, StatusCode::OK);
        readiness.draining();
        readiness.ready();
        assert_eq!(readiness.status(true).0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_process_whose_storage_failed_is_ready_for_pulls() {
        let readiness = Readiness::new();
        assert_eq!(readiness.status(false).0, StatusCode::SERVICE_UNAVAILABLE);
        readiness.ready();
        let (status, text) = readiness.status(false);
        assert!(status == StatusCode::OK && text.contains("pulls only"), "{text}");
        assert_eq!(readiness.status(true), (StatusCode::OK, "ready\n"));
    }
}
