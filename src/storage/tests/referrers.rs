//! Referrers.

use bytes::Bytes;

use crate::{
    oci::Digest,
    storage::{
        ReferrerFilter, Repository,
        driver::faulty::Fault,
        fixtures::{World, name, sha256},
        layout::PathSpec,
    },
};

use super::{by, cause, image, paths_below, put, referrers, seed_blob};

const ALL: ReferrerFilter<'static> =
    ReferrerFilter { artifact_type: None, after: None, page_bytes: usize::MAX, may_note: true };

/// Pushes so many referrers of `subject`, with annotations of so many bytes each.
async fn push_annotated(repository: &Repository, subject: &Digest, count: usize, bytes: usize) {
    for number in 0..count {
        let image = image(&number.to_string()).about(subject);
        for blob in image.blobs() {
            seed_blob(repository, &blob).await.unwrap();
        }
        let text = String::from_utf8(image.bytes().to_vec()).unwrap();
        let annotations = format!(r#","annotations":{{"a":"{}"}}}}"#, "x".repeat(bytes));
        let annotated = Bytes::from(format!("{}{annotations}", &text[..text.len() - 1]));
        repository.put_manifest(put(&annotated, None)).await.unwrap();
    }
}

/// An image with three referrers, as another registry left them; their subject.
async fn foreign(world: &World) -> (Repository, Digest) {
    let repository = world.repository("app").await;
    let subject = image("subject").push(&repository, Some("v1")).await.unwrap();
    push_annotated(&repository, &subject, 3, 10).await;
    for path in world.memory.paths().into_iter().filter(|path| path.as_str().starts_with("lagan/")) {
        world.memory.remove_now(&path);
    }
    (world.repository("app").await, subject)
}

#[tokio::test]
async fn a_page_reads_little_more_than_it_shows() {
    let world = World::new();
    let repository = world.repository("app").await;
    let subject = image("subject").digest();
    push_annotated(&repository, &subject, 60, 100_000).await;
    let all: Vec<Digest> = referrers(&repository, &subject).await.into_iter().map(|entry| entry.digest).collect();
    assert_eq!(all.len(), 60);
    let mut joined: Vec<Digest> = Vec::new();
    loop {
        let after = joined.last().map(ToString::to_string);
        let filter = ReferrerFilter { after: after.as_deref(), page_bytes: 350_000, ..ALL };
        let before = world.driver.bytes_got();
        let page = repository.referrers(&subject, filter).await.unwrap();
        assert!(world.driver.bytes_got() - before < 800_000, "a page of 350,000 bytes, and what did not fit");
        assert_eq!(page.entries.len(), 3);
        joined.extend(page.entries.into_iter().map(|entry| entry.digest));
        if !page.more {
            break;
        }
    }
    assert_eq!(joined, all);
    let other = ReferrerFilter { artifact_type: Some("application/other"), ..ALL };
    assert!(repository.referrers(&subject, other).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn a_repository_that_was_begun_here_is_never_read_for_its_lists() {
    let world = World::new();
    let repository = world.repository("app").await;
    image("first").push(&repository, None).await.unwrap();
    assert_eq!(paths_below(&world.memory, "lagan/v1/referrers/"), ["app/_built"]);
    let before = world.driver.writes();
    assert!(referrers(&repository, &image("first").digest()).await.is_empty());
    assert_eq!(world.driver.writes(), before);

    let (repository, subject) = foreign(&World::new()).await;
    image("next").push(&repository, None).await.unwrap();
    assert_eq!(referrers(&repository, &subject).await.len(), 3, "what was there before has to be read");
}

#[tokio::test]
async fn referrers_are_read_where_nothing_can_be_written() {
    for may_note in [true, false] {
        let world = World::new();
        let (repository, subject) = foreign(&world).await;
        if may_note {
            world.driver.crash(0, Fault::Full);
        }
        let filter = ReferrerFilter { may_note, ..ALL };
        let found = repository.referrers(&subject, filter).await.unwrap();
        assert_eq!(found.entries.len(), 3);
        assert!(found.entries.is_sorted_by(|a, b| a.digest < b.digest));
        let rest = ReferrerFilter { after: Some(&found.entries[0].digest.to_string()), ..filter };
        assert_eq!(repository.referrers(&subject, rest).await.unwrap().entries, found.entries[1..]);
        assert_eq!(paths_below(&world.memory, "lagan/v1/referrers/"), [""; 0]);
        world.driver.heal();
        assert_eq!(referrers(&repository, &subject).await, found.entries);
        assert_eq!(paths_below(&world.memory, "lagan/v1/referrers/").len(), 4);
    }
}

#[tokio::test]
async fn a_reading_is_shared_and_goes_on_when_nobody_waits_for_it() {
    let world = World::new();
    let (repository, subject) = foreign(&world).await;
    let held = world.driver.hold(|path| path.as_str().ends_with("_built"));
    let writes = world.driver.writes();
    let ask = || {
        let (repository, subject) = (repository.clone(), subject.clone());
        tokio::spawn(async move { referrers(&repository, &subject).await })
    };
    let first = ask();
    held.reached.await.unwrap();
    first.abort();
    let (second, third) = (ask(), ask());
    assert!(first.await.unwrap_err().is_cancelled());
    held.go.send(()).unwrap();
    assert_eq!(second.await.unwrap().len(), 3);
    assert_eq!(third.await.unwrap().len(), 3);
    assert_eq!(world.driver.writes() - writes, 4, "each manifest was noted once");
    assert!(repository.store.age(PathSpec::ReferrersBuilt(&name("app"))).await.unwrap().is_some());
    assert!(referrers(&repository, &sha256(b"nothing")).await.is_empty());
}

#[tokio::test]
async fn a_referrer_is_listed_while_it_is_visible() {
    let world = World::new();
    let repository = world.repository("app").await;
    let subject = image("subject").digest();
    let (first, second) = (image("first").about(&subject), image("second").about(&subject));
    assert!(referrers(&repository, &subject).await.is_empty());
    first.push(&repository, Some("signature")).await.unwrap();
    second.push(&repository, None).await.unwrap();
    let listed = referrers(&repository, &subject).await;
    assert_eq!(listed.len(), 2, "the subject itself is not needed");
    assert!(listed.is_sorted_by(|a, b| a.digest < b.digest));
    let entry = listed.iter().find(|entry| entry.digest == first.digest()).unwrap();
    assert_eq!(entry.size, first.bytes().len() as u64);
    assert_eq!(entry.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
    repository.delete_manifest(&by(&first.digest()), cause()).await.unwrap();
    let listed = referrers(&repository, &subject).await;
    assert_eq!(listed.iter().map(|entry| &entry.digest).collect::<Vec<_>>(), [&second.digest()]);
}

#[tokio::test]
async fn a_refused_push_is_no_referrer() {
    let world = World::new();
    let repository = world.repository("app").await;
    let subject = image("subject").digest();
    repository.put_manifest(put(&image("a").about(&subject).bytes(), None)).await.unwrap_err();
    assert!(referrers(&repository, &subject).await.is_empty());
}

#[tokio::test]
async fn a_referrer_whose_record_is_unreadable_is_read_from_its_bytes() {
    let world = World::new();
    let repository = world.repository("app").await;
    let subject = image("subject").digest();
    let referrer = image("a").about(&subject);
    referrer.push(&repository, None).await.unwrap();
    let before = referrers(&repository, &subject).await;
    super::tear(&world, PathSpec::Referrer(&repository.name, &subject, &referrer.digest())).await;
    assert_eq!(referrers(&repository, &subject).await, before);
}
