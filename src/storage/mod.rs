//! What the registry keeps: blobs, uploads, links, manifests, tags, tombstones and facts, over a driver.
//!
//! [`Catalog`] is the way in. It hands out [`Repository`] values, and the [`Trash`]. Everything that changes
//! membership goes through the `guard`: an operation *enters* the keys it relies on, and a delete *freezes* those
//! that it removes (PROTOCOL.md, *Being a replica*).
//!
//! Only `layout` knows where a thing lies; only a [`driver`] touches the medium.

mod adoption;
mod blob_descriptor;
mod blob_reader;
mod blob_store;
mod blob_upload;
mod cache_epoch;
mod cached_descriptors;
mod catalog;
mod changes;
mod clock;
mod closure;
mod collection;
mod collection_records;
mod concurrent;
mod damaged_blob;
mod delete;
mod delete_planned;
pub mod driver;
mod entropy;
mod error;
mod facts;
#[cfg(test)]
mod fixtures;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guard;
mod held;
mod history;
mod id_source;
mod image_configs;
mod immutable_pushes;
mod inspection;
mod inventory;
mod layout;
mod link;
mod linked_blob_store;
mod manifest_push;
mod manifest_store;
mod metrics;
mod moved_tags;
mod pending;
mod pulls;
mod purge;
mod reach;
mod record;
mod referrer_lists;
mod referrers;
mod replicas;
mod repository;
mod repository_delete;
mod repository_walk;
mod restore;
mod run_records;
mod scrub_records;
mod store;
mod tag_names;
mod tag_pushes;
mod tag_store;
mod tally;
#[cfg(test)]
mod tests;
mod timing;
mod tombstone;
mod trash;
mod trash_group;
mod trash_index;
mod unfinished_tags;
mod upload_hash;
mod upload_id;
mod upload_lease;

pub use adoption::{Adoption, Confirmation, ForeignRevision, Origin};
pub use blob_descriptor::{RedisOptions, RedisTarget, RedisTargetError, RedisTimeouts, RedisTls};
pub use blob_reader::BlobReader;
pub use blob_upload::{BlobUpload, PurgedUploads};
pub use catalog::{Catalog, DeletionMode, Options, Page};
pub use clock::Clock;
pub use collection::{BlobSum, Collection, CollectionProblem, CollectionProgress, Epoch, Marked, SweepEnd};
pub use delete::DeleteCause;
pub use delete_planned::{PlannedDelete, PlannedOutcome};
#[cfg(test)]
pub(crate) use entropy::seeded;
pub(crate) use entropy::{bits as random_bits, on_a_thread};
pub use error::{Error, InvalidReference, with_causes};
pub use guard::Key;
pub use history::{PushId, PushIdError, TagHistoryEntry};
pub use image_configs::is_image_config;
pub use inspection::{Finding, FindingKind, Inspection, InspectionMode, InspectionProgress, Treatment};
pub use inventory::{Inventory, RevisionEntry, TagEntry};
pub use manifest_push::PutManifest;
pub use manifest_store::{ManifestContent, StoredManifest};
pub use metrics::{CollectionOutcome, StorageMetrics};
pub use moved_tags::MovedTag;
pub use pulls::PullHistory;
pub use referrers::ReferrerFilter;
pub use replicas::{
    CallError, Holder, ReplicaAnswer, ReplicaCall, ReplicaCalls, ReplicaSetup, Sightings, await_solitude,
};
pub use repository::{Audience, Repository};
pub use repository_delete::{DeletedRepository, RepositoryCounts};
pub use restore::{Conflict, Restored};
pub use tally::Tally;
pub use timing::Timing;
pub use tombstone::{Tombstone, TombstoneId, TombstoneIdError, TombstoneKind, TombstoneState};
pub use trash::{Trash, TrashFilter};
pub use trash_group::TrashGroup;
pub use upload_hash::UploadHash;
pub use upload_id::{UploadId, UploadIdError};
