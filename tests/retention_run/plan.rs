//! What is read of plans: line by line, and for one image.

use serde_json::json;

use lagan::api::v1alpha1::PlanDecision;
use lagan::api::wire::{PlanLine, PlanRequest};
use lagan::maintenance::{Error, RunId};
use lagan::oci::Reference;
use lagan::storage::{DeleteCause, DeletionMode};

use crate::world::{World, five_images, in_use, keep_two, repository_name, request};

impl World {
    /// A dry run to its end.
    async fn dry_run(&self, run: &str) -> RunId {
        let (run, ..) = self.planned(request(run, keep_two("DryRun"))).await;
        self.applied(&run, Vec::new()).await;
        run
    }

    async fn lines(&self, run: &RunId, limit: usize, only: Option<PlanDecision>) -> Vec<PlanLine> {
        let (mut lines, mut after) = (Vec::new(), None);
        loop {
            let page = self.runs.plan(run, after, limit, only).await.unwrap();
            assert!(page.lines.len() <= limit);
            lines.extend(page.lines);
            match page.next {
                Some(next) => after = Some(next),
                None => return lines,
            }
        }
    }
}

#[tokio::test]
async fn the_whole_plan_is_sorted_and_read_in_pages_of_any_size() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, _, candidates) = world.planned(request("r1", keep_two("DryRun"))).await;
    assert!(matches!(world.runs.plan(&run, None, 10, None).await, Err(Error::PlanUnknown { .. })));
    world.applied(&run, in_use(&candidates, "v2")).await;

    let all = world.lines(&run, 10, None).await;

    let said: Vec<_> = all.iter().map(|line| (line.reference.as_str(), line.decision, line.reason.as_str())).collect();
    let (delete, keep) = (PlanDecision::Delete, PlanDecision::Keep);
    assert_eq!(
        said,
        [
            ("team/app:v1", delete, "not among the 2 most recently pushed"),
            ("team/app:v2", keep, "in use: deployment web"),
            ("team/app:v3", delete, "not among the 2 most recently pushed"),
            ("team/app:v4", keep, "among the 2 most recently pushed"),
            ("team/app:v5", keep, "among the 2 most recently pushed"),
        ]
    );
    for limit in [1, 2, 5] {
        assert_eq!(world.lines(&run, limit, None).await, all);
        let going = all.iter().filter(|line| line.decision == delete).cloned().collect::<Vec<_>>();
        assert_eq!(world.lines(&run, limit, Some(delete)).await, going);
    }
}

#[tokio::test]
async fn a_plan_of_several_pages_is_whole_and_found_in() {
    let world = World::new(DeletionMode::Soft).await;
    let repository = world.repository();
    let tags: Vec<String> = (0..2500).map(|number| format!("t{number:04}")).collect();
    world.push_empty(&tags).await;
    let run = world.dry_run("r1").await;
    let lines = world.lines(&run, 700, None).await;
    let found: Vec<String> = lines.into_iter().map(|line| line.reference).collect();
    assert_eq!(found, tags.iter().map(|tag| format!("team/app:{tag}")).collect::<Vec<_>>());
    for tag in ["t0000", "t0999", "t1000", "t2499"] {
        let explained = world.runs.explain(repository.name(), &tag.parse().unwrap()).await.unwrap();
        assert_eq!(explained.planned.len(), 1, "{tag}");
        assert_eq!(explained.planned[0].line.reference, format!("team/app:{tag}"));
    }
    let none = world.runs.explain(repository.name(), &"t9999".parse().unwrap()).await.unwrap();
    assert_eq!((none.digest, none.planned, none.now), (None, Vec::new(), Vec::new()));
}

#[tokio::test]
async fn only_the_newest_plan_of_a_policy_is_kept() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let first = world.dry_run("r1").await;
    assert_eq!(world.runs.status(&first).await.unwrap().plan_lines, Some(5));
    let second = world.dry_run("r2").await;
    assert_eq!(world.runs.status(&first).await.unwrap().plan_lines, None);
    assert!(matches!(world.runs.plan(&first, None, 10, None).await, Err(Error::PlanUnknown { .. })));
    let world = world.restarted().await;
    assert_eq!(world.lines(&second, 10, None).await.len(), 5);
    let all: Vec<String> = world.runs.all().await.unwrap().into_iter().map(|status| status.run).collect();
    assert_eq!(all, ["r2", "r1"]);
}

