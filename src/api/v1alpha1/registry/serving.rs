//! How a registry serves: what deletes do, what is cached, where it is reached, what is bounded.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::rules::{rules, rules_of_duration};
use crate::api::{Duration, Quantity};

use super::{CaBundleReference, SecretReference};

/// Whether anything may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// Pulls, pushes and deletes.
    #[default]
    ReadWrite,
    /// Pulls only.
    ReadOnly,
}

/// What a delete does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeletionSpec {
    /// Soft: what is deleted goes to the trash, and can be restored within the restore window. Disabled:
    /// every delete is refused, and retention policies plan and delete nothing.
    pub mode: DeletionMode,
    /// How long the trash keeps what was deleted. At least 10m.
    #[schemars(extend("x-kubernetes-validations" = rules_of_duration(&[(
        "duration(self) >= duration('10m')",
        "restoreWindow must be at least 10m: less is no chance to notice a mistake"
    )])))]
    pub restore_window: Duration,
}

impl Default for DeletionSpec {
    fn default() -> Self {
        Self { mode: DeletionMode::default(), restore_window: default_restore_window() }
    }
}

/// What a delete does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeletionMode {
    /// It moves content to the trash.
    #[default]
    Soft,
    /// It is refused.
    Disabled,
}

/// A week: a mistake made on a Friday is noticed on Monday.
#[must_use]
pub fn default_restore_window() -> Duration {
    Duration::from_hours(168)
}

/// What becomes of pushes that were broken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UploadsSpec {
    /// How long the bytes of a push that was broken off are kept, from when the last of them came, so that its client
    /// can go on with it. At least 24h.
    #[schemars(extend("x-kubernetes-validations" = rules_of_duration(&[(
        "duration(self) >= duration('24h')",
        "expireAfter must be at least 24h: a large push may take long, and its parts are not removed under way"
    )])))]
    pub expire_after: Duration,
}

impl Default for UploadsSpec {
    fn default() -> Self {
        Self { expire_after: default_upload_expiry() }
    }
}

/// A week, as distribution has it: a push that broke off before a weekend goes on after it.
#[must_use]
pub fn default_upload_expiry() -> Duration {
    Duration::from_hours(168)
}

/// What the registry remembers about blobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "(self.type == 'Redis') == has(self.redis)",
    "redis goes with type Redis: write its address there, or remove it and use type InMemory"
)])))]
pub struct DescriptorCacheSpec {
    /// InMemory: in each process. Redis: in each process, and behind it in a Redis that all replicas share and that a
    /// restart finds filled. Without the Redis the registry is slower, and nothing fails.
    #[serde(rename = "type", default)]
    pub type_: DescriptorCacheType,
    /// The cache in the process, which every type has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<InMemoryCacheSpec>,
    /// For type Redis: which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisSpec>,
}

/// A Redis, or a server that speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisSpec {
    /// Host and port, such as redis.example.com:6379.
    #[schemars(length(min = 3, max = 260), regex(pattern = r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$"))]
    pub address: String,
    /// TLS. Where it is not given, the connection is plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTlsSpec>,
    /// A Secret of this namespace with the key password, and username where there is one, as type
    /// kubernetes.io/basic-auth has them. When it changes, the pods are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
}

/// How the connection to Redis is protected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisTlsSpec {
    /// A ConfigMap of this namespace with the authorities to trust, in PEM. The well-known ones where it is not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleReference>,
}

impl DescriptorCacheSpec {
    /// How many descriptors the cache holds, at most.
    #[must_use]
    pub fn max_entries(&self) -> u32 {
        self.in_memory.as_ref().and_then(|m| m.max_entries).unwrap_or_else(default_cache_entries)
    }
}

/// Where the registry remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DescriptorCacheType {
    /// In the process.
    #[default]
    InMemory,
    /// In the process, and behind it in a Redis that replicas share and that a restart finds filled.
    Redis,
}

