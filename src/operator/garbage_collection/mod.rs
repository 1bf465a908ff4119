//! The controller that has registries collect their garbage.
//!
//! *Expected flow*: look at the Registry → ask one of its replicas for the collection that runs, or the last one →
//! decide (pure) → begin one → status. Each step is a file.
//!
//! *A collection* belongs to the registry, which knows how far it is, whoever began it: so nothing is lost with this
//! process, and what somebody began by hand shows in the status too.
//!
//! *Guarantees*: a collection that a brake stopped goes on only when the annotation `lagan.dev/confirm-collection` names
//! its report, and each report can be confirmed once. The status is written only when it differs, and nothing in it but
//! `lastGarbageCollection` is this controller's.

pub mod controller;
pub mod decide;
pub mod reconcile;
pub mod status;
#[cfg(test)]
mod tests;
