//! Several replicas on one store, and one Redis.

use std::sync::Arc;

use async_trait::async_trait;
use ulid::Ulid;

use crate::oci::Digest;

use crate::storage::{
    Audience, CallError, Catalog, Error, Options, ReplicaAnswer, ReplicaCall, ReplicaCalls, ReplicaSetup, Repository,
    Timing,
    blobs::linked_store::blob_descriptor,
    cache::blob_descriptor::{BlobDescriptorService as _, DescriptorKey},
    driver::{Durability, StorageDriver as _},
    fixtures::{World, name, open, options, sha256},
    layout::PathSpec,
    tests::{by, cause, image, is_there, put},
};

use super::{assert_unknown, fill_of, known, redis_server::RedisServer};

async fn replica(world: &World, server: &RedisServer) -> Catalog {
    let options = Options { redis: Some(server.target()), ..options() };
    open(Arc::clone(&world.driver) as _, options, world.clock.clone()).await
}

fn repository(catalog: &Catalog) -> Repository {
    catalog.repository(&name("a"))
}

async fn push(catalog: &Catalog) -> Digest {
    image("flotsam").push(&repository(catalog), Some("latest")).await.unwrap()
}

async fn delete(catalog: &Catalog, digest: &Digest) {
    repository(catalog).delete_manifest(&by(digest), cause()).await.unwrap();
}

/// What a delete tells the others.
async fn tell(deleter: &Catalog, other: &Catalog, digest: &Digest) {
    other.store.forget_descriptors_told(&name("a"), digest, deleter.store.cache_epoch()).await.unwrap();
}

async fn sees(catalog: &Catalog, digest: &Digest) -> bool {
    is_there(&repository(catalog), &by(digest)).await
}

#[tokio::test]
async fn a_replica_that_starts_finds_redis_warm() {
    let (world, server) = (World::new(), RedisServer::start().await);
    let first = replica(&world, &server).await;
    let digest = push(&first).await;
    assert!(sees(&first, &digest).await);
    drop(first);
    world.memory.remove_now(&PathSpec::RevisionLink(&name("a"), &digest).path());
    assert!(sees(&replica(&world, &server).await, &digest).await, "nothing told redis that the link is gone");
    let () = server.command(&["FLUSHALL"]).await;
    assert!(!sees(&replica(&world, &server).await, &digest).await, "the links say it");
}

/// The registry of a store in another place, with the same Redis.
async fn registry(world: &World, server: &RedisServer, place: &str) -> Catalog {
    let redis = server.target_for(place);
    open(Arc::clone(&world.driver) as _, Options { redis: Some(redis), ..options() }, world.clock.clone()).await
}

#[tokio::test]
async fn registries_whose_stores_are_copies_do_not_answer_for_each_other() {
    let (world, copied, server) = (World::new(), World::new(), RedisServer::start().await);
    let original = registry(&world, &server, "s3://images").await;
    let digest = push(&original).await;
    for path in world.memory.paths() {
        let content = world.memory.get(&path).await.unwrap();
        copied.memory.put(&path, content, Durability::Durable).await.unwrap();
    }
    let copy = registry(&copied, &server, "s3://images-copy").await;
    assert!(sees(&original, &digest).await && sees(&copy, &digest).await);
    assert_ne!(copy.store.cache_epoch(), original.store.cache_epoch());
    delete(&copy, &digest).await;
    // Whoever asks the original teaches its cache again.
    original.store.descriptors.memory.clear_all();
    assert!(sees(&original, &digest).await);
    assert!(!sees(&copy, &digest).await, "it is deleted here");
    assert!(!sees(&registry(&copied, &server, "s3://images-copy").await, &digest).await);
    let again = registry(&world, &server, "s3://images").await;
    assert_eq!(again.store.cache_epoch(), original.store.cache_epoch(), "the original's cache stays warm");
}

#[tokio::test]
async fn a_copy_that_cannot_be_written_is_read_without_redis() {
    let (world, server) = (World::new(), RedisServer::start().await);
    let original = registry(&world, &server, "s3://images").await;
    let digest = push(&original).await;
    let before = server.keys().await;
    world.driver.crash(0, crate::storage::driver::faulty::Fault::Refused);
    let copy = registry(&world, &server, "s3://images-copy").await;
    assert!(sees(&copy, &digest).await);
    assert_eq!(copy.store.cache_epoch(), None);
    assert_eq!(server.keys().await.len(), before.len(), "nothing was looked up there");
    world.driver.heal();
    delete(&copy, &digest).await;
    assert!(copy.store.cache_epoch() > original.store.cache_epoch(), "it begins its own as soon as it can");
}

