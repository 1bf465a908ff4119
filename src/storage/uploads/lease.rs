//! One writer for each upload.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::storage::{Clock, Error, UploadId, clock::within};

/// The uploads that somebody writes to, each with what tells others when it is free: the sender's end.
type Busy = HashMap<UploadId, watch::Sender<()>>;

/// Who writes to which upload, in this process. Clones are the same.
#[derive(Debug, Clone)]
pub(in crate::storage) struct UploadLeases {
    busy: Arc<Mutex<Busy>>,
    clock: Arc<dyn Clock>,
}

/// An upload that nobody else writes to until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives up the upload"]
pub(in crate::storage) struct UploadLease {
    leases: UploadLeases,
    id: UploadId,
}

impl UploadLeases {
    pub(in crate::storage) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { busy: Arc::default(), clock }
    }

    /// Takes an upload; waits for at most `wait` while somebody else has it.
    ///
    /// # Errors
    /// [`Error::UploadBusy`].
    pub(in crate::storage) async fn take(&self, id: &UploadId, wait: Duration) -> Result<UploadLease, Error> {
        let free = async {
            loop {
                match self.try_take(id) {
                    Ok(lease) => return lease,
                    // An error is the sender's end, which is what is waited for.
                    Err(mut busy) => drop(busy.changed().await),
                }
            }
        };
        within(&*self.clock, wait, free).await.ok_or_else(|| Error::UploadBusy { id: id.clone() })
    }

    fn try_take(&self, id: &UploadId) -> Result<UploadLease, watch::Receiver<()>> {
        let mut busy = self.lock();
        if let Some(writer) = busy.get(id) {
            return Err(writer.subscribe());
        }
        busy.insert(id.clone(), watch::Sender::default());
        Ok(UploadLease { leases: self.clone(), id: id.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UploadLease {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use crate::storage::fixtures::ManualClock;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_second_writer_waits_for_the_first() {
        let leases = UploadLeases::new(Arc::new(ManualClock::new()));
        let id = UploadId::random();
        let first = leases.take(&id, LONG).await.unwrap();
        let mut second = Box::pin(leases.take(&id, LONG));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(leases.take(&UploadId::random(), LONG).now_or_never().is_some(), "another upload is free");
        drop(first);
        let _second = second.await.unwrap();
        let busy = leases.take(&id, Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(busy, Error::UploadBusy { .. }));
    }
}
