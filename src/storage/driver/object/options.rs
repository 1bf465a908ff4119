//! Which bucket, and how it is reached.

use std::fmt;

use crate::storage::driver::StoragePath;

/// A text that nobody prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being printed.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever signs with it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A bucket, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStoreOptions {
    /// Whose bucket it is.
    pub provider: Provider,
    /// What every key begins with.
    pub prefix: Option<StoragePath>,
    /// Authorities to trust beside the well-known ones: certificates in PEM.
    pub ca_bundle: Option<String>,
    /// How much all uploads together hold in memory, in bytes. Less than [`Self::LEAST_BUFFER_BYTES`] counts as that.
    pub buffer_bytes: usize,
}

impl ObjectStoreOptions {
    /// Four parts of the smallest size: two uploads that go on at full speed.
    pub const LEAST_BUFFER_BYTES: usize = 32 * 1024 * 1024;
    /// Room for twelve parts of the smallest size: six uploads go on at full speed, which are as many as a client has at
    /// once. More than that take turns, which costs little while the store keeps up.
    pub const DEFAULT_BUFFER_BYTES: usize = 96 * 1024 * 1024;

    /// With nothing but the bucket said.
    #[must_use]
    pub fn new(provider: Provider) -> Self {
        Self { provider, prefix: None, ca_bundle: None, buffer_bytes: Self::DEFAULT_BUFFER_BYTES }
    }
}

/// Whose bucket it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3, or a store that speaks its protocol.
    S3(S3Options),
    /// Google Cloud Storage.
    Gcs(GcsOptions),
    /// Azure Blob Storage.
    Azure(AzureOptions),
}

/// A bucket of S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Options {
    /// The bucket; it must exist.
    pub bucket: String,
    /// Its region; absent, as the environment says, or `us-east-1`.
    pub region: Option<String>,
    /// The store's address, where it is not Amazon's: a scheme and a host.
    pub endpoint: Option<String>,
    /// Where in an address the bucket stands.
    pub addressing: S3Addressing,
    /// Who asks.
    pub credentials: S3Credentials,
    /// How content is encrypted; absent, as the bucket says.
    pub encryption: Option<S3Encryption>,
    /// What each request's body is checked with, beside its signature, which has a SHA-256.
    pub checksum: Option<S3Checksum>,
}

impl S3Options {
    /// With nothing but the bucket said.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            region: None,
            endpoint: None,
            addressing: S3Addressing::default(),
            credentials: S3Credentials::default(),
            encryption: None,
            checksum: None,
        }
    }
}

/// Where in an address the bucket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum S3Addressing {
    /// In the path where an endpoint is given, and in the host's name where none is.
    #[default]
    Auto,
    /// In the path.
    Path,
    /// In the host's name.
    VirtualHost,
}

/// Who asks S3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum S3Credentials {
    /// What the environment says (`AWS_…`, a web identity, a container's or a machine's role), looked up anew before it
    /// expires.
    #[default]
    Environment,
    /// A key.
    Key {
        /// Its name.
        access_key_id: String,
        /// What is signed with.
        secret_access_key: Secret,
        /// Of a session that ends.
        session_token: Option<Secret>,
    },
}

/// How S3 encrypts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Encryption {
    /// With keys of the store's own (SSE-S3).
    StoreManaged,
    /// With a key of its key service (SSE-KMS); absent, the account's default key.
    Kms {
        /// The key's identifier or ARN.
        key_id: Option<String>,
    },
}

/// What S3 checks bodies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Checksum {
    /// SHA-256.
    Sha256,
    /// CRC-64/NVME, which Amazon recommends.
    Crc64Nvme,
}

/// A bucket of Google Cloud Storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcsOptions {
    /// The bucket; it must exist.
    pub bucket: String,
    /// The store's address, where it is not Google's.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: GcsCredentials,
}

/// Who asks Google.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GcsCredentials {
    /// What the environment says, or the machine's identity.
    #[default]
    Environment,
    /// The key of a service account, as JSON.
    ServiceAccount(Secret),
    /// Nobody: for stores that ask for none.
    Anonymous,
}

/// A container of Azure Blob Storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureOptions {
    /// The storage account.
    pub account: String,
    /// The container; it must exist.
    pub container: String,
    /// The store's address, where it is not the public cloud's.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: AzureCredentials,
}

/// Who asks Azure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AzureCredentials {
    /// What the environment says, a workload's identity, or the machine's.
    #[default]
    Environment,
    /// A key of the storage account.
    AccessKey(Secret),
    /// A shared access signature, as in an address behind the `?`.
    SharedAccessSignature(Secret),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let hush = || Secret::new("hush");
        let key =
            S3Credentials::Key { access_key_id: "id".into(), secret_access_key: hush(), session_token: Some(hush()) };
        let s3 = Provider::S3(S3Options { credentials: key, ..S3Options::new("bucket") });
        let gcs = Provider::Gcs(GcsOptions {
            bucket: "bucket".into(),
            endpoint: None,
            credentials: GcsCredentials::ServiceAccount(hush()),
        });
        let azure = |credentials| {
            let (account, container) = ("account".into(), "container".into());
            Provider::Azure(AzureOptions { account, container, endpoint: None, credentials })
        };
        let keys = [
            s3,
            gcs,
            azure(AzureCredentials::AccessKey(hush())),
            azure(AzureCredentials::SharedAccessSignature(hush())),
        ];
        for provider in keys {
            let printed = format!("{:?}", ObjectStoreOptions::new(provider));
            assert!(printed.contains("[secret]") && !printed.contains("hush"), "{printed}");
        }
    }
}
