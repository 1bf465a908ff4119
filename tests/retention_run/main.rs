//! A policy's run, from the request to the trash, on a real folder.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod approval;
mod plan;
mod world;

use std::sync::{Arc, atomic::Ordering};

use jiff::SignedDuration;
use serde_json::json;

use lagan::api::v1alpha1::AccessMode;
use lagan::api::wire::{ApplyRequest, Brake, InUse, RunState, RunStatus};
use lagan::maintenance::{Error, RetentionRuns};
use lagan::oci::{Algorithm, Digest, Reference};
use lagan::retention::ImmutableTags;
use lagan::storage::DeletionMode;

use world::{World, five_images, in_use, keep_two, repository_name, request};

#[tokio::test]
async fn what_no_rule_keeps_goes_to_the_trash_and_what_is_in_use_stays() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, planned, candidates) = world.planned(request("r1", keep_two("Enforce"))).await;
    assert_eq!(planned.plan.as_ref().unwrap().deletes, 3);
    assert_eq!(candidates.len(), 3);

    let status = world.applied(&run, in_use(&candidates, "v2")).await;

    assert_eq!(status.state, RunState::Completed, "{status:?}");
    let result = status.result.unwrap();
    assert_eq!((result.deleted_tags, result.deleted_manifests, result.changed_since_planned), (2, 2, 0));
    assert_eq!(status.plan.unwrap().protected_in_use, 1);
    assert_eq!(world.tags().await, ["v2", "v4", "v5"]);
    assert_eq!(world.trash_size().await, 2);
    let error = world.repository().manifest(&"v1".parse().unwrap()).await.unwrap_err();
    let lagan::storage::Error::ManifestUnknown { trash: Some(tombstone), .. } = error else { panic!("{error:?}") };
    assert_eq!(tombstone.policy.as_deref(), Some("team/p"));
    assert!(tombstone.reason.contains("rule newest: not among the 2 most recently pushed"), "{}", tombstone.reason);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_names_what_an_enforced_one_deletes() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, _, candidates) = world.planned(request("dry", keep_two("DryRun"))).await;
    let status = world.applied(&run, Vec::new()).await;
    assert_eq!((status.state, status.result), (RunState::Completed, None));
    assert_eq!(world.tags().await.len(), 5);
    assert_eq!(world.trash_size().await, 0);

    let (run, _, enforced) = world.planned(request("real", keep_two("Enforce"))).await;
    assert_eq!(candidates, enforced);
    world.applied(&run, Vec::new()).await;
    assert_eq!(world.tags().await, ["v4", "v5"]);
}

#[tokio::test]
async fn a_plan_over_a_limit_deletes_nothing() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let mut spec = keep_two("Enforce");
    spec["limits"] = json!({ "maxDeletePercent": 40 });
    let (run, _, candidates) = world.planned(request("r1", spec)).await;
    let status = world.applied(&run, Vec::new()).await;
    assert_eq!(status.state, RunState::AwaitingApproval);
    assert_eq!(status.awaits.unwrap().brake, Brake::LimitExceeded);
    assert!(status.message.unwrap().contains("maxDeletePercent is 40"));
    assert_eq!(world.tags().await.len(), 5);
    // A dry run says so beforehand.
    let mut spec = keep_two("DryRun");
    spec["limits"] = json!({ "maxDeletePercent": 40 });
    let (run, ..) = world.planned(request("dry", spec)).await;
    let status = world.applied(&run, Vec::new()).await;
    assert_eq!(status.state, RunState::Completed);
    assert!(status.message.unwrap().contains("maxDeletePercent is 40"));
    // What is in use does not count.
    let mut spec = keep_two("Enforce");
    spec["limits"] = json!({ "maxDeletePercent": 40 });
    let (run, ..) = world.planned(request("r2", spec)).await;
    let status = world.applied(&run, in_use(&candidates, "v1")).await;
    assert_eq!(status.state, RunState::Completed);
    assert_eq!(world.tags().await, ["v1", "v4", "v5"]);
}

#[tokio::test]
async fn what_changed_after_the_plan_is_left_alone_and_nothing_is_added() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, ..) = world.planned(request("r1", keep_two("Enforce"))).await;
    // v1 moves to new content, v2 is pushed again as it is; both are the newest now, so v4 and v5 are not.
    world.push("v1", "another image").await;
    world.push("v2", "image 2").await;

    let status = world.applied(&run, Vec::new()).await;

    assert_eq!(status.state, RunState::Completed);
    let result = status.result.unwrap();
    assert_eq!((result.deleted_tags, result.changed_since_planned), (1, 2));
    assert_eq!(world.tags().await, ["v1", "v2", "v4", "v5"]);
}

