//! Who relies on what, and who removes what.

use crate::oci::{Digest, RepositoryName, Tag};

use super::Error;

/// What operations rely on and deletes freeze.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    /// The bytes of a blob, in whichever repository.
    Blob(Digest),
    /// The membership of a manifest in a repository.
    Revision(RepositoryName, Digest),
    /// What a tag points to.
    Tag(RepositoryName, Tag),
}

/// The guard of one process.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {}

/// Keys that an operation relies on, until this is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Entered {}

/// Keys that a delete or restore changes, until this is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Frozen {}

impl Guard {
    /// Relies on all of `keys` at once, as soon as none of them is frozen.
    ///
    /// # Errors
    /// [`Error::Frozen`] when it had to wait for too long.
    pub(super) async fn enter(&self, keys: impl IntoIterator<Item = Key>) -> Result<Entered, Error> {
        let _ = keys.into_iter().count();
        todo!()
    }

    /// Freezes all of `keys` at once: later [`Self::enter`]s wait, and this waits until what is in flight has left.
    ///
    /// # Errors
    /// [`Error::Frozen`] when it had to wait for too long; nothing is frozen then.
    pub(super) async fn freeze(&self, keys: impl IntoIterator<Item = Key>) -> Result<Frozen, Error> {
        let _ = keys.into_iter().count();
        todo!()
    }
}
