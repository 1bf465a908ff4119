//! Where blobs were seen last.

use std::sync::Arc;

use moka::sync::Cache;

use crate::oci::{Digest, RepositoryName};

/// How many blobs are remembered: about 400 bytes each.
const REMEMBERED: u64 = 10_000;

/// How many repositories are remembered for one blob. One may lose it, or be out of the caller's reach; layers that lie
/// in more are those that everybody has.
const HOMES: usize = 4;

/// For each of the blobs that came last, the repositories that had it last. A hint only: who acts on it looks whether
/// the repository still has the blob.
#[derive(Debug)]
pub(super) struct BlobHomes(Cache<Digest, Arc<[RepositoryName]>>);

impl BlobHomes {
    pub(super) fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    pub(super) fn remember(&self, digest: &Digest, home: &RepositoryName) {
        let known = self.find(digest);
        if known.first() == Some(home) {
            return;
        }
        let others = known.iter().filter(|known| *known != home).cloned();
        self.0.insert(digest.clone(), [home.clone()].into_iter().chain(others).take(HOMES).collect());
    }

    /// The repositories that had the blob, the last one first.
    pub(super) fn find(&self, digest: &Digest) -> Arc<[RepositoryName]> {
        self.0.get(digest).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn the_last_homes_are_remembered_each_once() {
        let homes = BlobHomes::new();
        let digest = Digest::of(Algorithm::Sha256, b"cargo");
        assert!(homes.find(&digest).is_empty());
        for name in ["a", "b", "a", "c", "d", "e"] {
            homes.remember(&digest, &name.parse().unwrap());
        }
        let found: Vec<_> = homes.find(&digest).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["e", "d", "c", "a"]);
    }
}
