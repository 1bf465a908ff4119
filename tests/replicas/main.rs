//! Three processes on one bucket, one of which is killed, stopped or cut off while clients push, pull and delete: nothing
//! that was acknowledged is lost, and nobody answers with what was deleted.
//!
//! `tests/run --only replicas` starts the object store. Without it these tests are ignored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod client;
mod cluster;
#[path = "../support/server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use client::{Client, Image};
use cluster::Cluster;
use rustix::process::Signal;

/// Longer than a replica's lease with its margin, so that the others go on without it.
const AWAY: Duration = Duration::from_secs(45);

/// How many clients work at the same time, each on its own images.
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn an_upload_goes_on_at_other_replicas() {
    let cluster = Cluster::start().await;
    let client = Client::new(&cluster);
    let parts = [vec![b'a'; 6 << 20], vec![b'b'; 5 << 20], vec![b'c'; 1 << 20]];
    let whole = parts.concat();
    let location = client.begin_upload(0).await;
    let location = client.append(0, &location, &parts[0], 0).await;
    let location = client.append(1, &location, &parts[1], parts[0].len()).await;
    let digest = client.finish(2, &location, &parts[2], &whole).await;
    for replica in 0..3 {
        assert_eq!(client.blob(replica, &digest).await, whole, "replica {replica}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn a_tag_moved_and_a_delete_answered_on_one_replica_are_seen_on_all() {
    let cluster = Cluster::start().await;
    let client = Client::new(&cluster);
    for round in 0..12 {
        let (old, new) = (Image::new(&format!("old {round}")), Image::new(&format!("new {round}")));
        let (first, second, third) = (round % 3, (round + 1) % 3, (round + 2) % 3);
        client.push(first, &old, "moved").await.unwrap();
        client.push(second, &new, "moved").await.unwrap();
        for replica in 0..3 {
            assert_eq!(client.tagged(replica, "moved").await.unwrap().as_deref(), Some(new.digest.as_str()));
            assert!(client.is_there(replica, &old.digest).await.unwrap());
        }
        client.delete(third, &old.digest).await.unwrap();
        for replica in 0..3 {
            assert!(!client.is_there(replica, &old.digest).await.unwrap(), "replica {replica} in round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn nothing_is_lost_or_stale_while_a_replica_is_killed() {
    storm(async |cluster: &Cluster| {
        cluster.kill(1);
        tokio::time::sleep(AWAY).await;
        cluster.restart(1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn nothing_is_lost_or_stale_while_a_replica_stands_still() {
    storm(async |cluster: &Cluster| {
        for (replica, away) in [(2, AWAY), (0, Duration::from_secs(10))] {
            cluster.signal(replica, Signal::STOP);
            tokio::time::sleep(away).await;
            cluster.signal(replica, Signal::CONT);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn nothing_is_lost_or_stale_while_a_replica_cannot_be_called() {
    storm(async |cluster: &Cluster| {
        cluster.cut(1, true);
        tokio::time::sleep(AWAY).await;
        cluster.cut(1, false);
    })
    .await;
}

/// What clients have seen.
#[derive(Debug, Default)]
struct Tally {
    pushed: AtomicUsize,
    deleted: AtomicUsize,
    deleted_in_trouble: AtomicUsize,
}

/// Clients push, pull and delete before, during and after what happens to a replica.
async fn storm(trouble: impl AsyncFnOnce(&Cluster)) {
    let cluster = Cluster::start().await;
    let tally = Arc::new(Tally::default());
    let stop = tokio_util::sync::CancellationToken::new();
    let in_trouble = tokio_util::sync::CancellationToken::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (client, tally, stop) = (Client::new(&cluster), tally.clone(), stop.clone());
            let in_trouble = in_trouble.clone();
            tokio::spawn(async move {
                let mut kept = Vec::new();
                let mut round = 0;
                while !stop.is_cancelled() {
                    work(&client, &tally, number, round, &mut kept, in_trouble.is_cancelled()).await;
                    round += 1;
                }
                kept
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    in_trouble.cancel();
    trouble(&cluster).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    stop.cancel();
    let client = Client::new(&cluster);
    cluster.await_ready().await;
    for kept in clients {
        for image in kept.await.unwrap() {
            for replica in 0..3 {
                assert!(client.is_there(replica, &image).await.unwrap(), "{image} is lost on replica {replica}");
            }
        }
    }
    eprintln!("{tally:?}");
    assert!(tally.pushed.load(Ordering::Relaxed) > CLIENTS && tally.deleted.load(Ordering::Relaxed) > CLIENTS);
    assert!(tally.deleted_in_trouble.load(Ordering::Relaxed) > 0, "no delete went through in the trouble");
}

/// One image's life: it is pushed somewhere, read everywhere, and most often deleted somewhere and read everywhere again.
/// Images whose delete was not answered are not looked at again: they may be there or not.
async fn work(client: &Client, tally: &Tally, number: usize, round: usize, kept: &mut Vec<String>, in_trouble: bool) {
    let image = Image::new(&format!("image {round} of client {number}"));
    let tag = format!("client-{number}-{round}");
    let began = Instant::now();
    let mut at = number + round;
    while client.push(at % 3, &image, &tag).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(120), "{tag} cannot be pushed anywhere");
        at += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tally.pushed.fetch_add(1, Ordering::Relaxed);
    for replica in 0..3 {
        if let Ok(found) = client.is_there(replica, &image.digest).await {
            assert!(found, "{tag} is not on replica {replica} although its push was answered");
        }
    }
    if round.is_multiple_of(4) {
        return kept.push(image.digest);
    }
    if client.delete((at + 1) % 3, &image.digest).await.is_err() {
        return;
    }
    for replica in 0..3 {
        if let Ok(found) = client.is_there(replica, &image.digest).await {
            assert!(!found, "replica {replica} answers with {tag}, whose delete was answered");
        }
        if let Ok(found) = client.tagged(replica, &tag).await {
            assert_eq!(found, None, "replica {replica} answers with {tag}, whose delete was answered");
        }
    }
    tally.deleted.fetch_add(1, Ordering::Relaxed);
    tally.deleted_in_trouble.fetch_add(usize::from(in_trouble), Ordering::Relaxed);
}
