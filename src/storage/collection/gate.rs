//! What has to be known of a store before anything of it is collected.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::storage::{
    Adoption, Catalog, Error,
    driver::{self, Durability, Violation},
    layout::PathSpec,
};

use super::Collection;

impl Collection {
    /// When the store was first served here; `None` where it never was.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Driver`].
    pub async fn adoption(&self) -> Result<Option<Adoption>, Error> {
        self.store.adoption().await
    }

    /// The grace period: what is younger is never collected.
    #[must_use]
    pub fn grace(&self) -> std::time::Duration {
        self.store.timing.grace
    }

    /// When the machine lost ages that were given to files but not synced, if it did.
    #[must_use]
    pub fn ages_lost_at(&self) -> Option<Timestamp> {
        self.store.driver.ages_lost_at()
    }

    /// What the store does not keep of what the protocol relies on (assumption A1). Of a store that one process has to
    /// itself, nothing.
    ///
    /// # Errors
    /// Where it could not be asked: [`Error::Driver`].
    pub async fn violations(&self) -> Result<Vec<Violation>, Error> {
        if self.store.replicas.is_none() {
            return Ok(Vec::new());
        }
        Catalog::self_test(&self.store.driver).await.map_err(|source| Error::driver("test the store", source))
    }

    /// By how much the store's clock is ahead of this process's, or behind it, where that is more than the protocol
    /// allows.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn clock_skew(&self) -> Result<Option<SignedDuration>, Error> {
        let store = &self.store;
        let path = PathSpec::Probe(store.ids.next(store.clock.now())).path();
        let before = store.clock.now();
        // Without content, because that has room where nothing else has any.
        let written = store.driver.put(&path, Bytes::new(), Durability::Visible).await;
        written.map_err(|source| Error::driver("write a probe", source))?;
        let seen = store.driver.stat(&path).await.map_err(|source| Error::driver("look at a probe", source));
        let after = store.clock.now();
        match store.driver.delete(&path).await {
            Ok(()) | Err(driver::Error::NotFound { .. }) => {}
            Err(source) => return Err(Error::driver("remove a probe", source)),
        }
        let modified = seen?.modified;
        // Within the time that the write took nobody knows better.
        let skew = if modified < before {
            modified.duration_since(before)
        } else if modified > after {
            modified.duration_since(after)
        } else {
            SignedDuration::ZERO
        };
        let allowed = SignedDuration::try_from(store.timing.clock_skew).unwrap_or(SignedDuration::MAX);
        Ok((skew.abs() > allowed).then_some(skew))
    }

    /// Another replica whose clock is further from the store's than the protocol allows, and by how much the store's is
    /// ahead: it takes old links for young ones, or its deletes for older than they are.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn replica_off_time(&self) -> Result<Option<(String, SignedDuration)>, Error> {
        if self.store.replicas.is_none() {
            return Ok(None);
        }
        self.store.replica_off_time(self.store.timing.clock_skew).await
    }
}
