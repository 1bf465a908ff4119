//! What the cluster uses stays: every kind of object, every form of a reference, and nothing goes where one of them
//! cannot be asked.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    Forbidden, Image, Kubectl, Namespace, OPERATOR_NAMESPACE, Operator, Policy, Registry, eventually,
};

const REPOSITORY: &str = "team/app";

/// All tags go, at once, and the manifests with them.
const ALL_GO: &str = "minimumAge: 0s, unmatchedTags: Delete, untagged: {action: Delete, minimumAge: 0s}, \
                      limits: {maxDeletePercent: 100}";

/// Where pods may be anything, and which is not the policy's namespace.
struct Elsewhere {
    kubectl: Kubectl,
}

impl Elsewhere {
    const NAME: &'static str = "in-use-elsewhere";

    fn new() -> Self {
        let cluster = Kubectl::cluster();
        cluster.run(&format!("delete namespace {} --ignore-not-found --timeout 120s", Self::NAME));
        cluster.run(&format!("create namespace {}", Self::NAME));
        Self { kubectl: Kubectl::namespaced(Self::NAME) }
    }

    /// A pod of an image that every node has, with more in its spec.
    fn apply_pod(&self, name: &str, more: &str) {
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{automountServiceAccountToken: false, \
             nodeSelector: {{nowhere: here}}, {more}}}}}"
        );
        // The namespace's account comes a moment after it.
        eventually(&format!("pod {name} is taken"), || {
            self.kubectl.program(["apply", "--filename", "-"]).input(pod.as_str()).output().into_result()
        });
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        Kubectl::cluster().try_run(&format!("delete namespace {} --wait=false", Self::NAME));
        Kubectl::cluster().try_run("delete crd sites.example.lagan.test --ignore-not-found --wait=false");
    }
}

const PAUSE: &str = "{name: app, image: 'lagan.test/pause:1'}";

/// `containers: […]` of one container.
fn container(image: &str) -> String {
    format!("containers: [{{name: app, image: '{image}'}}]")
}

/// The metadata and spec of a template's pods.
fn template(image: &str) -> String {
    format!("template: {{metadata: {{labels: {{app: x}}}}, spec: {{{}}}}}", container(image))
}

fn workload(version: &str, kind: &str, name: &str, spec: &str) -> String {
    format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}")
}

const SELECTOR: &str = "selector: {matchLabels: {app: x}}";

/// One tag for each source, which only that source uses.
struct Used {
    registry: Registry,
    tags: Vec<&'static str>,
}

impl Used {
    fn reference(&self, tag: &str) -> String {
        self.registry.address.reference(&format!("{REPOSITORY}:{tag}"))
    }

    /// Pushes an image for a source, and gives its reference to what makes the source use it.
    fn with(&mut self, tag: &'static str, using: impl FnOnce(&str)) {
        self.registry.address.push(&Image::named(tag), &format!("{REPOSITORY}:{tag}"));
        using(&self.reference(tag));
        self.tags.push(tag);
    }

    /// Two images: the second takes the place of the first, which only the history has from then on.
    fn with_history(&mut self, old: &'static str, new: &'static str, apply: impl Fn(&str)) {
        self.with(old, &apply);
        self.with(new, &apply);
    }
}

fn used_by_pods(used: &mut Used, elsewhere: &Elsewhere) {
    used.with("pod", |image| elsewhere.apply_pod("pod", &container(image)));
    used.with("init-container", |image| {
        elsewhere.apply_pod("init", &format!("containers: [{PAUSE}], initContainers: [{{name: i, image: '{image}'}}]"));
    });
    used.with("ephemeral-container", |image| {
        elsewhere.apply_pod("debugged", &format!("containers: [{PAUSE}]"));
        let patch = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": image}]}}).to_string();
        let patching = ["patch", "pod", "debugged", "--subresource", "ephemeralcontainers", "--patch", &patch];
        elsewhere.kubectl.program(patching).succeeds();
    });
    used.with("image-volume", |image| {
        let volume = format!("volumes: [{{name: v, image: {{reference: '{image}', pullPolicy: Always}}}}]");
        elsewhere.apply_pod("volume", &format!("containers: [{PAUSE}], {volume}"));
    });
}

