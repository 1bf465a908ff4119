//! What a Registry's status says of its garbage. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::v1alpha1::{GarbageCollectionResult as Outcome, GarbageCollectionStatus};
use crate::api::wire::{CollectionState, CollectionStatus};

/// The bound of a message, in characters.
const MAX_MESSAGE_CHARS: usize = 1024;

/// What is known, from what the registry says and what was known before.
///
/// A dry run removes nothing and shows nowhere. One that the registry knows nothing of any more was interrupted: the
/// process that was at it has gone.
#[must_use]
pub fn known(
    before: Option<&GarbageCollectionStatus>,
    said: Option<&CollectionStatus>,
    now: Timestamp,
) -> Option<GarbageCollectionStatus> {
    match (said.filter(|said| !said.dry_run), before) {
        (Some(said), _) => Some(of_report(said)),
        (None, Some(before)) if before.completion_time.is_none() && said.is_none() => {
            let message = "the registry knows nothing of it any more".to_owned();
            Some(GarbageCollectionStatus {
                completion_time: Some(Time(now)),
                result: Some(Outcome::Interrupted),
                message: Some(message),
                ..before.clone()
            })
        }
        (None, before) => before.cloned(),
    }
}

fn of_report(said: &CollectionStatus) -> GarbageCollectionStatus {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let result = match said.state {
        CollectionState::Running => None,
        CollectionState::Finished => Some(Outcome::Completed),
        CollectionState::Halted => Some(Outcome::Halted),
        CollectionState::Failed => Some(Outcome::Failed),
        CollectionState::Interrupted => Some(Outcome::Interrupted),
    };
    let halt = said.halt.as_ref();
    let message = halt.map(|halt| &halt.message).or(said.message.as_ref()).cloned().or_else(|| damage(said));
    GarbageCollectionStatus {
        report: said.id.clone(),
        start_time: Some(Time(said.started_at)),
        completion_time: result.map(|_| Time(said.ended_at.unwrap_or(said.started_at))),
        removed_blobs: result.map(|_| count(said.removed.blobs)),
        reclaimed_bytes: result.map(|_| count(said.removed.bytes)),
        result,
        brake: halt.map(|halt| halt.brake),
        message: message.map(|message| message.chars().take(MAX_MESSAGE_CHARS).collect()),
    }
}

/// What is damaged and was gone past, where that is all there is to say.
fn damage(said: &CollectionStatus) -> Option<String> {
    let first = said.problems.first().filter(|_| said.state == CollectionState::Finished)?;
    let others = said.problem_count.saturating_sub(1);
    let others = if others == 0 { String::new() } else { format!(" ({others} more: lagan gc shows them)") };
    Some(format!("{}{others}", first.message))
}
