//! Plans that wait until somebody approves them.

use super::*;

/// What the registry of [`waiting_registry`] says of its run.
fn waiting_status(run: &str, state: &str) -> Value {
    let mut status = run_status(run, state);
    if state == "AwaitingApproval" {
        status["awaits"] = json!({"brake": "LimitExceeded", "expiresAt": "2026-07-08T12:00:00Z"});
        status["message"] = json!("the plan deletes 2 tags and manifests, and limits.maxDeletions is 1");
    }
    status
}

/// A registry whose run waits for approval of hash `h` once it was told what is in use.
async fn waiting_registry() -> RegistryStub {
    let state: Mutex<Option<(String, &'static str)>> = Mutex::new(None);
    RegistryStub::answering(move |request| {
        let mut state = state.lock().unwrap();
        let known = state.clone();
        match (request.method.as_str(), request.path(), known) {
            ("POST", RUNS, _) => {
                let run = request.body["run"].as_str().unwrap().to_owned();
                *state = Some((run.clone(), "AwaitingUsage"));
                Answer::Json(202, waiting_status(&run, "Planning"))
            }
            ("GET", path, _) if path.ends_with("/candidates") => Answer::ok(json!({"candidates": []})),
            ("POST", path, Some((run, now))) if path == format!("{RUNS}/{run}/apply") => {
                let next = match (now, request.body["approve"].as_str()) {
                    ("AwaitingUsage", None) => "AwaitingApproval",
                    ("AwaitingApproval", Some("h")) => "Completed",
                    other => panic!("{other:?} was not expected"),
                };
                *state = Some((run.clone(), next));
                Answer::Json(202, waiting_status(&run, "Applying"))
            }
            ("POST", path, Some((run, _))) if path == format!("{RUNS}/{run}/interrupt") => {
                *state = Some((run.clone(), "Interrupted"));
                Answer::ok(waiting_status(&run, "Interrupted"))
            }
            ("GET", path, Some((run, now))) if path == format!("{RUNS}/{run}") => Answer::ok(waiting_status(&run, now)),
            ("GET", _, _) => Answer::Json(404, json!({"errors": [{"code": "NOT_FOUND", "message": "no such run"}]})),
            (method, path, known) => panic!("{method} {path} was not expected: {known:?}"),
        }
    })
    .await
}

impl World {
    fn annotate(&self, key: &str, value: &str) {
        self.policy.lock().unwrap()["metadata"]["annotations"][key] = json!(value);
    }
}

fn interruptions(registry: &RegistryStub) -> usize {
    registry.requests().iter().filter(|request| request.path().ends_with("/interrupt")).count()
}

#[tokio::test]
async fn plan_over_a_limit_waits_and_is_applied_once_with_its_hash_after_the_cluster_was_listed_again() {
    let registry = waiting_registry().await;
    let world = World::new(registry.client(), &enforced(), |_| None);
    world.reconcile().await.unwrap();

    assert_eq!(world.condition("LastRunSucceeded").1, "LimitExceeded");
    let (status, reason, message) = world.condition("Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "AwaitingApproval"));
    assert!(message.contains("lagan.dev/approve=h "), "{message}");
    assert_eq!(world.status()["plan"]["expiresAt"], "2026-07-08T12:00:00Z");
    assert_eq!(world.status()["history"].as_array().unwrap().len(), 1);
    for reason in ["LimitExceeded", "AwaitingApproval"] {
        assert!(world.events().contains(&reason.to_owned()), "{:?}", world.events());
    }

    // Another hash is said to approve nothing, once.
    world.annotate("lagan.dev/approve", "H");
    world.reconcile().await.unwrap();
    world.reconcile().await.unwrap();
    assert!(
        world.condition("Ready").2.contains("is not the hash of the plan that waits"),
        "{}",
        world.condition("Ready").2
    );
    assert_eq!(world.events().iter().filter(|reason| *reason == "ApprovalRefused").count(), 1);
    assert_eq!(applications(&registry).len(), 1);

    world.annotate("lagan.dev/approve", "h");
    let lists =
        |world: &World| world.cluster.requests().iter().filter(|request| request.path() == "/api/v1/pods").count();
    let listed = lists(&world);
    world.reconcile().await.unwrap();
    assert_eq!(lists(&world), listed + 1, "listed again");
    let applied = applications(&registry);
    assert_eq!((applied.len(), &applied[1]["approve"]), (2, &json!("h")));
    let status = world.status();
    assert_eq!((&status["lastRun"]["result"], &status["lastHandledApproval"]), (&json!("Completed"), &json!("h")));
    assert_eq!(status["plan"].get("expiresAt"), None);
    assert_eq!(status["history"].as_array().unwrap().len(), 1);
    assert_eq!(world.condition("Ready").1, "Scheduled");

    // Approved twice is approved once.
    let (writes, asked) = (world.writes(), registry.requests().len());
    world.reconcile().await.unwrap();
    assert_eq!((world.writes(), registry.requests().len()), (writes, asked));
}

#[tokio::test]
async fn approval_that_a_restart_cut_off_goes_on() {
    let registry = waiting_registry().await;
    let world = World::new(registry.client(), &enforced(), |_| None);
    world.reconcile().await.unwrap();
    // The process that wrote this is gone, and the registry has not heard of it.
    {
        let mut policy = world.policy.lock().unwrap();
        let status = &mut policy["status"];
        status["lastHandledApproval"] = json!("h");
        status["plan"].as_object_mut().unwrap().remove("expiresAt");
        let last = status["lastRun"].as_object_mut().unwrap();
        last.remove("completionTime");
        last.remove("result");
    }
    world.reconcile().await.unwrap();
    assert_eq!(applications(&registry)[1]["approve"], "h");
    assert_eq!(world.status()["lastRun"]["result"], "Completed");
}

#[tokio::test]
async fn plan_of_a_policy_that_was_changed_is_void_for_the_registry_too() {
    let registry = waiting_registry().await;
    let world = World::new(registry.client(), &enforced(), |_| None);
    world.reconcile().await.unwrap();
    world.policy.lock().unwrap()["metadata"]["generation"] = json!(2);
    world.annotate("lagan.dev/approve", "h");

    world.reconcile().await.unwrap();

    assert_eq!((interruptions(&registry), applications(&registry).len()), (1, 1));
    let status = world.status();
    assert_eq!((&status["lastRun"]["result"], status["plan"].get("expiresAt")), (&json!("Interrupted"), None));
    assert!(world.events().contains(&"PlanVoid".to_owned()), "{:?}", world.events());
    world.reconcile().await.unwrap();
    assert!(world.condition("Ready").2.contains("no plan waits"), "{}", world.condition("Ready").2);
    assert_eq!((interruptions(&registry), applications(&registry).len()), (1, 1));
}

#[tokio::test]
async fn run_by_hand_replaces_the_plan_that_waits() {
    let registry = waiting_registry().await;
    let world = World::new(registry.client(), &enforced(), |_| None);
    world.reconcile().await.unwrap();
    let first = world.status()["plan"]["run"].clone();
    world.annotate("lagan.dev/run-at", "again");

    world.reconcile().await.unwrap();

    assert_eq!(starts(&registry).len(), 2);
    let status = world.status();
    assert_ne!(status["plan"]["run"], first);
    let history: Vec<&Value> = status["history"].as_array().unwrap().iter().map(|run| &run["result"]).collect();
    assert_eq!(history, ["LimitExceeded", "Interrupted"]);
    assert_eq!(world.condition("Ready").1, "AwaitingApproval");
}

/// A world whose plan waits and was approved, and whose jobs cannot be listed from then on, until told otherwise.
async fn approved_and_unlisted() -> (RegistryStub, World, Arc<Mutex<bool>>) {
    let registry = waiting_registry().await;
    let fails = Arc::new(Mutex::new(false));
    let failing = Arc::clone(&fails);
    let world = World::new(registry.client(), &enforced(), move |request| {
        let fails = *failing.lock().unwrap() && request.path() == "/apis/batch/v1/cronjobs";
        fails.then(|| Answer::failure(403, "no list for you"))
    });
    world.reconcile().await.unwrap();
    *fails.lock().unwrap() = true;
    world.annotate("lagan.dev/approve", "h");
    world.reconcile().await.unwrap();
    (registry, world, fails)
}

#[tokio::test]
async fn approved_plan_outlives_a_short_failure_to_list_the_cluster() {
    let (registry, world, fails) = approved_and_unlisted().await;
    assert_eq!((interruptions(&registry), applications(&registry).len()), (0, 1));
    let (status, reason, message) = world.condition("LastRunSucceeded");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "InUseUnknown"));
    assert!(message.contains("cronjobs.batch") && message.contains("tried again"), "{message}");
    assert_eq!(world.status()["lastRun"].get("completionTime"), None);

    *world.now.lock().unwrap() = "2026-07-01T12:14:00Z".parse().unwrap();
    world.reconcile().await.unwrap();
    assert_eq!(world.status()["lastRun"].get("completionTime"), None);
    *fails.lock().unwrap() = false;
    world.reconcile().await.unwrap();
    assert_eq!(interruptions(&registry), 0);
    assert_eq!(applications(&registry)[1]["approve"], "h");
    assert_eq!(world.status()["lastRun"]["result"], "Completed");
}

