//! What is counted about the store. `cli` makes the counters, hands them to whoever counts, and lets `http` show them.

use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// From a file in the page cache to a part of a blob over a slow link, in seconds.
const DURATION_BUCKETS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The store's metrics. Clones count together. All labels come from lists in this program.
#[derive(Debug, Clone, Default)]
pub struct StorageMetrics {
    /// The medium.
    pub(in crate::storage) driver: DriverMetrics,
    /// What is remembered of descriptors.
    pub(in crate::storage) cache: CacheMetrics,
    /// Uploads and the trash.
    pub(in crate::storage) content: ContentMetrics,
    /// The other replicas.
    pub(in crate::storage) replicas: ReplicaMetrics,
    /// Garbage collection.
    pub(in crate::storage) collection: CollectionMetrics,
}

impl StorageMetrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a sync of the medium failed: nothing is written any more before a restart.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.driver.poisoned.get() != 0
    }

    /// Shows them, with what they mean.
    pub fn register(&self, registry: &mut Registry) {
        self.driver.register(registry.sub_registry_with_prefix("storage"));
        self.cache.register(registry.sub_registry_with_prefix("cache"));
        self.content.register(registry);
        self.replicas.register(registry.sub_registry_with_prefix("replicas"));
        self.collection.register(registry.sub_registry_with_prefix("collection"));
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    operation: &'static str,
}

type Durations = Family<DurationLabels, Histogram, fn() -> Histogram>;

/// What is counted about the medium.
#[derive(Debug, Clone)]
pub(in crate::storage) struct DriverMetrics {
    operations: Family<OperationLabels, Counter>,
    durations: Durations,
    read: Counter,
    written: Counter,
    poisoned: Gauge,
}

impl Default for DriverMetrics {
    fn default() -> Self {
        Self {
            operations: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            read: Counter::default(),
            written: Counter::default(),
            poisoned: Gauge::default(),
        }
    }
}

impl DriverMetrics {
    /// One operation is over; `outcome` is `ok`, or the kind of its error.
    pub(in crate::storage) fn ended(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.operations.get_or_create(&OperationLabels { operation, outcome }).inc();
        self.durations.get_or_create(&DurationLabels { operation }).observe(took.as_secs_f64());
    }

    /// A sync failed, which no later one can make good.
    pub(in crate::storage) fn poisoned(&self) {
        self.poisoned.set(1);
    }

    pub(in crate::storage) fn read(&self, bytes: usize) {
        self.read.inc_by(bytes as u64);
    }

    pub(in crate::storage) fn written(&self, bytes: usize) {
        self.written.inc_by(bytes as u64);
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("operations", "Operations of the storage driver", self.operations.clone());
        let durations = "Time of an operation of the storage driver; of a read, until its first byte";
        registry.register_with_unit("operation_duration", durations, Unit::Seconds, self.durations.clone());
        let poisoned = "Whether a sync failed, so that nothing is written before a restart";
        registry.register("poisoned", poisoned, self.poisoned.clone());
        registry.register_with_unit("read", "Bytes read from the storage", Unit::Bytes, self.read.clone());
        registry.register_with_unit("written", "Bytes written to the storage", Unit::Bytes, self.written.clone());
    }
}

/// Which of the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum CacheLevel {
    /// This process's.
    Memory,
    /// The one that replicas share.
    Redis,
}

impl CacheLevel {
    fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    level: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    level: &'static str,
    result: &'static str,
}

/// What is counted about the descriptor caches.
#[derive(Debug, Clone, Default)]
pub(in crate::storage) struct CacheMetrics {
    lookups: Family<ResultLabels, Counter>,
    fills: Family<ResultLabels, Counter>,
    clears: Family<ResultLabels, Counter>,
    errors: Family<LevelLabels, Counter>,
    epochs: Counter,
}

impl CacheMetrics {
    pub(in crate::storage) fn looked_up(&self, level: CacheLevel, hit: bool) {
        count(&self.lookups, level, if hit { "hit" } else { "miss" });
    }

    pub(in crate::storage) fn filled(&self, level: CacheLevel, landed: bool) {
        count(&self.fills, level, if landed { "landed" } else { "refused" });
    }

    pub(in crate::storage) fn cleared(&self, level: CacheLevel, done: bool) {
        count(&self.clears, level, if done { "done" } else { "failed" });
    }

    pub(in crate::storage) fn failed(&self, level: CacheLevel) {
        self.errors.get_or_create(&LevelLabels { level: level.label() }).inc();
    }

    pub(in crate::storage) fn epoch_raised(&self) {
        self.epochs.inc();
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("lookups", "Look-ups of descriptors", self.lookups.clone());
        registry.register("fills", "Descriptors to be remembered", self.fills.clone());
        registry.register("clears", "Descriptors to be forgotten", self.clears.clone());
        // So that a first error is an increase.
        drop(self.errors.get_or_create(&LevelLabels { level: CacheLevel::Redis.label() }));
        registry.register("errors", "Commands that the cache did not answer", self.errors.clone());
        let epochs = "How often the shared cache was given up because it could not be cleared";
        registry.register("epochs_raised", epochs, self.epochs.clone());
    }
}

fn count(family: &Family<ResultLabels, Counter>, level: CacheLevel, result: &'static str) {
    family.get_or_create(&ResultLabels { level: level.label(), result }).inc();
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

/// What happens to uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum UploadEvent {
    Begun,
    Resumed,
    Committed,
    Cancelled,
    Purged,
}

