//! Which blobs are stored, and which of them are needed: a digest and two bits each.

use crate::oci::{Algorithm, Digest};

/// A blob's place in a [`BlobTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlobIndex(u32);

/// The blobs that a listing found. They are added first; then it is [sealed](Self::seal), and they can be looked up.
///
/// A registry of a million blobs takes 32 MB here. What is not in the table is no candidate, so nothing of it is removed.
#[derive(Debug, Default)]
pub(super) struct BlobTable {
    sha256: Vec<[u8; 32]>,
    sha512: Vec<[u8; 64]>,
    needed: Bits,
    read: Bits,
}

impl BlobTable {
    /// Adds a blob that is stored.
    pub(super) fn add(&mut self, digest: &Digest) {
        let raw = digest.raw();
        match digest.algorithm() {
            Algorithm::Sha256 => self.sha256.extend(<[u8; 32]>::try_from(raw)),
            Algorithm::Sha512 => self.sha512.extend(<[u8; 64]>::try_from(raw)),
        }
    }

    /// To be called when all were added.
    pub(super) fn seal(&mut self) {
        // Listings come in order, so this has nothing to do; but what is looked up must be.
        self.sha256.sort_unstable();
        self.sha256.dedup();
        self.sha512.sort_unstable();
        self.sha512.dedup();
        self.needed = Bits::new(self.len());
        self.read = Bits::new(self.len());
    }

    pub(super) fn len(&self) -> usize {
        self.sha256.len() + self.sha512.len()
    }

    /// Where a blob is, if it is stored.
    pub(super) fn index_of(&self, digest: &Digest) -> Option<BlobIndex> {
        let raw = digest.raw();
        let index = match digest.algorithm() {
            Algorithm::Sha256 => self.sha256.binary_search(&raw.try_into().ok()?).ok()?,
            Algorithm::Sha512 => self.sha256.len() + self.sha512.binary_search(&raw.try_into().ok()?).ok()?,
        };
        u32::try_from(index).ok().map(BlobIndex)
    }

    /// The address of a blob.
    pub(super) fn digest(&self, index: BlobIndex) -> Option<Digest> {
        let index = index.0 as usize;
        match self.sha256.get(index) {
            Some(raw) => Digest::from_raw(Algorithm::Sha256, raw),
            None => Digest::from_raw(Algorithm::Sha512, self.sha512.get(index.checked_sub(self.sha256.len())?)?),
        }
    }

    /// Marks a blob as needed; whether it is stored.
    pub(super) fn need(&mut self, digest: &Digest) -> bool {
        let index = self.index_of(digest);
        if let Some(index) = index {
            self.needed.set(index.0 as usize);
        }
        index.is_some()
    }

    pub(super) fn is_needed(&self, index: BlobIndex) -> bool {
        self.needed.get(index.0 as usize)
    }

    /// Notes that a manifest was read, and all that it needs is marked.
    pub(super) fn note_read(&mut self, digest: &Digest) {
        if let Some(index) = self.index_of(digest) {
            self.read.set(index.0 as usize);
        }
    }

    pub(super) fn was_read(&self, digest: &Digest) -> bool {
        self.index_of(digest).is_some_and(|index| self.read.get(index.0 as usize))
    }

    /// The first blob from `from` on that nothing needs.
    pub(super) fn next_unneeded(&self, from: usize) -> Option<(BlobIndex, usize)> {
        let index = (from..self.len()).find(|index| !self.needed.get(*index))?;
        Some((BlobIndex(u32::try_from(index).ok()?), index + 1))
    }
}

/// A bit for each of so many things.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(length: usize) -> Self {
        Self(vec![0; length.div_ceil(64)])
    }

    fn set(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    fn get(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests() -> Vec<Digest> {
        let of = |algorithm| (0..100_u8).map(move |n| Digest::of(algorithm, &[n]));
        of(Algorithm::Sha256).chain(of(Algorithm::Sha512)).collect()
    }

    fn unneeded(table: &BlobTable) -> Vec<Digest> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some((index, next)) = table.next_unneeded(from) {
            found.push(table.digest(index).unwrap());
            from = next;
        }
        found.sort();
        found
    }

    #[test]
    fn what_was_added_is_found_and_nothing_else() {
        let mut table = BlobTable::default();
        for digest in digests().iter().chain(&digests()) {
            table.add(digest);
        }
        table.seal();
        assert_eq!(table.len(), 200, "each counts once");
        for digest in digests() {
            assert_eq!(table.digest(table.index_of(&digest).unwrap()), Some(digest));
        }
        let other = Digest::of(Algorithm::Sha256, b"other");
        assert_eq!(table.index_of(&other), None);
        assert!(!table.need(&other));
    }

    #[test]
    fn what_is_needed_is_no_garbage() {
        let mut table = BlobTable::default();
        for digest in &digests() {
            table.add(digest);
        }
        table.seal();
        let (needed, mut others): (Vec<_>, Vec<_>) =
            digests().into_iter().enumerate().partition(|(number, _)| number % 3 == 0);
        for (_, digest) in &needed {
            assert!(table.need(digest));
            assert!(table.is_needed(table.index_of(digest).unwrap()));
        }
        others.sort_by(|(_, a), (_, b)| a.cmp(b));
        assert_eq!(unneeded(&table), others.into_iter().map(|(_, digest)| digest).collect::<Vec<_>>());
        assert!(!table.was_read(&needed[0].1), "to be needed is not to be read");
        table.note_read(&needed[0].1);
        assert!(table.was_read(&needed[0].1));
    }

    #[test]
    fn an_empty_table_has_no_garbage() {
        let mut table = BlobTable::default();
        table.seal();
        assert_eq!(table.next_unneeded(0), None);
    }
}
