//! Pushing manifests.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    oci::{Algorithm, Digest, Manifest, MediaType, Reference},
    storage::{
        Audience, Clock as _, Error, InvalidReference, PutManifest,
        fixtures::{World, name, sha256},
        guard::keys::Key,
        layout::PathSpec,
        replicas::Holder,
    },
};

use super::{by, cause, image, index, is_there, paths_below, put, reference, referrers, seed_blob, tag, tags};

#[tokio::test]
async fn a_push_writes_the_paths_of_distribution() {
    let world = World::new();
    let repository = world.repository("team/app").await;
    let image = image("a");
    let digest = image.push(&repository, Some("v1")).await.unwrap();
    let hex = digest.hex();
    let manifests: Vec<String> = paths_below(&world.memory, "docker/registry/v2/repositories/team/app/_manifests/");
    let expected = [
        format!("revisions/sha256/{hex}/link"),
        "tags/v1/current/link".into(),
        format!("tags/v1/index/sha256/{hex}/link"),
    ];
    assert_eq!(manifests, expected);
    let layers = paths_below(&world.memory, "docker/registry/v2/repositories/team/app/_layers/");
    assert_eq!(layers.len(), 3, "the manifest itself gets no layer link");
    assert_eq!(paths_below(&world.memory, "docker/registry/v2/blobs/sha256/").len(), 4);
    let facts = paths_below(&world.memory, "lagan/v1/facts/team/app/");
    assert_eq!(facts, ["_g/v1/<ulid>".into(), format!("_m/{digest}")]);
    assert_eq!(paths_below(&world.memory, "lagan/v1/pending/").len(), 0);
}

#[tokio::test]
async fn a_pushed_manifest_is_found_by_tag_and_by_digest() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    let digest = image.push(&repository, Some("v1")).await.unwrap();
    for reference in [reference("v1"), by(&digest)] {
        let stored = repository.manifest(&reference).await.unwrap();
        assert_eq!(stored.bytes, image.bytes());
        assert_eq!(stored.descriptor.digest, digest);
    }
    assert!(!is_there(&repository, &reference("v2")).await);
    assert!(!is_there(&world.repository("other").await, &by(&digest)).await);
}

