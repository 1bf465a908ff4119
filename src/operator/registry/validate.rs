//! What a Registry's spec means, checked as far as one object can be.
//!
//! The API server checked all of this too, but a stored object may be older than the schema.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use crate::api::v1alpha1::{Anonymous, Registry, RegistrySpec, StorageType, TlsMode, WhenDeleted};

/// The longest name: what is appended to it must still be a DNS label.
const MAX_NAME: usize = 52;

/// The most replicas of a Registry: each asks every other one before something is deleted.
const MAX_REPLICAS: i32 = 100;

/// A spec that cannot be acted on. The text says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Objects cannot be named after it.
    #[error("metadata.name must be at most 52 lowercase letters, digits and dashes, and start with a letter")]
    Name,
    /// More than one process on one directory, or too many on a bucket.
    #[error("replicas must be 0 or 1, or at most {MAX_REPLICAS} on storage of type S3, GCS or Azure")]
    Replicas,
    /// Not a URL of a registry.
    #[error("expose.externalURL must be a scheme and a host without a path, such as https://registry.example.com")]
    ExternalUrl,
    /// A mode without its reference.
    #[error("tls.mode SecretRef needs tls.secretRef.name")]
    TlsSecret,
    /// Both an existing claim and one to be made.
    #[error("storage.persistentVolumeClaim takes claimName or template, not both")]
    Claim,
    /// It has not been read from a cluster.
    #[error("the object has no namespace or uid")]
    NotFromCluster,
}

/// An address outside the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalUrl {
    /// As it was written, less a slash at the end.
    pub url: String,
    /// Host and port, as an image's name begins with it.
    pub authority: String,
    /// The host alone, without brackets.
    pub host: String,
}

/// Where content lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// On a claim that somebody made.
    ExistingClaim(String),
    /// On a claim that the operator makes.
    MadeClaim {
        /// Its name.
        name: String,
        /// What becomes of it.
        when_deleted: WhenDeleted,
    },
    /// In the pod.
    EmptyDir,
    /// In a bucket of an object store, which several pods can share.
    Bucket,
}

/// Which certificate clients see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// None.
    Disabled,
    /// Somebody's, in this Secret.
    Secret(String),
    /// The operator's.
    SelfSigned,
}

/// Where users and passwords come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Users {
    /// From a key of somebody's Secret.
    Secret {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// The operator makes one.
    Admin,
    /// Nobody needs to be a user.
    Everybody,
}

/// A Registry that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidRegistry {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// What makes an object go with the Registry.
    pub owner: OwnerReference,
    /// Where content lies.
    pub storage: Storage,
    /// Which certificate clients see.
    pub tls: Tls,
    /// Where users come from.
    pub users: Users,
    /// The address outside.
    pub external: Option<ExternalUrl>,
    /// The rest, as it was written.
    pub spec: RegistrySpec,
}

impl ValidRegistry {
    /// The name of one of the Registry's objects.
    #[must_use]
    pub fn child(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.name)
    }

    /// The host name that the certificates of all its pods' control listeners carry.
    #[must_use]
    pub fn control_host(&self) -> String {
        format!("{}.{}.svc", self.child("control"), self.namespace)
    }

    /// The Secret that the pod's certificate is in.
    #[must_use]
    pub fn tls_secret(&self) -> Option<String> {
        match &self.tls {
            Tls::Disabled => None,
            Tls::Secret(name) => Some(name.clone()),
            Tls::SelfSigned => Some(self.child("tls")),
        }
    }

    /// The Secret and the key that the pod's users are in.
    #[must_use]
    pub fn users_secret(&self) -> Option<(String, String)> {
        match &self.users {
            Users::Secret { name, key } => Some((name.clone(), key.clone())),
            Users::Admin => Some((self.child("admin"), "htpasswd".to_owned())),
            Users::Everybody => None,
        }
    }
}

/// Checks a Registry.
///
/// # Errors
///
/// The first thing that has to be changed.
pub fn validate(registry: &Registry) -> Result<ValidRegistry, Error> {
    let name = registry.name_any();
    let namespace = registry.namespace().ok_or(Error::NotFromCluster)?;
    let owner = registry.controller_owner_ref(&()).ok_or(Error::NotFromCluster)?;
    let spec = registry.spec.clone();
    if !is_name(&name) {
        return Err(Error::Name);
    }
    let most = if spec.storage.type_.is_shared() { MAX_REPLICAS } else { 1 };
    if !(0..=most).contains(&spec.replicas) {
        return Err(Error::Replicas);
    }
    Ok(ValidRegistry {
        storage: storage(&name, &spec)?,
        tls: tls(&spec)?,
        users: users(&spec),
        external: spec.expose.external_url.as_deref().map(external_url).transpose()?,
        namespace,
        name,
        owner,
        spec,
    })
}

fn is_name(name: &str) -> bool {
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(part)
}

fn storage(name: &str, spec: &RegistrySpec) -> Result<Storage, Error> {
    match spec.storage.type_ {
        StorageType::EmptyDir => return Ok(Storage::EmptyDir),
        StorageType::S3 | StorageType::Gcs | StorageType::Azure => return Ok(Storage::Bucket),
        StorageType::PersistentVolumeClaim => {}
    }
    let claim = spec.storage.persistent_volume_claim.as_ref();
    if claim.is_some_and(|claim| claim.claim_name.is_some() && claim.template.is_some()) {
        return Err(Error::Claim);
    }
    Ok(match spec.storage.existing_claim() {
        Some(existing) => Storage::ExistingClaim(existing.to_owned()),
        None => Storage::MadeClaim { name: format!("{name}-data"), when_deleted: spec.storage.when_deleted() },
    })
}

