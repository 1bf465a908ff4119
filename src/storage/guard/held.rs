//! Keys that nobody changes while something is looked at again, and mended.

use std::sync::Arc;

use super::{
    changes::Change,
    keys::Key,
    pending::{Operation, Pending},
};
use crate::storage::{Error, replicas::Holder, store::Store};

/// Frozen keys, until this is dropped.
pub(in crate::storage) struct Held {
    /// The store as whoever changes something must use it.
    pub(in crate::storage) store: Arc<Store>,
    how: How,
}

enum How {
    /// In this process.
    Here(Holder),
    /// At every replica; `None` once it is ended.
    Everywhere(Option<Box<Change>>),
}

impl Drop for Held {
    fn drop(&mut self) {
        match &mut self.how {
            How::Here(holder) => self.store.guard.thaw(*holder),
            How::Everywhere(change) => {
                if let Some(change) = change.take() {
                    let store = Arc::clone(&self.store);
                    self.store.changes.begin_to_end(async move { store.complete(*change).await });
                }
            }
        }
    }
}

impl Store {
    /// Freezes keys, of blobs and of one repository: where other replicas serve the same store, at each of them.
    ///
    /// # Errors
    /// [`Error::Frozen`] where somebody is in the keys for too long, [`Error::NoLease`], [`Error::Driver`].
    ///
    /// # Cancel safety
    /// Nothing stays frozen.
    pub(in crate::storage) async fn hold(self: &Arc<Self>, keys: Vec<Key>) -> Result<Held, Error> {
        let id = self.ids.next(self.clock.now());
        if self.replicas.is_some() {
            let store = self.for_change()?;
            // To its end also where nobody waits any more: what is noted and frozen half-way would stay so for as long as
            // this process lives. Then this is dropped as soon as it is there.
            let hold = async move {
                let change = store.begin(id, pending_for(keys)).await?;
                Ok(Held { store, how: How::Everywhere(Some(Box::new(change))) })
            };
            return self.changes.run(hold).await;
        }
        let holder = Holder::Pending(id);
        self.guard.freeze(holder, None, keys, self.timing.guard_wait).await?;
        Ok(Held { store: Arc::clone(self), how: How::Here(holder) })
    }
}

/// What other replicas, and the next process after a crash, know of it.
fn pending_for(keys: Vec<Key>) -> Pending {
    let mut pending = Pending {
        operation: Operation::Inspection,
        repository: None,
        subject: None,
        manifests: Vec::new(),
        tags: Vec::new(),
        blobs: Vec::new(),
        policy: None,
        replica: None,
        resumes: None,
    };
    for key in keys {
        match key {
            Key::Blob(digest) => pending.blobs.push(digest),
            Key::Revision(repository, digest) => {
                pending.repository = Some(repository);
                pending.manifests.push(digest);
            }
            Key::Tag(repository, tag) => {
                pending.repository = Some(repository);
                pending.tags.push(tag);
            }
        }
    }
    pending
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::oci::{Algorithm, Digest, RepositoryName};

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
            let keys: BTreeSet<Key> = keys.into_iter().collect();
            let noted: BTreeSet<Key> = pending_for(keys.iter().cloned().collect()).keys().into_iter().collect();
            assert_eq!(noted, keys, "no other key is in anybody's way");
        }
    }
}
