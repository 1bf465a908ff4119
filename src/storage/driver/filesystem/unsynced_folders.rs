//! Folders that were created, and whose names may not have reached the medium.
//!
//! A file is durable when the name of every folder on its way is. Whoever created the folder may not have synced its
//! parent yet, or may never do so, so each durable write looks here and syncs what it relies on itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::storage::driver::StoragePath;

/// The folders, each with a number that tells its creations apart: a sync that began before a folder was removed and
/// created again says nothing of the new one.
#[derive(Debug, Default)]
pub(super) struct UnsyncedFolders(Mutex<Folders>);

#[derive(Debug, Default)]
struct Folders {
    next: u64,
    created: HashMap<StoragePath, u64>,
}

/// Folders as they were at one time.
#[derive(Debug)]
pub(super) struct Seen(Vec<(StoragePath, u64)>);

impl Seen {
    /// The folders.
    pub(super) fn folders(&self) -> impl Iterator<Item = &StoragePath> {
        self.0.iter().map(|(folder, _)| folder)
    }
}

impl UnsyncedFolders {
    /// To be called before a folder is created, so that whoever finds it there finds it here too.
    pub(super) fn create(&self, folder: &StoragePath) {
        let mut folders = self.lock();
        folders.next += 1;
        let number = folders.next;
        folders.created.insert(folder.clone(), number);
    }

    /// Those of `folder` and the folders above it that are not known to be durable.
    pub(super) fn on_the_way_to(&self, folder: &StoragePath) -> Seen {
        let folders = self.lock();
        let way = std::iter::successors(Some(folder.clone()), StoragePath::parent);
        Seen(way.filter_map(|at| folders.created.get(&at).map(|number| (at.clone(), *number))).collect())
    }

    /// Those that lie in `folder`, at any depth, and itself.
    pub(super) fn inside(&self, folder: &StoragePath) -> Seen {
        let folders = self.lock();
        let inside = folders.created.iter().filter(|(at, _)| at.starts_with(folder));
        Seen(inside.map(|(at, number)| (at.clone(), *number)).collect())
    }

    /// To be called when the parents of folders were synced, or the folders removed.
    pub(super) fn forget(&self, seen: &Seen) {
        let mut folders = self.lock();
        for (folder, number) in &seen.0 {
            if folders.created.get(folder) == Some(number) {
                folders.created.remove(folder);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Folders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_created_anew_is_not_forgotten_with_the_old_one() {
        let folders = UnsyncedFolders::default();
        let folder: StoragePath = "a/b".parse().unwrap();
        folders.create(&folder);
        let seen = folders.on_the_way_to(&folder.child(&"c".parse().unwrap()));
        folders.create(&folder);
        folders.forget(&seen);
        assert_eq!(folders.inside(&StoragePath::root()).folders().count(), 1);
        folders.forget(&folders.inside(&folder));
        assert_eq!(folders.inside(&StoragePath::root()).folders().count(), 0);
    }
}
