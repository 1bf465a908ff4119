//! What the operator counts. No object's name is a label of it: their number has no bound.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry as MetricsRegistry,
};

use super::policy_metrics::PolicyMetrics;

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeletedLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtectedLabels {
    reason: String,
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
    deleted: Family<DeletedLabels, Counter>,
    deleted_bytes: Counter,
    protected: Family<ProtectedLabels, Counter>,
    /// What is told of each policy.
    pub policies: PolicyMetrics,
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
        let (deleted, deleted_bytes, protected) = (Family::default(), Counter::default(), Family::default());
        registry.register("retention_deleted", "What runs of policies put into the trash, by kind", deleted.clone());
        let help = "Bytes that can be reclaimed of what runs of policies put into the trash";
        registry.register("retention_deleted_bytes", help, deleted_bytes.clone());
        let help = "Tags and manifests that plans of policies kept, by kind of reason, counted with each plan";
        registry.register("retention_protected", help, protected.clone());
        let policies = PolicyMetrics::default();
        registry.register_collector(Box::new(policies.clone()));
        registry.register("collections", "Ended collections of garbage, by result", collections.clone());
        registry.register("leader", "1 on the replica that leads", leader.clone());
        Self {
            registry,
            reconciles,
            reconcile_seconds,
            runs,
            deleted,
            deleted_bytes,
            protected,
            policies,
            collections,
            leader,
        }
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

    /// Counts what a run put into the trash.
    pub fn retention_deleted(&self, tags: u64, manifests: u64, bytes: u64) {
        self.deleted.get_or_create(&DeletedLabels { kind: "tag" }).inc_by(tags);
        self.deleted.get_or_create(&DeletedLabels { kind: "manifest" }).inc_by(manifests);
        self.deleted_bytes.inc_by(bytes);
    }

    /// Counts what a plan kept for one kind of reason.
    pub fn retention_protected(&self, reason: &str, count: u64) {
        self.protected.get_or_create(&ProtectedLabels { reason: reason.to_owned() }).inc_by(count);
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
        metrics.retention_deleted(2, 1, 70);
        metrics.retention_protected("InUse", 3);
        metrics.collection_ended("Halted");
        metrics.set_leader(true);
        let text = metrics.encode().unwrap();
        for line in [
            "lagan_operator_reconcile_total{controller=\"Registry\",result=\"Success\"} 1",
            "lagan_operator_retention_runs_total{result=\"Completed\"} 1",
            "lagan_operator_retention_deleted_total{kind=\"tag\"} 2",
            "lagan_operator_retention_deleted_bytes_total 70",
            "lagan_operator_retention_protected_total{reason=\"InUse\"} 3",
            "lagan_operator_collections_total{result=\"Halted\"} 1",
            "lagan_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let page = std::fs::read_to_string("docs/observability.md").unwrap();
        for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
            assert!(page.contains(&format!("| `{name}")), "{name} is not documented");
        }
    }
}
