//! Reconciliations against a fake API server: what a real one does not do on cue, and what is written at all.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::{
    reflector::{self, store::Writer},
    watcher::Event,
};
use lagan::api::v1alpha1::Registry;
use lagan::operator::{
    config::{OperatorConfig, WatchScope},
    context::Context,
    metrics::Metrics,
    registry::{observed::Caches, reconcile::Reconciler},
    run_with,
};
use serde_json::{Value, json};
use support::fake_api::FakeApi;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const REGISTRY: &str = "/apis/lagan.dev/v1alpha1/namespaces/apps/registries/main";
const BUDGET: &str = "/apis/policy/v1/namespaces/apps/poddisruptionbudgets/main";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/apps/deployments/main";

/// An operator, its API server and its clock.
struct Scenario {
    api: FakeApi,
    reconciler: Reconciler,
    seconds: Arc<AtomicI64>,
    budget_cache: Writer<PodDisruptionBudget>,
}

impl Scenario {
    /// With a Registry of this spec.
    fn registry(spec: &Value) -> Self {
        let api = FakeApi::default();
        api.put(
            REGISTRY,
            json!({"apiVersion": "lagan.dev/v1alpha1", "kind": "Registry", "spec": spec,
                "metadata": {"name": "main", "namespace": "apps", "uid": "1", "generation": 1}}),
        );
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let clock = Arc::clone(&seconds);
        let now = Arc::new(move || Timestamp::from_second(clock.load(Ordering::SeqCst)).unwrap());
        let context = Context::new(api.client(), config(), Arc::new(Metrics::default()), now);
        // Nothing is in the caches: everything is read from the server. What is to go is found in a cache, though.
        let (budgets, budget_cache) = reflector::store();
        let caches = Caches {
            deployments: reflector::store().0,
            services: reflector::store().0,
            config_maps: reflector::store().0,
            claims: reflector::store().0,
            disruption_budgets: budgets,
            nodes: None,
        };
        Self { api, reconciler: Reconciler { context, caches }, seconds, budget_cache }
    }

    /// Reconciles once. Says what was written, less Events.
    async fn reconcile(&self) -> Vec<String> {
        let registry: Registry = serde_json::from_value(self.api.get(REGISTRY).unwrap()).unwrap();
        // A refusal is in the status, which is what the tests look at.
        let _ = Box::pin(self.reconciler.reconcile(Arc::new(registry))).await;
        let mut written = self.api.take_mutations();
        written.retain(|line| !line.contains("/events"));
        written
    }