fn used_by_workloads(used: &mut Used, namespace: &Namespace) {
    let none = "replicas: 0";
    let apply = |version: &str, kind: &str, name: &str, spec: String| {
        namespace.apply(&workload(version, kind, name, &spec));
    };
    used.with_history("old-replica-set", "deployment", |image| {
        apply("apps/v1", "Deployment", "web", format!("{none}, {SELECTOR}, {}", template(image)));
        await_history(namespace, "deployment/web", "replicasets", image);
    });
    used.with("replica-set", |image| {
        apply("apps/v1", "ReplicaSet", "alone", format!("{none}, {SELECTOR}, {}", template(image)));
    });
    used.with_history("old-controller-revision", "stateful-set", |image| {
        apply("apps/v1", "StatefulSet", "db", format!("{none}, serviceName: db, {SELECTOR}, {}", template(image)));
        await_history(namespace, "statefulset/db", "controllerrevisions", image);
    });
    used.with("daemon-set", |image| {
        let spec = format!("spec: {{nodeSelector: {{nowhere: here}}, {}}}", container(image));
        apply(
            "apps/v1",
            "DaemonSet",
            "agent",
            format!("{SELECTOR}, template: {{metadata: {{labels: {{app: x}}}}, {spec}}}"),
        );
    });
    used.with("replication-controller", |image| {
        apply("v1", "ReplicationController", "old", format!("{none}, selector: {{app: x}}, {}", template(image)));
    });
    let job = |image: &str| format!("template: {{spec: {{restartPolicy: Never, {}}}}}", container(image));
    used.with("job", |image| apply("batch/v1", "Job", "once", format!("suspend: true, {}", job(image))));
    used.with("cron-job", |image| {
        let spec = format!("suspend: true, schedule: '0 0 1 1 *', jobTemplate: {{spec: {{{}}}}}", job(image));
        apply("batch/v1", "CronJob", "yearly", spec);
    });
    used.with("pod-template", |image| {
        namespace
            .apply(&format!("{{apiVersion: v1, kind: PodTemplate, metadata: {{name: some}}, {}}}", template(image)));
    });
}

/// Awaits that a controller has written a template down.
fn await_history(namespace: &Namespace, object: &str, kind: &str, image: &str) {
    eventually(&format!("{kind} has what {object} was"), || {
        let all = namespace.run(&format!("get {kind} --output json"));
        if all.contains(image) { Ok(()) } else { Err(all) }
    });
}

/// Digests, another repository, no host: the tag's own name stands nowhere.
fn used_in_other_forms(used: &mut Used, namespace: &Namespace) {
    let name = |name: &str, image: &str| {
        namespace
            .apply(&format!("{{apiVersion: v1, kind: PodTemplate, metadata: {{name: {name}}}, {}}}", template(image)));
    };
    let index = Image::index("by-child");
    used.registry.address.push(&index, &format!("{REPOSITORY}:by-child"));
    name("child", &format!("elsewhere.example.com/other/repository@{}", index.children[0]));
    let image = Image::named("by-config");
    used.registry.address.push(&image, &format!("{REPOSITORY}:by-config"));
    let manifest: Value = serde_json::from_slice(&image.blob(&image.digest)).unwrap();
    name("config", manifest["config"]["digest"].as_str().unwrap());
    used.tags.extend(["by-child", "by-config"]);
    used.with("other-host", |_| name("host", &format!("mirror.example.com/prefix/{REPOSITORY}:other-host")));
}

