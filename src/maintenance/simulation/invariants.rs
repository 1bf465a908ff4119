//! What must be true of the store after each step.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    oci::{Digest, RepositoryName},
    storage::{Tombstone, TombstoneState},
};

use super::{
    content::Content,
    medium::{Change, Files},
};

const BLOBS: &str = "docker/registry/v2/blobs/";
const REPOSITORIES: &str = "docker/registry/v2/repositories/";
const TRASH: &str = "lagan/v1/trash/";

/// Looks at the store after each change.
#[derive(Debug, Clone)]
pub(super) struct Invariants {
    pub(super) content: Arc<Content>,
}

impl Invariants {
    /// What a change has broken. `now` is the earliest time that anybody may believe it is.
    pub(super) fn broken_by(&self, files: &Files, change: Change<'_>, now: Timestamp) -> Option<String> {
        match change {
            Change::Put(path) => {
                let (repository, digest) = revision(path)?;
                self.incomplete(files, &digest)
                    .map(|missing| format!("I1: {repository}@{digest} becomes visible, and {missing} does not exist"))
            }
            Change::Removed(path) => {
                let gone = blob(path)?;
                self.visible_with(files, &gone).or_else(|| restorable_with(files, &gone, now))
            }
        }
    }

    /// What a manifest needs and does not have.
    pub(super) fn incomplete(&self, files: &Files, digest: &Digest) -> Option<Digest> {
        let closure = self.content.closure(digest)?;
        closure.iter().find(|needed| !files.contains_key(&data(needed))).cloned()
    }

    fn visible_with(&self, files: &Files, gone: &Digest) -> Option<String> {
        let mut visible = revisions(files);
        let (repository, manifest) =
            visible.find(|(_, manifest)| self.content.closure(manifest).is_some_and(|all| all.contains(gone)))?;
        Some(format!("I1: {gone} is removed, which {repository}@{manifest} needs"))
    }
}

fn restorable_with(files: &Files, gone: &Digest, now: Timestamp) -> Option<String> {
    let needs = |tombstone: &Tombstone| {
        tombstone.state == TombstoneState::Restorable
            && tombstone.closure.contains(gone)
            && tombstone.restorable_until > now
    };
    let tombstone = tombstones(files).find(needs)?;
    Some(format!("I3: {gone} is removed, which {tombstone:?} needs"))
}

/// Every tombstone that can be read.
pub(super) fn tombstones(files: &Files) -> impl Iterator<Item = Tombstone> {
    let trash = files.range(TRASH.to_owned()..).take_while(|(path, _)| path.starts_with(TRASH));
    trash.filter(|(path, _)| path.contains("/_t/")).filter_map(|(_, file)| {
        let record: serde_json::Value = serde_json::from_slice(&file.content).ok()?;
        serde_json::from_value(record.get("body")?.clone()).ok()
    })
}

/// Every manifest that is visible.
pub(super) fn revisions(files: &Files) -> impl Iterator<Item = (RepositoryName, Digest)> {
    let links = files.range(REPOSITORIES.to_owned()..).take_while(|(path, _)| path.starts_with(REPOSITORIES));
    links.filter_map(|(path, _)| revision(path))
}

/// Every tag, with what its link says.
pub(super) fn tags(files: &Files) -> impl Iterator<Item = (RepositoryName, String, Option<Digest>)> {
    let links = files.range(REPOSITORIES.to_owned()..).take_while(|(path, _)| path.starts_with(REPOSITORIES));
    links.filter_map(|(path, file)| {
        let (repository, rest) = path.strip_prefix(REPOSITORIES)?.split_once("/_manifests/tags/")?;
        let tag = rest.strip_suffix("/current/link")?;
        let target = std::str::from_utf8(&file.content).ok().and_then(|text| text.parse().ok());
        Some((repository.parse().ok()?, tag.to_owned(), target))
    })
}

/// Every blob that has bytes.
pub(super) fn blobs(files: &Files) -> impl Iterator<Item = Digest> {
    files.range(BLOBS.to_owned()..).take_while(|(path, _)| path.starts_with(BLOBS)).filter_map(|(path, _)| blob(path))
}

fn revision(path: &str) -> Option<(RepositoryName, Digest)> {
    let (repository, rest) = path.strip_prefix(REPOSITORIES)?.split_once("/_manifests/revisions/")?;
    Some((repository.parse().ok()?, digest(rest.strip_suffix("/link")?)?))
}

fn blob(path: &str) -> Option<Digest> {
    let (algorithm, rest) = path.strip_prefix(BLOBS)?.split_once('/')?;
    let (_, rest) = rest.split_once('/')?;
    format!("{algorithm}:{}", rest.strip_suffix("/data")?).parse().ok()
}

/// Of `<algorithm>/<hexadecimal>`.
fn digest(pair: &str) -> Option<Digest> {
    pair.replace('/', ":").parse().ok()
}

fn data(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{BLOBS}{}/{}/{hex}/data", digest.algorithm(), &hex[..2])
}
