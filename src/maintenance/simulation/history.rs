//! What clients asked for and what they were told, and whether an answer can be true after all that.
//!
//! An operation has a beginning and an end. What was answered is known to be done by then; what was not, may have been
//! done or not, and is an *explanation* for whatever it would have changed.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    oci::{Digest, RepositoryName, Tag},
    storage::TombstoneId,
};

use super::{buried::Deleted, content::Content};

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A manifest, with the tags that move.
    Put {
        digest: Digest,
        tags: Vec<Tag>,
    },
    /// A blob becomes a member: by an upload, or a mount.
    Blob {
        digest: Digest,
    },
    /// A tag goes alone.
    DeleteTag {
        tag: Tag,
    },
    /// A manifest goes, with these tags, as far as is known.
    DeleteManifest {
        digest: Digest,
        tags: Vec<Tag>,
    },
    DeleteBlob {
        digest: Digest,
    },
    /// All that is there goes.
    DeleteRepository,
    /// Entries of the trash come back; `None` while it is not known what that is.
    Restore {
        brought: Option<Vec<Brought>>,
        replaces: bool,
    },
    /// An entry of the trash is given up.
    Purge {
        id: TombstoneId,
    },
    /// A policy's run, which removes what no tag reaches.
    Policy,
}

/// An entry of the trash that came back: these manifests, and these tags, which point to `digest`.
#[derive(Debug, Clone)]
pub(super) struct Brought {
    pub(super) digest: Digest,
    pub(super) manifests: BTreeSet<Digest>,
    pub(super) tags: Vec<Tag>,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was acknowledged.
    Done,
    /// It was refused before it changed anything.
    NoEffect,
    /// Anything may have come of it.
    Unknown,
}

/// An operation of one attempt.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    /// Nowhere: everywhere.
    pub(super) repository: Option<RepositoryName>,
    /// Who carries it out.
    process: u64,
    pub(super) began: Duration,
    /// When it was answered, or its process died.
    pub(super) ended: Option<Duration>,
    pub(super) outcome: Outcome,
}

/// For how long after its end something may still happen of what failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lateness {
    /// Of a push: P after it has written down what it relies on.
    pub(super) push: Duration,
    /// Of a restore: Q.
    pub(super) restore: Duration,
}

/// All operations.
#[derive(Debug)]
pub(super) struct History {
    pub(super) lateness: Lateness,
    operations: Mutex<Vec<Operation>>,
    promises: Mutex<Vec<(RepositoryName, Digest, Duration, Duration)>>,
    deleted: Mutex<Vec<Deleted>>,
}

impl Operation {
    /// Until when it may explain that something is there.
    pub(super) fn brings_until(&self, lateness: Lateness) -> Duration {
        match (self.outcome, self.ended, &self.kind) {
            (Outcome::Done, Some(ended), _) => ended,
            (_, Some(ended), Kind::Restore { .. }) => ended + lateness.restore,
            (_, Some(_), _) => self.began + lateness.push,
            (_, None, _) => Duration::MAX,
        }
    }

    /// Until when it may explain that something is not there. What a dead or failed delete left half-done stays frozen
    /// until it is finished: nothing that begins later is undone by it.
    fn removes_until(&self) -> Duration {
        self.ended.unwrap_or(Duration::MAX)
    }

    fn is_of(&self, repository: &RepositoryName) -> bool {
        self.outcome != Outcome::NoEffect && self.repository.as_ref().is_none_or(|own| own == repository)
    }

    fn is_done_before(&self, moment: Duration) -> bool {
        self.outcome == Outcome::Done && self.ended.is_some_and(|ended| ended < moment)
    }

    /// Whether it makes a manifest visible, or may.
    fn brings(&self, digest: &Digest) -> bool {
        match &self.kind {
            Kind::Put { digest: put, .. } => put == digest,
            Kind::Restore { brought: Some(entries), .. } => {
                entries.iter().any(|entry| entry.manifests.contains(digest))
            }
            Kind::Restore { brought: None, .. } => true,
            _ => false,
        }
    }

    /// Whether it makes a tag point to a manifest, or may.
    fn tags(&self, tag: &Tag, digest: &Digest) -> bool {
        match &self.kind {
            Kind::Put { digest: put, tags } => put == digest && tags.contains(tag),
            Kind::Restore { brought: Some(entries), .. } => {
                entries.iter().any(|entry| {
                    // What refers to it, and came back with it, has the tags that it had.
                    let is_other = entry.digest != *digest && entry.manifests.contains(digest);
                    is_other || entry.digest == *digest && entry.tags.contains(tag)
                })
            }
            Kind::Restore { brought: None, .. } => true,
            _ => false,
        }
    }

