//! The controller of `RetentionPolicy`.
//!
//! *Expected flow*: dereference (the Registry, the other policies of it) → validate → decide (pure) → act (restore
//! what is held; start, or go on with, a run) → status. Each step is a file.
//!
//! *A run* belongs to the registry, which knows how far it is: a reconciliation asks it, does what is next, and comes
//! back. So nothing is lost with this process; the run's id follows from the policy's UID and the time or the
//! annotation that it runs for, and whoever leads next goes on with the same run.
//!
//! *Guarantees*: the registry is told to apply a plan only after the whole cluster was listed, later than the
//! candidates were read. A policy that changed, or that another invalid policy blocks, is not applied. The status is
//! written only when it differs, and only over the object that it was made from.

pub mod announce;
pub mod assess;
pub mod controller;
pub mod decide;
mod endings;
mod hold_looks;
pub mod holds;
pub mod live;
pub mod reconcile;
pub mod run;
mod siblings;
pub mod status;
#[cfg(test)]
mod tests;

pub use endings::Endings;
pub use hold_looks::HoldLooks;
