//! The descriptor caches in front of the links.

pub(super) mod blob_descriptor;
pub(super) mod descriptors;
pub(super) mod epoch;
