//! Plans wait for approval, whoever is restarted meanwhile.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::retention::{BOLD, TwelveTags};
use crate::support::{Namespace, Operator, Policy};

const NEWEST: &str = "mode: Enforce, keep: [{name: newest, tags: ['*'], mostRecentlyPushed: 5}]";

/// Awaits that an approved run has ended, and returns the status.
fn applied(policy: &Policy, hash: &str) -> Value {
    policy.await_status("has applied the plan", |status| {
        status["lastHandledApproval"] == hash && status["lastRun"]["completionTime"].is_string()
    })
}

fn hash_of(status: &Value) -> String {
    assert!(status["plan"]["expiresAt"].is_string(), "{status:#}");
    status["plan"]["hash"].as_str().unwrap().to_owned()
}

/// Kills the operator's pods without a word.
fn kill(operator: &Operator) {
    operator.kubectl.run("delete pods --all --force --grace-period=0 --wait=false");
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn plan_over_a_limit_is_applied_once_approved_less_what_was_pulled_and_what_runs_by_then() {
    Operator::installed();
    let namespace = Namespace::new("approval");
    let twelve = TwelveTags::pushed(&namespace);
    let spec = format!("{NEWEST}, minimumAge: 0s, untagged: {{action: Delete, minimumAge: 0s}}");
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", &spec);
    let planned = policy.run();
    assert_eq!(planned["lastRun"]["result"], "LimitExceeded", "{planned:#}");
    let hash = hash_of(&planned);
    let message = policy.await_reason("Ready", "False", "AwaitingApproval");
    let line = format!("lagan.dev/approve={hash} --overwrite");
    assert!(message.contains(&line), "{message}");
    let told = policy.await_event("AwaitingApproval");
    assert!(told.contains(&line), "{told}");

    policy.approve("0123");
    policy.await_status("says that this is another hash", |status| {
        status.to_string().contains("not the hash of the plan")
    });
    twelve.only_these_answer(&twelve.names());

    // All were pulled now, with a warning. A pod comes to use one that nobody pulls again; then the plan is made anew.
    let replaced = policy.run();
    let hash = hash_of(&replaced);
    let pulled = twelve.registry.address.get("/v2/team/app/manifests/t01");
    assert!(pulled.headers.get("warning").is_some_and(|text| text.contains("/cleanup")), "{pulled:?}");
    crate::retention::scaled_to_zero(&namespace, &twelve.registry.address.reference("team/app:t02"));
    policy.approve(&hash);
    let done = applied(&policy, &hash);
    assert_eq!(
        (&done["lastRun"]["result"], &done["lastRun"]["deletedTags"]),
        (&json!("Completed"), &json!(5)),
        "{done:#}"
    );
    twelve.only_these_answer(&BTreeSet::from(["t01", "t02", "t08", "t09", "t10", "t11", "t12"]));
    let told = policy.await_event("Applied");
    assert!(told.contains("5 tags"), "{told}");
    let results: Vec<&Value> = done["history"].as_array().unwrap().iter().map(|run| &run["result"]).collect();
    assert_eq!(results, ["Completed", "Interrupted"], "{done:#}");
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn two_policies_wait_side_by_side_and_a_killed_operator_goes_on_with_both() {
    let operator = Operator::installed();
    let namespace = Namespace::new("side-by-side");
    let twelve = TwelveTags::pushed(&namespace);
    // What another test ran may still be going.
    let manual = format!("{BOLD}, approval: Manual, mode: Enforce, inUse: {{protection: Disabled}}");
    let only = |tags: &str| format!("{manual}, keep: [{{name: none, tags: [{tags}], semver: {{}}}}]");
    let mut first = Policy::suspended(&namespace, "first", "registry", &only("t01, t02"));
    let mut second = Policy::suspended(&namespace, "second", "registry", &only("t03, t04"));
    let (first_asked, second_asked) = (first.ask_for_run(), second.ask_for_run());
    // In the middle of both runs, perhaps.
    kill(&operator);
    let (first_plan, second_plan) = (first.await_run(&first_asked), second.await_run(&second_asked));
    assert_eq!(first_plan["lastRun"]["result"], "AwaitingApproval", "{first_plan:#}");
    let hash = hash_of(&second_plan);
    assert_eq!(twelve.registry.address.tags("team/app").len(), 12);

    second.approve(&hash);
    kill(&operator);
    assert_eq!(applied(&second, &hash)["lastRun"]["deletedTags"], 2);
    first.await_reason("Ready", "False", "AwaitingApproval");
    let hash = hash_of(&first_plan);
    first.approve(&hash);
    assert_eq!(applied(&first, &hash)["lastRun"]["deletedTags"], 2);
    let mut kept = twelve.names();
    for tag in ["t01", "t02", "t03", "t04"] {
        kept.remove(tag);
    }
    assert_eq!(twelve.registry.address.tags("team/app"), kept.into_iter().collect::<Vec<_>>());
    operator.kubectl.await_rollout("lagan");
}
