//! From what the storage has to what the engine plans with.

use crate::oci::Manifest;
use crate::retention::{Blob, ManifestContent, ManifestSnapshot, RepositorySnapshot, TagSnapshot};
use crate::storage::{Error, Repository, RevisionEntry, TagEntry};

/// Reads everything visible in a repository.
///
/// # Errors
/// Those of the storage; then nothing is known, and nothing may be planned.
pub(super) async fn snapshot(repository: &Repository) -> Result<RepositorySnapshot, Error> {
    let inventory = repository.inventory().await?;
    Ok(RepositorySnapshot {
        repository: repository.name().clone(),
        tags: inventory.tags.into_iter().map(tag).collect(),
        manifests: inventory.revisions.into_iter().map(manifest).collect(),
    })
}

fn tag(entry: TagEntry) -> TagSnapshot {
    // A restore is recorded for the manifest, and the engine looks there for its tags, too.
    TagSnapshot { tag: entry.tag, digest: entry.digest, pushed_at: entry.pushed_at, restored_at: None }
}

fn manifest(entry: RevisionEntry) -> ManifestSnapshot {
    ManifestSnapshot {
        digest: entry.digest,
        media_type: entry.manifest.as_ref().map(|manifest| manifest.media_type.clone()),
        size: entry.size,
        pushed_at: entry.pushed_at,
        untagged_since: entry.untagged_since,
        restored_at: entry.restored_at,
        content: entry.manifest.as_ref().map(content),
    }
}

fn content(manifest: &Manifest) -> ManifestContent {
    ManifestContent {
        children: manifest.children().map(|child| child.digest.clone()).collect(),
        config: manifest.config.as_ref().map(|config| config.digest.clone()),
        blobs: manifest.blobs().map(|blob| Blob { digest: blob.digest.clone(), size: blob.size }).collect(),
        subject: manifest.subject.as_ref().map(|subject| subject.digest.clone()),
    }
}
