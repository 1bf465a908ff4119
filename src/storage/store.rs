//! What all repositories of one catalog share.

use std::sync::Arc;

use super::{
    Clock, Options, Timing, changes::Changes, driver::StorageDriver, guard::Guard, id_source::IdSource, reach::Reach,
};

/// The parts that a [`Catalog`](super::Catalog) is made of.
#[derive(Debug)]
pub(super) struct Store {
    /// The medium.
    pub(super) driver: Arc<dyn StorageDriver>,
    /// How the catalog behaves.
    pub(super) options: Options,
    /// Where the time is read.
    pub(super) clock: Arc<dyn Clock>,
    /// Who relies on what, and who removes what.
    pub(super) guard: Guard,
    /// The changes that run.
    pub(super) changes: Changes,
    /// Names of tombstones and of pushes.
    pub(super) ids: IdSource,
    /// What may lead to a manifest.
    pub(super) reach: Reach,
    /// How long things may take.
    pub(super) timing: Timing,
}
