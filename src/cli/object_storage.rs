//! The bucket of a configuration.

use crate::api::serve_config::{AzureConfig, GcsConfig, S3Config, StorageConfig};
use crate::api::v1alpha1::{Addressing, Checksum, EncryptionSpec, EncryptionType, Redirect};
use crate::storage::driver::{
    AzureCredentials, AzureOptions, GcsCredentials, GcsOptions, ObjectStoreOptions, Provider, S3Addressing, S3Checksum,
    S3Credentials, S3Encryption, S3Options, Secret,
};

use super::exit::InvalidUsage;
use super::secret_file::{file, in_folder, needed_in_folder, variable};

/// Reads what the configuration of a bucket names; asks nobody. `None` for a folder.
///
/// # Errors
/// Names the field and what is wrong; never a secret.
pub(super) fn options(storage: &StorageConfig) -> Result<Option<ObjectStoreOptions>, InvalidUsage> {
    let (section, read) = match storage {
        StorageConfig::Filesystem(_) => return Ok(None),
        StorageConfig::S3(config) => ("storage.s3", s3(config)),
        StorageConfig::Gcs(config) => ("storage.gcs", gcs(config)),
        StorageConfig::Azure(config) => ("storage.azure", azure(config)),
    };
    read.map(Some).map_err(|InvalidUsage(reason)| InvalidUsage(format!("{section}: {reason}")))
}

/// Whether clients are sent to the store for what they pull.
pub(super) fn redirect(storage: &StorageConfig) -> Redirect {
    match storage {
        StorageConfig::S3(config) => config.redirect,
        StorageConfig::Filesystem(_) | StorageConfig::Gcs(_) | StorageConfig::Azure(_) => Redirect::Disabled,
    }
}

fn s3(config: &S3Config) -> Result<ObjectStoreOptions, InvalidUsage> {
    let credentials = match &config.credentials_directory {
        Some(folder) => S3Credentials::Key {
            access_key_id: needed_in_folder(folder, "AWS_ACCESS_KEY_ID")?,
            secret_access_key: Secret::new(needed_in_folder(folder, "AWS_SECRET_ACCESS_KEY")?),
            session_token: in_folder(folder, "AWS_SESSION_TOKEN")?.map(Secret::new),
        },
        None => S3Credentials::Environment,
    };
    let provider = Provider::S3(S3Options {
        region: config.region.clone(),
        endpoint: config.endpoint.clone(),
        addressing: match config.addressing {
            Addressing::Auto => S3Addressing::Auto,
            Addressing::Path => S3Addressing::Path,
            Addressing::VirtualHost => S3Addressing::VirtualHost,
        },
        credentials,
        encryption: config.encryption.as_ref().map(encryption),
        checksum: match config.checksum {
            Checksum::None => None,
            Checksum::Sha256 => Some(S3Checksum::Sha256),
            Checksum::Crc64Nvme => Some(S3Checksum::Crc64Nvme),
        },
        ..S3Options::new(config.bucket.as_str())
    });
    completed(provider, config.prefix.as_deref(), config.ca_bundle_file.as_deref())
}

fn encryption(spec: &EncryptionSpec) -> S3Encryption {
    match spec.type_ {
        EncryptionType::S3Managed => S3Encryption::StoreManaged,
        EncryptionType::Kms => S3Encryption::Kms { key_id: spec.kms_key_id.clone() },
    }
}

fn gcs(config: &GcsConfig) -> Result<ObjectStoreOptions, InvalidUsage> {
    let credentials = match &config.credentials_file {
        Some(path) => GcsCredentials::ServiceAccount(Secret::new(file(path)?)),
        None => GcsCredentials::Environment,
    };
    let provider =
        Provider::Gcs(GcsOptions { bucket: config.bucket.clone(), endpoint: config.endpoint.clone(), credentials });
    completed(provider, config.prefix.as_deref(), config.ca_bundle_file.as_deref())
}

