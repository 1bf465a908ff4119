//! What happens in the midst of a run, and what ends by itself.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::retention::{BOLD, TwelveTags};
use crate::support::{Namespace, Operator, Policy, eventually, sha256_digits};

const NEWEST: &str = "mode: Enforce, keep: [{name: newest, tags: ['*'], mostRecentlyPushed: 5}]";

/// How much of the digest of what a run was asked for by is in its id.
const DIGITS: usize = 16;

/// The operator away for a while; back when this goes out of scope.
struct Away<'a>(&'a Operator);

impl<'a> Away<'a> {
    fn new(operator: &'a Operator) -> Self {
        operator.kubectl.run("scale deployment/lagan --replicas 0");
        operator.kubectl.run("wait pods --all --for delete --timeout 120s");
        Self(operator)
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.kubectl.run("scale deployment/lagan --replicas 1");
    }
}

/// Asks the registry for the first run that an annotation asks for, as the operator does, and waits until it is planned.
fn plan_first_run(twelve: &TwelveTags, policy: &Value, trigger: &str) -> String {
    let metadata = &policy["metadata"];
    let uid = metadata["uid"].as_str().unwrap();
    let run = format!("{uid}.at-{}", &sha256_digits(format!("\n{trigger}").as_bytes())[..DIGITS]);
    let source = json!({
        "namespace": metadata["namespace"], "name": metadata["name"], "uid": uid, "generation": metadata["generation"],
        "spec": policy["spec"],
    });
    let request = json!({"run": run, "policy": uid, "policies": [source]}).to_string();
    let address = &twelve.registry.address;
    let url = format!("{}/v2/_lagan/retention/runs", address.url());
    let posting = address.curl().args(["--fail-with-body", "--header", "Content-Type: application/json"]);
    posting.args(["--data", &request, &url]).succeeds();
    eventually("the run is planned", || {
        let answer = address.get(&format!("/v2/_lagan/retention/runs/{run}"));
        if answer.json()["state"] == "AwaitingUsage" { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    run
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn image_that_a_pod_starts_to_use_between_planning_and_applying_is_kept() {
    let operator = Operator::installed();
    let namespace = Namespace::new("started");
    let twelve = TwelveTags::pushed(&namespace);
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", &format!("{NEWEST}, {BOLD}"));
    let object = namespace.get("retentionpolicy/cleanup");

    // The run is planned while the operator is away, so that what happens before it lists the cluster is for the test to
    // say: the plan names t02, and then a pod begins to use it.
    let away = Away::new(&operator);
    let trigger = policy.ask_for_run();
    let run = plan_first_run(&twelve, &object, &trigger);
    let candidates = twelve.registry.address.get(&format!("/v2/_lagan/retention/runs/{run}/candidates")).json();
    let is_named = |tag: &str| candidates["candidates"].as_array().unwrap().iter().any(|named| named["tag"] == tag);
    assert!(is_named("t02") && is_named("t07") && !is_named("t08"), "{candidates:#}");
    let image = twelve.registry.address.reference("team/app:t02");
    eventually("the pod is taken", || {
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: late}}, spec: {{nodeSelector: {{nowhere: here}}, \
             automountServiceAccountToken: false, \
             securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}, \
             containers: [{{name: app, image: '{image}', \
             securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]}}}}"
        );
        namespace.program(["apply", "--filename", "-"]).input(pod).output().into_result()
    });
    drop(away);
    let status = policy.await_run(&trigger);

    assert_eq!(status["lastRun"]["run"], run, "it is the same run: {status:#}");
    assert_eq!(status["lastRun"]["result"], "Completed", "{status:#}");
    assert_eq!((&status["lastRun"]["deletedTags"], &status["plan"]["protectedInUse"]), (&json!(6), &json!(1)));
    twelve.only_these_answer(&BTreeSet::from(["t02", "t08", "t09", "t10", "t11", "t12"]));
}

#[test]
#[ignore = "needs a cluster: tests/run"]
#[expect(clippy::disallowed_methods, reason = "the date is one for the cluster's clock, which is the machine's")]
fn hold_until_a_date_keeps_and_restores_until_then_and_ends_by_itself() {
    Operator::installed();
    let namespace = Namespace::new("until");
    let twelve = TwelveTags::pushed(&namespace);
    let until = Timestamp::now() + SignedDuration::from_secs(75);
    let hold = |tag: &str| json!({"repository": "team/app", "reference": tag, "until": until.to_string()});
    let spec = format!("{NEWEST}, {BOLD}, holds: [{}]", hold("t02"));
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", &spec);
    let ran = policy.run();
    assert_eq!(
        (&ran["lastRun"]["result"], &ran["lastRun"]["deletedTags"]),
        (&json!("Completed"), &json!(6)),
        "{ran:#}"
    );
    policy.await_hold("team/app:t02", "Held");

    // It brings back until then, too.
    policy.patch(&json!({"holds": [hold("t02"), hold("t01")]}));
    policy.await_hold("team/app:t01", "Restored");
    let kept = BTreeSet::from(["t01", "t02", "t08", "t09", "t10", "t11", "t12"]);
    twelve.only_these_answer(&kept);
    assert!(Timestamp::now() < until, "the machine is too slow for this test");

    // Nobody touches the policy, and its status says that it is over.
    policy.await_hold("team/app:t02", "Expired");
    policy.await_hold("team/app:t01", "Expired");
    assert!(Timestamp::now() >= until);
    let ran = policy.run();
    assert_eq!(
        (&ran["lastRun"]["result"], &ran["lastRun"]["deletedTags"]),
        (&json!("Completed"), &json!(1)),
        "{ran:#}"
    );
    // What was restored lately stays for as long as it could be restored.
    twelve.only_these_answer(&BTreeSet::from(["t01", "t08", "t09", "t10", "t11", "t12"]));
}