#[tokio::test]
async fn the_same_id_is_the_same_run_also_after_a_restart() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, status, candidates) = world.planned(request("r1", keep_two("Enforce"))).await;
    world.push("v6", "image 6").await;
    assert_eq!(world.runs.start(request("r1", keep_two("Enforce"))).await.unwrap(), status);

    let world = world.restarted().await;
    assert_eq!(world.runs.status(&run).await.unwrap(), status);
    assert_eq!(world.runs.candidates(&run, None, 1000).await.unwrap().candidates, candidates);
    let done = world.applied(&run, Vec::new()).await;
    assert_eq!(done.state, RunState::Completed);
    assert_eq!(world.tags().await, ["v4", "v5", "v6"], "v4 is not among the newest two now, but was not planned");
    assert_eq!(world.applied(&run, Vec::new()).await, done, "a second application does nothing");
    assert_eq!(world.trash_size().await, 3);
}

#[tokio::test]
async fn a_run_cut_off_while_it_applied_waits_for_a_new_list() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, mut status, _) = world.planned(request("r1", keep_two("Enforce"))).await;
    status.state = RunState::Applying;
    let record = serde_json::to_vec(&status).unwrap();
    world.catalog.put_run(&"r1".parse().unwrap(), &"status".parse().unwrap(), record.into()).await.unwrap();

    let world = world.restarted().await;

    assert_eq!(world.runs.status(&run).await.unwrap().state, RunState::AwaitingUsage);
    assert_eq!(world.applied(&run, Vec::new()).await.state, RunState::Completed);
    assert_eq!(world.tags().await, ["v4", "v5"]);
}

#[tokio::test]
async fn what_another_policy_holds_since_the_run_began_is_kept() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let started = request("r1", keep_two("Enforce"));
    let mut policies = started.policies.clone();
    let (run, ..) = world.planned(started).await;
    let mut other = policies[0].clone();
    (other.uid, other.name) = ("u2".into(), "other".into());
    other.spec = serde_json::from_value(json!({
        "registryRef": { "name": "r" }, "minimumAge": "0s", "holds": [{ "repository": repository_name(), "reference": "v1" }],
    }))
    .unwrap();
    policies.push(other);

    world
        .runs
        .apply(&run, ApplyRequest { listing_seconds: 0.5, in_use: Vec::new(), policies, approve: None, list: None })
        .await
        .unwrap();

    assert_eq!(world.runs.settled(&run).await.unwrap().state, RunState::Completed);
    assert_eq!(world.tags().await, ["v1", "v4", "v5"]);
}

#[tokio::test]
async fn an_interrupted_run_is_over_and_says_why() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, ..) = world.planned(request("r1", keep_two("Enforce"))).await;

    let status = world.runs.interrupt(&run, "the policy was suspended").await.unwrap();

    assert_eq!((status.state, status.message.as_deref()), (RunState::Interrupted, Some("the policy was suspended")));
    assert_eq!(world.applied(&run, Vec::new()).await, status, "it cannot be applied any more");
    assert_eq!(world.runs.interrupt(&run, "again").await.unwrap(), status);
    assert_eq!(world.restarted().await.runs.status(&run).await.unwrap(), status);
}

#[tokio::test]
async fn a_list_of_what_is_in_use_serves_for_five_minutes() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, ..) = world.planned(request("r1", keep_two("Enforce"))).await;
    let late =
        ApplyRequest { listing_seconds: 300.0, in_use: Vec::new(), policies: Vec::new(), approve: None, list: None };
    assert!(matches!(world.runs.apply(&run, late).await, Err(Error::InvalidRequest { .. })));
    for nonsense in [-1.0, f64::NAN, f64::INFINITY] {
        let request = ApplyRequest {
            listing_seconds: nonsense,
            in_use: Vec::new(),
            policies: Vec::new(),
            approve: None,
            list: None,
        };
        assert!(matches!(world.runs.apply(&run, request).await, Err(Error::InvalidRequest { .. })));
    }
    // Every look at the clock takes two minutes.
    world.clock.step.store(SignedDuration::from_mins(2).as_secs(), Ordering::SeqCst);
    let status = world.applied(&run, Vec::new()).await;
    assert_eq!(status.state, RunState::AwaitingUsage, "{status:?}");
    assert!(status.message.unwrap().contains("too old"));
    world.clock.step.store(1, Ordering::SeqCst);

    let status = world.applied(&run, Vec::new()).await;

    assert_eq!(status.state, RunState::Completed);
    assert_eq!(status.result.unwrap().deleted_tags, 3);
    assert_eq!(world.tags().await, ["v4", "v5"]);
}

