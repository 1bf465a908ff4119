//! Several processes on one store (docs/protocol.md, *Being a replica*).
//!
//! A process registers, holds a lease ([`Term`]), and answers what others ask of its guard. What it has in flight it
//! knows in memory; who wants to remove something asks every replica first, and one that does not answer is waited for
//! until it is gone. One process on a folder is the same with nobody to ask.
//!
//! `membership` is a replica's life: register, join, beat, look around, leave. `ask` and `answer` are the two sides of a
//! call, `observer` judges who is gone, `settle` and `takeover` end what the dead left,
//! `collecting` is what a collection asks, `run_claim` who is at a policy's run, and `fence` is the medium as a delete or
//! restore writes to it.

mod answer;
mod ask;
mod call;
mod collecting;
mod epochs;
mod fence;
mod intent;
mod join;
mod membership;
mod observer;
mod promise;
mod registration;
mod run_claim;
mod settle;
mod sightings;
mod solitude;
mod takeover;
mod term;

pub use call::{CallError, Holder, ReplicaAnswer, ReplicaCall, ReplicaCalls};
pub use membership::ReplicaSetup;
pub use run_claim::{Claiming, RunClaim};
pub use sightings::Sightings;
pub use solitude::await_solitude;

pub(super) use collecting::Roll;
pub(super) use fence::Fence;
pub(super) use intent::{Intent, IntentId};
pub(super) use membership::Membership;
pub(super) use promise::Promise;
pub(super) use term::Term;
