//! Where everything lies. The only file that knows.
//!
//! Docker's `distribution` reads and writes this part, and Lagan does not change a byte of its layout:
//!
//! ```text
//! docker/registry/v2/
//! ├── blobs/<algorithm>/<2 hex>/<hex>/data            the bytes, once for the whole registry
//! └── repositories/<name>/
//!     ├── _layers/<algorithm>/<hex>/link              the repository has the blob; content: its digest
//!     ├── _manifests/
//!     │   ├── revisions/<algorithm>/<hex>/link        the repository has the manifest
//!     │   └── tags/<tag>/
//!     │       ├── current/link                        what the tag points to
//!     │       └── index/<algorithm>/<hex>/link        what it has pointed to
//!     └── _uploads/<id>/
//!         ├── data                                    what has arrived
//!         ├── startedat                               when it began, RFC 3339
//!         └── hashstates/<algorithm>/<offset>         the hash after that many bytes
//! ```
//!
//! Beside it, where distribution never looks, a repository's name ends at a component that begins with `_`:
//!
//! ```text
//! lagan/v1/
//! ├── facts/<name>/_m/<digest>                        a revision: media type, size, pushed at …
//! ├── facts/<name>/_g/<tag>/<inverted ulid>           a push of a tag; so a list is newest first
//! ├── facts/<name>/_u/<digest>                        when a tag last moved away from a revision
//! ├── facts/<name>/_r/<digest>                        when a revision was last restored
//! ├── referrers/<name>/_s/<subject>/<referrer>        a referrer's descriptor
//! ├── referrers/<name>/_built                         the referrers above are complete
//! ├── pending/<ulid>                                  a delete or restore that has begun
//! ├── intents/<ulid>                                  what a manifest PUT or restore relies on, on a shared store
//! ├── replicas/<ulid>                                 a process that serves a shared store
//! ├── evicted/<ulid>                                  one that somebody could not reach
//! ├── gone/<ulid>                                     since when one that left a change half-done is known to be gone
//! ├── gc/<epoch>/                                     a collection: open, sealed-<k>, closed-<k>, left-<ulid>, closed
//! ├── trash/<name>/_t/<digest>/<ulid>                 a tombstone
//! ├── trash/<name>/_n/<tag>/<ulid>                    which digest's tombstone holds a tag
//! ├── trash/_i/<inverted ulid>                        where a tombstone lies; so a list is newest first
//! ├── cache-epoch/<ulid>                              an epoch of the shared cache; the greatest counts
//! ├── collections/<ulid>                              how far a collection is, or how it ended
//! ├── runs/<id>/<name>                                a policy's runs and plans
//! ├── pulls/<process>/<ulid>                          what was pulled last, as one process saw it
//! ├── pulls/<process>/covered                         until when that is all that it saw
//! ├── quarantine/<digest>/<ulid>                      bytes that were found not to hash to their digest
//! └── adoption                                        when the store was first served, and who wrote it before
//! ```
//!
//! The filesystem driver keeps its lock, its clean-stop marker and its staging files below `lagan/v1/` as well
//! (`local/`, see there); nothing else reads them.

use std::fmt;

use ulid::Ulid;

use crate::oci::{Algorithm, Digest, RepositoryName, Tag};

use super::{
    UploadId,
    driver::{PathComponent, Staging, StoragePath},
};

