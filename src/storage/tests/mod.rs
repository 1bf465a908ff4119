//! The invariants of docs/protocol.md, for one process: what pushes, deletes and restores do to each other, and what a
//! crash leaves of them.

mod adopted;
mod collection;
mod crash;
mod delete;
mod planned;
mod pulls;
mod purge;
mod push;
mod race;
mod referrers;
mod replicas;
mod repository;
mod restore;
mod scrub;
mod trash;

use bytes::Bytes;

use crate::oci::{Descriptor, Digest, Manifest, MediaType, Reference, Tag};

use super::{
    DeleteCause, Error, PutManifest, ReferrerFilter, Repository, StoredManifest,
    driver::{Durability, StorageDriver as _, memory::MemoryDriver},
    fixtures::{World, sha256},
    layout::PathSpec,
};

/// An image of two small layers; another one for each label.
pub(super) struct Image {
    label: String,
    subject: Option<Digest>,
}

pub(super) fn image(label: &str) -> Image {
    Image { label: label.into(), subject: None }
}

impl Image {
    /// The same, referring to another manifest.
    pub(super) fn about(self, subject: &Digest) -> Self {
        Self { subject: Some(subject.clone()), ..self }
    }

    pub(super) fn blobs(&self) -> Vec<Bytes> {
        ["config", "first", "second"].map(|part| Bytes::from(format!("{part} of {}", self.label))).to_vec()
    }

    pub(super) fn bytes(&self) -> Bytes {
        let parts = self.blobs();
        let of = |index: usize, kind: &str| descriptor(&format!("application/vnd.oci.image.{kind}"), &parts[index]);
        let subject = self.subject.as_ref().map(|subject| {
            format!(r#","subject":{{"mediaType":"{}","digest":"{subject}","size":1}}"#, MediaType::OCI_MANIFEST)
        });
        let (config, first) = (of(0, "config.v1+json"), of(1, "layer.v1.tar"));
        let second = of(2, "layer.v1.tar");
        Bytes::from(format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{config},"layers":[{first},{second}]{}}}"#,
            MediaType::OCI_MANIFEST,
            subject.unwrap_or_default()
        ))
    }

    pub(super) fn digest(&self) -> Digest {
        sha256(&self.bytes())
    }

    /// Pushes the layers, then the manifest under a tag or by its digest.
    pub(super) async fn push(&self, repository: &Repository, tag: Option<&str>) -> Result<Digest, Error> {
        for blob in self.blobs() {
            seed_blob(repository, &blob).await?;
        }
        repository.put_manifest(put(&self.bytes(), tag)).await
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, sha256(bytes), bytes.len())
}

/// The bytes of an index of images.
pub(super) fn index(images: &[&Image]) -> Bytes {
    let children: Vec<String> =
        images.iter().map(|image| descriptor(MediaType::OCI_MANIFEST, &image.bytes())).collect();
    let children = children.join(",");
    Bytes::from(format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{children}]}}"#, MediaType::OCI_INDEX))
}

/// What a client sends for a manifest; without a tag, by its digest.
pub(super) fn put(bytes: &Bytes, tag: Option<&str>) -> PutManifest {
    PutManifest {
        digest: tag.is_none().then(|| sha256(bytes)),
        tags: tag.map(self::tag).into_iter().collect(),
        manifest: Manifest::parse(None, bytes).unwrap(),
        bytes: bytes.clone(),
        immutable: Vec::new(),
        actor: "pusher".into(),
    }
}

/// A blob as an upload leaves it.
pub(super) async fn seed_blob(repository: &Repository, bytes: &Bytes) -> Result<Digest, Error> {
    let digest = sha256(bytes);
    let data = PathSpec::BlobData(&digest).path();
    let stored = repository.store.driver.put(&data, bytes.clone(), Durability::Durable).await;
    stored.map_err(|source| Error::driver("seed a blob", source))?;
    repository.store.put_link(PathSpec::LayerLink(&repository.name, &digest), &digest).await?;
    Ok(digest)
}

/// Every referrer of a manifest that a client is shown.
pub(super) async fn referrers(repository: &Repository, subject: &Digest) -> Vec<Descriptor> {
    let filter = ReferrerFilter { artifact_type: None, after: None, page_bytes: usize::MAX, may_note: true };
    repository.referrers(subject, filter).await.unwrap().entries
}

