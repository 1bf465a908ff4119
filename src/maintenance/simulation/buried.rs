//! What was deleted has to be in the trash.

use std::time::Duration;

use jiff::Timestamp;

use crate::storage::Tombstone;

use super::history::{Asked, History, Kind};

/// What a delete was answered with, and when it had begun and was answered.
#[derive(Debug)]
pub(super) struct Deleted {
    tombstone: Tombstone,
    began: Duration,
    answered: Duration,
}

impl History {
    /// That something is in the trash, as a delete of `began` was answered at `answered`.
    pub(super) fn deleted(&self, tombstone: Tombstone, began: Duration, answered: Duration) {
        self.lock_deleted().push(Deleted { tombstone, began, answered });
    }

    /// I3: why a list of the trash cannot be all of it. No clock says that what is restorable after `expired` is expired.
    pub(super) fn refute_trash(&self, listed: &[Tombstone], asked: Asked, expired: Timestamp) -> Option<String> {
        let operations = self.operations();
        let deleted = self.lock_deleted();
        let mut surely = deleted.iter().filter(|it| {
            it.answered < asked.from
                && it.tombstone.restorable_until > expired
                && !listed.iter().any(|entry| entry.id == it.tombstone.id)
        });
        let missing = surely.find(|it| {
            let own = operations.iter().filter(|operation| {
                operation.repository.as_ref().is_none_or(|name| *name == it.tombstone.repository)
                    && operation.began <= asked.to
                    && operation.brings_until(self.lateness) >= it.began
            });
            !own.into_iter().any(|operation| match &operation.kind {
                Kind::Purge { id } => *id == it.tombstone.id,
                Kind::Restore { .. } => true,
                _ => false,
            })
        })?;
        Some(format!("I3: the trash does not list {missing:?}, which nobody restored or purged"))
    }
}
