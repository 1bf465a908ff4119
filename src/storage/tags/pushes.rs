//! The history of a tag: a record for each push and each restore of it, which outlives the tag.
//!
//! A record is named by the bits of its ULID inverted, so that the newest come first in a list, however long it is. The
//! first versions named them by the ULID itself; such names sort before all others, and are read as well.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::oci::{Digest, RepositoryName, Tag};

use crate::storage::{
    Error,
    concurrent::MAX_IN_BATCH,
    driver::{Durability, Look, Seen},
    layout::PathSpec,
    records::record::{Lenient, record_in},
    store::Store,
    trash::index::inverted,
};

/// One push of a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::storage) struct TagPush {
    /// What it pointed to from then on.
    pub(in crate::storage) digest: Digest,
    /// When it was pushed. A restore keeps the time of the push that it brings back.
    pub(in crate::storage) pushed_at: Timestamp,
    /// Who pushed or restored it.
    pub(in crate::storage) actor: String,
    /// Whether a restore wrote this.
    #[serde(default)]
    pub(in crate::storage) restored: bool,
}

/// How many pushes of one tag are read back, at most, to find the one that made it point where it does. The newest is
/// nearly always the one; a tag that moved this often since is as good as unknown, and so is kept.
const MAX_PUSHES_READ: usize = 32;

/// What sorts after every name of the first versions, and before every other one: a ULID of this age has its highest bit
/// unset.
const FIRST_INVERTED: &str = "4";

/// How many names of the first versions are listed at once, after the first look.
const FORMER_NAMES: usize = 1_000;

/// Where a push is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::storage) struct TagPushKey {
    /// Its id; ids sort by the time at which they were given.
    pub(in crate::storage) id: Ulid,
    name: Ulid,
}

impl TagPushKey {
    fn new(id: Ulid) -> Self {
        Self { id, name: inverted(id) }
    }

    fn parse(text: &str) -> Option<Self> {
        let name = Ulid::from_string(text).ok()?;
        let key = Self { id: name, name };
        Some(if key.is_former() { key } else { Self { id: inverted(name), name } })
    }

    /// Whether one of the first versions wrote it.
    fn is_former(self) -> bool {
        self.name.0 >> 127 == 0
    }
}

/// Where the newest push of a tag is noted; `None` where the first name of its folder does not tell.
fn newest_push(name: &RepositoryName, tag: &Tag, first: &Seen) -> Option<Look> {
    let Seen::Name(text) = first else { return None };
    let key = TagPushKey::parse(text).filter(|key| !key.is_former())?;
    Some(Look::Content { path: PathSpec::TagPush(name, tag, key.name).path(), max_size: MAX_IN_BATCH })
}

impl Store {
    /// Adds to a tag's history. Written before the tag's link, so that no acknowledged push is without one.
    pub(in crate::storage) async fn put_tag_push(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        push: &TagPush,
    ) -> Result<(), Error> {
        let key = TagPushKey::new(self.ids.next(self.clock.now()));
        self.put_record(PathSpec::TagPush(name, tag, key.name), push, Durability::Durable).await
    }

