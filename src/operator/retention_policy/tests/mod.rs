//! A policy's run against an API server and a registry that fail on cue. The road where all is well is walked on a
//! real cluster (`tests/road`).

mod approval;
mod deadline;
mod holds;
mod siblings;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use kube::runtime::{controller::Action, reflector, watcher};
use serde_json::{Value, json};

use crate::api::v1alpha1::RetentionPolicy;
use crate::operator::{
    fixtures::{Answer, Asked, Cluster, RegistryStub, context, plain_client},
    registries::Registries,
    registry_client::RegistryClient,
};

use super::{
    hold_looks::HoldLooks,
    reconcile::{Error, Reconciler},
};

const NOW: &str = "2026-07-01T12:00:00Z";
const POLICIES: &str = "/apis/lagan.dev/v1alpha1/namespaces/shop/retentionpolicies";
const RUNS: &str = "/v2/_lagan/retention/runs";

/// A cluster with a Registry and one policy, whose status can be written.
struct World {
    policy: Arc<Mutex<Value>>,
    cluster: Cluster,
    reconciler: Reconciler,
    now: Arc<Mutex<Timestamp>>,
}

impl World {
    /// `list` answers the lists of what is in use.
    fn new(
        registry: RegistryClient,
        spec: &Value,
        list: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let policy = Arc::new(Mutex::new(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "RetentionPolicy",
            "metadata": {"name": "cleanup", "namespace": "shop", "uid": "u-1", "generation": 1, "resourceVersion": "1",
                "creationTimestamp": "2026-07-01T11:00:00Z", "annotations": {"lagan.dev/run-at": "now"}},
            "spec": spec,
        })));
        let state = Arc::clone(&policy);
        let cluster = Cluster::answering(move |request| {
            if let Some(answer) = list(request) {
                return answer;
            }
            let mut policy = state.lock().unwrap();
            match (request.method.as_str(), request.path()) {
                ("GET", "/apis/lagan.dev/v1alpha1/namespaces/shop/registries/main") => Answer::ok(
                    json!({"apiVersion": "lagan.dev/v1alpha1", "kind": "Registry", "metadata": {"name": "main"}, "spec": {}}),
                ),
                ("GET", POLICIES) => Answer::ok(page(&[policy.clone()], "")),
                ("GET", path) if path == format!("{POLICIES}/cleanup") => Answer::ok(policy.clone()),
                ("PATCH", path) if path == format!("{POLICIES}/cleanup/status") => {
                    if request.body["metadata"]["resourceVersion"] != policy["metadata"]["resourceVersion"] {
                        return Answer::failure(409, "the object has been modified");
                    }
                    policy["status"] = request.body["status"].clone();
                    let version: u64 = policy["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                    policy["metadata"]["resourceVersion"] = json!((version + 1).to_string());
                    Answer::ok(policy.clone())
                }
                ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events") => Answer::Json(201, request.body.clone()),
                // An Event that is repeated counts on.
                ("PATCH", path) if path.starts_with("/apis/events.k8s.io/") => Answer::ok(request.body.clone()),
                ("GET", _) => Answer::ok(page(&[], "")),
                (method, path) => panic!("{method} {path} was not expected"),
            }
        });
        let now: Arc<Mutex<Timestamp>> = Arc::new(Mutex::new(NOW.parse().unwrap()));
        let clock = Arc::clone(&now);
        let context = context(&cluster, move || *clock.lock().unwrap());
        let (policies, mut writer) = reflector::store();
        writer.apply_watcher_event(&watcher::Event::Apply(of(&policy)));
        let reconciler =
            Reconciler { context, policies, registries: Registries::Always(registry), looks: HoldLooks::default() };
        Self { policy, cluster, reconciler, now }
    }

    async fn reconcile(&self) -> Result<Action, Error> {
        // It holds a whole spec and status: too large for the stack of a test.
        Box::pin(self.reconciler.reconcile(Arc::new(of(&self.policy)))).await
    }

    fn status(&self) -> Value {
        self.policy.lock().unwrap()["status"].clone()
    }

    fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.status();
        let conditions = status["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == type_).unwrap();
        let text = |key: &str| found[key].as_str().unwrap().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    /// The reasons of the Events that were recorded.
    fn events(&self) -> Vec<String> {
        let posted = self.cluster.requests().into_iter().filter(|request| request.path().ends_with("/events"));
        posted.map(|event| event.body["reason"].as_str().unwrap().to_owned()).collect()
    }

    fn writes(&self) -> usize {
        self.cluster.requests().iter().filter(|request| request.path().ends_with("/status")).count()
    }
}

