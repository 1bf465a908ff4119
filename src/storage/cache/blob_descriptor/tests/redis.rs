//! The shared cache alone.

use std::time::{Duration, Instant};

use ulid::Ulid;

use crate::oci::Descriptor;

use crate::storage::{
    RedisOptions, RedisTarget, RedisTimeouts,
    blobs::linked_store::blob_descriptor,
    cache::blob_descriptor::{BlobDescriptorService as _, DescriptorKey, NotCleared, RedisDescriptors},
    fixtures::sha256,
    metrics::CacheMetrics,
};

use super::{
    assert_unknown, fill_of, known, layer_key, manifest_key,
    redis_server::{Gate, RedisServer, Way, target},
};

const EPOCH: Ulid = Ulid(1 << 80);

async fn cache(target: RedisTarget) -> RedisDescriptors {
    let cache = RedisDescriptors::new(target, CacheMetrics::default());
    cache.adopt(EPOCH);
    cache.connected().await;
    cache
}

fn flotsam() -> Descriptor {
    blob_descriptor(sha256(b"flotsam"), 7)
}

async fn remember(cache: &RedisDescriptors, key: &DescriptorKey) {
    cache.set(key, &flotsam(), fill_of(cache, key).await).await;
    assert_eq!(known(cache, key).await, Some(flotsam()));
}

/// Waits until a look-up is answered again.
async fn until_it_answers(cache: &RedisDescriptors) {
    let probe = layer_key("probe", b"probe");
    let answers = async {
        while cache.clear(std::slice::from_ref(&probe)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), answers).await.unwrap();
}

#[tokio::test]
async fn what_was_set_is_known_to_all_replicas_until_one_clears_it() {
    let server = RedisServer::start().await;
    let (one, other) = (cache(server.target()).await, cache(server.target()).await);
    let key = layer_key("a", b"flotsam");
    remember(&one, &key).await;
    assert_eq!(known(&other, &key).await, Some(flotsam()));
    assert_unknown(&other, &manifest_key("a", b"flotsam"), "a manifest is not the blob of its bytes").await;
    assert_unknown(&other, &layer_key("b", b"flotsam"), "membership is a repository's").await;
    other.clear(std::slice::from_ref(&key)).await.unwrap();
    for cache in [&one, &other] {
        assert_unknown(cache, &key, "it was cleared").await;
    }
}

#[tokio::test]
async fn a_fill_that_began_before_another_replicas_clear_does_not_land_after_it() {
    let server = RedisServer::start().await;
    let (one, other) = (cache(server.target()).await, cache(server.target()).await);
    let key = layer_key("a", b"flotsam");
    let fill = fill_of(&one, &key).await;
    other.clear(std::slice::from_ref(&key)).await.unwrap();
    // Somebody asked since, so that the entry has a nonce again.
    let _ = fill_of(&other, &key).await;
    one.set(&key, &flotsam(), fill).await;
    assert_unknown(&other, &key, "the nonce is another one").await;
    remember(&one, &key).await;
}

#[tokio::test]
async fn a_fill_does_not_land_in_a_redis_that_forgot_its_nonce() {
    let server = RedisServer::start().await;
    let cache = cache(server.target()).await;
    let key = layer_key("a", b"flotsam");
    let fill = fill_of(&cache, &key).await;
    cache.clear(std::slice::from_ref(&key)).await.unwrap();
    let () = server.command(&["FLUSHALL"]).await;
    cache.set(&key, &flotsam(), fill).await;
    assert_unknown(&cache, &key, "whether it was cleared since nobody knows").await;
    remember(&cache, &key).await;
}

#[tokio::test]
async fn entries_of_another_epoch_are_not_looked_at() {
    let server = RedisServer::start().await;
    let cache = cache(server.target()).await;
    let key = layer_key("a", b"flotsam");
    remember(&cache, &key).await;
    assert!(cache.adopt(Ulid(EPOCH.0 + 1)));
    assert_unknown(&cache, &key, "the epoch is over").await;
    assert!(!cache.adopt(EPOCH), "epochs do not go back");
    assert_eq!(cache.epoch(), Some(Ulid(EPOCH.0 + 1)));
}

#[tokio::test]
async fn what_redis_brings_back_from_an_older_snapshot_is_not_looked_at() {
    let mut server = RedisServer::start().await;
    let cache = cache(server.target()).await;
    let key = layer_key("a", b"flotsam");
    remember(&cache, &key).await;
    let () = server.command(&["SAVE"]).await;
    cache.clear(std::slice::from_ref(&key)).await.unwrap();
    server.kill();
    server.start_again().await;
    assert_eq!(server.keys().await.len(), 1, "redis has it again");
    until_it_answers(&cache).await;
    assert_unknown(&cache, &key, "it was cleared before the crash").await;
    remember(&cache, &key).await;
}

#[tokio::test]
async fn what_a_master_gets_back_from_its_standby_is_not_looked_at() {
    let (first, second) = (RedisServer::start().await, RedisServer::start().await);
    // The first standby that comes makes a master name its data set anew.
    second.follow(&first).await;
    let cache = cache(first.target()).await;
    let key = layer_key("a", b"flotsam");
    remember(&cache, &key).await;
    let replicated = async {
        while second.keys().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), replicated).await.unwrap();
    // The standby hears nothing of the clear, takes over, and gives its data to the first one, which takes over again.
    second.promote().await;
    cache.clear(std::slice::from_ref(&key)).await.unwrap();
    first.follow(&second).await;
    assert_eq!(first.keys().await.len(), 1, "the entry is back");
    assert_unknown(&cache, &key, "the data are another server's").await;
    first.promote().await;
    assert_unknown(&cache, &key, "it was cleared, whether or not the connection is the same").await;
    until_it_answers(&cache).await;
    assert_unknown(&cache, &key, "it was cleared").await;
    remember(&cache, &key).await;
}

