//! The bytes, content-addressed and stored once for the whole registry.

use std::ops::Range;

use crate::oci::Digest;

use crate::storage::{
    Error,
    driver::{self, ByteStream, StagedFile},
    layout::PathSpec,
    store::Store,
};

impl Store {
    /// The length in bytes of what is stored under a digest, read from the medium; `None` where nothing is. An empty
    /// file is nothing, but under the digest of nothing: another registry's crash leaves such, and the next push
    /// replaces them.
    pub(in crate::storage) async fn stored_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.driver.stat(&PathSpec::BlobData(digest).path()).await {
            Ok(metadata) => Ok(Some(metadata.size).filter(|size| *size > 0 || digest.matches(b""))),
            Err(driver::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(Error::driver("look at a blob", source)),
        }
    }

    /// Brings a sealed file, whose content hashes to `digest`, to its place, unless the same is there already. Verified
    /// are only the sizes, and in a folder that it opens: what is there was verified when it came.
    ///
    /// The caller is in the guard with the digest.
    pub(in crate::storage) async fn publish_blob(
        &self,
        staged: &mut dyn StagedFile,
        digest: &Digest,
    ) -> Result<(), Error> {
        if self.stored_size(digest).await? == Some(staged.length()) && self.opens(digest).await {
            return Ok(());
        }
        let published = staged.publish(&PathSpec::BlobData(digest).path()).await;
        published.map_err(|source| Error::driver("publish a blob", source))
    }

    /// Whether what is stored can be read. In a folder the rights to each file are its own; in a bucket they are the
    /// bucket's, and every other request would say so.
    async fn opens(&self, digest: &Digest) -> bool {
        self.driver.is_shared() || self.driver.read(&PathSpec::BlobData(digest).path(), 0..0).await.is_ok()
    }

    /// The bytes stored under a digest; `None` where there are none.
    pub(in crate::storage) async fn read_blob(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Option<ByteStream>, Error> {
        match self.driver.read(&PathSpec::BlobData(digest).path(), range).await {
            Ok(stream) => Ok(Some(stream)),
            Err(driver::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(Error::driver("read a blob", source)),
        }
    }
}
