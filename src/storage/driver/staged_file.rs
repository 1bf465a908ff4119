//! A file on its way in.

use std::{fmt, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;

use super::{ByteStream, Error, StoragePath};

/// Where a staged file lies until it is published. A driver uses of it what it needs, and may put more into `folder`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staging {
    /// A folder that holds nothing else.
    pub folder: StoragePath,
    /// When it began, as the caller writes it; there as long as the staged file is.
    pub started_at: StoragePath,
    /// The bytes, on drivers that can append to a file.
    pub data: StoragePath,
    /// A folder of hash states, each named for its offset.
    pub states: StoragePath,
}

/// The state of a hash that was kept beside a staged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptState {
    /// How many bytes it is the hash of; at most the staged file's length.
    pub offset: u64,
    /// The state, as it was given to [`StagedFile::suspend`].
    pub state: Bytes,
}

/// What was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a hash that was computed on the way in may be another's"]
pub enum Sealed {
    /// The bytes that were appended, and those that were there when it was resumed.
    AsAppended,
    /// Somebody else may have written to the same upload at the same time: what its bytes are is known only from
    /// reading them. They do not change any more.
    MaybeMixed,
}

/// What became of a staged file that was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// There was none.
    Absent,
    /// Somebody has written to it.
    InUse,
    /// It is gone, with all that belonged to it.
    Removed,
}

/// A file on its way in, which its owner alone writes to.
///
/// It is begun by [`stage`](super::StorageDriver::stage), may be left and found again by
/// [`resume`](super::StorageDriver::resume), also in another process, and ends as a file at its final path, or not at
/// all. The order is: appends, [`seal`](Self::seal), reads, [`publish`](Self::publish), [`discard`](Self::discard).
///
/// # Guarantees
/// - Two that were resumed from the same place at the same time, in two processes, do not mix: what is published is
///   what one of them wrote, or nothing is.
/// - A call that failed, except [`publish`](Self::publish), can be made again.
///
/// # Cancel safety
/// None: a value whose call was dropped is of no use. What it wrote stays for the next
/// [`resume`](super::StorageDriver::resume) or is lost, and never damages what others see.
#[async_trait]
pub trait StagedFile: Send + Sync + fmt::Debug {
    /// How many bytes it has.
    fn length(&self) -> u64;

    /// The longest hash state that was kept and is not longer than the file. What cannot be read is not there: it can
    /// be computed again.
    async fn kept_state(&self) -> Option<KeptState>;

    /// Adds bytes at the end; what fails leaves the length as it was. They are found by
    /// [`resume`](super::StorageDriver::resume) only after [`suspend`](Self::suspend), except where a driver says more.
    async fn append(&mut self, chunk: Bytes) -> Result<(), Error>;

    /// Leaves the file for whoever resumes it: makes it durable as it is, with the state of the hash of all its bytes.
    async fn suspend(&mut self, state: Option<Bytes>) -> Result<(), Error>;

    /// Ends the appending, and makes all of it durable, if it did not fit into one write.
    async fn seal(&mut self) -> Result<Sealed, Error>;

    /// A part of what was sealed, in order.
    async fn read(&self, range: Range<u64>) -> Result<ByteStream, Error>;

    /// Makes what was sealed the content of its final path, durably and atomically, in place of what was there.
    async fn publish(&mut self, target: &StoragePath) -> Result<(), Error>;

    /// Removes what is left in the staging folder, and everything that belongs to it elsewhere.
    async fn discard(&mut self) -> Result<(), Error>;
}