#[tokio::test]
async fn what_has_become_due_since_the_run_began_is_said_to_stay() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, ..) = world.planned(request("r1", keep_two("Enforce"))).await;
    world.push("v6", "image 6").await;
    world.applied(&run, Vec::new()).await;
    let lines = world.lines(&run, 10, None).await;
    let v4 = lines.iter().find(|line| line.reference == "team/app:v4").unwrap();
    assert_eq!((v4.decision, v4.reason.as_str()), (PlanDecision::Keep, "it was not to go when the run began"));
}

#[tokio::test]
async fn an_image_is_explained_by_its_plans_and_by_what_the_policies_say_now() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let digest = world.push("v3-again", "image 3").await;
    world.dry_run("r1").await;
    // By now, another push has taken v5's place.
    world.push("v6", "image 6").await;
    let explained = world.runs.explain(&repository_name(), &"v5".parse().unwrap()).await.unwrap();
    let planned: Vec<_> = explained.planned.iter().map(|verdict| (&*verdict.policy, verdict.line.decision)).collect();
    assert_eq!(planned, [("team/p", PlanDecision::Keep)]);
    let now: Vec<_> = explained.now.iter().map(|verdict| (&*verdict.policy, verdict.line.decision)).collect();
    assert_eq!(now, [("team/p", PlanDecision::Delete)]);
    assert!(explained.policies_of.is_some());

    // A manifest is explained by its tags.
    let explained = world.runs.explain(&repository_name(), &Reference::Digest(digest.clone())).await.unwrap();
    assert_eq!(explained.digest, Some(digest));
    let lines: Vec<_> = explained.now.iter().map(|verdict| &*verdict.line.reference).collect();
    assert_eq!(lines, ["team/app:v3", "team/app:v3-again"]);
}

#[tokio::test]
async fn an_image_that_is_not_there_is_explained_by_the_hold_that_brings_it_back() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let mut spec = keep_two("DryRun");
    spec["holds"] = json!([{"repository": repository_name(), "reference": "v1", "reason": "for the auditors"}]);
    world.planned(request("r1", spec)).await;
    for tag in ["v1", "v2"] {
        let cause = DeleteCause { actor: "a".into(), reason: "on purpose".into(), policy: None, group: None };
        world.repository().delete_manifest(&tag.parse().unwrap(), cause).await.unwrap();
    }

    let held = world.runs.explain(&repository_name(), &"v1".parse().unwrap()).await.unwrap();
    assert_eq!(held.digest, None);
    let [verdict] = held.now.as_slice() else { panic!("{held:?}") };
    assert_eq!((verdict.policy.as_str(), verdict.line.decision), ("team/p", PlanDecision::Keep));
    let reason = &verdict.line.reason;
    assert!(reason.starts_with("held by policy team/p: for the auditors; it is restored"), "{reason}");
    let free = world.runs.explain(&repository_name(), &"v2".parse().unwrap()).await.unwrap();
    assert_eq!((free.now, free.policies_of), (Vec::new(), None));
}

#[tokio::test]
async fn a_plan_counts_what_stays_by_reason() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let (run, _, candidates) = world.planned(request("r1", keep_two("DryRun"))).await;
    let status = world.applied(&run, in_use(&candidates, "v2")).await;
    let counts = serde_json::to_value(status.plan.unwrap().keeps_by_reason).unwrap();
    assert_eq!(counts, json!({ "InUse": 1, "Kept": 2 }));
}

#[tokio::test]
async fn plan_without_a_trace_agrees_with_a_run_and_is_made_one_at_a_time() {
    let world = World::new(DeletionMode::Soft).await;
    five_images(&world).await;
    let asked = request("r1", keep_two("Enforce"));
    let plan = PlanRequest { policy: asked.policy.clone(), policies: asked.policies.clone() };

    let (first, second) =
        futures::future::join(world.runs.forecast(&plan, 10, None), world.runs.forecast(&plan, 10, None)).await;

    let report = first.unwrap();
    assert!(matches!(second, Err(Error::Forecasting)), "{second:?}");
    assert!(world.runs.forecast(&plan, 10, None).await.is_ok());
    assert_eq!(world.runs.all().await.unwrap(), []);
    let (_, status, _) = world.planned(asked).await;
    let run = status.plan.unwrap();
    assert_eq!((report.plan.deletes, report.plan.keeps), (run.deletes, run.keeps));
    assert_eq!(report.plan.keeps_by_reason, run.keeps_by_reason);
    assert_eq!(report.plan.sample, run.sample);
}
