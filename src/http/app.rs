//! What the listeners share.

use std::{sync::Arc, time::Duration};

use crate::api::v1alpha1::{AccessMode, GarbageCollectionMode};
use crate::api::wire::PolicyRunner;
use crate::maintenance::{Collections, RetentionRuns, Scrubs};
use crate::retention::ImmutableTags;
use crate::storage::Catalog;

use super::{Metrics, blob_homes::BlobHomes, body_budget::BodyBudget};

/// How the registry answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether anything may change.
    pub access_mode: AccessMode,
    /// Whether garbage may be collected.
    pub garbage_collection: GarbageCollectionMode,
    /// The largest manifest that is taken, in bytes.
    pub max_manifest_size: u64,
    /// The largest blob that is taken, in bytes; absent, there is no bound.
    pub max_blob_size: Option<u64>,
    /// How large the chunks of an upload should be at least, in bytes, where the storage likes some sizes better.
    pub min_chunk_size: Option<u64>,
    /// For how long a signed URL is good to which a pull of a blob is sent; absent, the registry sends the bytes itself.
    pub redirect_for: Option<Duration>,
    /// Tags that never move.
    pub immutable_tags: Arc<ImmutableTags>,
    /// Who runs policies, where this process has none that it runs by itself.
    pub policy_runner: PolicyRunner,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_mode: AccessMode::ReadWrite,
            garbage_collection: GarbageCollectionMode::Online,
            max_manifest_size: 4 << 20,
            max_blob_size: None,
            min_chunk_size: None,
            redirect_for: None,
            immutable_tags: Arc::default(),
            policy_runner: PolicyRunner::Nobody,
        }
    }
}

/// One registry: its content, and how it is served.
#[derive(Debug)]
pub struct App {
    pub(super) catalog: Catalog,
    pub(super) runs: Option<RetentionRuns>,
    pub(super) scrubs: Option<Scrubs>,
    pub(super) collections: Option<Collections>,
    pub(super) homes: BlobHomes,
    pub(super) bodies: BodyBudget,
    pub(super) settings: Settings,
    pub(super) metrics: Arc<Metrics>,
}

impl App {
    /// A registry without maintenance: its `_lagan/retention` routes are unknown.
    #[must_use]
    pub fn new(catalog: Catalog, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let bodies = BodyBudget::new(settings.max_manifest_size);
        Self {
            catalog,
            runs: None,
            scrubs: None,
            collections: None,
            homes: BlobHomes::new(),
            bodies,
            settings,
            metrics,
        }
    }

    /// The same, with the runs of its policies.
    #[must_use]
    pub fn with_runs(self, runs: RetentionRuns) -> Self {
        Self { runs: Some(runs), ..self }
    }

    /// The same, with its scrubs.
    #[must_use]
    pub fn with_scrubs(self, scrubs: Scrubs) -> Self {
        Self { scrubs: Some(scrubs), ..self }
    }

    /// The same, with its collections of garbage.
    #[must_use]
    pub fn with_collections(self, collections: Collections) -> Self {
        Self { collections: Some(collections), ..self }
    }
}
