//! What may lead to a manifest: the tags that point to it and the indexes that list it, held in memory.
//!
//! Links are stored by where they start; a delete asks by where they end. Reading every tag of a repository for each
//! delete would make a run over many tags quadratic, so one reading is remembered.
//!
//! # Guarantees
//! What is remembered are *candidates*: everything that may lead there is among them, and who asks verifies each at the
//! medium. Nothing that led there is missing, because a push that is over before the reading began is seen by the
//! reading, and any other notes itself after its links are written, while the guard still holds its keys, in the memory
//! that was there before the reading began. Who asks holds the freeze of the manifest, so no push is half-way.
//!
//! Where other processes push to the same store nothing is remembered: what they push is not noted here.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::oci::{Digest, RepositoryName, Tag};

/// How many repositories are remembered, of each kind. A run works on one repository at a time.
const MAX_REPOSITORIES: usize = 64;

/// How many candidates are remembered in all, of each kind; each takes some 200 bytes. Above it everything but the
/// repository that is being asked for is forgotten, and read again when needed.
const MAX_CANDIDATES: usize = 1_000_000;

/// Both kinds of memory.
#[derive(Debug)]
pub(in crate::storage) struct Reach {
    /// Which tags may point to a manifest.
    pub(in crate::storage) tags: Candidates<Tag>,
    /// Which indexes may list a manifest.
    pub(in crate::storage) parents: Candidates<Digest>,
}

/// Of one kind.
#[derive(Debug)]
pub(in crate::storage) struct Candidates<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    remembers: bool,
    repositories: HashMap<RepositoryName, Memory<T>>,
    /// The number of pairs in all of them, and the number of the next reading.
    pairs: usize,
    next_reading: u64,
}

#[derive(Debug)]
struct Memory<T> {
    reading: u64,
    is_complete: bool,
    to: HashMap<Digest, BTreeSet<T>>,
}

impl Reach {
    /// A memory for the only process on a store; otherwise one that remembers nothing.
    pub(in crate::storage) fn new(remembers: bool) -> Self {
        Self { tags: Candidates::new(remembers), parents: Candidates::new(remembers) }
    }
}

impl<T> Candidates<T> {
    fn new(remembers: bool) -> Self {
        Self(Mutex::new(State { remembers, repositories: HashMap::new(), pairs: 0, next_reading: 0 }))
    }
}

/// A reading that has begun. What is pushed from here on is noted beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) struct Reading(u64);

impl<T: Ord + Clone + Hash> Candidates<T> {
    /// What may lead to `digest`; `None` where the repository has to be read first.
    pub(in crate::storage) fn to(&self, name: &RepositoryName, digest: &Digest) -> Option<Vec<T>> {
        let state = self.lock();
        let memory = state.repositories.get(name).filter(|memory| memory.is_complete)?;
        Some(memory.to.get(digest).map(|found| found.iter().cloned().collect()).unwrap_or_default())
    }

    /// Notes that `from` leads to `digest`, where the repository is remembered or being read.
    pub(in crate::storage) fn note(&self, name: &RepositoryName, digest: &Digest, from: T) {
        let mut state = self.lock();
        let Some(memory) = state.repositories.get_mut(name) else { return };
        if memory.to.entry(digest.clone()).or_default().insert(from) {
            state.pairs += 1;
        }
    }

    /// Begins to read a repository. Two readings of one repository share what is noted.
    pub(in crate::storage) fn begin(&self, name: &RepositoryName) -> Reading {
        let mut state = self.lock();
        if let Some(memory) = state.repositories.get(name) {
            return Reading(memory.reading);
        }
        if state.repositories.len() >= MAX_REPOSITORIES || state.pairs >= MAX_CANDIDATES {
            state.repositories.clear();
            state.pairs = 0;
        }
        let reading = state.next_reading;
        state.next_reading += 1;
        if !state.remembers {
            return Reading(reading);
        }
        let memory = Memory { reading, is_complete: false, to: HashMap::new() };
        state.repositories.insert(name.clone(), memory);
        Reading(reading)
    }

    /// Keeps what was read. Where the memory that was begun is gone by now, nothing is kept; whether it was.
    pub(in crate::storage) fn finish(&self, name: &RepositoryName, reading: Reading, found: Vec<(Digest, T)>) -> bool {
        let mut state = self.lock();
        let Some(memory) = state.repositories.get_mut(name).filter(|memory| memory.reading == reading.0) else {
            return false;
        };
        memory.is_complete = true;
        let mut added = 0;
        for (digest, from) in found {
            added += usize::from(memory.to.entry(digest).or_default().insert(from));
        }
        state.pairs += added;
        true
    }

    /// Forgets that `from` leads to `digest`; only for who holds the freeze of the manifest and has verified it.
    pub(in crate::storage) fn forget(&self, name: &RepositoryName, digest: &Digest, from: &T) {
        let mut state = self.lock();
        let Some(memory) = state.repositories.get_mut(name) else { return };
        let Some(found) = memory.to.get_mut(digest) else { return };
        let removed = found.remove(from);
        if found.is_empty() {
            memory.to.remove(digest);
        }
        state.pairs -= usize::from(removed);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::oci::Algorithm;

    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_noted_during_a_reading_is_found_after_it() {
        let candidates = Candidates::new(true);
        let name: RepositoryName = "a".parse().unwrap();
        candidates.note(&name, &digest("m"), tag("before"));
        let reading = candidates.begin(&name);
        candidates.note(&name, &digest("m"), tag("during"));
        assert_eq!(candidates.to(&name, &digest("m")), None, "it is not complete");
        assert!(candidates.finish(&name, reading, vec![(digest("m"), tag("read"))]));
        candidates.note(&name, &digest("m"), tag("after"));
        let found = candidates.to(&name, &digest("m")).unwrap();
        assert_eq!(found, ["after", "during", "read"].map(tag), "what came before has to be read");
        candidates.forget(&name, &digest("m"), &tag("read"));
        assert_eq!(candidates.to(&name, &digest("m")).unwrap(), ["after", "during"].map(tag));
        assert_eq!(candidates.to(&name, &digest("other")), Some(Vec::new()));
    }

    #[test]
    fn beside_other_processes_nothing_is_remembered() {
        let candidates = Candidates::new(false);
        let name: RepositoryName = "a".parse().unwrap();
        let reading = candidates.begin(&name);
        assert!(!candidates.finish(&name, reading, vec![(digest("m"), tag("read"))]));
        assert_eq!(candidates.to(&name, &digest("m")), None);
    }

    #[test]
    fn a_reading_whose_memory_was_dropped_is_not_kept() {
        let candidates = Candidates::new(true);
        let name: RepositoryName = "a".parse().unwrap();
        let reading = candidates.begin(&name);
        for number in 0..MAX_REPOSITORIES {
            candidates.begin(&format!("other/{number}").parse().unwrap());
        }
        candidates.note(&name, &digest("m"), tag("missed"));
        assert!(!candidates.finish(&name, reading, Vec::new()));
        candidates.begin(&name);
        assert!(!candidates.finish(&name, reading, Vec::new()), "another reading has begun");
        assert_eq!(candidates.to(&name, &digest("m")), None);
    }
}
