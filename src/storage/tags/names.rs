//! The tags of large repositories, held in memory in their order.
//!
//! A folder gives its names in no order, so that each page of a list would read and sort all of them again.
//!
//! # Guarantees
//! A page shows every tag that stood when it was asked for, and none whose removal was over by then: whoever writes or
//! removes a tag's link notes it here after that, while the guard holds the tag, and a reading is joined with what was
//! noted since it began.
//!
//! # Assumptions
//! This process is the only one that changes the store; where it is not, nobody asks here.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::oci::{RepositoryName, Tag};

/// Smaller repositories are not remembered: their folders are read in a millisecond.
const MIN_TAGS: usize = 1_000;

/// How many tags are remembered in all; each takes some 80 bytes, so 32 MB at most. Above it everything is forgotten,
/// and read again when needed.
const MAX_TAGS: usize = 400_000;

/// What is remembered.
#[derive(Debug, Default)]
pub(in crate::storage) struct TagNames {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    repositories: HashMap<RepositoryName, Memory>,
    next_reading: u64,
}

#[derive(Debug)]
enum Memory {
    /// Being read, and what was noted meanwhile.
    Reading { reading: u64, put: BTreeSet<Tag>, removed: BTreeSet<Tag> },
    /// All of them.
    Whole(BTreeSet<Tag>),
}

impl Memory {
    fn len(&self) -> usize {
        match self {
            Self::Reading { put, removed, .. } => put.len() + removed.len(),
            Self::Whole(tags) => tags.len(),
        }
    }
}

/// A reading of a repository's folder that has begun. Dropped, it is forgotten.
#[derive(Debug)]
pub(in crate::storage) struct Reading<'a> {
    names: &'a TagNames,
    repository: &'a RepositoryName,
    number: u64,
}

