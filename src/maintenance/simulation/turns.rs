//! Runs of policies over several replicas: one at a time, and gone on with by another replica once one is gone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    api::{
        v1alpha1::{Approval, RetentionPolicySpec},
        wire::{ApplyRequest, InUse, PolicySource, RunRequest, RunState, RunStatus},
    },
    maintenance::{Error, RunId},
    oci::Digest,
    storage::seeded,
};

use super::{
    content::{REPOSITORIES, repository, tag},
    ending, invariants,
    process::Process,
    pushing::Push,
    time::Pulse,
    world::World,
};

/// How many images are pushed. The policy keeps the last one.
const IMAGES: usize = 5;

/// Long enough to see that a replica is gone, and that nothing of it can land any more.
pub(super) const LONG: Duration = Duration::from_secs(90);

/// How soon somebody asks again who was told that another run is in progress.
const SOON: Duration = Duration::from_secs(2);

pub(super) fn play(world: &Arc<World>, scene: impl Future<Output = ()>) {
    seeded::set(Some(1));
    world.time.run(scene, || world.failure().is_some());
    seeded::set(None);
    assert_eq!(*world.failure(), None);
}

/// Keeps the image that was pushed last.
fn policy(approval: Approval) -> PolicySource {
    let spec: RetentionPolicySpec = serde_json::from_value(serde_json::json!({
        "registryRef": {"name": "main"}, "mode": "Enforce", "minimumAge": "0s", "approval": approval,
        "keep": [{"name": "newest", "tags": ["*"], "mostRecentlyPushed": 1}],
        "untagged": {"action": "Delete", "minimumAge": "0s"},
        "limits": {"maxDeletePercent": 100},
    }))
    .unwrap();
    PolicySource { namespace: "sim".into(), name: "newest".into(), uid: "policy".into(), generation: 1, spec }
}

pub(super) fn request(run: &str, approval: Approval) -> RunRequest {
    let policies = vec![policy(approval)];
    RunRequest { run: run.into(), policy: "policy".into(), policies, approval: Approval::Automatic }
}

pub(super) fn id(run: &str) -> RunId {
    run.parse().unwrap()
}

/// Two replicas, and images in their store.
pub(super) struct Pair {
    pub(super) world: Arc<World>,
    pub(super) one: Arc<Process>,
    pub(super) two: Arc<Process>,
}

impl Pair {
    pub(super) async fn new(world: &Arc<World>) -> Self {
        Self::apart(world, Duration::ZERO).await
    }

    /// The second one begins so much later, and so do its signs of life and its looks at the other one.
    pub(super) async fn apart(world: &Arc<World>, later: Duration) -> Self {
        let one = Process::start_surely(world, "one:1").await;
        world.time.sleep(later).await;
        let two = Process::start_surely(world, "two:1").await;
        for process in [&one, &two] {
            process.catalog.joined().await;
            process.catalog.begin_pulls().await.unwrap();
        }
        let pair = Self { world: Arc::clone(world), one, two };
        for number in 0..IMAGES {
            pair.push(number).await;
        }
        world.time.sleep(SOON).await;
        pair
    }

    async fn push(&self, number: usize) {
        let name = repository(REPOSITORIES[0]);
        let push = Push { world: &self.world, process: &self.two, repository: &name };
        let label = tag(&format!("t{number}"));
        assert!(push.item(&self.world.content.items[number], Some(&label)).await.is_ok());
        // What is pushed first is older, also by the store's clock.
        self.world.time.sleep(Duration::from_secs(1)).await;
    }

    pub(super) fn digest(&self, number: usize) -> Digest {
        self.world.content.items[number].digest.clone()
    }

    /// The images that are there.
    pub(super) fn visible(&self) -> Vec<usize> {
        let there: Vec<Digest> = invariants::revisions(&self.world.medium.files()).map(|(_, digest)| digest).collect();
        (0..IMAGES).filter(|number| there.contains(&self.digest(*number))).collect()
    }

    /// An image that the policy does not keep, and that is not in the trash, nor on the way there.
    async fn still_to_go(&self) -> usize {
        self.world.time.sleep(SOON).await;
        let buried = self.tombstones();
        let is_buried = |number: usize| buried.contains_key(&self.digest(number).to_string());
        (0..IMAGES - 1).find(|number| !is_buried(*number)).unwrap()
    }

