//! The policies that this process runs by itself, and who wants one of them to run now.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::api::wire::{PolicySource, RunStatus};

use super::{Error, RetentionRuns};

/// How many may wait for whoever runs the policies: one runs at a time, and more than a few are a mistake.
const MAX_WISHES: usize = 8;

/// What whoever runs the policies has declared, and what it is asked for.
#[derive(Debug)]
pub(super) struct Declared {
    policies: Mutex<Vec<PolicySource>>,
    sender: mpsc::Sender<RunWish>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<RunWish>>,
}

impl Default for Declared {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WISHES);
        Self { policies: Mutex::default(), sender, receiver: receiver.into() }
    }
}

impl Declared {
    /// The policies that this process runs by itself.
    pub(super) fn policies(&self) -> Vec<PolicySource> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Somebody wants a policy to run now, and waits to hear that it does.
#[derive(Debug)]
pub struct RunWish {
    /// The policy's UID.
    pub policy: String,
    answer: oneshot::Sender<Result<RunStatus, Error>>,
}

impl RunWish {
    /// Tells how the run began, or why it does not.
    pub fn answer(self, begun: Result<RunStatus, Error>) {
        // Who does not wait any more can read of the run.
        let _ = self.answer.send(begun);
    }

    /// Tells why it does not run.
    pub fn refuse(self, reason: &'static str) {
        self.answer(Err(Error::DeletionUnavailable { reason }));
    }

    /// Whether nobody waits any more: what has not begun needs not begin.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }
}

impl RetentionRuns {
    /// Makes known which policies this process runs by itself; those of before are no more.
    pub fn declare(&self, policies: Vec<PolicySource>) {
        *self.inner.declared.policies.lock().unwrap_or_else(PoisonError::into_inner) = policies;
    }

    /// The policies that this process runs by itself.
    #[must_use]
    pub fn declared(&self) -> Vec<PolicySource> {
        self.inner.declared.policies()
    }

    /// Has one of the declared policies run now, and answers when the run has begun.
    ///
    /// # Errors
    /// [`Error::PolicyUnknown`], [`Error::Busy`] while another run is in progress; what [`Self::start`] says.
    pub async fn run_now(&self, namespace: &str, name: &str) -> Result<RunStatus, Error> {
        let unknown = || Error::PolicyUnknown { policy: format!("{namespace}/{name}") };
        let is_meant = |policy: &PolicySource| policy.namespace == namespace && policy.name == name;
        let policy = self.declared().into_iter().find(is_meant).ok_or_else(unknown)?;
        self.inner.ledger.check_idle()?;
        let (answer, answered) = oneshot::channel();
        let wish = RunWish { policy: policy.uid, answer };
        self.inner.declared.sender.send(wish).await.map_err(|_| unknown())?;
        // Dropped unanswered: whoever runs the policies has stopped.
        answered.await.map_err(|_| unknown())?
    }

    /// The next wish; for whoever runs the policies.
    ///
    /// # Cancel safety
    /// No wish is lost.
    pub async fn next_wish(&self) -> Option<RunWish> {
        self.inner.declared.receiver.lock().await.recv().await
    }

    /// Whoever runs the policies ends: who waits is told so, and who comes from now on.
    pub async fn decline_wishes(&self) {
        let mut receiver = self.inner.declared.receiver.lock().await;
        receiver.close();
        while receiver.recv().await.is_some() {}
    }
}