#[tokio::test]
async fn a_clear_that_a_server_with_other_data_would_carry_out_is_not_one() {
    let (first, second) = (RedisServer::start().await, RedisServer::start().await);
    let cache = cache(first.target()).await;
    let key = layer_key("a", b"flotsam");
    remember(&cache, &key).await;
    first.follow(&second).await;
    first.promote().await;
    assert_eq!(cache.clear(std::slice::from_ref(&key)).await, Err(NotCleared));
}

#[tokio::test]
async fn a_redis_that_is_down_fails_nothing_and_is_found_again() {
    let mut server = RedisServer::start().await;
    let cache = cache(server.target()).await;
    let key = layer_key("a", b"flotsam");
    let fill = fill_of(&cache, &key).await;
    server.kill();
    cache.set(&key, &flotsam(), fill).await;
    assert_unknown(&cache, &key, "nobody answers").await;
    assert_eq!(cache.clear(std::slice::from_ref(&key)).await, Err(NotCleared));
    server.start_again().await;
    until_it_answers(&cache).await;
    remember(&cache, &key).await;
}

#[tokio::test]
async fn a_redis_that_says_nothing_is_given_up_after_a_few_look_ups() {
    let server = RedisServer::start().await;
    let gate = Gate::before(&server);
    let lookup = Duration::from_millis(500);
    let timeouts = RedisTimeouts { lookup, clear: lookup, connect: lookup, retry: lookup * 4 };
    let target = RedisTarget::new(RedisOptions { timeouts, ..RedisOptions::at(gate.address()) }).unwrap();
    let cache = cache(target).await;
    until_it_answers(&cache).await;
    gate.set(Way::Slow);
    let began = Instant::now();
    for number in 0..1000_u32 {
        assert_unknown(&cache, &layer_key("a", &number.to_be_bytes()), "nobody answers").await;
    }
    let took = began.elapsed();
    // Without the limit on failures it would be 500 s.
    assert!(took < lookup * 20, "1,000 look-ups took {took:?}");
    gate.set(Way::Open);
    until_it_answers(&cache).await;
    remember(&cache, &layer_key("a", b"flotsam")).await;
}

#[tokio::test]
async fn a_fill_that_arrives_late_at_redis_does_not_land_after_a_clear() {
    let server = RedisServer::start().await;
    let gate = Gate::before(&server);
    let (slow, other) = (cache(target(&gate.address())).await, cache(server.target()).await);
    let key = layer_key("a", b"flotsam");
    let fill = fill_of(&slow, &key).await;
    gate.set(Way::Slow);
    let descriptor = flotsam();
    let filling = slow.set(&key, &descriptor, fill);
    let clearing = async {
        other.clear(std::slice::from_ref(&key)).await.unwrap();
        gate.set(Way::Open);
    };
    futures::future::join(filling, clearing).await;
    assert_unknown(&other, &key, "the fill was late").await;
}

#[tokio::test]
async fn a_user_with_a_password_is_let_in_and_one_without_is_not() {
    let server = RedisServer::start().await;
    let () = server
        .command(&[
            "ACL",
            "SETUSER",
            "lagan",
            "on",
            ">driftwood",
            "~lagan:*",
            "+@read",
            "+@write",
            "+@scripting",
            "+info",
        ])
        .await;
    let () = server.command(&["ACL", "SETUSER", "default", "-@all", "+acl"]).await;
    let login = RedisOptions {
        username: Some("lagan".into()),
        password: Some("driftwood".into()),
        ..RedisOptions::at(server.address())
    };
    let connect = Duration::from_secs(10);
    let timeouts = RedisTimeouts { lookup: connect, clear: connect, connect, retry: connect };
    let known_user = cache(RedisTarget::new(RedisOptions { timeouts, ..login.clone() }).unwrap()).await;
    remember(&known_user, &layer_key("a", b"flotsam")).await;
    let stranger = RedisOptions { password: Some("jetsam".into()), ..login };
    let stranger = cache(RedisTarget::new(stranger).unwrap()).await;
    assert_eq!(stranger.clear(&[layer_key("a", b"flotsam")]).await, Err(NotCleared));
}

#[tokio::test]
async fn every_entry_has_an_end() {
    let server = RedisServer::start().await;
    let cache = cache(server.target()).await;
    let (filled, asked_for) = (layer_key("a", b"flotsam"), layer_key("a", b"jetsam"));
    remember(&cache, &filled).await;
    let _ = fill_of(&cache, &asked_for).await;
    let keys = server.keys().await;
    assert_eq!(keys.len(), 2);
    for key in keys {
        let ends_in: i64 = server.command(&["PTTL", &key]).await;
        let longest = if key.ends_with(&asked_for.digest.to_string()) { 30_000 } else { 3_600_000 };
        assert!((1..=longest).contains(&ends_in), "{key} ends in {ends_in} ms");
    }
}
