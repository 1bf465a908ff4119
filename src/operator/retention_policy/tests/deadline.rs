//! How late a run may start, and that one which has started goes on.

use super::*;

/// A port that nobody listens on: it was free a moment ago.
async fn nobody() -> RegistryClient {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    plain_client(address)
}

#[tokio::test]
async fn registry_that_does_not_answer_is_tried_again_and_the_run_stays_open() {
    let world = World::new(nobody().await, &enforced(), pods(&[]));
    world.reconcile().await.unwrap();
    let (status, reason, message) = world.condition("LastRunSucceeded");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "RegistryUnavailable"));
    assert!(message.contains("does not answer"), "{message}");
    assert_eq!(world.status()["lastRun"]["completionTime"], Value::Null);

    // The same again is no write, and longer than a run may be late is its end.
    let writes = world.writes();
    world.reconcile().await.unwrap();
    assert_eq!(world.writes(), writes);
    world.policy.lock().unwrap()["status"]["lastRun"]["startTime"] = json!("2026-07-01T10:59:00Z");
    world.reconcile().await.unwrap();
    assert_eq!(world.status()["lastRun"]["result"], "RegistryUnavailable");
    assert_eq!(world.status()["lastRun"]["completionTime"], NOW);
}

/// Two hours later than the deadline allows a start.
const LATER: &str = "2026-07-01T15:00:00Z";

#[tokio::test]
async fn run_that_the_registry_took_on_outlives_the_deadline_and_goes_on_when_it_answers_again() {
    // It answers that it plans, then breaks off.
    let registry = RegistryStub::answering(|request| match (request.method.as_str(), request.path()) {
        ("POST", RUNS) => Answer::Json(202, run_status(request.body["run"].as_str().unwrap(), "Planning")),
        ("GET", _) if request.earlier() == 0 => {
            Answer::Json(404, json!({"errors": [{"code": "NOT_FOUND", "message": "no such run"}]}))
        }
        ("GET", _) => Answer::broken(),
        (method, path) => panic!("{method} {path} was not expected"),
    })
    .await;
    let mut world = World::new(registry.client(), &enforced(), pods(&[]));
    world.reconcile().await.unwrap();
    assert_eq!(world.status()["lastRun"]["acceptedTime"], NOW);
    assert_eq!(world.condition("LastRunSucceeded").1, "RegistryUnavailable");

    *world.now.lock().unwrap() = LATER.parse().unwrap();
    world.reconcile().await.unwrap();
    assert_eq!(world.status()["lastRun"].get("completionTime"), None, "{}", world.status()["lastRun"]);

    let run = world.status()["lastRun"]["run"].as_str().unwrap().to_owned();
    let back = RegistryStub::answering(move |_| Answer::ok(run_status(&run, "Completed"))).await;
    world.reconciler.registries = Registries::Always(back.client());
    world.reconcile().await.unwrap();
    let last = &world.status()["lastRun"];
    assert_eq!((&last["result"], &last["deletedTags"]), (&json!("Completed"), &json!(2)));
}

#[tokio::test]
async fn run_that_the_registry_never_took_on_does_not_start_after_the_deadline() {
    let mut world = World::new(nobody().await, &enforced(), pods(&[]));
    world.reconcile().await.unwrap();
    *world.now.lock().unwrap() = LATER.parse().unwrap();
    let registry = obedient_registry().await;
    world.reconciler.registries = Registries::Always(registry.client());
    world.reconcile().await.unwrap();
    assert_eq!(starts(&registry), Vec::<Value>::new());
    let last = world.status()["lastRun"].clone();
    assert_eq!(last["result"], "RegistryUnavailable", "{last}");
    assert!(last["message"].as_str().unwrap().contains("startingDeadline"), "{last}");
}

#[tokio::test]
async fn run_that_a_registry_refuses_half_way_ends_with_what_it_did_and_is_interrupted_there() {
    let registry = RegistryStub::answering(|request| match (request.method.as_str(), request.path()) {
        ("GET", path) if path.ends_with("/candidates") => Answer::ok(json!({"candidates": []})),
        ("GET", path) => {
            let mut status = run_status(path.rsplit('/').next().unwrap(), "AwaitingUsage");
            status["result"] = json!({"deletedTags": 5, "deletedManifests": 3, "changedSincePlanned": 0, "failed": 0,
                "bytes": 70});
            Answer::ok(status)
        }
        ("POST", path) if path.ends_with("/apply") => {
            Answer::Json(400, json!({"errors": [{"code": "INVALID", "message": "not like that"}]}))
        }
        ("POST", path) if path.ends_with("/interrupt") => {
            Answer::ok(run_status(path.rsplit('/').nth(1).unwrap(), "Interrupted"))
        }
        (method, path) => panic!("{method} {path} was not expected"),
    })
    .await;
    let world = World::new(registry.client(), &enforced(), pods(&[]));
    world.reconcile().await.unwrap();

    let last = world.status()["lastRun"].clone();
    assert_eq!((&last["result"], &last["deletedTags"], &last["bytes"]), (&json!("Failed"), &json!(5), &json!(70)));
    assert!(registry.requests().iter().any(|request| request.path().ends_with("/interrupt")));
}