fn used_by_what_the_policy_names(used: &mut Used, namespace: &Namespace) {
    used.with("config-map", |image| {
        namespace.apply(&format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: edge}}, data: {{images: \"# at the edge\\n{image}\\n\"}}}}"
        ));
    });
    let schema = "{type: object, x-kubernetes-preserve-unknown-fields: true}";
    Kubectl::cluster().apply(&format!(
        "{{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {{name: sites.example.lagan.test}}, \
         spec: {{group: example.lagan.test, scope: Namespaced, names: {{plural: sites, singular: site, kind: Site}}, \
         versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, \
         properties: {{spec: {schema}}}}}}}}}]}}}}"
    ));
    Kubectl::cluster().run("wait crd/sites.example.lagan.test --for condition=Established --timeout 60s");
    used.with("custom-resource", |image| {
        let spec = format!("tiers: [{{image: '{image}'}}]");
        eventually("the new kind is served", || {
            let object = workload("example.lagan.test/v1", "Site", "shop", &spec);
            namespace.program(["apply", "--filename", "-"]).input(object.as_str()).output().into_result()
        });
    });
}

/// Lets the operator list the kind, as the chart's users do, or not any more.
fn may_list_sites(may: bool) {
    let cluster = Kubectl::cluster();
    let rule = json!([{"apiGroups": ["example.lagan.test"], "resources": ["sites"], "verbs": ["list"]}]);
    let rules = if may { rule } else { json!([]) };
    Operator::install_with(&[&format!("rbac.inUseRules={rules}")]);
    let question = format!(
        "auth can-i list sites.example.lagan.test --all-namespaces --as system:serviceaccount:{OPERATOR_NAMESPACE}:lagan"
    );
    eventually("the operator is allowed what the chart says", || {
        let answer = cluster.try_run(&question);
        if answer.is_success() == may { Ok(()) } else { Err(answer.to_string()) }
    });
}

const IN_USE: &str = "inUse: {extraImagesFrom: [{configMapRef: {name: edge}}], \
                      customResources: [{apiVersion: example.lagan.test/v1, kind: Site, paths: ['.spec.tiers[*].image']}]}";

#[test]
#[ignore = "needs a cluster: tests/run"]
fn each_source_keeps_what_it_names_and_each_that_fails_stops_the_run() {
    Operator::installed();
    let (namespace, elsewhere) = (Namespace::new("in-use"), Elsewhere::new());
    let mut used = Used { registry: Registry::applied(&namespace, "registry", ""), tags: Vec::new() };
    used_by_pods(&mut used, &elsewhere);
    used_by_workloads(&mut used, &namespace);
    used_in_other_forms(&mut used, &namespace);
    used_by_what_the_policy_names(&mut used, &namespace);
    may_list_sites(true);
    for tag in ["unused", "unused-too"] {
        used.registry.address.push(&Image::named(tag), &format!("{REPOSITORY}:{tag}"));
    }
    let tags = || -> BTreeSet<String> { used.registry.address.tags(REPOSITORY).into_iter().collect() };
    let everything = tags();
    assert_eq!(everything.len(), used.tags.len() + 2);
    let mut policy = Policy::applied(&namespace, "cleanup", "registry", &format!("mode: Enforce, {ALL_GO}, {IN_USE}"));

    each_failing_source_stops_the_run(&namespace, &mut policy, || assert_eq!(tags(), everything));

    // All of them together, each alone with its tag.
    let status = policy.run();
    assert_eq!(status["lastRun"]["result"], "Completed", "{status:#}");
    let left = tags();
    let missing: Vec<&&str> = used.tags.iter().filter(|tag| !left.contains(**tag)).collect();
    assert!(missing.is_empty(), "these sources did not keep their images: {missing:?}\n{status:#}");
    assert_eq!(left.len(), used.tags.len(), "{left:?}");
    // And the two images of the index, which have no tag of their own.
    assert_eq!(status["plan"]["protectedInUse"], json!(used.tags.len() + 2), "{status:#}");

    // The history of rollouts need not count.
    eventually("the stateful set knows only its last revision", || {
        let status = namespace.try_get("statefulset/db")?["status"].clone();
        let is_over = status["currentRevision"] == status["updateRevision"] && status["observedGeneration"] == 2;
        if is_over { Ok(()) } else { Err(status.to_string()) }
    });
    policy.patch(&json!({"inUse": {"rolloutHistory": "Ignore"}}));
    assert_eq!(policy.run()["lastRun"]["deletedTags"], 2);
    let left = tags();
    assert!(!left.contains("old-replica-set") && !left.contains("old-controller-revision"), "{left:?}");
    assert!(left.contains("deployment") && left.contains("stateful-set"), "{left:?}");

    // It was their use that kept them.
    drop(elsewhere);
    Kubectl::cluster().run(&format!("delete namespace {} --ignore-not-found --timeout 120s", Elsewhere::NAME));
    namespace.run(
        "delete deployment/web replicaset/alone statefulset/db daemonset/agent replicationcontroller/old job/once \
         cronjob/yearly podtemplate/some podtemplate/child podtemplate/config podtemplate/host --wait",
    );
    policy.patch(&json!({"inUse": {"extraImagesFrom": [], "customResources": []}}));
    may_list_sites(false);
    let status = policy.run();
    assert_eq!(status["lastRun"]["result"], "Completed", "{status:#}");
    let listed = used.registry.address.get(&format!("/v2/{REPOSITORY}/tags/list"));
    assert_eq!(listed.status, 404, "the repository is gone with the last image: {listed:?}\n{status:#}");
}

