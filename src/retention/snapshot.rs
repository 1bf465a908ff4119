//! A repository at one time.

use jiff::Timestamp;

use crate::oci::{Digest, MediaType, RepositoryName, Tag};

/// Everything visible in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySnapshot {
    /// Its name.
    pub repository: RepositoryName,
    /// Its tags; each name once.
    pub tags: Vec<TagSnapshot>,
    /// Its manifests; each digest once.
    pub manifests: Vec<ManifestSnapshot>,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSnapshot {
    /// The tag.
    pub tag: Tag,
    /// What it points to.
    pub digest: Digest,
    /// When it was pushed last. Unknown: it is kept.
    pub pushed_at: Option<Timestamp>,
    /// When it was last restored from the trash; `None`: never.
    pub restored_at: Option<Timestamp>,
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSnapshot {
    /// Its address.
    pub digest: Digest,
    /// What it says that it is.
    pub media_type: Option<MediaType>,
    /// Its own length in bytes.
    pub size: u64,
    /// When it was pushed last. Unknown: it is kept.
    pub pushed_at: Option<Timestamp>,
    /// Since when no tag points to it. `None`: it never had a tag, and its age counts from its push. Ignored while
    /// a tag points to it.
    pub untagged_since: Option<Timestamp>,
    /// When it was last restored from the trash; `None`: never.
    pub restored_at: Option<Timestamp>,
    /// What it refers to; `None`: it cannot be read, and so it is kept with everything that it may refer to.
    pub content: Option<ManifestContent>,
}

/// What a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManifestContent {
    /// The manifests that it lists.
    pub children: Vec<Digest>,
    /// An image's config; also among the blobs.
    pub config: Option<Digest>,
    /// Config and layers.
    pub blobs: Vec<Blob>,
    /// The manifest that it says something about.
    pub subject: Option<Digest>,
}

/// A config or layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its address.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}
