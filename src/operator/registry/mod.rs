//! The controller of `Registry`.
//!
//! *Expected flow*: dereference → validate → build → apply what differs → prune → status. Each step is a file.
//!
//! *Guarantees*: nothing is written in the steady state; an object that is somebody else's is never written;
//! claims, administrators and authorities are never deleted.

mod bucket_finding;
pub mod build;
pub mod controller;
pub mod endings;
pub mod endpoints;
pub mod observed;
pub mod reconcile;
pub mod referred;
pub mod secrets;
pub mod status;
mod tls_finding;
pub mod validate;
