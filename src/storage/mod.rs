//! What the registry keeps: blobs, uploads, links, manifests, tags, tombstones and facts, over a driver.
//!
//! [`Catalog`] is the way in. It hands out [`Repository`] values, and the [`Trash`]. Everything that changes
//! membership goes through the `guard`: an operation *enters* the keys it relies on, and a delete *freezes* those
//! that it removes (docs/protocol.md, *Being a replica*).
//!
//! Only `layout` knows where a thing lies; only a [`driver`] touches the medium.

mod adoption;
mod blobs;
mod cache;
mod catalog;
mod clock;
mod collection;
mod concurrent;
pub mod driver;
mod entropy;
mod error;
#[cfg(test)]
mod fixtures;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guard;
mod id_source;
mod inspection;
mod layout;
mod manifests;
mod metrics;
mod pulls;
mod records;
mod replicas;
mod repository;
mod repository_walk;
mod store;
mod tags;
mod tally;
#[cfg(test)]
mod tests;
mod timing;
mod trash;
mod uploads;

pub use adoption::{Adoption, Confirmation, ForeignRevision, Origin};
pub use blobs::reader::BlobReader;
pub use cache::blob_descriptor::{RedisOptions, RedisTarget, RedisTargetError, RedisTimeouts, RedisTls};
pub use catalog::{Catalog, DeletionMode, Options, Page};
pub use clock::Clock;
pub use collection::{BlobSum, Collection, CollectionProblem, CollectionProgress, Epoch, Marked, SweepEnd};
#[cfg(test)]
pub(crate) use entropy::seeded;
pub(crate) use entropy::{bits as random_bits, on_a_thread};
pub use error::{Error, InvalidReference, with_causes};
pub use guard::keys::Key;
pub use inspection::{Finding, FindingKind, Inspection, InspectionMode, InspectionProgress, Treatment};
pub use manifests::image_configs::is_image_config;
pub use manifests::inventory::{Inventory, RevisionEntry, TagEntry};
pub use manifests::push::PutManifest;
pub use manifests::referrers::ReferrerFilter;
pub use manifests::store::{ManifestContent, StoredManifest};
pub use metrics::{CollectionOutcome, StorageMetrics};
pub use pulls::PullHistory;
pub use replicas::{
    CallError, Claiming, Holder, ReplicaAnswer, ReplicaCall, ReplicaCalls, ReplicaSetup, RunClaim, Sightings,
    await_solitude,
};
pub use repository::{Audience, Repository};
pub use tags::history::{PushId, PushIdError, TagHistoryEntry};
pub use tally::Tally;
pub use timing::Timing;
pub use trash::delete::DeleteCause;
pub use trash::group::TrashGroup;
pub use trash::listing::{Trash, TrashFilter};
pub use trash::moved_tags::MovedTag;
pub use trash::planned::{PlannedDelete, PlannedOutcome};
pub use trash::repository_delete::{DeletedRepository, RepositoryCounts};
pub use trash::restore::{Conflict, Restored};
pub use trash::tombstone::{Tombstone, TombstoneId, TombstoneIdError, TombstoneKind, TombstoneState};
pub use uploads::hash::UploadHash;
pub use uploads::id::{UploadId, UploadIdError};
pub use uploads::upload::{BlobUpload, PurgedUploads};
