//! What an operation relies on.

use std::{sync::Arc, time::Duration};

use tracing::warn;

use crate::storage::{
    Error,
    guard::keys::{Entered, Key},
    store::Store,
};

use super::Term;

/// The keys that an operation is in, and the term in which it began. Dropping it leaves the keys.
#[derive(Debug)]
#[must_use = "dropping it leaves the keys"]
pub(in crate::storage) struct Promise {
    _entered: Entered,
    /// `None` where there is nobody to ask.
    term: Option<Arc<Term>>,
    began: Duration,
}

impl Store {
    /// Relies on all of `keys` at once, as soon as none of them is frozen.
    ///
    /// # Errors
    /// [`Error::Frozen`] when it had to wait for too long; [`Error::NoLease`] where this replica may promise nothing.
    pub(in crate::storage) async fn enter(&self, keys: impl IntoIterator<Item = Key>) -> Result<Promise, Error> {
        let term = self.term()?;
        let entered = self.guard.enter(keys).await?;
        Ok(Promise { _entered: entered, term, began: self.clock.boot_time() })
    }

    /// As [`Self::enter`], but `None` instead of waiting.
    pub(in crate::storage) fn try_enter(&self, keys: impl IntoIterator<Item = Key>) -> Result<Option<Promise>, Error> {
        let term = self.term()?;
        let began = self.clock.boot_time();
        Ok(self.guard.try_enter(keys).map(|entered| Promise { _entered: entered, term, began }))
    }

    /// The term in which an operation begins now; `None` where there is nobody to ask.
    ///
    /// # Errors
    /// [`Error::NoLease`].
    pub(in crate::storage) fn term(&self) -> Result<Option<Arc<Term>>, Error> {
        let Some(replicas) = &self.replicas else { return Ok(None) };
        let term = self.fence.as_ref().map_or_else(|| replicas.term(), |fence| Some(Arc::clone(fence.term())));
        term.filter(|term| term.is_valid()).map(Some).ok_or(Error::NoLease)
    }

    /// Whether what memory knows may be told: not without a lease, because then nobody tells this replica what was
    /// deleted.
    pub(in crate::storage) fn may_answer_from_memory(&self) -> bool {
        self.term().is_ok()
    }
}

impl Promise {
    /// To be asked where docs/protocol.md says *lease*: others may treat this replica as gone, and may have removed
    /// what the operation relies on.
    ///
    /// # Errors
    /// [`Error::NoLease`].
    pub(in crate::storage) fn lease(&self) -> Result<(), Error> {
        check(self.term.as_ref())
    }

    /// Leaves the keys of an operation that failed. Where a link of it may still land, not before it cannot any more: what
    /// is deleted until then would come back.
    pub(in crate::storage) fn leave(self, store: &Store, failure: &Error) {
        if !matches!(failure, Error::Uncertain { .. }) {
            return;
        }
        let bound = store.timing.removal_bound;
        warn!("the store did not say whether a link was written: for {} s nothing is deleted there", bound.as_secs());
        let landed = store.clock.sleep(bound);
        tokio::spawn(async move {
            landed.await;
            drop(self);
        });
    }

    /// As [`Self::lease`], before a link is written whose checks are as old as this: an operation that took too long, or
    /// stood still, has to check again, which its client does.
    ///
    /// # Errors
    /// [`Error::NoLease`].
    pub(in crate::storage) fn lease_while_young(&self, store: &Store) -> Result<(), Error> {
        let age = store.clock.boot_time().saturating_sub(self.began);
        if self.term.is_some() && age >= store.timing.publication_limit {
            return Err(Error::NoLease);
        }
        self.lease()
    }
}

/// Whether the lease of a term stands; without one there is nobody to ask.
pub(in crate::storage) fn check(term: Option<&Arc<Term>>) -> Result<(), Error> {
    if term.is_none_or(|term| term.is_valid()) { Ok(()) } else { Err(Error::NoLease) }
}
