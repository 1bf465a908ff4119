//! Whether a store that was found after a power cut is what it must be.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use lagan::api::wire::{FindingKind, FindingView};
use lagan::oci::{Algorithm, Digest};
use lagan::storage::Conflict;
use serde_json::Value;

use super::{
    image::MANIFEST,
    listing,
    registry::Registry,
    scenario::{Action, Claim, Scenario},
};

/// Its age says when ages were lost.
const AGES_LOST: &str = "lagan/v1/local/ages-lost";

const HALF_A_GRACE_PERIOD: Duration = Duration::from_secs(12 * 3600 + 60);

/// Far longer than an examination takes: what waits for this is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// Opens what was found, looks at everything that was promised, asks again for what was interrupted, and restores what
/// was deleted. `done` actions were acknowledged before the cut; which claims held is returned.
pub(crate) async fn examine(data: &Path, scenario: &Scenario, done: usize) -> Result<usize, String> {
    let examined = tokio::time::timeout(PATIENCE, examine_all(data, scenario, done)).await;
    examined.unwrap_or_else(|_| Err("it is stuck".into()))
}

async fn examine_all(data: &Path, scenario: &Scenario, done: usize) -> Result<usize, String> {
    let mut registry = Registry::open(data).await?;
    let looked = look(&registry, data, scenario, done).await;
    let held = match looked {
        Ok(held) => held,
        Err(error) => {
            registry.abandon().await;
            return Err(error);
        }
    };
    let interrupted = done.min(scenario.actions.len() - 1);
    let action = &scenario.actions[interrupted];
    if let Action::Import { from, .. } = action {
        registry.abandon().await;
        import(from, data).await?;
        registry = Registry::open(data).await?;
    }
    let again = again(&registry, data, scenario, interrupted).await;
    let is_braked = matches!(action, Action::Collect) && registry.may_have_lost_ages();
    registry.abandon().await;
    again?;
    if is_braked {
        collect_later(data, scenario).await?;
    }
    Ok(held)
}

/// Which claims hold: all of those before the action that was interrupted, or all of those after it.
async fn look(registry: &Registry, data: &Path, scenario: &Scenario, done: usize) -> Result<usize, String> {
    check_whole(data, scenario.damaged.as_ref())?;
    check_put_aside(data, scenario.damaged.as_ref())?;
    let at = which_hold(registry, scenario, done).await?;
    check_lists(registry, scenario, [done, done + 1]).await?;
    if scenario.is_whole_after(done) {
        check_scrubbed(registry, data).await?;
    }
    Ok(at)
}

/// What a process says that was just refused something: what was so before, or after it.
pub(crate) async fn check_answers(registry: &Registry, scenario: &Scenario, done: usize) -> Result<(), String> {
    which_hold(registry, scenario, done).await?;
    check_lists(registry, scenario, [done, done + 1]).await
}

async fn which_hold(registry: &Registry, scenario: &Scenario, done: usize) -> Result<usize, String> {
    let mut failures = Vec::new();
    for at in [done, done + 1] {
        let Some(claims) = scenario.claims.get(at) else { continue };
        match check_claims(registry, claims).await {
            Ok(()) => return Ok(at),
            Err(error) => failures.push(format!("not as after {at} actions: {error}")),
        }
    }
    Err(failures.join("; "))
}

async fn check_claims(registry: &Registry, claims: &[Claim]) -> Result<(), String> {
    for claim in claims {
        claim.check(registry).await?;
    }
    Ok(())
}