fn azure(config: &AzureConfig) -> Result<ObjectStoreOptions, InvalidUsage> {
    const KEY: &str = "AZURE_STORAGE_ACCOUNT_KEY";
    const SIGNATURE: &str = "AZURE_STORAGE_SAS_TOKEN";
    let (key, signature) = match &config.credentials_directory {
        Some(folder) => (in_folder(folder, KEY)?, in_folder(folder, SIGNATURE)?),
        None => (variable(KEY), variable(SIGNATURE)),
    };
    let credentials = match (key, signature, &config.credentials_directory) {
        (Some(key), _, _) => AzureCredentials::AccessKey(Secret::new(key)),
        (None, Some(signature), _) => AzureCredentials::SharedAccessSignature(Secret::new(signature)),
        (None, None, None) => AzureCredentials::Environment,
        (None, None, Some(folder)) => {
            return Err(InvalidUsage(format!("{}: there is no file {KEY} and no {SIGNATURE}", folder.display())));
        }
    };
    let provider = Provider::Azure(AzureOptions {
        account: config.account.clone(),
        container: config.container.clone(),
        endpoint: config.endpoint.clone(),
        credentials,
    });
    completed(provider, config.prefix.as_deref(), config.ca_bundle_file.as_deref())
}

fn completed(
    provider: Provider,
    prefix: Option<&str>,
    ca_bundle: Option<&std::path::Path>,
) -> Result<ObjectStoreOptions, InvalidUsage> {
    let prefix = prefix.map(|prefix| prefix.parse().map_err(|error| InvalidUsage(format!("prefix: {error}"))));
    Ok(ObjectStoreOptions {
        prefix: prefix.transpose()?,
        ca_bundle: ca_bundle.map(file).transpose()?,
        ..ObjectStoreOptions::new(provider)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(storage: &str) -> Result<ObjectStoreOptions, String> {
        let storage: StorageConfig = serde_yaml::from_str(storage).unwrap();
        options(&storage).map(Option::unwrap).map_err(|InvalidUsage(reason)| reason)
    }

    #[test]
    fn credentials_are_the_files_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let s3 = format!("{{type: S3, s3: {{bucket: images, prefix: a/b, credentialsDirectory: {path}}}}}");
        let missing = read(&s3).unwrap_err();
        assert!(missing.starts_with("storage.s3: ") && missing.contains("AWS_ACCESS_KEY_ID"), "{missing}");
        fs::write(folder.path().join("AWS_ACCESS_KEY_ID"), "id\n").unwrap();
        fs::write(folder.path().join("AWS_SECRET_ACCESS_KEY"), "hush\n").unwrap();
        let options = read(&s3).unwrap();
        let expected = S3Credentials::Key {
            access_key_id: "id".to_owned(),
            secret_access_key: Secret::new("hush"),
            session_token: None,
        };
        assert!(matches!(&options.provider, Provider::S3(s3) if s3.credentials == expected), "{options:?}");
        assert_eq!(options.prefix.unwrap().to_string(), "a/b");
    }

    #[test]
    fn azure_takes_a_key_or_a_signature() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let azure =
            format!("{{type: Azure, azure: {{account: acme, container: images, credentialsDirectory: {path}}}}}");
        assert!(read(&azure).unwrap_err().contains("AZURE_STORAGE_SAS_TOKEN"));
        fs::write(folder.path().join("AZURE_STORAGE_SAS_TOKEN"), "sig").unwrap();
        let credentials = |options: ObjectStoreOptions| match options.provider {
            Provider::Azure(azure) => azure.credentials,
            other => panic!("{other:?}"),
        };
        let signature = AzureCredentials::SharedAccessSignature(Secret::new("sig"));
        assert_eq!(credentials(read(&azure).unwrap()), signature);
        fs::write(folder.path().join("AZURE_STORAGE_ACCOUNT_KEY"), "key").unwrap();
        assert_eq!(credentials(read(&azure).unwrap()), AzureCredentials::AccessKey(Secret::new("key")));
    }

    #[test]
    fn checksum_is_handed_on() {
        for (text, expected) in [
            ("", None),
            (", checksum: None", None),
            (", checksum: SHA256", Some(S3Checksum::Sha256)),
            (", checksum: CRC64NVME", Some(S3Checksum::Crc64Nvme)),
        ] {
            let options = read(&format!("{{type: S3, s3: {{bucket: images{text}}}}}")).unwrap();
            assert!(matches!(options.provider, Provider::S3(s3) if s3.checksum == expected), "{text}");
        }
    }

    #[test]
    fn encryption_is_handed_on() {
        for (text, expected) in [
            ("{type: S3Managed}", S3Encryption::StoreManaged),
            ("{type: KMS, kmsKeyID: k}", S3Encryption::Kms { key_id: Some("k".to_owned()) }),
        ] {
            let options = read(&format!("{{type: S3, s3: {{bucket: images, encryption: {text}}}}}")).unwrap();
            assert!(matches!(options.provider, Provider::S3(s3) if s3.encryption == Some(expected)));
        }
    }
}
