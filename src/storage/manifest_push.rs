//! Manifests of a repository: pushing them.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future;
use jiff::Timestamp;

use crate::oci::{Descriptor, Digest, Manifest, MediaType, Reference, Tag};

use super::{
    Error, InvalidReference, Repository,
    concurrent::concurrently,
    driver::Durability,
    facts::{RevisionFact, TagPush},
    guard::Key,
    layout::PathSpec,
};

/// A manifest to store.
#[derive(Debug, Clone)]
pub struct PutManifest {
    /// The tag that it is pushed under, or its digest.
    pub reference: Reference,
    /// The `Content-Type` that came with it.
    pub media_type: Option<MediaType>,
    /// What it says.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its address. For a tag, the SHA-256 of the bytes.
    pub digest: Digest,
    /// Who pushes.
    pub actor: String,
}

impl PutManifest {
    fn tag(&self) -> Option<&Tag> {
        match &self.reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        }
    }

    /// The bytes hash to the digest, and that is the one which was asked for.
    fn verify(&self) -> Result<(), Error> {
        let expected = match &self.reference {
            Reference::Digest(digest) => digest,
            Reference::Tag(_) => &self.digest,
        };
        let actual = Digest::of(expected.algorithm(), &self.bytes);
        if *expected == actual && self.digest == actual {
            return Ok(());
        }
        Err(Error::DigestMismatch { expected: expected.clone(), actual })
    }
}

impl Repository {
    /// Stores a manifest, and moves the tag that it was pushed under.
    ///
    /// # Guarantees
    /// - All that the manifest needs is in the repository, and stays while it is stored. Its subject may be absent.
    /// - What is answered is durable. The tag moves last: whoever reads it finds all the rest.
    /// - Pushing again sets the time of the push. A tag that moves leaves what it pointed to, readable by digest.
    ///
    /// # Errors
    /// [`Error::InvalidReferences`], [`Error::DigestMismatch`], [`Error::Frozen`], [`Error::NoLease`], [`Error::Driver`].
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn put_manifest(&self, put: PutManifest) -> Result<Digest, Error> {
        put.verify()?;
        let this = self.clone();
        self.store.changes.run(async move { this.publish(&put).await }).await
    }

    async fn publish(&self, put: &PutManifest) -> Result<Digest, Error> {
        self.store.settle_parked().await;
        let promise = self.store.enter(self.keys_of(put)).await?;
        let now = self.store.clock.now();
        let previous = self.prepare(put, now).await?;
        promise.lease()?;
        let linked = self.link_revision(put, previous.as_ref(), now).await;
        // Noted also where a write failed: it may have taken effect.
        self.note_children(put);
        // A manifest that was there may be of another media type now.
        self.store.drop_descriptors(&self.name, &put.digest).await;
        linked?;
        promise.lease()?;
        if let Some(tag) = put.tag() {
            let tagged = self.store.put_link(PathSpec::TagCurrent(&self.name, tag), &put.digest).await;
            self.store.reach.tags.note(&self.name, &put.digest, tag.clone());
            tagged?;
            promise.lease()?;
        }
        Ok(put.digest.clone())
    }

    /// Itself, all that it references, and the tag.
    fn keys_of(&self, put: &PutManifest) -> Vec<Key> {
        let needed = put.manifest.blobs().chain(put.manifest.children()).map(|descriptor| &descriptor.digest);
        let mut keys = Vec::new();
        for digest in needed.chain([&put.digest]) {
            keys.push(Key::Blob(digest.clone()));
            keys.push(Key::Revision(self.name.clone(), digest.clone()));
        }
        keys.extend(put.tag().map(|tag| Key::Tag(self.name.clone(), tag.clone())));
        keys
    }

    /// Everything that comes before a link, at the same time: bytes, facts, the referrer's entry, and the checks. None of
    /// it shows, should the checks fail. What the tag points to now is the answer.
    async fn prepare(&self, put: &PutManifest, now: Timestamp) -> Result<Option<Digest>, Error> {
        let store = &self.store;
        let fact = RevisionFact::of(&put.manifest, put.bytes.len() as u64, now);
        let data = PathSpec::BlobData(&put.digest).path();
        let (invalid, bytes, fact, referrer, previous) = future::join5(
            self.invalid_references(&put.manifest),
            store.driver.put(&data, put.bytes.clone(), Durability::Durable),
            store.put_revision_fact(&self.name, &put.digest, &fact),
            store.put_referrer(&self.name, &put.digest, &put.manifest, put.bytes.len() as u64),
            self.tag_before(put.tag()),
        )
        .await;
        let invalid = invalid?;
        if !invalid.is_empty() {
            return Err(Error::InvalidReferences(invalid));
        }
        bytes.map_err(|source| Error::driver("write a manifest", source))?;
        fact?;
        referrer?;
        previous
    }

    async fn tag_before(&self, tag: Option<&Tag>) -> Result<Option<Digest>, Error> {
        match tag {
            Some(tag) => self.store.tag_target(&self.name, tag).await,
            None => Ok(None),
        }
    }

    /// The links that come before the tag's, with what is noted of the tag; then what the trash knows of the manifest.
    async fn link_revision(&self, put: &PutManifest, previous: Option<&Digest>, now: Timestamp) -> Result<(), Error> {
        let store = &self.store;
        let history = async {
            let Some(tag) = put.tag() else { return Ok(()) };
            let actor = put.actor.clone();
            let push = TagPush { digest: put.digest.clone(), pushed_at: now, actor, restored: false };
            let (index, push) = future::join(
                store.put_link(PathSpec::TagIndex(&self.name, tag, &put.digest), &put.digest),
                store.put_tag_push(&self.name, tag, &push),
            )
            .await;
            index.and(push)
        };
        let untagged = async {
            match previous.filter(|previous| **previous != put.digest) {
                Some(previous) => store.put_untagged(&self.name, previous, now).await,
                None => Ok(()),
            }
        };
        let revision = store.put_link(PathSpec::RevisionLink(&self.name, &put.digest), &put.digest);
        let (revision, history, untagged) = future::join3(revision, history, untagged).await;
        revision.and(history).and(untagged)?;
        store.revive(&self.name, &put.digest, put.tag()).await
    }

    fn note_children(&self, put: &PutManifest) {
        for child in put.manifest.children() {
            self.store.reach.parents.note(&self.name, &child.digest, put.digest.clone());
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
