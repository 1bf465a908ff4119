//! One push at a time of a tag that never moves.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use tokio::sync::{Mutex, MutexGuard};

use crate::oci::{RepositoryName, Tag};

/// How many turns there are. Tags share them, and wait for each other sometimes.
const TURNS: usize = 64;

/// Whose turn it is to push an immutable tag: of two that push it for the first time at once, the second one must see what
/// the first one has done. Replicas do not wait for each other.
#[derive(Debug)]
pub(in crate::storage) struct ImmutablePushes(Vec<Mutex<()>>);

impl Default for ImmutablePushes {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Mutex::default()).collect())
    }
}

impl ImmutablePushes {
    /// Waits for the turns of all the tags, in one order for all who wait.
    pub(in crate::storage) async fn take(&self, name: &RepositoryName, tags: &[Tag]) -> Vec<MutexGuard<'_, ()>> {
        let turn = |tag: &Tag| {
            let mut hasher = DefaultHasher::new();
            (name, tag).hash(&mut hasher);
            usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default()
        };
        let turns: BTreeSet<usize> = tags.iter().map(turn).collect();
        let mut taken = Vec::new();
        for turn in turns {
            if let Some(turn) = self.0.get(turn) {
                taken.push(turn.lock().await);
            }
        }
        taken
    }
}