#[tokio::test]
async fn every_missing_or_wrong_reference_is_named_once() {
    let world = World::new();
    let repository = world.repository("app").await;
    let (present, absent) = (image("present"), image("absent"));
    present.push(&repository, None).await.unwrap();
    let error = repository.put_manifest(put(&absent.bytes(), Some("v1"))).await.unwrap_err();
    let Error::InvalidReferences(found) = error else { panic!("{error:?}") };
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|each| matches!(each, InvalidReference::BlobUnknown(_))));

    let twice = index(&[&present, &absent, &absent]);
    let error = repository.put_manifest(put(&twice, None)).await.unwrap_err();
    let Error::InvalidReferences(found) = error else { panic!("{error:?}") };
    assert!(matches!(&found[..], [InvalidReference::ManifestUnknown(child)] if child.digest == absent.digest()));

    let size = format!(r#""size":{}"#, present.bytes().len());
    let wrong = String::from_utf8(index(&[&present]).to_vec()).unwrap().replace(&size, r#""size":7"#).into();
    let error = repository.put_manifest(put(&wrong, None)).await.unwrap_err();
    let Error::InvalidReferences(found) = error else { panic!("{error:?}") };
    assert!(
        matches!(&found[..], [InvalidReference::SizeMismatch { actual, .. }] if *actual == present.bytes().len() as u64)
    );
    assert_eq!(tags(&repository).await, [""; 0]);
}

#[tokio::test]
async fn a_refused_push_changes_nothing_of_what_is_stored() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    for blob in image.blobs() {
        seed_blob(&repository, &blob).await.unwrap();
    }
    // Its bytes do not say what it is, but for the subject's.
    let subject = sha256(b"subject");
    let text = String::from_utf8(image.about(&subject).bytes().to_vec()).unwrap();
    let bytes = Bytes::from(text.replacen(&format!(r#""mediaType":"{}","#, MediaType::OCI_MANIFEST), "", 1));
    let typed = |media_type: &str| {
        let manifest = Manifest::parse(Some(&media_type.parse().unwrap()), &bytes).unwrap();
        PutManifest { manifest, ..put(&bytes, None) }
    };
    let digest = repository.put_manifest(typed(MediaType::OCI_MANIFEST)).await.unwrap();
    let pushed_at = world.clock.now();
    let listed = referrers(&repository, &subject).await;
    let layer = typed(MediaType::OCI_MANIFEST).manifest.blobs().last().unwrap().digest.clone();
    repository.delete_blob(&layer, cause()).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    let error = repository.put_manifest(typed(MediaType::DOCKER_MANIFEST)).await.unwrap_err();
    assert!(matches!(error, Error::InvalidReferences(_)), "{error:?}");
    let restarted = world.repository("app").await;
    let found = restarted.stat_manifest(&by(&digest)).await.unwrap();
    assert_eq!(found.media_type.as_str(), MediaType::OCI_MANIFEST);
    assert_eq!(restarted.inventory().await.unwrap().revisions[0].pushed_at, Some(pushed_at));
    assert_eq!(referrers(&restarted, &subject).await, listed);
}

#[tokio::test]
async fn a_truncated_blob_is_healed_by_the_next_attempt_to_push() {
    let world = World::new();
    let catalog = world.open().await;
    let (first, second) = (catalog.repository(&name("first")), catalog.repository(&name("second")));
    let image = image("a");
    image.push(&first, Some("v1")).await.unwrap();
    let (layer, bytes) = (sha256(&image.blobs()[1]), image.blobs()[1].clone());
    world.memory.put_now(&PathSpec::BlobData(&layer).path(), &String::from_utf8_lossy(&bytes)[..7]);
    let error = first.put_manifest(put(&image.bytes(), Some("v2"))).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidReferences(found) if found.len() == 1), "{error:?}");
    for audience in [Audience::Pusher, Audience::Puller] {
        assert!(matches!(first.stat_blob(&layer, audience).await, Err(Error::BlobUnknown { .. })));
    }
    assert_eq!(second.mount_blob(&layer, first.name()).await.unwrap(), None);
    assert_eq!(paths_below(&world.memory, "lagan/v1/quarantine/"), [format!("{layer}/<ulid>")]);
    let mut upload = first.create_upload().await.unwrap();
    upload.append(bytes).await.unwrap();
    upload.commit(&layer).await.unwrap();
    first.put_manifest(put(&image.bytes(), Some("v2"))).await.unwrap();
    assert!(is_there(&first, &reference("v2")).await);
}

#[tokio::test]
async fn a_blob_stays_that_a_manifest_is_wrong_about() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    image.push(&repository, Some("v1")).await.unwrap();
    let size = format!(r#""size":{}"#, image.blobs()[1].len());
    let wrong = String::from_utf8(image.bytes().to_vec()).unwrap().replace(&size, r#""size":7"#).into();
    for _ in 0..2 {
        let error = repository.put_manifest(put(&wrong, None)).await.unwrap_err();
        assert!(matches!(error, Error::InvalidReferences(_)), "{error:?}");
    }
    assert!(is_there(&repository, &reference("v1")).await);
    repository.stat_blob(&sha256(&image.blobs()[1]), Audience::Pusher).await.unwrap();
    assert_eq!(paths_below(&world.memory, "lagan/v1/quarantine/"), [""; 0]);
}

#[tokio::test]
async fn a_layer_of_another_repository_is_not_enough() {
    let world = World::new();
    let image = image("a");
    image.push(&world.repository("first").await, Some("v1")).await.unwrap();
    let error = world.repository("second").await.put_manifest(put(&image.bytes(), Some("v1"))).await.unwrap_err();
    assert!(matches!(error, Error::InvalidReferences(found) if found.len() == 3));
}

#[tokio::test]
async fn bytes_that_do_not_hash_to_the_digest_are_refused() {
    let world = World::new();
    let repository = world.repository("app").await;
    let mut wrong = put(&image("a").bytes(), None);
    wrong.digest = Some(image("b").digest());
    let error = repository.put_manifest(wrong).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { actual, .. } if actual == image("a").digest()));
    assert_eq!(world.memory.paths().len(), 0);
}

