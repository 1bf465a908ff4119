//! The names of all repositories, in order.
//!
//! A repository's folder also holds those whose names continue its own: `a/b` lies in `a`. Names are in the order of
//! their bytes, which is not the order of a walk over folders: `a` < `a-b` < `a.b` < `a/c` < `a0`. So each folder
//! stands twice in its parent's order: as a name, and, with a slash behind it, as the place of longer names.

use std::collections::{BTreeSet, VecDeque};

use crate::oci::RepositoryName;

use super::{
    Error,
    driver::{self, PathComponent, StoragePath},
    layout::PathSpec,
    store::Store,
};

/// How many names of a folder are listed first: about a client's page.
const FIRST_PAGE: usize = 128;

/// How much longer each further list of the same folder is. A medium may have to read all of a folder for each.
const GROWTH: usize = 4;

/// A walk over the names after a given text. It lists a part of a folder when it comes to it, and holds one such list for
/// each level.
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
    /// Names that were listed and not visited yet, in order.
    names: VecDeque<String>,
    /// What is still to be listed.
    rest: Option<Rest>,
    /// The places of longer names that are still to be visited: names with a slash behind them.
    places: BTreeSet<String>,
}

#[derive(Debug)]
struct Rest {
    after: Option<String>,
    limit: usize,
}

enum Item {
    /// A name in a folder.
    Name(String),
    /// A name with a slash behind it: the place of longer names.
    Place(String),
}

impl<'a> RepositoryWalk<'a> {
    /// Begins a walk after `after`, which need not be a name.
    pub(super) fn begin(store: &'a Store, after: Option<&'a str>) -> Self {
        Self::begin_in(store, PathSpec::Repositories, after)
    }

    /// Begins a walk in another folder whose folders are named for repositories.
    pub(super) fn begin_in(store: &'a Store, root: PathSpec<'_>, after: Option<&'a str>) -> Self {
        let root = Level::new(root.path(), String::new(), after);
        Self { store, after, levels: vec![root] }
    }

    /// The next name under which there is a folder, whether or not it is a repository.
    pub(super) async fn next(&mut self) -> Result<Option<RepositoryName>, Error> {
        while let Some(level) = self.levels.last_mut() {
            match level.next(self.store).await? {
                None => drop(self.levels.pop()),
                Some(Item::Place(place)) => {
                    let text = format!("{}{place}", level.prefix);
                    let folder =
                        place.trim_end_matches('/').parse::<PathComponent>().map(|name| level.folder.child(&name));
                    if let Ok(folder) = folder
                        && self.may_hold_later_names(&text)
                    {
                        self.levels.push(Level::new(folder, text, self.after));
                    }
                }
                Some(Item::Name(name)) => {
                    let text = format!("{}{name}", level.prefix);
                    if self.after.is_none_or(|after| text.as_str() > after)
                        && let Ok(name) = text.parse()
                    {
                        return Ok(Some(name));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether some name that begins with `prefix` comes after `after`: all of them do, or those that also begin so.
    fn may_hold_later_names(&self, prefix: &str) -> bool {
        prefix.len() < RepositoryName::MAX_LEN
            && self.after.is_none_or(|after| prefix > after || after.starts_with(prefix))
    }
}

impl Level {
    /// A folder whose names, behind `prefix`, are to be visited as far as they, or what lies in them, come after `after`.
    fn new(folder: StoragePath, prefix: String, after: Option<&str>) -> Self {
        let begun = after.and_then(|after| after.strip_prefix(&prefix)).unwrap_or_default();
        let begun = begun.split('/').next().unwrap_or_default();
        // Shorter names are over, but what lies in some of them is not: `a/` comes after `a-b`. They may not exist.
        let is_later = |end: &usize| begun.as_bytes().get(*end).is_none_or(|next| *next < b'/');
        let shorter = (1..=begun.len()).filter(is_later).filter_map(|end| begun.get(..end));
        let places = shorter.filter(|name| !is_own(name)).map(|name| format!("{name}/")).collect();
        let rest = Rest { after: (!begun.is_empty()).then(|| begun.to_owned()), limit: FIRST_PAGE };
        Self { folder, prefix, names: VecDeque::new(), rest: Some(rest), places }
    }

    async fn next(&mut self, store: &Store) -> Result<Option<Item>, Error> {
        self.fill(store).await?;
        let is_place_next = match (self.places.first(), self.names.front()) {
            (Some(place), Some(name)) => place < name,
            (place, _) => place.is_some(),
        };
        if is_place_next {
            return Ok(self.places.pop_first().map(Item::Place));
        }
        let Some(name) = self.names.pop_front() else { return Ok(None) };
        self.places.insert(format!("{name}/"));
        Ok(Some(Item::Name(name)))
    }

    /// Lists further names, where none is left.
    async fn fill(&mut self, store: &Store) -> Result<(), Error> {
        while self.names.is_empty()
            && let Some(Rest { after, limit }) = self.rest.take()
        {
            let entries = match store.driver.list(&self.folder, after.as_deref(), limit).await {
                Ok(entries) => entries,
                Err(driver::Error::NotFound { .. }) => return Ok(()),
                Err(source) => return Err(Error::driver("list repositories", source)),
            };
            if let Some(last) = entries.last().filter(|_| entries.len() >= limit) {
                self.rest = Some(Rest { after: Some(last.name.clone()), limit: limit.saturating_mul(GROWTH) });
            }
            let folders = entries.into_iter().filter(|entry| entry.is_directory && !is_own(&entry.name));
            self.names = folders.map(|entry| entry.name).collect();
        }
        Ok(())
    }
}

/// What begins with an underscore is a repository's own.
fn is_own(name: &str) -> bool {
    name.starts_with('_')
}
