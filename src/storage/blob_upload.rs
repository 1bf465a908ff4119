//! Bytes on their way in.

use bytes::Bytes;

use crate::oci::{Descriptor, Digest};

use super::{Error, Repository, UploadId};

/// An upload that this value's owner writes to, and nobody else until it is dropped. Dropping it leaves the upload
/// resumable.
#[derive(Debug)]
pub struct BlobUpload {
    id: UploadId,
    offset: u64,
}

impl BlobUpload {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn append(&mut self, chunk: Bytes) -> Result<(), Error> {
        todo!("{}", chunk.len())
    }

    /// Leaves the upload for another request, also of another process; returns its offset.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn suspend(self) -> Result<u64, Error> {
        todo!()
    }

    /// Ends the upload: what arrived becomes a blob of the repository.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], [`Error::Frozen`], [`Error::Driver`].
    pub async fn commit(self, expected: &Digest) -> Result<Descriptor, Error> {
        todo!("{expected}")
    }

    /// Ends the upload without a trace.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn cancel(self) -> Result<(), Error> {
        todo!()
    }
}

impl Repository {
    /// Begins an upload.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn create_upload(&self) -> Result<BlobUpload, Error> {
        todo!()
    }

    /// Goes on with an upload.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], [`Error::UploadBusy`], [`Error::Driver`].
    pub async fn resume_upload(&self, id: &UploadId) -> Result<BlobUpload, Error> {
        todo!("{id}")
    }

    /// How many bytes of an upload have arrived.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], [`Error::Driver`].
    pub async fn upload_offset(&self, id: &UploadId) -> Result<u64, Error> {
        todo!("{id}")
    }

    /// Ends an upload without a trace.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], [`Error::UploadBusy`], [`Error::Driver`].
    pub async fn cancel_upload(&self, id: &UploadId) -> Result<(), Error> {
        todo!("{id}")
    }
}
