//! Bringing back what was deleted (docs/protocol.md, *Deleting and restoring*).

use std::collections::BTreeSet;

use jiff::Timestamp;
use tracing::warn;

use crate::oci::{Digest, Reference, RepositoryName, Tag};

use super::moved_tags::MovedTag;
use crate::storage::{
    DeleteCause, Error, Repository, Tombstone, TombstoneId, TombstoneKind, TombstoneState, Trash,
    guard::{
        changes::Change,
        keys::Key,
        pending::{Operation, Pending, Subject},
    },
    layout::PathSpec,
    manifests::closure::{Closure, ClosureManifest},
    replicas::{Intent, IntentId, Promise},
    tags::pushes::TagPush,
};

/// How many tags a restore replaces before it gives up, because they are pushed again as fast.
const MAX_REPLACED: usize = 1_000;

/// How often a restore by reference looks again, because somebody else restored or deleted it meanwhile.
const MAX_LOOKS: usize = 8;

/// What to do with a tag that points elsewhere by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Restore nothing; or, where a reference was asked for, nothing but what leaves that tag alone.
    Fail,
    /// Delete what it points to, then restore.
    Replace,
}

/// What a restore brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where.
    pub repository: RepositoryName,
    /// What.
    pub digest: Digest,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Every manifest that is visible again.
    pub manifests: Vec<Digest>,
    /// Tags of the entry that point elsewhere by now, and stay there.
    pub moved_tags: Vec<MovedTag>,
    /// Whether there was nothing to do.
    pub already_present: bool,
}

/// Where the tags of an entry point once it is back.
#[derive(Debug, Default)]
struct Retagged {
    tags: Vec<Tag>,
    moved: Vec<MovedTag>,
}

/// A tombstone, with all that must exist for it.
struct Part {
    tombstone: Tombstone,
    closure: Closure,
}

impl Trash {
    /// Brings an entry back: a manifest with every manifest that it lists, its tags, and what refers to it and was deleted
    /// in the same group.
    ///
    /// # Guarantees
    /// The bytes are those that were pushed. The time of the push stays. No policy deletes it for a restore window.
    ///
    /// # Errors
    /// [`Error::TombstoneUnknown`], [`Error::TagConflict`], [`Error::ContentGone`], [`Error::Frozen`],
    /// [`Error::Driver`]. After an error some of it may be visible; the entry is still there, and can be asked for again.
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn restore(&self, id: &TombstoneId, conflict: Conflict, actor: &str) -> Result<Restored, Error> {
        self.restore_for(*id, None, conflict, actor).await
    }

    /// Brings back the newest entry that a reference names. What exists is left as it is: with [`Conflict::Fail`] also
    /// other tags of the entry that point elsewhere by now, such as a `latest` that was pushed again.
    ///
    /// # Errors
    /// [`Error::NotInTrash`], and as [`Self::restore`].
    pub async fn restore_reference(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        conflict: Conflict,
        actor: &str,
    ) -> Result<Restored, Error> {
        for _ in 0..MAX_LOOKS {
            match self.restore_newest(repository, reference, conflict, actor).await {
                Err(Error::TombstoneUnknown { .. }) => {}
                other => return other,
            }
        }
        Err(Error::Frozen { key: format!("{repository}:{reference}") })
    }

