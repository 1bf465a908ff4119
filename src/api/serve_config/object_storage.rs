//! Buckets of object stores.
//!
//! Secrets never stand in a configuration: they are in files that it names, or in the environment.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::api::FieldError;
use crate::api::v1alpha1::{Addressing, Checksum, EncryptionSpec, Redirect};

/// A bucket of Amazon S3, or of a store that speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Config {
    /// The bucket. It must exist.
    pub bucket: String,
    /// Its region. Where it is not given: `AWS_REGION` of the environment, or `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The store's address, for stores other than Amazon's: `https://s3.example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What the key of every object begins with, without a slash at either end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Where in an address the bucket stands.
    #[serde(default)]
    pub addressing: Addressing,
    /// A folder with the files `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and perhaps `AWS_SESSION_TOKEN`. Where it
    /// is not given, environment variables of these names; without those, the identity that the machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_directory: Option<PathBuf>,
    /// PEM file: authorities to trust beside the well-known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_file: Option<PathBuf>,
    /// How the store encrypts; absent, as the bucket says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionSpec>,
    /// What the store checks each body with, beside the signature of a request.
    #[serde(default)]
    pub checksum: Checksum,
    /// Whether clients are sent to the store for what they pull.
    #[serde(default)]
    pub redirect: Redirect,
}

/// A bucket of Google Cloud Storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GcsConfig {
    /// The bucket. It must exist.
    pub bucket: String,
    /// What the name of every object begins with, without a slash at either end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The store's address, for stores other than Google's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// JSON file: the key of a service account. Where it is not given, the file that `GOOGLE_APPLICATION_CREDENTIALS`
    /// names; without that, the identity that the machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// PEM file: authorities to trust beside the well-known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_file: Option<PathBuf>,
}

/// A container of Azure Blob Storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureConfig {
    /// The storage account.
    pub account: String,
    /// The container. It must exist.
    pub container: String,
    /// What the name of every blob begins with, without a slash at either end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The store's address, for clouds other than the public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A folder with the file `AZURE_STORAGE_ACCOUNT_KEY` or `AZURE_STORAGE_SAS_TOKEN`. Where it is not given, an
    /// environment variable of one of these names; without those, the identity that the machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_directory: Option<PathBuf>,
    /// PEM file: authorities to trust beside the well-known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_file: Option<PathBuf>,
}

/// The longest prefix, in bytes: keys have 1,024, of which the registry's own need about half.
const MAX_PREFIX: usize = 512;

impl S3Config {
    pub(super) fn check(&self) -> Result<(), FieldError> {
        let edges = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !is_name(&self.bucket, 3..=63, edges, ".-") {
            return Err(FieldError::new(
                "s3.bucket",
                format!("{:?} is no bucket's name: 3 to 63 lowercase letters, digits, dots and dashes", self.bucket),
            ));
        }
        check_prefix("s3.prefix", self.prefix.as_deref())?;
        check_endpoint("s3.endpoint", self.endpoint.as_deref())?;
        let region = self.region.as_deref().unwrap_or("us-east-1");
        if !is_name(region, 1..=64, |c| c.is_ascii_alphanumeric(), "-_") {
            return Err(FieldError::new("s3.region", format!("{region:?} is no region: write one such as eu-west-1")));
        }
        match &self.encryption {
            Some(encryption) => encryption.check().map_err(|reason| FieldError::new("s3.encryption", reason)),
            None => Ok(()),
        }
    }
}

impl GcsConfig {
    pub(super) fn check(&self) -> Result<(), FieldError> {
        let edges = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !is_name(&self.bucket, 3..=222, edges, "._-") {
            return Err(FieldError::new(
                "gcs.bucket",
                format!(
                    "{:?} is no bucket's name: lowercase letters, digits, dots, dashes and underscores",
                    self.bucket
                ),
            ));
        }
        check_prefix("gcs.prefix", self.prefix.as_deref())?;
        check_endpoint("gcs.endpoint", self.endpoint.as_deref())
    }
}

