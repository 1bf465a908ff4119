//! Several processes on one store (PROTOCOL.md, *Being a replica*).
//!
//! A process registers, holds a lease, and answers what others ask of its guard. What it has in flight it knows in
//! memory; who wants to remove something asks every replica first, and one that does not answer is waited for until it is
//! gone. One process on a folder is the same with nobody to ask.

mod call;
mod promise;
mod term;

pub use call::{CallError, Holder, ReplicaAnswer, ReplicaCall, ReplicaCalls};

pub(super) use promise::Promise;
pub(super) use term::Term;