#[tokio::test]
async fn nothing_is_promised_that_only_a_cache_knows() {
    let blob = sha256(&image("flotsam").blobs()[0]);
    let (link, bytes) = (PathSpec::LayerLink(&name("a"), &blob).path(), PathSpec::BlobData(&blob).path());
    for gone in [link, bytes] {
        let (world, server) = (World::new(), RedisServer::start().await);
        let first = replica(&world, &server).await;
        push(&first).await;
        repository(&first).stat_blob(&blob, Audience::Puller).await.unwrap();
        world.memory.remove_now(&gone);
        for catalog in [first, replica(&world, &server).await] {
            repository(&catalog).stat_blob(&blob, Audience::Puller).await.unwrap();
            let promised = repository(&catalog).stat_blob(&blob, Audience::Pusher).await;
            assert!(matches!(promised, Err(Error::BlobUnknown { .. })), "without {gone}: {promised:?}");
            assert_eq!(catalog.repository(&name("b")).mount_blob(&blob, &name("a")).await.unwrap(), None);
            let put = repository(&catalog).put_manifest(put(&image("flotsam").bytes(), None)).await;
            assert!(matches!(put, Err(Error::InvalidReferences(_))), "without {gone}: {put:?}");
        }
    }
}

#[tokio::test]
async fn what_one_replica_deletes_another_forgets_when_it_is_told() {
    let (world, server) = (World::new(), RedisServer::start().await);
    let (deleter, other) = (replica(&world, &server).await, replica(&world, &server).await);
    let digest = push(&deleter).await;
    assert!(sees(&other, &digest).await);
    delete(&deleter, &digest).await;
    tell(&deleter, &other, &digest).await;
    assert!(!sees(&other, &digest).await);
    assert!(!sees(&deleter, &digest).await);
}

#[tokio::test]
async fn a_read_on_another_replica_that_the_delete_overtook_is_not_remembered() {
    let (world, server) = (World::new(), RedisServer::start().await);
    let (deleter, other) = (replica(&world, &server).await, replica(&world, &server).await);
    let digest = push(&deleter).await;
    let key = DescriptorKey::both(&name("a"), &digest)[1].clone();
    let fill = fill_of(&*other.store.descriptors, &key).await;
    let read = other.store.linked_descriptor(&key).await.unwrap().unwrap();
    delete(&deleter, &digest).await;
    tell(&deleter, &other, &digest).await;
    other.store.descriptors.set(&key, &read, fill).await;
    for catalog in [&deleter, &other, &replica(&world, &server).await] {
        assert_unknown(&*catalog.store.descriptors, &key, "it was read before the delete").await;
    }
}

#[tokio::test]
async fn an_epoch_whose_raiser_did_not_live_to_tell_is_cleared_by_the_next_delete() {
    let (world, server) = (World::new(), RedisServer::start().await);
    let (raiser, deleter) = (replica(&world, &server).await, replica(&world, &server).await);
    let digest = push(&raiser).await;
    raiser.store.raise_cache_epoch().await.unwrap();
    assert_ne!(raiser.store.cache_epoch(), deleter.store.cache_epoch());
    assert!(sees(&raiser, &digest).await);
    drop(raiser);
    delete(&deleter, &digest).await;
    let starts = replica(&world, &server).await;
    assert!(!sees(&starts, &digest).await);
    assert_eq!(starts.store.cache_epoch(), deleter.store.cache_epoch());
}

#[tokio::test]
async fn two_epochs_that_are_raised_at_once_do_not_set_each_other_back() {
    let (world, server) = (World::new(), RedisServer::start().await);
    let (one, other) = (replica(&world, &server).await, replica(&world, &server).await);
    let digest = push(&one).await;
    assert!(sees(&one, &digest).await);
    let (first, second) = futures::future::join(one.store.raise_cache_epoch(), other.store.raise_cache_epoch()).await;
    first.unwrap();
    second.unwrap();
    let greatest = one.store.cache_epoch().max(other.store.cache_epoch());
    let starts = replica(&world, &server).await;
    assert_eq!(starts.store.cache_epoch(), greatest);
    let names = starts.store.names(PathSpec::CacheEpochs).await.unwrap();
    assert_eq!(names, [greatest.unwrap().to_string()], "the others are outdated");
}

