//! What a Registry's status says. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{apps::v1::DeploymentStatus, core::v1::PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::ResourceExt;

use crate::api::Quantity;
use crate::api::v1alpha1::{
    GarbageCollectionMode, GarbageCollectionResult, Registry, RegistryStatus, ServiceType, StorageStatus,
    conditions::{self, ConditionStatus, ConditionType, Finding, Reason},
};
use crate::operator::{garbage_collection::decide::CONFIRM, labels};

use super::{
    bucket_finding,
    endpoints::Endpoints,
    observed::Observed,
    tls_finding::tls,
    validate::{Storage, Users, ValidRegistry},
};

/// What is not as it should be for so long is worth an alarm.
const DEGRADED_AFTER: SignedDuration = SignedDuration::from_mins(2);

/// Why a Registry was not brought into its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The spec has to change. In words.
    Invalid(String),
    /// An object of the name is somebody else's. Its kind, and in words.
    NotOwned {
        /// The object's kind.
        kind: String,
        /// What to do.
        message: String,
    },
    /// The cluster refused something or did not answer; it is tried again. In words.
    Refused(String),
}

/// All that was found out about a Registry that could be built.
#[derive(Debug, Clone)]
pub struct Picture<'a> {
    /// What was asked for.
    pub valid: &'a ValidRegistry,
    /// What there is.
    pub observed: &'a Observed,
    /// Where it is reached.
    pub endpoints: &'a Endpoints,
    /// Whether the operator has made a certificate.
    pub certificate_made: bool,
    /// The image that its pods are to run.
    pub image: &'a str,
    /// The version of Lagan in that image, where it is known.
    pub version: Option<&'a str>,
    /// The hash of its configuration.
    pub config_hash: &'a str,
    /// What is in the way.
    pub trouble: Option<&'a Trouble>,
}

/// The status of a Registry that was acted on.
#[must_use]
pub fn of_picture(registry: &Registry, picture: &Picture<'_>, now: Timestamp) -> RegistryStatus {
    let before = registry.status.clone().unwrap_or_default();
    let deployed = deployed(picture);
    let mut findings = vec![ready(picture), available(picture), progressing(picture)];
    findings.extend([storage(picture), tls(picture, now), node_pull(picture)]);
    let conditions = conditions::update(&before.conditions, findings, registry.metadata.generation, now);
    let claim = picture.observed.claim.as_ref();
    RegistryStatus {
        observed_generation: registry.metadata.generation,
        replicas: Some(deployed.replicas.unwrap_or(0)),
        ready_replicas: Some(deployed.ready_replicas.unwrap_or(0)),
        selector: Some(labels::selector_text(&registry.name_any())),
        version: picture.version.map(str::to_owned),
        image: Some(picture.image.to_owned()),
        config_hash: Some(picture.config_hash.to_owned()),
        endpoints: Some(picture.endpoints.published.clone()),
        ca_bundle_config_map: picture.certificate_made.then(|| picture.valid.child("ca")),
        storage: Some(StorageStatus {
            claim_name: claim.map(ResourceExt::name_any),
            capacity: claim.and_then(capacity),
        }),
        last_garbage_collection: before.last_garbage_collection.clone(),
        conditions: with_degraded(&before.conditions, conditions, picture.trouble, registry, now),
    }
}

/// The status of a Registry that was not acted on: what it said, and why nothing was done.
#[must_use]
pub fn of_trouble(registry: &Registry, trouble: &Trouble, now: Timestamp) -> RegistryStatus {
    let before = registry.status.clone().unwrap_or_default();
    let mut findings = Vec::new();
    let progressing = match trouble {
        Trouble::Invalid(message) | Trouble::NotOwned { message, .. } => {
            findings.push(finding(ConditionType::Ready, false, Reason::ConfigInvalid, message));
            finding(
                ConditionType::Progressing,
                false,
                Reason::RolloutComplete,
                "nothing is done until the spec changes",
            )
        }
        Trouble::Refused(message) => finding(ConditionType::Progressing, true, Reason::RollingOut, message),
    };
    findings.push(progressing);
    let mut conditions = conditions::update(&before.conditions, findings, registry.metadata.generation, now);
    let found: Vec<String> = conditions.iter().map(|condition| condition.type_.clone()).collect();
    let stays = |c: &&Condition| !found.contains(&c.type_) && c.type_ != ConditionType::Degraded.as_str();
    conditions.extend(before.conditions.iter().filter(stays).cloned());
    let conditions = with_degraded(&before.conditions, conditions, Some(trouble), registry, now);
    let seen = !matches!(trouble, Trouble::Refused(_));
    let observed_generation = if seen { registry.metadata.generation } else { before.observed_generation };
    RegistryStatus { observed_generation, conditions, ..before }
}

