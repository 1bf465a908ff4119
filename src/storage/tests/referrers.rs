//! Referrers.

use crate::storage::{fixtures::World, layout::PathSpec};

use super::{by, cause, image, put};

#[tokio::test]
async fn a_referrer_is_listed_while_it_is_visible() {
    let world = World::new();
    let repository = world.repository("app").await;
    let subject = image("subject").digest();
    let (first, second) = (image("first").about(&subject), image("second").about(&subject));
    assert!(repository.referrers(&subject).await.unwrap().is_empty());
    first.push(&repository, Some("signature")).await.unwrap();
    second.push(&repository, None).await.unwrap();
    let listed = repository.referrers(&subject).await.unwrap();
    assert_eq!(listed.len(), 2, "the subject itself is not needed");
    assert!(listed.is_sorted_by(|a, b| a.digest < b.digest));
    let entry = listed.iter().find(|entry| entry.digest == first.digest()).unwrap();
    assert_eq!(entry.size, first.bytes().len() as u64);
    assert_eq!(entry.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
    repository.delete_manifest(&by(&first.digest()), cause()).await.unwrap();
    let listed = repository.referrers(&subject).await.unwrap();
    assert_eq!(listed.iter().map(|entry| &entry.digest).collect::<Vec<_>>(), [&second.digest()]);
}

#[tokio::test]
async fn a_refused_push_is_no_referrer() {
    let world = World::new();
    let repository = world.repository("app").await;
    let subject = image("subject").digest();
    repository.put_manifest(put(&image("a").about(&subject).bytes(), None)).await.unwrap_err();
    assert!(repository.referrers(&subject).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_referrer_whose_record_is_unreadable_is_read_from_its_bytes() {
    let world = World::new();
    let repository = world.repository("app").await;
    let subject = image("subject").digest();
    let referrer = image("a").about(&subject);
    referrer.push(&repository, None).await.unwrap();
    let before = repository.referrers(&subject).await.unwrap();
    super::tear(&world, PathSpec::Referrer(&repository.name, &subject, &referrer.digest())).await;
    assert_eq!(repository.referrers(&subject).await.unwrap(), before);
}
