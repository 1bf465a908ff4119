//! The whole road on a real cluster, with real clients: from `helm install` to an image that a policy deleted and a
//! line of YAML brought back.
//!
//! `tests/run` starts the cluster, builds the image under test and runs these; alone it is
//! `tests/run --only cluster road`. They run one after the other: there is one operator for the whole cluster.
//! Tests under `own_ground` play with the node and the API server, and are left out on a cluster that is not
//! the harness's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod approval;
mod holds;
mod images;
mod in_use;
mod installation;
mod lifecycle;
mod objects;
mod one_machine;
mod own_ground;
mod retention;
mod runs;
mod schedules;
mod several_policies;
mod support;
mod validation;
