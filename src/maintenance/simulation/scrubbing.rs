//! Scrubs, while everybody goes on, and when everything has come to rest.

use std::{sync::Arc, time::Duration};

use crate::api::wire::{FindingKind, FindingView, ScrubRequest, ScrubState, ScrubStatus};

use super::{asking::ask, history::Asked, process::Process, world::World};

/// How long a scrub is waited for.
const LONGEST: Duration = Duration::from_secs(300);

/// How often one is asked for that another process may be at.
const TRIES: u32 = 20;

/// One scrub at a process; how it ended, if that could be heard.
pub(super) async fn scrub(world: &Arc<World>, process: &Arc<Process>, repair: bool) -> Option<ScrubStatus> {
    let (scrubs, request) = (process.scrubs.clone(), ScrubRequest { repair, uploads_older_than: None });
    let begun = ask(world, process, async move { scrubs.start(&request).await }).await;
    let named = begun.as_ref().map(|it| it.as_ref().map(|it| &it.id));
    world.note(&process.address, "scrubs", "", &format_args!("{named:?}, repair: {repair}"));
    let id = begun?.ok()?.id;
    let until = world.time.now() + LONGEST;
    while !process.is_dead() && world.time.now() < until {
        world.time.sleep(Duration::from_secs(1)).await;
        let scrubs = process.scrubs.clone();
        let status = ask(world, process, async move { scrubs.status().await }).await;
        let Some(Ok(status)) = status else { continue };
        if status.id != id {
            return None;
        }
        if status.state != ScrubState::Running {
            world.note(&process.address, "has scrubbed", "", &format_args!("{:?} {:?}", status.state, status.found));
            for kind in [FindingKind::CorruptBlob, FindingKind::WrongSize] {
                if status.found.contains_key(&kind) {
                    world.fail(&format!("a scrub finds {kind:?}: {:?}", status.message));
                }
            }
            return Some(status);
        }
    }
    None
}

/// Nothing is damaged that nobody asked for, but for tags of pushes that failed; what is mended stays as it was answered.
pub(super) async fn everything_is_sound(world: &Arc<World>) {
    let Some(process) = world.living().into_iter().next() else { return };
    if !is_scrubbed(world, &process, false).await {
        return;
    }
    let scrubs = process.scrubs.clone();
    let Some(Ok(page)) = ask(world, &process, async move { scrubs.findings(None, 100).await }).await else {
        world.fail("a scrub does not say what it found");
        return;
    };
    for finding in page.findings.iter().filter(|finding| finding.is_damage && !is_explained(world, finding)) {
        world.fail(&format!("a scrub finds {finding:?}"));
    }
    if world.chance.hits(500) {
        is_scrubbed(world, &process, true).await;
    }
}

/// Whether somebody asked for it: a blob or a child of an index that was deleted, of which the trash tells no more. Which
/// tags a push left that failed is looked at by who looks at the tags.
fn is_explained(world: &World, finding: &FindingView) -> bool {
    let (Some(name), Some(digest)) = (&finding.repository, &finding.digest) else {
        return finding.kind == FindingKind::DanglingTag;
    };
    let now = Asked { from: world.time.now(), to: world.time.now() };
    match finding.kind {
        FindingKind::DanglingTag => true,
        FindingKind::MissingBlob => world.history.was_blob_deleted(name, digest, Duration::ZERO, now.to),
        FindingKind::MissingManifest => world.history.refute_absence(&world.content, name, digest, now).is_none(),
        _ => false,
    }
}

async fn is_scrubbed(world: &Arc<World>, process: &Arc<Process>, repair: bool) -> bool {
    for _ in 0..TRIES {
        if scrub(world, process, repair).await.is_some_and(|status| status.state == ScrubState::Finished) {
            return true;
        }
        world.time.sleep(Duration::from_secs(5)).await;
    }
    world.fail(&format!("{} does not scrub", process.address));
    false
}
