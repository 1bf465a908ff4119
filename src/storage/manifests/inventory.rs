//! A repository as retention sees it.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use tracing::warn;

use crate::oci::{Algorithm, Digest, Manifest, Tag};

use super::facts::{RevisionFact, moment_in, since_untagged};
use crate::storage::{
    Error, Repository,
    concurrent::{BATCH, MAX_IN_BATCH, in_batches},
    driver::{Look, Seen},
    entropy::on_a_thread,
    layout::PathSpec,
    records::record::{Lenient, record_in},
};

/// Everything visible in a repository.
///
/// It is no snapshot: pushes go on while it is taken. What a policy decides by it is checked again when it is carried out.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// When taking it began. What was pushed since then may be missing.
    pub taken_at: Timestamp,
    /// Its tags, in order.
    pub tags: Vec<TagEntry>,
    /// Its manifests, in the order of their digests.
    pub revisions: Vec<RevisionEntry>,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagEntry {
    /// The tag.
    pub tag: Tag,
    /// What it points to.
    pub digest: Digest,
    /// When it was pushed last; `None` where that is not known.
    pub pushed_at: Option<Timestamp>,
}

/// A manifest.
#[derive(Debug, Clone)]
pub struct RevisionEntry {
    /// Its address.
    pub digest: Digest,
    /// When it was pushed last; `None` where that cannot be read.
    pub pushed_at: Option<Timestamp>,
    /// Since when no tag points to it; `None` while one does, and where that cannot be read.
    pub untagged_since: Option<Timestamp>,
    /// When it was restored last; `None` where it never was. Where that cannot be read, the time of the inventory.
    pub restored_at: Option<Timestamp>,
    /// Its own length in bytes.
    pub size: u64,
    /// What it says; `None`: it cannot be read, and is kept.
    pub manifest: Option<Manifest>,
}

/// The link of a manifest.
#[derive(Debug, Clone)]
struct RevisionLink {
    digest: Digest,
    /// The content: another one where stock distribution gave it a name of another algorithm.
    target: Digest,
    age: Timestamp,
}

/// What is noted of some of the manifests of a repository.
struct Notes {
    tagged: HashSet<Digest>,
    /// Those that a tag has moved away from.
    untagged: HashSet<String>,
    restored: HashSet<String>,
}

type Moments = HashMap<Digest, Lenient<Timestamp>>;

/// What was read of one manifest.
struct Read {
    link: RevisionLink,
    fact: (Look, Seen),
    content: Seen,
    restored: Lenient<Timestamp>,
    /// `None` where a tag points to it.
    untagged: Option<Lenient<Timestamp>>,
}

