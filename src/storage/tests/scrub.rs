//! What an inspection finds, what it mends, and that nothing is left then.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    oci::{Algorithm, Digest, RepositoryName},
    storage::{
        Audience, Clock as _, Finding, FindingKind as K, Inspection, InspectionMode, InspectionProgress, Repository,
        Treatment,
        driver::StorageDriver as _,
        fixtures::{World, name, sha256},
        layout::PathSpec,
        trash::index::inverted,
    },
};

use super::{
    Image, by, cause, image, index, is_there, paths_below, put, reference, referrers, seed_blob, tag, tags, tear,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn inspect(world: &World, mode: InspectionMode) -> Vec<Finding> {
    inspect_with(&world.open().await, mode).await
}

pub(super) async fn inspect_with(catalog: &crate::storage::Catalog, mode: InspectionMode) -> Vec<Finding> {
    let progress = Arc::new(InspectionProgress::default());
    let (findings, mut found) = mpsc::channel(1);
    let inspection = Inspection::new(catalog, mode, DAY, progress, findings).await.unwrap();
    let noting = async {
        let mut all = Vec::new();
        while let Some(finding) = found.recv().await {
            all.push(finding);
        }
        all
    };
    let looking = async {
        let done = inspection.run().await;
        drop(inspection);
        done
    };
    let (done, all) = tokio::join!(looking, noting);
    done.unwrap();
    all
}

pub(super) fn kinds(findings: &[Finding]) -> Vec<K> {
    findings.iter().map(|finding| finding.kind).collect()
}

/// Found twice, mended, and then gone; nothing else was written by the first looks.
async fn assert_mended(world: &World, expected: &[K]) {
    let writes = world.driver.writes();
    let reported = inspect(world, InspectionMode::Report).await;
    assert_eq!(kinds(&reported), expected, "{reported:#?}");
    assert!(reported.iter().all(|finding| finding.treatment == Treatment::Reported), "{reported:#?}");
    assert_eq!(world.driver.writes(), writes, "a report writes nothing");
    let repaired = inspect(world, InspectionMode::Repair).await;
    assert_eq!(kinds(&repaired), expected, "{repaired:#?}");
    assert!(repaired.iter().all(|finding| finding.treatment == Treatment::Repaired), "{repaired:#?}");
    assert_eq!(inspect(world, InspectionMode::Report).await, []);
}

/// An image with a tag in `app`.
async fn pushed(world: &World) -> (Repository, Image) {
    let repository = world.repository("app").await;
    let image = image("a");
    image.push(&repository, Some("v1")).await.unwrap();
    (repository, image)
}

fn app() -> RepositoryName {
    name("app")
}

#[tokio::test]
async fn nothing_is_found_where_all_is_well() {
    let world = World::new();
    let (repository, first) = pushed(&world).await;
    let child = image("child");
    child.push(&repository, None).await.unwrap();
    repository.put_manifest(put(&index(&[&child]), Some("index"))).await.unwrap();
    image("referrer").about(&first.digest()).push(&repository, None).await.unwrap();
    referrers(&repository, &first.digest()).await;
    repository.delete_manifest(&reference("v1"), cause()).await.unwrap();
    let other = image("b").push(&repository, Some("v2")).await.unwrap();
    repository.delete_manifest(&by(&other), cause()).await.unwrap();
    repository.create_upload().await.unwrap();
    assert_eq!(inspect(&world, InspectionMode::Report).await, []);
    assert_eq!(inspect(&world, InspectionMode::Repair).await, []);
}

#[tokio::test]
async fn corrupt_blobs_are_put_aside_and_can_be_pushed_again() {
    for content in ["", "flotsam", "config of a but longer"] {
        let world = World::new();
        let (repository, image) = pushed(&world).await;
        let config = sha256(&image.blobs()[0]);
        world.memory.put_now(&PathSpec::BlobData(&config).path(), content);
        let reported = inspect(&world, InspectionMode::Report).await;
        assert_eq!(reported[0].kind, K::CorruptBlob);
        assert_eq!(world.driver.get(&PathSpec::BlobData(&config).path()).await.unwrap(), content.as_bytes());
        let repaired = inspect(&world, InspectionMode::Repair).await;
        assert_eq!(kinds(&repaired), [K::CorruptBlob, K::MissingBlob], "{repaired:#?}");
        let kept = paths_below(&world.memory, "lagan/v1/quarantine/");
        assert_eq!(kept, [format!("{config}/<ulid>")]);
        let found = inspect(&world, InspectionMode::Report).await;
        assert_eq!(kinds(&found), [K::MissingBlob]);
        seed_blob(&repository, &image.blobs()[0]).await.unwrap();
        assert_eq!(inspect(&world, InspectionMode::Report).await, []);
    }
}

#[tokio::test]
async fn what_was_put_aside_is_not_answered_from_memory() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&app());
    let image = image("a");
    let digest = image.push(&repository, Some("v1")).await.unwrap();
    let layer = sha256(&image.blobs()[2]);
    for reference in [reference("v1"), by(&digest)] {
        repository.stat_manifest(&reference).await.unwrap();
    }
    repository.stat_blob(&layer, Audience::Puller).await.unwrap();
    for damaged in [&digest, &layer] {
        world.memory.put_now(&PathSpec::BlobData(damaged).path(), "damaged");
    }
    inspect_with(&catalog, InspectionMode::Repair).await;
    for reference in [reference("v1"), by(&digest)] {
        assert!(!is_there(&repository, &reference).await);
    }
    assert!(repository.stat_blob(&layer, Audience::Puller).await.is_err());
}

