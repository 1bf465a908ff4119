//! Collections, while everybody goes on.

use std::{sync::Arc, time::Duration};

use crate::api::wire::{CollectionRequest, CollectionState, CollectionStatus};

use super::{asking::ask, invariants, process::Process, world::World};

/// Collects at some process or another until everything is healed.
pub(super) async fn keep_collecting(world: Arc<World>, between: Duration) {
    while !world.network.is_healed() {
        world.time.sleep(world.chance.up_to(between * 2)).await;
        let living = world.living();
        if !living.is_empty() {
            collect(&world, world.chance.pick(&living)).await;
        }
    }
}

/// One collection at a process, by somebody who confirms whatever a brake stops; how it ended, if that could be heard.
pub(super) async fn collect(world: &Arc<World>, process: &Arc<Process>) -> Option<CollectionStatus> {
    let status = attempt(world, process, None).await?;
    match status.halt.as_ref().filter(|halt| halt.confirmable) {
        Some(_) => attempt(world, process, Some(status.id)).await,
        None => Some(status),
    }
}

async fn attempt(world: &Arc<World>, process: &Arc<Process>, confirm: Option<String>) -> Option<CollectionStatus> {
    let collections = process.collections.clone();
    let request = CollectionRequest { dry_run: false, confirm };
    let begun = ask(world, process, async move { collections.begin("collector", request).await }).await;
    world.note(
        &process.address,
        "collects",
        "",
        &format_args!("{:?}", begun.as_ref().map(|it| it.as_ref().map(|it| &it.id))),
    );
    begun?.ok()?;
    loop {
        world.time.sleep(Duration::from_secs(1)).await;
        let collections = process.collections.clone();
        let status = ask(world, process, async move { collections.status().await }).await;
        if process.is_dead() {
            return None;
        }
        let Some(Ok(Some(status))) = status else { continue };
        if status.state != CollectionState::Running {
            let text = format!("{:?} {:?} {:?}", status.state, status.halt, status.message);
            world.note(&process.address, "has collected", &text, &format_args!("{:?}", status.removed));
            world.count_removed(status.removed.blobs);
            return Some(status);
        }
    }
}

/// Everything goes to the trash, expires there, and is collected: nothing is left.
pub(super) async fn collect_everything(world: &Arc<World>) {
    let longest = super::process::RESTORE_WINDOW + super::profile::timing().grace * 2;
    world.time.sleep(longest).await;
    let Some(process) = world.living().into_iter().next() else { return };
    for _ in 0..3 {
        let ended = collect(world, &process).await;
        world.note(&process.address, "collected at last", "", &format_args!("{ended:?}"));
    }
    let left: Vec<String> = {
        let files = world.medium.files();
        let markers = files.keys().filter(|path| path.starts_with("lagan/v1/gc/")).cloned();
        invariants::blobs(&files).map(|digest| digest.to_string()).chain(markers).collect()
    };
    if let Some(first) = left.first() {
        world.fail(&format!("of {} blobs and markers nothing is collected, as of {first}", left.len()));
    }
}
