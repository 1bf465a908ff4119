//! Purges.

use std::time::Duration;

use crate::storage::{
    Catalog, Clock as _, Conflict, DeletionMode, Error, Tombstone, TombstoneState, TrashFilter, TrashGroup,
    driver::faulty::Fault,
    fixtures::{World, name},
    layout::PathSpec,
};

use super::{by, cause, image, pending_count, reference};

/// An image that was pushed as `v1` and deleted.
async fn deleted(catalog: &Catalog, label: &str) -> Tombstone {
    let repository = catalog.repository(&name("a"));
    let digest = image(label).push(&repository, Some("v1")).await.unwrap();
    repository.delete_manifest(&by(&digest), cause()).await.unwrap()
}

#[tokio::test]
async fn purged_entry_is_shown_to_nobody_and_its_bytes_stay() {
    let world = World::new();
    let catalog = world.open().await;
    let (kept, purged) = (deleted(&catalog, "kept").await, deleted(&catalog, "purged").await);
    world.clock.advance(Duration::from_secs(60));
    let trash = catalog.trash();
    let told = trash.purge(&purged.id).await.unwrap();
    assert_eq!((told.id, told.restorable_until), (purged.id, world.clock.now()));
    assert!(told.restorable_until > kept.deleted_at);
    assert!(matches!(trash.get(&purged.id).await, Err(Error::TombstoneUnknown { .. })));
    assert!(matches!(trash.purge(&purged.id).await, Err(Error::TombstoneUnknown { .. })));
    let restored = trash.restore(&purged.id, Conflict::Fail, "restorer").await;
    assert!(matches!(restored, Err(Error::TombstoneUnknown { .. })));
    let listed = trash.list(&TrashFilter::default(), None, 10).await.unwrap().entries;
    assert_eq!(listed.iter().map(|entry| entry.id).collect::<Vec<_>>(), [kept.id]);
    // What it kept, and the entry itself, are for a collection to remove.
    for digest in &purged.closure {
        assert!(world.memory.paths().contains(&PathSpec::BlobData(digest).path()), "{digest}");
    }
    assert!(
        world.memory.paths().contains(&PathSpec::Tombstone(&purged.repository, &purged.digest, purged.id.0).path())
    );
    assert_eq!(pending_count(&world).await, 0);
}

#[tokio::test]
async fn pull_of_what_was_purged_is_told_of_the_older_entry_only() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("a"));
    let older = deleted(&catalog, "older").await;
    let newer = deleted(&catalog, "newer").await;
    let explained = async || match repository.manifest(&reference("v1")).await {
        Err(Error::ManifestUnknown { trash, .. }) => trash.map(|trash| trash.id),
        other => panic!("{other:?}"),
    };
    assert_eq!(explained().await, Some(newer.id));
    catalog.trash().purge(&newer.id).await.unwrap();
    assert_eq!(explained().await, Some(older.id));
    catalog.trash().purge(&older.id).await.unwrap();
    assert_eq!(explained().await, None);
}

#[tokio::test]
async fn push_that_comes_after_a_purge_is_not_undone_by_it() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("a"));
    let entry = deleted(&catalog, "again").await;
    let (purged, pushed) = {
        let trash = catalog.trash();
        let image = image("again");
        tokio::join!(trash.purge(&entry.id), image.push(&repository, Some("v1")))
    };
    assert_eq!(pushed.unwrap(), entry.digest);
    purged.unwrap();
    let written = repository.store.tombstone_at(&entry.repository, &entry.digest, entry.id.0).await.unwrap().unwrap();
    // Whichever came first, neither overwrote what the other had written.
    assert!(written.is_expired(world.clock.now()));
    assert_eq!(written.state, TombstoneState::Revived);
    assert!(repository.manifest(&reference("v1")).await.is_ok());
}

#[tokio::test]
async fn group_is_purged_as_a_whole_and_nothing_else() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("a"));
    for label in ["1", "2"] {
        image(label).push(&repository, Some(label)).await.unwrap();
    }
    let other = deleted(&catalog, "other").await;
    let group = repository.delete(cause()).await.unwrap().group;
    let purged = catalog.trash().purge_group(&group).await.unwrap();
    assert_eq!(purged.len(), 2);
    let listed = catalog.trash().list(&TrashFilter::default(), None, 10).await.unwrap().entries;
    assert_eq!(listed.iter().map(|entry| entry.id).collect::<Vec<_>>(), [other.id]);
    assert!(matches!(catalog.trash().purge_group(&group).await, Err(Error::GroupUnknown { .. })));
    let unknown = TrashGroup { repository: name("b"), name: other.group };
    assert!(matches!(catalog.trash().purge_group(&unknown).await, Err(Error::GroupUnknown { .. })));
}

#[tokio::test]
async fn nothing_is_purged_where_nothing_is_deleted() {
    let mut world = World::new();
    let entry = deleted(&world.open().await, "1").await;
    world.options.deletion = DeletionMode::Disabled;
    let trash = world.open().await.trash();
    assert!(matches!(trash.purge(&entry.id).await, Err(Error::DeletionDisabled)));
    let group = TrashGroup { repository: entry.repository, name: entry.group };
    assert!(matches!(trash.purge_group(&group).await, Err(Error::DeletionDisabled)));
    assert_eq!(trash.get(&entry.id).await.unwrap().id, entry.id);
}

#[tokio::test]
async fn purge_that_cannot_be_written_leaves_the_entry_as_it_was() {
    let world = World::new();
    let catalog = world.open().await;
    let entry = deleted(&catalog, "1").await;
    world.driver.fail_once(1, Fault::Refused);
    let failed = catalog.trash().purge(&entry.id).await;
    assert!(failed.is_err());
    world.driver.heal();
    assert_eq!(catalog.trash().get(&entry.id).await.unwrap(), entry);
    catalog.trash().purge(&entry.id).await.unwrap();
    assert_eq!(pending_count(&world).await, 0);
}
