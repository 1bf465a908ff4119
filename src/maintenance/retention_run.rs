//! The runs of a registry's policies.

use std::sync::Arc;

use crate::api::v1alpha1::AccessMode;
use crate::api::wire::{ApplyRequest, CandidatePage, RunRequest, RunStatus};
use crate::storage::{Catalog, Clock};

use super::{Error, RunId};

/// The runs of a registry's policies: one at a time, each known by its id for as long as its records are kept.
#[derive(Debug, Clone)]
pub struct RetentionRuns {
    _catalog: Catalog,
}

impl RetentionRuns {
    /// Opens the records of earlier runs. A run that a crash cut off is marked as failed.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`].
    pub async fn open(catalog: Catalog, access: AccessMode, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        todo!("{catalog:?} {access:?} {clock:?}")
    }

    /// Starts a run, which then plans on its own; of a run that is known already, the status.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`], [`Error::Busy`], [`Error::Storage`].
    pub async fn start(&self, request: RunRequest) -> Result<RunStatus, Error> {
        todo!("{request:?}")
    }

    /// How far a run is.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::Storage`], [`Error::Corrupt`].
    pub async fn status(&self, run: &RunId) -> Result<RunStatus, Error> {
        todo!("{run}")
    }

    /// At most `limit` of what a run would delete, after the candidate of index `after`.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::NotReady`] while it plans, [`Error::Storage`], [`Error::Corrupt`].
    pub async fn candidates(&self, run: &RunId, after: Option<u32>, limit: usize) -> Result<CandidatePage, Error> {
        todo!("{run} {after:?} {limit}")
    }

    /// Applies a run's plan, less what is in use; a dry run stores that. Of a run that is past that, the status.
    ///
    /// # Errors
    /// [`Error::RunUnknown`], [`Error::NotReady`] while it plans, [`Error::InvalidRequest`], [`Error::Storage`].
    pub async fn apply(&self, run: &RunId, request: ApplyRequest) -> Result<RunStatus, Error> {
        todo!("{run} {request:?}")
    }

    /// Waits until a run neither plans nor applies.
    ///
    /// # Errors
    /// As [`RetentionRuns::status`].
    pub async fn settled(&self, run: &RunId) -> Result<RunStatus, Error> {
        todo!("{run}")
    }

    /// Lets the step in hand finish, and stops.
    pub async fn shutdown(&self) {
        todo!()
    }
}
