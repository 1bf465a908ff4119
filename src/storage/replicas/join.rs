//! Between the registration and the first promise.

use crate::oci::Digest;

use crate::storage::{Error, guard::keys::Key, store::Store};

use super::{Holder, Term};

impl Store {
    /// Takes part in what had begun before others could see this replica: its key is written, so whoever begins something
    /// from now on asks it.
    ///
    /// # Errors
    /// [`Error::Driver`]; [`Error::Corrupt`] where it cannot be known what is being removed.
    pub(super) async fn join(&self, term: &Term) -> Result<(), Error> {
        tracing::debug!(replica = %term.id(), "joining");
        // Whoever deleted something before the key was written did not tell this replica. A read that begins after this
        // sees it.
        self.join_descriptor_caches().await?;
        let epochs = self.open_epochs().await?;
        for epoch in epochs.ids() {
            self.guard.begin(epoch);
        }
        for (epoch, batch) in epochs.sealed() {
            let digests: Vec<Digest> = self.sealed_digests(epoch, batch).await?;
            self.guard.freeze_now(Holder::Sealed { epoch, batch }, digests.into_iter().map(Key::Blob));
        }
        for (id, pending) in self.every_pending().await? {
            self.guard.freeze_now(Holder::Pending(id), pending.keys());
        }
        Ok(())
    }
}
