//! Manifests of a repository: pushing them.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future;
use jiff::Timestamp;

use crate::oci::{Algorithm, Descriptor, Digest, Manifest, RepositoryName, Tag};

use super::facts::RevisionFact;
use crate::storage::{
    Error, InvalidReference, Repository,
    concurrent::concurrently,
    driver::Durability,
    entropy::on_a_thread,
    guard::keys::Key,
    layout::PathSpec,
    replicas::{Intent, IntentId, Promise},
    tags::pushes::TagPush,
    uploads::hash::HASH_IN_PLACE,
};

/// A manifest to store.
#[derive(Debug, Clone)]
pub struct PutManifest {
    /// The address that its bytes must have; absent, it is their SHA-256.
    pub digest: Option<Digest>,
    /// The tags that are to point to it.
    pub tags: Vec<Tag>,
    /// What it says.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: Bytes,
    /// Those of the tags that never move: they are refused where they point to another manifest.
    pub immutable: Vec<Tag>,
    /// Who pushes.
    pub actor: String,
}

impl PutManifest {
    /// The bytes' address, if that is the one which was asked for.
    async fn verify(&self) -> Result<Digest, Error> {
        let algorithm = self.digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let actual = if self.bytes.len() <= HASH_IN_PLACE {
            Digest::of(algorithm, &self.bytes)
        } else {
            let bytes = self.bytes.clone();
            on_a_thread(move || Digest::of(algorithm, &bytes))
                .await
                .map_err(|error| Error::interrupted("hash a manifest", error))?
        };
        match &self.digest {
            Some(expected) if *expected != actual => Err(Error::DigestMismatch { expected: expected.clone(), actual }),
            _ => Ok(actual),
        }
    }
}

/// A manifest whose bytes were verified.
struct Push {
    digest: Digest,
    put: PutManifest,
    now: Timestamp,
}

impl Push {
    /// What has to be there for it, where a collection can see it.
    fn relied_on(&self, repository: &RepositoryName) -> Intent {
        let needed = self.put.manifest.blobs().chain(self.put.manifest.children());
        let digests = needed.map(|descriptor| descriptor.digest.clone()).chain([self.digest.clone()]).collect();
        Intent { repository: repository.clone(), digests, tags: self.put.tags.clone() }
    }
}

impl Repository {
    /// Stores a manifest, and moves the tags that it was pushed under, all of them in one change.
    ///
    /// # Guarantees
    /// - All that the manifest needs is in the repository, and stays while it is stored. Its subject may be absent.
    /// - What is answered is durable. The tags move last: whoever reads one finds all the rest.
    /// - Where a blob is not as long as the manifest says, it is looked at, and put aside if it is damaged: the client
    ///   finds that it is missing, and pushes it again.
    /// - Pushing again sets the time of the push. A tag that moves leaves what it pointed to, readable by digest.
    /// - Where a write fails there is an error, and some of the tags may have moved.
    ///
    /// # Errors
    /// [`Error::InvalidReferences`], [`Error::DigestMismatch`], [`Error::TagImmutable`], [`Error::Frozen`],
    /// [`Error::NoLease`], [`Error::Driver`].
    ///
    /// # Cancel safety
    /// Once the bytes are verified it runs to its end also when it is dropped.
    pub async fn put_manifest(&self, put: PutManifest) -> Result<Digest, Error> {
        let digest = put.verify().await?;
        let this = self.clone();
        let published = self.store.changes.run(async move { this.publish(digest, put).await }).await;
        if let Err(Error::InvalidReferences(invalid)) = &published {
            // Now that nothing is relied on any more, so that what is damaged can be put aside.
            self.store.look_into(&self.name, invalid).await;
        }
        published
    }

