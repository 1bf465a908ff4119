//! Runs that nobody asks for.

use serde_json::{Value, json};

use crate::support::{Image, Namespace, Operator, Policy, Registry};

const EVERY_MINUTE: &str = "* * * * *";
const KEEPS_ALL: &str = "timeZone: Asia/Kathmandu, keep: [{name: all, tags: ['*'], always: {}}]";

/// How many runs have ended.
fn runs(status: &Value) -> usize {
    status["history"].as_array().map_or(0, Vec::len)
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn policy_runs_on_its_schedule_and_a_suspended_one_once_the_suspension_is_lifted() {
    Operator::installed();
    let namespace = Namespace::new("schedules-run");
    let registry = Registry::applied(&namespace, "registry", "");
    registry.address.push(&Image::named("scheduled"), "team/app:v1");
    let suspended = Policy::scheduled(&namespace, "suspended", EVERY_MINUTE, &format!("suspend: true, {KEEPS_ALL}"));
    let running = Policy::scheduled(&namespace, "running", EVERY_MINUTE, KEEPS_ALL);
    let early = Policy::scheduled(&namespace, "early", "30 5 * * *", KEEPS_ALL);

    // Half past five in Kathmandu is a quarter to midnight in Greenwich.
    let next = early.await_status("knows its next run", |status| status["nextScheduleTime"].is_string());
    assert!(next["nextScheduleTime"].as_str().unwrap().ends_with("T23:45:00Z"), "{next:#}");

    let once = running.await_status("has run", |status| runs(status) >= 1);
    let twice = running.await_status("has run again", |status| runs(status) >= 2);
    for run in twice["history"].as_array().unwrap() {
        assert_eq!(run["result"], "Completed", "{twice:#}");
    }
    let due = |status: &Value| status["lastScheduleTime"].as_str().unwrap().to_owned();
    assert!(due(&once) < due(&twice) && due(&twice).ends_with(":00Z"), "{} and {}", due(&once), due(&twice));
    assert_ne!(twice["history"][0]["run"], twice["history"][1]["run"]);

    // Two of its minutes have passed as well.
    suspended.await_reason("Ready", "False", "Suspended");
    let status = namespace.get("retentionpolicy/suspended")["status"].clone();
    assert_eq!((status.get("lastRun"), status.get("nextScheduleTime")), (None, None), "{status:#}");
    suspended.patch(&json!({"suspend": false}));
    let ran = suspended.await_status("has run", |status| runs(status) >= 1);
    assert_eq!(ran["lastRun"]["result"], "Completed", "{ran:#}");
}
