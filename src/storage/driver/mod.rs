//! The medium: files in folders, addressed by [`StoragePath`].
//!
//! A driver knows nothing of blobs or tags. What distribution's `storagedriver` interface does with eleven methods,
//! this one does with the primitives that a crash-safe registry needs.

mod appended_file;
#[cfg(test)]
pub(in crate::storage) mod faulty;
mod filesystem;
mod instrumented;
mod look;
#[cfg(test)]
pub(in crate::storage) mod memory;
pub mod object;
mod self_test;
mod staged_file;
mod storage_path;
#[cfg(test)]
mod suite;

use std::{fmt, io, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

pub use filesystem::{FilesystemDriver, UnlockedDirectory};
pub(super) use instrumented::InstrumentedDriver;
pub use look::{Look, Seen};
pub use object::{
    AzureCredentials, AzureOptions, GcsCredentials, GcsOptions, ObjectDriver, ObjectStoreOptions, Provider,
    S3Addressing, S3Checksum, S3Credentials, S3Encryption, S3Options, Secret,
};
pub use self_test::{Violation, self_test};
pub use staged_file::{KeptState, Purge, Sealed, StagedFile, Staging};
pub use storage_path::{PathComponent, StoragePath, StoragePathError};

/// Whether a write has to be on the medium when it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power cut once the call returned: the file and each folder up to the first that existed are synced.
    Durable,
    /// Seen by every reader at once, but may be lost in a power cut (intents, refreshed ages).
    Visible,
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: Timestamp,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last component of its path.
    pub name: String,
    /// Whether it is a folder.
    pub is_directory: bool,
}

/// An error of the medium. Callers act on the first ones; everything else is [`Error::Io`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is there.
    #[error("{path} does not exist")]
    NotFound {
        /// The path asked for.
        path: StoragePath,
    },
    /// The medium is full.
    #[error("no space left to write {path}")]
    NoSpace {
        /// The path written.
        path: StoragePath,
    },
    /// The medium is mounted read-only.
    #[error("{path} is on a read-only medium")]
    ReadOnly {
        /// The path written.
        path: StoragePath,
    },
    /// The medium does not answer for now, or asks for fewer requests: the same call may succeed later.
    #[error("the medium cannot {action} {path} for now")]
    Unavailable {
        /// What was being done, as a verb.
        action: &'static str,
        /// The path concerned.
        path: StoragePath,
        /// What it said.
        source: io::Error,
    },
    /// As [`Self::Unavailable`], and it is known that the call did nothing and will not: the medium itself said so when it
    /// asked for fewer requests, or was not reached at all. Of a client that tries again by itself this is what the last
    /// attempt came to.
    #[error("the medium is too busy to {action} {path}")]
    Busy {
        /// What was being done, as a verb.
        action: &'static str,
        /// The path concerned.
        path: StoragePath,
        /// What it said.
        source: io::Error,
    },
    /// The medium refuses the call as it is: it did nothing, and trying again would come to the same.
    #[error("the medium refuses to {action} {path}")]
    Rejected {
        /// What was being done, as a verb.
        action: &'static str,
        /// The path concerned.
        path: StoragePath,
        /// What it said.
        source: io::Error,
    },
    /// The medium does not accept the credentials, or they do not allow the call.
    #[error("the medium does not allow to {action} {path}")]
    Denied {
        /// What was being done, as a verb.
        action: &'static str,
        /// The path concerned.
        path: StoragePath,
        /// What it said.
        source: io::Error,
    },
    /// A sync failed, now or earlier: nothing is written any more.
    #[error("a sync of the medium failed, so nothing more is written")]
    Poisoned,
    /// The process may not write this any more: others may treat it as gone.
    #[error("the lease lapsed before {path} was written")]
    Fenced {
        /// The path that was to be written.
        path: StoragePath,
    },
    /// Anything else.
    #[error("could not {action} {path}")]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The path concerned.
        path: StoragePath,
        /// What the system said.
        source: io::Error,
    },
}