fn tls(spec: &RegistrySpec) -> Result<Tls, Error> {
    Ok(match spec.tls.mode {
        TlsMode::Disabled => Tls::Disabled,
        TlsMode::SelfSigned => Tls::SelfSigned,
        TlsMode::SecretRef => Tls::Secret(spec.tls.secret_ref.as_ref().ok_or(Error::TlsSecret)?.name.clone()),
    })
}

fn users(spec: &RegistrySpec) -> Users {
    match &spec.auth.htpasswd {
        Some(htpasswd) => Users::Secret {
            name: htpasswd.secret_ref.name.clone(),
            key: htpasswd.secret_ref.key_or_default().to_owned(),
        },
        None if spec.auth.anonymous == Anonymous::All => Users::Everybody,
        // Where anybody may pull, somebody must still be able to push.
        None => Users::Admin,
    }
}

fn external_url(text: &str) -> Result<ExternalUrl, Error> {
    let url = text.strip_suffix('/').unwrap_or(text);
    let authority = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).ok_or(Error::ExternalUrl)?;
    let parsed: http::uri::Authority = authority.parse().map_err(|_| Error::ExternalUrl)?;
    let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() || authority.contains('@') {
        return Err(Error::ExternalUrl);
    }
    Ok(ExternalUrl { url: url.to_owned(), authority: authority.to_owned(), host })
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The Registry `apps/main` of this spec.
    #[expect(clippy::needless_pass_by_value, reason = "callers write the spec in place")]
    pub(in crate::operator::registry) fn valid(spec: Value) -> ValidRegistry {
        validate(&registry(&spec)).unwrap()
    }

    fn registry(spec: &Value) -> Registry {
        let mut registry = Registry::new("main", serde_json::from_value(spec.clone()).unwrap());
        registry.metadata.namespace = Some("apps".to_owned());
        registry.metadata.uid = Some("1".to_owned());
        registry
    }

    #[test]
    fn empty_spec_is_a_claim_a_certificate_and_an_administrator() {
        let valid = validate(&registry(&json!({}))).unwrap();
        let name = "main-data".to_owned();
        assert_eq!(valid.storage, Storage::MadeClaim { name, when_deleted: WhenDeleted::Retain });
        assert_eq!((valid.tls_secret(), valid.users), (Some("main-tls".to_owned()), Users::Admin));
    }

    #[test]
    fn external_url_is_taken_apart() {
        for (url, authority, host) in [
            ("https://registry.example.com/", "registry.example.com", "registry.example.com"),
            ("http://10.0.0.5:5000", "10.0.0.5:5000", "10.0.0.5"),
            ("https://[fd00::1]:5000", "[fd00::1]:5000", "fd00::1"),
        ] {
            let valid = validate(&registry(&json!({"expose": {"externalURL": url}}))).unwrap();
            let external = valid.external.unwrap();
            assert_eq!((external.authority.as_str(), external.host.as_str()), (authority, host));
        }
    }

    #[test]
    fn what_an_old_object_may_say_is_refused() {
        let refused = |spec| validate(&registry(&spec)).unwrap_err();
        assert_eq!(refused(json!({"replicas": 2})), Error::Replicas);
        let bucket = json!({"type": "S3", "s3": {"bucket": "images"}});
        assert_eq!(refused(json!({"replicas": 101, "storage": bucket})), Error::Replicas);
        assert_eq!(refused(json!({"tls": {"mode": "SecretRef"}})), Error::TlsSecret);
        for url in ["ftp://a", "https://", "https://a/b", "https://me@a"] {
            assert_eq!(refused(json!({"expose": {"externalURL": url}})), Error::ExternalUrl, "{url}");
        }
        let both = json!({"persistentVolumeClaim": {"claimName": "a", "template": {}}});
        assert_eq!(refused(json!({"storage": both})), Error::Claim);
        let mut long = registry(&json!({}));
        long.metadata.name = Some("a".repeat(53));
        assert_eq!(validate(&long), Err(Error::Name));
    }

    #[test]
    fn bucket_takes_several_replicas() {
        let spec = json!({"replicas": 3, "storage": {"type": "S3", "s3": {"bucket": "images"}}});
        let valid = validate(&registry(&spec)).unwrap();
        assert_eq!((valid.storage, valid.spec.replicas), (Storage::Bucket, 3));
    }

    #[test]
    fn everybody_or_named_users_need_no_administrator() {
        let everybody = validate(&registry(&json!({"auth": {"anonymous": "All"}}))).unwrap();
        assert_eq!(everybody.users_secret(), None);
        let named = json!({"auth": {"htpasswd": {"secretRef": {"name": "users"}}}});
        let named = validate(&registry(&named)).unwrap();
        assert_eq!(named.users_secret(), Some(("users".to_owned(), "htpasswd".to_owned())));
        let pull = validate(&registry(&json!({"auth": {"anonymous": "Pull"}}))).unwrap();
        assert_eq!(pull.users, Users::Admin);
    }
}
