//! The workload: one pod on a directory or several on a bucket, restricted as far as pods can be.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, Lifecycle, LifecycleHandler,
            LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
            SeccompProfile, SecurityContext, SleepAction, TopologySpreadConstraint,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{
    Inputs,
    config_map::{CONFIG_DIRECTORY, CONFIG_FILE},
    owned, service,
    volumes::mounted,
};
use crate::api::v1alpha1::{ImageSpec, PullPolicy, SecretReference};
use crate::operator::labels;
use crate::operator::registry::{
    endpoints::{CONTROL_PORT, HEALTH_PORT, REGISTRY_PORT},
    validate::{Storage, ValidRegistry},
};

/// The annotation of the pod template with the hash of the configuration: pods read it when they start only.
const CONFIG_HASH: &str = "lagan.dev/config-hash";
/// The annotation of the pod template with the hash of what the spec refers to and pods read when they start only.
const REFERRED_HASH: &str = "lagan.dev/credentials-hash";
/// The environment variable with the pod's address.
const POD_IP: &str = "POD_IP";
/// The environment variable with the address under which other replicas reach this one.
const ADVERTISE: &str = "LAGAN_ADVERTISE";
/// The user and group of the image that nobody else uses: what distroless images call nonroot.
const NON_ROOT: i64 = 65_532;
/// What a pod needs beside draining, in seconds: to notice SIGTERM, and to write down what it knows.
const GRACE_BEYOND_DRAIN: i64 = 15;
/// What a replica needs on top of that, in seconds: to be forgotten by those who send it requests, and to tell the store
/// that it leaves, which may take as long as a lease.
const GRACE_OF_A_REPLICA: i64 = FORGOTTEN_WITHIN + 20;
/// How long a replica that is to stop goes on as if nothing were, in seconds: for so long requests may still be sent to
/// it, and others are there that will not be missed.
const FORGOTTEN_WITHIN: i64 = 5;
/// How many old `ReplicaSet`s stay, to look at.
const REVISIONS: i32 = 2;

pub(super) fn deployment(registry: &ValidRegistry, inputs: &Inputs<'_>, config_hash: &str) -> Deployment {
    let spec = DeploymentSpec {
        replicas: Some(registry.spec.replicas),
        revision_history_limit: Some(REVISIONS),
        strategy: Some(strategy(registry)),
        selector: LabelSelector { match_labels: Some(labels::selector(&registry.name)), match_expressions: None },
        template: PodTemplateSpec {
            metadata: Some(pod_metadata(registry, inputs, config_hash)),
            spec: Some(pod(registry, inputs)),
        },
        ..DeploymentSpec::default()
    };
    Deployment { metadata: owned(registry, registry.name.clone()), spec: Some(spec), status: None }
}

/// Two processes never share a directory. On a bucket the new ones come first, one at a time.
fn strategy(registry: &ValidRegistry) -> DeploymentStrategy {
    if registry.storage != Storage::Bucket {
        return DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
    }
    let rolling =
        RollingUpdateDeployment { max_surge: Some(IntOrString::Int(1)), max_unavailable: Some(IntOrString::Int(0)) };
    DeploymentStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(rolling) }
}

/// The image that a registry's pods run: the operator's own, with what the spec says otherwise.
#[must_use]
pub fn image(spec: Option<&ImageSpec>, operators: &str) -> String {
    let Some(spec) = spec else { return operators.to_owned() };
    let (name, digest) = operators.split_once('@').map_or((operators, ""), |(name, digest)| (name, digest));
    let tag_at = name.rfind(':').filter(|&at| !name[at..].contains('/'));
    let (repository, tag) = tag_at.map_or((name, ""), |at| (&name[..at], &name[at + 1..]));
    let repository = spec.repository.as_deref().unwrap_or(repository);
    match (&spec.digest, &spec.tag) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, Some(tag)) => format!("{repository}:{tag}"),
        (None, None) if !digest.is_empty() => format!("{repository}@{digest}"),
        (None, None) if !tag.is_empty() => format!("{repository}:{tag}"),
        (None, None) => repository.to_owned(),
    }
}

fn pod_metadata(registry: &ValidRegistry, inputs: &Inputs<'_>, config_hash: &str) -> ObjectMeta {
    let workload = registry.spec.workload.clone().unwrap_or_default();
    let mut pod_labels = workload.labels;
    pod_labels.extend(labels::of(&registry.name));
    let mut annotations = workload.annotations;
    annotations.insert(CONFIG_HASH.to_owned(), config_hash.to_owned());
    annotations.extend(inputs.referred_hash.map(|hash| (REFERRED_HASH.to_owned(), hash.to_owned())));
    ObjectMeta { labels: Some(pod_labels), annotations: Some(annotations), ..ObjectMeta::default() }
}

