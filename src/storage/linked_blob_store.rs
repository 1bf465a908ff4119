//! Membership: which blobs and manifests a repository has.

use crate::oci::{Descriptor, Digest, RepositoryName};

use super::{Audience, BlobReader, Error, Repository};

impl Repository {
    /// What the repository has under a digest; its media type is `application/octet-stream`.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], [`Error::Frozen`], [`Error::Driver`].
    pub async fn stat_blob(&self, digest: &Digest, audience: Audience) -> Result<Descriptor, Error> {
        todo!("{digest} {audience:?}")
    }

    /// A blob, to read.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], [`Error::Driver`].
    pub async fn open_blob(&self, digest: &Digest) -> Result<BlobReader, Error> {
        todo!("{digest}")
    }

    /// Makes a blob of another repository a member of this one; `None` where `from` does not have it.
    ///
    /// # Errors
    /// [`Error::Frozen`], [`Error::Driver`].
    pub async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<Option<Descriptor>, Error> {
        todo!("{digest} {from}")
    }
}