impl TagNames {
    /// At most `limit` tags after `after`; `None` where the folder has to be read.
    pub(in crate::storage) fn page(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Option<Vec<Tag>> {
        let state = self.lock();
        let Memory::Whole(tags) = state.repositories.get(repository)? else { return None };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        Some(tags.range::<str, _>((start, Bound::Unbounded)).take(limit).cloned().collect())
    }

    /// Begins to read a repository's folder; `None` where somebody does already.
    pub(in crate::storage) fn begin<'a>(&'a self, repository: &'a RepositoryName) -> Option<Reading<'a>> {
        let mut state = self.lock();
        if state.repositories.contains_key(repository) {
            return None;
        }
        let number = state.next_reading;
        state.next_reading += 1;
        let memory = Memory::Reading { reading: number, put: BTreeSet::new(), removed: BTreeSet::new() };
        state.repositories.insert(repository.clone(), memory);
        Some(Reading { names: self, repository, number })
    }

    /// Notes what became of writing a tag's link. A write that failed may have taken effect or not.
    pub(in crate::storage) fn note<E>(&self, repository: &RepositoryName, tag: &Tag, written: &Result<(), E>) {
        let mut state = self.lock();
        match (written, state.repositories.get_mut(repository)) {
            (_, None) => {}
            (Err(_), Some(_)) => drop(state.repositories.remove(repository)),
            (Ok(()), Some(Memory::Whole(tags))) => {
                tags.insert(tag.clone());
                if state.len() > MAX_TAGS {
                    state.repositories.clear();
                }
            }
            (Ok(()), Some(Memory::Reading { put, removed, .. })) => {
                removed.remove(tag);
                put.insert(tag.clone());
            }
        }
    }

    /// Notes that a tag's link was removed.
    pub(in crate::storage) fn note_removed(&self, repository: &RepositoryName, tag: &Tag) {
        match self.lock().repositories.get_mut(repository) {
            None => {}
            Some(Memory::Whole(tags)) => drop(tags.remove(tag)),
            Some(Memory::Reading { put, removed, .. }) => {
                put.remove(tag);
                removed.insert(tag.clone());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn len(&self) -> usize {
        self.repositories.values().map(Memory::len).sum()
    }

    /// What was noted during a reading, if that is still the one.
    fn end(&mut self, repository: &RepositoryName, number: u64) -> Option<(BTreeSet<Tag>, BTreeSet<Tag>)> {
        match self.repositories.get(repository) {
            Some(Memory::Reading { reading, .. }) if *reading == number => {}
            _ => return None,
        }
        match self.repositories.remove(repository) {
            Some(Memory::Reading { put, removed, .. }) => Some((put, removed)),
            _ => None,
        }
    }
}

impl Reading<'_> {
    /// Remembers what was read, if it is worth it and fits.
    pub(in crate::storage) fn finish(self, read: Vec<Tag>) {
        let mut state = self.names.lock();
        let Some((put, removed)) = state.end(self.repository, self.number) else { return };
        let mut tags: BTreeSet<Tag> = read.into_iter().collect();
        tags.retain(|tag| !removed.contains(tag));
        tags.extend(put);
        if !(MIN_TAGS..=MAX_TAGS).contains(&tags.len()) {
            return;
        }
        if state.len() + tags.len() > MAX_TAGS {
            state.repositories.clear();
        }
        state.repositories.insert(self.repository.clone(), Memory::Whole(tags));
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.names.lock().end(self.repository, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> RepositoryName {
        "team/app".parse().unwrap()
    }

    fn tag(number: usize) -> Tag {
        format!("v{number:06}").parse().unwrap()
    }

    fn tags(numbers: std::ops::Range<usize>) -> Vec<Tag> {
        numbers.map(tag).collect()
    }

    const WRITTEN: Result<(), ()> = Ok(());

    #[test]
    fn what_happens_during_a_reading_is_joined_with_it() {
        let (names, repository) = (TagNames::default(), repository());
        let reading = names.begin(&repository).unwrap();
        assert!(names.begin(&repository).is_none(), "one reading at a time");
        names.note(&repository, &tag(5_000), &WRITTEN);
        names.note_removed(&repository, &tag(0));
        names.note_removed(&repository, &tag(1));
        names.note(&repository, &tag(1), &WRITTEN);
        names.note(&repository, &tag(5_001), &WRITTEN);
        names.note_removed(&repository, &tag(5_001));
        assert_eq!(names.page(&repository, None, 10), None, "it is not whole");
        reading.finish(tags(0..2_000));
        assert_eq!(names.page(&repository, None, 2).unwrap(), tags(1..3));
        assert_eq!(names.page(&repository, Some("v001998"), 10).unwrap(), [tag(1_999), tag(5_000)]);
    }

    #[test]
    fn changes_after_a_reading_are_seen() {
        let (names, repository) = (TagNames::default(), repository());
        names.begin(&repository).unwrap().finish(tags(0..MIN_TAGS));
        names.note_removed(&repository, &tag(0));
        names.note(&repository, &tag(MIN_TAGS), &WRITTEN);
        let all = names.page(&repository, None, usize::MAX).unwrap();
        assert_eq!(all, tags(1..MIN_TAGS + 1));
        assert_eq!(names.page(&repository, Some("v000999"), 5).unwrap(), [tag(MIN_TAGS)]);
        assert_eq!(names.page(&repository, Some("w"), 5).unwrap(), []);
        let failed: Result<(), ()> = Err(());
        names.note(&repository, &tag(7), &failed);
        assert_eq!(names.page(&repository, None, 1), None, "nobody knows whether it took effect");
    }

    #[test]
    fn a_reading_that_was_given_up_leaves_nothing() {
        let (names, repository) = (TagNames::default(), repository());
        drop(names.begin(&repository).unwrap());
        let reading = names.begin(&repository).unwrap();
        let failed: Result<(), ()> = Err(());
        names.note(&repository, &tag(7), &failed);
        reading.finish(tags(0..MIN_TAGS));
        assert_eq!(names.page(&repository, None, 1), None, "it was forgotten meanwhile");
    }

    #[test]
    fn what_is_small_or_too_large_is_not_remembered() {
        let (names, repository) = (TagNames::default(), repository());
        for count in [MIN_TAGS - 1, MAX_TAGS + 1] {
            names.begin(&repository).unwrap().finish(tags(0..count));
            assert_eq!(names.page(&repository, None, 1), None);
        }
        names.begin(&repository).unwrap().finish(tags(0..MAX_TAGS));
        let other: RepositoryName = "other".parse().unwrap();
        names.begin(&other).unwrap().finish(tags(0..MIN_TAGS));
        assert_eq!(names.page(&repository, None, 1), None, "it made room");
        assert!(names.page(&other, None, 1).is_some());
    }
}
