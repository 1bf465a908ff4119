//! Collections against an API server and a registry that answer on cue.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::v1alpha1::Registry;
use crate::operator::{
    fixtures::{Answer, Asked, Cluster, RegistryStub, context},
    registries::Registries,
};

use super::{decide::CONFIRM, reconcile::Reconciler};

const GC: &str = "/v2/_lagan/gc";
const REGISTRY: &str = "/apis/lagan.dev/v1alpha1/namespaces/shop/registries/main";
const FIRST: &str = "01J00000000000000000000000";
const SECOND: &str = "01J00000000000000000000001";

/// A cluster with one Registry that answers, and whose status can be written.
struct World {
    registry: Arc<Mutex<Value>>,
    now: Arc<Mutex<Timestamp>>,
    cluster: Cluster,
    stub: RegistryStub,
    reconciler: Reconciler,
}

impl World {
    async fn new(spec: &Value, answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let registry = Arc::new(Mutex::new(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main", "namespace": "shop", "uid": "u-1", "generation": 1,
                "creationTimestamp": "2026-07-01T01:00:00Z"},
            "spec": spec, "status": {"readyReplicas": 1},
        })));
        let state = Arc::clone(&registry);
        let cluster = Cluster::answering(move |request| {
            let mut registry = state.lock().unwrap();
            match (request.method.as_str(), request.path()) {
                ("GET", REGISTRY) => Answer::ok(registry.clone()),
                ("PATCH", path) if path == format!("{REGISTRY}/status") => {
                    let written = request.body["status"].as_object().unwrap();
                    assert!(written.keys().eq(["lastGarbageCollection"]), "the rest is another controller's");
                    registry["status"]["lastGarbageCollection"] = written["lastGarbageCollection"].clone();
                    Answer::ok(registry.clone())
                }
                ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events") => Answer::Json(201, request.body.clone()),
                (method, path) => panic!("{method} {path} was not expected"),
            }
        });
        let now = Arc::new(Mutex::new("2026-07-01T04:00:00Z".parse().unwrap()));
        let clock = Arc::clone(&now);
        let context = context(&cluster, move || *clock.lock().unwrap());
        let stub = RegistryStub::answering(answers).await;
        let reconciler = Reconciler { context, registries: Registries::Always(stub.client()) };
        Self { registry, now, cluster, stub, reconciler }
    }

    async fn reconcile(&self) {
        let registry: Registry = serde_json::from_value(self.registry.lock().unwrap().clone()).unwrap();
        Box::pin(self.reconciler.reconcile(Arc::new(registry))).await.unwrap();
    }

    fn at(&self, now: &str) {
        *self.now.lock().unwrap() = now.parse().unwrap();
    }

    fn annotate(&self, report: &str) {
        self.registry.lock().unwrap()["metadata"]["annotations"] = json!({CONFIRM: report});
    }

    fn last(&self) -> Value {
        self.registry.lock().unwrap()["status"]["lastGarbageCollection"].clone()
    }

    /// What the registry was asked to begin.
    fn begun(&self) -> Vec<Value> {
        let posted = self.stub.requests().into_iter().filter(|asked| asked.method == "POST" && asked.path() == GC);
        posted.map(|asked| asked.body).collect()
    }

    fn writes(&self) -> usize {
        self.cluster.requests().iter().filter(|asked| asked.method != "GET").count()
    }
}

fn report(id: &str, state: &str, removed: u64) -> Value {
    let mut report = json!({
        "id": id, "state": state, "dryRun": false, "startedAt": "2026-07-01T04:00:00Z",
        "progress": {"phase": "sweep", "blobs": 9, "repositories": 1, "manifests": 2, "swept": removed},
        "garbage": {"blobs": removed, "bytes": removed * 100}, "removed": {"blobs": removed, "bytes": removed * 100},
        "kept": 0, "uploadsPurged": 0, "tombstonesExpired": 0, "problemCount": 0,
    });
    if state != "Running" {
        report["endedAt"] = json!("2026-07-01T04:05:00Z");
    }
    report
}

fn halted(id: &str, brake: &str) -> Value {
    let mut halted = report(id, "Halted", 0);
    halted["halt"] = json!({"brake": brake, "confirmable": true, "message": "31 % of the blobs would go"});
    halted
}

/// A registry that says this, one after the other, when it is asked what it last did, and begins what it is asked to.
fn saying(looks: Vec<Answer>, begun: &'static str) -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    move |asked| match asked.method.as_str() {
        "POST" => Answer::Json(202, report(begun, "Running", 0)),
        _ => looks.get(asked.earlier()).or(looks.last()).unwrap().clone(),
    }
}

fn never() -> Answer {
    Answer::Json(404, json!({"errors": [{"code": "NOT_FOUND", "message": "nothing was ever collected"}]}))
}

