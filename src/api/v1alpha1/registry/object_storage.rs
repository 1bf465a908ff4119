//! Buckets of object stores in which a registry's content can lie.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::rules::rules;

/// Where in an address the bucket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Addressing {
    /// As Path where an endpoint is given, and as VirtualHost where none is.
    #[default]
    Auto,
    /// In the path: https://s3.example.com/bucket/key.
    Path,
    /// In the host's name: https://bucket.s3.example.com/key.
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
