//! Manifests of a repository.

use bytes::Bytes;

use crate::oci::{Descriptor, Digest, Manifest, MediaType, Reference};

use super::{Error, Repository};

/// A manifest as it was pushed.
#[derive(Debug, Clone)]
pub struct StoredManifest {
    /// What it is; the media type is the one that it was pushed with.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A manifest to store.
#[derive(Debug, Clone)]
pub struct PutManifest {
    /// The tag that it is pushed under, or its digest.
    pub reference: Reference,
    /// The `Content-Type` that came with it.
    pub media_type: Option<MediaType>,
    /// What it says.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its address. For a tag, the SHA-256 of the bytes.
    pub digest: Digest,
    /// Who pushes.
    pub actor: String,
}

impl Repository {
    /// What a reference points to.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::Driver`].
    pub async fn stat_manifest(&self, reference: &Reference) -> Result<Descriptor, Error> {
        todo!("{reference}")
    }

    /// A manifest.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::Driver`].
    pub async fn manifest(&self, reference: &Reference) -> Result<StoredManifest, Error> {
        todo!("{reference}")
    }

    /// Stores a manifest, and moves the tag that it was pushed under.
    ///
    /// # Errors
    /// [`Error::InvalidReferences`], [`Error::DigestMismatch`], [`Error::Frozen`], [`Error::Driver`].
    pub async fn put_manifest(&self, put: PutManifest) -> Result<Digest, Error> {
        todo!("{put:?}")
    }
}
