//! Reading a blob's bytes.

use std::ops::Range;

use crate::oci::Digest;

use super::{Error, driver::ByteStream};

/// A blob of a repository that was found, ready to be read.
#[derive(Debug)]
pub struct BlobReader {
    digest: Digest,
    size: u64,
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

    /// The bytes of `range`, which must lie within the blob.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn stream(&self, range: Range<u64>) -> Result<ByteStream, Error> {
        todo!("{range:?}")
    }
}
