//! Where blobs were seen last.

use moka::sync::Cache;

use crate::oci::{Digest, RepositoryName};

/// How many blobs are remembered: about 300 bytes each.
const REMEMBERED: u64 = 10_000;

/// For each of the blobs that came last, a repository that had it. A hint only: who acts on it looks whether the
/// repository still has the blob.
#[derive(Debug)]
pub(super) struct BlobHomes(Cache<Digest, RepositoryName>);

impl BlobHomes {
    pub(super) fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    pub(super) fn remember(&self, digest: &Digest, home: &RepositoryName) {
        self.0.insert(digest.clone(), home.clone());
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<RepositoryName> {
        self.0.get(digest)
    }
}