#[tokio::test]
async fn torn_links_are_written_again() {
    let (name, tag) = (app(), tag("v1"));
    let digest = image("a").digest();
    let layer = sha256(&image("a").blobs()[1]);
    for spec in [
        PathSpec::RevisionLink(&name, &digest),
        PathSpec::LayerLink(&name, &layer),
        PathSpec::TagIndex(&name, &tag, &digest),
        PathSpec::TagCurrent(&name, &tag),
    ] {
        let world = World::new();
        pushed(&world).await;
        tear(&world, spec).await;
        assert_mended(&world, &[K::TornLink]).await;
        assert_eq!(
            world.driver.get(&spec.path()).await.unwrap(),
            if spec.path().as_str().contains("_layers") { layer.to_string() } else { digest.to_string() }.as_bytes()
        );
    }
}

#[tokio::test]
async fn a_link_that_names_other_content_is_mended_and_one_of_stock_distribution_is_none() {
    let world = World::new();
    let (repository, image) = pushed(&world).await;
    // Both are of the same length.
    let (config, layer) = (sha256(&image.blobs()[0]), sha256(&image.blobs()[2]));
    let alias = Digest::of(Algorithm::Sha512, &image.blobs()[2]);
    world.memory.put_now(&PathSpec::LayerLink(&app(), &alias).path(), &layer.to_string());
    assert_eq!(inspect(&world, InspectionMode::Repair).await, []);
    assert!(repository.open_blob(&alias).await.is_ok());
    world.memory.put_now(&PathSpec::LayerLink(&app(), &layer).path(), &config.to_string());
    assert_mended(&world, &[K::WrongLink]).await;
    world.memory.put_now(&PathSpec::LayerLink(&app(), &alias).path(), &config.to_string());
    let repaired = inspect(&world, InspectionMode::Repair).await;
    assert_eq!(kinds(&repaired), [K::WrongLink, K::StaleLink], "the link's own bytes were never here");
    assert_eq!(inspect(&world, InspectionMode::Report).await, []);
}

#[tokio::test]
async fn what_is_missing_is_named_with_what_needs_it() {
    let world = World::new();
    let (repository, image) = pushed(&world).await;
    let layer = sha256(&image.blobs()[2]);
    world.memory.remove_now(&PathSpec::BlobData(&layer).path());
    let found = inspect(&world, InspectionMode::Repair).await;
    assert_eq!(kinds(&found), [K::MissingBlob], "a needed link stays: {found:#?}");
    assert_eq!((found[0].digest.as_ref(), found[0].treatment), (Some(&layer), Treatment::Beyond));
    assert!(found[0].detail.contains(&image.digest().to_string()));
    seed_blob(&repository, &image.blobs()[2]).await.unwrap();
    world.memory.remove_now(&PathSpec::BlobData(&image.digest()).path());
    assert_eq!(kinds(&inspect(&world, InspectionMode::Repair).await), [K::MissingManifest]);
    image.push(&repository, Some("v1")).await.unwrap();
    assert_eq!(inspect(&world, InspectionMode::Report).await, []);
}

#[tokio::test]
async fn a_child_that_was_deleted_is_good_to_know_and_one_that_is_lost_is_damage() {
    let world = World::new();
    let (repository, child) = pushed(&world).await;
    repository.put_manifest(put(&index(&[&child]), Some("index"))).await.unwrap();
    repository.delete_manifest(&by(&child.digest()), cause()).await.unwrap();
    let found = inspect(&world, InspectionMode::Report).await;
    assert_eq!(kinds(&found), [K::DeletedReference]);
    assert!(!found[0].kind.is_damage());
    child.push(&repository, None).await.unwrap();
    world.memory.delete_directory(&"lagan/v1/trash".parse().unwrap()).await.unwrap();
    world.memory.remove_now(&PathSpec::RevisionLink(&app(), &child.digest()).path());
    let found = inspect(&world, InspectionMode::Report).await;
    assert_eq!(kinds(&found), [K::MissingManifest]);
}

