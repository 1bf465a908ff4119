//! What is held comes back, whichever policy runs, and where none does.

use super::*;

/// Restores whatever it is asked to; its one run is over as soon as it begins.
async fn restoring_registry() -> RegistryStub {
    let run: Mutex<Option<String>> = Mutex::new(None);
    RegistryStub::answering(move |request| {
        let mut run = run.lock().unwrap();
        match (request.method.as_str(), request.path()) {
            ("POST", RESTORE) => {
                let digest = format!("sha256:{}", "a".repeat(64));
                Answer::ok(json!({"repository": "app", "digest": digest, "tags": ["v1"], "manifests": [digest],
                    "alreadyPresent": request.earlier() > 0}))
            }
            ("POST", RUNS) => {
                let id = request.body["run"].as_str().unwrap().to_owned();
                *run = Some(id.clone());
                Answer::Json(202, run_status(&id, "Completed"))
            }
            ("GET", path) if run.is_some() => Answer::ok(run_status(path.rsplit('/').next().unwrap(), "Completed")),
            ("GET", _) => Answer::Json(404, json!({"errors": [{"code": "NOT_FOUND", "message": "no such run"}]})),
            (method, path) => panic!("{method} {path} was not expected"),
        }
    })
    .await
}

const RESTORE: &str = "/v2/_lagan/restore";

/// What the registry was asked to do, in its order.
fn posts(registry: &RegistryStub) -> Vec<String> {
    let posts = registry.requests().into_iter().filter(|request| request.method == "POST");
    posts.map(|request| request.path().to_owned()).collect()
}

fn holding() -> Value {
    json!({"registryRef": {"name": "main"}, "suspend": true, "holds": [{"repository": "app", "reference": "v1"}]})
}

/// Adds the policy `holder`, which is suspended and whose hold was there when it was looked at.
fn with_holder(registry: RegistryClient) -> (World, Arc<Mutex<Value>>) {
    let holder = json!({
        "apiVersion": "lagan.dev/v1alpha1", "kind": "RetentionPolicy", "spec": holding(),
        "metadata": {"name": "holder", "namespace": "shop", "uid": "u-2", "generation": 1, "resourceVersion": "5"},
        "status": {"observedGeneration": 1, "holds": [{"reference": "app:v1", "state": "Held"}]},
    });
    let holder = Arc::new(Mutex::new(holder));
    let state = Arc::clone(&holder);
    let mut world = World::new(registry, &enforced(), move |request| {
        let mut holder = state.lock().unwrap();
        match (request.method.as_str(), request.path().strip_prefix(POLICIES)?) {
            ("GET", "/holder") => Some(Answer::ok(holder.clone())),
            ("PATCH", "/holder/status") if request.earlier() == 0 => {
                Some(Answer::failure(409, "the object has been modified"))
            }
            ("PATCH", "/holder/status") => {
                holder["status"] = request.body["status"].clone();
                Some(Answer::ok(holder.clone()))
            }
            _ => None,
        }
    });
    let (policies, mut writer) = reflector::store();
    for policy in [&world.policy, &holder] {
        writer.apply_watcher_event(&watcher::Event::Apply(of(policy)));
    }
    world.reconciler.policies = policies;
    (world, holder)
}

#[tokio::test]
async fn run_of_one_policy_first_restores_what_another_one_holds_that_is_suspended() {
    let registry = restoring_registry().await;
    let (world, holder) = with_holder(registry.client());
    world.reconcile().await.unwrap();

    assert_eq!(world.condition("LastRunSucceeded").1, "Completed");
    let posts = posts(&registry);
    assert_eq!(posts.first().map(String::as_str), Some(RESTORE), "{posts:?}");
    assert_eq!(posts.last().map(String::as_str), Some(RUNS), "{posts:?}");
    // Also where the first write of it met a newer object.
    assert_eq!(holder.lock().unwrap()["status"]["holds"][0]["state"], "Restored");
    assert!(world.events().contains(&"Restored".to_owned()), "{:?}", world.events());
}