/// The lists are those before or after an action, or in between.
async fn check_lists(registry: &Registry, scenario: &Scenario, between: [usize; 2]) -> Result<(), String> {
    let found = listing::found(registry, &listing::names(scenario)).await?;
    let expected = listing::expected(scenario);
    let [before, after] = between.map(|at| &expected[at.min(scenario.actions.len())]);
    let interrupted = scenario.actions.get(between[0]).filter(|_| between[0] != between[1]);
    let takes_tags = matches!(interrupted, Some(Action::Restore { conflict: Conflict::Replace, .. }));
    // A tag that is taken from one image before another one has it is nowhere in between.
    listing::check(&found, before, after, |line| {
        takes_tags && line.starts_with("tag ") || scenario.may_lose_reports && line == listing::COLLECTED
    })
}

/// A scrub finds nothing but what an operation that was cut off may leave: a link to bytes that did not follow, entries
/// of indexes that lead nowhere, and the folder of a tag whose link did not follow, which goes when tags are listed.
/// Readers pass over each of them, and whoever asks again makes it true.
async fn check_scrubbed(registry: &Registry, data: &Path) -> Result<(), String> {
    let found = registry.scrub(false).await?;
    let may_be = |finding: &&FindingView| match finding.kind {
        FindingKind::StaleLink | FindingKind::StaleReferrer | FindingKind::StaleTrash => true,
        FindingKind::DanglingTag => !data.join(&finding.path).exists(),
        _ => false,
    };
    match found.iter().find(|finding| !may_be(finding)) {
        None => Ok(()),
        Some(finding) => Err(format!("a scrub finds {finding:?}")),
    }
}

/// Asks again for what was interrupted; then nothing may stand in the way of what was deleted either.
async fn again(registry: &Registry, data: &Path, scenario: &Scenario, at: usize) -> Result<(), String> {
    let asked = scenario.actions[at].ask(registry, true).await;
    asked.map_err(|error| format!("asked again: {error}"))?;
    let after = async {
        check_claims(registry, &scenario.claims[at + 1]).await?;
        check_lists(registry, scenario, [at + 1, at + 1]).await?;
        check_put_aside(data, scenario.damaged.as_ref())?;
        check_whole(data, scenario.damaged.as_ref())
    };
    after.await.map_err(|error| format!("after it was asked again: {error}"))?;
    if scenario.is_whole_after(at + 1) {
        registry.restore_all().await?;
        check_whole(data, None).map_err(|error| format!("after the restore: {error}"))?;
        check_scrubbed(registry, data).await.map_err(|error| format!("after the restore: {error}"))?;
    }
    Ok(())
}

/// Half a grace period after ages were lost a collection does its work. What was promised of a blob alone is over by then,
/// and what was deleted was restored.
async fn collect_later(data: &Path, scenario: &Scenario) -> Result<(), String> {
    let lost = fs::File::options().write(true).open(data.join(AGES_LOST)).map_err(|error| error.to_string())?;
    let written = lost.metadata().and_then(|lost| lost.modified()).map_err(|error| error.to_string())?;
    lost.set_modified(written - HALF_A_GRACE_PERIOD).map_err(|error| error.to_string())?;
    let registry = Registry::open(data).await?;
    let collected = registry.collect().await;
    let mut lasting = scenario.claims.last().unwrap().clone();
    lasting.retain(|claim| matches!(claim, Claim::Served { .. }));
    let claims = check_claims(&registry, &lasting).await;
    registry.abandon().await;
    match collected? {
        None => claims.and_then(|()| check_whole(data, None)).map_err(|error| format!("collected later: {error}")),
        Some(brake) => Err(format!("a later collection was stopped by {brake:?}")),
    }
}

/// Copies from another registry into a folder, as a person does. The other one serves on the threads of this process.
async fn import(from: &str, data: &Path) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lagan"));
    command.args(import_arguments(from)).arg(data);
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    if done.status.success() {
        return Ok(());
    }
    Err(format!("the import ended with {}: {}", done.status, String::from_utf8_lossy(&done.stderr)))
}

/// All but the folder.
pub(crate) fn import_arguments(from: &str) -> [&str; 4] {
    ["import", "--from", from, "--data"]
}

