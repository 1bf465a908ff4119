//! What is counted about requests.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::storage::StorageMetrics;

use super::process_metrics::ProcessMetrics;

/// From a manifest out of memory to a layer of some GiB over a slow link, in seconds.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0];

/// The labels of a request. All of them come from lists in this program, so that no client makes new series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) listener: &'static str,
    pub(super) route: &'static str,
    pub(super) method: &'static str,
    pub(super) status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ContentLabels {
    content: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
    method: &'static str,
}

/// The registry process's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    storage: StorageMetrics,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    received: Counter,
    sent: Counter,
    pulls: Family<ContentLabels, Counter>,
    pushes: Family<ContentLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            storage: StorageMetrics::new(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            received: Counter::default(),
            sent: Counter::default(),
            pulls: Family::default(),
            pushes: Family::default(),
        };
        metrics.register();
        metrics
    }

    /// What the storage counts, to be handed to it.
    #[must_use]
    pub fn storage(&self) -> &StorageMetrics {
        &self.storage
    }

    fn register(&mut self) {
        self.registry.register_collector(Box::new(ProcessMetrics));
        let lagan = self.registry.sub_registry_with_prefix("lagan");
        self.storage.register(lagan);
        lagan.register("pulls", "Manifests and blobs that were sent", self.pulls.clone());
        lagan.register("pushes", "Manifests and blobs that were taken", self.pushes.clone());
        let http = lagan.sub_registry_with_prefix("http");
        http.register("requests", "Requests answered", self.requests.clone());
        http.register_with_unit(
            "request_duration",
            "Time from the request's head to the answer's last byte",
            Unit::Seconds,
            self.durations.clone(),
        );
        http.register("requests_in_flight", "Requests being answered", self.in_flight.clone());
        http.register("connections", "Connections that are open", self.connections.clone());
        http.register_with_unit("received", "Bytes of request bodies", Unit::Bytes, self.received.clone());
        http.register_with_unit("sent", "Bytes of answers' bodies", Unit::Bytes, self.sent.clone());
    }

    /// The text that Prometheus reads, in the format of `OpenMetrics`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }

    pub(super) fn request_begins(&self) {
        self.in_flight.inc();
    }

    pub(super) fn request_ends(&self, labels: &RequestLabels, took: Duration, received: u64, sent: u64) {
        self.in_flight.dec();
        let route = RouteLabels { route: labels.route, method: labels.method };
        self.durations.get_or_create(&route).observe(took.as_secs_f64());
        self.requests.get_or_create(labels).inc();
        if let Some((moved, content)) = self.moved(labels) {
            moved.get_or_create(&ContentLabels { content }).inc();
        }
        self.received.inc_by(received);
        self.sent.inc_by(sent);
    }

    /// Whether a request moved content, and which kind. A redirect to the storage counts: the client pulls there.
    fn moved(&self, labels: &RequestLabels) -> Option<(&Family<ContentLabels, Counter>, &'static str)> {
        match (labels.route, labels.method, labels.status) {
            (content @ ("manifest" | "blob"), "GET", 200 | 206 | 307) => Some((&self.pulls, content)),
            ("manifest", "PUT", 201) => Some((&self.pushes, "manifest")),
            ("upload", "PUT" | "POST", 201) => Some((&self.pushes, "blob")),
            _ => None,
        }
    }

    pub(super) fn connection_opens(&self) {
        self.connections.inc();
    }

    pub(super) fn connection_closes(&self) {
        self.connections.dec();
    }
}