    /// Does what the cluster's controllers do for a Registry that was applied.
    fn pods_start(&self) {
        let ready = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
            "availableReplicas": 1});
        self.api.change(DEPLOYMENT, &json!({"metadata": {"generation": 1}, "status": ready}));
        let bound = json!({"phase": "Bound", "capacity": {"storage": "20Gi"}});
        self.api.change(&child("persistentvolumeclaims", "main-data"), &json!({"status": bound}));
    }

    fn wait(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn condition(&self, type_: &str) -> Value {
        let registry = self.api.get(REGISTRY).unwrap();
        let conditions = registry["status"]["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_else(|| panic!("no {type_}"))
    }

    /// Status and reason of a condition.
    fn says(&self, type_: &str) -> String {
        let condition = self.condition(type_);
        format!("{} {}", condition["status"].as_str().unwrap(), condition["reason"].as_str().unwrap())
    }
}

fn config() -> OperatorConfig {
    OperatorConfig {
        image: "registry.example.com/lagan:1".to_owned(),
        version: "1".to_owned(),
        scope: WatchScope::Cluster,
        lease_namespace: "lagan-system".to_owned(),
        identity: "operator-0".to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
    }
}

fn child(kind: &str, name: &str) -> String {
    format!("/api/v1/namespaces/apps/{kind}/{name}")
}

#[tokio::test]
async fn registry_becomes_its_objects_and_then_nothing_is_written() {
    let scenario = Scenario::registry(&json!({}));
    scenario.reconcile().await;
    for (kind, name) in [
        ("persistentvolumeclaims", "main-data"),
        ("secrets", "main-admin"),
        ("secrets", "main-ca"),
        ("secrets", "main-tls"),
        ("secrets", "main-operator"),
        ("secrets", "main-control"),
        ("configmaps", "main-config"),
        ("configmaps", "main-ca"),
        ("services", "main"),
        ("services", "main-control"),
    ] {
        assert!(scenario.api.get(&child(kind, name)).is_some(), "{kind} {name} is missing");
    }
    assert_eq!(scenario.says("Ready"), "False WaitingForStorage");
    assert_eq!(scenario.says("StorageReady"), "False ClaimPending");

    scenario.pods_start();
    assert_eq!(scenario.reconcile().await, [format!("PATCH {REGISTRY}/status")]);
    assert_eq!(scenario.says("Ready"), "True AllReplicasReady");
    assert_eq!(scenario.says("TLSReady"), "True Valid");
    assert_eq!(scenario.says("NodePullReady"), "False NoNodeReachableEndpoint");
    for _ in 0..3 {
        scenario.wait(3600);
        assert_eq!(scenario.reconcile().await, [] as [String; 0], "the steady state writes nothing");
    }
}

#[tokio::test]
async fn what_outlives_a_registry_has_no_owner_and_is_found_again() {
    let scenario = Scenario::registry(&json!({}));
    scenario.reconcile().await;
    let owners = |path: &str| scenario.api.get(path).unwrap()["metadata"]["ownerReferences"].clone();
    let kept =
        [child("persistentvolumeclaims", "main-data"), child("secrets", "main-admin"), child("secrets", "main-ca")];
    for path in &kept {
        assert_eq!(owners(path), Value::Null, "{path}");
    }
    let owned = [DEPLOYMENT.to_owned(), child("secrets", "main-tls"), child("secrets", "main-operator")];
    for path in &owned {
        assert_eq!(owners(path)[0]["uid"], "1", "{path}");
    }
    let password = scenario.api.get(&kept[1]).unwrap()["data"]["password"].clone();

    // The Registry is deleted, what it owns goes with it, and somebody applies it again.
    for path in owned.iter().map(String::as_str).chain([child("secrets", "main-control").as_str()]) {
        scenario.api.remove(path);
    }
    for (kind, name) in
        [("configmaps", "main-config"), ("configmaps", "main-ca"), ("services", "main"), ("services", "main-control")]
    {
        scenario.api.remove(&child(kind, name));
    }
    let empty = json!({"apiVersion": "lagan.dev/v1alpha1", "kind": "Registry", "spec": {},
        "metadata": {"name": "main", "namespace": "apps", "uid": "2", "generation": 1}});
    scenario.api.put(REGISTRY, empty);
    let written = scenario.reconcile().await;
    assert!(!written.iter().any(|line| line.contains("main-data") || line.contains("main-admin")), "{written:?}");
    assert_eq!(scenario.api.get(&kept[1]).unwrap()["data"]["password"], password);
    assert_eq!(owners(DEPLOYMENT)[0]["uid"], "2");
    scenario.pods_start();
    scenario.reconcile().await;
    assert_eq!(scenario.says("Ready"), "True AllReplicasReady");
}

#[tokio::test]
async fn somebody_elses_object_is_named_and_never_written() {
    for (kind, name, type_, says) in [
        ("persistentvolumeclaims", "main-data", "StorageReady", "False ClaimNotOwned"),
        ("secrets", "main-admin", "Ready", "False ConfigInvalid"),
        ("configmaps", "main-config", "Ready", "False ConfigInvalid"),
        ("services", "main", "Ready", "False ConfigInvalid"),
    ] {
        let scenario = Scenario::registry(&json!({}));
        let path = child(kind, name);
        let theirs = json!({"metadata": {"name": name, "namespace": "apps", "labels": {"app": "theirs"}}});
        scenario.api.put(&path, theirs.clone());
        let before = scenario.api.get(&path);
        scenario.reconcile().await;
        assert_eq!(scenario.api.get(&path), before, "{path} was written");
        assert_eq!(scenario.says(type_), says);
        let message = scenario.condition(type_)["message"].as_str().unwrap().to_owned();
        assert!(message.contains(name), "{message}");
        assert!(scenario.api.get(DEPLOYMENT).is_none(), "no pod runs on what is not ours");

        assert_eq!(scenario.says("Degraded"), "False AsExpected");
        scenario.wait(121);
        scenario.reconcile().await;
        assert_eq!(scenario.says("Degraded"), "True ReconcileError");
    }
}

#[tokio::test]
async fn refusal_of_the_api_server_is_said_and_mends_itself() {
    let scenario = Scenario::registry(&json!({}));
    scenario.api.refuse("PATCH /api/v1/namespaces/apps/services", StatusCode::FORBIDDEN);
    scenario.reconcile().await;
    assert_eq!(scenario.says("Progressing"), "True RollingOut");
    let message = scenario.condition("Progressing")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("could not apply Service main"), "{message}");
    scenario.wait(121);
    scenario.reconcile().await;
    assert_eq!(scenario.says("Degraded"), "True ReconcileError");

    scenario.api.allow_everything();
    scenario.reconcile().await;
    scenario.pods_start();
    scenario.reconcile().await;
    assert_eq!(scenario.says("Ready"), "True AllReplicasReady");
    assert_eq!(scenario.says("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn unmanaged_registry_is_left_as_it_is() {
    let scenario = Scenario::registry(&json!({"managementState": "Unmanaged"}));
    assert_eq!(scenario.reconcile().await, [format!("PATCH {REGISTRY}/status")]);
    assert_eq!(scenario.says("Ready"), "Unknown Unmanaged");
    assert_eq!(scenario.reconcile().await, [] as [String; 0]);
}

#[tokio::test]
async fn invalid_spec_says_what_to_change() {
    let scenario = Scenario::registry(&json!({"expose": {"externalURL": "registry.example.com"}}));
    assert_eq!(scenario.reconcile().await, [format!("PATCH {REGISTRY}/status")]);
    assert_eq!(scenario.says("Ready"), "False ConfigInvalid");
    let message = scenario.condition("Ready")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("https://registry.example.com"), "{message}");
}

#[tokio::test]
async fn claim_grows_and_never_shrinks() {
    let claim = child("persistentvolumeclaims", "main-data");
    let size =
        |scenario: &Scenario| scenario.api.get(&claim).unwrap()["spec"]["resources"]["requests"]["storage"].clone();
    let scenario = Scenario::registry(&json!({}));
    scenario.reconcile().await;
    assert_eq!(size(&scenario), "20Gi");
    let template = |size: &str| json!({"spec": {"storage": {"persistentVolumeClaim": {"template": {"size": size}}}}});
    scenario.api.change(REGISTRY, &template("30Gi"));
    scenario.reconcile().await;
    assert_eq!(size(&scenario), "30Gi");
    scenario.api.change(REGISTRY, &template("10Gi"));
    scenario.reconcile().await;
    assert_eq!(size(&scenario), "30Gi");
}

#[tokio::test]
async fn claim_is_given_to_the_registry_and_taken_back() {
    let scenario = Scenario::registry(&json!({"storage": {"persistentVolumeClaim": {"whenDeleted": "Delete"}}}));
    scenario.reconcile().await;
    let path = child("persistentvolumeclaims", "main-data");
    let owners = |scenario: &Scenario| scenario.api.get(&path).unwrap()["metadata"]["ownerReferences"].clone();
    assert_eq!(owners(&scenario)[0]["uid"], "1");
    scenario.api.change(REGISTRY, &json!({"spec": {"storage": {"persistentVolumeClaim": {"whenDeleted": "Retain"}}}}));
    scenario.reconcile().await;
    assert_eq!(owners(&scenario), json!([]));
    scenario.api.change(REGISTRY, &json!({"spec": {"storage": {"persistentVolumeClaim": {"whenDeleted": "Delete"}}}}));
    scenario.reconcile().await;
    assert_eq!(owners(&scenario)[0]["uid"], "1");
}

#[tokio::test]
async fn lost_administrator_gets_a_new_password_and_certificates_are_replaced_in_time() {
    let scenario = Scenario::registry(&json!({}));
    scenario.reconcile().await;
    let admin = child("secrets", "main-admin");
    let first = scenario.api.get(&admin).unwrap();
    scenario.api.remove(&admin);
    assert!(scenario.reconcile().await.iter().any(|line| line == "POST /api/v1/namespaces/apps/secrets"));
    assert_ne!(scenario.api.get(&admin).unwrap()["data"]["password"], first["data"]["password"]);

    let tls = child("secrets", "main-tls");
    let authority = scenario.api.get(&child("secrets", "main-ca")).unwrap()["data"].clone();
    let before = scenario.api.get(&tls).unwrap()["data"].clone();
    scenario.wait(61 * 86_400);
    scenario.reconcile().await;
    let after = scenario.api.get(&tls).unwrap()["data"].clone();
    assert_ne!(after["tls.crt"], before["tls.crt"]);
    assert_eq!(after["ca.crt"], before["ca.crt"], "clients trust what they trusted");
    assert_eq!(scenario.api.get(&child("secrets", "main-ca")).unwrap()["data"], authority);
}

/// A Registry with three replicas on a bucket.
fn on_a_bucket() -> Value {
    let s3 = json!({"bucket": "images", "endpoint": "https://s3.example.com", "credentialsSecretRef": {"name": "bucket-key"}});
    json!({"replicas": 3, "storage": {"type": "S3", "s3": s3}})
}

/// The Secret that it names. The second key changes.
fn keys(secret: &str) -> Value {
    json!({"metadata": {"name": "bucket-key", "namespace": "apps"},
        "data": {"AWS_ACCESS_KEY_ID": "YQ==", "AWS_SECRET_ACCESS_KEY": secret}})
}

fn three_ready() -> Value {
    json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3,
        "readyReplicas": 3, "availableReplicas": 3}})
}