    /// What a tag certainly points to when it is done.
    fn tag_value(&self, tag: &Tag) -> Option<&Digest> {
        match &self.kind {
            Kind::Put { digest, tags } if tags.contains(tag) => Some(digest),
            // Of several the last one: each takes the place of the one before it.
            Kind::Restore { brought: Some(entries), .. } => {
                entries.iter().rev().find(|entry| entry.tags.contains(tag)).map(|entry| &entry.digest)
            }
            _ => None,
        }
    }

    /// Whether it is a person's delete of a manifest.
    fn removes(&self, digest: &Digest) -> bool {
        match &self.kind {
            Kind::DeleteManifest { digest: gone, .. } => gone == digest,
            Kind::DeleteRepository => true,
            _ => false,
        }
    }
}

impl History {
    pub(super) fn new(lateness: Lateness) -> Self {
        Self { lateness, operations: Mutex::default(), promises: Mutex::default(), deleted: Mutex::default() }
    }

    pub(super) fn begin(&self, process: u64, repository: Option<&RepositoryName>, kind: Kind, now: Duration) -> usize {
        let mut operations = self.operations();
        let repository = repository.cloned();
        operations.push(Operation { kind, repository, process, began: now, ended: None, outcome: Outcome::Unknown });
        operations.len() - 1
    }

    /// Ends an operation, unless its process died before.
    pub(super) fn end(&self, operation: usize, outcome: Outcome, kind: Option<Kind>, now: Duration) {
        let operation = &mut self.operations()[operation];
        if operation.ended.is_none() {
            (operation.ended, operation.outcome) = (Some(now), outcome);
            operation.kind = kind.unwrap_or_else(|| operation.kind.clone());
        }
    }

    /// Nothing more comes of what a process was at.
    pub(super) fn died(&self, process: u64, now: Duration) {
        for operation in self.operations().iter_mut().filter(|operation| operation.process == process) {
            operation.ended.get_or_insert(now);
        }
    }

    /// That a blob can be referenced, as was answered at `now` to a question of `asked`.
    pub(super) fn promised(&self, repository: &RepositoryName, digest: &Digest, asked: Duration, now: Duration) {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner).push((
            repository.clone(),
            digest.clone(),
            asked,
            now,
        ));
    }

    pub(super) fn lock_deleted(&self) -> MutexGuard<'_, Vec<Deleted>> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.operations().iter().filter(|operation| operation.outcome == Outcome::Done).count()
    }

    pub(super) fn operations(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a question was asked and answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) from: Duration,
    pub(super) to: Duration,
}

impl History {
    /// I5: why a manifest cannot be there, by what was answered.
    pub(super) fn refute_presence(&self, name: &RepositoryName, digest: &Digest, asked: Asked) -> Option<String> {
        let operations = self.operations();
        let own: Vec<&Operation> = operations.iter().filter(|operation| operation.is_of(name)).collect();
        let brings: Vec<&&Operation> = own.iter().filter(|it| it.began <= asked.to && it.brings(digest)).collect();
        let deleted = own.iter().filter(|it| it.is_done_before(asked.from) && it.removes(digest));
        for delete in deleted {
            if !brings.iter().any(|it| it.brings_until(self.lateness) >= delete.began) {
                return Some(format!("I5: {name}@{digest} is answered after its delete {delete:?}"));
            }
        }
        brings.is_empty().then(|| format!("{name}@{digest} is there, and nobody pushed it"))
    }

    /// I4: why a manifest cannot be absent, by what was answered.
    pub(super) fn refute_absence(
        &self,
        content: &Content,
        name: &RepositoryName,
        digest: &Digest,
        asked: Asked,
    ) -> Option<String> {
        let operations = self.operations();
        let own: Vec<&Operation> = operations.iter().filter(|operation| operation.is_of(name)).collect();
        let last = last_done(&own, asked, |it| it.brings(digest))?;
        if removal_since(&own, last.began, asked, |it| it.removes(digest)).is_some() {
            return None;
        }
        let Some(policy) = removal_since(&own, last.began, asked, |it| matches!(it.kind, Kind::Policy)) else {
            return Some(format!("I4: {name}@{digest} is gone, which {last:?} brought and nobody deleted"));
        };
        let held = held_by_tag(&own, last, digest, asked).or_else(|| held_by_index(content, &own, digest, asked))?;
        Some(format!("I4: {policy:?} removed {name}@{digest}, which {last:?} brought, although {held}"))
    }