    async fn publish(&self, digest: Digest, put: PutManifest) -> Result<Digest, Error> {
        let tags = put.tags.clone();
        let _turns = self.store.immutable_pushes.take(&self.name, &put.immutable).await;
        let published = self.publish_in_order(digest, put).await;
        if published.is_err() {
            // Their folders would be listed.
            self.store.take_back(&self.name, tags);
        }
        published
    }

    async fn publish_in_order(&self, digest: Digest, put: PutManifest) -> Result<Digest, Error> {
        self.store.settle_parked().await;
        let promise = self.store.enter(self.keys_of(&digest, &put)).await?;
        let published = self.publish_entered(&promise, Push { digest, put, now: self.store.clock.now() }).await;
        if let Err(error) = &published {
            promise.leave(&self.store, error);
        }
        published
    }

    async fn publish_entered(&self, promise: &Promise, push: Push) -> Result<Digest, Error> {
        self.refuse_to_move(&push).await?;
        let (push, intent) = (&push, self.store.new_intent());
        let previous = match self.prepare(push, &intent).await {
            Ok(previous) => previous,
            Err(error) => {
                self.store.end_intent(intent).await;
                return Err(error);
            }
        };
        promise.lease_while_young(&self.store)?;
        let linked = self.link_revision(push, &previous).await;
        // Noted also where a write failed: it may have taken effect.
        self.note_children(push);
        // A manifest that was there may be of another media type now, or of other content. Other replicas do not remember
        // what can change so.
        self.store.drop_descriptors(&self.name, &push.digest).await;
        linked?;
        promise.lease()?;
        self.move_tags(push).await?;
        promise.lease()?;
        self.store.end_intent(intent).await;
        Ok(push.digest.clone())
    }

    /// Before anything is written: a push that is refused changes nothing.
    async fn refuse_to_move(&self, push: &Push) -> Result<(), Error> {
        for tag in &push.put.immutable {
            let target = self.store.tag_target(&self.name, tag).await?;
            if let Some(digest) = target.filter(|target| *target != push.digest)
                && self.store.is_visible(&self.name, &digest).await?
            {
                return Err(Error::TagImmutable { tag: tag.clone(), digest });
            }
        }
        Ok(())
    }

    /// Itself, all that it references, and the tags.
    fn keys_of(&self, digest: &Digest, put: &PutManifest) -> Vec<Key> {
        let needed = put.manifest.blobs().chain(put.manifest.children()).map(|descriptor| &descriptor.digest);
        let mut keys = Vec::new();
        for digest in needed.chain([digest]) {
            keys.push(Key::Blob(digest.clone()));
            keys.push(Key::Revision(self.name.clone(), digest.clone()));
        }
        keys.extend(put.tags.iter().map(|tag| Key::Tag(self.name.clone(), tag.clone())));
        keys
    }

    /// Everything that comes before a link, at the same time. What the tags point to now is the answer.
    async fn prepare(&self, push: &Push, intent: &IntentId) -> Result<Vec<Option<Digest>>, Error> {
        let store = &self.store;
        let data = PathSpec::BlobData(&push.digest).path();
        let targets = push.put.tags.iter().map(|tag| store.tag_target(&self.name, tag));
        let (intent, noted, bytes, previous) = future::join4(
            store.put_intent(intent, &push.relied_on(&self.name)),
            self.check_and_note(push),
            store.driver.put(&data, push.put.bytes.clone(), Durability::Durable),
            concurrently(targets),
        )
        .await;
        intent?;
        noted?;
        bytes.map_err(|source| Error::driver("write a manifest", source))?;
        previous
    }

    /// The checks, then what is noted of the manifest beside its links. The same manifest may be there already: a push
    /// that is refused must not change what is noted of it.
    async fn check_and_note(&self, push: &Push) -> Result<(), Error> {
        let (store, manifest, digest) = (&self.store, &push.put.manifest, &push.digest);
        let (invalid, is_first) =
            future::join(self.invalid_references(manifest), store.awaits_its_first_manifest(&self.name)).await;
        let invalid = invalid?;
        if !invalid.is_empty() {
            return Err(Error::InvalidReferences(invalid));
        }
        let size = push.put.bytes.len() as u64;
        let (fact, referrer, built) = future::join3(
            store.put_revision_fact(&self.name, digest, &RevisionFact::of(manifest, size, push.now)),
            store.put_referrer(&self.name, digest, manifest, size),
            store.put_referrers_built(&self.name, is_first?),
        )
        .await;
        fact.and(referrer).and(built)
    }

