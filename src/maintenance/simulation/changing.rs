//! A client that deletes and restores.

use std::{sync::Arc, time::Duration};

use crate::{
    oci::{Digest, Reference, RepositoryName, Tag},
    storage::{
        Conflict, DeleteCause, DeletedRepository, Error, Restored, Tombstone, TombstoneKind, TombstoneState,
        TrashFilter, TrashGroup,
    },
};

use super::{
    asking::{Judged, ask, attempt},
    history::{Asked, Brought, Kind, Outcome},
    process::Process,
    world::World,
};

/// More than any trash holds.
const WHOLE: usize = 10_000;

/// Changes by one process.
pub(super) struct Change<'a> {
    pub(super) world: &'a Arc<World>,
    pub(super) process: &'a Arc<Process>,
}

fn cause() -> DeleteCause {
    DeleteCause { actor: "client".into(), reason: "simulation".into(), policy: None, group: None }
}

impl Change<'_> {
    /// Deletes a tag, or a manifest; whether it is gone now.
    pub(super) async fn delete(&self, name: &RepositoryName, reference: &Reference) -> bool {
        let (world, place, goes) = (self.world, self.process.catalog.repository(name), reference.clone());
        let kind = match reference {
            Reference::Tag(tag) => Kind::DeleteTag { tag: tag.clone() },
            Reference::Digest(digest) => Kind::DeleteManifest { digest: digest.clone(), tags: Vec::new() },
        };
        let from = world.time.now();
        let delete = async move { place.delete_manifest(&goes, cause()).await };
        let answer = attempt(world, self.process, Some(name), kind, delete, judged_delete).await;
        self.note_deleted(answer.as_ref(), from);
        if let Some(Err(Error::ManifestUnknown { .. })) = &answer {
            let asked = world.since(from);
            world.expect(match reference {
                Reference::Tag(tag) => world.history.refute_tag(name, tag, None, asked),
                Reference::Digest(digest) => world.history.refute_absence(&world.content, name, digest, asked),
            });
        }
        matches!(answer, Some(Ok(_) | Err(Error::ManifestUnknown { .. })))
    }

    /// Deletes a blob; whether it is gone now.
    pub(super) async fn delete_blob(&self, name: &RepositoryName, digest: &Digest) -> bool {
        let (place, goes) = (self.process.catalog.repository(name), digest.clone());
        let kind = Kind::DeleteBlob { digest: digest.clone() };
        let from = self.world.time.now();
        let delete = async move { place.delete_blob(&goes, cause()).await };
        let answer = attempt(self.world, self.process, Some(name), kind, delete, judged_delete).await;
        self.note_deleted(answer.as_ref(), from);
        matches!(answer, Some(Ok(_) | Err(Error::BlobUnknown { .. })))
    }

    fn note_deleted(&self, answer: Option<&Result<Tombstone, Error>>, began: Duration) {
        if let Some(Ok(tombstone)) = answer {
            self.world.history.deleted(tombstone.clone(), began, self.world.time.now());
        }
    }

    /// What the trash holds; `None`: it does not say.
    pub(super) async fn trash(&self) -> Option<Vec<Tombstone>> {
        let (world, trash) = (self.world, self.process.catalog.trash());
        let from = world.time.now();
        let answer = ask(world, self.process, async move { trash.list(&TrashFilter::default(), None, WHOLE).await });
        let entries = answer.await?.ok()?.entries;
        let expired = world.time.wall() + world.profile.skew.abs();
        world.expect(world.history.refute_trash(&entries, world.since(from), expired));
        for entry in &entries {
            world.expect(world.history.refute_entry(entry.id, world.since(from), self.apart()));
        }
        for entry in entries.iter().filter(|entry| entry.state == TombstoneState::Missing) {
            if self.is_surely_restorable(entry) {
                world.fail(&format!("I3: the content of {entry:?} is gone"));
            }
        }
        Some(entries)
    }

    /// By how much two clocks may differ.
    fn apart(&self) -> Duration {
        self.world.profile.skew.unsigned_abs() * 2
    }

    /// Whether every clock says that it can be restored. A blob whose push broke off had no content when it was deleted.
    fn is_surely_restorable(&self, entry: &Tombstone) -> bool {
        let had_content = entry.kind != TombstoneKind::Blob || entry.size.is_some();
        had_content && entry.restorable_until > self.world.time.wall() + self.world.profile.skew.abs()
    }

    /// Brings an entry back, by its id or by what it was.
    pub(super) async fn restore(&self, entry: &Tombstone, by_reference: bool, conflict: Conflict) -> bool {
        let (world, trash, wanted) = (self.world, self.process.catalog.trash(), entry.clone());
        let replaces = conflict == Conflict::Replace;
        let kind = Kind::Restore { brought: None, replaces };
        let from = world.time.now();
        let restore = async move {
            match reference_of(&wanted).filter(|_| by_reference) {
                Some(reference) => trash.restore_reference(&wanted.repository, &reference, conflict, "client").await,
                None => trash.restore(&wanted.id, conflict, "client").await,
            }
        };
        let judge = move |answer: &Result<Restored, Error>| judged_restore(answer, replaces);
        let name = &entry.repository;
        let answer = attempt(world, self.process, Some(name), kind, restore, judge).await;
        if !by_reference && matches!(&answer, Some(Ok(restored)) if !restored.already_present) {
            let began = Asked { from, to: from };
            world.expect(world.history.refute_entry(entry.id, began, self.apart()));
        }
        let is_listed = entry.state == TombstoneState::Restorable && self.is_surely_restorable(entry);
        if let Some(Err(Error::ContentGone { missing })) = &answer
            && is_listed
        {
            world.fail(&format!("I3: {entry:?} is not restored: {missing:?} is gone"));
        }
        matches!(answer, Some(Ok(_)))
    }
}

