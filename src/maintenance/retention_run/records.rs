//! What a run leaves on the medium: its request, its candidates, its plan and how far it is.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};
use ulid::Ulid;

use crate::storage::Catalog;
use crate::storage::driver::PathComponent;

use super::{Error, RunId};

/// One record of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// The [`RunRequest`](crate::api::wire::RunRequest).
    Request,
    /// The [`RunStatus`](crate::api::wire::RunStatus). A run without one does not exist.
    Status,
    /// A [`CandidateList`](super::candidate_list::CandidateList). Where there are several replicas each has a name of its
    /// own: one that is written late, by a replica that stood still, is not taken for another.
    Candidates(Option<Ulid>),
    /// With what each page of the plan begins.
    PlanIndex,
    /// One page of the plan.
    PlanPage(u64),
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("request"),
            Self::Status => f.write_str("status"),
            Self::Candidates(None) => f.write_str("candidates"),
            Self::Candidates(Some(name)) => write!(f, "candidates-{name}"),
            Self::PlanIndex => f.write_str("plan"),
            Self::PlanPage(number) => write!(f, "plan-{number}"),
        }
    }
}

impl Record {
    #[expect(clippy::expect_used, reason = "the names are constants and numbers, without a slash")]
    fn component(self) -> PathComponent {
        self.to_string().parse().expect("a record's name is a file's name")
    }
}

/// Writes a record in place of an earlier one; durable when answered.
///
/// # Errors
/// [`Error::Storage`], [`Error::Corrupt`].
pub(super) async fn write<T: Serialize>(
    catalog: &Catalog,
    run: &RunId,
    record: Record,
    content: &T,
) -> Result<(), Error> {
    let text = serde_json::to_vec(content).map_err(|source| corrupt(run, record, source))?;
    let written = catalog.put_run(&run.folder(), &record.component(), text.into()).await;
    written.map_err(|source| Error::Storage { action: "write a run's record", source })
}

/// Reads a record; `None` where there is none.
///
/// # Errors
/// [`Error::Storage`], [`Error::Corrupt`].
pub(super) async fn read<T: DeserializeOwned>(
    catalog: &Catalog,
    run: &RunId,
    record: Record,
) -> Result<Option<T>, Error> {
    let content = catalog.run(&run.folder(), &record.component()).await;
    match content.map_err(|source| Error::Storage { action: "read a run's record", source })? {
        None => Ok(None),
        Some(content) => serde_json::from_slice(&content).map(Some).map_err(|source| corrupt(run, record, source)),
    }
}

/// The ids of all runs that have records. What is no run's id was not written here, and is left alone.
///
/// # Errors
/// [`Error::Storage`].
pub(super) async fn ids(catalog: &Catalog) -> Result<Vec<RunId>, Error> {
    let names = catalog.runs().await;
    let names = names.map_err(|source| Error::Storage { action: "list the runs", source })?;
    Ok(names.iter().filter_map(|name| name.to_string().parse().ok()).collect())
}

/// Forgets one record. One that is not there is no error.
///
/// # Errors
/// [`Error::Storage`].
pub(super) async fn remove_one(catalog: &Catalog, run: &RunId, record: Record) -> Result<(), Error> {
    let removed = catalog.remove_run_record(&run.folder(), &record.component()).await;
    removed.map_err(|source| Error::Storage { action: "remove a run's record", source })
}

/// Forgets a run.
///
/// # Errors
/// [`Error::Storage`].
pub(super) async fn remove(catalog: &Catalog, run: &RunId) -> Result<(), Error> {
    let removed = catalog.remove_run(&run.folder()).await;
    removed.map_err(|source| Error::Storage { action: "remove a run's records", source })
}

fn corrupt(run: &RunId, record: Record, source: serde_json::Error) -> Error {
    Error::Corrupt { run: run.clone(), record: record.to_string(), source }
}