#[tokio::test]
async fn registry_on_a_bucket_says_how_far_its_pods_are() {
    let scenario = Scenario::registry(&on_a_bucket());
    scenario.reconcile().await;
    assert_eq!(scenario.says("StorageReady"), "False CredentialsInvalid", "the Secret is not there");
    assert_eq!(scenario.says("Ready"), "False WaitingForStorage");
    assert!(scenario.api.get(&child("persistentvolumeclaims", "main-data")).is_none());

    scenario.api.put(&child("secrets", "bucket-key"), keys("Yg=="));
    scenario.reconcile().await;
    assert_eq!(scenario.says("StorageReady"), "Unknown WaitingForReplicas");
    assert_eq!(scenario.says("Ready"), "False WaitingForReplicas");

    for (code, reason) in [(77, "CredentialsInvalid"), (69, "BucketUnreachable")] {
        let ended = json!({"exitCode": code, "message": "lagan: s3://images: it is refused\n"});
        let container = json!({"name": "registry", "image": "x", "imageID": "x", "restartCount": 2, "ready": false,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended}});
        let pod = json!({"metadata": {"name": "main-1"}, "status": {"containerStatuses": [container]}});
        scenario.api.put(&child("pods", "main-1"), pod);
        scenario.reconcile().await;
        assert_eq!(scenario.says("StorageReady"), format!("False {reason}"));
        assert_eq!(scenario.condition("Ready")["message"], "s3://images: it is refused");
    }

    scenario.api.remove(&child("pods", "main-1"));
    scenario.api.change(DEPLOYMENT, &three_ready());
    scenario.reconcile().await;
    assert_eq!(scenario.says("StorageReady"), "True Reachable");
    assert_eq!(scenario.says("Ready"), "True AllReplicasReady");
    assert_eq!(scenario.api.get(REGISTRY).unwrap()["status"]["readyReplicas"], 3);
    for _ in 0..2 {
        scenario.wait(3600);
        assert_eq!(scenario.reconcile().await, [] as [String; 0], "the steady state writes nothing");
    }
}

