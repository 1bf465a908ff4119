//! The trash.

use std::time::Duration;

use crate::storage::{
    Catalog, Conflict, Error, TombstoneId, TombstoneState, TrashFilter,
    fixtures::{World, name, sha256},
    layout::PathSpec,
};

use super::{by, cause, image, reference};

/// Deletes an image in each of some repositories, a minute apart; the ids, newest first.
async fn fill(world: &World, catalog: &Catalog, repositories: &[&str]) -> Vec<TombstoneId> {
    let mut ids = Vec::new();
    for (number, repository) in repositories.iter().enumerate() {
        let repository = catalog.repository(&name(repository));
        let digest = image(&number.to_string()).push(&repository, Some("v1")).await.unwrap();
        ids.insert(0, repository.delete_manifest(&by(&digest), cause()).await.unwrap().id);
        world.clock.advance(Duration::from_secs(60));
    }
    ids
}

async fn listed(catalog: &Catalog, filter: &TrashFilter) -> Vec<TombstoneId> {
    catalog.trash().list(filter, None, 100).await.unwrap().entries.into_iter().map(|entry| entry.id).collect()
}

#[tokio::test]
async fn entries_are_listed_newest_first_in_pages() {
    let world = World::new();
    let catalog = world.open().await;
    let ids = fill(&world, &catalog, &["a", "b/c", "a", "b", "a"]).await;
    for limit in 1..=ids.len() {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = catalog.trash().list(&TrashFilter::default(), after.as_ref(), limit).await.unwrap();
            seen.extend(page.entries.iter().map(|entry| entry.id));
            after = seen.last().copied();
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, ids, "in pages of {limit}");
    }
    assert!(catalog.trash().list(&TrashFilter::default(), ids.last(), 10).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn a_filter_names_repository_and_reference() {
    let world = World::new();
    let catalog = world.open().await;
    let ids = fill(&world, &catalog, &["a", "b", "a"]).await;
    let digest = image("0").digest();
    let filter = |repository: Option<&str>, text: Option<&str>| TrashFilter {
        repository: repository.map(name),
        reference: text.map(reference),
        group: None,
    };
    assert_eq!(listed(&catalog, &filter(Some("a"), None)).await, [ids[0], ids[2]]);
    assert_eq!(listed(&catalog, &filter(Some("a"), Some("v1"))).await, [ids[0], ids[2]]);
    assert_eq!(listed(&catalog, &filter(None, Some("v1"))).await, ids);
    assert_eq!(listed(&catalog, &filter(None, Some(&digest.to_string()))).await, [ids[2]]);
    assert_eq!(listed(&catalog, &filter(Some("b"), Some(&digest.to_string()))).await, []);
    assert_eq!(listed(&catalog, &filter(Some("a/b"), None)).await, []);
    let page = catalog.trash().list(&filter(Some("a"), Some("v1")), Some(&ids[0]), 1).await.unwrap();
    assert_eq!((page.entries[0].id, page.entries.len(), page.more), (ids[2], 1, false));
}

#[tokio::test]
async fn what_has_expired_is_not_listed() {
    let world = World::new();
    let catalog = world.open().await;
    let ids = fill(&world, &catalog, &["a", "a"]).await;
    world.clock.advance(world.options.restore_window.saturating_sub(Duration::from_secs(120)));
    assert_eq!(listed(&catalog, &TrashFilter::default()).await, [ids[0]]);
    assert!(matches!(catalog.trash().get(&ids[1]).await, Err(Error::TombstoneUnknown { id }) if id == ids[1]));
}

#[tokio::test]
async fn an_unreadable_entry_hides_no_other() {
    let world = World::new();
    let catalog = world.open().await;
    let ids = fill(&world, &catalog, &["a", "a"]).await;
    super::tear(&world, PathSpec::Tombstone(&name("a"), &sha256(&image("1").bytes()), ids[0].0)).await;
    assert_eq!(listed(&catalog, &TrashFilter::default()).await, [ids[1]]);
    let error = catalog.repository(&name("a")).manifest(&reference("v1")).await.unwrap_err();
    assert!(matches!(error, Error::ManifestUnknown { trash: Some(trash), .. } if trash.id == ids[1]));
}

#[tokio::test]
async fn an_entry_whose_content_is_gone_says_so_and_until_it_is_back() {
    let world = World::new();
    let catalog = world.open().await;
    let ids = fill(&world, &catalog, &["a", "a"]).await;
    let state = async |id: &TombstoneId| catalog.trash().get(id).await.unwrap().state;
    let layer = sha256(&image("1").blobs()[1]);
    world.memory.remove_now(&PathSpec::BlobData(&layer).path());
    let page = catalog.trash().list(&TrashFilter::default(), None, 10).await.unwrap();
    let states: Vec<_> = page.entries.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [TombstoneState::Missing, TombstoneState::Restorable]);
    assert_eq!(state(&ids[0]).await, TombstoneState::Missing);
    let error = catalog.trash().restore(&ids[0], Conflict::Fail, "restorer").await.unwrap_err();
    assert!(matches!(error, Error::ContentGone { missing } if missing == [layer]));
    super::seed_blob(&catalog.repository(&name("b")), &image("1").blobs()[1]).await.unwrap();
    assert_eq!(state(&ids[0]).await, TombstoneState::Restorable);
    catalog.trash().restore(&ids[0], Conflict::Fail, "restorer").await.unwrap();
}

#[tokio::test]
async fn a_deleted_blob_needs_one_of_its_contents_only() {
    let world = World::new();
    let repository = world.repository("a").await;
    let content = bytes::Bytes::from("flotsam");
    let target = super::seed_blob(&repository, &content).await.unwrap();
    let alias = crate::oci::Digest::of(crate::oci::Algorithm::Sha512, &content);
    world.memory.put_now(&PathSpec::LayerLink(&name("a"), &alias).path(), &target.to_string());
    let id = repository.delete_blob(&alias, cause()).await.unwrap().id;
    let trash = world.open().await.trash();
    assert_eq!(trash.get(&id).await.unwrap().state, TombstoneState::Restorable);
    world.memory.remove_now(&PathSpec::BlobData(&target).path());
    assert_eq!(trash.get(&id).await.unwrap().state, TombstoneState::Missing);
}
