//! The store itself: what lies in it, and the clock that it stamps it with. All that happens to it happens here, one
//! thing after the other, and the invariants are looked at after each.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use jiff::Timestamp;

use crate::storage::driver::{Entry, Error, Metadata, StoragePath};

use super::{chance::Chance, time::Time};

/// A file.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) content: Bytes,
    /// By the store's clock.
    pub(super) modified: Timestamp,
    /// Whether a power cut leaves it.
    is_durable: bool,
}

/// The files, by their paths.
pub(super) type Files = BTreeMap<String, File>;

/// What was done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Put(&'a str),
    Removed(&'a str),
}

/// Looks at a change.
type Watcher = Box<dyn Fn(&Files, Change<'_>) + Send + Sync>;

/// The store.
pub(super) struct Medium {
    time: Arc<Time>,
    files: Mutex<Files>,
    watcher: Mutex<Option<Watcher>>,
    /// Whether each file keeps the age that it is given, as in a folder; a bucket stamps with its own time.
    keeps_given_age: bool,
    /// What was listed in each folder before, where lists are late by one.
    listed: Mutex<Option<BTreeMap<String, Vec<Entry>>>>,
}

impl std::fmt::Debug for Medium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Medium").finish_non_exhaustive()
    }
}

impl Medium {
    pub(super) fn new(time: Arc<Time>, keeps_given_age: bool) -> Self {
        Self { time, files: Mutex::default(), watcher: Mutex::default(), keeps_given_age, listed: Mutex::default() }
    }

    /// Shows every change to somebody, right after it.
    pub(super) fn watch(&self, watcher: impl Fn(&Files, Change<'_>) + Send + Sync + 'static) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(watcher));
    }

    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, files: &Files, change: Change<'_>) {
        if let Some(watcher) = &*self.watcher.lock().unwrap_or_else(PoisonError::into_inner) {
            watcher(files, change);
        }
    }

    pub(super) fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
        self.files().get(path.as_str()).map(|file| file.content.clone()).ok_or_else(|| absent(path))
    }

    pub(super) fn stat(&self, path: &StoragePath) -> Result<Metadata, Error> {
        let files = self.files();
        let file = files.get(path.as_str()).ok_or_else(|| absent(path))?;
        Ok(Metadata { size: file.content.len() as u64, modified: file.modified })
    }

    pub(super) fn list(&self, folder: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
        let files = self.files();
        let prefix = if folder.is_root() { String::new() } else { format!("{folder}/") };
        let mut entries = Vec::new();
        let mut is_there = false;
        // The first name that is looked at: 0 follows / in the order of bytes, so it is behind all that is in a folder.
        let mut from = prefix.clone();
        while let Some((path, _)) = files.range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded)).next() {
            let Some(rest) = path.strip_prefix(&prefix) else { break };
            is_there = true;
            let (name, is_directory) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            from = if is_directory { format!("{prefix}{name}0") } else { format!("{path}\u{0}") };
            entries.push(Entry { name: name.to_owned(), is_directory });
        }
        if !is_there {
            return Err(absent(folder));
        }
        // Bytes: `a-b` sorts before `a/`, and after `a` as a name.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        entries.retain(|entry| after.is_none_or(|after| entry.name.as_str() > after));
        entries.truncate(limit);
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = listed.as_mut().and_then(|listed| listed.insert(folder.to_string(), entries.clone()));
        Ok(before.unwrap_or(entries))
    }

    /// Lets every list say what the list before said: a store that does not keep assumption A1.
    pub(super) fn list_late(&self, is_late: bool) {
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = is_late.then(BTreeMap::new);
    }

    pub(super) fn put(&self, path: &StoragePath, content: Bytes, is_durable: bool) {
        let modified = self.time.wall();
        let mut files = self.files();
        files.insert(path.as_str().to_owned(), File { content, modified, is_durable });
        self.changed(&files, Change::Put(path.as_str()));
    }

    pub(super) fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error> {
        let now = self.time.wall();
        let mut files = self.files();
        let file = files.get_mut(path.as_str()).ok_or_else(|| absent(path))?;
        file.modified = if self.keeps_given_age { modified } else { now };
        Ok(())
    }

    pub(super) fn delete(&self, path: &StoragePath) -> Result<(), Error> {
        let mut files = self.files();
        files.remove(path.as_str()).ok_or_else(|| absent(path))?;
        self.changed(&files, Change::Removed(path.as_str()));
        Ok(())
    }

    pub(super) fn delete_directory(&self, folder: &StoragePath) {
        let mut files = self.files();
        let prefix = format!("{folder}/");
        let inside = files.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        let inside: Vec<String> = inside.map(|(path, _)| path.clone()).collect();
        for path in inside {
            files.remove(&path);
            self.changed(&files, Change::Removed(&path));
        }
    }

    /// What a power cut leaves: of what was not made durable, some.
    pub(super) fn cut_power(&self, chance: &Chance) {
        let mut files = self.files();
        let unsynced = files.iter().filter(|(_, file)| !file.is_durable).map(|(path, _)| path.clone());
        let unsynced: Vec<String> = unsynced.collect();
        for path in unsynced {
            if chance.hits(500) {
                files.remove(&path);
                self.changed(&files, Change::Removed(&path));
            } else if let Some(file) = files.get_mut(&path) {
                file.is_durable = true;
            }
        }
    }
}

fn absent(path: &StoragePath) -> Error {
    Error::NotFound { path: path.clone() }
}
