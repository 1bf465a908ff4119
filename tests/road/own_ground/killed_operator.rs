//! The operator dies in the middle of a run.

use std::collections::BTreeSet;

use serde_json::json;

use super::Node;
use crate::retention::{BOLD, TwelveTags, scaled_to_zero};
use crate::support::{Namespace, Operator, Policy};

#[test]
#[ignore = "needs the cluster of tests/run"]
fn run_that_its_operator_began_and_did_not_survive_is_ended_by_the_next_one() {
    let operator = Operator::installed();
    let namespace = Namespace::new("killed");
    let twelve = TwelveTags::pushed(&namespace);
    scaled_to_zero(&namespace, &twelve.registry.address.reference("team/app:t03"));
    let spec = format!("mode: Enforce, keep: [{{name: newest, tags: ['*'], mostRecentlyPushed: 5}}], {BOLD}");
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", &spec);

    // The registry is held still, so that the run has begun and gets nowhere while its operator lives.
    let process = Node::process_of(&twelve.registry.pod());
    Node::signal("STOP", process);
    let trigger = policy.ask_for_run();
    policy.await_reason("LastRunSucceeded", "Unknown", "Running");
    let begun = namespace.get("retentionpolicy/cleanup")["status"]["lastRun"].clone();
    assert!(begun.get("completionTime").is_none(), "{begun:#}");
    operator.kubectl.run("delete pods --all --force --grace-period=0");
    Node::signal("CONT", process);
    let status = policy.await_run(&trigger);

    assert_eq!(status["lastRun"]["run"], begun["run"], "it is the same run: {status:#}");
    assert_eq!(status["lastRun"]["startTime"], begun["startTime"], "{status:#}");
    assert_eq!(
        (&status["lastRun"]["result"], &status["lastRun"]["deletedTags"], &status["plan"]["protectedInUse"]),
        (&json!("Completed"), &json!(6), &json!(1)),
        "{status:#}"
    );
    assert_eq!(status["history"].as_array().unwrap().len(), 1, "{status:#}");
    twelve.registry.await_answer();
    twelve.only_these_answer(&BTreeSet::from(["t03", "t08", "t09", "t10", "t11", "t12"]));
    operator.kubectl.await_rollout("lagan");
}
