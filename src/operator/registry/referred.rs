//! The Secrets and `ConfigMap`s of somebody's that a Registry refers to for object storage and Redis.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use serde_json::json;

use crate::api::serve_config::GCS_CREDENTIALS;
use crate::api::v1alpha1::{CaBundleReference, RegistrySpec, SecretReference, StorageType};
use crate::operator::{apply, difference::fingerprint};

use super::{observed::secret, validate::ValidRegistry};

/// What there is of what a spec refers to. Pods read it when they start only.
#[derive(Debug, Clone, Default)]
pub struct Referred {
    /// The Secret with the object store's credentials.
    pub storage_credentials: Option<Secret>,
    /// The authorities that the object store's certificate is verified with.
    pub storage_authorities: Option<ConfigMap>,
    /// The Secret with the Redis' credentials.
    pub redis_credentials: Option<Secret>,
    /// The authorities that the Redis' certificate is verified with.
    pub redis_authorities: Option<ConfigMap>,
}

impl Referred {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn read(client: &Client, registry: &ValidRegistry) -> Result<Self, apply::Error> {
        let (namespace, storage) = (registry.namespace.as_str(), &registry.spec.storage);
        Ok(Self {
            storage_credentials: read_secret(client, namespace, storage.credentials_secret()).await?,
            storage_authorities: read_config_map(client, namespace, storage.ca_bundle()).await?,
            redis_credentials: read_secret(client, namespace, redis_credentials(&registry.spec)).await?,
            redis_authorities: read_config_map(client, namespace, redis_authorities(&registry.spec)).await?,
        })
    }

    /// A hash of what it says, if there is any: when it changes, the pods are replaced.
    #[must_use]
    pub fn hash(&self) -> Option<String> {
        let of_secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| json!(secret.data));
        let of_map = |map: &Option<ConfigMap>| map.as_ref().map(|map| json!(map.data));
        let all = [
            of_secret(&self.storage_credentials),
            of_map(&self.storage_authorities),
            of_secret(&self.redis_credentials),
            of_map(&self.redis_authorities),
        ];
        all.iter().any(Option::is_some).then(|| fingerprint(&json!(all)))
    }

    /// What is missing for the object store's credentials, and what to do.
    #[must_use]
    pub fn credentials_problem(&self, spec: &RegistrySpec) -> Option<String> {
        let name = &spec.storage.credentials_secret()?.name;
        let field = "credentialsSecretRef of the storage";
        match spec.storage.type_ {
            StorageType::S3 => {
                let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
                missing(field, name, self.storage_credentials.as_ref(), &keys)
            }
            StorageType::Gcs => missing(field, name, self.storage_credentials.as_ref(), &[GCS_CREDENTIALS]),
            StorageType::Azure => {
                let keys = ["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"];
                let problem = |key| missing(field, name, self.storage_credentials.as_ref(), &[key]);
                // One of them is enough.
                keys.into_iter().map(problem).reduce(Option::and).flatten()
            }
            StorageType::PersistentVolumeClaim | StorageType::EmptyDir => None,
        }
    }

    /// What else is missing without which pods do not start, and what to do.
    #[must_use]
    pub fn other_problem(&self, spec: &RegistrySpec) -> Option<String> {
        let redis = redis_credentials(spec).and_then(|reference| {
            let field = "credentialsSecretRef of the Redis";
            missing(field, &reference.name, self.redis_credentials.as_ref(), &["password"])
        });
        redis
            .or_else(|| missing_bundle("storage", spec.storage.ca_bundle(), self.storage_authorities.as_ref()))
            .or_else(|| missing_bundle("Redis", redis_authorities(spec), self.redis_authorities.as_ref()))
    }
}

/// The Secret with the Redis' credentials, if one was given.
#[must_use]
pub fn redis_credentials(spec: &RegistrySpec) -> Option<&SecretReference> {
    spec.descriptor_cache.redis.as_ref()?.credentials_secret_ref.as_ref()
}

/// The `ConfigMap` with the Redis' authorities, if one was given.
#[must_use]
pub fn redis_authorities(spec: &RegistrySpec) -> Option<&CaBundleReference> {
    spec.descriptor_cache.redis.as_ref()?.tls.as_ref()?.ca_bundle_ref.as_ref()
}

fn missing(field: &str, name: &str, secret: Option<&Secret>, keys: &[&str]) -> Option<String> {
    let Some(secret) = secret else {
        return Some(format!(
            "{field} names Secret {name}, which does not exist: make it, with the keys {}",
            keys.join(" and ")
        ));
    };
    let empty = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    let key = keys.iter().find(|key| data.get(**key).is_none_or(|value| value.0.is_empty()))?;
    Some(format!("Secret {name}, which {field} names, has no key {key}: add it"))
}

