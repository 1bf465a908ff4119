//! The names of all repositories, in order.
//!
//! A repository's folder also holds those whose names continue its own: `a/b` lies in `a`. Names are in the order of
//! their bytes, which is not the order of a walk over folders: `a` < `a-b` < `a.b` < `a/c` < `a0`. So each folder
//! stands twice in its parent's order: as a name, and, with a slash behind it, as the place of longer names.

use std::vec;

use crate::oci::RepositoryName;

use super::{
    Error,
    driver::{self, PathComponent, StoragePath},
    layout::PathSpec,
    store::Store,
};

/// A walk over the names after a given text. It lists a folder when it comes to it, and holds one list for each level.
#[derive(Debug)]
pub(super) struct RepositoryWalk<'a> {
    store: &'a Store,
    after: Option<&'a str>,
    /// From the root down to where the walk is.
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    folder: StoragePath,
    /// The names above, each with a slash behind it.
    prefix: String,
    /// What is still to be visited, in order.
    items: vec::IntoIter<Item>,
}

/// A name in a folder; with a slash at its end, the place of longer names.
type Item = String;

impl<'a> RepositoryWalk<'a> {
    /// Begins a walk after `after`, which need not be a name.
    pub(super) async fn begin(store: &'a Store, after: Option<&'a str>) -> Result<Self, Error> {
        Self::begin_in(store, PathSpec::Repositories, after).await
    }

    /// Begins a walk in another folder whose folders are named for repositories.
    pub(super) async fn begin_in(store: &'a Store, root: PathSpec<'_>, after: Option<&'a str>) -> Result<Self, Error> {
        let mut walk = Self { store, after, levels: Vec::new() };
        walk.descend(root.path(), String::new()).await?;
        Ok(walk)
    }

    /// The next name under which there is a folder, whether or not it is a repository.
    pub(super) async fn next(&mut self) -> Result<Option<RepositoryName>, Error> {
        while let Some(level) = self.levels.last_mut() {
            let Some(item) = level.items.next() else {
                self.levels.pop();
                continue;
            };
            let text = format!("{}{item}", level.prefix);
            if let Some(name) = item.strip_suffix('/') {
                let folder = name.parse::<PathComponent>().map(|name| level.folder.child(&name));
                if let Ok(folder) = folder.as_ref()
                    && self.may_hold_later_names(&text)
                {
                    self.descend(folder.clone(), text).await?;
                }
            } else if self.after.is_none_or(|after| text.as_str() > after)
                && let Ok(name) = text.parse()
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Whether some name that begins with `prefix` comes after `after`: all of them do, or those that also begin so.
    fn may_hold_later_names(&self, prefix: &str) -> bool {
        prefix.len() < RepositoryName::MAX_LEN
            && self.after.is_none_or(|after| prefix > after || after.starts_with(prefix))
    }

    async fn descend(&mut self, folder: StoragePath, prefix: String) -> Result<(), Error> {
        let entries = match self.store.driver.list(&folder, None, usize::MAX).await {
            Ok(entries) => entries,
            Err(driver::Error::NotFound { .. }) => return Ok(()),
            Err(source) => return Err(Error::driver("list repositories", source)),
        };
        // What begins with an underscore is a repository's own.
        let names = entries.into_iter().filter(|entry| entry.is_directory && !entry.name.starts_with('_'));
        let mut items: Vec<Item> = names.flat_map(|entry| [format!("{}/", entry.name), entry.name]).collect();
        items.sort_unstable();
        self.levels.push(Level { folder, prefix, items: items.into_iter() });
        Ok(())
    }
}
