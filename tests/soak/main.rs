//! A soak: clients push, overwrite, delete, restore, purge and pull for as long as asked, at three registries' processes
//! on one bucket and at one on a folder, while one collection follows the other and processes are killed, paused and
//! ended. Every answer is held against all answers before it; what the protocol promises (I1 to I5) must hold, and no
//! request may fail unless a fault explains it.
//!
//! `tests/run --only soak` runs it; CONTRIBUTING.md has its variables. Without that it is ignored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod book;
mod caller;
#[path = "../support/certificate.rs"]
mod certificate;
mod collector;
#[path = "../support/command.rs"]
mod command;
mod deleting;
#[path = "../support/digest.rs"]
mod digest;
#[path = "../support/environment.rs"]
mod environment;
mod faults;
mod files;
mod image;
#[path = "../support/issuer.rs"]
mod issuer;
mod launcher;
mod life;
#[path = "../support/memory.rs"]
mod memory;
mod pushing;
mod racing;
mod reading;
mod replica;
mod restoring;
#[path = "../support/s3.rs"]
mod s3;
mod settings;
mod site;
mod starvation;
mod tally;
#[path = "../support/versitygw.rs"]
mod versitygw;

use std::{fs, sync::Arc, time::Duration};

use life::Life;
use settings::Settings;
use site::Site;
use tally::Tally;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often it says how far it is.
const REPORT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes, and needs an object store: tests/run --only soak"]
async fn nothing_is_lost_stale_or_refused_for_as_long_as_asked() {
    let settings = Arc::new(Settings::of_environment());
    let (stop, calm) = (CancellationToken::new(), CancellationToken::new());
    let tally = Arc::new(Tally::new(stop.clone()));
    let temporary = tempfile::tempdir().unwrap();
    let folder = settings.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    fs::create_dir_all(&folder).unwrap();
    tally.say(&format!("seed {}, {:?}, files in {}", settings.seed, settings.length, folder.display()));
    let bucket = Site::bucket(&folder, settings.clone(), tally.clone()).await;
    let folder = Site::folder(&folder, settings.clone(), tally.clone()).await;
    let sites = [Arc::new(bucket), Arc::new(folder)];

    let lives: Vec<JoinHandle<Life>> = sites
        .iter()
        .flat_map(|site| (0..settings.clients).map(|number| Life::new(site.clone(), number)))
        .map(|life| tokio::spawn(life.until(stop.clone())))
        .collect();
    let (mut others, mut troubles) = (Vec::new(), Vec::new());
    for site in &sites {
        troubles.push(tokio::spawn(faults::trouble(site.clone(), stop.clone())));
        others.push(tokio::spawn(collector::collect(site.clone(), calm.clone())));
        others.push(tokio::spawn(starvation::watch(site.clone(), calm.clone())));
        others.push(tokio::spawn(files::watch(site.clone(), calm.clone())));
    }
    wait(&settings, &sites, &tally, &stop).await;
    stop.cancel();
    for trouble in troubles {
        trouble.await.unwrap();
    }
    let mut ended = Vec::new();
    for life in lives {
        ended.push(life.await.unwrap());
    }
    if !tally.is_violated() {
        look_at_everything(ended, &settings, &tally).await;
    }
    calm.cancel();
    for other in others {
        other.await.unwrap();
    }
    tally.say(&format!("the end\n{tally}"));
    if !tally.is_clean() {
        // For whoever wants to understand.
        let kept = settings.folder.clone().unwrap_or_else(|| temporary.keep());
        panic!("not everything was well: see {} and the registries' files", kept.display());
    }
    for what in ["pushes", "pulls", "deletes", "restores", "collections", "blobs reclaimed", "kills"] {
        assert!(sites.iter().all(|site| tally.of(site.name, what) > 0), "there were no {what}");
    }
}

/// Until the time is over, or something was violated.
async fn wait(settings: &Settings, sites: &[Arc<Site>], tally: &Tally, stop: &CancellationToken) {
    let end = tokio::time::sleep(settings.length);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return,
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REPORT) => {
                for site in sites {
                    let (bytes, files) = files::size(&site.files);
                    tally.largest(site.name, "most on disk, KiB", bytes / 1024);
                    tally.largest(site.name, "most files on disk", files);
                }
                tally.say(&format!("so far\n{tally}"));
            }
        }
    }
}

/// Now that nothing is wrong any more: what is there is there everywhere, what is not is nowhere, and what was not
/// answered is one or the other.
async fn look_at_everything(lives: Vec<Life>, settings: &Settings, tally: &Tally) {
    tally.say("waiting until all is settled");
    tokio::time::sleep(settings.times.settled).await;
    for mut life in lives {
        for book in 0..life.books.len() {
            life.settle_all(book).await;
            life.look_at_all(book).await;
        }
    }
}