    /// When the tag was last pushed to point to `digest`, as its history says: the newest entry, where that names
    /// the digest. `None` where it does not: a push that failed half-way, or another registry's.
    pub(in crate::storage) async fn tag_pushed_at(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<Option<Timestamp>, Error> {
        let newest = self.newest_tag_pushes(name, tag, 1).await?.pop();
        Ok(newest.flatten().filter(|push| push.digest == *digest).map(|push| push.pushed_at))
    }

    /// When each of some tags was last pushed to point to its digest, as [`Self::tag_pushed_at`] says.
    pub(in crate::storage) async fn tags_pushed_at(
        &self,
        name: &RepositoryName,
        tags: &[(Tag, Digest)],
    ) -> Result<Vec<Option<Timestamp>>, Error> {
        let folders: Vec<Look> =
            tags.iter().map(|(tag, _)| Look::FirstName(PathSpec::TagPushes(name, tag).path())).collect();
        let first = self.look(&folders).await?;
        let records: Vec<Option<Look>> =
            tags.iter().zip(&first).map(|((tag, _), seen)| newest_push(name, tag, seen)).collect();
        let looks: Vec<Look> = records.iter().flatten().cloned().collect();
        let mut read = looks.iter().zip(self.look(&looks).await?);
        let mut pushed_at = Vec::with_capacity(tags.len());
        for (((tag, digest), seen), record) in tags.iter().zip(first).zip(&records) {
            pushed_at.push(match (record.as_ref().and_then(|_| read.next()), seen) {
                (Some((look, seen)), _) => {
                    let push = record_in::<TagPush>(look.path(), seen).read();
                    push.filter(|push| push.digest == *digest).map(|push| push.pushed_at)
                }
                (None, Seen::Absent) => None,
                (None, _) => self.tag_pushed_at(name, tag, digest).await?,
            });
        }
        Ok(pushed_at)
    }

    /// When the tag was last pushed to point to `digest`, also where it was pushed elsewhere since.
    pub(in crate::storage) async fn last_push_to(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<Option<Timestamp>, Error> {
        let pushes = self.newest_tag_pushes(name, tag, MAX_PUSHES_READ).await?;
        Ok(pushes.into_iter().flatten().find(|push| push.digest == *digest).map(|push| push.pushed_at))
    }

    /// One push of a tag.
    pub(in crate::storage) async fn tag_push(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        key: TagPushKey,
    ) -> Result<Lenient<TagPush>, Error> {
        self.lenient_record(PathSpec::TagPush(name, tag, key.name)).await
    }

    /// The newest `limit` pushes of a tag that are older than `before`, newest first.
    pub(in crate::storage) async fn tag_push_keys(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        before: Option<Ulid>,
        limit: usize,
    ) -> Result<Vec<TagPushKey>, Error> {
        let start = before.map_or_else(|| FIRST_INVERTED.to_owned(), |before| inverted(before).to_string());
        let names = self.names_after(PathSpec::TagPushes(name, tag), Some(&start), limit).await?;
        let mut keys: Vec<TagPushKey> = names.iter().filter_map(|text| TagPushKey::parse(text)).collect();
        // Older ones than these are not wanted.
        let after = keys.last().filter(|_| names.len() >= limit).map(|key| key.id);
        keys.extend(self.former_tag_pushes(name, tag, after).await?);
        keys.retain(|key| before.is_none_or(|before| key.id < before));
        keys.sort_unstable_by(|a, b| b.cmp(a));
        keys.truncate(limit);
        Ok(keys)
    }

    /// The pushes that one of the first versions noted after `after`.
    async fn former_tag_pushes(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        after: Option<Ulid>,
    ) -> Result<Vec<TagPushKey>, Error> {
        let mut after = after.map(|after| after.to_string());
        let mut found = Vec::new();
        // Nearly always there are none, and the first name says so.
        let mut limit = 1;
        loop {
            let names = self.names_after(PathSpec::TagPushes(name, tag), after.as_deref(), limit).await?;
            let former = |text: &&String| text.as_str() < FIRST_INVERTED;
            found.extend(names.iter().take_while(former).filter_map(|text| TagPushKey::parse(text)));
            if names.len() < limit || !names.last().as_ref().is_some_and(former) {
                return Ok(found);
            }
            after = names.into_iter().last();
            limit = FORMER_NAMES;
        }
    }

    /// The newest `limit` pushes of a tag, newest first; `None` for one that cannot be read.
    async fn newest_tag_pushes(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        limit: usize,
    ) -> Result<Vec<Option<TagPush>>, Error> {
        let mut pushes = Vec::new();
        for key in self.tag_push_keys(name, tag, None, limit).await? {
            pushes.push(self.tag_push(name, tag, key).await?.read());
        }
        Ok(pushes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::storage::{
        Clock as _,
        fixtures::{World, name, sha256},
    };

    use super::*;

    fn push(world: &World, number: usize) -> TagPush {
        let digest = sha256(number.to_string().as_bytes());
        TagPush { digest, pushed_at: world.clock.now(), actor: "pusher".into(), restored: false }
    }

    /// Notes so many pushes, a second apart; every one that `is_former` chooses as the first versions did.
    async fn noted(world: &World, count: usize, is_former: impl Fn(usize) -> bool) -> (Store, Vec<Ulid>) {
        let store = (*world.open().await.store).clone();
        let (app, v1) = (name("app"), "v1".parse().unwrap());
        for number in 0..count {
            world.clock.advance(Duration::from_secs(1));
            let push = push(world, number);
            if is_former(number) {
                let id = store.ids.next(world.clock.now());
                store.put_record(PathSpec::TagPush(&app, &v1, id), &push, Durability::Durable).await.unwrap();
            } else {
                store.put_tag_push(&app, &v1, &push).await.unwrap();
            }
        }
        let all = store.tag_push_keys(&app, &v1, None, usize::MAX).await.unwrap();
        assert!(all.is_sorted_by(|a, b| a.id > b.id), "newest first, each once");
        (store, all.iter().map(|key| key.id).collect())
    }

    #[tokio::test]
    async fn the_newest_push_of_a_long_history_is_found_without_listing_it() {
        let world = World::new();
        let (store, all) = noted(&world, 500, |_| false).await;
        assert_eq!(all.len(), 500);
        let listed = world.driver.listed();
        let newest = store.tag_pushed_at(&name("app"), &"v1".parse().unwrap(), &push(&world, 499).digest).await;
        assert_eq!(newest.unwrap(), Some(world.clock.now()));
        assert!(world.driver.listed() - listed <= 2, "{} names", world.driver.listed() - listed);
    }

    #[tokio::test]
    async fn pages_join_also_where_the_first_versions_wrote_a_part() {
        // Two versions may write by turns while replicas are replaced.
        for is_former in [|_| true, |n| n < 20, |n| (10..40).contains(&n) && n % 3 > 0] as [fn(usize) -> bool; 3] {
            let world = World::new();
            let (store, all) = noted(&world, 50, is_former).await;
            assert_eq!(all.len(), 50);
            let (app, v1) = (name("app"), "v1".parse().unwrap());
            let mut joined = Vec::new();
            loop {
                let page = store.tag_push_keys(&app, &v1, joined.last().copied(), 7).await.unwrap();
                let Some(key) = page.first() else { break };
                let read = store.tag_push(&app, &v1, *key).await.unwrap().read().unwrap();
                assert_eq!(read.digest, push(&world, 49 - joined.len()).digest);
                joined.extend(page.iter().map(|key| key.id));
            }
            assert_eq!(joined, all);
        }
    }
}
