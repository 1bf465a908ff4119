//! Reading a blob's bytes.

use std::{ops::Range, time::Duration};

use crate::oci::Digest;

use crate::storage::{Error, Repository, driver::ByteStream, layout::PathSpec};

/// A blob of a repository that was found, ready to be read.
#[derive(Debug)]
pub struct BlobReader {
    pub(in crate::storage) repository: Repository,
    pub(in crate::storage) digest: Digest,
    /// Under which it is stored.
    pub(in crate::storage) target: Digest,
    pub(in crate::storage) size: u64,
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

    /// Where the client may fetch the bytes itself for as long as `expires`; `None` where the medium has no such
    /// address.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn redirect(&self, expires: Duration) -> Result<Option<String>, Error> {
        let path = PathSpec::BlobData(&self.target).path();
        let signed = self.repository.store.driver.signed_url(&path, expires).await;
        signed.map_err(|source| Error::driver("sign an address", source))
    }
}
