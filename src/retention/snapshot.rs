//! A repository at one time.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::oci::{Digest, ImageConfig, MediaType, Platform, RepositoryName, Tag};

/// Everything visible in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySnapshot {
    /// Its name.
    pub repository: RepositoryName,
    /// Its tags; each name once.
    pub tags: Vec<TagSnapshot>,
    /// Its manifests; each digest once.
    pub manifests: Vec<ManifestSnapshot>,
    /// What is known of pulls.
    pub pulls: PullsKnown,
}

/// What is known of the pulls of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullsKnown {
    /// Nothing: what asks for pulls keeps.
    Nothing,
    /// All of them, but those of some time before this one, when anything may have been pulled.
    Until(Timestamp),
    /// All of them.
    All,
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
    /// When it was last pulled by its name, as far as that is known.
    pub pulled_at: Option<Timestamp>,
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
    /// When it was last pulled by its digest, as far as that is known. It counts for the tags that point to it, or to an
    /// index that lists it: many clients ask for a tag's digest first, and then for that.
    pub pulled_at: Option<Timestamp>,
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
    /// Where what it lists runs, as far as it says so itself.
    pub platforms: Vec<Platform>,
    /// An image's config; also among the blobs.
    pub config: Option<Digest>,
    /// Config and layers.
    pub blobs: Vec<Blob>,
    /// The manifest that it says something about.
    pub subject: Option<Digest>,
    /// Its artifact type, else the media type of its config.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What its config says.
    pub image: ImageFacts,
}

/// What the config of a manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ImageFacts {
    /// That is not known: nobody asked, or it could not be read. What asks for it keeps.
    #[default]
    Unknown,
    /// It has no config of an image: an index, or an artifact of another kind.
    None,
    /// This.
    Known(ImageConfig),
}

/// A config or layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its address.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}