#[tokio::test]
async fn a_size_that_a_manifest_gives_wrong_is_said() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    image.push(&repository, None).await.unwrap();
    let text = String::from_utf8(image.bytes().to_vec()).unwrap();
    let wrong = Bytes::from(text.replacen(r#""size":11"#, r#""size":12"#, 1));
    assert_ne!(wrong, image.bytes());
    let digest = sha256(&wrong);
    world.memory.put_now(&PathSpec::BlobData(&digest).path(), std::str::from_utf8(&wrong).unwrap());
    world.memory.put_now(&PathSpec::RevisionLink(&app(), &digest).path(), &digest.to_string());
    assert_eq!(kinds(&inspect(&world, InspectionMode::Report).await), [K::MissingFact, K::WrongSize]);
}

#[tokio::test]
async fn tags_that_lead_nowhere_are_removed_with_their_history_kept() {
    let world = World::new();
    let (repository, image) = pushed(&world).await;
    let (name, digest) = (app(), image.digest());
    // A crash before the tag's link; and one of another registry, which removed the revision first.
    world.memory.put_now(&PathSpec::TagIndex(&name, &tag("begun"), &digest).path(), &digest.to_string());
    let gone = sha256(b"gone");
    world.memory.put_now(&PathSpec::TagCurrent(&name, &tag("left")).path(), &gone.to_string());
    // Not listed before: a list takes the first one back by itself.
    assert_mended(&world, &[K::DanglingTag, K::DanglingTag]).await;
    assert_eq!(tags(&repository).await, ["v1"]);
    assert!(is_there(&repository, &reference("v1")).await);
    let pushes = world.driver.list(&PathSpec::TagPushes(&name, &tag("left")).path(), None, 10).await.unwrap();
    assert_eq!(pushes.len(), 1);
}

#[tokio::test]
async fn a_tag_that_is_removed_is_not_listed_from_memory() {
    let world = World::new();
    let (_, image) = pushed(&world).await;
    let (name, digest) = (app(), image.digest());
    for number in 0..1_280 {
        let tag = tag(&format!("t{number}"));
        world.memory.put_now(&PathSpec::TagCurrent(&name, &tag).path(), &digest.to_string());
    }
    world.memory.put_now(&PathSpec::TagCurrent(&name, &tag("left")).path(), &sha256(b"gone").to_string());
    let catalog = world.open().await;
    let repository = catalog.repository(&name);
    let first = repository.tags(None, 2_000).await.unwrap().entries;
    assert!(first.contains(&tag("left")));
    assert_eq!(kinds(&inspect_with(&catalog, InspectionMode::Repair).await), [K::DanglingTag]);
    let second = repository.tags(None, 2_000).await.unwrap().entries;
    assert_eq!(second.len(), first.len() - 1);
    assert!(!second.contains(&tag("left")));
}

#[tokio::test]
async fn a_push_that_is_under_way_is_no_finding() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&app());
    let pushing = async {
        for number in 0..50 {
            image(&number.to_string()).push(&repository, Some(&format!("v{number}"))).await.unwrap();
            repository.delete_manifest(&reference(&format!("v{number}")), cause()).await.unwrap();
            image("same").push(&repository, Some("same")).await.unwrap();
        }
    };
    let looking = async {
        for _ in 0..10 {
            assert_eq!(inspect_with(&catalog, InspectionMode::Repair).await, []);
        }
    };
    tokio::join!(pushing, looking);
    assert!(is_there(&repository, &reference("same")).await);
}

#[tokio::test]
async fn facts_are_written_from_the_links_and_not_for_another_writer() {
    let world = World::new();
    let (repository, image) = pushed(&world).await;
    let pushed_at = world.clock.now();
    world.memory.delete_directory(&"lagan".parse().unwrap()).await.unwrap();
    let catalog = world.open().await;
    catalog.adopt().await.unwrap();
    world.clock.advance(DAY);
    assert_mended(&world, &[K::MissingFact]).await;
    assert_eq!(repository.inventory().await.unwrap().revisions[0].pushed_at, Some(pushed_at));
    tear(&world, PathSpec::Fact(&app(), &image.digest())).await;
    assert_mended(&world, &[K::UnreadableRecord]).await;
    world.memory.remove_now(&PathSpec::Fact(&app(), &image.digest()).path());
    world.memory.put_now(&PathSpec::RevisionLink(&app(), &image.digest()).path(), &image.digest().to_string());
    for mode in [InspectionMode::Repair, InspectionMode::Report] {
        assert_eq!(kinds(&inspect(&world, mode).await), [K::ForeignWriter]);
    }
}

