//! The API server goes away in the middle of a run.

use super::Node;
use crate::support::{Image, Namespace, Operator, Policy, Registry, eventually};

const SPEC: &str = "mode: Enforce, keep: [{name: newest, tags: ['*'], mostRecentlyPushed: 1}], \
                    minimumAge: 0s, limits: {maxDeletePercent: 100}";

#[test]
#[ignore = "needs the cluster of tests/run"]
fn run_that_cannot_ask_the_cluster_what_it_runs_deletes_nothing_until_it_can() {
    Operator::installed();
    let namespace = Namespace::new("unreachable");
    let registry = Registry::applied(&namespace, "registry", "");
    let images: Vec<(String, Image)> =
        ["a", "b", "c"].map(|tag| (format!("team/app:{tag}"), Image::named(tag))).into_iter().collect();
    for (name, image) in &images {
        registry.address.push(image, name);
    }
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", SPEC);

    // The registry is held still, so that the run has begun and cannot get anywhere before the API server goes
    // away. Then the registry goes on.
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
    // Meanwhile the operator tries again and again.
    for _ in 0..20 {
        for (name, image) in &images {
            registry.address.pull_is_identical(image, name);
        }
    }
    drop(away);

    // Where the run was when the API server went decides whether it ends, and says why, or goes on from a new
    // listing now.
    let status = policy.await_run(&trigger);
    let left = if status["lastRun"]["result"] == "InUseUnknown" {
        policy.await_reason("LastRunSucceeded", "False", "InUseUnknown");
        assert_eq!(registry.address.tags("team/app"), ["a", "b", "c"]);
        policy.run()
    } else {
        status
    };
    assert_eq!(left["lastRun"]["result"], "Completed", "{left:#}");
    assert_eq!(left["lastRun"]["deletedTags"], 2, "{left:#}");
    assert_eq!(registry.address.tags("team/app"), ["c"]);
}
