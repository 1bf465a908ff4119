//! Reading a blob's bytes.

use std::ops::Range;

use crate::oci::Digest;

use super::{Error, Repository, driver::ByteStream};

/// A blob of a repository that was found, ready to be read.
#[derive(Debug)]
pub struct BlobReader {
    pub(super) repository: Repository,
    pub(super) digest: Digest,
    /// Under which it is stored.
    pub(super) target: Digest,
    pub(super) size: u64,
}

impl BlobReader {
    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its address.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The bytes of `range`, which must lie within the blob. Each chunk is read when it is asked for, so a slow reader
    /// holds one chunk, and not the blob.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] where the bytes went away meanwhile, [`Error::Driver`].
    pub async fn stream(&self, range: Range<u64>) -> Result<ByteStream, Error> {
        if let Some(stream) = self.repository.store.read_blob(&self.target, range).await? {
            return Ok(stream);
        }
        self.repository.store.drop_descriptors(self.repository.name(), &self.digest).await;
        Err(self.repository.blob_unknown(&self.digest).await)
    }
}
