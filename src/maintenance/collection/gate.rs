//! What stops a collection before it removes anything (docs/protocol.md, *Collection*, 1, and *Foreign writers*).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::v1alpha1::CollectionBrake;
use crate::api::wire::CollectionHalt;
use crate::storage::{self, Adoption, BlobSum, Collection, ForeignRevision, Marked, Origin};

use super::records::Record;

/// Fewer repositories than this may vanish unasked, unless it is all of them: where there are ten of them, deleting three
/// is nothing unheard of.
const FEW_REPOSITORIES: u64 = 5;

/// Fewer blobs than this may go unasked, whatever part of all they are: a registry in which something is tried out is
/// garbage mostly.
const FEW_BLOBS: u64 = 100;

/// What somebody has read in the report of a collection that a brake stopped, and lets go on. What has become worse since
/// by more than a tenth was not what was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Passed {
    brakes: Vec<CollectionBrake>,
    garbage: u64,
    repositories: u64,
}

impl Passed {
    /// What a report says that is confirmed now.
    pub(super) fn of(record: &Record) -> Self {
        let stopped_by = record.status.halt.as_ref().map(|halt| halt.brake);
        Self {
            brakes: record.passed.iter().copied().chain(stopped_by).collect(),
            garbage: record.status.garbage.blobs,
            repositories: record.repositories.unwrap_or_default(),
        }
    }

    pub(super) fn brakes(&self) -> &[CollectionBrake] {
        &self.brakes
    }

    fn has(&self, brake: CollectionBrake) -> bool {
        self.brakes.contains(&brake)
    }
}

/// What was counted when everything had been looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts<'a> {
    blobs: u64,
    garbage: BlobSum,
    repositories: u64,
    foreign: Option<(u64, &'a ForeignRevision)>,
}

impl<'a> Counts<'a> {
    pub(super) fn of(marked: &'a Marked) -> Self {
        let (blobs, garbage) = (marked.blobs(), marked.garbage());
        Self { blobs, garbage, repositories: marked.repositories(), foreign: marked.foreign() }
    }

    /// What stops a collection when everything has been looked at. `before` is how many repositories there were when the
    /// last one finished.
    pub(super) fn brake(&self, before: Option<u64>, passed: &Passed) -> Option<CollectionHalt> {
        self.foreign_writer().or_else(|| self.vanished(before, passed)).or_else(|| self.too_much(passed))
    }

    fn foreign_writer(&self) -> Option<CollectionHalt> {
        let (count, first) = self.foreign?;
        let ForeignRevision { repository, digest, written_at } = first;
        let message = format!(
            "another registry writes to this store: {count} manifests are not from here, {repository}@{digest} of \
             {written_at} among them. Stop it, then confirm"
        );
        Some(CollectionHalt::new(CollectionBrake::ForeignWriter, message))
    }

    fn vanished(&self, before: Option<u64>, passed: &Passed) -> Option<CollectionHalt> {
        let (before, now) = (before?, self.repositories);
        let vanished = before.saturating_sub(now);
        let is_all = now == 0 && before > 0;
        let is_much = vanished >= FEW_REPOSITORIES && vanished.saturating_mul(5) > before;
        let was_read = passed.has(CollectionBrake::RepositoriesVanished)
            && now >= passed.repositories.saturating_sub(passed.repositories / 10);
        let message = format!(
            "{vanished} of {before} repositories are gone since the last collection. If that is right, confirm; \
             if not, see whether the storage is complete"
        );
        let halt = CollectionHalt::new(CollectionBrake::RepositoriesVanished, message);
        ((is_all || is_much) && !was_read).then_some(halt)
    }

