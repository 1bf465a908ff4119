//! What a Registry's spec means for the processes that serve it: the one conversion, for pods and for `lagan up`.

use std::{net::SocketAddr, path::PathBuf};

use crate::api::FieldError;
use crate::api::v1alpha1::{
    DescriptorCacheSpec, RedisSpec, RegistrySpec, StorageSpec, StorageType, TracingSpec, compile_immutable_tags,
};

use super::{
    AuthConfig, AzureConfig, ControlConfig, DeletionConfig, DescriptorCacheConfig, GarbageCollectionConfig, GcsConfig,
    HealthConfig, HtpasswdConfig, InMemoryCacheConfig, LimitsConfig, LoggingConfig, RedisConfig, RedisTlsConfig,
    S3Config, ServeConfig, StorageConfig, TlsConfig, TracingConfig, UploadsConfig,
};

/// The key of a Secret, and the file's name, with the key of a service account of Google's.
pub const GCS_CREDENTIALS: &str = "credentials.json";

/// What a process has around it that serves a Registry: addresses, folders and files.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where probes connect.
    pub health: HealthConfig,
    /// Where the operator and other replicas connect, if they do.
    pub control: Option<ControlConfig>,
    /// What clients see.
    pub tls: Option<TlsConfig>,
    /// Who may log in.
    pub htpasswd: Option<HtpasswdConfig>,
    /// The folder for content that lies in no bucket.
    pub data: PathBuf,
    /// The folder with the keys of the Secret that the object storage names.
    pub storage_credentials: PathBuf,
    /// The file with the authorities that the object storage names.
    pub storage_authorities: PathBuf,
    /// The folder with the keys of the Secret that the Redis names.
    pub redis_credentials: PathBuf,
    /// The file with the authorities that the Redis names.
    pub redis_authorities: PathBuf,
}

impl ServeConfig {
    /// The configuration of a process that serves a Registry.
    ///
    /// # Errors
    /// Names the field of the spec and what would be right. The schema refuses all of it, but an object may be older
    /// than the schema.
    pub fn of_registry(spec: &RegistrySpec, around: Surroundings) -> Result<Self, FieldError> {
        let storage = storage(&spec.storage, &around)?;
        let descriptor_cache = descriptor_cache(&spec.descriptor_cache, &around);
        let below = |section: &'static str| {
            move |FieldError { path, message }| FieldError::new(format!("spec.{section}.{path}"), message)
        };
        storage.check().map_err(below("storage"))?;
        descriptor_cache.check().map_err(below("descriptorCache"))?;
        let tracing = spec.tracing.as_ref().map(tracing);
        tracing.as_ref().map_or(Ok(()), |tracing| tracing.check().map_err(below("tracing")))?;
        let garbage_collection = garbage_collection(spec).map_err(below("garbageCollection"))?;
        compile_immutable_tags(&spec.immutable_tags)
            .map_err(|FieldError { path, message }| FieldError::new(format!("spec.{path}"), message))?;
        Ok(Self {
            listen: around.listen,
            control: around.control,
            health: around.health,
            storage,
            deletion: DeletionConfig { mode: spec.deletion.mode, restore_window: spec.deletion.restore_window.clone() },
            uploads: UploadsConfig { expire_after: spec.uploads.expire_after.clone() },
            garbage_collection,
            immutable_tags: spec.immutable_tags.clone(),
            descriptor_cache,
            tls: around.tls,
            auth: AuthConfig { anonymous: spec.auth.anonymous, htpasswd: around.htpasswd },
            limits: LimitsConfig {
                max_manifest_size: spec.limits.max_manifest_size.clone(),
                max_blob_size: spec.limits.max_blob_size.clone(),
                drain_timeout: spec.limits.drain_timeout.clone(),
            },
            access_mode: spec.access_mode,
            logging: LoggingConfig { level: spec.logging.level, format: spec.logging.format },
            tracing,
        })
    }
}

/// Who keeps the schedule is not said here: in a cluster it is the operator, at one replica.
fn garbage_collection(spec: &RegistrySpec) -> Result<GarbageCollectionConfig, FieldError> {
    let collection = &spec.garbage_collection;
    collection.compile_schedule()?;
    let config = GarbageCollectionConfig {
        mode: collection.mode,
        schedule: None,
        grace_period: collection.grace_period.clone(),
    };
    config.check(&spec.deletion.restore_window)?;
    Ok(config)
}

fn storage(spec: &StorageSpec, around: &Surroundings) -> Result<StorageConfig, FieldError> {
    let lacks = |member| FieldError::new(format!("spec.storage.{member}"), "the storage's type needs it");
    let credentials = spec.credentials_secret().map(|_| around.storage_credentials.clone());
    let ca_bundle_file = spec.ca_bundle().map(|_| around.storage_authorities.clone());
    Ok(match spec.type_ {
        StorageType::PersistentVolumeClaim | StorageType::EmptyDir => StorageConfig::folder(around.data.clone()),
        StorageType::S3 => {
            let s3 = spec.s3.clone().ok_or_else(|| lacks("s3"))?;
            StorageConfig::S3(S3Config {
                bucket: s3.bucket,
                region: s3.region,
                endpoint: s3.endpoint,
                prefix: s3.prefix,
                addressing: s3.addressing.unwrap_or_default(),
                credentials_directory: credentials,
                ca_bundle_file,
                encryption: s3.encryption,
                checksum: s3.checksum.unwrap_or_default(),
                redirect: s3.redirect.unwrap_or_default(),
            })
        }
        StorageType::Gcs => {
            let gcs = spec.gcs.clone().ok_or_else(|| lacks("gcs"))?;
            StorageConfig::Gcs(GcsConfig {
                bucket: gcs.bucket,
                prefix: gcs.prefix,
                endpoint: gcs.endpoint,
                credentials_file: credentials.map(|folder| folder.join(GCS_CREDENTIALS)),
                ca_bundle_file,
            })
        }
        StorageType::Azure => {
            let azure = spec.azure.clone().ok_or_else(|| lacks("azure"))?;
            StorageConfig::Azure(AzureConfig {
                account: azure.account,
                container: azure.container,
                prefix: azure.prefix,
                endpoint: azure.endpoint,
                credentials_directory: credentials,
                ca_bundle_file,
            })
        }
    })
}

