//! The whole registry's content.

use std::{fmt, sync::Arc, time::Duration};

use crate::oci::RepositoryName;

use super::{Clock, Error, Repository, Trash, driver::StorageDriver};

/// What a DELETE does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionMode {
    /// It hides, and what it hid can be restored.
    Soft,
    /// It is refused.
    Disabled,
}

/// How a catalog behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a DELETE does.
    pub deletion: DeletionMode,
    /// How long what was deleted can be restored, counted from the delete.
    pub restore_window: Duration,
    /// How many descriptors the in-memory cache holds.
    pub cache_entries: u64,
}

/// A part of a longer list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries, in order.
    pub entries: Vec<T>,
    /// Whether more follow after the last one.
    pub more: bool,
}

/// Every repository of one store. What distribution calls a namespace.
#[derive(Clone)]
pub struct Catalog {}

impl Catalog {
    /// Opens the store below a driver, and finishes the deletes that a crash interrupted.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn open(driver: Arc<dyn StorageDriver>, options: Options, clock: Arc<dyn Clock>) -> Result<Self, Error>;

    /// A repository by its name, whether or not it exists: it begins to with its first manifest.
    pub fn repository(&self, name: &RepositoryName) -> Repository;

    /// At most `limit` names of repositories with a visible manifest, in order, after `after` (any text).
    pub async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Page<RepositoryName>, Error>;

    /// What was deleted and can still be restored.
    pub fn trash(&self) -> Trash;
}
