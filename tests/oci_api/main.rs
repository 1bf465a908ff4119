//! The registry's HTTP surface as clients see it: a real server on a loopback port over a folder, and requests.
//!
//! OCI distribution-spec 1.1 (pull, push, content discovery, content management), what Docker's clients expect
//! besides, and `/v2/_lagan/`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod access;
mod bad_disk;
mod bucket;
mod collection;
#[path = "../support/command.rs"]
mod command;
mod connections;
mod deletion;
mod discovery;
#[path = "../support/environment.rs"]
mod environment;
mod formats;
mod health;
mod history;
mod image;
mod immutable;
#[path = "../support/issuer.rs"]
mod issuer;
mod limits;
mod manifests;
mod pull;
mod pulls;
mod registry;
mod retention;
#[path = "../support/s3.rs"]
mod s3;
#[path = "../support/server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod server;
mod tls;
mod unparsed;
mod uploads;
mod wrong_input;
