//! Tags of a repository.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::oci::{Algorithm, Digest, RepositoryName, Tag};

use crate::storage::{
    Error, Page, Repository,
    blobs::link::{Link, target_in},
    concurrent::{BATCH, MAX_IN_BATCH, in_batches},
    driver::{self, Entry, Look, Metadata, Seen},
    layout::PathSpec,
    store::Store,
};

impl Repository {
    /// At most `limit` visible tags in byte order, after `after` (any text).
    ///
    /// The links are not read: a delete unlinks its tags before it is answered, and hides them while it does.
    ///
    /// # Errors
    /// [`Error::RepositoryUnknown`], [`Error::Driver`].
    pub async fn tags(&self, after: Option<&str>, limit: usize) -> Result<Page<Tag>, Error> {
        let mut entries = Vec::new();
        let mut after = after.map(String::from);
        let mut hidden = self.store.dangling_tags(&self.name).await?;
        hidden.extend(self.store.unfinished_tags(&self.name).await?);
        loop {
            // One more than is wanted tells whether more follow.
            let wanted = limit.saturating_sub(entries.len()).saturating_add(1);
            let batch = self.store.some_tags(&self.name, after.as_deref(), wanted).await?;
            let is_hidden = |tag: &Tag| hidden.contains(tag) || self.store.changes.hides(&self.name, tag);
            entries.extend(batch.tags.into_iter().filter(|tag| !is_hidden(tag)));
            after = batch.next;
            if after.is_none() || entries.len() > limit {
                break;
            }
        }
        if entries.is_empty() && !self.store.has_revision(&self.name).await? {
            return Err(Error::RepositoryUnknown { repository: self.name.clone() });
        }
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Page { entries, more })
    }

    /// The tags that point to a manifest, as far as no push or delete is about to change them.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn tags_to(&self, digest: &Digest) -> Result<BTreeSet<Tag>, Error> {
        self.store.tags_to(&self.name, digest).await
    }
}

/// A part of the names in a folder of tags.
struct SomeTags {
    tags: Vec<Tag>,
    /// After which name to go on; none at the end.
    next: Option<String>,
}

impl SomeTags {
    /// Of what lies in a folder, read with `limit`.
    fn of(entries: Vec<Entry>, limit: usize) -> Self {
        let next = entries.last().filter(|_| entries.len() >= limit).map(|entry| entry.name.clone());
        Self { tags: tags_in(entries).collect(), next }
    }

    fn among(tags: Vec<Tag>, limit: usize) -> Self {
        let next = tags.last().filter(|_| tags.len() >= limit).map(ToString::to_string);
        Self { tags, next }
    }
}

/// The tags among the entries of a folder: somebody else's files are passed over.
fn tags_in(entries: Vec<Entry>) -> impl Iterator<Item = Tag> {
    entries.into_iter().filter(|entry| entry.is_directory).filter_map(|entry| entry.name.parse().ok())
}

impl Store {
    /// Of the tags that a delete of any process names, those that lead nowhere by now. One process on its store knows its
    /// own deletes in memory.
    async fn dangling_tags(&self, name: &RepositoryName) -> Result<BTreeSet<Tag>, Error> {
        let mut dangling = BTreeSet::new();
        if self.replicas.is_none() {
            return Ok(dangling);
        }
        let pendings = self.pendings().await?.into_iter().map(|(_, pending)| pending);
        let deletes = pendings.filter(|pending| pending.deleted().is_some_and(|(repository, _)| repository == name));
        for tag in deletes.flat_map(|pending| pending.tags) {
            let target = self.tag_target(name, &tag).await?;
            let leads = match &target {
                Some(digest) => self.is_visible(name, digest).await?,
                None => false,
            };
            if !leads {
                dangling.insert(tag);
            }
        }
        Ok(dangling)
    }

    /// About `limit` tags after `after`, from memory where it knows all of them.
    async fn some_tags(&self, name: &RepositoryName, after: Option<&str>, limit: usize) -> Result<SomeTags, Error> {
        if self.replicas.is_some() {
            return Ok(SomeTags::of(self.tag_names(name, after, limit).await?, limit));
        }
        if let Some(tags) = self.tag_names.page(name, after, limit) {
            return Ok(SomeTags::among(tags, limit));
        }
        let Some(reading) = self.tag_names.begin(name) else {
            return Ok(SomeTags::of(self.tag_names(name, after, limit).await?, limit));
        };
        // A folder is read whole in any case to find a part of it in order.
        let all: Vec<Tag> = tags_in(self.tag_names(name, None, usize::MAX).await?).collect();
        let start = after.map_or(0, |after| all.partition_point(|tag| tag.as_str() <= after));
        let part = all.iter().skip(start).take(limit).cloned().collect();
        reading.finish(all);
        Ok(SomeTags::among(part, limit))
    }

