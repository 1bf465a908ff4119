//! A repository as retention sees it.

use jiff::Timestamp;

use crate::oci::{Digest, Manifest, Tag};

use super::{Error, Repository};

/// Everything visible in a repository at one time.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// Its tags, in order.
    pub tags: Vec<TagEntry>,
    /// Its manifests.
    pub revisions: Vec<RevisionEntry>,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagEntry {
    /// The tag.
    pub tag: Tag,
    /// What it points to.
    pub digest: Digest,
    /// When it was pushed last.
    pub pushed_at: Option<Timestamp>,
}

/// A manifest.
#[derive(Debug, Clone)]
pub struct RevisionEntry {
    /// Its address.
    pub digest: Digest,
    /// When it was pushed last.
    pub pushed_at: Option<Timestamp>,
    /// Since when no tag points to it.
    pub untagged_since: Option<Timestamp>,
    /// When it was restored last.
    pub restored_at: Option<Timestamp>,
    /// Its own length in bytes.
    pub size: u64,
    /// What it says; `None`: it cannot be read, and is kept.
    pub manifest: Option<Manifest>,
}

impl Repository {
    /// Everything visible.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn inventory(&self) -> Result<Inventory, Error> {
        todo!()
    }
}
