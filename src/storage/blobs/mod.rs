//! Blobs: their bytes, and which of them a repository has.

pub(super) mod damaged;
pub(super) mod link;
pub(super) mod linked_store;
pub(super) mod reader;
pub(super) mod store;
