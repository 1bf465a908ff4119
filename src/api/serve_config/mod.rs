//! The file that `lagan serve` reads, as it is written.
//!
//! Everything has a default, so that a folder to store in is enough. What a field's text means, and whether
//! the fields fit each other, is checked where the file is loaded.

mod descriptor_cache;
mod garbage_collection;
mod object_storage;
mod of_registry;
mod storage;
mod tracing;

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::v1alpha1::{AccessMode, Anonymous, DeletionMode, ImmutableTagsSpec, LogFormat, LogLevel};
use super::{Duration, Quantity};

pub use descriptor_cache::{DescriptorCacheConfig, InMemoryCacheConfig, RedisConfig, RedisTlsConfig};
pub use garbage_collection::GarbageCollectionConfig;
pub use object_storage::{AzureConfig, GcsConfig, S3Config};
pub use of_registry::{GCS_CREDENTIALS, Surroundings};
pub use storage::{FilesystemConfig, StorageConfig, StorageMemberError, StorageType};
pub use tracing::TracingConfig;

/// What one registry process serves, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServeConfig {
    /// Where clients connect.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Where the operator and other replicas connect; absent, there is no such listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlConfig>,
    /// Health, readiness and metrics.
    #[serde(default)]
    pub health: HealthConfig,
    /// Where content lies.
    pub storage: StorageConfig,
    /// What a delete does.
    #[serde(default)]
    pub deletion: DeletionConfig,
    /// What becomes of pushes that were broken off.
    #[serde(default)]
    pub uploads: UploadsConfig,
    /// When and how the bytes go that nothing needs any more.
    #[serde(default)]
    pub garbage_collection: GarbageCollectionConfig,
    /// Tags that stay what they were first pushed as.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub immutable_tags: Vec<ImmutableTagsSpec>,
    /// What is remembered about blobs.
    #[serde(default)]
    pub descriptor_cache: DescriptorCacheConfig,
    /// The certificate that clients see; absent, they speak plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Who may do what.
    #[serde(default)]
    pub auth: AuthConfig,
    /// Bounds on what clients may ask for.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Whether anything may change.
    #[serde(default)]
    pub access_mode: AccessMode,
    /// What is written to standard error.
    #[serde(default)]
    pub logging: LoggingConfig,
    /// Where traces go; absent, nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TracingConfig>,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 5000))
}

fn default_health_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 5002))
}

/// The listener for the operator and for other replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlConfig {
    /// Where.
    pub listen: SocketAddr,
    /// Under which address other replicas of the same bucket reach this listener: an IP address or a name, and a port
    /// where it is not that of `listen`. `LAGAN_ADVERTISE` overrules it. Without it there can be one replica only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Mutual TLS: there is no other way in.
    pub tls: ControlTlsConfig,
}

/// Both sides' certificates. A replica shows its own to those that call it and to those that it calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlTlsConfig {
    /// PEM file: this side's certificate chain.
    pub certificate: PathBuf,
    /// PEM file: its private key.
    pub key: PathBuf,
    /// PEM file: the authorities that sign the callers' certificates, and those of other replicas.
    pub client_authority: PathBuf,
    /// The name that the certificates of all replicas carry, whatever their address; absent, a replica's certificate
    /// must carry the address that it advertises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// The listener for probes and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthConfig {
    /// Where.
    #[serde(default = "default_health_listen")]
    pub listen: SocketAddr,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self { listen: default_health_listen() }
    }
}

/// What a delete does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeletionConfig {
    /// Whether anything can be deleted.
    #[serde(default)]
    pub mode: DeletionMode,
    /// How long the trash keeps.
    #[serde(default = "super::v1alpha1::default_restore_window")]
    pub restore_window: Duration,
}

impl Default for DeletionConfig {
    fn default() -> Self {
        Self { mode: DeletionMode::default(), restore_window: super::v1alpha1::default_restore_window() }
    }
}

/// A certificate and its key; both are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file: the certificate chain.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthConfig {
    /// What those may do who name nobody.
    #[serde(default)]
    pub anonymous: Anonymous,
    /// Who may do everything, with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub htpasswd: Option<HtpasswdConfig>,
}

/// A file of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HtpasswdConfig {
    /// Lines of `user:bcrypt-hash`; read again when it changes.
    pub file: PathBuf,
}

/// Bounds on what clients may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsConfig {
    /// The largest manifest.
    #[serde(default = "super::v1alpha1::default_max_manifest_size")]
    pub max_manifest_size: Quantity,
    /// The largest blob; absent, there is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_blob_size: Option<Quantity>,
    /// How long requests in progress may take after SIGTERM.
    #[serde(default = "super::v1alpha1::default_drain_timeout")]
    pub drain_timeout: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_manifest_size: super::v1alpha1::default_max_manifest_size(),
            max_blob_size: None,
            drain_timeout: super::v1alpha1::default_drain_timeout(),
        }
    }
}

/// What becomes of pushes that were broken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UploadsConfig {
    /// How long an upload stays to which nothing comes.
    #[serde(default = "super::v1alpha1::default_upload_expiry")]
    pub expire_after: Duration,
}

impl Default for UploadsConfig {
    fn default() -> Self {
        Self { expire_after: super::v1alpha1::default_upload_expiry() }
    }
}

/// What is written to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoggingConfig {
    /// How much.
    #[serde(default)]
    pub level: LogLevel,
    /// For people or for programs.
    #[serde(default)]
    pub format: LogFormat,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_enough() {
        let config: ServeConfig = serde_yaml::from_str("storage: {filesystem: {directory: /data}}").unwrap();
        assert_eq!(config.listen.port(), 5000);
        assert_eq!(config.health.listen.port(), 5002);
        assert_eq!(config.deletion.mode, DeletionMode::Soft);
        assert_eq!(config.deletion.restore_window.to_string(), "168h");
        assert_eq!(config.uploads.expire_after.to_string(), "168h");
        assert_eq!(config.descriptor_cache.in_memory.max_entries, 100_000);
        assert_eq!(config.auth.anonymous, Anonymous::None);
    }

    #[test]
    fn a_file_survives_being_written_and_read() {
        let text = "storage: {filesystem: {directory: /data}}\nauth: {htpasswd: {file: /etc/htpasswd}}\n\
            control: {listen: '0.0.0.0:5001', advertise: 10.0.0.5, tls: {certificate: a, key: b, clientAuthority: c}}\n\
            tracing: {otlpEndpoint: 'http://collector:4318', sampleRatio: 0.1}\nlimits: {maxBlobSize: 100Gi}";
        let config: ServeConfig = serde_yaml::from_str(text).unwrap();
        let written = serde_yaml::to_string(&config).unwrap();
        assert_eq!(serde_yaml::from_str::<ServeConfig>(&written).unwrap(), config);
    }

    #[test]
    fn a_misspelled_field_is_refused() {
        let text = "storage: {filesystem: {directory: /data}}\ndeletion: {restoreWindows: 1h}";
        let error = serde_yaml::from_str::<ServeConfig>(text).unwrap_err().to_string();
        assert!(error.contains("restoreWindows"), "{error}");
    }
}