    /// How many tombstones each manifest has.
    fn tombstones(&self) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        let folder = format!("lagan/v1/trash/{}/_t/", REPOSITORIES[0]);
        for path in self.world.medium.files().keys() {
            if let Some((digest, _)) = path.strip_prefix(&folder).and_then(|rest| rest.split_once('/')) {
                *found.entry(digest.to_owned()).or_default() += 1;
            }
        }
        found
    }

    /// Waits until so many manifests are in the trash.
    pub(super) async fn trashed(&self, count: usize) {
        while self.tombstones().len() < count {
            self.world.time.sleep(Duration::from_millis(1)).await;
        }
    }

    /// Asks one replica for a run until it is planned.
    pub(super) async fn planned(&self, process: &Process, request: &RunRequest) -> RunStatus {
        loop {
            match process.runs.start(request.clone()).await {
                Ok(status) if status.state == RunState::Planning => {}
                Ok(status) => return status,
                Err(Error::Busy { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
            self.world.time.sleep(SOON).await;
        }
    }

    /// Applies a run at one replica until it is over, as the operator does.
    pub(super) async fn applied(
        &self,
        process: &Process,
        run: &str,
        in_use: &[usize],
        approve: Option<String>,
    ) -> RunStatus {
        loop {
            match self.try_apply(process, run, in_use, approve.clone()).await {
                Ok(status) if status.state == RunState::AwaitingUsage || status.state == RunState::Applying => {}
                Ok(status) => return status,
                Err(Error::Busy { .. } | Error::ListReplaced { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
            self.world.time.sleep(SOON).await;
        }
    }

    pub(super) async fn try_apply(
        &self,
        process: &Process,
        run: &str,
        in_use: &[usize],
        approve: Option<String>,
    ) -> Result<RunStatus, Error> {
        let page = process.runs.candidates(&id(run), None, 100).await?;
        let protected: Vec<Digest> = in_use.iter().map(|number| self.digest(*number)).collect();
        let used = page.candidates.iter().filter(|candidate| protected.contains(&candidate.digest));
        let in_use = used.map(|candidate| InUse { candidate: candidate.index, reason: "pod web".into() }).collect();
        let (policies, list) = (Vec::new(), page.list);
        process.runs.apply(&id(run), ApplyRequest { listing_seconds: 0.5, in_use, policies, approve, list }).await?;
        process.runs.settled(&id(run)).await
    }

    pub(super) fn claims(&self) -> usize {
        self.world.medium.files().keys().filter(|path| path.starts_with("lagan/v1/running/")).count()
    }
}

#[test]
fn a_run_that_is_asked_of_two_replicas_is_planned_and_applied_once() {
    let world = World::quiet(true, false);
    play(&world, async {
        let pair = Pair::new(&world).await;
        let wanted = request("r1", Approval::Automatic);
        // Together, and one while the other is at it.
        let (first, second) = futures::join!(pair.one.runs.start(wanted.clone()), pair.two.runs.start(wanted.clone()));
        let is_fine = |answer: &Result<RunStatus, Error>| match answer {
            Ok(status) => status.state == RunState::Planning,
            Err(Error::Busy { active }) => *active == id("r1"),
            Err(_) => false,
        };
        assert!(is_fine(&first) && is_fine(&second), "{first:?} {second:?}");
        let planned = pair.planned(&pair.one, &wanted).await;
        assert_eq!(pair.planned(&pair.two, &wanted).await, planned);
        assert_eq!(planned.state, RunState::AwaitingUsage);
        assert!(planned.list.is_some());

        let (first, second) =
            futures::join!(pair.applied(&pair.one, "r1", &[], None), pair.applied(&pair.two, "r1", &[], None));

        assert_eq!(first, second);
        assert_eq!((first.state, first.result.unwrap().deleted_tags), (RunState::Completed, 4), "{first:?}");
        assert_eq!(pair.visible(), [4]);
        assert_eq!(pair.tombstones().into_values().collect::<Vec<_>>(), [1; 4]);
        assert_eq!(pair.claims(), 0);
    });
}

#[test]
fn of_two_runs_at_two_replicas_one_waits_until_the_other_is_done_or_its_replica_is_gone() {
    let world = World::quiet(true, false);
    play(&world, async {
        let pair = Pair::new(&world).await;
        let (first, second) = (request("r1", Approval::Automatic), request("r2", Approval::Automatic));
        let (one, two) = futures::join!(pair.one.runs.start(first.clone()), pair.two.runs.start(second.clone()));
        assert!(one.is_err() || two.is_err(), "{one:?} {two:?}");
        pair.planned(&pair.one, &first).await;
        pair.planned(&pair.two, &second).await;

        // One that stands still is waited for until it is gone.
        let third = request("r3", Approval::Automatic);
        pair.one.runs.start(third.clone()).await.unwrap();
        pair.one.clock.set(Pulse::Paused);
        let busy = pair.two.runs.start(request("r4", Approval::Automatic)).await;
        assert!(matches!(&busy, Err(Error::Busy { active }) if *active == id("r3")), "{busy:?}");
        assert_eq!(pair.two.runs.status(&id("r3")).await.unwrap().state, RunState::Planning);
        assert!(matches!(pair.try_apply(&pair.two, "r2", &[], None).await, Err(Error::Busy { .. })));
        world.time.sleep(LONG).await;
        let forgotten = pair.two.runs.status(&id("r3")).await;
        assert!(matches!(forgotten, Err(Error::RunUnknown { .. })), "{forgotten:?}");
        assert_eq!(pair.planned(&pair.two, &third).await.state, RunState::AwaitingUsage);
        let list = pair.two.runs.candidates(&id("r3"), None, 100).await.unwrap();

        // It goes on, and what it planned is not taken for what the other one did.
        pair.one.clock.set(Pulse::Running);
        world.time.sleep(LONG).await;
        assert_eq!(pair.two.runs.candidates(&id("r3"), None, 100).await.unwrap(), list);
        assert_eq!(pair.one.runs.candidates(&id("r3"), None, 100).await.unwrap(), list);
        assert_eq!(pair.applied(&pair.one, "r3", &[1], None).await.state, RunState::Completed);
        assert_eq!((pair.visible(), pair.claims()), (vec![1, 4], 0));
    });
}

#[test]
fn what_is_in_use_of_another_list_of_candidates_is_not_taken_for_this_ones() {
    let world = World::quiet(true, false);
    play(&world, async {
        let pair = Pair::new(&world).await;
        pair.planned(&pair.one, &request("r1", Approval::Automatic)).await;
        let list = Some("01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned());
        let request = ApplyRequest { list, ..ApplyRequest::default() };
        let refused = pair.two.runs.apply(&id("r1"), request).await;
        assert!(matches!(refused, Err(Error::ListReplaced { .. })), "{refused:?}");
        assert_eq!((pair.visible().len(), pair.claims()), (IMAGES, 0));
        assert_eq!(pair.applied(&pair.two, "r1", &[], None).await.state, RunState::Completed);
    });
}

#[test]
fn a_run_whose_replica_died_while_it_planned_begins_anew_at_another() {
    let world = World::quiet(true, false);
    play(&world, async {
        let pair = Pair::new(&world).await;
        let wanted = request("r1", Approval::Automatic);
        pair.one.runs.start(wanted.clone()).await.unwrap();
        pair.one.kill(&world);
        assert_eq!(pair.planned(&pair.two, &wanted).await.state, RunState::AwaitingUsage);
        assert_eq!(pair.applied(&pair.two, "r1", &[], None).await.state, RunState::Completed);
        assert_eq!((pair.visible(), pair.claims()), (vec![4], 0));
    });
}

/// What two replicas left of a run that one of them was cut off in: no image has two tombstones, none that is kept or in
/// use is gone, and what the second one could not delete is there whole.
pub(super) async fn assert_sound(pair: &Pair, in_use: usize, ended: &RunStatus) {
    ending::await_rest(&pair.world).await;
    let (visible, tombstones) = (pair.visible(), pair.tombstones());
    assert_eq!(ended.state, RunState::Completed, "{ended:?}");
    assert!(visible.contains(&4) && visible.contains(&in_use), "{visible:?}");
    assert!(tombstones.values().all(|count| *count == 1), "{tombstones:?}");
    assert_eq!(visible.len() + tombstones.len(), IMAGES, "{visible:?} {tombstones:?}");
    assert_eq!(pair.claims(), 0);
}

#[test]
fn a_run_whose_replica_died_while_it_applied_goes_on_at_another() {
    for (dead, after) in [(0, 3), (1, 0), (1, 5), (2, 0), (3, 1)] {
        let world = World::quiet(true, false);
        play(&world, async {
            let pair = Pair::new(&world).await;
            pair.planned(&pair.one, &request("r1", Approval::Automatic)).await;
            let list = pair.one.runs.candidates(&id("r1"), None, 100).await.unwrap().list;
            let begun = ApplyRequest { listing_seconds: 0.5, list, ..ApplyRequest::default() };
            pair.one.runs.apply(&id("r1"), begun).await.unwrap();
            pair.trashed(dead).await;
            world.time.sleep(Duration::from_millis(after)).await;
            pair.one.kill(&world);
            let status = pair.two.runs.status(&id("r1")).await.unwrap();
            assert!(matches!(status.state, RunState::Applying | RunState::AwaitingUsage), "{status:?}");
            // Since then a pod began to use what is still there.
            let in_use = pair.still_to_go().await;
            let ended = pair.applied(&pair.two, "r1", &[in_use], None).await;
            assert_sound(&pair, in_use, &ended).await;
        });
    }
}

#[test]
fn a_replica_that_stood_still_while_it_applied_deletes_nothing_more_when_another_has_gone_on() {
    for (stopped, after) in [(0, 2), (1, 0), (1, 3), (1, 7), (2, 1), (3, 0)] {
        let world = World::quiet(true, false);
        play(&world, async {
            let pair = Pair::new(&world).await;
            pair.planned(&pair.one, &request("r1", Approval::Automatic)).await;
            let list = pair.one.runs.candidates(&id("r1"), None, 100).await.unwrap().list;
            let begun = ApplyRequest { listing_seconds: 0.5, list, ..ApplyRequest::default() };
            pair.one.runs.apply(&id("r1"), begun).await.unwrap();
            pair.trashed(stopped).await;
            world.time.sleep(Duration::from_millis(after)).await;
            pair.one.clock.set(Pulse::Paused);
            let in_use = pair.still_to_go().await;
            let ended = pair.applied(&pair.two, "r1", &[in_use], None).await;
            pair.one.clock.set(Pulse::Running);
            world.time.sleep(LONG).await;
            assert_sound(&pair, in_use, &ended).await;
            assert_eq!(pair.one.runs.status(&id("r1")).await.unwrap(), ended, "{stopped} {after}");
            assert_eq!(pair.two.runs.status(&id("r1")).await.unwrap(), ended);
        });
    }
}

#[test]
fn nothing_is_deleted_by_a_replica_that_stood_still_for_longer_than_a_list_of_what_is_in_use_lives() {
    let world = World::quiet(true, false);
    play(&world, async {
        let pair = Pair::new(&world).await;
        pair.planned(&pair.one, &request("r1", Approval::Automatic)).await;
        let list = pair.one.runs.candidates(&id("r1"), None, 100).await.unwrap().list;
        let begun = ApplyRequest { listing_seconds: 0.5, list, ..ApplyRequest::default() };
        pair.one.runs.apply(&id("r1"), begun).await.unwrap();
        pair.trashed(1).await;
        pair.one.clock.set(Pulse::Paused);
        let before = pair.tombstones();
        world.time.sleep(Duration::from_secs(301)).await;
        pair.one.clock.set(Pulse::Running);
        world.time.sleep(LONG).await;
        assert_eq!(pair.tombstones(), before);
        let status = pair.one.runs.status(&id("r1")).await.unwrap();
        assert_eq!(status.state, RunState::AwaitingUsage, "{status:?}");
        let ended = pair.applied(&pair.one, "r1", &[3], None).await;
        assert_sound(&pair, 3, &ended).await;
    });
}

#[test]
fn a_plan_that_waits_at_one_replica_is_approved_at_another_and_applied_once() {
    let world = World::quiet(true, false);
    play(&world, async {
        let pair = Pair::new(&world).await;
        pair.planned(&pair.one, &request("r1", Approval::Manual)).await;
        let waiting = pair.applied(&pair.one, "r1", &[0], None).await;
        assert_eq!(waiting.state, RunState::AwaitingApproval, "{waiting:?}");
        assert_eq!(pair.two.runs.status(&id("r1")).await.unwrap(), waiting);
        assert_eq!(pair.visible().len(), IMAGES);
        let hash = Some(waiting.plan.unwrap().hash);

        let (first, second) = futures::join!(
            pair.applied(&pair.two, "r1", &[1], hash.clone()),
            pair.applied(&pair.one, "r1", &[1], hash.clone())
        );

        assert_eq!(first, second);
        assert_eq!((first.state, first.approved), (RunState::Completed, true), "{first:?}");
        assert_eq!(pair.visible(), [0, 1, 4], "0 was in use when it was planned, 1 is by now");
        assert_eq!(pair.tombstones().into_values().collect::<Vec<_>>(), [1; 2]);
        assert_eq!(pair.claims(), 0);
    });
}

#[test]
fn a_plan_that_waits_is_interrupted_or_applied_and_never_both() {
    let world = World::quiet(true, false);
    play(&world, async {
        let pair = Pair::new(&world).await;
        pair.planned(&pair.one, &request("r1", Approval::Manual)).await;
        let waiting = pair.applied(&pair.one, "r1", &[], None).await;
        let hash = Some(waiting.plan.unwrap().hash);
        let run = id("r1");
        let (applied, interrupted) = futures::join!(
            pair.try_apply(&pair.one, "r1", &[], hash),
            pair.two.runs.interrupt(&run, "the policy was deleted")
        );
        let status = pair.one.runs.status(&run).await.unwrap();
        assert_eq!(pair.two.runs.status(&run).await.unwrap(), status);
        let expected = match status.state {
            RunState::Completed => vec![4],
            RunState::Interrupted | RunState::AwaitingApproval => (0..IMAGES).collect(),
            _ => panic!("{status:?}: {applied:?} {interrupted:?}"),
        };
        assert_eq!(pair.visible(), expected, "{status:?}: {applied:?} {interrupted:?}");
        assert_eq!(pair.claims(), 0);
    });
}
