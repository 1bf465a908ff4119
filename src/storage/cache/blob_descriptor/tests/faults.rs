//! A Redis that fails between each two steps of a delete.

use std::{sync::Arc, time::Duration};

use crate::oci::Digest;

use crate::storage::{
    Catalog, Options, RedisOptions, RedisTarget, RedisTimeouts,
    cache::blob_descriptor::{BlobDescriptorService as _, DescriptorKey, Lookup},
    fixtures::{World, name, open, options},
    tests::{by, cause, image, is_there},
};

use super::redis_server::{Gate, RedisServer, Way};

/// What happens to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Its connections end, and it accepts no more.
    Cut,
    /// It says nothing.
    Slow,
    /// It crashes, and when it comes back, it does with what it knew at first.
    Restarted,
    /// It forgets everything.
    Emptied,
}

const TROUBLES: [Trouble; 4] = [Trouble::Cut, Trouble::Slow, Trouble::Restarted, Trouble::Emptied];

/// Short, because each stands for a wait of the test; what is shown holds whoever waits for how long.
const WAIT: Duration = Duration::from_millis(300);

const REPOSITORY: &str = "a";

/// Two replicas, a Redis that both have filled, and a manifest in it.
struct Scene {
    world: World,
    server: RedisServer,
    gate: Gate,
    deleter: Catalog,
    other: Catalog,
    digest: Digest,
}

impl Scene {
    async fn set() -> Self {
        let world = World::new();
        let server = RedisServer::start().await;
        let gate = Gate::before(&server);
        let deleter = replica(&world, &gate).await;
        let other = replica(&world, &gate).await;
        let repository = deleter.repository(&name(REPOSITORY));
        let digest = image("flotsam").push(&repository, Some("latest")).await.unwrap();
        let scene = Self { world, server, gate, deleter, other, digest };
        for catalog in [&scene.deleter, &scene.other] {
            assert!(scene.is_seen_by(catalog).await);
        }
        let keys = scene.server.keys().await;
        assert!(keys.iter().any(|key| key.ends_with(&scene.digest.to_string())), "{keys:?}");
        let () = scene.server.command(&["SAVE"]).await;
        scene
    }

    async fn is_seen_by(&self, catalog: &Catalog) -> bool {
        is_there(&catalog.repository(&name(REPOSITORY)), &by(&self.digest)).await
    }

    async fn begins(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Cut => self.gate.set(Way::Cut),
            Trouble::Slow => self.gate.set(Way::Slow),
            Trouble::Restarted => self.server.kill(),
            Trouble::Emptied => self.server.command(&["FLUSHALL"]).await,
        }
    }

    /// Ends the trouble, and waits until both replicas have found out.
    async fn ends(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Cut | Trouble::Slow => self.gate.set(Way::Open),
            Trouble::Restarted => self.server.start_again().await,
            Trouble::Emptied => {}
        }
        let key = super::layer_key("probe", b"probe");
        let found = async {
            for catalog in [&self.deleter, &self.other] {
                let redis = catalog.store.descriptors.redis.as_ref().unwrap();
                while redis.clear(std::slice::from_ref(&key)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found).await.unwrap();
    }

    /// Deletes the manifest, while `meanwhile` happens before its write number `at`; whether it has so many.
    async fn delete(&mut self, at: usize, meanwhile: impl AsyncFnOnce(&mut Self)) -> bool {
        let mut writes = 0..;
        let held = self.world.driver.hold(move |_| writes.next() == Some(at));
        // A right to fill from before the delete.
        let key = DescriptorKey::both(&name(REPOSITORY), &self.digest)[0].clone();
        let Lookup::Unknown(late) = self.other.store.descriptors.stat(&key).await else { panic!("it is no layer") };
        let (repository, digest) = (self.deleter.repository(&name(REPOSITORY)), self.digest.clone());
        let mut deleting = tokio::spawn(async move { repository.delete_manifest(&by(&digest), cause()).await });
        let reached = tokio::select! {
            reached = held.reached => reached.is_ok(),
            deleted = &mut deleting => {
                deleted.unwrap().unwrap();
                false
            }
        };
        if reached {
            meanwhile(self).await;
            let _ = held.go.send(());
            deleting.await.unwrap().unwrap();
        }
        let store = &self.other.store;
        store.forget_descriptors_told(&name(REPOSITORY), &self.digest, self.deleter.store.cache_epoch()).await.unwrap();
        let descriptor = crate::storage::blobs::linked_store::blob_descriptor(self.digest.clone(), 1);
        store.descriptors.set(&key, &descriptor, late).await;
        assert_eq!(super::known(&*store.descriptors, &key).await, None, "a fill from before the delete landed");
        reached
    }

    /// Nobody sees the manifest any more: neither replica, nor one that starts now.
    async fn assert_gone(&self, when: &str) {
        for (who, catalog) in [("the deleter", &self.deleter), ("the other", &self.other)] {
            assert!(!self.is_seen_by(catalog).await, "{who} sees it {when}");
        }
        let joins = replica(&self.world, &self.gate).await;
        assert!(!self.is_seen_by(&joins).await, "one that starts sees it {when}");
    }
}

async fn replica(world: &World, gate: &Gate) -> Catalog {
    let timeouts = RedisTimeouts { lookup: WAIT, clear: WAIT, connect: WAIT, retry: WAIT };
    let target = RedisTarget::new(RedisOptions { timeouts, ..RedisOptions::at(gate.address()) }).unwrap();
    let options = Options { redis: Some(target), ..options() };
    open(Arc::clone(&world.driver) as _, options, world.clock.clone()).await
}

/// Runs `play` for each write that a delete does, and for the one after the last.
async fn at_each_write(play: impl AsyncFn(usize) -> bool) {
    let mut at = 0;
    while play(at).await {
        at += 1;
    }
    assert!(at > 3, "a delete has more writes than {at}");
}

#[tokio::test]
async fn nobody_sees_what_was_deleted_while_redis_failed() {
    for trouble in TROUBLES {
        at_each_write(async |at| {
            let mut scene = Scene::set().await;
            let reached = scene.delete(at, async |scene| scene.begins(trouble).await).await;
            scene.assert_gone(&format!("while redis is {trouble:?} since write {at}")).await;
            if reached {
                scene.ends(trouble).await;
            }
            scene.assert_gone(&format!("after redis was {trouble:?} since write {at}")).await;
            reached
        })
        .await;
    }
}

#[tokio::test]
async fn nobody_sees_what_was_deleted_while_redis_came_back() {
    for trouble in TROUBLES {
        at_each_write(async |at| {
            let mut scene = Scene::set().await;
            scene.begins(trouble).await;
            let reached = scene.delete(at, async |scene| scene.ends(trouble).await).await;
            if !reached {
                scene.ends(trouble).await;
            }
            scene.assert_gone(&format!("after redis was {trouble:?} until write {at}")).await;
            reached
        })
        .await;
    }
}
