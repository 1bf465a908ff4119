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

#[path = "../support/certificate.rs"]
mod certificate;
mod client;
mod cluster;
#[path = "../support/command.rs"]
mod command;
#[path = "../support/digest.rs"]
mod digest;
#[path = "../support/environment.rs"]
mod environment;
#[path = "../support/issuer.rs"]
mod issuer;
mod line;
mod redis;
mod runs;
#[path = "../support/s3.rs"]
mod s3;
#[path = "../support/server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod server;
mod storm;

use std::time::Duration;

use client::{Client, Image};
use cluster::Cluster;
use redis::Redis;
use rustix::process::Signal;
use storm::storm;

/// Longer than a replica's lease with its margin, so that the others go on without it.
const AWAY: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn an_upload_goes_on_at_other_replicas() {
    let cluster = Cluster::start().await;
    let client = Client::new(&cluster);
    let parts = [vec![b'a'; 6 << 20], vec![b'b'; 5 << 20], vec![b'c'; 1 << 20]];
    let whole = parts.concat();
    let location = client.begin_upload(0).await.unwrap();
    let location = client.append(0, &location, &parts[0], 0).await.unwrap();
    let location = client.append(1, &location, &parts[1], parts[0].len()).await.unwrap();
    let digest = client.finish(2, &location, &parts[2], &whole).await.unwrap();
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
    storm(Cluster::start().await, async |cluster: &Cluster| {
        cluster.kill(1);
        tokio::time::sleep(AWAY).await;
        cluster.restart(1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn nothing_is_lost_or_stale_while_a_replica_stands_still() {
    storm(Cluster::start().await, async |cluster: &Cluster| {
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
    storm(Cluster::start().await, async |cluster: &Cluster| {
        cluster.cut_control(1, true);
        tokio::time::sleep(AWAY).await;
        cluster.cut_control(1, false);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn nothing_is_lost_or_stale_while_a_replica_is_cut_off_from_the_bucket() {
    storm(Cluster::start().await, async |cluster: &Cluster| {
        cluster.cut_store(1, true);
        tokio::time::sleep(AWAY).await;
        cluster.cut_store(1, false);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn nothing_is_lost_or_stale_while_redis_stands_still_ends_and_comes_back_and_a_replica_joins() {
    let redis = Redis::start().await;
    let cache = format!("descriptorCache: {{type: Redis, redis: {{address: '{}'}}}}", redis.address);
    storm(Cluster::start_with(&cache).await, async |cluster: &Cluster| {
        let moment = || tokio::time::sleep(Duration::from_secs(5));
        redis.signal(Signal::STOP);
        moment().await;
        redis.signal(Signal::CONT);
        moment().await;
        redis.kill();
        cluster.kill(1);
        moment().await;
        redis.restart().await;
        cluster.restart(1).await;
        moment().await;
        redis.restart().await;
        moment().await;
    })
    .await;
}
