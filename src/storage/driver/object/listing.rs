//! Lists in pages.
//!
//! A store yields keys in the order of their bytes, and a folder as its name with a slash behind it: `a-b` comes before
//! the folder `a`, whose name is less. So a name is only sure to be the next one when no folder can follow whose name is
//! a beginning of it; where that is not yet known, the store is asked for that folder alone.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
};

use futures::TryStreamExt as _;
use jiff::Timestamp;
use object_store::list::{PaginatedListOptions, PaginatedListStore};

use crate::storage::driver::{Entry, Error, StoragePath};

use super::bucket::{Bucket, modified};

/// The largest page that every store has.
const MAX_PAGE: usize = 1_000;

/// What was seen of a folder so far.
struct Seen<'a> {
    after: Option<&'a str>,
    /// Names, and whether they are folders.
    names: BTreeMap<String, bool>,
    /// The last key, below the folder, that was listed; `None` at the end.
    position: Option<String>,
    /// Folders that were asked for alone.
    probed: HashSet<String>,
}

impl Seen<'_> {
    fn add(&mut self, key: &str) {
        let name = key.trim_end_matches('/');
        if !name.is_empty() && self.after.is_none_or(|after| name > after) {
            self.names.insert(name.to_owned(), key.ends_with('/'));
        }
        if self.position.as_deref().is_none_or(|position| key > position) {
            self.position = Some(key.to_owned());
        }
    }

    /// A folder that may still come before one of the first `limit` names.
    fn unsure(&self, limit: usize) -> Option<String> {
        let position = self.position.as_deref()?;
        let begins = |name: &str| {
            let ends = name.bytes().enumerate().filter(|(_, byte)| *byte < b'/').map(|(at, _)| at);
            ends.filter_map(|end| name.get(..end)).map(str::to_owned).collect::<Vec<_>>()
        };
        self.names.keys().take(limit).flat_map(|name| begins(name)).find(|folder| {
            !folder.is_empty()
                && self.after.is_none_or(|after| folder.as_str() > after)
                && format!("{folder}/").as_str() > position
                && !self.probed.contains(folder)
        })
    }
}

/// What a list names.
#[derive(Debug)]
pub(super) struct Listed {
    /// Its key, below the folder that is listed; a folder's with a slash at its end.
    pub(super) key: String,
    /// When it was written; `None` of a folder, and where the store does not say.
    pub(super) modified: Option<Timestamp>,
}

/// Where a list has got to.
#[derive(Debug, Default)]
struct Walk {
    offset: Option<String>,
    /// Whether folders are named, and not what is in them.
    is_flat: bool,
    /// How many keys are asked for at once.
    page: usize,
    token: Option<String>,
    is_at_end: bool,
    /// Whether a page came full and without a word of what follows.
    was_full: bool,
    /// Behind which key it is gone on with, where the server does not say.
    behind: Option<String>,
}

impl Walk {
    /// Goes on behind the last of some keys, if there are any.
    fn goes_on_behind(&mut self, prefix: &str, keys: &[Listed]) -> bool {
        let Some(last) = keys.iter().map(|listed| format!("{prefix}{}", listed.key)).max() else { return false };
        // All that is in a folder is behind its name, and was listed with it.
        let last = if last.ends_with('/') { format!("{last}{}", char::MAX) } else { last };
        self.offset = Some(last.clone());
        self.behind = Some(last);
        true
    }
}

impl Bucket {
    /// At most `limit` names in a folder that sort after `after`. An absent folder is [`Error::NotFound`].
    pub(super) async fn list(
        &self,
        folder: &StoragePath,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        let key = self.key(folder)?;
        let prefix = if key.as_ref().is_empty() { String::new() } else { format!("{key}/") };
        let names = match &self.pages {
            Some(pages) => self.paged(&**pages, folder, &prefix, after, limit).await?,
            None => self.whole(folder, &prefix, after).await?,
        };
        if names.is_empty() && !self.exists(folder, &prefix).await? {
            return Err(Error::NotFound { path: folder.clone() });
        }
        let entries = names.into_iter().take(limit);
        Ok(entries.map(|(name, is_directory)| Entry { name, is_directory }).collect())
    }