impl AzureConfig {
    pub(super) fn check(&self) -> Result<(), FieldError> {
        let edges = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !is_name(&self.account, 3..=24, edges, "") {
            return Err(FieldError::new(
                "azure.account",
                format!("{:?} is no storage account's name: 3 to 24 lowercase letters and digits", self.account),
            ));
        }
        if !is_name(&self.container, 3..=63, edges, "-") || self.container.contains("--") {
            return Err(FieldError::new(
                "azure.container",
                format!(
                    "{:?} is no container's name: 3 to 63 lowercase letters, digits and single dashes",
                    self.container
                ),
            ));
        }
        check_prefix("azure.prefix", self.prefix.as_deref())?;
        check_endpoint("azure.endpoint", self.endpoint.as_deref())
    }
}

/// Whether a text of this length consists of `edges` and, not at its ends, of the characters of `inner`.
fn is_name(text: &str, length: std::ops::RangeInclusive<usize>, edges: impl Fn(char) -> bool, inner: &str) -> bool {
    length.contains(&text.len())
        && text.chars().all(|c| edges(c) || inner.contains(c))
        && text.starts_with(&edges)
        && text.ends_with(&edges)
}

fn check_prefix(field: &str, prefix: Option<&str>) -> Result<(), FieldError> {
    let Some(prefix) = prefix else { return Ok(()) };
    let right = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if prefix.len() <= MAX_PREFIX && prefix.split('/').all(right) {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        format!(
            "{prefix:?} is no prefix: write names of letters, digits, dashes, underscores and, not first, dots, with a \
             slash between them and none at the ends, such as team/images"
        ),
    ))
}

/// An address is a scheme, a host, perhaps a port and a path; nobody's password.
fn check_endpoint(field: &str, endpoint: Option<&str>) -> Result<(), FieldError> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://")).unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let of = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    if !host.is_empty() && of(host, ".:[]-") && of(path, "._~/-") && endpoint.len() <= 512 {
        return Ok(());
    }
    // The text is not repeated: a password that was written into an address must not reach a log.
    Err(FieldError::new(
        field,
        "it is no address: write a scheme and a host, such as https://s3.example.com or http://10.0.0.5:9000, without \
         user and password",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(change: impl FnOnce(&mut S3Config)) -> String {
        let mut config = S3Config { bucket: "images".to_owned(), ..S3Config::default() };
        change(&mut config);
        config.check().map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn wrong_name_is_refused_with_its_field() {
        for bucket in ["", "ab", "Images", "images_x", "-images", "images.", &"a".repeat(64)] {
            assert!(s3(|c| c.bucket = bucket.to_owned()).starts_with("s3.bucket: "), "{bucket:?}");
        }
        for prefix in ["", "/", "/a", "a/", "a//b", "a/../b", ".", ".a", "a b", &"a".repeat(513)] {
            assert!(s3(|c| c.prefix = Some(prefix.to_owned())).starts_with("s3.prefix: "), "{prefix:?}");
        }
        for region in ["", "eu west", "-"] {
            assert!(s3(|c| c.region = Some(region.to_owned())).starts_with("s3.region: "), "{region:?}");
        }
        for right in ["images", "my.images-2"] {
            assert_eq!(s3(|c| c.bucket = right.to_owned()), "");
        }
    }

    #[test]
    fn address_with_a_password_is_refused_and_not_repeated() {
        for endpoint in
            ["s3.example.com", "https://", "ftp://s3", "https://user:hush@s3.example.com", "http://s3?a=hush"]
        {
            let found = s3(|c| c.endpoint = Some(endpoint.to_owned()));
            assert!(found.starts_with("s3.endpoint: ") && !found.contains("hush"), "{found:?} for {endpoint}");
        }
        for endpoint in ["https://s3.example.com", "http://[fd00::1]:9000/", "http://127.0.0.1:10000/account"] {
            assert_eq!(s3(|c| c.endpoint = Some(endpoint.to_owned())), "");
        }
    }

    #[test]
    fn names_of_the_other_stores_have_their_own_rules() {
        let gcs = |bucket: &str| GcsConfig { bucket: bucket.to_owned(), ..GcsConfig::default() }.check().is_ok();
        assert!(gcs("my_images.example.com") && !gcs("Images") && !gcs("_images"));
        let azure = |account: &str, container: &str| {
            let (account, container) = (account.to_owned(), container.to_owned());
            AzureConfig { account, container, ..AzureConfig::default() }.check().is_ok()
        };
        assert!(azure("acme1", "my-images"));
        assert!(!azure("ac-me", "images") && !azure("acme", "my--images") && !azure("acme", "Images"));
    }
}
