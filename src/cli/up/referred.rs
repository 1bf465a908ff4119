//! What a Registry refers to for object storage and Redis, out of the objects in the files: pods have it mounted, here
//! it becomes files.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use crate::api::serve_config::Surroundings;
use crate::api::v1alpha1::{CaBundleReference, RegistrySpec, SecretReference};

use crate::cli::objects::Objects;

/// Where the object store's credentials are, below a registry's folder of keys.
const STORAGE_CREDENTIALS: &str = "storage-credentials";
/// Where the authorities are that its certificate is verified with.
const STORAGE_AUTHORITIES: &str = "storage-authorities";
/// Where the Redis' credentials are.
const REDIS_CREDENTIALS: &str = "redis-credentials";
/// Where the authorities are that its certificate is verified with.
const REDIS_AUTHORITIES: &str = "redis-authorities";
/// The file in a folder of authorities.
const CA: &str = "ca.crt";

/// Files to write, by folder and name below a registry's folder of keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Referred {
    folders: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
}

impl fmt::Debug for Referred {
    /// Says which files there are, and nothing of what they hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.folders.iter().map(|(folder, files)| (folder, files.keys()));
        f.debug_map().entries(names.map(|(folder, files)| (folder, files.collect::<Vec<_>>()))).finish()
    }
}

impl Referred {
    /// Finds what `spec` refers to.
    ///
    /// # Errors
    /// Names the field and the object that no file has.
    pub(super) fn find(spec: &RegistrySpec, namespace: &str, objects: &Objects) -> Result<Self, String> {
        let mut referred = Self::default();
        let redis = spec.descriptor_cache.redis.as_ref();
        let redis_tls = redis.and_then(|redis| redis.tls.as_ref());
        for (folder, field, reference) in [
            (STORAGE_CREDENTIALS, "the storage", spec.storage.credentials_secret()),
            (REDIS_CREDENTIALS, "the Redis", redis.and_then(|redis| redis.credentials_secret_ref.as_ref())),
        ] {
            let Some(SecretReference { name }) = reference else { continue };
            let data = objects.secret_data(namespace, name).ok_or_else(|| {
                format!("credentialsSecretRef of {field}: no file has a Secret {name} in namespace {namespace}")
            })?;
            referred.folders.insert(folder, data.clone());
        }
        for (folder, field, reference) in [
            (STORAGE_AUTHORITIES, "the storage", spec.storage.ca_bundle()),
            (REDIS_AUTHORITIES, "the Redis", redis_tls.and_then(|tls| tls.ca_bundle_ref.as_ref())),
        ] {
            let Some(reference) = reference else { continue };
            referred.folders.insert(folder, authorities(field, reference, namespace, objects)?);
        }
        Ok(referred)
    }

    /// The files of each folder.
    pub(super) fn folders(&self) -> impl Iterator<Item = (&'static str, &BTreeMap<String, Vec<u8>>)> {
        self.folders.iter().map(|(folder, files)| (*folder, files))
    }

    /// Every folder that there can be.
    pub(super) const FOLDERS: [&'static str; 4] =
        [STORAGE_CREDENTIALS, STORAGE_AUTHORITIES, REDIS_CREDENTIALS, REDIS_AUTHORITIES];
}

/// Where a configuration finds the files in a registry's folder of keys.
pub(super) fn located(keys: &Path, around: Surroundings) -> Surroundings {
    let place = |folder: &str| -> PathBuf { keys.join(folder) };
    Surroundings {
        storage_credentials: place(STORAGE_CREDENTIALS),
        storage_authorities: place(STORAGE_AUTHORITIES).join(CA),
        redis_credentials: place(REDIS_CREDENTIALS),
        redis_authorities: place(REDIS_AUTHORITIES).join(CA),
        ..around
    }
}

fn authorities(
    field: &str,
    reference: &CaBundleReference,
    namespace: &str,
    objects: &Objects,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let (name, key) = (&reference.name, reference.key_or_default());
    let content = objects.config_map(namespace, name, key).ok_or_else(|| {
        format!("caBundleRef of {field}: no file has a ConfigMap {name} with the key {key} in namespace {namespace}")
    })?;
    Ok([(CA.to_owned(), content.to_vec())].into())
}