#[tokio::test]
async fn hold_of_a_policy_without_runs_is_looked_at_from_time_to_time_and_not_each_time() {
    let registry = restoring_registry().await;
    let world = World::new(registry.client(), &holding(), |_| None);
    {
        let mut policy = world.policy.lock().unwrap();
        policy["metadata"]["annotations"] = json!({});
        policy["status"] = json!({"observedGeneration": 1, "holds": [{"reference": "app:v1", "state": "Held"}]});
    }
    world.reconcile().await.unwrap();
    assert_eq!(world.status()["holds"][0]["state"], "Restored");
    world.reconcile().await.unwrap();
    assert_eq!(posts(&registry), [RESTORE]);

    *world.now.lock().unwrap() = "2026-07-01T12:10:00Z".parse().unwrap();
    let writes = world.writes();
    world.reconcile().await.unwrap();
    assert_eq!(posts(&registry), [RESTORE, RESTORE]);
    assert_eq!(world.writes(), writes, "nothing has changed");
}

#[tokio::test]
async fn policy_is_looked_at_again_when_the_time_of_its_next_hold_is_over() {
    let hold = |reference: &str, until: &str| json!({"repository": "app", "reference": reference, "until": until});
    let ends = [("v1", "2026-07-01T12:03:00Z"), ("v2", "2026-07-01T12:02:00Z"), ("v3", "2026-07-01T11:59:00Z")];
    let holds = ends.map(|(reference, until)| hold(reference, until));
    for suspend in [true, false] {
        let registry = restoring_registry().await;
        let spec = json!({"registryRef": {"name": "main"}, "suspend": suspend, "holds": holds});
        let world = World::new(registry.client(), &spec, |_| None);
        {
            let known = |reference: &str, state: &str| json!({"reference": reference, "state": state});
            let known = [known("app:v1", "Held"), known("app:v2", "Held"), known("app:v3", "Expired")];
            let mut policy = world.policy.lock().unwrap();
            policy["metadata"]["annotations"] = json!({});
            policy["status"] = json!({"observedGeneration": 1, "holds": known});
        }
        world.reconciler.looks.note("u-1", NOW.parse().unwrap());
        // A moment later than that, so that it is over by then.
        let again = world.reconcile().await.unwrap();
        assert_eq!(again, Action::requeue(Duration::from_millis(120_010)), "suspend: {suspend}");
        assert_eq!(posts(&registry).len(), 0);

        *world.now.lock().unwrap() = "2026-07-01T12:02:00.010Z".parse().unwrap();
        let again = world.reconcile().await.unwrap();
        assert_eq!(world.status()["holds"][1]["state"], "Expired", "suspend: {suspend}");
        assert_eq!(again, Action::requeue(Duration::from_secs(60)), "the next one");
    }
}

#[tokio::test]
async fn hold_that_came_while_a_plan_was_applied_is_looked_at_again_after_the_run() {
    let registry = RegistryStub::answering(|request| match (request.method.as_str(), request.path()) {
        ("POST", RESTORE) => {
            let digest = format!("sha256:{}", "a".repeat(64));
            Answer::ok(json!({"repository": "app", "digest": digest, "tags": ["v1"], "manifests": [digest],
                "alreadyPresent": request.earlier() == 0}))
        }
        ("GET", path) => Answer::ok(run_status(path.rsplit('/').next().unwrap(), "Completed")),
        (method, path) => panic!("{method} {path} was not expected"),
    })
    .await;
    let mut spec = enforced();
    spec["holds"] = json!([{"repository": "app", "reference": "v1"}]);
    let world = World::new(registry.client(), &spec, pods(&[]));
    let last = json!({"run": "u-1.7", "mode": "Enforce", "startTime": NOW});
    {
        let mut policy = world.policy.lock().unwrap();
        policy["status"] = json!({"observedGeneration": 1, "lastHandledRunAt": "now", "lastRun": last});
        policy["metadata"]["generation"] = json!(2);
    }
    world.reconcile().await.unwrap();
    assert_eq!(world.status()["holds"][0]["state"], "Restored");
    assert_eq!(world.condition("LastRunSucceeded").1, "Completed");
}
