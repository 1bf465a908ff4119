//! The API server goes away in the middle of a run.

use super::Node;
use crate::support::{Image, Namespace, Operator, Policy, Registry, eventually};

const SPEC: &str = "mode: Enforce, keep: [{name: newest, tags: ['*'], mostRecentlyPushed: 1}], \
                    minimumAge: 0s, limits: {maxDeletePercent: 100}";

#[test]
#[ignore = "needs the cluster of tests/run"]
fn run_whose_listing_of_the_cluster_fails_deletes_nothing_and_says_why() {
    Operator::installed();
    let namespace = Namespace::new("unreachable");
    let registry = Registry::applied(&namespace, "registry", "");
    let images: Vec<(String, Image)> =
        ["a", "b", "c"].map(|tag| (format!("team/app:{tag}"), Image::named(tag))).into_iter().collect();
    for (name, image) in &images {
        registry.address.push(image, name);
    }
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", SPEC);

    // The registry is held still, so that the run has begun and cannot have got past its plan when the API
    // server goes away. Then it goes on.
    let process = Node::process_of(&registry.pod());
    Node::signal("STOP", process);
    let trigger = policy.ask_for_run();
    policy.await_reason("LastRunSucceeded", "Unknown", "Running");
    let away = Node::without_api_server();
    Node::signal("CONT", process);
    eventually("the registry answers again", || {
        let answer = registry.address.try_request("GET", "/v2/")?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    for (name, image) in &images {
        registry.address.pull_is_identical(image, name);
    }
    drop(away);

    let status = policy.await_run(&trigger);
    assert_eq!(status["lastRun"]["result"], "InUseUnknown", "{status:#}");
    policy.await_reason("LastRunSucceeded", "False", "InUseUnknown");
    for (name, image) in &images {
        registry.address.pull_is_identical(image, name);
    }

    let status = policy.run();
    assert_eq!(status["lastRun"]["deletedTags"], 2, "{status:#}");
}
