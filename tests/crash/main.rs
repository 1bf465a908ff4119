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

mod content;
mod cut;
mod disk;
mod examine;
mod fault;
mod image;
mod listing;
mod recording;
mod registry;
mod scenario;
mod search;
mod server;
mod step;
mod stock;
mod sync_kind;
mod trace;
mod tree;

use std::{collections::BTreeSet, time::Instant};

use futures::{StreamExt as _, stream};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use fault::Faults;
use scenario::Scenario;
use search::Search;
use server::Served;

#[test]
#[ignore = "is what the other tests trace"]
fn the_traced_program() {
    recording::traced();
}

/// What was recorded of all scenarios, or of the one that `LAGAN_CRASH_ONLY` names; once for all tests.
async fn searches() -> MutexGuard<'static, Vec<Search>> {
    static SEARCHES: OnceCell<Mutex<Vec<Search>>> = OnceCell::const_new();
    let record = || async {
        let only = std::env::var("LAGAN_CRASH_ONLY").ok();
        let is_chosen = |scenario: &Scenario| only.as_ref().is_none_or(|only| only == scenario.name);
        let recorded = stream::iter(scenario::all().into_iter().filter(is_chosen));
        // Two at once, for two cores.
        let recorded = recorded.map(|scenario| tokio::spawn(Search::of(scenario))).buffered(2);
        Mutex::new(recorded.map(Result::unwrap).collect().await)
    };
    SEARCHES.get_or_init(record).await.lock().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: tests/run --only tools crash"]
