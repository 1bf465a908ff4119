//! Work that nobody is waiting for: the runs of retention policies, when they are due, scrubs, garbage
//! collections, the purge of uploads that nobody goes on with, and the records of pulls.
//!
//! # A run
//!
//! *Snapshot* (IO) → *plan* (pure, [`crate::retention`]) → the candidates are handed out → what is in use comes back
//! → *plan again* → *apply* (IO) → *report*. A dry run stops before the application, and so does a plan that has to wait
//! for approval; once approved, it is planned a third time. Nothing is deleted that an earlier plan of the run did not
//! name, and nothing that has changed since.

mod collection;
mod collection_schedule;
mod error;
mod pull_records;
mod retention_run;
mod run_id;
mod schedule;
mod scrub;
#[cfg(test)]
mod simulation;
mod upload_purge;

pub use collection::Collections;
pub use collection_schedule::ScheduledCollections;
pub use error::Error;
pub use pull_records::PullRecords;
pub use retention_run::{Explained, RetentionRuns, RunWish};
pub use run_id::{RunId, RunIdError};
pub use schedule::PolicyClock;
pub use scrub::Scrubs;
pub use upload_purge::UploadPurges;