#[tokio::test]
async fn requests_that_make_no_sense_say_so() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let reason = |result: Result<RunStatus, Error>| match result {
        Err(Error::InvalidRequest { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason(world.runs.start(request("../r", keep_two("Enforce"))).await).contains("run's id"));
    let mut other = request("r1", keep_two("Enforce"));
    other.policy = "u2".into();
    assert!(reason(world.runs.start(other).await).contains("u2"));
    let mut twice = request("r1", keep_two("Enforce"));
    twice.policies.push(twice.policies[0].clone());
    assert!(reason(world.runs.start(twice).await).contains("two of the policies have UID"));
    let mut blocked = request("r1", keep_two("Enforce"));
    let mut broken = blocked.policies[0].clone();
    broken.uid = "u2".into();
    broken.name = "broken".into();
    broken.spec.schedule = "whenever".into();
    blocked.policies.push(broken);
    let why = reason(world.runs.start(blocked).await);
    assert!(why.contains("team/broken") && why.contains("schedule"), "{why}");
    let (run, ..) = world.planned(request("r1", keep_two("Enforce"))).await;
    let unknown = vec![InUse { candidate: 99, reason: "x".into() }];
    let unknown =
        ApplyRequest { listing_seconds: 0.0, in_use: unknown, policies: Vec::new(), approve: None, list: None };
    assert!(reason(world.runs.apply(&run, unknown).await).contains("99"));
    let mut changed = request("r1", keep_two("Enforce")).policies;
    changed[0].generation += 1;
    let changed =
        ApplyRequest { listing_seconds: 0.0, in_use: Vec::new(), policies: changed, approve: None, list: None };
    assert!(reason(world.runs.apply(&run, changed).await).contains("generation"));
    assert!(matches!(world.runs.status(&"other".parse().unwrap()).await, Err(Error::RunUnknown { .. })));
    assert_eq!(world.tags().await.len(), 5);
}

#[tokio::test]
async fn candidates_come_in_pages() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, _, all) = world.planned(request("r1", keep_two("Enforce"))).await;
    let mut collected = Vec::new();
    let mut after = None;
    loop {
        let page = world.runs.candidates(&run, after, 2).await.unwrap();
        collected.extend(page.candidates);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(collected, all);
}

#[tokio::test]
async fn with_deletion_disabled_nothing_is_planned() {
    let world = World::new(DeletionMode::Disabled).await;
    five_images(&world).await;
    let refused = world.runs.start(request("r1", keep_two("Enforce"))).await;
    assert!(matches!(refused, Err(Error::DeletionUnavailable { .. })));
    assert_eq!(world.catalog.runs().await.unwrap().len(), 0);
}

#[tokio::test]
async fn an_empty_registry_has_an_empty_plan() {
    let world = World::new(DeletionMode::Soft).await;
    let (run, status, candidates) = world.planned(request("r1", keep_two("Enforce"))).await;
    assert_eq!((status.plan.unwrap().deletes, candidates.len()), (0, 0));
    assert_eq!(world.applied(&run, Vec::new()).await.state, RunState::Completed);
}

#[tokio::test]
async fn a_tag_of_a_kept_manifest_goes_alone() {
    let world = World::new(DeletionMode::Soft).await;
    let digest = world.push("keep", "one image").await;
    world.push("pr-1", "one image").await;
    let spec = json!({
        "registryRef": { "name": "r" }, "mode": "Enforce", "minimumAge": "0s", "unmatchedTags": "Delete",
        "keep": [{ "name": "kept", "tags": ["keep"], "always": {} }],
        "untagged": { "action": "Delete", "minimumAge": "0s" }, "limits": { "maxDeletePercent": 100 },
    });
    let (run, ..) = world.planned(request("r1", spec)).await;
    let result = world.applied(&run, Vec::new()).await.result.unwrap();
    assert_eq!((result.deleted_tags, result.deleted_manifests), (1, 0));
    assert_eq!(world.tags().await, ["keep"]);
    assert!(world.repository().manifest(&Reference::Digest(digest)).await.is_ok());
}

/// Enforced, with one rule for all tags.
fn keep(criterion: &serde_json::Value) -> serde_json::Value {
    let mut rule = json!({ "name": "some", "tags": ["*"] });
    rule.as_object_mut().unwrap().extend(criterion.as_object().unwrap().clone());
    let mut spec = keep_two("Enforce");
    spec["keep"] = json!([rule]);
    spec
}

