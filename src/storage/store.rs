//! What all repositories of one catalog share.

use std::sync::Arc;

use super::{
    Clock, Options, Timing, blob_descriptor::Descriptors, changes::Changes, driver::StorageDriver, guard::Guard,
    id_source::IdSource, reach::Reach, tag_names::TagNames, upload_lease::UploadLeases,
};

/// The parts that a [`Catalog`](super::Catalog) is made of.
#[derive(Debug)]
pub(super) struct Store {
    /// The medium.
    pub(super) driver: Arc<dyn StorageDriver>,
    /// The same, through a client that never tries again: for every removal, and every write of a delete, restore or
    /// sweep (PROTOCOL.md, assumption A4).
    pub(super) fenced: Arc<dyn StorageDriver>,
    /// How the catalog behaves.
    pub(super) options: Options,
    /// Where the time is read.
    pub(super) clock: Arc<dyn Clock>,
    /// Who relies on what, and who removes what.
    pub(super) guard: Guard,
    /// What caches know of the links.
    pub(super) descriptors: Descriptors,
    /// The changes that run.
    pub(super) changes: Changes,
    /// Names of tombstones and of pushes.
    pub(super) ids: IdSource,
    /// What may lead to a manifest.
    pub(super) reach: Reach,
    /// The tags of large repositories.
    pub(super) tag_names: TagNames,
    /// Who writes to which upload.
    pub(super) uploads: UploadLeases,
    /// How long things may take.
    pub(super) timing: Timing,
}
