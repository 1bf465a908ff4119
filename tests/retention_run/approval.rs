//! Plans that wait until somebody approves them.

use std::sync::atomic::Ordering;

use jiff::SignedDuration;
use serde_json::json;

use lagan::api::v1alpha1::Approval;
use lagan::api::wire::{ApplyRequest, Brake, InUse, RunRequest, RunState, RunStatus};
use lagan::maintenance::{Error, RunId};
use lagan::oci::Reference;
use lagan::storage::{DeleteCause, DeletionMode};

use crate::world::{World, five_images, in_use, keep_two, repository_name, request};

/// Keeps the last two pushes, and waits for approval to delete the rest.
fn manual() -> serde_json::Value {
    let mut spec = keep_two("Enforce");
    spec["approval"] = json!("Manual");
    spec
}

/// As [`RunRequest`]s of policy `uid`.
fn of_policy(uid: &str, run: &str, spec: serde_json::Value) -> RunRequest {
    let mut request = request(run, spec);
    request.policy = uid.into();
    request.policies[0].uid = uid.into();
    request.policies[0].name = uid.into();
    request
}

impl World {
    /// With five images, of a registry that notes what is pulled.
    async fn noting_pulls() -> Self {
        let world = Self::new(DeletionMode::Soft).await;
        world.catalog.begin_pulls().await.unwrap();
        five_images(&world).await;
        world
    }

    /// Plans a run that then waits.
    async fn waiting(&self, request: RunRequest) -> (RunId, RunStatus) {
        let (run, ..) = self.planned(request).await;
        let status = self.applied(&run, Vec::new()).await;
        assert_eq!(status.state, RunState::AwaitingApproval, "{status:?}");
        (run, status)
    }

    async fn try_approve(&self, run: &RunId, hash: &str, in_use: Vec<InUse>) -> Result<RunStatus, Error> {
        let approve = Some(hash.to_owned());
        self.runs
            .apply(run, ApplyRequest { listing_seconds: 0.5, in_use, policies: Vec::new(), approve, list: None })
            .await?;
        self.runs.settled(run).await
    }

    async fn approved(&self, run: &RunId, status: &RunStatus, in_use: Vec<InUse>) -> RunStatus {
        self.try_approve(run, &status.plan.as_ref().unwrap().hash, in_use).await.unwrap()
    }
}

