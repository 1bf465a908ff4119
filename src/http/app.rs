//! What the listeners share.

use std::sync::Arc;

use crate::api::v1alpha1::AccessMode;
use crate::maintenance::RetentionRuns;
use crate::storage::Catalog;

use super::{Metrics, blob_homes::BlobHomes};

/// How the registry answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether anything may change.
    pub access_mode: AccessMode,
    /// The largest manifest that is taken, in bytes.
    pub max_manifest_size: u64,
}

/// One registry: its content, and how it is served.
#[derive(Debug)]
pub struct App {
    pub(super) catalog: Catalog,
    pub(super) runs: Option<RetentionRuns>,
    pub(super) homes: BlobHomes,
    pub(super) settings: Settings,
    pub(super) metrics: Arc<Metrics>,
}

impl App {
    /// A registry without maintenance: its `_lagan/retention` routes are unknown.
    #[must_use]
    pub fn new(catalog: Catalog, settings: Settings, metrics: Arc<Metrics>) -> Self {
        Self { catalog, runs: None, homes: BlobHomes::new(), settings, metrics }
    }

    /// The same, with the runs of its policies.
    #[must_use]
    pub fn with_runs(self, runs: RetentionRuns) -> Self {
        Self { runs: Some(runs), ..self }
    }
}