fn pod(registry: &ValidRegistry, inputs: &Inputs<'_>) -> PodSpec {
    let workload = registry.spec.workload.clone().unwrap_or_default();
    let drain = i64::try_from(registry.spec.limits.drain_timeout.as_seconds()).unwrap_or(i64::MAX);
    let beyond_drain = GRACE_BEYOND_DRAIN + if registry.storage == Storage::Bucket { GRACE_OF_A_REPLICA } else { 0 };
    let secrets = |secret: SecretReference| LocalObjectReference { name: secret.name };
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        service_account_name: workload.service_account_name,
        termination_grace_period_seconds: Some(drain.saturating_add(beyond_drain)),
        security_context: Some(workload.pod_security_context.unwrap_or_else(restricted)),
        containers: vec![container(registry, inputs)],
        volumes: Some(mounted(registry).into_iter().map(|mounted| mounted.volume).collect()),
        node_selector: Some(workload.node_selector).filter(|labels| !labels.is_empty()),
        tolerations: Some(workload.tolerations).filter(|tolerations| !tolerations.is_empty()),
        affinity: workload.affinity,
        topology_spread_constraints: spread(registry, workload.topology_spread_constraints),
        priority_class_name: workload.priority_class_name,
        image_pull_secrets: Some(workload.image_pull_secrets.into_iter().map(secrets).collect::<Vec<_>>())
            .filter(|secrets| !secrets.is_empty()),
        ..PodSpec::default()
    }
}

/// What the spec says; else replicas go to different nodes and zones, as far as there are any.
fn spread(registry: &ValidRegistry, given: Vec<TopologySpreadConstraint>) -> Option<Vec<TopologySpreadConstraint>> {
    if !given.is_empty() || registry.storage != Storage::Bucket {
        return Some(given).filter(|all| !all.is_empty());
    }
    let over = |topology_key: &str| TopologySpreadConstraint {
        topology_key: topology_key.to_owned(),
        max_skew: 1,
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(labels::selector(&registry.name)),
            match_expressions: None,
        }),
        // The pods that a rollout replaces do not count.
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    };
    Some(vec![over("kubernetes.io/hostname"), over("topology.kubernetes.io/zone")])
}

/// A pod on a bucket knows under which address the others reach it.
fn environment(registry: &ValidRegistry) -> Option<Vec<EnvVar>> {
    let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: "status.podIP".to_owned() };
    let from = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    let address = EnvVar { name: POD_IP.to_owned(), value_from: Some(from), ..EnvVar::default() };
    let advertise = EnvVar { name: ADVERTISE.to_owned(), value: Some(format!("$({POD_IP})")), value_from: None };
    (registry.storage == Storage::Bucket).then(|| vec![address, advertise])
}

fn restricted() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NON_ROOT),
        run_as_group: Some(NON_ROOT),
        fs_group: Some(NON_ROOT),
        // Changing the group of a million files takes minutes; one look at the top is enough.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn container(registry: &ValidRegistry, inputs: &Inputs<'_>) -> Container {
    let policy = registry.spec.image.as_ref().and_then(|image| image.pull_policy).unwrap_or_default();
    let policy = match policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    };
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        name: "registry".to_owned(),
        image: Some(image(registry.spec.image.as_ref(), inputs.operator_image)),
        image_pull_policy: Some(policy.to_owned()),
        args: Some(vec!["serve".to_owned(), "--config".to_owned(), format!("{CONFIG_DIRECTORY}/{CONFIG_FILE}")]),
        env: environment(registry),
        lifecycle: (registry.storage == Storage::Bucket).then(linger),
        // A registry that cannot open its bucket says why in its last line; the status repeats it.
        termination_message_policy: (registry.storage == Storage::Bucket).then(|| "FallbackToLogsOnError".to_owned()),
        ports: Some(vec![
            port(service::REGISTRY, REGISTRY_PORT),
            port(service::CONTROL, CONTROL_PORT),
            port("health", HEALTH_PORT),
        ]),
        resources: registry.spec.workload.as_ref().and_then(|workload| workload.resources.clone()),
        // A start waits for the directory's lock live and not ready, so this bounds the process only.
        startup_probe: Some(probe("/healthz", 2, 60)),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        readiness_probe: Some(probe("/readyz", 5, 2)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounted(registry).into_iter().map(|mounted| mounted.mount).collect()),
        ..Container::default()
    }
}

/// Goes on for a moment when the pod is to stop.
fn linger() -> Lifecycle {
    let sleep = SleepAction { seconds: FORGOTTEN_WITHIN };
    let pre_stop = LifecycleHandler { sleep: Some(sleep), ..LifecycleHandler::default() };
    Lifecycle { pre_stop: Some(pre_stop), ..Lifecycle::default() }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    let get = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::String("health".to_owned()),
        scheme: Some("HTTP".to_owned()),
        ..HTTPGetAction::default()
    };
    Probe {
        http_get: Some(get),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        success_threshold: Some(1),
        ..Probe::default()
    }
}