/// The status of a Registry that is to be left alone.
#[must_use]
pub fn of_unmanaged(registry: &Registry, now: Timestamp) -> RegistryStatus {
    let before = registry.status.clone().unwrap_or_default();
    let message = "managementState is Unmanaged: everything is left as it is".to_owned();
    let (type_, status) = (ConditionType::Ready, ConditionStatus::Unknown);
    let findings = vec![Finding { type_, status, reason: Reason::Unmanaged, message }];
    let generation = registry.metadata.generation;
    let conditions = conditions::update(&before.conditions, findings, generation, now);
    RegistryStatus { observed_generation: generation, conditions, ..before }
}

/// A finding that holds or does not.
pub(super) fn finding(type_: ConditionType, holds: bool, reason: Reason, message: impl Into<String>) -> Finding {
    Finding { type_, status: holds.into(), reason, message: message.into() }
}

pub(super) fn deployed(picture: &Picture<'_>) -> DeploymentStatus {
    picture.observed.deployment.as_ref().and_then(|deployment| deployment.status.clone()).unwrap_or_default()
}

fn ready(picture: &Picture<'_>) -> Finding {
    let not = |reason, message: String| finding(ConditionType::Ready, false, reason, message);
    let wanted = picture.valid.spec.replicas;
    let answering = deployed(picture).ready_replicas.unwrap_or(0);
    if let Some(Trouble::Invalid(message) | Trouble::NotOwned { message, .. }) = picture.trouble {
        return not(Reason::ConfigInvalid, message.clone());
    }
    let other = picture.observed.referred.other_problem(&picture.valid.spec);
    if let Some(missing) = missing_users(picture).or(other) {
        return not(Reason::ConfigInvalid, missing);
    }
    if wanted == 0 {
        return not(Reason::ScaledToZero, "replicas is 0: the registry is stopped, its data stays".to_owned());
    }
    if answering >= wanted && !is_rolling_out(picture) {
        return finding(ConditionType::Ready, true, Reason::AllReplicasReady, "the registry answers");
    }
    let storage = storage(picture);
    if storage.status == ConditionStatus::False {
        return not(Reason::WaitingForStorage, storage.message);
    }
    not(Reason::WaitingForReplicas, format!("{answering} of {wanted} replicas answer"))
}

fn missing_users(picture: &Picture<'_>) -> Option<String> {
    let Users::Secret { name, key } = &picture.valid.users else { return None };
    let Some(secret) = &picture.observed.users_secret else {
        return Some(format!("auth.htpasswd names Secret {name}, which does not exist: make it, with key {key}"));
    };
    let has = secret.data.as_ref().is_some_and(|data| data.contains_key(key));
    (!has).then(|| format!("Secret {name} of auth.htpasswd has no key {key}: add it, or name another key"))
}

fn available(picture: &Picture<'_>) -> Finding {
    let type_ = ConditionType::Available;
    if picture.valid.spec.replicas == 0 {
        return finding(type_, false, Reason::ScaledToZero, "replicas is 0");
    }
    if deployed(picture).available_replicas.unwrap_or(0) > 0 {
        return finding(type_, true, Reason::MinimumAvailability, "at least one replica answers");
    }
    finding(type_, false, Reason::NoReplicasAvailable, "no replica answers")
}

fn is_rolling_out(picture: &Picture<'_>) -> bool {
    let Some(deployment) = &picture.observed.deployment else { return true };
    let status = deployed(picture);
    let updated = status.updated_replicas.unwrap_or(0);
    status.observed_generation < deployment.metadata.generation
        || updated < picture.valid.spec.replicas
        || status.replicas.unwrap_or(0) > updated
}

fn progressing(picture: &Picture<'_>) -> Finding {
    let type_ = ConditionType::Progressing;
    if let Some(Trouble::Refused(message)) = picture.trouble {
        return finding(type_, true, Reason::RollingOut, message);
    }
    if is_rolling_out(picture) {
        return finding(type_, true, Reason::RollingOut, "the pods are being replaced");
    }
    if picture.observed.claim.as_ref().is_some_and(is_resizing) {
        return finding(type_, true, Reason::StorageResizing, "the claim's volume grows");
    }
    finding(type_, false, Reason::RolloutComplete, "the pods are as the spec says")
}