#[tokio::test]
async fn lists_of_referrers_are_completed_and_cut() {
    let world = World::new();
    let (repository, subject) = pushed(&world).await;
    let referrer = image("referrer").about(&subject.digest());
    referrer.push(&repository, None).await.unwrap();
    referrers(&repository, &subject.digest()).await;
    let (name, to, from) = (app(), subject.digest(), referrer.digest());
    world.memory.remove_now(&PathSpec::Referrer(&name, &to, &from).path());
    assert_mended(&world, &[K::MissingReferrer]).await;
    assert_eq!(referrers(&repository, &to).await.len(), 1);
    let entry = world.driver.get(&PathSpec::Referrer(&name, &to, &from).path()).await.unwrap();
    let entry = std::str::from_utf8(&entry).unwrap();
    world.memory.put_now(&PathSpec::Referrer(&name, &from, &to).path(), entry);
    world.memory.put_now(&PathSpec::Referrer(&name, &to, &sha256(b"purged")).path(), entry);
    assert_mended(&world, &[K::StaleReferrer, K::StaleReferrer]).await;
    repository.delete_manifest(&by(&from), cause()).await.unwrap();
    assert_eq!(inspect(&world, InspectionMode::Report).await, [], "the trash needs its entry");
}

#[tokio::test]
async fn the_trash_s_index_is_completed_and_cut() {
    let world = World::new();
    let (repository, image) = pushed(&world).await;
    let (name, digest, v1) = (app(), image.digest(), tag("v1"));
    let tombstone = repository.delete_manifest(&by(&digest), cause()).await.unwrap();
    let id = tombstone.id.0;
    for spec in [PathSpec::TrashEntry(inverted(id)), PathSpec::TrashedTag(&name, &v1, id)] {
        tear(&world, spec).await;
        assert_mended(&world, &[K::UnlistedTrash]).await;
        world.memory.remove_now(&spec.path());
        assert_mended(&world, &[K::UnlistedTrash]).await;
    }
    assert_eq!(world.open().await.trash().get(&tombstone.id).await.unwrap(), tombstone);
    world.memory.remove_now(&PathSpec::Tombstone(&name, &digest, id).path());
    assert_mended(&world, &[K::StaleTrash, K::StaleTrash]).await;
    assert_eq!(paths_below(&world.memory, "lagan/v1/trash/"), [""; 0]);
}

#[tokio::test]
async fn trash_whose_content_is_gone_is_said() {
    let world = World::new();
    let (repository, image) = pushed(&world).await;
    repository.delete_manifest(&by(&image.digest()), cause()).await.unwrap();
    world.memory.remove_now(&PathSpec::BlobData(&image.digest()).path());
    let found = inspect(&world, InspectionMode::Repair).await;
    assert_eq!(kinds(&found), [K::MissingTrash]);
    assert!(!found[0].kind.is_damage());
}

#[tokio::test]
async fn links_to_bytes_that_nothing_needs_go() {
    let world = World::new();
    let repository = world.repository("app").await;
    let digest = seed_blob(&repository, &Bytes::from("flotsam")).await.unwrap();
    world.memory.remove_now(&PathSpec::BlobData(&digest).path());
    assert_mended(&world, &[K::StaleLink]).await;
}

#[tokio::test]
async fn abandoned_uploads_go_and_others_stay() {
    let world = World::new();
    let repository = world.repository("app").await;
    let mut old = repository.create_upload().await.unwrap();
    old.append(Bytes::from("flotsam")).await.unwrap();
    let old_id = old.id().clone();
    old.suspend().await.unwrap();
    world.clock.advance(DAY / 2);
    let young = repository.create_upload().await.unwrap();
    let young_id = young.id().clone();
    young.suspend().await.unwrap();
    assert_eq!(inspect(&world, InspectionMode::Repair).await, []);
    world.clock.advance(DAY / 2 + Duration::from_secs(1));
    assert_mended(&world, &[K::AbandonedUpload]).await;
    assert!(repository.upload_offset(&old_id).await.is_err());
    assert!(repository.upload_offset(&young_id).await.is_ok());
}
