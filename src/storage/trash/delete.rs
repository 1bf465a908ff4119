//! Soft deletes (docs/protocol.md, *Deleting and restoring*).

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::oci::{Digest, Manifest, Reference, Tag};

use super::planned::PlannedDelete;
use crate::storage::{
    DeletionMode, Error, Repository, Tombstone, TombstoneId, TombstoneKind, TombstoneState,
    concurrent::all_written,
    guard::{
        changes::{Change, Settled},
        pending::{Operation, Pending, Subject},
    },
    layout::PathSpec,
    manifests::{closure::Closure, facts::RevisionFact},
    records::record::Lenient,
    store::Store,
    tags::pushes::TagPush,
};

/// How often a delete looks again because tags came or moved while it waited for its freeze. Each time it has to lose a
/// race against a push.
const MAX_LOOKS: usize = 16;

/// Who deletes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteCause {
    /// Who asked.
    pub actor: String,
    /// Why, for a reader.
    pub reason: String,
    /// The policy whose decision it is.
    pub policy: Option<String>,
    /// The group that it belongs to; `None` makes one.
    pub group: Option<String>,
}

/// What a delete is about to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage) struct Target {
    pub(in crate::storage) kind: TombstoneKind,
    pub(in crate::storage) digest: Digest,
    pub(in crate::storage) tags: BTreeSet<Tag>,
}

/// What became of a delete.
#[derive(Debug)]
pub(in crate::storage) enum Outcome {
    /// It is in the trash.
    Deleted(Box<Tombstone>),
    /// A policy's decision does not hold any more.
    Changed(String),
}

/// What is to be removed, before it is looked for.
#[derive(Debug, Clone)]
pub(in crate::storage) enum Request {
    Blob(Digest),
    Manifest(Reference),
}

impl Repository {
    /// Hides a blob, even if a manifest references it, as distribution does.
    ///
    /// # Errors
    /// [`Error::DeletionDisabled`], [`Error::BlobUnknown`], [`Error::Frozen`], [`Error::Driver`].
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn delete_blob(&self, digest: &Digest, cause: DeleteCause) -> Result<Tombstone, Error> {
        self.start(Request::Blob(digest.clone()), cause).await
    }

    /// Hides a tag; or by its digest a manifest, with every tag that points to it.
    ///
    /// # Errors
    /// [`Error::DeletionDisabled`], [`Error::ManifestUnknown`], [`Error::Frozen`], [`Error::Driver`].
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn delete_manifest(&self, reference: &Reference, cause: DeleteCause) -> Result<Tombstone, Error> {
        self.start(Request::Manifest(reference.clone()), cause).await
    }

    async fn start(&self, request: Request, cause: DeleteCause) -> Result<Tombstone, Error> {
        self.refuse_if_disabled()?;
        let this = self.for_change()?;
        let outcome = self.store.changes.run(async move { this.remove(&request, &cause, None).await }).await?;
        match outcome {
            Outcome::Deleted(tombstone) => Ok(*tombstone),
            // Only a policy's decision can be overtaken.
            Outcome::Changed(key) => Err(Error::Frozen { key }),
        }
    }

    /// The same, for a delete or restore that begins now.
    pub(in crate::storage) fn for_change(&self) -> Result<Self, Error> {
        Ok(Self { name: self.name.clone(), store: self.store.for_change()? })
    }

    pub(in crate::storage) fn refuse_if_disabled(&self) -> Result<(), Error> {
        match self.store.options.deletion {
            DeletionMode::Soft => Ok(()),
            DeletionMode::Disabled => Err(Error::DeletionDisabled),
        }
    }