#[tokio::test]
async fn a_sha512_reference_is_its_own_manifest() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    image.push(&repository, None).await.unwrap();
    let digest = Digest::of(Algorithm::Sha512, &image.bytes());
    let mut sha512 = put(&image.bytes(), None);
    sha512.digest = Some(digest.clone());
    assert_eq!(repository.put_manifest(sha512).await.unwrap(), digest);
    let stored = repository.manifest(&by(&digest)).await.unwrap();
    assert_eq!((stored.descriptor.digest, stored.bytes), (digest, image.bytes()));
}

#[tokio::test]
async fn a_tag_that_moves_leaves_what_it_pointed_to() {
    let world = World::new();
    let repository = world.repository("app").await;
    let old = image("old").push(&repository, Some("latest")).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    let new = image("new").push(&repository, Some("latest")).await.unwrap();
    assert_eq!(repository.stat_manifest(&reference("latest")).await.unwrap().digest, new);
    assert!(is_there(&repository, &by(&old)).await);
    let inventory = repository.inventory().await.unwrap();
    let entry = |digest| inventory.revisions.iter().find(|entry| entry.digest == digest).unwrap();
    assert_eq!(entry(new).untagged_since, None);
    let old = entry(old);
    assert_eq!(old.untagged_since, Some(inventory.taken_at), "it became untagged when the tag moved");
    assert!(old.pushed_at < old.untagged_since);
}

#[tokio::test]
async fn pushing_again_sets_the_time_of_the_push() {
    let world = World::new();
    let repository = world.repository("app").await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    let first = repository.inventory().await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    image("a").push(&repository, Some("v1")).await.unwrap();
    let second = repository.inventory().await.unwrap();
    assert_eq!(first.tags[0].pushed_at, Some(first.taken_at));
    assert_eq!(second.tags[0].pushed_at, Some(second.taken_at));
    assert_eq!(second.revisions[0].pushed_at, Some(second.taken_at));
    assert_eq!(second.revisions[0].digest, digest);
    assert_ne!(first.taken_at, second.taken_at);
}

#[tokio::test]
async fn a_list_of_tags_is_in_byte_order_and_pages() {
    let world = World::new();
    let repository = world.repository("app").await;
    assert!(matches!(repository.tags(None, 10).await, Err(Error::RepositoryUnknown { .. })));
    for name in ["b", "a", "B", "_", "a.1", "a-1", "10", "9"] {
        image("a").push(&repository, Some(name)).await.unwrap();
    }
    let sorted = ["10", "9", "B", "_", "a", "a-1", "a.1", "b"];
    assert_eq!(tags(&repository).await, sorted);
    for limit in 1..=sorted.len() {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = repository.tags(after.as_deref(), limit).await.unwrap();
            seen.extend(page.entries.iter().map(ToString::to_string));
            after = seen.last().cloned();
            if !page.more {
                break;
            }
            assert_eq!(page.entries.len(), limit);
        }
        assert_eq!(seen, sorted, "in pages of {limit}");
    }
    let page = repository.tags(Some("B"), 2).await.unwrap();
    assert_eq!((page.entries, page.more), (vec![tag("_"), tag("a")], true));
    let page = repository.tags(Some("aa not a tag"), 9).await.unwrap();
    assert_eq!((page.entries, page.more), (vec![tag("b")], false));
    let page = repository.tags(Some("zzz"), 2).await.unwrap();
    assert_eq!((page.entries, page.more), (Vec::new(), false));
}

#[tokio::test]
async fn a_torn_tag_is_read_from_its_index() {
    let world = World::new();
    let repository = world.repository("app").await;
    image("old").push(&repository, Some("v1")).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let new = image("new").push(&repository, Some("v1")).await.unwrap();
    super::tear(&world, crate::storage::layout::PathSpec::TagCurrent(&repository.name, &tag("v1"))).await;
    super::tear(&world, crate::storage::layout::PathSpec::RevisionLink(&repository.name, &new)).await;
    assert_eq!(repository.stat_manifest(&Reference::Tag(tag("v1"))).await.unwrap().digest, new);
}