pub(super) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// What a test writes for a reference: a tag, or a digest.
pub(super) fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

pub(super) fn by(digest: &Digest) -> Reference {
    Reference::Digest(digest.clone())
}

pub(super) fn cause() -> DeleteCause {
    DeleteCause { actor: "deleter".into(), reason: "test".into(), policy: None, group: None }
}

/// Whether a pull of the reference, and every other way to it, says the same; that.
pub(super) async fn is_there(repository: &Repository, reference: &Reference) -> bool {
    let got = repository.manifest(reference).await;
    let stat = repository.stat_manifest(reference).await;
    match (&got, &stat) {
        (Ok(StoredManifest { descriptor, bytes }), Ok(stat)) => {
            assert_eq!(descriptor, stat);
            assert!(descriptor.digest.matches(bytes));
            assert_eq!(descriptor.size, bytes.len() as u64);
            true
        }
        (Err(Error::ManifestUnknown { .. }), Err(Error::ManifestUnknown { .. })) => false,
        other => panic!("{other:?}"),
    }
}

/// The tags that a list shows; none where it says that the repository does not exist.
pub(super) async fn tags(repository: &Repository) -> Vec<String> {
    match repository.tags(None, 1000).await {
        Ok(page) => page.entries.iter().map(ToString::to_string).collect(),
        Err(Error::RepositoryUnknown { .. }) => Vec::new(),
        Err(other) => panic!("{other:?}"),
    }
}

/// I1: the bytes of every visible manifest, and of everything that it references, exist, and each tag that shows leads
/// to a manifest.
pub(super) async fn assert_consistent(repository: &Repository) {
    let inventory = repository.inventory().await.unwrap();
    for revision in &inventory.revisions {
        let closure = repository.store.closure(&repository.name, &revision.digest, &[]).await.unwrap();
        assert_eq!(closure.missing, [], "{} is incomplete", revision.digest);
        for manifest in &closure.manifests {
            assert!(is_there(repository, &by(&manifest.digest)).await, "{} is not visible", manifest.digest);
        }
        for blob in &closure.blobs {
            let link = PathSpec::LayerLink(&repository.name, blob);
            assert!(repository.store.link(link, blob).await.unwrap().is_some(), "{blob} is not linked");
        }
    }
    repository.store.changes.drain().await;
    let shown: Vec<String> = inventory.tags.iter().map(|shown| shown.tag.to_string()).collect();
    let listed = tags(repository).await;
    assert!(shown.iter().all(|tag| listed.contains(tag)), "{shown:?} lead somewhere, and {listed:?} are listed");
    for unfinished in listed.iter().filter(|tag| !shown.contains(tag)) {
        // A first push that broke off: several replicas leave it to a scrub.
        let link = repository.store.raw_link(PathSpec::TagCurrent(&repository.name, &tag(unfinished))).await.unwrap();
        let is_left = repository.store.replicas.is_some() && link.is_none();
        assert!(is_left, "{unfinished} is listed and leads nowhere");
    }
    for shown in &inventory.tags {
        assert!(is_there(repository, &Reference::Tag(shown.tag.clone())).await, "{} dangles", shown.tag);
    }
}

/// The paths below one folder, without the folder, each ULID written as `<ulid>`.
pub(super) fn paths_below(memory: &MemoryDriver, folder: &str) -> Vec<String> {
    let is_ulid = |part: &&str| part.len() == 26 && ulid::Ulid::from_string(part).is_ok();
    let named = |path: &str| {
        path.split('/').map(|part| if is_ulid(&part) { "<ulid>" } else { part }).collect::<Vec<_>>().join("/")
    };
    let paths = memory.paths();
    let mut below: Vec<String> =
        paths.iter().filter_map(|path| path.as_str().strip_prefix(folder)).map(named).collect();
    below.sort();
    below
}

pub(super) async fn pending_count(world: &World) -> usize {
    match world.driver.list(&PathSpec::Pendings.path(), None, usize::MAX).await {
        Ok(entries) => entries.len(),
        Err(_) => 0,
    }
}

/// Leaves a file empty, as a crash of another registry does.
pub(super) async fn tear(world: &World, spec: PathSpec<'_>) {
    world.memory.put(&spec.path(), Bytes::new(), Durability::Durable).await.unwrap();
}