/// Content as it comes from the medium.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// A store of files.
///
/// # Guarantees
/// - [`put`](Self::put) and [`publish`](StagedFile::publish) are atomic: a reader, and whoever comes after a crash, sees
///   the old content or the new.
/// - What one call wrote, every later call of any task sees.
/// - No path can name anything outside the root: [`StoragePath`] cannot express it, and links are not followed.
/// - Folders appear with what is put into them, and an empty folder may vanish at any time.
///
/// # Cancel safety
/// A call that is dropped may or may not take effect, but never half.
#[async_trait]
pub trait StorageDriver: Send + Sync + fmt::Debug + 'static {
    /// The whole content of a (small) file.
    async fn get(&self, path: &StoragePath) -> Result<Bytes, Error>;

    /// A part of a file's content, in order. `range` must lie within the file.
    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, Error>;

    /// What a file is. A folder is [`Error::NotFound`].
    async fn stat(&self, path: &StoragePath) -> Result<Metadata, Error>;

    /// At most `limit` names in a folder that sort after `after`, in byte order. An absent folder is [`Error::NotFound`].
    async fn list(&self, directory: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error>;

    /// Many small looks, in their order: as so many calls of [`get`](Self::get), [`stat`](Self::stat) and
    /// [`list`](Self::list), and no snapshot either. Cheaper where a call costs more than a look.
    async fn look(&self, looks: &[Look]) -> Result<Vec<Seen>, Error> {
        let mut seen = Vec::with_capacity(looks.len());
        for look in looks {
            seen.push(look::look_once(self, look).await?);
        }
        Ok(seen)
    }

    /// Writes a file whole, in place of what was there.
    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), Error>;

    /// Begins a staged file; `started_at` is written to its place. It can be resumed from then on.
    async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, Error>;

    /// Goes on with a staged file, where it was left last. Absent: [`Error::NotFound`].
    async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, Error>;

    /// When something was last written to a staged file. Nothing is left of it: [`Error::NotFound`].
    async fn last_use(&self, at: &Staging) -> Result<Timestamp, Error>;

    /// Removes a staged file to which nothing was written since `unused_since`, with all that belongs to it, also one
    /// that is damaged. Nobody in this process may have it. Whoever goes on with it in another process at the same time
    /// keeps it, or is told that it is not there, before anything that was written to it is acknowledged.
    async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<Purge, Error>;

    /// Sets a file's age; not durable. A medium that keeps its own time sets it to that. Absent: [`Error::NotFound`].
    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error>;

    /// Removes a file, durably. Absent: [`Error::NotFound`].
    async fn delete(&self, path: &StoragePath) -> Result<(), Error>;

    /// Removes a folder with all that is in it, durably. Absent: nothing happens.
    async fn delete_directory(&self, path: &StoragePath) -> Result<(), Error>;

    /// Where anybody may fetch a file for as long as `expires`, without further credentials; `None` where the medium
    /// has no such address. Whether the file exists is not looked at.
    async fn signed_url(&self, path: &StoragePath, expires: Duration) -> Result<Option<String>, Error>;

    /// Whether other processes may serve the same store at once.
    fn is_shared(&self) -> bool;

    /// Whether the process that served the store before this one may have ended in the middle of something. Of a shared
    /// store nobody knows.
    fn was_interrupted(&self) -> bool {
        false
    }

    /// When ages that were given to files, and not synced, may have been lost last: the machine went down with them. `None`
    /// where none were.
    fn ages_lost_at(&self) -> Option<Timestamp> {
        None
    }

    /// The same store through a client that never tries again and gives up after ten seconds: so that no removal, and
    /// no write of a delete or restore, lands later than that (docs/protocol.md, assumption A4).
    fn fenced(self: Arc<Self>) -> Arc<dyn StorageDriver>;
}
