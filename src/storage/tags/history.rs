//! What a tag has pointed to.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use tracing::warn;
use ulid::Ulid;

use crate::oci::{Algorithm, Digest, Reference, Tag};

use super::pushes::TagPushKey;
use crate::storage::{Error, Page, Repository, concurrent::concurrently, layout::PathSpec};

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
        // One more than is wanted tells whether more follow.
        let wanted = limit.saturating_add(1);
        let before = before.map(|before| before.0);
        let mut keys = self.store.tag_push_keys(&self.name, tag, before, wanted).await?;
        if keys.is_empty() && before.is_none() {
            return self.foreign_history(tag, limit).await;
        }
        let more = keys.len() > limit;
        keys.truncate(limit);
        let reads = keys.into_iter().map(|key| self.history_entry(tag, key));
        let read: Vec<_> = concurrently(reads).await?;
        Ok(Page { entries: read.into_iter().flatten().collect(), more })
    }

    /// One that cannot be read was reported, and is passed over.
    async fn history_entry(&self, tag: &Tag, key: TagPushKey) -> Result<Option<TagHistoryEntry>, Error> {
        let push = self.store.tag_push(&self.name, tag, key).await?.read();
        Ok(push.map(|push| TagHistoryEntry {
            id: Some(PushId(key.id)),
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