fn tracing(spec: &TracingSpec) -> TracingConfig {
    let percent = f64::from(spec.sample_percent.unwrap_or(100));
    TracingConfig { otlp_endpoint: spec.otlp_endpoint.clone(), sample_ratio: percent / 100.0 }
}

fn descriptor_cache(spec: &DescriptorCacheSpec, around: &Surroundings) -> DescriptorCacheConfig {
    let redis = |redis: &RedisSpec| RedisConfig {
        address: redis.address.clone(),
        tls: redis.tls.as_ref().map(|tls| RedisTlsConfig {
            ca_file: tls.ca_bundle_ref.as_ref().map(|_| around.redis_authorities.clone()),
        }),
        credentials_directory: redis.credentials_secret_ref.as_ref().map(|_| around.redis_credentials.clone()),
    };
    DescriptorCacheConfig {
        type_: spec.type_,
        in_memory: InMemoryCacheConfig { max_entries: spec.max_entries() },
        redis: spec.redis.as_ref().map(redis),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            listen: "127.0.0.1:5000".parse().unwrap(),
            health: HealthConfig::default(),
            control: None,
            tls: None,
            htpasswd: None,
            data: "/data".into(),
            storage_credentials: "/storage".into(),
            storage_authorities: "/authorities/storage".into(),
            redis_credentials: "/redis".into(),
            redis_authorities: "/authorities/redis".into(),
        }
    }

    fn config(spec: Value) -> Result<ServeConfig, FieldError> {
        ServeConfig::of_registry(&serde_json::from_value(spec).unwrap(), around())
    }

    #[test]
    fn bucket_comes_with_the_files_of_what_the_spec_refers_to() {
        let s3 = json!({"bucket": "images", "prefix": "a", "credentialsSecretRef": {"name": "s"},
            "caBundleRef": {"name": "c"}, "encryption": {"type": "KMS"}, "checksum": "CRC64NVME", "redirect": "Enabled"});
        let redis =
            json!({"address": "r:1", "tls": {"caBundleRef": {"name": "c"}}, "credentialsSecretRef": {"name": "s"}});
        let spec = json!({"storage": {"type": "S3", "s3": s3}, "descriptorCache": {"type": "Redis", "redis": redis},
            "limits": {"maxBlobSize": "1Gi"}, "tracing": {"otlpEndpoint": "http://collector:4318", "samplePercent": 5}});
        let text = serde_yaml::to_string(&config(spec).unwrap()).unwrap();
        for line in [
            "    credentialsDirectory: /storage",
            "    caBundleFile: /authorities/storage",
            "      type: KMS",
            "    redirect: Enabled",
            "    checksum: CRC64NVME",
            "  otlpEndpoint: http://collector:4318",
            "  sampleRatio: 0.05",
            "    credentialsDirectory: /redis",
            "      caFile: /authorities/redis",
            "  maxBlobSize: 1Gi",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn every_type_of_storage_is_written() {
        for (storage, called) in [
            (json!({}), "/data"),
            (json!({"type": "EmptyDir"}), "/data"),
            (json!({"type": "GCS", "gcs": {"bucket": "images", "credentialsSecretRef": {"name": "s"}}}), "gs://images"),
            (json!({"type": "Azure", "azure": {"account": "acme", "container": "images"}}), "azure://acme/images"),
        ] {
            let config = config(json!({"storage": storage})).unwrap();
            assert_eq!(config.storage.to_string(), called);
            if let StorageConfig::Gcs(gcs) = config.storage {
                assert_eq!(gcs.credentials_file, Some("/storage/credentials.json".into()));
            }
        }
    }

    #[test]
    fn what_an_old_object_may_say_is_refused_with_its_field() {
        for (spec, field) in [
            (json!({"storage": {"type": "S3"}}), "spec.storage.s3"),
            (json!({"storage": {"type": "S3", "s3": {"bucket": "B"}}}), "spec.storage.s3.bucket"),
            (json!({"descriptorCache": {"type": "Redis"}}), "spec.descriptorCache.redis"),
            (json!({"tracing": {"otlpEndpoint": "collector:4318"}}), "spec.tracing.otlpEndpoint"),
            (json!({"tracing": {"otlpEndpoint": "http://c", "samplePercent": 101}}), "spec.tracing.sampleRatio"),
            (json!({"garbageCollection": {"schedule": "nightly"}}), "spec.garbageCollection.schedule"),
            (json!({"garbageCollection": {"gracePeriod": "0s"}}), "spec.garbageCollection.gracePeriod"),
            (json!({"garbageCollection": {"gracePeriod": "169h"}}), "spec.garbageCollection.gracePeriod"),
        ] {
            assert_eq!(config(spec).unwrap_err().path, field);
        }
    }
}