    /// Hides a tag for a restore that replaces it, whatever the deletion mode.
    pub(in crate::storage) async fn displace(&self, tag: &Tag, cause: &DeleteCause) -> Result<(), Error> {
        match self.remove(&Request::Manifest(Reference::Tag(tag.clone())), cause, None).await {
            Ok(_) | Err(Error::ManifestUnknown { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Carries out a policy's decision.
    pub(in crate::storage) async fn remove_planned(&self, plan: &PlannedDelete) -> Result<Outcome, Error> {
        self.remove(&Request::Manifest(plan.reference.clone()), &plan.cause, Some(plan)).await
    }

    pub(in crate::storage) async fn remove(
        &self,
        request: &Request,
        cause: &DeleteCause,
        plan: Option<&PlannedDelete>,
    ) -> Result<Outcome, Error> {
        self.store.settle_parked().await;
        let mut target = match self.look(request, plan).await? {
            Ok(target) => target,
            Err(reason) => return Ok(Outcome::Changed(reason)),
        };
        for _ in 0..MAX_LOOKS {
            let change = self.begin(&target, cause).await?;
            match self.look(request, plan).await {
                Ok(Ok(again)) if again == target => {
                    return self.bury_and_unlink(change, target, cause).await.map(Outcome::Deleted);
                }
                Ok(Ok(again)) => {
                    self.store.undo(change).await;
                    target = again;
                }
                Ok(Err(reason)) => {
                    self.store.undo(change).await;
                    return Ok(Outcome::Changed(reason));
                }
                Err(error) => {
                    self.store.undo(change).await;
                    return Err(error);
                }
            }
        }
        Err(Error::Frozen { key: format!("{}@{}", self.name, target.digest) })
    }

    /// What there is to remove now; for a policy's decision, otherwise why it does not hold.
    async fn look(&self, request: &Request, plan: Option<&PlannedDelete>) -> Result<Result<Target, String>, Error> {
        let target = match (self.find(request).await, plan) {
            (Err(Error::ManifestUnknown { .. }), Some(_)) => return Ok(Err("it is not there any more".into())),
            (found, _) => found?,
        };
        if let Some(plan) = plan
            && let Some(reason) = self.objection(plan, &target).await?
        {
            return Ok(Err(reason));
        }
        Ok(Ok(target))
    }

    async fn find(&self, request: &Request) -> Result<Target, Error> {
        match request {
            Request::Blob(digest) => self.find_blob(digest).await,
            Request::Manifest(Reference::Digest(digest)) if self.store.is_visible(&self.name, digest).await? => {
                let tags = self.store.tags_to(&self.name, digest).await?;
                Ok(Target { kind: TombstoneKind::Manifest, digest: digest.clone(), tags })
            }
            Request::Manifest(Reference::Tag(tag)) => match self.store.tag_target(&self.name, tag).await? {
                Some(digest) if self.store.is_visible(&self.name, &digest).await? => {
                    Ok(Target { kind: TombstoneKind::Tag, digest, tags: BTreeSet::from([tag.clone()]) })
                }
                _ => Err(self.manifest_unknown(&Reference::Tag(tag.clone())).await),
            },
            Request::Manifest(reference) => Err(self.manifest_unknown(reference).await),
        }
    }

    async fn find_blob(&self, digest: &Digest) -> Result<Target, Error> {
        if self.store.link(PathSpec::LayerLink(&self.name, digest), digest).await?.is_some() {
            return Ok(Target { kind: TombstoneKind::Blob, digest: digest.clone(), tags: BTreeSet::new() });
        }
        let trash = self.store.explain_blob(&self.name, digest).await;
        Err(Error::BlobUnknown { repository: self.name.clone(), digest: digest.clone(), trash })
    }

    /// Writes `pending`, then freezes what goes.
    async fn begin(&self, target: &Target, cause: &DeleteCause) -> Result<Change, Error> {
        let pending = Pending {
            operation: Operation::Delete,
            repository: Some(self.name.clone()),
            subject: Some(Subject { kind: target.kind, digest: target.digest.clone() }),
            manifests: Vec::new(),
            tags: target.tags.iter().cloned().collect(),
            policy: cause.policy.clone(),
            replica: None,
            blobs: Vec::new(),
            resumes: None,
        };
        self.store.begin(self.store.ids.next(self.store.clock.now()), pending).await
    }

    /// From the tombstone to the end.
    async fn bury_and_unlink(
        &self,
        change: Change,
        target: Target,
        cause: &DeleteCause,
    ) -> Result<Box<Tombstone>, Error> {
        let tombstone = match self.tombstone_of(&change, target, cause).await {
            Ok(tombstone) => Box::new(tombstone),
            Err(error) => {
                // What was written of it says only what is so.
                self.store.complete(change).await;
                return Err(error);
            }
        };
        self.store.changes.hide(&change.pending);
        let done = async {
            self.store.bury(&tombstone).await?;
            self.store.unlink(&change.pending).await
        };
        match done.await {
            Ok(()) => {
                self.store.complete(change).await;
                Ok(tombstone)
            }
            Err(error) => match self.store.settle_or_park(change).await {
                Some(Settled::Finished) => Ok(tombstone),
                Some(Settled::Dropped) | None => Err(error),
            },
        }
    }

    /// What will be known of it. A manifest that another registry pushed gets its facts here, because its link, whose age
    /// they are, goes.
    async fn tombstone_of(&self, change: &Change, target: Target, cause: &DeleteCause) -> Result<Tombstone, Error> {
        let (store, name, digest) = (&self.store, &self.name, &target.digest);
        let now = store.clock.now();
        let layer = store.link(PathSpec::LayerLink(name, digest), digest).await?;
        let mut media_type = None;
        let (closure, size) = if target.kind == TombstoneKind::Blob {
            let content = layer.clone().unwrap_or_else(|| digest.clone());
            let size = store.stored_size(&content).await?;
            (BTreeSet::from([digest.clone(), content]).into_iter().collect(), size)
        } else {
            let closure = store.closure(name, digest, &[]).await?;
            media_type = self.keep_facts(digest, closure.root.as_ref()).await?;
            if target.kind == TombstoneKind::Manifest {
                Box::pin(self.note_unreached(&target, &closure, now)).await?;
            }
            (closure.digests(), closure.manifests.first().and_then(|root| root.size))
        };
        self.keep_history(&target).await?;
        if target.kind == TombstoneKind::Tag {
            store.put_untagged(name, digest, now).await?;
        }
        let is_layer_gone = target.kind != TombstoneKind::Tag && layer.is_some();
        Ok(Tombstone {
            id: TombstoneId(change.id),
            repository: name.clone(),
            kind: target.kind,
            media_type,
            size,
            tags: target.tags.into_iter().collect(),
            closure,
            layer_link: is_layer_gone,
            group: cause.group.clone().unwrap_or_else(|| change.id.to_string()),
            actor: cause.actor.clone(),
            reason: cause.reason.clone(),
            policy: cause.policy.clone(),
            deleted_at: now,
            restorable_until: after(now, store.options.restore_window),
            state: TombstoneState::Restorable,
            digest: target.digest,
        })
    }

    /// Makes sure that the facts of a manifest outlive its link; its media type.
    async fn keep_facts(
        &self,
        digest: &Digest,
        manifest: Option<&Manifest>,
    ) -> Result<Option<crate::oci::MediaType>, Error> {
        let store = &self.store;
        let Some(stored) = store.read_revision(&self.name, digest).await? else { return Ok(None) };
        if let Some(manifest) = manifest {
            store.put_referrer(&self.name, digest, manifest, stored.size).await?;
            let is_known = matches!(store.revision_fact(&self.name, digest).await?, Lenient::Read(_));
            if !is_known && let Some(age) = store.age(PathSpec::RevisionLink(&self.name, digest)).await? {
                let fact = RevisionFact::of(manifest, stored.size, age);
                store.put_revision_fact(&self.name, digest, &fact).await?;
            }
        }
        Ok(Some(stored.media_type))
    }
}

impl Repository {
    /// Notes since when no tag reaches what only the deleted manifest may have been reached by: what it lists, and what says
    /// something about it. That is now if it has a tag, and else as long as it had none itself.
    async fn note_unreached(&self, target: &Target, closure: &Closure, now: Timestamp) -> Result<(), Error> {
        let (store, name) = (&self.store, &self.name);
        let is_pushed = |child: &Digest| closure.manifests.iter().any(|manifest| manifest.digest == *child);
        let listed = closure.root.iter().flat_map(Manifest::children).map(|child| &child.digest);
        let mut unreached: BTreeSet<Digest> = listed.filter(|child| is_pushed(child)).cloned().collect();
        unreached.extend(store.referrer_names(name, &target.digest).await?);
        if unreached.is_empty() {
            return Ok(());
        }
        let since = if target.tags.is_empty() { store.untagged_since(name, &target.digest).await? } else { Some(now) };
        let since = since.unwrap_or(now);
        let notes = unreached.iter().map(|digest| async move {
            let known = if since == now { Lenient::Absent } else { store.untagged_at(name, digest).await? };
            match known.read() {
                Some(known) if known >= since => Ok(()),
                _ => store.put_untagged(name, digest, since).await,
            }
        });
        all_written(notes).await
    }

    /// Makes sure that the time of a tag's push outlives its link, whose age it is where another registry pushed.
    async fn keep_history(&self, target: &Target) -> Result<(), Error> {
        let kept = target.tags.iter().map(|tag| async move {
            if self.store.tag_pushed_at(&self.name, tag, &target.digest).await?.is_some() {
                return Ok(());
            }
            let Some(pushed_at) = self.store.age(PathSpec::TagCurrent(&self.name, tag)).await? else { return Ok(()) };
            let actor = String::from("unknown");
            let push = TagPush { digest: target.digest.clone(), pushed_at, actor, restored: false };
            self.store.put_tag_push(&self.name, tag, &push).await
        });
        all_written(kept).await
    }
}

impl Store {
    /// Removes the links of what a delete's tombstone covers, as far as they are still there, and then what any replica's
    /// memory knows of them. Repeating it changes nothing.
    pub(in crate::storage) async fn unlink(&self, pending: &Pending) -> Result<(), Error> {
        let Some((name, Subject { kind, digest })) = pending.deleted() else { return Ok(()) };
        if *kind == TombstoneKind::Manifest {
            self.remove_folder(PathSpec::RevisionFolder(name, digest), "remove a link").await?;
        }
        if *kind != TombstoneKind::Tag {
            self.remove_folder(PathSpec::LayerFolder(name, digest), "remove a link").await?;
        }
        let untagged = pending.tags.iter().map(|tag| async move {
            self.unlink_tag(name, tag, digest).await?;
            self.reach.tags.forget(name, digest, tag);
            Ok(())
        });
        all_written(untagged).await?;
        self.clear_everywhere(name, digest).await
    }
}

/// A moment so much later; the last one there is where that is later still.
fn after(now: Timestamp, window: std::time::Duration) -> Timestamp {
    let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
    now.checked_add(window).unwrap_or(Timestamp::MAX)
}