#[tokio::test]
async fn a_manifest_whose_bytes_went_away_is_unknown_and_forgotten() {
    let world = World::new();
    let repository = world.repository("app").await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    repository.stat_manifest(&by(&digest)).await.unwrap();
    world.memory.remove_now(&PathSpec::BlobData(&digest).path());
    assert!(matches!(repository.manifest(&by(&digest)).await, Err(Error::ManifestUnknown { .. })));
    for reference in [by(&digest), reference("v1")] {
        let found = repository.stat_manifest(&reference).await;
        assert!(matches!(found, Err(Error::ManifestUnknown { .. })), "a client would not push it again: {found:?}");
    }
    repository.put_manifest(put(&image("a").bytes(), Some("v1"))).await.unwrap();
    assert!(is_there(&repository, &reference("v1")).await);
}

/// Torn by a crash, or by a person: it is unknown until it is pushed again, and never served as what it is not.
#[tokio::test]
async fn a_manifest_whose_bytes_were_cut_is_unknown_until_it_is_pushed_again() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    let digest = image.push(&repository, Some("v1")).await.unwrap();
    let data = PathSpec::BlobData(&digest).path();
    let text = String::from_utf8(image.bytes().to_vec()).unwrap();
    for is_remembered in [false, true] {
        for (keeps_fact, left) in [(true, ""), (true, &text[..10]), (false, ""), (false, &text[..10])] {
            image.push(&repository, Some("v1")).await.unwrap();
            if is_remembered {
                repository.stat_manifest(&by(&digest)).await.unwrap();
            }
            world.memory.put_now(&data, left);
            if !keeps_fact {
                world.memory.remove_now(&PathSpec::Fact(&repository.name, &digest).path());
            }
            for reference in [reference("v1"), by(&digest)] {
                let error = repository.manifest(&reference).await.unwrap_err();
                assert!(matches!(error, Error::ManifestUnknown { .. }), "{error:?}");
                assert!(repository.stat_manifest(&reference).await.is_err());
            }
        }
    }
    image.push(&repository, Some("v1")).await.unwrap();
    assert_eq!(repository.manifest(&reference("v1")).await.unwrap().bytes, image.bytes());
}

#[tokio::test]
async fn all_tags_of_a_push_move_in_one_change_after_the_revision() {
    let world = World::new();
    let repository = world.repository("app").await;
    let old = image("old").push(&repository, Some("b")).await.unwrap();
    let image = image("new");
    image.push(&repository, None).await.unwrap();
    let tags = ["a", "b", "c"].map(tag);
    let push = PutManifest { tags: tags.to_vec(), ..put(&image.bytes(), None) };
    let (guard, holder) = (&repository.store.guard, Holder::Pending(ulid::Ulid::nil()));
    guard.freeze_now(holder, [Key::Tag(repository.name.clone(), tag("c"))]);
    let pushed = repository.put_manifest(push.clone());
    tokio::pin!(pushed);
    assert!(futures::poll!(&mut pushed).is_pending());
    for name in ["a", "c"] {
        assert!(repository.manifest(&reference(name)).await.is_err(), "none moves while one may not");
    }
    guard.thaw(holder);
    let digest = pushed.await.unwrap();
    for tag in &tags {
        assert_eq!(repository.stat_manifest(&Reference::Tag(tag.clone())).await.unwrap().digest, digest);
        assert_eq!(repository.tag_history(tag, None, 1).await.unwrap().entries[0].digest, digest);
    }
    assert!(repository.store.untagged_at(&repository.name, &old).await.unwrap().read().is_some());
}

#[tokio::test]
async fn a_listed_manifest_must_be_in_the_repository_wherever_else_it_may_be_had() {
    let world = World::new();
    let (other, repository) = (world.repository("other").await, world.repository("app").await);
    let image = image("secret");
    image.push(&other, None).await.unwrap();
    let text = String::from_utf8(index(&[&image]).to_vec()).unwrap();
    let elsewhere = text.replace("}]}", r#","urls":["https://example.com"]}]}"#);
    assert_ne!(elsewhere, text);
    let error = repository.put_manifest(put(&elsewhere.into(), Some("v1"))).await.unwrap_err();
    let Error::InvalidReferences(invalid) = error else { panic!("{error:?}") };
    assert!(matches!(&invalid[..], [InvalidReference::ManifestUnknown(child)] if child.digest == image.digest()));
}