/// A cache in the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InMemoryCacheSpec {
    /// How many descriptors, at most: 100000 where it is not given, which takes some 30 MB.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<u32>,
}

/// Some 30 MB, which the smallest of pods can spare, and enough for thousands of images.
#[must_use]
pub fn default_cache_entries() -> u32 {
    100_000
}

/// How the registry is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!has(self.externalURL) || self.externalURL.matches('^https?://([A-Za-z0-9.-]+|\\\\[[0-9A-Fa-f:.]+\\\\])(:[0-9]{1,5})?/?$')",
    "externalURL must be a scheme and a host without a path, such as https://registry.example.com or http://10.0.0.5:5000"
)])))]
pub struct ExposeSpec {
    /// The address under which clients outside the cluster, and nodes, reach the registry. The self-signed
    /// certificate carries its host. Lagan does not make it answer: that is the work of an ingress or a load
    /// balancer.
    #[schemars(length(max = 512))]
    #[serde(rename = "externalURL", default, skip_serializing_if = "Option::is_none")]
    pub external_url: Option<String>,
    /// The Service in front of the registry, port 5000.
    #[serde(default)]
    pub service: ServiceSpec,
}

/// The Service in front of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!has(self.nodePort) || self.type != 'ClusterIP'",
    "nodePort needs type NodePort or LoadBalancer: set the type, or remove nodePort"
)])))]
pub struct ServiceSpec {
    /// ClusterIP: reached from pods. NodePort: from nodes too, so that they can pull. LoadBalancer: from
    /// wherever the cluster's load balancer listens.
    #[serde(rename = "type", default)]
    pub type_: ServiceType,
    /// The port of every node, for types NodePort and LoadBalancer. The cluster chooses one where it is not
    /// given.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<i32>,
    /// Annotations of the Service, such as a load balancer's settings.
    #[schemars(extend("maxProperties" = 64, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// From where a Service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// From pods.
    #[default]
    ClusterIP,
    /// From nodes too.
    NodePort,
    /// Through the cluster's load balancer too.
    LoadBalancer,
}

/// Bounds on what clients may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsSpec {
    /// The largest manifest that is accepted. At most 64Mi: a manifest is held in memory.
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "quantity(string(self)).compareTo(quantity('64Mi')) <= 0 && quantity(string(self)).compareTo(quantity('4Ki')) >= 0",
        "maxManifestSize must be between 4Ki and 64Mi"
    )])))]
    pub max_manifest_size: Quantity,
    /// The largest layer or other blob that is accepted. No bound where it is not given.
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "quantity(string(self)).compareTo(quantity('1Mi')) >= 0",
        "maxBlobSize must be at least 1Mi: leave it out for no bound"
    )])))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_blob_size: Option<Quantity>,
    /// How long requests in progress may take after the pod was told to stop. At most 1h.
    #[schemars(extend("x-kubernetes-validations" = rules_of_duration(&[(
        "duration(self) <= duration('1h')",
        "drainTimeout must be at most 1h: the registry does not answer while it drains"
    )])))]
    pub drain_timeout: Duration,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            max_manifest_size: default_max_manifest_size(),
            max_blob_size: None,
            drain_timeout: default_drain_timeout(),
        }
    }
}

/// The size that the distribution specification asks every registry to accept.
#[must_use]
pub fn default_max_manifest_size() -> Quantity {
    Quantity::from_mebibytes(4)
}

/// As long as Kubernetes gives a pod by default.
#[must_use]
pub fn default_drain_timeout() -> Duration {
    Duration::from_seconds(30)
}

/// What the registry writes to its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoggingSpec {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// Text for people, Json for programs.
    pub format: LogFormat,
}

impl Default for LoggingSpec {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Json }
    }
}

/// How important a line of a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Something worth knowing happened.
    #[default]
    Info,
    /// What happened on the way.
    Debug,
    /// Everything.
    Trace,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}