#[tokio::test]
async fn pods_are_replaced_when_the_credentials_change() {
    let scenario = Scenario::registry(&on_a_bucket());
    scenario.api.put(&child("secrets", "bucket-key"), keys("Yg=="));
    let hash = || {
        let template = scenario.api.get(DEPLOYMENT).unwrap()["spec"]["template"].clone();
        template["metadata"]["annotations"]["lagan.dev/credentials-hash"].as_str().unwrap().to_owned()
    };
    scenario.reconcile().await;
    let before = hash();
    scenario.api.change(&child("secrets", "bucket-key"), &json!({"metadata": {"labels": {"a": "b"}}}));
    scenario.reconcile().await;
    assert_eq!(hash(), before);
    scenario.api.change(&child("secrets", "bucket-key"), &keys("Yw=="));
    assert_eq!(scenario.reconcile().await, [format!("PATCH {DEPLOYMENT}")]);
    assert_ne!(hash(), before);
}

#[tokio::test]
async fn certificate_that_replicas_show_each_other_is_made_anew_where_it_was_for_the_operator_alone() {
    use lagan::operator::certificates::{Authority, Leaf, LeafUse};
    let scenario = Scenario::registry(&on_a_bucket());
    scenario.reconcile().await;
    let operator = scenario.api.get(&child("secrets", "main-operator")).unwrap();
    let data = serde_json::from_value(operator["data"].clone()).unwrap();
    let authority = Authority::from_data(&data).unwrap();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let names = ["main-control.apps.svc".to_owned()];
    let old = Leaf::generate(&authority, "main", &names, LeafUse::Server, now).unwrap();
    let path = child("secrets", "main-control");
    let bytes = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
    let data = json!({"tls.crt": bytes(&old.certificate), "tls.key": bytes(&old.key)});
    scenario.api.change(&path, &json!({"data": data}));
    assert_eq!(scenario.reconcile().await, [format!("PATCH {path}")]);
    assert_eq!(scenario.reconcile().await, [] as [String; 0]);
}