/// Whether every visible manifest has all its bytes, and those of all that it needs. Read from the disk: no cache helps.
fn check_whole(data: &Path, damaged: Option<&Digest>) -> Result<(), String> {
    let root = data.join("docker/registry/v2");
    let mut repositories = Vec::new();
    find_repositories(&root.join("repositories"), &mut repositories);
    for repository in repositories {
        for hexadecimal in names(&repository.join("_manifests/revisions/sha256")) {
            let link = repository.join(format!("_manifests/revisions/sha256/{hexadecimal}/link"));
            if link.exists() {
                check_manifest(&root, &repository, &hexadecimal, damaged)?;
            }
        }
    }
    Ok(())
}

/// Damaged bytes are where they were, or put aside: a person may still make something of them.
fn check_put_aside(data: &Path, damaged: Option<&Digest>) -> Result<(), String> {
    let Some(digest) = damaged else { return Ok(()) };
    let hexadecimal = digest.hex();
    let place = data.join(format!("docker/registry/v2/blobs/sha256/{}/{hexadecimal}/data", &hexadecimal[..2]));
    let aside = data.join(format!("lagan/v1/quarantine/{digest}"));
    let places = names(&aside).into_iter().map(|name| aside.join(name)).chain([place]);
    let are_they = |path: PathBuf| {
        fs::read(path).is_ok_and(|mut bytes| {
            damage(&mut bytes);
            Digest::of(Algorithm::Sha256, &bytes) == *digest
        })
    };
    if places.into_iter().any(are_they) { Ok(()) } else { Err(format!("the damaged bytes of {digest} are lost")) }
}

/// What is done to bytes that are damaged before a scenario begins; done twice it is undone.
pub(crate) fn damage(bytes: &mut [u8]) {
    if let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
}

fn check_manifest(root: &Path, repository: &Path, hexadecimal: &str, damaged: Option<&Digest>) -> Result<(), String> {
    let bytes = whole_blob(root, hexadecimal)?;
    let manifest: Value = serde_json::from_slice(&bytes).map_err(|error| format!("no manifest: {error}"))?;
    let none = Vec::new();
    let listed = |key: &str| manifest[key].as_array().unwrap_or(&none).clone();
    let blobs =
        listed("layers").into_iter().chain((manifest["mediaType"] == MANIFEST).then(|| manifest["config"].clone()));
    let needs = blobs
        .map(|blob| (blob, "_layers"))
        .chain(listed("manifests").into_iter().map(|child| (child, "_manifests/revisions")));
    for (descriptor, kind) in needs {
        let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
        if damaged.is_some_and(|damaged| damaged.to_string() == digest) {
            continue;
        }
        let needed = digest.strip_prefix("sha256:").ok_or("a digest of another kind")?;
        whole_blob(root, needed).map_err(|error| format!("{error}; {hexadecimal} needs it"))?;
        if !repository.join(format!("{kind}/sha256/{needed}/link")).exists() {
            return Err(format!("{hexadecimal} needs {kind} {needed}, which has no link"));
        }
    }
    Ok(())
}

fn whole_blob(root: &Path, hexadecimal: &str) -> Result<Vec<u8>, String> {
    let path = root.join(format!("blobs/sha256/{}/{hexadecimal}/data", &hexadecimal[..2]));
    let bytes = fs::read(&path).map_err(|error| format!("the bytes of {hexadecimal} are not there: {error}"))?;
    if Digest::of(Algorithm::Sha256, &bytes).hex() == hexadecimal {
        return Ok(bytes);
    }
    Err(format!("the bytes of {hexadecimal} are others ({} of them)", bytes.len()))
}

fn find_repositories(folder: &Path, found: &mut Vec<PathBuf>) {
    if folder.join("_manifests").exists() {
        found.push(folder.to_owned());
    }
    for name in names(folder).into_iter().filter(|name| !name.starts_with('_')) {
        find_repositories(&folder.join(name), found);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