fn storage(picture: &Picture<'_>) -> Finding {
    let finding = |holds, reason, message: &str| finding(ConditionType::StorageReady, holds, reason, message);
    if let Some(Trouble::NotOwned { kind, message }) = picture.trouble
        && kind == "PersistentVolumeClaim"
    {
        return finding(false, Reason::ClaimNotOwned, message);
    }
    let name = match &picture.valid.storage {
        Storage::EmptyDir => return finding(true, Reason::Ephemeral, "content lies in the pod, and is gone with it"),
        Storage::Bucket => return bucket_finding::bucket(picture),
        Storage::ExistingClaim(name) | Storage::MadeClaim { name, .. } => name,
    };
    let Some(claim) = &picture.observed.claim else {
        return match &picture.valid.storage {
            Storage::ExistingClaim(_) => {
                finding(false, Reason::ClaimNotFound, &format!("claim {name} does not exist: make it, or name another"))
            }
            _ => finding(false, Reason::ClaimPending, &format!("claim {name} is not made yet")),
        };
    };
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    match phase {
        "Bound" => finding(true, Reason::Bound, &format!("claim {name} is bound")),
        "Lost" => finding(false, Reason::ProvisioningFailed, &format!("the volume of claim {name} is gone")),
        _ => finding(
            false,
            Reason::ClaimPending,
            &format!("claim {name} waits for a volume: kubectl describe persistentvolumeclaim {name}"),
        ),
    }
}

fn node_pull(picture: &Picture<'_>) -> Finding {
    let type_ = ConditionType::NodePullReady;
    if let Some(host) = &picture.endpoints.published.nodes {
        let trust = picture.valid.child("node-trust");
        let message =
            format!("images are named {host}/…; put the files of ConfigMap {trust} into certs.d/{host} of each node");
        return finding(type_, true, Reason::Reachable, message);
    }
    let message = match picture.valid.spec.expose.service.type_ {
        ServiceType::ClusterIP => {
            "nodes resolve no cluster names: set expose.service.type to NodePort, or expose.externalURL"
        }
        ServiceType::NodePort | ServiceType::LoadBalancer => {
            "the node port or the nodes' addresses are not known (an operator of single namespaces sees no nodes): if \
             this stays, set expose.externalURL"
        }
    };
    finding(type_, false, Reason::NoNodeReachableEndpoint, message)
}

/// Adds Degraded to conditions, which says so if they have been bad for long enough.
fn with_degraded(
    before: &[Condition],
    mut conditions: Vec<Condition>,
    trouble: Option<&Trouble>,
    registry: &Registry,
    now: Timestamp,
) -> Vec<Condition> {
    let type_ = ConditionType::Degraded;
    let bad = conditions.iter().filter(|condition| is_bad(condition)).map(|c| (c.last_transition_time.0, &c.message));
    let degraded = match bad.min_by_key(|(since, _)| *since) {
        Some((since, message)) if now.duration_since(since) >= DEGRADED_AFTER => match trouble {
            Some(Trouble::Refused(message) | Trouble::Invalid(message) | Trouble::NotOwned { message, .. }) => {
                finding(type_, true, Reason::ReconcileError, message)
            }
            None => finding(type_, true, Reason::ProgressDeadlineExceeded, message),
        },
        _ => match halted(registry) {
            Some(message) => finding(type_, true, Reason::CollectionHalted, message),
            None => finding(type_, false, Reason::AsExpected, "nothing has been wrong for long"),
        },
    };
    conditions.extend(conditions::update(before, vec![degraded], registry.metadata.generation, now));
    conditions
}

/// Why no garbage is collected, and what to do, if somebody has to do something. Storage grows meanwhile.
fn halted(registry: &Registry) -> Option<String> {
    if registry.spec.garbage_collection.mode == GarbageCollectionMode::Disabled {
        return None;
    }
    let last = registry.status.as_ref()?.last_garbage_collection.as_ref()?;
    let said = last.message.as_deref().unwrap_or("the registry does not say why");
    match (last.result?, last.brake) {
        (GarbageCollectionResult::Failed, _) => Some(format!("the last garbage collection failed: {said}")),
        (GarbageCollectionResult::Halted, Some(brake)) if brake.is_confirmable() => Some(format!(
            "garbage collection stopped before it removed anything: {said}; to let it go on: \
             kubectl annotate --overwrite registry {} {CONFIRM}={}",
            registry.name_any(),
            last.report
        )),
        (GarbageCollectionResult::Halted, Some(brake)) if brake.needs_somebody() => {
            Some(format!("garbage collection stopped before it removed anything: {said}"))
        }
        _ => None,
    }
}

fn is_bad(condition: &Condition) -> bool {
    let is = |type_: ConditionType, status| condition.type_ == type_.as_str() && condition.status == status;
    (is(ConditionType::Ready, "False") && condition.reason != Reason::ScaledToZero.as_str())
        || is(ConditionType::Progressing, "True")
}

fn capacity(claim: &PersistentVolumeClaim) -> Option<String> {
    Some(claim.status.as_ref()?.capacity.as_ref()?.get("storage")?.0.clone())
}

fn is_resizing(claim: &PersistentVolumeClaim) -> bool {
    let amount = |text: Option<String>| text.and_then(|text| text.parse::<Quantity>().ok());
    let requested =
        claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage").cloned());
    match (amount(requested.map(|quantity| quantity.0)), amount(capacity(claim))) {
        (Some(requested), Some(capacity)) => capacity.as_bytes() < requested.as_bytes(),
        _ => false,
    }
}