#[tokio::test]
async fn evictions_are_bounded_for_as_long_as_there_are_two() {
    let mut scenario = Scenario::registry(&on_a_bucket());
    scenario.reconcile().await;
    let budget = scenario.api.get(BUDGET).unwrap();
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    let mut seen: PodDisruptionBudget = serde_json::from_value(budget).unwrap();
    seen.metadata.namespace = Some("apps".to_owned());
    scenario.budget_cache.apply_watcher_event(&Event::Apply(seen));
    scenario.reconcile().await;
    assert!(scenario.api.get(BUDGET).is_some());
    scenario.api.change(REGISTRY, &json!({"spec": {"replicas": 1}}));
    let written = scenario.reconcile().await;
    assert!(written.contains(&format!("DELETE {BUDGET}")), "{written:?}");
}

#[tokio::test]
async fn collection_that_waits_for_somebody_degrades_its_registry_and_is_left_to_its_own_controller() {
    let scenario = Scenario::registry(&json!({}));
    scenario.reconcile().await;
    scenario.pods_start();
    scenario.reconcile().await;
    let last = |result: &str, brake: Value| {
        let mut last = json!({"report": "01J0", "startTime": "2026-07-01T04:00:00Z", "result": result,
            "completionTime": "2026-07-01T04:05:00Z", "message": "31 % of the blobs would go"});
        if brake != Value::Null {
            last["brake"] = brake;
        }
        json!({"status": {"lastGarbageCollection": last}})
    };
    for (result, brake, says) in [
        ("Completed", Value::Null, "False AsExpected"),
        ("Halted", json!("TooMuch"), "True CollectionHalted"),
        ("Halted", json!("TooYoung"), "False AsExpected"),
        ("Halted", json!("ClockSkew"), "True CollectionHalted"),
        ("Interrupted", Value::Null, "False AsExpected"),
        ("Failed", Value::Null, "True CollectionHalted"),
    ] {
        let mut registry = scenario.api.get(REGISTRY).unwrap();
        registry["status"].as_object_mut().unwrap().remove("lastGarbageCollection");
        scenario.api.put(REGISTRY, registry);
        scenario.api.change(REGISTRY, &last(result, brake.clone()));
        scenario.reconcile().await;
        assert_eq!(scenario.says("Degraded"), says, "{result} {brake}");
        assert_eq!(scenario.says("Ready"), "True AllReplicasReady");
        let message = scenario.condition("Degraded")["message"].as_str().unwrap().to_owned();
        let command = "kubectl annotate --overwrite registry main lagan.dev/confirm-collection=01J0";
        assert_eq!(message.contains(command), brake == "TooMuch", "{message}");
        let written = scenario.api.get(REGISTRY).unwrap()["status"]["lastGarbageCollection"].clone();
        assert_eq!(written["report"], "01J0", "another controller wrote it, and this one leaves it");
        assert_eq!(scenario.reconcile().await, [] as [String; 0]);
    }
    scenario.api.change(REGISTRY, &json!({"spec": {"garbageCollection": {"mode": "Disabled"}}}));
    scenario.reconcile().await;
    assert_eq!(scenario.says("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn schedule_of_collections_that_is_none_is_said() {
    let scenario = Scenario::registry(&json!({"garbageCollection": {"schedule": "nightly"}}));
    scenario.reconcile().await;
    assert_eq!(scenario.says("Ready"), "False ConfigInvalid");
    let message = scenario.condition("Ready")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("spec.garbageCollection.schedule") && message.contains("nightly"), "{message}");
}

#[tokio::test]
async fn operator_takes_the_lease_answers_probes_and_gives_the_lease_back() {
    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/lagan-system/leases/lagan-operator";
    let api = FakeApi::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let now = Arc::new(|| Timestamp::from_second(1_800_000_000).unwrap());
    let operator = tokio::spawn(Box::pin(run_with(api.client(), listener, config(), now, stop.clone())));
    let probed = async {
        while !get(address, "/metrics").await.contains("lagan_operator_leader 1") {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), probed).await.expect("the only replica leads");
    let holder = || api.get(LEASE).unwrap()["spec"]["holderIdentity"].clone();
    assert_eq!(holder(), "operator-0");
    for path in ["/livez", "/readyz"] {
        assert!(get(address, path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));

    stop.cancel();
    timeout(Duration::from_secs(30), operator).await.expect("it ends").unwrap().unwrap();
    assert_eq!(holder(), Value::Null, "the other replica need not wait");
}

/// What the operator's port answers, head and all.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
