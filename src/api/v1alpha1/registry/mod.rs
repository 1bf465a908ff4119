//! `Registry`: a container registry to be run.

mod access;
mod garbage_collection;
mod immutable_tags;
mod object_storage;
mod serving;
mod status;
mod storage;
mod tracing;
mod workload;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::rules::{rules, where_duration};

pub use access::{Anonymous, AuthSpec, HtpasswdSpec, SecretKeyReference, SecretReference, TlsMode, TlsSpec};
pub use garbage_collection::{
    CollectionBrake, GarbageCollectionMode, GarbageCollectionResult, GarbageCollectionSpec, GarbageCollectionStatus,
    compile_collection_schedule, default_collection_schedule, grace_period,
};
pub use immutable_tags::{ImmutableTagsSpec, compile_immutable_tags};
pub use object_storage::{
    Addressing, AzureSpec, CaBundleReference, Checksum, EncryptionSpec, EncryptionType, GcsSpec, Redirect, S3Spec,
};
pub use serving::{
    AccessMode, DeletionMode, DeletionSpec, DescriptorCacheSpec, DescriptorCacheType, ExposeSpec, InMemoryCacheSpec,
    LimitsSpec, LogFormat, LogLevel, LoggingSpec, RedisSpec, RedisTlsSpec, ServiceSpec, ServiceType, UploadsSpec,
    default_cache_entries, default_drain_timeout, default_max_manifest_size, default_restore_window,
    default_upload_expiry,
};
pub use status::{RegistryEndpoints, RegistryStatus, StorageStatus};
pub use storage::{
    ClaimTemplate, EmptyDirSpec, PersistentVolumeClaimSpec, StorageSpec, StorageType, WhenDeleted, default_storage_size,
};
pub use tracing::TracingSpec;
pub use workload::{ImageSpec, PodDisruptionBudgetMode, PodDisruptionBudgetSpec, PullPolicy, WorkloadSpec};

/// A container registry that the operator runs.
#[derive(CustomResource, JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lagan.dev",
    version = "v1alpha1",
    kind = "Registry",
    plural = "registries",
    shortname = "reg",
    category = "lagan",
    namespaced,
    derive = "PartialEq",
    status = "RegistryStatus",
    doc = "A Registry is a container registry: the operator runs it, gives it storage, certificates and credentials, and says in its status where it answers.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoints.internal"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.endpoints.nodes", priority = 1),
    printcolumn(name = "Claim", type_ = "string", json_path = ".status.storage.claimName", priority = 1),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = (
        "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')",
        "metadata.name must be at most 52 lowercase letters, digits and dashes, and start with a letter: the names of the Service and of the other objects are made from it"
    )
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "self.replicas <= 1 || self.storage.type in ['S3', 'GCS', 'Azure']",
        "replicas must be 0 or 1: more than one replica needs object storage, which is storage.type S3, GCS or Azure"
    ),
    (
        &format!("!has(self.garbageCollection.gracePeriod) || {}", where_duration("self.garbageCollection.gracePeriod",
            &where_duration("self.deletion.restoreWindow", "duration(self.garbageCollection.gracePeriod) <= duration(self.deletion.restoreWindow)"))),
        "garbageCollection.gracePeriod must not be longer than deletion.restoreWindow"
    ),
])))]
#[derive(Default)]
pub struct RegistrySpec {
    /// Managed: the operator keeps everything as this object says. Unmanaged: it leaves everything as it is,
    /// so that something can be repaired by hand.
    pub management_state: ManagementState,
    /// How many replicas to run: 1; more on object storage (types S3, GCS and Azure); or 0 to stop the registry and
    /// keep its data.
    #[schemars(range(min = 0, max = 100))]
    #[serde(default = "one_replica")]
    pub replicas: i32,
    /// The image that the registry's pods run. Where it is not given, it is the operator's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,
    /// ReadOnly refuses pushes and deletes; retention policies plan, and delete nothing.
    pub access_mode: AccessMode,
    /// Where content lies.
    pub storage: StorageSpec,
    /// What a delete does.
    pub deletion: DeletionSpec,
    /// What becomes of pushes that were broken off.
    pub uploads: UploadsSpec,
    /// When and how the bytes go that nothing needs any more.
    pub garbage_collection: GarbageCollectionSpec,
    /// Tags that stay what they were first pushed as: a push of one of them with other content is refused, and no
    /// policy deletes it.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub immutable_tags: Vec<ImmutableTagsSpec>,
    /// What the registry remembers about blobs, to spare its storage.
    pub descriptor_cache: DescriptorCacheSpec,
    /// The certificate that clients see.
    pub tls: TlsSpec,
    /// Who may pull and push. Where nothing is given, the operator makes a Secret `<name>-admin` of type
    /// kubernetes.io/basic-auth with a user who may do everything.
    pub auth: AuthSpec,
    /// How the registry is reached.
    pub expose: ExposeSpec,
    /// Bounds on what clients may ask for.
    pub limits: LimitsSpec,
    /// How many replicas may be evicted at a time.
    pub pod_disruption_budget: PodDisruptionBudgetSpec,
    /// What the registry's pods are like, beside what the operator decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadSpec>,
    /// What the registry writes to its log.
    pub logging: LoggingSpec,
    /// Where traces of requests go. Nowhere where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TracingSpec>,
}

fn one_replica() -> i32 {
    1
}

/// Whether the operator acts on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ManagementState {
    /// Everything is kept as the object says.
    #[default]
    Managed,
    /// Everything is left as it is.
    Unmanaged,
}
