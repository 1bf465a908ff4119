//! What one policy of a Registry keeps, none deletes; and nobody deletes while one of them cannot be understood.

use std::collections::BTreeSet;

use serde_json::json;

use crate::retention::{BOLD, TwelveTags};
use crate::support::{Image, Namespace, Operator, Policy};

#[test]
#[ignore = "needs a cluster: tests/run"]
fn suspended_policy_keeps_from_another_one_and_stops_it_while_it_is_invalid() {
    Operator::installed();
    let namespace = Namespace::new("several");
    let twelve = TwelveTags::pushed(&namespace);
    let rest = format!("unmatchedTags: Delete, {BOLD}");
    let keep = format!("keep: [{{name: first, tags: [t01], always: {{}}}}], {rest}");
    let keeper = Policy::suspended(&namespace, "keeper", "registry", &keep);
    let spec = format!("mode: Enforce, {rest}");
    let mut cleanup = Policy::applied(&namespace, "cleanup", "registry", &spec);

    let status = cleanup.run();
    assert_eq!((&status["lastRun"]["result"], &status["lastRun"]["deletedTags"]), (&json!("Completed"), &json!(11)));
    twelve.only_these_answer(&BTreeSet::from(["t01"]));
    // The tag, and its manifest with it.
    let prevented = &status["plan"]["prevented"][0];
    assert_eq!(prevented["policy"], "several/keeper", "{status:#}");
    assert!(prevented["sample"].as_array().unwrap().contains(&json!("team/app:t01")), "{status:#}");

    keeper.spec_becomes(&json!({"timeZone": "Atlantis/Capital"}));
    keeper.await_reason("Ready", "False", "InvalidPolicy");
    let message = cleanup.await_reason("Ready", "False", "BlockedByInvalidPolicy");
    assert!(message.contains("keeper") && message.contains("Atlantis"), "{message}");
    twelve.registry.address.push(&Image::named("late"), "team/app:late");
    let trigger = cleanup.ask_for_run();
    // A policy that is suspended is looked at whatever blocks it; by then the annotation has been, too.
    cleanup.spec_becomes(&json!({"suspend": true}));
    let blocked = cleanup.await_status("was looked at again", |status| status["observedGeneration"] == 2);
    assert_eq!(blocked["lastRun"]["run"], status["lastRun"]["run"], "{blocked:#}");
    assert_eq!(twelve.registry.address.tags("team/app"), ["late", "t01"]);

    // It recovers, and makes the run that was asked for meanwhile.
    keeper.spec_becomes(&json!({"timeZone": "Etc/UTC"}));
    let after = cleanup.await_run(&trigger);
    assert_eq!(after["lastRun"]["result"], "Completed", "{after:#}");
    twelve.only_these_answer(&BTreeSet::from(["t01"]));
}
