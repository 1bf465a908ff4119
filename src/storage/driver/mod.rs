//! The medium: files in folders, addressed by [`StoragePath`].
//!
//! A driver knows nothing of blobs or tags. What distribution's `storagedriver` interface does with eleven methods,
//! this one does with the primitives that a crash-safe registry needs.

#[cfg(test)]
pub(in crate::storage) mod faulty;
mod filesystem;
#[cfg(test)]
pub(in crate::storage) mod memory;
mod storage_path;
#[cfg(test)]
mod suite;

use std::{fmt, io, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

pub use filesystem::{FilesystemDriver, UnlockedDirectory};
pub use storage_path::{PathComponent, StoragePath, StoragePathError};

/// Whether a write has to be on the medium when it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power cut once the call returned: the file and each folder up to the first that existed are synced.
    Durable,
    /// Seen by every reader at once, but may be lost in a power cut (intents, refreshed ages).
    Visible,
}

/// What is known of a file or folder without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// A file's length in bytes; 0 for a folder.
    pub size: u64,
    /// When it was last written.
    pub modified: Timestamp,
    /// Whether it is a folder.
    pub is_directory: bool,
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
    /// A sync failed, now or earlier: nothing is written any more.
    #[error("a sync of the medium failed, so nothing more is written")]
    Poisoned,
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
/// - [`put`](Self::put) and [`publish`](Self::publish) are atomic: a reader, and whoever comes after a crash, sees the
///   old content or the new.
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

    /// What a path is.
    async fn stat(&self, path: &StoragePath) -> Result<Metadata, Error>;

    /// At most `limit` names in a folder that sort after `after`, in byte order. An absent folder is [`Error::NotFound`].
    async fn list(&self, directory: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error>;

    /// Writes a file whole, in place of what was there.
    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), Error>;

    /// Writes `chunk` at `offset` of a staged file; the file is cut there first, so that what a broken request left
    /// behind `offset` is gone. The file appears with the first call, at offset 0. Not durable before
    /// [`publish`](Self::publish) or [`sync`](Self::sync).
    async fn append(&self, path: &StoragePath, offset: u64, chunk: Bytes) -> Result<(), Error>;

    /// Makes a staged file's content durable.
    async fn sync(&self, path: &StoragePath) -> Result<(), Error>;

    /// Moves a synced file to its final path, durably, in place of what was there.
    async fn publish(&self, staged: &StoragePath, target: &StoragePath) -> Result<(), Error>;

    /// Sets a file's age; not durable. Absent: [`Error::NotFound`].
    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error>;

    /// Removes a file, durably. Absent: [`Error::NotFound`].
    async fn delete(&self, path: &StoragePath) -> Result<(), Error>;

    /// Removes a folder with all that is in it, durably. Absent: nothing happens.
    async fn delete_directory(&self, path: &StoragePath) -> Result<(), Error>;
}
