//! Keys that nobody changes while something is looked at again, and mended.

use std::sync::Arc;

use crate::oci::{Algorithm, Digest, RepositoryName, Tag};

use super::{
    Error, TombstoneKind,
    changes::Change,
    guard::Key,
    pending::{Operation, Pending},
    replicas::Holder,
    store::Store,
};

/// The repository that a change of blobs alone is noted under. Blobs belong to none; who has one of this name waits for
/// a moment, at worst.
const NO_REPOSITORY: &str = "lagan.blobs";

/// Frozen keys, until this is dropped.
pub(super) struct Held {
    /// The store as whoever changes something must use it.
    pub(super) store: Arc<Store>,
    how: How,
}

enum How {
    /// In this process.
    Here(Holder),
    /// At every replica; `None` once it is ended.
    Everywhere(Option<Change>),
}

impl Drop for Held {
    fn drop(&mut self) {
        match &mut self.how {
            How::Here(holder) => self.store.guard.thaw(*holder),
            How::Everywhere(change) => {
                if let Some(change) = change.take() {
                    let store = Arc::clone(&self.store);
                    self.store.changes.begin_to_end(async move { store.complete(change).await });
                }
            }
        }
    }
}

impl Store {
    /// Freezes keys: where other replicas serve the same store, at each of them.
    ///
    /// # Errors
    /// [`Error::Frozen`] where somebody is in the keys for too long, [`Error::NoLease`], [`Error::Driver`].
    pub(super) async fn hold(self: &Arc<Self>, keys: Vec<Key>) -> Result<Held, Error> {
        let id = self.ids.next(self.clock.now());
        if self.replicas.is_some() {
            let store = self.for_change()?;
            let Some(pending) = pending_for(keys) else { return Err(Error::Frozen { key: id.to_string() }) };
            let change = store.begin(id, pending).await?;
            return Ok(Held { store, how: How::Everywhere(Some(change)) });
        }
        let holder = Holder::Pending(id);
        self.guard.freeze(holder, None, keys, self.timing.guard_wait).await?;
        Ok(Held { store: Arc::clone(self), how: How::Here(holder) })
    }
}
/// What other replicas, and the next process after a crash, know of it: as of a restore, which is dropped.
fn pending_for(keys: Vec<Key>) -> Option<Pending> {
    let (mut name, mut manifests, mut tags, mut blobs): (Option<RepositoryName>, Vec<Digest>, Vec<Tag>, Vec<Digest>) =
        Default::default();
    for key in keys {
        match key {
            Key::Blob(digest) => blobs.push(digest),
            Key::Revision(repository, digest) => {
                name = Some(repository);
                manifests.push(digest);
            }
            Key::Tag(repository, tag) => {
                name = Some(repository);
                tags.push(tag);
            }
        }
    }
    // A change of tags alone is of no manifest: the digest of nothing stands for none.
    let digest = manifests.first().or(blobs.first()).cloned().unwrap_or_else(|| Digest::of(Algorithm::Sha256, b""));
    Some(Pending {
        operation: Operation::Restore,
        repository: name.or_else(|| NO_REPOSITORY.parse().ok())?,
        kind: TombstoneKind::Blob,
        digest,
        manifests,
        tags,
        blobs,
        policy: None,
        replica: None,
        resumes: None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_noted_names_every_key() {
        let digest = |text: &str| Digest::of(Algorithm::Sha256, text.as_bytes());
        let name: RepositoryName = "team/app".parse().unwrap();
        for keys in [
            vec![Key::Blob(digest("a"))],
            vec![Key::Revision(name.clone(), digest("a")), Key::Revision(name.clone(), digest("b"))],
            vec![Key::Revision(name.clone(), digest("a")), Key::Blob(digest("a"))],
            vec![Key::Tag(name.clone(), "v1".parse().unwrap())],
        ] {
            let noted: BTreeSet<Key> = pending_for(keys.clone()).unwrap().keys().into_iter().collect();
            assert!(keys.iter().all(|key| noted.contains(key)), "{keys:?} became {noted:?}");
        }
    }
}