async fn nothing_is_lost_whenever_the_power_is_cut() {
    let mut violations = Vec::new();
    for search in &mut *searches().await {
        violations.extend(examined(search).await);
    }
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: tests/run --only tools crash"]
async fn nothing_is_lost_whenever_the_power_is_cut_during_an_import() {
    let source = to_import_from().await;
    let violations = examined(&mut Search::of(scenario::import(&source.url)).await).await;
    source.end().await;
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// A registry that has what an import finds.
async fn to_import_from() -> Served {
    let place = recording::folder();
    let source = registry::Registry::open(&place.path().join("source")).await.unwrap();
    for action in scenario::to_import() {
        action.ask(&source, false).await.unwrap();
    }
    Served::begin(source, place).await
}

/// What is wrong after a power cut in one scenario.
async fn examined(search: &mut Search) -> Vec<String> {
    let began = Instant::now();
    let violations = search.run().await;
    let (name, seconds) = (search.name(), began.elapsed().as_secs_f64());
    eprintln!("{name}: {}; {} violations, {seconds:.1} s", search.numbers, violations.len());
    violations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: tests/run --only tools crash"]
async fn nothing_is_lost_whichever_call_on_the_files_fails() {
    let only = std::env::var("LAGAN_CRASH_ONLY").ok();
    let chosen = scenario::all().into_iter().filter(|scenario| only.as_ref().is_none_or(|only| only == scenario.name));
    let endured = stream::iter(chosen).map(|scenario| tokio::spawn(endured(scenario))).buffer_unordered(2);
    let violations: Vec<Vec<String>> = endured.map(Result::unwrap).collect().await;
    let violations = violations.concat();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: tests/run --only tools crash"]
async fn nothing_is_lost_whichever_call_of_an_import_fails() {
    let source = to_import_from().await;
    let violations = endured(scenario::import(&source.url)).await;
    source.end().await;
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// What is wrong when calls fail in one scenario.
async fn endured(scenario: Scenario) -> Vec<String> {
    let (name, began) = (scenario.name, Instant::now());
    let mut faults = Faults::of(scenario).await;
    let violations = faults.run().await;
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{name}: {}; {} violations, {seconds:.1} s", faults.numbers, violations.len());
    violations
}

/// Syncs without which something is seen to be lost, in one of the scenarios.
const NOTICED: [&str; 60] = [
    "fdatasync lagan/v1/adoption",
    "fdatasync lagan/v1/collections/<id>",
    "fdatasync lagan/v1/facts/<name>/_g/<tag>/<id>",
    "fdatasync lagan/v1/facts/<name>/_m/<digest>",
    "fdatasync lagan/v1/facts/<name>/_u/<digest>",
    "fdatasync lagan/v1/pending/<id>",
    "fdatasync lagan/v1/quarantine/<digest>/<id>",
    "fdatasync lagan/v1/referrers/<name>/_s/<digest>/<digest>",
    "fdatasync lagan/v1/trash/<name>/_n/<tag>/<id>",
    "fdatasync lagan/v1/trash/<name>/_t/<digest>/<id>",
    "fdatasync lagan/v1/trash/_i/<id>",
    "fdatasync …/blobs/sha256/<2>/<hex>/data",
    "fdatasync …/repositories/<name>/_layers/sha256/<hex>/link",
    "fdatasync …/repositories/<name>/_manifests/revisions/sha256/<hex>/link",
    "fdatasync …/repositories/<name>/_manifests/tags/<tag>/current/link",
    "fdatasync …/repositories/<name>/_manifests/tags/<tag>/index/sha256/<hex>/link",
    "fsync docker",
    "fsync docker/registry",
    "fsync lagan/v1",
    "fsync lagan/v1/collections",
    "fsync lagan/v1/facts",
    "fsync lagan/v1/facts/<name>",
    "fsync lagan/v1/facts/<name>/_g",
    "fsync lagan/v1/facts/<name>/_g/<tag>",
    "fsync lagan/v1/facts/<name>/_m",
    "fsync lagan/v1/facts/<name>/_r",
    "fsync lagan/v1/facts/<name>/_u",
    "fsync lagan/v1/local",
    "fsync lagan/v1/pending",
    "fsync lagan/v1/quarantine",
    "fsync lagan/v1/quarantine/<digest>",
    "fsync lagan/v1/referrers/<name>",
    "fsync lagan/v1/referrers/<name>/_s",
    "fsync lagan/v1/referrers/<name>/_s/<digest>",
    "fsync lagan/v1/trash",
    "fsync lagan/v1/trash/<name>",
    "fsync lagan/v1/trash/<name>/_n",
    "fsync lagan/v1/trash/<name>/_n/<tag>",
    "fsync lagan/v1/trash/<name>/_t",
    "fsync lagan/v1/trash/<name>/_t/<digest>",
    "fsync lagan/v1/trash/_i",
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

/// Syncs on which nothing rests that anybody is told, with the reason. They are there because each durable write makes them.
const HARMLESS: [(&str, &str); 11] = [
    (
        "fdatasync lagan/v1/facts/<name>/_r/<digest>",
        "a torn note of a restore counts as one: no policy deletes what may have been restored",
    ),
    (
        "fdatasync lagan/v1/referrers/<name>/_built",
        "a torn one is none, and without it the index of referrers is built anew",
    ),
    (
        "fdatasync …/repositories/<name>/_uploads/<upload>/data",
        "staged bytes that were dropped, because the blob was there",
    ),
    (
        "fsync lagan/v1/local/boot",
        "a torn one names no start of the machine: then ages count as lost, as after any other start",
    ),
    ("fsync lagan/v1/local/clean", "without it the next start syncs the file system first"),
    ("fsync lagan/v1/referrers", "with the folder goes the mark that says it is complete: it is built anew"),
    ("fsync lagan/v1/self-test", "what a self-test writes it removes"),
    (
        "fsync …/repositories/<name>/_manifests/tags/<tag>/index",
        "an entry of a tag's index is a hint: where a tag points is in current, where it pointed in the facts",
    ),
    ("fsync …/repositories/<name>/_manifests/tags/<tag>/index/sha256", "as above"),
    ("fsync …/repositories/<name>/_manifests/tags/<tag>/index/sha256/<hex>", "as above"),
    ("fsync …/repositories/<name>/_uploads", "an upload that is under way is promised to nobody"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: tests/run --only tools crash"]
async fn a_sync_that_is_left_out_is_noticed() {
    let mut searches = searches().await;
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
    let (noticed, harmless) = (NOTICED.len(), HARMLESS.len());
    eprintln!(
        "{} kinds of syncs: {} are missed; of {harmless} it is known why not",
        kinds.len(),
        kinds.len() - unnoticed.len()
    );
    let is_harmless = |kind: &str| HARMLESS.iter().any(|(harmless, _)| *harmless == kind);
    unnoticed.retain(|kind| !is_harmless(kind));
    assert!(unnoticed.is_empty(), "nobody notices, and no reason is given in HARMLESS: {unnoticed:#?}");
    let unnamed: Vec<_> = kinds.iter().filter(|kind| !NOTICED.contains(&kind.as_str()) && !is_harmless(kind)).collect();
    assert!(unnamed.is_empty(), "neither in NOTICED nor in HARMLESS: {unnamed:#?}");
    let is_all = std::env::var_os("LAGAN_CRASH_ONLY").is_none();
    assert!(!is_all || kinds.len() == noticed + harmless, "some syncs of the lists are not made any more");
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