/// A place in the store. [`PathSpec::path`] says where that is; the names of its cases say what is there, a folder
/// in the plural.
#[derive(Debug, Clone, Copy)]
pub(super) enum PathSpec<'a> {
    /// The bytes of a blob or manifest.
    BlobData(&'a Digest),
    /// The folder of all repositories.
    Repositories,
    /// The membership of a blob.
    LayerLink(&'a RepositoryName, &'a Digest),
    /// The folder that holds [`PathSpec::LayerLink`] alone.
    LayerFolder(&'a RepositoryName, &'a Digest),
    /// The membership of a manifest.
    RevisionLink(&'a RepositoryName, &'a Digest),
    /// The folder that holds [`PathSpec::RevisionLink`] alone.
    RevisionFolder(&'a RepositoryName, &'a Digest),
    /// Memberships of manifests, for one algorithm; the names in it are hexadecimal.
    Revisions(&'a RepositoryName, Algorithm),
    /// Folders named for the tags.
    Tags(&'a RepositoryName),
    /// The folder of one tag.
    TagFolder(&'a RepositoryName, &'a Tag),
    /// What a tag points to.
    TagCurrent(&'a RepositoryName, &'a Tag),
    /// That a tag has pointed to a manifest.
    TagIndex(&'a RepositoryName, &'a Tag, &'a Digest),
    /// What a tag has pointed to, for one algorithm; the names in it are hexadecimal.
    TagIndexes(&'a RepositoryName, &'a Tag, Algorithm),
    /// Uploads in progress; the names in it are their ids.
    Uploads(&'a RepositoryName),
    /// The folder of one upload.
    UploadFolder(&'a RepositoryName, &'a UploadId),
    /// The bytes that have arrived.
    UploadData(&'a RepositoryName, &'a UploadId),
    /// When an upload began.
    UploadStartedAt(&'a RepositoryName, &'a UploadId),
    /// Hash states of an upload, for one algorithm; the names in it are offsets.
    UploadHashStates(&'a RepositoryName, &'a UploadId, Algorithm),
    /// What was known of a manifest when it was pushed.
    Fact(&'a RepositoryName, &'a Digest),
    /// The push of a tag whose id has these bits inverted, or, where one of the first versions noted it, these bits.
    TagPush(&'a RepositoryName, &'a Tag, Ulid),
    /// The pushes of a tag; the names in it are ULIDs.
    TagPushes(&'a RepositoryName, &'a Tag),
    /// When a tag last moved away from a manifest.
    Untagged(&'a RepositoryName, &'a Digest),
    /// When a manifest was last restored.
    RestoredAt(&'a RepositoryName, &'a Digest),
    /// The manifests that a tag has moved away from; the names in it are digests.
    UntaggedNotes(&'a RepositoryName),
    /// The manifests that were restored; the names in it are digests.
    RestoredNotes(&'a RepositoryName),
    /// The descriptor of the second digest, which refers to the first.
    Referrer(&'a RepositoryName, &'a Digest, &'a Digest),
    /// The referrers of a subject; the names in it are digests.
    Referrers(&'a RepositoryName, &'a Digest),
    /// That the repository's referrers are complete.
    ReferrersBuilt(&'a RepositoryName),
    /// A delete or restore that has begun.
    Pending(Ulid),
    /// Deletes and restores that have begun; the names in it are ULIDs.
    Pendings,
    /// What a manifest PUT or a restore relies on.
    Intent(Ulid),
    /// What operations rely on; the names in it are ULIDs.
    Intents,
    /// A process that serves a shared store.
    Replica(Ulid),
    /// The processes that serve a shared store; the names in it are ULIDs.
    Replicas,
    /// Where the self-test of a store writes.
    SelfTest,
    /// What is written only to see which time the store gives it.
    Probe(Ulid),
    /// That somebody could not reach a replica.
    Evicted(Ulid),
    /// The replicas that somebody could not reach; the names in it are ULIDs.
    Evictions,
    /// Since when a replica is known to be gone: the age of this.
    Gone(Ulid),
    /// Folders named for the collections.
    Epochs,
    /// The markers of one collection.
    Epoch(Ulid),
    /// Who runs a collection.
    Opening(Ulid),
    /// The digests of a collection's batch.
    Sealed(Ulid, u32),
    /// That nothing of a collection's batch is removed any more.
    BatchClosed(Ulid, u32),
    /// That a collection is over.
    EpochClosed(Ulid),
    /// What a replica that left in order had touched since a collection began.
    Left(Ulid, Ulid),
    /// A tombstone of a digest.
    Tombstone(&'a RepositoryName, &'a Digest, Ulid),
    /// The tombstones of a digest; the names in it are ULIDs.
    Tombstones(&'a RepositoryName, &'a Digest),
    /// That a tombstone holds a tag.
    TrashedTag(&'a RepositoryName, &'a Tag, Ulid),
    /// The tombstones that hold a tag; the names in it are ULIDs.
    TrashedTags(&'a RepositoryName, &'a Tag),
    /// Where the tombstone lies whose id has these bits inverted.
    TrashEntry(Ulid),
    /// All tombstones, newest first; the names in it are ULIDs with their bits inverted.
    TrashEntries,
    /// An epoch of the shared cache.
    CacheEpoch(Ulid),
    /// The epochs of the shared cache; the names in it are ULIDs.
    CacheEpochs,
    /// What a process saw being pulled in a window.
    PullRecord(Ulid, Ulid),
    /// Until when a process has written down what was pulled.
    PullCoverage(Ulid),
    /// The records of one process; the names in it are ULIDs, but for [`PathSpec::PullCoverage`].
    PullFolder(Ulid),
    /// Folders named for the processes that wrote down what was pulled.
    PullFolders,
    /// That a replica is at a run.
    RunClaim(Ulid),
    /// Who is at which run; the names in it are ULIDs.
    RunClaims,
    /// One record of a run.
    RunRecord(&'a PathComponent, &'a PathComponent),
    /// The records of a run.
    Run(&'a PathComponent),
    /// Folders named for the runs.
    Runs,
    /// A record of a scrub.
    ScrubRecord(Ulid, &'a PathComponent),
    /// The folder of a scrub's records.
    Scrub(Ulid),
    /// The folder of all scrubs.
    Scrubs,
    /// How far a collection is, or how it ended.
    CollectionRecord(Ulid),
    /// The records of collections; the names in it are ULIDs.
    CollectionRecords,
    /// When the store was first served, and who wrote it before.
    Adoption,
    /// The folder of all facts.
    AllFacts,
    /// Folders of blobs, for one algorithm; each is named for the first two characters of those in it.
    BlobFanOuts(Algorithm),
    /// Folders named for blobs, in one folder of [`PathSpec::BlobFanOuts`].
    BlobFanOut(Algorithm, &'a PathComponent),
    /// Memberships of blobs, for one algorithm; the names in it are hexadecimal.
    Layers(&'a RepositoryName, Algorithm),
    /// Folders named for the subjects that have referrers.
    Subjects(&'a RepositoryName),
    /// The folder of the trash of all repositories.
    AllTrash,
    /// Folders named for the digests that have tombstones.
    TombstonedDigests(&'a RepositoryName),
    /// Folders named for the tags that tombstones hold.
    AllTrashedTags(&'a RepositoryName),
    /// Folders named for the digests of [`PathSpec::Quarantined`], and for what is on its way there.
    Quarantine,
    /// Bytes that were found not to hash to their digest.
    Quarantined(&'a Digest, Ulid),
}

const DISTRIBUTION: &str = "docker/registry/v2";
const LAGAN: &str = "lagan/v1";

impl PathSpec<'_> {
    /// The folder in a repository's that holds its manifests. A folder without one is only a part of longer names.
    pub(super) const MANIFESTS_FOLDER: &'static str = "_manifests";
    /// The folder in a repository's trash that ends its name.
    pub(super) const TRASH_FOLDER: &'static str = "_t";

    /// Where an upload lies.
    pub(super) fn staging(name: &RepositoryName, id: &UploadId) -> Staging {
        Staging {
            folder: PathSpec::UploadFolder(name, id).path(),
            started_at: PathSpec::UploadStartedAt(name, id).path(),
            data: PathSpec::UploadData(name, id).path(),
            states: PathSpec::UploadHashStates(name, id, Algorithm::Sha256).path(),
        }
    }

    /// Where a damaged blob is staged on its way to [`PathSpec::Quarantined`].
    pub(super) fn quarantine_staging(id: Ulid) -> Staging {
        let at = |rest: &str| StoragePath::from_layout(format!("{LAGAN}/quarantine/staging-{id}{rest}"));
        Staging { folder: at(""), started_at: at("/startedat"), data: at("/data"), states: at("/hashstates") }
    }

    /// Whose staging a folder in [`PathSpec::Quarantine`] is, by its name; `None` of other folders.
    pub(super) fn quarantine_staging_id(name: &str) -> Option<Ulid> {
        name.strip_prefix("staging-")?.parse().ok()
    }

    /// Whether a file has a name that is given once: one operation writes it, and after its removal nobody does.
    /// (A tombstone is written once more, when what it keeps is pushed again.)
    pub(super) fn is_named_once(path: &StoragePath) -> bool {
        path.as_str()
            .strip_prefix(LAGAN)
            .and_then(|rest| rest.rsplit('/').next())
            .is_some_and(|name| Ulid::from_string(name).is_ok())
    }

    /// Whether a file is a [`PathSpec::Pending`].
    pub(super) fn is_pending(path: &StoragePath) -> bool {
        let folder = Self::Pendings.text();
        path.as_str().strip_prefix(&folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether a file is a marker of a collection. One that lands late means nothing, or an epoch that is closed again.
    pub(super) fn is_collection_marker(path: &StoragePath) -> bool {
        let folder = Self::Epochs.text();
        path.as_str().strip_prefix(&folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Where it lies.
    pub(super) fn path(self) -> StoragePath {
        StoragePath::from_layout(self.text())
    }

    #[expect(clippy::too_many_lines, reason = "a table: a line for each place")]
    fn text(self) -> String {
        match self {
            Self::BlobData(digest) => of_blob(digest),
            Self::Repositories => format!("{DISTRIBUTION}/repositories"),
            Self::LayerLink(name, digest) => in_repository(name, format_args!("_layers/{}/link", Pair(digest))),
            Self::LayerFolder(name, digest) => in_repository(name, format_args!("_layers/{}", Pair(digest))),
            Self::RevisionLink(name, digest) => in_manifests(name, format_args!("revisions/{}/link", Pair(digest))),
            Self::RevisionFolder(name, digest) => in_manifests(name, format_args!("revisions/{}", Pair(digest))),
            Self::Revisions(name, algorithm) => in_manifests(name, format_args!("revisions/{algorithm}")),
            Self::Tags(name) => in_manifests(name, format_args!("tags")),
            Self::TagFolder(name, tag) => in_manifests(name, format_args!("tags/{tag}")),
            Self::TagCurrent(name, tag) => in_manifests(name, format_args!("tags/{tag}/current/link")),
            Self::TagIndex(name, tag, to) => in_manifests(name, format_args!("tags/{tag}/index/{}/link", Pair(to))),
            Self::TagIndexes(name, tag, algorithm) => in_manifests(name, format_args!("tags/{tag}/index/{algorithm}")),
            Self::Uploads(name) => in_repository(name, format_args!("_uploads")),
            Self::UploadFolder(name, id) => in_repository(name, format_args!("_uploads/{id}")),
            Self::UploadData(name, id) => in_repository(name, format_args!("_uploads/{id}/data")),
            Self::UploadStartedAt(name, id) => in_repository(name, format_args!("_uploads/{id}/startedat")),
            Self::UploadHashStates(name, id, algorithm) => {
                in_repository(name, format_args!("_uploads/{id}/hashstates/{algorithm}"))
            }
            Self::Fact(name, digest) => format!("{LAGAN}/facts/{name}/_m/{digest}"),
            Self::TagPush(name, tag, id) => format!("{LAGAN}/facts/{name}/_g/{tag}/{id}"),
            Self::TagPushes(name, tag) => format!("{LAGAN}/facts/{name}/_g/{tag}"),
            Self::Untagged(name, digest) => format!("{LAGAN}/facts/{name}/_u/{digest}"),
            Self::RestoredAt(name, digest) => format!("{LAGAN}/facts/{name}/_r/{digest}"),
            Self::UntaggedNotes(name) => format!("{LAGAN}/facts/{name}/_u"),
            Self::RestoredNotes(name) => format!("{LAGAN}/facts/{name}/_r"),
            Self::Referrer(name, subject, referrer) => format!("{LAGAN}/referrers/{name}/_s/{subject}/{referrer}"),
            Self::Referrers(name, subject) => format!("{LAGAN}/referrers/{name}/_s/{subject}"),
            Self::ReferrersBuilt(name) => format!("{LAGAN}/referrers/{name}/_built"),
            Self::Pending(id) => format!("{LAGAN}/pending/{id}"),
            Self::Pendings => format!("{LAGAN}/pending"),
            Self::Intent(id) => format!("{LAGAN}/intents/{id}"),
            Self::Intents => format!("{LAGAN}/intents"),
            Self::Replica(id) => format!("{LAGAN}/replicas/{id}"),
            Self::Replicas => format!("{LAGAN}/replicas"),
            Self::SelfTest => format!("{LAGAN}/self-test"),
            Self::Probe(id) => format!("{LAGAN}/self-test/probe-{id}"),
            Self::Evicted(id) => format!("{LAGAN}/evicted/{id}"),
            Self::Evictions => format!("{LAGAN}/evicted"),
            Self::Gone(id) => format!("{LAGAN}/gone/{id}"),
            Self::Epochs => format!("{LAGAN}/gc"),
            Self::Epoch(epoch) => format!("{LAGAN}/gc/{epoch}"),
            Self::Opening(epoch) => format!("{LAGAN}/gc/{epoch}/open"),
            Self::Sealed(epoch, batch) => format!("{LAGAN}/gc/{epoch}/sealed-{batch}"),
            Self::BatchClosed(epoch, batch) => format!("{LAGAN}/gc/{epoch}/closed-{batch}"),
            Self::EpochClosed(epoch) => format!("{LAGAN}/gc/{epoch}/closed"),
            Self::Left(epoch, replica) => format!("{LAGAN}/gc/{epoch}/left-{replica}"),
            Self::Tombstone(name, digest, id) => in_trash(name, format_args!("/{digest}/{id}")),
            Self::Tombstones(name, digest) => in_trash(name, format_args!("/{digest}")),
            Self::TrashedTag(name, tag, id) => format!("{LAGAN}/trash/{name}/_n/{tag}/{id}"),
            Self::TrashedTags(name, tag) => format!("{LAGAN}/trash/{name}/_n/{tag}"),
            Self::TrashEntry(inverted) => format!("{LAGAN}/trash/_i/{inverted}"),
            Self::TrashEntries => format!("{LAGAN}/trash/_i"),
            Self::CacheEpoch(epoch) => format!("{LAGAN}/cache-epoch/{epoch}"),
            Self::CacheEpochs => format!("{LAGAN}/cache-epoch"),
            Self::PullRecord(process, id) => format!("{LAGAN}/pulls/{process}/{id}"),
            Self::PullCoverage(process) => format!("{LAGAN}/pulls/{process}/covered"),
            Self::PullFolder(process) => format!("{LAGAN}/pulls/{process}"),
            Self::PullFolders => format!("{LAGAN}/pulls"),
            Self::RunClaim(id) => format!("{LAGAN}/running/{id}"),
            Self::RunClaims => format!("{LAGAN}/running"),
            Self::RunRecord(run, record) => format!("{LAGAN}/runs/{run}/{record}"),
            Self::Run(run) => format!("{LAGAN}/runs/{run}"),
            Self::Runs => format!("{LAGAN}/runs"),
            Self::ScrubRecord(scrub, record) => format!("{LAGAN}/scrubs/{scrub}/{record}"),
            Self::Scrub(scrub) => format!("{LAGAN}/scrubs/{scrub}"),
            Self::Scrubs => format!("{LAGAN}/scrubs"),
            Self::CollectionRecord(id) => format!("{LAGAN}/collections/{id}"),
            Self::CollectionRecords => format!("{LAGAN}/collections"),
            Self::Adoption => format!("{LAGAN}/adoption"),
            Self::AllFacts => format!("{LAGAN}/facts"),
            Self::BlobFanOuts(algorithm) => format!("{DISTRIBUTION}/blobs/{algorithm}"),
            Self::BlobFanOut(algorithm, name) => format!("{DISTRIBUTION}/blobs/{algorithm}/{name}"),
            Self::Layers(name, algorithm) => in_repository(name, format_args!("_layers/{algorithm}")),
            Self::Subjects(name) => format!("{LAGAN}/referrers/{name}/_s"),
            Self::AllTrash => format!("{LAGAN}/trash"),
            Self::TombstonedDigests(name) => in_trash(name, format_args!("")),
            Self::AllTrashedTags(name) => format!("{LAGAN}/trash/{name}/_n"),
            Self::Quarantine => format!("{LAGAN}/quarantine"),
            Self::Quarantined(digest, id) => format!("{LAGAN}/quarantine/{digest}/{id}"),
        }
    }
}

fn of_blob(digest: &Digest) -> String {
    let hex = digest.hex();
    let fan_out = hex.get(..2).unwrap_or(hex);
    format!("{DISTRIBUTION}/blobs/{}/{fan_out}/{hex}/data", digest.algorithm())
}

fn in_repository(name: &RepositoryName, rest: fmt::Arguments<'_>) -> String {
    format!("{DISTRIBUTION}/repositories/{name}/{rest}")
}

fn in_manifests(name: &RepositoryName, rest: fmt::Arguments<'_>) -> String {
    in_repository(name, format_args!("{}/{rest}", PathSpec::MANIFESTS_FOLDER))
}

fn in_trash(name: &RepositoryName, rest: fmt::Arguments<'_>) -> String {
    format!("{LAGAN}/trash/{name}/{}{rest}", PathSpec::TRASH_FOLDER)
}

/// A digest as two folders.
struct Pair<'a>(&'a Digest);

impl fmt::Display for Pair<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.algorithm(), self.0.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distribution_finds_what_lagan_writes() {
        let name: RepositoryName = "team/app".parse().unwrap();
        let tag: Tag = "v1".parse().unwrap();
        let digest = Digest::of(Algorithm::Sha256, b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let repository = "docker/registry/v2/repositories/team/app";
        let cases = [
            (PathSpec::BlobData(&digest), format!("docker/registry/v2/blobs/sha256/e3/{hex}/data")),
            (PathSpec::LayerLink(&name, &digest), format!("{repository}/_layers/sha256/{hex}/link")),
            (PathSpec::RevisionLink(&name, &digest), format!("{repository}/_manifests/revisions/sha256/{hex}/link")),
            (PathSpec::TagCurrent(&name, &tag), format!("{repository}/_manifests/tags/v1/current/link")),
            (
                PathSpec::TagIndex(&name, &tag, &digest),
                format!("{repository}/_manifests/tags/v1/index/sha256/{hex}/link"),
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(spec.path().as_str(), expected);
        }
    }

    #[test]
    fn what_only_one_operation_writes_is_told_by_its_name() {
        let name: RepositoryName = "01arz3ndektsv4rrffq69g5fav/app".parse().unwrap();
        let (tag, digest): (Tag, _) =
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(), Digest::of(Algorithm::Sha256, b""));
        let id = Ulid::from(7_u128);
        for spec in [
            PathSpec::Pending(id),
            PathSpec::Intent(id),
            PathSpec::Tombstone(&name, &digest, id),
            PathSpec::TrashedTag(&name, &tag, id),
            PathSpec::TrashEntry(Ulid(!id.0)),
            PathSpec::TagPush(&name, &tag, id),
        ] {
            assert!(PathSpec::is_named_once(&spec.path()), "{spec:?}");
            assert_eq!(PathSpec::is_pending(&spec.path()), matches!(spec, PathSpec::Pending(_)), "{spec:?}");
        }
        for spec in [
            PathSpec::TagCurrent(&name, &tag),
            PathSpec::TagIndex(&name, &tag, &digest),
            PathSpec::RevisionLink(&name, &digest),
            PathSpec::LayerLink(&name, &digest),
            PathSpec::Fact(&name, &digest),
            PathSpec::Untagged(&name, &digest),
            PathSpec::RestoredAt(&name, &digest),
            PathSpec::Referrer(&name, &digest, &digest),
            PathSpec::BlobData(&digest),
        ] {
            assert!(!PathSpec::is_named_once(&spec.path()), "{spec:?}");
            assert!(!PathSpec::is_pending(&spec.path()), "{spec:?}");
        }
    }

    #[test]
    fn a_repository_name_in_a_key_ends_where_an_underscore_begins() {
        let name: RepositoryName = "team/app".parse().unwrap();
        let digest = Digest::of(Algorithm::Sha256, b"");
        let id = Ulid::nil();
        assert_eq!(
            PathSpec::Tombstone(&name, &digest, id).path().as_str(),
            format!("lagan/v1/trash/team/app/_t/{digest}/{id}")
        );
    }
}