    /// With [`Error::TombstoneUnknown`] where somebody else restored it meanwhile.
    async fn restore_newest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        conflict: Conflict,
        actor: &str,
    ) -> Result<Restored, Error> {
        let here = self.repository(repository);
        let present = match here.stat_manifest(reference).await {
            Ok(found) => Some(found.digest),
            Err(Error::ManifestUnknown { .. }) => None,
            Err(error) => return Err(error),
        };
        let found = self.store.tombstones_for(repository, reference).await?;
        let of_it = |tombstone: &Tombstone| match &present {
            None => tombstone.kind != TombstoneKind::Blob,
            Some(digest) => is_unfinished(tombstone, digest, reference),
        };
        // A digest names a blob only where it names no manifest.
        let blob = || found.first().filter(|_| present.is_none());
        match (found.iter().find(|tombstone| of_it(tombstone)).or_else(blob), present) {
            (Some(tombstone), _) => {
                // Who says Replace wants all of the entry as it was.
                let wanted = (conflict == Conflict::Fail).then(|| reference.clone());
                self.restore_for(tombstone.id, wanted, conflict, actor).await
            }
            (None, Some(digest)) => Ok(Restored {
                repository: repository.clone(),
                manifests: vec![digest.clone()],
                digest,
                tags: match reference {
                    Reference::Tag(tag) => vec![tag.clone()],
                    Reference::Digest(_) => Vec::new(),
                },
                moved_tags: Vec::new(),
                already_present: true,
            }),
            (None, None) => Err(Error::NotInTrash { repository: repository.clone(), reference: reference.clone() }),
        }
    }

    pub(in crate::storage) fn repository(&self, name: &RepositoryName) -> Repository {
        Repository { name: name.clone(), store: self.store.clone() }
    }

    async fn restore_for(
        &self,
        id: TombstoneId,
        wanted: Option<Reference>,
        conflict: Conflict,
        actor: &str,
    ) -> Result<Restored, Error> {
        let (this, actor) = (self.for_change()?, actor.to_owned());
        let restore = async move { this.restore_entry(id, wanted.as_ref(), conflict, &actor).await };
        self.store.changes.run(restore).await
    }

    /// `wanted` is the reference that was asked for; `None`: the entry with all of its tags.
    pub(in crate::storage) async fn restore_entry(
        &self,
        id: TombstoneId,
        wanted: Option<&Reference>,
        conflict: Conflict,
        actor: &str,
    ) -> Result<Restored, Error> {
        self.store.settle_parked().await;
        let changed_meanwhile = || Error::Frozen { key: id.to_string() };
        for replaced in 0..MAX_REPLACED {
            match self.attempt(&id, wanted, actor).await {
                Err(Error::TombstoneUnknown { .. }) if replaced > 0 => return Err(changed_meanwhile()),
                Err(Error::TagConflict { tag, .. }) if conflict == Conflict::Replace => {
                    let repository = self.repository(&self.entry(&id).await?.repository);
                    let cause = DeleteCause {
                        actor: actor.to_owned(),
                        reason: format!("replaced by restoring {id}"),
                        policy: None,
                        group: None,
                    };
                    repository.displace(&tag, &cause).await?;
                }
                other => return other,
            }
        }
        Err(changed_meanwhile())
    }

    async fn attempt(&self, id: &TombstoneId, wanted: Option<&Reference>, actor: &str) -> Result<Restored, Error> {
        let tombstone = self.entry(id).await?;
        let repository = self.repository(&tombstone.repository);
        match tombstone.kind {
            TombstoneKind::Blob => repository.restore_blob(tombstone).await,
            TombstoneKind::Manifest | TombstoneKind::Tag => repository.restore_manifest(tombstone, wanted, actor).await,
        }
    }
}

impl Repository {
    async fn restore_blob(&self, tombstone: Tombstone) -> Result<Restored, Error> {
        let digest = tombstone.digest.clone();
        let change = self.begin_restore(&tombstone, Vec::new(), Vec::new()).await?;
        let done = async {
            self.still_there(&tombstone).await?;
            let keys = tombstone.closure.iter().map(|digest| Key::Blob(digest.clone()));
            let _promise = self.store.enter(keys).await?;
            let digests = tombstone.closure.iter().cloned().chain([digest.clone()]).collect();
            let intent = self.intend(digests).await?;
            if !self.store.has_content(&tombstone).await? {
                self.store.end_intent(intent).await;
                return Err(Error::ContentGone { missing: vec![digest.clone()] });
            }
            self.link_layer(&digest, &tombstone.closure).await?;
            self.store.drop_descriptors(&self.name, &digest).await;
            self.store.exhume(&tombstone).await?;
            self.store.end_intent(intent).await;
            Ok(())
        };
        self.end(change, done.await).await?;
        Ok(Restored {
            repository: self.name.clone(),
            digest,
            tags: Vec::new(),
            manifests: Vec::new(),
            moved_tags: Vec::new(),
            already_present: false,
        })
    }

