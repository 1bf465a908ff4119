//! Buckets of object stores in which a registry's content can lie.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::rules::rules;

use super::SecretReference;

/// A server's address: a scheme, a host, perhaps a port and a path; nobody's password.
pub(super) const ADDRESS: &str = r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$";

/// What keys begin with: names with a slash between them, none of which leads upwards.
const PREFIX: &str = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$";

/// A bucket of Amazon S3, or of a store that speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Spec {
    /// The bucket. It must exist, and belongs to this Registry alone, or the part of it below `prefix` does.
    /// Cannot change.
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub bucket: String,
    /// The bucket's region. us-east-1 where it is not given.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The store's address, for stores other than Amazon's, such as `https://s3.example.com`.
    #[schemars(length(max = 512), regex(pattern = ADDRESS))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What the key of every object begins with, such as team/images: no slash at either end. Cannot change.
    #[schemars(length(min = 1, max = 512), regex(pattern = PREFIX))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Where in an address the bucket stands. Auto where it is not given: Path where an endpoint is given, and
    /// VirtualHost where none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addressing: Option<Addressing>,
    /// A Secret of this namespace with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and
    /// AWS_SESSION_TOKEN where there is one. When it changes, the pods are replaced. Where it is not given, the pods use the identity
    /// that the cluster gives their service account or their node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
    /// A ConfigMap of this namespace with authorities to trust, in PEM, beside the well-known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleReference>,
    /// How the store encrypts what the registry writes. As the bucket says, where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionSpec>,
    /// What the store checks each body with that the registry writes. None where it is not given: the signature of a
    /// request has a SHA-256 of its body, which stores check. Not every store of S3's protocol knows the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Enabled: a pull is answered with an address of the store that is good for a few minutes, so that layers do not
    /// pass the registry; clients must reach the store. Disabled where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
}

/// A bucket of Google Cloud Storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcsSpec {
    /// The bucket. It must exist, and belongs to this Registry alone, or the part of it below `prefix` does.
    /// Cannot change.
    #[schemars(length(min = 3, max = 222), regex(pattern = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"))]
    pub bucket: String,
    /// What the name of every object begins with, such as team/images: no slash at either end. Cannot change.
    #[schemars(length(min = 1, max = 512), regex(pattern = PREFIX))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The store's address, for stores other than Google's.
    #[schemars(length(max = 512), regex(pattern = ADDRESS))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A Secret of this namespace whose key credentials.json is the key of a service account. When it changes, the pods are
    /// replaced. Where it is not given, the pods use the identity that the cluster gives their service account or
    /// their node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
    /// A ConfigMap of this namespace with authorities to trust, in PEM, beside the well-known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleReference>,
}

/// A container of Azure Blob Storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureSpec {
    /// The storage account. Cannot change.
    #[schemars(length(min = 3, max = 24), regex(pattern = r"^[a-z0-9]+$"))]
    pub account: String,
    /// The container. It must exist, and belongs to this Registry alone, or the part of it below `prefix` does.
    /// Cannot change.
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9]+(-[a-z0-9]+)*$"))]
    pub container: String,
    /// What the name of every blob begins with, such as team/images: no slash at either end. Cannot change.
    #[schemars(length(min = 1, max = 512), regex(pattern = PREFIX))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The store's address, for clouds other than the public one.
    #[schemars(length(max = 512), regex(pattern = ADDRESS))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A Secret of this namespace with the key AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN. When it changes, the
    /// pods are replaced. Where it is not given, the pods use the identity that the cluster gives their service
    /// account or their node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
    /// A ConfigMap of this namespace with authorities to trust, in PEM, beside the well-known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleReference>,
}

/// A key of a ConfigMap of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaBundleReference {
    /// The ConfigMap's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it: ca.crt where it is not given.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl CaBundleReference {
    /// The key to read.
    #[must_use]
    pub fn key_or_default(&self) -> &str {
        self.key.as_deref().unwrap_or("ca.crt")
    }
}

/// Where in an address the bucket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Addressing {
    /// As Path where an endpoint is given, and as VirtualHost where none is.
    #[default]
    Auto,
    /// In the path: `https://s3.example.com/bucket/key`.
    Path,
    /// In the host's name: `https://bucket.s3.example.com/key`.
    VirtualHost,
}

/// Whether clients are sent to the store for what they pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Redirect {
    /// They are answered with an address of the store that is good for a few minutes: they must reach it.
    Enabled,
    /// The registry hands everything through.
    #[default]
    Disabled,
}

/// What the store checks bodies with, beside the signature of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Checksum {
    /// Nothing.
    #[default]
    None,
    /// SHA-256, which the store keeps with the object.
    #[serde(rename = "SHA256")]
    Sha256,
    /// CRC-64/NVME, which Amazon recommends, and which the store keeps with the object.
    #[serde(rename = "CRC64NVME")]
    Crc64Nvme,
}

/// How the store encrypts what the registry writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "(self.type == 'KMS') || !has(self.kmsKeyID)",
    "kmsKeyID goes with type KMS: remove it, or set the type to KMS"
)])))]
pub struct EncryptionSpec {
    /// S3Managed: with keys of the store's own (SSE-S3). KMS: with a key of its key service (SSE-KMS).
    #[serde(rename = "type")]
    pub type_: EncryptionType,
    /// For type KMS: the key's identifier or ARN. The account's default key where it is not given.
    #[schemars(length(min = 1, max = 2048))]
    #[serde(rename = "kmsKeyID", default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
}

/// Whose keys encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EncryptionType {
    /// The store's own.
    S3Managed,
    /// A key of its key service.
    #[serde(rename = "KMS")]
    Kms,
}

impl EncryptionSpec {
    /// Whether type and key belong together.
    ///
    /// # Errors
    /// What would be right.
    pub fn check(&self) -> Result<(), &'static str> {
        match (self.type_, &self.kms_key_id) {
            (EncryptionType::S3Managed, Some(_)) => {
                Err("kmsKeyID goes with type KMS: remove it, or set the type to KMS")
            }
            _ => Ok(()),
        }
    }
}