fn of(policy: &Arc<Mutex<Value>>) -> RetentionPolicy {
    serde_json::from_value(policy.lock().unwrap().clone()).unwrap()
}

fn page(items: &[Value], next: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "7", "continue": next}, "items": items})
}

fn enforced() -> Value {
    json!({"registryRef": {"name": "main"}, "mode": "Enforce"})
}

fn run_status(run: &str, state: &str) -> Value {
    let plan = json!({"hash": "h", "createdAt": NOW, "tagsInScope": 3, "deletes": 2, "keeps": 1, "protectedInUse": 0,
        "reclaimableBytes": 7, "sample": [{"reference": "app:v1", "decision": "Delete", "reason": "no rule keeps it"}]});
    let result = json!({"deletedTags": 2, "deletedManifests": 1, "changedSincePlanned": 0, "failed": 0, "bytes": 7});
    let mut status = json!({"run": run, "policy": "shop/cleanup", "mode": "Enforce", "state": state, "createdAt": NOW});
    if state != "Planning" {
        status["plan"] = plan;
    }
    if state == "Completed" {
        status["result"] = result;
    }
    status
}

/// A registry whose one run plans at once, and is done as soon as it is told to apply. Until `start` was asked it
/// knows no run.
async fn obedient_registry() -> RegistryStub {
    let state: Mutex<Option<(String, &'static str)>> = Mutex::new(None);
    RegistryStub::answering(move |request| {
        let mut state = state.lock().unwrap();
        let known = state.clone();
        match (request.method.as_str(), request.path(), known) {
            ("POST", RUNS, None) => {
                let run = request.body["run"].as_str().unwrap().to_owned();
                *state = Some((run.clone(), "AwaitingUsage"));
                Answer::Json(202, run_status(&run, "Planning"))
            }
            ("GET", path, Some((_, _))) if path.ends_with("/candidates") => {
                let digest = format!("sha256:{}", "a".repeat(64));
                let first =
                    json!({"index": 0, "repository": "app", "tag": "v1", "digest": digest, "closure": [digest]});
                Answer::ok(json!({"candidates": [first]}))
            }
            ("POST", path, Some((run, _))) if path == format!("{RUNS}/{run}/apply") => {
                *state = Some((run.clone(), "Completed"));
                Answer::Json(202, run_status(&run, "Applying"))
            }
            ("GET", path, Some((run, now))) if path == format!("{RUNS}/{run}") => Answer::ok(run_status(&run, now)),
            ("GET", _, None) => Answer::Json(404, json!({"errors": [{"code": "NOT_FOUND", "message": "no such run"}]})),
            (method, path, known) => panic!("{method} {path} was not expected: {known:?}"),
        }
    })
    .await
}

/// A registry whose list of candidates says for ever that more follows.
async fn endless_registry() -> RegistryStub {
    RegistryStub::answering(|request| match (request.method.as_str(), request.path()) {
        ("GET", path) if path.ends_with("/candidates") => Answer::ok(json!({"candidates": [], "next": 0})),
        ("GET", path) => Answer::ok(run_status(path.rsplit('/').next().unwrap(), "AwaitingUsage")),
        (method, path) => panic!("{method} {path} was not expected"),
    })
    .await
}

fn applications(registry: &RegistryStub) -> Vec<Value> {
    let all = registry.requests().into_iter().filter(|request| request.path().ends_with("/apply"));
    all.map(|request| request.body).collect()
}

fn starts(registry: &RegistryStub) -> Vec<Value> {
    let all = registry.requests().into_iter().filter(|request| request.method == "POST" && request.path() == RUNS);
    all.map(|request| request.body).collect()
}

fn pods(items: &[Value]) -> impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static + use<> {
    let items = items.to_vec();
    move |request| (request.path() == "/api/v1/pods").then(|| Answer::ok(page(&items, "")))
}

#[tokio::test]
async fn run_is_applied_less_what_is_in_use_and_told_once() {
    let registry = obedient_registry().await;
    let pod =
        json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"containers": [{"image": "host/app:v1"}]}});
    let world = World::new(registry.client(), &enforced(), pods(&[pod]));
    world.reconcile().await.unwrap();

    let applied = applications(&registry);
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0]["inUse"], json!([{"candidate": 0, "reason": "in use by Pod web"}]));
    let status = world.status();
    assert_eq!((&status["lastRun"]["result"], &status["lastRun"]["deletedTags"]), (&json!("Completed"), &json!(2)));
    assert_eq!(status["lastHandledRunAt"], "now");
    assert_eq!(status["plan"]["deletes"], 2);
    assert_eq!(world.condition("LastRunSucceeded").1, "Completed");
    assert_eq!(world.condition("Ready").1, "Scheduled");
    assert_eq!(world.events(), ["Scheduled", "Applied"]);

    // From here on nothing is written, and nothing asked of the registry.
    let (writes, asked) = (world.writes(), registry.requests().len());
    world.reconcile().await.unwrap();
    assert_eq!((world.writes(), registry.requests().len()), (writes, asked));
}

