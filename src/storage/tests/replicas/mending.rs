//! What is damaged, half-done or left behind, as several replicas deal with it.

use std::{collections::BTreeSet, time::Duration};

use crate::storage::{
    Audience, Conflict, Error, FindingKind, InspectionMode,
    driver::{Durability, StorageDriver as _},
    fixtures::sha256,
    guard::keys::Key,
    layout::PathSpec,
    records::record,
    tests::{
        cause, image, put,
        scrub::{inspect_with, kinds},
        seed_blob,
    },
};

use super::{
    scenarios::{ADDRESSES, is_gone_everywhere, seconds, simulate, started},
    time::Pulse,
};

#[tokio::test]
async fn the_freezes_of_a_collector_that_died_end_when_its_removals_cannot_land_any_more() {
    simulate(14, async |world| {
        let (processes, digest) = started(&world).await;
        let collector = processes[0].catalog.replica_id().unwrap();
        let epoch = ulid::Ulid::from(77_u128);
        // As of one that it runs: it would close another one itself.
        processes[0].catalog.store.changes.began(epoch);
        let opening = serde_json::json!({ "collector": collector });
        for (key, body) in [("open", record::encode(&opening)), ("sealed-0", record::encode(&[&digest]))] {
            let path = format!("lagan/v1/gc/{epoch}/{key}").parse().unwrap();
            world.memory.put(&path, body.unwrap(), Durability::Durable).await.unwrap();
        }
        let joiner = world.start("four:1");
        joiner.catalog.joined().await;
        let holders = || joiner.catalog.store.guard.holders();
        world.time.sleep(seconds(200)).await;
        assert_eq!(holders().len(), 1, "it stands while its collector lives");
        processes[0].set(Pulse::Dead);
        world.time.sleep(seconds(80)).await;
        assert_eq!(holders().len(), 1, "gone after 30 s, and what it removes may land for another minute");
        world.time.sleep(seconds(60)).await;
        assert!(holders().is_empty());
        image("a").push(&joiner.repository(), Some("v2")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn nobody_joins_while_a_pending_change_cannot_be_read() {
    simulate(15, async |world| {
        let (processes, _) = started(&world).await;
        let path = format!("lagan/v1/pending/{}", ulid::Ulid::from(5_u128)).parse().unwrap();
        let newer = r#"{"version":2,"checksum":"sha256:00","body":{}}"#;
        world.memory.put(&path, newer.into(), Durability::Durable).await.unwrap();
        let joiner = world.start("four:1");
        world.time.sleep(seconds(60)).await;
        assert_eq!(joiner.catalog.replica_id(), None, "it cannot know what is being removed");
        assert!(processes[0].catalog.replica_id().is_some(), "the others were asked by who removes it");
        world.memory.delete(&path).await.unwrap();
        world.time.sleep(seconds(10)).await;
        assert!(joiner.catalog.replica_id().is_some());
    })
    .await;
}

#[tokio::test]
async fn the_restore_of_a_blob_says_what_it_relies_on() {
    simulate(16, async |world| {
        let (processes, _) = started(&world).await;
        let repository = processes[0].repository();
        let blob = sha256(&image("a").blobs()[1]);
        let id = repository.delete_blob(&blob, cause()).await.unwrap().id;
        let trash = processes[1].catalog.trash();
        let restore = trash.restore(&id, Conflict::Fail, "restorer");
        let watch = async {
            let is_linked =
                || world.keys("docker/registry/v2/repositories/app/_layers").len() == image("a").blobs().len();
            let mut intents = BTreeSet::new();
            while !is_linked() {
                intents.extend(world.keys("lagan/v1/intents"));
                world.time.sleep(Duration::from_millis(1)).await;
            }
            intents
        };
        let (restored, intents) = tokio::join!(restore, watch);
        restored.unwrap();
        assert_eq!(intents.len(), 1, "before the link");
        assert_eq!(world.keys("lagan/v1/intents"), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn what_is_damaged_is_put_aside_at_every_replica() {
    simulate(17, async |world| {
        let (processes, digest) = started(&world).await;
        let layer = sha256(&image("a").blobs()[1]);
        world.memory.put(&PathSpec::BlobData(&layer).path(), "torn".into(), Durability::Durable).await.unwrap();
        let again = put(&image("a").bytes(), Some("v2"));
        let error = processes[0].repository().put_manifest(again.clone()).await.unwrap_err();
        assert!(matches!(error, Error::InvalidReferences(_)), "{error:?}");
        for process in &processes {
            for audience in [Audience::Pusher, Audience::Puller] {
                let found = process.repository().stat_blob(&layer, audience).await;
                assert!(matches!(found, Err(Error::BlobUnknown { .. })), "{found:?}");
            }
        }
        seed_blob(&processes[1].repository(), &image("a").blobs()[1]).await.unwrap();
        processes[1].repository().put_manifest(again).await.unwrap();
        world.memory.put(&PathSpec::BlobData(&digest).path(), "torn".into(), Durability::Durable).await.unwrap();
        let repaired = inspect_with(&processes[2].catalog, InspectionMode::Repair).await;
        assert_eq!(repaired.first().map(|finding| finding.kind), Some(FindingKind::CorruptBlob));
        assert!(is_gone_everywhere(&processes, &digest).await, "also where it was remembered");
        world.time.sleep(seconds(1)).await;
        assert_eq!(world.keys("lagan/v1/pending"), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn what_another_replica_is_about_to_finish_is_no_finding() {
    simulate(18, async |world| {
        let processes = world.start_all(&ADDRESSES).await;
        let repository = processes[1].repository();
        let blob = sha256(b"flotsam");
        let keys = [Key::Blob(blob.clone()), Key::Revision(repository.name().clone(), blob.clone())];
        // As in a commit: the link is there, and the bytes are not yet.
        let commit = repository.store.enter(keys).await.unwrap();
        repository.store.put_link(PathSpec::LayerLink(repository.name(), &blob), &blob).await.unwrap();
        assert_eq!(inspect_with(&processes[0].catalog, InspectionMode::Report).await, []);
        drop(commit);
        let found = inspect_with(&processes[0].catalog, InspectionMode::Report).await;
        assert_eq!(kinds(&found), [FindingKind::StaleLink], "nobody is at it any more");
        world.time.sleep(seconds(1)).await;
        assert_eq!(world.keys("lagan/v1/pending"), Vec::<String>::new());
        assert!(processes[2].catalog.store.guard.holders().is_empty());
    })
    .await;
}