    fn too_much(&self, passed: &Passed) -> Option<CollectionHalt> {
        let (garbage, blobs) = (self.garbage.blobs, self.blobs);
        let is_much = garbage >= FEW_BLOBS && garbage.saturating_mul(10) > blobs.saturating_mul(3);
        let was_read =
            passed.has(CollectionBrake::TooMuch) && garbage <= passed.garbage.saturating_add(passed.garbage / 10);
        let message = format!(
            "{garbage} of {blobs} blobs would go, {} bytes. If that is right, confirm; if not, see whether the storage \
             is complete",
            self.garbage.bytes
        );
        let halt = CollectionHalt::new(CollectionBrake::TooMuch, message);
        (is_much && !was_read).then_some(halt)
    }
}

/// What stops a collection before anything is looked at, and what a dry run can tell without writing.
pub(super) async fn brake(collection: &Collection, now: Timestamp) -> Result<Option<CollectionHalt>, storage::Error> {
    let adoption = collection.adoption().await?;
    let grace = collection.grace();
    Ok(adoption_brake(adoption.as_ref(), grace, now).or_else(|| restart_brake(collection.ages_lost_at(), grace, now)))
}

/// What stops a collection, and can be told only by writing something.
pub(super) async fn store_brake(collection: &Collection) -> Result<Option<CollectionHalt>, storage::Error> {
    if let Some(skew) = collection.clock_skew().await? {
        let message = format!(
            "the clocks of the storage and of this process are {} s apart: set them right, or ages mean nothing",
            skew.as_secs().abs()
        );
        return Ok(Some(CollectionHalt::new(CollectionBrake::ClockSkew, message)));
    }
    if let Some((address, skew)) = collection.replica_off_time().await? {
        let message = format!(
            "the clocks of the storage and of the replica at {address} are {} s apart: set them right, or it promises \
             what is about to go",
            skew.as_secs().abs()
        );
        return Ok(Some(CollectionHalt::new(CollectionBrake::ClockSkew, message)));
    }
    let violations = collection.violations().await?;
    Ok(violations.first().map(|first| {
        let message = format!(
            "the storage does not show at once what was written ({first}): as it is configured, nothing can be collected"
        );
        CollectionHalt::new(CollectionBrake::UnfitStore, message)
    }))
}

fn adoption_brake(adoption: Option<&Adoption>, grace: Duration, now: Timestamp) -> Option<CollectionHalt> {
    let Some(adoption) = adoption else {
        let message = "this store was never served here: nothing is known of who else writes to it".to_owned();
        return Some(CollectionHalt::new(CollectionBrake::TooYoung, message));
    };
    if adoption.origin != Origin::Foreign {
        return None;
    }
    if adoption.confirmation.is_none() {
        let message = "another registry wrote this store before. When it is stopped for good, confirm: its own \
                       collection, and pushes to it, know nothing of this one"
            .to_owned();
        return Some(CollectionHalt::new(CollectionBrake::NotConfirmed, message));
    }
    let from = later(adoption.first_served_at, grace);
    let message = format!("this store was adopted at {}: nothing is collected before {from}", adoption.first_served_at);
    (now < from).then_some(CollectionHalt::new(CollectionBrake::TooYoung, message))
}

fn restart_brake(ages_lost_at: Option<Timestamp>, grace: Duration, now: Timestamp) -> Option<CollectionHalt> {
    let lost_at = ages_lost_at?;
    let from = later(lost_at, grace / 2);
    let message = format!(
        "the machine went down while this registry ran, and was started again before {lost_at}: the ages of files may \
         be older than they should be, so nothing is collected before {from}"
    );
    (now < from).then_some(CollectionHalt::new(CollectionBrake::TooYoung, message))
}

