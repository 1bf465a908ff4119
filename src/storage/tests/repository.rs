//! Whole repositories: deleted, and brought back.

use crate::storage::{
    Conflict, DeleteCause, DeletionMode, Error, TombstoneState, TrashFilter, TrashGroup,
    driver::faulty::Fault,
    fixtures::{World, name},
};

use super::{assert_consistent, by, cause, image, index, is_there, pending_count, put, reference, seed_blob, tags};

#[tokio::test]
async fn repository_goes_and_comes_back_as_one_group() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("team/app"));
    let (first, second, child) = (image("first"), image("second"), image("child"));
    first.push(&repository, Some("v1")).await.unwrap();
    second.push(&repository, Some("v2")).await.unwrap();
    repository.put_manifest(put(&second.bytes(), Some("latest"))).await.unwrap();
    child.push(&repository, None).await.unwrap();
    let list = index(&[&child]);
    repository.put_manifest(put(&list, Some("multi"))).await.unwrap();
    let signature = image("signature").about(&first.digest());
    signature.push(&repository, None).await.unwrap();
    image("other").push(&catalog.repository(&name("team")), Some("v1")).await.unwrap();

    let counts = repository.counts().await.unwrap();
    assert_eq!((counts.manifests, counts.tags), (5, 4));
    let deleted = repository.delete(cause()).await.unwrap();
    assert_eq!((deleted.manifests, deleted.tags), (5, 4));
    assert!(matches!(repository.counts().await, Err(Error::RepositoryUnknown { .. })));
    assert_eq!(tags(&repository).await, Vec::<String>::new());
    assert!(catalog.repositories(None, 10).await.unwrap().entries.iter().eq([&name("team")]));
    let filter = TrashFilter { group: Some(deleted.group.name.clone()), ..TrashFilter::default() };
    let entries = catalog.trash().list(&filter, None, 10).await.unwrap().entries;
    assert_eq!(entries.len(), 5);
    assert!(entries.iter().all(|entry| entry.state == TombstoneState::Restorable && entry.actor == "deleter"));
    assert!(entries.iter().all(|entry| entry.restorable_until == deleted.restorable_until));

    catalog.trash().restore_group(&deleted.group, Conflict::Fail, "restorer").await.unwrap();
    assert_eq!(tags(&repository).await, ["latest", "multi", "v1", "v2"]);
    for digest in [first.digest(), second.digest(), child.digest(), signature.digest()] {
        assert!(is_there(&repository, &by(&digest)).await);
    }
    assert_eq!(super::referrers(&repository, &first.digest()).await.len(), 1);
    assert_consistent(&repository).await;
    assert!(catalog.trash().list(&filter, None, 10).await.unwrap().entries.is_empty());
    let again = catalog.trash().restore_group(&deleted.group, Conflict::Fail, "restorer").await;
    assert!(matches!(again, Err(Error::GroupUnknown { .. })));
    assert_eq!(pending_count(&world).await, 0);
}

#[tokio::test]
async fn group_with_a_tag_that_points_elsewhere_comes_back_wholly_or_not_at_all() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    image("1").push(&repository, Some("v1")).await.unwrap();
    image("2").push(&repository, Some("v2")).await.unwrap();
    let group = repository.delete(cause()).await.unwrap().group;
    let other = image("other").push(&repository, Some("v1")).await.unwrap();
    let failed = catalog.trash().restore_group(&group, Conflict::Fail, "restorer").await;
    assert!(matches!(failed, Err(Error::TagConflict { tag, digest }) if tag.as_str() == "v1" && digest == other));
    assert_eq!(tags(&repository).await, ["v1"]);
    catalog.trash().restore_group(&group, Conflict::Replace, "restorer").await.unwrap();
    assert_eq!(tags(&repository).await, ["v1", "v2"]);
    assert_eq!(repository.stat_manifest(&reference("v1")).await.unwrap().digest, image("1").digest());
    // Where the tag pointed to is known, and can be had back.
    let displaced = TrashFilter { repository: Some(name("app")), reference: Some(reference("v1")), group: None };
    assert_eq!(catalog.trash().list(&displaced, None, 10).await.unwrap().entries[0].digest, other);
}

#[tokio::test]
async fn delete_of_a_repository_that_breaks_off_is_finished_by_the_next() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    for label in ["1", "2", "3", "4"] {
        image(label).push(&repository, Some(label)).await.unwrap();
    }
    world.driver.fail_once(20, Fault::Refused);
    assert!(repository.delete(cause()).await.is_err());
    world.driver.heal();
    repository.delete(cause()).await.unwrap();
    assert_eq!(tags(&repository).await, Vec::<String>::new());
    assert!(matches!(repository.delete(cause()).await, Err(Error::RepositoryUnknown { .. })));
    let all = catalog.trash().list(&TrashFilter::default(), None, 10).await.unwrap().entries;
    assert_eq!(all.len(), 4, "each is in the trash once");
    assert_eq!(pending_count(&world).await, 0);
}

#[tokio::test]
async fn repository_that_is_not_there_or_deletes_nothing_stays_so() {
    let mut world = World::new();
    let nothing = world.repository("nothing").await.delete(cause()).await;
    assert!(matches!(nothing, Err(Error::RepositoryUnknown { .. })));
    world.options.deletion = DeletionMode::Disabled;
    let repository = world.repository("app").await;
    image("1").push(&repository, Some("v1")).await.unwrap();
    assert!(matches!(repository.delete(cause()).await, Err(Error::DeletionDisabled)));
    assert_eq!(tags(&repository).await, ["v1"]);
}

#[tokio::test]
async fn image_comes_back_with_the_referrers_of_its_group_and_others_do_not() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    let subject = image("subject").push(&repository, Some("v1")).await.unwrap();
    let together = image("together").about(&subject).push(&repository, None).await.unwrap();
    let before = image("before").about(&subject).push(&repository, None).await.unwrap();
    repository.delete_manifest(&by(&before), cause()).await.unwrap();
    let group = || DeleteCause { group: Some("run@1".into()), ..cause() };
    let id = repository.delete_manifest(&by(&subject), group()).await.unwrap().id;
    repository.delete_manifest(&by(&together), group()).await.unwrap();
    catalog.trash().restore(&id, Conflict::Fail, "restorer").await.unwrap();
    assert!(is_there(&repository, &by(&together)).await);
    assert!(!is_there(&repository, &by(&before)).await);
    let unknown = TrashGroup { repository: name("app"), name: "run@1".into() };
    let again = catalog.trash().restore_group(&unknown, Conflict::Fail, "restorer").await;
    assert!(matches!(again, Err(Error::GroupUnknown { .. })));
}

#[tokio::test]
async fn blob_comes_back_by_its_digest_and_its_entry_says_so_when_it_was_pushed_again() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    let bytes = bytes::Bytes::from("flotsam");
    let digest = seed_blob(&repository, &bytes).await.unwrap();
    let delete = async || repository.delete_blob(&digest, cause()).await.unwrap().id;
    delete().await;
    let restore = async || catalog.trash().restore_reference(&name("app"), &by(&digest), Conflict::Fail, "r").await;
    assert!(!restore().await.unwrap().already_present);
    assert!(matches!(restore().await, Err(Error::NotInTrash { .. })));
    let id = delete().await;
    assert_eq!(catalog.trash().get(&id).await.unwrap().state, TombstoneState::Restorable);
    seed_blob(&repository, &bytes).await.unwrap();
    assert_eq!(catalog.trash().get(&id).await.unwrap().state, TombstoneState::Revived);
}
