//! Beginning a collection when it is due, where there is no operator to do so.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::api::wire::{CollectionRequest, CollectionState, CollectionStatus};
use crate::retention::{Due, Schedule};
use crate::storage::{Catalog, Clock};

use super::{Collections, Error};

/// Who is said to have begun a collection.
const ACTOR: &str = "schedule";

/// A collection that is later than this is left out. A day: on a machine that is switched off at night, the one of the
/// night begins in the morning.
const STARTING_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long to sleep at most: a machine that was suspended, or whose clock was set, is then no later than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// For how long a collection that a brake stopped is left alone, so that its report can be confirmed.
const WAITS_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// After this an interrupted collection is begun anew: a process that starts has more urgent things to do.
const AFTER_INTERRUPTION: Duration = Duration::from_secs(15 * 60);

/// The collections that one registry begins by itself.
#[derive(Debug)]
pub struct ScheduledCollections {
    routine: Routine,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug, Clone)]
struct Routine {
    catalog: Catalog,
    collections: Collections,
    clock: Arc<dyn Clock>,
    schedule: Schedule,
}

impl ScheduledCollections {
    /// Of a registry, at these times.
    #[must_use]
    pub fn new(catalog: Catalog, collections: Collections, clock: Arc<dyn Clock>, schedule: Schedule) -> Self {
        let routine = Routine { catalog, collections, clock, schedule };
        Self { routine, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Begins to keep the schedule, until [`Self::shutdown`]. What was due since the last collection, or since the store
    /// was first served, is made up for once.
    pub fn begin(&self) {
        let (routine, stop) = (self.routine.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            loop {
                let sleep = tokio::select! {
                    () = stop.cancelled() => return,
                    sleep = routine.step() => sleep,
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = routine.clock.sleep(sleep) => {}
                }
            }
        });
    }

    /// Stops. A collection that runs goes on.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Routine {
    /// Does what is due, and answers how long nothing is.
    async fn step(&self) -> Duration {
        match self.try_step().await {
            Ok(sleep) => sleep,
            Err(Error::Collecting { .. }) => LONGEST_SLEEP,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "could not begin a garbage collection");
                LONGEST_SLEEP
            }
        }
    }

    async fn try_step(&self) -> Result<Duration, Error> {
        let now = self.clock.now();
        let Some(since) = self.since(now).await? else { return Ok(LONGEST_SLEEP) };
        match self.schedule.due(since, now, STARTING_DEADLINE) {
            Due::Now(_) => {
                let begun = self.collections.begin(ACTOR, CollectionRequest::default()).await?;
                info!(collection = begun.id, "a garbage collection began, as scheduled");
                Ok(LONGEST_SLEEP)
            }
            Due::At(next) => Ok(Duration::try_from(next.duration_since(now)).unwrap_or_default().min(LONGEST_SLEEP)),
            Due::Never => Ok(LONGEST_SLEEP),
        }
    }

    /// From when on the schedule counts; `None` where it does not: while one runs, and while a report waits for somebody.
    async fn since(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let Some(last) = self.collections.status().await? else {
            let adoption = self.catalog.adoption().await;
            let adoption = adoption.map_err(|source| Error::Storage { action: "read since when it serves", source })?;
            return Ok(Some(adoption.map_or(now, |adoption| adoption.first_served_at)));
        };
        Ok(counts_from(&self.schedule, &last, now))
    }
}