    /// Writes down what the restore relies on.
    async fn intend(&self, digests: BTreeSet<Digest>) -> Result<IntentId, Error> {
        let intent = self.store.new_intent();
        let relied_on = Intent { repository: self.name.clone(), digests, tags: Vec::new() };
        self.store.put_intent(&intent, &relied_on).await?;
        Ok(intent)
    }

    async fn restore_manifest(
        &self,
        tombstone: Tombstone,
        wanted: Option<&Reference>,
        actor: &str,
    ) -> Result<Restored, Error> {
        let parts = self.parts(tombstone.clone()).await?;
        self.find_conflict(&parts, wanted).await?;
        let manifests: BTreeSet<&Digest> = manifests_of(&parts).map(|manifest| &manifest.digest).collect();
        let manifests: Vec<Digest> = manifests.into_iter().cloned().collect();
        let tags: BTreeSet<&Tag> = parts.iter().flat_map(|part| &part.tombstone.tags).collect();
        let tags = tags.into_iter().cloned().collect();
        let change = self.begin_restore(&tombstone, manifests.clone(), tags).await?;
        let done = self.bring_back(&parts, wanted, actor).await;
        let Retagged { tags, moved } = self.end(change, done).await?;
        Ok(Restored {
            repository: self.name.clone(),
            digest: tombstone.digest,
            tags,
            manifests,
            moved_tags: moved,
            already_present: false,
        })
    }

    async fn begin_restore(
        &self,
        tombstone: &Tombstone,
        manifests: Vec<Digest>,
        tags: Vec<Tag>,
    ) -> Result<Change, Error> {
        let pending = Pending {
            operation: Operation::Restore,
            repository: Some(self.name.clone()),
            subject: Some(Subject { kind: tombstone.kind, digest: tombstone.digest.clone() }),
            manifests,
            tags,
            policy: None,
            replica: None,
            blobs: Vec::new(),
            resumes: None,
        };
        self.store.begin(self.store.ids.next(self.store.clock.now()), pending).await
    }

    /// What a failed restore wrote stays, and so does its tombstone.
    async fn end<T>(&self, change: Change, done: Result<T, Error>) -> Result<T, Error> {
        self.store.complete(change).await;
        done
    }

    /// The tombstone, and those of its group that refer to what it brings back.
    async fn parts(&self, tombstone: Tombstone) -> Result<Vec<Part>, Error> {
        let closure = self.store.closure(&self.name, &tombstone.digest, &tombstone.closure).await?;
        if !closure.missing.is_empty() {
            return Err(Error::ContentGone { missing: closure.missing });
        }
        let group = tombstone.group.clone();
        let mut subjects: Vec<Digest> = closure.manifests.iter().map(|manifest| manifest.digest.clone()).collect();
        let mut seen: BTreeSet<Digest> = subjects.iter().cloned().collect();
        let mut parts = vec![Part { tombstone, closure }];
        while let Some(subject) = subjects.pop() {
            for referrer in self.store.referrer_names(&self.name, &subject).await? {
                if !seen.insert(referrer.clone()) {
                    continue;
                }
                let Some(part) = self.referrer_of_group(&referrer, &group).await? else { continue };
                subjects.extend(part.closure.manifests.iter().map(|manifest| manifest.digest.clone()));
                parts.push(part);
            }
        }
        Ok(parts)
    }

    async fn referrer_of_group(&self, referrer: &Digest, group: &str) -> Result<Option<Part>, Error> {
        let found = self.store.tombstones_for(&self.name, &Reference::Digest(referrer.clone())).await?;
        let of_group = |tombstone: &Tombstone| tombstone.kind == TombstoneKind::Manifest && tombstone.group == group;
        let Some(tombstone) = found.into_iter().find(of_group) else { return Ok(None) };
        let closure = self.store.closure(&self.name, referrer, &tombstone.closure).await?;
        if closure.missing.is_empty() {
            return Ok(Some(Part { tombstone, closure }));
        }
        warn!(repository = %self.name, digest = %referrer, "a referrer is not restored, because its content is gone");
        Ok(None)
    }

