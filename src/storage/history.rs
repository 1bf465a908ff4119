//! What a tag has pointed to.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use tracing::warn;
use ulid::Ulid;

use crate::oci::{Algorithm, Digest, Reference, Tag};

use super::{Error, Page, Repository, concurrent::concurrently, layout::PathSpec};

/// The name of a push of a tag. They sort by the time at which it was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PushId(Ulid);

impl fmt::Display for PushId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text names no push.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a push of a tag is named by a ULID")]
pub struct PushIdError;

impl FromStr for PushId {
    type Err = PushIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ulid::from_string(text).map(Self).map_err(|_| PushIdError)
    }
}

/// What a tag pointed to from some moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagHistoryEntry {
    /// Its name; none where another registry pushed.
    pub id: Option<PushId>,
    /// What it pointed to.
    pub digest: Digest,
    /// When it was pushed. A restore brings back the time of the push.
    pub pushed_at: Timestamp,
    /// Who pushed or restored it; unknown where another registry did.
    pub actor: Option<String>,
    /// Whether a restore made it point there.
    pub restored: bool,
}

impl Repository {
    /// At most `limit` entries of a tag's history, newest first, before `before`. It outlives the tag. What another
    /// registry pushed is known only for as long as nothing was pushed here: when each manifest was last pushed.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`] where the tag never was, [`Error::Driver`].
    pub async fn tag_history(
        &self,
        tag: &Tag,
        before: Option<PushId>,
        limit: usize,
    ) -> Result<Page<TagHistoryEntry>, Error> {
        let names = self.store.names(PathSpec::TagPushes(&self.name, tag)).await?;
        let mut ids: Vec<Ulid> = names.iter().filter_map(|text| Ulid::from_string(text).ok()).collect();
        if ids.is_empty() {
            return self.foreign_history(tag, limit).await;
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.retain(|id| before.is_none_or(|before| *id < before.0));
        let more = ids.len() > limit;
        ids.truncate(limit);
        let reads = ids.into_iter().map(|id| self.history_entry(tag, id));
        let read: Vec<_> = concurrently(reads).await?;
        Ok(Page { entries: read.into_iter().flatten().collect(), more })
    }

    /// One that cannot be read was reported, and is passed over.
    async fn history_entry(&self, tag: &Tag, id: Ulid) -> Result<Option<TagHistoryEntry>, Error> {
        let push = self.store.tag_push(&self.name, tag, id).await?.read();
        Ok(push.map(|push| TagHistoryEntry {
            id: Some(PushId(id)),
            digest: push.digest,
            pushed_at: push.pushed_at,
            actor: Some(push.actor),
            restored: push.restored,
        }))
    }

    /// What the tag's index says: which manifests it has pointed to, and when each was pushed last.
    async fn foreign_history(&self, tag: &Tag, limit: usize) -> Result<Page<TagHistoryEntry>, Error> {
        let mut entries = Vec::new();
        for algorithm in Algorithm::ALL {
            for hex in self.store.names(PathSpec::TagIndexes(&self.name, tag, algorithm)).await? {
                let Ok(digest) = format!("{algorithm}:{hex}").parse::<Digest>() else {
                    warn!(repository = %self.name, %tag, hex, "a name in a tag's index is no digest");
                    continue;
                };
                let link = PathSpec::TagIndex(&self.name, tag, &digest);
                let Some(pushed_at) = self.store.age(link).await? else { continue };
                entries.push(TagHistoryEntry { id: None, digest, pushed_at, actor: None, restored: false });
            }
        }
        if entries.is_empty() {
            return Err(self.manifest_unknown(&Reference::Tag(tag.clone())).await);
        }
        entries.sort_unstable_by(|a, b| b.pushed_at.cmp(&a.pushed_at).then_with(|| a.digest.cmp(&b.digest)));
        // Without names of their own there is no going on after one of them.
        entries.truncate(limit);
        Ok(Page { entries, more: false })
    }
}
