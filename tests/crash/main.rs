//! A power cut at every step that the registry makes on a file system.
//!
//! Each operation runs once, in a process of its own, under strace. What it did to the files is replayed on a [`disk`]
//! that promises no more than POSIX does, cut off after every step, in every way that [`cut`] knows. What may then be
//! found is written out, opened, and [`examine`]d.
//!
//! `tests/run --only tools crash` runs them; `LAGAN_CRASH_SEEDS` says how many random cuts are made at each step, and
//! `LAGAN_CRASH_STOCK` how many of what is found docker-registry has to serve (`all`: each).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod client;
mod cut;
mod disk;
mod examine;
mod image;
mod recording;
mod registry;
mod scenario;
mod search;
mod step;
mod stock;
mod sync_kind;
mod trace;
mod tree;

use std::{collections::BTreeSet, time::Instant};

use scenario::Scenario;
use search::Search;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is what the other tests trace"]
async fn the_traced_program() {
    recording::traced().await;
}

/// All scenarios, or the one that `LAGAN_CRASH_ONLY` names.
fn scenarios() -> Vec<Scenario> {
    let only = std::env::var("LAGAN_CRASH_ONLY").ok();
    let is_chosen = |scenario: &Scenario| only.as_ref().is_none_or(|only| only == scenario.name);
    scenario::all().into_iter().filter(is_chosen).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: tests/run --only tools crash"]
async fn nothing_is_lost_whenever_the_power_is_cut() {
    let mut violations = Vec::new();
    for scenario in scenarios() {
        violations.extend(search(scenario).await);
    }
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: tests/run --only tools crash"]
async fn nothing_is_lost_whenever_the_power_is_cut_during_an_import() {
    let place = recording::folder();
    let source = registry::Registry::open(&place.path().join("source")).await.unwrap();
    for action in scenario::to_import() {
        action.ask(&source.client, false).await.unwrap();
    }
    let violations = search(scenario::import(&source.client.url)).await;
    source.abandon().await;
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

async fn search(scenario: Scenario) -> Vec<String> {
    let (name, began) = (scenario.name, Instant::now());
    let mut search = Search::of(scenario).await;
    let violations = search.run().await;
    eprintln!("{name}: {}; {} violations, {:.1} s", search.numbers, violations.len(), began.elapsed().as_secs_f64());
    violations
}

/// Syncs without which something was seen to be lost, in one of the scenarios. The others that a run prints as unnoticed are
/// not decided: nothing rests on them, or no scenario asks for what does.
const NOTICED: [&str; 23] = [
    "fdatasync lagan/v1/adoption",
    "fdatasync …/blobs/sha256/<2>/<hex>/data",
    "fsync docker",
    "fsync docker/registry",
    "fsync the root",
    "fsync …",
    "fsync …/blobs",
    "fsync …/blobs/sha256",
    "fsync …/blobs/sha256/<2>",
    "fsync …/blobs/sha256/<2>/<hex>",
    "fsync …/repositories",
    "fsync …/repositories/<name>",
    "fsync …/repositories/<name>/_layers",
    "fsync …/repositories/<name>/_layers/sha256",
    "fsync …/repositories/<name>/_layers/sha256/<hex>",
    "fsync …/repositories/<name>/_manifests",
    "fsync …/repositories/<name>/_manifests/revisions",
    "fsync …/repositories/<name>/_manifests/revisions/sha256",
    "fsync …/repositories/<name>/_manifests/revisions/sha256/<hex>",
    "fsync …/repositories/<name>/_manifests/tags",
    "fsync …/repositories/<name>/_manifests/tags/<tag>",
    "fsync …/repositories/<name>/_manifests/tags/<tag>/current",
    "syncfs",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: tests/run --only tools crash"]
async fn a_sync_that_is_left_out_is_noticed() {
    let mut searches = Vec::new();
    for scenario in scenarios() {
        searches.push(Search::of(scenario).await);
    }
    let kinds: BTreeSet<String> = searches.iter().flat_map(Search::sync_kinds).collect();
    let mut unnoticed = Vec::new();
    for kind in &kinds {
        let (stores, lost) = without(&mut searches, kind).await;
        eprintln!("without {kind}: {}", lost.as_deref().unwrap_or("nothing is lost"));
        if lost.is_none() {
            eprintln!("  ({stores} stores could be found only so)");
            unnoticed.push(kind.as_str());
        }
    }
    let missed: Vec<_> = NOTICED.iter().filter(|kind| unnoticed.contains(kind)).collect();
    assert!(missed.is_empty(), "nobody notices any more: {missed:#?}");
}

/// What is lost in any of the scenarios without the syncs of one kind, and how many more stores can be found.
async fn without(searches: &mut [Search], kind: &str) -> (usize, Option<String>) {
    let mut stores = 0;
    for search in searches {
        if search.sync_kinds().iter().any(|made| made == kind) {
            let (more, lost) = search.without(kind).await;
            stores += more;
            if lost.is_some() {
                return (stores, lost);
            }
        }
    }
    (stores, None)
}