    /// The tags of the first part.
    async fn bring_back(&self, parts: &[Part], wanted: Option<&Reference>, actor: &str) -> Result<Retagged, Error> {
        for part in parts {
            self.still_there(&part.tombstone).await?;
        }
        let _promise = self.enter_content(parts).await?;
        let intent = self.intend(parts.iter().flat_map(|part| part.closure.digests()).collect()).await?;
        if let Err(error) = self.check_again(parts, wanted).await {
            self.store.end_intent(intent).await;
            return Err(error);
        }
        let now = self.store.clock.now();
        for part in parts {
            self.link_part(part, now).await?;
        }
        let mut tags = Vec::new();
        for part in parts {
            tags.push(self.retag(&part.tombstone, actor, now).await?);
        }
        // What was asked for last: as long as it stands, who asks again finds the others.
        for part in parts.iter().rev() {
            self.store.exhume(&part.tombstone).await?;
        }
        self.store.end_intent(intent).await;
        Ok(tags.into_iter().next().unwrap_or_default())
    }

    /// Now that nobody can remove or move anything.
    async fn check_again(&self, parts: &[Part], wanted: Option<&Reference>) -> Result<(), Error> {
        self.check_content(parts).await?;
        self.find_conflict(parts, wanted).await
    }

    /// Nobody else restored it meanwhile.
    async fn still_there(&self, tombstone: &Tombstone) -> Result<(), Error> {
        if self.store.has_tombstone(&self.name, &tombstone.digest, tombstone.id.0).await? {
            return Ok(());
        }
        Err(Error::TombstoneUnknown { id: tombstone.id })
    }

    async fn enter_content(&self, parts: &[Part]) -> Result<Promise, Error> {
        let frozen: BTreeSet<&Digest> = manifests_of(parts).map(|manifest| &manifest.digest).collect();
        let blobs: BTreeSet<&Digest> = parts.iter().flat_map(|part| &part.closure.blobs).collect();
        let members = blobs.difference(&frozen).map(|digest| Key::Revision(self.name.clone(), (*digest).clone()));
        let keys: Vec<Key> = blobs.union(&frozen).map(|digest| Key::Blob((*digest).clone())).chain(members).collect();
        self.store.enter(keys).await
    }

    async fn check_content(&self, parts: &[Part]) -> Result<(), Error> {
        let mut missing = Vec::new();
        for Part { tombstone, .. } in parts {
            missing.extend(self.store.closure(&self.name, &tombstone.digest, &tombstone.closure).await?.missing);
        }
        if missing.is_empty() { Ok(()) } else { Err(Error::ContentGone { missing }) }
    }

    /// The first tag that points elsewhere, to something visible; of those that were asked for.
    async fn find_conflict(&self, parts: &[Part], wanted: Option<&Reference>) -> Result<(), Error> {
        for Part { tombstone, .. } in parts {
            let is_wanted = |tag: &&Tag| match wanted {
                Some(Reference::Tag(wanted)) => *tag == wanted,
                Some(Reference::Digest(_)) => false,
                None => true,
            };
            for tag in tombstone.tags.iter().filter(is_wanted) {
                if let Some(digest) = self.taken(tag, &tombstone.digest).await? {
                    return Err(Error::TagConflict { tag: tag.clone(), digest });
                }
            }
        }
        Ok(())
    }

    /// Layer links, then revision links, children before the manifests that list them.
    async fn link_part(&self, part: &Part, now: Timestamp) -> Result<(), Error> {
        for blob in &part.closure.blobs {
            self.link_layer(blob, std::slice::from_ref(blob)).await?;
        }
        if part.tombstone.layer_link {
            self.link_layer(&part.tombstone.digest, std::slice::from_ref(&part.tombstone.digest)).await?;
        }
        for manifest in part.closure.manifests.iter().rev() {
            self.link_manifest(manifest, now).await?;
            if manifest.digest != part.tombstone.digest {
                // If it was deleted by itself, too, it is there again; a restore that broke off may have left that unsaid.
                self.store.revive(&self.name, &manifest.digest, &[]).await?;
            }
        }
        Ok(())
    }