impl Repository {
    /// Everything visible. Empty where the repository does not exist.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn inventory(&self) -> Result<Inventory, Error> {
        let taken_at = self.store.clock.now();
        let targets = self.store.all_tags(&self.name).await?;
        let names = self.store.revision_names(&self.name).await?;
        let links = in_batches(names.chunks(BATCH).map(|batch| self.revision_links(batch))).await?;
        // After the links: a restore is noted before its link is made.
        let notes = self.notes(&targets).await?;
        let entries = links.chunks(BATCH).map(|batch| self.revision_entries(batch, &notes, taken_at));
        let mut revisions = in_batches(entries).await?;
        revisions.sort_unstable_by(|a, b| a.digest.cmp(&b.digest));
        let is_visible = |digest: &Digest| revisions.binary_search_by(|entry| entry.digest.cmp(digest)).is_ok();
        let visible: Vec<_> = targets.into_iter().filter(|(_, digest)| is_visible(digest)).collect();
        let tags = in_batches(visible.chunks(BATCH).map(|batch| self.tag_entries(batch))).await?;
        Ok(Inventory { taken_at, tags, revisions })
    }

    async fn tag_entries(&self, tags: &[(Tag, Digest)]) -> Result<Vec<TagEntry>, Error> {
        let noted = self.store.tags_pushed_at(&self.name, tags).await?;
        let silent = tags.iter().zip(&noted).filter(|(_, noted)| noted.is_none());
        let links = silent.map(|((tag, _), _)| Look::Metadata(PathSpec::TagCurrent(&self.name, tag).path()));
        let mut ages = self.store.look(&links.collect::<Vec<_>>()).await?.into_iter();
        let mut age = || ages.next().and_then(|seen| seen.metadata()).map(|metadata| metadata.modified);
        let entries = tags.iter().zip(noted).map(|((tag, digest), noted)| TagEntry {
            tag: tag.clone(),
            digest: digest.clone(),
            pushed_at: noted.or_else(&mut age),
        });
        Ok(entries.collect())
    }

    /// Of some manifests, the links that stand.
    async fn revision_links(&self, digests: &[Digest]) -> Result<Vec<RevisionLink>, Error> {
        let look = |digest| Look::Metadata(PathSpec::RevisionLink(&self.name, digest).path());
        let seen = self.store.look(&digests.iter().map(look).collect::<Vec<_>>()).await?;
        let mut links = Vec::with_capacity(digests.len());
        for (digest, seen) in digests.iter().zip(seen) {
            let Some(age) = seen.metadata().map(|metadata| metadata.modified) else { continue };
            let target = match digest.algorithm() {
                // Content that was pushed under this name has it.
                Algorithm::Sha256 => Some(digest.clone()),
                Algorithm::Sha512 => self.store.link(PathSpec::RevisionLink(&self.name, digest), digest).await?,
            };
            links.extend(target.map(|target| RevisionLink { digest: digest.clone(), target, age }));
        }
        Ok(links)
    }

    async fn notes(&self, targets: &[(Tag, Digest)]) -> Result<Notes, Error> {
        Ok(Notes {
            tagged: targets.iter().map(|(_, digest)| digest.clone()).collect(),
            untagged: self.store.names(PathSpec::UntaggedNotes(&self.name)).await?.into_iter().collect(),
            restored: self.store.names(PathSpec::RestoredNotes(&self.name)).await?.into_iter().collect(),
        })
    }

    async fn revision_entries(
        &self,
        links: &[RevisionLink],
        notes: &Notes,
        taken_at: Timestamp,
    ) -> Result<Vec<RevisionEntry>, Error> {
        let record = |spec: PathSpec<'_>| Look::Content { path: spec.path(), max_size: MAX_IN_BATCH };
        let name = &self.name;
        let facts: Vec<Look> = links.iter().map(|link| record(PathSpec::Fact(name, &link.digest))).collect();
        let seen = self.store.look(&facts).await?;
        let facts: Vec<(Look, Seen)> = facts.into_iter().zip(seen).collect();
        let noted = |names: &HashSet<String>| {
            let noted = links.iter().map(|link| &link.digest).filter(|digest| names.contains(&digest.to_string()));
            noted.cloned().collect::<Vec<Digest>>()
        };
        let restored = noted(&notes.restored);
        let looks = restored.iter().map(|digest| record(PathSpec::RestoredAt(name, digest))).collect();
        let mut restored = self.moments(restored, looks).await?;
        let untagged = noted(&notes.untagged);
        let looks = untagged.iter().map(|digest| record(PathSpec::Untagged(name, digest))).collect();
        let mut untagged = self.moments(untagged, looks).await?;
        let contents = self.contents(links).await?;
        let read = links.iter().zip(facts).zip(contents).map(|((link, fact), content)| Read {
            link: link.clone(),
            fact,
            content,
            restored: restored.remove(&link.digest).unwrap_or(Lenient::Absent),
            untagged: (!notes.tagged.contains(&link.digest))
                .then(|| untagged.remove(&link.digest).unwrap_or(Lenient::Absent)),
        });
        let read: Vec<Read> = read.collect();
        let entries = on_a_thread(move || read.into_iter().map(|read| read.entry(taken_at)).collect()).await;
        entries.map_err(|error| Error::interrupted("read manifests", error))
    }

    async fn moments(&self, digests: Vec<Digest>, looks: Vec<Look>) -> Result<Moments, Error> {
        let seen = self.store.look(&looks).await?;
        let moments = looks.iter().zip(seen).map(|(look, seen)| moment_in(look.path(), seen));
        Ok(digests.into_iter().zip(moments).collect())
    }

    async fn contents(&self, links: &[RevisionLink]) -> Result<Vec<Seen>, Error> {
        let look = |link: &RevisionLink| Look::Content {
            path: PathSpec::BlobData(&link.target).path(),
            max_size: MAX_IN_BATCH,
        };
        let mut contents = self.store.look(&links.iter().map(look).collect::<Vec<_>>()).await?;
        for (link, content) in links.iter().zip(&mut contents) {
            if matches!(content, Seen::TooLong(_))
                && let Some(bytes) = self.store.manifest_bytes(&link.target).await?
            {
                *content = Seen::Content(bytes);
            }
        }
        Ok(contents)
    }
}

impl Read {
    fn entry(self, taken_at: Timestamp) -> RevisionEntry {
        let (look, seen) = self.fact;
        let fact = record_in::<RevisionFact>(look.path(), seen);
        let pushed_at = match &fact {
            Lenient::Read(fact) => Some(fact.pushed_at),
            Lenient::Absent => Some(self.link.age),
            Lenient::Unreadable => None,
        };
        let restored_at = match self.restored {
            Lenient::Read(at) => Some(at),
            Lenient::Absent => None,
            Lenient::Unreadable => Some(taken_at),
        };
        let untagged_since = self.untagged.and_then(|untagged| since_untagged(pushed_at, untagged, restored_at));
        let (size, manifest) = content(&self.link.target, self.content, fact.read());
        RevisionEntry { digest: self.link.digest, pushed_at, untagged_since, restored_at, size, manifest }
    }
}

/// How long a manifest is, and what it says.
fn content(target: &Digest, seen: Seen, fact: Option<RevisionFact>) -> (u64, Option<Manifest>) {
    match seen {
        Seen::Content(bytes) if target.matches(&bytes) => {
            let media_type = fact.map(|fact| fact.media_type);
            (bytes.len() as u64, Manifest::parse(media_type.as_ref(), &bytes).ok())
        }
        Seen::Content(bytes) => {
            warn!(digest = %target, "the bytes of a manifest are damaged");
            (bytes.len() as u64, None)
        }
        Seen::TooLong(size) => (size, None),
        Seen::Absent | Seen::Metadata(_) | Seen::Name(_) => (0, None),
    }
}