    async fn paged(
        &self,
        pages: &dyn PaginatedListStore,
        folder: &StoragePath,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BTreeMap<String, bool>, Error> {
        let mut seen = Seen { after, names: BTreeMap::new(), position: None, probed: HashSet::new() };
        let mut walk = Walk {
            offset: after.map(|after| format!("{prefix}{after}")),
            is_flat: true,
            // One more than is wanted: `after` itself comes again where it is a folder.
            page: limit.saturating_add(1).min(MAX_PAGE),
            ..Walk::default()
        };
        while let Some(keys) = self.next_page(pages, folder, prefix, &mut walk).await? {
            for listed in &keys {
                seen.add(&listed.key);
            }
            if walk.is_at_end || seen.names.len() < limit {
                continue;
            }
            while let Some(unsure) = seen.unsure(limit) {
                if self.exists(folder, &format!("{prefix}{unsure}/")).await? {
                    seen.names.insert(unsure.clone(), true);
                }
                seen.probed.insert(unsure);
            }
            break;
        }
        Ok(seen.names)
    }

    /// The keys of the next page, below `prefix`, a folder's with a slash behind it; `None` after the last page.
    ///
    /// There are servers that cut a list short and do not say how to go on. What comes full and without a token at once
    /// is asked for again with room for more, until there is room left. No server's pages grow for ever: then what is
    /// behind the last key is asked for, until nothing is. Not every server can begin there: what was listed is not listed
    /// again.
    async fn next_page(
        &self,
        pages: &dyn PaginatedListStore,
        folder: &StoragePath,
        prefix: &str,
        walk: &mut Walk,
    ) -> Result<Option<Vec<Listed>>, Error> {
        while !walk.is_at_end {
            let token = walk.token.take();
            let is_first = token.is_none();
            let options = PaginatedListOptions {
                offset: walk.offset.clone(),
                delimiter: walk.is_flat.then(|| "/".into()),
                max_keys: Some(walk.page),
                page_token: token,
                ..PaginatedListOptions::default()
            };
            let found = self.look("list", folder, || pages.list_paginated(Some(prefix), options.clone())).await?;
            let files = found.result.objects.iter().map(|object| (&object.location, "", modified(object)));
            let folders = found.result.common_prefixes.iter().map(|folder| (folder, "/", None));
            let keys = files.chain(folders).filter_map(|(key, end, modified)| {
                Some(Listed { key: format!("{}{end}", key.as_ref().strip_prefix(prefix)?), modified })
            });
            let keys: Vec<Listed> = keys.collect();
            walk.token = found.page_token;
            if is_first && walk.token.is_none() && keys.len() >= walk.page {
                walk.page = walk.page.saturating_mul(2);
                walk.was_full = true;
                continue;
            }
            let is_new = |listed: &Listed| {
                walk.behind.as_deref().is_none_or(|behind| *format!("{prefix}{}", listed.key) > *behind)
            };
            let keys: Vec<Listed> = keys.into_iter().filter(is_new).collect();
            walk.is_at_end = walk.token.is_none() && !(walk.was_full && walk.goes_on_behind(prefix, &keys));
            return Ok(Some(keys));
        }
        Ok(None)
    }

    /// All objects in a folder, at any depth, by their path below it.
    pub(super) async fn tree(&self, folder: &StoragePath) -> Result<Vec<String>, Error> {
        Ok(self.aged_tree(folder).await?.into_iter().map(|listed| listed.key).collect())
    }

    /// The same, with their ages.
    pub(super) async fn aged_tree(&self, folder: &StoragePath) -> Result<Vec<Listed>, Error> {
        let key = self.key(folder)?;
        let prefix = if key.as_ref().is_empty() { String::new() } else { format!("{key}/") };
        let Some(pages) = &self.pages else {
            let found = self.ask("list", folder, self.objects.list(Some(&key)).try_collect::<Vec<_>>()).await?;
            let objects = found.iter().filter_map(|object| {
                let key = object.location.as_ref().strip_prefix(&prefix)?.to_owned();
                Some(Listed { key, modified: modified(object) })
            });
            return Ok(objects.collect());
        };
        let mut walk = Walk { page: MAX_PAGE, ..Walk::default() };
        let mut objects = Vec::new();
        while let Some(keys) = self.next_page(&**pages, folder, &prefix, &mut walk).await? {
            objects.extend(keys.into_iter().filter(|listed| !listed.key.is_empty()));
        }
        Ok(objects)
    }

    /// A whole folder, where the store has no pages.
    async fn whole(
        &self,
        folder: &StoragePath,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<BTreeMap<String, bool>, Error> {
        let key = self.key(folder)?;
        let found = self.ask("list", folder, self.objects.list_with_delimiter(Some(&key))).await?;
        let files = found.objects.iter().map(|object| (&object.location, false));
        let folders = found.common_prefixes.iter().map(|folder| (folder, true));
        let names = files.chain(folders).filter_map(|(key, is_directory)| {
            key.as_ref().strip_prefix(prefix).map(|name| (name.to_owned(), is_directory))
        });
        let names: BTreeMap<_, _> = names.filter(|(name, _)| !name.is_empty()).collect();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(names.range::<str, _>((from, Bound::Unbounded)).map(|(name, kind)| (name.clone(), *kind)).collect())
    }

    /// Whether any key begins so.
    async fn exists(&self, folder: &StoragePath, prefix: &str) -> Result<bool, Error> {
        let Some(pages) = &self.pages else {
            return Ok(!self.tree(folder).await?.is_empty());
        };
        let mut token = None;
        loop {
            let options = PaginatedListOptions { max_keys: Some(1), page_token: token.take(), ..Default::default() };
            let page = self.look("list", folder, || pages.list_paginated(Some(prefix), options.clone())).await?;
            if !page.result.objects.is_empty() {
                return Ok(true);
            }
            token = page.page_token;
            if token.is_none() {
                return Ok(false);
            }
        }
    }
}