    /// Makes a blob a member again, where it is not. Its content is the first of `contents` that is there.
    async fn link_layer(&self, digest: &Digest, contents: &[Digest]) -> Result<(), Error> {
        let spec = PathSpec::LayerLink(&self.name, digest);
        if self.store.link(spec, digest).await?.is_some() {
            return Ok(());
        }
        for content in std::iter::once(digest).chain(contents) {
            if self.store.stored_size(content).await?.is_some() {
                return self.store.put_link(spec, content).await;
            }
        }
        Err(Error::ContentGone { missing: vec![digest.clone()] })
    }

    async fn link_manifest(&self, manifest: &ClosureManifest, now: Timestamp) -> Result<(), Error> {
        let digest = &manifest.digest;
        self.store.put_restored(&self.name, digest, now).await?;
        // A link that stands keeps its age: without facts, it is the time of the push.
        let linked = if self.store.is_visible(&self.name, digest).await? {
            Ok(())
        } else {
            self.store.put_link(PathSpec::RevisionLink(&self.name, digest), digest).await
        };
        for child in &manifest.children {
            self.store.reach.parents.note(&self.name, child, digest.clone());
        }
        self.store.drop_descriptors(&self.name, digest).await;
        linked
    }

    /// Those that point elsewhere stay there.
    async fn retag(&self, tombstone: &Tombstone, actor: &str, now: Timestamp) -> Result<Retagged, Error> {
        let (store, name, digest) = (&self.store, &self.name, &tombstone.digest);
        let mut retagged = Retagged::default();
        for tag in &tombstone.tags {
            if let Some(digest) = self.taken(tag, digest).await? {
                retagged.moved.push(MovedTag { tag: tag.clone(), digest });
                continue;
            }
            retagged.tags.push(tag.clone());
            if store.tag_target(name, tag).await?.as_ref() != Some(digest) {
                self.put_tag(tag, digest, actor, now).await?;
            }
            // After the link, other than by a push: a list shows what has a folder, and nobody comes back to remove an
            // index that a restore left which broke or died here.
            let index = PathSpec::TagIndex(name, tag, digest);
            if store.age(index).await?.is_none() {
                store.put_link(index, digest).await?;
            }
        }
        Ok(retagged)
    }

    async fn put_tag(&self, tag: &Tag, digest: &Digest, actor: &str, now: Timestamp) -> Result<(), Error> {
        let (store, name) = (&self.store, &self.name);
        // Unknown counts as young, and so is kept.
        let pushed_at = store.last_push_to(name, tag, digest).await?.unwrap_or(now);
        let push = TagPush { digest: digest.clone(), pushed_at, actor: actor.to_owned(), restored: true };
        store.put_tag_push(name, tag, &push).await?;
        let tagged = store.put_link(PathSpec::TagCurrent(name, tag), digest).await;
        store.reach.tags.note(name, digest, tag.clone());
        store.tag_names.note(name, tag, &tagged);
        tagged
    }
}

/// Whether what can be seen was brought back by a restore that broke half-way, or came back with another entry: a push
/// would have marked this one. The manifest of a tag's entry was never gone.
fn is_unfinished(tombstone: &Tombstone, digest: &Digest, reference: &Reference) -> bool {
    let is_of_it = match tombstone.kind {
        TombstoneKind::Manifest => true,
        TombstoneKind::Tag => matches!(reference, Reference::Tag(_)),
        TombstoneKind::Blob => false,
    };
    is_of_it && tombstone.digest == *digest && tombstone.state == TombstoneState::Restorable
}

fn manifests_of(parts: &[Part]) -> impl Iterator<Item = &ClosureManifest> {
    parts.iter().flat_map(|part| &part.closure.manifests)
}