fn refusal(result: Result<RunStatus, Error>) -> String {
    match result {
        Err(Error::InvalidRequest { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_manual_plan_waits_seven_days_and_goes_with_its_hash() {
    let world = World::noting_pulls().await;
    let (run, waiting) = world.waiting(request("r1", manual())).await;
    let (awaits, plan) = (waiting.awaits.unwrap(), waiting.plan.clone().unwrap());
    assert_eq!(awaits.brake, Brake::Manual);
    assert_eq!(awaits.expires_at.duration_since(plan.created_at), SignedDuration::from_hours(7 * 24));
    assert_eq!((plan.deletes, world.tags().await.len()), (3, 5));
    // Listed again without the hash, it waits on.
    assert_eq!(world.applied(&run, Vec::new()).await, waiting);

    let done = world.approved(&run, &waiting, Vec::new()).await;

    assert_eq!((done.state, done.awaits, done.approved), (RunState::Completed, None, true), "{done:?}");
    assert_eq!(done.plan.as_ref(), Some(&plan), "what was approved is what is shown");
    let result = done.result.unwrap();
    assert_eq!((result.deleted_tags, result.changed_since_planned), (3, 0));
    assert_eq!(world.tags().await, ["v4", "v5"]);
    // Approved twice, it is the same.
    assert_eq!(world.approved(&run, &waiting, Vec::new()).await, done);
    assert_eq!(world.trash_size().await, 3);
}

#[tokio::test]
async fn a_request_that_says_manual_waits_whatever_the_spec_says() {
    let world = World::noting_pulls().await;
    let mut request = request("r1", keep_two("Enforce"));
    request.approval = Approval::Manual;
    world.waiting(request).await;
}

#[tokio::test]
async fn a_plan_over_a_limit_goes_once_it_is_approved() {
    let world = World::noting_pulls().await;
    let mut spec = keep_two("Enforce");
    spec["limits"] = json!({ "maxDeletions": 2, "maxDeletePercent": 100 });
    let (run, waiting) = world.waiting(request("r1", spec)).await;
    assert_eq!(waiting.awaits.unwrap().brake, Brake::LimitExceeded);
    assert!(waiting.message.as_ref().unwrap().contains("maxDeletions is 2"), "{waiting:?}");
    assert_eq!(world.approved(&run, &waiting, Vec::new()).await.state, RunState::Completed);
    assert_eq!(world.tags().await, ["v4", "v5"]);
}

#[tokio::test]
async fn another_hash_approves_nothing() {
    let world = World::noting_pulls().await;
    let (run, waiting) = world.waiting(request("r1", manual())).await;
    assert!(refusal(world.try_approve(&run, "0123", Vec::new()).await).contains("hash"));
    assert_eq!(world.runs.status(&run).await.unwrap(), waiting);
    // Nor does the right one before the plan waits.
    let (early, planned, _) = world.planned(of_policy("u2", "r2", manual())).await;
    let hash = planned.plan.unwrap().hash;
    assert!(refusal(world.try_approve(&early, &hash, Vec::new()).await).contains("no plan"));
    assert_eq!(world.tags().await.len(), 5);
}

#[tokio::test]
async fn a_plan_whose_time_is_over_cannot_be_approved() {
    let world = World::noting_pulls().await;
    let (run, waiting) = world.waiting(request("r1", manual())).await;
    world.clock.now.fetch_add(7 * 24 * 3600, Ordering::SeqCst);
    let late = world.try_approve(&run, &waiting.plan.unwrap().hash, Vec::new()).await.unwrap();
    assert_eq!((late.state, late.awaits), (RunState::Interrupted, None));
    assert!(late.message.unwrap().starts_with("nobody approved the plan until 2"));
    assert_eq!(world.tags().await.len(), 5);
}

#[tokio::test]
async fn what_changed_while_a_plan_waited_stays_and_nothing_is_added() {
    let world = World::noting_pulls().await;
    for name in ["a1", "a2"] {
        world.push(name, name).await;
    }
    // v1 to v5 are to go, for a1 and a2 were pushed last.
    let (run, _, candidates) = world.planned(request("r1", manual())).await;
    let waiting = world.applied(&run, Vec::new()).await;
    assert_eq!(waiting.plan.as_ref().unwrap().deletes, 5);
    let digest = world.repository().manifest(&"v4".parse().unwrap()).await.unwrap().descriptor.digest;
    world.push("v1", "another image").await;
    world.repository().note_pull(&"v2".parse().unwrap());
    world.push("v3", "image 3").await;
    world.repository().note_pull(&Reference::Digest(digest));
    // a1 and a2 are not among the last two any more.

    let done = world.approved(&run, &waiting, Vec::new()).await;

    assert_eq!(done.state, RunState::Completed, "{done:?}");
    assert_eq!(done.result.unwrap().deleted_tags, 1);
    assert_eq!(world.tags().await, ["a1", "a2", "v1", "v2", "v3", "v4"]);
    assert_eq!(candidates.len(), 5);
    let told: Vec<(&str, &str)> =
        done.left_out.iter().map(|left| (left.reference.as_str(), left.reason.as_str())).collect();
    let [(v1, pushed), (v2, pulled), (v3, again), (v4, by_digest)] = told[..] else { panic!("{told:?}") };
    assert_eq!([v1, v2, v3, v4], ["team/app:v1", "team/app:v2", "team/app:v3", "team/app:v4"]);
    assert!(pushed.starts_with("rule ") && again.starts_with("rule "), "{told:?}");
    for words in [pulled, by_digest] {
        assert!(words.starts_with("in use: pulled at ") && words.ends_with("after the plan was made"), "{words}");
    }
    // Who asks later, or another process, is told the same.
    assert_eq!(world.restarted().await.runs.status(&run).await.unwrap(), done);
}

#[tokio::test]
async fn what_was_moved_deleted_or_came_into_use_while_a_plan_waited_is_told() {
    let world = World::noting_pulls().await;
    let (run, _, all) = world.planned(request("r1", manual())).await;
    let waiting = world.applied(&run, Vec::new()).await;
    let digest = world.push("v1", "another image").await;
    // It is to go still, and is another one.
    for name in ["a1", "a2"] {
        world.push(name, name).await;
    }
    let by_hand = DeleteCause { actor: "ann".into(), reason: "by hand".into(), policy: None, group: None };
    world.repository().delete_manifest(&"v2".parse().unwrap(), by_hand).await.unwrap();

    let done = world.approved(&run, &waiting, in_use(&all, "v3")).await;

    let told = |tag: &str| {
        let name = format!("team/app:{tag}");
        done.left_out.iter().find(|left| left.reference == name).unwrap().reason.clone()
    };
    assert_eq!(told("v1"), format!("it points to {digest} by now"));
    assert_eq!(told("v2"), "it is gone already");
    assert!(told("v3").starts_with("in use: "), "{}", told("v3"));
    assert_eq!(done.left_out.len(), 3);
}

#[tokio::test]
async fn a_run_that_others_ask_for_leaves_the_plan_of_a_declared_policy_alone_and_says_why_it_ends_another_ones() {
    let world = World::noting_pulls().await;
    let begun = request("r1", manual());
    world.runs.declare(begun.policies.clone());
    let (run, waiting) = world.waiting(begun).await;
    world.planned(of_policy("u2", "r2", keep_two("DryRun"))).await;
    assert_eq!(world.runs.status(&run).await.unwrap(), waiting);

    // Of what is not declared here, nobody knows whether it is still there.
    world.runs.declare(Vec::new());
    world.planned(of_policy("u2", "r3", keep_two("DryRun"))).await;
    let void = world.runs.status(&run).await.unwrap();
    assert_eq!(void.state, RunState::Interrupted);
    let words = void.message.unwrap();
    assert!(words.contains("not among those that run r3 began with") && words.contains("left it out"), "{words}");
}

#[tokio::test]
async fn what_is_in_use_by_the_time_of_the_approval_stays_by_the_numbers_of_the_first_list() {
    let world = World::noting_pulls().await;
    let (run, _, all) = world.planned(request("r1", manual())).await;
    // In use while it is planned, v1 is in no plan. The others keep their numbers.
    let waiting = world.applied(&run, in_use(&all, "v1")).await;
    let left = world.runs.candidates(&run, None, 1000).await.unwrap().candidates;
    assert_eq!(left, all.iter().filter(|c| c.tag.as_ref().unwrap().as_str() != "v1").cloned().collect::<Vec<_>>());
    let after_the_first = world.runs.candidates(&run, Some(left[0].index), 1000).await.unwrap().candidates;
    assert_eq!(after_the_first, left[1..]);

    let done = world.approved(&run, &waiting, in_use(&all, "v3")).await;

    assert_eq!(done.result.unwrap().deleted_tags, 1);
    assert_eq!(world.tags().await, ["v1", "v3", "v4", "v5"], "v1 is not in use any more, but was not approved");
}

#[tokio::test]
async fn a_hold_that_came_meanwhile_keeps() {
    let world = World::noting_pulls().await;
    let begun = request("r1", manual());
    let mut policies = begun.policies.clone();
    let (run, waiting) = world.waiting(begun).await;
    let mut other = policies[0].clone();
    (other.uid, other.name) = ("u2".into(), "other".into());
    other.spec = serde_json::from_value(json!({
        "registryRef": { "name": "r" }, "minimumAge": "0s", "holds": [{ "repository": repository_name(), "reference": "v1" }],
    }))
    .unwrap();
    policies.push(other);
    let approve = Some(waiting.plan.unwrap().hash);
    let request = ApplyRequest { listing_seconds: 0.5, in_use: Vec::new(), policies, approve, list: None };
    world.runs.apply(&run, request).await.unwrap();
    assert_eq!(world.runs.settled(&run).await.unwrap().state, RunState::Completed);
    assert_eq!(world.tags().await, ["v1", "v4", "v5"]);
}

#[tokio::test]
async fn a_plan_waits_on_through_a_restart_of_the_registry() {
    let world = World::noting_pulls().await;
    let (run, waiting) = world.waiting(request("r1", manual())).await;
    world.catalog.end_pulls().await.unwrap();
    let world = world.restarted().await;
    world.catalog.begin_pulls().await.unwrap();
    assert_eq!(world.runs.status(&run).await.unwrap(), waiting);
    assert_eq!(world.approved(&run, &waiting, Vec::new()).await.result.unwrap().deleted_tags, 3);
}

#[tokio::test]
async fn after_a_registry_died_everything_counts_as_pulled_since_and_stays() {
    let world = World::noting_pulls().await;
    let (run, waiting) = world.waiting(request("r1", manual())).await;
    // It dies with what it has not written down.
    let world = world.restarted().await;
    world.catalog.begin_pulls().await.unwrap();
    let done = world.approved(&run, &waiting, Vec::new()).await;
    assert_eq!((done.state, done.result.unwrap().deleted_tags), (RunState::Completed, 0));
    assert_eq!(world.tags().await.len(), 5);
}

#[tokio::test]
async fn an_approved_run_that_was_cut_off_needs_no_second_approval() {
    let world = World::noting_pulls().await;
    let (run, waiting) = world.waiting(request("r1", manual())).await;
    // Every look at the clock takes two minutes.
    world.clock.step.store(120, Ordering::SeqCst);
    let cut = world.approved(&run, &waiting, Vec::new()).await;
    assert_eq!((cut.state, cut.approved), (RunState::AwaitingUsage, true), "{cut:?}");
    world.clock.step.store(1, Ordering::SeqCst);
    world.catalog.end_pulls().await.unwrap();
    let world = world.restarted().await;
    world.catalog.begin_pulls().await.unwrap();

    let done = world.applied(&run, Vec::new()).await;

    assert_eq!((done.state, &done.plan), (RunState::Completed, &waiting.plan), "{done:?}");
    assert_eq!(world.tags().await, ["v4", "v5"]);
}

#[tokio::test]
async fn a_plan_that_deletes_nothing_needs_no_approval() {
    let world = World::new(DeletionMode::Soft).await;
    world.push("v1", "image").await;
    let (run, ..) = world.planned(request("r1", manual())).await;
    let done = world.applied(&run, Vec::new()).await;
    assert_eq!((done.state, done.awaits), (RunState::Completed, None));
}

#[tokio::test]
async fn a_dry_run_waits_for_nobody_and_cannot_be_approved() {
    let world = World::noting_pulls().await;
    let mut spec = manual();
    spec["mode"] = json!("DryRun");
    let (run, ..) = world.planned(request("r1", spec)).await;
    let done = world.applied(&run, Vec::new()).await;
    assert_eq!((done.state, done.awaits), (RunState::Completed, None));
    assert_eq!(world.approved(&run, &done, Vec::new()).await, done);
    assert_eq!(world.tags().await.len(), 5);
}

#[tokio::test]
async fn a_new_run_of_the_policy_replaces_its_plan_and_no_other_policys() {
    let world = World::noting_pulls().await;
    let both = |run: &str, uid: &str| {
        let mut request = of_policy(uid, run, manual());
        let other = if uid == "u1" { "u2" } else { "u1" };
        request.policies.extend(of_policy(other, run, manual()).policies);
        request
    };
    let (first, _) = world.waiting(both("r1", "u1")).await;
    let (second, waiting) = world.waiting(both("r2", "u2")).await;
    assert_eq!(world.runs.status(&first).await.unwrap().state, RunState::AwaitingApproval);

    let (third, _) = world.waiting(both("r3", "u1")).await;

    let replaced = world.runs.status(&first).await.unwrap();
    assert_eq!(replaced.state, RunState::Interrupted);
    assert!(replaced.message.unwrap().contains("r3"));
    // Each is applied by itself, and what the first one took is not there for the other.
    assert_eq!(world.approved(&second, &waiting, Vec::new()).await.result.unwrap().deleted_tags, 3);
    let third_waits = world.runs.status(&third).await.unwrap();
    let result = world.approved(&third, &third_waits, Vec::new()).await.result.unwrap();
    assert_eq!((result.deleted_tags, result.changed_since_planned), (0, 3));
}

#[tokio::test]
async fn a_policy_that_was_changed_or_deleted_makes_its_plan_void() {
    for (generation, uid, word) in [(2, "u2", "changed"), (1, "u3", "deleted")] {
        let world = World::noting_pulls().await;
        let (run, waiting) = world.waiting(of_policy("u2", "r1", manual())).await;
        let mut next = request("r2", keep_two("DryRun"));
        let mut other = of_policy(uid, "r2", manual()).policies.remove(0);
        other.generation = generation;
        next.policies.push(other);
        world.planned(next).await;
        let void = world.runs.status(&run).await.unwrap();
        assert_eq!(void.state, RunState::Interrupted, "{word}");
        assert!(void.message.as_ref().unwrap().contains(word), "{void:?}");
        assert_eq!(world.approved(&run, &waiting, Vec::new()).await, void);
        assert_eq!(world.tags().await.len(), 5);
    }
}

#[tokio::test]
async fn tags_of_a_waiting_plan_are_known_while_it_waits() {
    let world = World::noting_pulls().await;
    let (run, waiting) = world.waiting(request("r1", manual())).await;
    let repository = repository_name();
    let named = async |world: &World, tag: &str| {
        let digest = world.repository().manifest(&tag.parse().unwrap()).await.unwrap().descriptor.digest;
        world.runs.awaiting_approval(&repository, &tag.parse().unwrap(), &digest)
    };
    assert_eq!(named(&world, "v1").await, ["team/p"]);
    assert!(named(&world, "v5").await.is_empty());
    // Moved, it does not go with the plan.
    world.push("v2", "another image").await;
    assert!(named(&world, "v2").await.is_empty());

    let world = world.restarted().await;
    assert_eq!(named(&world, "v1").await, ["team/p"], "it waits on");
    world.clock.now.fetch_add(7 * 24 * 3600, Ordering::SeqCst);
    assert!(named(&world, "v1").await.is_empty(), "its time is over");
    world.clock.now.fetch_sub(7 * 24 * 3600, Ordering::SeqCst);
    world.runs.interrupt(&run, "no more").await.unwrap();
    assert!(named(&world, "v1").await.is_empty());
    drop(waiting);
}

#[tokio::test]
async fn a_record_of_a_version_whose_plans_did_not_wait_is_read() {
    let world = World::noting_pulls().await;
    let old = json!({
        "run": "old", "policy": "team/p", "mode": "Enforce", "state": "LimitExceeded", "createdAt": "2026-01-01T00:00:00Z",
        "plan": { "hash": "h", "createdAt": "2026-01-01T00:00:00Z", "tagsInScope": 5, "deletes": 3, "keeps": 2,
            "protectedInUse": 0, "reclaimableBytes": 0, "sample": [] },
        "message": "too many",
    });
    let record = serde_json::to_vec(&old).unwrap();
    world.catalog.put_run(&"old".parse().unwrap(), &"status".parse().unwrap(), record.into()).await.unwrap();
    let world = world.restarted().await;
    let status = world.runs.status(&"old".parse().unwrap()).await.unwrap();
    assert_eq!((status.state, status.awaits, status.plan_lines), (RunState::LimitExceeded, None, None));
    assert_eq!(world.try_approve(&"old".parse().unwrap(), "h", Vec::new()).await.unwrap(), status);
}
