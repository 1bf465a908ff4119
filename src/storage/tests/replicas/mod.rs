//! Several replicas on one store: what docs/protocol.md promises of them, while they are paused, killed and cut off.

mod collection;
mod hiccups;
mod leases;
mod mending;
mod pulls;
mod scenarios;
mod simulator;
mod storm;
mod time;
mod trash;