#[tokio::test]
async fn image_that_comes_into_use_after_the_plan_was_made_is_kept() {
    let registry = obedient_registry().await;
    let asked = registry.asked();
    let pod =
        json!({"metadata": {"name": "late", "namespace": "shop"}, "spec": {"containers": [{"image": "host/app:v1"}]}});
    // The pod is there from the moment on that the candidates are read: before, the plan was made.
    let world = World::new(registry.client(), &enforced(), move |request| {
        let is_planned = asked.lock().unwrap().iter().any(|request| request.path().ends_with("/candidates"));
        let items = if is_planned { vec![pod.clone()] } else { vec![] };
        (request.path() == "/api/v1/pods").then(|| Answer::ok(page(&items, "")))
    });
    world.reconcile().await.unwrap();
    assert_eq!(applications(&registry)[0]["inUse"], json!([{"candidate": 0, "reason": "in use by Pod late"}]));
}

#[tokio::test]
async fn policy_of_watched_namespaces_says_what_it_does_not_protect() {
    let registry = obedient_registry().await;
    let mut spec = enforced();
    spec["inUse"] = json!({"scope": "WatchedNamespaces"});
    let mut world = World::new(registry.client(), &spec, |request| {
        assert!(
            !request.path().ends_with("/pods") || request.path().contains("/namespaces/shop/"),
            "{}",
            request.path()
        );
        None
    });
    let mut config = (*world.reconciler.context.config).clone();
    config.scope = crate::operator::config::WatchScope::Namespaces(vec!["shop".to_owned()]);
    world.reconciler.context.config = Arc::new(config);
    world.reconcile().await.unwrap();
    let (status, reason, message) = world.condition("LastRunSucceeded");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Completed"));
    assert!(message.contains("only what the namespaces shop use is protected"), "{message}");
}

