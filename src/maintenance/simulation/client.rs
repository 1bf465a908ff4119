//! A client that does whatever it likes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    oci::{Reference, RepositoryName, Tag},
    storage::Conflict,
};

use super::{
    changing::Change,
    content::{REPOSITORIES, TAGS, repository, sha256, tag},
    policy,
    process::Process,
    pulling::Pull,
    pushing::Push,
    scrubbing,
    world::World,
};

/// How often a push is tried, each time where somebody answers.
const TRIES: u32 = 4;

/// Lives for as long as the profile says.
pub(super) async fn live(world: Arc<World>) {
    while world.time.now() < world.profile.lasts {
        world.time.sleep(world.chance.up_to(world.profile.pause)).await;
        let Some(process) = somebody(&world) else { continue };
        let name = repository(world.chance.pick::<&str>(&REPOSITORIES));
        act(&world, &process, &name).await;
    }
}

fn somebody(world: &World) -> Option<Arc<Process>> {
    let living = world.living();
    (!living.is_empty()).then(|| Arc::clone(world.chance.pick(&living)))
}

fn some_tag(world: &World) -> Tag {
    tag(world.chance.pick::<&str>(&TAGS))
}

fn some_reference(world: &World) -> Reference {
    if world.chance.hits(500) {
        Reference::Tag(some_tag(world))
    } else {
        Reference::Digest(world.chance.pick(&world.content.items).digest.clone())
    }
}

async fn act(world: &Arc<World>, process: &Arc<Process>, name: &RepositoryName) {
    let pull = Pull { world, process, repository: name };
    let change = Change { world, process };
    match world.chance.below(100) {
        0..44 => push(world, name).await,
        44..57 => {
            change.delete(name, &some_reference(world)).await;
        }
        57..59 => {
            change.delete_repository(name).await;
        }
        59..62 => {
            let item = world.chance.pick(&world.content.items);
            if !item.blobs.is_empty() {
                change.delete_blob(name, &sha256(world.chance.pick::<Bytes>(&item.blobs))).await;
            }
        }
        62..74 => of_the_trash(&change).await,
        74..77 => policy::run(world, process).await,
        77..79 => {
            scrubbing::scrub(world, process, world.chance.hits(500)).await;
        }
        79..94 => {
            pull.reference(&some_reference(world)).await;
        }
        94..97 => {
            pull.tags().await;
        }
        _ => {
            pull.referrers(&world.chance.pick(&world.content.items).digest).await;
        }
    }
}

/// Restores something, with what was deleted with it or without, or gives it up.
async fn of_the_trash(change: &Change<'_>) {
    let world = change.world;
    let entries = change.trash().await.unwrap_or_default();
    if entries.is_empty() {
        return;
    }
    let entry = world.chance.pick(&entries);
    let conflict = if world.chance.hits(300) { Conflict::Replace } else { Conflict::Fail };
    match world.chance.below(6) {
        0 => change.purge(entry).await,
        1 => change.restore_group(entry, conflict).await,
        _ => change.restore(entry, world.chance.hits(300), conflict).await,
    };
}

/// Pushes something, until it is there or tried often enough.
async fn push(world: &Arc<World>, name: &RepositoryName) {
    let item = world.chance.pick(&world.content.items);
    let tag = world.chance.hits(800).then(|| some_tag(world));
    for _ in 0..TRIES {
        if let Some(process) = somebody(world) {
            let push = Push { world, process: &process, repository: name };
            if push.item(item, tag.as_ref()).await.is_ok() {
                return;
            }
        }
        world.time.sleep(world.chance.up_to(Duration::from_secs(3))).await;
    }
}
