//! Uploads: bytes on their way to become a blob.

pub(super) mod hash;
pub(super) mod id;
pub(super) mod lease;
pub(super) mod upload;