#[tokio::test]
async fn list_that_cannot_be_read_to_its_end_ends_the_run_without_application() {
    type Failure = fn(&Asked) -> Option<Answer>;
    let forbidden: Failure = |request| {
        let is_list = request.path() == "/apis/batch/v1/cronjobs";
        is_list.then(|| Answer::failure(403, "cronjobs.batch is forbidden: no list for you"))
    };
    let breaks_off: Failure = |request| match (request.path(), request.query("continue")) {
        ("/apis/apps/v1/replicasets", None) => Some(Answer::ok(page(&[], "more"))),
        ("/apis/apps/v1/replicasets", Some(_)) => Some(Answer::broken()),
        _ => None,
    };
    for (failure, words) in [(forbidden, "cronjobs.batch is forbidden"), (breaks_off, "replicasets.apps")] {
        let registry = obedient_registry().await;
        let world = World::new(registry.client(), &enforced(), failure);
        world.reconcile().await.unwrap();

        assert_eq!(applications(&registry), Vec::<Value>::new());
        let (status, reason, message) = world.condition("LastRunSucceeded");
        assert_eq!((status.as_str(), reason.as_str()), ("False", "InUseUnknown"));
        assert!(message.contains(words), "{message}");
        assert_eq!(world.status()["lastRun"]["result"], "InUseUnknown");
        assert_eq!(world.status()["lastRun"]["deletedTags"], 0);
        assert!(world.events().contains(&"InUseUnknown".to_owned()), "{:?}", world.events());
        world.reconcile().await.unwrap();
        assert_eq!(applications(&registry), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn run_that_could_not_delete_everything_has_failed() {
    let registry = RegistryStub::answering(|request| match request.method.as_str() {
        "GET" => {
            let mut status = run_status(request.path().rsplit('/').next().unwrap(), "Completed");
            status["result"]["failed"] = json!(3);
            Answer::ok(status)
        }
        method => panic!("{method} was not expected"),
    })
    .await;
    let world = World::new(registry.client(), &enforced(), |_| None);
    world.reconcile().await.unwrap();

    let status = world.status();
    assert_eq!((&status["lastRun"]["result"], &status["lastRun"]["failed"]), (&json!("Failed"), &json!(3)));
    assert_eq!(status.get("lastSuccessfulTime"), None);
    let (is_fine, reason, message) = world.condition("LastRunSucceeded");
    assert_eq!((is_fine.as_str(), reason.as_str()), ("False", "Failed"));
    assert!(message.contains("3 could not be deleted") && message.contains("2 tags and 1 manifests"), "{message}");
    assert_eq!(world.events(), ["Scheduled", "Failed"]);
}

#[tokio::test]
async fn candidates_that_cannot_be_read_to_their_end_are_not_applied() {
    let registry = endless_registry().await;
    let world = World::new(registry.client(), &enforced(), |_| None);
    world.reconcile().await.unwrap();

    assert_eq!(applications(&registry), Vec::<Value>::new());
    let (status, _, message) = world.condition("LastRunSucceeded");
    assert_eq!(status, "False");
    assert!(message.contains("does not come to an end"), "{message}");
}

#[tokio::test]
async fn end_that_could_not_be_written_is_written_later_and_not_forgotten() {
    let registry = obedient_registry().await;
    let away = Arc::new(Mutex::new(false));
    let cut = Arc::clone(&away);
    let world = World::new(registry.client(), &enforced(), move |request| {
        let mut away = cut.lock().unwrap();
        *away |= request.path() == "/apis/apps/v1/deployments" && request.earlier() == 0;
        away.then(Answer::broken)
    });
    world.reconcile().await.unwrap_err();
    assert_eq!(world.condition("LastRunSucceeded").1, "Running");

    *away.lock().unwrap() = false;
    world.reconcile().await.unwrap();
    assert_eq!(world.condition("LastRunSucceeded").1, "InUseUnknown");
    assert_eq!(applications(&registry), Vec::<Value>::new());
}

#[tokio::test]
async fn run_goes_on_under_its_id_after_a_crash_between_start_and_application() {
    let registry = obedient_registry().await;
    // What a process leaves behind that ended after the registry had heard of the run.
    let world = World::new(registry.client(), &enforced(), pods(&[]));
    let before = of(&world.policy);
    let id = super::decide::Trigger::Annotation("now".to_owned()).run_id(&before);
    {
        let request = json!({"run": id, "policy": "u-1", "policies": []});
        let request: crate::api::wire::RunRequest = serde_json::from_value(request).unwrap();
        registry.client().start_run(&request).await.unwrap();
        let last = json!({"run": id, "mode": "Enforce", "startTime": NOW});
        let status = json!({"observedGeneration": 1, "lastHandledRunAt": "now", "lastRun": last});
        world.policy.lock().unwrap()["status"] = status;
    }
    world.reconcile().await.unwrap();

    assert_eq!(starts(&registry).len(), 1, "it was not started again");
    assert_eq!(applications(&registry).len(), 1);
    assert_eq!(world.status()["lastRun"]["run"], id);
    assert_eq!(world.condition("LastRunSucceeded").1, "Completed");
}

#[tokio::test]
async fn plan_is_applied_with_the_policies_as_they_stand_after_the_cluster_was_listed() {
    let registry = obedient_registry().await;
    let policy = |name: &str, uid: &str, spec: Value| {
        json!({"apiVersion": "lagan.dev/v1alpha1", "kind": "RetentionPolicy", "spec": spec,
            "metadata": {"name": name, "namespace": "shop", "uid": uid, "generation": 1}})
    };
    let own = policy("cleanup", "u-1", enforced());
    let holds = json!([{"repository": "app", "reference": "v1"}]);
    let other = policy("other", "u-2", json!({"registryRef": {"name": "main"}, "holds": holds}));
    // The other policy is there from the second look at the policies on.
    let world = World::new(registry.client(), &enforced(), move |request| match request.path() {
        POLICIES if request.earlier() == 0 => Some(Answer::ok(page(std::slice::from_ref(&own), ""))),
        POLICIES => Some(Answer::ok(page(&[own.clone(), other.clone()], ""))),
        _ => None,
    });
    world.reconcile().await.unwrap();

    assert_eq!(starts(&registry)[0]["policies"].as_array().unwrap().len(), 1);
    let applied = applications(&registry);
    let uids: Vec<&Value> = applied[0]["policies"].as_array().unwrap().iter().map(|policy| &policy["uid"]).collect();
    assert_eq!(uids, ["u-1", "u-2"]);
}

#[tokio::test]
async fn policy_that_changed_during_its_run_is_not_applied() {
    let registry = obedient_registry().await;
    let world = World::new(registry.client(), &enforced(), pods(&[]));
    let last = json!({"run": "u-1.7", "mode": "Enforce", "startTime": NOW});
    {
        let mut policy = world.policy.lock().unwrap();
        policy["status"] = json!({"observedGeneration": 1, "lastHandledRunAt": "now", "lastRun": last});
        policy["metadata"]["generation"] = json!(2);
    }
    world.reconcile().await.unwrap();
    assert_eq!(applications(&registry), Vec::<Value>::new());
    assert_eq!(world.condition("LastRunSucceeded").1, "Interrupted");
    assert_eq!(world.status()["observedGeneration"], 2);
}

#[tokio::test]
async fn protection_that_is_off_lists_nothing_and_says_so() {
    let registry = obedient_registry().await;
    let spec = json!({"registryRef": {"name": "main"}, "mode": "Enforce", "inUse": {"protection": "Disabled"}});
    let world = World::new(registry.client(), &spec, |request| {
        assert!(!request.path().ends_with("pods"), "the cluster was listed");
        None
    });
    world.reconcile().await.unwrap();
    let applied = applications(&registry);
    assert_eq!(applied.len(), 1);
    assert_eq!((&applied[0]["listingSeconds"], &applied[0]["inUse"]), (&json!(0.0), &json!([])));
    let (_, reason, message) = world.condition("LastRunSucceeded");
    assert_eq!(reason, "Completed");
    assert!(message.contains("inUse.protection is Disabled"), "{message}");
}

#[tokio::test]
async fn stale_object_is_not_written_over() {
    let registry = obedient_registry().await;
    let world = World::new(registry.client(), &json!({"registryRef": {"name": "main"}, "suspend": true}), pods(&[]));
    let mut stale = of(&world.policy);
    stale.metadata.annotations = None;
    world.policy.lock().unwrap()["metadata"]["resourceVersion"] = json!("2");
    assert!(matches!(Box::pin(world.reconciler.reconcile(Arc::new(stale))).await, Err(Error::Stale)));
    assert_eq!(world.status(), Value::Null);
}
