//! What the operator counts. No object's name is ever a label: their number has no bound.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry as MetricsRegistry,
};

/// One of the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum ControllerName {
    /// The one of `Registry`.
    Registry,
    /// The one of `RetentionPolicy`.
    RetentionPolicy,
    /// The one that has registries collect their garbage.
    GarbageCollection,
}

/// How a reconciliation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum ReconcileResult {
    /// Well.
    Success,
    /// With an error; it is tried again.
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: ControllerName,
    result: ReconcileResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    controller: ControllerName,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    result: String,
}

/// From a reconciliation that finds nothing to do to one that waits for a slow API server.
const RECONCILE_SECONDS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: MetricsRegistry,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_seconds: Family<ControllerLabels, Histogram>,
    runs: Family<RunLabels, Counter>,
    collections: Family<RunLabels, Counter>,
    leader: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = MetricsRegistry::with_prefix("lagan_operator");
        let reconciles = Family::default();
        let seconds: fn() -> Histogram = || Histogram::new(RECONCILE_SECONDS);
        let reconcile_seconds = Family::new_with_constructor(seconds);
        let runs = Family::default();
        let collections = Family::default();
        let leader = Gauge::default();
        registry.register("reconcile", "Reconciliations, by controller and result", reconciles.clone());
        registry.register("reconcile_seconds", "How long reconciliations took", reconcile_seconds.clone());
        registry.register("retention_runs", "Ended runs of retention policies, by result", runs.clone());
        registry.register("collections", "Ended collections of garbage, by result", collections.clone());
        registry.register("leader", "1 on the replica that leads", leader.clone());
        Self { registry, reconciles, reconcile_seconds, runs, collections, leader }
    }
}

impl Metrics {
    /// Counts a reconciliation.
    pub fn reconciled(&self, controller: ControllerName, result: ReconcileResult, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { controller, result }).inc();
        self.reconcile_seconds.get_or_create(&ControllerLabels { controller }).observe(took.as_secs_f64());
    }

    /// Counts the end of a run.
    pub fn run_ended(&self, result: &str) {
        self.runs.get_or_create(&RunLabels { result: result.to_owned() }).inc();
    }

    /// Counts the end of a collection of garbage.
    pub fn collection_ended(&self, result: &str) {
        self.collections.get_or_create(&RunLabels { result: result.to_owned() }).inc();
    }

    /// Says whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(u64::from(leads));
    }

    /// All of it, as Prometheus reads it.
    ///
    /// # Errors
    ///
    /// Never for these metrics; the encoder writes to a text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_names_that_the_documentation_gives() {
        let metrics = Metrics::default();
        metrics.reconciled(ControllerName::Registry, ReconcileResult::Success, Duration::from_millis(1));
        metrics.run_ended("Completed");
        metrics.collection_ended("Halted");
        metrics.set_leader(true);
        let text = metrics.encode().unwrap();
        for line in [
            "lagan_operator_reconcile_total{controller=\"Registry\",result=\"Success\"} 1",
            "lagan_operator_retention_runs_total{result=\"Completed\"} 1",
            "lagan_operator_collections_total{result=\"Halted\"} 1",
            "lagan_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
