//! When nothing goes wrong any more: everything that began is over, everybody says what was answered, and everything
//! that is asked for succeeds.

use std::{sync::Arc, time::Duration};

use crate::{
    oci::{Reference, RepositoryName},
    storage::{Conflict, Tombstone, TombstoneKind},
};

use super::{
    changing::Change,
    collecting,
    content::{REPOSITORIES, TAGS, repository, tag},
    invariants,
    process::Process,
    pulling::Pull,
    pushing::Push,
    scrubbing, trouble,
    world::World,
};

/// How long everything may take to come to rest.
const LONGEST: Duration = Duration::from_secs(300);

/// How often something is asked for that another process may be at.
const TRIES: u32 = 3;

pub(super) async fn come_to_rest(world: &Arc<World>) {
    trouble::heal(world).await;
    if !world.profile.is_shared {
        // What got stuck is ended by whoever changes something next, or by the next start.
        for process in world.living() {
            process.kill(world);
        }
        Process::start_surely(world, "one:1").await;
    }
    await_rest(world).await;
    await_everybody(world).await;
    if world.profile.is_shared {
        let fresh = Process::start_surely(world, "fresh:1").await;
        fresh.catalog.joined().await;
    }
    scrubbing::everything_is_sound(world).await;
    everybody_agrees(world).await;
    everything_works(world).await;
    if world.failure().is_none() && world.profile.collects.is_some() {
        everything_goes(world).await;
    }
}

/// All that is there is deleted, and what is in the trash is let expire.
async fn everything_goes(world: &Arc<World>) {
    let visible: Vec<_> = invariants::revisions(&world.medium.files()).collect();
    let Some(process) = world.living().into_iter().next() else { return };
    for (name, digest) in visible {
        let change = Change { world, process: &process };
        if !is_deleted(&change, &name, &Reference::Digest(digest.clone())).await {
            world.fail(&format!("{} does not delete {name}@{digest}", process.address));
            return;
        }
    }
    // Nothing is asked of the others any more.
    for other in world.living().into_iter().filter(|other| other.id != process.id) {
        other.leave(world).await;
    }
    collecting::collect_everything(world).await;
}

pub(super) fn left_behind(world: &World) -> Vec<String> {
    let files = world.medium.files();
    let is_left = |path: &&String| path.starts_with("lagan/v1/pending/") || path.starts_with("lagan/v1/evicted/");
    files.keys().filter(is_left).cloned().collect()
}

pub(super) async fn await_rest(world: &Arc<World>) {
    let until = world.time.now() + LONGEST;
    while world.time.now() < until {
        if left_behind(world).is_empty() {
            return;
        }
        world.time.sleep(Duration::from_secs(5)).await;
    }
    world.fail(&format!("this is left for ever: {:?}", left_behind(world)));
}

/// Whom the others could not reach again and again stays away for minutes.
async fn await_everybody(world: &Arc<World>) {
    for process in world.living() {
        let joined = Box::pin(process.catalog.joined());
        futures::future::select(joined, world.time.sleep(LONGEST * 2)).await;
    }
}

async fn everybody_agrees(world: &Arc<World>) {
    let missing = {
        let files = world.medium.files();
        let invariants = invariants::Invariants { content: Arc::clone(&world.content) };
        let mut revisions = invariants::revisions(&files);
        revisions.find_map(|(name, digest)| {
            invariants.incomplete(&files, &digest).map(|missing| format!("I1: {name}@{digest} lacks {missing}"))
        })
    };
    world.expect(missing);
    for process in world.living() {
        for name in REPOSITORIES.map(repository) {
            let pull = Pull { world, process: &process, repository: &name };
            for item in &world.content.items {
                if !pull.reference(&Reference::Digest(item.digest.clone())).await {
                    world.fail(&format!("{} does not answer for {name}@{}", process.address, item.digest));
                }
            }
            for text in TAGS {
                // What it leads to was pulled.
                if pull.leads_to(&Reference::Tag(tag(text))).await.is_err() {
                    world.fail(&format!("{} does not answer for {name}:{text}", process.address));
                }
            }
            if !pull.tags().await {
                world.fail(&format!("{} does not list the tags of {name}", process.address));
            }
        }
    }
    no_tag_dangles(world);
}

/// Deletes something, as soon as nothing can land any more of a push whose answer did not come.
async fn is_deleted(change: &Change<'_>, name: &RepositoryName, reference: &Reference) -> bool {
    let until = change.world.time.now() + LONGEST;
    while change.world.time.now() < until {
        if change.delete(name, reference).await {
            return true;
        }
        change.world.time.sleep(Duration::from_secs(5)).await;
    }
    false
}

/// A tag whose manifest is gone is half of a push: only one that failed may have left that.
fn no_tag_dangles(world: &World) {
    let (tags, revisions) = {
        let files = world.medium.files();
        let tags: Vec<_> = invariants::tags(&files).collect();
        (tags, invariants::revisions(&files).collect::<std::collections::BTreeSet<_>>())
    };
    for (name, text, target) in tags {
        let Some(digest) = target else { continue };
        let is_visible = revisions.contains(&(name.clone(), digest.clone()));
        if !is_visible && !world.history.may_have_failed(&name, &tag(&text), &digest) {
            world.fail(&format!("I4: {name}:{text} points to {digest}, which is not there"));
        }
    }
}

/// The same requests again succeed, at every process.
async fn everything_works(world: &Arc<World>) {
    let (name, label) = (repository(REPOSITORIES[0]), tag(TAGS[0]));
    for process in world.living() {
        for item in &world.content.items {
            let push = Push { world, process: &process, repository: &name };
            let mut is_pushed = false;
            for _ in 0..TRIES {
                is_pushed = is_pushed || push.item(item, Some(&label)).await.is_ok();
            }
            if !is_pushed {
                world.fail(&format!("{} does not take {}", process.address, item.name));
                return;
            }
        }
        let last = Reference::Digest(world.content.items[world.content.items.len() - 1].digest.clone());
        let change = Change { world, process: &process };
        if !is_deleted(&change, &name, &last).await {
            world.fail(&format!("{} does not delete {last}", process.address));
            return;
        }
        // Not the first one, where clocks were set meanwhile.
        let is_it = |entry: &Tombstone| entry.repository == name && Reference::Digest(entry.digest.clone()) == last;
        let mut entries = change.trash().await.unwrap_or_default().into_iter();
        let Some(entry) = entries.find(|entry| is_it(entry) && entry.kind == TombstoneKind::Manifest) else {
            world.fail(&format!("{} does not have {last} in its trash", process.address));
            return;
        };
        if !change.restore(&entry, false, Conflict::Fail).await {
            world.fail(&format!("{} does not restore {entry:?}", process.address));
            return;
        }
    }
}