#[tokio::test]
async fn approved_plan_is_void_when_what_is_in_use_cannot_be_listed_for_long_and_nobody_can_approve_it_any_more() {
    let (registry, world, _) = approved_and_unlisted().await;
    *world.now.lock().unwrap() = "2026-07-01T12:16:00Z".parse().unwrap();
    world.reconcile().await.unwrap();
    assert_eq!((interruptions(&registry), applications(&registry).len()), (1, 1));
    assert_eq!(world.condition("LastRunSucceeded").1, "InUseUnknown");
    assert_eq!(world.condition("Ready").1, "Scheduled");
    assert_eq!(world.status()["lastRun"]["completionTime"], "2026-07-01T12:16:00Z");
}

#[tokio::test]
async fn event_of_a_plan_that_waits_has_the_whole_line_to_type_whatever_the_names() {
    let (namespace, name, hash) = ("n".repeat(63), "p".repeat(52), "f".repeat(64));
    let plan = json!({"hash": hash, "run": "r", "createdAt": NOW, "tagsInScope": 10_000_000, "deletes": 10_000_000,
        "keeps": 0, "protectedInUse": 0, "reclaimableBytes": 0, "expiresAt": "2026-07-08T12:00:00Z"});
    let policy: RetentionPolicy = serde_json::from_value(json!({
        "apiVersion": "lagan.dev/v1alpha1", "kind": "RetentionPolicy", "spec": enforced(),
        "metadata": {"name": name, "namespace": namespace, "uid": "u", "generation": 1, "creationTimestamp": NOW},
        "status": {"observedGeneration": 1, "plan": plan},
    }))
    .unwrap();
    let cluster = Cluster::answering(|request| Answer::Json(201, request.body.clone()));
    let context = context(&cluster, || NOW.parse().unwrap());
    let registry = serde_json::from_value(json!({})).unwrap();
    let registry = crate::api::v1alpha1::Registry::new("main", registry);
    let now = NOW.parse().unwrap();
    let assessment = crate::operator::retention_policy::assess::assess(&policy, Some(&registry), [], now);
    let status =
        crate::operator::retention_policy::status::conclude(&policy, policy.status.clone().unwrap(), &assessment, now);
    crate::operator::retention_policy::announce::changes(&context, &policy, &status).await;

    let event = cluster.requests().remove(0).body;
    assert_eq!(event["reason"], "AwaitingApproval", "{event:#}");
    let note = event["note"].as_str().unwrap();
    let line = format!("kubectl annotate retentionpolicy -n {namespace} {name} lagan.dev/approve={hash} --overwrite");
    assert!(note.contains(&line) && note.len() <= 1024, "{note}");
}