#[tokio::test]
async fn what_was_pulled_stays_and_what_is_not_known_of_pulls_keeps() {
    let world = World::new(DeletionMode::Soft).await;
    world.catalog.begin_pulls().await.unwrap();
    five_images(&world).await;
    let v4 = world.repository().manifest(&"v4".parse().unwrap()).await.unwrap().descriptor.digest;
    world.clock.now.fetch_add(7200, Ordering::SeqCst);
    world.repository().note_pull(&"v2".parse().unwrap());
    world.repository().note_pull(&Reference::Digest(v4));
    let (run, ..) = world.planned(request("r1", keep(&json!({ "pulledWithin": "1h" })))).await;
    // What is pulled after the plan is left out of what is deleted.
    world.repository().note_pull(&"v3".parse().unwrap());
    let status = world.applied(&run, Vec::new()).await;
    assert_eq!(status.state, RunState::Completed, "{status:?}");
    assert_eq!(status.result.unwrap().changed_since_planned, 1);
    assert_eq!(world.tags().await, ["v2", "v3", "v4"]);

    // The process ends without having written the rest down.
    world.clock.now.fetch_add(36_000, Ordering::SeqCst);
    let world = world.restarted().await;
    world.catalog.begin_pulls().await.unwrap();
    let (_, status, candidates) = world.planned(request("r2", keep(&json!({ "pulledWithin": "1h" })))).await;
    assert!(candidates.is_empty(), "{candidates:?}");
    let sample = status.plan.unwrap().sample;
    assert!(sample.iter().all(|line| line.reason == "not known whether it is pulled within 1h"), "{sample:?}");
}

#[tokio::test]
async fn what_an_images_config_says_is_read_where_a_policy_asks() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let labelled = keep(&json!({ "labels": { "name": "image 3" } }));
    let (run, ..) = world.planned(request("r1", labelled)).await;
    world.applied(&run, Vec::new()).await;
    assert_eq!(world.tags().await, ["v3"]);
    let (_, _, candidates) = world.planned(request("r2", keep(&json!({ "platforms": ["linux/amd64"] })))).await;
    assert!(candidates.is_empty());
    let (_, _, candidates) = world.planned(request("r3", keep(&json!({ "createdWithin": "1h" })))).await;
    assert!(candidates.is_empty(), "it does not say when it was made");
    let (_, _, candidates) = world.planned(request("r4", keep(&json!({ "platforms": ["linux/arm64"] })))).await;
    assert_eq!(candidates.len(), 1);
}

#[tokio::test]
async fn a_layer_that_is_elsewhere_takes_no_size_and_pushes_nothing_out() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    // The registry does not hold it, so nobody has compared its size with anything.
    let elsewhere = json!({
        "mediaType": "application/octet-stream", "digest": Digest::of(Algorithm::Sha256, b"elsewhere"),
        "size": 1_u64 << 50, "urls": ["https://example.com/layer"],
    });
    world.push_with("v6", "image 6", Some(elsewhere)).await;
    let (_, status, candidates) = world.planned(request("r1", keep(&json!({ "withinSize": "1Mi" })))).await;
    assert!(candidates.is_empty(), "{candidates:?}");
    assert_eq!(status.plan.unwrap().keeps, 6);
}

#[tokio::test]
async fn immutable_tags_are_in_no_plan() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let mut immutable = ImmutableTags::none();
    immutable.add(&["team/**".to_owned()], &["v1".to_owned()]).unwrap();
    let (catalog, clock) = (world.catalog.clone(), world.clock.clone());
    let runs = RetentionRuns::open(catalog, AccessMode::ReadWrite, Arc::new(immutable), clock).await;
    let world = World { runs: runs.unwrap(), ..world };
    let (run, _, candidates) = world.planned(request("r1", keep_two("Enforce"))).await;
    assert_eq!(candidates.len(), 2);
    world.applied(&run, Vec::new()).await;
    assert_eq!(world.tags().await, ["v1", "v4", "v5"]);
}

#[tokio::test]
async fn a_plan_says_what_other_policies_prevent() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let mut request = request("r1", keep_two("DryRun"));
    let mut other = request.policies[0].clone();
    (other.uid, other.name) = ("u2".into(), "other".into());
    other.spec = serde_json::from_value(keep(&json!({ "semver": {} }))).unwrap();
    other.spec.keep[0].tags = vec!["regex:v[12]".to_owned()];
    other.spec.keep[0].always = serde_json::from_value(json!({})).unwrap();
    request.policies.push(other);
    let (_, status, _) = world.planned(request).await;
    let prevented = status.plan.unwrap().prevented;
    assert_eq!(prevented.len(), 1);
    assert_eq!((prevented[0].policy.as_str(), prevented[0].count), ("team/other", 2));
    assert_eq!(prevented[0].sample, ["team/app:v1", "team/app:v2"]);
}
