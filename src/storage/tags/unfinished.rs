//! Tags whose first push was not finished: their folder is there, with an index, but no link leads anywhere.
//!
//! One process on its store takes them back: where a push fails, at once; where the process before it may have ended in
//! the middle of one, when a repository's tags are first listed. Where several processes serve a store none can say for
//! the others that nobody is about to write the link; there a scrub, which asks them, does it.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::warn;

use crate::oci::{RepositoryName, Tag};

use crate::storage::{
    Error, concurrent::concurrently, error::with_causes, guard::keys::Key, layout::PathSpec, store::Store,
};

/// The repositories in which nothing of an earlier process is left.
#[derive(Debug, Default)]
pub(in crate::storage) struct UnfinishedTags {
    clean: Mutex<HashSet<RepositoryName>>,
}

impl UnfinishedTags {
    fn is_clean(&self, name: &RepositoryName) -> bool {
        self.clean.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn note_clean(&self, name: &RepositoryName) {
        self.clean.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
    }
}

impl Store {
    /// The tags that an earlier process left unfinished; they are on their way out.
    pub(in crate::storage) async fn unfinished_tags(
        self: &Arc<Self>,
        name: &RepositoryName,
    ) -> Result<BTreeSet<Tag>, Error> {
        if self.replicas.is_some() || !self.driver.was_interrupted() || self.unfinished.is_clean(name) {
            return Ok(BTreeSet::new());
        }
        let names = self.names(PathSpec::Tags(name)).await?;
        let looks = names.iter().filter_map(|text| text.parse::<Tag>().ok()).map(|tag| async move {
            let link = self.raw_link(PathSpec::TagCurrent(name, &tag)).await?;
            Ok::<_, Error>(link.is_none().then_some(tag))
        });
        let found: Vec<_> = concurrently(looks).await?;
        let unfinished: BTreeSet<Tag> = found.into_iter().flatten().collect();
        if unfinished.is_empty() {
            self.unfinished.note_clean(name);
        } else {
            self.take_back(name, unfinished.iter().cloned().collect());
        }
        Ok(unfinished)
    }

    /// Begins to remove those of the tags that lead nowhere once nobody pushes them any more.
    pub(in crate::storage) fn take_back(self: &Arc<Self>, name: &RepositoryName, tags: Vec<Tag>) {
        if self.replicas.is_some() || tags.is_empty() {
            return;
        }
        let (store, name) = (Arc::clone(self), name.clone());
        self.changes.begin_to_end(async move {
            for tag in &tags {
                if let Err(error) = store.take_tag_back(&name, tag).await {
                    let error = with_causes(&error);
                    warn!(repository = %name, %tag, error, "a tag whose push was not finished stays listed");
                }
            }
        });
    }

    async fn take_tag_back(self: &Arc<Self>, name: &RepositoryName, tag: &Tag) -> Result<(), Error> {
        let held = self.hold(vec![Key::Tag(name.clone(), tag.clone())]).await?;
        if held.store.raw_link(PathSpec::TagCurrent(name, tag)).await?.is_none() {
            held.store.remove_tag(name, tag).await?;
        }
        Ok(())
    }
}