    /// The links that come before the tags', with what is noted of the tags; then what the trash knows of the manifest.
    async fn link_revision(&self, push: &Push, previous: &[Option<Digest>]) -> Result<(), Error> {
        let (store, digest, tags) = (&self.store, &push.digest, &push.put.tags);
        let notes = concurrently(tags.iter().map(|tag| self.note_push(push, tag)));
        let left: BTreeSet<&Digest> = previous.iter().flatten().filter(|previous| *previous != digest).collect();
        let left = concurrently(left.into_iter().map(|previous| store.put_untagged(&self.name, previous, push.now)));
        let revision = store.put_link(PathSpec::RevisionLink(&self.name, digest), digest);
        let (revision, notes, left) = future::join3(revision, notes, left).await;
        revision?;
        notes?;
        left?;
        store.revive(&self.name, digest, tags).await
    }

    /// What comes before a tag's link: its index, and its history.
    async fn note_push(&self, push: &Push, tag: &Tag) -> Result<(), Error> {
        let actor = push.put.actor.clone();
        let noted = TagPush { digest: push.digest.clone(), pushed_at: push.now, actor, restored: false };
        let (index, noted) = future::join(
            self.store.put_link(PathSpec::TagIndex(&self.name, tag, &push.digest), &push.digest),
            self.store.put_tag_push(&self.name, tag, &noted),
        )
        .await;
        index.and(noted)
    }

    async fn move_tags(&self, push: &Push) -> Result<(), Error> {
        let moves = push.put.tags.iter().map(|tag| async move {
            let moved = self.store.put_link(PathSpec::TagCurrent(&self.name, tag), &push.digest).await;
            // Also where it failed: it may have taken effect.
            self.store.reach.tags.note(&self.name, &push.digest, tag.clone());
            self.store.tag_names.note(&self.name, tag, &moved);
            moved
        });
        // Not ended by the first failure: a write that was begun must be over before the guard is left.
        let moves: Vec<_> = moves.collect();
        future::join_all(moves).await.into_iter().collect()
    }

    fn note_children(&self, push: &Push) {
        for child in push.put.manifest.children() {
            self.store.reach.parents.note(&self.name, &child.digest, push.digest.clone());
        }
    }

    /// What the manifest needs and the repository does not have, or has in another size; each once.
    async fn invalid_references(&self, manifest: &Manifest) -> Result<Vec<InvalidReference>, Error> {
        let mut seen = BTreeSet::new();
        let needed = manifest.blobs().chain(manifest.children()).filter(|descriptor| descriptor.is_required()).filter(
            |descriptor| seen.insert((&descriptor.digest, descriptor.size, descriptor.media_type.is_manifest())),
        );
        let needed: Vec<&Descriptor> = needed.collect();
        let checks = needed.into_iter().map(|descriptor| self.check_reference(descriptor));
        let found: Vec<_> = concurrently(checks).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn check_reference(&self, descriptor: &Descriptor) -> Result<Option<InvalidReference>, Error> {
        Ok(match self.store.member_size(&self.name, descriptor).await? {
            Some(actual) if actual == descriptor.size => None,
            Some(actual) => Some(InvalidReference::SizeMismatch { descriptor: descriptor.clone(), actual }),
            None if descriptor.media_type.is_manifest() => Some(InvalidReference::ManifestUnknown(descriptor.clone())),
            None => Some(InvalidReference::BlobUnknown(descriptor.clone())),
        })
    }
}