    /// I4 and I5: why a tag cannot point where it does, or nowhere.
    pub(super) fn refute_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        seen: Option<&Digest>,
        asked: Asked,
    ) -> Option<String> {
        let operations = self.operations();
        let own: Vec<&Operation> = operations.iter().filter(|operation| operation.is_of(name)).collect();
        let last = last_done(&own, asked, |it| it.tag_value(tag).is_some());
        let Some(seen) = seen else {
            let last = last?;
            let is_explained = tag_may_have_gone(&own, last, tag, asked);
            return (!is_explained).then(|| format!("I4: {name}:{tag} is gone, which {last:?} set"));
        };
        let brings: Vec<&&Operation> = own.iter().filter(|it| it.began <= asked.to && it.tags(tag, seen)).collect();
        let is_after = |moment: Duration| brings.iter().any(|it| it.brings_until(self.lateness) >= moment);
        if let Some(last) = last
            && !is_after(last.began)
        {
            return Some(format!("I4: {name}:{tag} points to {seen}, although {last:?} moved it"));
        }
        let deletes = own.iter().filter(|it| it.is_done_before(asked.from) && deletes_tag(it, tag));
        for delete in deletes {
            if !is_after(delete.began) {
                return Some(format!("I5: {name}:{tag} points to {seen} after its delete {delete:?}"));
            }
        }
        brings.is_empty().then(|| format!("{name}:{tag} points to {seen}, and nobody moved it there"))
    }

    /// I5 for blobs.
    pub(super) fn refute_blob(&self, name: &RepositoryName, digest: &Digest, asked: Asked) -> Option<String> {
        let operations = self.operations();
        let own: Vec<&Operation> = operations.iter().filter(|operation| operation.is_of(name)).collect();
        let brings = |it: &&&Operation| {
            it.began <= asked.to
                && match &it.kind {
                    Kind::Blob { digest: brought } => brought == digest,
                    Kind::Restore { .. } => true,
                    _ => false,
                }
        };
        let gone = |it: &&&Operation| matches!(&it.kind, Kind::DeleteBlob { digest: gone } if gone == digest);
        let deletes = own.iter().filter(|it| it.is_done_before(asked.from)).filter(gone);
        for delete in deletes {
            if !own.iter().filter(brings).any(|it| it.brings_until(self.lateness) >= delete.began) {
                return Some(format!("I5: blob {digest} of {name} is answered after its delete {delete:?}"));
            }
        }
        None
    }

    /// I2: why a push cannot be told that a blob is missing. `lasts` is for how long a promise holds at least.
    pub(super) fn refute_missing(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        asked: Asked,
        lasts: Duration,
    ) -> Option<String> {
        let promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        let stands = |(to, what, _, at): &&(RepositoryName, Digest, Duration, Duration)| {
            to == name && what == digest && *at < asked.from && asked.to < *at + lasts
        };
        let (_, _, promised_from, at) = promises.iter().rev().find(stands)?;
        if self.was_blob_deleted(name, digest, *promised_from, asked.to) {
            return None;
        }
        Some(format!(
            "I2: blob {digest} of {name} was promised at {at:?}, and a push at {asked:?} is told it is not there"
        ))
    }

    /// Why an entry cannot be in the trash any more, where clocks are at most so far `apart`.
    pub(super) fn refute_entry(&self, id: TombstoneId, asked: Asked, apart: Duration) -> Option<String> {
        let operations = self.operations();
        let is_it = |it: &&Operation| matches!(it.kind, Kind::Purge { id: gone } if gone == id);
        let mut purges = operations.iter().filter(is_it);
        let purge =
            purges.find(|it| it.outcome == Outcome::Done && it.ended.is_some_and(|at| at + apart < asked.from))?;
        Some(format!("the entry {id} is in the trash after {purge:?}"))
    }

    /// Whether a push failed that may have left a tag where it is.
    pub(super) fn may_have_failed(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> bool {
        let operations = self.operations();
        operations.iter().any(|it| it.is_of(name) && it.outcome == Outcome::Unknown && it.tags(tag, digest))
    }

    /// Whether a delete of a blob may have ended since.
    pub(super) fn was_blob_deleted(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        since: Duration,
        until: Duration,
    ) -> bool {
        let operations = self.operations();
        let own: Vec<&Operation> = operations.iter().filter(|operation| operation.is_of(name)).collect();
        own.iter().any(|it| {
            matches!(&it.kind, Kind::DeleteBlob { digest: gone } if gone == digest)
                && it.began <= until
                && it.removes_until() >= since
        })
    }
}

