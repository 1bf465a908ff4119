//! What clients, the operator and the cluster's probes talk to.
//!
//! Three listeners, each a [`Server`] over one [`App`]: the registry (OCI distribution-spec 1.1 and `/v2/_lagan/`, with
//! Basic authentication), the control listener (the same `/v2/_lagan/` routes, for whoever has a certificate of the
//! operator's authority, and the calls between replicas), and health (probes and metrics, for anybody who can reach it).
//!
//! A request goes: `server` accepts → `service` finds the route, the caller and whether the caller may → a handler
//! (one file for each kind of route) asks `storage` or `maintenance` → `error` says what went wrong, if something did.
//! An `Observation` goes along, and counts and logs the request when the last byte of its answer is out.
//!
//! No HTTP status and no code of the specification exists outside this layer; errors become them in `error` only.

mod app;
mod auth;
mod blob_homes;
mod blob_uploads;
mod blobs;
mod body;
mod body_budget;
mod call;
mod catalog;
mod conditional;
mod connection_shares;
mod control;
mod error;
mod extension;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
mod htpasswd;
mod local_server;
mod manifests;
mod metrics;
mod observation;
mod page;
mod password_checks;
mod peer;
mod process_metrics;
mod pushed_manifest;
mod query;
mod range;
mod referrers;
mod reloading;
mod replica_calls;
mod request_id;
mod response;
mod router;
mod server;
mod service;
mod tags;
mod tls;
mod token;
mod turns;
mod unparsed;

pub use app::{App, Settings};
pub use auth::Authenticator;
pub use health::{Health, Readiness};
pub use metrics::Metrics;
pub use reloading::LoadError;
pub use replica_calls::ReplicaClient;
pub use server::{Server, ServerOptions};
pub use service::Service;
pub use tls::TlsIdentity;

use error::{Error, Malformed};
