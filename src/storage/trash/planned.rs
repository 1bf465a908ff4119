//! Deletes that a policy decided on.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::oci::{Digest, Manifest, Reference, RepositoryName, Tag};

use super::delete::{Outcome, Target};
use crate::storage::{
    DeleteCause, Error, Repository, Tombstone, concurrent::concurrently, layout::PathSpec, records::record::Lenient,
    store::Store,
};

/// A policy's decision to delete.
///
/// Decisions of one run are carried out parents first: an index before its children, a subject before its referrers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedDelete {
    /// What goes: a tag alone, or a manifest by its digest.
    pub reference: Reference,
    /// What the reference pointed to when it was planned.
    pub expected: Digest,
    /// The tags that go with a digest: all that pointed to it when it was planned.
    pub tags: Vec<Tag>,
    /// When the inventory was taken that the decision rests on. Whatever was pushed since then stays.
    pub planned_at: Timestamp,
    /// No tombstone is written from then on: what the decision rests on may have changed by then.
    pub not_after: Timestamp,
    /// Who and why.
    pub cause: DeleteCause,
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedOutcome {
    /// It is in the trash.
    Deleted(Box<Tombstone>),
    /// It is not what it was when it was planned.
    Changed {
        /// What is different.
        reason: String,
    },
}

impl Repository {
    /// Carries out a policy's decision if it still holds, which is checked while the manifest and its tags are frozen.
    ///
    /// # Guarantees
    /// Nothing is removed that was pushed, tagged or restored since the plan, or that an index lists or a subject keeps.
    ///
    /// # Errors
    /// [`Error::DeletionDisabled`], [`Error::Frozen`], [`Error::Driver`].
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn delete_planned(&self, delete: PlannedDelete) -> Result<PlannedOutcome, Error> {
        self.refuse_if_disabled()?;
        let this = self.for_change()?;
        let outcome = self.store.changes.run(async move { this.remove_planned(&delete).await }).await?;
        Ok(match outcome {
            Outcome::Deleted(tombstone) => PlannedOutcome::Deleted(tombstone),
            Outcome::Changed(reason) => PlannedOutcome::Changed { reason },
        })
    }

    /// Why a decision does not hold any more.
    pub(in crate::storage) async fn objection(
        &self,
        plan: &PlannedDelete,
        found: &Target,
    ) -> Result<Option<String>, Error> {
        if self.store.clock.now() >= plan.not_after {
            return Ok(Some("it is too late for this decision".into()));
        }
        if found.digest != plan.expected {
            return Ok(Some(format!("it points to {} by now", found.digest)));
        }
        if let Some(reason) = self.restored_lately(&found.digest).await? {
            return Ok(Some(reason));
        }
        for tag in &found.tags {
            let pushed_at = self.store.tag_pushed_at(&self.name, tag, &found.digest).await?;
            if pushed_at.is_some_and(|pushed_at| pushed_at >= plan.planned_at) {
                return Ok(Some(format!("tag {tag} was pushed since")));
            }
        }
        match &plan.reference {
            Reference::Tag(_) => Ok(None),
            Reference::Digest(_) => self.objection_to_manifest(plan, found).await,
        }
    }

    async fn objection_to_manifest(&self, plan: &PlannedDelete, found: &Target) -> Result<Option<String>, Error> {
        let planned: BTreeSet<&Tag> = plan.tags.iter().collect();
        if let Some(tag) = found.tags.iter().find(|tag| !planned.contains(tag)) {
            return Ok(Some(format!("tag {tag} points to it by now")));
        }
        if let Some(tag) = planned.into_iter().find(|tag| !found.tags.contains(*tag)) {
            return Ok(Some(format!("tag {tag} does not point to it any more")));
        }
        match self.store.revision_fact(&self.name, &found.digest).await? {
            Lenient::Read(fact) if fact.pushed_at >= plan.planned_at => return Ok(Some("it was pushed since".into())),
            Lenient::Read(_) | Lenient::Absent => {}
            Lenient::Unreadable => return Ok(Some("when it was pushed cannot be read".into())),
        }
        if let Some(parent) = self.store.visible_parent(&self.name, &found.digest).await? {
            return Ok(Some(format!("index {parent} lists it")));
        }
        let Some((manifest, _)) = self.store.parsed(&self.name, &found.digest).await? else {
            return Ok(Some("it cannot be read".into()));
        };
        match manifest.subject {
            Some(subject) if self.store.is_visible(&self.name, &subject.digest).await? => {
                Ok(Some(format!("its subject {} is there", subject.digest)))
            }
            _ => Ok(None),
        }
    }

    /// No policy deletes what was restored less than a restore window ago.
    async fn restored_lately(&self, digest: &Digest) -> Result<Option<String>, Error> {
        let now = self.store.clock.now();
        Ok(match self.store.restored_at(&self.name, digest).await? {
            Lenient::Read(at) if is_within(at, now, self.store.options.restore_window) => {
                Some(format!("it was restored at {at}"))
            }
            Lenient::Read(_) | Lenient::Absent => None,
            Lenient::Unreadable => Some("when it was restored cannot be read".into()),
        })
    }
}

/// Whether less than `window` has passed since `at`. A moment in the future has not passed.
fn is_within(at: Timestamp, now: Timestamp, window: Duration) -> bool {
    SignedDuration::try_from(window).is_ok_and(|window| now.duration_since(at) < window)
}

impl Store {
    /// A visible index that lists a manifest. The answer stands for who holds the freeze of the manifest: a push of an
    /// index enters its children.
    async fn visible_parent(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Digest>, Error> {
        let candidates = match self.reach.parents.to(name, digest) {
            Some(candidates) => candidates,
            None => self.read_parents(name, digest).await?,
        };
        for parent in candidates {
            if self.age(PathSpec::RevisionLink(name, &parent)).await?.is_some() {
                return Ok(Some(parent));
            }
        }
        Ok(None)
    }

    async fn read_parents(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Digest>, Error> {
        let reading = self.reach.parents.begin(name);
        let revisions = self.revision_names(name).await?;
        let reads = revisions.iter().map(|parent| async move {
            let manifest = self.parsed(name, parent).await?.map(|(manifest, _)| manifest);
            Ok::<_, Error>(manifest.map(|manifest| edges(&manifest, parent)).unwrap_or_default())
        });
        let read: Vec<_> = concurrently(reads).await?;
        let all: Vec<(Digest, Digest)> = read.into_iter().flatten().collect();
        let parents = all.iter().filter(|(child, _)| child == digest).map(|(_, parent)| parent.clone()).collect();
        if self.reach.parents.finish(name, reading, all) {
            return Ok(self.reach.parents.to(name, digest).unwrap_or(parents));
        }
        Ok(parents)
    }
}

fn edges(manifest: &Manifest, parent: &Digest) -> Vec<(Digest, Digest)> {
    manifest.children().map(|child| (child.digest.clone(), parent.clone())).collect()
}
