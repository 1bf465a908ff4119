//! The Redis of a configuration.

use crate::api::serve_config::{RedisConfig, StorageConfig};
use crate::storage::{RedisOptions, RedisTarget, RedisTls};

use super::exit::InvalidUsage;
use super::secret_file;

/// Reads what the configuration names; connects nowhere. What is remembered there is of `storage`.
///
/// # Errors
/// Names the field and what is wrong; never a password.
pub(super) fn target(config: &RedisConfig, storage: &StorageConfig) -> Result<RedisTarget, InvalidUsage> {
    let field = |InvalidUsage(reason)| InvalidUsage(format!("descriptorCache.redis: {reason}"));
    let (username, password) = match &config.credentials_directory {
        Some(folder) => (
            secret_file::in_folder(folder, "username").map_err(field)?,
            Some(secret_file::needed_in_folder(folder, "password").map_err(field)?),
        ),
        None => (secret_file::variable("REDIS_USERNAME"), secret_file::variable("REDIS_PASSWORD")),
    };
    let authorities = config.tls.as_ref().and_then(|tls| tls.ca_file.as_ref());
    let authorities = authorities.map(|file| secret_file::file(file).map_err(field)).transpose()?;
    // The client takes a file without certificates for no authorities at all, and then trusts nobody.
    if authorities.as_ref().is_some_and(|pem| !pem.contains("-----BEGIN CERTIFICATE-----")) {
        return Err(field(InvalidUsage("the file of authorities holds no certificate in PEM".to_owned())));
    }
    let tls = config.tls.as_ref().map(|_| RedisTls { authorities: authorities.map(String::into_bytes) });
    let place = place(storage);
    let options = RedisOptions { tls, username, password, place, ..RedisOptions::at(config.address.as_str()) };
    // `#` prints the causes, too.
    RedisTarget::new(options).map_err(|error| field(InvalidUsage(format!("{:#}", anyhow::Error::new(error)))))
}

/// Where content lies, so that no copy of it has the same name.
fn place(storage: &StorageConfig) -> String {
    let endpoint = match storage {
        StorageConfig::Filesystem(_) => None,
        StorageConfig::S3(s3) => s3.endpoint.as_deref(),
        StorageConfig::Gcs(gcs) => gcs.endpoint.as_deref(),
        StorageConfig::Azure(azure) => azure.endpoint.as_deref(),
    };
    match endpoint {
        Some(endpoint) => format!("{storage} at {}", endpoint.trim_end_matches('/')),
        None => storage.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use crate::api::serve_config::{RedisTlsConfig, S3Config};

    use super::*;

    fn with(folder: &Path) -> RedisConfig {
        RedisConfig { address: "localhost:6379".to_owned(), tls: None, credentials_directory: Some(folder.to_owned()) }
    }

    fn storage() -> StorageConfig {
        StorageConfig::folder("/srv/lagan")
    }

    #[test]
    fn a_store_is_told_from_its_copies_by_where_it_lies() {
        let s3 = |bucket: &str, endpoint: Option<&str>| {
            let endpoint = endpoint.map(String::from);
            place(&StorageConfig::S3(S3Config { bucket: bucket.to_owned(), endpoint, ..S3Config::default() }))
        };
        assert_eq!(s3("images", Some("https://s3.example.com/")), s3("images", Some("https://s3.example.com")));
        let places = [
            s3("images", None),
            s3("images-copy", None),
            s3("images", Some("https://s3.example.com")),
            s3("images", Some("https://s3.example.org")),
            place(&storage()),
        ];
        for (number, place) in places.iter().enumerate() {
            assert!(!places.iter().skip(number + 1).any(|other| other == place), "{place}");
        }
    }

    #[test]
    fn folder_of_credentials_needs_a_password() {
        let folder = tempfile::tempdir().unwrap();
        let InvalidUsage(message) = target(&with(folder.path()), &storage()).unwrap_err();
        assert!(message.starts_with("descriptorCache.redis: ") && message.contains("password"), "{message}");
        fs::write(folder.path().join("password"), "hush\n").unwrap();
        let target = target(&with(folder.path()), &storage()).unwrap();
        assert!(!format!("{target:?}").contains("hush"));
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("password"), "hush").unwrap();
        let ca_file = folder.path().join("ca.crt");
        fs::write(&ca_file, "no PEM").unwrap();
        let config = RedisConfig { tls: Some(RedisTlsConfig { ca_file: Some(ca_file) }), ..with(folder.path()) };
        let InvalidUsage(message) = target(&config, &storage()).unwrap_err();
        assert!(
            message.starts_with("descriptorCache.redis: the file of authorities") && !message.contains("hush"),
            "{message}"
        );
    }
}