/// So much later; the last moment there is where that is later still.
fn later(moment: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use crate::storage::Confirmation;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn counts(blobs: u64, garbage: u64, repositories: u64) -> Counts<'static> {
        Counts { blobs, garbage: BlobSum { blobs: garbage, bytes: garbage * 10 }, repositories, foreign: None }
    }

    fn brake_of(halt: Option<CollectionHalt>) -> Option<CollectionBrake> {
        halt.map(|halt| halt.brake)
    }

    fn passed(brakes: &[CollectionBrake], garbage: u64, repositories: u64) -> Passed {
        Passed { brakes: brakes.to_vec(), garbage, repositories }
    }

    #[test]
    fn more_than_three_tenths_of_many_blobs_are_too_much() {
        let nobody = Passed::default();
        for (blobs, garbage, is_stopped) in
            [(1000, 300, false), (1000, 301, true), (99, 99, false), (100, 100, true), (334, 100, false), (0, 0, false)]
        {
            let found = brake_of(counts(blobs, garbage, 1).brake(None, &nobody));
            assert_eq!(found, is_stopped.then_some(CollectionBrake::TooMuch), "{garbage} of {blobs}");
        }
    }

    #[test]
    fn more_than_a_fifth_of_the_repositories_may_not_vanish() {
        let nobody = Passed::default();
        for (before, now, is_stopped) in [
            (100, 80, false),
            (100, 79, true),
            (10, 6, false),
            (10, 5, true),
            (1, 0, true),
            (4, 0, true),
            (5, 9, false),
        ] {
            let found = brake_of(counts(10, 0, now).brake(Some(before), &nobody));
            assert_eq!(found, is_stopped.then_some(CollectionBrake::RepositoriesVanished), "{before} to {now}");
        }
        assert_eq!(brake_of(counts(10, 0, 0).brake(None, &nobody)), None, "the first collection knows of none before");
    }

    #[test]
    fn what_was_read_passes_and_what_became_worse_does_not() {
        let both = [CollectionBrake::RepositoriesVanished, CollectionBrake::TooMuch];
        assert_eq!(brake_of(counts(1000, 550, 45).brake(Some(100), &passed(&both, 500, 50))), None);
        let found = brake_of(counts(1000, 551, 45).brake(Some(100), &passed(&both, 500, 50)));
        assert_eq!(found, Some(CollectionBrake::TooMuch));
        let found = brake_of(counts(1000, 550, 44).brake(Some(100), &passed(&both, 500, 50)));
        assert_eq!(found, Some(CollectionBrake::RepositoriesVanished));
        let found = brake_of(counts(1000, 500, 50).brake(Some(100), &passed(&both[..1], 500, 50)));
        assert_eq!(found, Some(CollectionBrake::TooMuch), "only what stopped it was read");
    }

    #[test]
    fn an_adopted_store_waits_for_a_person_and_for_the_grace_period() {
        let first_served_at: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let confirmation = Some(Confirmation { actor: "admin".into(), at: first_served_at });
        let foreign = Adoption { origin: Origin::Foreign, first_served_at, confirmation: None };
        let confirmed = Adoption { confirmation, ..foreign.clone() };
        let own = Adoption { origin: Origin::Empty, first_served_at, confirmation: None };
        let (early, late) = (later(first_served_at, DAY / 2), later(first_served_at, DAY));
        let at = |adoption, now| brake_of(adoption_brake(adoption, DAY, now));
        assert_eq!(at(None, late), Some(CollectionBrake::TooYoung));
        assert_eq!(at(Some(&foreign), late), Some(CollectionBrake::NotConfirmed));
        assert_eq!(at(Some(&confirmed), early), Some(CollectionBrake::TooYoung));
        assert_eq!(at(Some(&confirmed), late), None);
        assert_eq!(at(Some(&own), early), None);
    }

    #[test]
    fn after_a_power_cut_half_the_grace_period_passes() {
        let lost_at: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let at = |now| brake_of(restart_brake(Some(lost_at), DAY, now));
        assert_eq!(at(later(lost_at, DAY / 3)), Some(CollectionBrake::TooYoung));
        assert_eq!(at(later(lost_at, DAY / 2)), None);
        assert_eq!(brake_of(restart_brake(None, DAY, lost_at)), None);
    }
}
