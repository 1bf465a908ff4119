//! The workload: one pod on a directory, restricted as far as pods can be.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy},
        core::v1::{
            Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction,
            KeyToPath, LocalObjectReference, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec,
            PodTemplateSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity as K8sQuantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{
    Inputs,
    config_map::{
        CONFIG_DIRECTORY, CONFIG_FILE, CONTROL_DIRECTORY, DATA_DIRECTORY, TLS_DIRECTORY, USERS_DIRECTORY, USERS_FILE,
    },
    owned, service,
};
use crate::api::v1alpha1::{ImageSpec, PullPolicy, SecretReference};
use crate::operator::labels;
use crate::operator::registry::{
    endpoints::{CONTROL_PORT, HEALTH_PORT, REGISTRY_PORT},
    validate::{Storage, ValidRegistry},
};

/// The annotation of the pod template with the hash of the configuration: pods read it when they start only.
const CONFIG_HASH: &str = "lagan.dev/config-hash";
/// The user and group of the image that nobody else uses: what distroless images call nonroot.
const NON_ROOT: i64 = 65_532;
/// Read by the group, which is the pod's `fsGroup`; written by nobody.
const SECRET_MODE: i32 = 0o440;
/// What a pod needs beside draining, in seconds: to notice SIGTERM, and to write down what it knows.
const GRACE_BEYOND_DRAIN: i64 = 15;
/// How many old `ReplicaSet`s stay, to look at.
const REVISIONS: i32 = 2;

pub(super) fn deployment(registry: &ValidRegistry, inputs: &Inputs<'_>, config_hash: &str) -> Deployment {
    let spec = DeploymentSpec {
        replicas: Some(registry.spec.replicas),
        revision_history_limit: Some(REVISIONS),
        // Two processes never share a directory.
        strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
        selector: LabelSelector { match_labels: Some(labels::selector(&registry.name)), match_expressions: None },
        template: PodTemplateSpec {
            metadata: Some(pod_metadata(registry, config_hash)),
            spec: Some(pod(registry, inputs)),
        },
        ..DeploymentSpec::default()
    };
    Deployment { metadata: owned(registry, registry.name.clone()), spec: Some(spec), status: None }
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

fn pod_metadata(registry: &ValidRegistry, config_hash: &str) -> ObjectMeta {
    let workload = registry.spec.workload.clone().unwrap_or_default();
    let mut pod_labels = workload.labels;
    pod_labels.extend(labels::of(&registry.name));
    let mut annotations = workload.annotations;
    annotations.insert(CONFIG_HASH.to_owned(), config_hash.to_owned());
    ObjectMeta { labels: Some(pod_labels), annotations: Some(annotations), ..ObjectMeta::default() }
}

fn pod(registry: &ValidRegistry, inputs: &Inputs<'_>) -> PodSpec {
    let workload = registry.spec.workload.clone().unwrap_or_default();
    let drain = i64::try_from(registry.spec.limits.drain_timeout.as_seconds()).unwrap_or(i64::MAX);
    let secrets = |secret: SecretReference| LocalObjectReference { name: secret.name };
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        service_account_name: workload.service_account_name,
        termination_grace_period_seconds: Some(drain.saturating_add(GRACE_BEYOND_DRAIN)),
        security_context: Some(workload.pod_security_context.unwrap_or_else(restricted)),
        containers: vec![container(registry, inputs)],
        volumes: Some(volumes(registry)),
        node_selector: Some(workload.node_selector).filter(|labels| !labels.is_empty()),
        tolerations: Some(workload.tolerations).filter(|tolerations| !tolerations.is_empty()),
        affinity: workload.affinity,
        topology_spread_constraints: Some(workload.topology_spread_constraints).filter(|all| !all.is_empty()),
        priority_class_name: workload.priority_class_name,
        image_pull_secrets: Some(workload.image_pull_secrets.into_iter().map(secrets).collect::<Vec<_>>())
            .filter(|secrets| !secrets.is_empty()),
        ..PodSpec::default()
    }
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
        volume_mounts: Some(mounts(registry)),
        ..Container::default()
    }
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

fn mounts(registry: &ValidRegistry) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![
        mount("config", CONFIG_DIRECTORY, true),
        mount("control", CONTROL_DIRECTORY, true),
        mount("data", DATA_DIRECTORY, false),
    ];
    mounts.extend(registry.tls_secret().map(|_| mount("tls", TLS_DIRECTORY, true)));
    mounts.extend(registry.users_secret().map(|_| mount("users", USERS_DIRECTORY, true)));
    mounts
}

fn volumes(registry: &ValidRegistry) -> Vec<Volume> {
    let config = ConfigMapVolumeSource { name: registry.child("config"), ..ConfigMapVolumeSource::default() };
    let mut volumes = vec![
        Volume { name: "config".to_owned(), config_map: Some(config), ..Volume::default() },
        secret("control", registry.child("control"), None),
        data(registry),
    ];
    // The authority's key is in a Secret of its own: a pod mounts what it shows and what it proves, no more.
    volumes.extend(
        registry
            .tls_secret()
            .map(|name| secret("tls", name, Some(vec![key("tls.crt", "tls.crt"), key("tls.key", "tls.key")]))),
    );
    volumes.extend(
        registry.users_secret().map(|(name, users)| secret("users", name, Some(vec![key(&users, USERS_FILE)]))),
    );
    volumes
}

fn key(key: &str, path: &str) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None }
}

fn secret(volume: &str, name: String, items: Option<Vec<KeyToPath>>) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(name),
        default_mode: Some(SECRET_MODE),
        items,
        ..SecretVolumeSource::default()
    };
    Volume { name: volume.to_owned(), secret: Some(source), ..Volume::default() }
}

fn data(registry: &ValidRegistry) -> Volume {
    let claim =
        |claim_name: &str| PersistentVolumeClaimVolumeSource { claim_name: claim_name.to_owned(), read_only: None };
    let mut volume = Volume { name: "data".to_owned(), ..Volume::default() };
    match &registry.storage {
        Storage::ExistingClaim(name) | Storage::MadeClaim { name, .. } => {
            volume.persistent_volume_claim = Some(claim(name));
        }
        Storage::EmptyDir => {
            let limit = registry.spec.storage.empty_dir.as_ref().and_then(|empty_dir| empty_dir.size_limit.clone());
            let size_limit = limit.map(|limit| K8sQuantity(limit.as_str().to_owned()));
            volume.empty_dir = Some(EmptyDirVolumeSource { size_limit, medium: None });
        }
    }
    volume
}