impl Change<'_> {
    /// Deletes all that is in a repository; whether it is gone now.
    pub(super) async fn delete_repository(&self, name: &RepositoryName) -> bool {
        let (world, place) = (self.world, self.process.catalog.repository(name));
        let from = world.time.now();
        let delete = async move { place.delete(cause()).await };
        let kind = Kind::DeleteRepository;
        let answer = attempt(world, self.process, Some(name), kind, delete, judged_repository).await;
        if let Some(Err(Error::RepositoryUnknown { .. })) = &answer {
            let asked = world.since(from);
            for item in &world.content.items {
                world.expect(world.history.refute_absence(&world.content, name, &item.digest, asked));
            }
        }
        matches!(answer, Some(Ok(_) | Err(Error::RepositoryUnknown { .. })))
    }

    /// Brings back all that was deleted with an entry; whether it is back.
    pub(super) async fn restore_group(&self, entry: &Tombstone, conflict: Conflict) -> bool {
        let (world, trash, name) = (self.world, self.process.catalog.trash(), &entry.repository);
        let group = TrashGroup { repository: name.clone(), name: entry.group.clone() };
        let replaces = conflict == Conflict::Replace;
        let restore = async move { trash.restore_group(&group, conflict, "client").await };
        let judge = move |answer: &Result<Vec<Restored>, Error>| match answer {
            Ok(restored) => (Outcome::Done, Some(brought(restored, replaces))),
            Err(Error::GroupUnknown { .. }) => (Outcome::NoEffect, None),
            Err(_) => (Outcome::Unknown, None),
        };
        let kind = Kind::Restore { brought: None, replaces };
        matches!(attempt(world, self.process, Some(name), kind, restore, judge).await, Some(Ok(_)))
    }

    /// Gives an entry up; whether it is given up now.
    pub(super) async fn purge(&self, entry: &Tombstone) -> bool {
        let (trash, id) = (self.process.catalog.trash(), entry.id);
        let purge = async move { trash.purge(&id).await };
        let judge = |answer: &Result<Tombstone, Error>| match answer {
            Ok(_) => (Outcome::Done, None),
            Err(Error::TombstoneUnknown { .. } | Error::Frozen { .. }) => (Outcome::NoEffect, None),
            Err(_) => (Outcome::Unknown, None),
        };
        let kind = Kind::Purge { id };
        let answer = attempt(self.world, self.process, Some(&entry.repository), kind, purge, judge).await;
        matches!(answer, Some(Ok(_) | Err(Error::TombstoneUnknown { .. })))
    }
}

/// What a person would ask for.
fn reference_of(entry: &Tombstone) -> Option<Reference> {
    match entry.kind {
        TombstoneKind::Manifest => Some(Reference::Digest(entry.digest.clone())),
        TombstoneKind::Tag => entry.tags.first().map(|tag: &Tag| Reference::Tag(tag.clone())),
        TombstoneKind::Blob => None,
    }
}

fn judged_delete(answer: &Result<Tombstone, Error>) -> Judged {
    match answer {
        Ok(tombstone) if tombstone.kind == TombstoneKind::Manifest => {
            let (digest, tags) = (tombstone.digest.clone(), tombstone.tags.clone());
            (Outcome::Done, Some(Kind::DeleteManifest { digest, tags }))
        }
        Ok(_) => (Outcome::Done, None),
        Err(Error::ManifestUnknown { .. } | Error::BlobUnknown { .. } | Error::Frozen { .. }) => {
            (Outcome::NoEffect, None)
        }
        Err(_) => (Outcome::Unknown, None),
    }
}

fn judged_repository(answer: &Result<DeletedRepository, Error>) -> Judged {
    match answer {
        Ok(_) => (Outcome::Done, None),
        Err(Error::RepositoryUnknown { .. }) => (Outcome::NoEffect, None),
        Err(_) => (Outcome::Unknown, None),
    }
}

fn brought(restored: &[Restored], replaces: bool) -> Kind {
    let entries = restored.iter().filter(|it| !it.already_present).map(|it| Brought {
        digest: it.digest.clone(),
        manifests: it.manifests.iter().cloned().collect(),
        tags: it.tags.clone(),
    });
    Kind::Restore { brought: Some(entries.collect()), replaces }
}

fn judged_restore(answer: &Result<Restored, Error>, replaces: bool) -> Judged {
    match answer {
        Ok(restored) if restored.already_present => (Outcome::NoEffect, None),
        Ok(restored) => (Outcome::Done, Some(brought(std::slice::from_ref(restored), replaces))),
        Err(
            Error::TombstoneUnknown { .. }
            | Error::NotInTrash { .. }
            | Error::TagConflict { .. }
            | Error::ContentGone { .. }
            | Error::Frozen { .. },
        ) if !replaces => (Outcome::NoEffect, None),
        Err(_) => (Outcome::Unknown, None),
    }
}
