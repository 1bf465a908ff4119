//! Where content lies: a folder, or a bucket of an object store.

use std::{fmt, path::Path, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::FieldError;

use super::{AzureConfig, GcsConfig, S3Config};

/// The kind of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StorageType {
    /// A folder of this machine.
    #[default]
    Filesystem,
    /// A bucket of Amazon S3, or of a store that speaks its protocol.
    S3,
    /// A bucket of Google Cloud Storage.
    #[serde(rename = "GCS")]
    Gcs,
    /// A container of Azure Blob Storage.
    Azure,
}

/// Where content lies.
///
/// Invariant: what is written has the one member that its `type` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenStorage", into = "WrittenStorage")]
pub enum StorageConfig {
    /// In a folder of this machine.
    Filesystem(FilesystemConfig),
    /// In a bucket of S3.
    S3(S3Config),
    /// In a bucket of Google Cloud Storage.
    Gcs(GcsConfig),
    /// In a container of Azure Blob Storage.
    Azure(AzureConfig),
}

/// A folder of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilesystemConfig {
    /// The folder; `docker/registry/v2` and `lagan/v1` are below it.
    pub directory: PathBuf,
}

impl StorageConfig {
    /// A folder of this machine.
    pub fn folder(directory: impl Into<PathBuf>) -> Self {
        Self::Filesystem(FilesystemConfig { directory: directory.into() })
    }

    /// The folder, where it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Filesystem(filesystem) => Some(&filesystem.directory),
            Self::S3(_) | Self::Gcs(_) | Self::Azure(_) => None,
        }
    }

    /// Looks at the names of buckets, prefixes and addresses.
    ///
    /// # Errors
    /// Names the field, below `storage`, and what would be right.
    pub fn check(&self) -> Result<(), FieldError> {
        match self {
            Self::Filesystem(filesystem) if filesystem.directory.as_os_str().is_empty() => {
                Err(FieldError::new("filesystem.directory", "it is empty: write the folder to store in"))
            }
            Self::Filesystem(_) => Ok(()),
            Self::S3(s3) => s3.check(),
            Self::Gcs(gcs) => gcs.check(),
            Self::Azure(azure) => azure.check(),
        }
    }
}

/// What people call it: a folder's path, or an address such as `s3://bucket/prefix`.
impl fmt::Display for StorageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = |prefix: &Option<String>| prefix.as_deref().map(|p| format!("/{p}")).unwrap_or_default();
        match self {
            Self::Filesystem(filesystem) => write!(f, "{}", filesystem.directory.display()),
            Self::S3(s3) => write!(f, "s3://{}{}", s3.bucket, below(&s3.prefix)),
            Self::Gcs(gcs) => write!(f, "gs://{}{}", gcs.bucket, below(&gcs.prefix)),
            Self::Azure(azure) => write!(f, "azure://{}/{}{}", azure.account, azure.container, below(&azure.prefix)),
        }
    }
}

/// The shape of the text.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenStorage {
    #[serde(rename = "type", default)]
    type_: StorageType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filesystem: Option<FilesystemConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s3: Option<S3Config>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gcs: Option<GcsConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    azure: Option<AzureConfig>,
}

/// The text's type and its members do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageMemberError {
    /// The member that the type names is not there.
    #[error("type {type_} needs its settings: write them below {member}")]
    Missing {
        /// The type.
        type_: &'static str,
        /// The member.
        member: &'static str,
    },
    /// Another member is there.
    #[error("{member} does not go with type {type_}: remove it, or write the type that it belongs to")]
    Foreign {
        /// The type.
        type_: &'static str,
        /// The other member.
        member: &'static str,
    },
}

impl TryFrom<WrittenStorage> for StorageConfig {
    type Error = StorageMemberError;

    fn try_from(written: WrittenStorage) -> Result<Self, StorageMemberError> {
        let WrittenStorage { type_, filesystem, s3, gcs, azure } = written;
        let (type_, own) = match type_ {
            StorageType::Filesystem => ("Filesystem", "filesystem"),
            StorageType::S3 => ("S3", "s3"),
            StorageType::Gcs => ("GCS", "gcs"),
            StorageType::Azure => ("Azure", "azure"),
        };
        let given = [
            ("filesystem", filesystem.is_some()),
            ("s3", s3.is_some()),
            ("gcs", gcs.is_some()),
            ("azure", azure.is_some()),
        ];
        if let Some((member, _)) = given.into_iter().find(|(member, given)| *given && *member != own) {
            return Err(StorageMemberError::Foreign { type_, member });
        }
        let chosen = filesystem.map(Self::Filesystem).or(s3.map(Self::S3)).or(gcs.map(Self::Gcs));
        chosen.or(azure.map(Self::Azure)).ok_or(StorageMemberError::Missing { type_, member: own })
    }
}

impl From<StorageConfig> for WrittenStorage {
    fn from(storage: StorageConfig) -> Self {
        let nothing = Self::default();
        match storage {
            StorageConfig::Filesystem(filesystem) => Self { filesystem: Some(filesystem), ..nothing },
            StorageConfig::S3(s3) => Self { type_: StorageType::S3, s3: Some(s3), ..nothing },
            StorageConfig::Gcs(gcs) => Self { type_: StorageType::Gcs, gcs: Some(gcs), ..nothing },
            StorageConfig::Azure(azure) => Self { type_: StorageType::Azure, azure: Some(azure), ..nothing },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StorageConfig, String> {
        serde_yaml::from_str(text).map_err(|error: serde_yaml::Error| error.to_string())
    }

    #[test]
    fn every_kind_of_storage_survives_being_written_and_read() {
        for (text, called) in [
            ("{filesystem: {directory: /data}}", "/data"),
            ("{type: S3, s3: {bucket: images, prefix: a/b, region: eu-west-1, redirect: Enabled}}", "s3://images/a/b"),
            ("{type: GCS, gcs: {bucket: images, credentialsFile: /run/key.json}}", "gs://images"),
            ("{type: Azure, azure: {account: acme, container: images, prefix: a}}", "azure://acme/images/a"),
        ] {
            let storage = read(text).unwrap();
            assert_eq!(storage.to_string(), called);
            assert_eq!(storage.check(), Ok(()));
            assert_eq!(read(&serde_yaml::to_string(&storage).unwrap()).unwrap(), storage, "{text}");
        }
    }

    #[test]
    fn type_and_member_that_do_not_belong_together_are_refused() {
        for (text, expected) in [
            ("{}", "type Filesystem needs its settings: write them below filesystem"),
            ("{type: S3}", "type S3 needs its settings: write them below s3"),
            ("{s3: {bucket: images}}", "s3 does not go with type Filesystem"),
            ("{type: GCS, gcs: {bucket: images}, azure: {account: acme, container: images}}", "azure does not go with"),
            ("{type: Floppy}", "unknown variant `Floppy`"),
            ("{type: S3, s3: {bucket: images, secretAccessKey: hush}}", "unknown field `secretAccessKey`"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(expected) && !found.contains("hush"), "{found:?} for {text}");
        }
    }
}