#[tokio::test]
async fn what_is_read_from_redis_while_the_epoch_is_raised_is_forgotten_with_the_rest() {
    let (world, server) = (World::new(), RedisServer::start().await);
    let catalog = replica(&world, &server).await;
    let digest = push(&catalog).await;
    assert!(sees(&catalog, &digest).await);
    // Redis answers look-ups, and refuses to forget.
    let () = server.command(&["ACL", "SETUSER", "default", "-del"]).await;
    let held = world.driver.hold(|path| path.as_str().contains("cache-epoch"));
    let deleting = async { delete(&catalog, &digest).await };
    let reading = async {
        held.reached.await.unwrap();
        let key = DescriptorKey::both(&name("a"), &digest)[1].clone();
        assert!(known(&*catalog.store.descriptors, &key).await.is_some(), "the delete is not answered yet");
        held.go.send(()).unwrap();
    };
    futures::future::join(deleting, reading).await;
    assert!(!sees(&catalog, &digest).await);
}

#[tokio::test]
async fn a_replica_that_joins_again_forgets_what_it_was_not_told_of() {
    let (world, server) = (World::new(), RedisServer::start().await);
    let (deleter, gone) = (replica(&world, &server).await, replica(&world, &server).await);
    let (read, being_read) = (push(&deleter).await, image("jetsam").push(&repository(&deleter), None).await.unwrap());
    assert!(sees(&gone, &read).await);
    let key = DescriptorKey::both(&name("a"), &being_read)[1].clone();
    let fill = fill_of(&*gone.store.descriptors, &key).await;
    // Redis has no part in this: its entries go with the deletes, or with their epoch.
    let () = server.command(&["ACL", "SETUSER", "default", "-del"]).await;
    delete(&deleter, &read).await;
    delete(&deleter, &being_read).await;
    gone.store.join_descriptor_caches().await.unwrap();
    gone.store.descriptors.set(&key, &blob_descriptor(being_read.clone(), 1), fill).await;
    for digest in [&read, &being_read] {
        assert!(!sees(&gone, digest).await);
    }
    assert_eq!(gone.store.cache_epoch(), deleter.store.cache_epoch());
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_read_without_redis() {
    let (world, server) = (World::new(), RedisServer::start().await);
    world.driver.crash(0, crate::storage::driver::faulty::Fault::Refused);
    let catalog = replica(&world, &server).await;
    assert_eq!(catalog.store.cache_epoch(), None);
    world.driver.heal();
    let digest = push(&catalog).await;
    assert!(sees(&catalog, &digest).await);
    assert!(server.keys().await.is_empty());
    delete(&catalog, &digest).await;
    assert!(!sees(&catalog, &digest).await);
}

#[tokio::test]
async fn a_delete_that_can_clear_neither_redis_nor_raise_its_epoch_is_not_answered_as_done() {
    let (world, server) = (World::new(), RedisServer::start().await);
    let catalog = replica(&world, &server).await;
    let digest = push(&catalog).await;
    assert!(sees(&catalog, &digest).await);
    let () = server.command(&["ACL", "SETUSER", "default", "-del"]).await;
    let held = world.driver.hold(|path| path.as_str().contains("cache-epoch"));
    let deleting = async { repository(&catalog).delete_manifest(&by(&digest), cause()).await };
    let failing = async {
        held.reached.await.unwrap();
        world.driver.crash(0, crate::storage::driver::faulty::Fault::Refused);
        held.go.send(()).unwrap();
    };
    let (deleted, ()) = futures::future::join(deleting, failing).await;
    assert!(deleted.is_err(), "{deleted:?}");
    world.driver.heal();
    // As the next change does.
    catalog.store.settle_parked().await;
    assert!(!sees(&catalog, &digest).await);
}

/// Nobody else is there to be asked.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl ReplicaCalls for Nobody {
    async fn call(&self, _: Ulid, _: &str, call: &ReplicaCall) -> Result<ReplicaAnswer, CallError> {
        Err(CallError { source: format!("{} asks nobody", call.name()).into() })
    }
}

#[tokio::test]
async fn a_replica_without_a_lease_asks_no_cache() {
    let (world, server) = (World::new(), RedisServer::start().await);
    let setup = ReplicaSetup { address: "nowhere:5001".into(), calls: Arc::new(Nobody) };
    let options = Options { redis: Some(server.target()), ..options() };
    let catalog =
        Catalog::open_shared(Arc::clone(&world.driver) as _, options, world.clock.clone(), Timing::default(), setup);
    catalog.joined().await;
    let digest = push(&catalog).await;
    assert!(sees(&catalog, &digest).await);
    world.memory.remove_now(&PathSpec::RevisionLink(&name("a"), &digest).path());
    assert!(sees(&catalog, &digest).await, "it is told of what is deleted, and answers from memory");
    catalog.store.replicas.as_ref().unwrap().kill();
    assert!(!sees(&catalog, &digest).await, "nobody waits for it any more, and nobody tells it");
    assert!(!server.keys().await.is_empty(), "redis still has it");
}