#[tokio::test]
async fn collection_begins_on_schedule_and_its_end_is_written_once() {
    let looks = vec![never(), Answer::ok(report(FIRST, "Running", 1)), Answer::ok(report(FIRST, "Finished", 3))];
    let world = World::new(&json!({}), saying(looks, FIRST)).await;
    world.reconcile().await;
    assert_eq!(world.begun(), [json!({"dryRun": false})]);
    assert_eq!(world.last(), json!({"report": FIRST, "startTime": "2026-07-01T04:00:00Z"}));
    world.reconcile().await;
    world.reconcile().await;
    let last = world.last();
    assert_eq!(
        (&last["result"], &last["reclaimedBytes"], &last["removedBlobs"]),
        (&json!("Completed"), &json!(300), &json!(3))
    );
    assert_eq!(last["completionTime"], "2026-07-01T04:05:00Z");
    let writes = world.writes();
    world.reconcile().await;
    assert_eq!((world.writes(), world.begun().len()), (writes, 1), "nothing is written in the steady state");
    let events = world.cluster.requests().into_iter().filter(|asked| asked.path().ends_with("/events"));
    let reasons: Vec<_> = events.map(|event| event.body["reason"].clone()).collect();
    assert_eq!(reasons, ["GarbageCollected"]);
}

#[tokio::test]
async fn halted_collection_goes_on_when_its_report_is_named_and_once_only() {
    let looks = vec![
        Answer::ok(halted(FIRST, "TooMuch")),
        Answer::ok(halted(FIRST, "TooMuch")),
        Answer::ok(halted(FIRST, "TooMuch")),
        Answer::ok(report(SECOND, "Finished", 2)),
    ];
    let world = World::new(&json!({}), saying(looks, SECOND)).await;
    world.reconcile().await;
    assert_eq!((world.last()["result"].clone(), world.last()["brake"].clone()), (json!("Halted"), json!("TooMuch")));
    assert!(world.last()["message"].as_str().unwrap().contains("31 %"));
    world.annotate(SECOND);
    world.reconcile().await;
    assert_eq!(world.begun(), Vec::<Value>::new(), "another report than this one was named");
    world.annotate(FIRST);
    world.reconcile().await;
    assert_eq!(world.begun(), [json!({"dryRun": false, "confirm": FIRST})]);
    for _ in 0..3 {
        world.reconcile().await;
    }
    assert_eq!(world.begun().len(), 1, "the annotation still stands, and worked once");
    assert_eq!(world.last()["result"], "Completed");
}

#[tokio::test]
async fn collection_that_the_registry_forgot_was_interrupted_and_begins_anew() {
    let world = World::new(&json!({}), saying(vec![never()], SECOND)).await;
    world.registry.lock().unwrap()["status"]["lastGarbageCollection"] =
        json!({"report": FIRST, "startTime": "2026-07-01T04:00:00Z"});
    world.at("2026-07-01T04:01:00Z");
    world.reconcile().await;
    assert_eq!((world.last()["result"].clone(), world.begun().len()), (json!("Interrupted"), 0));
    world.at("2026-07-01T04:20:00Z");
    world.reconcile().await;
    assert_eq!((world.last()["report"].clone(), world.begun().len()), (json!(SECOND), 1));
}

#[tokio::test]
async fn registry_that_refuses_or_does_not_answer_is_asked_later() {
    for answer in [Answer::Json(503, json!({})), Answer::Json(405, json!({})), Answer::broken()] {
        let world = World::new(&json!({}), move |_| answer.clone()).await;
        world.reconcile().await;
        assert_eq!((world.writes(), world.last()), (0, Value::Null));
    }
    let busy = |asked: &Asked| if asked.method == "POST" { Answer::Json(409, json!({})) } else { never() };
    let world = World::new(&json!({}), busy).await;
    world.reconcile().await;
    assert_eq!((world.begun().len(), world.writes()), (1, 0));
}

#[tokio::test]
async fn dry_run_by_hand_does_not_show() {
    let mut dry = report(FIRST, "Finished", 0);
    dry["dryRun"] = json!(true);
    let world = World::new(&json!({}), saying(vec![Answer::ok(dry)], SECOND)).await;
    world.at("2026-07-01T02:00:00Z");
    world.reconcile().await;
    assert_eq!((world.begun().len(), world.writes()), (0, 0));
}

#[tokio::test]
async fn registry_whose_schedule_is_none_or_that_collects_nothing_is_not_asked() {
    for spec in [
        json!({"garbageCollection": {"schedule": "nightly"}}),
        json!({"garbageCollection": {"mode": "Disabled"}}),
        json!({"accessMode": "ReadOnly"}),
    ] {
        let world = World::new(&spec, |asked| panic!("{asked:?}")).await;
        world.reconcile().await;
        assert_eq!(world.cluster.requests().len(), 0, "{spec}");
    }
}