/// From when on the schedule counts after the last collection; `None` where it does not yet.
fn counts_from(schedule: &Schedule, last: &CollectionStatus, now: Timestamp) -> Option<Timestamp> {
    let age = Duration::try_from(now.duration_since(last.started_at)).unwrap_or_default();
    match last.state {
        CollectionState::Running => None,
        CollectionState::Interrupted if age < AFTER_INTERRUPTION => None,
        CollectionState::Interrupted => {
            // What it was begun for is due once more.
            let due = schedule.latest_until(last.started_at)?;
            Some(due.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MIN))
        }
        CollectionState::Halted if age < WAITS_FOR && last.halt.as_ref().is_some_and(|halt| halt.confirmable) => None,
        CollectionState::Halted | CollectionState::Finished | CollectionState::Failed => Some(last.started_at),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::atomic::{AtomicI64, Ordering},
    };

    use crate::storage::driver::FilesystemDriver;
    use crate::storage::{DeletionMode, Options, StorageMetrics};

    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    /// Noon of a day, and so many hours more as a test says.
    #[derive(Debug, Default)]
    struct TestClock(AtomicI64);

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            let noon: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
            noon + SignedDuration::from_hours(self.0.load(Ordering::SeqCst))
        }

        fn boot_time(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::SeqCst).unsigned_abs() * 3600)
        }
    }

    struct World {
        clock: Arc<TestClock>,
        routine: Routine,
    }

    impl World {
        /// A folder that is served from noon on, and collected at four.
        async fn on(folder: &Path) -> Self {
            let clock = Arc::new(TestClock::default());
            let options = Options {
                deletion: DeletionMode::Soft,
                restore_window: WEEK,
                cache_entries: 10,
                redis: None,
                metrics: StorageMetrics::new(),
            };
            let driver = Arc::new(FilesystemDriver::open(folder).await.unwrap());
            let catalog = Catalog::open(driver, options, clock.clone()).await.unwrap();
            catalog.adopt().await.unwrap();
            let collections = Collections::open(catalog.clone(), clock.clone(), WEEK).await.unwrap();
            let schedule = Schedule::parse("0 4 * * *", "Etc/UTC").unwrap();
            Self { routine: Routine { catalog, collections, clock: clock.clone(), schedule }, clock }
        }

        /// Whether one begins when so many hours have passed; and until it is over.
        async fn begins_after(&self, hours: i64) -> bool {
            self.clock.0.store(hours, Ordering::SeqCst);
            let before = self.routine.collections.settled().await.map(|status| status.id);
            self.routine.step().await;
            self.routine.collections.settled().await.map(|status| status.id) != before
        }
    }

    #[tokio::test]
    async fn collection_begins_once_each_time_and_what_was_missed_is_made_up_for() {
        let folder = tempfile::tempdir().unwrap();
        let world = World::on(folder.path()).await;
        assert!(!world.begins_after(15).await, "not before four");
        assert!(world.begins_after(16).await);
        assert!(!world.begins_after(17).await, "once a day");
        // Three nights later, in the morning.
        assert!(world.begins_after(16 + 72 + 5).await);
        assert!(!world.begins_after(16 + 72 + 6).await);
        assert!(world.begins_after(16 + 96).await);
    }

    #[tokio::test]
    async fn report_that_waits_to_be_confirmed_is_left_alone_for_a_week() {
        let folder = tempfile::tempdir().unwrap();
        // As another registry would have left it.
        std::fs::create_dir_all(folder.path().join("docker/registry/v2/repositories/app/_manifests/revisions"))
            .unwrap();
        let world = World::on(folder.path()).await;
        assert!(world.begins_after(16).await);
        let halted = world.routine.collections.settled().await.unwrap();
        assert!(halted.halt.is_some_and(|halt| halt.confirmable));
        assert!(!world.begins_after(16 + 24).await);
        assert!(!world.begins_after(16 + 7 * 24 - 1).await);
        assert!(world.begins_after(16 + 7 * 24).await);
    }

    #[test]
    fn interrupted_one_is_due_once_more_after_a_quarter_of_an_hour() {
        let schedule = Schedule::parse("0 4 * * *", "Etc/UTC").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let last: CollectionStatus = serde_json::from_value(serde_json::json!({
            "id": "01J0", "state": "Interrupted", "dryRun": false, "startedAt": "2026-06-02T04:00:10Z",
            "progress": {"phase": "mark", "blobs": 0, "repositories": 0, "manifests": 0, "swept": 0},
            "garbage": {"blobs": 0, "bytes": 0}, "removed": {"blobs": 0, "bytes": 0}, "kept": 0, "uploadsPurged": 0,
            "tombstonesExpired": 0, "problemCount": 0,
        }))
        .unwrap();
        assert_eq!(counts_from(&schedule, &last, at("2026-06-02T04:15:09Z")), None);
        let now = at("2026-06-02T04:15:10Z");
        let since = counts_from(&schedule, &last, now).unwrap();
        assert_eq!(schedule.due(since, now, STARTING_DEADLINE), Due::Now(at("2026-06-02T04:00:00Z")));
        let running = CollectionStatus { state: CollectionState::Running, ..last.clone() };
        assert_eq!(counts_from(&schedule, &running, now), None);
        let finished = CollectionStatus { state: CollectionState::Finished, ..last };
        let since = counts_from(&schedule, &finished, now).unwrap();
        assert_eq!(schedule.due(since, now, STARTING_DEADLINE), Due::At(at("2026-06-03T04:00:00Z")));
    }
}