/// What is counted about uploads and the trash.
#[derive(Debug, Clone, Default)]
pub(in crate::storage) struct ContentMetrics {
    uploads: Family<EventLabels, Counter>,
    uploaded: Counter,
    trash: Family<EventLabels, Counter>,
    foreign: Counter,
}

impl ContentMetrics {
    /// A manifest was read that another registry wrote since the store is served here.
    pub(in crate::storage) fn foreign(&self) {
        self.foreign.inc();
    }

    pub(in crate::storage) fn upload(&self, event: UploadEvent) {
        let event = match event {
            UploadEvent::Begun => "begun",
            UploadEvent::Resumed => "resumed",
            UploadEvent::Committed => "committed",
            UploadEvent::Cancelled => "cancelled",
            UploadEvent::Purged => "purged",
        };
        self.uploads.get_or_create(&EventLabels { event }).inc();
    }

    pub(in crate::storage) fn uploaded(&self, bytes: u64) {
        self.uploaded.inc_by(bytes);
    }

    pub(in crate::storage) fn buried(&self) {
        self.trash.get_or_create(&EventLabels { event: "written" }).inc();
    }

    pub(in crate::storage) fn restored(&self) {
        self.trash.get_or_create(&EventLabels { event: "restored" }).inc();
    }

    pub(in crate::storage) fn purged(&self) {
        self.trash.get_or_create(&EventLabels { event: "purged" }).inc();
    }

    pub(in crate::storage) fn expired(&self) {
        self.trash.get_or_create(&EventLabels { event: "expired" }).inc();
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("uploads", "Uploads of blobs", self.uploads.clone());
        registry.register_with_unit("uploaded", "Bytes of blobs that arrived", Unit::Bytes, self.uploaded.clone());
        registry.register("trash_entries", "Entries of the trash", self.trash.clone());
        let foreign = "Reads of manifests that another registry wrote since the store is served here";
        registry.register("foreign_manifests_read", foreign, self.foreign.clone());
    }
}

/// What is counted about the other replicas.
#[derive(Debug, Clone, Default)]
pub(in crate::storage) struct ReplicaMetrics {
    seen: Gauge,
    lease: Gauge,
    evictions: Counter,
}

impl ReplicaMetrics {
    /// How many replicas the store names now, this one included.
    pub(in crate::storage) fn seen(&self, replicas: usize) {
        self.seen.set(i64::try_from(replicas).unwrap_or(i64::MAX));
    }

    /// Whether this one may promise.
    pub(in crate::storage) fn lease(&self, is_valid: bool) {
        self.lease.set(is_valid.into());
    }

    /// This one evicted another.
    pub(in crate::storage) fn evicted(&self) {
        self.evictions.inc();
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("seen", "Replicas that the storage names", self.seen.clone());
        registry.register("lease_valid", "Whether this replica's lease is valid", self.lease.clone());
        registry.register("evictions", "Replicas that this one evicted", self.evictions.clone());
    }
}

/// How a collection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectionOutcome {
    /// All that nothing needs went.
    Finished,
    /// A brake stopped it.
    Halted,
    /// Something could not be read or removed.
    Failed,
    /// The process stopped, or its lease lapsed, or a replica was lost.
    Interrupted,
}

impl CollectionOutcome {
    const ALL: [Self; 4] = [Self::Finished, Self::Halted, Self::Failed, Self::Interrupted];

    fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Halted => "halted",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What is counted about collections.
#[derive(Debug, Clone, Default)]
pub(in crate::storage) struct CollectionMetrics {
    ended: Family<OutcomeLabels, Counter>,
    running: Gauge,
    blobs: Counter,
    bytes: Counter,
    finished_at: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl CollectionMetrics {
    /// A blob of so many bytes was removed.
    pub(in crate::storage) fn removed(&self, bytes: u64) {
        self.blobs.inc();
        self.bytes.inc_by(bytes);
    }

    /// One has begun here.
    pub(in crate::storage) fn began(&self) {
        self.running.set(1);
    }

    /// The one that runs here is over.
    pub(in crate::storage) fn ended(&self, outcome: CollectionOutcome, now: Timestamp) {
        self.running.set(0);
        self.ended.get_or_create(&OutcomeLabels { outcome: outcome.name() }).inc();
        if outcome == CollectionOutcome::Finished {
            self.finished_at.set(now.as_second());
        }
    }

    fn register(&self, registry: &mut Registry) {
        // There from the start: an alert on a rate needs the zero.
        for outcome in CollectionOutcome::ALL {
            drop(self.ended.get_or_create(&OutcomeLabels { outcome: outcome.name() }));
        }
        registry.register("runs", "Garbage collections that ended here", self.ended.clone());
        registry.register("running", "Whether a garbage collection runs here", self.running.clone());
        registry.register("removed_blobs", "Blobs that garbage collections removed here", self.blobs.clone());
        let bytes = "Bytes that garbage collections removed here";
        registry.register_with_unit("removed", bytes, Unit::Bytes, self.bytes.clone());
        let finished = "When a garbage collection last finished here, since 1970; 0: not since the start";
        registry.register_with_unit("finished_timestamp", finished, Unit::Seconds, self.finished_at.clone());
    }
}