/// Lets the operator look after Deployments in one namespace, whatever it may do in the whole cluster: the Registry's is
/// one of them.
struct MayDeployHere<'a>(&'a Namespace);

impl<'a> MayDeployHere<'a> {
    fn given(namespace: &'a Namespace) -> Self {
        namespace.run("create role lagan-test-deployments --verb * --resource deployments.apps");
        let account = format!("--serviceaccount {OPERATOR_NAMESPACE}:lagan");
        namespace.run(&format!("create rolebinding lagan-test-deployments --role lagan-test-deployments {account}"));
        Self(namespace)
    }
}

impl Drop for MayDeployHere<'_> {
    fn drop(&mut self) {
        self.0.try_run("delete role,rolebinding lagan-test-deployments --ignore-not-found");
    }
}

/// Takes one source after the other away.
fn each_failing_source_stops_the_run(namespace: &Namespace, policy: &mut Policy, nothing_is_gone: impl Fn()) {
    let mut stopped = |name: &str| {
        let status = policy.run();
        assert_eq!(status["lastRun"]["result"], "InUseUnknown", "without {name}: {status:#}");
        // What the condition says, to whoever waits for it.
        let message = policy.await_reason("LastRunSucceeded", "False", "InUseUnknown").to_lowercase();
        assert!(message.contains(name), "the condition does not name {name}: {message}");
        nothing_is_gone();
    };
    let others_work = MayDeployHere::given(namespace);
    for resource in [
        "deployments",
        "pods",
        "podtemplates",
        "replicationcontrollers",
        "replicasets",
        "statefulsets",
        "daemonsets",
        "controllerrevisions",
        "jobs",
        "cronjobs",
    ] {
        let forbidden = Forbidden::to_list(resource);
        stopped(resource);
        drop(forbidden);
    }
    drop(others_work);
    may_list_sites(false);
    stopped("sites.example.lagan.test");
    may_list_sites(true);
    let images = namespace.get("configmap/edge")["data"].clone();
    namespace.run("delete configmap edge");
    stopped("configmap edge");
    namespace.apply(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "edge"}, "data": {"images": "no image"}})
            .to_string(),
    );
    stopped("\"no image\"");
    namespace.apply(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "edge"}, "data": images}).to_string(),
    );
}