/// Of what was acknowledged before a question, what began last.
fn last_done<'a>(own: &[&'a Operation], asked: Asked, is_it: impl Fn(&Operation) -> bool) -> Option<&'a Operation> {
    let done = own.iter().filter(|it| it.is_done_before(asked.from));
    // Of a restore only what it said counts as done.
    let done = done.filter(|it| !matches!(it.kind, Kind::Restore { brought: None, .. }) && is_it(it));
    done.max_by_key(|it| it.began).copied()
}

/// A removal that was not over at `since`.
fn removal_since<'a>(
    own: &[&'a Operation],
    since: Duration,
    asked: Asked,
    is_it: impl Fn(&Operation) -> bool,
) -> Option<&'a Operation> {
    own.iter().find(|it| it.began <= asked.to && it.removes_until() >= since && is_it(it)).copied()
}

fn deletes_tag(operation: &Operation, tag: &Tag) -> bool {
    match &operation.kind {
        Kind::DeleteTag { tag: gone } => gone == tag,
        Kind::DeleteManifest { tags, .. } => tags.contains(tag),
        _ => false,
    }
}

/// Whether somebody may have removed a tag since an operation set it.
fn tag_may_have_gone(own: &[&Operation], last: &Operation, tag: &Tag, asked: Asked) -> bool {
    // What it may have pointed to since then.
    let mut values: BTreeSet<&Digest> = last.tag_value(tag).into_iter().collect();
    let mut by_restore = false;
    for it in own.iter().filter(|it| it.began <= asked.to) {
        match &it.kind {
            Kind::Put { digest, tags } if tags.contains(tag) => {
                values.insert(digest);
            }
            Kind::Restore { .. } => by_restore = true,
            _ => {}
        }
    }
    let is_removal = |it: &Operation| match &it.kind {
        Kind::DeleteTag { tag: gone } => gone == tag,
        Kind::DeleteManifest { digest, tags } => {
            tags.contains(tag) || it.outcome != Outcome::Done && (by_restore || values.contains(digest))
        }
        Kind::DeleteRepository => true,
        // What it brings back takes the place of the tag, whose delete comes first.
        Kind::Restore { replaces, .. } => *replaces,
        _ => false,
    };
    removal_since(own, last.began, asked, is_removal).is_some()
}

/// Which tag of what was acknowledged still points to a manifest, so that no policy may remove it.
fn held_by_tag(own: &[&Operation], last: &Operation, digest: &Digest, asked: Asked) -> Option<String> {
    let tags: Vec<&Tag> = match &last.kind {
        Kind::Put { tags, .. } => tags.iter().collect(),
        Kind::Restore { brought: Some(entries), .. } => entries.iter().flat_map(|entry| &entry.tags).collect(),
        _ => return None,
    };
    let is_held = |tag: &Tag| {
        last.tag_value(tag) == Some(digest)
            && !tag_may_have_gone(own, last, tag, asked)
            && !own.iter().any(|it| {
                let moves =
                    matches!(&it.kind, Kind::Put { digest: other, tags } if other != digest && tags.contains(tag));
                (moves || matches!(it.kind, Kind::Restore { .. })) && it.began <= asked.to
            })
    };
    tags.into_iter().find(|tag| is_held(tag)).map(|tag| format!("tag {tag} points to it"))
}

/// Which index holds a manifest that was acknowledged, and that nobody may have removed.
fn held_by_index(content: &Content, own: &[&Operation], digest: &Digest, asked: Asked) -> Option<String> {
    content.parents(digest).into_iter().find_map(|parent| {
        let pushed = last_done(own, asked, |it| it.brings(&parent.digest))?;
        let gone = removal_since(own, pushed.began, asked, |it| it.removes(&parent.digest));
        let by_policy = held_by_tag(own, pushed, &parent.digest, asked);
        (gone.is_none() && by_policy.is_some()).then(|| format!("{} lists it, which {pushed:?} brought", parent.name))
    })
}
