//! What all repositories of one catalog share.

use std::sync::Arc;

use super::{
    Clock, Options, Timing,
    adoption::ForeignWriters,
    blobs::damaged::Suspects,
    cache::blob_descriptor::Descriptors,
    driver::StorageDriver,
    guard::{changes::Changes, keys::Guard},
    id_source::IdSource,
    manifests::{reach::Reach, referrer_lists::ReferrerLists},
    pulls::Pulls,
    replicas::{Fence, Membership},
    tags::{immutable_pushes::ImmutablePushes, names::TagNames, unfinished::UnfinishedTags},
    uploads::lease::UploadLeases,
};

/// The parts that a [`Catalog`](super::Catalog) is made of. Clones are the same store.
#[derive(Debug, Clone)]
pub(super) struct Store {
    /// The medium.
    pub(super) driver: Arc<dyn StorageDriver>,
    /// The same, through a client that never tries again: for every removal, and every write of a delete, restore or
    /// sweep (docs/protocol.md, assumption A4).
    pub(super) fenced: Arc<dyn StorageDriver>,
    /// How the catalog behaves.
    pub(super) options: Options,
    /// Where the time is read.
    pub(super) clock: Arc<dyn Clock>,
    /// Who relies on what, and who removes what.
    pub(super) guard: Guard,
    /// What caches know of the links.
    pub(super) descriptors: Arc<Descriptors>,
    /// Blobs that may be damaged.
    pub(super) suspects: Arc<Suspects>,
    /// The changes that run.
    pub(super) changes: Arc<Changes>,
    /// Names of tombstones and of pushes.
    pub(super) ids: Arc<IdSource>,
    /// What may lead to a manifest.
    pub(super) reach: Arc<Reach>,
    /// Which repositories' lists of referrers are being completed.
    pub(super) referrer_lists: Arc<ReferrerLists>,
    /// The tags of large repositories.
    pub(super) tag_names: Arc<TagNames>,
    /// Where tags may be whose push was not finished.
    pub(super) unfinished: Arc<UnfinishedTags>,
    /// Who writes to which upload.
    pub(super) uploads: UploadLeases,
    /// Whose turn it is to push an immutable tag.
    pub(super) immutable_pushes: Arc<ImmutablePushes>,
    /// What was pulled, and is not written down yet.
    pub(super) pulls: Arc<Pulls>,
    /// What is known of other registries that write to the store.
    pub(super) foreign: Arc<ForeignWriters>,
    /// How long things may take.
    pub(super) timing: Timing,
    /// The other processes on this store; `None` where there can be none.
    pub(super) replicas: Option<Arc<Membership>>,
    /// Of a delete or restore on a shared store: what its writes need.
    pub(super) fence: Option<Arc<Fence>>,
}
