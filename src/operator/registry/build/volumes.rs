//! What a registry's pod mounts.

use k8s_openapi::{
    api::core::v1::{
        ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource, SecretVolumeSource,
        Volume, VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity as K8sQuantity,
};

use super::config_map::{
    CA, CONFIG_DIRECTORY, CONTROL_DIRECTORY, DATA_DIRECTORY, REDIS_AUTHORITIES_DIRECTORY, REDIS_CREDENTIALS_DIRECTORY,
    STORAGE_AUTHORITIES_DIRECTORY, STORAGE_CREDENTIALS_DIRECTORY, TLS_DIRECTORY, USERS_DIRECTORY, USERS_FILE,
};
use crate::api::v1alpha1::CaBundleReference;
use crate::operator::registry::{
    referred::{redis_authorities, redis_credentials},
    validate::{Storage, ValidRegistry},
};

/// Read by the group, which is the pod's `fsGroup`; written by nobody.
const SECRET_MODE: i32 = 0o440;

/// A volume and where the container finds it.
pub(super) struct Mounted {
    /// The volume.
    pub(super) volume: Volume,
    /// Where it is.
    pub(super) mount: VolumeMount,
}

impl Mounted {
    fn read_only(volume: Volume, directory: &str) -> Self {
        let mount = VolumeMount {
            name: volume.name.clone(),
            mount_path: directory.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        };
        Self { volume, mount }
    }
}

/// Everything that a registry's container sees beside its image.
pub(super) fn mounted(registry: &ValidRegistry) -> Vec<Mounted> {
    let config = ConfigMapVolumeSource { name: registry.child("config"), ..ConfigMapVolumeSource::default() };
    let config = Volume { name: "config".to_owned(), config_map: Some(config), ..Volume::default() };
    let mut all = vec![
        Mounted::read_only(config, CONFIG_DIRECTORY),
        Mounted::read_only(secret("control", registry.child("control"), None), CONTROL_DIRECTORY),
    ];
    all.extend(data(registry));
    // The authority's key is in a Secret of its own: a pod mounts what it shows and what it proves, no more.
    all.extend(registry.tls_secret().map(|name| {
        let items = vec![key("tls.crt", "tls.crt"), key("tls.key", "tls.key")];
        Mounted::read_only(secret("tls", name, Some(items)), TLS_DIRECTORY)
    }));
    all.extend(registry.users_secret().map(|(name, users)| {
        Mounted::read_only(secret("users", name, Some(vec![key(&users, USERS_FILE)])), USERS_DIRECTORY)
    }));
    all.extend(referred(registry));
    all
}

/// What the spec refers to for object storage and Redis. Secrets are mounted whole: some of their keys need not be.
fn referred(registry: &ValidRegistry) -> impl Iterator<Item = Mounted> {
    let spec = &registry.spec;
    let storage = spec.storage.credentials_secret().map(|reference| {
        let volume = secret("storage-credentials", reference.name.clone(), None);
        Mounted::read_only(volume, STORAGE_CREDENTIALS_DIRECTORY)
    });
    let redis = redis_credentials(spec).map(|reference| {
        Mounted::read_only(secret("redis-credentials", reference.name.clone(), None), REDIS_CREDENTIALS_DIRECTORY)
    });
    let storage_authorities = spec.storage.ca_bundle().map(|reference| {
        Mounted::read_only(authorities("storage-authorities", reference), STORAGE_AUTHORITIES_DIRECTORY)
    });
    let redis_authorities = redis_authorities(spec)
        .map(|reference| Mounted::read_only(authorities("redis-authorities", reference), REDIS_AUTHORITIES_DIRECTORY));
    [storage, storage_authorities, redis, redis_authorities].into_iter().flatten()
}

fn authorities(volume: &str, reference: &CaBundleReference) -> Volume {
    let source = ConfigMapVolumeSource {
        name: reference.name.clone(),
        items: Some(vec![key(reference.key_or_default(), CA)]),
        ..ConfigMapVolumeSource::default()
    };
    Volume { name: volume.to_owned(), config_map: Some(source), ..Volume::default() }
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

/// The directory of the content, unless it lies in a bucket.
fn data(registry: &ValidRegistry) -> Option<Mounted> {
    let mut volume = Volume { name: "data".to_owned(), ..Volume::default() };
    match &registry.storage {
        Storage::ExistingClaim(name) | Storage::MadeClaim { name, .. } => {
            let claim = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), read_only: None };
            volume.persistent_volume_claim = Some(claim);
        }
        Storage::EmptyDir => {
            let limit = registry.spec.storage.empty_dir.as_ref().and_then(|empty_dir| empty_dir.size_limit.clone());
            let size_limit = limit.map(|limit| K8sQuantity(limit.as_str().to_owned()));
            volume.empty_dir = Some(EmptyDirVolumeSource { size_limit, medium: None });
        }
        Storage::Bucket => return None,
    }
    let mount =
        VolumeMount { name: volume.name.clone(), mount_path: DATA_DIRECTORY.to_owned(), ..VolumeMount::default() };
    Some(Mounted { volume, mount })
}
