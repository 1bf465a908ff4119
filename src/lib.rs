//! Lagan: container registries for Kubernetes, with undelete, retention policies and online garbage collection.
//!
//! One program plays every part: the operator, the registry that it runs, a mode for one machine, the command line.
//!
//! # The house
//!
//! Arrows point down. An import that is not drawn here is a bug, and `tests/architecture.rs` says so.
//!
//! ```text
//! cli         → operator, http, maintenance, storage, api, retention, oci
//! operator    → api, retention, oci
//! http        → maintenance, api, storage, retention, oci
//! maintenance → storage, api, retention, oci
//! storage     → oci
//! api         → retention, oci
//! retention   → oci
//! oci         → nothing
//! ```
//!
//! | layer | holds |
//! |---|---|
//! | `oci` | the words of the OCI specifications, as values that cannot be malformed |
//! | `retention` | the engine: policies and a snapshot in, a plan with a reason for each decision out |
//! | `api` | what is written elsewhere: the custom resources, the file of `lagan serve`, the wire types |
//! | `storage` | the driver, the layout, blobs, links, manifests, tags, tombstones, the guard, the cache |
//! | `maintenance` | work that nobody waits for: the runs of policies, garbage collections, scrubs, and when they are due |
//! | `http` | the server, its routes, authentication, the errors that clients see |
//! | `operator` | its controllers and what they build |
//! | `cli` | one file a subcommand; the clock, the configuration, the process |
//!
//! # Where to look
//!
//! - *Pull*: `http` finds the route → `storage::Repository` resolves the tag, asks the cache, then the link → driver → body.
//! - *Push*: an upload appends and hashes; its commit verifies, links, publishes. A manifest's references are checked
//!   before its bytes are written, its tag comes last.
//! - *Delete*: tombstone → unlink → forget in the caches → answer. *Restore* goes the other way.
//! - *Retention*: `maintenance::RetentionRuns` reads the repositories, `retention` plans, what is in use is taken out,
//!   and only then does `storage` delete. A dry run stops at the plan.
//! - *Collection*: `maintenance::Collections` is asked, `storage::Collection` looks, a brake may stop it, and it sweeps.
//! - *Reconcile*: `operator` dereferences → validates → builds → applies → writes the status.
//!
//! # Invariants, as absences
//!
//! - `oci` and `retention` perform no IO, and know neither a clock nor Kubernetes.
//! - Nothing below `cli` reads the wall clock: it is handed in.
//! - Nothing above `storage` knows where a thing lies on the medium.
//! - No HTTP status exists outside `http`.
//! - The list of images that a cluster runs never leaves `operator`.

pub mod oci;
pub mod retention;
pub mod storage;
pub mod api;
pub mod maintenance;
pub mod operator;
pub mod http;
pub mod cli;