fn missing_bundle(of: &str, reference: Option<&CaBundleReference>, map: Option<&ConfigMap>) -> Option<String> {
    let (reference, key) = (reference?, reference?.key_or_default());
    let name = &reference.name;
    let Some(map) = map else {
        return Some(format!(
            "caBundleRef of the {of} names ConfigMap {name}, which does not exist: make it, with key {key}"
        ));
    };
    let has = map.data.as_ref().is_some_and(|data| data.contains_key(key));
    (!has).then(|| format!("ConfigMap {name}, which caBundleRef of the {of} names, has no key {key}: add it"))
}

async fn read_secret(
    client: &Client,
    namespace: &str,
    reference: Option<&SecretReference>,
) -> Result<Option<Secret>, apply::Error> {
    match reference {
        Some(reference) => secret(client, namespace, &reference.name).await,
        None => Ok(None),
    }
}

async fn read_config_map(
    client: &Client,
    namespace: &str,
    reference: Option<&CaBundleReference>,
) -> Result<Option<ConfigMap>, apply::Error> {
    let Some(CaBundleReference { name, .. }) = reference else { return Ok(None) };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(|source| apply::Error::api::<ConfigMap>("read", name, source))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn spec(value: Value) -> RegistrySpec {
        serde_json::from_value(value).unwrap()
    }

    fn secret_of(keys: &[&str]) -> Secret {
        let data: serde_json::Map<String, Value> =
            keys.iter().map(|key| ((*key).to_owned(), json!("aHVzaA=="))).collect();
        serde_json::from_value(json!({"data": data})).unwrap()
    }

    fn problem(spec: &RegistrySpec, keys: Option<&[&str]>) -> Option<String> {
        let referred = Referred { storage_credentials: keys.map(secret_of), ..Referred::default() };
        referred.credentials_problem(spec)
    }

    #[test]
    fn secret_without_a_key_is_said_with_the_key() {
        let reference = json!({"name": "keys"});
        let s3 = spec(json!({"storage": {"type": "S3", "s3": {"bucket": "b", "credentialsSecretRef": reference}}}));
        assert!(problem(&s3, None).unwrap().contains("Secret keys, which does not exist"));
        assert!(problem(&s3, Some(&["AWS_ACCESS_KEY_ID"])).unwrap().contains("no key AWS_SECRET_ACCESS_KEY"));
        assert_eq!(problem(&s3, Some(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])), None);

        let azure = json!({"account": "a", "container": "c", "credentialsSecretRef": reference});
        let azure = spec(json!({"storage": {"type": "Azure", "azure": azure}}));
        assert_eq!(problem(&azure, Some(&["AZURE_STORAGE_SAS_TOKEN"])), None);
        assert_eq!(problem(&azure, Some(&["AZURE_STORAGE_ACCOUNT_KEY"])), None);
        assert!(problem(&azure, Some(&[])).is_some());

        let gcs = spec(json!({"storage": {"type": "GCS", "gcs": {"bucket": "b", "credentialsSecretRef": reference}}}));
        assert!(problem(&gcs, Some(&["key.json"])).unwrap().contains("no key credentials.json"));
        let ambient = spec(json!({"storage": {"type": "S3", "s3": {"bucket": "b"}}}));
        assert_eq!(problem(&ambient, None), None);
    }

    #[test]
    fn hash_follows_the_content_alone() {
        let referred = |keys: &[&str]| Referred { redis_credentials: Some(secret_of(keys)), ..Referred::default() };
        assert_eq!(Referred::default().hash(), None);
        let mut labelled = referred(&["password"]);
        labelled.redis_credentials.as_mut().unwrap().metadata.resource_version = Some("2".to_owned());
        assert_eq!(labelled.hash(), referred(&["password"]).hash());
        assert_ne!(referred(&["password"]).hash(), referred(&["password", "username"]).hash());
    }

    #[test]
    fn authorities_that_are_not_there_are_said() {
        let bundle = json!({"name": "authorities"});
        let redis = json!({"address": "r:1", "tls": {"caBundleRef": bundle}});
        let spec = spec(json!({"descriptorCache": {"type": "Redis", "redis": redis}}));
        assert!(Referred::default().other_problem(&spec).unwrap().contains("ConfigMap authorities"));
        let map = serde_json::from_value(json!({"data": {"ca.crt": "x"}})).unwrap();
        let there = Referred { redis_authorities: Some(map), ..Referred::default() };
        assert_eq!(there.other_problem(&spec), None);
    }
}
