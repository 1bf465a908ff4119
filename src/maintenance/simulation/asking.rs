//! Asking a process for something, as a client does who may be told nothing.

use std::{sync::Arc, time::Duration};

use futures::future::{self, Either};

use crate::{oci::RepositoryName, storage::Error};

use super::{
    history::{Kind, Outcome},
    process::Process,
    world::World,
};

/// How long a client waits for an answer.
const WAITS: Duration = Duration::from_secs(60);

/// How an operation ended, by what was answered; and what it was, where the answer says more of that.
pub(super) type Judged = (Outcome, Option<Kind>);

/// What a process answers; `None`: nothing comes, because it dies, or takes too long, or the client hangs up.
pub(super) async fn ask<T: Send + 'static>(
    world: &Arc<World>,
    process: &Arc<Process>,
    request: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let clock = Arc::clone(&process.clock);
    let answered = tokio::spawn(async move {
        clock.running().await;
        let answer = request.await;
        clock.running().await;
        answer
    });
    let hang_up = answered.abort_handle();
    let hangs_up = !world.network.is_healed() && world.chance.hits(world.profile.hangs_up);
    let patience = if hangs_up { world.chance.up_to(Duration::from_secs(3)) } else { WAITS };
    let gives_up = future::select(Box::pin(process.clock.died()), world.time.sleep(patience));
    match future::select(answered, gives_up).await {
        Either::Left((answer, _)) => answer.ok(),
        Either::Right(_) => {
            if hangs_up {
                hang_up.abort();
            }
            None
        }
    }
}

/// As [`ask`], for something that changes what is there.
pub(super) async fn attempt<T: Send + 'static>(
    world: &Arc<World>,
    process: &Arc<Process>,
    repository: Option<&RepositoryName>,
    kind: Kind,
    request: impl Future<Output = Result<T, Error>> + Send + 'static,
    judge: impl FnOnce(&Result<T, Error>) -> Judged + Send + 'static,
) -> Option<Result<T, Error>> {
    world.note(&process.address, "is asked", "", &format_args!("{kind:?} in {repository:?}"));
    let operation = world.history.begin(process.id, repository, kind, world.time.now());
    let (here, clock) = (Arc::clone(world), Arc::clone(&process.clock));
    let answer = ask(world, process, async move {
        let answer = request.await;
        clock.running().await;
        let (outcome, kind) = judge(&answer);
        let why = answer.as_ref().err().map(|error| crate::storage::with_causes(error)).unwrap_or_default();
        here.note("client", "is told", "", &format_args!("{outcome:?} of operation {operation}: {why}"));
        here.history.end(operation, outcome, kind, here.time.now());
        answer
    });
    let answer = answer.await;
    if answer.is_none() {
        // The process may be at it still, whether or not somebody waits.
        let (here, process) = (Arc::clone(world), Arc::clone(process));
        tokio::spawn(async move {
            process.clock.running().await;
            process.catalog.drain().await;
            process.clock.running().await;
            here.history.end(operation, Outcome::Unknown, None, here.time.now());
        });
    }
    answer
}
