//! I1, read off the files.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::site::Site;
use crate::tally::Invariant;

/// How often to look at everything.
const LOOK: Duration = Duration::from_secs(5);

/// Looks at all revisions of a site again and again, and at what the processes take.
pub(crate) async fn watch(site: Arc<Site>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let (this, looked) = (site.clone(), site.clone());
        tokio::task::spawn_blocking(move || look(&this)).await.unwrap();
        for replica in &looked.replicas {
            looked.tally.largest(looked.name, "most resident in a process, KiB", replica.resident() / 1024);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Looks at all revisions once.
pub(crate) fn look(site: &Site) {
    let registry = site.files.join("docker/registry/v2");
    let mut links = Vec::new();
    find_revisions(&registry.join("repositories"), &mut links);
    for link in &links {
        if let Some(complaint) = complaint(&registry, link) {
            site.violation(Invariant::I1, &complaint);
        }
    }
    site.tally.add(site.name, "revisions looked at on disk", links.len() as u64);
}

/// What is wrong with a revision. It is not wrong if it was deleted meanwhile: the bytes may go after the link.
fn complaint(registry: &Path, link: &Path) -> Option<String> {
    let digest = fs::read_to_string(link).ok()?;
    let missing = missing(registry, digest.trim())?;
    let still = fs::read_to_string(link).ok()?;
    (still == digest).then(|| format!("{} is there, and not {missing}", link.display()))
}

fn missing(registry: &Path, digest: &str) -> Option<String> {
    let data = blob(registry, digest);
    let Ok(manifest) = fs::read(&data) else { return Some(data.display().to_string()) };
    let manifest: Value = serde_json::from_slice(&manifest).unwrap_or_default();
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    std::iter::once(&manifest["config"]).chain(&layers).find_map(|descriptor| {
        let data = blob(registry, descriptor["digest"].as_str().unwrap_or("sha256:none"));
        let size = fs::metadata(&data).map(|found| found.len()).ok();
        (size != descriptor["size"].as_u64()).then(|| format!("{} with {descriptor}, but {size:?}", data.display()))
    })
}

fn blob(registry: &Path, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    registry.join("blobs/sha256").join(hex.get(..2).unwrap_or_default()).join(hex).join("data")
}

/// The links of all revisions below a folder.
fn find_revisions(folder: &Path, links: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_name().to_str() {
            Some("_manifests") => {
                let revisions = fs::read_dir(entry.path().join("revisions/sha256")).into_iter().flatten().flatten();
                links.extend(revisions.map(|revision| revision.path().join("link")));
            }
            Some("_layers" | "_uploads") => {}
            _ => find_revisions(&entry.path(), links),
        }
    }
}

/// How much a folder takes, and in how many files.
pub(crate) fn size(folder: &Path) -> (u64, u64) {
    let mut sum = (0, 0);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(found) = entry.metadata() else { continue };
        let (bytes, files) = if found.is_dir() { size(&entry.path()) } else { (found.len(), 1) };
        sum = (sum.0 + bytes, sum.1 + files);
    }
    sum
}
