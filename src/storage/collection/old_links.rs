//! Links that go with the bytes that they name.

use crate::oci::{Digest, RepositoryName};

use super::blob_table::BlobIndex;

/// The layer links that are older than the grace period and name a blob that nothing needed when they were seen: two
/// numbers each.
#[derive(Debug, Default)]
pub(super) struct OldLinks {
    repositories: Vec<RepositoryName>,
    links: Vec<(BlobIndex, u32)>,
    /// Links that may stand under another address than that of the bytes: stock distribution's SHA-512 links.
    aliases: Vec<(BlobIndex, u32, Digest)>,
}

impl OldLinks {
    /// Adds the link of a blob under its own address. Links come a repository at a time.
    pub(super) fn add(&mut self, name: &RepositoryName, blob: BlobIndex) {
        let repository = self.number_of(name);
        self.links.push((blob, repository));
    }

    /// Adds a link that may name a blob under another address.
    pub(super) fn add_alias(&mut self, name: &RepositoryName, address: Digest, blob: BlobIndex) {
        let repository = self.number_of(name);
        self.aliases.push((blob, repository, address));
    }

    fn number_of(&mut self, name: &RepositoryName) -> u32 {
        if self.repositories.last() != Some(name) {
            self.repositories.push(name.clone());
        }
        // More repositories than that have no place in memory.
        u32::try_from(self.repositories.len() - 1).unwrap_or(u32::MAX)
    }

    /// Keeps those of the blobs that are garbage after all, and puts them in order.
    pub(super) fn retain(&mut self, is_garbage: impl Fn(BlobIndex) -> bool) {
        self.links.retain(|(blob, _)| is_garbage(*blob));
        self.links.shrink_to_fit();
        self.links.sort_unstable();
        self.aliases.retain(|(blob, ..)| is_garbage(*blob));
        self.aliases.sort_unstable();
    }

    /// The links of a blob, each with the address that it stands under; `own` is the blob's.
    pub(super) fn of(&self, blob: BlobIndex, own: &Digest) -> Vec<(RepositoryName, Digest)> {
        let first = self.links.partition_point(|(other, _)| *other < blob);
        let links = self.links.iter().skip(first).take_while(|(other, _)| *other == blob);
        let links = links.map(|(_, repository)| (*repository, own));
        let first = self.aliases.partition_point(|(other, ..)| *other < blob);
        let aliases = self.aliases.iter().skip(first).take_while(|(other, ..)| *other == blob);
        let aliases = aliases.map(|(_, repository, address)| (*repository, address));
        let named = |(repository, address): (u32, &Digest)| {
            self.repositories.get(repository as usize).map(|name| (name.clone(), address.clone()))
        };
        links.chain(aliases).filter_map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        oci::Algorithm,
        storage::{collection::blob_table::BlobTable, fixtures::name},
    };

    use super::*;

    #[test]
    fn a_blobs_links_are_found_in_all_repositories() {
        let digests: Vec<Digest> = (0..10_u8).map(|n| Digest::of(Algorithm::Sha256, &[n])).collect();
        let alias = Digest::of(Algorithm::Sha512, &[3]);
        let mut table = BlobTable::default();
        for digest in &digests {
            table.add(digest);
        }
        table.seal();
        let index = |n: usize| table.index_of(&digests[n]).unwrap();
        let mut links = OldLinks::default();
        for repository in ["a", "b", "c"] {
            (0..10).for_each(|n| links.add(&name(repository), index(n)));
        }
        links.add_alias(&name("c"), alias.clone(), index(3));
        links.retain(|blob| blob != index(4));
        let expected: Vec<_> = ["a", "b", "c"].map(|repository| (name(repository), digests[3].clone())).into();
        assert_eq!(links.of(index(3), &digests[3]), [expected, vec![(name("c"), alias)]].concat());
        assert_eq!(links.of(index(4), &digests[4]), []);
    }
}