    async fn tag_names(&self, name: &RepositoryName, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
        match self.driver.list(&PathSpec::Tags(name).path(), after, limit).await {
            Ok(entries) => Ok(entries),
            Err(driver::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(source) => Err(Error::driver("list tags", source)),
        }
    }

    /// What a tag's link points to, whether or not that is visible.
    pub(in crate::storage) async fn tag_target(
        &self,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Digest>, Error> {
        match self.raw_link(PathSpec::TagCurrent(name, tag)).await? {
            Some(Link::To(digest)) => Ok(Some(digest)),
            Some(Link::Torn) => self.newest_in_index(name, tag).await,
            None => Ok(None),
        }
    }

    /// What a tag whose link is torn pointed to: the youngest entry of its index, which was written just before.
    async fn newest_in_index(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, Error> {
        let mut newest: Option<(Timestamp, Digest)> = None;
        for algorithm in Algorithm::ALL {
            for hex in self.names(PathSpec::TagIndexes(name, tag, algorithm)).await? {
                let Ok(digest) = format!("{algorithm}:{hex}").parse::<Digest>() else { continue };
                let Some(modified) = self.age(PathSpec::TagIndex(name, tag, &digest)).await? else { continue };
                if newest.as_ref().is_none_or(|(youngest, _)| *youngest < modified) {
                    newest = Some((modified, digest));
                }
            }
        }
        Ok(newest.map(|(_, digest)| digest))
    }

    /// The tags that point to a manifest.
    pub(in crate::storage) async fn tags_to(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<BTreeSet<Tag>, Error> {
        let candidates = match self.reach.tags.to(name, digest) {
            Some(candidates) => candidates,
            None => self.read_tags_to(name, digest).await?,
        };
        let mut tags = BTreeSet::new();
        for tag in candidates {
            if self.tag_target(name, &tag).await?.as_ref() == Some(digest) {
                tags.insert(tag);
            }
        }
        Ok(tags)
    }

    async fn read_tags_to(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let reading = self.reach.tags.begin(name);
        let all: Vec<(Digest, Tag)> =
            self.all_tags(name).await?.into_iter().map(|(tag, digest)| (digest, tag)).collect();
        let pointing = all.iter().filter(|(to, _)| to == digest).map(|(_, tag)| tag.clone()).collect();
        if self.reach.tags.finish(name, reading, all) {
            return Ok(self.reach.tags.to(name, digest).unwrap_or(pointing));
        }
        // What was read is complete for who holds the freeze of the manifest, and only a guess for anybody else anyway.
        Ok(pointing)
    }

    /// Every tag and what its link points to, in order.
    pub(in crate::storage) async fn all_tags(&self, name: &RepositoryName) -> Result<Vec<(Tag, Digest)>, Error> {
        let names = self.tag_names(name, None, usize::MAX).await?;
        let tags: Vec<Tag> = names.into_iter().filter_map(|entry| entry.name.parse().ok()).collect();
        in_batches(tags.chunks(BATCH).map(|batch| self.targets_of(name, batch))).await
    }

    /// Of some tags, those whose links stand, and what these point to.
    async fn targets_of(&self, name: &RepositoryName, tags: &[Tag]) -> Result<Vec<(Tag, Digest)>, Error> {
        let link = |tag| Look::Content { path: PathSpec::TagCurrent(name, tag).path(), max_size: MAX_IN_BATCH };
        let looks: Vec<Look> = tags.iter().map(link).collect();
        let mut targets = Vec::with_capacity(tags.len());
        for (tag, seen) in tags.iter().zip(self.look(&looks).await?) {
            let target = match seen {
                Seen::Absent => None,
                seen => match seen.content().as_deref().and_then(target_in) {
                    Some(digest) => Some(digest),
                    None => self.tag_target(name, tag).await?,
                },
            };
            targets.extend(target.map(|digest| (tag.clone(), digest)));
        }
        Ok(targets)
    }

    /// Removes a tag where it still points to `digest`, as distribution does: with its index.
    pub(in crate::storage) async fn unlink_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<(), Error> {
        if self.tag_target(name, tag).await?.is_some_and(|target| target != *digest) {
            return Ok(());
        }
        self.remove_tag(name, tag).await
    }

    /// Removes a tag, wherever it points to, with its index.
    pub(in crate::storage) async fn remove_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<(), Error> {
        // The link first: the folder does not go in one step.
        self.remove_link(PathSpec::TagCurrent(name, tag)).await?;
        self.remove_folder(PathSpec::TagFolder(name, tag), "remove a tag").await?;
        self.tag_names.note_removed(name, tag);
        Ok(())
    }

    /// Many small looks, in their order.
    pub(in crate::storage) async fn look(&self, looks: &[Look]) -> Result<Vec<Seen>, Error> {
        self.driver.look(looks).await.map_err(|source| Error::driver("look at files", source))
    }

    /// When a file was last written; `None` where there is none.
    pub(in crate::storage) async fn age(&self, spec: PathSpec<'_>) -> Result<Option<Timestamp>, Error> {
        Ok(self.metadata(spec).await?.map(|metadata| metadata.modified))
    }

    /// The length of a file in bytes; `None` where there is none.
    pub(in crate::storage) async fn file_size(&self, spec: PathSpec<'_>) -> Result<Option<u64>, Error> {
        Ok(self.metadata(spec).await?.map(|metadata| metadata.size))
    }

    /// What is known of a file without reading it; `None` where there is none.
    pub(in crate::storage) async fn metadata(&self, spec: PathSpec<'_>) -> Result<Option<Metadata>, Error> {
        match self.driver.stat(&spec.path()).await {
            Ok(metadata) => Ok(Some(metadata)),
            Err(driver::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(Error::driver("look at a file", source)),
        }
    }
}
