//! A store that distribution wrote: links and bytes, and nothing beside them.

use std::time::Duration;

use crate::storage::{
    Clock as _, Conflict, Repository,
    driver::StorageDriver as _,
    fixtures::{World, name},
    layout::PathSpec,
};

use super::{Image, by, cause, image, is_there, reference, referrers, tags};

/// What is left of a push when only distribution's part of it is.
async fn adopt(world: &World, images: &[(&Image, Option<&str>)]) -> Repository {
    let repository = world.repository("app").await;
    for (image, tag) in images {
        image.push(&repository, *tag).await.unwrap();
    }
    world.memory.delete_directory(&"lagan".parse().unwrap()).await.unwrap();
    world.open().await.repository(&name("app"))
}

#[tokio::test]
async fn an_adopted_repository_serves_what_it_has() {
    let world = World::new();
    let image = image("a");
    let repository = adopt(&world, &[(&image, Some("v1"))]).await;
    assert!(is_there(&repository, &reference("v1")).await);
    assert_eq!(tags(&repository).await, ["v1"]);
    let stored = repository.manifest(&by(&image.digest())).await.unwrap();
    assert_eq!(stored.descriptor.media_type.as_str(), crate::oci::MediaType::OCI_MANIFEST);
}

#[tokio::test]
async fn referrers_of_an_adopted_repository_are_found_by_reading_it_once() {
    let world = World::new();
    let subject = image("subject");
    let (old, new) = (image("old").about(&subject.digest()), image("new").about(&subject.digest()));
    let repository = adopt(&world, &[(&subject, Some("v1")), (&old, None)]).await;
    new.push(&repository, None).await.unwrap();
    assert_eq!(referrers(&repository, &subject.digest()).await.len(), 2);
    assert!(world.driver.stat(&PathSpec::ReferrersBuilt(&repository.name).path()).await.is_ok());
    let writes = world.driver.writes();
    assert_eq!(referrers(&repository, &subject.digest()).await.len(), 2);
    assert_eq!(world.driver.writes(), writes);
}

#[tokio::test]
async fn links_tell_the_times_and_a_delete_keeps_them() {
    let world = World::new();
    let pushed_at = world.clock.now();
    let image = image("a");
    let repository = adopt(&world, &[(&image, Some("v1"))]).await;
    world.clock.advance(Duration::from_secs(3600));
    let inventory = repository.inventory().await.unwrap();
    assert_eq!((inventory.tags[0].pushed_at, inventory.revisions[0].pushed_at), (Some(pushed_at), Some(pushed_at)));
    let tombstone = repository.delete_manifest(&by(&image.digest()), cause()).await.unwrap();
    world.clock.advance(Duration::from_secs(3600));
    world.open().await.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await.unwrap();
    let restored = repository.inventory().await.unwrap();
    assert_eq!((restored.tags[0].pushed_at, restored.revisions[0].pushed_at), (Some(pushed_at), Some(pushed_at)));
}
